//! Five minutes of the production loop in real time, over real Prometheus and real VictoriaMetrics, which scrape the same
//! exporters every second, and over these exporters themselves.
//!
//! Eight pools live through as many stories at the same time, each decided once by each of the three: a load that
//! rises, one that is gone, an exporter that dies, pages that are empty, a pod that comes and changes what every series is
//! called, a time-sliced GPU, a pair of redundant scrapers, and one where nothing happens. In between Prometheus is killed
//! and started again. What is asserted is what was decided, and that the journals make every decision again.
//!
//! It takes as long as it says: what is tested is the time of real servers.

#![cfg(all(feature = "cli", feature = "source"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::unnecessary_wraps,
    clippy::disallowed_methods,
    reason = "a test with real servers and real time"
)]

mod backends;
#[path = "live/fleet.rs"]
mod fleet;
#[path = "live/log.rs"]
mod log;
#[path = "live/world.rs"]
mod world;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::pin::pin;
use std::rc::Rc;

use futures_util::future::{Either, join, select};
use gpuscale::clock::{SystemClock, SystemRandomness};
use gpuscale::config::Config;
use gpuscale::control::ports::Clock as _;
use gpuscale::control::{Controller, PlatformChooses, Policy, Settings};
use gpuscale::journal::replay;
use gpuscale::logged::Logged;
use gpuscale::policy::evaluation::Quality;
use gpuscale::source::connect::Sources;
use serde::Deserialize;

use backends::{prometheus, victoria_metrics, wait_for};
use fleet::{Fleet, GPUS_PER_NODE, NODES, Pods, Says, Story};
use log::Log;
use world::{NoCluster, NoTokens, Pools, Records, Seen, States, Watching, World};

/// When things change, in seconds.
const CHANGE: i64 = 75;
/// Pages that were empty have rows again.
const RETURN: i64 = 150;
/// Prometheus is killed, and started again.
const KILL: i64 = 200;
const REVIVE: i64 = 215;
const END: i64 = 300;

/// What is read, by the names that policies have.
const BACKENDS: [&str; 3] = ["prometheus", "victoria", "exporters"];

fn steady(_: u32, _: i64) -> Option<(i64, Pods)> {
    Some((50, Pods::None))
}

fn busy(_: u32, seconds: i64) -> Option<(i64, Pods)> {
    Some((if seconds < CHANGE { 50 } else { 97 }, Pods::None))
}

fn idle(_: u32, _: i64) -> Option<(i64, Pods)> {
    Some((0, Pods::None))
}

/// One node's exporter is killed while it is busy; the other node has nothing to do from then on.
fn dying(_: u32, seconds: i64) -> Option<(i64, Pods)> {
    Some((if seconds < CHANGE { 70 } else { 0 }, Pods::None))
}

/// While the exporter reloads, it answers 200 and nothing.
fn emptied(_: u32, seconds: i64) -> Option<(i64, Pods)> {
    (!(CHANGE..RETURN).contains(&seconds)).then_some((50, Pods::None))
}

fn relabelled(_: u32, seconds: i64) -> Option<(i64, Pods)> {
    let pod = match seconds {
        ..CHANGE => Pods::None,
        CHANGE..RETURN => Pods::One("train-0"),
        _ => Pods::One("train-1"),
    };
    Some((50, pod))
}

fn sliced(_: u32, _: i64) -> Option<(i64, Pods)> {
    Some((50, Pods::Sliced))
}

const STORIES: [(&str, Says); 8] = [
    ("steady", steady),
    ("busy", busy),
    ("idle", idle),
    ("dying", dying),
    ("emptied", emptied),
    ("relabelled", relabelled),
    ("sliced", sliced),
    ("pair", steady),
];

fn scrape_config(fleets: &[Fleet]) -> String {
    let mut config = "global: { scrape_interval: 1s, scrape_timeout: 1s }\nscrape_configs:\n".to_owned();
    for fleet in fleets {
        // A redundant pair is two scrapers of the same targets that label what they scraped.
        let replicas: &[&str] = if fleet.pool == "pair" { &["a", "b"] } else { &["a"] };
        for replica in replicas {
            writeln!(
                config,
                "  - job_name: {pool}-{replica}\n    static_configs:\n      - targets: {targets:?}\n        labels: \
                 {{ pool: {pool}, replica: {replica} }}",
                pool = fleet.pool,
                targets = fleet.targets(),
            )
            .unwrap();
        }
    }
    config
}

fn document(pool: &str, backend: &str) -> String {
    // Exporters know nothing of pools: those of each pool are a source of their own.
    let (source, labels) = match backend {
        "exporters" => (format!("{backend}-{pool}"), "{}".to_owned()),
        _ => (backend.to_owned(), format!("{{ pool: {pool} }}")),
    };
    format!(
        "apiVersion: gpuscale.dev/v1alpha1
kind: GpuScalePolicy
metadata: {{ name: {pool}-{backend}, namespace: gpuscale-system }}
spec:
  mode: Enforce
  targetRef: {{ kind: AksNodePool, name: {pool}{backend:.1} }}
  metricsSource: {source}
  evaluationInterval: 5s
  minNodes: 1
  maxNodes: 8
  signals:
    - name: gpu
      dcgm: {{ metric: GpuUtilization, matchLabels: {labels} }}
      targetPercentage: 60
      up:   {{ above: 80, for: 30s, rule: Mean }}
      down: {{ below: 30, for: 1m, rule: Hold }}
  behavior: {{ scaleDown: {{ stabilization: 1m, cooldown: 1m }} }}
  settle: 30s
  scaleIn: {{ victims: PlatformChooses }}
  dataQuality: {{ scrapeInterval: 1s, maxAge: 30s, warmUp: 0s }}
"
    )
}

fn policy(pool: &str, backend: &str) -> Policy {
    Policy::new(&document(pool, backend), 0, "live").unwrap_or_else(|error| panic!("{error}"))
}

/// The sources as an administrator writes them.
fn configuration([prometheus, victoria]: &[String; 2]) -> String {
    format!(
        "metricsSources:\n  prometheus: {{ prometheus: {{ url: '{prometheus}' }} }}\n  victoria: {{ prometheus: {{ url: \
         '{victoria}', method: Get }} }}\n"
    )
}

fn connect(
    addresses: &[String; 2],
    fleets: &[(&str, Vec<String>)],
    clock: &Rc<SystemClock>,
    randomness: &Rc<SystemRandomness>,
) -> Rc<Sources<SystemClock, SystemRandomness>> {
    let mut config = configuration(addresses);
    for (pool, targets) in fleets {
        let urls: Vec<String> = targets
            .iter()
            .map(|target| format!("http://{target}/metrics"))
            .collect();
        writeln!(
            config,
            "  exporters-{pool}: {{ dcgm: {{ targets: {urls:?}, interval: 1s }} }}"
        )
        .unwrap();
    }
    let config = Config::parse(&config).unwrap();
    assert_eq!(config.problems(), []);
    Rc::new(Sources::connect(&config, clock, randomness, &NoTokens).unwrap())
}

/// Runs the loop and the stories to their end.
fn live<T>(
    addresses: &[String; 2],
    fleets: &[(&str, Vec<String>)],
    story: &Story,
    tell: impl Future<Output = T>,
) -> (Rc<Records>, T) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (clock, randomness) = (Rc::new(SystemClock::new()), Rc::new(SystemRandomness));
        let sources = connect(addresses, fleets, &clock, &randomness);
        let records = Rc::new(Records::default());
        let world = World {
            sources: Rc::clone(&sources),
            clock,
            randomness,
            pools: Pools::new(NODES, GPUS_PER_NODE),
            cluster: NoCluster,
            states: States::default(),
        };
        let settings = Settings {
            platform_chooses: PlatformChooses::Allowed,
            ..Settings::default()
        };
        let logged = Rc::new(Logged::new(Watching(Rc::clone(&records))));
        let controller = Controller::new(world, Rc::clone(&logged), settings);
        let policies = STORIES
            .iter()
            .flat_map(|(pool, _)| BACKENDS.map(|backend| policy(pool, backend)));
        controller.set_policies(policies.collect());
        story.begin();
        let told = async {
            let told = tell.await;
            controller.stop();
            told
        };
        let run = join(controller.run(), told);
        let told = match select(pin!(run), pin!(sources.follow())).await {
            Either::Left((((), told), _)) => told,
            Either::Right((never, _)) => match never {},
        };
        for (name, source) in sources.iter() {
            let counts = source.counts();
            println!(
                "{name}: {} questions of policies, {} queries",
                counts.reads, counts.queries
            );
            assert!(counts.queries > 0 && counts.queries <= counts.reads);
            if name == "prometheus" {
                assert!(counts.failures["unreachable"] > 0, "{counts:?}");
            } else {
                let without = ["exporters-dying", "victoria"].contains(&name) || counts.failures.is_empty();
                assert!(without, "{name}: {counts:?}");
            }
        }
        for (policy, counts) in logged.counts() {
            let pool = policy.name.split('-').next().unwrap();
            let lacks = match pool {
                "dying" => "LowCoverage",
                "emptied" => "Stale",
                _ => continue,
            };
            assert!(
                counts.qualities[lacks] > 5 && counts.reasons["DataQuality"] > 5,
                "{policy}: {counts:?}"
            );
        }
        (records, told)
    })
}

#[test]
fn the_loop_decides_the_same_on_every_backend_whatever_happens_to_the_data() {
    let story = Story::new();
    let mut fleets: Vec<Fleet> = STORIES
        .iter()
        .map(|(pool, says)| Fleet::new(pool, &story, *says))
        .collect();
    let config = scrape_config(&fleets);
    let folder = tempfile::tempdir().unwrap();
    let (Some(prometheus), Some(victoria)) = (prometheus(folder, &config), victoria_metrics(Some(&config)))
    else {
        return;
    };
    for server in [&prometheus, &victoria] {
        wait_for("every exporter to be scraped", || {
            let answer = server.get("/api/v1/query", &[("query", "count(DCGM_FI_DEV_GPU_UTIL)")]);
            // Eight pools of four GPUs, the pair twice, the sliced ones three times.
            String::from_utf8(answer)
                .unwrap()
                .contains("\"44\"")
                .then_some(())
        });
    }
    let addresses = [prometheus.url(""), victoria.url("")];
    let (log, logging) = Log::from(tracing::Level::INFO);
    let targets: Vec<(&str, Vec<String>)> =
        fleets.iter().map(|fleet| (fleet.pool, fleet.targets())).collect();
    let (records, prometheus) = live(&addresses, &targets, &story, async {
        let clock = SystemClock::new();
        let until = |seconds: i64| clock.sleep_until(seconds * 1000);
        until(CHANGE).await;
        let dying = fleets.iter_mut().find(|fleet| fleet.pool == "dying");
        dying.unwrap().kill(1);
        until(KILL).await;
        let mut prometheus = prometheus;
        prometheus.kill();
        until(REVIVE).await;
        // Beside the loop, which goes on.
        let revived = tokio::task::spawn_blocking(move || {
            prometheus.start_again("/-/ready");
            prometheus
        });
        let prometheus = revived.await.unwrap();
        until(END).await;
        prometheus
    });
    drop(logging);
    judge(&records);
    judge_log(&log.text());
    judge_recordings(&addresses, &records);
    drop((prometheus, victoria));
}

/// The reason of every hold is in the log, and of every source that did not answer.
fn judge_log(text: &str) {
    let has = |words: &[&str]| {
        let line = text
            .lines()
            .find(|line| words.iter().all(|word| line.contains(word)));
        println!(
            "{}",
            line.unwrap_or_else(|| panic!("no line has {words:?}:\n{text}"))
        );
    };
    for backend in BACKENDS {
        has(&[&format!("dying-{backend}"), "DataQuality", "LowCoverage"]);
        has(&[&format!("emptied-{backend}"), "DataQuality", "Stale"]);
    }
    has(&[
        "WARN",
        "no whole answer",
        "source=\"prometheus\"",
        "kind=\"unreachable\"",
    ]);
    has(&["INFO", "answers again", "source=\"prometheus\""]);
    has(&["WARN", "no page", "kind=\"unreachable\""]);
    has(&["INFO", "resize", "busy-prometheus", "accepted"]);
    let lines = text.lines().count();
    println!("{lines} lines logged");
    assert!(
        lines < 60 * 24,
        "a line for each change and not for each tick: {lines}"
    );
}

/// What a simulation says of what was recorded after it was over, at one of its ticks.
#[derive(Debug, Deserialize)]
struct Line {
    time: jiff::Timestamp,
    signals: Vec<Said>,
}

#[derive(Debug, Deserialize)]
struct Said {
    quality: String,
    up: String,
    down: String,
}

/// Records every pool from both backends, shows the recordings to the policies, and holds what they say against what
/// was said live.
fn judge_recordings(addresses: &[String; 2], records: &Records) {
    let folder = tempfile::tempdir().unwrap();
    let gpuscale = |arguments: &[&str]| {
        let command = Path::new(env!("CARGO_BIN_EXE_gpuscale"));
        let arguments = arguments.iter().map(|argument| match argument.split_once('@') {
            Some(("", file)) => folder.path().join(file).into_os_string(),
            _ => (*argument).into(),
        });
        String::from_utf8(backends::run(command, arguments)).unwrap()
    };
    fs::write(folder.path().join("gpuscale.yaml"), configuration(addresses)).unwrap();
    let ticks = records.ticks.borrow();
    for (pool, _) in STORIES {
        for backend in &BACKENDS[..2] {
            let name = format!("{pool}-{backend}");
            let seen = &ticks[&name];
            let [policy, recording] = ["yaml", "om.zst"].map(|ending| format!("@{name}.{ending}"));
            fs::write(folder.path().join(&policy[1..]), document(pool, backend)).unwrap();
            let at = |ms: i64| jiff::Timestamp::from_millisecond(ms).unwrap().to_string();
            let (from, to) = (at(seen[0].wall_ms - 60_000), at(seen.last().unwrap().wall_ms));
            let range = ["--from", &from, "--to", &to, "--out", &recording];
            gpuscale(&[&["record", &policy, "--config", "@gpuscale.yaml"], &range[..]].concat());
            let shown = [
                "--loop",
                "open",
                "--recording",
                &recording,
                "--policy",
                &policy,
                "--nodes",
                "2",
            ];
            let lines = gpuscale(&[&["simulate"], &shown[..], &["--trace", "-"]].concat());
            let lines: Vec<Line> = lines
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            let differing = differing(seen, &lines);
            println!(
                "{name}: {} ticks simulated, {} differ",
                lines.len(),
                differing.len()
            );
            assert!(differing.is_empty(), "{name}:\n{}", differing.join("\n"));
        }
    }
}

/// Live ticks whose data was judged otherwise than at the simulated ticks around them. Windows are whole after a minute and
/// a half, and a resize makes the two worlds different ones.
fn differing(seen: &[Seen], lines: &[Line]) -> Vec<String> {
    let whole = seen.iter().skip_while(|tick| tick.at_ms < 90_000);
    let alike = whole.take_while(|tick| tick.from == NODES);
    let mut compared = 0;
    let differing = alike.filter_map(|tick| {
        compared += 1;
        let live = [
            format!("{:?}", tick.quality),
            format!("{:?}", tick.verdicts[0]),
            format!("{:?}", tick.verdicts[1]),
        ];
        let around = lines
            .iter()
            .filter(|line| (line.time.as_millisecond() - tick.wall_ms).abs() <= 5_500);
        let said: Vec<[&str; 3]> = around
            .map(|line| &line.signals[0])
            .map(|said| [said.quality.as_str(), &said.up, &said.down])
            .collect();
        (!said.iter().any(|said| live == *said))
            .then(|| format!("{} s: live {live:?}, simulated {said:?}", tick.at_ms / 1000))
    });
    let differing: Vec<String> = differing.collect();
    assert!(compared > 0 || seen.iter().any(|tick| tick.from != NODES));
    differing
}

fn judge(records: &Records) {
    let ticks = records.ticks.borrow();
    for (name, seen) in ticks.iter() {
        println!("{name}: {}", summary(seen));
    }
    for (pool, _) in STORIES {
        let all = BACKENDS.map(|backend| &ticks[&format!("{pool}-{backend}")]);
        for seen in all {
            assert_eq!(sizes(seen), sizes(all[0]), "{pool}");
            assert!(seen.len() > 50, "{pool}: {} ticks", seen.len());
            of_story(pool, seen);
        }
    }
    for (name, journal) in records.journals.borrow().iter() {
        let journal = journal.borrow();
        let replay = replay(journal.segments.values().map(Vec::as_slice), None).unwrap();
        assert_eq!(replay.decisions, ticks[name].len() as u64, "{name}");
        assert_eq!(
            (replay.verified, replay.differing, replay.faults.len()),
            (replay.decisions, 0, 0),
            "{name}: {:?}",
            replay.first_difference
        );
    }
}

/// The sizes that were decided, one after the other.
fn sizes(seen: &[Seen]) -> Vec<u32> {
    let mut sizes: Vec<u32> = seen.iter().map(|seen| seen.to).collect();
    sizes.dedup();
    sizes
}

/// What must have been decided, whichever backend was asked.
fn of_story(pool: &str, seen: &[Seen]) {
    let at = |seconds: std::ops::Range<i64>| {
        seen.iter()
            .filter(move |seen| seconds.contains(&(seen.at_ms / 1000)))
    };
    let last = seen.last().unwrap();
    match pool {
        "busy" => assert!(last.to > 2 && sizes(seen).is_sorted(), "{:?}", sizes(seen)),
        "idle" => assert_eq!(sizes(seen), [2, 1]),
        _ => assert_eq!(sizes(seen), [2], "{pool}"),
    }
    match pool {
        // The node that is left has nothing to do, and nobody knows what the other one does.
        "dying" => {
            assert_eq!(
                (last.quality, last.reason, last.demand),
                (Quality::LowCoverage, "DataQuality", 0.0)
            );
        }
        "emptied" => {
            let silent: Vec<&Seen> = at(CHANGE + 35..RETURN).collect();
            assert!(silent.len() >= 5);
            for seen in silent {
                assert_eq!((seen.quality, seen.reason), (Quality::Stale, "DataQuality"));
            }
            assert_eq!(last.quality, Quality::Good, "what was read again counts again");
        }
        // Other labels, several rows for a GPU, two scrapers: the same GPUs at the same load, and no moment of doubt.
        "steady" | "relabelled" | "sliced" | "pair" => {
            let known: Vec<&Seen> = seen
                .iter()
                .skip_while(|seen| seen.quality != Quality::Good)
                .collect();
            assert!(known.len() > 40, "{pool}: {}", known.len());
            for seen in known {
                let said = (seen.quality, seen.reason, seen.demand);
                assert_eq!(
                    said,
                    (Quality::Good, "WithinTarget", 2.0),
                    "{pool}: {}",
                    seen.explained
                );
            }
        }
        _ => {}
    }
}

/// The stretches in which nothing changed.
fn summary(seen: &[Seen]) -> String {
    let mut text = String::new();
    let word = |seen: &Seen| {
        format!(
            "{}->{} {} {:?} {:.2}",
            seen.from, seen.to, seen.reason, seen.quality, seen.demand
        )
    };
    for stretch in seen.chunk_by(|one, next| word(one) == word(next)) {
        write!(
            text,
            "\n    {:>4} s {}",
            stretch[0].at_ms / 1000,
            word(&stretch[0])
        )
        .unwrap();
    }
    text
}
