//! Every decision of a run as one JSON line, and a last line with the fingerprint of them all.
//!
//! The line renders the record of the evaluation, in the units that people use: GPUs, percent, seconds. It decides
//! nothing and asks nothing again, so a traced run makes the same decisions as an untraced one; the fingerprint
//! proves it.

use jiff::Timestamp;
use serde::Serialize;

use super::json::fingerprint;
use crate::policy::config::{Config, Micro, Millis, ONE, SeriesUnit, Signal, SignalSource};
use crate::policy::evaluation::{Effect, Evaluation, Quality, Reason, SignalEvidence, Step, Verdict};
use crate::simulator::closed_loop::Tick;

/// One decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line<'a> {
    /// When, in RFC 3339.
    pub time: String,
    /// Nodes asked for before.
    pub from: u32,
    /// Nodes asked for after.
    pub to: u32,
    /// The size that the evidence wished for.
    pub wish: u32,
    /// The rule that had the last word.
    pub reason: &'static str,
    /// Nodes that serve in this interval.
    pub ready: u32,
    /// Demand of the interval in GPUs, where it is known; the policy does not see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub demand_gpus: Option<f64>,
    /// The part that was served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub served_gpus: Option<f64>,
    /// Names of the rules that stopped the change.
    pub vetoes: Vec<&'static str>,
    /// The rules that changed or stopped something.
    pub limits: Vec<Limit>,
    /// What each signal says.
    pub signals: Vec<Evidence<'a>>,
}

/// A rule that changed or stopped something. The unit of `value` and `bound` is the rule's own.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limit {
    /// Which rule.
    pub rule: &'static str,
    /// What it did: `Shaped` or `Vetoed`.
    pub effect: Effect,
    /// Size before it.
    pub before: u32,
    /// Size after it.
    pub after: u32,
    /// What it looked at.
    pub value: i64,
    /// What it compared with.
    pub bound: i64,
}

/// What one signal says.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Evidence<'a> {
    /// The signal's name in the policy.
    pub name: &'a str,
    /// Whether its data can be judged.
    pub quality: Quality,
    /// Known share of its window.
    pub coverage_percent: f64,
    /// Age of the newest sample; `null` if there is none.
    pub age_seconds: Option<f64>,
    /// Unit of the demand: `gpus`, `pods` or `count`.
    pub unit: &'static str,
    /// Demand if what is unknown is idle.
    pub demand_low: f64,
    /// Demand if what is unknown is busy.
    pub demand_high: f64,
    /// GPUs that were pinned at their limit.
    pub pinned_gpus: f64,
    /// Answer of the up rule; `Met` where there is none.
    pub up: Verdict,
    /// Answer of the down rule; `Met` where there is none.
    pub down: Verdict,
    /// Nodes that the signal wants at least.
    pub needs_up: u32,
    /// Nodes below which it objects.
    pub needs_down: u32,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct End {
    /// Always true: tells this line from the others, and a whole trace from one that was cut short.
    pub end: bool,
    /// Decisions before it.
    pub ticks: u64,
    /// Fingerprint of all of them.
    pub checksum: String,
}

impl End {
    /// The last line of a run.
    #[must_use]
    pub fn new(ticks: u64, checksum: u64) -> Self {
        Self {
            end: true,
            ticks,
            checksum: fingerprint(checksum),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "for people; 53 bits are enough for a billion GPUs"
)]
fn whole(micro: Micro) -> f64 {
    micro as f64 / ONE as f64
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn seconds(ms: Millis) -> f64 {
    ms as f64 / 1000.0
}

/// The unit that a signal's demand is in.
#[must_use]
pub fn unit(signal: &Signal) -> &'static str {
    match signal.source {
        SignalSource::GpuRequests => "pods",
        SignalSource::Series(SeriesUnit::Count) => "count",
        SignalSource::Device(_) | SignalSource::Series(_) => "gpus",
    }
}

/// An instant as RFC 3339; instants outside the calendar as milliseconds.
#[must_use]
pub fn time(ms: Millis) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |time| time.to_string())
}

impl<'a> Line<'a> {
    /// The line of a tick of a simulation, which knows the demand.
    #[must_use]
    pub fn new(tick: &Tick<'_>, config: &'a Config) -> Self {
        Self {
            demand_gpus: Some(whole(tick.demand)),
            served_gpus: Some(whole(tick.served)),
            ..Self::of(tick.now_ms, tick.ready, tick.evaluation, config)
        }
    }

    /// The line of a decision of which the demand is not known.
    #[must_use]
    pub fn of(now_ms: Millis, ready: u32, evaluation: &Evaluation, config: &'a Config) -> Self {
        let decision = &evaluation.decision;
        let vetoes = evaluation.limits().filter(|step| step.effect == Effect::Vetoed);
        Self {
            time: time(now_ms),
            from: decision.from,
            to: decision.to,
            wish: decision.wish,
            reason: Reason::as_str(decision.reason),
            ready,
            demand_gpus: None,
            served_gpus: None,
            vetoes: vetoes.map(|step| step.rule.as_str()).collect(),
            limits: evaluation.limits().map(Limit::new).collect(),
            signals: config
                .signals
                .iter()
                .zip(evaluation.signals())
                .map(|(signal, evidence)| Evidence::new(signal, evidence))
                .collect(),
        }
    }
}

impl Limit {
    fn new(step: &Step) -> Self {
        Self {
            rule: step.rule.as_str(),
            effect: step.effect,
            before: step.before,
            after: step.after,
            value: step.value,
            bound: step.limit,
        }
    }
}

impl<'a> Evidence<'a> {
    fn new(signal: &'a Signal, evidence: &SignalEvidence) -> Self {
        Self {
            name: &signal.name,
            quality: evidence.quality,
            coverage_percent: whole(evidence.coverage) * 100.0,
            age_seconds: (evidence.age_ms != Millis::MAX).then(|| seconds(evidence.age_ms)),
            unit: unit(signal),
            demand_low: whole(evidence.demand_low),
            demand_high: whole(evidence.demand_high),
            pinned_gpus: whole(evidence.pinned),
            up: evidence.up,
            down: evidence.down,
            needs_up: evidence.needs_up,
            needs_down: evidence.needs_down,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::observation::{Nodes, Now, Observation};
    use crate::policy::{Memory, Windows, evaluate};

    #[test]
    fn a_line_is_in_the_units_of_people() {
        let policy = crate::api::validate(
            "apiVersion: gpuscale.dev/v1alpha1\nkind: GpuScalePolicy\nmetadata: { name: p }\nspec:\n  \
             targetRef: { kind: AksNodePool, name: a }\n  minNodes: 3\n  maxNodes: 4\n  \
             signals: [ { name: gpu, dcgm: { metric: GpuUtilization } } ]\n",
        )
        .unwrap();
        let config = crate::api::compile(&policy).unwrap();
        let observation = Observation {
            asked: 1,
            ready: 1,
            schedulable: 1,
            gpus_per_node: 8,
            nodes: Nodes::Interchangeable,
            ..Observation::default()
        };
        let now_ms = 1_700_000_000_000;
        let mut memory = Memory::default();
        let evaluation = evaluate(
            &config,
            &Windows::new(&config),
            &observation,
            &mut memory,
            Now::at(now_ms),
        );
        let tick = Tick {
            now_ms,
            demand: 2_500_000,
            served: 2_500_000,
            asked: evaluation.decision.to,
            ready: 1,
            evaluation: &evaluation,
        };
        let json = serde_json::to_value(Line::new(&tick, &config)).unwrap();
        assert_eq!(json["time"], "2023-11-14T22:13:20Z");
        assert_eq!((&json["from"], &json["to"]), (&1.into(), &3.into()));
        assert_eq!(json["reason"], "MinNodes");
        assert_eq!(json["demand_gpus"], 2.5);
        assert_eq!(json["signals"][0]["name"], "gpu");
        assert_eq!(json["signals"][0]["quality"], "NoData");
        assert!(json["signals"][0]["age_seconds"].is_null());
        assert_eq!(json["limits"][0]["rule"], "MinNodes");
    }
}
