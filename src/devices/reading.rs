//! What a value as exported becomes: one of the engine's, a fault of the hardware, or nothing.
//!
//! A recording and a live source go through the same rules. Values in, values out; it does not know who reported.

use std::ops::RangeInclusive;

use crate::policy::config::{Micro, Millis, SeriesUnit};
use crate::policy::dcgm::DcgmMetric;
use crate::policy::sample::{Dropped, micros};
use crate::policy::windows::{Health, health_after_xid};

/// The series of the framebuffer that is not in use, in MiB.
pub const MEMORY_FREE: &str = "DCGM_FI_DEV_FB_FREE";

/// The series of the last XID.
pub const XID_ERRORS: &str = "DCGM_FI_DEV_XID_ERRORS";

/// The series of a board's power limit.
pub const POWER_LIMIT: &str = "DCGM_FI_DEV_POWER_MGMT_LIMIT";

/// Power limits that boards have. Old exporters print blanks as numbers of the size of 2³¹ or 2⁶³.
pub const WATTS: RangeInclusive<f64> = 10.0..=2000.0;

/// Framebuffers that boards have, in MiB.
pub const MEBIBYTES: RangeInclusive<f64> = 0.0..=1_048_576.0;

/// What begins within this time of the first sample of all was there before it: two scrapes of the slowest exporter
/// that is usual.
pub const OPENING_MS: Millis = 120_000;

/// How a value as exported becomes one of the engine's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unit {
    /// A DCGM metric; the number is the full scale of the device, where the metric needs one.
    Dcgm(DcgmMetric, f64),
    /// The result of a query.
    Series(SeriesUnit),
    /// A metric that the device does not have, whatever the exporter writes.
    Nothing,
}

impl Unit {
    /// The value in micros of a device, or of the signal's unit.
    ///
    /// # Errors
    /// [`Dropped`] for a value that the unit does not have; it is unknown, never zero.
    pub fn normalize(self, value: f64) -> Result<Micro, Dropped> {
        match self {
            Self::Dcgm(metric, full) => metric.normalize(value, full),
            Self::Nothing => Err(Dropped::OutOfRange),
            Self::Series(SeriesUnit::Percent) => micros(value / 100.0),
            Self::Series(SeriesUnit::Ratio | SeriesUnit::Count | SeriesUnit::Gpus) => micros(value),
        }
    }
}

/// The XID that a value stands for; `None` for one that is none.
#[must_use]
pub fn xid_code(value: f64) -> Option<u32> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "in range after the filter"
    )]
    (0.0..1e6).contains(&value).then_some(value as u32)
}

/// The health of one device by its XIDs, read in order of time.
///
/// The gauge keeps the last code for ever, so what it reads when the device is first heard, at the opening, is no
/// news; 0 clears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Xids {
    before: Option<u32>,
    health: Health,
}

impl Xids {
    /// The health after the codes so far.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health
    }

    /// Takes the next code and says whether the health changed. `start_ms` is the time of the first sample of all.
    pub fn note(&mut self, at_ms: Millis, code: u32, start_ms: Millis) -> bool {
        let opening = self.before.is_none() && at_ms.saturating_sub(start_ms) <= OPENING_MS;
        let news = health_after_xid(if opening { Some(code) } else { self.before }, code);
        let after = match (news, code) {
            (Health::Unhealthy, _) => Health::Unhealthy,
            (Health::Healthy, 0) => Health::Healthy,
            (Health::Healthy, _) => self.health,
        };
        self.before = Some(code);
        std::mem::replace(&mut self.health, after) != after
    }
}
