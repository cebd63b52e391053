//! `gpuscale check` on every fixture, as people see it, and the guide to its codes.
//!
//! Each snapshot is what a person who wrote that file reads. After a change of words: `INSTA_UPDATE=always
//! cargo test
//! --test check`, and read the differences as that person.

#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a fault of a fixture may end it at once"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use gpuscale::check::{Alone, Finding, codes, codes::Severity, guide};
use serde_json::Value;

/// The YAML files of a fixture folder, in order.
fn fixtures(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new("tests/fixtures").join(folder);
    let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    files
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gpuscale"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .arg("check")
        .args(arguments)
        .env_remove("COLUMNS")
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Draws the findings of every file of a folder, one snapshot for each, and gives back the exit codes.
fn snapshots(folder: &str, arguments: &[&str]) -> Vec<(PathBuf, Option<i32>)> {
    let files = fixtures(folder);
    assert!(!files.is_empty(), "{folder}");
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(true);
    settings.set_omit_expression(true);
    settings.bind(|| {
        let check = |file: PathBuf| {
            let path = file.to_str().unwrap();
            let output = run(&[&["--width", "100", path], arguments].concat());
            assert_eq!(text(&output.stderr), "", "{path}");
            let name = format!("{folder}_{}", file.file_stem().unwrap().to_str().unwrap());
            insta::assert_snapshot!(name, text(&output.stdout));
            let code = output.status.code();
            (file, code)
        };
        files.into_iter().map(check).collect()
    })
}

fn first_line(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    text.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn every_broken_policy_is_drawn() {
    for (file, code) in snapshots("broken", &[]) {
        assert_eq!(code, Some(3), "{}", file.display());
    }
}

#[test]
fn every_ill_advised_policy_is_drawn() {
    for (file, code) in snapshots("linted", &[]) {
        assert!(
            first_line(&file).starts_with("# "),
            "{} does not say why",
            file.display()
        );
        assert!(matches!(code, Some(0 | 3)), "{}", file.display());
    }
}

#[test]
fn every_broken_scenario_is_drawn() {
    let files = snapshots("broken_scenarios", &[]);
    assert!(files.len() >= 15);
    for (file, code) in files {
        assert!(
            first_line(&file).starts_with("# "),
            "{} does not say why",
            file.display()
        );
        assert!(matches!(code, Some(0 | 3)), "{}", file.display());
    }
}

#[test]
fn every_configuration_is_drawn() {
    let codes: Vec<_> = snapshots("configs", &["--config", "tests/fixtures/configs/01-good.yaml"])
        .into_iter()
        .map(|(_, code)| code)
        .collect();
    assert_eq!(codes[0], Some(0), "the first one is right");
    assert!(codes[1..].iter().all(|code| *code == Some(3)), "{codes:?}");
}

/// Findings about the shipped policies and scenarios must be right; these are, and no other is a warning or
/// error.
const RIGHT: [(&str, &str); 1] = [("tests/fixtures/policies/27-forecast.yaml", "GS202")];

#[test]
fn what_is_shipped_has_no_wrong_findings() {
    let mut paths: Vec<String> = fixtures("policies")
        .iter()
        .map(|file| file.display().to_string())
        .collect();
    for entry in fs::read_dir("simulations").unwrap() {
        let path = entry.unwrap().path();
        if path.join("scenario.yaml").exists() {
            paths.push(path.display().to_string());
        }
    }
    paths.push("simulations/quality.yaml".to_owned());
    assert!(paths.len() >= 43, "{paths:?}");
    let arguments: Vec<&str> = ["--format", "json"]
        .into_iter()
        .chain(paths.iter().map(String::as_str))
        .collect();
    let output = run(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let grave = document["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["severity"] != "note");
    let grave: Vec<_> = grave
        .map(|f| (f["file"].as_str().unwrap(), f["code"].as_str().unwrap()))
        .collect();
    assert_eq!(grave, RIGHT, "{document:#}");
}

/// A code that nothing has may as well not be there. Those of `--live` need sources, and have tests of their own.
#[test]
fn every_code_is_found_by_a_fixture() {
    let mut found = BTreeSet::new();
    for folder in ["broken", "linted", "broken_scenarios", "configs", "policies"] {
        for file in fixtures(folder) {
            let output = run(&[
                "--format",
                "json",
                "--config",
                "tests/fixtures/configs/01-good.yaml",
                file.to_str().unwrap(),
            ]);
            let document: Value = serde_json::from_slice(&output.stdout).unwrap();
            let codes = document["findings"].as_array().unwrap().iter();
            found.extend(codes.map(|finding| finding["code"].as_str().unwrap().to_owned()));
        }
    }
    let missing: Vec<_> = codes::all()
        .map(|e| e.code)
        .filter(|code| !found.contains(*code) && !code.starts_with("GS7"))
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn the_guide_is_the_table() {
    let generated = guide::markdown();
    if std::env::var_os("UPDATE_GUIDE").is_some() {
        fs::write(guide::PATH, &generated).unwrap();
    }
    let committed = fs::read_to_string(guide::PATH).unwrap_or_default();
    assert_eq!(
        committed,
        generated,
        "regenerate it: gpuscale check --codes > {}",
        guide::PATH
    );
    assert_eq!(text(&run(&["--codes"]).stdout), generated);
    let section = text(&run(&["--explain", "gs301"]).stdout);
    assert!(generated.contains(&section), "{section}");
    let unknown = run(&["--explain", "GS999"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(text(&unknown.stderr).contains("there is no code `GS999`"));
}

#[test]
fn exit_codes_tell_findings_from_files_that_cannot_be_read() {
    let code = |arguments: &[&str]| run(arguments).status.code();
    let warned = "tests/fixtures/linted/01-above-a-hundred.yaml";
    assert_eq!(code(&["tests/fixtures/policies/02-least.yaml"]), Some(0));
    assert_eq!(code(&[warned]), Some(0));
    assert_eq!(code(&[warned, "--deny", "warnings"]), Some(3));
    assert_eq!(
        code(&["tests/fixtures/linted/12-fixed-size.yaml", "--deny", "warnings"]),
        Some(0)
    );
    assert_eq!(code(&["tests/fixtures/broken/01-min-above-max.yaml"]), Some(3));
    assert_eq!(code(&["nowhere.yaml"]), Some(2));
    assert_eq!(
        code(&["simulations/recordings"]),
        Some(2),
        "a directory without a scenario"
    );
    assert_eq!(code(&[]), Some(2));
}

#[test]
fn findings_are_there_for_programs() {
    let output = run(&["--format", "json", "tests/fixtures/linted/14-unclosed.yaml"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (document["errors"].as_u64(), document["notes"].as_u64()),
        (Some(1), Some(0))
    );
    let finding = &document["findings"][0];
    assert_eq!(finding["code"], "GS301");
    assert_eq!(finding["severity"], "error");
    assert_eq!(finding["guide"], "deploy/guide/findings.md#gs301");
    let at = &finding["at"];
    let place = (at["line"].as_u64(), at["column"].as_u64());
    assert_eq!(place, (Some(10), Some(18)));
    let source = fs::read_to_string("tests/fixtures/linted/14-unclosed.yaml").unwrap();
    let bytes = usize::try_from(at["start"].as_u64().unwrap()).unwrap();
    assert_eq!(&source[bytes..=bytes], "(");
}

#[test]
fn standard_input_and_streams_are_read() {
    let good = fs::read_to_string("tests/fixtures/policies/02-least.yaml").unwrap();
    let broken = fs::read_to_string("tests/fixtures/broken/01-min-above-max.yaml").unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_gpuscale"))
        .args(["check", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    write!(stdin, "{good}---\n{broken}").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let line = good.lines().count() + 1 + 8;
    let drawn = text(&output.stdout);
    assert!(drawn.contains(&format!("[<stdin>:{line}:13]")), "{drawn}");
    assert!(drawn.ends_with("1 error in 1 file\n"), "{drawn}");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn notes_can_be_left_out_and_colour_stays_in_the_terminal() {
    let file = "tests/fixtures/policies/13-vllm-queue.yaml";
    assert!(text(&run(&[file]).stdout).contains("note[GS205]"));
    assert_eq!(
        text(&run(&[file, "--no-notes"]).stdout),
        "no findings in 1 file\n"
    );
    assert!(!text(&run(&[file]).stdout).contains('\u{1b}'));
}

/// The same policy checked twice says the same, and checking it takes a fraction of a second.
#[test]
fn checking_is_deterministic() {
    let file = "tests/fixtures/linted/42-only-grows.yaml";
    let source = fs::read_to_string(file).unwrap();
    let findings = || {
        let checked = gpuscale::check::check(file, &source, &Alone, None);
        checked
            .into_iter()
            .flat_map(|file| file.findings)
            .collect::<Vec<Finding>>()
    };
    let first = findings();
    assert_eq!(first, findings());
    assert!(
        first
            .iter()
            .any(|f| f.code() == "GS403" && f.severity() == Severity::Warning),
        "{first:?}"
    );
}
