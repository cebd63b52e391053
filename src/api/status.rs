//! What the controller writes back: the story of the last decision, and the memory of the next one.

#![allow(clippy::doc_markdown, reason = "field docs are what `kubectl explain` prints")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::Mode;

/// The longest `status.memory` that is kept, in bytes: 16 KiB of engine memory in base64, with room.
pub const MAX_MEMORY_LENGTH: usize = 24_576;

/// State of a policy as the controller last saw it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GpuScalePolicyStatus {
    /// The generation of the spec that this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Conditions: Accepted, Ready, MetricsAvailable, ScalingActive, ScalingLimited, AbleToScale,
    /// Conflicting.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// The mode of the last decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Mode")]
    pub mode: Option<Mode>,

    /// Nodes that the target has now (replicas for a ScaledObject).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub current_nodes: Option<i32>,

    /// Nodes that the last decision asks for (replicas for a ScaledObject).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub desired_nodes: Option<i32>,

    /// Mean utilization of the target's GPUs in percent, over the signal's window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub utilization_percent: Option<i32>,

    /// The share of expected devices and time that is known, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub coverage_percent: Option<i32>,

    /// Why the size is what it is: the reason of the last decision, in CamelCase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128))]
    pub reason: Option<String>,

    /// The same in a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub message: Option<String>,

    /// When gpuscale last changed the size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<Time>,

    /// What the engine remembers between decisions (cooldowns, recommendation maxima, learned headroom).
    /// Opaque; kept so that a restart forgets nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_MEMORY_LENGTH))]
    pub memory: Option<String>,
}
