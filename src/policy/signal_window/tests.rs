//! The merge of devices against its own definition, and a window that slid against one that was fetched anew.

use proptest::prelude::*;

use super::*;
use crate::policy::config::ONE;
use crate::policy::config::{
    Absent, Behavior, DataQuality, Replace, Saturation, ScaleIn, SelectPolicy, Statistic, Strategy as Sizing,
    Suspend, VictimPolicy, Workload,
};
use crate::policy::dcgm::DcgmMetric;
use crate::policy::track::{IDLE, READS_ZERO, WORKING_POWER};
use crate::policy::windows::Health;

const H: Millis = 90_000;

fn signal() -> Signal {
    let rule = |threshold, window_ms| {
        Some(crate::policy::config::Rule {
            threshold,
            window_ms,
            statistic: Statistic::Mean,
        })
    };
    Signal {
        name: "gpu".into(),
        source: SignalSource::Device(DcgmMetric::GpuUtilization),
        across: Across::Mean,
        target: Some(750_000),
        per_node: None,
        up: rule(700_000, 5 * 60_000),
        down: rule(300_000, 10 * 60_000),
        demand_window_ms: 60_000,
        absent: Absent::Unknown,
    }
}

fn config(across: Across) -> Config {
    let behavior = || Behavior {
        policies: vec![],
        select: SelectPolicy::Max,
        tolerance: 0,
        stabilization_ms: 0,
        cooldown_ms: 0,
    };
    Config {
        signals: vec![Signal { across, ..signal() }],
        strategy: Sizing::TargetUtilization,
        workload: Workload::Shared,
        min_nodes: 1,
        max_nodes: 10,
        spare_nodes: 0,
        up: behavior(),
        down: behavior(),
        settle_ms: 0,
        provision_timeout_ms: 0,
        evaluation_interval_ms: 15_000,
        budget_micro_usd_per_hour: None,
        schedules: vec![],
        scale_in: ScaleIn {
            victims: VictimPolicy::IdleFirst,
            drain_timeout_ms: 0,
            replace_unhealthy: Replace::Never,
        },
        data_quality: DataQuality {
            min_coverage: 500_000,
            max_age_ms: 120_000,
            scrape_interval_ms: 30_000,
            warm_up_ms: 60_000,
            idle_window_ms: 10 * 60_000,
        },
        saturation: Saturation::default(),
        suspend: Suspend::Active,
    }
}

fn window(across: Across) -> SignalWindow {
    let config = config(across);
    SignalWindow::new(&config, &config.signals[0])
}

const MINUTES: Millis = 30;
const START: Millis = 1_000_000_000;
const END: Millis = START + MINUTES * 60_000;

/// Three whole GPUs and a slice; the last node becomes Ready in the middle, the first one may fall ill.
fn inventory(ill: bool) -> Vec<Device> {
    (0..4)
        .map(|id| Device {
            weight: if id == 2 { 428_571 } else { ONE },
            health: if ill && id == 0 {
                Health::Unhealthy
            } else {
                Health::Healthy
            },
            ..Device::new(
                DeviceId(id),
                NodeId(id / 2),
                if id == 3 { START + 10 * 60_000 } else { START },
            )
        })
        .collect()
}

/// A reading and how long after it happened it is read.
type Delivery = (Sample, Millis);

fn deliveries() -> impl Strategy<Value = Vec<Delivery>> {
    let reading = (
        0..MINUTES * 60_000,
        0..5_u32,
        prop_oneof![
            Just(None),
            (0..=ONE).prop_map(Some),
            Just(Some(0)),
            Just(Some(ONE)),
            Just(Some(ONE))
        ],
        prop_oneof![Just(0), Just(0), Just(0), 0..200_000_i64],
        prop_oneof![
            Just(Channel::Load),
            Just(Channel::Load),
            Just(Channel::Load),
            Just(Channel::Power)
        ],
    );
    let sample = |(at, id, value, delay, channel)| {
        // Times on a grid make duplicates and ties; device 4 is a ghost.
        let at_ms = START + at / 5_000 * 5_000;
        let weight = if id == 2 { 428_571 } else { ONE };
        let sample = Sample {
            at_ms,
            signal: 0,
            device: DeviceId(id),
            value,
            weight,
            channel,
        };
        (sample, delay)
    };
    prop::collection::vec(reading.prop_map(sample), 1..250)
}

/// The level at `at_ms` by definition: for each device its newest reading of that time, if that is still valid.
fn by_definition(samples: &[Sample], devices: &[Device], across: Across, at_ms: Millis) -> Level {
    let (mut known, mut busy, mut missing, mut pinned, mut max) = (0, 0, 0, 0, 0);
    for device in devices.iter().filter(|device| device.health == Health::Healthy) {
        let newest = |channel: Channel| {
            let readings = samples.iter().filter(|sample| {
                sample.device == device.id && sample.channel == channel && sample.at_ms <= at_ms
            });
            // Of one instant the largest; a reading without a value is less than any.
            let newest = readings.max_by_key(|sample| (sample.at_ms, sample.value))?;
            newest.value.filter(|_| newest.at_ms + H > at_ms)
        };
        let load = newest(Channel::Load);
        let lies = load.is_some_and(|value| value <= READS_ZERO)
            && newest(Channel::Power).is_some_and(|power| power > WORKING_POWER);
        match load.filter(|_| !lies) {
            Some(value) => {
                known += device.weight;
                busy += value * device.weight / ONE;
                pinned += if value >= 950_000 { device.weight } else { 0 };
                max = max.max(value);
            }
            None if device.ready_since_ms + 60_000 <= at_ms => missing += device.weight,
            None => {}
        }
    }
    let expected = known + missing;
    if known == 0 || known * ONE / expected < 500_000 {
        return Level::default();
    }
    let (low, high) = match across {
        Across::Mean => {
            let above = (busy + missing) * ONE;
            (
                busy * ONE / expected,
                above / expected + i64::from(above % expected > 0),
            )
        }
        Across::Max => (max, if missing > 0 { ONE } else { max }),
    };
    Level {
        covered: Covered::Yes,
        low,
        high,
        busy,
        missing,
        pinned,
    }
}

/// Feeds readings as they are delivered, tick by tick.
fn slid(across: Across, deliveries: &[Delivery], ill_from_ms: Millis) -> SignalWindow {
    let mut window = window(across);
    let mut counts = Ingested::default();
    let mut now_ms = START;
    let mut read_until_ms = START - 1;
    while now_ms <= END {
        window.set_inventory(&inventory(now_ms >= ill_from_ms));
        let due = deliveries.iter().filter(|(sample, delay)| {
            let read_ms = (sample.at_ms + delay).min(END);
            read_ms > read_until_ms && read_ms <= now_ms
        });
        due.for_each(|(sample, _)| window.take(sample, now_ms, &mut counts));
        window.settle(now_ms, &mut counts);
        read_until_ms = now_ms;
        now_ms += 15_000;
    }
    window
}

fn fetched(across: Across, samples: &[Sample], ill: bool) -> SignalWindow {
    let mut window = window(across);
    let mut counts = Ingested::default();
    window.set_inventory(&inventory(ill));
    for sample in samples {
        window.take(sample, END, &mut counts);
    }
    window.settle(END, &mut counts);
    window
}

fn spans(window: &SignalWindow) -> [Totals; 4] {
    [
        window.span(Edge::Demand, END - 60_000, END),
        window.span(Edge::Up, END - 5 * 60_000, END),
        window.span(Edge::Down, END - 10 * 60_000, END),
        window.span(Edge::Up, END - 7 * 60_000, END - 30_000),
    ]
}

proptest! {
    #[test]
    fn a_window_that_slid_there_and_one_fetched_anew_are_equal_to_the_bit(
        deliveries in deliveries(),
        max in any::<bool>(),
        ill_minute in 0..60_i64,
    ) {
        let across = if max { Across::Max } else { Across::Mean };
        let samples: Vec<Sample> = deliveries.iter().map(|delivery| delivery.0).collect();
        let slid = slid(across, &deliveries, START + ill_minute * 60_000);
        let fetched = fetched(across, &samples, ill_minute <= MINUTES);
        prop_assert_eq!(spans(&slid), spans(&fetched));
        for edge in [Edge::Demand, Edge::Up, Edge::Down] {
            for back_ms in [60_000, 5 * 60_000, 10 * 60_000] {
                prop_assert_eq!(slid.has_history(edge, END - back_ms), fetched.has_history(edge, END - back_ms));
            }
        }
        for node in [NodeId(0), NodeId(1)] {
            let since_ms = END - 10 * 60_000;
            prop_assert_eq!(slid.node_idle_since(node, since_ms), fetched.node_idle_since(node, since_ms));
        }
    }

    #[test]
    fn the_level_at_every_instant_is_that_of_the_definition(
        deliveries in deliveries(),
        max in any::<bool>(),
        ill in any::<bool>(),
        back in prop::collection::vec(1..10 * 60_000_i64, 40),
    ) {
        let across = if max { Across::Max } else { Across::Mean };
        let samples: Vec<Sample> = deliveries.iter().map(|delivery| delivery.0).collect();
        let window = fetched(across, &samples, ill);
        let devices = inventory(ill);
        for back_ms in back {
            let at_ms = END - back_ms;
            let wanted = by_definition(&samples, &devices, across, at_ms);
            let seen = window.series.level_at(Edge::Down as usize, at_ms).unwrap_or_default();
            prop_assert_eq!(seen, wanted, "{} ms before the end", back_ms);
        }
    }

    #[test]
    fn a_device_was_idle_only_if_no_reading_says_otherwise(deliveries in deliveries(), back in 1..10 * 60_000_i64) {
        let samples: Vec<Sample> = deliveries.iter().map(|delivery| delivery.0).collect();
        let window = fetched(Across::Mean, &samples, false);
        let since_ms = END - back;
        for node in [NodeId(0), NodeId(1)] {
            let busy = samples.iter().any(|sample| {
                sample.device.0 / 2 == node.0 && sample.device.0 < 4 && sample.channel == Channel::Load
                    && sample.at_ms > since_ms && sample.value > Some(IDLE)
                    // Another row of the same instant cannot make it less busy.
            });
            prop_assert!(!(busy && window.node_idle_since(node, since_ms)));
        }
    }
}

#[test]
fn a_device_whose_zeros_power_belied_was_not_idle_once_it_is() {
    let minute = |minute: Millis, channel, value| Sample {
        channel,
        ..Sample::of_device(0, DeviceId(0), END - minute * 60_000, value)
    };
    let idle = |powers: [Micro; 2]| {
        let mut window = window(Across::Mean);
        window.set_inventory(&inventory(false)[..1]);
        let mut counts = Ingested::default();
        for at in 0..20 {
            window.take(&minute(at, Channel::Load, 0), END, &mut counts);
            let power = powers[usize::from(at >= 5)];
            window.take(&minute(at, Channel::Power, power), END, &mut counts);
        }
        window.settle(END, &mut counts);
        window.node_idle_since(NodeId(0), END - 10 * 60_000)
    };
    assert!(idle([0, 0]));
    assert!(!idle([0, WORKING_POWER + 1]), "it worked until five minutes ago");
    assert!(!idle([WORKING_POWER + 1, 0]));
}

#[test]
fn a_reading_that_is_late_goes_back_before_an_expiry_that_no_level_shows() {
    let device = |id, at_ms, value, channel| Sample {
        channel,
        ..Sample::of_device(0, DeviceId(id), START + at_ms, value)
    };
    // The power that belies the zero expires between the zero and its arrival.
    let deliveries = [
        (device(3, 1_500_000, 0, Channel::Load), 15_001),
        (device(3, 1_415_000, WORKING_POWER + 1, Channel::Power), 0),
        (device(0, 1_430_000, 0, Channel::Load), 0),
    ];
    let samples = deliveries.map(|delivery| delivery.0);
    assert_eq!(
        spans(&slid(Across::Mean, &deliveries, END + 1)),
        spans(&fetched(Across::Mean, &samples, false))
    );
}

#[test]
fn readings_from_before_a_clock_was_put_back_fill_no_gap() {
    let idle_after = |step_ms: Millis| {
        let mut window = window(Across::Mean);
        window.set_inventory(&inventory(false)[..1]);
        let mut counts = Ingested::default();
        for minute in 0..20 {
            let sample = Sample::of_device(0, DeviceId(0), END - minute * 60_000, 0);
            window.take(&sample, END, &mut counts);
        }
        window.settle(END, &mut counts);
        let now_ms = END - step_ms;
        window.set_back(END, now_ms);
        window.take(&Sample::of_device(0, DeviceId(0), now_ms, 0), now_ms, &mut counts);
        window.settle(now_ms, &mut counts);
        window.node_idle_since(NodeId(0), now_ms - 5 * 60_000)
    };
    assert!(idle_after(1_000), "a moment");
    assert!(idle_after(H));
    assert!(!idle_after(H + 1), "what was then is not what is now");
}

#[test]
fn one_reading_of_an_instant_counts_however_its_rows_are_ordered() {
    // Two rows an instant, the smaller one first, in one read of many.
    let row = |tick: Millis, value| Sample::of_device(0, DeviceId(0), END - tick * 15_000, value);
    let rows: Vec<Sample> = (0..40)
        .map(|tick| row(tick, 100_000))
        .chain((0..40).map(|tick| row(tick, 800_000)))
        .collect();
    let mut reversed = rows.clone();
    reversed.reverse();
    let spans = |rows: &[Sample]| spans(&fetched(Across::Mean, rows, false));
    assert_eq!(spans(&rows), spans(&reversed));
}

#[test]
fn scaled_rounds_down_and_scaled_up_rounds_up() {
    for (value, numerator, denominator, down, up) in [
        (10, 3, 4, 7, 8),
        (8, 3, 4, 6, 6),
        (0, 3, 4, 0, 0),
        (1, 1, ONE, 0, 1),
        (500_000, ONE, ONE, 500_000, 500_000),
        (10, 3, 0, 0, 0),
        (10, 3, -4, 0, 0),
        (i64::MAX, ONE, ONE, i64::MAX, i64::MAX),
        (i64::MAX, 2, 4, i64::MAX / 2, i64::MAX / 2 + 1),
        (i64::MAX, i64::MAX, 1, i64::MAX, i64::MAX),
        (i64::MAX, -2, 1, i64::MIN, i64::MIN),
    ] {
        let what = format!("{value} × {numerator} ÷ {denominator}");
        assert_eq!(scaled(value, numerator, denominator), down, "{what}, down");
        // Saturated values cannot be rounded.
        if down > i64::MIN {
            assert_eq!(scaled_up(value, numerator, denominator), up, "{what}, up");
        }
    }
}

proptest! {
    #[test]
    fn scaled_is_exact_arithmetic(value in 0..=i64::MAX, numerator in 0..=ONE, denominator in 1..=ONE) {
        let product = i128::from(value) * i128::from(numerator);
        let clamp = |wide: i128| i64::try_from(wide).unwrap_or(i64::MAX);
        prop_assert_eq!(scaled(value, numerator, denominator), clamp(product / i128::from(denominator)));
        let up = (product + i128::from(denominator) - 1) / i128::from(denominator);
        prop_assert_eq!(scaled_up(value, numerator, denominator), clamp(up));
    }
}
