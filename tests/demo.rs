//! `gpuscale demo` from its start to its scorecard: the binary, its emulated cluster and its loop, over HTTP on loopback.

#![cfg(all(feature = "aks", feature = "cli", feature = "emulator", feature = "serve"))]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a fault of a fixture may end it at once"
)]

use std::fs;
use std::process::Command;

use serde_json::Value;

#[test]
fn the_pool_follows_the_recording_and_shrinks_when_it_falls_silent() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("demo.html");
    let output = Command::new(env!("CARGO_BIN_EXE_gpuscale"))
        .args(["demo", "--speed", "120", "--format", "json", "--report"])
        .arg(&report)
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");

    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let [live, simulated] = [0, 1].map(|row| &document["rows"][row]);
    assert_eq!(live["name"], "demo, this run");
    assert_eq!(simulated["name"], "demo, simulated");
    let figure = |row: &Value, name: &str| row[name].as_f64().unwrap();
    assert!(figure(live, "busy_nodes_taken") == 0.0, "{live}");
    assert!(figure(live, "resizes") >= 3.0, "{live}");
    // What the simulation says of the same policy and hour is what the real loop over real HTTP does.
    let (cost, foretold) = (figure(live, "node_hours"), figure(simulated, "node_hours"));
    assert!(
        (cost / foretold - 1.0).abs() < 0.15,
        "{cost} and {foretold} node-hours\n{told}"
    );
    let (missed, foretold) = (figure(live, "miss_percent"), figure(simulated, "miss_percent"));
    assert!(
        (missed - foretold).abs() < 5.0,
        "{missed} % and {foretold} % missed\n{told}"
    );

    let resizes: Vec<&str> = told
        .lines()
        .filter(|line| line.ends_with(" nodes: accepted"))
        .collect();
    let count = |words: &str| words.parse::<u32>().unwrap();
    let steps = resizes.iter().map(|line| {
        let (from, to) = line.split_once("  ").unwrap().1.split_once(" → ").unwrap();
        (count(from), count(to.split(' ').next().unwrap()))
    });
    let steps: Vec<(u32, u32)> = steps.collect();
    assert!(steps.iter().any(|(from, to)| to > from), "{told}");
    assert_eq!(steps.last().unwrap().1, 1, "it ends with the least\n{told}");
    assert!(steps.iter().all(|(_, to)| (1..=8).contains(to)), "{told}");

    let page = fs::read_to_string(report).unwrap();
    assert!(
        page.contains("demo, this run") && page.contains("as it was"),
        "the page is of this run"
    );
}
