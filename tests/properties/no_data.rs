//! Promise 1: no data is never zero.

use gpuscale::policy::config::{Absent, Config, MINUTE_MS, Signal, SignalSource};
use gpuscale::policy::evaluation::Quality;
use gpuscale::policy::sample::Sample;
use gpuscale::policy::windows::ReadStatus;
use proptest::prelude::*;

use crate::configs::{any_config, cases};
use crate::rig::{TICK_MS, View, micros};
use crate::world::{Load, World};

/// What happens to one sample, or to one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    None,
    Invalid,
    Stale,
    Twice,
    Missing,
}

/// How the data of one tick is damaged: `samples` in a cycle over devices and signals, and the reads.
#[derive(Debug, Clone)]
struct Harm {
    samples: Vec<Damage>,
    read: ReadStatus,
}

fn harm() -> impl Strategy<Value = Harm> {
    let damage = prop_oneof![
        4 => Just(Damage::None),
        1 => Just(Damage::Invalid),
        1 => Just(Damage::Stale),
        1 => Just(Damage::Twice),
        1 => Just(Damage::Missing),
    ];
    let whole = prop_oneof![
        Just(Damage::Invalid),
        Just(Damage::Missing),
        Just(Damage::Stale),
        Just(Damage::None)
    ];
    let samples = prop_oneof![
        2 => prop::collection::vec(damage, 1..9).boxed(),
        1 => whole.prop_map(|damage| vec![damage]).boxed(),
    ];
    let read = prop_oneof![
        6 => Just(ReadStatus::Answered), 1 => Just(ReadStatus::Partial), 1 => Just(ReadStatus::Failed)
    ];
    (samples, read).prop_map(|(samples, read)| Harm { samples, read })
}

/// Spells of harm: each lasts some ticks.
fn spells() -> impl Strategy<Value = Vec<(usize, Harm)>> {
    prop::collection::vec((1_usize..60, harm()), 1..12)
}

fn device_signals(config: &Config) -> impl Iterator<Item = (u16, &Signal)> {
    (0..)
        .zip(&config.signals)
        .filter(|(_, signal)| matches!(signal.source, SignalSource::Device(_)))
}

/// What the rig's devices and series show now, whole.
fn clean(world: &World) -> Vec<Sample> {
    let rig = &world.rig;
    let mut samples = Vec::new();
    for (signal, _) in device_signals(&rig.config) {
        for node in &rig.nodes {
            for (gpu, value) in node.gpus.iter().enumerate() {
                let value = micros(value.unwrap() / 100.0);
                samples.push(Sample::of_device(
                    signal,
                    rig.device(node, gpu),
                    rig.now_ms,
                    value,
                ));
            }
        }
    }
    for (signal, value) in &rig.series {
        samples.push(Sample::of_pool(*signal, rig.now_ms, micros(value.unwrap())));
    }
    samples
}

fn damaged(samples: &[Sample], harm: &Harm) -> Vec<Sample> {
    let mut out = Vec::new();
    for (sample, damage) in samples.iter().zip(harm.samples.iter().cycle()) {
        match damage {
            Damage::None => out.push(*sample),
            Damage::Invalid => out.push(Sample {
                value: None,
                ..*sample
            }),
            Damage::Stale => out.push(Sample {
                at_ms: sample.at_ms - 5 * MINUTE_MS,
                ..*sample
            }),
            Damage::Twice => out.extend([*sample, *sample]),
            Damage::Missing => {}
        }
    }
    out
}

/// A series that is absent while its source answers is a zero where the policy says so: that is data.
fn absence_is_unknown(mut config: Config) -> Config {
    for signal in &mut config.signals {
        signal.absent = Absent::Unknown;
    }
    config
}

proptest! {
    #![proptest_config(cases(800))]

    /// Loads differ from device to device and stay as they are: a sample that is not there can then only be
    /// missing, never news that was missed. (A peak inside the gap that `minCoverage` or the hold limit forgives
    /// is not seen; that is what the two are for.)
    #[test]
    fn damaged_data_never_ends_below_the_size_that_clean_data_keeps(
        config in any_config(),
        percents in prop::collection::vec(0.0_f64..100.0, 1..6),
        queue in 0.0_f64..60.0,
        seen in any::<bool>(),
        spells in spells(),
    ) {
        let config = absence_is_unknown(config);
        let nodes = percents.len() as u32;
        let new = || {
            let mut world = World::new(config.clone(), nodes, 2, Load::Pinned(percents.clone()), queue);
            world.rig.view = if seen { View::Named } else { View::Interchangeable };
            world
        };
        let ticks: usize = spells.iter().map(|(ticks, _)| ticks).sum();
        let mut whole = new();
        let shrinks = (0..ticks + 200).any(|_| {
            let decision = whole.watch().decision;
            decision.to < decision.from
        });
        let mut world = new();
        let harms = spells.iter().flat_map(|(ticks, harm)| std::iter::repeat_n(Some(harm), *ticks));
        for harm in harms.chain(std::iter::repeat_n(None, 200)) {
            world.rig.now_ms += TICK_MS;
            world.show();
            let samples = clean(&world);
            let evaluation = match harm {
                None => { world.rig.reads.clear(); world.rig.tick_with(&samples) }
                Some(harm) => {
                    world.rig.reads = vec![harm.read; config.signals.len()];
                    let samples = if harm.read == ReadStatus::Failed { vec![] } else { damaged(&samples, harm) };
                    world.rig.tick_with(&samples)
                }
            };
            let decision = evaluation.decision;
            prop_assert!(shrinks || decision.to >= decision.from, "{decision:?} {:?}", evaluation.signals());
            let unknown = evaluation.signals().iter().any(|signal| signal.quality != Quality::Good);
            prop_assert!(!unknown || decision.to >= decision.from, "{decision:?} {:?}", evaluation.signals());
        }
    }
}
