//! Fields held against each other.

use core::net::SocketAddr;

use super::{AksCluster, Config, Dcgm, Endpoint, MetricsSource, Prometheus, Reach, ResizeWith};

/// What kind of problem it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// A setting that makes no sense, alone or beside another.
    Setting,
    /// A secret in the text.
    Secret,
    /// A credential over plain HTTP.
    PlainHttp,
    /// A link-local address.
    LinkLocal,
}

/// Something that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind it is.
    pub kind: ProblemKind,
    /// Path of the field, such as `metricsSources.default.prometheus.url`.
    pub path: String,
    /// What is wrong, and after a semicolon what to do.
    pub message: String,
}

/// Headers that carry credentials.
const SECRET_HEADERS: [&str; 5] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "x-auth-token",
];

impl Config {
    /// Everything that is wrong with the configuration; empty for one that can be used.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems = Problems(Vec::new());
        for (name, source) in &self.metrics_sources {
            problems.source(&format!("metricsSources.{name}"), source);
        }
        for (name, cluster) in &self.aks_clusters {
            problems.cluster(&format!("aksClusters.{name}"), cluster);
        }
        for (path, address) in [
            ("listen.metrics", &self.listen.metrics),
            ("listen.scaler", &self.listen.scaler),
        ] {
            if address.parse::<SocketAddr>().is_err() {
                let message = format!("`{address}` is no address and port; write for example 0.0.0.0:8080");
                problems.add(ProblemKind::Setting, path, message);
            }
        }
        if self.listen.metrics == self.listen.scaler && !self.listen.scaler.ends_with(":0") {
            let message = "metrics and scaler listen on the same address; give one of them another port";
            problems.add(ProblemKind::Setting, "listen.scaler", message);
        }
        if self.limits.max_nodes == Some(0) {
            let message =
                "no pool could ever have a node; remove the limit, or set freeze to stop everything";
            problems.add(ProblemKind::Setting, "limits.maxNodes", message);
        }
        problems.0
    }
}

struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, kind: ProblemKind, path: impl Into<String>, message: impl Into<String>) {
        self.0.push(Problem {
            kind,
            path: path.into(),
            message: message.into(),
        });
    }

    fn source(&mut self, path: &str, source: &MetricsSource) {
        let kinds = [
            source.prometheus.is_some(),
            source.azure_managed_prometheus.is_some(),
            source.dcgm.is_some(),
        ];
        let count = kinds.into_iter().filter(|there| *there).count();
        if count != 1 {
            let message = format!(
                "a source has exactly one kind, this has {count}; set one of prometheus, \
                 azureManagedPrometheus or dcgm"
            );
            self.add(ProblemKind::Setting, path, message);
        }
        if let Some(prometheus) = &source.prometheus {
            self.prometheus(
                &format!("{path}.prometheus"),
                prometheus,
                &source.allowed_addresses,
            );
        }
        if let Some(azure) = &source.azure_managed_prometheus {
            let at = format!("{path}.azureManagedPrometheus.endpoint");
            self.address(&at, &azure.endpoint, Credentials::Sent, &source.allowed_addresses);
        }
        if let Some(dcgm) = &source.dcgm {
            self.dcgm(&format!("{path}.dcgm"), dcgm, &source.allowed_addresses);
        }
        let timeout = source.timeout.as_millis();
        if !(100..=120_000).contains(&timeout) {
            let message = format!("{} is no time for one request; set 100ms to 2m", source.timeout);
            self.add(ProblemKind::Setting, format!("{path}.timeout"), message);
        }
        for (field, value) in [
            ("bytes", source.limits.bytes),
            ("series", source.limits.series),
            ("samples", source.limits.samples),
        ] {
            if value == 0 {
                let message = "a limit of 0 refuses every answer; raise it, or leave it out for the default";
                self.add(ProblemKind::Setting, format!("{path}.limits.{field}"), message);
            }
        }
    }

    fn prometheus(&mut self, path: &str, prometheus: &Prometheus, allowed: &[String]) {
        let ways = [
            ("bearerTokenFile", prometheus.bearer_token_file.is_some()),
            ("basicAuth", prometheus.basic_auth.is_some()),
            ("entra", prometheus.entra.is_some()),
        ];
        let used: Vec<&str> = ways
            .into_iter()
            .filter(|(_, used)| *used)
            .map(|(name, _)| name)
            .collect();
        if let [first, second, ..] = used[..] {
            let message = format!("{first} and {second} both set the Authorization header; keep one");
            self.add(ProblemKind::Setting, format!("{path}.{second}"), message);
        }
        for header in prometheus.headers.keys() {
            if SECRET_HEADERS.contains(&header.to_ascii_lowercase().as_str()) {
                let message = format!(
                    "header `{header}` carries a credential; name a file with bearerTokenFile or basicAuth"
                );
                self.add(ProblemKind::Secret, format!("{path}.headers.{header}"), message);
            }
        }
        if let Some(tls) = &prometheus.tls
            && tls.cert_file.is_some() != tls.key_file.is_some()
        {
            let message = "certFile and keyFile go together; set both or neither";
            self.add(ProblemKind::Setting, format!("{path}.tls"), message);
        }
        let credentials = if used.is_empty() {
            Credentials::None
        } else {
            Credentials::Sent
        };
        self.address(&format!("{path}.url"), &prometheus.url, credentials, allowed);
    }

    fn dcgm(&mut self, path: &str, dcgm: &Dcgm, allowed: &[String]) {
        if dcgm.targets.is_empty() != dcgm.nodes.is_some() {
            let message =
                "exporters are either listed or one on each node; set exactly one of targets and nodes";
            self.add(ProblemKind::Setting, path, message);
        }
        for (index, target) in dcgm.targets.iter().enumerate() {
            self.address(
                &format!("{path}.targets[{index}]"),
                target,
                Credentials::None,
                allowed,
            );
        }
        if dcgm.interval.as_millis() < 1000 {
            let message = format!(
                "{} is faster than any exporter collects; use at least 1s",
                dcgm.interval
            );
            self.add(ProblemKind::Setting, format!("{path}.interval"), message);
        }
    }

    fn address(&mut self, path: &str, url: &str, credentials: Credentials, allowed: &[String]) {
        let endpoint = match Endpoint::parse(url) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                let message =
                    format!("cannot use this address, {error}; write for example https://prometheus:9090");
                self.add(ProblemKind::Setting, path, message);
                return;
            }
        };
        if endpoint.has_user {
            let message = "the address carries a user name or password; use basicAuth with a passwordFile";
            self.add(ProblemKind::Secret, path, message);
        }
        let reach = endpoint.reach();
        if credentials == Credentials::Sent && !endpoint.encrypted && reach != Reach::Loopback {
            let message = "the credential of this source would travel in clear text; use https";
            self.add(ProblemKind::PlainHttp, path, message);
        }
        if reach == Reach::LinkLocal && !allowed.contains(&endpoint.host) {
            let message = format!(
                "`{}` is link-local; use another address or add it to allowedAddresses",
                endpoint.host
            );
            self.add(ProblemKind::LinkLocal, path, message);
        }
    }

    fn cluster(&mut self, path: &str, cluster: &AksCluster) {
        if !is_guid(&cluster.subscription_id) {
            let message = "this is no subscription id; `az account show --query id` prints it";
            self.add(ProblemKind::Setting, format!("{path}.subscriptionId"), message);
        }
        for (field, value) in [
            ("resourceGroup", &cluster.resource_group),
            ("name", &cluster.name),
        ] {
            if value.trim().is_empty() || value.contains('/') {
                let message = format!("{field} is a plain name; write it without a path");
                self.add(ProblemKind::Setting, format!("{path}.{field}"), message);
            }
        }
        if let Some(endpoint) = &cluster.endpoint {
            self.address(&format!("{path}.endpoint"), endpoint, Credentials::Sent, &[]);
        }
        let version = cluster
            .api_version
            .strip_suffix("-preview")
            .unwrap_or(&cluster.api_version);
        if version.parse::<jiff::civil::Date>().is_err() {
            let message =
                "an API version is a date, with `-preview` or without; write for example 2026-08-01";
            self.add(ProblemKind::Setting, format!("{path}.apiVersion"), message);
        }
        if cluster.resize_with == ResizeWith::Patch && !cluster.api_version.ends_with("-preview") {
            let message = "stable versions of the API have no PATCH; leave it out, or set apiVersion to \
                           2026-08-02-preview";
            self.add(ProblemKind::Setting, format!("{path}.resizeWith"), message);
        }
    }
}

/// Whether requests carry a credential.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Credentials {
    None,
    Sent,
}

fn is_guid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    lengths == [8, 4, 4, 4, 12]
        && parts
            .iter()
            .all(|part| part.bytes().all(|b| b.is_ascii_hexdigit()))
}
