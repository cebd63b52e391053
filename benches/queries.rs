//! What a thousand policies ask of a server at each tick, and what reading the answers costs.
//!
//! `cargo bench --bench queries` runs the production loop for a minute of real time against a stub of the query API on
//! loopback. A thousand policies watch 25 pools of 64 GPUs: forty of them ask each of 100 questions (utilization, power,
//! memory and XIDs of each pool). What is counted is what the server is asked, and the processor time of the thread that
//! asks, reads, judges and decides; the stub works on threads of its own.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench that cannot run has nothing to measure, and what it measures is printed"
)]

#[path = "../tests/live/world.rs"]
#[expect(dead_code, reason = "the bench looks at no decision")]
mod world;

use std::cell::Cell;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use futures_util::future::join;
use gpuscale::clock::{SystemClock, SystemRandomness};
use gpuscale::config::Config;
use gpuscale::control::ports::{Clock as _, MetricsSource as _, PolicyKey, ReadRequest, Selector};
use gpuscale::control::{Action, Controller, Policy, Settings, TickResult, Ticked, Watch};
use gpuscale::journal::Sink;
use gpuscale::source::connect::Sources;

use world::{NoCluster, NoTokens, Pools, States, World};

const POLICIES: usize = 1_000;
const POOLS: usize = 25;
const NODES: u32 = 8;
const GPUS_PER_NODE: u32 = 8;
const SCRAPE_MS: i64 = 15_000;
const TICK_MS: i64 = 15_000;
/// Read at every tick for each pool: utilization, power, memory, XIDs. Free memory is read once.
const AT_EVERY_TICK: usize = 4;

/// Ticks before the measurement, the first of which read whole windows.
const WARM_UP_TICKS: i64 = 2;
const TICKS: i64 = 4;

/// The most questions at each tick.
const BAR: usize = POOLS * AT_EVERY_TICK;

/// What the stub was asked and gave.
#[derive(Debug, Default)]
struct Counts {
    queries: AtomicU64,
    bytes: AtomicU64,
    samples: AtomicU64,
}

/// Answers every question of the query API as if a fleet had been scraped since ever.
fn stub(counts: &Arc<Counts>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let counts = Arc::clone(counts);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let counts = Arc::clone(&counts);
            // A client that has gone away needs no more answers.
            thread::spawn(move || serve(&stream.unwrap(), &counts).is_ok());
        }
    });
    at
}

fn serve(mut stream: &TcpStream, counts: &Counts) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut form = vec![0; length];
        reader.read_exact(&mut form)?;
        let (body, samples) = answer(std::str::from_utf8(&form).unwrap());
        counts.queries.fetch_add(1, Ordering::Relaxed);
        counts.bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        counts.samples.fetch_add(samples, Ordering::Relaxed);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    }
}

/// The answer to `query=METRIC{pool="7"}[60000ms]`, in the encoding of a form.
fn answer(form: &str) -> (String, u64) {
    let query = form.strip_prefix("query=").unwrap();
    let (metric, rest) = query.split_once("%7B").unwrap();
    let (pool, rest) = rest
        .strip_prefix("pool%3D%22")
        .unwrap()
        .split_once("%22")
        .unwrap();
    let window_ms: i64 = rest
        .strip_prefix("%7D%5B")
        .and_then(|rest| rest.split_once("ms").unwrap().0.parse().ok())
        .unwrap();
    let now_ms = SystemClock::new().now().wall_ms;
    let value = match metric {
        "DCGM_FI_DEV_GPU_UTIL" => 55,
        "DCGM_FI_DEV_POWER_USAGE" => 260,
        "DCGM_FI_DEV_FB_USED" => 71_304,
        "DCGM_FI_DEV_FB_FREE" => 10_616,
        _ => 0,
    };
    let mut body = r#"{"status":"success","data":{"resultType":"matrix","result":["#.to_owned();
    let mut samples = 0;
    for gpu in 0..NODES * GPUS_PER_NODE {
        let (node, index) = (gpu / GPUS_PER_NODE, gpu % GPUS_PER_NODE);
        let comma = if gpu > 0 { "," } else { "" };
        write!(
            body,
            r#"{comma}{{"metric":{{"__name__":"{metric}","DCGM_FI_DRIVER_VERSION":"580.95.05","Hostname":"aks-gpu-{pool}-vmss{node:06x}","UUID":"GPU-{pool}-5f6e-4a2b-9e10-{gpu:012x}","device":"nvidia{index}","gpu":"{index}","job":"dcgm-exporter","modelName":"NVIDIA A100-SXM4-80GB","pci_bus_id":"00000001:00:00.0","pool":"{pool}"}},"values":["#
        )
        .unwrap();
        let (first, last) = ((now_ms - window_ms) / SCRAPE_MS + 1, now_ms / SCRAPE_MS);
        for scrape in first..=last {
            let comma = if scrape > first { "," } else { "" };
            write!(body, "{comma}[{},\"{value}\"]", scrape * SCRAPE_MS / 1000).unwrap();
            samples += 1;
        }
        body.push_str("]}");
    }
    body.push_str("]}}");
    (body, samples)
}

fn policy(number: usize) -> Policy {
    let document = format!(
        "apiVersion: gpuscale.dev/v1alpha1
kind: GpuScalePolicy
metadata: {{ name: p{number:05}, namespace: gpuscale-system }}
spec:
  targetRef: {{ kind: AksNodePool, name: pool{number} }}
  minNodes: 1
  maxNodes: 16
  signals:
    - name: gpu
      dcgm: {{ metric: GpuUtilization, matchLabels: {{ pool: '{}' }} }}
      targetPercentage: 60
      up:   {{ above: 85, for: 10m, rule: Mean }}
      down: {{ below: 30, for: 10m, rule: Hold }}
  dataQuality: {{ scrapeInterval: 15s }}
",
        number % POOLS
    );
    Policy::new(&document, 0, "here").unwrap_or_else(|error| panic!("{error}"))
}

/// Counts decisions and keeps nothing.
struct Counting(Rc<Cell<u64>>);

impl Watch for Counting {
    fn tick(&self, tick: &Ticked<'_>) {
        assert!(matches!(tick.result, TickResult::Decided(_)), "{:?}", tick.result);
        self.0.set(self.0.get() + 1);
    }

    fn action(&self, action: &Action<'_>) {
        panic!("a steady load has {} {}", action.policy, action.what);
    }

    fn journal(&self, _: &PolicyKey) -> Option<Box<dyn Sink>> {
        None
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn main() {
    // Without `--bench`, cargo only tries whether the bench works.
    let (policies, warm_up, ticks) = if std::env::args().any(|argument| argument == "--bench") {
        (POLICIES, WARM_UP_TICKS, TICKS)
    } else {
        (POOLS * 2, 0, 1)
    };
    let counts = Arc::new(Counts::default());
    let at = stub(&counts);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let decisions = Rc::new(Cell::new(0));
    let (clock, randomness) = (Rc::new(SystemClock::new()), Rc::new(SystemRandomness));
    let sources = Sources::connect(&config(&at), &clock, &randomness, &NoTokens).unwrap();
    let world = World {
        clock: Rc::clone(&clock),
        randomness,
        sources: Rc::new(sources),
        pools: Pools::new(NODES, GPUS_PER_NODE),
        cluster: NoCluster,
        states: States::default(),
    };
    let controller = Controller::new(world, Counting(Rc::clone(&decisions)), Settings::default());
    controller.set_policies((0..policies).map(policy).collect());
    let seen = |counts: &Counts| {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        [
            of(&counts.queries),
            of(&counts.bytes),
            of(&counts.samples),
            decisions.get(),
            processor_ns(),
        ]
    };
    let measured = runtime.block_on(async {
        let measure = async {
            clock.sleep_until(warm_up * TICK_MS).await;
            let before = seen(&counts);
            clock.sleep_until((warm_up + ticks) * TICK_MS).await;
            let after = seen(&counts);
            controller.stop();
            std::array::from_fn::<u64, 5, _>(|place| after[place] - before[place])
        };
        join(controller.run(), measure).await.1
    });
    let [queries, _, samples, decided, ns] = measured.map(|count| count as f64);
    let asked = queries / ticks as f64;
    println!("{policies} policies that share {BAR} questions, {ticks} ticks of 15 s, real HTTP on loopback");
    println!(
        "  {asked:.1} queries per tick (bar {BAR}: {}), {:.0} decisions per tick",
        if asked <= BAR as f64 { "held" } else { "over" },
        decided / ticks as f64
    );
    println!(
        "  {:.0} µs of CPU per policy and tick, of which each judges {:.0} samples: {:.3} s per million",
        ns / decided / 1e3,
        samples / queries * AT_EVERY_TICK as f64,
        ns / decided / (samples / queries * AT_EVERY_TICK as f64) * 1e-3,
    );
    let [queries, bytes, samples, ns] = runtime.block_on(whole_windows(&at, &counts));
    println!("{queries:.0} windows of an hour, read alone");
    println!(
        "  {:.3} s of CPU per million samples, {:.0} MiB per second of CPU",
        ns / samples * 1e-3,
        bytes / ns * 1e9 / f64::from(1 << 20)
    );
}

/// What the windows of pools that nobody has asked for yet cost to read: queries, bytes, samples and nanoseconds.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
async fn whole_windows(at: &SocketAddr, counts: &Counts) -> [f64; 4] {
    const WINDOWS: u64 = 200;
    let (clock, randomness) = (Rc::new(SystemClock::new()), Rc::new(SystemRandomness));
    let sources = Sources::connect(&config(at), &clock, &randomness, &NoTokens).unwrap();
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (bytes, samples, ns) = (of(&counts.bytes), of(&counts.samples), processor_ns());
    for pool in 0..WINDOWS {
        let selector = Selector::Metric {
            name: "DCGM_FI_DEV_GPU_UTIL",
            match_labels: vec![("pool".to_owned(), pool.to_string())],
        };
        let request = ReadRequest {
            source: "default",
            selector: &selector,
            window_ms: 3_600_000,
            as_of_ms: None,
        };
        assert!(sources.read(&request).await.unwrap().series.samples() > 10_000);
    }
    let spent = [
        of(&counts.bytes) - bytes,
        of(&counts.samples) - samples,
        processor_ns() - ns,
    ];
    let [bytes, samples, ns] = spent.map(|count| count as f64);
    [WINDOWS as f64, bytes, samples, ns]
}

fn config(at: &SocketAddr) -> Config {
    Config::parse(&format!(
        "metricsSources: {{ default: {{ prometheus: {{ url: 'http://{at}' }} }} }}"
    ))
    .unwrap()
}

/// Time of this thread on the processor, where the kernel tells.
fn processor_ns() -> u64 {
    let schedstat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let on_processor = schedstat.split_ascii_whitespace().next();
    on_processor.and_then(|ns| ns.parse().ok()).unwrap_or(0)
}
