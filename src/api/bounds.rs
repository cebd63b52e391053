//! The fields around the size: what is resized, how far, when, for how much, and which node leaves.

#![allow(
    clippy::doc_markdown,
    clippy::duplicated_attributes,
    reason = "field docs are what `kubectl explain` prints; rules repeat an attribute"
)]
#![expect(
    unreachable_pub,
    reason = "`KubeSchema` copies each struct, `pub` and all, into a function"
)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::defaults;
use super::duration::HumanDuration;
use super::numbers::{NodeCount, Ratio, Threshold, UsdPerHour};
use super::text::{CronExpression, Name, ObjectName, PoolName, ZoneName};

/// What a policy resizes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.kind != 'AksNodePool' || self.name.matches('^[a-z][a-z0-9]{0,11}$')")
        .message("an AksNodePool name has 1 to 12 lower-case letters and digits and starts with a letter; \
            check it with `az aks nodepool list`"),
    validation = Rule::new("self.kind != 'ScaledObject' || !has(self.cluster)")
        .message("a ScaledObject is in the cluster that gpuscale runs in; remove cluster")
)]
pub struct TargetRef {
    /// AksNodePool (resized through the Azure API) or ScaledObject (answered through KEDA, same namespace).
    pub kind: TargetKind,

    /// Name of the agent pool or of the ScaledObject.
    pub name: ObjectName,

    /// Name of the cluster in gpuscale's configuration. Default: the cluster that gpuscale runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Name>,
}

/// The two kinds of target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TargetKind {
    /// An agent pool of an AKS cluster.
    AksNodePool,
    /// A KEDA ScaledObject in the policy's namespace.
    ScaledObject,
}

/// What gpuscale writes to a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Actuation {
    /// The pool's node count; the pool's own autoscaler must be off.
    #[default]
    Count,
    /// The minimum of the pool's cluster autoscaler, never above its maximum; the autoscaler removes the
    /// nodes.
    AutoscalerFloor,
}

/// A pool of the same cluster that takes over when capacity fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FallbackNodePool {
    /// Name of the agent pool.
    pub name: PoolName,
}

/// What the pool may cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Budget {
    /// The pool never grows beyond this price. While the price of a node is unknown, it does not grow at all.
    pub usd_per_hour: UsdPerHour,
}

/// Bounds that hold for a time of the day or week, within the policy's own maximum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("has(self.minNodes) || has(self.maxNodes) || has(self.minReplicas) || \
        has(self.maxReplicas)")
        .message("a schedule must change a bound; set minNodes or maxNodes (minReplicas or maxReplicas for \
            a ScaledObject)"),
    validation = Rule::new("!(has(self.minNodes) && has(self.maxNodes)) || self.minNodes <= self.maxNodes")
        .message("minNodes of a schedule must not exceed its maxNodes; lower minNodes or raise maxNodes"),
    validation = Rule::new("!(has(self.minReplicas) && has(self.maxReplicas)) || self.minReplicas <= \
        self.maxReplicas")
        .message("minReplicas of a schedule must not exceed its maxReplicas; lower minReplicas or raise \
            maxReplicas")
)]
pub struct Schedule {
    /// Name of the schedule, unique in the policy; decisions name it.
    pub name: Name,

    /// When it starts: minute, hour, day of month, month, day of week, as in crontab(5).
    pub cron: CronExpression,

    /// Time zone of the cron expression, by its IANA name. Default UTC, the one zone without a clock change.
    #[serde(default = "ZoneName::utc")]
    pub time_zone: ZoneName,

    /// How long it lasts from each start.
    #[x_kube(validation = Rule::new("self >= duration('1m') && self <= duration('168h')")
        .message("duration of a schedule must be from 1m to 168h (a week)"))]
    pub duration: HumanDuration,

    /// The smallest size while it lasts. Default: the policy's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_nodes: Option<NodeCount>,

    /// The largest size while it lasts. Default: the policy's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_nodes: Option<NodeCount>,

    /// The smallest number of replicas while it lasts, for a ScaledObject. Default: the policy's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<NodeCount>,

    /// The largest number of replicas while it lasts, for a ScaledObject. Default: the policy's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_replicas: Option<NodeCount>,
}

/// Which node leaves, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.victims != 'PlatformChooses' || !self.replaceUnhealthy")
        .message("replaceUnhealthy names the node to replace, which PlatformChooses cannot; use victims \
            IdleFirst or Drain"),
    validation = Rule::new("self.victims != 'Drain' || self.drainTimeout >= duration('1m')")
        .message("victims Drain needs a drainTimeout of at least 1m, or no pod could ever leave in time")
)]
pub struct ScaleIn {
    /// IdleFirst (nodes without GPU pods only), Drain (also GPU pods that opted in) or PlatformChooses (AKS
    /// picks; only when every device was idle, and only if the administrator allows it). Default IdleFirst:
    /// no busy GPU is taken away.
    #[serde(default)]
    pub victims: Victims,

    /// How long the pods of a node may take to leave before the node is given back. Default 15m: room for the
    /// usual grace periods.
    #[serde(default = "defaults::drain_timeout")]
    #[x_kube(validation = Rule::new("self <= duration('24h')").message("drainTimeout must be at most 24h"))]
    pub drain_timeout: HumanDuration,

    /// Whether idle nodes with a hardware fault are removed and asked for again. Default false: a replacement
    /// may not be had when capacity is short.
    #[serde(default)]
    pub replace_unhealthy: bool,
}

impl Default for ScaleIn {
    fn default() -> Self {
        Self {
            victims: Victims::IdleFirst,
            drain_timeout: defaults::DRAIN_TIMEOUT,
            replace_unhealthy: false,
        }
    }
}

/// Which node leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Victims {
    /// Nodes without GPU pods that were idle over the whole window.
    #[default]
    IdleFirst,
    /// Also nodes whose GPU pods all opted in to being drained.
    Drain,
    /// The platform picks; pods are not seen.
    PlatformChooses,
}

/// What the answers to KEDA contain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Scaler {
    /// UtilizationSum (the sum of GPU utilization with the target per replica; HPA computes the size) or
    /// DesiredReplicas (gpuscale computes the size). Default UtilizationSum, which HPA's own limits
    /// understand.
    #[serde(default)]
    pub publish: Publish,

    /// What wakes a ScaledObject at zero replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Activation")]
    pub activation: Option<Activation>,

    /// Settings that the ScaledObject's trigger metadata may override. Default none: the policy decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4))]
    #[x_kube(merge_strategy = ListMerge::Set)]
    pub allow_overrides: Vec<ScalerOverride>,
}

/// What is published to KEDA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Publish {
    /// The sum of GPU utilization, with the target per replica.
    #[default]
    UtilizationSum,
    /// The desired number of replicas, with target 1.
    DesiredReplicas,
}

/// A setting that trigger metadata may override.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ScalerOverride {
    /// The target percentage of the utilization signal.
    TargetPercentage,
    /// The activation threshold.
    ActivationAbove,
    /// The least replicas.
    MinReplicas,
    /// The most replicas.
    MaxReplicas,
}

/// What wakes a ScaledObject at zero replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Activation {
    /// Name of a promql count signal; it must exist while nothing runs.
    pub signal: Name,

    /// Active while the signal is above this. Default 0: anything at all waits.
    #[serde(default = "defaults::activation_above")]
    pub above: Threshold,
}

/// When measurements are good enough to shrink on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.maxAge >= self.scrapeInterval")
        .message("maxAge below scrapeInterval would call every sample stale; raise maxAge to at least twice \
            scrapeInterval"),
    validation = Rule::new("self.minCoverage >= 0.5")
        .message("minCoverage below 0.5 would shrink on less than half of the picture; use 0.5 to 1")
)]
pub struct DataQuality {
    /// The share of expected devices and time that must be known. Default 0.8: one device in five may be
    /// missing.
    #[serde(default = "defaults::min_coverage")]
    pub min_coverage: Ratio,

    /// The newest sample must not be older. Default 2m: four collections without a sample mean that the
    /// exporter is gone.
    #[serde(default = "defaults::max_age")]
    #[x_kube(validation = Rule::new("self >= duration('1s') && self <= duration('1h')").message("maxAge \
        must be from 1s to 1h"))]
    pub max_age: HumanDuration,

    /// How often the source gets new samples. Default 30s, the collection interval of dcgm-exporter.
    #[serde(default = "defaults::scrape_interval")]
    #[x_kube(validation = Rule::new("self >= duration('1s') && self <= \
        duration('10m')").message("scrapeInterval must be from 1s to 10m"))]
    pub scrape_interval: HumanDuration,

    /// A node counts as measured only after it was Ready this long. Default 5m: the exporter and the device
    /// plugin need minutes to answer.
    #[serde(default = "defaults::warm_up")]
    #[x_kube(validation = Rule::new("self <= duration('1h')").message("warmUp must be at most 1h"))]
    pub warm_up: HumanDuration,
}

impl Default for DataQuality {
    fn default() -> Self {
        Self {
            min_coverage: defaults::MIN_COVERAGE,
            max_age: defaults::MAX_AGE,
            scrape_interval: defaults::SCRAPE_INTERVAL,
            warm_up: defaults::WARM_UP,
        }
    }
}
