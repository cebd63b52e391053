//! Each code of `GS7xx`, from answers made by hand: once where it is found, and once where it is not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::*;
use crate::check::codes;
use crate::config::Config;
use crate::control::ports::{SeriesTable, SourceErrorKind};
use crate::recording::Labels;
use crate::source::dcgm::PageCounts;
use crate::source::http::ClientError;

const NOW_MS: Millis = 1_700_000_000_000;

const SETTINGS: &str = "metricsSources:
  default:
    prometheus:
      url: https://mimir.example.com
";

fn text_of(signal: &str) -> String {
    format!(
        "apiVersion: gpuscale.dev/v1alpha1
kind: GpuScalePolicy
metadata: {{ name: p }}
spec:
  targetRef: {{ kind: AksNodePool, name: a100 }}
  maxNodes: 4
  signals: [ {{ name: gpu, {signal} }} ]
"
    )
}

const UTIL: &str = "dcgm: { metric: GpuUtilization }";

/// One series: its labels, and its samples as (seconds ago, value), oldest first.
struct Row {
    labels: Vec<(String, String)>,
    samples: Vec<(Millis, f64)>,
}

/// A series with a sample every `every` seconds over the last ten minutes, the newest `ago` seconds old.
fn row(labels: &[(&str, &str)], every: Millis, ago: Millis, value: f64) -> Row {
    let count = 600 / every;
    let samples = (0..count).rev().map(|n| (ago + n * every, value)).collect();
    let labels = labels
        .iter()
        .map(|&(name, value)| (name.to_owned(), value.to_owned()));
    Row {
        labels: labels.collect(),
        samples,
    }
}

/// A GPU of a node as every exporter tells it, 30 s apart, half busy.
fn gpu(node: &str, number: usize) -> Row {
    let (uuid, number) = (format!("GPU-{node}-{number}"), number.to_string());
    row(
        &[("Hostname", node), ("UUID", &uuid), ("gpu", &number)],
        30,
        5,
        50.0,
    )
}

fn with(mut row: Row, name: &str, value: &str) -> Row {
    row.labels.push((name.to_owned(), value.to_owned()));
    row
}

fn valued(mut row: Row, value: f64) -> Row {
    for sample in &mut row.samples {
        sample.1 = value;
    }
    row
}

fn answer(rows: Vec<Row>) -> Answer {
    let series: SeriesTable = rows
        .into_iter()
        .map(|row| {
            let labels = Labels::new("m", row.labels.iter().map(|(n, v)| (n, v))).unwrap();
            let samples = row.samples.into_iter();
            (
                Arc::new(labels),
                samples.map(|(ago, value)| (NOW_MS - ago * 1000, value)),
            )
        })
        .collect();
    Answer {
        now_ms: NOW_MS,
        completeness: Completeness::Whole,
        series,
    }
}

fn heard(rows: Vec<Row>) -> Heard {
    Heard {
        samples: Ok(answer(rows)),
        unmatched: None,
        missing: Vec::new(),
        beside: 3,
    }
}

fn failing(kind: SourceErrorKind, message: &str) -> Heard {
    Heard {
        samples: Err(error(kind, message)),
        ..heard(Vec::new())
    }
}

fn error(kind: SourceErrorKind, message: &str) -> SourceError {
    SourceError {
        kind,
        message: message.to_owned(),
    }
}

/// Findings about one signal, and the line about it.
fn judged_with(signal: &str, settings: &str, heard: Heard) -> (Vec<Finding>, Vec<SignalLine>, String) {
    let text = text_of(signal);
    let asked = policies(&text);
    assert_eq!(asked.len(), 1, "{text}");
    let config = Config::parse(settings).unwrap();
    let source = config.metrics_sources.values().next().unwrap();
    let (findings, lines) = policy(&text, &asked[0], source, &[Some(heard)]);
    (findings, lines, text)
}

fn judged(signal: &str, heard: Heard) -> Vec<Finding> {
    judged_with(signal, SETTINGS, heard).0
}

fn codes_of(findings: &[Finding]) -> Vec<&'static str> {
    findings.iter().map(Finding::code).collect()
}

/// The one finding with a code.
fn only(findings: &[Finding], code: &str) -> Finding {
    assert_eq!(codes_of(findings), [code], "{findings:#?}");
    findings[0].clone()
}

/// Findings about the source of a configuration.
fn of_source(settings: &str, outcome: Outcome, skew_ms: Option<Millis>) -> Vec<Finding> {
    of_exporters(settings, outcome, skew_ms, Vec::new())
}

fn of_exporters(
    settings: &str,
    outcome: Outcome,
    skew_ms: Option<Millis>,
    exporters: Vec<Said>,
) -> Vec<Finding> {
    let config = Config::parse(settings).unwrap();
    let name = config.source_names()[0].to_owned();
    let heard = BTreeMap::from([(
        name,
        SourceHeard {
            outcome,
            skew_ms,
            exporters,
        },
    )]);
    let text = text_of(UTIL);
    let asked = policies(&text);
    let (findings, lines) = sources(settings, &config, &asked.iter().collect::<Vec<_>>(), &heard);
    for finding in &findings {
        assert!(settings.get(finding.at.span.clone()).is_some(), "{finding:?}");
    }
    assert!(findings.is_empty() || lines.len() <= 1);
    findings
}

fn refused(settings: &str, kind: SourceErrorKind, message: &str) -> Finding {
    let findings = of_source(settings, Outcome::Asked(Err(error(kind, message))), None);
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings[0].clone()
}

/// How a source fails, its words, the code, and what its remedy says.
const FAILURES: [(SourceErrorKind, &str, &str, &str); 15] = [
    (
        SourceErrorKind::Unreachable,
        "Connection refused (os error 111)",
        "GS701",
        "correct the address",
    ),
    (
        SourceErrorKind::Unreachable,
        "invalid peer certificate: UnknownIssuer",
        "GS701",
        "tls.caFile",
    ),
    (
        SourceErrorKind::Timeout,
        "operation timed out",
        "GS702",
        "takes longer than 10s",
    ),
    (
        SourceErrorKind::Credential,
        "/var/run/token cannot be read: No such file",
        "GS703",
        "bearerTokenFile",
    ),
    (
        SourceErrorKind::Status(401),
        "it answered 401 (Unauthorized)",
        "GS703",
        "bearerTokenFile",
    ),
    (
        SourceErrorKind::Status(403),
        "it answered 403 (Forbidden)",
        "GS703",
        "bearerTokenFile",
    ),
    (
        SourceErrorKind::Status(401),
        "it answered 401 (Unauthorized): `no org id`",
        "GS703",
        "set `tenant`",
    ),
    // An error of the API itself.
    (
        SourceErrorKind::Query,
        "it answered 401 (Unauthorized): unauthorized",
        "GS703",
        "bearerTokenFile",
    ),
    (
        SourceErrorKind::Status(404),
        "it answered 404 (Not Found)",
        "GS704",
        "`/prometheus`",
    ),
    (
        SourceErrorKind::Status(302),
        "it answered 302 (Found)",
        "GS704",
        "the address that it leads to",
    ),
    (
        SourceErrorKind::Malformed,
        "it begins with `<!doctype html>`",
        "GS704",
        "`/prometheus`",
    ),
    (
        SourceErrorKind::Throttled(Some(5_000)),
        "it answered 429 (Too Many Requests)",
        "GS705",
        "limit of queries",
    ),
    (
        SourceErrorKind::Status(502),
        "it answered 502 (Bad Gateway)",
        "GS709",
        "in front of it",
    ),
    (
        SourceErrorKind::Query,
        "it answered 422 (Unprocessable Entity): too many",
        "GS709",
        "own log",
    ),
    (
        SourceErrorKind::TooLarge,
        "the answer has more than 10 bytes",
        "GS709",
        "own log",
    ),
];

#[test]
fn a_source_that_fails_is_told_by_how_it_fails() {
    for (kind, message, code, help) in FAILURES {
        let finding = refused(SETTINGS, kind, message);
        assert_eq!(finding.code(), code, "{message}");
        assert!(finding.message.contains(message), "{finding:?}");
        assert!(finding.help.contains(help), "{finding:?}");
        assert_eq!(&SETTINGS[finding.at.span], "https://mimir.example.com");
    }
    assert_eq!(
        codes_of(&of_source(
            SETTINGS,
            Outcome::Asked(Ok(Completeness::Whole)),
            Some(200)
        )),
        [""; 0]
    );
}

#[test]
fn the_remedy_for_a_refusal_names_the_credential() {
    let source = |fields: &str| format!("metricsSources: {{ default: {{ {fields} }} }}\n");
    let prometheus = "prometheus: { url: 'https://p.example.com'";
    for (fields, help, at) in [
        (
            format!("{prometheus}, bearerTokenFile: /run/t }}"),
            "`/run/t` holds a token",
            "/run/t",
        ),
        (
            format!("{prometheus}, basicAuth: {{ username: me, passwordFile: /run/p }} }}"),
            "`/run/p` holds the password of `me`",
            "/run/p",
        ),
        (
            format!("{prometheus}, entra: {{}} }}"),
            "Monitoring Data Reader",
            "entra",
        ),
        (
            "azureManagedPrometheus: { endpoint: 'https://w.prometheus.monitor.azure.com' }".to_owned(),
            "Monitoring Data Reader",
            "azureManagedPrometheus",
        ),
    ] {
        let settings = source(&fields);
        let finding = refused(
            &settings,
            SourceErrorKind::Status(403),
            "it answered 403 (Forbidden)",
        );
        assert_eq!(finding.code(), "GS703");
        assert!(finding.help.contains(help), "{finding:?}");
        assert!(settings[finding.at.span.clone()].contains(at), "{finding:?}");
    }
}

#[test]
fn the_remedy_for_a_missing_prefix_names_the_likely_one() {
    for (url, help) in [
        ("https://vmselect.monitoring.svc:8481", "`/select/0/prometheus`"),
        ("https://cortex.monitoring.svc", "the path is `/prometheus`"),
        ("https://grafana.example.com/", "/api/datasources/proxy/uid/<uid>"),
        ("https://p.example.com/api/v1/query", "leave `/api/v1`"),
        // A prefix that is there is not asked for again.
        (
            "https://mimir.example.com/prometheus",
            "`/prometheus` for Mimir and Cortex",
        ),
        ("https://p.example.com", "`/prometheus` for Mimir and Cortex"),
    ] {
        let settings = format!("metricsSources: {{ default: {{ prometheus: {{ url: '{url}' }} }} }}\n");
        let finding = refused(
            &settings,
            SourceErrorKind::Status(404),
            "it answered 404 (Not Found)",
        );
        assert_eq!(finding.code(), "GS704");
        assert!(finding.help.contains(help), "{url}: {}", finding.help);
    }
}

#[test]
fn a_source_that_cannot_be_asked_is_told_with_the_reason() {
    let found = |settings: &str, cause| only(&of_source(settings, Outcome::Unusable(cause), None), "GS703");
    let finding = found(SETTINGS, Cause::Tokens("AADSTS70021".to_owned()));
    assert!(finding.message.contains("AADSTS70021"), "{finding:?}");
    for (settings, cause, code) in [
        (
            SETTINGS,
            Cause::Client(ClientError::Tls("/etc/ca.pem cannot be read".to_owned())),
            "GS701",
        ),
        (SETTINGS, Cause::Allowed("localhost".to_owned()), "GS701"),
        (
            "metricsSources: { nodes: { dcgm: { nodes: {} } } }\n",
            Cause::Nodes,
            "GS710",
        ),
    ] {
        only(&of_source(settings, Outcome::Unusable(cause), None), code);
    }
}

#[test]
fn clocks_may_differ_by_a_little() {
    let found = |skew_ms| {
        let whole = Outcome::Asked(Ok(Completeness::Whole));
        codes_of(&of_source(SETTINGS, whole, Some(skew_ms)))
    };
    for (skew_ms, codes) in [
        (0, &[][..]),
        (5_000, &[]),
        (-5_000, &[]),
        (5_001, &["GS707"]),
        (-60_000, &["GS707"]),
        // The policy's maxAge is two minutes.
        (120_000, &["GS707"]),
        (120_001, &["GS708"]),
        (-3_600_000, &["GS708"]),
        (Millis::MIN, &["GS708"]),
    ] {
        assert_eq!(found(skew_ms), codes, "{skew_ms}");
    }
}

#[test]
fn parts_are_told_of_sources_and_of_signals() {
    let partial = || Completeness::Partial("store 10.0.0.7 is down".to_owned());
    let of_all = of_source(SETTINGS, Outcome::Asked(Ok(partial())), None);
    assert!(only(&of_all, "GS706").message.contains("store 10.0.0.7 is down"));
    let mut part = heard(vec![gpu("n1", 0)]);
    part.samples.as_mut().unwrap().completeness = partial();
    only(&judged(UTIL, part), "GS706");
}

#[test]
fn a_good_answer_has_a_line_and_no_findings() {
    let rows = vec![gpu("n1", 0), gpu("n1", 1), gpu("n2", 0), gpu("n2", 1)];
    let (findings, lines, _) = judged_with(UTIL, SETTINGS, heard(rows));
    assert_eq!(codes_of(&findings), [""; 0]);
    let line = SignalLine {
        policy: "p".to_owned(),
        signal: "gpu".to_owned(),
        devices: Some(4),
        reporting: Some(4),
        interval_ms: Some(30_000),
    };
    assert_eq!(lines, [line]);
}

#[test]
fn a_query_that_fails_is_told_by_how_it_fails() {
    for (kind, code) in [
        (SourceErrorKind::Query, "GS712"),
        (SourceErrorKind::Malformed, "GS712"),
        (SourceErrorKind::TooLarge, "GS713"),
        (SourceErrorKind::Throttled(None), "GS705"),
        (SourceErrorKind::Timeout, "GS702"),
    ] {
        let (findings, lines, text) = judged_with(UTIL, SETTINGS, failing(kind, "its words"));
        let finding = only(&findings, code);
        assert_eq!(finding.message, "signal `gpu`: its words");
        assert_eq!(&text[finding.at.span], "GpuUtilization");
        assert_eq!(lines, []);
    }
}

#[test]
fn labels_that_match_nothing_are_told_with_what_is_there() {
    let signal = "dcgm: { metric: GpuUtilization, matchLabels: { gpu: '0', pool: a1000 } }";
    let found = |signal: &str, there: Vec<Row>| {
        let heard = Heard {
            unmatched: Some(answer(there)),
            ..heard(Vec::new())
        };
        let (findings, lines, text) = judged_with(signal, SETTINGS, heard);
        assert_eq!(lines, []);
        let finding = only(&findings, "GS711");
        (text[finding.at.span.clone()].to_owned(), finding)
    };
    let (at, finding) = found(signal, vec![with(gpu("n1", 0), "pool", "a100")]);
    assert_eq!(at, "a1000");
    assert!(
        finding.message.contains("`pool` is never `a1000` but a100"),
        "{finding:?}"
    );
    let (at, finding) = found(signal, vec![gpu("n1", 0)]);
    assert_eq!(at, "a1000");
    assert!(
        finding
            .message
            .contains("none has a label `pool`; they have Hostname, UUID, gpu"),
        "{finding:?}"
    );

    // The chart's default: the workload's namespace is under another name.
    let signal = "dcgm: { metric: GpuUtilization, matchLabels: { namespace: ml } }";
    let row = with(
        with(gpu("n1", 0), "namespace", "gpu-operator"),
        "exported_namespace",
        "ml",
    );
    let (at, finding) = found(signal, vec![row]);
    assert_eq!(at, "ml");
    assert!(
        finding.help.contains("match `exported_namespace: ml`"),
        "{finding:?}"
    );
    assert!(finding.help.contains("honorLabels"), "{finding:?}");

    // `hostname` in place of `Hostname`.
    let signal = "dcgm: { metric: GpuUtilization, matchLabels: { hostname: n1 } }";
    let (_, finding) = found(signal, vec![gpu("n1", 0)]);
    assert!(
        finding.help.contains("match `Hostname: n1`, which is there"),
        "{finding:?}"
    );

    // Each label is there, and never both.
    let signal = "dcgm: { metric: GpuUtilization, matchLabels: { gpu: '0', Hostname: n2 } }";
    let (_, finding) = found(signal, vec![gpu("n1", 0), gpu("n2", 1)]);
    assert!(finding.message.contains("no series has all"), "{finding:?}");
}

#[test]
fn a_metric_that_nobody_has_is_told_with_where_to_look() {
    let found = |signal: &str, beside| {
        let heard = Heard {
            missing: if beside == 0 { BESIDE.to_vec() } else { Vec::new() },
            beside,
            ..heard(Vec::new())
        };
        only(&judged(signal, heard), "GS711")
    };
    let tensor = "dcgm: { metric: TensorActive }";
    let finding = found(tensor, 3);
    assert!(
        finding
            .help
            .contains("add DCGM_FI_PROF_PIPE_TENSOR_ACTIVE to its counters file"),
        "{finding:?}"
    );
    assert!(found(tensor, 0).help.contains("whether dcgm-exporter runs"));
    assert!(
        found("dcgm: { metric: SmActive }", 0)
            .help
            .contains("has to be added")
    );
    let finding = found("promql: 'sum(waiting)', unit: count, perNode: 8", 3);
    assert!(finding.message.contains("gives nothing"), "{finding:?}");
}

#[test]
fn series_without_a_device_are_told_with_their_labels() {
    let stray = row(&[("job", "dcgm"), ("gpu", "0")], 30, 5, 50.0);
    let finding = only(&judged(UTIL, heard(vec![gpu("n1", 0), stray])), "GS714");
    assert!(finding.message.contains("1 of 2 series") && finding.message.contains("they have gpu, job"));
    // The place is enough.
    let placed = row(&[("instance", "n1:9400"), ("gpu", "0")], 30, 5, 50.0);
    assert_eq!(codes_of(&judged(UTIL, heard(vec![placed]))), [""; 0]);
}

#[test]
fn the_exporters_pod_is_no_node() {
    let finding = only(&judged(UTIL, heard(vec![gpu("dcgm-exporter-wwwjh", 0)])), "GS715");
    assert!(
        finding.message.contains("`Hostname` is `dcgm-exporter-wwwjh`"),
        "{finding:?}"
    );
    only(
        &judged(UTIL, heard(vec![gpu("nvidia-dcgm-exporter-x7k2p", 0)])),
        "GS715",
    );
    // A label that comes first names the node.
    let named = with(gpu("dcgm-exporter-wwwjh", 0), "node", "aks-a100-vmss000000");
    for row in [named, gpu("dcgm-exporter-host", 0), gpu("aks-dcgm-vmss00000a", 0)] {
        assert_eq!(codes_of(&judged(UTIL, heard(vec![row]))), [""; 0]);
    }
}

#[test]
fn labels_of_the_exporter_are_not_those_of_the_workload() {
    let signal = "dcgm: { metric: GpuUtilization, matchLabels: { namespace: gpu-operator } }";
    let plain = || with(gpu("n1", 0), "namespace", "gpu-operator");
    let (findings, _, text) = judged_with(
        signal,
        SETTINGS,
        heard(vec![with(plain(), "exported_namespace", "ml")]),
    );
    let finding = only(&findings, "GS716");
    assert_eq!(&text[finding.at.span], "gpu-operator");
    assert!(finding.message.contains("such as ml"));
    assert_eq!(codes_of(&judged(signal, heard(vec![plain()]))), [""; 0]);
}

#[test]
fn instances_need_a_label_to_be_told_apart() {
    let signal = "dcgm: { metric: GraphicsEngineActive }";
    let azure = || row(&[("instance", "n1"), ("gpu", "0"), ("job", "dcgm")], 30, 5, 0.5);
    let settings =
        "metricsSources:\n  default:\n    azureManagedPrometheus: { endpoint: 'https://w.example.com' }\n";
    only(&judged_with(signal, settings, heard(vec![azure()])).0, "GS717");
    let instance = with(azure(), "GPU_I_ID", "3");
    assert_eq!(codes_of(&judged(signal, heard(vec![instance]))), [""; 0]);
    assert_eq!(
        codes_of(&judged(signal, heard(vec![valued(gpu("n1", 0), 0.5)]))),
        [""; 0]
    );
    // The metric is not the one for MIG.
    assert_eq!(
        codes_of(&judged(UTIL, heard(vec![valued(azure(), 50.0)]))),
        [""; 0]
    );
}

#[test]
fn silent_devices_are_counted_and_their_nodes_named() {
    let silent = |node: &str| {
        let uuid = format!("GPU-{node}");
        row(
            &[("Hostname", node), ("UUID", &uuid), ("gpu", "0")],
            30,
            121,
            50.0,
        )
    };
    let rows = (1..=4)
        .map(|n| silent(&format!("n{n}")))
        .chain((5..=10).map(|n| gpu(&format!("n{n}"), 0)));
    let (findings, lines, _) = judged_with(UTIL, SETTINGS, heard(rows.collect()));
    let finding = only(&findings, "GS718");
    for part in [
        "6 of 10 devices",
        "younger than 2m",
        "80 %",
        "n1, n2, n3 and 1 more",
    ] {
        assert!(finding.message.contains(part), "{part}: {}", finding.message);
    }
    assert_eq!((lines[0].devices, lines[0].reporting), (Some(10), Some(6)));
    // Eight of ten are as many as the policy wants.
    let rows = (1..=2)
        .map(|n| silent(&format!("n{n}")))
        .chain((3..=10).map(|n| gpu(&format!("n{n}"), 0)));
    assert_eq!(codes_of(&judged(UTIL, heard(rows.collect()))), [""; 0]);
}

#[test]
fn the_interval_is_measured_and_not_believed() {
    let every = |seconds| {
        let labels = [("Hostname", "n1"), ("UUID", "GPU-1"), ("gpu", "0")];
        judged(UTIL, heard(vec![row(&labels, seconds, 5, 50.0)]))
    };
    // 30 s is what the policy says.
    for seconds in [15, 20, 30, 40, 45] {
        assert_eq!(codes_of(&every(seconds)), [""; 0], "{seconds}");
    }
    for (seconds, span, means) in [
        (5, "5s", "many samples"),
        (60, "1m", "one lost"),
        (100, "1m40s", "holes"),
    ] {
        let finding = only(&every(seconds), "GS719");
        assert!(
            finding.help.contains(&format!("scrapeInterval: {span}`")),
            "{finding:?}"
        );
        assert!(
            finding.message.contains(means) && finding.message.contains("1m30s"),
            "{finding:?}"
        );
    }
    // Two samples are no measurement.
    assert_eq!(codes_of(&every(200)), [""; 0]);
}

#[test]
fn values_have_to_be_of_the_unit() {
    let ratio = "dcgm: { metric: TensorActive }";
    let power = "dcgm: { metric: PowerRatio }";
    let memory = "dcgm: { metric: MemoryUsed }";
    let percent = "promql: 'avg(x)', unit: percent, targetPercentage: 70";
    let share = "promql: 'avg(x)', unit: ratio, targetPercentage: 70";
    let count = "promql: 'sum(x)', unit: count, perNode: 8";
    let found =
        |signal: &str, value: f64| codes_of(&judged(signal, heard(vec![valued(gpu("n1", 0), value)])));
    for (signal, good, bad) in [
        (
            UTIL,
            &[0.0, 1.0, 70.0, 100.0][..],
            &[101.0, -1.0, 0.7, 9.2e18][..],
        ),
        (ratio, &[0.0, 0.7, 1.05], &[70.0, -0.1]),
        (power, &[0.0, 305.0], &[2e9, -5.0]),
        (memory, &[0.0, 80_000.0], &[9.2e18, -5.0]),
        (percent, &[0.0, 0.7, 70.0, 130.0], &[-1.0, 7_000.0]),
        (share, &[0.0, 0.7, 1.3], &[-0.1, 70.0]),
        (count, &[0.0, 5e6], &[-1.0]),
    ] {
        for &value in good {
            assert_eq!(found(signal, value), [""; 0], "{signal} {value}");
        }
        for &value in bad {
            assert_eq!(found(signal, value), ["GS720"], "{signal} {value}");
        }
    }
}

#[test]
fn a_device_that_is_there_twice_is_told_and_a_pod_that_came_is_not() {
    let replica = |name| with(gpu("n1", 0), "replica", name);
    let finding = only(&judged(UTIL, heard(vec![replica("a"), replica("b")])), "GS721");
    assert!(
        finding.message.contains("1 of 1 devices") && finding.message.ends_with("replica"),
        "{finding:?}"
    );
    let mut before = gpu("n1", 0);
    before.samples.retain(|(ago, _)| *ago > 100);
    assert_eq!(
        codes_of(&judged(
            UTIL,
            heard(vec![before, with(gpu("n1", 0), "pod", "train-0")])
        )),
        [""; 0]
    );
}

#[test]
fn power_that_is_not_there_is_told_once_for_the_same_labels() {
    let missing = || Heard {
        missing: vec![BESIDE[0]],
        beside: 2,
        ..heard(vec![valued(gpu("n1", 0), 0.5)])
    };
    let finding = only(&judged("dcgm: { metric: TensorActive }", missing()), "GS722");
    assert!(finding.message.contains("DCGM_FI_DEV_POWER_USAGE"), "{finding:?}");
    let two = text_of("dcgm: { metric: TensorActive } }, { name: dram, dcgm: { metric: DramActive }");
    let asked = policies(&two);
    let config = Config::parse(SETTINGS).unwrap();
    let source = config.metrics_sources.values().next().unwrap();
    let (findings, lines) = policy(&two, &asked[0], source, &[Some(missing()), Some(missing())]);
    assert_eq!(codes_of(&findings), ["GS722"]);
    assert_eq!(lines.len(), 2);
}

#[test]
fn an_expression_is_one_series() {
    let signal = "promql: 'waiting', unit: count, perNode: 8";
    let model = |name| row(&[("model", name)], 30, 5, 3.0);
    let finding = only(&judged(signal, heard(vec![model("a"), model("b")])), "GS723");
    assert!(
        finding.message.contains("2 series, with the labels model"),
        "{finding:?}"
    );
    let (findings, lines, _) = judged_with(signal, SETTINGS, heard(vec![model("a")]));
    assert_eq!(codes_of(&findings), [""; 0]);
    assert_eq!((lines[0].devices, lines[0].interval_ms), (None, None));
}

#[test]
fn policies_of_a_stream_are_told_in_their_places() {
    let signal = "dcgm: { metric: GpuUtilization, matchLabels: { pool: b } }";
    let text = format!(
        "# two\n---\n{}---\nkind: Pod\n---\n{}",
        text_of(UTIL),
        text_of(signal)
    );
    let asked = policies(&text);
    assert_eq!(asked.len(), 2);
    let config = Config::parse(SETTINGS).unwrap();
    let source = config.metrics_sources.values().next().unwrap();
    let empty = Heard {
        unmatched: Some(answer(vec![gpu("n1", 0)])),
        ..heard(Vec::new())
    };
    let (findings, _) = policy(&text, &asked[1], source, &[Some(empty)]);
    assert_eq!(
        findings[0].at.span,
        text.rfind("b }").map(|at| at..at + 1).unwrap()
    );
    // What nobody asked is not judged.
    assert_eq!(policy(&text, &asked[0], source, &[None]).0, []);
}

/// A code that nothing has may as well not be there. What the tests here name is found by them.
#[test]
fn every_live_code_has_its_test() {
    let named: BTreeSet<&str> = include_str!("tests.rs")
        .split('"')
        .filter(|word| word.len() == 5 && word.starts_with("GS7"))
        .collect();
    let codes: BTreeSet<&str> = codes::all()
        .map(|entry| entry.code)
        .filter(|code| code.starts_with("GS7"))
        .collect();
    assert_eq!(named, codes);
}

#[test]
fn an_exporter_that_says_less_than_it_should_is_found_where_it_is_listed() {
    let settings = "metricsSources:
  default: { dcgm: { targets: ['http://10.0.0.4:19400/metrics', 'http://10.0.0.5:19400/metrics'] } }
";
    let said = |host: &str, page: Result<PageCounts, SourceError>| Said {
        target: format!("http://{host}:19400/metrics"),
        page,
    };
    let well = || {
        Ok(PageCounts {
            samples: 8,
            ..PageCounts::default()
        })
    };
    let whole = || Outcome::Asked(Ok(Completeness::Whole));
    let found = |second: Result<PageCounts, SourceError>| {
        let exporters = vec![said("10.0.0.4", well()), said("10.0.0.5", second)];
        of_exporters(settings, whole(), None, exporters)
    };
    assert_eq!(found(well()), []);
    let silent = only(
        &found(Err(error(SourceErrorKind::Unreachable, "connection refused"))),
        "GS724",
    );
    assert!(
        settings[silent.at.span.clone()].contains("10.0.0.5"),
        "{silent:?}"
    );
    assert!(silent.message.contains("connection refused"), "{silent:?}");
    let empty = only(&found(Ok(PageCounts::default())), "GS724");
    assert!(empty.message.contains("no metric"), "{empty:?}");
    let refused = Ok(PageCounts {
        samples: 7,
        refused: 1,
        first_refused: Some("line 3, byte 9: no value".to_owned()),
    });
    let refused = only(&found(refused), "GS724");
    assert!(refused.message.contains("line 3, byte 9"), "{refused:?}");
}
