//! The replay: every decision of a journal made again, and compared with what was recorded.
//!
//! The windows are fed what was recorded and the decisions made by the recorded policy. A start of the process begins
//! with empty windows, as it did then. Where the beginning is no longer kept, the windows are fed for as long as a
//! reading can matter before anything is compared, and the memory is taken from the first checkpoint after that.
//! Beside it another policy may be asked what it would have said (`candidate.rs`).

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Arc;

use thiserror::Error;

use super::Checkpoint;
use super::block::ReadError;
use super::candidate::{Candidate, Comparison};
use super::reader::Reader;
use super::record::{Action, Begin, Continue, Decided, Record, Said, Tick, Why};
use crate::api::{self, Query};
use crate::policy::config::Millis;
use crate::policy::evaluation::Evaluation;
use crate::policy::observation::Now;
use crate::policy::windows::Device;
use crate::policy::{Config, Memory, Windows, evaluate};

/// A policy as a replay needs it.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// What the engine decides by.
    pub config: Config,
    /// What its signals are read from.
    pub queries: Vec<Query>,
}

impl Policy {
    /// Reads a document.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(document: &str) -> Result<Self, String> {
        let policy = api::validate(document).map_err(|error| error.to_string())?;
        Ok(Self {
            config: api::compile(&policy).map_err(|error| error.to_string())?,
            queries: api::queries(&policy),
            name: policy.metadata.name.unwrap_or_default(),
        })
    }
}

/// Why a journal cannot be replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The recorded policy is not valid for this build.
    #[error(
        "the recorded policy cannot be used by this build; replay it with the one that wrote it ({version}): {problem}"
    )]
    Policy {
        /// The version of gpuscale that wrote it.
        version: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The other policy watches what was not recorded.
    #[error(
        "signal {missing} is not in the journal, which has {recorded}; thresholds, strategy and bounds may differ, \
             signals may not"
    )]
    Signals {
        /// The signal that was not recorded.
        missing: String,
        /// Those that were.
        recorded: String,
    },
}

/// A decision that came out otherwise.
#[derive(Debug, Clone)]
pub struct Difference {
    /// When.
    pub at: Now,
    /// Its number among the decisions of the journal, from 0.
    pub decision: u64,
    /// What differs.
    pub what: Differs,
    /// What was recorded.
    pub recorded: Said,
    /// What this build makes of it.
    pub evaluation: Box<Evaluation>,
    /// The policy of both.
    pub config: Arc<Config>,
}

/// What of a decision differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differs {
    /// The memory before it, which nothing had changed.
    MemoryBefore,
    /// The evaluation.
    Evaluation,
    /// The memory after it.
    MemoryAfter,
}

/// A segment that could be read only in part.
#[derive(Debug)]
pub struct Fault {
    /// Its name.
    pub segment: String,
    /// What is wrong with it.
    pub error: ReadError,
}

/// What a replay came to.
#[derive(Debug, Default)]
pub struct Replay {
    /// The policy's name, the last if it changed.
    pub policy: String,
    /// Versions of gpuscale that wrote it.
    pub versions: Vec<String>,
    /// Segments.
    pub segments: u64,
    /// Starts of the process.
    pub starts: u64,
    /// Changes of the policy under a running process.
    pub changes: u64,
    /// Places where ticks are missing.
    pub gaps: u64,
    /// Source times of the first tick and the last.
    pub span_ms: Option<(Millis, Millis)>,
    /// Ticks.
    pub ticks: u64,
    /// Decisions.
    pub decisions: u64,
    /// Decisions that were made again and compared.
    pub verified: u64,
    /// Decisions that grew the pool.
    pub grown: u64,
    /// Decisions that shrank it.
    pub shrunk: u64,
    /// What became of decisions, and how often.
    pub actions: BTreeMap<String, u64>,
    /// Verified decisions that came out otherwise.
    pub differing: u64,
    /// The first of them.
    pub first_difference: Option<Difference>,
    /// What the other policy would have said.
    pub comparison: Option<Comparison>,
    /// Segments that could be read only in part.
    pub faults: Vec<Fault>,
}

/// A decision, as it is shown to whoever watches a replay: the other policy's, if there is one.
#[derive(Debug)]
pub struct Told<'a> {
    /// Source time.
    pub now_ms: Millis,
    /// Nodes that were Ready.
    pub ready: u32,
    /// The decision as it was made again.
    pub evaluation: &'a Evaluation,
    /// The policy.
    pub config: &'a Config,
}

/// Replays segments one after another.
#[derive(Debug, Default)]
pub struct Replayer {
    other: Option<Arc<Policy>>,
    /// The last document and what it says: every start of a process repeats it.
    last: Option<(String, Arc<Policy>)>,
    lane: Option<Lane>,
    replay: Replay,
}

/// The stretch that is being replayed.
#[derive(Debug)]
struct Lane {
    begin: Begin,
    ticks: u64,
    config: Arc<Config>,
    windows: Windows,
    /// What is remembered, if that is known.
    memory: Option<Memory>,
    /// Devices to begin with.
    inventory: Option<Vec<Device>>,
    /// Source time after which the windows are what they were, if they are not yet.
    cold_until_ms: Option<Millis>,
    candidate: Option<Candidate>,
}

/// Replays segments in memory, oldest first; `other` is asked what it would have said.
///
/// # Errors
/// [`ReplayError`] if the journal cannot be replayed at all. Damage to it is in the result.
pub fn replay<'a>(
    segments: impl IntoIterator<Item = &'a [u8]>,
    other: Option<Policy>,
) -> Result<Replay, ReplayError> {
    let mut replayer = Replayer::new(other);
    for (number, segment) in segments.into_iter().enumerate() {
        replayer.segment(&format!("segment {number}"), segment, &mut |_| {})?;
    }
    Ok(replayer.finish())
}

impl Replayer {
    /// A replay that has seen nothing yet.
    #[must_use]
    pub fn new(other: Option<Policy>) -> Self {
        Self {
            other: other.map(Arc::new),
            ..Self::default()
        }
    }

    /// The same with a policy that was read already: where the journal begins with this document, it is not read again.
    #[must_use]
    pub fn knowing(self, document: &str, policy: Policy) -> Self {
        Self {
            last: Some((document.to_owned(), Arc::new(policy))),
            ..self
        }
    }

    /// What it came to.
    #[must_use]
    pub fn finish(mut self) -> Replay {
        if let Some(candidate) = self.lane.take().and_then(|lane| lane.candidate) {
            self.replay.comparison = Some(candidate.finish());
        }
        self.replay
    }

    /// Replays the next segment as far as it can be read.
    ///
    /// # Errors
    /// [`ReplayError`] if the journal cannot be replayed at all.
    pub fn segment(
        &mut self,
        name: &str,
        from: impl Read,
        watch: &mut dyn FnMut(&Told<'_>),
    ) -> Result<(), ReplayError> {
        self.replay.segments += 1;
        for record in Reader::new(from) {
            match record {
                Ok(record) => self.record(record, watch)?,
                Err(error) => {
                    self.replay.faults.push(Fault {
                        segment: name.to_owned(),
                        error,
                    });
                    // What comes next may have happened after something that is lost.
                    if let Some(lane) = &mut self.lane {
                        lane.memory = None;
                        lane.ticks = u64::MAX;
                    }
                }
            }
        }
        Ok(())
    }

    fn record(&mut self, record: Record, watch: &mut dyn FnMut(&Told<'_>)) -> Result<(), ReplayError> {
        match record {
            Record::Begin(begin) => self.begin(begin)?,
            Record::Continue(middle) => self.go_on(*middle)?,
            Record::Tick(tick) => self.tick(&tick, watch),
            Record::Checkpoint(memory) => {
                if let Some(lane) = &mut self.lane {
                    lane.memory = Some(*memory);
                }
            }
            Record::Action(Action { what, .. }) => *self.replay.actions.entry(what).or_default() += 1,
        }
        Ok(())
    }

    fn begin(&mut self, begin: Begin) -> Result<(), ReplayError> {
        let counted = match begin.why {
            Why::Start => &mut self.replay.starts,
            Why::Change => &mut self.replay.changes,
        };
        *counted += 1;
        let before = self.lane.take();
        let mut lane = self.lane_of(begin)?;
        if let Some(before) = before {
            if lane.begin.why == Why::Change {
                lane.memory = before.memory;
            }
            if let (Some(candidate), Some(before)) = (&mut lane.candidate, before.candidate) {
                candidate.follow(before, lane.begin.why);
            }
        } else if lane.begin.why == Why::Change {
            lane.memory = None;
        }
        self.lane = Some(lane);
        Ok(())
    }

    /// A lane with empty windows, as a process starts with.
    fn lane_of(&mut self, begin: Begin) -> Result<Lane, ReplayError> {
        let policy = match &self.last {
            Some((document, policy)) if *document == begin.policy => Arc::clone(policy),
            _ => {
                let policy = Policy::new(&begin.policy).map_err(|problem| ReplayError::Policy {
                    version: begin.version.clone(),
                    problem,
                })?;
                Arc::new(policy)
            }
        };
        self.last = Some((begin.policy.clone(), Arc::clone(&policy)));
        let candidate = self
            .other
            .as_ref()
            .map(|other| Candidate::new(Arc::clone(other), &policy));
        if !self.replay.versions.contains(&begin.version) {
            self.replay.versions.push(begin.version.clone());
        }
        self.replay.policy.clone_from(&policy.name);
        Ok(Lane {
            begin,
            ticks: 0,
            windows: Windows::new(&policy.config),
            config: Arc::new(policy.config.clone()),
            memory: Some(Memory::default()),
            inventory: None,
            cold_until_ms: None,
            candidate: candidate.transpose()?,
        })
    }

    /// The next segment of a stretch, or the first that is kept of it.
    fn go_on(&mut self, middle: Continue) -> Result<(), ReplayError> {
        if let Some(lane) = &mut self.lane
            && lane.begin == middle.begin
            && lane.ticks == middle.ticks
        {
            lane.memory = Some(middle.memory);
            return Ok(());
        }
        self.replay.gaps += u64::from(self.lane.is_some());
        let before = self.lane.take();
        let mut lane = self.lane_of(middle.begin)?;
        lane.ticks = middle.ticks;
        lane.memory = Some(middle.memory);
        lane.inventory = middle.inventory;
        let mut horizon_ms = lane.windows.horizon_ms();
        for (signal, newest) in (0..).zip(&middle.newest) {
            if let Some(at_ms) = newest.at_ms {
                lane.windows.recall(signal, at_ms, newest.reading);
            }
        }
        if let Some(candidate) = &mut lane.candidate {
            if let Some(before) = before.and_then(|before| before.candidate) {
                candidate.follow(before, Why::Start);
            }
            horizon_ms = horizon_ms.max(candidate.recall(&middle.newest));
        }
        lane.cold_until_ms = Some(middle.now.wall_ms.saturating_add(horizon_ms));
        self.lane = Some(lane);
        Ok(())
    }

    fn tick(&mut self, tick: &Tick, watch: &mut dyn FnMut(&Told<'_>)) {
        let Some(lane) = &mut self.lane else { return };
        let replay = &mut self.replay;
        replay.ticks += 1;
        let (first_ms, last_ms) = replay.span_ms.unwrap_or((tick.now_ms, tick.now_ms));
        replay.span_ms = Some((first_ms.min(tick.now_ms), last_ms.max(tick.now_ms)));
        lane.ingest(tick);
        let Some(decided) = &tick.decided else { return };
        replay.decisions += 1;
        replay.grown += u64::from(decided.said.to > decided.said.from);
        replay.shrunk += u64::from(decided.said.to < decided.said.from);
        let Some(again) = lane.decide(decided) else { return };
        let told = lane.candidate.as_ref().and_then(Candidate::told);
        let (shown, config) = told.unwrap_or((&again.evaluation, &lane.config));
        watch(&Told {
            now_ms: tick.now_ms,
            ready: decided.observation().ready,
            evaluation: shown,
            config,
        });
        replay.verified += 1;
        let Some(what) = again.differs else { return };
        replay.differing += 1;
        replay.first_difference.get_or_insert_with(|| Difference {
            at: decided.now,
            decision: replay.decisions - 1,
            what,
            recorded: decided.said.clone(),
            evaluation: Box::new(again.evaluation),
            config: Arc::clone(&lane.config),
        });
    }
}

/// A decision that was made again.
struct Again {
    evaluation: Evaluation,
    differs: Option<Differs>,
}

impl Lane {
    fn ingest(&mut self, tick: &Tick) {
        self.ticks = self.ticks.saturating_add(1);
        let begun = self.inventory.take();
        let mut delta = tick.delta();
        delta.inventory = delta.inventory.or(begun.as_deref());
        self.windows.ingest(&delta);
        if let Some(candidate) = &mut self.candidate {
            candidate.ingest(&delta);
        }
        self.cold_until_ms = self.cold_until_ms.filter(|until_ms| tick.now_ms <= *until_ms);
    }

    /// Decides again, if windows and memory are what they were.
    fn decide(&mut self, decided: &Decided) -> Option<Again> {
        let mut differs = None;
        if let Some((given, checkpoint)) = &decided.memory {
            let known = self.memory.as_ref();
            if *checkpoint == Checkpoint::Unchanged && known.is_some_and(|memory| memory != given) {
                differs = Some(Differs::MemoryBefore);
            }
            if let Some(candidate) = &mut self.candidate {
                candidate.take_memory(known, given);
            }
            self.memory = Some(given.clone());
        }
        if self.cold_until_ms.is_some() {
            // The next decision follows from a memory that nobody has seen.
            self.memory = None;
        }
        let memory = self.memory.as_mut()?;
        if let Some(candidate) = &mut self.candidate {
            candidate.decide(decided, memory);
        }
        let observation = decided.observation();
        let evaluation = evaluate(&self.config, &self.windows, &observation, memory, decided.now);
        if evaluation.checksum() != decided.evaluation {
            differs = differs.or(Some(Differs::Evaluation));
        } else if memory.checksum() != decided.after {
            differs = differs.or(Some(Differs::MemoryAfter));
        }
        Some(Again { evaluation, differs })
    }
}
