//! What the loop keeps of a policy across restarts.
//!
//! [`Saved`] is written before it matters: before a resize is sent, after it was accepted, when it is over, and
//! every so often in between. Windows are never in it: they are fetched again.

use serde::{Deserialize, Serialize};

use crate::policy::Memory;
use crate::policy::config::Millis;
use crate::policy::observation::{Failure, Now};

use super::ports::Lever;

/// The version of [`Saved`] that this build writes, and the only one it reads.
pub const STATE_VERSION: u32 = 1;

/// The state of one policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Saved {
    /// [`STATE_VERSION`] of the build that wrote it.
    pub version: u32,
    /// The local clocks when it was written.
    pub saved_at: Now,
    /// The metrics source's clock at that moment, if it was known. Two clocks that agree about an outage are better
    /// than one that may have jumped.
    pub source_ms: Option<Millis>,
    /// Whether the loop went on after it was written.
    pub ended: Ended,
    /// The engine's memory.
    pub memory: Memory,
    /// The pools of the policy: its target, then its fallback pools.
    pub pools: Vec<SavedPool>,
}

/// Whether the loop went on after its state was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    /// It did, so what came after is lost.
    Running,
    /// It did not: this is the last word of an orderly shutdown.
    Cleanly,
}

/// What is kept of one pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SavedPool {
    /// Its cluster, by the name of the configuration.
    #[serde(default)]
    pub cluster: Option<String>,
    /// Its name.
    pub name: String,
    /// The count when it was last seen.
    pub count: Option<u32>,
    /// Nodes that were asked for and have not come, oldest first.
    pub booting: Vec<Arrival>,
    /// A resize that is on its way.
    pub in_flight: Option<InFlight>,
    /// The last capacity failure and the timer at which a fallback pool may be tried again. The target's is in the
    /// engine's memory.
    pub capacity: Option<(Failure, Millis)>,
}

/// Nodes that were asked for together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrival {
    /// How many have not come.
    pub nodes: u32,
    /// Timer at which they were asked for.
    pub since_ms: Millis,
    /// Whether the platform said that it has no capacity for them. Some may come all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub refused: bool,
}

/// A resize that is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InFlight {
    /// What was written. What is asked for of either is a number of nodes.
    #[serde(default)]
    pub lever: Lever,
    /// Count before.
    pub from: u32,
    /// Count asked for.
    pub to: u32,
    /// The pool's etag that went along.
    pub etag: String,
    /// Timer at which it was sent.
    pub sent_ms: Millis,
    /// How far it got.
    pub phase: Phase,
}

/// How far a resize got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// It is being sent, or its answer never came: nobody here knows whether it happened.
    Sent,
    /// It was accepted; where to ask, if the owner said, and the timer before which not to.
    Accepted {
        /// Where to ask for its progress.
        operation: Option<String>,
        /// Timer before which not to ask.
        ask_at_ms: Millis,
    },
}
