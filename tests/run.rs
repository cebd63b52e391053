//! `gpuscale run` as a process: killed at random moments, edited while it runs, frozen, stopped; against the emulator over
//! HTTP in real time.

#![cfg(all(feature = "aks", feature = "cli", feature = "emulator", feature = "serve"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test of a process in real time"
)]

mod backends;
mod hostile;
#[path = "run/secrets.rs"]
mod secrets;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gpuscale::clock::SystemClock;
use gpuscale::control::ports::Clock as _;
use gpuscale::emulator::fault::{Effect, Fault, Target};
use gpuscale::emulator::scenario::BackgroundKind;
use gpuscale::emulator::{ClockReading, Emulator, Handle, Scenario};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::oneshot;

use backends::{Program, find, prometheus};

const GPU: i64 = 1_000_000;

const SCENARIO: &str = "
subscriptionId: 00000000-0000-0000-0000-000000000000
resourceGroup: gpuscale
clusterName: emulated
bootDelay: 4s
driverDelay: 1s
operationTime: 6s
retryAfter: 1s
metrics: { scrapeInterval: 1s }
";

const POOL: &str = "{ vmSize: Standard_NC24ads_A100_v4, count: 2, demand: { gpus: 1.5 } }";

const POLICY: &str = "apiVersion: gpuscale.dev/v1alpha1
kind: GpuScalePolicy
metadata: { name: a100, namespace: gpus }
spec:
  mode: Enforce
  targetRef: { kind: AksNodePool, name: a100 }
  evaluationInterval: 5s
  signals:
    - name: gpu
      dcgm: { metric: GpuUtilization }
      targetPercentage: 75
      window: 15s
      up: { above: 80, for: 15s, rule: Mean }
      down: { below: 5, for: 20s, rule: Hold }
  minNodes: 1
  maxNodes: 8
  settle: 5s
  behavior: { scaleDown: { policies: [ { type: Percent, value: 100, period: 1m } ], stabilization: 0s, cooldown: 10s } }
  scaleIn: { victims: PlatformChooses }
  dataQuality: { scrapeInterval: 1s, warmUp: 5s }
";

/// Pools of the test that kills.
const POOLS: [&str; 3] = ["a100", "b", "c"];

/// An emulator in this process, in real time.
struct Cluster {
    arm: String,
    /// Where metrics are asked for: the emulator's own samples, or a Prometheus that scrapes its exporters.
    prometheus: String,
    discovery: String,
    scraper: Option<backends::Server>,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Cluster {
    fn new() -> Self {
        Self::of(&["a100"], POOL)
    }

    fn of(pools: &[&str], pool: &str) -> Self {
        let pools: Vec<String> = pools.iter().map(|name| format!("{name}: {pool}")).collect();
        let scenario = format!("{SCENARIO}pools: {{ {} }}\n", pools.join(", "));
        let scenario = Scenario::from_yaml(&scenario).unwrap();
        let (stop, stopped) = oneshot::channel();
        let (started, starting) = channel();
        let thread = thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(async {
                let clock = SystemClock::new();
                let reading: ClockReading = Arc::new(move || clock.now());
                let listen = "127.0.0.1:0".parse().unwrap();
                let running = Emulator::start(&scenario, reading, listen).await.unwrap();
                let handle = running.handle().clone();
                let endpoints = [
                    running.arm_endpoint(),
                    running.prometheus_endpoint(),
                    running.discovery_endpoint(),
                ];
                started.send((endpoints, handle)).unwrap();
                let _ = stopped.await;
                running.stop().await.unwrap();
            });
        });
        let ([arm, prometheus, discovery], handle) = starting.recv().unwrap();
        Self {
            arm,
            prometheus,
            discovery,
            scraper: None,
            handle,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The same with pools [`POOLS`], and a real Prometheus between; nothing where that is left out.
    fn scraped() -> Option<Self> {
        let mut cluster = Self::of(&POOLS, POOL);
        let config = format!(
            "global: {{ scrape_interval: 1s }}
scrape_configs:
  - job_name: dcgm-exporter
    http_sd_configs: [ {{ url: '{}', refresh_interval: 1s }} ]
",
            cluster.discovery
        );
        let scraper = prometheus(tempfile::tempdir().unwrap(), &config)?;
        cluster.prometheus = scraper.url("");
        cluster.scraper = Some(scraper);
        Some(cluster)
    }

    fn demand(&self, gpus: f64) {
        self.demand_of("a100", gpus);
    }

    fn demand_of(&self, pool: &str, gpus: f64) {
        #[expect(clippy::cast_possible_truncation, reason = "a few GPUs")]
        self.handle.set_demand(pool, (gpus * 1e6) as i64);
    }

    fn puts(&self) -> Vec<(u32, Option<u16>)> {
        self.puts_of("a100")
    }

    /// Counts that were asked for of a pool, with the status of the answer.
    fn puts_of(&self, pool: &str) -> Vec<(u32, Option<u16>)> {
        let log = self.handle.log();
        let of_pool = format!("/agentPools/{pool}");
        let puts = log
            .iter()
            .filter(|logged| logged.target == Target::PutPool && logged.call.path.ends_with(&of_pool));
        puts.map(|logged| {
            let body: Value = serde_json::from_str(&logged.call.body).unwrap();
            let count = body["properties"]["count"].as_u64().unwrap();
            (count.try_into().unwrap(), logged.status)
        })
        .collect()
    }

    fn count(&self) -> u32 {
        self.handle.pool("a100").unwrap().count
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.scraper.take());
        drop(self.stop.take());
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || thread::panicking());
    }
}

/// Files of one `run`.
struct Files {
    folder: TempDir,
}

impl Files {
    fn new(cluster: &Cluster) -> Self {
        let files = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        fs::write(files.policy(), POLICY).unwrap();
        files.configure(cluster, "");
        files
    }

    fn configure(&self, cluster: &Cluster, more: &str) {
        let text = format!(
            "metricsSources: {{ default: {{ prometheus: {{ url: '{}' }} }} }}
aksClusters:
  emulated:
    subscriptionId: 00000000-0000-0000-0000-000000000000
    resourceGroup: gpuscale
    name: emulated
    endpoint: '{}'
listen: {{ metrics: '127.0.0.1:0' }}
limits: {{ allowPlatformChooses: true }}
{more}",
            cluster.prometheus, cluster.arm
        );
        fs::write(self.config(), text).unwrap();
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("gpuscale.yaml")
    }

    fn policy(&self) -> PathBuf {
        self.folder.path().join("policy.yaml")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gpuscale"));
        command
            .args(["run", "--log", "json", "--config"])
            .arg(self.config());
        command.arg("--policy").arg(self.policy());
        command
    }

    fn start(&self) -> Process {
        Process::start(self.command().arg("--state").arg(self.state()))
    }
}

/// The policy of one pool of several.
fn policy_of(pool: &str) -> String {
    POLICY.replace("name: a100", &format!("name: {pool}")).replace(
        "GpuUtilization",
        &format!("GpuUtilization, matchLabels: {{ agentpool: {pool} }}"),
    )
}

/// A process, and what its log says.
struct Process {
    child: Child,
    lines: Receiver<Value>,
    reader: Option<JoinHandle<()>>,
    all: Arc<Mutex<Vec<Value>>>,
    /// Longest line that is waited for.
    patience: Duration,
}

impl Process {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let all: Arc<Mutex<Vec<Value>>> = Arc::default();
        let (tell, lines) = channel();
        let kept = Arc::clone(&all);
        let reader = thread::spawn(move || {
            for line in log.lines().map_while(Result::ok) {
                let once = line.matches("\"message\":").count() == 1;
                let read = serde_json::from_str(&line).ok().filter(|_| once);
                let line: Value = read.unwrap_or(Value::String(line));
                kept.lock().unwrap().push(line.clone());
                let _ = tell.send(line);
            }
        });
        Self {
            child,
            lines,
            reader: Some(reader),
            all,
            patience: Duration::from_secs(120),
        }
    }

    /// The next line of the log that is `wanted`.
    fn line(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + self.patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if wanted(&line) => return line,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no such line in {:#?}", self.all.lock().unwrap())
                }
            }
        }
    }

    fn message(&self, message: &str) -> Value {
        self.line(|line| line["message"] == message)
    }

    /// Asks it to stop, and waits until it has.
    fn stop(mut self) -> Vec<Value> {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let status = self.child.wait().unwrap();
        // It has read the last line when there are no more.
        self.reader.take().unwrap().join().unwrap();
        let all = self.all.lock().unwrap().clone();
        assert!(status.success(), "{status}: {all:#?}");
        assert!(
            all.iter().all(Value::is_object),
            "every line is an object with one message: {all:#?}"
        );
        all
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn accepted(line: &Value) -> bool {
    line["message"] == "resize" && line["what"] == "accepted"
}

/// Promises about the requests, whatever happened to the process that sent them.
fn no_request_was_wrong(cluster: &Cluster) {
    for pool in cluster.handle.pools() {
        no_request_to_the_pool_was_wrong(cluster, &pool.name);
        assert_eq!(pool.busy_nodes_taken, 0, "{}", pool.name);
    }
    assert_eq!(cluster.handle.violations(), []);
}

fn no_request_to_the_pool_was_wrong(cluster: &Cluster, pool: &str) {
    let puts = cluster.puts_of(pool);
    let accepted: Vec<u32> = puts
        .iter()
        .filter(|(_, status)| status.is_some_and(|status| status < 300))
        .map(|(count, _)| *count)
        .collect();
    for pair in accepted.windows(2) {
        assert_ne!(pair[0], pair[1], "a resize was repeated: {puts:?}");
    }
    // A second resize while one is on its way would be answered so.
    assert!(puts.iter().all(|(_, status)| *status != Some(409)), "{puts:?}");
    assert!(accepted.iter().all(|count| (1..=8).contains(count)), "{puts:?}");
}

fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(180);
    while !is_so() {
        assert!(Instant::now() < until, "gave up waiting for {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn killed_fifty_times_it_ends_where_an_undisturbed_run_does() {
    let (Some(disturbed), Some(calm)) = (Cluster::scraped(), Cluster::scraped()) else {
        return;
    };
    let (files, calm_files) = (Files::new(&disturbed), Files::new(&calm));
    let policies = POOLS.map(policy_of);
    for files in [&files, &calm_files] {
        fs::write(files.policy(), policies.join("---\n")).unwrap();
    }
    let undisturbed = calm_files.start();
    let seed = 20_261_123;
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let (mut after, mut kills) = (BTreeMap::new(), Vec::new());
    for kill in 0..50_usize {
        for (index, pool) in POOLS.iter().enumerate() {
            // Busy for a while, one pool after the other, and then idle: the first are so for long enough to shrink.
            let is_busy = (index * 4..index * 4 + 16).contains(&kill);
            let gpus = if is_busy { 5.0 } else { 0.0 };
            disturbed.demand_of(pool, gpus);
            calm.demand_of(pool, gpus);
        }
        let mut process = files.start();
        let wait = Duration::from_millis(500 + chance.next_u64() % 6_000);
        thread::sleep(wait);
        let ended = process.child.try_wait().unwrap();
        assert_eq!(ended, None, "{:?}", process.all.lock().unwrap());
        process.child.kill().unwrap();
        process.child.wait().unwrap();
        let pools = disturbed.handle.pools();
        let under_way = pools.iter().any(|pool| pool.state != "Succeeded");
        kills.push((disturbed.handle.now_ms(), under_way));
        let all = process.all.lock().unwrap();
        let last = all
            .iter()
            .rev()
            .find_map(|line| line["what"].as_str().or(line["message"].as_str()));
        *after.entry(last.unwrap_or("nothing").to_owned()).or_insert(0) += 1;
    }
    println!("seed {seed}; what the process had said last when it was killed: {after:?}");
    for pool in POOLS {
        let (disturbed, calm) = (disturbed.puts_of(pool), calm.puts_of(pool));
        println!("resizes of {pool}, disturbed: {disturbed:?}; undisturbed: {calm:?}");
    }
    let process = files.start();
    for (cluster, name) in [(&disturbed, "disturbed"), (&calm, "undisturbed")] {
        wait_until(&format!("the {name} pools at their least"), || {
            let pools = cluster.handle.pools();
            pools
                .iter()
                .all(|pool| (pool.count, pool.nodes.len(), pool.state) == (1, 1, "Succeeded"))
        });
        no_request_was_wrong(cluster);
    }
    let resumed = resumed(&disturbed, &kills);
    println!("kills in the middle of an operation that a later process followed to its end: {resumed}");
    assert!(resumed > 0, "{kills:?}");
    for pool in POOLS {
        // Up and down again.
        assert!(disturbed.puts_of(pool).len() >= 2, "{pool}");
    }
    process.stop();
    undisturbed.stop();
}

/// How many of the operations that ran when a process was killed were followed by one that came after it.
fn resumed(cluster: &Cluster, kills: &[(i64, bool)]) -> usize {
    let log = cluster.handle.log();
    let under_way = kills.iter().filter(|(_, under_way)| *under_way);
    under_way
        .filter(|(killed_ms, _)| {
            let after = log.iter().filter(|logged| logged.at_ms >= *killed_ms);
            let mut after = after.map(|logged| logged.target);
            // The first of these that is sent; a resize would be a second one.
            let first = after.find(|target| matches!(target, Target::Operation | Target::PutPool));
            first == Some(Target::Operation)
        })
        .count()
}

#[test]
fn what_is_met_is_sent_within_one_interval() {
    let Some(cluster) = Cluster::scraped() else {
        return;
    };
    cluster.demand(1.0);
    let files = Files::new(&cluster);
    let policy = policy_of("a100")
        .replace("evaluationInterval: 5s", "evaluationInterval: 15s")
        .replace("for: 15s, rule: Mean", "for: 30s, rule: Hold")
        .replace("for: 20s, rule: Hold", "for: 30s, rule: Hold");
    fs::write(files.policy(), policy).unwrap();
    let process = files.start();
    process.line(|line| line["message"] == "decided" && line["reason"] == "WithinTarget");
    // Ticks are 15 s apart from this one on. So that it is met in the middle between two of them:
    thread::sleep(Duration::from_secs(6));
    cluster.demand(2.0);
    let demanded_ms = cluster.handle.now_ms();
    process.line(accepted);
    let log = cluster.handle.log();
    let put = log
        .iter()
        .find(|logged| logged.target == Target::PutPool)
        .unwrap();
    // The samples are above the threshold from the first scrape after this, and have to be for the whole window.
    let late_ms = put.at_ms - demanded_ms - 30_000;
    println!("from Met to PUT: {late_ms} ms at most, of an interval of 15000 ms");
    assert!((0..15_000).contains(&late_ms), "{late_ms} ms");
    process.stop();
}

#[test]
fn it_shows_what_it_does_and_takes_edits_while_it_runs() {
    let cluster = Cluster::new();
    let files = Files::new(&cluster);
    files.configure(&cluster, "freeze: true");
    let process = files.start();
    let started = process.message("started");
    let address = started["metrics"].as_str().unwrap().to_owned();
    let get = |path: &str, accept: &str| {
        let response = ureq::get(format!("http://{address}{path}"))
            .header("accept", accept)
            .call();
        response.unwrap().body_mut().read_to_string().unwrap()
    };
    assert_eq!(get("/healthz", "*/*"), "ok\n");
    cluster.demand(2.0);
    let decided = process.line(|line| line["message"] == "decided" && line["reason"] == "Frozen");
    assert_eq!(decided["from"], 2, "{decided}");
    assert_eq!(get("/readyz", "*/*"), "ok\n");
    assert!(get("/metrics", "text/plain").contains("gpuscale_frozen 1\n"));
    assert_eq!(cluster.puts(), []);

    // An edit that cannot be used changes nothing, and is told once.
    fs::write(files.policy(), POLICY.replace("minNodes: 1", "minNodes: 9")).unwrap();
    let refused = process.message("policies changed and cannot be used; those of before go on");
    assert!(
        refused["problem"].as_str().unwrap().contains("minNodes"),
        "{refused}"
    );
    wait_until("the metric of a failed reload", || {
        get("/metrics", "text/plain").contains("gpuscale_reload_failed 1\n")
    });
    fs::write(files.policy(), POLICY.replace("maxNodes: 8", "maxNodes: 3")).unwrap();
    process.message("policies changed");

    files.configure(&cluster, "");
    process.message("the administrator changed `freeze`");
    let resize = process.line(accepted);
    assert_eq!(
        (resize["from"].as_u64(), resize["to"].as_u64()),
        (Some(2), Some(3)),
        "{resize}"
    );
    process.line(|line| line["what"] == "succeeded");
    let page = get("/metrics", "text/plain");
    for line in [
        "gpuscale_frozen 0",
        "gpuscale_reload_failed 0",
        "gpuscale_resizes_total{namespace=\"gpus\",policy=\"a100\",cluster=\"emulated\",pool=\"a100\",direction=\"up\",outcome=\"accepted\"} 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line}\n{page}");
    }
    promtool_likes(&page);
    assert!(get("/metrics", "application/openmetrics-text").ends_with("# EOF\n"));

    let all = process.stop();
    assert_eq!(all.last().unwrap()["message"], "ended", "{all:#?}");
    let state = fs::read_to_string(files.state().join("gpus/a100/state.json")).unwrap();
    assert!(state.contains("\"ended\": \"Cleanly\""), "{state}");
    no_request_was_wrong(&cluster);
    replays(&files.state().join("gpus/a100/journal"));
}

/// `promtool check metrics` finds nothing.
fn promtool_likes(page: &str) {
    let Some(promtool) = find(Program::Promtool) else {
        return;
    };
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.trim().is_empty(),
        "{said}\n{page}"
    );
}

/// The journal makes every decision again.
fn replays(journal: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_gpuscale"))
        .arg("replay")
        .arg(journal)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn once_decides_and_says_why_and_a_dry_run_sends_nothing() {
    let cluster = Cluster::new();
    let files = Files::new(&cluster);
    cluster.demand(2.0);
    wait_until("twelve seconds of samples", || {
        cluster.handle.account("a100").unwrap().demanded_micro_gpu_hours() > i128::from(2 * GPU * 15 / 3600)
    });
    let output = files.command().args(["--once", "--dry-run"]).output().unwrap();
    let (said, log) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{said}{log}");
    assert!(said.starts_with("gpus/a100: grow from 2 to "), "{said}{log}");
    assert!(log.contains("\"what\":\"recommended\""), "{log}");
    assert_eq!(cluster.puts(), []);
    assert!(!files.state().exists());

    // Nobody answers for the pool: that is no decision, and a failure.
    fs::write(files.policy(), POLICY.replace("name: a100 }", "name: other }")).unwrap();
    let output = files.command().args(["--once", "--dry-run"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.contains("no decision: PoolUnreadable: gone (ResourceNotFound)"),
        "{said}"
    );
}

#[test]
fn with_an_autoscaler_its_least_is_moved_and_the_count_left_to_it() {
    let pool = POOL.replace(
        "count: 2,",
        "count: 2, enableAutoScaling: true, minCount: 1, maxCount: 4,",
    );
    let cluster = Cluster::of(&["a100"], &pool);
    let files = Files::new(&cluster);
    let policy = POLICY.replace(
        "  scaleIn: { victims: PlatformChooses }\n",
        "  actuation: AutoscalerFloor\n",
    );
    fs::write(files.policy(), policy).unwrap();
    cluster.demand(2.0);
    let process = files.start();
    process.line(accepted);
    process.line(|line| line["what"] == "succeeded");
    wait_until("the node that the autoscaler brings", || cluster.count() == 3);
    // Idle is idle: the least comes down without anybody's leave, since the autoscaler sees the pods.
    cluster.demand(0.0);
    let down = process.line(|line| accepted(line) && line["to"] == 1);
    assert_eq!(down["from"], 3, "{down}");
    process.line(|line| line["what"] == "succeeded");
    process.stop();
    let log = cluster.handle.log();
    let puts = log.iter().filter(|logged| logged.target == Target::PutPool);
    let written: Vec<(Value, Value)> = puts
        .map(|put| {
            let body: Value = serde_json::from_str(&put.call.body).unwrap();
            let properties = &body["properties"];
            (properties["count"].clone(), properties["minCount"].clone())
        })
        .collect();
    assert_eq!(written, [(2.into(), 3.into()), (3.into(), 1.into())]);
    assert_eq!(cluster.count(), 3, "the autoscaler takes its time");
    assert_eq!(cluster.handle.violations(), []);
}

#[test]
fn what_cannot_be_run_is_refused_before_anything_is_asked() {
    let cluster = Cluster::new();
    let files = Files::new(&cluster);
    let refused = |command: &mut Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let said = refused(files.command().env_remove("STATE_DIRECTORY"));
    assert!(said.contains("--state"), "{said}");
    let busy = files.start();
    busy.message("started");
    let said = refused(files.command().arg("--state").arg(files.state()));
    assert!(said.contains("another process runs with the state in"), "{said}");
    drop(busy);
    fs::write(
        files.policy(),
        POLICY.replace("Enforce", "Enforce\n  metricsSource: other"),
    )
    .unwrap();
    let said = refused(files.command().arg("--dry-run"));
    assert!(
        said.contains("`metricsSource: other` is not under `metricsSources`"),
        "{said}"
    );
    files.configure(&cluster, "unknown: 1");
    let said = refused(files.command().arg("--dry-run"));
    assert!(said.contains("unknown"), "{said}");
    assert_eq!(cluster.count(), 2);
}

#[test]
fn a_resize_is_given_up_on_request_and_nothing_else_is() {
    let cluster = Cluster::new();
    let files = Files::new(&cluster);
    let abort = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gpuscale"));
        command.arg("abort").arg("--config").arg(files.config());
        command.arg("--policy").arg(files.policy());
        command.arg("--state").arg(files.state()).output().unwrap()
    };
    let refused = abort();
    assert_eq!(refused.status.code(), Some(2));
    let words = String::from_utf8(refused.stderr).unwrap();
    assert!(words.contains("there is no state folder"), "{words}");
    let abort = || {
        let output = abort();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{said}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        said
    };
    fs::create_dir_all(files.state()).unwrap();
    assert_eq!(abort(), "gpus/a100: no resize is on its way\n");
    let slow = Effect::OperationTakes("10m".parse().unwrap());
    cluster.handle.inject(Fault::once(Target::PutPool, slow));
    cluster.demand(2.0);
    let process = files.start();
    process.line(accepted);
    // Or it would ask for the same once more. The brake works in a configuration that is wrong elsewhere.
    files.configure(&cluster, "freeze: true\nlimitz: {}");
    process
        .message("the configuration changed and cannot be used; of what it says only `freeze: true` counts");
    process.message("the administrator changed `freeze`");
    files.configure(&cluster, "freeze: true");
    let said = abort();
    assert!(said.ends_with("the platform was asked to give it up\n"), "{said}");
    let ended = process.line(|line| line["message"] == "resize" && line["what"] != "accepted");
    assert_eq!(ended["what"], "superseded", "{ended}");
    process.stop();

    // What somebody else does to the pool is none of ours.
    wait_until("the pool at rest", || {
        ["Canceled", "Succeeded"].contains(&cluster.handle.pool("a100").unwrap().state)
    });
    cluster
        .handle
        .start_background("a100", BackgroundKind::Upgrading, 600_000);
    let said = abort();
    assert!(!said.contains("asked"), "{said}");
    let aborts = cluster
        .handle
        .log()
        .iter()
        .filter(|logged| logged.target == Target::Abort)
        .count();
    assert_eq!(aborts, 1);
}
