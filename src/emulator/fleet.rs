//! The machines of one pool and the work on their GPUs. Pure: time is an argument, in ms.
//!
//! Work spreads evenly over the GPUs that can be scheduled; what does not fit is lost and counted. Everything that is
//! counted is an integer, so that two runs of one scenario agree to the last digit.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use crate::policy::config::{Micro, Millis};
use crate::recording::{Demand, MICRO};

use super::behavior::Victims;

/// The part of a scale set's name that AKS draws by chance for a cluster.
const CLUSTER_HASH: &str = "12345678";

/// Milliseconds of an hour.
const HOUR_MS: i128 = 3_600_000;

/// What the GPUs of a pool are asked for.
#[derive(Debug, Clone)]
pub enum Load {
    /// So much all the time, in 1e-6 GPU.
    Constant(Micro),
    /// A recorded demand that begins at this time, and repeats.
    Recorded(Arc<Demand>, Millis),
}

impl Load {
    /// What is asked for, in 1e-6 GPU.
    #[must_use]
    pub fn at(&self, now_ms: Millis) -> Micro {
        match self {
            Self::Constant(level) => *level,
            Self::Recorded(demand, begins_ms) => {
                let into_ms = now_ms
                    .saturating_sub(*begins_ms)
                    .rem_euclid(demand.duration_ms().max(1));
                let step = usize::try_from(into_ms / demand.step_ms()).unwrap_or(0);
                demand.values().get(step).copied().unwrap_or(0)
            }
        }
    }

    /// When it may change next, after `now_ms`.
    fn next_ms(&self, now_ms: Millis) -> Millis {
        match self {
            Self::Constant(_) => Millis::MAX,
            Self::Recorded(demand, begins_ms) => {
                let into_ms = now_ms.saturating_sub(*begins_ms).rem_euclid(demand.step_ms());
                now_ms.saturating_add(demand.step_ms() - into_ms)
            }
        }
    }
}

/// How far a node has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// It was asked for.
    Booting,
    /// It is Ready; its driver is not.
    Ready,
    /// Its GPUs can be scheduled.
    Schedulable,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its number in the scale set, which is never given twice.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// When it was asked for.
    pub asked_ms: Millis,
    /// When it is Ready.
    pub ready_ms: Millis,
    /// When its GPUs can be scheduled.
    pub schedulable_ms: Millis,
}

impl Node {
    /// How far it is.
    #[must_use]
    pub fn phase(&self, now_ms: Millis) -> Phase {
        if now_ms >= self.schedulable_ms {
            Phase::Schedulable
        } else if now_ms >= self.ready_ms {
            Phase::Ready
        } else {
            Phase::Booting
        }
    }
}

/// What nodes of a pool are like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// GPUs of a node.
    pub gpus_per_node: u32,
    /// From the request until Ready.
    pub boot_ms: Millis,
    /// From Ready until schedulable.
    pub driver_ms: Millis,
}

/// What was asked for, given and paid for since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// 1e-6 GPU × ms that were asked for.
    demanded: i128,
    /// 1e-6 GPU × ms that ran.
    served: i128,
    /// GPU × ms that could be scheduled.
    gpu_ms: i128,
    /// Node × ms since each was asked for, which is what is billed.
    node_ms: i128,
}

impl Account {
    /// What was asked for, in 1e-6 GPU-hours.
    #[must_use]
    pub fn demanded_micro_gpu_hours(&self) -> i128 {
        self.demanded / HOUR_MS
    }

    /// What ran, in 1e-6 GPU-hours.
    #[must_use]
    pub fn served_micro_gpu_hours(&self) -> i128 {
        self.served / HOUR_MS
    }

    /// What found no GPU, in 1e-6 GPU-hours.
    #[must_use]
    pub fn unserved_micro_gpu_hours(&self) -> i128 {
        // What is shown adds up, to the last digit.
        self.demanded_micro_gpu_hours() - self.served_micro_gpu_hours()
    }

    /// GPUs that could be scheduled, in 1e-6 GPU-hours.
    #[must_use]
    pub fn schedulable_micro_gpu_hours(&self) -> i128 {
        self.gpu_ms * i128::from(MICRO) / HOUR_MS
    }

    /// Nodes that are billed, in 1e-6 node-hours.
    #[must_use]
    pub fn micro_node_hours(&self) -> i128 {
        self.node_ms * i128::from(MICRO) / HOUR_MS
    }
}

/// The machines of one pool.
#[derive(Debug, Clone)]
pub struct Fleet {
    pool: String,
    shape: Shape,
    load: Load,
    nodes: Vec<Node>,
    next_id: u64,
    at_ms: Millis,
    account: Account,
    busy_taken: u32,
}

impl Fleet {
    /// A pool of `count` nodes that are all there at `now_ms`.
    #[must_use]
    pub fn new(pool: &str, shape: Shape, load: Load, count: u32, now_ms: Millis) -> Self {
        let mut fleet = Self {
            pool: pool.to_owned(),
            shape,
            load,
            nodes: Vec::new(),
            next_id: 0,
            at_ms: now_ms,
            account: Account::default(),
            busy_taken: 0,
        };
        let warm_ms = now_ms.saturating_sub(shape.boot_ms.saturating_add(shape.driver_ms));
        fleet.ask(warm_ms, count);
        fleet
    }

    /// GPUs of a node.
    #[must_use]
    pub fn gpus_per_node(&self) -> u32 {
        self.shape.gpus_per_node
    }

    /// The nodes that are there, the booting ones among them, oldest first.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// How many they are.
    #[must_use]
    pub fn present(&self) -> u32 {
        u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)
    }

    /// The node of this name.
    #[must_use]
    pub fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// What was asked for, given and paid for until the time of the last call.
    #[must_use]
    pub fn account(&self) -> Account {
        self.account
    }

    /// Nodes that were taken while there was work on their GPUs.
    #[must_use]
    pub fn busy_taken(&self) -> u32 {
        self.busy_taken
    }

    /// The name of the scale set.
    #[must_use]
    pub fn scale_set(&self) -> String {
        format!("aks-{}-{CLUSTER_HASH}-vmss", self.pool)
    }

    /// GPUs that can be scheduled.
    #[must_use]
    pub fn schedulable_gpus(&self, now_ms: Millis) -> u64 {
        let schedulable = |node: &&Node| node.phase(now_ms) == Phase::Schedulable;
        let nodes = u64::try_from(self.nodes.iter().filter(schedulable).count()).unwrap_or(0);
        nodes.saturating_mul(u64::from(self.shape.gpus_per_node))
    }

    /// What is asked for, in 1e-6 GPU.
    #[must_use]
    pub fn demand(&self, now_ms: Millis) -> Micro {
        self.load.at(now_ms)
    }

    /// Utilization of each GPU that can be scheduled, in millionths: the demand over all of them, at most one.
    #[must_use]
    pub fn utilization(&self, now_ms: Millis) -> Micro {
        let gpus = Micro::try_from(self.schedulable_gpus(now_ms)).unwrap_or(Micro::MAX);
        if gpus == 0 {
            return 0;
        }
        (self.load.at(now_ms) / gpus).min(MICRO)
    }

    /// From now on this is asked for.
    pub fn set_load(&mut self, now_ms: Millis, load: Load) {
        self.advance(now_ms);
        self.load = load;
    }

    /// Asks for more nodes.
    pub fn ask(&mut self, now_ms: Millis, nodes: u32) {
        self.advance(now_ms);
        for _ in 0..nodes {
            let id = self.next_id;
            self.next_id = id.saturating_add(1);
            let ready_ms = now_ms.saturating_add(self.shape.boot_ms);
            self.nodes.push(Node {
                id,
                name: format!("{}{}", self.scale_set(), base_36(id)),
                asked_ms: now_ms,
                ready_ms,
                schedulable_ms: ready_ms.saturating_add(self.shape.driver_ms),
            });
        }
    }

    /// Takes nodes of the platform's choice. Gives how many there were.
    pub fn take(&mut self, now_ms: Millis, nodes: u32, victims: Victims) -> u32 {
        let mut order: Vec<&Node> = self.nodes.iter().collect();
        match victims {
            Victims::NewestFirst => order.reverse(),
            Victims::BusiestFirst => {
                order.sort_by_key(|node| (node.phase(now_ms) != Phase::Schedulable, node.id));
            }
        }
        let chosen = order
            .into_iter()
            .take(usize::try_from(nodes).unwrap_or(usize::MAX));
        let names: BTreeSet<String> = chosen.map(|node| node.name.clone()).collect();
        self.remove(now_ms, &names)
    }

    /// Takes the nodes of these names. Gives how many there were.
    pub fn remove(&mut self, now_ms: Millis, names: &BTreeSet<String>) -> u32 {
        self.advance(now_ms);
        let works = self.utilization(now_ms) > 0;
        let mut taken: u32 = 0;
        let mut busy: u32 = 0;
        self.nodes.retain(|node| {
            let goes = names.contains(&node.name);
            taken = taken.saturating_add(u32::from(goes));
            busy = busy.saturating_add(u32::from(
                goes && works && node.phase(now_ms) == Phase::Schedulable,
            ));
            !goes
        });
        self.busy_taken = self.busy_taken.saturating_add(busy);
        taken
    }

    /// Lets time pass until `now_ms`, and keeps the account. Time that has passed does not come back.
    pub fn advance(&mut self, now_ms: Millis) {
        while self.at_ms < now_ms {
            let until_ms = self.next_change_ms().min(now_ms);
            self.book(until_ms);
            self.at_ms = until_ms;
        }
    }

    /// When the number of GPUs or the demand may change next.
    fn next_change_ms(&self) -> Millis {
        let schedulable = self.nodes.iter().map(|node| node.schedulable_ms);
        let next = schedulable.filter(|&at_ms| at_ms > self.at_ms).min();
        next.unwrap_or(Millis::MAX).min(self.load.next_ms(self.at_ms))
    }

    /// Between now and `until_ms` nothing changes.
    fn book(&mut self, until_ms: Millis) {
        let ms = i128::from(until_ms.saturating_sub(self.at_ms));
        let gpus = i128::from(self.schedulable_gpus(self.at_ms));
        let demanded = i128::from(self.load.at(self.at_ms));
        self.account.demanded += demanded * ms;
        self.account.served += demanded.min(gpus * i128::from(MICRO)) * ms;
        self.account.gpu_ms += gpus * ms;
        self.account.node_ms += i128::from(self.present()) * ms;
    }
}

/// The number of an instance as scale sets write it: base 36, six digits.
fn base_36(mut id: u64) -> String {
    let mut digits = Vec::new();
    while id > 0 || digits.len() < 6 {
        let digit = u32::try_from(id % 36).unwrap_or(0);
        digits.push(char::from_digit(digit, 36).unwrap_or('0'));
        id /= 36;
    }
    digits.iter().rev().collect()
}

#[cfg(test)]
mod tests;
