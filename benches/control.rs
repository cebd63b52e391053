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

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::process::Command;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use gpuscale::control::ports::{
    Accepted, Answer, AnswerSeries, Clock, ClusterError, ClusterView, Completeness, MetricsSource, NodePools,
    PolicyKey, Pool, PoolAutoscaler, PoolError, PoolKey, PoolState, Ports, Progress, Randomness, ReadRequest,
    Selector, SourceError, StateStore, StoreError, View,
};
use gpuscale::control::state::Saved;
use gpuscale::control::{Action, Controller, Policy, Settings, TickResult, Ticked, Watch};
use gpuscale::journal::{ActionRecord, Beginning, JournalError, Sink, TickRecord};
use gpuscale::policy::evaluation::Quality;
use gpuscale::policy::observation::Now;
use gpuscale::recording::Labels;

/// The most that a policy may cost at each tick.
const BAR_MICROSECONDS: f64 = 60.0;

const EPOCH_MS: i64 = 1_700_000_000_000;
const SCRAPE_MS: i64 = 15_000;
const TICK_MS: i64 = 15_000;
/// How long a call takes: nothing comes back at once, so every call waits with its timeout beside it.
const CALL_MS: i64 = 20;

/// What is read for a signal on utilization: the signal, and what tells whether it can be believed and whether a node
/// may go.
const METRICS: [&str; 5] = [
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_POWER_USAGE",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_DEV_FB_FREE",
    "DCGM_FI_DEV_XID_ERRORS",
];

const GPUS: i64 = 64;
const GPUS_PER_NODE: i64 = 8;
const NODES: u32 = 8;

/// Ticks before the measurement: the first one reads whole windows, and what follows it finds its sizes.
const WARM_UP_TICKS: i64 = 8;

// --- virtual time ---

/// A clock that stands still while anything can be done, and jumps to the next timer then.
#[derive(Clone, Default)]
struct VirtualClock(Rc<Timers>);

#[derive(Default)]
struct Timers {
    now_ms: Cell<i64>,
    set: Cell<u64>,
    waiting: RefCell<BTreeMap<(i64, u64), Waker>>,
}

impl VirtualClock {
    /// Goes on to the next timer and wakes whoever waits for it.
    fn advance(&self) {
        let mut waiting = self.0.waiting.borrow_mut();
        let (due_ms, _) = *waiting.first_key_value().unwrap().0;
        self.0.now_ms.set(due_ms);
        let later = waiting.split_off(&(due_ms + 1, 0));
        let due = std::mem::replace(&mut *waiting, later);
        drop(waiting);
        due.into_values().for_each(Waker::wake);
    }

    fn next_ms(&self) -> Option<i64> {
        self.0.waiting.borrow().keys().next().map(|(due_ms, _)| *due_ms)
    }

    async fn call(&self) {
        self.sleep_until(self.0.now_ms.get() + CALL_MS).await;
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Now {
        let timer_ms = self.0.now_ms.get();
        Now {
            wall_ms: EPOCH_MS + timer_ms,
            timer_ms,
        }
    }

    fn sleep_until(&self, timer_ms: i64) -> impl Future<Output = ()> {
        Sleep {
            clock: self.clone(),
            due_ms: timer_ms,
            ticket: None,
        }
    }
}

/// A timer, gone when it is dropped.
struct Sleep {
    clock: VirtualClock,
    due_ms: i64,
    ticket: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let timers = Rc::clone(&self.clock.0);
        if timers.now_ms.get() >= self.due_ms {
            return Poll::Ready(());
        }
        let ticket = *self.ticket.get_or_insert_with(|| {
            timers.set.set(timers.set.get() + 1);
            timers.set.get()
        });
        timers
            .waiting
            .borrow_mut()
            .insert((self.due_ms, ticket), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.clock.0.waiting.borrow_mut().remove(&(self.due_ms, ticket));
        }
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls `future` through virtual time, until it is over or the time has come.
fn run_until(clock: &VirtualClock, end_ms: i64, mut future: Pin<&mut impl Future<Output = ()>>) -> Poll<()> {
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    loop {
        while woken.0.swap(false, Ordering::Relaxed) {
            if future.as_mut().poll(&mut context).is_ready() {
                return Poll::Ready(());
            }
        }
        match clock.next_ms() {
            Some(due_ms) if due_ms <= end_ms => clock.advance(),
            _ => return Poll::Pending,
        }
    }
}

// --- the world ---

/// GPUs by the number of their policy, and what their exporters said.
struct Fleet {
    clock: VirtualClock,
    /// The series of each policy and metric, as a source that keeps what it knows would have them.
    known: RefCell<Vec<Vec<(&'static str, Series)>>>,
    reads: Cell<u64>,
    samples: Cell<u64>,
}

type Series = Rc<[Arc<Labels>]>;

impl Fleet {
    fn new(clock: VirtualClock, policies: usize) -> Self {
        Self {
            clock,
            known: RefCell::new(vec![Vec::new(); policies]),
            reads: Cell::new(0),
            samples: Cell::new(0),
        }
    }

    fn series(&self, policy: usize, metric: &'static str) -> Series {
        let mut known = self.known.borrow_mut();
        if let Some((_, series)) = known[policy].iter().find(|(name, _)| *name == metric) {
            return Rc::clone(series);
        }
        let series: Series = (0..GPUS)
            .map(|gpu| Arc::new(labels(policy, metric, gpu)))
            .collect();
        known[policy].push((metric, Rc::clone(&series)));
        series
    }

    fn answer(&self, policy: usize, metric: &'static str, window_ms: i64) -> Answer {
        let now_ms = self.clock.now().wall_ms;
        let series = self.series(policy, metric);
        let answers: Vec<AnswerSeries> = (0..)
            .zip(series.iter())
            .map(|(gpu, labels)| AnswerSeries {
                labels: Arc::clone(labels),
                samples: samples(policy, metric, gpu, (now_ms - window_ms, now_ms)),
            })
            .collect();
        self.reads.set(self.reads.get() + 1);
        let samples: usize = answers.iter().map(|series| series.samples.len()).sum();
        self.samples.set(self.samples.get() + samples as u64);
        Answer {
            now_ms,
            completeness: Completeness::Whole,
            series: answers,
        }
    }
}

/// The labels of dcgm-exporter, and the pool's name as a scrape configuration adds it.
fn labels(policy: usize, metric: &str, gpu: i64) -> Labels {
    let node = gpu / GPUS_PER_NODE;
    let index = gpu % GPUS_PER_NODE;
    let pairs = [
        ("gpu", index.to_string()),
        ("UUID", format!("GPU-{policy:08x}-7d3c-4a2b-9e10-{gpu:012x}")),
        ("device", format!("nvidia{index}")),
        ("modelName", "NVIDIA A100-SXM4-80GB".to_owned()),
        ("Hostname", format!("aks-gpu-{policy:08}-vmss{node:06x}")),
        ("DCGM_FI_DRIVER_VERSION", "580.95.05".to_owned()),
        ("container", "server".to_owned()),
        ("namespace", "inference".to_owned()),
        ("pod", format!("server-{policy}-{gpu}")),
        ("pool", policy.to_string()),
    ];
    Labels::new(metric, pairs).unwrap()
}

/// What a GPU reported after `from_ms` and until `to_ms`: a restless load of 60 % in the mean, scraped node by node.
fn samples(policy: usize, metric: &str, gpu: i64, (from_ms, to_ms): (i64, i64)) -> Vec<(i64, f64)> {
    let node = mix(policy as u64, gpu / GPUS_PER_NODE);
    let offset_ms = i64::from(u8::try_from(node >> 56).unwrap()) * 50;
    let (base, slope) = match metric {
        "DCGM_FI_DEV_GPU_UTIL" => (45.0, 1.0),
        "DCGM_FI_DEV_POWER_USAGE" => (230.0, 3.0),
        "DCGM_FI_DEV_FB_USED" => (71_304.0, 0.0),
        "DCGM_FI_DEV_FB_FREE" => (10_616.0, 0.0),
        "DCGM_FI_DEV_XID_ERRORS" => (0.0, 0.0),
        _ => panic!("the loop reads {metric}, which nobody exports here"),
    };
    let first = (from_ms - offset_ms).div_euclid(SCRAPE_MS) + 1;
    let last = (to_ms - offset_ms).div_euclid(SCRAPE_MS);
    (first..=last)
        .map(|scrape| {
            let restless = f64::from(u8::try_from(mix(scrape.cast_unsigned(), gpu) >> 59).unwrap());
            (scrape * SCRAPE_MS + offset_ms, base + slope * restless)
        })
        .collect()
}

/// `SplitMix64` (Steele, Lea, Flood 2014).
fn mix(what: u64, index: i64) -> u64 {
    let mut bits = index
        .cast_unsigned()
        .wrapping_add(1)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ^ what;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

impl MetricsSource for Fleet {
    async fn read(&self, request: &ReadRequest<'_>) -> Result<Answer, SourceError> {
        self.clock.call().await;
        let Selector::Metric { name, match_labels } = request.selector else {
            panic!("the policies of this bench have no expression");
        };
        let pool = match_labels.iter().find(|(label, _)| label == "pool");
        let policy = pool.unwrap().1.parse().unwrap();
        Ok(self.answer(policy, name, request.window_ms))
    }
}

/// Pools that nobody changes.
struct Standing(VirtualClock);

impl NodePools for Standing {
    async fn read(&self, _: &PoolKey) -> Result<Pool, PoolError> {
        self.0.call().await;
        Ok(Pool {
            count: NODES,
            etag: "7d3c4a2b".to_owned(),
            state: PoolState::Steady,
            autoscaler: PoolAutoscaler::Off,
            gpus_per_node: u32::try_from(GPUS_PER_NODE).ok(),
            node_price: None,
        })
    }

    async fn resize(&self, pool: &PoolKey, _: &Pool, count: u32) -> Result<Accepted, PoolError> {
        panic!("a steady load resizes {pool} to {count}");
    }

    async fn poll(&self, _: &PoolKey, _: &str) -> Result<Progress, PoolError> {
        panic!("there is no operation to ask about");
    }
}

struct Unseen;

impl ClusterView for Unseen {
    async fn look(&self, _: &PoolKey) -> Result<View, ClusterError> {
        Err(ClusterError::None)
    }
}

/// The last state of each policy.
struct States(VirtualClock, RefCell<BTreeMap<PolicyKey, Saved>>);

impl StateStore for States {
    async fn load(&self, policy: &PolicyKey) -> Result<Option<Saved>, StoreError> {
        self.0.call().await;
        Ok(self.1.borrow().get(policy).cloned())
    }

    async fn save(&self, policy: &PolicyKey, state: &Saved) -> Result<(), StoreError> {
        self.0.call().await;
        self.1.borrow_mut().insert(policy.clone(), state.clone());
        Ok(())
    }
}

#[derive(Default)]
struct Dice(Cell<i64>);

impl Randomness for Dice {
    fn next(&self) -> u64 {
        self.0.set(self.0.get() + 1);
        mix(7, self.0.get())
    }
}

struct World {
    clock: VirtualClock,
    randomness: Dice,
    metrics: Rc<Fleet>,
    pools: Standing,
    cluster: Unseen,
    store: States,
}

impl World {
    fn new(clock: &VirtualClock, metrics: Rc<Fleet>) -> Self {
        Self {
            clock: clock.clone(),
            randomness: Dice::default(),
            metrics,
            pools: Standing(clock.clone()),
            cluster: Unseen,
            store: States(clock.clone(), RefCell::default()),
        }
    }
}

impl Ports for World {
    type Clock = VirtualClock;
    type Randomness = Dice;
    type Metrics = Fleet;
    type Pools = Standing;
    type Cluster = Unseen;
    type Store = States;

    fn clock(&self) -> &VirtualClock {
        &self.clock
    }

    fn randomness(&self) -> &Dice {
        &self.randomness
    }

    fn metrics(&self) -> &Fleet {
        &self.metrics
    }

    fn pools(&self) -> &Standing {
        &self.pools
    }

    fn cluster(&self) -> &Unseen {
        &self.cluster
    }

    fn store(&self) -> &States {
        &self.store
    }
}

// --- who watches ---

#[derive(Default)]
struct Counts {
    ticks: Cell<u64>,
    /// Ticks that judged their signals by whole windows.
    known: Cell<u64>,
    records: Cell<u64>,
}

struct Counting(Rc<Counts>);

fn add_one(count: &Cell<u64>) {
    count.set(count.get() + 1);
}

impl Watch for Counting {
    fn tick(&self, tick: &Ticked<'_>) {
        let TickResult::Decided(evaluation) = tick.result else {
            panic!("{} decided nothing: {:?}", tick.policy, tick.result);
        };
        add_one(&self.0.ticks);
        if evaluation
            .signals()
            .iter()
            .all(|signal| signal.quality == Quality::Good)
        {
            add_one(&self.0.known);
        }
    }

    fn action(&self, action: &Action<'_>) {
        panic!("a steady load has {} {}", action.policy, action.what);
    }

    fn journal(&self, _: &PolicyKey) -> Option<Box<dyn Sink>> {
        Some(Box::new(Records(Rc::clone(&self.0))))
    }
}

struct Records(Rc<Counts>);

impl Sink for Records {
    fn begin(&mut self, _: &Beginning<'_>) -> Result<(), JournalError> {
        Ok(())
    }

    fn tick(&mut self, tick: &TickRecord<'_>) -> Result<(), JournalError> {
        black_box(tick);
        add_one(&self.0.records);
        Ok(())
    }

    fn action(&mut self, _: &ActionRecord<'_>) -> Result<(), JournalError> {
        Ok(())
    }

    fn flush(&mut self) -> Result<(), JournalError> {
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
    let started = processor_ns();
    assert!(run_until(&clock, (WARM_UP_TICKS + row.ticks) * TICK_MS, run.as_mut()).is_pending());
    let spent = processor_ns() - started;
    let after = resident_bytes();

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
        let policy = read / METRICS.len() % row.policies;
        black_box(fleet.answer(policy, METRICS[read % METRICS.len()], window_ms));
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

const ROWS: [Row; 5] = [
    Row {
        policies: 100,
        window_minutes: 10,
        ticks: 400,
    },
    Row {
        policies: 1_000,
        window_minutes: 10,
        ticks: 40,
    },
    Row {
        policies: 5_000,
        window_minutes: 10,
        ticks: 40,
    },
    Row {
        policies: 1_000,
        window_minutes: 60,
        ticks: 40,
    },
    Row {
        policies: 1_000,
        window_minutes: 360,
        ticks: 40,
    },
];

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let numbers: Vec<i64> = arguments
        .iter()
        .filter_map(|argument| argument.parse().ok())
        .collect();
    if let [policies, window_minutes, ticks] = numbers[..] {
        let policies = usize::try_from(policies).unwrap();
        return print_line(Row {
            policies,
            window_minutes,
            ticks,
        });
    }
    // Without `--bench`, cargo only tries whether the bench works.
    if !arguments.iter().any(|argument| argument == "--bench") {
        measure(Row {
            policies: 3,
            window_minutes: 10,
            ticks: 4,
        });
        return;
    }
    println!(
        "control loop, {GPUS} GPUs to a policy, a tick and a scrape every 15 s; bar {BAR_MICROSECONDS} µs"
    );
    println!(
        "{:>8}  {:>7}  {:>12}  {:>14}  {:>10}  {:>12}  {:>5}",
        "policies", "windows", "µs per tick", "of it answers", "first, µs", "KiB a policy", "bar"
    );
    for row in ROWS {
        print!("{}", in_a_process_of_its_own(row));
    }
}

fn in_a_process_of_its_own(row: Row) -> String {
    let numbers = [
        row.policies.to_string(),
        row.window_minutes.to_string(),
        row.ticks.to_string(),
    ];
    let this = std::env::current_exe().unwrap();
    let output = Command::new(this).args(numbers).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{row:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

fn print_line(row: Row) {
    let figures = measure(row);
    let bytes = figures
        .bytes
        .map_or("unknown".to_owned(), |bytes| format!("{:.1}", bytes / 1024.0));
    println!(
        "{:>8}  {:>5} m  {:>12.1}  {:>14.1}  {:>10.0}  {:>12}  {:>5}",
        row.policies,
        row.window_minutes,
        figures.tick,
        figures.answers,
        figures.first,
        bytes,
        if figures.tick <= BAR_MICROSECONDS {
            "held"
        } else {
            "over"
        },
    );
}
