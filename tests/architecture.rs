//! The rules of the house that a compiler does not check, read off the source.
//!
//! Each rule is a function from text to violations, so that it can be tried on a planted one: a check that cannot
//! fail proves nothing, so [`assert_bites`] runs it on text that breaks the rule before the repository is read.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of tests may fail as tests do"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// Modules that see bytes and values only.
const PURE: [&str; 11] = [
    "src/api",
    "src/check",
    "src/config",
    "src/devices",
    "src/emulator/arm",
    "src/emulator/metrics",
    "src/journal",
    "src/policy",
    "src/recording",
    "src/report",
    "src/simulator",
];

/// Most production lines in a file.
const LONGEST_FILE: usize = 600;

/// Files that may be longer, with the reason. An entry that is no longer needed fails the test.
const LONGER: [(&str, usize, &str); 0] = [];

/// What no pure module may name.
const IMPURE: [(&str, &str); 24] = [
    ("kube::client", "a Kubernetes client"),
    ("kube::Client", "a Kubernetes client"),
    ("kube::Api", "a Kubernetes client"),
    ("kube::api::Api", "a Kubernetes client"),
    ("kube::runtime", "a Kubernetes client"),
    ("kube_runtime", "a Kubernetes client"),
    ("tokio", "an async runtime"),
    ("futures", "an async runtime"),
    ("async fn", "async"),
    (".await", "async"),
    ("reqwest", "HTTP"),
    ("hyper", "HTTP"),
    ("tonic", "gRPC"),
    ("std::fs", "the file system"),
    ("std::env", "the environment"),
    ("std::net", "the network"),
    ("std::process", "processes"),
    ("std::thread", "threads"),
    ("rayon", "threads"),
    ("rand::rng", "unseeded randomness"),
    ("thread_rng", "unseeded randomness"),
    ("tracing", "logging"),
    ("println!", "output"),
    ("log::", "logging"),
];

/// What the engine may not name besides: foreign formats, floats where there must be integers, and maps whose order
/// differs from run to run.
const NOT_IN_THE_ENGINE: [(&str, &str); 7] = [
    ("kube", "Kubernetes types"),
    ("k8s_openapi", "Kubernetes types"),
    ("schemars", "Kubernetes types"),
    ("serde_json", "a foreign format"),
    ("HashMap", "a map without an order"),
    ("HashSet", "a set without an order"),
    ("crate::api", "the policy document"),
];

/// Readings of a clock, or of the zone of the machine.
const CLOCKS: [(&str, &str); 7] = [
    ("SystemTime", "the wall clock"),
    ("time::Instant", "the monotonic clock"),
    ("Timestamp::now", "the wall clock"),
    ("Zoned::now", "the wall clock"),
    ("TimeZone::system", "the machine's time zone"),
    ("thread::sleep", "sleeping"),
    ("Instant::now", "the monotonic clock"),
];

/// Ways to die.
const PANICS: [(&str, &str); 7] = [
    ("unsafe", "unsafe code"),
    (".unwrap()", "a panic"),
    (".expect(", "a panic"),
    ("panic!(", "a panic"),
    ("todo!", "an unwritten part"),
    ("unimplemented!", "an unwritten part"),
    ("dbg!(", "debug output"),
];

/// Names that the top level of the repository may hold. Dotfiles may too.
const TOP_LEVEL: [&str; 17] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "benches",
    "clippy.toml",
    "crds",
    "deny.toml",
    "deploy",
    "rustfmt.toml",
    "simulations",
    "src",
    "tests",
];

/// A source file and its text.
struct Source {
    path: String,
    text: String,
}

fn sources(folder: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut folders = vec![PathBuf::from(folder)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                sources.push(Source {
                    path: path.to_string_lossy().into_owned(),
                    text,
                });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!sources.is_empty(), "{folder} holds no source: has it moved?");
    sources
}

/// Whether a file is all tests: `tests.rs` and `tests/` beside the code that they try.
fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

/// The lines before the first `#[cfg(test)]` that guards a module: what is built for people.
fn production(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let guard = lines.iter().enumerate().position(|(index, line)| {
        let guarded = lines.get(index + 1..).unwrap_or_default().iter();
        let item = guarded
            .map(|line| line.trim())
            .find(|line| !line.starts_with("#["));
        *line == "#[cfg(test)]" && item.is_some_and(|item| item.contains("mod ") && item.ends_with('{'))
    });
    lines[..guard.unwrap_or(lines.len())].to_vec()
}

/// A line without its comment and without what its strings say.
fn code(line: &str) -> String {
    let (mut code, mut quoted, mut escaped) = (String::new(), false, false);
    let mut rest = line.char_indices();
    while let Some((at, c)) = rest.next() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '\'' if !quoted && line[at..].starts_with("'\"'") => drop((rest.next(), rest.next())),
            '"' => quoted = !quoted,
            '/' if !quoted && line[at..].starts_with("//") => break,
            _ if !quoted => code.push(c),
            _ => {}
        }
    }
    code
}

/// Whether `code` names `word`, and not merely a longer word that holds it.
fn names(code: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let (before, after) = (
            code[..at].chars().next_back(),
            code[at + word.len()..].chars().next(),
        );
        let opens = word.starts_with(part_of_word) && before.is_some_and(part_of_word);
        let goes_on = word.ends_with(part_of_word) && after.is_some_and(part_of_word);
        !opens && !goes_on
    })
}

/// Uses such as `use std::{fs, env}` as if they were written one by one.
fn spelled_out(code: &str) -> String {
    let Some((root, group)) = code
        .trim()
        .strip_prefix("use ")
        .and_then(|path| path.split_once("::{"))
    else {
        return code.to_owned();
    };
    let items = group.trim_end_matches(['}', ';', ' ']).split(',');
    let spelled: Vec<String> = items
        .map(|item| format!("use {root}::{};", item.trim()))
        .collect();
    spelled.join(" ")
}

/// Lines of the production part that name one of `words`.
fn naming(source: &Source, words: &[(&str, &str)]) -> Vec<String> {
    let mut violations = Vec::new();
    for (number, line) in (1..).zip(production(&source.text)) {
        let code = spelled_out(&code(line));
        for (word, what) in words.iter().filter(|(word, _)| names(&code, word)) {
            violations.push(format!("{}:{number}: `{word}` ({what})", source.path));
        }
    }
    violations
}

fn naming_in(folders: &[&str], words: &[(&str, &str)]) -> Vec<String> {
    let sources = folders.iter().flat_map(|folder| sources(folder));
    sources
        .filter(|source| !is_test_file(&source.path))
        .flat_map(|source| naming(&source, words))
        .collect()
}

fn assert_none(violations: &[String], what_to_do: &str) {
    assert!(violations.is_empty(), "{what_to_do}:\n{}", violations.join("\n"));
}

/// Runs a check on text that breaks the rule and on text that only seems to.
fn assert_bites(words: &[(&str, &str)], planted: &[&str], innocent: &[&str]) {
    let violations = |line: &str| {
        let source = Source {
            path: "planted.rs".into(),
            text: format!("//! Header.\n\n{line}\n"),
        };
        naming(&source, words)
    };
    for line in planted {
        assert!(!violations(line).is_empty(), "the check lets `{line}` pass");
    }
    for line in innocent {
        assert_eq!(
            violations(line),
            Vec::<String>::new(),
            "the check is wrong about `{line}`"
        );
    }
}

#[test]
fn pure_modules_do_no_io() {
    assert_bites(
        &IMPURE,
        &[
            "use std::fs;",
            "use std::{fmt, env};",
            "let x = std::net::lookup();",
            "async fn f() {}",
            "use tokio::time;",
        ],
        &[
            "// std::fs is not for us",
            "let x = \"std::fs\";",
            "use std::fmt;",
            "use kube::core::cel;",
            "dialog::f();",
        ],
    );
    assert_none(
        &naming_in(&PURE, &IMPURE),
        "take bytes in and give values out, and leave files, sockets and logging to the callers",
    );
}

#[test]
fn the_control_loop_runs_over_ports_alone() {
    let roots: Vec<(&str, &str)> = IMPURE
        .iter()
        .filter(|(name, why)| !why.contains("async") || *name == "tokio")
        .copied()
        .collect();
    assert_bites(
        &roots,
        &["use tokio::time;", "use std::thread;", "reqwest::get(x)"],
        &["use futures_util::future::select;", "async fn f() {}", "x.await"],
    );
    assert_none(
        &naming_in(&["src/control"], &roots),
        "name what is needed of the world as a trait in `ports.rs`",
    );
}

#[test]
fn the_engine_knows_no_foreign_format_and_no_unordered_map() {
    assert_bites(
        &NOT_IN_THE_ENGINE,
        &[
            "use std::collections::HashMap;",
            "use std::collections::{BTreeMap, HashSet};",
            "serde_json::to_string(x)",
        ],
        &["use std::collections::BTreeMap;", "/// As `kube` does."],
    );
    assert_none(
        &naming_in(&["src/policy"], &NOT_IN_THE_ENGINE),
        "convert at the edge, and use BTreeMap or a sorted Vec in the engine",
    );
}

#[test]
fn the_engine_computes_on_integers() {
    let floats = [("f32", "a float"), ("f64", "a float")];
    assert_bites(
        &floats,
        &["fn f(x: f64) {}", "x as f32"],
        &["/// an f64", "let buf64 = 1;"],
    );
    let mut violations = naming_in(&["src/policy"], &floats);
    violations
        .retain(|line| !line.starts_with("src/policy/sample.rs") && !line.starts_with("src/policy/dcgm.rs"));
    assert_none(
        &violations,
        "turn floats into micros with policy::sample::micros before the engine sees them",
    );
}

#[test]
fn only_the_clock_module_reads_a_clock() {
    assert_bites(
        &CLOCKS,
        &[
            "let t = Instant::now();",
            "use std::time::SystemTime;",
            "jiff::Timestamp::now()",
            "use std::time::{Duration, Instant};",
            "fn f(at: std::time::Instant) {}",
        ],
        &[
            "/// An Instant in time.",
            // How the limiter's own clock trait names a reading of ours.
            "type Instant = Nanos;",
            "Timestamp::from_millisecond(1)",
            "Now::at(1)",
        ],
    );
    let mut violations = naming_in(&["src"], &CLOCKS);
    violations.retain(|line| !line.starts_with("src/clock.rs"));
    assert_none(
        &violations,
        "take `now` as an argument; only src/clock.rs reads a clock",
    );
}

#[test]
fn nothing_dies_outside_tests() {
    assert_bites(
        &PANICS,
        &[
            "x.unwrap();",
            "x.expect(\"y\");",
            "panic!(\"no\");",
            "todo!()",
            "unsafe { f() }",
        ],
        &[
            "x.unwrap_or(0);",
            "x.expect_err(1);",
            "// may panic!( here",
            "unsafe_code = 1",
            "s.push(\".unwrap()\");",
        ],
    );
    assert_none(
        &naming_in(&["src"], &PANICS),
        "return an error or a value that says what is missing; the loop must go on",
    );
}

fn too_long(source: &Source, limit: usize) -> Option<String> {
    let lines = production(&source.text).len();
    (lines > limit).then(|| format!("{}: {lines} lines of production code", source.path))
}

#[test]
fn files_are_short_enough_to_read() {
    let planted = |lines: usize| Source {
        path: "planted.rs".into(),
        text: "fn f() {}\n".repeat(lines),
    };
    assert!(too_long(&planted(LONGEST_FILE + 1), LONGEST_FILE).is_some());
    assert!(too_long(&planted(LONGEST_FILE), LONGEST_FILE).is_none());
    let tested = format!(
        "fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{}}}\n",
        "fn t() {}\n".repeat(LONGEST_FILE)
    );
    assert!(
        too_long(
            &Source {
                path: "planted.rs".into(),
                text: tested
            },
            LONGEST_FILE
        )
        .is_none()
    );

    let sources = sources("src");
    let limit = |path: &str| {
        LONGER
            .iter()
            .find(|longer| longer.0 == path)
            .map_or(LONGEST_FILE, |longer| longer.1)
    };
    let production = sources.iter().filter(|source| !is_test_file(&source.path));
    let violations: Vec<String> = production
        .filter_map(|source| too_long(source, limit(&source.path)))
        .collect();
    assert_none(
        &violations,
        "split the file where a reader would pause, or give it an entry with a reason",
    );
    for (path, _, reason) in LONGER {
        let needed = sources
            .iter()
            .any(|source| source.path == path && too_long(source, LONGEST_FILE).is_some());
        assert!(needed, "{path} is short by now: remove its entry ({reason})");
    }
}

fn lacks_header(source: &Source) -> bool {
    !source.text.starts_with("//! ")
}

#[test]
fn every_file_says_what_it_is_for() {
    assert!(lacks_header(&Source {
        path: "planted.rs".into(),
        text: "use std::fmt;\n//! Late.\n".into()
    }));
    assert!(!lacks_header(&Source {
        path: "planted.rs".into(),
        text: "//! Header.\n".into()
    }));
    // `main.rs` is no module: `lib.rs` says what the program is.
    let files = sources("src").into_iter().chain(sources("tests"));
    let files = files.filter(|source| source.path != "src/main.rs" && !is_fixture(&source.path));
    let violations: Vec<String> = files.filter(lacks_header).map(|source| source.path).collect();
    assert_none(
        &violations,
        "begin the file with a `//!` header: what it is for, and what it must not know",
    );
}

fn is_fixture(path: &str) -> bool {
    Path::new(path)
        .components()
        .any(|part| part.as_os_str() == "fixtures")
}

fn strangers<'a>(entries: impl Iterator<Item = &'a str>) -> Vec<String> {
    let known = |name: &str| name.starts_with('.') || name == "target" || TOP_LEVEL.contains(&name);
    entries.filter(|name| !known(name)).map(str::to_owned).collect()
}

#[test]
fn the_top_level_is_tidy() {
    assert_eq!(
        strangers(["src", ".gitignore", "scripts", "notes.txt"].into_iter()),
        ["scripts", "notes.txt"]
    );
    let entries: Vec<String> = fs::read_dir(".")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_none(
        &strangers(entries.iter().map(String::as_str)),
        "move it into one of the known folders; the top level is the table of contents",
    );
}

/// Settings that a file lacks.
fn lacking(text: &str, settings: &[&str]) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    settings
        .iter()
        .filter(|setting| !lines.contains(*setting))
        .map(|&setting| setting.to_owned())
        .collect()
}

#[test]
fn the_lints_are_on() {
    assert_eq!(
        lacking("# missing_docs = \"warn\"\n", &["missing_docs = \"warn\""]),
        ["missing_docs = \"warn\""]
    );
    assert!(lacking("  missing_docs = \"warn\"\n", &["missing_docs = \"warn\""]).is_empty());
    let lints = [
        "unsafe_code = \"forbid\"",
        "missing_docs = \"warn\"",
        "unwrap_used = \"warn\"",
        "panic = \"warn\"",
    ];
    let cargo = fs::read_to_string("Cargo.toml").unwrap();
    assert_none(
        &lacking(&cargo, &lints),
        "put the lint back into [lints] of Cargo.toml",
    );
    let clippy = fs::read_to_string("clippy.toml").unwrap();
    let limit = lacking(&clippy, &["too-many-lines-threshold = 70"]);
    assert_none(&limit, "put the longest function's limit back into clippy.toml");
    for (clock, _) in &CLOCKS[2..4] {
        assert!(
            clippy.contains(clock),
            "put `{clock}` back among the disallowed-methods of clippy.toml"
        );
    }
}
