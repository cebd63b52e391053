//! What samples prove: every rule of "70 % for N minutes", one test each.
//!
//! The edges of these rules (exactly θ, exactly N, exactly H) are in `edge_cases.rs`; here stand the rules.

#![allow(
    clippy::items_after_statements,
    reason = "a name is imported where it is used"
)]

mod rig;

use gpuscale::policy::config::{
    Absent, Across, Config, DataQuality, MINUTE_MS, Millis, SeriesUnit, SignalSource, Statistic,
};
use gpuscale::policy::dcgm::DcgmMetric;
use gpuscale::policy::evaluation::{Evaluation, Quality, Reason, Rule, SignalEvidence, Verdict};
use gpuscale::policy::observation::Condition;
use gpuscale::policy::sample::{Channel, DeviceId, Sample};
use gpuscale::policy::windows::{APPLICATION_XIDS, HARDWARE_XIDS, Health, ReadStatus, health_after_xid};
use rig::{
    Rig, START_MS, TICK_MS, View, gpu_signal, limited_by, micros, pods_signal, policy, power, queue_signal,
    stale_marker, threshold,
};

const WHOLE: i64 = 1_000_000;

/// [`policy`] with `≥ 70 %` up and `≤ 30 %` down over `minutes`.
fn ruled(minutes: Millis, statistic: Statistic) -> Config {
    let mut config = policy();
    config.signals[0].up = Some(threshold(70.0, minutes, statistic));
    config.signals[0].down = Some(threshold(30.0, minutes, statistic));
    config
}

fn gpu(evaluation: &Evaluation) -> SignalEvidence {
    evaluation.signals()[0]
}

/// Feeds one reading per tick of device 0 and gives the evidence at the end.
fn feed(rig: &mut Rig, percents: &[f64]) -> SignalEvidence {
    let mut evidence = SignalEvidence::default();
    for percent in percents {
        rig.load_all(*percent);
        evidence = gpu(&rig.tick());
    }
    evidence
}

#[test]
fn the_hold_limit_is_two_scrapes_and_at_least_90_seconds() {
    for (scrape_ms, wanted) in [
        (1_000, 90_000),
        (15_000, 90_000),
        (45_000, 90_000),
        (45_001, 90_002),
        (60_000, 120_000),
    ] {
        let quality = DataQuality {
            scrape_interval_ms: scrape_ms,
            ..policy().data_quality
        };
        assert_eq!(quality.hold_limit_ms(), wanted, "scrape every {scrape_ms} ms");
    }
}

#[test]
fn a_reading_speaks_for_its_device_until_the_hold_limit_and_then_nobody_does() {
    let mut rig = Rig::new(policy(), 1, 1).acquainted();
    feed(&mut rig, &[60.0; 40]);
    rig.silence(0);
    let mut known = Vec::new();
    for _ in 0..12 {
        known.push(gpu(&rig.tick()).coverage);
    }
    // Known for 90 s after the last reading; then the one-minute window runs dry in four ticks.
    let dry = [750_000, 500_000, 250_000, 0];
    assert_eq!(known[..6], [WHOLE; 6]);
    assert_eq!(known[6..10], dry);
    assert_eq!(known[10..], [0, 0]);
}

#[test]
fn a_reading_ends_where_the_next_begins() {
    let mut rig = Rig::new(policy(), 1, 1).acquainted();
    // One minute: 20 s at 90 %, 40 s at 30 %: half of a GPU.
    rig.now_ms = START_MS + MINUTE_MS;
    let device = rig.devices()[0];
    let at = |ms, value| Sample::of_device(0, device, START_MS + ms, value);
    let evaluation = rig.tick_with(&[at(0, 900_000), at(20_000, 300_000)]);
    assert_eq!(gpu(&evaluation).demand_low, 500_000);
}

#[test]
fn a_stale_marker_or_an_out_of_range_value_ends_the_reading_before_it() {
    let mut rig = Rig::new(policy(), 1, 1).acquainted();
    feed(&mut rig, &[60.0; 40]);
    rig.silence(0);
    rig.now_ms += TICK_MS;
    let device = rig.devices()[0];
    let ended_ms = rig.now_ms;
    rig.tick_with(&[stale_marker(0, device, ended_ms)]);
    rig.now_ms += TICK_MS;
    let evidence = gpu(&rig.tick_with(&[]));
    assert_eq!(evidence.coverage, 750_000, "unknown since the marker, 15 s ago");
    assert_eq!(evidence.age_ms, 2 * TICK_MS, "a marker is no reading");
}

#[test]
fn duplicate_rows_of_a_device_reduce_by_max() {
    let mut rig = Rig::new(policy(), 1, 1).acquainted();
    let mut evidence = SignalEvidence::default();
    for _ in 0..8 {
        rig.now_ms += TICK_MS;
        let device = rig.devices()[0];
        // Redundant servers and time-slicing: the same GPU again, in any order.
        let rows =
            [200_000, 600_000, 0, 600_000].map(|value| Sample::of_device(0, device, rig.now_ms, value));
        evidence = gpu(&rig.tick_with(&rows));
    }
    assert_eq!(evidence.demand_low, 600_000);
}

#[test]
fn a_device_is_expected_once_its_node_was_ready_for_the_warm_up() {
    let mut rig = Rig::new(policy(), 4, 1).acquainted();
    rig.load_all(60.0);
    rig.watch_minutes(20);
    let node = rig.add_node(rig.now_ms);
    rig.asked = 5;
    rig.nodes[4].gpus.fill(None);
    let ready_ms = rig.now_ms;
    for _ in 0..40 {
        let evidence = gpu(&rig.tick());
        let expected_ms = (rig.now_ms - ready_ms - 5 * MINUTE_MS).clamp(0, MINUTE_MS);
        let missing = evidence.demand_high - evidence.demand_low;
        assert_eq!(missing, expected_ms * WHOLE / MINUTE_MS, "node {node:?}");
    }
}

#[test]
fn a_device_that_reports_before_its_warm_up_counts_at_once() {
    let mut rig = Rig::new(policy(), 2, 1).acquainted();
    rig.load_all(60.0);
    rig.watch_minutes(20);
    rig.add_node(rig.now_ms);
    rig.asked = 3;
    rig.load_all(60.0);
    rig.watch_minutes(2);
    assert_eq!(gpu(&rig.tick()).demand_low, 1_800_000);
}

#[test]
fn an_unknown_device_is_busy_for_shrinking_and_idle_for_growing() {
    let mut rig = Rig::new(ruled(5, Statistic::Mean), 10, 1).acquainted();
    rig.load_all(50.0);
    rig.watch_minutes(20);
    rig.silence(3);
    let evidence = gpu(&rig.watch_minutes(10));
    assert_eq!(evidence.quality, Quality::Good, "nine of ten are enough");
    assert_eq!(
        (evidence.demand_low, evidence.demand_high),
        (4_500_000, 5_500_000)
    );
    assert_eq!((evidence.up_value, evidence.down_value), (450_000, 550_000));
}

#[test]
fn unknown_devices_keep_a_pool_that_known_ones_would_shrink() {
    // Ten nodes at 30 %: three would do for the nine that speak. The silent one may be full: one more stays.
    let run = |silent: bool| {
        let mut rig = Rig::new(policy(), 10, 1).acquainted();
        rig.view = View::Interchangeable;
        rig.load_all(30.0);
        if silent {
            rig.silence(0);
        }
        rig.watch_minutes(30).decision.to
    };
    assert_eq!(run(false), 4, "3.0 GPUs at 75 %");
    assert_eq!(run(true), 5, "2.7 GPUs and a whole one at 75 %");
}

#[test]
fn coverage_of_devices_below_the_minimum_is_unknown() {
    for (silent, wanted) in [
        (0, Quality::Good),
        (1, Quality::Good),
        (2, Quality::Good),
        (3, Quality::LowCoverage),
    ] {
        let mut rig = Rig::new(policy(), 10, 1).acquainted();
        rig.load_all(10.0);
        rig.watch_minutes(20);
        (0..silent).for_each(|node| rig.silence(node));
        let evaluation = rig.watch_minutes(20);
        assert_eq!(gpu(&evaluation).quality, wanted, "{silent} of 10 silent");
        if wanted != Quality::Good {
            assert_eq!(evaluation.decision.to, 10);
            assert_eq!(gpu(&evaluation).up, Verdict::Unknown);
            assert_eq!(gpu(&evaluation).down, Verdict::Unknown);
        }
    }
}

#[test]
fn a_newest_sample_older_than_max_age_is_unknown() {
    let mut config = policy();
    // A long window, so that age alone decides.
    config.signals[0].demand_window_ms = 60 * MINUTE_MS;
    let mut rig = Rig::new(config, 2, 1).acquainted();
    rig.load_all(20.0);
    rig.watch_minutes(70);
    (0..2).for_each(|node| rig.silence(node));
    for tick in 1..=12 {
        let evaluation = rig.tick();
        let evidence = gpu(&evaluation);
        assert_eq!(evidence.age_ms, tick * TICK_MS);
        let wanted = if evidence.age_ms > 2 * MINUTE_MS {
            Quality::Stale
        } else {
            Quality::Good
        };
        assert_eq!(evidence.quality, wanted, "age {} ms", evidence.age_ms);
        if wanted == Quality::Stale {
            assert_eq!(evaluation.decision.to, 2);
        }
    }
}

#[test]
fn a_window_that_reaches_back_further_than_the_data_is_unknown() {
    let mut rig = Rig::new(ruled(30, Statistic::Mean), 3, 1).acquainted();
    rig.load_all(10.0);
    for tick in 1..=30 * MINUTE_MS / TICK_MS {
        let evaluation = rig.tick();
        assert_eq!(evaluation.decision.to, 3);
        assert_eq!(gpu(&evaluation).down, Verdict::Unknown, "tick {tick}");
    }
    assert_eq!(
        gpu(&rig.tick()).down,
        Verdict::Met,
        "with the first sample 30 minutes ago"
    );
}

#[test]
fn a_partial_answer_is_unknown_for_its_signal_only() {
    let mut config = policy();
    config.signals.push(queue_signal(8.0, Absent::Unknown));
    let mut rig = Rig::new(config, 2, 1).acquainted();
    rig.load_all(60.0);
    rig.series = vec![(1, Some(40.0))];
    rig.reads = vec![ReadStatus::Partial, ReadStatus::Answered];
    let evaluation = rig.watch_minutes(5);
    assert_eq!(evaluation.signals()[0].quality, Quality::PartialAnswer);
    assert_eq!(evaluation.signals()[1].quality, Quality::Good);
    assert_eq!(
        evaluation.decision.to, 5,
        "the queue is known and may grow the pool"
    );
}

#[test]
fn a_failed_read_ages_what_is_known() {
    let mut rig = Rig::new(policy(), 4, 1).acquainted();
    rig.load_all(10.0);
    rig.watch_minutes(5);
    (0..4).for_each(|node| rig.silence(node));
    rig.reads = vec![ReadStatus::Failed];
    assert_eq!(
        gpu(&rig.watch_minutes(1)).quality,
        Quality::Good,
        "a minute is nothing"
    );
    let evaluation = rig.watch_minutes(60);
    assert_eq!(gpu(&evaluation).quality, Quality::Stale);
    assert_eq!(evaluation.decision.to, 4);
}

#[test]
fn an_unknown_signal_adds_no_wish_and_stops_no_growth() {
    let mut config = policy();
    config.signals = vec![gpu_signal(), queue_signal(8.0, Absent::Unknown), pods_signal()];
    let mut rig = Rig::new(config, 4, 1).acquainted();
    rig.waiting = Some(vec![]);
    // The queue has never been read. The GPUs are idle, and nothing shrinks ...
    rig.load_all(0.0);
    let evaluation = rig.watch_minutes(60);
    assert_eq!(evaluation.signals()[1].quality, Quality::NoData);
    assert_eq!((evaluation.decision.to, evaluation.decision.wish), (4, 4));
    // ... nor grows, until the GPUs themselves want it.
    rig.load_all(90.0);
    assert_eq!(rig.watch_minutes(5).decision.to, 5, "3.6 GPUs at 75 %");
}

#[test]
fn unknown_by_itself_grows_only_to_min() {
    let mut config = policy();
    config.min_nodes = 3;
    for asked in 0..6 {
        let mut rig = Rig::new(config.clone(), asked, 1).acquainted();
        (0..asked as usize).for_each(|node| rig.silence(node));
        for _ in 0..240 {
            let evaluation = rig.tick();
            assert_eq!(evaluation.decision.to, asked.max(3), "{:?}", evaluation.decision);
            assert_ne!(gpu(&evaluation).quality, Quality::Good);
        }
    }
}

#[test]
fn a_mean_is_weighted_by_time_and_not_by_samples() {
    // Ten minutes: eight at 50 % in few samples, two at 100 % in many.
    let mut rig = Rig::new(ruled(10, Statistic::Mean), 1, 1).acquainted();
    let device = rig.devices()[0];
    let minute = |minutes: f64, value| {
        let at_ms = START_MS + micros(minutes) * MINUTE_MS / WHOLE;
        Sample::of_device(0, device, at_ms, value)
    };
    let mut samples: Vec<Sample> = (0..8).map(|m| minute(f64::from(m), 500_000)).collect();
    samples.extend((0..=120).map(|s| minute(8.0 + f64::from(s) / 60.0, WHOLE)));
    rig.now_ms = START_MS + 10 * MINUTE_MS;
    let evidence = gpu(&rig.tick_with(&samples));
    assert_eq!(evidence.up_value, 600_000);
    assert_eq!(
        evidence.up,
        Verdict::NotMet,
        "the plain mean of the samples would be 97 %"
    );
}

#[test]
fn a_quantile_ignores_a_short_spike_and_a_hold_does_not() {
    // Downward over 10 minutes, idle but for 20 s at 100 %.
    let mut percents = vec![0.0; 60];
    percents[45] = 100.0;
    for (statistic, wanted) in [
        (Statistic::Quantile(950_000), Verdict::Met),
        (Statistic::Quantile(990_000), Verdict::NotMet),
        (Statistic::Hold, Verdict::NotMet),
        (Statistic::Mean, Verdict::Met),
    ] {
        let mut rig = Rig::new(ruled(10, statistic), 1, 1).acquainted();
        assert_eq!(feed(&mut rig, &percents).down, wanted, "{statistic:?}");
    }
}

#[test]
fn a_hold_is_true_at_every_known_instant_and_one_violation_ends_it() {
    let mut rig = Rig::new(ruled(10, Statistic::Hold), 1, 1).acquainted();
    feed(&mut rig, &[80.0; 60]);
    assert_eq!(feed(&mut rig, &[69.0]).up, Verdict::Met, "it has not lasted yet");
    assert_eq!(feed(&mut rig, &[80.0]).up, Verdict::NotMet);
    assert_eq!(
        feed(&mut rig, &[80.0; 39]).up,
        Verdict::NotMet,
        "while it is in the window"
    );
    assert_eq!(
        feed(&mut rig, &[80.0]).up,
        Verdict::Met,
        "ten minutes after it ended"
    );
}

#[test]
fn with_several_signals_the_wish_is_the_largest() {
    let mut config = policy();
    config.signals.push(queue_signal(8.0, Absent::Unknown));
    for (percent, queue, wanted) in [(90.0, 8.0, 5), (60.0, 48.0, 6), (90.0, 48.0, 6), (60.0, 8.0, 4)] {
        let mut rig = Rig::new(config.clone(), 4, 1).acquainted();
        rig.load_all(percent);
        rig.series = vec![(1, Some(queue))];
        let evaluation = rig.watch_minutes(5);
        assert_eq!(
            evaluation.decision.wish, wanted,
            "{percent} % and {queue} waiting"
        );
    }
}

#[test]
fn a_pool_shrinks_only_when_no_signal_is_unknown_and_none_objects() {
    let mut config = policy();
    config.signals.push(queue_signal(8.0, Absent::Unknown));
    for (queue, wanted, limit) in [
        (Some(0.0), 1, None),
        (Some(16.0), 2, None),
        (Some(32.0), 4, None),
        (None, 4, Some(Rule::DataQuality)),
    ] {
        let mut rig = Rig::new(config.clone(), 4, 1).acquainted();
        rig.view = View::Interchangeable;
        rig.load_all(10.0);
        rig.series = vec![(1, queue)];
        let evaluation = rig.watch_minutes(30);
        assert_eq!(evaluation.decision.to, wanted, "queue {queue:?}");
        assert_eq!(limited_by(&evaluation), limit);
    }
}

#[test]
fn a_down_rule_that_is_not_met_objects() {
    let mut config = policy();
    config.signals[0].down = Some(threshold(5.0, 10, Statistic::Hold));
    let mut rig = Rig::new(config, 4, 1).acquainted();
    rig.view = View::Interchangeable;
    rig.load_all(10.0);
    let evaluation = rig.watch_minutes(60);
    assert_eq!(gpu(&evaluation).down, Verdict::NotMet);
    assert_eq!(
        evaluation.decision.to, 4,
        "the target alone would be met by one node"
    );
}

#[test]
fn after_a_growth_completes_up_windows_restart_and_may_be_met_after_settle() {
    // N is 10 minutes, settle 3.
    let mut rig = Rig::new(ruled(10, Statistic::Mean), 2, 1).acquainted();
    rig.load_all(85.0);
    let grown = rig.watch_minutes(20);
    assert_eq!(grown.decision.to, 3);
    rig.carry_out(&grown);
    rig.live_minutes(7);
    assert_eq!(
        gpu(&rig.tick()).up,
        Verdict::Met,
        "while it boots the old window stands"
    );
    while rig.nodes.len() < 3 {
        rig.tick();
    }
    let arrived_ms = rig.now_ms;
    rig.load_all(90.0);
    while rig.now_ms < arrived_ms + 3 * MINUTE_MS - TICK_MS {
        assert_eq!(gpu(&rig.tick()).up, Verdict::Unknown);
    }
    assert_eq!(
        gpu(&rig.tick()).up,
        Verdict::Met,
        "exactly settle after the arrival"
    );
}

#[test]
fn a_window_shorter_than_settle_is_enough_after_a_growth() {
    let mut rig = Rig::new(ruled(1, Statistic::Mean), 2, 1).acquainted();
    rig.load_all(90.0);
    rig.watch_minutes(20);
    rig.add_node(rig.now_ms);
    rig.asked = 3;
    rig.load_all(90.0);
    let verdicts: Vec<Verdict> = (0..5).map(|_| gpu(&rig.tick()).up).collect();
    use Verdict::{Met, Unknown};
    assert_eq!(verdicts, [Unknown, Unknown, Unknown, Unknown, Met]);
}

#[test]
fn after_a_shrink_completes_up_windows_restart_too() {
    // Four nodes at 10 % become two; then the load is four times what it was, and N is an hour.
    let mut config = policy();
    config.signals[0].up = Some(threshold(70.0, 60, Statistic::Mean));
    let mut rig = Rig::new(config, 4, 1).acquainted();
    rig.view = View::Interchangeable;
    rig.load_all(30.0);
    let shrunk = rig.watch_minutes(70);
    assert_eq!(shrunk.decision.to, 2);
    rig.carry_out(&shrunk);
    rig.load_all(90.0);
    rig.tick();
    let evidence = gpu(&rig.watch_minutes(4));
    assert_eq!(evidence.up, Verdict::Met, "settle has passed: {evidence:?}");
}

#[test]
fn down_windows_do_not_restart_after_our_own_resize_but_after_a_foreign_one() {
    let mut rig = Rig::new(ruled(10, Statistic::Mean), 4, 1).acquainted();
    rig.load_all(10.0);
    assert_eq!(gpu(&rig.watch_minutes(20)).down, Verdict::Met);
    // Somebody asks for two more nodes.
    rig.asked = 6;
    let verdicts: Vec<Verdict> = (0..41).map(|_| gpu(&rig.tick()).down).collect();
    assert!(
        verdicts[..40].iter().all(|&down| down == Verdict::Unknown),
        "{verdicts:?}"
    );
    assert_eq!(verdicts[40], Verdict::Met);
}

#[test]
fn the_ladder_normalises_every_rung_to_a_fraction_of_the_device() {
    use DcgmMetric::*;
    // Half a device on every rung, as the exporter writes it.
    for (metric, value, full) in [
        (GpuUtilization, 50.0, 0.0),
        (GraphicsEngineActive, 0.5, 0.0),
        (SmActive, 0.5, 0.0),
        (TensorActive, 0.5, 0.0),
        (DramActive, 0.5, 0.0),
        (MemoryUsed, 40_960.0, 81_920.0),
        (PowerRatio, 200.0, 400.0),
    ] {
        let mut config = policy();
        config.signals[0].source = SignalSource::Device(metric);
        let mut rig = Rig::new(config, 1, 1).acquainted();
        let device = rig.devices()[0];
        let mut evidence = SignalEvidence::default();
        for _ in 0..8 {
            rig.now_ms += TICK_MS;
            let value = metric.normalize(value, full).unwrap();
            evidence = gpu(&rig.tick_with(&[Sample::of_device(0, device, rig.now_ms, value)]));
        }
        assert_eq!(evidence.demand_low, 500_000, "{metric:?}");
    }
    assert_eq!(DcgmMetric::ALL.len(), 7, "and there is no other rung");
}

#[test]
fn a_series_states_its_own_unit() {
    // Two nodes of two GPUs, three quarters of them busy, said in four ways; a target of 75 % holds.
    for (unit, value) in [
        (SeriesUnit::Gpus, 3.0),
        (SeriesUnit::Ratio, 0.75),
        // The source divides a percentage by 100 before the engine sees it.
        (SeriesUnit::Percent, 0.75),
    ] {
        let mut config = policy();
        config.signals[0].source = SignalSource::Series(unit);
        let mut rig = Rig::new(config, 2, 2).acquainted();
        rig.series = vec![(0, Some(value))];
        let evaluation = rig.watch_minutes(3);
        assert_eq!(gpu(&evaluation).demand_low, 3_000_000, "{unit:?}");
        assert_eq!(evaluation.decision.wish, 2, "{unit:?}");
    }
}

#[test]
fn zero_utilization_with_power_above_idle_is_a_lying_metric() {
    let run = |ratio: f64| {
        let mut rig = Rig::new(policy(), 4, 1).acquainted();
        let mut evaluation = rig.evaluate();
        for _ in 0..120 {
            rig.now_ms += TICK_MS;
            let devices = rig.devices();
            let mut samples: Vec<Sample> = devices
                .iter()
                .map(|&device| Sample::of_device(0, device, rig.now_ms, 0))
                .collect();
            samples.push(power(devices[2], rig.now_ms, ratio));
            evaluation = rig.tick_with(&samples);
        }
        evaluation
    };
    let honest = gpu(&run(0.17));
    assert_eq!(
        (honest.demand_low, honest.demand_high),
        (0, 0),
        "50 W of 300 is an idle A100"
    );
    let lying = run(0.9);
    assert_eq!(
        gpu(&lying).demand_high - gpu(&lying).demand_low,
        0,
        "3 of 4 known is below 0.8"
    );
    assert_eq!(gpu(&lying).quality, Quality::LowCoverage);
    assert_eq!(lying.decision.to, 4);
}

#[test]
fn one_lying_device_among_ten_counts_as_busy_and_its_node_stays() {
    let mut rig = Rig::new(policy(), 10, 1).acquainted();
    let mut evaluation = rig.evaluate();
    for _ in 0..120 {
        rig.now_ms += TICK_MS;
        let devices = rig.devices();
        let mut samples: Vec<Sample> = devices
            .iter()
            .map(|&device| Sample::of_device(0, device, rig.now_ms, 0))
            .collect();
        samples.push(power(devices[0], rig.now_ms, 0.9));
        evaluation = rig.tick_with(&samples);
    }
    assert_eq!(
        (gpu(&evaluation).demand_low, gpu(&evaluation).demand_high),
        (0, WHOLE)
    );
    assert_eq!(evaluation.decision.to, 2, "one busy GPU at 75 %");
    assert!(!evaluation.decision.victims.as_slice().contains(&rig.nodes[0].id));
}

#[test]
fn a_lying_metric_is_believed_again_when_its_power_reading_has_expired() {
    let mut rig = Rig::new(policy(), 1, 1).acquainted();
    feed(&mut rig, &[0.0; 20]);
    rig.now_ms += TICK_MS;
    let device = rig.devices()[0];
    let now_ms = rig.now_ms;
    rig.tick_with(&[
        Sample::of_device(0, device, now_ms, 0),
        power(device, now_ms, 0.9),
    ]);
    let coverage: Vec<i64> = (0..10).map(|_| gpu(&rig.tick()).coverage).collect();
    // 90 s of disbelief, and then the minute's window refills.
    assert_eq!(coverage[..4], [750_000, 500_000, 250_000, 0]);
    assert_eq!(coverage[4..6], [0, 0]);
    assert_eq!(coverage[6..10], [250_000, 500_000, 750_000, WHOLE]);
}

#[test]
fn memory_that_is_held_protects_its_node_and_not_the_pool() {
    let mut rig = Rig::new(policy(), 3, 1).acquainted();
    let mut evaluation = rig.evaluate();
    for _ in 0..120 {
        rig.now_ms += TICK_MS;
        let devices = rig.devices();
        let mut samples: Vec<Sample> = devices
            .iter()
            .map(|&device| Sample::of_device(0, device, rig.now_ms, 0))
            .collect();
        samples.push(Sample {
            channel: Channel::Memory,
            ..Sample::of_device(0, devices[0], rig.now_ms, 900_000)
        });
        evaluation = rig.tick_with(&samples);
    }
    assert_eq!(gpu(&evaluation).demand_high, 0, "it is no load");
    assert_eq!(evaluation.decision.to, 1, "the pool shrinks to min");
    let (held, free) = (rig.nodes[0].id, [rig.nodes[1].id, rig.nodes[2].id]);
    assert_eq!(evaluation.decision.victims.as_slice(), free);
    assert!(!evaluation.decision.victims.as_slice().contains(&held));
}

#[test]
fn only_a_newly_seen_hardware_xid_makes_a_device_unhealthy() {
    for xid in HARDWARE_XIDS {
        assert_eq!(health_after_xid(None, xid), Health::Unhealthy, "{xid}");
        assert_eq!(
            health_after_xid(Some(31), xid),
            Health::Unhealthy,
            "{xid} after another"
        );
        assert_eq!(
            health_after_xid(Some(xid), xid),
            Health::Healthy,
            "{xid}, still shown"
        );
    }
    for xid in APPLICATION_XIDS.into_iter().chain([0, 1, 56, 109]) {
        assert_eq!(health_after_xid(None, xid), Health::Healthy, "{xid}");
    }
    assert_eq!(APPLICATION_XIDS, [13, 31, 43, 45]);
}

#[test]
fn an_unhealthy_device_is_neither_load_nor_capacity() {
    let mut rig = Rig::new(ruled(5, Statistic::Mean), 10, 1).acquainted();
    rig.load_all(60.0);
    rig.load(7, 100.0);
    rig.nodes[7].condition = Condition::Unhealthy;
    let evidence = gpu(&rig.watch_minutes(20));
    assert_eq!(evidence.quality, Quality::Good);
    assert_eq!(
        (evidence.demand_low, evidence.demand_high),
        (5_400_000, 5_400_000)
    );
    assert_eq!(evidence.up_value, 600_000);
    assert_eq!(evidence.pinned, 0);
}

#[test]
fn more_than_a_fifth_unhealthy_is_unknown_for_devices_and_not_for_queues() {
    let mut config = policy();
    config.signals.push(queue_signal(8.0, Absent::Unknown));
    for (nodes, sick, wanted) in [
        (5, 1, Quality::Good),
        (4, 1, Quality::TooManyUnhealthy),
        (10, 2, Quality::Good),
        (10, 3, Quality::TooManyUnhealthy),
    ] {
        let mut rig = Rig::new(config.clone(), nodes, 1).acquainted();
        rig.load_all(100.0);
        rig.series = vec![(1, Some(8.0))];
        (0..sick).for_each(|node| rig.nodes[node].condition = Condition::Unhealthy);
        let evaluation = rig.watch_minutes(5);
        assert_eq!(evaluation.signals()[0].quality, wanted, "{sick} of {nodes}");
        assert_eq!(evaluation.signals()[1].quality, Quality::Good);
        if wanted == Quality::TooManyUnhealthy {
            assert_eq!(evaluation.decision.to, nodes, "never a reason to grow");
            rig.series = vec![(1, Some(96.0))];
            assert_eq!(
                rig.watch_minutes(5).decision.to,
                12,
                "what the queue wants, it gets"
            );
        }
    }
}

#[test]
fn absent_is_zero_only_while_the_source_answers() {
    for (absent, read, wanted) in [
        (Absent::Zero, ReadStatus::Answered, Quality::Good),
        (Absent::Zero, ReadStatus::Partial, Quality::NoData),
        (Absent::Zero, ReadStatus::Failed, Quality::NoData),
        (Absent::Unknown, ReadStatus::Answered, Quality::NoData),
    ] {
        let mut config = policy();
        config.signals = vec![queue_signal(8.0, absent)];
        let mut rig = Rig::new(config, 3, 1).acquainted();
        rig.view = View::Interchangeable;
        rig.reads = vec![read];
        let evaluation = rig.watch_minutes(30);
        assert_eq!(gpu(&evaluation).quality, wanted, "{absent:?} {read:?}");
        let size = if wanted == Quality::Good { 1 } else { 3 };
        assert_eq!(evaluation.decision.to, size, "{absent:?} {read:?}");
    }
}

#[test]
fn a_value_that_is_no_number_is_not_an_absent_series() {
    let mut config = policy();
    config.signals = vec![queue_signal(8.0, Absent::Zero)];
    let mut rig = Rig::new(config, 3, 1).acquainted();
    rig.view = View::Interchangeable;
    rig.series = vec![(0, Some(24.0))];
    rig.watch_minutes(10);
    rig.series = vec![(0, Some(f64::NAN))];
    let evaluation = rig.watch_minutes(30);
    assert_ne!(gpu(&evaluation).quality, Quality::Good);
    assert_eq!(evaluation.decision.to, 3);
}

#[test]
fn a_zero_for_an_absent_series_gives_way_to_the_series() {
    let mut config = policy();
    config.signals = vec![queue_signal(8.0, Absent::Zero)];
    let mut rig = Rig::new(config, 1, 1).acquainted();
    rig.watch_minutes(10);
    rig.series = vec![(0, Some(80.0))];
    rig.watch_minutes(1);
    assert_eq!(gpu(&rig.tick()).demand_low, 80_000_000);
}

#[test]
fn a_reading_of_a_signal_that_the_policy_lacks_is_counted_and_dropped() {
    let mut rig = Rig::new(policy(), 1, 1).acquainted();
    rig.now_ms += TICK_MS;
    let now_ms = rig.now_ms;
    rig.tick_with(&[Sample::of_device(7, DeviceId(0), now_ms, WHOLE)]);
    assert_eq!((rig.ingested.unknown, rig.ingested.taken), (1, 0));
}

#[test]
fn a_start_holds_downward_until_a_full_stabilization_window_is_read() {
    let mut rig = Rig::new(policy(), 4, 1);
    rig.view = View::Interchangeable;
    rig.load_all(0.0);
    let first = rig.tick();
    assert_eq!(first.decision.to, 4);
    let seen_ms = rig.now_ms;
    while rig.now_ms + TICK_MS < seen_ms + 10 * MINUTE_MS {
        assert_eq!(
            rig.tick().decision.to,
            4,
            "{} ms after the start",
            rig.now_ms - seen_ms
        );
    }
    assert_eq!(rig.watch_minutes(2).decision.to, 1);
}

#[test]
fn the_first_sight_of_a_pool_is_no_resize() {
    // The windows are full when the engine starts: what they say counts at once.
    let mut rig = Rig::new(ruled(10, Statistic::Mean), 2, 1);
    rig.view = View::Interchangeable;
    let devices = rig.devices();
    rig.now_ms = START_MS + 10 * MINUTE_MS;
    let history: Vec<Sample> = (0..=40)
        .flat_map(|tick| {
            devices
                .iter()
                .map(move |&device| Sample::of_device(0, device, START_MS + tick * TICK_MS, 900_000))
        })
        .collect();
    let evaluation = rig.tick_with(&history);
    assert_eq!(gpu(&evaluation).up, Verdict::Met);
    assert_eq!(evaluation.decision.to, 3, "1.8 GPUs at 75 %");
}

#[test]
fn across_max_says_nothing_of_demand_beyond_the_busiest_device() {
    let mut config = policy();
    config.signals[0].across = Across::Max;
    let mut rig = Rig::new(config, 4, 1).acquainted();
    rig.load(0, 100.0);
    let evaluation = rig.watch_minutes(5);
    assert_eq!(gpu(&evaluation).demand_low, WHOLE);
    assert_ne!(evaluation.decision.reason, Reason::Saturated);
    assert_ne!(limited_by(&evaluation), Some(Rule::Guard));
}
