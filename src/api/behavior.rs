//! How fast a size may move, in the words of the Kubernetes HorizontalPodAutoscaler.
//!
//! `policies`, `selectPolicy`, `tolerance` and the stabilization window mean what they mean there; durations
//! are written as durations and not as seconds.

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

use crate::policy::config::MAX_RATE_POLICIES;

use super::defaults;
use super::duration::HumanDuration;
use super::numbers::{MissPenalty, Ratio, StepSize};

/// How fast the size may move, for each direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Behavior {
    /// Limits of growth.
    #[serde(default)]
    pub scale_up: ScaleUp,

    /// Limits of shrinking.
    #[serde(default)]
    pub scale_down: ScaleDown,
}

/// Limits of growth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScaleUp {
    /// Rates, each over its own period. Default 4 nodes (pods for a ScaledObject) or 100 percent per 1m: any size
    /// within minutes, and a wrong signal stays affordable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_RATE_POLICIES))]
    pub policies: Vec<RatePolicy>,

    /// Which of several rates counts: Max, Min, or Disabled (never grow). Default Max, as in the HPA.
    #[serde(default)]
    pub select_policy: SelectPolicy,

    /// Demand above the target by less than this ratio does not grow the pool. Default 0.05: less is noise.
    #[serde(default = "defaults::scale_up_tolerance")]
    #[x_kube(validation = Rule::new("self <= 0.5").message("tolerance above 0.5 would ignore a demand of \
        half as much again; use at most 0.5"))]
    pub tolerance: Ratio,

    /// The smallest wish of this span is taken. Default 0s: the evidence window has already waited.
    #[serde(default = "defaults::scale_up_stabilization")]
    #[x_kube(validation = Rule::new("self <= duration('24h')").message("stabilization must be at most 24h"))]
    pub stabilization: HumanDuration,
}

impl Default for ScaleUp {
    fn default() -> Self {
        Self {
            policies: Vec::new(),
            select_policy: SelectPolicy::Max,
            tolerance: defaults::SCALE_UP_TOLERANCE,
            stabilization: defaults::SCALE_UP_STABILIZATION,
        }
    }
}

/// Limits of shrinking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScaleDown {
    /// Rates, each over its own period. Default 25 percent per 10m: most of the pool stays for load that
    /// comes back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_RATE_POLICIES))]
    pub policies: Vec<RatePolicy>,

    /// Which of several rates counts: Max, Min, or Disabled (never shrink). Default Max, as in the HPA.
    #[serde(default)]
    pub select_policy: SelectPolicy,

    /// Demand below the target by less than this ratio does not shrink the pool. Default 0.05, as for growth,
    /// so that a pool does not breathe around its target.
    #[serde(default = "defaults::scale_down_tolerance")]
    #[x_kube(validation = Rule::new("self <= 0.5").message("tolerance above 0.5 would keep twice the nodes \
        that demand needs; use at most 0.5"))]
    pub tolerance: Ratio,

    /// The largest wish of this span is taken. Default 20m: two to three boots of a GPU node.
    #[serde(default = "defaults::scale_down_stabilization")]
    #[x_kube(validation = Rule::new("self <= duration('24h')").message("stabilization must be at most 24h"))]
    pub stabilization: HumanDuration,

    /// After any resize nothing shrinks for this long. Default 10m: one boot of a GPU node.
    #[serde(default = "defaults::scale_down_cooldown")]
    #[x_kube(validation = Rule::new("self <= duration('24h')").message("cooldown must be at most 24h"))]
    pub cooldown: HumanDuration,
}

impl Default for ScaleDown {
    fn default() -> Self {
        Self {
            policies: Vec::new(),
            select_policy: SelectPolicy::Max,
            tolerance: defaults::SCALE_DOWN_TOLERANCE,
            stabilization: defaults::SCALE_DOWN_STABILIZATION,
            cooldown: defaults::SCALE_DOWN_COOLDOWN,
        }
    }
}

/// One rate: at most this much change within a period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RatePolicy {
    /// What value counts: Nodes (of an AksNodePool), Pods (of a ScaledObject) or Percent of the current size.
    pub r#type: RateType,

    /// The most that may change within the period.
    pub value: StepSize,

    /// The span that changes are counted over.
    #[x_kube(validation = Rule::new("self >= duration('15s') && self <= duration('24h')")
        .message("period must be from 15s to 24h"))]
    pub period: HumanDuration,
}

/// What a rate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RateType {
    /// Nodes of a pool.
    Nodes,
    /// Replicas of a ScaledObject; HPA's word.
    Pods,
    /// Percent of the size at the start of the period.
    Percent,
}

/// Which of several rates counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SelectPolicy {
    /// The one that allows the most change.
    #[default]
    Max,
    /// The one that allows the least change.
    Min,
    /// No change in this direction.
    Disabled,
}

/// How a utilization becomes a size. Exactly one is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("[has(self.step), has(self.targetUtilization), has(self.forecast)].filter(x, \
        x).size() == 1")
        .message("a policy has exactly one strategy; set one of step, targetUtilization or forecast")
)]
pub struct Strategy {
    /// A fixed number of nodes per met rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "StepStrategy")]
    pub step: Option<StepStrategy>,

    /// The size at which demand fills the target percentage of the GPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "TargetUtilizationStrategy")]
    pub target_utilization: Option<TargetUtilizationStrategy>,

    /// The size that covers what demand is likely to reach within one boot, learned from the past.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ForecastStrategy")]
    pub forecast: Option<ForecastStrategy>,
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            step: None,
            target_utilization: Some(TargetUtilizationStrategy {}),
            forecast: None,
        }
    }
}

/// The typed form of a strategy's "exactly one of".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StrategyKind<'a> {
    /// A fixed number of nodes per met rule.
    Step(&'a StepStrategy),
    /// The size at which demand fills the target.
    TargetUtilization,
    /// Learned headroom.
    Forecast(&'a ForecastStrategy),
}

impl Strategy {
    /// The one strategy; `None` when the rule of this type does not hold.
    #[must_use]
    pub fn kind(&self) -> Option<StrategyKind<'_>> {
        match (&self.step, &self.target_utilization, &self.forecast) {
            (Some(step), None, None) => Some(StrategyKind::Step(step)),
            (None, Some(TargetUtilizationStrategy {}), None) => Some(StrategyKind::TargetUtilization),
            (None, None, Some(forecast)) => Some(StrategyKind::Forecast(forecast)),
            _ => None,
        }
    }
}

/// Fixed steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepStrategy {
    /// Nodes (replicas) to add while an up rule is met. Default 1, the least surprising step.
    #[serde(default = "defaults::step_nodes")]
    pub up: StepSize,

    /// Nodes (replicas) to remove while every down rule is met. Default 1, for the same reason.
    #[serde(default = "defaults::step_nodes")]
    pub down: StepSize,
}

/// The target percentage as the strategy; it has no settings of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetUtilizationStrategy {}

/// Learned headroom: the quantile of demand growth within one boot, set by what a miss costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForecastStrategy {
    /// What one unserved GPU-hour costs, in GPU-hours of capacity. Default 10: serving matters, at a price.
    #[serde(default = "defaults::miss_penalty")]
    pub miss_penalty: MissPenalty,
}
