//! Records as they are read: owned, and without the evaluations, of which the journal keeps the decision and a
//! checksum.

use super::Checkpoint;
use super::seen::Seen;
use crate::policy::Memory;
use crate::policy::config::{Micro, Millis};
use crate::policy::observation::{Now, Observation};
use crate::policy::sample::Sample;
use crate::policy::windows::{Delta, Device, ReadStatus};

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// A stretch of ticks begins with empty windows.
    Begin(Begin),
    /// A segment begins in the middle of a stretch.
    Continue(Box<Continue>),
    /// A tick.
    Tick(Box<Tick>),
    /// The memory as it is now, so that a replay may begin here.
    Checkpoint(Box<Memory>),
    /// What became of a decision.
    Action(Action),
}

/// The beginning of a stretch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begin {
    /// The version of gpuscale that wrote it.
    pub version: String,
    /// The policy document.
    pub policy: String,
    /// The clocks.
    pub now: Now,
    /// Why.
    pub why: Why,
}

/// Why a stretch began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The process started: nothing is remembered but what the first decision is given.
    Start,
    /// The policy changed under a running process, which goes on remembering.
    Change,
}

/// The middle of a stretch, with all that a replay needs to begin here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continue {
    /// The beginning of the stretch.
    pub begin: Begin,
    /// Ticks since then.
    pub ticks: u64,
    /// The clocks of the last tick.
    pub now: Now,
    /// The memory after it.
    pub memory: Memory,
    /// The devices of the pool, if they were ever given.
    pub inventory: Option<Vec<Device>>,
    /// What was last read of each signal.
    pub newest: Vec<Newest>,
}

/// What was last read of a signal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Newest {
    /// When a value was last read.
    pub at_ms: Option<Millis>,
    /// The last reading of a signal that is one series.
    pub reading: Option<(Millis, Option<Micro>)>,
}

/// One tick.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tick {
    /// Source time of the read.
    pub now_ms: Millis,
    /// The samples.
    pub samples: Vec<Sample>,
    /// The devices of the pool, when they were given.
    pub inventory: Option<Vec<Device>>,
    /// How each signal's read ended.
    pub reads: Vec<ReadStatus>,
    /// What was decided.
    pub decided: Option<Decided>,
}

impl Tick {
    /// What was ingested.
    #[must_use]
    pub fn delta(&self) -> Delta<'_> {
        Delta {
            now_ms: self.now_ms,
            samples: &self.samples,
            inventory: self.inventory.as_deref(),
            reads: &self.reads,
        }
    }
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// The clocks.
    pub now: Now,
    /// The pool as it was shown to the engine.
    pub seen: Seen,
    /// The memory before, if it was given.
    pub memory: Option<(Memory, Checkpoint)>,
    /// The decision.
    pub said: Said,
    /// Checksum of the whole evaluation.
    pub evaluation: u64,
    /// Checksum of the memory after it.
    pub after: u64,
}

impl Decided {
    /// The pool as it was shown to the engine.
    #[must_use]
    pub fn observation(&self) -> Observation<'_> {
        self.seen.view()
    }
}

/// A decision as the journal keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Said {
    /// Nodes asked for before.
    pub from: u32,
    /// Nodes to ask for.
    pub to: u32,
    /// The size that the evidence wished for.
    pub wish: u32,
    /// The word of the rule that had the last word.
    pub reason: String,
}

/// What became of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// The clocks.
    pub now: Now,
    /// The pool.
    pub pool: String,
    /// Count before.
    pub from: u32,
    /// Count asked for.
    pub to: u32,
    /// What happened.
    pub what: String,
    /// The owner's words.
    pub message: String,
}
