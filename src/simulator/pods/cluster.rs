//! Nodes by name, the pods on them and the pods that wait.

use std::collections::VecDeque;

use rand_chacha::ChaCha8Rng;

use crate::policy::config::{Micro, Millis, ONE};
use crate::policy::observation::{
    Booting, Condition, NodeView, Nodes, Observation, Placement, PodRequest, Protection, Waiting,
};
use crate::policy::sample::{DeviceId, NodeId};
use crate::policy::windows::Device;
use crate::simulator::boot::{Stream, draw, stream};
use crate::simulator::closed_loop::Setup;

use super::workload::{Pod, Workload};

/// Where a node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Asked for.
    Booting,
    /// Ready, but its GPUs have no driver yet.
    Ready,
    /// Takes pods.
    Schedulable,
    /// Released: takes no more pods, and ends at this time.
    Draining(Millis),
}

/// A GPU's owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owner {
    pod: u32,
    level: Micro,
}

/// One node.
#[derive(Debug)]
pub(super) struct Node {
    id: NodeId,
    stage: Stage,
    asked_at_ms: Millis,
    ready_at_ms: Millis,
    gpus: Vec<Option<Owner>>,
    free: u32,
    pods: u32,
}

impl Node {
    /// Whether it is Ready and was not released.
    fn is_ready(&self) -> bool {
        matches!(self.stage, Stage::Ready | Stage::Schedulable)
    }

    /// Whether its GPUs can be scheduled onto, and report.
    fn is_schedulable(&self) -> bool {
        self.stage == Stage::Schedulable
    }

    fn put(&mut self, pod: &Pod) {
        let owner = Owner {
            pod: pod.id,
            level: pod.level,
        };
        let places = self.gpus.iter_mut().filter(|gpu| gpu.is_none());
        for place in places.take(pod.gpus as usize) {
            *place = Some(owner);
        }
        self.free -= pod.gpus;
        self.pods += 1;
    }

    fn take(&mut self, pod: &Pod) {
        for gpu in &mut self.gpus {
            if gpu.is_some_and(|owner| owner.pod == pod.id) {
                *gpu = None;
            }
        }
        self.free += pod.gpus;
        self.pods -= 1;
    }
}

/// What a cluster is like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    /// GPUs of one node.
    pub(super) gpus_per_node: u32,
    /// From Ready to schedulable.
    pub(super) driver_delay_ms: Millis,
    /// From the release of a node to its end.
    pub(super) drain_ms: Millis,
    /// When time begins.
    pub(super) start_ms: Millis,
    /// Seed of the pods and of the faults' choice of nodes.
    pub(super) seed: u64,
}

impl From<&Setup<'_>> for Shape {
    fn from(setup: &Setup<'_>) -> Self {
        Self {
            gpus_per_node: setup.spec.gpus_per_node,
            driver_delay_ms: setup.driver_delay_ms,
            drain_ms: setup.drain_ms,
            start_ms: setup.demand.start_ms(),
            seed: setup.seed,
        }
    }
}

/// The cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    gpus_per_node: u32,
    driver_delay_ms: Millis,
    drain_ms: Millis,
    /// Rising by id, which is the order of the requests.
    nodes: Vec<Node>,
    next_node: u32,
    workload: Workload,
    /// Ids of the waiting pods, the first to be tried first.
    queue: VecDeque<u32>,
    waiting: Vec<PodRequest>,
    running_gpus: u64,
    /// Whether the outcome of the last attempt at scheduling may be another now.
    room: Room,
    rng: ChaCha8Rng,
    inventory: Vec<Device>,
    inventory_is: Inventory,
    views: Vec<NodeView>,
    booting: Vec<Booting>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Room {
    Unchanged,
    Changed,
}

/// Whether the policy knows the devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inventory {
    /// It does.
    Told,
    /// Nodes came or went since it was told.
    Changed,
}

impl Cluster {
    /// A cluster with so many nodes that take pods from the start.
    pub(super) fn new(shape: Shape, nodes: u32) -> Self {
        let gpus_per_node = shape.gpus_per_node.max(1);
        let mut cluster = Self {
            gpus_per_node,
            driver_delay_ms: shape.driver_delay_ms.max(0),
            drain_ms: shape.drain_ms.max(0),
            nodes: Vec::new(),
            next_node: 0,
            workload: Workload::new(shape.seed, gpus_per_node),
            queue: VecDeque::new(),
            waiting: Vec::new(),
            running_gpus: 0,
            room: Room::Changed,
            rng: stream(shape.seed, Stream::Faults),
            inventory: Vec::new(),
            inventory_is: Inventory::Changed,
            views: Vec::new(),
            booting: Vec::new(),
        };
        for _ in 0..nodes {
            cluster.request(shape.start_ms, 0);
        }
        for node in &mut cluster.nodes {
            node.stage = Stage::Schedulable;
        }
        cluster
    }

    /// GPUs of one node.
    pub(super) fn gpus_per_node(&self) -> u32 {
        self.gpus_per_node
    }

    /// A new node that is Ready `boot_ms` from now.
    pub(super) fn request(&mut self, now_ms: Millis, boot_ms: Millis) {
        self.nodes.push(Node {
            id: NodeId(self.next_node),
            stage: Stage::Booting,
            asked_at_ms: now_ms,
            ready_at_ms: now_ms.saturating_add(boot_ms),
            gpus: vec![None; self.gpus_per_node as usize],
            free: self.gpus_per_node,
            pods: 0,
        });
        self.next_node += 1;
    }

    /// Moves time to `now_ms`: nodes get Ready, then schedulable; released ones end.
    pub(super) fn advance(&mut self, now_ms: Millis) {
        let driver_delay_ms = self.driver_delay_ms;
        let mut ended = false;
        for node in &mut self.nodes {
            if node.stage == Stage::Booting && node.ready_at_ms <= now_ms {
                node.stage = Stage::Ready;
                self.inventory_is = Inventory::Changed;
            }
            if node.stage == Stage::Ready && node.ready_at_ms.saturating_add(driver_delay_ms) <= now_ms {
                node.stage = Stage::Schedulable;
                self.room = Room::Changed;
            }
            ended |= matches!(node.stage, Stage::Draining(end_ms) if end_ms <= now_ms);
        }
        if ended {
            self.end(|node| matches!(node.stage, Stage::Draining(end_ms) if end_ms <= now_ms));
        }
    }

    /// So many Ready nodes, drawn from all, are gone.
    pub(super) fn lose(&mut self, nodes: u32) {
        for _ in 0..nodes {
            let ready = self.nodes.iter().filter(|node| node.is_ready()).count();
            if ready == 0 {
                return;
            }
            let nth = usize::try_from(draw(&mut self.rng, ready as u64)).unwrap_or(0);
            let lost = self.nodes.iter().filter(|node| node.is_ready()).nth(nth);
            let Some(id) = lost.map(|node| node.id) else {
                return;
            };
            self.end(|node| node.id == id);
        }
    }

    /// Pods leave and arrive, then those that wait are placed.
    pub(super) fn follow(&mut self, demand: Micro) {
        let Self {
            workload,
            nodes,
            queue,
            running_gpus,
            room,
            ..
        } = self;
        let left = |pod: Pod| {
            *room = Room::Changed;
            let Some(at) = pod.node else {
                queue.retain(|&id| id != pod.id);
                return;
            };
            if let Some(node) = node_mut(nodes, at) {
                node.take(&pod);
            }
            *running_gpus -= u64::from(pod.gpus);
        };
        let first = workload.next_id();
        workload.follow(demand, left);
        let next = workload.next_id();
        queue.extend(first..next);
        if first != next || *room == Room::Changed {
            self.schedule();
        }
    }

    /// Tries every waiting pod in turn.
    fn schedule(&mut self) {
        self.room = Room::Unchanged;
        self.waiting.clear();
        let Self {
            workload,
            nodes,
            queue,
            waiting,
            running_gpus,
            ..
        } = self;
        queue.retain(|&id| {
            let Some(pod) = workload.pod_mut(id) else {
                return false;
            };
            // The fullest node that has room, the oldest of equals.
            let node = nodes
                .iter_mut()
                .filter(|node| node.is_schedulable() && node.free >= pod.gpus)
                .min_by_key(|node| node.free);
            let Some(node) = node else {
                waiting.push(PodRequest {
                    gpus: pod.gpus,
                    placement: Placement::AnyNode,
                });
                return true;
            };
            pod.node = Some(node.id);
            node.put(pod);
            *running_gpus += u64::from(pod.gpus);
            false
        });
    }

    /// Releases a node by name. Returns 1 if pods ran on it.
    pub(super) fn release(&mut self, now_ms: Millis, id: NodeId) -> u32 {
        let end_ms = now_ms.saturating_add(self.drain_ms);
        let Some(node) = node_mut(&mut self.nodes, id).filter(|node| !is_draining(node)) else {
            return 0;
        };
        let busy = u32::from(node.pods > 0);
        if node.is_ready() {
            self.inventory_is = Inventory::Changed;
        }
        node.stage = Stage::Draining(end_ms);
        if self.drain_ms == 0 {
            self.end(|node| node.id == id);
        }
        busy
    }

    /// Releases the newest nodes, booting ones first, until `left` exist. Returns how many had pods.
    pub(super) fn release_newest(&mut self, now_ms: Millis, left: u32) -> u32 {
        let mut busy = 0;
        while self.existing() > left {
            let newest = self
                .nodes
                .iter()
                .filter(|node| !is_draining(node))
                .max_by_key(|node| (node.stage == Stage::Booting, node.id));
            let Some(id) = newest.map(|node| node.id) else {
                break;
            };
            busy += self.release(now_ms, id);
        }
        busy
    }

    /// Removes the nodes that `ends` names; their pods wait again, as the last.
    fn end(&mut self, ends: impl Fn(&Node) -> bool) {
        let Self {
            nodes,
            workload,
            queue,
            waiting,
            running_gpus,
            ..
        } = self;
        nodes.retain(|node| {
            if !ends(node) {
                return true;
            }
            for owner in node.gpus.iter().flatten() {
                // A pod of several GPUs is met several times, and waits since the first.
                let Some(pod) = workload.pod_mut(owner.pod).filter(|pod| pod.node.is_some()) else {
                    continue;
                };
                pod.node = None;
                *running_gpus -= u64::from(pod.gpus);
                queue.push_back(pod.id);
                waiting.push(PodRequest {
                    gpus: pod.gpus,
                    placement: Placement::AnyNode,
                });
            }
            false
        });
        self.inventory_is = Inventory::Changed;
        self.room = Room::Changed;
    }

    /// GPUs wanted and GPUs that work, in micro-GPUs.
    pub(super) fn work(&self) -> (Micro, Micro) {
        (micro(self.workload.gpus()), micro(self.running_gpus))
    }

    /// Nodes that are billed: all there are, released ones included until their end.
    pub(super) fn billed(&self) -> u32 {
        count(self.nodes.iter())
    }

    /// Nodes that exist or boot and were not released.
    pub(super) fn existing(&self) -> u32 {
        count(self.nodes.iter().filter(|node| !is_draining(node)))
    }

    /// Nodes whose GPUs can be scheduled onto.
    pub(super) fn schedulable(&self) -> u32 {
        count(self.nodes.iter().filter(|node| node.is_schedulable()))
    }

    /// The devices that report and what they read, rising by identity.
    pub(super) fn readings(&self) -> impl Iterator<Item = (DeviceId, Micro)> {
        let nodes = self.nodes.iter().filter(|node| node.is_schedulable());
        nodes.flat_map(|node| {
            let levels = node.gpus.iter().map(|gpu| gpu.map_or(0, |owner| owner.level));
            devices(node, self.gpus_per_node).zip(levels)
        })
    }

    /// Lists the devices of all Ready nodes anew, if nodes came or went since the last call.
    pub(super) fn list_devices(&mut self) -> Inventory {
        if self.inventory_is == Inventory::Changed {
            let ready = self.nodes.iter().filter(|node| node.is_ready());
            self.inventory.clear();
            self.inventory.extend(ready.flat_map(|node| {
                devices(node, self.gpus_per_node).map(|id| Device::new(id, node.id, node.ready_at_ms))
            }));
        }
        std::mem::replace(&mut self.inventory_is, Inventory::Told)
    }

    /// The devices as they were listed last.
    pub(super) fn inventory(&self) -> &[Device] {
        &self.inventory
    }

    /// What the policy sees of nodes and pods.
    pub(super) fn observe(&mut self) -> Observation<'_> {
        self.views.clear();
        self.booting.clear();
        let mut free_gpus = 0;
        for node in &self.nodes {
            if node.stage == Stage::Booting {
                self.booting.push(Booting {
                    nodes: 1,
                    since_ms: node.asked_at_ms,
                });
            }
            if !node.is_ready() {
                continue;
            }
            // Without a driver a node has no allocatable GPU.
            let free = if node.is_schedulable() { node.free } else { 0 };
            free_gpus += free;
            self.views.push(NodeView {
                id: node.id,
                ready_since_ms: node.ready_at_ms,
                free_gpus: free,
                gpu_pods: node.pods,
                protection: Protection::None,
                condition: Condition::Healthy,
            });
        }
        Observation {
            ready: u32::try_from(self.views.len()).unwrap_or(u32::MAX),
            schedulable: self.schedulable(),
            booting: &self.booting,
            gpus_per_node: self.gpus_per_node,
            free_gpus: Some(free_gpus),
            waiting: Waiting::Pods(&self.waiting),
            nodes: Nodes::Named(&self.views),
            ..Observation::default()
        }
    }
}

fn is_draining(node: &Node) -> bool {
    matches!(node.stage, Stage::Draining(_))
}

fn node_mut(nodes: &mut [Node], id: NodeId) -> Option<&mut Node> {
    let index = nodes.binary_search_by_key(&id, |node| node.id).ok()?;
    nodes.get_mut(index)
}

/// The devices of a node: as many identities as it has GPUs, and those of a later node are larger.
fn devices(node: &Node, gpus_per_node: u32) -> impl Iterator<Item = DeviceId> + use<> {
    let first = node.id.0.wrapping_mul(gpus_per_node);
    (0..gpus_per_node).map(move |gpu| DeviceId(first.wrapping_add(gpu)))
}

fn count<'a>(nodes: impl Iterator<Item = &'a Node>) -> u32 {
    u32::try_from(nodes.count()).unwrap_or(u32::MAX)
}

fn micro(gpus: u64) -> Micro {
    Micro::try_from(gpus).unwrap_or(Micro::MAX).saturating_mul(ONE)
}

#[cfg(test)]
mod tests;
