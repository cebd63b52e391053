//! Every shipped scenario against its saved scorecard, digit by digit.
//!
//! A scenario is a whole: recording, policy document, world, engine, report. A change of any figure is a change of
//! behaviour and is to be looked at, so the comparison is exact; reports round their figures, and the engine is
//! deterministic, so it holds on every machine.

#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a fault of a fixture may end it at once"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("simulations")
}

/// Every directory with a `scenario.yaml`, by name.
fn scenarios() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("scenario.yaml").is_file())
        .collect();
    found.sort();
    found
}

fn simulate(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gpuscale"))
        .arg("simulate")
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "simulate {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn every_scenario_gives_its_expected_scorecard() {
    let scenarios = scenarios();
    assert!(scenarios.len() >= 11, "{scenarios:?}");
    let mut changed = Vec::new();
    for directory in scenarios {
        let found = simulate(&[directory.to_str().unwrap(), "--format", "json"]);
        let file = directory.join("expected.json");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&file, &found).unwrap();
        }
        let expected = fs::read_to_string(&file).unwrap_or_default();
        if found != expected {
            changed.push(format!("{}\n{}", file.display(), difference(&expected, &found)));
        }
    }
    assert!(
        changed.is_empty(),
        "scorecards have changed:\n{}\nif that was meant, look at the difference and run\n  \
         UPDATE_EXPECTED=1 cargo test --test simulations",
        changed.join("\n")
    );
}

/// The lines that differ; both documents have one figure a line.
fn difference(expected: &str, found: &str) -> String {
    let (mut old, mut new) = (expected.lines(), found.lines());
    let mut lines = Vec::new();
    loop {
        match (old.next(), new.next()) {
            (None, None) => return lines.join("\n"),
            (old, new) if old == new => {}
            (old, new) => lines.push(format!(
                "  - {}\n  + {}",
                old.unwrap_or("").trim(),
                new.unwrap_or("").trim()
            )),
        }
    }
}

#[test]
fn every_scenario_is_whole() {
    for directory in scenarios() {
        for file in ["scenario.yaml", "policy.yaml", "README.md", "expected.json"] {
            assert!(
                directory.join(file).is_file(),
                "{} has no {file}",
                directory.display()
            );
        }
        let readme = fs::read_to_string(directory.join("README.md")).unwrap();
        assert!(
            readme.contains("Licence of the data:"),
            "{} does not say under which licence its data is",
            directory.display()
        );
    }
}

/// Promise 2, in every world: no busy node is taken. What happened in a recording is driven for it, too.
#[test]
fn no_scenario_takes_a_busy_node() {
    for directory in scenarios() {
        let directory = directory.to_str().unwrap();
        simulate(&[directory, "--loop", "closed", "--fail-if", "busy_nodes_taken > 0"]);
    }
}

/// Promise 1, over every recording of devices: while a signal cannot be judged, no verdict is a smaller pool. Each of
/// these recordings has such a time.
#[test]
fn what_cannot_be_judged_shrinks_nothing() {
    let mut replayed = 0;
    for directory in scenarios() {
        let scenario = fs::read_to_string(directory.join("scenario.yaml")).unwrap();
        if !scenario.contains("\nloop: open") {
            continue;
        }
        let trace = simulate(&[directory.to_str().unwrap(), "--trace", "-"]);
        let mut unknown = 0;
        for line in trace.lines() {
            let tick: serde_json::Value = serde_json::from_str(line).unwrap();
            let judged = |signal: &serde_json::Value| signal["quality"] == "Good";
            let all_judged = tick["signals"]
                .as_array()
                .is_none_or(|all| all.iter().all(judged));
            if !all_judged {
                unknown += 1;
                assert!(
                    tick["to"].as_u64() >= tick["from"].as_u64(),
                    "{}: {line}",
                    directory.display()
                );
            }
        }
        assert!(
            unknown > 0,
            "{} knows everything all the time",
            directory.display()
        );
        replayed += 1;
    }
    assert!(replayed >= 4, "{replayed} recordings of devices");
}
