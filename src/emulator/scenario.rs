//! What is emulated, as a document: a cluster, its pools, what is asked of their GPUs, and what goes wrong.
//!
//! Strict like the other documents: unknown fields are refused. Text in, values out; a recorded demand is named here and
//! brought by the caller ([`Scenario::recordings`], [`Scenario::record`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::api::duration::HumanDuration;
use crate::policy::config::Micro;
use crate::recording::{Demand, MAX_DEMAND, MICRO};
use crate::simulator::scenario::gpus_of;

use super::behavior::Behavior;
use super::fault::Fault;

/// Most nodes of a pool, by the reference.
pub const MOST_NODES: u32 = 1000;

/// Most GPUs of a node.
const MOST_GPUS_PER_NODE: u32 = 64;

/// Why a scenario cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ScenarioError {
    /// Text that is no such document.
    #[error("line {line}, column {column}: {message}")]
    Read {
        /// Line, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// What is wrong.
        message: String,
    },
    /// A field that cannot be so.
    #[error("`{field}` {problem}")]
    Field {
        /// Where it stands.
        field: String,
        /// What is wrong, and what to do.
        problem: String,
    },
}

/// A cluster to emulate.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Scenario {
    /// The subscription.
    pub subscription_id: String,
    /// The resource group.
    pub resource_group: String,
    /// The cluster's name.
    pub cluster_name: String,
    /// The region.
    pub location: String,
    /// Node pools by name.
    pub pools: BTreeMap<String, PoolSpec>,
    /// From the request for a node until it is Ready. Eight minutes is what people measure for GPU nodes.
    pub boot_delay: HumanDuration,
    /// From Ready until its GPUs can be scheduled and its exporter answers.
    pub driver_delay: HumanDuration,
    /// Length of an operation on a pool.
    pub operation_time: HumanDuration,
    /// What `Retry-After` says.
    pub retry_after: HumanDuration,
    /// Switches for what nobody has established.
    pub behavior: Behavior,
    /// The metrics server.
    pub metrics: MetricsSpec,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Operations that the platform starts by itself.
    pub background: Vec<Background>,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            subscription_id: "00000000-0000-0000-0000-000000000000".to_owned(),
            resource_group: "gpuscale".to_owned(),
            cluster_name: "emulated".to_owned(),
            location: "eastus".to_owned(),
            pools: BTreeMap::new(),
            boot_delay: HumanDuration::from_mins(8),
            driver_delay: HumanDuration::from_mins(1),
            operation_time: HumanDuration::from_secs(30),
            retry_after: HumanDuration::from_secs(10),
            behavior: Behavior::default(),
            metrics: MetricsSpec::default(),
            faults: Vec::new(),
            background: Vec::new(),
        }
    }
}

/// A node pool at the start: all of its nodes are there.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PoolSpec {
    /// The size of its machines.
    pub vm_size: String,
    /// GPUs of a node; known for the sizes that people use.
    pub gpus_per_node: Option<u32>,
    /// Nodes.
    pub count: u32,
    /// Whether the cluster autoscaler owns the count.
    pub enable_auto_scaling: bool,
    /// The cluster autoscaler's least.
    pub min_count: Option<u32>,
    /// The cluster autoscaler's most.
    pub max_count: Option<u32>,
    /// `VirtualMachineScaleSets` or `VirtualMachines`.
    pub r#type: String,
    /// `User` or `System`.
    pub mode: String,
    /// Further properties of the pool, as they are given back.
    pub properties: Map<String, Value>,
    /// What its GPUs are asked for.
    pub demand: DemandSpec,
    /// What the platform has for it.
    pub capacity: Capacity,
}

impl Default for PoolSpec {
    fn default() -> Self {
        Self {
            vm_size: "Standard_NC24ads_A100_v4".to_owned(),
            gpus_per_node: None,
            count: 1,
            enable_auto_scaling: false,
            min_count: None,
            max_count: None,
            r#type: "VirtualMachineScaleSets".to_owned(),
            mode: "User".to_owned(),
            properties: Map::new(),
            demand: DemandSpec::default(),
            capacity: Capacity::default(),
        }
    }
}

impl PoolSpec {
    /// GPUs of a node: as written, or of the size, or one.
    #[must_use]
    pub fn gpus(&self) -> u32 {
        self.gpus_per_node.or_else(|| gpus_of(&self.vm_size)).unwrap_or(1)
    }
}

/// What the GPUs of a pool are asked for: so many all the time, or a recorded demand, over and over.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct DemandSpec {
    /// GPUs, all the time.
    pub gpus: Option<f64>,
    /// A demand recording, by the name of its file.
    pub recording: Option<String>,
    /// The series of that recording; it need not be named where there is one.
    pub series: Option<String>,
    /// Every value of the recording times this.
    pub scale: Option<f64>,
    /// The recording, once the caller has read it.
    #[serde(skip)]
    pub recorded: Option<Arc<Demand>>,
}

impl DemandSpec {
    /// So many GPUs all the time, in 1e-6 GPU; zero without.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "a cast from f64 saturates, and both bounds are exact in it"
    )]
    pub fn constant(&self) -> Micro {
        let micro = self.gpus.unwrap_or(0.0) * MICRO as f64;
        (micro.round() as Micro).clamp(0, MAX_DEMAND)
    }
}

/// What the platform has for a pool.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Capacity {
    /// Most nodes that the quota allows; more are refused at once.
    pub quota_nodes: Option<u32>,
    /// With which code.
    pub quota_code: QuotaCode,
    /// Most nodes that there are; an operation that needs more gets these and fails at its end.
    pub available_nodes: Option<u32>,
    /// With which code; `AllocationFailed` without.
    pub allocation_code: Option<String>,
}

/// How a quota says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum QuotaCode {
    /// 400 of the preflight check, with the numbers.
    #[default]
    #[serde(rename = "ErrCode_InsufficientVCPUQuota")]
    InsufficientVcpuQuota,
    /// 409, the code that a busy pool has too.
    OperationNotAllowed,
    /// 400 of the scale set.
    QuotaExceeded,
}

/// The metrics server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct MetricsSpec {
    /// Between two scrapes.
    pub scrape_interval: HumanDuration,
    /// How long samples are kept.
    pub retention: HumanDuration,
    /// Which labels series have.
    pub labels: Labels,
}

impl Default for MetricsSpec {
    fn default() -> Self {
        Self {
            scrape_interval: HumanDuration::from_secs(15),
            retention: HumanDuration::from_mins(120),
            labels: Labels::Full,
        }
    }
}

/// Which labels series have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Labels {
    /// Those of the exporter, and `agentpool`, `cluster`, `instance` and `job` of the scrape.
    Full,
    /// What Azure Managed Prometheus keeps: `cluster`, `gpu`, `instance` and `job`.
    AzureManaged,
}

/// An operation that the platform starts by itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Background {
    /// On which pool.
    pub pool: String,
    /// When, after the start.
    pub at: HumanDuration,
    /// How long it takes.
    pub takes: HumanDuration,
    /// What it does.
    #[serde(default)]
    pub kind: BackgroundKind,
}

/// What the platform does by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BackgroundKind {
    /// It reconciles the pool, as an extension's add-on makes it do.
    #[default]
    Updating,
    /// It upgrades the pool.
    Upgrading,
}

impl Scenario {
    /// Reads a scenario and checks it.
    ///
    /// # Errors
    ///
    /// [`ScenarioError`] with the place.
    pub fn from_yaml(yaml: &str) -> Result<Self, ScenarioError> {
        let scenario: Self = serde_saphyr::from_str(yaml).map_err(|error| {
            let text = error.without_snippet().to_string();
            let text = text.lines().next().unwrap_or_default();
            let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
            ScenarioError::Read {
                line,
                column,
                message: text[..text.find(" at line ").unwrap_or(text.len())].to_owned(),
            }
        })?;
        scenario.check()?;
        Ok(scenario)
    }

    /// A cluster with one A100 pool and a constant demand, for those who only want to look.
    #[must_use]
    pub fn example() -> Self {
        let pool = PoolSpec {
            count: 2,
            demand: DemandSpec {
                gpus: Some(1.5),
                ..DemandSpec::default()
            },
            ..PoolSpec::default()
        };
        Self {
            pools: BTreeMap::from([("a100".to_owned(), pool)]),
            ..Self::default()
        }
    }

    /// The recordings that pools name and that nobody has brought yet: pool, and what it says of them.
    pub fn recordings(&self) -> impl Iterator<Item = (&str, &DemandSpec)> {
        let named = self
            .pools
            .iter()
            .filter(|(_, pool)| pool.demand.recording.is_some() && pool.demand.recorded.is_none());
        named.map(|(name, pool)| (name.as_str(), &pool.demand))
    }

    /// Brings the recorded demand of a pool. It begins with the emulator, whenever it was recorded, and repeats.
    ///
    /// # Errors
    ///
    /// [`ScenarioError::Field`] if there is no such pool.
    pub fn record(&mut self, pool: &str, demand: Demand) -> Result<(), ScenarioError> {
        let spec = self
            .pools
            .get_mut(pool)
            .ok_or_else(|| field(format!("pools.{pool}"), "is not there"))?;
        spec.demand.recorded = Some(Arc::new(demand));
        Ok(())
    }

    /// Holds the fields against each other.
    ///
    /// # Errors
    ///
    /// [`ScenarioError::Field`], the first that cannot be so.
    pub fn check(&self) -> Result<(), ScenarioError> {
        if self.pools.is_empty() {
            return Err(field("pools", "is empty; a cluster has at least one node pool"));
        }
        for (name, pool) in &self.pools {
            check_pool(name, pool)?;
        }
        if self.metrics.scrape_interval.as_millis() < 1000 {
            return Err(field("metrics.scrapeInterval", "is below 1s"));
        }
        if self.metrics.retention < self.metrics.scrape_interval {
            return Err(field("metrics.retention", "is shorter than `scrapeInterval`"));
        }
        if self.behavior.page_size == 0 {
            return Err(field("behavior.pageSize", "is 0; write at least 1"));
        }
        let stray = |pool: &String| !self.pools.contains_key(pool);
        if let Some(background) = self.background.iter().find(|background| stray(&background.pool)) {
            let problem = format!("names pool `{}`, which is not among `pools`", background.pool);
            return Err(field("background", problem));
        }
        Ok(())
    }
}

fn check_pool(name: &str, pool: &PoolSpec) -> Result<(), ScenarioError> {
    let at = |part: &str| format!("pools.{name}{part}");
    if !is_pool_name(name) {
        let problem = "is no name of a pool: lower-case letters and digits, a letter first, at most 12";
        return Err(field(at(""), problem));
    }
    if pool.count > MOST_NODES {
        return Err(field(at(".count"), format!("is above {MOST_NODES}")));
    }
    if pool.gpus_per_node.is_none() && gpus_of(&pool.vm_size).is_none() {
        let problem = "is missing; write how many GPUs a node has, or a known `vmSize`";
        return Err(field(at(".gpusPerNode"), problem));
    }
    if !(1..=MOST_GPUS_PER_NODE).contains(&pool.gpus()) {
        return Err(field(
            at(".gpusPerNode"),
            format!("is not from 1 to {MOST_GPUS_PER_NODE}"),
        ));
    }
    if pool.enable_auto_scaling && (pool.min_count.is_none() || pool.max_count.is_none()) {
        return Err(field(
            at(".enableAutoScaling"),
            "needs `minCount` and `maxCount` beside it",
        ));
    }
    if pool.demand.gpus.is_some() && pool.demand.recording.is_some() {
        return Err(field(at(".demand"), "has both `gpus` and `recording`; write one"));
    }
    if pool
        .demand
        .gpus
        .is_some_and(|gpus| !gpus.is_finite() || gpus < 0.0)
    {
        return Err(field(at(".demand.gpus"), "is not a number from 0"));
    }
    Ok(())
}

/// Whether a pool may be called so.
#[must_use]
pub fn is_pool_name(name: &str) -> bool {
    name.len() <= 12
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
}

fn field(field: impl Into<String>, problem: impl Into<String>) -> ScenarioError {
    ScenarioError::Field {
        field: field.into(),
        problem: problem.into(),
    }
}

#[cfg(test)]
mod tests;
