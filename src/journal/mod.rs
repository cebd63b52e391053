//! The journal: everything that a policy's decisions were made from, in the order in which it was seen.
//!
//! The loop hands each tick to a [`Sink`] before it acts on it, so every write to the platform has an earlier record
//! with its reason. From the record the decisions can be made again, byte for byte, on another machine and with
//! another build: that is what `gpuscale replay` does.
//!
//! # Format
//!
//! A journal is a row of segments, each of which can be read alone; the oldest is dropped when there is no more room.
//! A segment is a row of blocks:
//!
//! | bytes | |
//! | --- | --- |
//! | 4 | `GSJ` and the version of the format, 1 |
//! | 4 | length of the packed records, little-endian, as are all fixed numbers |
//! | 4 | length of the records |
//! | 8 | [`checksum`](crate::policy::checksum) over the lengths and the packed records |
//! | … | the records, packed with Zstandard |
//!
//! Records follow each other without a separator; the first byte is the kind. Numbers are unsigned LEB128, signed ones
//! folded (zig-zag), texts are their length and UTF-8.
//!
//! | kind | record | content |
//! | --- | --- | --- |
//! | 0 | beginning | version of gpuscale, policy document, clocks, whether anything was kept before |
//! | 1 | continuation | the beginning of the stretch, ticks since, clocks, memory, inventory, newest reading per signal |
//! | 2 | tick | flags, then what differs from the tick before: time, inventory, reads, samples, observation, decision; checksums of the whole evaluation and of the memory after it |
//! | 3 | checkpoint | the memory as JSON |
//! | 4 | action | clocks, pool, counts, words |
//!
//! A segment begins with a beginning or a continuation, and differences never reach over one. A checksum stands for
//! the evaluation, since a replay makes the whole of it again; the size and the reason are there as well, for a
//! replay that comes to something else.

mod block;
mod candidate;
mod decode;
mod encode;
mod numbers;
mod reader;
pub mod record;
mod replay;
mod samples;
mod seen;
mod segments;
mod writer;

pub use block::{Cause, LARGEST_BLOCK, ReadError, open, seal};
pub use candidate::{Apart, Comparison};
pub use numbers::Malformed;
pub use reader::Reader;
pub use replay::{Difference, Differs, Fault, Policy, Replay, ReplayError, Replayer, Told, replay};
pub use seen::Seen;
pub use segments::{InMemory, Segments};
pub use writer::{Limits, Writer};

use crate::policy::Memory;
use crate::policy::evaluation::Evaluation;
use crate::policy::observation::{Now, Observation};
use crate::policy::windows::Delta;

/// The beginning of a stretch of ticks: a start of the process, or a changed policy. Windows are empty here.
#[derive(Debug, Clone, Copy)]
pub struct Beginning<'a> {
    /// The policy document, as `api::validate` reads it.
    pub policy: &'a str,
    /// The clocks.
    pub now: Now,
}

/// One tick as the engine saw it.
#[derive(Debug, Clone, Copy)]
pub struct TickRecord<'a> {
    /// What was ingested.
    pub delta: Delta<'a>,
    /// What was decided, unless the pool could not be seen: then the windows moved and nothing was decided.
    pub decided: Option<Decided<'a>>,
}

/// What was decided, and from what.
#[derive(Debug, Clone, Copy)]
pub struct Decided<'a> {
    /// The clocks of the decision.
    pub now: Now,
    /// The pool as it was shown to the engine.
    pub observation: &'a Observation<'a>,
    /// The memory before the decision, if the loop changed it since the last one (an operation failed, a start), or
    /// as a checkpoint.
    pub memory: Option<(&'a Memory, Checkpoint)>,
    /// The record that came out.
    pub evaluation: &'a Evaluation,
    /// The memory after the decision.
    pub after: &'a Memory,
}

/// Why a memory is in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpoint {
    /// The loop changed it: a replay takes it over.
    Changed,
    /// Nothing changed it: a replay that has got this far must have the same.
    Unchanged,
}

/// What became of a decision, in words for people; a replay does not need it.
#[derive(Debug, Clone, Copy)]
pub struct ActionRecord<'a> {
    /// The clocks.
    pub now: Now,
    /// The pool.
    pub pool: &'a str,
    /// Count before.
    pub from: u32,
    /// Count asked for.
    pub to: u32,
    /// What happened: `sending`, `accepted`, `succeeded`, or the class of the failure.
    pub what: &'a str,
    /// The owner's words, where there are any.
    pub message: &'a str,
}

/// A record that could not be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("journal: {0}")]
pub struct JournalError(pub String);

/// Takes the records of one policy.
pub trait Sink {
    /// A stretch begins.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be kept.
    fn begin(&mut self, beginning: &Beginning<'_>) -> Result<(), JournalError>;

    /// A tick.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be kept.
    fn tick(&mut self, tick: &TickRecord<'_>) -> Result<(), JournalError>;

    /// What became of a decision.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be kept.
    fn action(&mut self, action: &ActionRecord<'_>) -> Result<(), JournalError>;

    /// An orderly end: hands on what is pending.
    ///
    /// # Errors
    /// [`JournalError`] if it could not be kept.
    fn flush(&mut self) -> Result<(), JournalError>;
}

#[cfg(test)]
mod tests;
