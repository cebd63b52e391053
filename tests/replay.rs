//! `gpuscale replay` on a journal of ten hours: a quiet night, a busy morning, a restart.
//!
//! The journal is in `tests/fixtures/journal`, so that a build which reads or decides otherwise is seen here. A change
//! of the engine that is meant to decide otherwise writes it anew: `UPDATE_JOURNAL=1 cargo test --test replay`.

#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a fault of a fixture may end it at once"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gpuscale::journal::record::Record;
use gpuscale::journal::{
    ActionRecord, Beginning, Checkpoint, Decided, InMemory, Limits, Policy, Reader, Sink, TickRecord, Writer,
};
use gpuscale::policy::observation::{Nodes, Waiting};
use gpuscale::policy::sample::{DeviceId, NodeId, Sample};
use gpuscale::policy::windows::Device;
use gpuscale::policy::{Config, Delta, Memory, Now, Observation, Windows, evaluate};
use serde_json::Value;

const FIXTURE: &str = "tests/fixtures/journal";
const TICK_MS: i64 = 15_000;
const START_MS: i64 = 1_700_000_000_000;

fn document(target: u32, max: u32) -> String {
    format!(
        "apiVersion: gpuscale.dev/v1alpha1\nkind: GpuScalePolicy\nmetadata: {{ name: a100 }}\nspec:\n  \
         targetRef: {{ kind: AksNodePool, name: a100 }}\n  maxNodes: {max}\n  \
         signals: [ {{ name: gpu, dcgm: {{ metric: GpuUtilization }}, targetPercentage: {target} }} ]\n"
    )
}

/// Busy GPUs, in micros.
fn demand(tick: i64) -> i64 {
    match tick {
        0..800 => 900_000,
        800..1_700 => 900_000 + (tick - 800) * 5_000,
        1_700..1_800 => 3_000_000,
        _ => 600_000,
    }
}

const LIMITS: Limits = Limits {
    total_bytes: 1 << 30,
    segment_bytes: 16_000,
    block_bytes: 256 << 10,
    block_ticks: 40,
    checkpoint_ticks: 240,
};

/// A pool whose nodes come and go as they are asked for, and the process that asks.
struct Pool {
    document: String,
    config: Config,
    windows: Windows,
    memory: Memory,
    /// A memory that the next decision has to be given.
    given: Option<Memory>,
    asked: u32,
    writer: Writer<InMemory>,
}

/// The journal of a pool: a start, and another one after a thousand ticks.
fn journal() -> InMemory {
    let document = document(70, 8);
    let config = Policy::new(&document).unwrap().config;
    let mut pool = Pool {
        windows: Windows::new(&config),
        config,
        document,
        memory: Memory::default(),
        given: None,
        asked: 2,
        writer: Writer::new(InMemory::default(), LIMITS).unwrap(),
    };
    pool.begin(Now {
        wall_ms: START_MS,
        timer_ms: 0,
    });
    for tick in 0..2_400 {
        let wall_ms = START_MS + tick * TICK_MS;
        let timer_ms = if tick < 1_000 { tick } else { tick - 990 } * TICK_MS;
        let now = Now { wall_ms, timer_ms };
        if tick == 1_000 {
            let saved = Now {
                wall_ms,
                timer_ms: 1_000 * TICK_MS,
            };
            pool.restart(saved, now);
        }
        pool.tick(now, demand(tick));
    }
    pool.writer.flush().unwrap();
    pool.writer.into_segments()
}

impl Pool {
    fn begin(&mut self, now: Now) {
        self.windows = Windows::new(&self.config);
        let policy = &self.document;
        self.writer.begin(&Beginning { policy, now }).unwrap();
    }

    /// Another process, whose timer begins anew.
    fn restart(&mut self, saved: Now, now: Now) {
        self.writer.flush().unwrap();
        let segments = self.writer.segments().clone();
        self.writer = Writer::new(segments, LIMITS).unwrap();
        self.memory.resume(saved, now);
        self.given = Some(self.memory.clone());
        self.begin(now);
    }

    fn tick(&mut self, now: Now, demand: i64) {
        let share = (demand / i64::from(self.asked)).min(1_000_000);
        let numbers = 0..self.asked;
        let sample = |device| Sample::of_device(0, DeviceId(device), now.wall_ms, share);
        let samples: Vec<Sample> = numbers.clone().map(sample).collect();
        let devices: Vec<Device> = numbers
            .map(|number| Device::new(DeviceId(number), NodeId(number), 0))
            .collect();
        let delta = Delta {
            now_ms: now.wall_ms,
            samples: &samples,
            inventory: Some(&devices),
            reads: &[],
        };
        self.windows.ingest(&delta);
        let observation = Observation {
            asked: self.asked,
            ready: self.asked,
            schedulable: self.asked,
            gpus_per_node: 1,
            waiting: Waiting::Unseen,
            nodes: Nodes::Interchangeable,
            node_price: Some(3_670_000),
            ..Observation::default()
        };
        let evaluation = evaluate(&self.config, &self.windows, &observation, &mut self.memory, now);
        let before = self.given.take();
        let decided = Some(Decided {
            now,
            observation: &observation,
            memory: before.as_ref().map(|memory| (memory, Checkpoint::Changed)),
            evaluation: &evaluation,
            after: &self.memory,
        });
        self.writer.tick(&TickRecord { delta, decided }).unwrap();
        self.act(now, evaluation.decision.to);
    }

    fn act(&mut self, now: Now, to: u32) {
        let from = std::mem::replace(&mut self.asked, to);
        if from == to {
            return;
        }
        for what in ["sending", "accepted"] {
            let action = ActionRecord {
                now,
                pool: "a100",
                from,
                to,
                what,
                message: "",
            };
            self.writer.action(&action).unwrap();
        }
    }
}

fn write(folder: &Path, kept: &InMemory) {
    fs::create_dir_all(folder).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    for (number, bytes) in &kept.segments {
        fs::write(folder.join(format!("{number:010}.gsj")), bytes).unwrap();
    }
}

/// A file or folder of a test's own.
fn own(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("replay").join(name)
}

fn policy_file(name: &str, document: &str) -> String {
    let path = own(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, document).unwrap();
    path.display().to_string()
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gpuscale"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("replay")
        .args(arguments)
        .env_remove("COLUMNS")
        .env_remove("CLICOLOR_FORCE")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[track_caller]
fn stdout(arguments: &[&str], code: i32) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// A newer version reads what this one wrote, and is called otherwise in no other place.
fn unversioned(said: &str) -> String {
    said.replace(env!("CARGO_PKG_VERSION"), "VERSION")
}

#[test]
fn the_committed_journal_is_the_one_this_build_writes() {
    let kept = journal();
    if std::env::var_os("UPDATE_JOURNAL").is_some() {
        write(Path::new(FIXTURE), &kept);
    }
    // A newer version writes its own name.
    let records = |bytes: &[u8]| -> Vec<Record> {
        let mut records: Vec<_> = Reader::new(bytes).map(Result::unwrap).collect();
        for record in &mut records {
            match record {
                Record::Begin(begin) => begin.version.clear(),
                Record::Continue(middle) => middle.begin.version.clear(),
                _ => {}
            }
        }
        records
    };
    let committed = fs::read_dir(FIXTURE).unwrap().count();
    assert_eq!(committed, kept.segments.len());
    for (number, bytes) in &kept.segments {
        let file = fs::read(Path::new(FIXTURE).join(format!("{number:010}.gsj"))).unwrap();
        assert_eq!(records(&file), records(bytes), "segment {number}");
    }
}

#[test]
fn a_journal_is_proved() {
    insta::assert_snapshot!("replay", unversioned(&stdout(&[FIXTURE], 0)));
    let document: Value = serde_json::from_str(&stdout(&[FIXTURE, "--format", "json"], 0)).unwrap();
    assert_eq!(
        (&document["verified"], &document["differing"]),
        (&2_400.into(), &0.into())
    );
    // Segments by name, without the oldest: it begins where the windows are whole.
    let mut files: Vec<String> = fs::read_dir(FIXTURE)
        .unwrap()
        .map(|entry| entry.unwrap().path().display().to_string())
        .collect();
    files.sort();
    let rest: Vec<&str> = files.iter().skip(1).map(String::as_str).collect();
    let said = stdout(&rest, 0);
    assert!(
        said.contains("every decision is byte-equal") && said.contains("not all kept"),
        "{said}"
    );
}

#[test]
fn another_policy_is_asked_beside_the_recorded_one() {
    let other = policy_file(
        "lower.yaml",
        &document(50, 8).replace("name: a100 }\nspec", "name: lower }\nspec"),
    );
    insta::assert_snapshot!(
        "replay_policy",
        unversioned(&stdout(&[FIXTURE, "--policy", &other], 0))
    );
    let arguments = [FIXTURE, "--policy", &other, "--format", "json"];
    let document: Value = serde_json::from_str(&stdout(&arguments, 0)).unwrap();
    let compared = &document["comparison"];
    assert!(
        compared["node_hours"].as_f64() > compared["recorded_node_hours"].as_f64(),
        "{compared}"
    );
    assert_eq!(compared["loop"], "open");
}

#[test]
fn a_policy_with_other_signals_is_refused_with_those_that_there_are() {
    let other = policy_file(
        "other.yaml",
        &document(50, 8).replace("GpuUtilization", "SmActive"),
    );
    let output = run(&[FIXTURE, "--policy", &other]);
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    assert!(
        said.contains("signal `gpu` (SmActive) is not in the journal, which has `gpu` (GpuUtilization)"),
        "{said}"
    );
}

#[test]
fn the_trace_has_a_line_for_every_decision() {
    let output = run(&[FIXTURE, "--trace", "-"]);
    assert!(output.status.success() && text(&output.stderr).contains("byte-equal"));
    let lines: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 2_400);
    assert_eq!(lines[0]["time"], "2023-11-14T22:13:20Z");
    assert!(
        lines[0].get("demand_gpus").is_none(),
        "nobody knows the demand of the live loop"
    );
}

#[test]
fn a_difference_and_damage_have_their_own_exit_codes() {
    let first = fs::read(Path::new(FIXTURE).join("0000000000.gsj")).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = own(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    // A crash cuts the last block short.
    let said = stdout(&[&file("cut.gsj", &first[..first.len() - 9])], 0);
    assert!(
        said.contains("cut short") && said.contains("byte-equal"),
        "{said}"
    );

    let mut damaged = first.clone();
    let place = damaged.len() - 9;
    damaged[place] ^= 1;
    let output = run(&[&file("damaged.gsj", &damaged)]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("`damaged.gsj`, byte ") && text(&output.stdout).contains("byte-equal")
    );

    // The same records under another policy: what this build would make of them is something else.
    let (records, length) = gpuscale::journal::open(&mut first.as_slice()).unwrap().unwrap();
    let (here, there) = (b"targetPercentage: 70", b"targetPercentage: 40");
    let place = records
        .windows(here.len())
        .position(|window| window == here)
        .unwrap();
    let mut changed = records;
    changed[place..place + there.len()].copy_from_slice(there);
    let mut other = gpuscale::journal::seal(&changed).unwrap();
    other.extend_from_slice(&first[usize::try_from(length).unwrap()..]);
    let said = stdout(&[&file("other.gsj", &other)], 3);
    insta::assert_snapshot!("replay_difference", unversioned(&said));

    let nothing = run(&["tests/fixtures"]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(
        text(&nothing.stderr).contains("0000000000.gsj"),
        "{}",
        text(&nothing.stderr)
    );
    let no_journal = run(&["README.md"]);
    assert_eq!(no_journal.status.code(), Some(2));
    assert!(
        text(&no_journal.stderr).contains("no block of a journal"),
        "{}",
        text(&no_journal.stderr)
    );
}
