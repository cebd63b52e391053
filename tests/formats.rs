//! The same samples give the same decisions, byte for byte, whichever format they were read from.
//!
//! One history is written in every format that is read, plain and packed, and shown to the built binary: the trace of
//! every decision has to be the same text, and so has the scorecard of the closed loop.

#![cfg(all(feature = "cli", feature = "parquet"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a fault of a fixture may end it at once"
)]

mod documents;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use documents::{Sample, T0, document, gzip, zstandard};
use gpuscale::recording::{Format, Labels};

/// Ticks of 15 seconds in the history: four hours.
const TICKS: i64 = 960;

const POLICY: &str = "\
apiVersion: gpuscale.dev/v1alpha1
kind: GpuScalePolicy
metadata: { name: both }
spec:
  targetRef: { kind: AksNodePool, name: a100 }
  minNodes: 1
  maxNodes: 8
  signals:
    - name: gpu
      dcgm: { metric: GpuUtilization }
      targetPercentage: 70
      up: { above: 80, for: 5m, rule: Quantile, quantile: 0.9 }
      down: { below: 40, for: 20m, rule: Hold }
    - name: queue
      promql: 'sum(vllm:num_requests_waiting)'
      unit: count
      perNode: 8
  behavior: { scaleDown: { stabilization: 10m, cooldown: 2m } }
";

fn sample(name: &str, labels: &[(&str, &str)], tick: i64, offset_ms: i64, value: f64) -> Sample {
    Sample {
        labels: Labels::new(name, labels.iter().copied()).unwrap(),
        at_ms: T0 + tick * 15_000 + offset_ms,
        value,
    }
}

/// Utilization in whole and in broken percent: a quiet start, a rush, a lull.
fn utilization(node: usize, gpu: usize, tick: i64) -> f64 {
    let noise = (tick * 7919 + i64::try_from(node * 31 + gpu * 17).unwrap()) % 23;
    let level = match tick {
        0..240 => 55,
        240..480 => 88,
        _ => 12,
    };
    let percent = f64::from(i32::try_from((level + noise - 11).clamp(0, 100)).unwrap());
    if gpu == 1 { percent / 3.0 } else { percent }
}

/// Two nodes of two GPUs with their own scrape offsets, a pod that comes and goes, a silent exporter, stale markers, an
/// impossible value, a queue, and what the pool knows of itself.
fn history() -> Vec<Sample> {
    let mut samples = Vec::new();
    for tick in 0..TICKS {
        for (node, name) in ["aks-a100-0", "aks-a100-1"].into_iter().enumerate() {
            let silent = node == 1 && (600..760).contains(&tick);
            let offset_ms = if node == 0 { 0 } else { 4_321 };
            for gpu in 0..2 {
                let (index, uuid) = (gpu.to_string(), format!("GPU-{node}{gpu}"));
                let pod = if (200..500).contains(&tick) { "vllm-0" } else { "" };
                let labels = [
                    ("gpu", index.as_str()),
                    ("UUID", &uuid),
                    ("Hostname", name),
                    ("pod", pod),
                ];
                let metric = "DCGM_FI_DEV_GPU_UTIL";
                if tick == 200 || tick == 500 {
                    // The series under the other name ends.
                    let ended = if tick == 200 { "" } else { "vllm-0" };
                    let labels = [labels[0], labels[1], labels[2], ("pod", ended)];
                    samples.push(sample(metric, &labels, tick, offset_ms, f64::NAN));
                }
                let value = match tick {
                    333 => 9_223_372_036_854_775_794.0,
                    _ => utilization(node, gpu, tick),
                };
                if !silent {
                    samples.push(sample(metric, &labels, tick, offset_ms, value));
                }
            }
            samples.push(sample("gpuscale_node_gpus", &[("node", name)], tick, 0, 2.0));
        }
        let queue = if (250..300).contains(&tick) { 37.0 } else { 0.5 };
        samples.push(sample("gpuscale_signal", &[("signal", "queue")], tick, 0, queue));
        samples.push(sample(
            "gpuscale_pool_nodes_requested",
            &[("pool", "a100")],
            tick,
            0,
            2.0,
        ));
        samples.push(sample(
            "gpuscale_pool_nodes_ready",
            &[("pool", "a100")],
            tick,
            0,
            2.0,
        ));
    }
    samples
}

/// A file of a test's own, in the build's directory for such files.
fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("formats").join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

fn simulate(recording: &Path, policy: &Path, more: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gpuscale"))
        .arg("simulate")
        .arg("--recording")
        .arg(recording)
        .arg("--policy")
        .arg(policy)
        .args(more)
        .output()
        .unwrap();
    let fault = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {fault}", recording.display());
    String::from_utf8(output.stdout).unwrap()
}

/// One history in every format, plain, and packed in both ways.
fn recordings() -> Vec<PathBuf> {
    let samples = history();
    let mut written = Vec::new();
    for format in Format::ALL {
        let bytes = document(format, &samples);
        written.push(file(format.as_str(), &bytes));
        written.push(file(&format!("{format}.gz"), &gzip(&bytes)));
        written.push(file(&format!("{format}.zst"), &zstandard(&bytes)));
    }
    written
}

#[test]
fn every_format_gives_the_same_decisions_byte_for_byte() {
    let policy = file("policy.yaml", POLICY.as_bytes());
    let recordings = recordings();
    let trace = |recording: &Path| simulate(recording, &policy, &["--loop", "open", "--trace", "-"]);
    let first = trace(&recordings[0]);
    let (lines, last) = (first.lines().count(), first.lines().last().unwrap());
    // Decisions are at whole quarters of a minute, and the history begins between two of them.
    assert_eq!(lines, 959 + 1, "{last}");
    // What is compared is worth comparing: it grows, it would shrink, it does not know, and it says so.
    for word in ["RuleMet", "\"NotMet\"", "LowCoverage", "DemandBelowTarget"] {
        assert!(first.contains(word), "no {word} in the trace");
    }
    for recording in &recordings[1..] {
        assert!(
            trace(recording) == first,
            "{} decides otherwise",
            recording.display()
        );
    }
}

#[test]
fn every_format_gives_the_same_scorecard() {
    let policy = file("closed.yaml", POLICY.as_bytes());
    let scorecard = |recording: &Path| {
        let text = simulate(recording, &policy, &["--format", "json"]);
        // The file's name is the one thing that differs.
        text.replace(recording.file_name().unwrap().to_str().unwrap(), "RECORDING")
    };
    let samples = history();
    let name = |format: Format| format!("closed-{format}");
    let first = scorecard(&file(&name(Format::ALL[0]), &document(Format::ALL[0], &samples)));
    assert!(first.contains("derived_from"), "{first}");
    for format in &Format::ALL[1..] {
        let recording = file(&name(*format), &document(*format, &samples));
        assert_eq!(scorecard(&recording), first, "{format}");
    }
}

#[test]
fn one_history_in_several_files_is_one_history() {
    let policy = file("joined.yaml", POLICY.as_bytes());
    let samples = history();
    let whole = file("whole.om", &document(Format::OpenMetrics, &samples));
    let (devices, pool): (Vec<Sample>, Vec<Sample>) = samples
        .into_iter()
        .partition(|sample| sample.labels.name().starts_with("DCGM"));
    let (early, late): (Vec<Sample>, Vec<Sample>) = devices
        .into_iter()
        .partition(|sample| sample.at_ms < T0 + 300 * 15_000);
    let (queue, pool): (Vec<Sample>, Vec<Sample>) = pool
        .into_iter()
        .partition(|sample| sample.labels.name() == "gpuscale_signal");
    let early = file("early.json", &document(Format::QueryJson, &early));
    let late = file("late.json", &document(Format::QueryJson, &late));
    let pool = file("pool.parquet", &document(Format::Parquet, &pool));
    let queue = file("queue.csv", &document(Format::CsvLong, &queue));
    let signal = format!("queue={}", queue.display());
    let open = ["--loop", "open", "--trace", "-"];
    let more = [
        "--recording",
        late.to_str().unwrap(),
        "--recording",
        pool.to_str().unwrap(),
        "--signal",
        &signal,
    ];
    let apart = simulate(&early, &policy, &[&more[..], &open].concat());
    assert!(
        apart == simulate(&whole, &policy, &open),
        "read apart, it decides otherwise"
    );
}
