//! The administrator's configuration: where metrics come from, which clusters there are, and what nobody may
//! exceed.
//!
//! Policies are written by teams and name sources and clusters; addresses, tenants and credentials stand
//! here, in a file that the administrator owns. Whoever could write a URL into a policy would own a request
//! forger inside the cluster, so the two are apart. Secrets are named by file and never written: the file is
//! mounted, printed and committed, and a credential in it is a credential published.
//!
//! Strict like the other documents: unknown fields are refused, and [`Config::problems`] holds fields against
//! each other. Text in, values out; it opens no file and speaks to no source: `source` and `actuator`
//! connect to what it names. `deploy/guide/configuration.md` tells administrators of every field.

mod endpoint;
mod problems;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::api::duration::HumanDuration;
use crate::api::numbers::UsdPerHour;
use crate::api::text::{LabelName, Name};
use crate::devices;

pub use endpoint::{Endpoint, EndpointError, Reach};
pub use problems::{Problem, ProblemKind};

/// Why a configuration cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ConfigError {
    /// Line of the document, from 1.
    pub line: u64,
    /// Column, from 1.
    pub column: u64,
    /// What is wrong.
    pub message: String,
}

/// The whole configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Sources of metrics by the name that policies use; `default` is what a policy without a name gets.
    #[serde(default)]
    pub metrics_sources: BTreeMap<Name, MetricsSource>,
    /// Clusters by the name that policies use.
    #[serde(default)]
    pub aks_clusters: BTreeMap<Name, AksCluster>,
    /// Addresses to listen on.
    #[serde(default)]
    pub listen: Listen,
    /// What no policy may exceed.
    #[serde(default)]
    pub limits: Limits,
    /// Prices by size of machine, such as `Standard_NC24ads_A100_v4: 2.9`, in USD per hour, in place of the on-demand ones
    /// that are built in.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prices: BTreeMap<String, UsdPerHour>,
    /// Stops all changes of all policies while true; decisions are still shown.
    #[serde(default)]
    pub freeze: bool,
}

/// One source of metrics: exactly one of `prometheus`, `azureManagedPrometheus` and `dcgm`, and how to read
/// it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetricsSource {
    /// A server with the Prometheus API: Prometheus, Thanos, Mimir, `VictoriaMetrics`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Prometheus>,
    /// An Azure Monitor workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure_managed_prometheus: Option<AzureManagedPrometheus>,
    /// The exporters themselves, without a store: the window is held in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dcgm: Option<Dcgm>,
    /// Which labels say where a sample comes from.
    #[serde(default)]
    pub label_mapping: LabelMapping,
    /// The longest a request may take. Default 10s.
    #[serde(default = "request_timeout")]
    pub timeout: HumanDuration,
    /// The largest answer that is read.
    #[serde(default)]
    pub limits: AnswerLimits,
    /// Link-local addresses that this source may be at. Default none: the cloud's metadata service, which
    /// hands out credentials, is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_addresses: Vec<String>,
}

/// Half of the default evaluation interval and a bit: a slower answer is late for its tick.
fn request_timeout() -> HumanDuration {
    HumanDuration::from_secs(10)
}

/// A server with the Prometheus API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prometheus {
    /// Base address with the path before `/api/v1`, such as `https://mimir.example.com/prometheus`.
    pub url: String,
    /// How queries are sent. Default Post, which has room for any query.
    #[serde(default)]
    pub method: Method,
    /// Parameters sent with every query, such as `partial_response: "false"` for Thanos.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<String, String>,
    /// Headers sent with every request; no credentials.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Tenant, sent as `X-Scope-OrgID`, for Mimir and Cortex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// File with a bearer token, read again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_token_file: Option<String>,
    /// User name, and a file with the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// A token of Microsoft Entra.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entra: Option<Entra>,
    /// Certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// How queries are sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// As a form.
    #[default]
    Post,
    /// In the address, for servers that allow nothing else.
    Get,
}

/// User name, and where the password is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BasicAuth {
    /// The user.
    pub username: String,
    /// File with the password, read again when it changes.
    pub password_file: String,
}

/// A token of Microsoft Entra.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entra {
    /// Client id of the identity; that of the pod where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Audience of the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// File with the secret of the application `clientId`, read for each token. It comes before every other identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret_file: Option<String>,
    /// Tenant of that application; that of the environment where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
}

/// Certificates of a connection; all are files, read again when they change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// Authorities that are trusted in place of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// The client's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<String>,
    /// Its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<String>,
}

/// An Azure Monitor workspace; the token is Entra's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzureManagedPrometheus {
    /// Query endpoint of the workspace, `https://<workspace>.<region>.prometheus.monitor.azure.com`.
    pub endpoint: String,
    /// Whose token; that of the pod where it is not given.
    #[serde(default)]
    pub entra: Entra,
}

/// The exporters themselves: either listed, or one on each GPU node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dcgm {
    /// Addresses of exporters, such as `http://10.0.0.4:19400/metrics`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// One exporter on each GPU node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<DcgmNodes>,
    /// Time between two scrapes. Default 30s: the exporter collects no faster.
    #[serde(default = "scrape_interval")]
    pub interval: HumanDuration,
}

fn scrape_interval() -> HumanDuration {
    crate::api::defaults::SCRAPE_INTERVAL
}

/// One exporter on each GPU node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DcgmNodes {
    /// Port of the exporter. Default 19400, that of AKS managed GPU pools.
    #[serde(default = "exporter_port")]
    pub port: u16,
}

fn exporter_port() -> u16 {
    19_400
}

/// Which labels say where a sample comes from. Default: `node`, `Hostname`, `hostname` and `instance` in that order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelMapping {
    /// The label with the node's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<LabelName>,
    /// The label with the workload's pod, such as `exported_pod`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<LabelName>,
    /// The label with the workload's namespace, such as `exported_namespace`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<LabelName>,
}

impl LabelMapping {
    /// The mapping that reads series: what is not said here is as ever.
    #[must_use]
    pub fn labels(&self) -> devices::LabelMapping {
        let ever = devices::LabelMapping::default();
        let or = |said: &Option<LabelName>, ever: Vec<String>| {
            said.as_ref().map_or(ever, |name| vec![name.as_str().to_owned()])
        };
        devices::LabelMapping {
            node: or(&self.node, ever.node),
            pod: or(&self.pod, ever.pod),
            ..ever
        }
    }
}

/// The largest answer that is read; a larger one is an error and never a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AnswerLimits {
    /// Bytes, unpacked. Default 67108864.
    pub bytes: u64,
    /// Series. Default 20000.
    pub series: u64,
    /// Samples. Default 2000000: a thousand GPUs for a day at 45 s.
    pub samples: u64,
}

impl Default for AnswerLimits {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            series: 20_000,
            samples: 2_000_000,
        }
    }
}

/// An AKS cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AksCluster {
    /// The subscription, a GUID.
    pub subscription_id: String,
    /// The resource group of the cluster; not the one of its nodes.
    pub resource_group: String,
    /// The cluster's name.
    pub name: String,
    /// Address of the Azure Resource Manager, in place of that of `cloud`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// Version of the API. Default 2026-08-01.
    #[serde(default = "api_version")]
    pub api_version: String,
    /// Public, `UsGovernment` or China. Default Public.
    #[serde(default)]
    pub cloud: Cloud,
    /// Whose token goes along. Default: that of the pod, for the address of the Azure Resource Manager.
    #[serde(default)]
    pub entra: Entra,
    /// How a count is written. Default Put.
    #[serde(default)]
    pub resize_with: ResizeWith,
}

/// How a count is written to a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResizeWith {
    /// The whole pool as it was read, with the new count.
    #[default]
    Put,
    /// The count alone, which runs beside an upgrade; the API has it in preview versions.
    Patch,
}

fn api_version() -> String {
    "2026-08-01".to_owned()
}

/// An Azure cloud.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cloud {
    /// The worldwide one.
    #[default]
    Public,
    /// That of the government of the United States.
    UsGovernment,
    /// That of China.
    China,
}

/// Addresses to listen on, as `address:port`; port 0 takes any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Listen {
    /// Metrics and health. Default 0.0.0.0:8080.
    pub metrics: String,
    /// The external scaler, which is not part of this version. Default 0.0.0.0:9443.
    pub scaler: String,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            metrics: "0.0.0.0:8080".to_owned(),
            scaler: "0.0.0.0:9443".to_owned(),
        }
    }
}

/// What no policy may exceed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// The largest size of any pool. Default none.
    pub max_nodes: Option<u32>,
    /// Whether `victims: PlatformChooses` may be used. Default false: pods are not seen there.
    pub allow_platform_chooses: bool,
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] with the first place that cannot be read. Whether the fields fit each other is told by
    /// [`Config::problems`].
    pub fn parse(yaml: &str) -> Result<Self, ConfigError> {
        serde_saphyr::from_str(yaml).map_err(|error| {
            let text = error.without_snippet().to_string();
            let text = text.lines().next().unwrap_or_default();
            let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
            ConfigError {
                line,
                column,
                message: text[..text.find(" at line ").unwrap_or(text.len())].to_owned(),
            }
        })
    }

    /// Whether a document says `freeze: true`, whatever else of it is wrong: the brake is for when things go wrong.
    #[must_use]
    pub fn says_freeze(yaml: &str) -> bool {
        #[derive(Deserialize)]
        struct Brake {
            freeze: bool,
        }
        serde_saphyr::from_str::<Brake>(yaml).is_ok_and(|brake| brake.freeze)
    }

    /// Names of the metrics sources, in order.
    #[must_use]
    pub fn source_names(&self) -> Vec<&str> {
        self.metrics_sources.keys().map(Name::as_str).collect()
    }

    /// Names of the clusters, in order.
    #[must_use]
    pub fn cluster_names(&self) -> Vec<&str> {
        self.aks_clusters.keys().map(Name::as_str).collect()
    }
}

#[cfg(test)]
mod tests;
