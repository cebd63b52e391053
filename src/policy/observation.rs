//! What the engine is shown of the world at one tick, besides samples.

use serde::{Deserialize, Serialize};

use super::config::{Micro, Millis};
use super::sample::NodeId;

/// The instant of an evaluation, on the two clocks that matter.
///
/// Windows and schedules run on the source's clock, timers on one that never jumps. Where there is only one clock,
/// as in a simulation, [`Now::at`] uses it for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Now {
    /// Source time: milliseconds since the Unix epoch.
    pub wall_ms: Millis,
    /// Monotonic time in milliseconds, from an arbitrary origin.
    pub timer_ms: Millis,
}

impl Now {
    /// Both clocks at the same reading.
    #[must_use]
    pub fn at(ms: Millis) -> Self {
        Self {
            wall_ms: ms,
            timer_ms: ms,
        }
    }
}

/// The pool, its nodes and its surroundings at one tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation<'a> {
    /// Nodes asked for: the pool's count.
    pub asked: u32,
    /// Nodes that are Ready.
    pub ready: u32,
    /// Nodes whose GPUs can be scheduled onto.
    pub schedulable: u32,
    /// Nodes with a GPU health condition.
    pub unhealthy: u32,
    /// Nodes on their way, oldest first. Evicted nodes are neither here nor in `ready`: they are no supply.
    pub booting: &'a [Booting],
    /// GPUs in one node.
    pub gpus_per_node: u32,
    /// Schedulable GPUs that no pod has; `None` without a cluster view.
    pub free_gpus: Option<u32>,
    /// Pods that wait for this pool.
    pub waiting: Waiting<'a>,
    /// The nodes themselves.
    pub nodes: Nodes<'a>,
    /// A resize in flight.
    pub operation: Operation,
    /// How the last resize failed, when that is news.
    pub failure: Option<Failure>,
    /// Price of a node in micro-USD per hour.
    pub node_price: Option<Micro>,
    /// What people asked for meanwhile.
    pub overrides: Overrides,
    /// The administrator's brake for everything.
    pub freeze: Freeze,
}

/// Nodes on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Booting {
    /// How many.
    pub nodes: u32,
    /// Since when they were asked for, on the timer's clock.
    pub since_ms: Millis,
}

/// Pods that wait for this pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting<'a> {
    /// There is no cluster view.
    Unseen,
    /// Those that count for this pool: not gated, fitting a node of it, in no other pool's count.
    Pods(&'a [PodRequest]),
}

/// A pod that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodRequest {
    /// GPUs it asks for.
    pub gpus: u32,
    /// Where it may go.
    pub placement: Placement,
}

/// Where a waiting pod may go; affinity and taints are judged by the cluster view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Onto any node of the pool with room.
    AnyNode,
    /// Only onto a node that is not there yet: no node of today matches.
    NewNode,
}

/// What is known of the pool's nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nodes<'a> {
    /// No cluster view: scale-in by name is off.
    Unseen,
    /// Any node may go, since load moves by itself.
    Interchangeable,
    /// Each node by name.
    Named(&'a [NodeView]),
}

/// One node of the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeView {
    /// Who it is.
    pub id: NodeId,
    /// Since when it is Ready, on the source's clock.
    pub ready_since_ms: Millis,
    /// GPUs on it that no pod has.
    pub free_gpus: u32,
    /// Pods on it that have GPUs.
    pub gpu_pods: u32,
    /// Whether it may go.
    pub protection: Protection,
    /// Whether its GPUs are fit for work.
    pub condition: Condition,
}

/// Whether a node may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Protection {
    /// Nothing speaks against it.
    #[default]
    None,
    /// Every GPU pod on it opted in to being drained.
    Drainable,
    /// A pod, an annotation or a budget forbids it.
    Protected,
}

/// Whether a node's GPUs are fit for work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// They are.
    #[default]
    Healthy,
    /// A GPU condition or a hardware XID says otherwise.
    Unhealthy,
}

/// A resize in flight in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Operation {
    /// None.
    #[default]
    None,
    /// One that this policy began.
    Ours,
    /// Somebody else's: an upgrade, a person in the portal.
    Foreign,
}

/// How a resize failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Failure {
    /// The quota has room for fewer nodes than asked.
    QuotaLow,
    /// The quota has room for none.
    QuotaZero,
    /// The region has no machines to give.
    Allocation,
    /// The size is not offered here.
    Sku,
}

impl Failure {
    /// How long growth of the pool is pointless after it.
    #[must_use]
    pub fn backoff_ms(self) -> Millis {
        const MINUTE: Millis = 60_000;
        match self {
            Self::QuotaLow => 10 * MINUTE,
            Self::QuotaZero | Self::Allocation => 60 * MINUTE,
            Self::Sku => 23 * 60 * MINUTE,
        }
    }
}

/// What people asked for besides the policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Overrides {
    /// "At least this many until then": nodes and source time in ms.
    pub at_least: Option<(u32, Millis)>,
    /// KEDA's pause annotations.
    pub pause: Pause,
}

/// Which changes are paused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pause {
    /// None.
    #[default]
    None,
    /// No shrinking.
    ScaleIn,
    /// No growing.
    ScaleOut,
    /// No change.
    Both,
    /// Held at this size, by the ordinary rules for getting there.
    At(u32),
}

/// The administrator's brake for everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Freeze {
    /// Released.
    #[default]
    Off,
    /// Nothing is changed anywhere.
    On,
}

impl Default for Observation<'_> {
    fn default() -> Self {
        Self {
            asked: 0,
            ready: 0,
            schedulable: 0,
            unhealthy: 0,
            booting: &[],
            gpus_per_node: 1,
            free_gpus: None,
            waiting: Waiting::Unseen,
            nodes: Nodes::Unseen,
            operation: Operation::None,
            failure: None,
            node_price: None,
            overrides: Overrides::default(),
            freeze: Freeze::Off,
        }
    }
}
