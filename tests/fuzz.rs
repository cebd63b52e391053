//! Fuzz targets for everything that reads foreign bytes.
//!
//! As tests they run a bounded number of random inputs on a stable compiler. `BOLERO_RANDOM_ITERATIONS=1000000 cargo
//! test --test fuzz` runs more, and `cargo bolero test --test fuzz NAME` lets a fuzzing engine look for them.
//!
//! Each reader gets bytes of all kinds, and documents of its format that were written from random samples: as they are,
//! and with a few bytes flipped, cut out, repeated or put in. An intact document gives exactly its samples. A garbled one
//! gives samples that are the same when read again, or an error that says what to do; never a panic.

#![cfg(feature = "parquet")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of tests may fail as tests do"
)]

#[cfg(feature = "aks")]
#[path = "fuzz/arm.rs"]
mod arm;
mod documents;
#[cfg(feature = "aks")]
mod hostile;

use std::io::Read as _;

use bolero::check;
use gpuscale::journal::{self, InMemory, Limits, Reader, Replayer, Sink, Writer};
use gpuscale::policy::observation::{Booting, Nodes, Waiting};
use gpuscale::policy::sample::{DeviceId, NodeId};
use gpuscale::policy::windows::Device;
use gpuscale::policy::{Delta, Memory, Now, Observation, Windows, evaluate};
use gpuscale::recording::{
    Format, Labels, Metrics, ReadError, ReadOptions, Recording, Series, TimeUnit, read, unpacked,
};
use gpuscale::simulator::scenario::Scenario;
use gpuscale::simulator::scenario_suite::Suite;

use documents::{Sample, T0, document, found, gzip, wanted, zstandard};

/// Inputs of a target that takes bytes as they come.
const OF_BYTES: usize = 4_000;

/// Inputs of a target that writes a document first.
const OF_DOCUMENTS: usize = 1_000;

/// What a document is written from: for each sample its series, its value and how odd that is.
type Specification = Vec<(u8, i32, u8)>;

/// What is done to it: where, what, and with which byte.
type Mutations = Vec<(u16, u8, u8)>;

/// Samples of up to eight series with all that labels may hold, one after another in time.
fn samples(specification: &[(u8, i32, u8)]) -> Vec<Sample> {
    let labels: [&[(&str, &str)]; 8] = [
        &[],
        &[("gpu", "0")],
        &[("gpu", "1"), ("node", "a-b.c:9400")],
        &[("model", "NVIDIA A100, 80 GB"), ("gpu", "0")],
        &[("quote", "a\"b"), ("slash", "a\\b")],
        &[("break", "a\nb"), ("gpu", "0")],
        &[("letters", "é{}=中"), ("gpu", "0")],
        &[("space", " a "), ("gpu", "0")],
    ];
    let sample = |(index, &(series, number, odd)): (usize, &(u8, i32, u8))| Sample {
        labels: Labels::new(
            ["m", "job:n:avg5m"][usize::from(series / 8 % 2)],
            labels[usize::from(series % 8)].iter().copied(),
        )
        .unwrap(),
        at_ms: T0 + i64::try_from(index).unwrap() * 15_001,
        value: match odd {
            0..=9 => f64::NAN,
            10..=19 => f64::INFINITY,
            20..=29 => f64::NEG_INFINITY,
            30..=99 => f64::from(number),
            100..=199 => f64::from(number) / 1000.0,
            _ => f64::from(number) * 1e-20 / 3.0,
        },
    };
    specification.iter().enumerate().map(sample).collect()
}

/// Labels that every format can hold as it is written by its own tool; a dump does not escape.
fn plain(mut samples: Vec<Sample>) -> Vec<Sample> {
    samples.retain(|sample| {
        let odd = |(_, value): (&str, &str)| {
            value.contains(['"', '\\', '\n', ',', '{', '}', '=']) || !value.is_ascii()
        };
        !sample.labels.iter().any(odd)
    });
    samples
}

fn mutated(mut bytes: Vec<u8>, mutations: &[(u16, u8, u8)]) -> Vec<u8> {
    for &(place, what, byte) in mutations.iter().take(6) {
        let at = usize::from(place) % bytes.len().max(1);
        let length = usize::from(byte) % 16;
        let end = (at + length).min(bytes.len());
        match what % 6 {
            0 if at < bytes.len() => bytes[at] ^= 1 << (byte % 8),
            1 if at < bytes.len() => bytes[at] = byte,
            2 => bytes.insert(at.min(bytes.len()), byte),
            3 => drop(bytes.drain(at.min(end)..end)),
            4 => {
                let again = bytes[at.min(end)..end].to_vec();
                bytes.splice(end..end, again);
            }
            5 if byte % 4 == 0 => bytes.truncate(at),
            _ => {}
        }
    }
    bytes
}

/// Options of all kinds, by a number.
fn options(choice: u8) -> ReadOptions {
    ReadOptions {
        timestamps: [None, Some(TimeUnit::Seconds), Some(TimeUnit::Milliseconds), None]
            [usize::from(choice % 4)],
        metric: (choice & 4 != 0).then(|| "m".to_owned()),
        column_label: (choice & 8 != 0).then(|| "node".to_owned()),
    }
}

/// Whatever the bytes are: a result that is the same again, or an error with what to do.
fn judge(format: Format, bytes: &[u8], options: &ReadOptions) -> Result<Metrics, ReadError> {
    let result = read(format, &mut &*bytes, options);
    match &result {
        Ok(metrics) => {
            let again = read(format, &mut &*bytes, options).unwrap();
            assert_eq!(found(metrics), found(&again));
            assert_eq!(metrics.tally(), again.tally());
            let samples: usize = metrics.series().iter().map(Series::len).sum();
            assert!(samples > 0 && samples as u64 == metrics.tally().samples);
        }
        Err(error) => explains_itself(error),
    }
    result
}

fn explains_itself(error: &ReadError) {
    let (text, remedy) = (error.to_string(), error.cause.remedy());
    assert!(
        !remedy.is_empty() && text.ends_with(&remedy) && text.len() > remedy.len() + 2,
        "{text}"
    );
    assert!(text.len() < 3000 && !text.ends_with('.'), "{text}");
}

/// Bytes that have nothing to do with the format, and those that begin like it.
fn any_bytes(format: Format) {
    let start = document(format, &documents::two_gpus(1));
    check!()
        .with_iterations(OF_BYTES)
        .with_max_len(400)
        .with_type::<(Vec<u8>, u16, u8)>()
        .for_each(|(bytes, keep, choice)| {
            let _ = judge(format, bytes, &options(*choice));
            let head = &start[..usize::from(*keep) % (start.len() + 1)];
            let _ = judge(format, &[head, bytes].concat(), &options(*choice));
        });
}

/// Documents of the format, intact and garbled, plain and packed.
fn garbled_documents(format: Format) {
    check!()
        .with_iterations(OF_DOCUMENTS)
        .with_type::<(Specification, Mutations, u8)>()
        .for_each(|(specification, mutations, choice)| {
            let samples = match format {
                Format::TsdbDump => plain(samples(specification)),
                _ => samples(specification),
            };
            let intact = document(format, &samples);
            if samples.is_empty() {
                assert!(judge(format, &intact, &ReadOptions::default()).is_err());
            } else {
                let metrics = judge(format, &intact, &ReadOptions::default());
                let metrics =
                    metrics.unwrap_or_else(|error| panic!("{error}\n{}", String::from_utf8_lossy(&intact)));
                assert_eq!(
                    found(&metrics),
                    wanted(&samples),
                    "{}",
                    String::from_utf8_lossy(&intact)
                );
            }
            let garbled = mutated(intact, mutations);
            let _ = judge(format, &garbled, &options(*choice));
            let _ = Format::detect(&garbled).map_err(|error| explains_itself(&error));
        });
}

/// The targets of one format, each under a name that a fuzzing engine can be pointed at.
macro_rules! targets {
    ($($name:ident: $format:expr,)*) => {
        $(mod $name {
            use super::*;

            #[test]
            fn any_bytes() {
                super::any_bytes($format);
            }

            #[test]
            fn garbled_documents() {
                super::garbled_documents($format);
            }
        })*
    };
}

targets! {
    openmetrics: Format::OpenMetrics,
    prometheus: Format::Prometheus,
    query_json: Format::QueryJson,
    tsdb_dump: Format::TsdbDump,
    vm_export: Format::VmExport,
    csv_wide: Format::CsvWide,
    csv_long: Format::CsvLong,
    parquet: Format::Parquet,
}

#[test]
fn format_of_any_bytes() {
    check!().with_iterations(OF_BYTES).for_each(|bytes: &[u8]| {
        let _ = Format::detect(bytes).map_err(|error| explains_itself(&error));
    });
}

#[test]
fn packed_bytes() {
    check!()
        .with_iterations(OF_DOCUMENTS)
        .with_type::<(Vec<u8>, Mutations)>()
        .for_each(|(bytes, mutations)| {
            for pack in [gzip, zstandard, <[u8]>::to_vec] {
                let packed = pack(bytes);
                let mut all = Vec::new();
                unpacked(&*packed).unwrap().read_to_end(&mut all).unwrap();
                // Bytes that are packed already are unpacked, too.
                assert!(all == *bytes || packed == *bytes);
                // What comes out of garbled bytes is bounded here, as the readers bound it.
                if let Ok(input) = unpacked(&*mutated(packed, mutations)) {
                    let _ = input.take(1 << 20).read_to_end(&mut Vec::new());
                }
            }
        });
}

#[test]
fn demand_csv() {
    let start = "timestamp,series,value,unit\n1700000000,a,1.5,gpus\n1700000060,a,2,gpus\n1700000000,b,3,gpus\n\
        1700000060,b,4,gpus\n";
    check!()
        .with_iterations(OF_BYTES)
        .with_type::<(Vec<u8>, Mutations)>()
        .for_each(|(bytes, mutations)| {
            for bytes in [
                bytes.clone(),
                mutated(start.into(), mutations),
                gzip(&mutated(start.into(), mutations)),
            ] {
                match Recording::from_demand_csv(&bytes) {
                    Ok(recording) => assert_eq!(Recording::from_demand_csv(&bytes).unwrap(), recording),
                    Err(error) => assert!(!error.to_string().is_empty()),
                }
            }
        });
}

/// A YAML reader: valid documents that were garbled, and text of all kinds.
fn yaml<E: std::fmt::Display>(start: &str, parse: fn(&str) -> Result<(), E>) {
    parse(start).unwrap_or_else(|error| panic!("{error}"));
    check!()
        .with_iterations(OF_DOCUMENTS)
        .with_type::<(Vec<u8>, Mutations)>()
        .for_each(|(bytes, mutations)| {
            for bytes in [bytes.clone(), mutated(start.into(), mutations)] {
                if let Err(error) = parse(&String::from_utf8_lossy(&bytes)) {
                    assert!(!error.to_string().is_empty());
                }
            }
        });
}

#[test]
fn policy() {
    yaml(include_str!("../simulations/bad-month/policy.yaml"), |text| {
        gpuscale::api::validate(text).map(drop)
    });
}

#[test]
fn scenario() {
    yaml(include_str!("../simulations/bad-month/scenario.yaml"), |text| {
        Scenario::parse(text).map(drop)
    });
}

#[test]
fn suite() {
    yaml(include_str!("../simulations/quality.yaml"), |text| {
        Suite::parse(text).map(drop)
    });
}

/// Ticks of a small pool in one segment.
fn journal_of_a_pool(samples: &[(u8, i32, u8)]) -> Vec<u8> {
    let document = include_str!("../simulations/bad-month/policy.yaml");
    let config = journal::Policy::new(document).unwrap().config;
    let mut writer = Writer::new(InMemory::default(), Limits::default()).unwrap();
    let (mut windows, mut memory) = (Windows::new(&config), Memory::default());
    let beginning = journal::Beginning {
        policy: document,
        now: Now::at(T0),
    };
    writer.begin(&beginning).unwrap();
    let booting = [Booting {
        nodes: 1,
        since_ms: T0,
    }];
    for (tick, readings) in (0..).zip(samples.chunks(3)) {
        let now = Now::at(T0 + tick * 15_000);
        let samples: Vec<_> = readings
            .iter()
            .map(|&(device, value, odd)| gpuscale::policy::sample::Sample {
                value: (odd > 9).then_some(i64::from(value)),
                ..gpuscale::policy::sample::Sample::of_device(
                    0,
                    DeviceId(u32::from(device % 8)),
                    now.wall_ms - i64::from(odd) * 100,
                    0,
                )
            })
            .collect();
        let devices = [
            Device::new(DeviceId(0), NodeId(0), T0),
            Device::new(DeviceId(1), NodeId(0), T0),
        ];
        let delta = Delta {
            now_ms: now.wall_ms,
            samples: &samples,
            inventory: (tick % 2 == 0).then_some(&devices),
            reads: &[],
        };
        windows.ingest(&delta);
        let observation = Observation {
            asked: 2,
            ready: 1,
            schedulable: 1,
            booting: &booting,
            waiting: Waiting::Pods(&[]),
            nodes: Nodes::Interchangeable,
            ..Observation::default()
        };
        let before = memory.clone();
        let evaluation = evaluate(&config, &windows, &observation, &mut memory, now);
        let decided = Some(journal::Decided {
            now,
            observation: &observation,
            memory: (tick % 3 == 0).then_some((&before, journal::Checkpoint::Unchanged)),
            evaluation: &evaluation,
            after: &memory,
        });
        writer.tick(&journal::TickRecord { delta, decided }).unwrap();
    }
    writer.flush().unwrap();
    writer.into_segments().segments.into_values().flatten().collect()
}

/// Whatever the bytes are: records up to an error that names its place, and a replay of them.
fn judge_journal(bytes: &[u8]) {
    for record in Reader::new(bytes) {
        if let Err(error) = record {
            assert!(error.offset <= bytes.len() as u64);
            assert!(error.to_string().starts_with("byte "), "{error}");
        }
    }
    let mut replayer = Replayer::new(None);
    let _ = replayer.segment("it", bytes, &mut |_| {});
    let _ = gpuscale::report::replay::ReplayDocument::new(&replayer.finish()).lines();
}

#[test]
fn journal_bytes() {
    check!()
        .with_iterations(OF_BYTES)
        .with_max_len(400)
        .for_each(|bytes: &[u8]| {
            judge_journal(bytes);
            judge_journal(&journal::seal(bytes).unwrap());
        });
}

#[test]
fn garbled_journals() {
    check!()
        .with_iterations(OF_DOCUMENTS / 4)
        .with_type::<(Specification, Mutations)>()
        .for_each(|(specification, mutations)| {
            let intact = journal_of_a_pool(specification);
            let replay = journal::replay([intact.as_slice()], None).unwrap();
            assert_eq!((replay.differing, replay.faults.len()), (0, 0));
            judge_journal(&mutated(intact.clone(), mutations));
            // Past the checksum: the records themselves.
            let (records, _) = journal::open(&mut intact.as_slice()).unwrap().unwrap();
            judge_journal(&journal::seal(&mutated(records.clone(), mutations)).unwrap());
            // And past the policy, which is the longest part of a short journal.
            let policy = records
                .len()
                .min(include_str!("../simulations/bad-month/policy.yaml").len());
            let mut rest = records;
            let ticks = mutated(rest.split_off(policy), mutations);
            judge_journal(&journal::seal(&[rest, ticks].concat()).unwrap());
        });
}
