//! A scenario: everything that a simulation needs besides the recording and the policy, as one YAML document.
//!
//! `scenario.yaml` names its recording and its policy, states the shape of a node and how long it takes to boot,
//! and lists what goes wrong. The schema is documented in `simulations/README.md`.
//!
//! Strict like the policy reader: unknown fields are refused, every error says where and what to do, and fields are
//! held against each other here, so that a run cannot start from nonsense. A scenario that is silently half read
//! gives a scorecard that looks right.
//!
//! It opens no files: text in, values out. Paths are handed back as they were written, and whoever opens files
//! resolves them against the scenario's directory.

mod document;

use std::fmt;

use serde::{Deserialize, Serialize};

use super::boot::BootDelay;
use super::closed_loop::Unserved;
use super::fault::Fault;
use crate::policy::config::{Micro, Millis, ONE};
use crate::recording::{Format, ReadOptions};

/// The boot delay where none is stated: what A100 nodes were measured to take on AKS (5 to 12 minutes).
pub const DEFAULT_BOOT_MS: Millis = 8 * 60_000;

/// The longest boot that is believed: AKS gives up far earlier.
const LONGEST_BOOT_MS: Millis = 4 * 3_600_000;

/// More GPUs than any node has: a typing error.
const MOST_GPUS_PER_NODE: u32 = 64;

/// GPUs of the Azure sizes that people run pools of; other sizes state `gpusPerNode`.
const VM_SIZES: [(&str, u32); 12] = [
    ("Standard_NC24ads_A100_v4", 1),
    ("Standard_NC48ads_A100_v4", 2),
    ("Standard_NC96ads_A100_v4", 4),
    ("Standard_ND96asr_v4", 8),
    ("Standard_ND96amsr_A100_v4", 8),
    ("Standard_NC40ads_H100_v5", 1),
    ("Standard_NC80adis_H100_v5", 2),
    ("Standard_ND96isr_H100_v5", 8),
    ("Standard_ND96isr_H200_v5", 8),
    ("Standard_NC4as_T4_v3", 1),
    ("Standard_NC64as_T4_v3", 4),
    ("Standard_NC24s_v3", 4),
];

/// Why a scenario was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScenarioError {
    /// The text is no YAML, a field is unknown or missing, or a value is outside its type.
    #[error("line {line}, column {column}: {message}")]
    Read {
        /// Line of the document, from 1.
        line: u64,
        /// Column, from 1.
        column: u64,
        /// What is wrong.
        message: String,
    },
    /// A value that makes no sense, alone or beside another one.
    #[error("{}`{field}`: {problem}", at_line(*.line))]
    Field {
        /// The field.
        field: &'static str,
        /// Its line in the document, from 1; `None` if it was not written in a document.
        line: Option<usize>,
        /// What is wrong with it and what to do.
        problem: String,
    },
}

fn at_line(line: Option<usize>) -> String {
    line.map(|line| format!("line {line}: ")).unwrap_or_default()
}

/// How load meets nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum World {
    /// Load spreads evenly over the nodes that serve.
    #[default]
    Fluid,
    /// Load is whole-GPU pods that stay where they are.
    Pods,
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fluid => "fluid",
            Self::Pods => "pods",
        })
    }
}

/// Whether what the policy decides has an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Loop {
    /// It has: the policy drives a simulated pool.
    #[default]
    Closed,
    /// It has none: the policy is shown what happened.
    Open,
}

/// Where the policy stands.
#[derive(Debug, Clone, PartialEq)]
pub enum PolicySource {
    /// In a file, relative to the scenario.
    Path(String),
    /// In the scenario itself.
    Inline(serde_json::Value),
}

/// A checked scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Its name in reports.
    pub name: String,
    /// What it shows, in a sentence or two.
    pub description: String,
    /// Paths of the recordings, relative to the scenario: one of demand, or one or more of metrics.
    pub recordings: Vec<String>,
    /// What the recordings do not say of themselves.
    pub reading: Reading,
    /// Whether the policy drives a pool or is shown what happened.
    pub r#loop: Loop,
    /// Series of a recording of demand; `None` for the only one.
    pub series: Option<String>,
    /// Factor on the demand.
    pub scale: f64,
    /// The policy; `None` for the shipped defaults.
    pub policy: Option<PolicySource>,
    /// The pool and its surroundings.
    pub pool: Pool,
}

/// How recordings of metrics are to be read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    /// Their format; `None` to tell it from the content.
    pub format: Option<Format>,
    /// What their format does not say.
    pub options: ReadOptions,
    /// Recordings of PromQL signals: the signal's name, and the path of a recording with one series.
    pub signals: Vec<(String, String)>,
    /// Nodes of the pool, where the recording does not have them; open loop only.
    pub nodes: Option<u32>,
}

/// The simulated pool and its surroundings.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// How load meets nodes.
    pub world: World,
    /// GPUs of one node.
    pub gpus_per_node: u32,
    /// Azure VM size; for people.
    pub vm_size: Option<String>,
    /// Price of a node in micro-USD per hour.
    pub node_price: Option<Micro>,
    /// Time from the request of a node to Ready.
    pub boot: BootDelay,
    /// Time from Ready until its GPUs can be scheduled onto.
    pub driver_delay_ms: Millis,
    /// Time from the release of a node to its end, in the pods world.
    pub drain_ms: Millis,
    /// Time between two evaluations; `None` for the policy's `evaluationInterval`.
    pub interval_ms: Option<Millis>,
    /// Seed of everything that is drawn.
    pub seed: u64,
    /// Nodes that serve from the start; `None` for those that the first demand needs at 70 %.
    pub initial_nodes: Option<u32>,
    /// What becomes of work that finds no room.
    pub unserved: Unserved,
    /// What goes wrong, in order of time.
    pub faults: Vec<Fault>,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            world: World::Fluid,
            gpus_per_node: 8,
            vm_size: None,
            node_price: None,
            boot: BootDelay::Constant(DEFAULT_BOOT_MS),
            driver_delay_ms: 0,
            drain_ms: 0,
            interval_ms: None,
            seed: 0,
            initial_nodes: None,
            unserved: Unserved::Lost,
            faults: Vec::new(),
        }
    }
}

impl Pool {
    /// Milliseconds from the request of a node to its first work, in the mean: what optimum and peers reckon with.
    #[must_use]
    pub fn mean_boot_ms(&self) -> Millis {
        let boot = match self.boot {
            BootDelay::Constant(ms) => ms,
            BootDelay::Uniform { min_ms, max_ms } => i64::midpoint(min_ms, max_ms),
            BootDelay::Triangular {
                min_ms,
                mode_ms,
                max_ms,
            } => (min_ms + mode_ms + max_ms) / 3,
        };
        boot + self.driver_delay_ms
    }

    /// Holds the fields against each other.
    ///
    /// # Errors
    ///
    /// [`ScenarioError::Field`] with the first field that makes no sense, without a line.
    pub fn check(&self) -> Result<(), ScenarioError> {
        if !(1..=MOST_GPUS_PER_NODE).contains(&self.gpus_per_node) {
            let problem = format!(
                "must be from 1 to {MOST_GPUS_PER_NODE}, is {}",
                self.gpus_per_node
            );
            return Err(field("gpusPerNode", problem));
        }
        check_boot(&self.boot)?;
        if self.interval_ms.is_some_and(|ms| !(1000..=600_000).contains(&ms)) {
            return Err(field("interval", "must be from 1s to 10m"));
        }
        if self.world == World::Fluid && self.drain_ms > 0 {
            let problem = "load moves at once in the fluid world; remove it, or use `world: pods`";
            return Err(field("drainTime", problem));
        }
        if self.world == World::Pods && self.unserved == Unserved::Queued {
            let problem = "pods always wait for room; remove it, or use `world: fluid`";
            return Err(field("unserved", problem));
        }
        Ok(())
    }
}

fn check_boot(boot: &BootDelay) -> Result<(), ScenarioError> {
    let (min_ms, mode_ms, max_ms) = match *boot {
        BootDelay::Constant(ms) => (ms, ms, ms),
        BootDelay::Uniform { min_ms, max_ms } => (min_ms, max_ms, max_ms),
        BootDelay::Triangular {
            min_ms,
            mode_ms,
            max_ms,
        } => (min_ms, mode_ms, max_ms),
    };
    if min_ms > mode_ms || mode_ms > max_ms {
        return Err(field(
            "bootDelay",
            "the ends are in the wrong order; write min ≤ mode ≤ max",
        ));
    }
    if max_ms > LONGEST_BOOT_MS {
        return Err(field(
            "bootDelay",
            "must be at most 4h: no platform waits that long",
        ));
    }
    Ok(())
}

fn field(field: &'static str, problem: impl Into<String>) -> ScenarioError {
    ScenarioError::Field {
        field,
        line: None,
        problem: problem.into(),
    }
}

impl Scenario {
    /// Reads and checks a scenario document.
    ///
    /// # Errors
    ///
    /// [`ScenarioError`] with the line and what to do.
    pub fn parse(yaml: &str) -> Result<Self, ScenarioError> {
        let document: document::Document = read(yaml)?;
        document.check().map_err(|error| located(error, yaml))
    }
}

/// Reads a strict YAML document of this module's family.
pub(super) fn read<'de, T: Deserialize<'de>>(yaml: &'de str) -> Result<T, ScenarioError> {
    if yaml.trim().is_empty() {
        return Err(ScenarioError::Read {
            line: 1,
            column: 1,
            message: "the document is empty; see `simulations/README.md` for its fields".to_owned(),
        });
    }
    serde_saphyr::from_str(yaml).map_err(|error| {
        let text = error.without_snippet().to_string();
        let text = text.lines().next().unwrap_or_default();
        let message = text[..text.find(" at line ").unwrap_or(text.len())].to_owned();
        let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        ScenarioError::Read {
            line,
            column,
            message,
        }
    })
}

/// Adds the line of a top-level field.
pub(super) fn located(error: ScenarioError, yaml: &str) -> ScenarioError {
    match error {
        ScenarioError::Field { field, problem, .. } => {
            let written = |line: &str| {
                line.strip_prefix(field)
                    .is_some_and(|rest| rest.trim_start().starts_with(':'))
            };
            ScenarioError::Field {
                field,
                line: yaml.lines().position(written).map(|index| index + 1),
                problem,
            }
        }
        other @ ScenarioError::Read { .. } => other,
    }
}

/// A factor on demand: finite and above zero.
pub(super) fn scale(factor: f64) -> Result<f64, ScenarioError> {
    if factor.is_finite() && factor > 0.0 {
        Ok(factor)
    } else {
        Err(field(
            "scale",
            format!("`{factor}` is not a finite number above 0"),
        ))
    }
}

/// GPUs of a node of this size, if it is one that people run pools of.
#[cfg(feature = "emulator")]
pub(crate) fn gpus_of(vm_size: &str) -> Option<u32> {
    let known = VM_SIZES.iter().find(|(name, _)| *name == vm_size);
    known.map(|&(_, gpus)| gpus)
}

fn gpus_per_node(written: Option<u32>, vm_size: Option<&str>) -> Result<u32, ScenarioError> {
    let known = vm_size.and_then(|size| VM_SIZES.iter().find(|(name, _)| *name == size));
    match (written, known) {
        (Some(written), Some(&(size, gpus))) if written != gpus => {
            let problem = format!("is {written}, but a {size} has {gpus}; correct one of them");
            Err(field("gpusPerNode", problem))
        }
        (Some(written), _) => Ok(written),
        (None, Some(&(_, gpus))) => Ok(gpus),
        (None, None) => Err(field(
            "gpusPerNode",
            "is missing; write how many GPUs a node has, or a known `vmSize`",
        )),
    }
}

/// A price in USD per hour as micro-USD.
///
/// # Errors
///
/// [`ScenarioError::Field`] unless it is from 0 to 10,000.
pub fn node_price(usd_per_hour: f64) -> Result<Micro, ScenarioError> {
    if !(0.0..=10_000.0).contains(&usd_per_hour) {
        let problem = format!("`{usd_per_hour}` is not a price of a node-hour from 0 to 10000 USD");
        return Err(field("priceUsdPerHour", problem));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "at most 1e10 after the check"
    )]
    let micro = (usd_per_hour * ONE as f64).round() as Micro;
    Ok(micro)
}

#[cfg(test)]
mod tests;
