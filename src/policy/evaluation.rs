//! The record of one evaluation: the decision, the evidence behind it, and every rule that was asked.
//!
//! Status, log, Event, metric, report and `explain` render this one record; none computes it again. It is a plain
//! value of fixed size, so making it allocates nothing.

use std::fmt;

use serde::Serialize;

use super::config::{MAX_SIGNALS, Micro, Millis};
use super::observation::Now;
use super::sample::NodeId;

/// Most nodes named in one decision; a larger scale-in takes several ticks.
pub const MAX_VICTIMS: usize = 16;

/// Most steps in one evaluation.
pub const MAX_STEPS: usize = 24;

/// What to do, why, and how it came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evaluation {
    /// When.
    pub at: Now,
    /// What to do.
    pub decision: Decision,
    signals: [SignalEvidence; MAX_SIGNALS],
    signal_count: usize,
    steps: [Step; MAX_STEPS],
    step_count: usize,
}

impl Evaluation {
    /// The evidence of each signal, in the order of the policy.
    #[must_use]
    pub fn signals(&self) -> &[SignalEvidence] {
        &self.signals[..self.signal_count]
    }

    /// The rules that were asked, in order: wishes, shaping, vetoes, guard.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps[..self.step_count]
    }

    /// Whether the signals want more than was measured: a guess, for pinned devices or by a step.
    #[must_use]
    pub fn guesses(&self) -> bool {
        let signals = || self.signals().iter();
        signals().map(|signal| signal.needs_up).max() > signals().map(|signal| signal.measured_up).max()
    }

    /// The steps that changed or stopped something.
    pub fn limits(&self) -> impl Iterator<Item = &Step> {
        self.steps().iter().filter(|step| step.effect != Effect::Passed)
    }
}

/// What to do with the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Nodes asked for now.
    pub from: u32,
    /// Nodes to ask for; equal to `from` for a hold.
    pub to: u32,
    /// Size that the evidence wished for, before shaping.
    pub wish: u32,
    /// The rule that had the last word.
    pub reason: Reason,
    /// Growth that this pool cannot give, for the fallback pools.
    pub unplaced: u32,
    /// How much of that may be asked of a fallback pool now: all rules for growth hold for it, and it fits under the bound
    /// with every missing node still to come.
    pub placeable: u32,
    /// Nodes to release, when they are named.
    pub victims: Victims,
}

impl Decision {
    /// Whether anything is to be done.
    #[must_use]
    pub fn is_hold(&self) -> bool {
        self.from == self.to
    }
}

/// A short list of nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Victims {
    nodes: [NodeId; MAX_VICTIMS],
    count: usize,
}

impl Default for Victims {
    fn default() -> Self {
        Self {
            nodes: [NodeId(0); MAX_VICTIMS],
            count: 0,
        }
    }
}

impl Victims {
    /// The nodes, in the order in which they should go.
    #[must_use]
    pub fn as_slice(&self) -> &[NodeId] {
        &self.nodes[..self.count]
    }

    /// Adds a node unless the list is full.
    pub(super) fn push(&mut self, node: NodeId) {
        if let Some(place) = self.nodes.get_mut(self.count) {
            *place = node;
            self.count += 1;
        }
    }

    /// Keeps the first `count` nodes.
    pub(super) fn truncate(&mut self, count: usize) {
        self.count = self.count.min(count);
    }
}

/// Three-valued answer of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum Verdict {
    /// The condition holds.
    Met,
    /// It does not.
    NotMet,
    /// The data does not say.
    #[default]
    Unknown,
}

/// Whether a signal's data can be judged, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum Quality {
    /// It can.
    Good,
    /// There is no sample at all: a wrong query, a dead exporter, an empty pool.
    #[default]
    NoData,
    /// The newest sample is older than `maxAge`.
    Stale,
    /// Fewer devices or less time than `minCoverage` are known.
    LowCoverage,
    /// The window reaches back further than the data.
    ShortHistory,
    /// The source answered with warnings or in part.
    PartialAnswer,
    /// There is no cluster view to see pods in.
    NoClusterView,
    /// More than a fifth of the nodes is unhealthy.
    TooManyUnhealthy,
}

impl Quality {
    /// The word for traces, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "Good",
            Self::NoData => "NoData",
            Self::Stale => "Stale",
            Self::LowCoverage => "LowCoverage",
            Self::ShortHistory => "ShortHistory",
            Self::PartialAnswer => "PartialAnswer",
            Self::NoClusterView => "NoClusterView",
            Self::TooManyUnhealthy => "TooManyUnhealthy",
        }
    }
}

/// What one signal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SignalEvidence {
    /// Whether the demand window can be judged.
    pub quality: Quality,
    /// Share of the demand window that is known, in micros.
    pub coverage: Micro,
    /// Age of the newest sample.
    pub age_ms: Millis,
    /// Demand with unknown devices idle, in micros: GPUs for utilization, the query's unit otherwise.
    pub demand_low: Micro,
    /// Demand with unknown devices busy.
    pub demand_high: Micro,
    /// GPUs that were pinned, time-weighted, in micro-GPUs.
    pub pinned: Micro,
    /// Answer of the up rule; `Met` where there is none.
    pub up: Verdict,
    /// Answer of the down rule; `Met` where there is none.
    pub down: Verdict,
    /// What the up rule saw: the mean over its window, in micros.
    pub up_value: Micro,
    /// What the down rule saw.
    pub down_value: Micro,
    /// Nodes that the signal wants at least, before spare nodes.
    pub needs_up: u32,
    /// The part of `needs_up` that was measured, and not guessed from pinned devices or a step rule.
    pub measured_up: u32,
    /// Nodes below which the signal objects.
    pub needs_down: u32,
}

/// A rule that was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Which rule.
    pub rule: Rule,
    /// What it did.
    pub effect: Effect,
    /// Size before it.
    pub before: u32,
    /// Size after it.
    pub after: u32,
    /// What it looked at; the unit depends on the rule (see [`Rule`]).
    pub value: i64,
    /// What it compared with.
    pub limit: i64,
}

/// What a rule did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum Effect {
    /// It let the size pass.
    #[default]
    Passed,
    /// It changed the size.
    Shaped,
    /// It stopped the change.
    Vetoed,
}

/// The rules, in the order in which they are asked. The comment says what `value` and `limit` are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub enum Rule {
    /// The wish of signal number `value`; `limit` is its quality as a number.
    SignalWish,
    /// All wishes together: signals known, signals in all.
    #[default]
    Wish,
    /// Nodes kept beyond the evidence: spare nodes.
    SpareNodes,
    /// An open schedule: its number, its bound.
    Schedule,
    /// "At least n until then": n, ms left.
    Override,
    /// The spending limit: price, budget, both micro-USD per hour.
    Budget,
    /// The upper bound: `maxNodes`.
    MaxNodes,
    /// The lower bound: `minNodes`.
    MinNodes,
    /// The policy is suspended.
    Suspended,
    /// The administrator froze everything.
    Frozen,
    /// A pause annotation.
    Paused,
    /// A resize is in flight.
    PoolBusy,
    /// Somebody else keeps changing the count: foreign writes in the last hour, writes allowed.
    Conflicting,
    /// Nodes asked for are still on their way: nodes missing, nodes booting.
    SupplyInFlight,
    /// Nodes asked for did not come in time: nodes missing, `provisionTimeout` in ms.
    NodesMissing,
    /// Free GPUs cover the growth: GPUs free, GPUs wanted.
    FreeCapacity,
    /// Nodes came or left too recently to judge by: ms since, ms wanted.
    Settle,
    /// Growth brought no relief: growths in a row, growths allowed.
    NoRelief,
    /// The most cautious wish of the window: size, window in ms.
    Stabilized,
    /// Limits of the rate policies: size allowed.
    RateLimited,
    /// This direction is disabled.
    Disabled,
    /// The platform had no capacity: ms left.
    CapacityMemory,
    /// A signal is Unknown: its number, its quality as a number.
    DataQuality,
    /// The load needs the nodes: size below which a signal objects.
    InUse,
    /// Quiet time after a resize: ms since, ms wanted.
    Cooldown,
    /// The smaller size would grow again at once: utilization there, up threshold, in micros.
    AntiFlap,
    /// No node can go safely: nodes that may go, nodes that should.
    NoSafeVictim,
    /// There is no cluster view to choose nodes in.
    NoClusterView,
    /// The last check: Unknown, or no safe victim, never ends below the current size.
    Guard,
    /// The source's clock was set while the windows were filled: ms left.
    ClockStepped,
}

/// Why the decision is what it is: a rule that limited it, or the evidence itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Reason {
    /// The size is right.
    WithinTarget,
    /// Demand wants more.
    DemandAboveTarget,
    /// Demand is met by fewer.
    DemandBelowTarget,
    /// Devices are pinned and hide demand.
    Saturated,
    /// A step rule is Met.
    RuleMet,
    /// Pods wait.
    PodsWaiting,
    /// Empty nodes beyond the spare ones.
    EmptyNodes,
    /// A rule had the last word.
    Limited(Rule),
}

impl Reason {
    /// The `CamelCase` word for conditions, Events, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WithinTarget => "WithinTarget",
            Self::DemandAboveTarget => "DemandAboveTarget",
            Self::DemandBelowTarget => "DemandBelowTarget",
            Self::Saturated => "Saturated",
            Self::RuleMet => "RuleMet",
            Self::PodsWaiting => "PodsWaiting",
            Self::EmptyNodes => "EmptyNodes",
            Self::Limited(rule) => rule.as_str(),
        }
    }
}

impl Rule {
    /// The `CamelCase` word for conditions, Events, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SignalWish => "SignalWish",
            Self::Wish => "Wish",
            Self::SpareNodes => "SpareNodes",
            Self::Schedule => "Schedule",
            Self::Override => "Override",
            Self::Budget => "Budget",
            Self::MaxNodes => "MaxNodes",
            Self::MinNodes => "MinNodes",
            Self::Suspended => "Suspended",
            Self::Frozen => "Frozen",
            Self::Paused => "Paused",
            Self::PoolBusy => "PoolBusy",
            Self::Conflicting => "Conflicting",
            Self::SupplyInFlight => "SupplyInFlight",
            Self::NodesMissing => "NodesMissing",
            Self::FreeCapacity => "FreeCapacity",
            Self::Settle => "Settle",
            Self::NoRelief => "NoRelief",
            Self::Stabilized => "Stabilized",
            Self::RateLimited => "RateLimited",
            Self::Disabled => "Disabled",
            Self::CapacityMemory => "CapacityMemory",
            Self::DataQuality => "DataQuality",
            Self::InUse => "InUse",
            Self::Cooldown => "Cooldown",
            Self::AntiFlap => "AntiFlap",
            Self::NoSafeVictim => "NoSafeVictim",
            Self::NoClusterView => "NoClusterView",
            Self::Guard => "Guard",
            Self::ClockStepped => "ClockStepped",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Evaluation {
    /// An evaluation that holds the pool at `current`, and of which nothing is known yet.
    pub(super) fn hold(at: Now, current: u32) -> Self {
        const EMPTY: Step = Step {
            rule: Rule::Wish,
            effect: Effect::Passed,
            before: 0,
            after: 0,
            value: 0,
            limit: 0,
        };
        Self {
            at,
            decision: Decision {
                from: current,
                to: current,
                wish: current,
                reason: Reason::WithinTarget,
                unplaced: 0,
                placeable: 0,
                victims: Victims::default(),
            },
            signals: [SignalEvidence::default(); MAX_SIGNALS],
            signal_count: 0,
            steps: [EMPTY; MAX_STEPS],
            step_count: 0,
        }
    }
}

/// Collects an evaluation while it is made: the size as it stands is the decision's `to`.
///
/// It borrows the record instead of owning it, since moving a record of more than a kilobyte costs as much as
/// deciding.
pub(super) struct Trace<'a> {
    evaluation: &'a mut Evaluation,
}

impl<'a> Trace<'a> {
    pub(super) fn new(evaluation: &'a mut Evaluation) -> Self {
        Self { evaluation }
    }

    /// The size asked for when the evaluation began.
    pub(super) fn current(&self) -> u32 {
        self.evaluation.decision.from
    }

    /// The size as it stands.
    pub(super) fn size(&self) -> u32 {
        self.evaluation.decision.to
    }

    pub(super) fn decision_mut(&mut self) -> &mut Decision {
        &mut self.evaluation.decision
    }

    pub(super) fn signals(&self) -> &[SignalEvidence] {
        self.evaluation.signals()
    }

    /// The next signal's place in the record, to be filled in.
    pub(super) fn next_signal(&mut self) -> Option<&mut SignalEvidence> {
        let place = self.evaluation.signals.get_mut(self.evaluation.signal_count)?;
        self.evaluation.signal_count += 1;
        Some(place)
    }

    /// Records a rule and takes its size. A rule that changes the size, or brings it back to the current one, is
    /// the reason until a later one does.
    pub(super) fn ask(&mut self, rule: Rule, after: u32, value: i64, limit: i64) {
        let before = self.size();
        let effect = if after == before {
            Effect::Passed
        } else if after == self.current() {
            Effect::Vetoed
        } else {
            Effect::Shaped
        };
        if effect != Effect::Passed {
            self.evaluation.decision.reason = Reason::Limited(rule);
        }
        self.record(Step {
            rule,
            effect,
            before,
            after,
            value,
            limit,
        });
        self.evaluation.decision.to = after;
    }

    /// Records what the evidence wishes, which is no limit.
    pub(super) fn wish(&mut self, size: u32, reason: Reason, known: usize, signals: usize) {
        let before = self.size();
        let effect = if size == before {
            Effect::Passed
        } else {
            Effect::Shaped
        };
        let (value, limit) = (
            i64::try_from(known).unwrap_or(0),
            i64::try_from(signals).unwrap_or(0),
        );
        self.record(Step {
            rule: Rule::Wish,
            effect,
            before,
            after: size,
            value,
            limit,
        });
        let decision = &mut self.evaluation.decision;
        (decision.reason, decision.wish, decision.to) = (reason, size, size);
    }

    /// Stops the change: the size is the current one again.
    pub(super) fn veto(&mut self, rule: Rule, value: i64, limit: i64) {
        let current = self.current();
        self.ask(rule, current, value, limit);
    }

    /// Records a rule that was asked and had nothing to say.
    pub(super) fn pass(&mut self, rule: Rule, value: i64, limit: i64) {
        self.ask(rule, self.size(), value, limit);
    }

    fn record(&mut self, step: Step) {
        if let Some(place) = self.evaluation.steps.get_mut(self.evaluation.step_count) {
            *place = step;
            self.evaluation.step_count += 1;
        }
    }
}
