//! One evaluation in plain words: what was decided, what each signal said, and what each rule did about it.
//!
//! It renders the record and computes nothing again, so the words cannot say something else than what happened. The
//! unit of a step's `value` and `limit` is its rule's own; the table of meanings is the documentation of
//! [`Rule`], and this file is its other half.

use std::fmt::Write;

use super::json::duration;
use super::trace::unit;
use crate::policy::config::{Config, Micro, Millis, ONE, Signal};
use crate::policy::evaluation::{Effect, Evaluation, Quality, Reason, Rule, SignalEvidence, Step, Verdict};

/// The sentence of an evaluation: the decision, then one line for each signal, then one for each step.
#[must_use]
pub fn explain(evaluation: &Evaluation, config: &Config) -> String {
    let mut text = headline(evaluation);
    let told = config.signals.iter().zip(evaluation.signals());
    for (signal, evidence) in told {
        line(&mut text, &signal_says(signal, evidence));
    }
    for step in evaluation.steps() {
        line(&mut text, &step_says(step, config));
    }
    text
}

fn line(text: &mut String, sentence: &str) {
    text.push_str("\n  ");
    text.push_str(sentence);
}

/// The decision in one line.
#[must_use]
pub fn headline(evaluation: &Evaluation) -> String {
    let decision = &evaluation.decision;
    let because = reason_says(decision.reason);
    let mut text = if decision.is_hold() {
        format!("hold at {}: {because}", nodes(decision.to))
    } else if decision.to > decision.from {
        format!("grow from {} to {}: {because}", decision.from, nodes(decision.to))
    } else {
        format!(
            "shrink from {} to {}: {because}",
            decision.from,
            nodes(decision.to)
        )
    };
    if decision.unplaced > 0 {
        let _ = write!(text, "; {} for the fallback pools", nodes(decision.unplaced));
    }
    text
}

fn nodes(count: impl Into<i64>) -> String {
    match count.into() {
        1 => "1 node".to_owned(),
        count => format!("{count} nodes"),
    }
}

pub(super) fn reason_says(reason: Reason) -> String {
    match reason {
        Reason::WithinTarget => "demand is within the target".to_owned(),
        Reason::DemandAboveTarget => "demand is above the target".to_owned(),
        Reason::DemandBelowTarget => "demand is met by fewer nodes".to_owned(),
        Reason::Saturated => "GPUs are pinned at their limit and hide demand".to_owned(),
        Reason::RuleMet => "a step rule is met".to_owned(),
        Reason::PodsWaiting => "pods wait for GPUs".to_owned(),
        Reason::EmptyNodes => "nodes are empty".to_owned(),
        Reason::Limited(rule) => format!("`{rule}` had the last word"),
    }
}

pub(super) fn signal_says(signal: &Signal, evidence: &SignalEvidence) -> String {
    let name = &signal.name;
    if evidence.quality != Quality::Good {
        return format!(
            "signal `{name}` cannot be judged, {}; it neither grows nor shrinks the pool",
            quality_says(evidence)
        );
    }
    let demand = if evidence.demand_low == evidence.demand_high {
        micro(evidence.demand_low)
    } else {
        format!(
            "{} to {}",
            micro(evidence.demand_low),
            micro(evidence.demand_high)
        )
    };
    let what = match unit(signal) {
        "pods" => format!("{demand} pods wait"),
        "gpus" => format!("{demand} GPUs busy"),
        _ => format!("a load of {demand}"),
    };
    let mut text = format!("signal `{name}` sees {what}");
    if evidence.pinned > 0 {
        let _ = write!(text, ", {} of them pinned", micro(evidence.pinned));
    }
    for (rule, verdict, value) in [
        (signal.up.is_some(), evidence.up, evidence.up_value),
        (signal.down.is_some(), evidence.down, evidence.down_value),
    ]
    .into_iter()
    .zip(["up", "down"])
    .filter_map(|((there, verdict, value), rule)| there.then_some((rule, verdict, value)))
    {
        let says = match verdict {
            Verdict::Met => format!("is met at {}", micro(value)),
            Verdict::NotMet => format!("is not met at {}", micro(value)),
            Verdict::Unknown => "cannot be judged yet".to_owned(),
        };
        let _ = write!(text, "; its {rule} rule {says}");
    }
    let wants = match evidence.needs_up {
        0 => String::new(),
        needs => format!("; it wants {}", nodes(needs)),
    };
    let _ = write!(text, "{wants}; it objects below {}", nodes(evidence.needs_down));
    text
}

fn quality_says(evidence: &SignalEvidence) -> String {
    match evidence.quality {
        Quality::Good => "its data is good".to_owned(),
        Quality::NoData => "there is no sample at all".to_owned(),
        Quality::Stale => format!("its newest sample is {} old", duration(evidence.age_ms)),
        Quality::LowCoverage => format!("only {} of its window is known", percent(evidence.coverage)),
        Quality::ShortHistory => "its window reaches back further than the data".to_owned(),
        Quality::PartialAnswer => "the source answered in part".to_owned(),
        Quality::NoClusterView => "there is no cluster view".to_owned(),
        Quality::TooManyUnhealthy => "more than a fifth of the nodes is unhealthy".to_owned(),
    }
}

/// A number of millionths with at most two decimals.
fn micro(value: Micro) -> String {
    let hundredths = (value + ONE / 200).div_euclid(ONE / 100);
    match (hundredths / 100, hundredths % 100) {
        (whole, 0) => whole.to_string(),
        (whole, part) => format!("{whole}.{part:02}").trim_end_matches('0').to_owned(),
    }
}

fn percent(fraction: Micro) -> String {
    format!("{} %", micro(fraction.saturating_mul(100)))
}

fn usd(value: Micro) -> String {
    format!("{} USD per hour", micro(value))
}

/// Since when: a timer that never ran reads as the end of time.
fn waited(ms: Millis) -> String {
    if ms == Millis::MAX {
        "nothing was resized before".to_owned()
    } else {
        format!("{} passed", duration(ms))
    }
}

pub(super) fn step_says(step: &Step, config: &Config) -> String {
    let did = match step.effect {
        Effect::Passed => format!("leaves {}", nodes(step.after)),
        Effect::Shaped => format!("{} → {}", step.before, nodes(step.after)),
        Effect::Vetoed => format!("stops {} and stays at {}", step.before, nodes(step.after)),
    };
    format!("`{}` {did}: {}", step.rule, rule_says(step, config))
}

/// Why a rule did what it did. Split where the rules are: evidence and bounds here, the rest below.
fn rule_says(step: &Step, config: &Config) -> String {
    let Step { value, limit, .. } = *step;
    match step.rule {
        Rule::SignalWish => format!("signal `{}` wishes it", signal_name(config, value)),
        Rule::Wish => format!("{value} of {limit} signals can be judged"),
        Rule::SpareNodes => format!("{} kept beyond the evidence", nodes(limit)),
        Rule::Schedule => format!(
            "schedule `{}` is open, bound {limit}",
            schedule_name(config, value)
        ),
        Rule::Override => format!("at least {value} are asked for, for another {}", duration(limit)),
        Rule::Budget if value <= 0 => format!("the budget is {} and the price is unknown", usd(limit)),
        Rule::Budget => format!("a node costs {} and the budget is {}", usd(value), usd(limit)),
        Rule::MaxNodes => format!("`maxNodes` is {limit}"),
        Rule::MinNodes => format!("`minNodes` is {limit}"),
        Rule::Suspended => "the policy is suspended".to_owned(),
        Rule::Frozen => "the administrator froze everything".to_owned(),
        Rule::Paused => "a pause annotation holds".to_owned(),
        Rule::PoolBusy => "a resize is in flight".to_owned(),
        Rule::Conflicting => format!("{value} foreign writes in the last hour, {limit} are tolerated"),
        Rule::ClockStepped => format!(
            "the metrics source's clock was set, and for another {} its windows show a time twice or not at all",
            duration(value)
        ),
        Rule::Guard => "what cannot be judged never makes a pool smaller, and no bound is passed".to_owned(),
        _ => veto_says(step, config),
    }
}

fn veto_says(step: &Step, config: &Config) -> String {
    let Step { value, limit, .. } = *step;
    match step.rule {
        Rule::SupplyInFlight => format!("{} on their way, believed for {}", nodes(value), duration(limit)),
        Rule::NodesMissing => format!("{} did not come within {}", nodes(value), duration(limit)),
        Rule::FreeCapacity => format!("{value} GPUs are free, {limit} are wanted"),
        Rule::Settle if value == Millis::MAX => "no nodes came or left before".to_owned(),
        Rule::Settle => format!(
            "{} passed since nodes came or left, {} are wanted for it to show",
            duration(value),
            duration(limit)
        ),
        Rule::NoRelief => format!("{value} growths in a row brought no relief, {limit} are tolerated"),
        Rule::Stabilized => format!(
            "the most cautious wish of the last {} is {value}",
            duration(limit)
        ),
        Rule::RateLimited => format!("the rate limits allow {value}"),
        Rule::Disabled => "this direction is disabled".to_owned(),
        Rule::CapacityMemory => format!("the platform had no capacity; next try in {}", duration(value)),
        Rule::DataQuality if value < 0 => "every signal can be judged".to_owned(),
        Rule::DataQuality => format!("signal `{}` cannot be judged", signal_name(config, value)),
        Rule::InUse => format!("the load needs {}", nodes(value)),
        Rule::Cooldown => format!(
            "{} since the last resize, {} are wanted",
            waited(value),
            duration(limit)
        ),
        Rule::AntiFlap => format!(
            "utilization there would be {}, and the pool grows at {}",
            percent(value),
            percent(limit)
        ),
        Rule::NoSafeVictim => format!("{value} of {limit} nodes may go"),
        Rule::NoClusterView => "there is no cluster view to choose nodes in".to_owned(),
        _ => format!("value {value}, limit {limit}"),
    }
}

fn signal_name(config: &Config, index: i64) -> &str {
    let signal = usize::try_from(index)
        .ok()
        .and_then(|index| config.signals.get(index));
    signal.map_or("?", |signal| signal.name.as_str())
}

fn schedule_name(config: &Config, index: i64) -> &str {
    let schedule = usize::try_from(index)
        .ok()
        .and_then(|index| config.schedules.get(index));
    schedule.map_or("?", |schedule| schedule.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::observation::{Nodes, Now, Observation};
    use crate::policy::sample::{DeviceId, NodeId, Sample};
    use crate::policy::windows::{Delta, Device};
    use crate::policy::{Memory, Windows, evaluate};

    fn config(extra: &str) -> Config {
        let yaml = format!(
            "apiVersion: gpuscale.dev/v1alpha1\nkind: GpuScalePolicy\nmetadata: {{ name: p }}\nspec:\n  \
             targetRef: {{ kind: AksNodePool, name: a }}\n  maxNodes: 4\n{extra}"
        );
        crate::api::compile(&crate::api::validate(&yaml).unwrap()).unwrap()
    }

    const GPU: &str =
        "  signals: [ { name: gpu, dcgm: { metric: GpuUtilization }, targetPercentage: 75 } ]\n";

    /// One node of 8 GPUs that shows `utilization` (in micros) for ten minutes.
    fn after_ten_minutes(config: &Config, utilization: Micro) -> Evaluation {
        let device = |at| Device {
            weight: 8 * ONE,
            ..Device::new(DeviceId(0), NodeId(0), at)
        };
        let start = 1_700_000_000_000;
        let (mut windows, mut memory) = (Windows::new(config), Memory::default());
        let observation = Observation {
            asked: 1,
            ready: 1,
            schedulable: 1,
            gpus_per_node: 8,
            nodes: Nodes::Interchangeable,
            ..Observation::default()
        };
        let mut last = None;
        for tick in 0..40 {
            let now_ms = start + tick * 15_000;
            let inventory = [device(start)];
            windows.ingest(&Delta {
                now_ms,
                samples: &[Sample {
                    weight: 8 * ONE,
                    ..Sample::of_device(0, DeviceId(0), now_ms, utilization)
                }],
                inventory: (tick == 0).then_some(&inventory[..]),
                reads: &[],
            });
            let evaluation = evaluate(config, &windows, &observation, &mut memory, Now::at(now_ms));
            last = Some(evaluation);
        }
        last.unwrap()
    }

    #[test]
    fn a_hold_is_explained() {
        let config = config(GPU);
        let text = explain(&after_ten_minutes(&config, 500_000), &config);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "hold at 1 node: demand is within the target");
        assert_eq!(
            lines[1],
            "  signal `gpu` sees 4 GPUs busy; it objects below 1 node"
        );
        assert_eq!(lines[2], "  `Wish` leaves 1 node: 1 of 1 signals can be judged");
    }

    #[test]
    fn growth_names_the_demand() {
        let config = config(GPU);
        let text = explain(&after_ten_minutes(&config, 900_000), &config);
        assert!(text.starts_with("grow from 1 to 2 nodes: "), "{text}");
        assert!(text.contains("sees 7.2 GPUs busy; it wants 2 nodes"), "{text}");
        assert!(text.contains("`Wish` 1 → 2 nodes"), "{text}");
    }

    #[test]
    fn data_that_is_not_there_is_said_first() {
        let config = config(GPU);
        let observation = Observation {
            asked: 3,
            ready: 3,
            gpus_per_node: 8,
            ..Observation::default()
        };
        let evaluation = evaluate(
            &config,
            &Windows::new(&config),
            &observation,
            &mut Memory::default(),
            Now::at(0),
        );
        let text = explain(&evaluation, &config);
        assert!(text.starts_with("hold at 3 nodes"), "{text}");
        assert!(
            text.contains("signal `gpu` cannot be judged, there is no sample at all"),
            "{text}"
        );
    }

    #[test]
    fn every_rule_has_words_of_its_own() {
        let config = config(GPU);
        let all = [
            Rule::SignalWish,
            Rule::Wish,
            Rule::SpareNodes,
            Rule::Schedule,
            Rule::Override,
            Rule::Budget,
            Rule::MaxNodes,
            Rule::MinNodes,
            Rule::Suspended,
            Rule::Frozen,
            Rule::Paused,
            Rule::PoolBusy,
            Rule::Conflicting,
            Rule::SupplyInFlight,
            Rule::NodesMissing,
            Rule::FreeCapacity,
            Rule::Settle,
            Rule::NoRelief,
            Rule::Stabilized,
            Rule::RateLimited,
            Rule::Disabled,
            Rule::CapacityMemory,
            Rule::DataQuality,
            Rule::InUse,
            Rule::Cooldown,
            Rule::AntiFlap,
            Rule::NoSafeVictim,
            Rule::NoClusterView,
            Rule::Guard,
            Rule::ClockStepped,
        ];
        for rule in all {
            let step = Step {
                rule,
                effect: Effect::Vetoed,
                before: 5,
                after: 4,
                value: 60_000,
                limit: 120_000,
            };
            let text = step_says(&step, &config);
            assert!(
                text.starts_with(&format!("`{rule}` stops 5 and stays at 4 nodes: "))
                    && !text.contains("value "),
                "{text}"
            );
        }
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (4_000_000, "4"),
            (7_200_000, "7.2"),
            (1_234_567, "1.23"),
            (4_999, "0"),
            (0, "0"),
        ] {
            assert_eq!(micro(value), text);
        }
        assert_eq!(percent(875_000), "87.5 %");
    }
}
