//! `GpuScalePolicy`: the one document that people write, as a file for every command and as a resource in a
//! cluster.
//!
//! The types read and bound each field; the rules below hold fields against each other. The rules are CEL,
//! because then the API server refuses exactly what the offline check refuses, from one text. Each message
//! says what is wrong and what to do, since it is all that the writer sees.
//!
//! A policy has one of two forms, chosen by `targetRef.kind`: node counts for an `AksNodePool`, replica
//! counts and a `scaler` for a `ScaledObject`. Fields of one form have no schema default, so that "not set"
//! stays visible to the rules; their defaults are applied by the accessors here.

#![allow(
    clippy::doc_markdown,
    clippy::duplicated_attributes,
    reason = "field docs are what `kubectl explain` prints; rules repeat an attribute"
)]
#![expect(
    unreachable_pub,
    reason = "`KubeSchema` copies each struct, `pub` and all, into a function"
)]

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::policy::config::MAX_SIGNALS;

use super::behavior::{Behavior, Strategy};
use super::bounds::{
    Actuation, Budget, DataQuality, FallbackNodePool, ScaleIn, Scaler, Schedule, TargetKind, TargetRef,
};
use super::defaults;
use super::duration::HumanDuration;
use super::numbers::{GrowthPercent, NodeCount};
use super::signal::Signal;
use super::status::GpuScalePolicyStatus;
use super::text::Name;

/// What a policy says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "gpuscale.dev",
    version = "v1alpha1",
    kind = "GpuScalePolicy",
    plural = "gpuscalepolicies",
    namespaced,
    shortname = "gsp",
    category = "gpu",
    category = "autoscaling",
    status = "GpuScalePolicyStatus",
    derive = "PartialEq",
    cel,
    doc = "Keeps a GPU node pool, or the replicas of a KEDA ScaledObject, at the size that its GPUs' real \
        work needs.",
    printcolumn(name = "Pool", type_ = "string", json_path = ".spec.targetRef.name"),
    printcolumn(name = "Min", type_ = "integer", json_path = ".spec.minNodes"),
    printcolumn(name = "Max", type_ = "integer", json_path = ".spec.maxNodes"),
    printcolumn(name = "Nodes", type_ = "integer", json_path = ".status.currentNodes"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".status.desiredNodes"),
    printcolumn(name = "Util", type_ = "integer", json_path = ".status.utilizationPercent"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.reason"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Coverage",
        type_ = "integer",
        json_path = ".status.coveragePercent",
        priority = 1
    ),
    printcolumn(
        name = "LastScale",
        type_ = "date",
        json_path = ".status.lastScaleTime",
        priority = 1
    ),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode", priority = 1)
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("self.targetRef.kind != 'AksNodePool' || has(self.maxNodes)")
        .message("an AksNodePool policy needs maxNodes; set the most nodes that the pool may ever have"),
    validation = Rule::new("self.targetRef.kind != 'AksNodePool' || !(has(self.minReplicas) || \
        has(self.maxReplicas) || has(self.scaler))")
        .message("minReplicas, maxReplicas and scaler belong to ScaledObject policies; for an AksNodePool \
            use minNodes and maxNodes"),
    validation = Rule::new("self.targetRef.kind != 'ScaledObject' || (has(self.maxReplicas) && \
        has(self.scaler))")
        .message("a ScaledObject policy needs maxReplicas and scaler; set both (scaler: {} publishes the \
            utilization sum)"),
    validation = Rule::new("self.targetRef.kind != 'ScaledObject' || !(has(self.minNodes) || \
        has(self.maxNodes) || has(self.spareNodes))")
        .message("minNodes, maxNodes and spareNodes belong to AksNodePool policies; for a ScaledObject use \
            minReplicas and maxReplicas"),
    validation = Rule::new("self.targetRef.kind != 'ScaledObject' || !has(self.actuation)")
        .message("actuation (Count or AutoscalerFloor) works on node pools only; remove it, KEDA acts on \
            the ScaledObject"),
    validation = Rule::new("self.targetRef.kind != 'ScaledObject' || !(has(self.scaleIn) || \
        has(self.fallbackNodePools) || has(self.budget) || has(self.provisionTimeout))")
        .message("scaleIn, fallbackNodePools, budget and provisionTimeout are about nodes; remove them from \
            a ScaledObject policy"),
    validation = Rule::new("!has(self.maxNodes) || (has(self.minNodes) ? self.minNodes : 1) <= self.maxNodes")
        .message("minNodes (1 where it is not set) must not exceed maxNodes; lower minNodes or raise \
            maxNodes"),
    validation = Rule::new("!has(self.maxReplicas) || (has(self.minReplicas) ? self.minReplicas : 1) <= \
        self.maxReplicas")
        .message("minReplicas (1 where it is not set) must not exceed maxReplicas; lower minReplicas or \
            raise maxReplicas"),
    validation = Rule::new("!has(self.maxNodes) || !has(self.spareNodes) || self.spareNodes <= self.maxNodes")
        .message("spareNodes must not exceed maxNodes; lower spareNodes or raise maxNodes"),
    validation = Rule::new("self.targetRef.kind != 'AksNodePool' || !((has(self.minNodes) && self.minNodes \
        == 0) || (has(self.schedules) && self.schedules.exists(s, has(s.minNodes) && s.minNodes == 0))) || \
        self.signals.exists(s, has(s.gpuRequests) || has(s.perNode))")
        .message("minNodes 0 needs a signal that exists while no node does, or nothing could wake the pool; \
            add a gpuRequests signal or a promql count with perNode"),
    validation = Rule::new("self.targetRef.kind != 'ScaledObject' || !((has(self.minReplicas) && \
        self.minReplicas == 0) || (has(self.schedules) && self.schedules.exists(s, has(s.minReplicas) && \
        s.minReplicas == 0))) || (has(self.scaler) && has(self.scaler.activation))")
        .message("minReplicas 0 needs scaler.activation, or nothing could wake the workload; name a promql \
            count signal there, such as the queue"),
    validation = Rule::new("!has(self.scaler) || !has(self.scaler.activation) || self.signals.exists(s, \
        s.name == self.scaler.activation.signal && has(s.unit) && s.unit == 'count')")
        .message("scaler.activation.signal must name a promql signal with unit count, which exists while no \
            replica runs; a utilization does not"),
    validation = Rule::new("!has(self.scaler) || self.scaler.publish != 'UtilizationSum' || \
        self.signals.filter(s, has(s.targetPercentage)).size() == 1")
        .message("publish UtilizationSum needs exactly one signal with a targetPercentage, whose sum is \
            published; set it on one, or use publish DesiredReplicas"),
    validation = Rule::new("self.targetRef.kind != 'ScaledObject' || self.signals.all(s, \
        !has(s.gpuRequests) && !has(s.perNode))")
        .message("gpuRequests and perNode count nodes; in a ScaledObject policy use a promql count with \
            perReplica"),
    validation = Rule::new("self.targetRef.kind != 'AksNodePool' || self.signals.all(s, !has(s.perReplica))")
        .message("perReplica counts replicas; in an AksNodePool policy use perNode"),
    validation = Rule::new("self.workload != 'Exclusive' || self.signals.exists(s, has(s.gpuRequests) || \
        has(s.perNode) || has(s.perReplica))")
        .message("workload Exclusive needs a gpuRequests signal or a count: a training pod holds its GPU at \
            100 %, so utilization never asks for more"),
    validation = Rule::new("self.workload != 'Exclusive' || !has(self.scaleIn) || self.scaleIn.victims != \
        'PlatformChooses'")
        .message("victims PlatformChooses does not see pods and could take a training node between two \
            steps; use IdleFirst or Drain with workload Exclusive"),
    validation = Rule::new("!has(self.actuation) || self.actuation != 'AutoscalerFloor' || \
        !has(self.scaleIn)")
        .message("with actuation AutoscalerFloor the cluster autoscaler picks the nodes that leave; remove \
            scaleIn or use actuation Count"),
    validation = Rule::new("!has(self.strategy.step) || self.signals.all(s, has(s.up) || has(s.gpuRequests) \
        || has(s.perNode) || has(s.perReplica))")
        .message("strategy step moves only while a rule is met; give every utilization signal an up rule \
            (and a down rule to shrink), or use targetUtilization"),
    validation = Rule::new("!has(self.behavior.scaleUp.policies) || self.behavior.scaleUp.policies.all(p, \
        p.type != (self.targetRef.kind == 'AksNodePool' ? 'Pods' : 'Nodes'))")
        .message("behavior.scaleUp counts Nodes for an AksNodePool and Pods for a ScaledObject; change the \
            policy's type (Percent fits both)"),
    validation = Rule::new("!has(self.behavior.scaleDown.policies) || \
        self.behavior.scaleDown.policies.all(p, p.type != (self.targetRef.kind == 'AksNodePool' ? 'Pods' : \
        'Nodes'))")
        .message("behavior.scaleDown counts Nodes for an AksNodePool and Pods for a ScaledObject; change \
            the policy's type (Percent fits both)"),
    validation = Rule::new("self.signals.all(s, (!has(s.up) || s.up.__for__ >= \
        self.dataQuality.scrapeInterval) && (!has(s.down) || s.down.__for__ >= \
        self.dataQuality.scrapeInterval))")
        .message("a rule's window is shorter than dataQuality.scrapeInterval and would hold no sample; \
            lengthen for or correct scrapeInterval"),
    validation = Rule::new("!has(self.schedules) || self.schedules.all(s, self.targetRef.kind == \
        'AksNodePool' ? !(has(s.minReplicas) || has(s.maxReplicas)) : !(has(s.minNodes) || has(s.maxNodes)))")
        .message("schedules of an AksNodePool set minNodes and maxNodes, those of a ScaledObject \
            minReplicas and maxReplicas; use the names of this target"),
    validation = Rule::new("!has(self.schedules) || !has(self.maxNodes) || self.schedules.all(s, \
        (!has(s.maxNodes) || s.maxNodes <= self.maxNodes) && (!has(s.minNodes) || s.minNodes <= \
        self.maxNodes))")
        .message("a schedule must stay within maxNodes of the policy, the bound that always holds; lower \
            the schedule's counts or raise maxNodes"),
    validation = Rule::new("!has(self.schedules) || !has(self.maxReplicas) || self.schedules.all(s, \
        (!has(s.maxReplicas) || s.maxReplicas <= self.maxReplicas) && (!has(s.minReplicas) || s.minReplicas \
        <= self.maxReplicas))")
        .message("a schedule must stay within maxReplicas of the policy, the bound that always holds; lower \
            the schedule's counts or raise maxReplicas"),
    validation = Rule::new("!has(self.schedules) || self.schedules.all(s, !has(s.maxNodes) || \
        has(s.minNodes) || (has(self.minNodes) ? self.minNodes : 1) <= s.maxNodes)")
        .message("a schedule's maxNodes is below minNodes of the policy; set minNodes in the schedule too"),
    validation = Rule::new("!has(self.schedules) || self.schedules.all(s, !has(s.maxReplicas) || \
        has(s.minReplicas) || (has(self.minReplicas) ? self.minReplicas : 1) <= s.maxReplicas)")
        .message("a schedule's maxReplicas is below minReplicas of the policy; set minReplicas in the \
            schedule too"),
    validation = Rule::new("!has(self.fallbackNodePools) || self.fallbackNodePools.all(f, f.name != \
        self.targetRef.name)")
        .message("fallbackNodePools names the target itself, which cannot stand in for itself; remove it \
            from the list")
)]
pub struct GpuScalePolicySpec {
    /// Recommend (decide and show, never write) or Enforce. Default Recommend: a policy has to be trusted
    /// before it may touch anything.
    #[serde(default)]
    pub mode: Mode,

    /// Stops all changes while true; decisions are still shown. Default false.
    #[serde(default)]
    pub suspend: bool,

    /// What is resized. It cannot change: the memory of the policy belongs to its target.
    #[x_kube(validation = Rule::new("self == oldSelf")
        .message("targetRef cannot change, cooldowns and history belong to it; delete the policy and create \
            another"))]
    pub target_ref: TargetRef,

    /// What is written to a pool: Count, or AutoscalerFloor (the minimum of the pool's own autoscaler, for
    /// pools that have it on). AksNodePool only. Default Count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Actuation")]
    pub actuation: Option<Actuation>,

    /// Pools that take over, in order, when the target's capacity fails. AksNodePool only. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 8))]
    #[x_kube(
        validation = Rule::new("self.all(a, self.exists_one(b, a.name == b.name))")
            .message("fallbackNodePools names a pool twice; remove one"),
        merge_strategy = ListMerge::Map(vec!["name".into()])
    )]
    pub fallback_node_pools: Option<Vec<FallbackNodePool>>,

    /// Shared (load spreads over replicas, as in serving) or Exclusive (a pod owns its GPUs, as in training:
    /// only waiting pods and queues grow the pool). Default Shared.
    #[serde(default)]
    pub workload: Workload,

    /// Name of the metrics source in gpuscale's configuration. Default `default`; a policy never carries a
    /// URL.
    #[serde(default = "Name::default_source")]
    pub metrics_source: Name,

    /// How often the policy decides. Default 15s: half a collection interval, so that no sample waits long.
    #[serde(default = "defaults::evaluation_interval")]
    #[x_kube(validation = Rule::new("self >= duration('5s') && self <= duration('10m')")
        .message("evaluationInterval must be from 5s to 10m: samples are no fresher, and promises about \
            reaction need an end"))]
    pub evaluation_interval: HumanDuration,

    /// What is looked at. The largest wish wins; the pool shrinks only if no signal is unknown and none
    /// objects.
    #[schemars(length(min = 1, max = MAX_SIGNALS))]
    #[x_kube(
        validation = Rule::new("self.all(a, self.exists_one(b, a.name == b.name))")
            .message("two signals have the same name; names tell signals apart in status and decisions, so \
                rename one"),
        merge_strategy = ListMerge::Map(vec!["name".into()])
    )]
    pub signals: Vec<Signal>,

    /// How a utilization becomes a size: step, targetUtilization or forecast. Default targetUtilization.
    #[serde(default)]
    pub strategy: Strategy,

    /// The fewest nodes. AksNodePool only. Default 1: a pool that scales to zero must say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_nodes: Option<NodeCount>,

    /// The most nodes, ever. AksNodePool only; required there, because a bound on spending is a person's
    /// choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_nodes: Option<NodeCount>,

    /// Nodes kept beyond what demand asks for. AksNodePool only. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spare_nodes: Option<NodeCount>,

    /// The fewest replicas. ScaledObject only. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_replicas: Option<NodeCount>,

    /// The most replicas, ever. ScaledObject only; required there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_replicas: Option<NodeCount>,

    /// What the answers to KEDA contain. ScaledObject only; required there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Scaler")]
    pub scaler: Option<Scaler>,

    /// How fast the size may move, in the words of the HorizontalPodAutoscaler.
    #[serde(default)]
    pub behavior: Behavior,

    /// After a resize, growth waits this long for load to spread. Default 3m.
    #[serde(default = "defaults::settle")]
    #[x_kube(validation = Rule::new("self <= duration('1h')").message("settle must be at most 1h"))]
    pub settle: HumanDuration,

    /// How far one step grows a pool whose GPUs are pinned at their limit, in percent of the GPUs in service.
    /// Default 50: utilization stops at 100 %, so the true demand is hidden.
    #[serde(default = "defaults::saturation_step")]
    pub saturation_step: GrowthPercent,

    /// How long a requested node counts as supply before it is asked for again. AksNodePool only. Default
    /// 20m: boot time, and AKS reports allocation failures for up to 20 minutes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = Rule::new("self >= duration('2m') && self <= duration('2h')")
        .message("provisionTimeout must be from 2m to 2h: no GPU node boots faster than 2m"))]
    pub provision_timeout: Option<HumanDuration>,

    /// What the pool may cost. AksNodePool only. Default none: maxNodes bounds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Budget")]
    pub budget: Option<Budget>,

    /// Other bounds at times of the day or week. Where several hold, the larger minimum and the larger
    /// maximum count. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    #[x_kube(
        validation = Rule::new("self.all(a, self.exists_one(b, a.name == b.name))")
            .message("two schedules have the same name; decisions name the schedule, so rename one"),
        merge_strategy = ListMerge::Map(vec!["name".into()])
    )]
    pub schedules: Option<Vec<Schedule>>,

    /// Which node leaves, and how. AksNodePool only. Default: idle nodes, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ScaleIn")]
    pub scale_in: Option<ScaleIn>,

    /// When measurements are good enough to shrink on.
    #[serde(default)]
    pub data_quality: DataQuality,
}

/// Whether decisions are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// Decide and show; write nothing.
    #[default]
    Recommend,
    /// Decide and act.
    Enforce,
}

/// How work occupies GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Workload {
    /// Load spreads over replicas.
    #[default]
    Shared,
    /// A pod owns its GPUs.
    Exclusive,
}

/// The smallest and largest size, in nodes or replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeBounds {
    /// The smallest size.
    pub min: NodeCount,
    /// The largest size.
    pub max: NodeCount,
}

impl GpuScalePolicySpec {
    /// The bounds of the target's form, defaults applied; `None` when the maximum of that form is missing.
    #[must_use]
    pub fn bounds(&self) -> Option<SizeBounds> {
        let (min, max) = match self.target_ref.kind {
            TargetKind::AksNodePool => (self.min_nodes.unwrap_or(defaults::MIN_NODES), self.max_nodes?),
            TargetKind::ScaledObject => (
                self.min_replicas.unwrap_or(defaults::MIN_REPLICAS),
                self.max_replicas?,
            ),
        };
        Some(SizeBounds { min, max })
    }

    /// Nodes kept beyond demand, default applied.
    #[must_use]
    pub fn spare_nodes(&self) -> NodeCount {
        self.spare_nodes.unwrap_or(defaults::SPARE_NODES)
    }

    /// What is written to a pool, default applied.
    #[must_use]
    pub fn actuation(&self) -> Actuation {
        self.actuation.unwrap_or_default()
    }

    /// Which node leaves, default applied.
    #[must_use]
    pub fn scale_in(&self) -> ScaleIn {
        self.scale_in.clone().unwrap_or_default()
    }

    /// How long a requested node counts as supply, default applied.
    #[must_use]
    pub fn provision_timeout(&self) -> HumanDuration {
        self.provision_timeout.unwrap_or(defaults::PROVISION_TIMEOUT)
    }

    /// The schedules; empty when there are none.
    #[must_use]
    pub fn schedules(&self) -> &[Schedule] {
        self.schedules.as_deref().unwrap_or_default()
    }

    /// The fallback pools; empty when there are none.
    #[must_use]
    pub fn fallback_node_pools(&self) -> &[FallbackNodePool] {
        self.fallback_node_pools.as_deref().unwrap_or_default()
    }
}
