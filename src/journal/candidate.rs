//! Another policy beside the recorded one: what it would have said to what was seen.
//!
//! The loop is open. The pool is the recorded one, whatever the other policy would have done to it, and a size that the
//! recorded policy brought about counts as if the other one had, so that nobody is suspected of fighting over the
//! pool. So this shows where the two disagree, and not what would have become of the pool.

use std::sync::Arc;

use super::record::{Decided, Newest, Said, Why};
use super::replay::{Policy, ReplayError};
use crate::api::{Query, QuerySource};
use crate::policy::config::{Config, Micro, Millis};
use crate::policy::evaluation::Evaluation;
use crate::policy::memory::Intent;
use crate::policy::observation::Now;
use crate::policy::sample::{Channel, Sample};
use crate::policy::windows::{Delta, ReadStatus};
use crate::policy::{Memory, Windows, evaluate};

/// What two policies said to the same history.
#[derive(Debug, Clone, Default)]
pub struct Comparison {
    /// The other policy's name.
    pub policy: String,
    /// Decisions of both.
    pub decisions: u64,
    /// Decisions of different sizes or reasons.
    pub differing: u64,
    /// Decisions of different sizes.
    pub resized: u64,
    /// The first that differs.
    pub first: Option<Apart>,
    /// Node time of the sizes that each asked for, in ms: recorded, other.
    pub node_ms: (i128, i128),
    /// Time at a known price, in ms.
    pub priced_ms: i128,
    /// Time at an unknown one, in ms.
    pub unpriced_ms: i128,
    /// Cost at the recorded price, in micro-USD per hour × ms: recorded, other.
    pub cost: (i128, i128),
    /// How much further back the other policy looks than the recorded one. A start fetches no more than the recorded
    /// one needed.
    pub longer_ms: Millis,
}

/// A decision on which two policies differ.
#[derive(Debug, Clone)]
pub struct Apart {
    /// When.
    pub at: Now,
    /// What the recorded policy said.
    pub recorded: Said,
    /// What the other would have said.
    pub evaluation: Box<Evaluation>,
    /// The other policy.
    pub policy: Arc<Policy>,
}

/// The other policy at work.
#[derive(Debug)]
pub(super) struct Candidate {
    policy: Arc<Policy>,
    windows: Windows,
    memory: Option<Memory>,
    evaluation: Option<Box<Evaluation>>,
    /// For each signal of the journal, its number in the other policy.
    numbers: Vec<Option<u16>>,
    samples: Vec<Sample>,
    held: Option<Held>,
    comparison: Comparison,
}

/// The sizes that hold until the next decision.
#[derive(Debug, Clone, Copy)]
struct Held {
    since_ms: Millis,
    recorded: u32,
    other: u32,
    price: Option<Micro>,
}

fn described(query: &Query) -> String {
    match &query.source {
        QuerySource::Dcgm { metric, match_labels } if match_labels.is_empty() => {
            format!("`{}` ({metric:?})", query.signal)
        }
        QuerySource::Dcgm { metric, match_labels } => {
            let labels: Vec<String> = match_labels
                .iter()
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!("`{}` ({metric:?} of {})", query.signal, labels.join(","))
        }
        QuerySource::Promql(expression) => format!("`{}` (`{expression}`)", query.signal),
        QuerySource::GpuRequests => format!("`{}` (gpuRequests)", query.signal),
    }
}

/// For each signal of the journal, its number in the other policy, all of whose signals must be there.
fn numbers(other: &Policy, recorded: &Policy) -> Result<Vec<Option<u16>>, ReplayError> {
    let mut numbers = vec![None; recorded.config.signals.len()];
    for (number, (signal, query)) in (0..).zip(other.config.signals.iter().zip(&other.queries)) {
        let pairs = recorded.config.signals.iter().zip(&recorded.queries);
        let place = pairs
            .zip(&mut numbers)
            .find(|((known, asked), _)| known.source == signal.source && *asked == query);
        let Some((_, place)) = place else {
            let signals: Vec<String> = recorded.queries.iter().map(described).collect();
            return Err(ReplayError::Signals {
                missing: described(query),
                recorded: signals.join(", "),
            });
        };
        *place = Some(number);
    }
    Ok(numbers)
}

impl Candidate {
    pub(super) fn new(other: Arc<Policy>, recorded: &Policy) -> Result<Self, ReplayError> {
        let windows = Windows::new(&other.config);
        let recorded_ms = Windows::new(&recorded.config).horizon_ms();
        Ok(Self {
            numbers: numbers(&other, recorded)?,
            comparison: Comparison {
                policy: other.name.clone(),
                longer_ms: windows.horizon_ms().saturating_sub(recorded_ms).max(0),
                ..Comparison::default()
            },
            windows,
            policy: other,
            memory: None,
            evaluation: None,
            samples: Vec::new(),
            held: None,
        })
    }

    /// Goes on with what was counted before, and after a change of the recorded policy with what was remembered.
    pub(super) fn follow(&mut self, before: Self, why: Why) {
        let longer_ms = self.comparison.longer_ms.max(before.comparison.longer_ms);
        self.comparison = Comparison {
            longer_ms,
            ..before.comparison
        };
        if why == Why::Change {
            (self.memory, self.held) = (before.memory, before.held);
        }
    }

    pub(super) fn finish(self) -> Comparison {
        self.comparison
    }

    /// Takes over what was last read, and says how long a reading can matter.
    pub(super) fn recall(&mut self, newest: &[Newest]) -> Millis {
        for (number, newest) in self.numbers.iter().zip(newest) {
            if let (Some(number), Some(at_ms)) = (number, newest.at_ms) {
                self.windows.recall(*number, at_ms, newest.reading);
            }
        }
        self.windows.horizon_ms()
    }

    pub(super) fn ingest(&mut self, delta: &Delta<'_>) {
        self.samples.clear();
        for sample in delta.samples {
            let number = self.numbers.get(usize::from(sample.signal)).copied().flatten();
            match number {
                Some(signal) => self.samples.push(Sample { signal, ..*sample }),
                // Power and memory concern every device signal.
                None if sample.channel != Channel::Load => self.samples.push(*sample),
                None => {}
            }
        }
        let mut reads = vec![ReadStatus::default(); self.policy.config.signals.len()];
        for (number, read) in self.numbers.iter().zip(delta.reads) {
            if let Some(place) = number.and_then(|number| reads.get_mut(usize::from(number))) {
                *place = *read;
            }
        }
        self.windows.ingest(&Delta {
            now_ms: delta.now_ms,
            samples: &self.samples,
            inventory: delta.inventory,
            reads: &reads,
        });
    }

    /// The loop changed the memory of the recorded policy. The other one's is changed alike where they were equal;
    /// where not, it takes over what the platform did.
    pub(super) fn take_memory(&mut self, before: Option<&Memory>, after: &Memory) {
        match &mut self.memory {
            Some(memory) if before.is_some_and(|before| before != memory) => {
                memory.capacity = after.capacity;
                memory.intent = None;
            }
            memory => *memory = Some(after.clone()),
        }
    }

    /// Decides on what the recorded policy decided on; `recorded` is its memory before.
    pub(super) fn decide(&mut self, decided: &Decided, recorded: &Memory) {
        let observation = decided.observation();
        let memory = self.memory.get_or_insert_with(|| recorded.clone());
        let brought_about = recorded.intent.filter(|intent| intent.to == observation.asked);
        if let (Some(intent), Some(asked)) = (brought_about, memory.asked)
            && asked != observation.asked
            && memory.intent.is_none_or(|own| own.to != observation.asked)
        {
            memory.intent = Some(Intent {
                from: asked,
                ..intent
            });
        }
        let evaluation = evaluate(
            &self.policy.config,
            &self.windows,
            &observation,
            memory,
            decided.now,
        );
        let price = observation.node_price;
        self.count(decided, &evaluation, price);
        self.evaluation = Some(Box::new(evaluation));
    }

    fn count(&mut self, decided: &Decided, evaluation: &Evaluation, price: Option<Micro>) {
        let (said, decision) = (&decided.said, &evaluation.decision);
        let held = self.held.replace(Held {
            since_ms: decided.now.timer_ms,
            recorded: said.to,
            other: decision.to,
            price,
        });
        let count = &mut self.comparison;
        if let Some(held) = held {
            let length_ms = i128::from(decided.now.timer_ms.saturating_sub(held.since_ms).max(0));
            let times = |nodes: u32| length_ms.saturating_mul(i128::from(nodes));
            let (recorded, other) = (times(held.recorded), times(held.other));
            count.node_ms.0 = count.node_ms.0.saturating_add(recorded);
            count.node_ms.1 = count.node_ms.1.saturating_add(other);
            match held.price {
                Some(price) => {
                    let cost = |node_ms: i128| node_ms.saturating_mul(i128::from(price));
                    count.cost.0 = count.cost.0.saturating_add(cost(recorded));
                    count.cost.1 = count.cost.1.saturating_add(cost(other));
                    count.priced_ms = count.priced_ms.saturating_add(length_ms);
                }
                None => count.unpriced_ms = count.unpriced_ms.saturating_add(length_ms),
            }
        }
        count.decisions += 1;
        let resized = said.to != decision.to;
        count.resized += u64::from(resized);
        if resized || said.reason != decision.reason.as_str() {
            count.differing += 1;
            count.first.get_or_insert_with(|| Apart {
                at: decided.now,
                recorded: said.clone(),
                evaluation: Box::new(*evaluation),
                policy: Arc::clone(&self.policy),
            });
        }
    }

    /// What it said last.
    pub(super) fn told(&self) -> Option<(&Evaluation, &Config)> {
        Some((self.evaluation.as_deref()?, &self.policy.config))
    }
}
