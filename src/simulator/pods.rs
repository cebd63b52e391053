//! The pods world: demand as whole-GPU pods that are placed on nodes by name and do not move.
//!
//! It is the world of training and of batch inference, and what the fluid world cannot show happens here: GPUs that
//! are free and of no use since no pod fits, nodes that are kept by one small pod, a node that may go only because
//! it is empty, and a scale-in that takes it by name.
//!
//! - **Pods.** The private module `workload` turns a demand series into pods by a seeded rule: sizes, arrivals,
//!   which one leaves. A pod has its GPUs for itself and keeps them until it leaves.
//! - **Scheduling.** Pods wait in order of arrival. At each tick all of them are tried in that order, and one that
//!   does not fit holds up none behind it (backfill). A pod goes to the schedulable node with the fewest free GPUs
//!   that has room for it, the oldest of equals (the scheduler's `MostAllocated`); it is never moved.
//! - **Nodes** are asked for, boot, are Ready, and are GPU-schedulable after the driver delay. They are billed from
//!   the request to their end. A released node takes no pod, is out of the policy's sight, and ends after
//!   [`Setup::drain_ms`].
//! - **What the policy sees**: every Ready node by name with its free GPUs and pods, the pods that wait, and the GPUs
//!   one by one: a free one reads 0, one with a pod that pod's level between 90 % and 100 %. Exporters are read
//!   every `scrapeInterval`, at the first tick at or after it. Other signals read as in the fluid world.
//! - **Scale-in** takes the nodes that the decision names. Should it name fewer than it releases, the platform
//!   chooses, as AKS does: booting nodes first, the newest first. The world looks whether a node is empty when it is
//!   taken; if not, it is taken all the same and counted in the scorecard as a busy node taken.
//! - **Faults** as in [`super::fault`]. The nodes that die are drawn; their pods start again as the last in the queue.
//!
//! The meter counts the GPUs of all pods as demand and those of running pods as served, so waiting is a miss.
//! Work always waits here, whatever [`Setup::unserved`] says.

mod cluster;
mod exporter;
mod workload;

use crate::policy::evaluation::Decision;

use super::closed_loop::{Change, Driver, Outcome, Platform, Setup, Tick, Watch};
use super::scorecard::{Interval, Meter};

use cluster::{Cluster, Inventory};
use exporter::Exporter;

/// Runs a policy in the pods world.
///
/// At each tick: nodes arrive and leave, faults strike, pods leave and arrive, waiting pods are placed, the exporters
/// are read, the policy decides, and its decision takes effect at once. Same setup, same outcome, on every machine.
pub fn run(setup: &Setup<'_>, watch: &mut impl Watch) -> Outcome {
    let (length_ms, start_ms) = (setup.demand.step_ms(), setup.demand.start_ms());
    let nodes = setup.spec.bounded(setup.initial_nodes);
    let mut platform = Platform::new(setup, nodes);
    let mut cluster = Cluster::new(setup.into(), nodes);
    let mut exporter = Exporter::new(setup.config, start_ms);
    let mut driver = Driver::new(setup.config);
    let mut meter = Meter::new(cluster.gpus_per_node());
    let mut now_ms = start_ms;
    for &demand in setup.demand.values() {
        cluster.advance(now_ms);
        cluster.lose(platform.advance(now_ms));
        cluster.follow(demand);
        let inventory = cluster.list_devices() == Inventory::Changed;
        let samples = exporter.scrape(now_ms, &cluster, platform.active());
        driver.ingest(now_ms, samples, inventory.then(|| cluster.inventory()));
        let (asked, failure) = (platform.count(), platform.take_failure());
        let mut observation = cluster.observe();
        (observation.asked, observation.failure) = (asked, failure);
        observation.node_price = setup.node_price;
        let evaluation = driver.decide(now_ms, &observation);
        driver.note(&evaluation);
        meter.busy_nodes_taken(act(now_ms, &evaluation.decision, &mut platform, &mut cluster));
        meter.resized(now_ms, asked, platform.count());
        let (wanted, served) = cluster.work();
        meter.interval(&Interval {
            length_ms,
            billed_nodes: cluster.billed(),
            demand: wanted,
            served,
        });
        watch.tick(&Tick {
            now_ms,
            demand: wanted,
            served,
            asked: platform.count(),
            ready: cluster.schedulable(),
            evaluation: &evaluation,
        });
        now_ms += length_ms;
    }
    driver.outcome(meter)
}

/// Does what was decided, and returns how many nodes were taken while pods ran on them.
fn act(now_ms: i64, decision: &Decision, platform: &mut Platform<'_>, cluster: &mut Cluster) -> u32 {
    let fewer = platform.count().saturating_sub(decision.to);
    match platform.resize(decision.to, cluster.existing()) {
        Change::None => 0,
        Change::Boot(nodes) => {
            for _ in 0..nodes {
                cluster.request(now_ms, platform.next_boot_ms());
            }
            0
        }
        Change::Go(_) => {
            let named = decision.victims.as_slice().iter().take(fewer as usize);
            let busy: u32 = named.map(|&victim| cluster.release(now_ms, victim)).sum();
            busy + cluster.release_newest(now_ms, decision.to)
        }
    }
}
