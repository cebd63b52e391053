//! Windows that slid to a place and windows built there anew say the same.

use gpuscale::policy::Windows;
use gpuscale::policy::config::{Config, Millis, ONE, SignalSource};
use gpuscale::policy::evaluation::Evaluation;
use gpuscale::policy::sample::{Channel, DeviceId, Sample};
use proptest::prelude::*;

use crate::configs::{any_config, cases};
use crate::rig::{Rig, TICK_MS, View, stale_marker};

/// What happens in one tick. `dice` decides the fate of each sample; zero is an uneventful one.
#[derive(Debug, Clone, Copy)]
struct Plan {
    percent: u8,
    dice: u64,
    /// Whether the first node leaves, a new one joins, or neither.
    change: u8,
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let plan = (
        0_u8..=100,
        prop_oneof![2 => Just(0_u64), 3 => any::<u64>()],
        prop_oneof![20 => Just(0_u8), 1 => 1_u8..3],
    );
    let plan = plan.prop_map(|(percent, dice, change)| Plan {
        percent,
        dice,
        change,
    });
    prop::collection::vec(plan, 60..260)
}

/// A sample and the tick at which it is read.
#[derive(Debug, Clone, Copy)]
struct Read {
    tick: usize,
    sample: Sample,
}

/// A stream of dice from one throw (Steele, Lea and Flood's `SplitMix64`, whose constants these are).
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What is read of one device or series at one tick.
fn readings(sample: Sample, tick: usize, dice: u64, reads: &mut Vec<Read>) {
    if dice == 0 {
        reads.push(Read { tick, sample });
        return;
    }
    let throw = mix(dice ^ u64::from(sample.device.0) ^ (u64::from(sample.signal) << 40));
    let later = tick + 1 + (throw >> 32) as usize % 8;
    let value = Some((throw >> 16) as i64 % ONE);
    let other = Sample { value, ..sample };
    match throw % 16 {
        0 => {}
        1 | 2 => reads.push(Read { tick: later, sample }),
        3 => reads.push(Read {
            tick,
            sample: stale_marker(sample.signal, sample.device, sample.at_ms),
        }),
        // Two readings of one instant that differ, the second late or at once, as two exporters of a device give.
        4 => reads.extend([
            Read { tick, sample },
            Read {
                tick: later,
                sample: other,
            },
        ]),
        5 => reads.extend([Read { tick, sample: other }, Read { tick, sample }]),
        6 if sample.signal == 0 => {
            let power = Sample {
                channel: Channel::Power,
                value,
                ..sample
            };
            reads.extend([
                Read { tick, sample: power },
                Read {
                    tick: later,
                    sample: Sample {
                        value: Some(0),
                        ..sample
                    },
                },
            ]);
        }
        7 => reads.push(Read {
            tick,
            sample: Sample {
                at_ms: sample.at_ms - 7_000,
                ..sample
            },
        }),
        _ => reads.push(Read { tick, sample: other }),
    }
}

fn samples_of(rig: &Rig, plan: Plan, tick: usize, reads: &mut Vec<Read>) {
    let value = i64::from(plan.percent) * ONE / 100;
    for (index, signal) in (0_u16..).zip(&rig.config.signals) {
        match signal.source {
            SignalSource::Device(_) => {
                for node in &rig.nodes {
                    for gpu in 0..node.gpus.len() {
                        let device: DeviceId = rig.device(node, gpu);
                        readings(
                            Sample::of_device(index, device, rig.now_ms, value),
                            tick,
                            plan.dice,
                            reads,
                        );
                    }
                }
            }
            SignalSource::Series(_) => {
                readings(Sample::of_pool(index, rig.now_ms, value), tick, plan.dice, reads);
            }
            SignalSource::GpuRequests => {}
        }
    }
}

/// How far back anything can be asked for: the longest window and twice the hold limit.
fn horizon_ms(config: &Config) -> Millis {
    let windows = config.signals.iter().flat_map(|signal| {
        let rules = [&signal.up, &signal.down].into_iter().flatten();
        rules.map(|rule| rule.window_ms).chain([signal.demand_window_ms])
    });
    let longest = windows
        .chain([config.data_quality.idle_window_ms])
        .max()
        .unwrap_or(0);
    longest + 2 * config.data_quality.hold_limit_ms()
}

fn rig(config: &Config) -> Rig {
    let mut rig = Rig::new(config.clone(), 3, 2);
    rig.view = View::Named;
    rig.waiting = Some(vec![]);
    rig.node_price = Some(ONE);
    rig
}

/// A rig that knows nothing yet of the past but what `slid` remembers.
fn started_anew(slid: &Rig) -> Rig {
    let mut anew = rig(&slid.config);
    anew.windows = Windows::new(&slid.config);
    (anew.memory, anew.now_ms) = (slid.memory.clone(), slid.now_ms);
    (anew.nodes, anew.asked) = (slid.nodes.clone(), slid.asked);
    anew
}

/// Read by `tick`, young enough to matter, and in an order of its own.
fn refetched(reads: &[Read], tick: usize, oldest_ms: Millis) -> Vec<Sample> {
    let known = reads
        .iter()
        .filter(|read| read.tick <= tick && read.sample.at_ms >= oldest_ms);
    let mut samples: Vec<Sample> = known.map(|read| read.sample).collect();
    samples.sort_by_key(|s| {
        mix(s.at_ms.unsigned_abs() ^ u64::from(s.device.0) ^ s.value.unwrap_or(-1).unsigned_abs())
    });
    samples
}

/// Everything that a reader of the evaluation acts on. The age of data that is older than any window is not told
/// apart from there being none.
fn told(evaluation: &Evaluation) -> String {
    format!("{evaluation:#?}")
}

fn change(rig: &mut Rig, change: u8) {
    match change {
        1 if rig.nodes.len() > 1 => drop(rig.nodes.remove(0)),
        2 if rig.nodes.len() < 6 => drop(rig.add_node(rig.now_ms)),
        _ => {}
    }
    rig.asked = rig.nodes.len() as u32;
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn windows_that_slid_and_windows_that_were_rebuilt_are_equal(
        config in any_config(), plans in plans(), at in 0.3_f64..1.0,
    ) {
        prop_assume!(config.signals.iter().all(|s| s.absent == gpuscale::policy::config::Absent::Unknown));
        let rebuilt_at = (plans.len() as f64 * at) as usize;
        let mut slid = rig(&config);
        let mut reads = Vec::new();
        let mut anew: Option<Rig> = None;
        for (tick, plan) in plans.iter().enumerate() {
            slid.now_ms += TICK_MS;
            change(&mut slid, plan.change);
            samples_of(&slid, *plan, tick, &mut reads);
            // Each read overlaps the one before it.
            let fresh: Vec<Sample> = reads
                .iter()
                .filter(|read| read.tick == tick || (read.tick + 2 >= tick && read.tick < tick))
                .map(|read| read.sample)
                .collect();
            if tick == rebuilt_at {
                let mut rig = started_anew(&slid);
                let oldest_ms = slid.now_ms - horizon_ms(&config);
                let known = refetched(&reads, tick, oldest_ms);
                let rebuilt = rig.tick_with(&known);
                prop_assert_eq!(told(&slid.tick_with(&fresh)), told(&rebuilt), "at tick {}", tick);
                anew = Some(rig);
                continue;
            }
            let evaluation = slid.tick_with(&fresh);
            if let Some(anew) = &mut anew {
                (anew.now_ms, anew.nodes, anew.asked) = (slid.now_ms, slid.nodes.clone(), slid.asked);
                prop_assert_eq!(told(&evaluation), told(&anew.tick_with(&fresh)), "at tick {}", tick);
            }
        }
    }
}
