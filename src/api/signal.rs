//! What a policy looks at: one signal is one source with the words that turn it into a wish.
//!
//! A signal has exactly one source (`dcgm`, `promql` or `gpuRequests`), and the source decides which words
//! make sense: utilization has a target percentage, a count has a load per node, waiting pods need neither.
//! The rules below say so one by one, so that a wrong combination gets a sentence and not a "one of"
//! complaint.

#![allow(
    clippy::doc_markdown,
    clippy::duplicated_attributes,
    reason = "field docs are what `kubectl explain` prints; rules repeat an attribute"
)]
#![expect(
    unreachable_pub,
    reason = "`KubeSchema` copies each struct, `pub` and all, into a function"
)]

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::defaults;
use super::duration::HumanDuration;
use super::numbers::{LoadPerNode, Percent, Quantile, Threshold};
use super::text::{LabelName, LabelValue, Name, PromQl};

/// One source of evidence and how it becomes a size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("[has(self.dcgm), has(self.promql), has(self.gpuRequests)].filter(x, x).size() \
        == 1")
        .message("a signal has exactly one source; set one of dcgm, promql or gpuRequests, and use another \
            signal for another source"),
    validation = Rule::new("has(self.unit) || !has(self.promql)")
        .message("a promql signal must say its unit; set unit to percent, ratio, gpus or count"),
    validation = Rule::new("has(self.promql) || !has(self.unit)")
        .message("unit belongs to promql signals only; remove it, dcgm metrics and gpuRequests know their \
            unit"),
    validation = Rule::new("!has(self.targetPercentage) || has(self.dcgm) || (has(self.promql) && \
        !(has(self.unit) && self.unit == 'count'))")
        .message("targetPercentage needs a utilization; use dcgm, or promql with unit percent, ratio or \
            gpus, or give a count perNode"),
    validation = Rule::new("!(has(self.perNode) || has(self.perReplica)) || (has(self.unit) && self.unit == \
        'count')")
        .message("perNode and perReplica divide a count; use promql with unit count, or give a utilization \
            a targetPercentage"),
    validation = Rule::new("!(has(self.perNode) && has(self.perReplica))")
        .message("perNode and perReplica exclude each other; keep perNode for an AksNodePool, perReplica \
            for a ScaledObject"),
    validation = Rule::new("!(has(self.unit) && self.unit == 'count') || has(self.perNode) || \
        has(self.perReplica) || has(self.up) || has(self.down)")
        .message("a count means nothing by itself; say how much one node carries with perNode (perReplica \
            for a ScaledObject), or give up or down rules"),
    validation = Rule::new("!has(self.gpuRequests) || !(has(self.up) || has(self.down))")
        .message("gpuRequests takes no up or down rules: waiting pods are placed on nodes one by one; \
            remove the rules"),
    validation = Rule::new("self.absent != 'Zero' || (has(self.unit) && self.unit == 'count')")
        .message("absent: Zero is for promql counts only; an absent utilization is unknown and not idle, so \
            remove it"),
    validation = Rule::new("!(has(self.up) && has(self.down)) || self.down.below < self.up.above")
        .message("down.below must be lower than up.above, or the pool would grow and shrink at once; lower \
            down.below or raise up.above"),
    validation = Rule::new("!(has(self.up) && has(self.targetPercentage) && (has(self.dcgm) || \
        (has(self.unit) && (self.unit == 'percent' || self.unit == 'ratio')))) || self.targetPercentage < \
        self.up.above")
        .message("up.above must be higher than targetPercentage, or the pool would always want to grow; \
            raise up.above or lower targetPercentage"),
    validation = Rule::new("!(has(self.down) && has(self.targetPercentage) && (has(self.dcgm) || \
        (has(self.unit) && (self.unit == 'percent' || self.unit == 'ratio')))) || self.down.below < \
        self.targetPercentage")
        .message("down.below must be lower than targetPercentage, or the pool would shrink at its target; \
            lower down.below"),
    validation = Rule::new("!(has(self.up) && has(self.down)) || self.down.__for__ >= self.up.__for__")
        .message("down.for must be at least up.for: giving up a node needs more evidence than getting one; \
            raise down.for"),
    validation = Rule::new("!(has(self.dcgm) || (has(self.unit) && (self.unit == 'percent' || self.unit == \
        'ratio'))) || !has(self.up) || (self.up.above > 1.0 && self.up.above <= 100.0)")
        .message("up.above of a utilization is a percentage above 1 and at most 100 (80 means 80 %, also \
            where the unit is ratio)"),
    validation = Rule::new("!(has(self.dcgm) || (has(self.unit) && (self.unit == 'percent' || self.unit == \
        'ratio'))) || !has(self.down) || self.down.below <= 100.0")
        .message("down.below of a utilization is a percentage from 0 to 100 (30 means 30 %, also where the \
            unit is ratio)")
)]
pub struct Signal {
    /// Name of the signal, unique in the policy; decisions and status name it.
    pub name: Name,

    /// A utilization that NVIDIA's dcgm-exporter publishes for each GPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DcgmSource")]
    pub dcgm: Option<DcgmSource>,

    /// A Prometheus expression. It is evaluated as a subquery over the window, so write it without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promql: Option<PromQl>,

    /// Pods that wait for GPUs of this pool, from the cluster view; each is placed on a node by its own
    /// needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "GpuRequests")]
    pub gpu_requests: Option<GpuRequests>,

    /// Unit of a promql expression: percent (0 to 100), ratio (0 to 1), gpus (busy GPUs) or count. Never
    /// guessed, because 0.7 is a sensible value of two of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Unit")]
    pub unit: Option<Unit>,

    /// How devices (or series of an expression) combine for the up and down rules: Mean or Max. Default Mean,
    /// the load of the pool; Max watches the busiest device.
    #[serde(default)]
    pub across: Across,

    /// The utilization to keep, in percent of the pool's GPUs. A utilization signal with neither a target nor
    /// rules uses 85: the slow release of nodes supplies the rest of the headroom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_percentage: Option<Percent>,

    /// How much of a count one node carries, for an AksNodePool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_node: Option<LoadPerNode>,

    /// How much of a count one replica carries, for a ScaledObject.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_replica: Option<LoadPerNode>,

    /// The span that demand is averaged over where no rule says otherwise. Default 1m: two collections of the
    /// exporter, so that one odd sample does not decide.
    #[serde(default = "defaults::signal_window")]
    #[x_kube(validation = Rule::new("self >= duration('15s') && self <= duration('24h')")
        .message("window must be from 15s to 24h"))]
    pub window: HumanDuration,

    /// Allows growth only while it is met. Default none: the wish itself is the evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "UpRule")]
    pub up: Option<UpRule>,

    /// Allows shrinking only while it is met. Default none: the pool shrinks when the smaller size keeps
    /// demand under the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "DownRule")]
    pub down: Option<DownRule>,

    /// What an empty answer means for a count: Unknown, or Zero (only while the source itself answers).
    /// Default Unknown, because a query that matches nothing is more often a typing error than an idle
    /// service.
    #[serde(default)]
    pub absent: Absent,
}

/// What kind of source a signal has; the typed form of "exactly one of".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source<'a> {
    /// A dcgm-exporter metric.
    Dcgm(&'a DcgmSource),
    /// An expression and its unit.
    PromQl(&'a PromQl, Unit),
    /// Waiting pods.
    GpuRequests,
}

impl Signal {
    /// The signal's one source; `None` when the rules of this type do not hold.
    #[must_use]
    pub fn source(&self) -> Option<Source<'_>> {
        match (&self.dcgm, &self.promql, &self.gpu_requests, self.unit) {
            (Some(dcgm), None, None, None) => Some(Source::Dcgm(dcgm)),
            (None, Some(promql), None, Some(unit)) => Some(Source::PromQl(promql, unit)),
            (None, None, Some(GpuRequests {}), None) => Some(Source::GpuRequests),
            _ => None,
        }
    }
}

/// A utilization that dcgm-exporter publishes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DcgmSource {
    /// Which utilization: GpuUtilization (a kernel was resident; not for MIG), GraphicsEngineActive (works
    /// for MIG), SmActive, TensorActive, DramActive, MemoryUsed, or PowerRatio. SmActive needs a custom
    /// counters file.
    pub metric: DcgmMetric,

    /// Labels that the series must carry, matched exactly. Default none: all devices of the source. Where nodes
    /// are not seen and a source has several GPU pools, they have to name this one.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub match_labels: BTreeMap<LabelName, LabelValue>,
}

/// The utilizations that dcgm-exporter publishes, from the coarsest to the most telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DcgmMetric {
    /// `DCGM_FI_DEV_GPU_UTIL`, percent: some kernel was resident. Not for MIG.
    GpuUtilization,
    /// `DCGM_FI_PROF_GR_ENGINE_ACTIVE`, ratio: the utilization of MIG instances.
    GraphicsEngineActive,
    /// `DCGM_FI_PROF_SM_ACTIVE`, ratio: needs a custom counters file.
    SmActive,
    /// `DCGM_FI_PROF_PIPE_TENSOR_ACTIVE`, ratio.
    TensorActive,
    /// `DCGM_FI_PROF_DRAM_ACTIVE`, ratio.
    DramActive,
    /// `DCGM_FI_DEV_FB_USED` ÷ (used + free).
    MemoryUsed,
    /// `DCGM_FI_DEV_POWER_USAGE` ÷ the power limit.
    PowerRatio,
}

/// Waiting pods as a source; it has no settings yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GpuRequests {}

/// Unit of a promql expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    /// 0 to 100.
    Percent,
    /// 0 to 1.
    Ratio,
    /// Requests, jobs, messages: anything from 0 up.
    Count,
    /// Busy GPUs, in whole GPUs: a demand that was summed elsewhere.
    Gpus,
}

/// How devices combine into one value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Across {
    /// The mean over devices.
    #[default]
    Mean,
    /// The busiest device.
    Max,
}

/// What an empty answer means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Absent {
    /// Nothing is known: the signal never shrinks the pool.
    #[default]
    Unknown,
    /// Nothing is there, provided that the source itself answers.
    Zero,
}

/// How a window of samples becomes one verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WindowRule {
    /// The time-weighted mean of the window passes the threshold.
    Mean,
    /// The given quantile of the window passes the threshold.
    Quantile,
    /// Every known moment of the window passes the threshold.
    Hold,
}

/// When a signal allows growth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(self.rule == 'Quantile') == has(self.quantile)")
        .message("rule Quantile and the field quantile go together; set both (for example quantile: 0.95) \
            or neither")
)]
pub struct UpRule {
    /// Growth is allowed at or above this value: percent for a utilization, GPUs or a plain count for those
    /// units.
    pub above: Threshold,

    /// Length of the window that is judged. Default 1m: growth is urgent and cheap to undo.
    #[serde(default = "defaults::up_for")]
    #[x_kube(validation = Rule::new("self >= duration('15s') && self <= duration('24h')")
        .message("for must be from 15s to 24h"))]
    pub r#for: HumanDuration,

    /// How the window is judged: Mean, Quantile (with quantile) or Hold. Default Mean, which one short dip
    /// does not defeat.
    #[serde(default = "UpRule::default_rule")]
    pub rule: WindowRule,

    /// Which quantile of the window is compared; only with rule Quantile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantile: Option<Quantile>,
}

impl UpRule {
    fn default_rule() -> WindowRule {
        WindowRule::Mean
    }
}

/// When a signal allows shrinking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("(self.rule == 'Quantile') == has(self.quantile)")
        .message("rule Quantile and the field quantile go together; set both (for example quantile: 0.95) \
            or neither")
)]
pub struct DownRule {
    /// Shrinking is allowed at or below this value: percent for a utilization, GPUs or a plain count for
    /// those units.
    pub below: Threshold,

    /// Length of the window that is judged. Default 30m: a lost node costs a boot of many minutes.
    #[serde(default = "defaults::down_for")]
    #[x_kube(validation = Rule::new("self >= duration('15s') && self <= duration('24h')")
        .message("for must be from 15s to 24h"))]
    pub r#for: HumanDuration,

    /// How the window is judged: Mean, Quantile (with quantile) or Hold. Default Hold: one busy moment is
    /// reason enough to keep the node.
    #[serde(default = "DownRule::default_rule")]
    pub rule: WindowRule,

    /// Which quantile of the window is compared; only with rule Quantile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantile: Option<Quantile>,
}

impl DownRule {
    fn default_rule() -> WindowRule {
        WindowRule::Hold
    }
}
