//! `gpuscale check --live`: the binary against a real Prometheus that scrapes exporters, and against servers on loopback
//! that answer as no source should.

#![cfg(all(feature = "cli", feature = "source"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test with real servers, whose exporters have a clock"
)]

mod backends;
#[path = "live/fleet.rs"]
#[allow(
    dead_code,
    reason = "no story is told here: the fleet says the same all the time"
)]
mod fleet;
mod hostile;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::Ordering;

use serde_json::Value;

use backends::{Server, prometheus, wait_for};
use fleet::{Fleet, GPUS_PER_NODE, NODES, Pods, Story};
use hostile::{Hostile, response};

const CANARY: &str = "canary-4f1d-token";

/// Runs the command in a folder that holds `gpuscale.yaml`.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_gpuscale"))
        .current_dir(folder)
        .args(["check", "--config", "gpuscale.yaml"])
        .args(arguments)
        .env_remove("COLUMNS")
        .env_remove("CLICOLOR_FORCE")
        .output()
        .unwrap();
    for bytes in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(bytes);
        assert!(
            !text.contains(CANARY) && !text.contains("Z3B1c2NhbGU6"),
            "a secret is shown: {text}"
        );
    }
    output
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The findings of a run for programs: code, file, message, help, and what the place holds.
struct Found(Value);

impl Found {
    fn run(folder: &Path, arguments: &[&str]) -> Self {
        let output = run(folder, &[&["--live", "--format", "json"], arguments].concat());
        let document = serde_json::from_slice(&output.stdout);
        Self(document.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr))))
    }

    fn all(&self) -> &Vec<Value> {
        self.0["findings"].as_array().unwrap()
    }

    /// Codes of what was found by asking, in a file.
    fn live(&self, file: &str) -> Vec<&str> {
        let of_file = self.all().iter().filter(|finding| finding["file"] == file);
        let codes = of_file.map(|finding| finding["code"].as_str().unwrap());
        codes.filter(|code| code.starts_with("GS7")).collect()
    }

    /// The finding that has the code and the words.
    fn one(&self, code: &str, words: &str) -> &Value {
        let says = |field: &Value| field.as_str().unwrap().contains(words);
        let mut all = self.all().iter();
        all.find(|found| found["code"] == code && (says(&found["message"]) || says(&found["help"])))
            .unwrap_or_else(|| panic!("no {code} with `{words}` in {:#}", self.0))
    }
}

fn policy(name: &str, source: &str, signal: &str, quality: &str) -> String {
    format!(
        "apiVersion: gpuscale.dev/v1alpha1
kind: GpuScalePolicy
metadata: {{ name: {name} }}
spec:
  targetRef: {{ kind: AksNodePool, name: pool }}
  metricsSource: {source}
  maxNodes: 8
  signals: [ {{ name: gpu, {signal} }} ]
  dataQuality: {{ {quality} }}
"
    )
}

const EVERY_SECOND: &str = "scrapeInterval: 1s, maxAge: 30s";

#[expect(clippy::unnecessary_wraps, reason = "a fleet may also say nothing")]
fn says(_: u32, _: i64) -> Option<(i64, Pods)> {
    Some((50, Pods::One("train-0")))
}

/// A Prometheus that has scraped the fleet several times.
fn scraped(fleet: &Fleet) -> Option<Server> {
    let config = format!(
        "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs:\n  - job_name: dcgm\n    \
         static_configs:\n      - targets: {:?}\n        labels: {{ pool: steady, namespace: monitoring }}\n",
        fleet.targets()
    );
    let server = prometheus(tempfile::tempdir().unwrap(), &config)?;
    let query = [("query", "min(count_over_time(DCGM_FI_DEV_POWER_USAGE[5m]))")];
    wait_for("six scrapes of every exporter", || {
        let answer: Value = serde_json::from_slice(&server.get("/api/v1/query", &query)).ok()?;
        let count = answer["data"]["result"][0]["value"][1]
            .as_str()?
            .parse::<u64>()
            .ok()?;
        (count >= 6).then_some(())
    });
    Some(server)
}

/// Policies over a real fleet: file, source, signal, quality, and the codes of what asking finds.
const POLICIES: [(&str, &str, &str, &str, &[&str]); 9] = [
    (
        "good.yaml",
        "default",
        "dcgm: { metric: GpuUtilization, matchLabels: { pool: steady } }",
        EVERY_SECOND,
        &[],
    ),
    (
        "label.yaml",
        "default",
        "dcgm: { metric: GpuUtilization, matchLabels: { pool: stedy } }",
        EVERY_SECOND,
        &["GS711"],
    ),
    (
        "honor.yaml",
        "default",
        "dcgm: { metric: GpuUtilization, matchLabels: { namespace: ml } }",
        EVERY_SECOND,
        &["GS711"],
    ),
    (
        "own.yaml",
        "default",
        "dcgm: { metric: GpuUtilization, matchLabels: { namespace: monitoring } }",
        EVERY_SECOND,
        &["GS716"],
    ),
    (
        "counters.yaml",
        "default",
        "dcgm: { metric: SmActive }",
        EVERY_SECOND,
        &["GS711"],
    ),
    (
        "interval.yaml",
        "default",
        "dcgm: { metric: GpuUtilization, matchLabels: { pool: steady } }",
        "scrapeInterval: 30s",
        &["GS719"],
    ),
    (
        "large.yaml",
        "small",
        "dcgm: { metric: GpuUtilization, matchLabels: { pool: steady } }",
        EVERY_SECOND,
        &["GS713"],
    ),
    (
        "several.yaml",
        "default",
        "promql: 'max by (gpu) (DCGM_FI_DEV_GPU_UTIL)', unit: percent, targetPercentage: 70",
        EVERY_SECOND,
        &["GS723"],
    ),
    (
        "fails.yaml",
        "default",
        "promql: 'DCGM_FI_DEV_GPU_UTIL * on (pool) DCGM_FI_DEV_POWER_USAGE', unit: count, perNode: 8",
        EVERY_SECOND,
        &["GS712"],
    ),
];

#[test]
fn a_real_prometheus_is_asked_what_the_policies_need() {
    let fleet = Fleet::new("steady", &Story::new(), says);
    let Some(server) = scraped(&fleet) else { return };
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    let url = server.url("");
    write(
        "gpuscale.yaml",
        &format!(
            "metricsSources:\n  default: {{ prometheus: {{ url: '{url}' }} }}\n  small: {{ prometheus: {{ url: '{url}', \
             method: Get }}, limits: {{ series: 1 }} }}\n"
        ),
    );
    let all = GPUS_PER_NODE * NODES;
    for (file, source, signal, quality, _) in POLICIES {
        write(
            file,
            &policy(file.trim_end_matches(".yaml"), source, signal, quality),
        );
    }
    let names: Vec<&str> = POLICIES.iter().map(|policy| policy.0).collect();
    let found = Found::run(folder.path(), &names);
    assert_eq!(found.live("gpuscale.yaml"), [""; 0], "{:#}", found.0);
    for (file, .., codes) in POLICIES {
        assert_eq!(found.live(file), codes, "{file}: {:#}", found.0);
    }
    found.one("GS711", "`pool` is never `stedy` but steady");
    found.one("GS711", "match `exported_namespace: ml`");
    found.one("GS711", "add DCGM_FI_PROF_SM_ACTIVE to its counters file");
    found.one("GS712", "found duplicate series");
    found.one("GS719", "scrapeInterval: 1s");
    let sources = found.0["live"]["sources"].as_array().unwrap();
    assert_eq!(sources.len(), 2);
    assert!(
        sources
            .iter()
            .all(|line| line["skew_ms"].as_i64().unwrap().abs() < 5_000),
        "{sources:?}"
    );

    // One that is right is told by two lines, and ends well.
    let output = run(folder.path(), &["--live", "good.yaml", "--no-notes"]);
    let drawn = text(&output);
    assert_eq!(output.status.code(), Some(0), "{drawn}");
    assert!(drawn.contains("source default: reachable, clock "), "{drawn}");
    let line = format!("policy good, signal gpu: {all} of {all} devices report, every 1.");
    assert!(
        drawn.contains(&line) || drawn.contains(&line.replace("1.", "0.")),
        "{drawn}"
    );
    assert!(drawn.ends_with("no findings in 2 files\n"), "{drawn}");

    // And one that is not is drawn at the label that keeps all series out.
    let output = run(folder.path(), &["--live", "label.yaml", "--no-notes"]);
    let drawn = text(&output);
    assert_eq!(output.status.code(), Some(3), "{drawn}");
    assert!(
        drawn.contains("error[GS711]") && drawn.contains("matches no series"),
        "{drawn}"
    );
}

/// A source of a configuration; `more` are further fields of its server.
fn source(name: &str, url: &str, more: &str) -> String {
    format!("  {name}:\n    prometheus: {{ url: '{url}'{more} }}\n    timeout: 4s\n")
}

/// What is told of the sources that answer as no source should.
const TOLD: [(&str, &str); 15] = [
    ("GS703", "source `refuses`: it answered 401"),
    ("GS703", "holds the password of `gpuscale`"),
    ("GS703", "/nowhere/token cannot be read"),
    ("GS703", "Monitoring Data Reader"),
    ("GS704", "`html`: this is no answer of the query API"),
    ("GS704", "/select/0/prometheus"),
    ("GS704", "`missing`: it answered 404"),
    ("GS704", "`moved`: it answered 302"),
    ("GS705", "`busy`: it answered 429"),
    ("GS706", "store s7 is down"),
    ("GS708", "the clock of source `late`"),
    ("GS709", "`broken`: it answered 500"),
    ("GS702", "source `silent`"),
    ("GS701", "source `closed`"),
    ("GS710", "source `nodes`"),
];

/// The same findings for people.
fn are_drawn(folder: &Path) {
    let output = run(folder, &["--live"]);
    assert_eq!(output.status.code(), Some(3));
    let drawn = text(&output);
    let codes: BTreeSet<&str> = drawn
        .split(&['[', ']'][..])
        .filter(|word| word.starts_with("GS7"))
        .collect();
    assert!(codes.len() >= 9, "{drawn}");
}

#[test]
fn every_source_is_told_whatever_the_others_do() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("token", CANARY);
    write("password", CANARY);
    let echo = format!("you said Authorization: Bearer {CANARY} and that is wrong");
    let refuses = Hostile::saying(response("401 Unauthorized", "", &echo));
    let basic = "Basic Z3B1c2NhbGU6Y2FuYXJ5LTRmMWQtdG9rZW4= is not known";
    let forbids = Hostile::saying(response("403 Forbidden", "", basic));
    let page = "<!doctype html><html><title>Mimir</title></html>";
    let html = Hostile::saying(response("200 OK", "Content-Type: text/html\r\n", page));
    let missing = Hostile::saying(response("404 Not Found", "", "404 page not found"));
    let moved = Hostile::saying(response(
        "302 Found",
        "Location: https://login.example.com/\r\n",
        "",
    ));
    let busy = Hostile::saying(response("429 Too Many Requests", "Retry-After: 30\r\n", ""));
    let broken = Hostile::saying(response("500 Internal Server Error", "", "it is broken"));
    let empty =
        r#"{"status":"success","warnings":["store s7 is down"],"data":{"resultType":"matrix","result":[]}}"#;
    let late = Hostile::saying(response(
        "200 OK",
        "Date: Sun, 22 Nov 2020 22:00:00 GMT\r\n",
        empty,
    ));
    // Accepts and never says a word: the system takes the connection, and nobody reads from it.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_at = silent.local_addr().unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let closed_at = closed.local_addr().unwrap();
    drop(closed);
    let token = folder.path().join("token").display().to_string();
    let password = folder.path().join("password").display().to_string();
    let config = [
        "metricsSources:\n".to_owned(),
        source("refuses", &refuses.url(), &format!(", bearerTokenFile: {token}")),
        source(
            "forbids",
            &forbids.url(),
            &format!(", basicAuth: {{ username: gpuscale, passwordFile: {password} }}"),
        ),
        source("lost", &refuses.url(), ", bearerTokenFile: /nowhere/token"),
        source("html", &format!("http://{}", html.at), ""),
        source("missing", &missing.url(), ""),
        source("moved", &moved.url(), ""),
        source("busy", &busy.url(), ""),
        source("broken", &broken.url(), ""),
        source("late", &late.url(), ""),
        source("silent", &format!("http://{silent_at}"), ""),
        source("closed", &format!("http://{closed_at}"), ""),
        "  azure: { azureManagedPrometheus: { endpoint: 'https://w.eastus.prometheus.monitor.azure.com' } }\n".to_owned(),
        "  nodes: { dcgm: { nodes: {} } }\n".to_owned(),
    ]
    .concat();
    write("gpuscale.yaml", &config);
    let util = "dcgm: { metric: GpuUtilization }";
    write("late.yaml", &policy("late", "late", util, ""));
    write("broken.yaml", &policy("broken", "broken", util, ""));
    let found = Found::run(folder.path(), &["late.yaml", "broken.yaml"]);
    for (code, words) in TOLD {
        found.one(code, words);
    }
    assert_eq!(found.live("gpuscale.yaml").len(), 14, "{:#}", found.0);
    // The policy of a source that answers is judged, and that of one that does not is told by its source.
    assert_eq!(found.live("late.yaml"), ["GS706", "GS711"], "{:#}", found.0);
    assert_eq!(found.live("broken.yaml"), [""; 0]);
    // The token went where it should.
    let heard = refuses.heard.lock().unwrap();
    assert!(heard.iter().any(|heard| heard.head.contains(CANARY)));
    drop(heard);

    are_drawn(folder.path());
}

#[test]
fn nobody_is_asked_without_the_flag_or_for_settings_that_are_wrong() {
    let folder = tempfile::tempdir().unwrap();
    let server = Hostile::saying(response("200 OK", "", hostile::GOOD));
    let write = |more: &str| {
        let config = format!(
            "metricsSources: {{ default: {{ prometheus: {{ url: '{}' }}{more} }} }}\n",
            server.url()
        );
        fs::write(folder.path().join("gpuscale.yaml"), config).unwrap();
    };
    write("");
    assert_eq!(run(folder.path(), &[]).status.code(), Some(0));
    write(", limits: { series: 0 }");
    assert_eq!(run(folder.path(), &["--live"]).status.code(), Some(3));
    fs::write(
        folder.path().join("gpuscale.yaml"),
        "metricsSources: { default: { url: x } }\n",
    )
    .unwrap();
    assert_eq!(run(folder.path(), &["--live"]).status.code(), Some(3));
    assert_eq!(server.requests.load(Ordering::SeqCst), 0);
    write("");
    assert_eq!(run(folder.path(), &["--live"]).status.code(), Some(0));
    assert!(server.requests.load(Ordering::SeqCst) > 0);

    let without = Command::new(env!("CARGO_BIN_EXE_gpuscale"))
        .args(["check", "--live"])
        .output()
        .unwrap();
    assert_eq!(without.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&without.stderr).contains("--config"));
}
