//! Who is expected to report: from pools, the cluster view and the devices heard to the engine's inventory and its
//! picture of the pool.
//!
//! Everything here errs on one side: a device that may be there and is not heard is expected, so that it is unknown
//! and not invisible. Nodes that are on their way are the exception, since they are expected to be silent; they are
//! counted as coming until they are heard, and the engine stops believing in them after its `provisionTimeout`.
//!
//! Pure and synchronous: it calls no port and decides nothing.

mod arrivals;
mod inventory;
mod members;

use crate::policy::config::{Micro, Millis};
use crate::policy::observation::{
    Booting, Condition, NodeView, Nodes, Observation, PodRequest, Protection, Waiting,
};
use crate::policy::windows::{Device, Health};

use super::intake::{Belonging, Intake};
use super::ports::{Pool, View};

pub use arrivals::Arrivals;
use inventory::Inventory;
use members::Members;

/// One pool of a policy at one tick.
#[derive(Debug)]
pub struct PoolInput<'a> {
    /// The pool as it was read.
    pub pool: &'a Pool,
    /// Its nodes; `None` where there is no cluster view at all, not where it cannot be had just now.
    pub view: Option<&'a View>,
    /// What is on its way. Changes of the count have been told to it.
    pub arrivals: &'a mut Arrivals,
}

/// What the roster is shown at one tick.
#[derive(Debug)]
pub struct Input<'a> {
    /// The pools of the policy, its target first.
    pub pools: &'a mut [PoolInput<'a>],
    /// Source time.
    pub now_ms: Millis,
    /// Local timer.
    pub timer_ms: Millis,
    /// What to add to a time of the cluster's clock to have one of the source's.
    pub offset_ms: Millis,
    /// GPUs in one node, where the pool does not say.
    pub gpus_per_node: u32,
    /// How long a silent node is waited for while others are heard: `provisionTimeout`.
    pub patience_ms: Millis,
}

impl Input<'_> {
    fn asked(&self) -> u32 {
        let pools = self.pools.iter();
        pools.fold(0, |sum, pool| sum.saturating_add(pool.pool.count))
    }

    fn booting(&self) -> u32 {
        let pools = self.pools.iter();
        pools.fold(0, |sum, pool| sum.saturating_add(pool.arrivals.nodes()))
    }

    /// The arrivals of the pool that has waited longest.
    fn oldest(&mut self) -> Option<&mut Arrivals> {
        let since = |pool: &&mut PoolInput<'_>| pool.arrivals.batches().first().map(|batch| batch.since_ms);
        let waiting = self.pools.iter_mut().filter(|pool| pool.arrivals.nodes() > 0);
        waiting.min_by_key(since).map(|pool| &mut *pool.arrivals)
    }

    /// A node is heard for the first time: whether it is one of those on their way. It is not if it reported before
    /// they were asked for.
    fn arrive(&mut self, first_ms: Millis) -> bool {
        let (now_ms, timer_ms) = (self.now_ms, self.timer_ms);
        let Some(arrivals) = self.oldest() else {
            return false;
        };
        let since_ms = arrivals
            .batches()
            .first()
            .map_or(timer_ms, |batch| batch.since_ms);
        let asked_ms = now_ms.saturating_sub(timer_ms.saturating_sub(since_ms));
        first_ms >= asked_ms && arrivals.arrived(1) == 1
    }

    /// Nodes that should be there: those asked for less those on their way. If more are heard, some have come.
    fn slots(&mut self, heard: u32) -> u32 {
        let asked = self.asked();
        while heard > asked.saturating_sub(self.booting()) {
            let came = self.oldest().is_some_and(|arrivals| arrivals.arrived(1) == 1);
            if !came {
                break;
            }
        }
        asked.saturating_sub(self.booting())
    }
}

/// Whether nodes are shown to the engine by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Naming {
    /// Each by name, where there is a cluster view.
    Named,
    /// Not at all.
    Unseen,
    /// Not at all, and nobody here chooses: the pool's own autoscaler does, which sees their pods.
    Autoscaler,
}

/// Who is expected to report.
#[derive(Debug, Default)]
pub struct Roster {
    members: Members,
    inventory: Inventory,
    booting: Vec<Booting>,
    waiting: Vec<PodRequest>,
    nodes: Vec<NodeView>,
    counts: Counts,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    asked: u32,
    ready: u32,
    schedulable: u32,
    unhealthy: u32,
    gpus_per_node: u32,
    free_gpus: Option<u32>,
    node_price: Option<Micro>,
    gpu_pods: bool,
}

impl Roster {
    /// Looks at one tick's pools after `intake` took its answers, and tells `intake` which nodes are theirs.
    pub fn update(&mut self, intake: &mut Intake, mut input: Input<'_>) {
        let all_seen = !input.pools.is_empty() && input.pools.iter().all(|pool| pool.view.is_some());
        input.gpus_per_node = gpus_per_node(&input);
        self.members.hear(intake);
        if all_seen {
            self.members.see(intake, &mut input);
        } else {
            self.members.guess(intake, &mut input);
        }
        self.inventory.draw(intake, &self.members, &input);
        self.count(intake, &input, all_seen);
        let list = &self.members.list;
        intake.assign(|id| {
            let member = list.binary_search_by_key(&id, |member| member.id);
            match member.ok().and_then(|place| list.get(place)) {
                // A node that the view shows keeps its number while it boots too, or it would arrive again and again.
                Some(member) if member.expected || member.seen => Belonging::Expected,
                Some(member) if all_seen && !member.seen => Belonging::Foreign,
                _ => Belonging::Unknown,
            }
        });
    }

    fn count(&mut self, intake: &Intake, input: &Input<'_>, all_seen: bool) {
        self.booting.clear();
        for pool in input.pools.iter() {
            let batches = pool.arrivals.coming();
            self.booting.extend(batches.map(|batch| Booting {
                nodes: batch.nodes,
                since_ms: batch.since_ms,
            }));
        }
        self.booting.sort_by_key(|batch| batch.since_ms);
        let asked = input.asked();
        let expected = self.members.list.iter().filter(|member| member.expected).count();
        let there = u32::try_from(expected).unwrap_or(u32::MAX);
        let there = there.saturating_add(self.members.presumed).min(asked);
        self.counts = Counts {
            asked,
            ready: there,
            schedulable: there,
            unhealthy: self.inventory.unhealthy_nodes(),
            gpus_per_node: input.gpus_per_node,
            free_gpus: None,
            node_price: price(input),
            gpu_pods: false,
        };
        self.waiting.clear();
        self.nodes.clear();
        let views = || input.pools.iter().filter_map(|pool| pool.view);
        self.counts.gpu_pods = views().flat_map(|view| &view.nodes).any(|node| node.gpu_pods > 0);
        if all_seen {
            self.count_seen(intake, input);
        }
    }

    fn count_seen(&mut self, intake: &Intake, input: &Input<'_>) {
        let (mut ready, mut schedulable, mut free) = (0_u32, 0_u32, 0_u32);
        for view in input.pools.iter().filter_map(|pool| pool.view) {
            self.waiting.extend(&view.waiting);
            for node in &view.nodes {
                let usable = node.ready_since_ms.is_some() && node.schedulable_gpus > 0;
                ready += u32::from(node.ready_since_ms.is_some());
                schedulable += u32::from(usable);
                if usable && !node.unhealthy {
                    free = free.saturating_add(node.free_gpus);
                }
                let id = intake.known_node(&node.name);
                let places = &self.members.list;
                let member = id.and_then(|id| places.binary_search_by_key(&id, |member| member.id).ok());
                let Some(member) = member.and_then(|place| places.get(place)) else {
                    continue;
                };
                self.nodes.push(NodeView {
                    id: member.id,
                    ready_since_ms: member.ready_since_ms.unwrap_or(input.now_ms),
                    free_gpus: node.free_gpus,
                    gpu_pods: node.gpu_pods,
                    protection: if usable {
                        Protection::None
                    } else {
                        Protection::Protected
                    },
                    condition: match self.inventory.health_of(member.id) {
                        Health::Healthy => Condition::Healthy,
                        Health::Unhealthy => Condition::Unhealthy,
                    },
                });
            }
        }
        // Nodes that are there and were not asked for are on their way out, and no supply.
        self.counts.ready = ready.min(self.counts.asked);
        self.counts.schedulable = schedulable.min(self.counts.asked);
        self.counts.free_gpus = Some(free);
    }

    /// The devices expected, sorted by id.
    #[must_use]
    pub fn inventory(&self) -> &[Device] {
        self.inventory.devices()
    }

    /// The devices expected, if they changed with the last update.
    #[must_use]
    pub fn changed(&self) -> Option<&[Device]> {
        self.inventory.changed().then(|| self.inventory.devices())
    }

    /// Whether a pod is known to have GPUs on any node: then the platform must not choose which nodes leave.
    #[must_use]
    pub fn any_gpu_pod(&self) -> bool {
        self.counts.gpu_pods
    }

    /// Nodes that were asked for and are not heard, where there is no cluster view to say that no pod is on them: then
    /// the platform must not choose which nodes leave.
    #[must_use]
    pub fn unheard_nodes(&self) -> u32 {
        match self.counts.free_gpus {
            Some(_) => 0,
            None => self.counts.asked.saturating_sub(self.members.fresh),
        }
    }

    /// Nodes that report beyond those asked for, where there is no cluster view to say which of them are gone: then a
    /// node that is gone may stand for one that works, and the platform must not choose. A few report for a while after
    /// a shrink; if they go on, the devices of other pools are read too, and the policy's labels are to be narrowed.
    #[must_use]
    pub fn excess_nodes(&self) -> u32 {
        self.members.excess
    }

    /// What is observed, but for what the loop itself knows: operation, failure, overrides and freeze.
    #[must_use]
    pub fn observation(&self, naming: Naming) -> Observation<'_> {
        let seen = self.counts.free_gpus.is_some();
        Observation {
            asked: self.counts.asked,
            ready: self.counts.ready,
            schedulable: self.counts.schedulable,
            unhealthy: self.counts.unhealthy,
            booting: &self.booting,
            gpus_per_node: self.counts.gpus_per_node,
            free_gpus: self.counts.free_gpus,
            waiting: if seen {
                Waiting::Pods(&self.waiting)
            } else {
                Waiting::Unseen
            },
            nodes: match naming {
                Naming::Named if seen => Nodes::Named(&self.nodes),
                Naming::Named | Naming::Unseen => Nodes::Unseen,
                Naming::Autoscaler => Nodes::Interchangeable,
            },
            node_price: self.counts.node_price,
            ..Observation::default()
        }
    }
}

/// GPUs of a node of the target, else what the caller takes it for.
fn gpus_per_node(input: &Input<'_>) -> u32 {
    let target = input.pools.first().and_then(|pool| pool.pool.gpus_per_node);
    target
        .unwrap_or(input.gpus_per_node)
        .clamp(1, inventory::MOST_GPUS)
}

/// The dearest of the target and the pools that have nodes; unknown if one of them is.
fn price(input: &Input<'_>) -> Option<Micro> {
    let mut dearest = None;
    for (place, pool) in input.pools.iter().enumerate() {
        if place == 0 || pool.pool.count > 0 {
            dearest = dearest.max(Some(pool.pool.node_price?));
        }
    }
    dearest
}

#[cfg(test)]
mod tests;
