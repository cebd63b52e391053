//! Every shipped policy is valid and compiles, and every broken one is refused with a sentence that a
//! stranger understands.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the helpers of tests may fail as tests do"
)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use gpuscale::api::{self, ApiError, GpuScalePolicy};
use serde_json::Value;

/// The files of a fixture folder, in order.
fn fixtures(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new("tests/fixtures").join(folder);
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

fn stem(file: &Path) -> &str {
    file.file_stem().unwrap().to_str().unwrap()
}

fn valid() -> Vec<(PathBuf, String, GpuScalePolicy)> {
    let read = |file: PathBuf| {
        let text = fs::read_to_string(&file).unwrap();
        let policy = api::validate(&text).unwrap_or_else(|error| panic!("{}:\n{error}", file.display()));
        (file, text, policy)
    };
    fixtures("policies").into_iter().map(read).collect()
}

#[test]
fn there_are_thirty_policies_and_each_says_whose_it_is() {
    let policies = valid();
    assert!(policies.len() >= 30, "{}", policies.len());
    for (file, text, policy) in policies {
        let comment = text.lines().take_while(|line| line.starts_with("# ")).count();
        assert!(
            (1..=3).contains(&comment),
            "{}: {comment} lines of comment",
            file.display()
        );
        let name = policy.metadata.name.as_deref().unwrap();
        assert!(stem(&file).ends_with(name), "{} is called {name}", file.display());
    }
}

#[test]
fn every_policy_compiles_except_the_forecast() {
    for (file, _, policy) in valid() {
        match api::compile(&policy) {
            Ok(config) => {
                assert!(config.min_nodes <= config.max_nodes, "{}", file.display());
                assert_eq!(
                    config.signals.len(),
                    policy.spec.signals.len(),
                    "{}",
                    file.display()
                );
            }
            Err(error) => {
                assert_eq!(
                    error.path,
                    "spec.strategy.forecast",
                    "{}: {error}",
                    file.display()
                );
                assert!(policy.spec.strategy.forecast.is_some(), "{}", file.display());
            }
        }
    }
}

/// What the controller reads from a cluster is what a person wrote in a file, also after the API server has
/// filled in the defaults.
#[test]
fn every_policy_survives_being_written_and_read() {
    for (file, _, policy) in valid() {
        let object = serde_json::to_value(&policy).unwrap();
        assert_eq!(
            api::validate_value(object).as_ref(),
            Ok(&policy),
            "{}",
            file.display()
        );
        assert_eq!(
            api::validate_update(&policy, &policy),
            Ok(()),
            "{}",
            file.display()
        );
    }
}

#[test]
fn every_broken_policy_says_what_is_wrong() {
    let files = fixtures("broken");
    let names: Vec<_> = files.iter().map(|file| stem(file)).collect();
    assert_eq!(names, BROKEN.map(|(name, _)| name), "files and table differ");
    for (file, (_, expected)) in files.iter().zip(BROKEN) {
        let text = fs::read_to_string(file).unwrap();
        assert!(
            text.starts_with("# "),
            "{} does not say what is wrong with it",
            file.display()
        );
        match api::validate(&text) {
            Ok(_) => panic!("{} is accepted", file.display()),
            Err(error) => assert_eq!(error.to_string(), expected, "{}", file.display()),
        }
    }
}

/// A rule that nothing breaks may as well not be there: every rule of the schema is broken by a fixture or a
/// line below.
#[test]
fn every_rule_bites() {
    let mut broken: Vec<String> = fixtures("broken")
        .iter()
        .map(|f| fs::read_to_string(f).unwrap())
        .collect();
    let gpu = "{ name: gpu, dcgm: { metric: GpuUtilization }, targetPercentage: 70 }";
    let pool = "targetRef: { kind: AksNodePool, name: a100 }\n  maxNodes: 8";
    let object = "targetRef: { kind: ScaledObject, name: vllm }";
    broken.extend(BAD_POOLS.map(|line| document(&format!("{pool}\n  {line}"), gpu)));
    broken.extend(BAD_SIGNALS.map(|line| document(pool, &format!("{{ name: s, {line} }}"))));
    broken.extend(BAD_OBJECTS.map(|line| document(&format!("{object}\n  {line}"), gpu)));
    let elsewhere =
        "targetRef: { kind: ScaledObject, name: vllm, cluster: far }\n  maxReplicas: 4\n  scaler: {}";
    broken.push(document(elsewhere, "{ name: pods, gpuRequests: {} }"));

    let mut bitten = BTreeSet::new();
    for text in &broken {
        match api::validate(text) {
            Ok(_) => panic!("accepted:\n{text}"),
            Err(ApiError::Rules(violations)) => bitten.extend(violations.into_iter().map(|v| v.message)),
            // Some fixtures are refused before the rules; a line of this test never is.
            Err(error) => assert!(text.starts_with("# "), "{error}:\n{text}"),
        }
    }
    let definition = serde_json::to_value(api::crd().unwrap()).unwrap();
    let mut rules = Vec::new();
    collect_rules(&definition, &mut rules);
    // Transition rules need two documents; `api::validate_update` has its own test.
    let idle: Vec<_> = rules
        .iter()
        .filter(|(rule, m)| !rule.contains("oldSelf") && !bitten.contains(m))
        .collect();
    assert!(idle.is_empty(), "never broken: {idle:#?}");
}

fn document(head: &str, signal: &str) -> String {
    let kind = "apiVersion: gpuscale.dev/v1alpha1\nkind: GpuScalePolicy\nmetadata: { name: p }";
    format!("{kind}\nspec:\n  {head}\n  signals: [ {signal} ]\n")
}

/// Every rule and its message, wherever it stands.
fn collect_rules(value: &Value, rules: &mut Vec<(String, String)>) {
    match value {
        Value::Object(entries) => {
            if let Some(Value::Array(list)) = entries.get("x-kubernetes-validations") {
                let text = |rule: &Value, field: &str| rule[field].as_str().unwrap().to_owned();
                rules.extend(
                    list.iter()
                        .map(|rule| (text(rule, "rule"), text(rule, "message"))),
                );
            }
            entries.values().for_each(|inner| collect_rules(inner, rules));
        }
        Value::Array(items) => items.iter().for_each(|inner| collect_rules(inner, rules)),
        _ => {}
    }
}

/// Lines that break a node-pool policy.
const BAD_POOLS: [&str; 15] = [
    "spareNodes: 9",
    "fallbackNodePools: [ { name: b }, { name: b } ]",
    "actuation: AutoscalerFloor\n  scaleIn: {}",
    "behavior: { scaleUp: { policies: [ { type: Pods, value: 1, period: 1s } ], tolerance: 0.6, \
        stabilization: 25h } }",
    "behavior: { scaleDown: { policies: [ { type: Pods, value: 1, period: 25h } ], tolerance: 0.6, \
        stabilization: 25h, cooldown: 2d } }",
    "schedules: [ { name: a, cron: '0 1 * * *', duration: 1h, minReplicas: 3, maxReplicas: 2 }, { name: a, \
        cron: '0 1 * * *', duration: 1h, minNodes: 3, maxNodes: 2 } ]",
    "schedules: [ { name: a, cron: '0 1 * * *', duration: 1s } ]",
    "minNodes: 4\n  schedules: [ { name: a, cron: '0 1 * * *', duration: 1h, maxNodes: 2 } ]",
    "dataQuality: { maxAge: 10s, minCoverage: 0.4, warmUp: 2h }",
    "dataQuality: { maxAge: 2h, scrapeInterval: 11m }",
    "evaluationInterval: 1s",
    "provisionTimeout: 10s",
    "settle: 2h",
    "scaleIn: { victims: PlatformChooses, replaceUnhealthy: true, drainTimeout: 25h }",
    "scaleIn: { victims: Drain, drainTimeout: 1s }",
];

/// Signals that break a node-pool policy.
const BAD_SIGNALS: [&str; 10] = [
    "dcgm: { metric: SmActive }, unit: percent",
    "promql: x, unit: count, targetPercentage: 70, perNode: 1",
    "dcgm: { metric: SmActive }, perNode: 8",
    "promql: x, unit: count, perNode: 1, perReplica: 1",
    "gpuRequests: {}, up: { above: 50 }",
    "dcgm: { metric: SmActive }, up: { above: 50 }, down: { below: 60 }",
    "dcgm: { metric: SmActive }, down: { below: 150 }, window: 1s",
    "promql: x, unit: count, up: { above: 5, for: 1s }, down: { below: 3, for: 25h }",
    "dcgm: { metric: SmActive }, down: { below: 30, rule: Quantile }",
    "promql: x, unit: count, perReplica: 3",
];

/// Lines that break a `ScaledObject` policy.
const BAD_OBJECTS: [&str; 5] = [
    "maxReplicas: 4",
    "maxReplicas: 4\n  scaler: {}\n  minNodes: 1\n  budget: { usdPerHour: 3 }",
    "maxReplicas: 4\n  minReplicas: 5\n  scaler: {}",
    "maxReplicas: 4\n  scaler: {}\n  schedules: [ { name: a, cron: '0 1 * * *', duration: 1h, maxReplicas: \
        9 } ]",
    "maxReplicas: 4\n  minReplicas: 3\n  scaler: {}\n  schedules: [ { name: a, cron: '0 1 * * *', duration: \
        1h, maxReplicas: 2 } ]",
];

/// Each broken policy and its whole message.
const BROKEN: [(&str, &str); 36] = [
    (
        "01-min-above-max",
        "line 5: spec: minNodes (1 where it is not set) must not exceed maxNodes; lower minNodes or \
         raise maxNodes",
    ),
    (
        "02-no-max",
        "line 5: spec: an AksNodePool policy needs maxNodes; set the most nodes that the pool may \
         ever have",
    ),
    (
        "03-misspelt-field",
        "line 8, column 3: unknown field `behaviour`; did you mean `behavior`? (expected one of mode, \
         suspend, targetRef, actuation, fallbackNodePools, workload, metricsSource, \
         evaluationInterval, signals, strategy, minNodes, maxNodes, spareNodes, minReplicas, \
         maxReplicas, scaler, behavior, settle, saturationStep, provisionTimeout, budget, schedules, \
         scaleIn, dataQuality)",
    ),
    (
        "04-five-months",
        "line 8, column 11: duration \"5M\" is in months or years; use `m` for minutes, or d, h, s",
    ),
    (
        "05-no-unit",
        "line 8, column 21: duration \"1200\" has no unit; write for example `1200s` or `1200m`",
    ),
    (
        "06-percent-as-ratio",
        "line 9: spec.signals[0]: up.above of a utilization is a percentage above 1 and at most 100 \
         (80 means 80 %, also where the unit is ratio)",
    ),
    (
        "07-target-above-up",
        "line 9: spec.signals[0]: up.above must be higher than targetPercentage, or the pool would \
         always want to grow; raise up.above or lower targetPercentage",
    ),
    (
        "08-down-above-target",
        "line 9: spec.signals[0]: down.below must be lower than targetPercentage, or the pool would \
         shrink at its target; lower down.below",
    ),
    (
        "09-impatient-down",
        "line 9: spec.signals[0]: down.for must be at least up.for: giving up a node needs more \
         evidence than getting one; raise down.for",
    ),
    (
        "10-zero-without-wake-up",
        "line 5: spec: minNodes 0 needs a signal that exists while no node does, or nothing could \
         wake the pool; add a gpuRequests signal or a promql count with perNode",
    ),
    (
        "11-night-at-zero",
        "line 5: spec: minNodes 0 needs a signal that exists while no node does, or nothing could \
         wake the pool; add a gpuRequests signal or a promql count with perNode",
    ),
    (
        "12-two-sources",
        "line 9: spec.signals[0]: a signal has exactly one source; set one of dcgm, promql or \
         gpuRequests, and use another signal for another source",
    ),
    (
        "13-promql-without-unit",
        "line 9: spec.signals[0]: a promql signal must say its unit; set unit to percent, ratio, gpus \
         or count",
    ),
    (
        "14-count-without-scale",
        "line 9: spec.signals[0]: a count means nothing by itself; say how much one node carries with \
         perNode (perReplica for a ScaledObject), or give up or down rules",
    ),
    (
        "15-quantile-missing",
        "line 11: spec.signals[0].up: rule Quantile and the field quantile go together; set both (for \
         example quantile: 0.95) or neither",
    ),
    (
        "16-same-name-twice",
        "line 8: spec.signals: two signals have the same name; names tell signals apart in status and \
         decisions, so rename one",
    ),
    (
        "17-absent-is-idle",
        "line 9: spec.signals[0]: absent: Zero is for promql counts only; an absent utilization is \
         unknown and not idle, so remove it",
    ),
    (
        "18-two-strategies",
        "line 8: spec.strategy: a policy has exactly one strategy; set one of step, targetUtilization \
         or forecast",
    ),
    (
        "19-step-without-rule",
        "line 5: spec: strategy step moves only while a rule is met; give every utilization signal an \
         up rule (and a down rule to shrink), or use targetUtilization",
    ),
    (
        "20-training-on-utilization",
        "line 5: spec: workload Exclusive needs a gpuRequests signal or a count: a training pod holds \
         its GPU at 100 %, so utilization never asks for more",
    ),
    (
        "21-replicas-on-a-pool",
        "line 5: spec: minReplicas, maxReplicas and scaler belong to ScaledObject policies; for an \
         AksNodePool use minNodes and maxNodes",
    ),
    (
        "22-floor-on-scaled-object",
        "line 5: spec: actuation (Count or AutoscalerFloor) works on node pools only; remove it, KEDA \
         acts on the ScaledObject",
    ),
    (
        "23-asleep-for-ever",
        "line 5: spec: minReplicas 0 needs scaler.activation, or nothing could wake the workload; \
         name a promql count signal there, such as the queue",
    ),
    (
        "24-woken-by-utilization",
        "line 5: spec: scaler.activation.signal must name a promql signal with unit count, which \
         exists while no replica runs; a utilization does not",
    ),
    (
        "25-sum-of-what",
        "line 5: spec: publish UtilizationSum needs exactly one signal with a targetPercentage, whose \
         sum is published; set it on one, or use publish DesiredReplicas",
    ),
    (
        "26-pool-name-with-hyphen",
        "line 6: spec.targetRef: an AksNodePool name has 1 to 12 lower-case letters and digits and \
         starts with a letter; check it with `az aks nodepool list`",
    ),
    (
        "27-schedule-above-max",
        "line 5: spec: a schedule must stay within maxNodes of the policy, the bound that always \
         holds; lower the schedule's counts or raise maxNodes",
    ),
    (
        "28-unknown-zone",
        "line 8, column 61: \"CEST\" is not a time zone: use a name of the IANA time zone database \
         such as `Europe/Berlin` or `UTC`",
    ),
    (
        "29-cron-hour-25",
        "line 8, column 37: cannot read cron \"0 25 * * *\": hour `25` is not a number from 0 to 23, \
         a range, a list, a step or `*`",
    ),
    (
        "30-blind-training-victims",
        "line 5: spec: victims PlatformChooses does not see pods and could take a training node \
         between two steps; use IdleFirst or Drain with workload Exclusive",
    ),
    (
        "31-window-below-scrape",
        "line 5: spec: a rule's window is shorter than dataQuality.scrapeInterval and would hold no \
         sample; lengthen for or correct scrapeInterval",
    ),
    (
        "32-url-in-policy",
        "line 8, column 18: \"http://prometheus:9090\" is not a name: use 1 to 63 lower-case letters, \
         digits and `-`, starting and ending with a letter or digit",
    ),
    (
        "33-coverage-in-percent",
        "line 8, column 31: a ratio must be from 0 to 1 (0.8 means 80 %), not 80",
    ),
    (
        "34-other-kind",
        "this is apiVersion keda.sh/v1alpha1, kind ScaledObject; a policy has apiVersion \
         gpuscale.dev/v1alpha1 and kind GpuScalePolicy",
    ),
    (
        "35-own-fallback",
        "line 5: spec: fallbackNodePools names the target itself, which cannot stand in for itself; \
         remove it from the list",
    ),
    (
        "36-two-budgets",
        "line 9, column 3: `budget` is written twice; keep one",
    ),
];
