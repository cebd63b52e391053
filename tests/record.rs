//! `gpuscale record`: the binary against a real Prometheus and a real VictoriaMetrics that hold a known past, and against
//! servers on loopback that fail in the middle.

#![cfg(all(feature = "cli", feature = "source"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test with real servers"
)]

mod backends;
mod hostile;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use gpuscale::recording::{Format, Labels, Metrics, OpenMetrics, ReadOptions, read, unpacked};
use serde_json::Value;
use tempfile::TempDir;

use backends::{Program, find, prometheus, victoria_metrics, wait_for};
use hostile::{Heard, Hostile, response};

/// 2023-11-14T22:13:20.250Z: not on a whole second.
const START_MS: i64 = 1_700_000_000_250;
const STEP_MS: i64 = 15_000;
const SCRAPES: i64 = 720;
/// The range that is recorded: two hours and 40 minutes of the three hours, and its beginning is a scrape.
const FROM_MS: i64 = START_MS + 40 * STEP_MS;
const TO_MS: i64 = START_MS + 680 * STEP_MS;

const CANARY: &str = "canary-77e0-token";

type Truth = BTreeMap<Labels, Vec<(i64, f64)>>;

/// Four GPUs on one node, which is silent for a while.
fn truth() -> Truth {
    let mut truth = Truth::new();
    for gpu in 0..4 {
        for scrape in (0..SCRAPES).filter(|scrape| !(300..360).contains(scrape)) {
            let load = f64::from(u32::try_from((scrape * 7 + gpu * 13) % 101).unwrap());
            let values = [
                ("DCGM_FI_DEV_GPU_UTIL", load),
                ("DCGM_FI_DEV_POWER_USAGE", 60.0 + load * 3.25),
                ("DCGM_FI_DEV_FB_USED", 1000.0),
                ("DCGM_FI_DEV_FB_FREE", 80_000.0),
            ];
            for (metric, value) in values {
                let pairs = [
                    ("gpu", gpu.to_string()),
                    ("UUID", format!("GPU-{gpu}")),
                    ("modelName", "NVIDIA A100-SXM4-80GB".to_owned()),
                    ("Hostname", "aks-gpu-vmss000000".to_owned()),
                    ("pool", "a \"100\"".to_owned()),
                ];
                let series = truth.entry(Labels::new(metric, pairs).unwrap()).or_default();
                series.push((START_MS + scrape * STEP_MS, value));
            }
        }
    }
    truth
}

/// What of it is in the range: its beginning is not, and its end is.
fn inside(truth: &Truth) -> Truth {
    let mut inside = truth.clone();
    for samples in inside.values_mut() {
        samples.retain(|(at_ms, _)| (FROM_MS + 1..=TO_MS).contains(at_ms));
    }
    inside
}

fn open_metrics(truth: &Truth) -> Vec<u8> {
    let mut text = OpenMetrics::new(Vec::new());
    for (labels, samples) in truth {
        text.series(labels, samples).unwrap();
    }
    text.finish().unwrap()
}

fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).unwrap().to_string()
}

const POLICY: &str = "apiVersion: gpuscale.dev/v1alpha1
kind: GpuScalePolicy
metadata: { name: a100 }
spec:
  targetRef: { kind: AksNodePool, name: a100 }
  metricsSource: default
  maxNodes: 8
  signals:
    - { name: gpu, dcgm: { metric: GpuUtilization, matchLabels: { pool: 'a \"100\"' } } }
";

/// A folder with a policy and a configuration whose source is this.
fn folder(source: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("policy.yaml"), POLICY).unwrap();
    fs::write(
        folder.path().join("gpuscale.yaml"),
        format!("metricsSources:\n  default: {source}\n"),
    )
    .unwrap();
    folder
}

fn gpuscale(folder: &Path, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_gpuscale"))
        .current_dir(folder)
        .args(arguments)
        .env_remove("COLUMNS")
        .env_remove("CLICOLOR_FORCE")
        .output()
        .unwrap();
    for bytes in [&output.stdout, &output.stderr] {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains(CANARY), "a secret is shown: {text}");
    }
    output
}

/// Runs `record` with the range that is known.
fn record(folder: &Path, out: &str, more: &[&str]) -> Output {
    let (from, to) = (time(FROM_MS), time(TO_MS));
    let known = ["record", "policy.yaml", "--config", "gpuscale.yaml", "--out", out];
    let range = ["--from", &from, "--to", &to];
    gpuscale(folder, &[&known[..], &range, more].concat())
}

/// Whether it went well; what it said if not.
#[track_caller]
fn done(output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn metrics(path: &Path) -> Metrics {
    let mut text = unpacked(BufReader::new(fs::File::open(path).unwrap())).unwrap();
    read(Format::OpenMetrics, &mut text, &ReadOptions::default()).unwrap()
}

/// What was recorded, without the line that says that it is a recording.
fn recorded(path: &Path) -> Truth {
    let metrics = metrics(path);
    let series = metrics.series().iter();
    let devices = series.filter(|series| series.labels().name() != "gpuscale_recording_info");
    devices
        .map(|series| (series.labels().clone(), series.samples().collect()))
        .collect()
}

/// The address of each backend, holding the truth; nothing where they are left out.
fn holding(truth: &Truth) -> Option<[backends::Server; 2]> {
    let promtool = find(Program::Promtool)?;
    let data = tempfile::tempdir().unwrap();
    let text = data.path().join("recording.om");
    fs::write(&text, open_metrics(truth)).unwrap();
    let create = ["tsdb", "create-blocks-from", "openmetrics"].map(OsStr::new);
    let blocks = data.path().join("data");
    backends::run(
        &promtool,
        create.into_iter().chain([text.as_os_str(), blocks.as_os_str()]),
    );
    let (prometheus, victoria) = (prometheus(data, "")?, victoria_metrics(None)?);
    let mut lines = String::new();
    for (labels, samples) in truth {
        for (at_ms, value) in samples {
            writeln!(lines, "{labels} {value} {at_ms}").unwrap();
        }
    }
    victoria.post("/api/v1/import/prometheus", lines.as_bytes());
    victoria.get("/internal/force_flush", &[]);
    wait_for("the import", || {
        let query = [
            ("query", "count(DCGM_FI_DEV_GPU_UTIL)"),
            ("time", &(START_MS / 1000 + 60).to_string()),
        ];
        let answer = victoria.get("/api/v1/query", &query);
        String::from_utf8(answer).unwrap().contains("\"4\"").then_some(())
    });
    Some([prometheus, victoria])
}

#[test]
fn the_past_of_both_backends_is_recorded_sample_by_sample_however_small_the_slices_are() {
    let truth = truth();
    let Some(servers) = holding(&truth) else { return };
    let wanted = inside(&truth);
    let samples: usize = wanted.values().map(Vec::len).sum();
    for server in &servers {
        let url = server.url("");
        let folder = folder(&format!("{{ prometheus: {{ url: '{url}' }} }}"));
        let said = done(record(folder.path(), "all.om", &[]));
        assert!(
            said.starts_with(&format!("all.om: {samples} samples in ")),
            "{said}"
        );
        assert_eq!(recorded(&folder.path().join("all.om")), wanted);

        // No answer may have more than two minutes of samples now.
        let limited = format!(
            "metricsSources:\n  default: {{ prometheus: {{ url: '{url}' }}, limits: {{ samples: 40 }} }}\n"
        );
        fs::write(folder.path().join("gpuscale.yaml"), limited).unwrap();
        for packed in ["small.om", "small.om.gz", "small.om.zst"] {
            done(record(folder.path(), packed, &[]));
            assert_eq!(recorded(&folder.path().join(packed)), wanted);
        }
        let text = |name: &str| fs::read(folder.path().join(name)).unwrap();
        assert!(
            text("all.om") == text("small.om"),
            "the slices are seen in the text"
        );
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            6,
            "nothing is left beside"
        );
    }
}

#[test]
fn a_recording_is_what_simulate_and_promtool_read() {
    let truth = truth();
    let Some([prometheus, _]) = holding(&truth) else {
        return;
    };
    let folder = folder(&format!("{{ prometheus: {{ url: '{}' }} }}", prometheus.url("")));
    let policy = format!(
        "{POLICY}    - {{ name: busy, promql: 'sum(DCGM_FI_DEV_GPU_UTIL{{pool=~\"a.*\"}})', unit: count, perNode: 100 }}\n    \
         - {{ name: pods, gpuRequests: {{}} }}\n"
    );
    fs::write(folder.path().join("policy.yaml"), policy).unwrap();
    let summary = done(record(
        folder.path(),
        "all.om",
        &["--gpus-per-node", "4", "--format", "json"],
    ));
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["metrics"]["gpuscale_signal"]["series"], 1);
    assert_eq!(summary["metrics"]["DCGM_FI_DEV_GPU_UTIL"]["series"], 4);
    let remarks = summary["remarks"].to_string();
    assert!(remarks.contains("signal `pods` is not recorded"), "{remarks}");
    assert!(
        remarks.contains("the source has no DCGM_FI_DEV_XID_ERRORS"),
        "{remarks}"
    );

    // The expression at one of its steps is what the series were then.
    let all = metrics(&folder.path().join("all.om"));
    let signal = &all.of("gpuscale_signal")[0];
    assert_eq!(signal.labels().get("signal"), Some("busy"));
    let (at_ms, value) = signal.samples().next().unwrap();
    assert_eq!(at_ms % 30_000, 0);
    let newest = |samples: &[(i64, f64)]| samples.iter().rfind(|sample| sample.0 <= at_ms).unwrap().1;
    let of_gpus = truth
        .iter()
        .filter(|(labels, _)| labels.name() == "DCGM_FI_DEV_GPU_UTIL");
    assert!((value - of_gpus.map(|(_, samples)| newest(samples)).sum::<f64>()).abs() < 1e-9);

    let judged = gpuscale(
        folder.path(),
        &[
            "simulate",
            "--loop",
            "open",
            "--recording",
            "all.om",
            "--policy",
            "policy.yaml",
            "--format",
            "json",
        ],
    );
    let judged: Value = serde_json::from_str(&done(judged)).unwrap();
    assert_eq!(judged["history"]["gpus_per_node"], 4);
    assert_eq!(judged["history"]["devices"], 4);

    let blocks = folder.path().join("blocks");
    let create = ["tsdb", "create-blocks-from", "openmetrics"].map(OsStr::new);
    let text = folder.path().join("all.om");
    backends::run(
        &find(Program::Promtool).unwrap(),
        create.into_iter().chain([text.as_os_str(), blocks.as_os_str()]),
    );
    assert!(fs::read_dir(&blocks).unwrap().count() > 0);
}

/// A store that answers a sample for each minute, and may have had enough after so many questions.
fn store(answers: &Arc<AtomicI64>) -> Hostile {
    let left = Arc::clone(answers);
    Hostile::asked(move |heard: &Heard, stream| {
        let said = if left.fetch_sub(1, Ordering::SeqCst) > 0 {
            response("200 OK", "", &minutes(&heard.body))
        } else {
            response("401 Unauthorized", "", &format!("not with {CANARY}"))
        };
        stream.write_all(said.as_bytes())
    })
}

/// The answer to `query=METRIC{…}[60000ms]&time=1700000000.000`: a sample for each minute.
fn minutes(form: &str) -> String {
    samples(form, 60, i64::MAX)
}

/// The same with a sample every so many seconds, and none later than `last`.
fn samples(form: &str, every: i64, last: i64) -> String {
    let part = |start: &str, end: &str| {
        let rest = &form[form.find(start).unwrap() + start.len()..];
        rest[..rest.find(end).unwrap_or(rest.len())].to_owned()
    };
    let metric = part("query=", "%");
    if !form.contains("&time=") || metric.contains("XID") {
        return r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#.to_owned();
    }
    let window: i64 = part("%5B", "ms").parse().unwrap();
    let to: f64 = part("&time=", "&").parse().unwrap();
    #[expect(clippy::cast_possible_truncation, reason = "a time of this century")]
    let to = to as i64;
    let times = (to - window / 1000..=to).filter(|seconds| seconds % every == 0 && *seconds <= last);
    let values: Vec<String> = times
        .map(|seconds| format!("[{seconds},\"5{}\"]", seconds / every % 10))
        .collect();
    if values.is_empty() {
        return r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#.to_owned();
    }
    format!(
        r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{"__name__":"{metric}","gpu":"0","UUID":"GPU-0","Hostname":"n1","modelName":"NVIDIA A100-SXM4-80GB","pool":"a \"100\""}},"values":[{}]}}]}}}}"#,
        values.join(",")
    )
}

#[test]
fn what_was_stopped_goes_on_and_is_the_same_to_the_byte() {
    let answers = Arc::new(AtomicI64::new(i64::MAX));
    let store = store(&answers);
    let source = format!(
        "{{ prometheus: {{ url: '{}', bearerTokenFile: token }} }}",
        store.url()
    );
    let folder = folder(&source);
    let at = |name: &str| folder.path().join(name);
    fs::write(at("token"), CANARY).unwrap();
    done(record(folder.path(), "whole.om", &[]));
    let whole = fs::read(at("whole.om")).unwrap();
    assert!(!String::from_utf8_lossy(&whole).contains(CANARY));

    // Five questions to a slice; the third slice is not reached, and then none of it is.
    for enough in [13, 0] {
        answers.store(enough, Ordering::SeqCst);
        let said = refused(&record(folder.path(), "parts.om", &[]));
        assert!(
            said.contains("401") && said.contains("the same command goes on from here"),
            "{said}"
        );
        assert!(!at("parts.om").exists());
        // The process was killed while it wrote.
        let mut torn = fs::OpenOptions::new()
            .append(true)
            .open(at("parts.om.part"))
            .unwrap();
        torn.write_all(b"DCGM_FI_DEV_GPU_UTIL{gpu=\"0\"} 9").unwrap();
    }
    answers.store(i64::MAX, Ordering::SeqCst);
    let before = store.requests.load(Ordering::SeqCst);
    done(record(folder.path(), "parts.om", &[]));
    assert!(
        store.requests.load(Ordering::SeqCst) - before < 10,
        "what was there is not asked again"
    );
    assert!(fs::read(at("parts.om")).unwrap() == whole);
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 5, "{left:?}");

    // What was begun with another question is not continued.
    answers.store(13, Ordering::SeqCst);
    refused(&record(folder.path(), "other.om", &[]));
    let other = POLICY.replace("GpuUtilization", "GraphicsEngineActive");
    fs::write(at("policy.yaml"), other).unwrap();
    let said = refused(&record(folder.path(), "other.om", &[]));
    assert!(said.contains("`other.om.part` is of another recording"), "{said}");
}

#[test]
fn a_server_that_is_busy_is_waited_for() {
    let asked = AtomicU64::new(0);
    let store = Hostile::asked(move |heard: &Heard, stream| {
        let said = match asked.fetch_add(1, Ordering::SeqCst) {
            2 => response("429 Too Many Requests", "Retry-After: 1\r\n", ""),
            5..=7 => response("503 Service Unavailable", "", "starting"),
            _ => response("200 OK", "", &minutes(&heard.body)),
        };
        stream.write_all(said.as_bytes())
    });
    let folder = folder(&format!("{{ prometheus: {{ url: '{}' }} }}", store.url()));
    let said = done(record(folder.path(), "all.om", &[]));
    assert!(said.starts_with("all.om: 640 samples"), "{said}");
}

#[test]
fn what_cannot_be_recorded_is_refused_with_what_to_do() {
    let answers = Arc::new(AtomicI64::new(i64::MAX));
    let store = store(&answers);
    let folder = folder(&format!("{{ prometheus: {{ url: '{}' }} }}", store.url()));
    let at = |name: &str| folder.path().join(name);
    fs::write(at("there.om"), "").unwrap();
    let said = refused(&record(folder.path(), "there.om", &[]));
    assert!(said.contains("`there.om` is there already"), "{said}");

    let range = |more: &[&str]| {
        let known = [
            "record",
            "policy.yaml",
            "--config",
            "gpuscale.yaml",
            "--out",
            "new.om",
        ];
        refused(&gpuscale(folder.path(), &[&known, more].concat()))
    };
    assert!(range(&[]).contains("--last"), "a range is needed");
    assert!(range(&["--last", "1h", "--for", "1h"]).contains("cannot be used with"));
    let backwards = range(&["--from", "2026-11-20T10:00:00Z", "--to", "2026-11-20T09:00:00Z"]);
    assert!(backwards.contains("is not before"), "{backwards}");
    let ahead = range(&["--from", "2026-11-20T10:00:00Z", "--to", "2126-11-20T09:00:00Z"]);
    assert!(ahead.contains("has not reached `--to 2126"), "{ahead}");

    let config =
        |source: &str| fs::write(at("gpuscale.yaml"), format!("metricsSources:\n  {source}\n")).unwrap();
    config("default: { dcgm: { targets: ['http://127.0.0.1:9/metrics'] } }");
    assert!(range(&["--last", "1h"]).contains("exporters, which have no past"));
    config("other: { prometheus: { url: 'http://127.0.0.1:9' } }");
    assert!(
        range(&["--last", "1h"])
            .contains("source `default`, which `gpuscale.yaml` does not have; it has other")
    );
    config("default: { prometheus: { url: 'ftp://127.0.0.1' } }");
    assert!(range(&["--last", "1h"]).contains("metricsSources.default.prometheus.url"));
    config("default: { prometheus: { url: 'http://127.0.0.1:9' } }");
    assert!(range(&["--last", "1h"]).contains("does not answer"));

    let empty = Hostile::saying(response(
        "200 OK",
        "",
        r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#,
    ));
    config(&format!(
        "default: {{ prometheus: {{ url: '{}' }} }}",
        empty.url()
    ));
    let said = range(&["--last", "10m"]);
    assert!(
        said.contains("nothing was recorded") && said.contains("check --live"),
        "{said}"
    );
    assert!(!at("new.om").exists() && !at("new.om.part").exists());

    let part = Hostile::saying(response(
        "200 OK",
        "",
        r#"{"status":"success","warnings":["store-1 is down"],"data":{"resultType":"matrix","result":[]}}"#,
    ));
    config(&format!("default: {{ prometheus: {{ url: '{}' }} }}", part.url()));
    let said = range(&["--last", "10m"]);
    assert!(said.contains("store-1 is down"), "{said}");
}

/// Exporters have no past: they are watched, and what they said is recorded.
#[test]
fn exporters_are_recorded_as_they_speak() {
    let page = fs::read_to_string("tests/fixtures/dcgm/one-gpu-l40s.prom").unwrap();
    let exporter = Hostile::new(move |stream| stream.write_all(response("200 OK", "", &page).as_bytes()));
    let source = format!(
        "{{ dcgm: {{ targets: ['http://{}/metrics', 'http://127.0.0.1:9/metrics'], interval: 1s }} }}",
        exporter.at
    );
    let folder = folder(&source);
    fs::write(
        folder.path().join("policy.yaml"),
        POLICY.replace(", matchLabels: { pool: 'a \"100\"' }", ""),
    )
    .unwrap();
    let out = ["--for", "4s", "--out", "now.om.zst"];
    let said = done(gpuscale(
        folder.path(),
        &[&["record", "policy.yaml", "--config", "gpuscale.yaml"], &out[..]].concat(),
    ));
    let metrics = metrics(&folder.path().join("now.om.zst"));
    let util = &metrics.of("DCGM_FI_DEV_GPU_UTIL")[0];
    assert!((3..=5).contains(&util.len()), "{said}");
    assert!(
        said.contains("\n  DCGM_FI_DEV_GPU_UTIL         1 series"),
        "{said}"
    );
    assert!(
        said.contains("note: http://127.0.0.1:9/metrics had no page at the end: unreachable"),
        "{said}"
    );
    assert_eq!(
        util.labels().get("instance"),
        Some(exporter.at.to_string().as_str())
    );
}

/// Found by review: a slice was asked for once, five seconds after its end, and Azure's workspaces are further behind.
#[test]
fn a_store_that_shows_samples_late_is_waited_for() {
    let store = Hostile::asked(|heard: &Heard, stream| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let behind = i64::try_from(now.unwrap().as_secs()).unwrap() - 9;
        stream.write_all(response("200 OK", "", &samples(&heard.body, 1, behind)).as_bytes())
    });
    let folder = folder(&format!("{{ prometheus: {{ url: 'http://{}' }} }}", store.at));
    let policy = POLICY.replace(", matchLabels: { pool: 'a \"100\"' }", "");
    let policy = format!("{policy}  dataQuality: {{ scrapeInterval: 1s }}\n");
    fs::write(folder.path().join("policy.yaml"), policy).unwrap();
    let out = ["--for", "4s", "--out", "now.om"];
    let said = done(gpuscale(
        folder.path(),
        &[&["record", "policy.yaml", "--config", "gpuscale.yaml"], &out[..]].concat(),
    ));
    let metrics = metrics(&folder.path().join("now.om"));
    assert_eq!(metrics.of("DCGM_FI_DEV_GPU_UTIL")[0].len(), 4, "{said}");
}

/// Found by review: what exporters had said meanwhile was written down as silence.
#[test]
fn exporters_have_no_past_to_go_on_from() {
    let page = fs::read_to_string("tests/fixtures/dcgm/one-gpu-l40s.prom").unwrap();
    let exporter = Hostile::new(move |stream| stream.write_all(response("200 OK", "", &page).as_bytes()));
    let folder = folder(&format!(
        "{{ dcgm: {{ targets: ['http://{}/metrics'], interval: 1s }} }}",
        exporter.at
    ));
    let policy = POLICY.replace(", matchLabels: { pool: 'a \"100\"' }", "");
    fs::write(folder.path().join("policy.yaml"), policy).unwrap();
    let arguments = [
        "record",
        "policy.yaml",
        "--config",
        "gpuscale.yaml",
        "--for",
        "1m",
        "--out",
        "now.om",
    ];
    let mut process = Command::new(env!("CARGO_BIN_EXE_gpuscale"))
        .args(arguments)
        .current_dir(folder.path())
        .spawn()
        .unwrap();
    let state = folder.path().join("now.om.part.json");
    wait_for("the recording to begin", || state.exists().then_some(()));
    process.kill().unwrap();
    process.wait().unwrap();
    let mut stopped: Value = serde_json::from_slice(&fs::read(&state).unwrap()).unwrap();
    for time in ["from_ms", "to_ms"] {
        let ms = stopped["plan"][time].as_i64().unwrap();
        stopped["plan"][time] = (ms - 60_000).into();
    }
    fs::write(&state, stopped.to_string()).unwrap();
    let said = refused(&gpuscale(folder.path(), &arguments));
    assert!(
        said.contains("what the exporters have said since then is lost"),
        "{said}"
    );
}
