//! What the control loop costs: processor time per policy and tick, and memory per policy.
//!
//! `cargo bench --bench control` runs the production loop over ports in memory, in virtual time, with 64 GPUs to a
//! policy, and prints a table. Two things must not matter: how many policies there are (the same time per tick), and how
//! long their windows are. Each row is measured in a process of its own, so that one row's memory is not another's.
//!
//! What is measured is everything on the one thread: the loop, the engine, the journal's records into memory, and the
//! ports, which have to make the answers. What the same answers cost without the loop is measured too and shown
//! beside it. Time is the kernel's count of time on the processor, so that other work on the machine
//! does not count.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench that cannot run has nothing to measure, and what it measures is printed"
)]

mod clock;
mod world;

use std::cell::Cell;
use std::fs;
use std::hint::black_box;
use std::pin::pin;
use std::process::Command;
use std::rc::Rc;

use gpuscale::control::ports::PolicyKey;
use gpuscale::control::{Action, Controller, Policy, Settings, TickResult, Ticked, Watch};
use gpuscale::journal::{JournalError, Limits, Segments, Sink, Writer};
use gpuscale::policy::evaluation::Quality;

use clock::{VirtualClock, run_until};
use world::{AT_EVERY_TICK, Fleet, GPUS, METRICS, SCRAPE_MS, World};

/// The most that a policy may cost at each tick.
const BAR_MICROSECONDS: f64 = 60.0;

const TICK_MS: i64 = 15_000;

/// Ticks before the measurement: the first one reads whole windows, and what follows it finds its sizes.
const WARM_UP_TICKS: i64 = 8;

#[derive(Debug, Default)]
struct Counts {
    ticks: Cell<u64>,
    /// Ticks that judged their signals by whole windows.
    known: Cell<u64>,
    journal_bytes: Cell<u64>,
}

struct Counting(Rc<Counts>);

impl Watch for Counting {
    fn tick(&self, tick: &Ticked<'_>) {
        let TickResult::Decided(evaluation) = tick.result else {
            panic!("{} decided nothing: {:?}", tick.policy, tick.result);
        };
        self.0.ticks.set(self.0.ticks.get() + 1);
        if evaluation
            .signals()
            .iter()
            .all(|signal| signal.quality == Quality::Good)
        {
            self.0.known.set(self.0.known.get() + 1);
        }
    }

    fn action(&self, action: &Action<'_>) {
        panic!("a steady load has {} {}", action.policy, action.what);
    }

    fn journal(&self, _: &PolicyKey) -> Option<Box<dyn Sink>> {
        let segments = Counted(Rc::clone(&self.0));
        Some(Box::new(Writer::new(segments, Limits::default()).unwrap()))
    }
}

/// A journal whose bytes are counted and not kept: they would be on a disk.
#[derive(Debug)]
struct Counted(Rc<Counts>);

impl Segments for Counted {
    fn kept(&self) -> Vec<(u64, u64)> {
        Vec::new()
    }

    fn append(&mut self, _: u64, bytes: &[u8]) -> Result<(), JournalError> {
        self.0
            .journal_bytes
            .set(self.0.journal_bytes.get() + bytes.len() as u64);
        Ok(())
    }

    fn drop_segment(&mut self, _: u64) -> Result<(), JournalError> {
        Ok(())
    }
}

// --- the measurement ---

/// One line of the table.
#[derive(Debug, Clone, Copy)]
struct Row {
    policies: usize,
    window_minutes: i64,
    ticks: i64,
}

/// What came out of one.
#[derive(Debug, Clone, Copy)]
struct Figures {
    /// Microseconds per policy and tick.
    tick: f64,
    /// Of which for making the answers.
    answers: f64,
    /// Microseconds per policy for the first ticks, which read whole windows.
    first: f64,
    /// Bytes per policy, without what the ports hold.
    bytes: Option<f64>,
    /// Bytes of journal per policy and tick.
    journal: f64,
}

fn policy(number: usize, window_minutes: i64) -> Policy {
    let document = format!(
        "apiVersion: gpuscale.dev/v1alpha1
kind: GpuScalePolicy
metadata: {{ name: p{number:05}, namespace: gpuscale-system }}
spec:
  mode: Enforce
  targetRef: {{ kind: AksNodePool, name: pool{number} }}
  minNodes: 1
  maxNodes: 16
  signals:
    - name: gpu
      dcgm: {{ metric: GpuUtilization, matchLabels: {{ pool: '{number}' }} }}
      targetPercentage: 60
      up:   {{ above: 85, for: {window_minutes}m, rule: Mean }}
      down: {{ below: 30, for: {window_minutes}m, rule: Hold }}
  dataQuality: {{ scrapeInterval: 15s }}
"
    );
    Policy::new(&document, 0, "here").unwrap_or_else(|error| panic!("{error}"))
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn measure(row: Row) -> Figures {
    let clock = VirtualClock::default();
    let fleet = Rc::new(Fleet::new(clock.clone(), row.policies));
    for policy in 0..row.policies {
        for metric in METRICS {
            fleet.series(policy, metric);
        }
    }
    let counts = Rc::new(Counts::default());
    let before = resident_bytes();

    let world = World::new(&clock, Rc::clone(&fleet));
    let controller = Controller::new(world, Counting(Rc::clone(&counts)), Settings::default());
    controller.set_policies(
        (0..row.policies)
            .map(|number| policy(number, row.window_minutes))
            .collect(),
    );
    let mut run = pin!(controller.run());

    let started = processor_ns();
    assert!(run_until(&clock, 2 * TICK_MS, run.as_mut()).is_pending());
    let first_ticks = counts.ticks.get();
    let first = processor_ns() - started;
    assert!(run_until(&clock, WARM_UP_TICKS * TICK_MS, run.as_mut()).is_pending());

    let (ticks, known) = (counts.ticks.get(), counts.known.get());
    let (reads, samples) = (fleet.reads.get(), fleet.samples.get());
    let journal_bytes = counts.journal_bytes.get();
    let started = processor_ns();
    assert!(run_until(&clock, (WARM_UP_TICKS + row.ticks) * TICK_MS, run.as_mut()).is_pending());
    let spent = processor_ns() - started;
    let after = resident_bytes();
    let journal_bytes = counts.journal_bytes.get() - journal_bytes;

    let (ticks, known) = (counts.ticks.get() - ticks, counts.known.get() - known);
    let (reads, samples) = (fleet.reads.get() - reads, fleet.samples.get() - samples);
    assert!(first_ticks > 0 && ticks > 0 && reads > 0, "the loop did nothing");
    assert_eq!(known, ticks, "some ticks had less than whole windows to judge by");
    assert!(ticks.abs_diff(row.policies as u64 * row.ticks.unsigned_abs()) <= row.policies as u64);

    controller.stop();
    assert!(run_until(&clock, i64::MAX, run.as_mut()).is_ready());
    Figures {
        tick: spent as f64 / ticks as f64 / 1e3,
        answers: answers_ns(&fleet, row, reads, samples) as f64 / ticks as f64 / 1e3,
        first: first as f64 / row.policies as f64 / 1e3,
        journal: journal_bytes as f64 / ticks as f64,
        bytes: before
            .zip(after)
            .map(|(before, after)| after.saturating_sub(before) as f64 / row.policies as f64),
    }
}

/// What as many answers with as many samples cost when nobody reads them.
fn answers_ns(fleet: &Fleet, row: Row, reads: u64, samples: u64) -> u64 {
    let window_ms = i64::try_from(samples / reads).unwrap() / GPUS * SCRAPE_MS;
    let started = processor_ns();
    for read in 0..usize::try_from(reads).unwrap() {
        let policy = read / AT_EVERY_TICK.len() % row.policies;
        black_box(fleet.answer(policy, AT_EVERY_TICK[read % AT_EVERY_TICK.len()], window_ms));
    }
    processor_ns() - started
}

/// Time on the processor, where the kernel tells; else time that went by.
fn processor_ns() -> u64 {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let on_processor = schedstat.split_ascii_whitespace().next();
    on_processor.and_then(|ns| ns.parse().ok()).unwrap_or_else(|| {
        static START: std::sync::OnceLock<std::time::Instant> = std::sync::OnceLock::new();
        #[expect(clippy::disallowed_methods, reason = "a bench measures the real time")]
        let start = START.get_or_init(std::time::Instant::now);
        u64::try_from(start.elapsed().as_nanos()).unwrap()
    })
}

/// Memory that is in use, where there is a figure.
fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kibibytes: u64 = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

// --- the table ---

fn row((policies, window_minutes, ticks): (usize, i64, i64)) -> Row {
    Row {
        policies,
        window_minutes,
        ticks,
    }
}

/// First more and more policies, then longer and longer windows. An hour and a half is what a fleet costs for good;
/// in the first minutes journals begin, and an hour of 5,000 policies is what is short enough to wait for.
const ROWS: [(usize, i64, i64); 5] = [
    (100, 10, 400),
    (1_000, 10, 400),
    (5_000, 10, 240),
    (100, 60, 400),
    (100, 360, 400),
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let numbers: Vec<i64> = arguments
        .iter()
        .filter_map(|argument| argument.parse().ok())
        .collect();
    if let [policies, window_minutes, ticks] = numbers[..] {
        print_line(row((usize::try_from(policies).unwrap(), window_minutes, ticks)));
        return;
    }
    // Without `--bench`, cargo only tries whether the bench works.
    if !arguments.iter().any(|argument| argument == "--bench") {
        measure(row((3, 10, 4)));
        return;
    }
    println!(
        "control loop, {GPUS} GPUs to a policy, a tick and a scrape every 15 s; bar {BAR_MICROSECONDS} µs"
    );
    print!(
        "{:>8}  {:>7}  {:>8}  {:>8}  {:>8}",
        "policies", "windows", "µs/tick", "answers", "the loop"
    );
    println!(
        "  {:>5}  {:>9}  {:>10}  {:>12}",
        "bar", "first, µs", "KiB/policy", "journal B/tick"
    );
    for numbers in ROWS {
        print!("{}", in_a_process_of_its_own(row(numbers)));
    }
}

fn in_a_process_of_its_own(row: Row) -> String {
    let policies = row.policies.to_string();
    let numbers = [policies, row.window_minutes.to_string(), row.ticks.to_string()];
    let this = std::env::current_exe().unwrap();
    let output = Command::new(this).args(numbers).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{row:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn print_line(row: Row) {
    let figures = measure(row);
    let Figures {
        tick,
        answers,
        first,
        bytes,
        journal,
    } = figures;
    let bar = if tick <= BAR_MICROSECONDS { "held" } else { "over" };
    let kibibytes = bytes.map_or("unknown".to_owned(), |bytes| format!("{:.0}", bytes / 1024.0));
    print!(
        "{:>8}  {:>5} m  {tick:>8.1}  {answers:>8.1}",
        row.policies, row.window_minutes
    );
    println!(
        "  {:>8.1}  {bar:>5}  {first:>9.0}  {kibibytes:>10}  {journal:>14.0}",
        tick - answers
    );
}
