//! How fast the engine is, alone and in the closed loop.
//!
//! `cargo bench` prints criterion's figures: elements per second are samples for the windows and closed-loop steps
//! for the loop. The traced loop stands beside the untraced one, and both must decide alike.

#![allow(missing_docs, reason = "criterion's macros make public items without docs")]
#![allow(
    clippy::unwrap_used,
    reason = "a bench that cannot read its data has nothing to measure"
)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use gpuscale::api;
use gpuscale::policy::config::{Config, MINUTE_MS, Rule, Statistic};
use gpuscale::policy::window::{Covered, Level, Series, Thresholds};
use gpuscale::recording::{Demand, Recording};
use gpuscale::simulator::boot::BootDelay;
use gpuscale::simulator::closed_loop::{self, Setup, Tick, Unserved, Unwatched};
use gpuscale::simulator::peers;

const SCRAPE_MS: i64 = 15_000;

/// One million samples of a restless series into a window of each kind: taken in alone, as the samples of many
/// devices are between two ticks, and judged after every single one. The length of the window must not matter.
fn windows(criterion: &mut Criterion) {
    const SAMPLES: i64 = 1_000_000;
    let values: Vec<i64> = (0..SAMPLES).map(|i| (i * 7_919) % 1_000_001).collect();
    let mut group = criterion.benchmark_group("window");
    group
        .throughput(Throughput::Elements(SAMPLES.unsigned_abs()))
        .sample_size(20);
    for (name, statistic) in [
        ("mean", Statistic::Mean),
        ("hold", Statistic::Hold),
        ("quantile", Statistic::Quantile(950_000)),
    ] {
        for minutes in [1, 10, 60, 600] {
            let rule = Rule {
                threshold: 800_000,
                window_ms: minutes * MINUTE_MS,
                statistic,
            };
            let length = format!("{minutes}m");
            group.bench_with_input(BenchmarkId::new(name, &length), &rule, |bencher, rule| {
                bencher.iter(|| samples_into(rule, &values, |_, _| 0));
            });
            let judged = BenchmarkId::new(format!("{name}_judged"), &length);
            group.bench_with_input(judged, &rule, |bencher, rule| {
                bencher.iter(|| {
                    samples_into(rule, &values, |series, now_ms| {
                        let span = series.span(1, now_ms - rule.window_ms, now_ms);
                        u32::from(span.satisfies_up(rule) == Some(true))
                    })
                });
            });
        }
    }
    group.finish();
}

/// Takes each sample in, slides the window to it, and asks `judge`; the last verdict is asked for in any case, so
/// that nothing is optimised away.
fn samples_into(rule: &Rule, values: &[i64], judge: impl Fn(&Series, i64) -> u32) -> u32 {
    let thresholds = Thresholds {
        above: rule.threshold,
        below: i64::MIN,
    };
    let mut series = Series::new(thresholds, [0, rule.window_ms, 0], 0);
    let mut met = 0;
    let mut now_ms = 0;
    for &value in values {
        now_ms += SCRAPE_MS;
        let level = Level {
            covered: Covered::Yes,
            low: value,
            high: value,
            busy: value,
            missing: 0,
            pinned: 0,
        };
        series.push(now_ms, level);
        series.slide(now_ms);
        met += judge(&series, now_ms);
    }
    let span = series.span(1, now_ms - rule.window_ms, now_ms);
    black_box(met + u32::from(span.satisfies_up(rule) == Some(true)))
}

/// A month of the largest virtual cluster at 15 s through the public `evaluate`, traced and untraced.
fn closed_loop(criterion: &mut Criterion) {
    let demand = month();
    let spec = peers::reference_pool(&demand, 8, 8 * MINUTE_MS);
    let config = default_policy(spec.max_nodes);
    let setup = Setup {
        config: &config,
        demand: &demand,
        spec,
        initial_nodes: spec.nodes_for(demand.values()[0], 70),
        node_price: None,
        boot: BootDelay::Constant(spec.boot_ms),
        faults: &[],
        unserved: Unserved::Lost,
        seed: 0,
        drain_ms: 0,
        driver_delay_ms: 0,
    };
    let mut group = criterion.benchmark_group("closed_loop");
    group
        .throughput(Throughput::Elements(demand.values().len() as u64))
        .sample_size(20);
    let untraced = closed_loop::fluid(&setup, &mut Unwatched).checksum;
    group.bench_function("helios_vc6YE_month", |bencher| {
        bencher.iter(|| assert_eq!(closed_loop::fluid(&setup, &mut Unwatched).checksum, untraced));
    });
    group.bench_function("helios_vc6YE_month_traced", |bencher| {
        bencher.iter(|| {
            let mut steps = 0_usize;
            let mut watch = |tick: &Tick<'_>| steps += black_box(tick.evaluation.steps().len());
            assert_eq!(closed_loop::fluid(&setup, &mut watch).checksum, untraced);
            steps
        });
    });
    group.finish();
}

fn month() -> Demand {
    let bytes = include_bytes!("../simulations/recordings/helios_earth_vcs.csv.gz");
    let recording = Recording::from_demand_csv(bytes).unwrap();
    recording
        .demand(Some("earth_vc6YE"))
        .unwrap()
        .resampled(SCRAPE_MS)
        .unwrap()
}

/// The shipped defaults: one signal, and nothing else said.
fn default_policy(max_nodes: u32) -> Config {
    let policy = format!(
        "apiVersion: gpuscale.dev/v1alpha1\nkind: GpuScalePolicy\nmetadata: {{ name: default }}\nspec:\n  \
         targetRef: {{ kind: AksNodePool, name: pool }}\n  signals: [ {{ name: gpu, dcgm: {{ metric: GpuUtilization }} }} ]\n  \
         maxNodes: {max_nodes}\n"
    );
    api::compile(&api::validate(&policy).unwrap()).unwrap()
}

criterion_group!(benches, windows, closed_loop);
criterion_main!(benches);
