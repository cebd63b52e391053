//! The edges of "70 % for N minutes": what a threshold, a window, a gap or a clock does exactly at its limit.
//!
//! Most tests show the engine one GPU and a list of readings, and read the verdict of a rule with N = 10 minutes.
//! A reading speaks for its GPU for H = 90 seconds.

#![allow(
    clippy::unwrap_used,
    reason = "a case that is set up wrongly should stop the test"
)]

mod rig;

use gpuscale::policy::config::{Absent, Across, Config, MINUTE_MS, Micro, Millis, Statistic};
use gpuscale::policy::dcgm::{DcgmMetric, mig_weight};
use gpuscale::policy::evaluation::{Quality, Rule, SignalEvidence, Verdict};
use gpuscale::policy::sample::{DeviceId, Sample, micros as fixed_point};
use gpuscale::policy::windows::{Delta, Device, ReadStatus};
use rig::{Rig, START_MS, TICK_MS, gpu_signal, limited_by, micros, policy, queue_signal, threshold};

/// The window of every rule here.
const N: Millis = 10 * MINUTE_MS;

/// The hold limit of [`policy`].
const H: Millis = 90_000;

const STATISTICS: [Statistic; 3] = [Statistic::Mean, Statistic::Hold, Statistic::Quantile(950_000)];

/// `≥ 70 %` up and `≤ 30 %` down, both over N.
fn ruled(statistic: Statistic) -> Config {
    let mut config = policy();
    config.signals[0].up = Some(threshold(70.0, 10, statistic));
    config.signals[0].down = Some(threshold(30.0, 10, statistic));
    config
}

/// A reading of the one GPU: when, in ms from the start, and percent.
type Reading = (Millis, f64);

/// Every 15 seconds from `from` to `to`, both included.
fn steady(percent: f64, from: Millis, to: Millis) -> Vec<Reading> {
    (from..=to).step_by(15_000).map(|at| (at, percent)).collect()
}

/// What one GPU's readings say at `now`.
fn hear(config: Config, readings: &[Reading], now: Millis) -> SignalEvidence {
    let mut rig = Rig::new(config, 1, 1).acquainted();
    rig.now_ms = START_MS + now;
    let samples = samples_of(&rig, readings);
    rig.tick_with(&samples).signals()[0]
}

fn samples_of(rig: &Rig, readings: &[Reading]) -> Vec<Sample> {
    let device = rig.devices()[0];
    let sample =
        |&(at, percent): &Reading| Sample::of_device(0, device, START_MS + at, micros(percent / 100.0));
    readings.iter().map(sample).collect()
}

fn verdicts(config: Config, readings: &[Reading], now: Millis) -> (Verdict, Verdict) {
    let evidence = hear(config, readings, now);
    (evidence.up, evidence.down)
}

#[test]
fn exactly_theta_is_met_in_both_directions() {
    use Verdict::{Met, NotMet};
    for statistic in STATISTICS {
        for (percent, wanted) in [
            (70.0, (Met, NotMet)),
            (69.9999, (NotMet, NotMet)),
            (70.0001, (Met, NotMet)),
            (30.0, (NotMet, Met)),
            (30.0001, (NotMet, NotMet)),
            (29.9999, (NotMet, Met)),
        ] {
            let readings = steady(percent, 0, N);
            assert_eq!(
                verdicts(ruled(statistic), &readings, N),
                wanted,
                "{statistic:?} {percent}"
            );
        }
    }
}

#[test]
fn a_mean_of_exactly_theta_made_of_other_values_is_met() {
    // Half the window at 100 and half at 40 is 70; half at 60 and half at 0 is 30.
    for (early, late, wanted) in [
        (100.0, 40.0, (Verdict::Met, Verdict::NotMet)),
        (100.0, 39.9998, (Verdict::NotMet, Verdict::NotMet)),
        (60.0, 0.0, (Verdict::NotMet, Verdict::Met)),
        (60.0002, 0.0, (Verdict::NotMet, Verdict::NotMet)),
    ] {
        let mut readings = steady(early, 0, N / 2 - 15_000);
        readings.extend(steady(late, N / 2, N));
        assert_eq!(
            verdicts(ruled(Statistic::Mean), &readings, N),
            wanted,
            "{early} then {late}"
        );
    }
}

#[test]
fn a_quantile_of_exactly_theta_is_met() {
    // The 0.9-quantile of a window that is at θ or above for its last tenth: F(θ−) = 0.9 is not below 0.9, so the
    // quantile is still the lower value; one millisecond more and it is θ.
    let config = ruled(Statistic::Quantile(900_000));
    let window = |hot: Millis| {
        let mut readings = steady(50.0, 0, N - hot);
        readings.retain(|reading| reading.0 < N - hot);
        readings.push((N - hot, 70.0));
        readings.push((N, 70.0));
        readings
    };
    assert_eq!(hear(config.clone(), &window(N / 10), N).up, Verdict::NotMet);
    assert_eq!(hear(config, &window(N / 10 + 1), N).up, Verdict::Met);
    // Downward: at most θ for at least 0.9 of the time.
    let config = ruled(Statistic::Quantile(900_000));
    let window = |hot: Millis| {
        let mut readings = steady(30.0, 0, N - hot);
        readings.retain(|reading| reading.0 < N - hot);
        readings.push((N - hot, 90.0));
        readings.push((N, 90.0));
        readings
    };
    assert_eq!(hear(config.clone(), &window(N / 10), N).down, Verdict::Met);
    assert_eq!(hear(config, &window(N / 10 + 1), N).down, Verdict::NotMet);
}

#[test]
fn exactly_n_of_history_is_enough_and_a_millisecond_less_is_not() {
    for statistic in STATISTICS {
        let hot = steady(80.0, 0, N);
        assert_eq!(hear(ruled(statistic), &hot, N).up, Verdict::Met, "{statistic:?}");
        assert_eq!(
            hear(ruled(statistic), &hot, N - 1).up,
            Verdict::Unknown,
            "{statistic:?}"
        );
        let idle = steady(0.0, 0, N);
        assert_eq!(
            hear(ruled(statistic), &idle, N).down,
            Verdict::Met,
            "{statistic:?}"
        );
        assert_eq!(
            hear(ruled(statistic), &idle, N - 1).down,
            Verdict::Unknown,
            "{statistic:?}"
        );
    }
}

#[test]
fn a_sample_on_the_windows_edge() {
    // What happened until exactly now − N is outside, whatever the reading at that instant says of the time after.
    let mut readings = vec![(-60_000, 0.0)];
    readings.extend(steady(80.0, 0, N));
    assert_eq!(hear(ruled(Statistic::Hold), &readings, N).up, Verdict::Met);
    // A millisecond of another level inside the window breaks a hold.
    let mut readings = vec![(-60_000, 0.0), (1, 80.0)];
    readings.extend(steady(80.0, 15_000, N));
    assert_eq!(hear(ruled(Statistic::Hold), &readings, N).up, Verdict::NotMet);
    // A reading at exactly now has not lasted yet: it is in the window and weighs nothing.
    let mut readings = steady(80.0, 0, N - 15_000);
    readings.push((N, 0.0));
    let evidence = hear(ruled(Statistic::Hold), &readings, N);
    assert_eq!((evidence.up, evidence.up_value), (Verdict::Met, 800_000));
}

#[test]
fn one_sample_only_is_no_evidence() {
    for statistic in STATISTICS {
        for age in [0, 1, 15_000, H - 1, H, MINUTE_MS * 2] {
            for percent in [0.0, 100.0] {
                let evidence = hear(ruled(statistic), &[(N - age, percent)], N);
                let seen = (evidence.up, evidence.down);
                assert_eq!(
                    seen,
                    (Verdict::Unknown, Verdict::Unknown),
                    "{statistic:?} age {age}"
                );
            }
        }
    }
    let mut rig = Rig::new(policy(), 1, 1).acquainted();
    let samples = samples_of(&rig, &[(0, 100.0)]);
    let evaluation = rig.tick_with(&samples);
    assert!(evaluation.decision.is_hold(), "{:?}", evaluation.decision);
}

#[test]
fn a_scrape_gap_of_h_is_bridged_and_one_of_h_plus_1_ms_is_not() {
    for (gap, unknown_ms) in [(H - 1, 0), (H, 0), (H + 1, 1), (H + 30_000, 30_000)] {
        let mut config = ruled(Statistic::Hold);
        config.signals[0].demand_window_ms = N;
        let mut readings = steady(80.0, 0, N / 2);
        readings.extend(steady(80.0, N / 2 + gap, N));
        let evidence = hear(config, &readings, N);
        let known = (N - unknown_ms) * 1_000_000 / N;
        assert_eq!(evidence.coverage, known, "gap of H {:+} ms", gap - H);
        assert_eq!(
            evidence.up,
            Verdict::Met,
            "gaps within minCoverage do not break a hold"
        );
        assert_eq!(evidence.up_value, 800_000, "what is unknown is no zero");
    }
}

#[test]
fn gaps_up_to_min_coverage_are_bridged_and_no_more() {
    // A fifth of the window may be unknown: 120 s beyond the 90 that the last reading speaks for.
    for (unknown, wanted) in [
        (N / 5 - 1, Verdict::Met),
        (N / 5, Verdict::Met),
        (N / 5 + 1, Verdict::Unknown),
    ] {
        let mut readings = steady(80.0, 0, N / 2);
        readings.extend(steady(80.0, N / 2 + H + unknown, N));
        assert_eq!(
            hear(ruled(Statistic::Hold), &readings, N).up,
            wanted,
            "{unknown} ms unknown"
        );
    }
}

/// Numbers that look random and are the same on every machine.
fn scatter(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

/// Readings at uneven times with uneven values over three windows.
fn uneven(seed: u64) -> Vec<Reading> {
    let mut next = scatter(seed);
    let mut at = 0;
    let mut readings = Vec::new();
    while at <= 3 * N {
        readings.push((
            at,
            [20.0, 30.0, 69.0, 70.0, 95.0][usize::try_from(next(5)).unwrap()],
        ));
        at += 1 + i64::try_from(next(100_000)).unwrap();
    }
    readings
}

#[test]
fn out_of_order_and_duplicate_timestamps_change_nothing() {
    for seed in 0..40 {
        let config = || ruled(STATISTICS[usize::try_from(seed % 3).unwrap()]);
        let readings = uneven(seed);
        let wanted = hear(config(), &readings, 3 * N);
        let mut shuffled = readings.clone();
        let mut next = scatter(seed + 1_000);
        for index in (1..shuffled.len()).rev() {
            shuffled.swap(index, usize::try_from(next(index as u64 + 1)).unwrap());
        }
        let repeated: Vec<Reading> = shuffled.iter().chain(&readings).copied().collect();
        assert_eq!(
            hear(config(), &repeated, 3 * N),
            wanted,
            "in one read, seed {seed}"
        );

        // The same readings one by one, each read while time stands still: every one of them is late.
        let mut rig = Rig::new(config(), 1, 1).acquainted();
        rig.now_ms = START_MS + 3 * N;
        let mut evaluation = rig.evaluate();
        for sample in samples_of(&rig, &repeated) {
            evaluation = rig.tick_with(&[sample]);
        }
        assert_eq!(evaluation.signals()[0], wanted, "one at a time, seed {seed}");
    }
}

#[test]
fn of_two_readings_at_one_instant_the_larger_counts() {
    let mut readings = steady(80.0, 0, N);
    readings.extend(steady(10.0, 0, N));
    assert_eq!(hear(ruled(Statistic::Hold), &readings, N).up, Verdict::Met);
    // The other way round, and more of them than a short sort would keep in order by itself.
    readings.reverse();
    let evidence = hear(ruled(Statistic::Hold), &readings, N);
    assert_eq!((evidence.up, evidence.up_value), (Verdict::Met, 800_000));
}

#[test]
fn a_source_clock_that_steps_back_shrinks_nothing_and_grows_nothing() {
    for step_ms in [15_000, MINUTE_MS, 5 * MINUTE_MS, 60 * MINUTE_MS] {
        let mut rig = Rig::new(ruled(Statistic::Mean), 3, 2).acquainted();
        rig.load_all(60.0);
        rig.watch_minutes(30);
        rig.now_ms -= step_ms;
        for _ in 0..2 * 60 * MINUTE_MS / TICK_MS {
            let evaluation = rig.tick();
            assert!(
                evaluation.decision.is_hold(),
                "back by {step_ms} ms: {:?}",
                evaluation.decision
            );
        }
        assert_eq!(
            rig.tick().signals()[0].quality,
            Quality::Good,
            "and it is over by then"
        );
    }
}

#[test]
fn one_read_stamped_a_year_ahead_does_not_hold_the_pool_for_a_year() {
    let mut rig = Rig::new(policy(), 2, 2).acquainted();
    rig.load_all(70.0);
    rig.watch_minutes(30);
    let honest_ms = rig.now_ms;
    rig.now_ms += 365 * 24 * 60 * MINUTE_MS;
    rig.tick_with(&[]);
    rig.now_ms = honest_ms;
    rig.load_all(100.0);
    let evaluation = rig.watch_minutes(60);
    assert!(
        evaluation.decision.to > 2,
        "an hour later: {:?}",
        evaluation.signals()[0]
    );
}

#[test]
fn nan_is_absent_and_never_zero() {
    assert!(fixed_point(f64::NAN).is_err());
    // GPUs at 60 %, then nothing but NaN: what a reading says when it could not be normalised is "ended".
    let mut rig = Rig::new(ruled(Statistic::Mean), 3, 2).acquainted();
    rig.load_all(60.0);
    rig.watch_minutes(30);
    let devices = rig.devices();
    for _ in 0..4 * N / TICK_MS {
        rig.now_ms += TICK_MS;
        let nan = DcgmMetric::GpuUtilization.normalize(f64::NAN, 0.0).ok();
        let rows: Vec<Sample> = devices
            .iter()
            .map(|&device| Sample {
                value: nan,
                ..Sample::of_device(0, device, rig.now_ms, 0)
            })
            .collect();
        let evaluation = rig.tick_with(&rows);
        assert!(evaluation.decision.is_hold());
        assert_ne!(evaluation.signals()[0].down, Verdict::Met);
    }
    let evaluation = rig.tick_with(&[]);
    assert_eq!(evaluation.signals()[0].quality, Quality::Stale);
}

#[test]
fn a_percentage_where_a_ratio_belongs_is_dropped_and_a_ratio_where_a_percentage_belongs_is_tiny() {
    let ratio = DcgmMetric::GraphicsEngineActive;
    let percent = DcgmMetric::GpuUtilization;
    assert!(ratio.normalize(70.0, 0.0).is_err());
    assert_eq!(percent.normalize(0.7, 0.0), Ok(7_000), "0.7 % and not 70 %");
    // The dropped value ends the reading before it: the GPU is unknown from there, not idle and not as before.
    let mut rig = Rig::new(ruled(Statistic::Mean), 1, 1).acquainted();
    rig.now_ms = START_MS + N;
    let mut samples = samples_of(&rig, &steady(80.0, 0, N - 75_000));
    samples.push(Sample {
        value: ratio.normalize(70.0, 0.0).ok(),
        ..Sample::of_device(0, rig.devices()[0], START_MS + N - MINUTE_MS, 0)
    });
    let evidence = rig.tick_with(&samples).signals()[0];
    assert_eq!((evidence.coverage, evidence.quality), (0, Quality::LowCoverage));
    assert_eq!(
        (evidence.up, evidence.up_value),
        (Verdict::Met, 800_000),
        "the rest of the window stays as it was"
    );
    samples.pop();
    let evidence = rig.tick_with(&samples).signals()[0];
    assert_eq!(evidence.coverage, 0, "what was ended stays ended");
}

#[test]
fn a_node_removed_mid_window_takes_its_history_along() {
    // One node at 100 %, one at 20 %: together above 50, and the busy one leaves.
    let mut config = ruled(Statistic::Mean);
    config.signals[0].up = Some(threshold(60.0, 10, Statistic::Mean));
    let mut rig = Rig::new(config, 2, 1).acquainted();
    rig.load(0, 100.0);
    rig.load(1, 20.0);
    let before = rig.watch_minutes(20).signals()[0];
    assert_eq!((before.up, before.up_value), (Verdict::Met, 600_000));
    rig.nodes.remove(0);
    let after = rig.tick().signals()[0];
    assert_eq!(
        (after.up, after.up_value),
        (Verdict::NotMet, 200_000),
        "the window is that of the devices in the pool"
    );
    assert_eq!(after.coverage, 1_000_000, "a device that left is not missing");
}

#[test]
fn a_ghosts_samples_count_for_nothing() {
    let mut rig = Rig::new(ruled(Statistic::Mean), 1, 1).acquainted();
    rig.load_all(20.0);
    let ghost = DeviceId(9_999);
    let mut evidence = SignalEvidence::default();
    for _ in 0..2 * N / TICK_MS {
        rig.now_ms += TICK_MS;
        let device = rig.devices()[0];
        evidence = rig
            .tick_with(&[
                Sample::of_device(0, device, rig.now_ms, 200_000),
                Sample::of_device(0, ghost, rig.now_ms, 1_000_000),
            ])
            .signals()[0];
    }
    assert_eq!((evidence.up_value, evidence.pinned), (200_000, 0));
}

#[test]
fn all_nodes_gone_and_back_from_zero() {
    let mut config = policy();
    config.min_nodes = 0;
    config.signals = vec![gpu_signal(), queue_signal(8.0, Absent::Unknown)];
    let mut rig = Rig::new(config, 2, 1).acquainted();
    rig.load_all(60.0);
    rig.series = vec![(1, Some(1.0))];
    rig.watch_minutes(20);
    // Everything leaves: no device, no sample, and nobody says that this is idleness.
    rig.nodes.clear();
    rig.asked = 0;
    let evaluation = rig.watch_minutes(20);
    assert_eq!(
        evaluation.decision.to, 1,
        "one request waits: {:?}",
        evaluation.decision
    );
    assert_ne!(
        evaluation.signals()[0].quality,
        Quality::Good,
        "the GPUs say nothing: {:?}",
        evaluation.signals()[0]
    );
    // Not even the queue is read: only the minimum is reached without metrics.
    rig.series = vec![];
    assert_eq!(rig.watch_minutes(10).decision.to, 0);
    rig.config.min_nodes = 1;
    let evaluation = rig.tick();
    assert_eq!(evaluation.decision.to, 1);
    assert_eq!(evaluation.decision.reason.as_str(), "MinNodes");
}

#[test]
fn a_pods_change_of_identity_resets_no_window() {
    let mut rig = Rig::new(ruled(Statistic::Hold), 2, 2).acquainted();
    rig.load_all(80.0);
    rig.watch_minutes(9);
    assert_eq!(rig.tick().signals()[0].up, Verdict::Unknown, "not yet N");
    // The pods are replaced; the devices, which are what a series is about, stay.
    rig.nodes.iter_mut().for_each(|node| node.gpu_pods = 1);
    let evaluation = rig.watch_minutes(1);
    assert_eq!(evaluation.signals()[0].up, Verdict::Met);
    assert_eq!(rig.ingested.late, 0);
}

#[test]
fn a_gpu_shared_by_four_pods_is_one_gpu() {
    let run = |rows: usize| {
        let mut rig = Rig::new(ruled(Statistic::Mean), 2, 2).acquainted();
        let mut evaluations = Vec::new();
        for tick in 0..3 * N / TICK_MS {
            rig.now_ms += TICK_MS;
            let value: Micro = if tick % 7 < 3 { 900_000 } else { 400_000 };
            let samples: Vec<Sample> = rig
                .devices()
                .iter()
                .flat_map(|&device| {
                    let at_ms = rig.now_ms;
                    // A pod's row says at most what the device does.
                    (0..rows).map(move |row| {
                        let row = Micro::try_from(row).unwrap();
                        Sample::of_device(0, device, at_ms, value - row * 100_000)
                    })
                })
                .collect();
            evaluations.push(rig.tick_with(&samples));
            assert_eq!(rig.ingested.duplicate as usize, 4 * (rows - 1));
        }
        evaluations
    };
    assert_eq!(run(4), run(1));
}

#[test]
fn mig_slices_and_whole_gpus_count_by_weight() {
    let slice = mig_weight("1g.10gb").unwrap();
    let half = mig_weight("3g.40gb").unwrap();
    // Two whole GPUs at 50 %, a small slice at 100 % and a large one at 0 %: 1.142857 of 2.571428 GPUs.
    let parts = [
        (1_000_000, 500_000),
        (1_000_000, 500_000),
        (slice, 1_000_000),
        (half, 0),
    ];
    let mut rig = Rig::new(ruled(Statistic::Mean), 1, 3).acquainted();
    let (node, since) = (rig.nodes[0].id, rig.nodes[0].ready_since_ms);
    let devices: Vec<Device> = (0..)
        .zip(parts)
        .map(|(id, (weight, _))| Device {
            weight,
            ..Device::new(DeviceId(id), node, since)
        })
        .collect();
    rig.now_ms = START_MS + N;
    let samples: Vec<Sample> = (0..=N / TICK_MS)
        .flat_map(|tick| {
            devices
                .iter()
                .zip(parts)
                .map(move |(device, (weight, value))| Sample {
                    weight,
                    ..Sample::of_device(0, device.id, START_MS + tick * TICK_MS, value)
                })
        })
        .collect();
    rig.windows.ingest(&Delta {
        now_ms: rig.now_ms,
        samples: &samples,
        inventory: Some(&devices),
        reads: &[],
    });
    let evidence = rig.evaluate().signals()[0];
    let whole = 2_000_000 + slice + half;
    let busy = 1_000_000 + slice;
    assert_eq!(evidence.demand_low, busy);
    assert_eq!(
        evidence.up_value,
        busy * 1_000_000 / whole,
        "44.4 % and not the plain mean of 50 %"
    );
    assert_eq!(evidence.pinned, slice);
}

#[test]
fn a_success_with_warnings_is_unknown() {
    let mut rig = Rig::new(ruled(Statistic::Mean), 3, 2).acquainted();
    rig.config.min_nodes = 1;
    let sizes = |rig: &mut Rig| -> Vec<u32> { (0..160).map(|_| rig.tick().decision.to).collect() };
    for percent in [0.0, 100.0] {
        rig.load_all(percent);
        rig.reads = vec![ReadStatus::Partial];
        assert!(sizes(&mut rig).iter().all(|&size| size == 3), "at {percent} %");
        let evidence = rig.tick().signals()[0];
        assert_eq!(evidence.quality, Quality::PartialAnswer);
        assert_eq!((evidence.up, evidence.down), (Verdict::Unknown, Verdict::Unknown));
    }
    rig.load_all(0.0);
    rig.reads = vec![ReadStatus::Answered];
    assert!(
        sizes(&mut rig).last() < Some(&3),
        "the same data without the warning"
    );
}

#[test]
fn backends_that_include_the_left_edge_and_those_that_do_not_give_the_same_verdict() {
    // Prometheus 2 answers [now − range, now], Prometheus 3 and VictoriaMetrics (now − range, now]. The range is
    // the window and a pad of twice the hold limit, so the reading in dispute speaks for nothing in the window.
    let pad = 2 * H;
    for seed in 0..200 {
        let mut readings = uneven(seed);
        let now = 3 * N;
        readings.retain(|reading| reading.0 > now - N - pad);
        let left_open = hear(ruled(Statistic::Mean), &readings, now);
        readings.insert(0, (now - N - pad, 100.0));
        let closed = hear(ruled(Statistic::Mean), &readings, now);
        assert_eq!(left_open, closed, "seed {seed}");
    }
}

#[test]
fn an_edge_reading_is_not_taken_for_history() {
    // A reading at now − N − H speaks until exactly now − N: for the window it is as if it were not there.
    let mut readings = steady(80.0, 60_000, N);
    assert_eq!(hear(ruled(Statistic::Mean), &readings, N).up, Verdict::Unknown);
    readings.insert(0, (-2 * H, 80.0));
    assert_eq!(hear(ruled(Statistic::Mean), &readings, N).up, Verdict::Unknown);
    // One that spoke within H of the edge is a gap that slides over it, which coverage judges.
    readings[0] = (-2 * H + 1, 80.0);
    assert_eq!(hear(ruled(Statistic::Mean), &readings, N).up, Verdict::Met);
}

#[test]
fn a_reading_from_after_the_read_is_not_believed() {
    let mut rig = Rig::new(ruled(Statistic::Mean), 1, 1).acquainted();
    rig.now_ms = START_MS + N;
    let samples = samples_of(&rig, &steady(100.0, N + 1, 2 * N));
    let evaluation = rig.tick_with(&samples);
    assert_eq!(rig.ingested.future as usize, samples.len());
    assert_eq!(evaluation.signals()[0].quality, Quality::NoData);
    assert_eq!(limited_by(&evaluation), Some(Rule::DataQuality));
}

#[test]
fn the_busiest_device_alone_is_what_max_hears() {
    let mut config = ruled(Statistic::Hold);
    config.signals[0].across = Across::Max;
    let mut rig = Rig::new(config, 2, 4).acquainted();
    rig.load_all(10.0);
    rig.nodes[1].gpus[2] = Some(70.0);
    let evidence = rig.watch_minutes(20).signals()[0];
    assert_eq!((evidence.up, evidence.up_value), (Verdict::Met, 700_000));
    assert_eq!(evidence.down, Verdict::NotMet);
    // A silent device may be busier than any.
    rig.nodes[1].gpus[2] = Some(10.0);
    rig.watch_minutes(20);
    rig.nodes[0].gpus[0] = None;
    let evidence = rig.watch_minutes(20).signals()[0];
    assert_eq!((evidence.up_value, evidence.down_value), (100_000, 1_000_000));
}
