//! Every way in which a metrics source fails, through the production loop: real HTTP on loopback, and a clock that runs
//! thirty times as fast.
//!
//! Each row is a policy with a source of its own, all in one loop. At first all GPUs work. Then they have nothing to do,
//! which is what a source that tells the truth says, and the pool shrinks; a source that fails says nothing, and the pool
//! stays. Then the fault ends, and the pool shrinks as it should have: no hold is for ever.

#![cfg(feature = "source")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a test with real servers and real time"
)]

mod hostile;
#[path = "live/log.rs"]
mod log;
#[path = "live/world.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod world;

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::future::join;
use gpuscale::clock::SystemRandomness;
use gpuscale::config::Config;
use gpuscale::control::ports::Clock;
use gpuscale::control::{Controller, PlatformChooses, Policy, Settings};
use gpuscale::journal::Reader;
use gpuscale::logged::Logged;
use gpuscale::policy::evaluation::Quality;
use gpuscale::policy::observation::Now;
use gpuscale::source::connect::Sources;

use hostile::{Heard, Hostile, response};
use log::Log;
use world::{NoCluster, NoTokens, Pools, Records, Seen, States, Watching, World};

/// How much faster than real the clock is.
const SPEED: i64 = 30;
/// What the clock reads at the start: 2026-11-20T12:00:00Z.
const EPOCH_MS: i64 = 1_795_176_000_000;

const MINUTE_MS: i64 = 60_000;
/// The load is gone, and faults begin.
const FAULT_MS: i64 = MINUTE_MS;
/// Faults end.
const MENDED_MS: i64 = 17 * MINUTE_MS;
const END_MS: i64 = 36 * MINUTE_MS;

const SCRAPE_MS: i64 = 15_000;
/// The token that lets questions in.
const CANARY: &str = "canary-7d3c4a2b";

const NODES: u32 = 2;
const GPUS_PER_NODE: u32 = 4;

/// A clock that is fast, and whose wall may jump.
#[derive(Debug, Clone)]
struct Fast {
    start: Instant,
    jump_ms: Arc<AtomicI64>,
}

impl Fast {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            jump_ms: Arc::default(),
        }
    }

    fn timer_ms(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_micros()).unwrap() * SPEED / 1000
    }
}

impl Clock for Fast {
    fn now(&self) -> Now {
        let timer_ms = self.timer_ms();
        Now {
            wall_ms: EPOCH_MS + timer_ms + self.jump_ms.load(Ordering::SeqCst),
            timer_ms,
        }
    }

    async fn sleep_until(&self, timer_ms: i64) {
        let real = Duration::from_micros(u64::try_from(timer_ms.max(0) * 1000 / SPEED).unwrap() + 1);
        tokio::time::sleep_until((self.start + real).into()).await;
    }
}

/// What a server does from [`FAULT_MS`] until [`MENDED_MS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// It tells the truth.
    None,
    /// F1: no series.
    Empty,
    /// F2: it hangs up, hangs, says 500, 429, HTML, breaks off, drips.
    HangsUp,
    Hangs,
    Status500,
    Throttles,
    Html502,
    Cut,
    Drips,
    /// F3: 200, and no answer or not all of it.
    SaysError,
    Warns,
    IsPartial,
    Scalar,
    HtmlWith200,
    Histogram,
    /// F4: no numbers, and a blank of DCGM.
    NotANumber,
    Blank,
    /// F5: one node's series are gone.
    HalfGone,
    /// F6: a node that left long ago is shown as it was, fully busy.
    Ghosts,
    /// F7: the server's clock is wrong by so many minutes, all the time; or it records late.
    Ahead(i64),
    Behind(i64),
    Lags,
    /// F24: far too much.
    Bomb,
    ManySeries,
    Gigabyte,
    /// A redirect to the metadata service.
    Redirects,
}

/// What is to come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// The pool shrinks while the fault lasts: it does not hide the truth.
    Shrinks,
    /// It stays, for want of data, and shrinks once the fault is over.
    Holds,
    /// It stays all the time.
    Stays,
}

const ROWS: [(&str, Fault, Outcome); 26] = [
    ("truth", Fault::None, Outcome::Shrinks),
    ("f1-empty", Fault::Empty, Outcome::Holds),
    ("f2-hangs-up", Fault::HangsUp, Outcome::Holds),
    ("f2-hangs", Fault::Hangs, Outcome::Holds),
    ("f2-500", Fault::Status500, Outcome::Holds),
    ("f2-429", Fault::Throttles, Outcome::Holds),
    ("f2-502-html", Fault::Html502, Outcome::Holds),
    ("f2-cut", Fault::Cut, Outcome::Holds),
    ("f2-drips", Fault::Drips, Outcome::Holds),
    ("f2-redirect", Fault::Redirects, Outcome::Holds),
    ("f3-error", Fault::SaysError, Outcome::Holds),
    ("f3-warns", Fault::Warns, Outcome::Holds),
    ("f3-partial", Fault::IsPartial, Outcome::Holds),
    ("f3-scalar", Fault::Scalar, Outcome::Holds),
    ("f3-html", Fault::HtmlWith200, Outcome::Holds),
    ("f3-histogram", Fault::Histogram, Outcome::Holds),
    ("f4-nan", Fault::NotANumber, Outcome::Holds),
    ("f4-blank", Fault::Blank, Outcome::Holds),
    ("f5-half", Fault::HalfGone, Outcome::Holds),
    ("f6-ghosts", Fault::Ghosts, Outcome::Stays),
    ("f7-ahead", Fault::Ahead(10), Outcome::Shrinks),
    ("f7-behind", Fault::Behind(10), Outcome::Shrinks),
    ("f7-lags", Fault::Lags, Outcome::Holds),
    ("f24-bomb", Fault::Bomb, Outcome::Holds),
    ("f24-series", Fault::ManySeries, Outcome::Holds),
    ("f24-gigabyte", Fault::Gigabyte, Outcome::Holds),
];

impl Fault {
    /// By how much the server's clock is wrong.
    fn skew_ms(self) -> i64 {
        match self {
            Self::Ahead(minutes) => minutes * MINUTE_MS,
            Self::Behind(minutes) => -minutes * MINUTE_MS,
            _ => 0,
        }
    }

    /// Answers a question.
    fn answer(self, clock: &Fast, heard: &Heard, stream: &mut TcpStream) -> std::io::Result<()> {
        let now_ms = clock.timer_ms();
        let server_ms = EPOCH_MS + now_ms + self.skew_ms();
        let lasts = (FAULT_MS..MENDED_MS).contains(&now_ms);
        let date = format!("Date: {}\r\n", http_date(server_ms));
        let question = Question::of(&heard.body, now_ms);
        let truth = || question.answer(self.skew_ms(), load, |_| true);
        let ok = |body: &str| response("200 OK", &date, body);
        let said = match self {
            _ if !lasts => ok(&truth()),
            Self::None | Self::Ahead(_) | Self::Behind(_) => ok(&truth()),
            Self::Empty => ok(&question.answer(0, load, |_| false)),
            Self::HangsUp => return Ok(()),
            // Until the client hangs up.
            Self::Hangs => return stream.read_exact(&mut [0]),
            Self::Status500 => response("500 Internal Server Error", &date, &heard.head),
            Self::Throttles => response("429 Too Many Requests", &format!("{date}Retry-After: 1\r\n"), ""),
            Self::Html502 => response("502 Bad Gateway", &date, "<html><h1>502</h1></html>"),
            Self::Cut => {
                let whole = ok(&truth());
                whole[..whole.len() - whole.len() / 3].to_owned()
            }
            Self::Drips => return drip(stream, &ok(&truth())),
            Self::Redirects => {
                let to = format!("{date}Location: http://169.254.169.254/metadata/instance\r\n");
                response("302 Found", &to, "")
            }
            Self::SaysError => ok(r#"{"status":"error","errorType":"timeout","error":"timed out"}"#),
            Self::Warns => ok(&with(&truth(), r#""warnings":["a store is down"]"#)),
            Self::IsPartial => ok(&with(&truth(), r#""isPartial":true"#)),
            Self::Scalar => ok(r#"{"status":"success","data":{"resultType":"scalar","result":[1,"0"]}}"#),
            Self::HtmlWith200 => ok("<html>Sign in</html>"),
            Self::Histogram => ok(&truth().replace("\"values\":", "\"histograms\":")),
            Self::NotANumber => ok(&question.answer(0, |at| load(at).map(|_| "NaN"), |_| true)),
            Self::Blank => ok(&question.answer(
                0,
                |at| {
                    load(at).map(|load| {
                        if at >= FAULT_MS {
                            "18446744073709551600"
                        } else {
                            load
                        }
                    })
                },
                |_| true,
            )),
            Self::HalfGone => ok(&question.answer(0, load, |node| node == 0)),
            Self::Ghosts => unreachable!("ghosts are a story of their own"),
            Self::Lags => {
                let late = question.as_of(now_ms - 6 * MINUTE_MS);
                ok(&late.answer(0, load, |_| true))
            }
            Self::Bomb => return bomb(stream, &date),
            Self::ManySeries => return many_series(stream, &date),
            Self::Gigabyte => return gigabyte(stream, &date),
        };
        stream.write_all(said.as_bytes())
    }
}

/// Ghosts: two nodes work at half load all the time, and a third one is shown as it was when it left.
fn ghosts(clock: &Fast, form: &str, stream: &mut TcpStream) -> std::io::Result<()> {
    let now_ms = clock.timer_ms();
    let date = format!("Date: {}\r\n", http_date(EPOCH_MS + now_ms));
    let question = Question::of(form, now_ms);
    let mut body = question.answer(0, |_| Some("50"), |_| true);
    if now_ms >= FAULT_MS {
        // The look-back of five minutes: a range shows the samples that there are, all of before it left.
        let ghost = question.series(2, 0, |at| (at < FAULT_MS - SCRAPE_MS).then_some("100"));
        body = body.replace("]}}", &format!(",{ghost}]}}}}"));
    }
    stream.write_all(response("200 OK", &date, &body).as_bytes())
}

/// The utilization in %, at a time of the story.
#[expect(clippy::unnecessary_wraps, reason = "other stories say nothing at times")]
fn load(at_ms: i64) -> Option<&'static str> {
    Some(if at_ms < FAULT_MS { "70" } else { "0" })
}

/// `query=METRIC{pool="p"}[60000ms]&time=…`, in the encoding of a form.
struct Question {
    metric: String,
    window_ms: i64,
    now_ms: i64,
}

impl Question {
    fn of(form: &str, now_ms: i64) -> Self {
        let query = form.strip_prefix("query=").unwrap().split('&').next().unwrap();
        let (metric, window) = query.split_once("%5B").unwrap();
        Self {
            metric: metric.split('%').next().unwrap().to_owned(),
            window_ms: window.strip_suffix("ms%5D").unwrap().parse().unwrap(),
            now_ms,
        }
    }

    fn as_of(&self, now_ms: i64) -> Self {
        Self {
            metric: self.metric.clone(),
            window_ms: self.window_ms,
            now_ms,
        }
    }

    /// The series of the nodes that `shown` names, all GPUs of which have the same load.
    fn answer(
        &self,
        skew_ms: i64,
        load: impl Fn(i64) -> Option<&'static str>,
        shown: impl Fn(u32) -> bool,
    ) -> String {
        let nodes = (0..NODES).filter(|&node| shown(node));
        let series: Vec<String> = nodes.map(|node| self.series(node, skew_ms, &load)).collect();
        format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{}]}}}}"#,
            series.join(",")
        )
    }

    fn series(&self, node: u32, skew_ms: i64, load: impl Fn(i64) -> Option<&'static str>) -> String {
        let mut text = String::new();
        for gpu in 0..GPUS_PER_NODE {
            let comma = if gpu > 0 { "," } else { "" };
            write!(
                text,
                r#"{comma}{{"metric":{{"__name__":"{}","gpu":"{gpu}","UUID":"GPU-{node}-{gpu}","Hostname":"node-{node}","modelName":"NVIDIA A100-SXM4-80GB"}},"values":["#,
                self.metric
            )
            .unwrap();
            let scrapes =
                (self.now_ms - self.window_ms).div_euclid(SCRAPE_MS) + 1..=self.now_ms.div_euclid(SCRAPE_MS);
            let times = scrapes.map(|scrape| scrape * SCRAPE_MS);
            let values = times.filter_map(|at| Some((at, self.value(load(at)?)?)));
            let rows: Vec<String> = values
                .map(|(at, value)| format!("[{},\"{value}\"]", (EPOCH_MS + skew_ms + at) / 1000))
                .collect();
            write!(text, "{}]}}", rows.join(",")).unwrap();
        }
        text
    }

    /// What the metric reads at a load.
    fn value(&self, load: &str) -> Option<String> {
        let busy = load.parse::<u32>().is_ok_and(|load| load > 0);
        match self.metric.as_str() {
            "DCGM_FI_DEV_GPU_UTIL" => Some(load.to_owned()),
            "DCGM_FI_DEV_POWER_USAGE" => Some(if busy { "250" } else { "55" }.to_owned()),
            "DCGM_FI_DEV_FB_USED" => Some(if busy { "60000" } else { "0" }.to_owned()),
            "DCGM_FI_DEV_FB_FREE" => Some(if busy { "21000" } else { "81000" }.to_owned()),
            _ => None,
        }
    }
}

/// Puts another field into an answer.
fn with(body: &str, field: &str) -> String {
    body.replacen('{', &format!("{{{field},"), 1)
}

fn http_date(at_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap();
    at.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

fn drip(stream: &mut TcpStream, said: &str) -> std::io::Result<()> {
    for byte in said.as_bytes() {
        stream.write_all(&[*byte])?;
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

fn bomb(stream: &mut TcpStream, date: &str) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\n{date}Connection: close\r\nContent-Encoding: gzip\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let mut packed = GzEncoder::new(stream, Compression::fast());
    packed.write_all(br#"{"status":"success","data":{"resultType":"matrix","result":["#)?;
    let blank = vec![b' '; 1 << 20];
    (0..1024).try_for_each(|_| packed.write_all(&blank))
}

fn many_series(stream: &mut TcpStream, date: &str) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\n{date}Connection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(br#"{"status":"success","data":{"resultType":"matrix","result":["#)?;
    (0..1_000_000).try_for_each(|number| {
        write!(
            stream,
            r#"{{"metric":{{"__name__":"m","gpu":"{number}"}},"values":[[1795176000,"0"]]}},"#
        )
    })
}

fn gigabyte(stream: &mut TcpStream, date: &str) -> std::io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\n{date}Connection: close\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    let blank = vec![b' '; 1 << 20];
    (0..1024).try_for_each(|_| stream.write_all(&blank))
}

fn policy(name: &str) -> Policy {
    let pool: String = name.chars().filter(char::is_ascii_alphanumeric).collect();
    let document = format!(
        "apiVersion: gpuscale.dev/v1alpha1
kind: GpuScalePolicy
metadata: {{ name: {name}, namespace: gpuscale-system }}
spec:
  mode: Enforce
  targetRef: {{ kind: AksNodePool, name: {pool} }}
  metricsSource: {name}
  minNodes: 1
  maxNodes: 8
  signals:
    - name: gpu
      dcgm: {{ metric: GpuUtilization }}
      targetPercentage: 80
      up:   {{ above: 90, for: 1m, rule: Mean }}
      down: {{ below: 30, for: 10m, rule: Hold }}
  behavior: {{ scaleDown: {{ stabilization: 2m, cooldown: 2m }} }}
  scaleIn: {{ victims: PlatformChooses }}
  dataQuality: {{ scrapeInterval: 15s, warmUp: 0s }}
"
    );
    Policy::new(&document, 0, "live").unwrap_or_else(|error| panic!("{error}"))
}

/// Runs one policy for each server, and jumps of the local wall clock at their times.
fn run(clock: &Fast, servers: &[(&str, Hostile)], jumps: &[(i64, i64)]) -> Rc<Records> {
    let mut token = tempfile::NamedTempFile::new().unwrap();
    token.write_all(CANARY.as_bytes()).unwrap();
    let mut text = "metricsSources:\n".to_owned();
    for (name, server) in servers {
        writeln!(
            text,
            "  {name}: {{ prometheus: {{ url: 'http://{}', bearerTokenFile: '{}' }}, timeout: 1s, limits: {{ bytes: 4000000, series: 1000 }} }}",
            server.at,
            token.path().display()
        )
        .unwrap();
    }
    let config = Config::parse(&text).unwrap();
    assert_eq!(config.problems(), []);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    // All that anybody logs, the HTTP library too.
    let (log, _logging) = Log::from(tracing::Level::TRACE);
    let records = runtime.block_on(async {
        let (clock, randomness) = (Rc::new(clock.clone()), Rc::new(SystemRandomness));
        let records = Rc::new(Records::default());
        let world = World {
            sources: Rc::new(Sources::connect(&config, &clock, &randomness, &NoTokens).unwrap()),
            clock: Rc::clone(&clock),
            randomness,
            pools: Pools::new(NODES, GPUS_PER_NODE),
            cluster: NoCluster,
            states: States::default(),
        };
        // In the time of the fast clock. What hangs is ended by the source's own limit, in real time.
        let settings = Settings {
            platform_chooses: PlatformChooses::Allowed,
            call_timeout_ms: 120_000,
            tick_timeout_ms: 300_000,
            grace_ms: 600_000,
            ..Settings::default()
        };
        let logged = Logged::new(Watching(Rc::clone(&records)));
        let controller = Controller::new(world, logged, settings);
        controller.set_policies(servers.iter().map(|(name, _)| policy(name)).collect());
        let story = async {
            for (at_ms, jump_ms) in jumps {
                clock.sleep_until(*at_ms).await;
                clock.jump_ms.fetch_add(*jump_ms, Ordering::SeqCst);
            }
            clock.sleep_until(END_MS).await;
            controller.stop();
        };
        join(controller.run(), story).await;
        records
    });
    let logged = log.text();
    assert!(!logged.contains(CANARY));
    assert!(logged.contains("decided") && logged.lines().count() > servers.len());
    records
}

/// The sizes decided while the fault lasted, and after it.
fn sizes(seen: &[Seen]) -> [Vec<u32>; 2] {
    let of = |lasts: bool| {
        let seen = seen.iter().filter(|seen| (seen.at_ms < MENDED_MS) == lasts);
        let mut sizes: Vec<u32> = seen.map(|seen| seen.to).collect();
        sizes.dedup();
        sizes
    };
    [of(true), of(false)]
}

/// The most memory that this process ever had, in MiB.
fn peak_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        / 1024
}

#[test]
fn whatever_fails_shrinks_nothing_and_holds_nothing_for_ever() {
    let clock = Fast::new();
    let servers = ROWS.map(|(name, fault, _)| {
        let clock = clock.clone();
        let server = Hostile::asked(move |heard, stream| match fault {
            Fault::Ghosts => ghosts(&clock, &heard.body, stream),
            fault => fault.answer(&clock, heard, stream),
        });
        (name, server)
    });
    let records = run(&clock, &servers, &[]);
    let ticks = records.ticks.borrow();
    for (name, _, _) in ROWS {
        let seen = &ticks[name];
        let late = seen.iter().rev().find(|seen| seen.at_ms < MENDED_MS).unwrap();
        println!(
            "{name:<14} {:>4} ticks  {:?}  late in the fault: {} {:?}",
            seen.len(),
            sizes(seen),
            late.reason,
            late.quality
        );
    }
    println!("peak memory {} MiB, servers and all", peak_mib());
    for (name, _, outcome) in ROWS {
        let seen = &ticks[name];
        let [during, after] = sizes(seen);
        // A tick may wait for an answer that drips. Everybody else ticks on beside it.
        assert!(seen.len() > 60, "{name}: {} ticks", seen.len());
        let late: Vec<&Seen> = seen
            .iter()
            .filter(|seen| (MENDED_MS - 3 * MINUTE_MS..MENDED_MS).contains(&seen.at_ms))
            .collect();
        assert!(!late.is_empty(), "{name}");
        match outcome {
            Outcome::Shrinks => assert_eq!((&during[..], &after[..]), (&[2, 1][..], &[1][..]), "{name}"),
            Outcome::Stays => assert_eq!((&during[..], &after[..]), (&[2][..], &[2][..]), "{name}"),
            Outcome::Holds => {
                assert_eq!((&during[..], &after[..]), (&[2][..], &[2, 1][..]), "{name}");
                for seen in late {
                    assert_ne!(seen.quality, Quality::Good, "{name}");
                    assert_eq!(seen.reason, "DataQuality", "{name}: {}", seen.explained);
                }
            }
        }
    }
    assert!(peak_mib() < 512, "{} MiB", peak_mib());
    let heard = servers[0].1.heard.lock().unwrap();
    assert!(heard.iter().all(|heard| heard.head.contains(CANARY)));
    tells_no_secret(&records);
}

/// The token is in no decision, no action and no record of a journal.
fn tells_no_secret(records: &Records) {
    let mut records_read = 0;
    for journal in records.journals.borrow().values() {
        for segment in journal.borrow().segments.values() {
            for record in Reader::new(segment.as_slice()) {
                let shown = format!("{:?}", record.unwrap());
                assert!(!shown.contains(CANARY), "{shown}");
                records_read += 1;
            }
        }
    }
    assert!(records_read > 2_000, "{records_read}");
    let shown = format!("{records:?}");
    assert!(!shown.contains(CANARY));
}

/// F8: the local clock is set by an hour forward and back, and to 1970, while policies run. Neither the pool that works nor
/// the one that has nothing to do notices.
#[test]
fn a_local_clock_that_jumps_ends_no_cooldown_and_stops_nothing() {
    let clock = Fast::new();
    let truth = clock.clone();
    let ghost = clock.clone();
    let servers = [
        (
            "truth",
            Hostile::asked(move |heard, stream| Fault::None.answer(&truth, heard, stream)),
        ),
        (
            "works",
            Hostile::asked(move |heard, stream| ghosts(&ghost, &heard.body, stream)),
        ),
    ];
    let hour_ms = 60 * MINUTE_MS;
    let jumps = [
        (FAULT_MS + MINUTE_MS, hour_ms),
        (FAULT_MS + 4 * MINUTE_MS, -2 * hour_ms),
        (FAULT_MS + 7 * MINUTE_MS, -EPOCH_MS),
        (FAULT_MS + 9 * MINUTE_MS, EPOCH_MS + hour_ms),
    ];
    let records = run(&clock, &servers, &jumps);
    let ticks = records.ticks.borrow();
    assert_eq!(sizes(&ticks["truth"]), [vec![2, 1], vec![1]]);
    assert_eq!(sizes(&ticks["works"]), [vec![2], vec![2]]);
    for seen in ticks.values() {
        // One tick a quarter of a minute, whatever the wall clock said.
        assert!(seen.len() > 120, "{}", seen.len());
    }
}
