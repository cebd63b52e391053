//! The nodes of one pool: how they boot, when their GPUs can be used, what work is on which GPU, and how they
//! go.
//!
//! It holds the truth about load, for exporters to report and invariants to judge by. It does not know why
//! nodes are asked for or taken away: that is the platform's matter, and neither does it report anything to
//! anyone.

use std::sync::Arc;

use gpuscale::control::ports::Node;
use gpuscale::policy::config::{Micro, Millis, ONE};

use crate::chance::draw;
use crate::clock::EPOCH_MS;

/// The least work that a busy GPU has. An engine may take less than this for idle, as it may a watchdog's
/// query.
pub const LEAST_LOAD: Micro = 50_000;
/// How long before it is Ready a node can be seen.
const SEEN_BEFORE_READY_MS: Millis = 20_000;
/// Since when the first nodes have been Ready.
const LONG_AGO_MS: Millis = -3_600_000;

/// Number of a node in its fleet; never given twice.
pub type NodeNo = u32;

/// What all nodes of a fleet have in common.
#[derive(Debug, Clone, Copy)]
pub struct FleetSpec {
    pub gpus_per_node: u32,
}

/// How work comes to GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Spread {
    /// Every GPU has its share, as behind a load balancer.
    #[default]
    Even,
    /// The first node is filled before the next: some GPUs are pinned while the rest are idle.
    Packed,
    /// As packed, and the newest node is the first.
    PackedNewest,
}

impl Spread {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Even, Self::Packed, Self::PackedNewest];
}

/// How far a node got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It is asked for.
    Booting,
    /// It is Ready, without driver and device plugin.
    Ready,
    /// Its GPUs can be used, and its exporter answers.
    Schedulable,
}

/// A node.
#[derive(Debug, Clone)]
pub struct FleetNode {
    pub number: NodeNo,
    pub name: Arc<str>,
    pub uuids: Vec<Arc<str>>,
    pub ready_at_ms: Millis,
    pub schedulable_at_ms: Millis,
    pub stage: Stage,
    pub unhealthy: bool,
    pub gpus: Vec<Gpu>,
}

/// A GPU and the work on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gpu {
    /// Number of the device in its fleet, from 0 without gaps; never given twice.
    pub device: u32,
    pub load: Micro,
}

/// Nodes that went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Removed {
    /// How many.
    pub nodes: u32,
    /// How many of them had work at that moment.
    pub busy: u32,
}

/// The nodes of a pool.
#[derive(Debug, Clone)]
pub struct Fleet {
    spec: FleetSpec,
    pool: Arc<str>,
    spread: Spread,
    nodes: Vec<FleetNode>,
    next_number: NodeNo,
    next_event_ms: Option<Millis>,
    /// Changes when nodes come, go, become usable, or fall ill.
    version: u64,
}

impl FleetNode {
    /// Work on all its GPUs.
    pub fn load(&self) -> Micro {
        self.gpus.iter().map(|gpu| gpu.load).sum()
    }

    /// Whether work can be put on it.
    pub fn works(&self) -> bool {
        self.stage == Stage::Schedulable && !self.unhealthy
    }

    fn next_event_ms(&self) -> Option<Millis> {
        match self.stage {
            Stage::Booting => Some(self.ready_at_ms),
            Stage::Ready => Some(self.schedulable_at_ms),
            Stage::Schedulable => None,
        }
    }
}

impl Fleet {
    /// A pool called `pool` with nodes that have been Ready for long.
    pub fn new(spec: FleetSpec, nodes_ready: u32) -> Self {
        let mut fleet = Self {
            spec,
            pool: "pool".into(),
            spread: Spread::Even,
            nodes: Vec::new(),
            next_number: 0,
            next_event_ms: None,
            version: 0,
        };
        for _ in 0..nodes_ready {
            fleet.boot(LONG_AGO_MS, 0, 0);
        }
        fleet.advance(LONG_AGO_MS);
        fleet
    }

    /// The same pool under its own name.
    pub fn named(mut self, pool: &str) -> Self {
        self.pool = pool.into();
        for node in &mut self.nodes {
            node.name = name(&self.pool, node.number);
            node.uuids = node.gpus.iter().map(|gpu| uuid(&self.pool, gpu.device)).collect();
        }
        self
    }

    /// The same pool with its work spread like this.
    pub fn spread(mut self, spread: Spread) -> Self {
        self.spread = spread;
        self
    }

    /// One more node: Ready after `boot_ms`, its GPUs usable `driver_ms` later.
    pub fn boot(&mut self, now_ms: Millis, boot_ms: Millis, driver_ms: Millis) -> NodeNo {
        let number = self.next_number;
        self.next_number += 1;
        let first = number * self.spec.gpus_per_node;
        let devices = first..first + self.spec.gpus_per_node;
        let ready_at_ms = now_ms.saturating_add(boot_ms);
        self.nodes.push(FleetNode {
            number,
            name: name(&self.pool, number),
            uuids: devices.clone().map(|device| uuid(&self.pool, device)).collect(),
            ready_at_ms,
            schedulable_at_ms: ready_at_ms.saturating_add(driver_ms),
            stage: Stage::Booting,
            unhealthy: false,
            gpus: devices.map(|device| Gpu { device, load: 0 }).collect(),
        });
        self.changed();
        number
    }

    /// Takes nodes as a platform does that chooses by itself, at its nastiest: the busiest first, and those
    /// that boot only when no other is left.
    pub fn remove_busiest(&mut self, _now_ms: Millis, nodes: u32) -> Removed {
        self.nodes.sort_by_key(|node| {
            let booting = node.stage == Stage::Booting;
            (
                booting,
                std::cmp::Reverse(node.load()),
                std::cmp::Reverse(node.stage),
                node.number,
            )
        });
        self.remove_first(nodes)
    }

    /// Gives up boots, the last first; how many there were to give up.
    pub fn remove_booting(&mut self, _now_ms: Millis, nodes: u32) -> u32 {
        self.nodes
            .sort_by_key(|node| (node.stage != Stage::Booting, std::cmp::Reverse(node.number)));
        self.remove_first(nodes.min(self.booting())).nodes
    }

    /// Takes nodes by chance, as evictions and deaths do; none that is still booting.
    pub fn evict(&mut self, _now_ms: Millis, nodes: u32, salt: u64) -> Removed {
        self.nodes.sort_by_key(|node| {
            let booting = node.stage == Stage::Booting;
            (booting, draw(salt, &[u64::from(node.number)]))
        });
        self.remove_first(nodes.min(self.present() - self.booting()))
    }

    fn remove_first(&mut self, nodes: u32) -> Removed {
        let going = (nodes as usize).min(self.nodes.len());
        let mut removed = Removed::default();
        for node in self.nodes.drain(..going) {
            removed.nodes += 1;
            removed.busy += u32::from(node.load() > 0);
        }
        self.nodes.sort_by_key(|node| node.number);
        if going > 0 {
            self.changed();
        }
        removed
    }

    /// Lets a node fall ill or get well; one that is not there does neither. The ill have no work.
    pub fn set_unhealthy(&mut self, index: usize, unhealthy: bool) {
        if let Some(node) = self.nodes.get_mut(index) {
            node.unhealthy = unhealthy;
            if unhealthy {
                node.gpus.iter_mut().for_each(|gpu| gpu.load = 0);
            }
            self.changed();
        }
    }

    /// Lets time come to `now_ms`; how many nodes became schedulable.
    pub fn advance(&mut self, now_ms: Millis) -> u32 {
        if self.next_event_ms.is_none_or(|at_ms| at_ms > now_ms) {
            return 0;
        }
        let mut came = 0;
        for node in &mut self.nodes {
            if node.stage == Stage::Booting && node.ready_at_ms <= now_ms {
                node.stage = Stage::Ready;
            }
            if node.stage == Stage::Ready && node.schedulable_at_ms <= now_ms {
                node.stage = Stage::Schedulable;
                came += 1;
            }
        }
        self.changed();
        came
    }

    /// When [`Fleet::advance`] has something to do.
    pub fn next_event_ms(&self) -> Option<Millis> {
        self.next_event_ms
    }

    fn changed(&mut self) {
        self.version += 1;
        self.next_event_ms = self.nodes.iter().filter_map(FleetNode::next_event_ms).min();
    }

    /// Nodes that there are, whatever their stage.
    pub fn present(&self) -> u32 {
        self.count(|_| true)
    }

    /// Nodes that are asked for and not Ready yet.
    pub fn booting(&self) -> u32 {
        self.count(|node| node.stage == Stage::Booting)
    }

    /// Nodes whose GPUs can be used.
    pub fn schedulable(&self) -> u32 {
        self.count(|node| node.stage == Stage::Schedulable)
    }

    fn count(&self, which: impl Fn(&FleetNode) -> bool) -> u32 {
        self.nodes.iter().map(|node| u32::from(which(node))).sum()
    }

    /// The nodes, oldest first.
    pub fn nodes(&self) -> &[FleetNode] {
        &self.nodes
    }

    /// The pool's name.
    pub fn pool(&self) -> &Arc<str> {
        &self.pool
    }

    /// Changes when nodes come, go, become usable, or fall ill.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Work that it can carry.
    pub fn capacity(&self) -> Micro {
        let working = self.count(FleetNode::works);
        Micro::from(working) * Micro::from(self.spec.gpus_per_node) * ONE
    }

    /// Puts `total` work on its GPUs, in micro-GPUs; what does not fit is left out.
    pub fn set_load(&mut self, total: Micro) {
        let gpus = self.capacity() / ONE;
        let mut left = total.clamp(0, gpus * ONE);
        let each = if gpus > 0 { left / gpus } else { 0 };
        let spread = self.spread;
        let mut put = |node: &mut FleetNode| {
            let works = node.works();
            for gpu in &mut node.gpus {
                let share = match spread {
                    Spread::Even => each,
                    Spread::Packed | Spread::PackedNewest => left.min(ONE),
                };
                let idle = !works || share == 0;
                gpu.load = if idle { 0 } else { share.max(LEAST_LOAD) };
                left -= if works { share } else { 0 };
            }
        };
        match spread {
            Spread::Even | Spread::Packed => self.nodes.iter_mut().for_each(&mut put),
            Spread::PackedNewest => self.nodes.iter_mut().rev().for_each(&mut put),
        }
    }

    /// The largest load of any of its GPUs.
    pub fn busiest(&self) -> Micro {
        let gpus = self.nodes.iter().flat_map(|node| &node.gpus);
        gpus.map(|gpu| gpu.load).max().unwrap_or(0)
    }

    /// The nodes as the cluster shows them, on its own clock: all that have joined, or are about to be Ready.
    pub fn show(&self, now_ms: Millis, nodes: &mut Vec<Node>) {
        for node in &self.nodes {
            let booting = node.stage == Stage::Booting;
            if booting && node.ready_at_ms.saturating_sub(now_ms) > SEEN_BEFORE_READY_MS {
                continue;
            }
            let gpus = if node.stage == Stage::Schedulable {
                self.spec.gpus_per_node
            } else {
                0
            };
            let with_work: u32 = node.gpus.iter().map(|gpu| u32::from(gpu.load > 0)).sum();
            nodes.push(Node {
                name: Arc::clone(&node.name),
                ready_since_ms: (!booting).then_some(EPOCH_MS + node.ready_at_ms),
                schedulable_gpus: gpus,
                free_gpus: if node.unhealthy {
                    0
                } else {
                    gpus.saturating_sub(with_work)
                },
                gpu_pods: with_work,
                unhealthy: node.unhealthy,
            });
        }
    }
}

/// Puts the demand of a group of pools on their GPUs, by how much each can carry; what is left over.
pub fn put(demand: Micro, fleets: &mut [Fleet], group: &[usize]) -> Micro {
    let mut capacity: Micro = group.iter().map(|&pool| fleets[pool].capacity()).sum();
    let mut served = demand.min(capacity);
    let over = demand - served;
    for &pool in group {
        let own = fleets[pool].capacity();
        let share = if capacity > 0 {
            served * (own / ONE) / (capacity / ONE)
        } else {
            0
        };
        fleets[pool].set_load(share);
        served -= share;
        capacity -= own;
    }
    over
}

fn name(pool: &str, number: NodeNo) -> Arc<str> {
    format!("aks-{pool}-{number:06}").into()
}

fn uuid(pool: &str, device: u32) -> Arc<str> {
    format!("GPU-{pool}-{device:08}").into()
}
