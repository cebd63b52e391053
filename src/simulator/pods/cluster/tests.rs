//! Placement, boots, drains and losses, on clusters of a few nodes.

use super::*;
use proptest::prelude::*;

const SHAPE: Shape = Shape {
    gpus_per_node: 8,
    driver_delay_ms: 0,
    drain_ms: 0,
    start_ms: 0,
    seed: 5,
};

impl Cluster {
    /// A pod arrives and all that wait are tried.
    fn arrive(&mut self, gpus: u32) -> u32 {
        let id = self.workload.push(gpus);
        self.queue.push_back(id);
        self.schedule();
        id
    }

    fn node_of(&mut self, id: u32) -> Option<u32> {
        self.workload.pod_mut(id).unwrap().node.map(|node| node.0)
    }

    fn free(&self) -> Vec<u32> {
        self.nodes.iter().map(|node| node.free).collect()
    }

    /// The books: every GPU is free or owned, every pod waits or runs, once.
    fn audit(&self) {
        let mut running = 0;
        for pod in self.workload.pods() {
            let owned: Vec<NodeId> = self
                .nodes
                .iter()
                .flat_map(|node| {
                    let owners = node.gpus.iter().flatten();
                    owners.filter(|owner| owner.pod == pod.id).map(|_| node.id)
                })
                .collect();
            let queued = self.queue.iter().filter(|&&id| id == pod.id).count();
            match pod.node {
                Some(node) => {
                    assert_eq!((owned, queued), (vec![node; pod.gpus as usize], 0), "{pod:?}");
                    running += u64::from(pod.gpus);
                }
                None => assert_eq!((owned, queued), (vec![], 1), "{pod:?}"),
            }
        }
        assert_eq!(running, self.running_gpus);
        assert_eq!(self.queue.len(), self.waiting.len());
        for node in &self.nodes {
            let free = node.gpus.iter().filter(|gpu| gpu.is_none()).count();
            assert_eq!(node.free as usize, free, "{node:?}");
            let pods = self
                .workload
                .pods()
                .iter()
                .filter(|pod| pod.node == Some(node.id));
            assert_eq!(node.pods as usize, pods.count(), "{node:?}");
        }
    }
}

#[test]
fn pods_go_to_the_fullest_node_and_small_ones_pass_large_ones() {
    let mut cluster = Cluster::new(SHAPE, 2);
    let pods = [4, 2, 8, 4, 1, 1].map(|gpus| cluster.arrive(gpus));
    let places = pods.map(|id| cluster.node_of(id));
    assert_eq!(places, [Some(0), Some(0), Some(1), None, Some(0), Some(0)]);
    assert_eq!(cluster.work(), (20 * ONE, 16 * ONE));
    cluster.audit();
    // A new node takes what waits, though it is the emptiest.
    cluster.request(0, 100);
    cluster.advance(100);
    cluster.follow(20 * ONE);
    assert_eq!(cluster.node_of(pods[3]), Some(2));
    cluster.audit();
}

#[test]
fn a_node_is_ready_before_it_takes_pods() {
    let shape = Shape {
        driver_delay_ms: 50,
        ..SHAPE
    };
    let mut cluster = Cluster::new(shape, 1);
    cluster.request(10, 100);
    let mut check = |now_ms: Millis, booting: usize, ready: u32, schedulable: u32, free: u32| {
        cluster.advance(now_ms);
        let devices = cluster.list_devices();
        let reporting = cluster.readings().count();
        let inventory = cluster.inventory().len();
        let seen = cluster.observe();
        let found = (seen.booting.len(), seen.ready, seen.schedulable, seen.free_gpus);
        assert_eq!(
            found,
            (booting, ready, schedulable, Some(free)),
            "at {now_ms}: {seen:?}"
        );
        assert_eq!(
            (inventory, reporting),
            (8 * ready as usize, 8 * schedulable as usize)
        );
        devices
    };
    assert_eq!(check(109, 1, 1, 1, 8), Inventory::Changed);
    assert_eq!(check(110, 0, 2, 1, 8), Inventory::Changed);
    assert_eq!(check(159, 0, 2, 1, 8), Inventory::Told);
    assert_eq!(check(160, 0, 2, 2, 16), Inventory::Told);
}

#[test]
fn a_released_node_is_out_of_sight_and_billed_until_its_end() {
    let shape = Shape {
        drain_ms: 60,
        ..SHAPE
    };
    let mut cluster = Cluster::new(shape, 2);
    assert_eq!(cluster.release(0, NodeId(0)), 0);
    assert_eq!(cluster.release(0, NodeId(0)), 0, "once is enough");
    let pod = cluster.arrive(1);
    assert_eq!(cluster.node_of(pod), Some(1), "it takes no pod");
    assert_eq!((cluster.billed(), cluster.existing()), (2, 1));
    assert_eq!(cluster.observe().ready, 1);
    cluster.advance(59);
    assert_eq!(cluster.billed(), 2);
    cluster.advance(60);
    assert_eq!(cluster.billed(), 1);
}

#[test]
fn a_busy_node_that_is_taken_is_counted_and_its_pods_wait_again() {
    let mut cluster = Cluster::new(SHAPE, 1);
    let [first, second, waiting] = [6, 2, 1].map(|gpus| cluster.arrive(gpus));
    assert_eq!(cluster.release(0, NodeId(0)), 1);
    assert_eq!(cluster.queue, [waiting, first, second]);
    assert_eq!(cluster.work(), (9 * ONE, 0));
    cluster.audit();
}

#[test]
fn the_platform_takes_booting_nodes_first_and_then_the_newest() {
    let mut cluster = Cluster::new(SHAPE, 2);
    cluster.request(0, 500);
    cluster.request(0, 100);
    cluster.advance(100);
    let left = |cluster: &Cluster| cluster.nodes.iter().map(|node| node.id.0).collect::<Vec<_>>();
    cluster.release_newest(100, 3);
    assert_eq!(left(&cluster), [0, 1, 3], "node 2 was still booting");
    cluster.arrive(8);
    assert_eq!(cluster.free(), [0, 8, 8]);
    assert_eq!(cluster.release_newest(100, 1), 0);
    assert_eq!(cluster.release_newest(100, 0), 1, "the last one had a pod");
}

proptest! {
    #[test]
    fn the_books_balance(
        calls in prop::collection::vec((0..6_u8, 0..40_u32), 1..120),
        g in 1..9_u32, drain_ms in 0..40_i64, seed: u64,
    ) {
        let shape = Shape { gpus_per_node: g, drain_ms, driver_delay_ms: 20, seed, ..SHAPE };
        let mut cluster = Cluster::new(shape, 2);
        for ((call, number), now_ms) in calls.into_iter().zip((0..).step_by(10)) {
            cluster.advance(now_ms);
            let before = cluster.existing();
            match call {
                0 => cluster.request(now_ms, Millis::from(number)),
                1 => { cluster.release(now_ms, NodeId(number)); }
                2 => { cluster.release_newest(now_ms, before.saturating_sub(number / 8)); }
                3 => cluster.lose(number / 16),
                _ => {}
            }
            cluster.audit();
            cluster.follow(Micro::from(number) * ONE);
            cluster.audit();
            // Nothing that waits would fit.
            let most = cluster.nodes.iter().filter(|n| n.is_schedulable()).map(|n| n.free).max().unwrap_or(0);
            prop_assert!(cluster.waiting.iter().all(|pod| pod.gpus > most));
        }
    }
}
