//! What the control loop tells, as lines of a log and as counts.
//!
//! A line is written when something changes and not at every tick: an hour in which nothing is known is one line with its
//! reason, and a count that rises. The counts are what metrics show: ticks by the rule that had the last word, and signals
//! that could not be judged by what their data lacked.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::control::ports::PolicyKey;
use crate::control::{Action, TickResult, Ticked, Watch};
use crate::journal::Sink;
use crate::policy::evaluation::{Evaluation, Quality};

/// Ticks of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// By reason: the rule that had the last word, or why there was no decision.
    pub reasons: BTreeMap<&'static str, u64>,
    /// Signals that could not be judged, by what was wrong with their data.
    pub qualities: BTreeMap<&'static str, u64>,
}

/// What was told of a policy last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Said {
    reason: &'static str,
    sizes: (u32, u32),
    qualities: Vec<&'static str>,
}

#[derive(Debug, Default)]
struct Told {
    counts: Counts,
    said: Said,
}

/// Writes and counts what is told, and tells it on.
#[derive(Debug, Default)]
pub struct Logged<W> {
    inner: W,
    told: RefCell<BTreeMap<PolicyKey, Told>>,
}

impl<W> Logged<W> {
    /// What is told goes on to `inner`.
    pub fn new(inner: W) -> Self {
        Self {
            inner,
            told: RefCell::default(),
        }
    }

    /// What was counted for each policy since the start.
    pub fn counts(&self) -> BTreeMap<PolicyKey, Counts> {
        let told = self.told.borrow();
        told.iter()
            .map(|(policy, told)| (policy.clone(), told.counts.clone()))
            .collect()
    }
}

impl Said {
    fn of(result: &TickResult<'_>) -> Self {
        let reason = result.reason();
        let TickResult::Decided(evaluation) = result else {
            return Self {
                reason,
                ..Self::default()
            };
        };
        let qualities = evaluation.signals().iter().map(|signal| signal.quality.as_str());
        Self {
            reason,
            sizes: (evaluation.decision.from, evaluation.decision.to),
            qualities: qualities.collect(),
        }
    }
}

/// The signals with what their data is worth, for one line.
fn signals(evaluation: &Evaluation) -> String {
    let words = evaluation.signals().iter().map(|signal| {
        let percent = signal.coverage / 10_000;
        format!("{} {percent} %", signal.quality.as_str())
    });
    words.collect::<Vec<_>>().join(", ")
}

fn write(tick: &Ticked<'_>) {
    let policy = tick.policy;
    match tick.result {
        TickResult::Decided(evaluation) => {
            let decision = &evaluation.decision;
            tracing::info!(
                %policy, from = decision.from, to = decision.to, reason = decision.reason.as_str(),
                signals = %signals(evaluation), "decided"
            );
        }
        TickResult::Held { reason, message } => tracing::warn!(%policy, reason, why = message, "held"),
        TickResult::TimedOut => tracing::error!(%policy, "the tick took too long"),
        TickResult::Panicked(words) => tracing::error!(%policy, words, "the tick panicked"),
    }
}

impl<W: Watch> Watch for Logged<W> {
    fn tick(&self, tick: &Ticked<'_>) {
        let mut all = self.told.borrow_mut();
        if !all.contains_key(tick.policy) {
            all.insert(tick.policy.clone(), Told::default());
        }
        if let Some(told) = all.get_mut(tick.policy) {
            let said = Said::of(&tick.result);
            *told.counts.reasons.entry(said.reason).or_default() += 1;
            let bad = said
                .qualities
                .iter()
                .filter(|word| **word != Quality::Good.as_str());
            for quality in bad {
                *told.counts.qualities.entry(quality).or_default() += 1;
            }
            if told.said != said {
                write(tick);
                told.said = said;
            }
        }
        drop(all);
        self.inner.tick(tick);
    }

    fn action(&self, action: &Action<'_>) {
        let Action {
            policy,
            pool,
            from,
            to,
            what,
            message,
            ..
        } = action;
        // Not as `message`: that is the line itself, and a key of JSON that is there twice is read by nobody alike.
        tracing::info!(%policy, %pool, from, to, what, why = message, "resize");
        self.inner.action(action);
    }

    fn journal(&self, policy: &PolicyKey) -> Option<Box<dyn Sink>> {
        self.inner.journal(policy)
    }
}
