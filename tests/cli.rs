//! The built binary, as people and scripts meet it.

#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a fault of a fixture may end it at once"
)]

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

const HOUR: &str = "simulations/azure-llm-hour";
const AZURE: &str = "simulations/recordings/azllm23_conv.csv.gz";

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gpuscale"));
    command
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(arguments)
        .env_remove("COLUMNS")
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE");
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Standard output of a run that must succeed.
fn stdout(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&stdout(arguments)).unwrap()
}

/// A file of a test's own, in the build's directory for such files.
fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    path
}

#[test]
fn the_scorecard_of_a_scenario() {
    for width in ["80", "120"] {
        let table = stdout(&["simulate", "simulations/helios-cluster", "--width", width]);
        let widest = table.lines().map(|line| line.chars().count()).max();
        assert!(widest <= width.parse().ok(), "{table}");
        insta::assert_snapshot!(format!("scorecard_{width}"), table);
    }
}

#[test]
fn a_sweep_has_a_spread_and_is_the_same_every_time() {
    let arguments = [
        "simulate",
        "simulations/bad-month",
        "--seeds",
        "0..6",
        "--format",
        "json",
    ];
    let first = stdout(&arguments);
    for threads in ["1", "2", "5"] {
        let again = command(&arguments)
            .env("RAYON_NUM_THREADS", threads)
            .output()
            .unwrap();
        assert_eq!(first, text(&again.stdout), "with {threads} threads");
    }
    let document: Value = serde_json::from_str(&first).unwrap();
    let policy = &document["rows"][0];
    assert_eq!(policy["spread"]["runs"], 6);
    let at = |part: &Value| part["node_hours"].as_f64().unwrap();
    assert!(
        at(&policy["spread"]["p5"]) < at(&policy["spread"]["p95"]),
        "{policy}"
    );
    assert!(
        document["rows"][1].get("spread").is_none(),
        "nothing is drawn for an optimum"
    );
}

#[test]
fn several_scenarios_and_policies_make_one_document() {
    let document = json(&[
        "simulate",
        HOUR,
        "simulations/helios-cluster",
        "--policy",
        "default",
        "--policy",
        "simulations/helios-cluster/policy.yaml",
        "--format",
        "json",
    ]);
    let names: Vec<_> = document["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|result| result["scenario"]["name"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        ["azure-llm-hour", "helios-cluster"],
        "in the order of the arguments"
    );
    let over_all = &document["over_all"][0];
    assert_eq!(
        (&over_all["name"], &over_all["spread"]["runs"]),
        (&"gpuscale-default".into(), &2.into())
    );
}

#[test]
fn the_json_has_the_documented_keys() {
    let document = json(&["simulate", HOUR, "--format", "json"]);
    assert_eq!(document["schema_version"], 1);
    let readme =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("simulations/README.md")).unwrap();
    let documented =
        |key: &str| readme.contains(&format!("`{key}`")) || readme.contains(&format!("`.{key}`"));
    for key in document["scenario"].as_object().unwrap().keys() {
        assert!(
            documented(key) || documented(&format!("scenario.{key}")),
            "`scenario.{key}` is not in simulations/README.md"
        );
    }
    let row = document["rows"][0].as_object().unwrap();
    for (key, value) in row {
        let keys = match value.as_object() {
            Some(nested) => nested.keys().map(|inner| format!("{key}.{inner}")).collect(),
            None => vec![key.clone()],
        };
        for key in keys {
            assert!(
                documented(&key) || documented(&format!("rows[].{key}")),
                "`{key}` is not in simulations/README.md"
            );
        }
    }
    let kinds: Vec<_> = document["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            format!(
                "{}: {}",
                row["kind"].as_str().unwrap(),
                row["name"].as_str().unwrap()
            )
        })
        .collect();
    insta::assert_yaml_snapshot!("rows_of_a_scenario", kinds);
}

#[test]
fn flags_alone_judge_the_shipped_defaults() {
    let document = json(&[
        "simulate",
        "--recording",
        AZURE,
        "--gpus-per-node",
        "4",
        "--price",
        "14.692",
        "--initial-nodes",
        "2",
        "--format",
        "json",
    ]);
    let scenario = &document["scenario"];
    assert_eq!(
        (&scenario["max_nodes"], &scenario["initial_nodes"]),
        (&13.into(), &2.into())
    );
    assert_eq!(scenario["price_usd_per_node_hour"], 14.692);
    let policy = &document["rows"][0];
    assert_eq!(policy["name"], "gpuscale-default");
    assert!(policy["cost_usd"].as_f64() > Some(0.0));
    let without_price = json(&[
        "simulate",
        "--recording",
        AZURE,
        "--gpus-per-node",
        "4",
        "--format",
        "json",
    ]);
    assert!(
        without_price["rows"][0]["cost_usd"].is_null(),
        "unknown is not zero"
    );
}

#[test]
fn a_traced_run_is_the_same_run() {
    let plain = json(&["simulate", HOUR, "--format", "json"]);
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trace.jsonl");
    let traced = json(&[
        "simulate",
        HOUR,
        "--format",
        "json",
        "--trace",
        path.to_str().unwrap(),
    ]);
    assert_eq!(plain, traced);
    let lines: Vec<Value> = fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let (end, decisions) = lines.split_last().unwrap();
    assert_eq!(end["end"], true);
    assert_eq!(end["ticks"], decisions.len());
    assert_eq!(end["checksum"], plain["rows"][0]["checksum"]);
    let changes = decisions.iter().filter(|line| line["from"] != line["to"]).count();
    assert_eq!(
        plain["rows"][0]["resizes"], changes,
        "the scorecard counts what the trace shows"
    );
    assert_eq!(decisions[0]["time"], "2023-11-16T18:15:45Z");
    assert_eq!(decisions[0]["signals"][0]["name"], "gpu");
}

#[test]
fn a_trace_on_standard_output_has_it_for_itself() {
    let output = run(&["simulate", HOUR, "--trace", "-"]);
    let lines = text(&output.stdout);
    assert!(
        lines
            .lines()
            .all(|line| serde_json::from_str::<Value>(line).is_ok())
    );
    assert!(text(&output.stderr).contains("zero-miss optimum"));
}

#[test]
fn gates_end_with_three_and_say_which_row_failed() {
    let check = |gates: &[&str], code: i32, expected: &str| {
        let mut arguments = vec!["simulate", HOUR];
        arguments.extend(gates.iter().flat_map(|gate| ["--fail-if", gate]));
        let output = run(&arguments);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{gates:?}: {errors}");
        assert!(errors.contains(expected), "{gates:?}: {errors}");
        if code != 2 {
            assert!(
                text(&output.stdout).contains("zero-miss optimum"),
                "the scorecard is printed first"
            );
        }
    };
    check(&["busy_nodes_taken > 0", "miss_percent > 90"], 0, "");
    check(
        &["miss_percent > 0.5", "regret_hard.p10 > 100"],
        3,
        "gate failed: `seventy-for-ten-minutes` fails `miss_percent > 0.5`: miss_percent is 32.1",
    );
    check(
        &["node_hours < 5", "miss_percent >= 5"],
        3,
        "fails `node_hours < 5`",
    );
    check(
        &["missed > 5"],
        2,
        "no figure `missed` in `missed > 5`; the figures are `node_hours`, ",
    );
    check(&["miss_percent ~ 5"], 2, "write KEY OP NUMBER");
}

#[test]
fn a_comparison_shows_what_changed() {
    let before = file(
        "before.json",
        stdout(&["simulate", HOUR, "--format", "json"]).as_bytes(),
    );
    let before = before.to_str().unwrap();
    let same = stdout(&["simulate", HOUR, "--compare", before]);
    assert!(
        same.contains("Against `azure-llm-hour`") && !same.contains("not the same inputs"),
        "{same}"
    );
    let arguments = [
        "simulate",
        HOUR,
        "--policy",
        "default",
        "--boot-delay",
        "4m",
        "--compare",
        before,
    ];
    let other = stdout(&arguments);
    assert!(
        other.contains("seventy-for-ten-minutes → gpuscale-default"),
        "{other}"
    );
    assert!(
        other.contains("not the same inputs: boot delay differ"),
        "{other}"
    );
    let document = json(&[&arguments[..], &["--format", "json"]].concat());
    assert_eq!(
        document["compared_with"]["differing_inputs"],
        serde_json::json!(["boot delay"])
    );
    let change = &document["compared_with"]["changes"][0]["figures"][0];
    assert_eq!(
        (&change["key"], &change["after"]),
        (&"node_hours".into(), &document["rows"][0]["node_hours"])
    );
}

#[test]
fn the_optimum_of_a_recording() {
    let document = json(&[
        "optimum",
        "--recording",
        AZURE,
        "--gpus-per-node",
        "4",
        "--format",
        "json",
    ]);
    let names: Vec<_> = document["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| &row["name"])
        .collect();
    assert_eq!(
        names,
        [
            "zero-miss optimum",
            "soft optimum p=10",
            "optimum at 70 %",
            "optimum at 80 %",
            "optimum at 90 %"
        ]
    );
    assert_eq!(document["rows"][0]["node_hours"], 4.3);
    assert_eq!(document["rows"][0]["regret_hard"]["p10"], 1.0);
    assert!(stdout(&["optimum", "--recording", AZURE]).contains("zero-miss optimum"));
}

#[test]
fn a_suite_is_judged_against_its_bars() {
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join(AZURE);
    let suite = |bar: &str| {
        let yaml = format!(
            "name: one\nbootDelay: 8m\ninterval: 15s\nbars: {{ regretHard: {{ p10: {bar}, p50: 99, p100: 99 }} }}\n\
             traces: [ {{ recording: {}, gpusPerNode: 4 }} ]\n",
            recording.display()
        );
        file(&format!("suite-{bar}.yaml"), yaml.as_bytes())
    };
    let (low, high) = (suite("1.01"), suite("9"));
    let document = json(&[
        "quality",
        high.to_str().unwrap(),
        "--enforce-bars",
        "--format",
        "json",
    ]);
    assert_eq!(document["traces"].as_array().unwrap().len(), 1);
    assert_eq!(
        document["policy_means"]["regret_hard_p10"], document["traces"][0]["rows"][0]["regret_hard"]["p10"],
        "the mean of one is itself"
    );
    let output = run(&[
        "quality",
        low.to_str().unwrap(),
        "--enforce-bars",
        "--width",
        "300",
    ]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("gate failed: `gpuscale-default` has regret_hard"));
    assert!(text(&output.stdout).contains("bars 1.01 / 99.00 / 99.00"));
}

#[test]
fn the_definition_is_printed() {
    let printed = stdout(&["crd"]);
    assert!(
        printed == gpuscale::api::crd_yaml().unwrap(),
        "{} bytes",
        printed.len()
    );
}

#[test]
fn no_terminal_codes_where_they_are_not_wanted() {
    let escape = 0x1b;
    let arguments = ["simulate", HOUR];
    let forced = command(&arguments).env("CLICOLOR_FORCE", "1").output().unwrap();
    assert!(forced.stdout.contains(&escape), "a terminal gets bold policies");
    let output = command(&arguments)
        .env("CLICOLOR_FORCE", "1")
        .env("NO_COLOR", "1")
        .output()
        .unwrap();
    assert!(!output.stdout.contains(&escape) && !output.stderr.contains(&escape));
    let piped = run(&arguments);
    assert!(!piped.stdout.contains(&escape));
}

#[test]
fn a_reader_that_leaves_ends_the_command_quietly() {
    let mut child = command(&["simulate", "simulations/helios-cluster", "--trace", "-"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut some = [0; 100];
    child.stdout.take().unwrap().read_exact(&mut some).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = text(&output.stderr);
    assert!(output.status.success(), "{:?}: {errors}", output.status);
    assert!(
        !errors.contains("panicked") && !errors.contains("error"),
        "{errors}"
    );
}

#[test]
fn help_teaches() {
    for (arguments, expected) in [
        (vec!["--help"], "Exit codes:"),
        (vec!["simulate", "--help"], "--fail-if 'miss_percent > 0.5'"),
        (vec!["optimum", "--help"], "No policy can be cheaper"),
        (vec!["quality", "--help"], "twice what the peak needs"),
    ] {
        let help = stdout(&arguments).replace('\n', " ");
        assert!(help.contains(expected), "{arguments:?}: {help}");
    }
}

/// A scenario directory of a test's own, with these lines after its name.
fn scenario(name: &str, lines: &str) -> String {
    let yaml = format!("name: {name}\n{lines}\n");
    let path = file(&format!("{name}/scenario.yaml"), yaml.as_bytes());
    path.parent().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_decision_is_put_into_words() {
    let words = stdout(&["simulate", HOUR, "--explain", "2023-11-16T18:40:00Z"]);
    assert!(words.starts_with("2023-11-16T18:40:00Z: "), "{words}");
    assert!(
        words.contains("signal `gpu` sees ") && words.contains("`Wish` "),
        "{words}"
    );
}

/// Every bad input ends with 2 and says what, where and what to do.
#[test]
#[expect(clippy::too_many_lines, reason = "a table reads best as one")]
fn bad_inputs_are_refused() {
    let check = |arguments: &[&str], expected: &[&str]| {
        let output = run(arguments);
        let errors = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {errors}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        for part in expected {
            assert!(errors.contains(part), "{arguments:?} lacks {part:?}: {errors}");
        }
    };
    let recording = Path::new(env!("CARGO_MANIFEST_DIR")).join(AZURE);
    let good = format!("recording: {}\ngpusPerNode: 4", recording.display());
    let least = "apiVersion: gpuscale.dev/v1alpha1\nkind: GpuScalePolicy\nmetadata: { name: p }\nspec:\n  \
                 targetRef: { kind: AksNodePool, name: a }\n  maxNodes: 4\n";
    let signal = "  signals: [ { name: gpu, dcgm: { metric: GpuUtilization } } ]\n";

    check(
        &["simulate", "no/such/place"],
        &["cannot read scenario `no/such/place`", "No such file"],
    );
    check(
        &[
            "simulate",
            &scenario("unknown-field", &format!("{good}\nbootDelai: 8m")),
        ],
        &[
            "cannot use scenario `",
            "line 4, column 1: unknown field `bootDelai`",
        ],
    );
    check(
        &[
            "simulate",
            &scenario("no-recording", "recording: gone.csv\ngpusPerNode: 4"),
        ],
        &["cannot read recording `", "gone.csv", "No such file"],
    );
    check(
        &[
            "simulate",
            &scenario(
                "late-fault",
                &format!("{good}\nfaults: [ {{ at: 5h, nodeLoss: 1 }} ]"),
            ),
        ],
        &["`faults`: one begins 300 minutes after the start of a recording of 58 minutes"],
    );
    check(
        &[
            "simulate",
            &scenario("two-shapes", &format!("{good}\nvmSize: Standard_ND96asr_v4")),
        ],
        &["line 3: `gpusPerNode`: is 4, but a Standard_ND96asr_v4 has 8"],
    );
    check(
        &[
            "simulate",
            &scenario(
                "inline",
                &format!("{good}\npolicy: {{ kind: Pod, apiVersion: v1 }}"),
            ),
        ],
        &["cannot use policy in `", "this is apiVersion v1, kind Pod"],
    );
    let cut = file("cut.csv.gz", &fs::read(&recording).unwrap()[..700]);
    check(
        &["simulate", "--recording", cut.to_str().unwrap()],
        &[
            "cannot use recording `",
            "the gzip data ends early",
            "fetch it again",
        ],
    );
    let unsorted = "timestamp,series,value,unit\n1700000060,a,1,gpus\n1700000000,a,1,gpus\n";
    let unsorted = file("unsorted.csv", unsorted.as_bytes());
    check(
        &["optimum", "--recording", unsorted.to_str().unwrap()],
        &["line 3: series `a` goes back in time", "sort the rows by time"],
    );
    check(
        &[
            "simulate",
            "--recording",
            "simulations/recordings/helios_earth_vcs.csv.gz",
        ],
        &["the recording has several series; name one of: earth_vc3sl, "],
    );
    check(
        &["simulate", "--recording", AZURE, "--series", "b"],
        &["no series `b` in the recording; it has: azllm23_conv"],
    );
    check(
        &["simulate", "--recording", AZURE, "--scale", "-2"],
        &["cannot scale demand by `-2`"],
    );
    check(
        &["simulate", "--recording", AZURE, "--boot-delay", "8"],
        &["has no unit; write for example `8s` or `8m`"],
    );
    check(
        &["simulate", "--recording", AZURE, "--gpus-per-node", "0"],
        &["`gpusPerNode`: must be from 1 to 64, is 0"],
    );
    check(
        &["simulate", "--recording", AZURE, "--price", "-1"],
        &["`-1` is not a price of a node-hour"],
    );
    check(&["simulate", HOUR, "--seeds", "5..5"], &["write FIRST..LAST"]);
    check(
        &["simulate", HOUR, "--policy", "gone.yaml"],
        &["cannot read policy `gone.yaml`"],
    );
    let policy = file(
        "broken.yaml",
        format!("{least}{signal}  minNodes: 9\n").as_bytes(),
    );
    check(
        &["simulate", HOUR, "--policy", policy.to_str().unwrap()],
        &["cannot use policy `", "line ", "minNodes"],
    );
    let policy = file("typo.yaml", format!("{least}{signal}  minNodse: 2\n").as_bytes());
    check(
        &["simulate", HOUR, "--policy", policy.to_str().unwrap()],
        &["did you mean `minNodes`?"],
    );
    check(
        &["simulate", HOUR, "--trace", "-", "--seeds", "0..3"],
        &["`--trace` is of one run"],
    );
    check(
        &["simulate", HOUR, "--trace", "/no/such/dir/t"],
        &["cannot write trace `/no/such/dir/t`"],
    );
    let saved = file("saved.json", b"{\"schema_version\": 1}");
    check(
        &["simulate", HOUR, "--compare", saved.to_str().unwrap()],
        &["cannot compare with `", "missing field `scenario`"],
    );
    check(
        &["simulate", HOUR, "--explain", "2030-01-01T00:00:00Z"],
        &["no decision at or after 2030"],
    );
    check(&["simulate"], &["--recording"]);
    check(
        &["simulate", HOUR, "--recording", AZURE],
        &["cannot be used with"],
    );
    check(&["quality", "gone.yaml"], &["cannot read suite `gone.yaml`"]);
}

/// What the README shows, command by command, is what the commands print.
#[test]
fn the_readme_shows_what_its_commands_print() {
    let readme = include_str!("../README.md");
    let printed = |arguments: &[&str]| -> Vec<String> {
        stdout(arguments)
            .trim_end()
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    };
    let scorecard = printed(&["simulate", "simulations/helios-cluster"]).join("\n");
    assert!(
        readme.contains(&scorecard),
        "the README shows another scorecard than:\n{scorecard}"
    );
    let quality = printed(&["quality"]);
    let last = quality.rsplit(String::is_empty).next().unwrap().join("\n");
    assert!(
        readme.contains(&last),
        "the README shows other figures than:\n{last}"
    );
}

#[test]
fn the_readmes_policy_is_a_policy() {
    let readme = include_str!("../README.md");
    let yaml = readme
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    gpuscale::api::compile(&gpuscale::api::validate(yaml).unwrap()).unwrap();
}
