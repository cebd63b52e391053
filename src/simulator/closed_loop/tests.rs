//! The fluid world on paper-sized cases: what is shown, what is billed, what faults do.

use super::*;
use crate::policy::config::*;
use crate::policy::dcgm::DcgmMetric;
use crate::policy::evaluation::{Effect, Quality, Rule};
use crate::policy::observation::Failure;
use crate::simulator::fault::FaultKind;
use crate::simulator::scorecard::{Baseline, Kind};

const STEP: Millis = 15_000;
const BOOT: Millis = 8 * MINUTE_MS;
const SPEC: PoolSpec = PoolSpec {
    gpus_per_node: 4,
    min_nodes: 1,
    max_nodes: 20,
    boot_ms: BOOT,
};

fn signal(source: SignalSource) -> Signal {
    Signal {
        name: format!("{source:?}"),
        source,
        across: Across::Mean,
        target: Some(700_000),
        per_node: None,
        up: None,
        down: None,
        demand_window_ms: MINUTE_MS,
        absent: Absent::Unknown,
    }
}

const GPU: SignalSource = SignalSource::Device(DcgmMetric::GpuUtilization);

/// Target 70 %, no limits on growth, shrinking after 20 minutes.
fn config(sources: &[SignalSource]) -> Config {
    let behavior = |stabilization_ms| Behavior {
        policies: Vec::new(),
        select: SelectPolicy::Max,
        tolerance: 50_000,
        stabilization_ms,
        cooldown_ms: 0,
    };
    Config {
        signals: sources.iter().map(|&source| signal(source)).collect(),
        strategy: Strategy::TargetUtilization,
        workload: Workload::Shared,
        min_nodes: SPEC.min_nodes,
        max_nodes: SPEC.max_nodes,
        spare_nodes: 0,
        up: behavior(0),
        down: behavior(20 * MINUTE_MS),
        settle_ms: 3 * MINUTE_MS,
        provision_timeout_ms: 20 * MINUTE_MS,
        evaluation_interval_ms: STEP,
        budget_micro_usd_per_hour: None,
        schedules: Vec::new(),
        scale_in: ScaleIn {
            victims: VictimPolicy::IdleFirst,
            drain_timeout_ms: 15 * MINUTE_MS,
            replace_unhealthy: Replace::Never,
        },
        data_quality: DataQuality {
            min_coverage: 800_000,
            max_age_ms: 2 * MINUTE_MS,
            scrape_interval_ms: 30_000,
            warm_up_ms: 5 * MINUTE_MS,
            idle_window_ms: 30 * MINUTE_MS,
        },
        saturation: Saturation::default(),
        suspend: Suspend::Active,
    }
}

/// Pieces of constant demand: minutes, and tenths of a GPU.
fn demand(pieces: &[(i64, i64)]) -> Demand {
    let ticks = |minutes: i64| usize::try_from(minutes * MINUTE_MS / STEP).unwrap();
    let values = pieces
        .iter()
        .flat_map(|&(minutes, tenths)| std::iter::repeat_n(tenths * ONE / 10, ticks(minutes)));
    Demand::new("pieces", 1_700_000_000_000, STEP, values.collect()).unwrap()
}

fn fault(at_minute: i64, minutes: i64, kind: FaultKind) -> Fault {
    Fault {
        at_ms: at_minute * MINUTE_MS,
        duration_ms: minutes * MINUTE_MS,
        kind,
    }
}

/// What a test looks at of one tick.
#[derive(Debug, Clone, Copy)]
struct Seen {
    asked: u32,
    ready: u32,
    grew: bool,
    served: Micro,
    coverage: Micro,
    quality: Quality,
    vetoed_by: Option<Rule>,
    shown: Micro,
}

struct Run {
    ticks: Vec<Seen>,
    outcome: Outcome,
}

impl Run {
    fn at(&self, minute: i64) -> Seen {
        self.ticks[usize::try_from(minute * MINUTE_MS / STEP).unwrap()]
    }

    fn between(&self, from_minute: i64, to_minute: i64) -> &[Seen] {
        let tick = |minute: i64| usize::try_from(minute * MINUTE_MS / STEP).unwrap();
        &self.ticks[tick(from_minute)..tick(to_minute)]
    }
}

fn run(setup: &Setup<'_>) -> Run {
    let mut ticks = Vec::new();
    let mut watch = |tick: &Tick<'_>| {
        let evidence = tick.evaluation.signals()[0];
        let vetoed = tick
            .evaluation
            .limits()
            .filter(|step| step.effect == Effect::Vetoed);
        ticks.push(Seen {
            asked: tick.asked,
            ready: tick.ready,
            grew: tick.evaluation.decision.to > tick.evaluation.decision.from,
            served: tick.served,
            coverage: evidence.coverage,
            quality: evidence.quality,
            vetoed_by: vetoed.map(|step| step.rule).last(),
            shown: evidence.demand_low,
        });
    };
    let outcome = fluid(setup, &mut watch);
    Run { ticks, outcome }
}

/// Two nodes' worth of demand for an hour, then eight nodes' worth for `minutes`.
fn rise(minutes: i64) -> Demand {
    demand(&[(60, 56), (minutes, 224)])
}

fn run_with(faults: &[Fault], demand: &Demand) -> Run {
    let config = config(&[GPU]);
    run(&Setup {
        faults,
        ..Setup::new(&config, demand, SPEC, 2)
    })
}

#[test]
fn without_faults_the_pool_is_there_one_boot_after_the_demand() {
    let run = run_with(&[], &rise(120));
    assert_eq!((run.at(59).asked, run.at(59).ready), (2, 2));
    // Saturation hides how much is missing, so the rise is met in steps.
    assert!(run.at(62).asked > 2 && run.at(62).ready == 2);
    assert_eq!((run.at(179).asked, run.at(179).ready), (8, 8));
}

#[test]
fn a_refused_growth_is_tried_again_when_the_backoff_is_over_and_not_before() {
    let faults = [fault(0, 150, FaultKind::AllocationFailure(Failure::QuotaZero))];
    let run = run_with(&faults, &rise(360));
    assert_eq!(
        run.at(149).asked,
        2,
        "a refusal at the door leaves the count alone"
    );
    let attempts = run.between(0, 150).iter().filter(|tick| tick.grew).count();
    assert_eq!(attempts, 2, "one in the 61st minute and one an hour later");
    assert_eq!(run.at(100).vetoed_by, Some(Rule::CapacityMemory));
    assert_eq!(
        (run.at(419).asked, run.at(419).ready),
        (8, 8),
        "no hold is for ever"
    );
}

#[test]
fn after_a_failed_allocation_the_count_stays_and_nothing_comes() {
    let faults = [fault(0, 100, FaultKind::AllocationFailure(Failure::Allocation))];
    let run = run_with(&faults, &rise(40));
    let last = run.at(99);
    assert!(last.asked > 2, "the request was accepted");
    assert_eq!(last.ready, 2);
    // Two nodes for an hour and 40 minutes: nobody pays for nodes that exist on paper only.
    let hours = node_hours(&run.outcome.meter, &rise(40));
    assert!((hours - 2.0 * 100.0 / 60.0).abs() < 1e-9, "{hours} node-hours");
}

fn node_hours(meter: &Meter, demand: &Demand) -> f64 {
    let baseline = Baseline::new(demand, &SPEC);
    meter.row(Kind::Policy, "test", &baseline, 1.0).node_hours
}

#[test]
fn a_request_filled_in_part_keeps_its_count_and_fails_once() {
    let (config, demand) = (config(&[SignalSource::Series(SeriesUnit::Gpus)]), rise(60));
    let run = run(&Setup {
        faults: &[fault(0, 65, FaultKind::PartialFill(1))],
        ..Setup::new(&config, &demand, SPEC, 2)
    });
    let first = run.between(60, 62).iter().find(|tick| tick.grew).unwrap();
    assert_eq!(first.asked, 4);
    assert_eq!((run.at(67).ready, run.at(69).ready), (2, 3), "one came");
    let again = run.between(61, 70).iter().filter(|tick| tick.grew).count();
    assert_eq!(again, 0, "quota low is remembered for ten minutes");
}

/// Promise 4: no fault makes a hold permanent.
fn check_recovery(faults: &[Fault]) {
    let config = config(&[SignalSource::Series(SeriesUnit::Gpus)]);
    let demand = rise(600);
    let run = run(&Setup {
        faults,
        ..Setup::new(&config, &demand, SPEC, 2)
    });
    let last = run.at(659);
    assert_eq!(
        last.ready, 8,
        "asked for {}, vetoed by {:?}",
        last.asked, last.vetoed_by
    );
}

#[test]
fn a_pool_recovers_from_a_failed_allocation() {
    check_recovery(&[fault(55, 30, FaultKind::AllocationFailure(Failure::Allocation))]);
}

#[test]
fn a_pool_recovers_from_a_request_filled_in_part() {
    check_recovery(&[fault(55, 30, FaultKind::PartialFill(1))]);
}

#[test]
fn a_pool_recovers_from_an_eviction() {
    check_recovery(&[fault(90, 20, FaultKind::SpotEviction(3))]);
}

#[test]
fn a_pool_recovers_from_a_loss() {
    check_recovery(&[fault(90, 0, FaultKind::NodeLoss(3))]);
}

#[test]
fn a_pool_recovers_from_a_refusal() {
    check_recovery(&[fault(55, 30, FaultKind::AllocationFailure(Failure::QuotaZero))]);
}

#[test]
fn lost_nodes_are_replaced_beyond_the_count() {
    let faults = [fault(30, 0, FaultKind::NodeLoss(1))];
    let run = run_with(&faults, &demand(&[(120, 100)]));
    assert_eq!((run.at(29).asked, run.at(29).ready), (4, 4));
    let after = run.at(30);
    assert_eq!(after.ready, 3);
    assert!(run.at(31).asked > 4, "the missing node is no supply");
    assert_eq!(run.at(40).ready, 4);
    // Serving never stopped, and the node on paper costs nothing.
    assert!(run.ticks.iter().skip(200).all(|tick| tick.served == 10 * ONE));
}

#[test]
fn after_an_eviction_growth_fails_while_it_lasts() {
    let faults = [fault(30, 20, FaultKind::SpotEviction(3))];
    let run = run_with(&faults, &demand(&[(60, 100)]));
    assert_eq!((run.at(29).ready, run.at(30).ready), (4, 1));
    let missing = run.at(31);
    assert!(
        missing.asked > 4,
        "nodes on paper are no supply, so more are asked for"
    );
    assert_eq!(run.at(49).ready, 1, "and do not come");
}

#[test]
fn silent_devices_show_as_coverage_and_stop_only_shrinking() {
    let falls = demand(&[(60, 224), (120, 20)]);
    let check = |percent: u32, coverage: Micro, quality: Quality, ready: u32| {
        let run = run_with(&[fault(50, 70, FaultKind::ExporterGap(percent))], &falls);
        let seen = run.at(118);
        assert_eq!(run.at(49).coverage, ONE);
        assert_eq!((seen.coverage, seen.quality), (coverage, quality), "{percent} %");
        assert_eq!(seen.ready, ready, "{percent} %");
        assert_eq!(run.at(179).ready, 1, "{percent} %: after the gap");
    };
    check(10, ONE, Quality::Good, 1);
    check(30, 0, Quality::LowCoverage, 8);
    check(100, 0, Quality::Stale, 8);
}

#[test]
fn two_gaps_of_different_size_are_told_apart() {
    let gaps = [
        fault(50, 10, FaultKind::ExporterGap(10)),
        fault(70, 10, FaultKind::ExporterGap(25)),
    ];
    let run = run_with(&gaps, &demand(&[(100, 100)]));
    assert_eq!(run.at(59).coverage, ONE);
    assert_eq!(run.at(79).quality, Quality::LowCoverage);
    assert_eq!((run.at(95).quality, run.at(95).coverage), (Quality::Good, ONE));
}

#[test]
fn a_series_that_repeats_itself_ages_and_holds_the_size() {
    let run = run_with(
        &[fault(50, 60, FaultKind::StaleSeries)],
        &demand(&[(55, 224), (125, 20)]),
    );
    assert_eq!(run.at(60).quality, Quality::Stale);
    assert!(run.between(56, 110).iter().all(|tick| tick.asked == 8));
    assert_eq!(run.at(179).asked, 1);
}

#[test]
fn a_lie_is_believed_and_bounded() {
    let high = run_with(
        &[fault(50, 400, FaultKind::LyingSeries(100))],
        &demand(&[(460, 50)]),
    );
    assert_eq!(high.at(49).shown, 5 * ONE);
    assert_eq!(high.at(52).shown, Micro::from(high.at(49).ready * 4) * ONE);
    assert!(high.ticks.iter().all(|tick| tick.asked <= SPEC.max_nodes));
    let low = run_with(
        &[fault(50, 60, FaultKind::LyingSeries(0))],
        &demand(&[(200, 100)]),
    );
    assert_eq!((low.at(60).shown, low.at(60).served), (0, 10 * ONE));
    assert_eq!(low.at(100).ready, 1, "nothing else speaks against it");
    assert_eq!(low.at(199).ready, 4);
}

#[test]
fn the_driver_delay_comes_on_top_of_the_boot() {
    let (config, demand) = (config(&[GPU]), rise(60));
    let first_arrival = |driver_delay_ms: Millis| {
        let setup = Setup {
            driver_delay_ms,
            ..Setup::new(&config, &demand, SPEC, 2)
        };
        let run = run(&setup);
        run.ticks.iter().position(|tick| tick.ready > 2).unwrap()
    };
    assert_eq!(first_arrival(3 * MINUTE_MS) - first_arrival(0), 12);
}

#[test]
fn each_node_boots_in_its_own_time() {
    let (config, demand) = (config(&[GPU]), rise(60));
    let setup = Setup {
        boot: BootDelay::Uniform {
            min_ms: 4 * MINUTE_MS,
            max_ms: 12 * MINUTE_MS,
        },
        ..Setup::new(&config, &demand, SPEC, 2)
    };
    let seeded = |seed: u64| {
        run(&Setup {
            seed,
            ..setup.clone()
        })
    };
    let arrivals = |run: &Run| {
        let ready: Vec<u32> = run.ticks.iter().map(|tick| tick.ready).collect();
        ready
            .windows(2)
            .filter(|pair| pair[1] > pair[0])
            .map(|pair| pair[1] - pair[0])
            .collect::<Vec<_>>()
    };
    let run = seeded(1);
    assert!(arrivals(&run).len() > 3, "one by one: {:?}", arrivals(&run));
    assert_eq!(run.outcome.checksum, seeded(1).outcome.checksum);
    assert_ne!(run.outcome.checksum, seeded(2).outcome.checksum);
}

#[test]
fn queued_work_is_served_late_and_counted_as_missed() {
    let (config, demand) = (config(&[GPU]), demand(&[(60, 56), (10, 224), (120, 20)]));
    let queued = run(&Setup {
        unserved: Unserved::Queued,
        ..Setup::new(&config, &demand, SPEC, 2)
    });
    let missed: i128 = queued
        .ticks
        .iter()
        .zip(demand.values())
        .map(|(tick, wanted)| i128::from(wanted - tick.served) * i128::from(STEP))
        .sum();
    assert!(missed > 0);
    assert_eq!((queued.outcome.late, queued.outcome.waiting), (missed, 0));
    // After the burst the queue keeps the GPUs busy for a while; without one they are idle at once.
    let lost = run(&Setup::new(&config, &demand, SPEC, 2));
    assert!(queued.at(72).shown > lost.at(72).shown);
    assert_eq!(lost.outcome.late, 0);
}

#[test]
fn every_kind_of_signal_is_fed() {
    let check = |source: SignalSource, per_node: Option<Micro>, expected: Micro| {
        let mut config = config(&[source]);
        config.signals[0].per_node = per_node;
        config.down.select = SelectPolicy::Disabled;
        let demand = demand(&[(30, 56), (3, 104)]);
        let run = run(&Setup::new(&config, &demand, SPEC, 2));
        assert_eq!(run.at(29).quality, Quality::Good, "{source:?}");
        assert_eq!(run.at(32).shown, expected, "{source:?}");
    };
    // Two nodes of 4 GPUs, 10.4 GPUs wanted: 8 are busy, 2.4 wait.
    let series = SignalSource::Series;
    check(GPU, None, 8 * ONE);
    check(series(SeriesUnit::Percent), None, 8 * ONE);
    check(series(SeriesUnit::Ratio), None, 8 * ONE);
    check(series(SeriesUnit::Gpus), None, 10_400_000);
    check(series(SeriesUnit::Count), Some(4 * ONE), 2_400_000);
    check(SignalSource::GpuRequests, None, 3 * ONE);
}

#[test]
fn waiting_pods_grow_the_pool_to_the_demand_at_once() {
    let demand = rise(60);
    let both = config(&[GPU, SignalSource::GpuRequests]);
    let run = run(&Setup::new(&both, &demand, SPEC, 2));
    // 22.4 GPUs on 8: 15 pods of one GPU wait, which are four nodes.
    assert_eq!(run.at(60).asked, 6);
    assert_eq!(run.at(69).ready, run.at(60).asked.max(run.at(61).asked));
}
