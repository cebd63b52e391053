//! The configuration is read, and its fields are held against each other.

use super::ProblemKind::{LinkLocal, PlainHttp, Secret, Setting};
use super::*;

/// What administrators read about it.
const GUIDE: &str = include_str!("../../deploy/guide/configuration.md");

/// The first document of a page in a block of this kind.
fn block<'a>(page: &'a str, kind: &str) -> &'a str {
    let start = format!("```{kind}\n");
    let rest = page.split_once(start.as_str()).unwrap().1;
    rest.split_once("```").unwrap().0
}

#[test]
fn the_documents_of_the_guides_can_be_used() {
    let emulator = include_str!("../../deploy/guide/emulator.md");
    let readme = include_str!("../../README.md");
    let run = readme.split_once("## Run it").unwrap().1;
    for document in [block(GUIDE, "yaml"), block(emulator, "yml"), block(run, "yaml")] {
        let config = Config::parse(document).unwrap();
        assert_eq!(config.problems(), [], "{document}");
    }
}

#[test]
fn every_field_stands_in_the_guide() {
    fn names<T: serde::de::DeserializeOwned>() -> Vec<String> {
        let refusal = serde_json::from_str::<T>("{\"nonsense\":1}").err().unwrap();
        let refusal = refusal.to_string();
        let (_, known) = refusal.split_once("expected").unwrap();
        known
            .split('`')
            .skip(1)
            .step_by(2)
            .map(ToOwned::to_owned)
            .collect()
    }
    let all = [
        names::<Config>(),
        names::<MetricsSource>(),
        names::<Prometheus>(),
        names::<BasicAuth>(),
        names::<Entra>(),
        names::<Tls>(),
        names::<AzureManagedPrometheus>(),
        names::<Dcgm>(),
        names::<DcgmNodes>(),
        names::<LabelMapping>(),
        names::<AnswerLimits>(),
        names::<AksCluster>(),
        names::<Listen>(),
        names::<Limits>(),
    ];
    for name in all.iter().flatten() {
        let told = GUIDE.contains(&format!("`{name}`")) || GUIDE.contains(&format!(".{name}`"));
        assert!(
            told || GUIDE.contains(&format!("\n{name}:")),
            "the guide does not tell of `{name}`"
        );
    }
}

const GOOD: &str = "
metricsSources:
  default:
    prometheus:
      url: https://mimir.example.com/prometheus
      parameters: { partial_response: 'false' }
      headers: { X-Team: gpu }
      tenant: gpu
      bearerTokenFile: /var/run/secrets/mimir/token
      tls: { caFile: /etc/ca.pem }
    labelMapping: { node: Hostname, pod: exported_pod, namespace: exported_namespace }
    timeout: 8s
    limits: { series: 5000 }
  azure:
    azureManagedPrometheus: { endpoint: 'https://w.eastus.prometheus.monitor.azure.com' }
  nodes:
    dcgm: { nodes: { port: 19400 }, interval: 15s }
  local:
    dcgm: { targets: [ 'http://127.0.0.1:9400/metrics' ] }
aksClusters:
  prod-eastus:
    subscriptionId: 00000000-0000-0000-0000-000000000000
    resourceGroup: gpu
    name: prod
    cloud: UsGovernment
listen: { metrics: '127.0.0.1:0' }
limits: { maxNodes: 100 }
";

#[test]
fn a_full_configuration_is_read_and_has_no_problems() {
    let config = Config::parse(GOOD).unwrap();
    assert_eq!(config.problems(), []);
    assert_eq!(config.source_names(), ["azure", "default", "local", "nodes"]);
    assert_eq!(config.cluster_names(), ["prod-eastus"]);
    let default = &config.metrics_sources[&Name::try_from("default".to_owned()).unwrap()];
    assert_eq!((default.limits.series, default.limits.bytes), (5000, 64 << 20));
    assert_eq!(
        config.aks_clusters.values().next().unwrap().api_version,
        "2026-08-01"
    );
    let written = serde_saphyr::to_string(&config).unwrap();
    assert_eq!(Config::parse(&written), Ok(config));
}

#[test]
fn unknown_fields_are_refused_with_their_place() {
    let error = Config::parse("metricsSources: {}\nfreez: true\n").unwrap_err();
    assert_eq!((error.line, error.column), (2, 1));
    assert!(error.message.starts_with("unknown field `freez`"), "{error}");
}

/// One change of the good document, and the one problem that it makes.
fn check(from: &str, to: &str, kind: ProblemKind, path: &str) {
    assert!(GOOD.contains(from), "{from}");
    let config = Config::parse(&GOOD.replace(from, to)).unwrap();
    let found: Vec<_> = config.problems().into_iter().map(|p| (p.kind, p.path)).collect();
    assert_eq!(found, [(kind, path.to_owned())], "{to}");
}

#[test]
fn addresses_and_credentials_are_looked_at() {
    for (url, kind) in [
        ("http://mimir.example.com/prometheus", PlainHttp),
        ("https://me:secret@mimir.example.com", Secret),
        ("https://169.254.169.254", LinkLocal),
        ("https://[fe80::1]:9090/x", LinkLocal),
        ("https://[::ffff:169.254.169.254]", LinkLocal),
        ("mimir.example.com", Setting),
        ("https://mimir:99999", Setting),
        ("https://mimir/?tenant=x", Setting),
    ] {
        check(
            "https://mimir.example.com/prometheus",
            url,
            kind,
            "metricsSources.default.prometheus.url",
        );
    }
    let prometheus = "metricsSources.default.prometheus";
    let header = "authorization: Bearer x";
    check(
        "X-Team: gpu",
        header,
        Secret,
        &format!("{prometheus}.headers.authorization"),
    );
    check(
        "caFile: /etc/ca.pem",
        "certFile: /c.pem",
        Setting,
        &format!("{prometheus}.tls"),
    );
    check(
        "tenant: gpu",
        "entra: {}",
        Setting,
        &format!("{prometheus}.entra"),
    );
}

#[test]
fn fields_are_held_against_each_other() {
    let subscription = "00000000-0000-0000-0000-000000000000";
    for (from, to, path) in [
        ("timeout: 8s", "timeout: 8m", "metricsSources.default.timeout"),
        (
            "series: 5000",
            "series: 0",
            "metricsSources.default.limits.series",
        ),
        (
            "nodes: { port: 19400 }, interval",
            "interval",
            "metricsSources.nodes.dcgm",
        ),
        (
            "interval: 15s",
            "interval: 15ms",
            "metricsSources.nodes.dcgm.interval",
        ),
        (subscription, "prod", "aksClusters.prod-eastus.subscriptionId"),
        (
            "resourceGroup: gpu",
            "resourceGroup: a/b",
            "aksClusters.prod-eastus.resourceGroup",
        ),
        (
            "cloud: UsGovernment",
            "apiVersion: latest",
            "aksClusters.prod-eastus.apiVersion",
        ),
        ("127.0.0.1:0", "localhost", "listen.metrics"),
        ("127.0.0.1:0", "0.0.0.0:9443", "listen.scaler"),
        ("maxNodes: 100", "maxNodes: 0", "limits.maxNodes"),
    ] {
        check(from, to, Setting, path);
    }
}

#[test]
fn loopback_may_be_plain_and_link_local_may_be_allowed() {
    for (from, to) in [
        ("https://mimir.example.com/prometheus", "http://localhost:9090"),
        ("https://mimir.example.com/prometheus", "http://[::1]:9090"),
    ] {
        assert_eq!(
            Config::parse(&GOOD.replace(from, to)).unwrap().problems(),
            [],
            "{to}"
        );
    }
    let allowed = GOOD
        .replace("http://127.0.0.1:9400/metrics", "http://169.254.1.2:9400")
        .replace("  local:\n", "  local:\n    allowedAddresses: [ 169.254.1.2 ]\n");
    assert_eq!(Config::parse(&allowed).unwrap().problems(), []);
}

#[test]
fn a_label_that_is_named_is_the_only_one_that_counts() {
    let config = Config::parse(GOOD).unwrap();
    let of = |name: &str| {
        config.metrics_sources[&Name::try_from(name.to_owned()).unwrap()]
            .label_mapping
            .labels()
    };
    let (default, azure) = (of("default"), of("azure"));
    assert_eq!(default.node, ["Hostname"]);
    assert_eq!(default.pod, ["exported_pod"]);
    assert_eq!(default.uuid, azure.uuid);
    assert_eq!(azure, crate::devices::LabelMapping::default());
}
