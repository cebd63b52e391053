//! Policies to prove things about: the shipped ones, and random valid ones.

use std::fs;

use gpuscale::api;
use gpuscale::policy::config::{
    Absent, Across, Behavior, Config, DataQuality, MINUTE_MS, Micro, Millis, ONE, RateKind, RatePolicy,
    Replace, Rule, Saturation, ScaleIn, SelectPolicy, SeriesUnit, Signal, SignalSource, Statistic,
    Strategy as Sizing, Suspend, VictimPolicy, Workload,
};
use gpuscale::policy::dcgm::DcgmMetric;
use gpuscale::policy::schedule::{Cron, Schedule};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::RngSeed;

use crate::rig::TICK_MS;

/// How a property runs: so many cases, the same ones every time, and no files left behind.
pub fn cases(cases: u32) -> ProptestConfig {
    // `make soak` asks for many more cases, fresh ones each time; a failure prints its smallest input.
    let soak = std::env::var("SOAK_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: soak.unwrap_or(cases),
        failure_persistence: None,
        rng_seed: if soak.is_some() {
            RngSeed::Random
        } else {
            RngSeed::Fixed(0x5ca1e)
        },
        max_shrink_iters: 3_000,
        ..ProptestConfig::default()
    }
}

/// Every shipped policy that compiles, with its file name. What does not compile must say that it is the forecast.
pub fn fixtures() -> Vec<(String, Config)> {
    let mut files: Vec<_> = fs::read_dir("tests/fixtures/policies")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut configs = Vec::new();
    for file in files {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let policy =
            api::validate(&fs::read_to_string(&file).unwrap()).unwrap_or_else(|e| panic!("{name}: {e}"));
        match api::compile(&policy) {
            Ok(config) => configs.push((name, config)),
            Err(error) => assert_eq!(error.path, "spec.strategy.forecast", "{name}: {error}"),
        }
    }
    assert!(configs.len() >= 25, "only {} fixtures compile", configs.len());
    configs
}

/// A fixture by chance.
pub fn fixture() -> impl Strategy<Value = Config> {
    select(fixtures()).prop_map(|(_, config)| config)
}

/// A random policy or a shipped one.
pub fn any_config() -> impl Strategy<Value = Config> {
    prop_oneof![3 => config().boxed(), 1 => fixture().boxed()]
}

/// A random policy that obeys the rules of the document: bounds in order, `θ_down < target < θ_up`, a rule in each
/// direction for a step.
pub fn config() -> impl Strategy<Value = Config> {
    let bounds = (0_u32..3, 1_u32..9, 0_u32..3);
    let shaping = (
        behavior(up_rate()),
        behavior(down_rate()),
        minutes(0, 8),
        minutes(10, 30),
    );
    let rest = (
        scale_in(),
        data_quality(),
        schedules(),
        prop::option::weighted(0.2, 20_i64..200),
    );
    let kind = (sizing(), prop::bool::weighted(0.25), 100_000_i64..=1_000_000);
    (signals(), kind, bounds, shaping, rest).prop_map(
        |(signals, (strategy, exclusive, step), (min, more, spare), (up, down, settle, provision), rest)| {
            let (scale_in, data_quality, schedules, budget) = rest;
            Config {
                signals,
                strategy,
                workload: if exclusive {
                    Workload::Exclusive
                } else {
                    Workload::Shared
                },
                min_nodes: min,
                max_nodes: min + more,
                spare_nodes: spare.min(min + more),
                up: Behavior { cooldown_ms: 0, ..up },
                down,
                settle_ms: settle,
                provision_timeout_ms: provision,
                evaluation_interval_ms: TICK_MS,
                budget_micro_usd_per_hour: budget.map(|usd| usd * ONE),
                schedules,
                scale_in,
                data_quality,
                saturation: Saturation {
                    step,
                    ..Saturation::default()
                },
                suspend: Suspend::Active,
            }
        },
    )
}

fn minutes(from: i64, to: i64) -> impl Strategy<Value = Millis> {
    (from..=to).prop_map(|minutes| minutes * MINUTE_MS)
}

fn sizing() -> impl Strategy<Value = Sizing> {
    prop_oneof![
        3 => Just(Sizing::TargetUtilization),
        1 => (1_u32..4, 1_u32..3).prop_map(|(up, down)| Sizing::Step { up, down }),
    ]
}

/// One to three signals; the first is always one of devices. A policy that only counts pods lets its empty spare node go
/// and asks for it again at once.
fn signals() -> impl Strategy<Value = Vec<Signal>> {
    (
        device_signal(),
        prop::collection::vec(prop_oneof![device_signal(), series_signal(), pods_signal()], 0..3),
    )
        .prop_map(|(first, others)| {
            let mut signals = vec![first];
            signals.extend(others);
            for (index, signal) in signals.iter_mut().enumerate() {
                signal.name = format!("signal-{index}");
            }
            signals
        })
}

fn statistic() -> impl Strategy<Value = Statistic> {
    prop_oneof![
        Just(Statistic::Mean),
        (500_000_i64..1_000_000).prop_map(Statistic::Quantile),
        Just(Statistic::Hold),
    ]
}

fn rule(threshold: impl Strategy<Value = Micro>, longest: i64) -> impl Strategy<Value = Option<Rule>> {
    let rule =
        (threshold, minutes(1, longest), statistic()).prop_map(|(threshold, window_ms, statistic)| Rule {
            threshold,
            window_ms,
            statistic,
        });
    prop::option::of(rule)
}

fn signal(source: SignalSource) -> Signal {
    Signal {
        name: String::new(),
        source,
        across: Across::Mean,
        target: None,
        per_node: None,
        up: None,
        down: None,
        demand_window_ms: MINUTE_MS,
        absent: Absent::Unknown,
    }
}

/// Target between 50 % and 100 %, so also where devices count as pinned, and an up threshold above it.
fn device_signal() -> impl Strategy<Value = Signal> {
    let metric = select(vec![
        DcgmMetric::GpuUtilization,
        DcgmMetric::SmActive,
        DcgmMetric::GraphicsEngineActive,
    ]);
    let thresholds = (50_i64..=100, rule((85_i64..=100).prop_map(|p| p * 10_000), 5));
    let down = rule((5_i64..=45).prop_map(|p| p * 10_000), 15);
    (metric, thresholds, down, minutes(1, 3), any::<bool>()).prop_map(
        |(metric, (target, up), down, window, max)| Signal {
            across: if max { Across::Max } else { Across::Mean },
            target: Some(target * 10_000),
            up: up.filter(|rule| rule.threshold > target * 10_000),
            down,
            demand_window_ms: window,
            ..signal(SignalSource::Device(metric))
        },
    )
}

fn series_signal() -> impl Strategy<Value = Signal> {
    let unit = select(vec![
        SeriesUnit::Percent,
        SeriesUnit::Ratio,
        SeriesUnit::Count,
        SeriesUnit::Gpus,
    ]);
    (unit, 50_i64..=100, 1_i64..20, minutes(1, 3)).prop_map(|(unit, target, per_node, window)| {
        let counts = unit == SeriesUnit::Count;
        Signal {
            target: (!counts).then_some(target * 10_000),
            per_node: counts.then_some(per_node * ONE),
            demand_window_ms: window,
            ..signal(SignalSource::Series(unit))
        }
    })
}

fn pods_signal() -> impl Strategy<Value = Signal> {
    Just(signal(SignalSource::GpuRequests))
}

fn up_rate() -> impl Strategy<Value = Vec<RatePolicy>> {
    let nodes = rate(Just(RateKind::Nodes), 1, 4);
    let percent = rate(Just(RateKind::Percent), 1, 200);
    prop::collection::vec(prop_oneof![nodes, percent], 0..3)
}

fn down_rate() -> impl Strategy<Value = Vec<RatePolicy>> {
    let kind = select(vec![RateKind::Nodes, RateKind::Percent]);
    prop::collection::vec(rate(kind, 1, 40), 0..3)
}

fn rate(kind: impl Strategy<Value = RateKind>, from: u32, to: u32) -> impl Strategy<Value = RatePolicy> {
    (kind, from..=to, minutes(1, 10)).prop_map(|(kind, value, period_ms)| RatePolicy {
        kind,
        value,
        period_ms,
    })
}

fn behavior(policies: impl Strategy<Value = Vec<RatePolicy>>) -> impl Strategy<Value = Behavior> {
    let select_policy = select(vec![SelectPolicy::Max, SelectPolicy::Min]);
    (
        policies,
        select_policy,
        0_i64..=100_000,
        minutes(0, 15),
        minutes(0, 8),
    )
        .prop_map(
            |(policies, select, tolerance, stabilization_ms, cooldown_ms)| Behavior {
                policies,
                select,
                tolerance,
                stabilization_ms,
                cooldown_ms,
            },
        )
}

fn scale_in() -> impl Strategy<Value = ScaleIn> {
    let victims = select(vec![
        VictimPolicy::IdleFirst,
        VictimPolicy::Drain,
        VictimPolicy::PlatformChooses,
    ]);
    (victims, any::<bool>()).prop_map(|(victims, replace)| ScaleIn {
        victims,
        drain_timeout_ms: 15 * MINUTE_MS,
        replace_unhealthy: if replace {
            Replace::Unhealthy
        } else {
            Replace::Never
        },
    })
}

fn data_quality() -> impl Strategy<Value = DataQuality> {
    (
        600_000_i64..=1_000_000,
        minutes(2, 4),
        select(vec![15_000_i64, 30_000, 60_000]),
        minutes(1, 6),
        minutes(5, 15),
    )
        .prop_map(
            |(min_coverage, max_age_ms, scrape_interval_ms, warm_up_ms, idle_window_ms)| DataQuality {
                min_coverage,
                max_age_ms,
                scrape_interval_ms,
                warm_up_ms,
                idle_window_ms,
            },
        )
}

fn schedules() -> impl Strategy<Value = Vec<Schedule>> {
    let bound = || prop::option::of(0_u32..8);
    let schedule = (
        select(vec!["0 * * * *", "30 12 * * 1-5", "*/20 13 * * *"]),
        5_i64..90,
        bound(),
        bound(),
    );
    prop::collection::vec(schedule, 0..2).prop_map(|schedules| {
        let one = |(cron, minutes, min, max): (&str, i64, Option<u32>, Option<u32>)| Schedule {
            name: "shift".into(),
            cron: Cron::parse(cron).unwrap(),
            time_zone: TimeZone::get("Europe/Berlin").unwrap(),
            duration_ms: minutes * MINUTE_MS,
            min_nodes: min,
            max_nodes: max,
        };
        schedules.into_iter().map(one).collect()
    })
}
