//! Exporters as a source: real HTTP on loopback, real pages, and everything that an exporter does wrong.

#![cfg(feature = "source")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test with real servers"
)]

mod hostile;

use std::cell::Cell;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join3;
use gpuscale::config::Config;
use gpuscale::control::ports::{
    Answer, Clock, Completeness, MetricsSource, ReadRequest, Selector, SourceError, SourceErrorKind,
};
use gpuscale::policy::observation::Now;
use gpuscale::source::connect::{NoIdentity, Sources};
use gpuscale::source::dcgm::Dcgm;
use gpuscale::source::http::Settings;
use gpuscale::source::prometheus::answer::Limits;

use hostile::{Hostile, response};

const INTERVAL_MS: i64 = 30_000;
const WALL_MS: i64 = 1_795_176_000_000;
const LIMITS: Limits = Limits {
    bytes: 64 << 20,
    series: 20_000,
    samples: 2_000_000,
};

/// A clock that stands still unless it is moved.
#[derive(Debug, Default)]
struct Still {
    timer_ms: Cell<i64>,
    jump_ms: Cell<i64>,
}

impl Still {
    fn advance(&self, ms: i64) {
        self.timer_ms.set(self.timer_ms.get() + ms);
    }
}

impl Clock for Still {
    fn now(&self) -> Now {
        Now {
            wall_ms: WALL_MS + self.timer_ms.get() + self.jump_ms.get(),
            timer_ms: self.timer_ms.get(),
        }
    }

    async fn sleep_until(&self, timer_ms: i64) {
        self.timer_ms.set(self.timer_ms.get().max(timer_ms));
    }
}

fn page_of(name: &str) -> String {
    fs::read_to_string(format!("tests/fixtures/dcgm/{name}.prom")).unwrap()
}

/// A node of four GPUs: the real labels, under the name of the utilization.
fn four_gpus() -> String {
    page_of("four-gpu-v100-excerpt").replace("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", UTIL)
}

fn exporter(page: &str) -> Hostile {
    Hostile::saying(response("200 OK", "", page))
}

fn dcgm(exporters: &[&Hostile], clock: &Rc<Still>) -> Dcgm<Still> {
    limited(exporters, clock, LIMITS)
}

fn limited(exporters: &[&Hostile], clock: &Rc<Still>, limits: Limits) -> Dcgm<Still> {
    let urls: Vec<String> = exporters
        .iter()
        .map(|exporter| format!("http://{}/metrics", exporter.at))
        .collect();
    let settings = Settings::new("", Duration::from_secs(1));
    Dcgm::new(&urls, &settings, Rc::clone(clock), INTERVAL_MS, limits).unwrap()
}

fn metric(name: &'static str) -> Selector {
    Selector::Metric {
        name,
        match_labels: Vec::new(),
    }
}

async fn read(dcgm: &Dcgm<Still>, selector: &Selector) -> Result<Answer, SourceError> {
    let request = ReadRequest {
        source: "exporters",
        selector,
        window_ms: 600_000,
        as_of_ms: None,
    };
    dcgm.read(&request).await
}

fn run<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn requests(exporter: &Hostile) -> u64 {
    exporter.requests.load(Ordering::SeqCst)
}

/// The label of each series and how many samples it has, in order.
fn told(answer: &Answer, label: &str) -> Vec<(String, usize)> {
    let series = answer.series.iter().map(|series| {
        let value = series.labels.get(label).unwrap_or_default();
        (value.to_owned(), series.samples.len())
    });
    let mut told: Vec<_> = series.collect();
    told.sort();
    told
}

const UTIL: &str = "DCGM_FI_DEV_GPU_UTIL";

#[test]
fn pages_become_windows_round_by_round() {
    let (clock, exporter) = (Rc::new(Still::default()), exporter(&four_gpus()));
    let dcgm = dcgm(&[&exporter], &clock);
    run(async {
        for round in 1..=3 {
            // However many ask in an interval, a page is fetched once.
            let (power, memory) = (metric("DCGM_FI_DEV_POWER_USAGE"), metric("DCGM_FI_DEV_FB_FREE"));
            let util = metric(UTIL);
            let answers = join3(read(&dcgm, &util), read(&dcgm, &power), read(&dcgm, &memory)).await;
            let answer = answers.0.unwrap();
            answers.1.unwrap();
            clock.advance(INTERVAL_MS / 2);
            read(&dcgm, &metric(UTIL)).await.unwrap();
            assert_eq!(requests(&exporter), round);
            let wanted = (0..4).map(|gpu| (gpu.to_string(), usize::try_from(round).unwrap()));
            assert_eq!(told(&answer, "gpu"), wanted.collect::<Vec<_>>());
            assert_eq!(answer.completeness, Completeness::Whole);
            clock.advance(INTERVAL_MS / 2);
        }
        let answer = read(&dcgm, &metric(UTIL)).await.unwrap();
        assert_eq!(answer.now_ms, WALL_MS + 3 * INTERVAL_MS);
        let series = answer.series.iter().next().unwrap();
        let times: Vec<i64> = series.samples.iter().map(|(at_ms, _)| at_ms - WALL_MS).collect();
        assert_eq!(times, [0, INTERVAL_MS, 2 * INTERVAL_MS, 3 * INTERVAL_MS]);
        assert_eq!(
            series.labels.get("instance"),
            Some(exporter.at.to_string().as_str())
        );
    });
}

#[test]
fn whoever_follows_scrapes_when_nobody_reads() {
    let (clock, exporter) = (Rc::new(Still::default()), exporter(&page_of("one-gpu-l40s")));
    let dcgm = dcgm(&[&exporter], &clock);
    run(async {
        let mut follow = std::pin::pin!(dcgm.follow());
        while requests(&exporter) < 5 {
            let soon = std::pin::pin!(tokio::time::sleep(Duration::from_millis(5)));
            futures_util::future::select(follow.as_mut(), soon).await;
        }
    });
    let rounds = requests(&exporter);
    let answer = run(read(&dcgm, &metric(UTIL))).unwrap();
    let samples = told(&answer, "gpu")[0].1;
    assert!(
        samples >= 4,
        "{samples} samples of {rounds} rounds: a reader has windows at once"
    );
}

#[test]
fn a_wall_clock_that_is_set_leaves_the_windows_alone() {
    let (clock, exporter) = (Rc::new(Still::default()), exporter(&page_of("one-gpu-l40s")));
    let dcgm = dcgm(&[&exporter], &clock);
    run(async {
        read(&dcgm, &metric(UTIL)).await.unwrap();
        clock.jump_ms.set(-86_400_000);
        clock.advance(INTERVAL_MS);
        let answer = read(&dcgm, &metric(UTIL)).await.unwrap();
        assert_eq!(answer.now_ms, WALL_MS + INTERVAL_MS);
        assert_eq!(told(&answer, "gpu"), [("0".to_owned(), 2)]);
        assert_eq!(dcgm.skew_ms(), 86_400_000);
    });
}

/// An exporter that is no exporter at all, and by which word that is told.
fn broken() -> Vec<(Hostile, SourceErrorKind)> {
    let page = page_of("one-gpu-l40s");
    let (start, _) = page.split_at(page.len() - 3);
    let html = "<html><body>502 Bad Gateway</body></html>";
    let hang = |stream: &mut TcpStream| stream.read_exact(&mut [0]);
    let endless = |stream: &mut TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")?;
        loop {
            stream.write_all("# HELP nothing at all, again and again\n".repeat(1000).as_bytes())?;
        }
    };
    let half = |stream: &mut TcpStream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\nDCGM_FI_DEV_GPU_UTIL{gpu=\"0\"} 9")
    };
    let redirect = "Location: http://169.254.169.254/metadata/identity/oauth2/token\r\n";
    vec![
        (
            Hostile::saying(response("500 Internal Server Error", "", "gather failed")),
            SourceErrorKind::Status(500),
        ),
        (
            Hostile::saying(response("302 Found", redirect, "")),
            SourceErrorKind::Status(302),
        ),
        (exporter(html), SourceErrorKind::Malformed),
        (exporter(start), SourceErrorKind::Malformed),
        (Hostile::new(half), SourceErrorKind::Malformed),
        (Hostile::new(endless), SourceErrorKind::TooLarge),
        (Hostile::new(hang), SourceErrorKind::Timeout),
    ]
}

#[test]
fn an_exporter_that_fails_is_told_and_costs_only_its_own_gpus() {
    let good = exporter(&four_gpus());
    let broken = broken();
    let clock = Rc::new(Still::default());
    let mut exporters = vec![&good];
    exporters.extend(broken.iter().map(|(exporter, _)| exporter));
    let dcgm = dcgm(&exporters, &clock);
    let answer = run(read(&dcgm, &metric(UTIL))).unwrap();
    assert_eq!(told(&answer, "gpu").len(), 4);
    let said: Vec<_> = dcgm.said().collect();
    assert!(said[0].page.is_ok());
    for (said, (exporter, kind)) in said[1..].iter().zip(&broken) {
        assert_eq!(said.page.as_ref().unwrap_err().kind, *kind, "{said:?}");
        assert_eq!(requests(exporter), 1);
    }
    // Alone, none of them is an answer.
    for (exporter, kind) in &broken {
        let alone = self::dcgm(&[exporter, exporter], &clock);
        let error = run(read(&alone, &metric(UTIL))).unwrap_err();
        assert_eq!(error.kind, *kind, "{error}");
        assert!(error.message.starts_with(&format!("http://{}", exporter.at)));
        assert!(
            error.message.ends_with("; none of 2 exporters has a page"),
            "{error}"
        );
    }
}

#[test]
fn an_exporter_that_is_gone_is_an_error_until_it_is_back_and_its_samples_stay() {
    let down = Arc::new(AtomicBool::new(false));
    let page = page_of("one-gpu-l40s");
    let exporter = Hostile::new({
        let down = Arc::clone(&down);
        move |stream| {
            if down.load(Ordering::SeqCst) {
                return Ok(());
            }
            stream.write_all(response("200 OK", "", &page).as_bytes())
        }
    });
    let clock = Rc::new(Still::default());
    let dcgm = dcgm(&[&exporter], &clock);
    run(async {
        read(&dcgm, &metric(UTIL)).await.unwrap();
        down.store(true, Ordering::SeqCst);
        clock.advance(INTERVAL_MS);
        assert!(read(&dcgm, &metric(UTIL)).await.is_err());
        down.store(false, Ordering::SeqCst);
        clock.advance(INTERVAL_MS);
        let answer = read(&dcgm, &metric(UTIL)).await.unwrap();
        assert_eq!(told(&answer, "gpu"), [("0".to_owned(), 2)]);
    });
}

#[test]
fn an_empty_page_is_an_answer_without_series_and_no_zero() {
    let exporter = exporter("");
    let dcgm = dcgm(&[&exporter], &Rc::new(Still::default()));
    let answer = run(read(&dcgm, &metric(UTIL))).unwrap();
    assert!(answer.series.is_empty());
    assert_eq!(answer.completeness, Completeness::Whole);
}

#[test]
fn lines_that_are_refused_are_told_and_the_others_read() {
    let mut page = four_gpus();
    page.push_str("DCGM_FI_DEV_GPU_UTIL{gpu=\"4\"} ERROR - FAILED TO CONVERT TO STRING\n");
    let exporter = exporter(&page);
    let dcgm = dcgm(&[&exporter], &Rc::new(Still::default()));
    let answer = run(read(&dcgm, &metric(UTIL))).unwrap();
    assert_eq!(told(&answer, "gpu").len(), 4);
    let said = dcgm.said().next().unwrap().page.unwrap();
    assert_eq!(said.refused, 1);
    assert!(
        said.first_refused.unwrap().contains("FAILED TO CONVERT"),
        "it is shown"
    );
}

#[test]
fn labels_choose_and_expressions_are_refused() {
    let exporter = exporter(&page_of("mixed-mig-k8s-lowercase-hostname-excerpt"));
    let dcgm = dcgm(&[&exporter], &Rc::new(Still::default()));
    let name = "DCGM_FI_DEV_FB_FREE";
    let matching = |label: &str, value: &str| Selector::Metric {
        name,
        match_labels: vec![(label.to_owned(), value.to_owned())],
    };
    run(async {
        let all = read(&dcgm, &metric(name)).await.unwrap();
        let pods = told(&all, "pod");
        let (pod, _) = pods.iter().find(|(pod, _)| !pod.is_empty()).unwrap();
        let of_pod = read(&dcgm, &matching("pod", pod)).await.unwrap();
        assert!((1..=pods.len()).contains(&of_pod.series.len()));
        assert!(
            read(&dcgm, &matching("pod", "nobody"))
                .await
                .unwrap()
                .series
                .is_empty()
        );
        let expression = Selector::Expression {
            promql: "sum(up)".to_owned(),
            step_ms: 15_000,
        };
        let error = read(&dcgm, &expression).await.unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Query);
    });
}

/// Labels that change at every scrape are more series than anybody has.
#[test]
fn series_without_end_are_too_many_and_take_no_more_room() {
    let exporter = Hostile::asked({
        let scrapes = std::sync::atomic::AtomicU64::new(0);
        move |_, stream| {
            let scrape = scrapes.fetch_add(1, Ordering::SeqCst);
            let rows = (0..50).map(|gpu| format!("{UTIL}{{gpu=\"{gpu}\",scrape=\"{scrape}\"}} 1\n"));
            stream.write_all(response("200 OK", "", &rows.collect::<String>()).as_bytes())
        }
    });
    let clock = Rc::new(Still::default());
    let limits = Limits {
        series: 100,
        ..LIMITS
    };
    let dcgm = limited(&[&exporter], &clock, limits);
    run(async {
        for _ in 0..2 {
            read(&dcgm, &metric(UTIL)).await.unwrap();
            clock.advance(INTERVAL_MS);
        }
        let error = read(&dcgm, &metric(UTIL)).await.unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::TooLarge);
        assert_eq!(error.message, "the exporters show more than 100 series");
    });
}

#[test]
fn a_configuration_says_where_exporters_are_and_which_cannot_be() {
    let connect = |source: &str| {
        let config =
            Config::parse(&format!("metricsSources:\n  gpus: {{ dcgm: {{ {source} }} }}\n")).unwrap();
        let (clock, randomness) = (
            Rc::new(Still::default()),
            Rc::new(gpuscale::clock::SystemRandomness),
        );
        Sources::connect(&config, &clock, &randomness, &NoIdentity)
    };
    let exporter = exporter(&page_of("one-gpu-l40s"));
    let sources = connect(&format!("targets: ['http://{}/metrics']", exporter.at)).unwrap();
    let selector = metric(UTIL);
    let request = ReadRequest {
        source: "gpus",
        selector: &selector,
        window_ms: 60_000,
        as_of_ms: None,
    };
    assert_eq!(run(sources.read(&request)).unwrap().series.len(), 1);
    let refused = |source: &str| connect(source).unwrap_err().to_string();
    assert!(
        refused("targets: ['http://10.0.0.4:19400/metrics', 'http://169.254.169.254/']").contains("metadata")
    );
    assert_eq!(
        refused("nodes: {}"),
        "metricsSources.gpus: the cluster's nodes are not to be had here; list the exporters as `targets`"
    );
}
