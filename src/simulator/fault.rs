//! What goes wrong in a simulated world, and when.

use serde::{Deserialize, Serialize};

use crate::policy::config::Millis;
use crate::policy::observation::Failure;

/// A fault that lasts from `at_ms` for `duration_ms`, both counted from the start of the recording. Faults that are
/// events (a loss, an eviction) happen once, at `at_ms`, and ignore the duration.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fault {
    /// When it begins.
    pub at_ms: Millis,
    /// How long it lasts.
    pub duration_ms: Millis,
    /// What it is.
    pub kind: FaultKind,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FaultKind {
    /// Every growth fails with this error.
    AllocationFailure(Failure),
    /// A growth gets at most this many nodes, and then fails with `QuotaLow`.
    PartialFill(u32),
    /// This many Ready nodes die; the pool's count stays, nothing replaces them.
    NodeLoss(u32),
    /// The platform takes this many spot nodes; nothing comes back by itself, and growth fails while it lasts.
    SpotEviction(u32),
    /// This percentage of the devices reports nothing.
    ExporterGap(u32),
    /// The series repeats its last value with its old timestamp.
    StaleSeries,
    /// The series reads this percentage whatever the load is.
    LyingSeries(u32),
}
