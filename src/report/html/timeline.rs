//! What a run looked like over time, collected tick by tick in bounded memory.

use super::events::Events;
use super::thin::{Bucket, Buckets, Spans, Steps};
use crate::policy::config::{Config, MAX_SIGNALS, Micro, Millis, ONE};
use crate::policy::evaluation::{Effect, Evaluation, MAX_STEPS, Quality, Reason, Rule};
use crate::report::explain;
use crate::simulator::closed_loop::{Tick, Watch};

/// Most buckets of the measured series.
const MOST_BUCKETS: usize = 6_000;
/// Most changes of a number of nodes.
const MOST_CHANGES: usize = 6_000;
/// Most stretches of one kind.
const MOST_SPANS: usize = 3_000;

/// Whether the policy's decisions were carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Loop {
    /// They were: `asked` and `ready` of a tick are what they led to.
    #[default]
    Closed,
    /// They were, and nothing was simulated: `asked` and `ready` are what the platform showed.
    Live,
    /// They were not: `asked` and `ready` are what a recording says, and a tick's decision is what the policy would
    /// have asked for.
    Open,
}

/// A run over time, for [`page`](super::page).
///
/// It watches a run and holds at most some megabytes, whatever the run's length. It expects ticks at equal
/// distances, as all loops of the simulator give them.
#[derive(Debug, Clone)]
pub struct Timeline<'a> {
    config: &'a Config,
    gpus_per_node: u32,
    run: Loop,
    start_ms: Millis,
    step_ms: Millis,
    ticks: u32,
    before: Option<Ground>,
    advised: Option<u32>,
    pub(super) buckets: Buckets,
    pub(super) asked: Steps,
    pub(super) ready: Steps,
    pub(super) would: Steps,
    pub(super) events: Events,
    pub(super) saturated: Spans,
    pub(super) unknown: Spans,
}

/// What a decision stands on. Two ticks that stand on the same ground are one event, whatever their numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ground {
    reason: Reason,
    limits: [(Rule, Effect); MAX_STEPS],
    quality: [Quality; MAX_SIGNALS],
    to: u32,
}

impl Ground {
    fn of(evaluation: &Evaluation) -> Self {
        let mut ground = Self {
            reason: evaluation.decision.reason,
            limits: [(Rule::Wish, Effect::Passed); MAX_STEPS],
            quality: [Quality::Good; MAX_SIGNALS],
            to: evaluation.decision.to,
        };
        for (place, step) in ground.limits.iter_mut().zip(evaluation.limits()) {
            *place = (step.rule, step.effect);
        }
        for (place, evidence) in ground.quality.iter_mut().zip(evaluation.signals()) {
            *place = evidence.quality;
        }
        ground
    }

    fn is_unknown(&self) -> bool {
        self.quality.iter().any(|quality| *quality != Quality::Good)
    }
}

impl<'a> Timeline<'a> {
    /// An empty timeline of a policy on nodes of `gpus_per_node` GPUs.
    #[must_use]
    pub fn new(config: &'a Config, gpus_per_node: u32, run: Loop) -> Self {
        Self {
            config,
            gpus_per_node: gpus_per_node.max(1),
            run,
            start_ms: 0,
            step_ms: config.evaluation_interval_ms.max(1),
            ticks: 0,
            before: None,
            advised: None,
            buckets: Buckets::new(MOST_BUCKETS),
            asked: Steps::new(MOST_CHANGES),
            ready: Steps::new(MOST_CHANGES),
            would: Steps::new(MOST_CHANGES),
            events: Events::default(),
            saturated: Spans::new(MOST_SPANS),
            unknown: Spans::new(MOST_SPANS),
        }
    }

    /// The policy.
    pub(super) fn config(&self) -> &'a Config {
        self.config
    }

    /// GPUs of a node.
    pub(super) fn gpus_per_node(&self) -> u32 {
        self.gpus_per_node
    }

    /// Whether decisions were carried out.
    pub(super) fn run(&self) -> Loop {
        self.run
    }

    /// Ticks seen.
    pub(super) fn ticks(&self) -> u32 {
        self.ticks
    }

    /// Milliseconds between two ticks.
    pub(super) fn step_ms(&self) -> Millis {
        self.step_ms
    }

    /// When a tick was, in milliseconds since the Unix epoch.
    pub(super) fn time_ms(&self, tick: u32) -> Millis {
        let since = self.step_ms.saturating_mul(i64::from(tick));
        self.start_ms.saturating_add(since)
    }

    /// The tick at a time, between none and all of them.
    pub(super) fn tick_at(&self, ms: Millis) -> u32 {
        let ticks = ms.saturating_sub(self.start_ms).div_euclid(self.step_ms);
        u32::try_from(ticks.max(0)).unwrap_or(u32::MAX).min(self.ticks)
    }

    fn busy(&self, tick: &Tick<'_>) -> Option<Micro> {
        let gpus = i64::from(tick.ready) * i64::from(self.gpus_per_node);
        (gpus > 0).then(|| tick.served / gpus)
    }

    /// An event, if the decision stands on other ground than the one before, or changes a size.
    fn note(&mut self, number: u32, evaluation: &Evaluation) {
        let decision = &evaluation.decision;
        let (from, to) = match self.run {
            Loop::Closed | Loop::Live => (decision.from, decision.to),
            Loop::Open => (self.advised.unwrap_or(decision.from), decision.to),
        };
        self.advised = Some(to);
        let ground = Ground::of(evaluation);
        if ground.is_unknown() {
            self.unknown.push(number, number + 1);
        }
        if from == to && self.before.as_ref() == Some(&ground) {
            return;
        }
        self.events.push(number, from, to, &self.sentences(evaluation));
        self.before = Some(ground);
    }

    /// The decision, what limited it, and what each signal said.
    fn sentences(&self, evaluation: &Evaluation) -> Vec<String> {
        let limits = evaluation.limits();
        let signals = self.config.signals.iter().zip(evaluation.signals());
        std::iter::once(explain::headline(evaluation))
            .chain(limits.map(|step| explain::step_says(step, self.config)))
            .chain(signals.map(|(signal, evidence)| explain::signal_says(signal, evidence)))
            .collect()
    }
}

impl Watch for Timeline<'_> {
    fn tick(&mut self, tick: &Tick<'_>) {
        let number = self.ticks;
        match number {
            0 => self.start_ms = tick.now_ms,
            1 => self.step_ms = tick.now_ms.saturating_sub(self.start_ms).max(1),
            // A page that would need more is not drawn by anybody: 4 billion ticks of a second are 136 years.
            u32::MAX => return,
            _ => {}
        }
        let would = tick.evaluation.decision.to;
        let busy = self.busy(tick);
        self.buckets
            .push(&Bucket::tick(tick.demand, busy, tick.asked, would));
        self.asked.push(number, tick.asked);
        self.ready.push(number, tick.ready);
        if self.run == Loop::Open {
            self.would.push(number, would);
        }
        if tick.served < tick.demand {
            self.saturated.push(number, number + 1);
        }
        self.note(number, tick.evaluation);
        self.ticks += 1;
    }
}

/// Busy share in parts of ten thousand, demand in thousandths of a GPU: what a screen can show.
pub(super) fn shown(micro: Micro, parts: Micro) -> i64 {
    let unit = ONE / parts.max(1);
    (micro.saturating_add(unit / 2)).div_euclid(unit)
}
