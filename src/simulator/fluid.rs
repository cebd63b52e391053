//! A node pool as a fluid: load spreads evenly, nodes arrive late, work that finds no room is lost.
//!
//! This is the reference model of a GPU pool, and the smallest one that can tell a good autoscaler from a bad
//! one:
//!
//! - a node serves its boot delay after the request, and is billed from the request to the release;
//! - demand served is `min(demand, ready · g)`; the rest is lost, there is no backlog;
//! - what an exporter would show is `min(1, demand / (ready · g))`: it saturates, as real utilization does;
//! - a release is immediate, and cancels nodes that are still booting first, the newest first.
//!
//! Boot delays are an argument of each request, so a distribution, a driver delay or a slow zone needs
//! nothing here. Capacity that the platform refuses is a request for fewer nodes; nodes that it takes away
//! are [`FluidPool::lose`].
//!
//! It knows no policy, no clock and no loop: whoever drives it says what time it is. All numbers are
//! integers, a step takes a few nanoseconds, and nothing is allocated once the list of boots has reached its
//! largest size.

use crate::recording::MICRO;

/// The shape of a pool: what a scenario states and every autoscaler must respect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolSpec {
    /// GPUs of one node; at least 1.
    pub gpus_per_node: u32,
    /// Fewest nodes that may be asked for.
    pub min_nodes: u32,
    /// Most nodes that may be asked for; at least `min_nodes`.
    pub max_nodes: u32,
    /// Milliseconds from the request of a node to its first served work.
    pub boot_ms: i64,
}

impl PoolSpec {
    /// What one node can serve, in 1e-6 GPU.
    #[must_use]
    pub fn node_capacity(&self) -> i64 {
        i64::from(self.gpus_per_node.max(1)) * MICRO
    }

    /// The fewest nodes that serve `demand` (1e-6 GPU) with no node busier than `target_percent`; no bounds
    /// applied.
    #[must_use]
    pub fn nodes_for(&self, demand: i64, target_percent: u32) -> u32 {
        let target = i128::from(target_percent.max(1)) * i128::from(self.node_capacity());
        let nodes = (i128::from(demand.max(0)) * 100 + target - 1) / target;
        u32::try_from(nodes).unwrap_or(u32::MAX)
    }

    /// `nodes` held inside the bounds.
    #[must_use]
    pub fn bounded(&self, nodes: u32) -> u32 {
        nodes.min(self.max_nodes).max(self.min_nodes)
    }
}

/// Nodes requested together that become ready together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cohort {
    /// When the nodes were requested.
    pub requested_at_ms: i64,
    /// When the nodes start to serve.
    pub ready_at_ms: i64,
    /// How many there are; never 0.
    pub nodes: u32,
}

/// What one interval's demand met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Demand that was served, in 1e-6 GPU.
    pub served: i64,
    /// Demand that found no room and is lost, in 1e-6 GPU.
    pub unserved: i64,
    /// Mean utilization of the ready GPUs as an exporter shows it, in parts per million, at most 1,000,000. A
    /// pool without ready nodes shows 0: there is no GPU to report anything.
    pub utilization_ppm: i64,
}

/// What a resize did at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Resized {
    /// Nodes requested; they are billed from now.
    pub requested: u32,
    /// Booting nodes whose request was withdrawn.
    pub cancelled: u32,
    /// Ready nodes released.
    pub released: u32,
}

/// A pool of equal nodes; see the module for the model.
#[derive(Debug, Clone)]
pub struct FluidPool {
    node_capacity: i64,
    ready: u32,
    booting: u32,
    /// In the order of the requests, so that the last one is the newest. Ready times need not rise.
    cohorts: Vec<Cohort>,
    /// The earliest ready time of `cohorts`: makes a step without an arrival one comparison.
    next_ready_ms: i64,
}

impl FluidPool {
    /// A pool with `ready` nodes of `gpus_per_node` GPUs that serve from the start and cost no boot.
    #[must_use]
    pub fn new(gpus_per_node: u32, ready: u32) -> Self {
        let node_capacity = i64::from(gpus_per_node.max(1)) * MICRO;
        Self {
            node_capacity,
            ready,
            booting: 0,
            cohorts: Vec::new(),
            next_ready_ms: i64::MAX,
        }
    }

    /// Nodes that serve.
    #[must_use]
    pub fn ready(&self) -> u32 {
        self.ready
    }

    /// Nodes requested that do not serve yet.
    #[must_use]
    pub fn booting(&self) -> u32 {
        self.booting
    }

    /// Nodes asked for, ready or not. All of them are billed.
    #[must_use]
    pub fn asked(&self) -> u32 {
        self.ready + self.booting
    }

    /// The boots in flight, oldest request first.
    #[must_use]
    pub fn boots(&self) -> &[Cohort] {
        &self.cohorts
    }

    /// What the ready nodes can serve, in 1e-6 GPU.
    #[must_use]
    pub fn capacity(&self) -> i64 {
        i64::from(self.ready).saturating_mul(self.node_capacity)
    }

    /// Moves time to `now_ms`: nodes whose boot is over serve. Returns how many arrived.
    ///
    /// Call it at the start of every interval. A node that gets ready inside an interval serves from the
    /// next.
    #[inline]
    pub fn advance(&mut self, now_ms: i64) -> u32 {
        if now_ms < self.next_ready_ms {
            0
        } else {
            self.arrive(now_ms)
        }
    }

    #[cold]
    fn arrive(&mut self, now_ms: i64) -> u32 {
        let before = self.ready;
        self.cohorts.retain(|cohort| {
            let due = cohort.ready_at_ms <= now_ms;
            if due {
                self.ready += cohort.nodes;
                self.booting -= cohort.nodes;
            }
            !due
        });
        self.refresh_next();
        self.ready - before
    }

    /// Requests `nodes` nodes that serve `boot_ms` later.
    ///
    /// To give each node a delay of its own, request them one by one. If the platform grants only a part,
    /// request that part: the pool is what exists, not what was wished.
    pub fn request(&mut self, now_ms: i64, nodes: u32, boot_ms: i64) {
        let nodes = nodes.min(u32::MAX - self.asked());
        if nodes == 0 {
            return;
        }
        if boot_ms <= 0 {
            self.ready += nodes;
            return;
        }
        let ready_at_ms = now_ms.saturating_add(boot_ms);
        self.booting += nodes;
        self.next_ready_ms = self.next_ready_ms.min(ready_at_ms);
        match self.cohorts.last_mut() {
            Some(newest) if newest.ready_at_ms == ready_at_ms && newest.requested_at_ms == now_ms => {
                newest.nodes += nodes;
            }
            _ => self.cohorts.push(Cohort {
                requested_at_ms: now_ms,
                ready_at_ms,
                nodes,
            }),
        }
    }

    /// Releases up to `nodes` nodes at once: booting ones first, newest first, then ready ones.
    pub fn release(&mut self, nodes: u32) -> Resized {
        let mut cancelled = 0;
        while let Some(newest) = self.cohorts.last_mut().filter(|_| cancelled < nodes) {
            let taken = newest.nodes.min(nodes - cancelled);
            newest.nodes -= taken;
            cancelled += taken;
            if newest.nodes == 0 {
                self.cohorts.pop();
            }
        }
        self.booting -= cancelled;
        let released = self.lose(nodes - cancelled);
        self.refresh_next();
        Resized {
            requested: 0,
            cancelled,
            released,
        }
    }

    /// Asks for `target` nodes in all: requests what is missing, or releases what is too much.
    pub fn resize(&mut self, now_ms: i64, target: u32, boot_ms: i64) -> Resized {
        let asked = self.asked();
        if target >= asked {
            self.request(now_ms, target - asked, boot_ms);
            Resized {
                requested: target - asked,
                ..Resized::default()
            }
        } else {
            self.release(asked - target)
        }
    }

    /// Ready nodes vanish: an eviction, a failed host. They are no longer billed. Returns how many there
    /// were.
    pub fn lose(&mut self, nodes: u32) -> u32 {
        let lost = nodes.min(self.ready);
        self.ready -= lost;
        lost
    }

    /// Boots that will never end: the oldest `nodes` booting nodes vanish and are no longer billed. Returns
    /// how many there were.
    pub fn lose_booting(&mut self, nodes: u32) -> u32 {
        let mut left = nodes;
        self.cohorts.retain_mut(|cohort| {
            let taken = cohort.nodes.min(left);
            cohort.nodes -= taken;
            left -= taken;
            cohort.nodes > 0
        });
        self.booting -= nodes - left;
        self.refresh_next();
        nodes - left
    }

    /// What the ready nodes make of `demand` (1e-6 GPU, at most [`crate::recording::MAX_DEMAND`]).
    #[inline]
    #[must_use]
    pub fn serve(&self, demand: i64) -> Served {
        let capacity = self.capacity();
        let served = demand.min(capacity);
        let utilization_ppm = if capacity == 0 {
            0
        } else if served == capacity {
            MICRO
        } else {
            served * MICRO / capacity
        };
        Served {
            served,
            unserved: demand - served,
            utilization_ppm,
        }
    }

    fn refresh_next(&mut self) {
        self.next_ready_ms = self
            .cohorts
            .iter()
            .map(|cohort| cohort.ready_at_ms)
            .min()
            .unwrap_or(i64::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BOOT: i64 = 480_000;

    #[test]
    fn a_node_is_billed_from_the_request_and_serves_after_the_boot() {
        let mut pool = FluidPool::new(4, 1);
        assert_eq!(pool.resize(0, 3, BOOT).requested, 2);
        assert_eq!((pool.asked(), pool.ready(), pool.booting()), (3, 1, 2));
        assert_eq!(pool.advance(BOOT - 1), 0);
        assert_eq!(pool.advance(BOOT), 2);
        assert_eq!((pool.asked(), pool.ready(), pool.booting()), (3, 3, 0));
    }

    #[test]
    fn a_release_cancels_the_newest_boots_first() {
        let mut pool = FluidPool::new(4, 2);
        pool.request(0, 3, BOOT);
        pool.request(15_000, 2, BOOT);
        assert_eq!(
            pool.release(3),
            Resized {
                requested: 0,
                cancelled: 3,
                released: 0
            }
        );
        assert_eq!(
            pool.boots(),
            [Cohort {
                requested_at_ms: 0,
                ready_at_ms: BOOT,
                nodes: 2
            }]
        );
        assert_eq!(
            pool.release(3),
            Resized {
                requested: 0,
                cancelled: 2,
                released: 1
            }
        );
        assert_eq!((pool.asked(), pool.ready()), (1, 1));
        assert_eq!(pool.release(9).released, 1);
    }

    #[test]
    fn newest_means_requested_last_even_if_ready_first() {
        let mut pool = FluidPool::new(4, 0);
        pool.request(0, 1, 600_000);
        pool.request(15_000, 1, 60_000);
        assert_eq!(pool.release(1).cancelled, 1);
        assert_eq!(
            pool.boots(),
            [Cohort {
                requested_at_ms: 0,
                ready_at_ms: 600_000,
                nodes: 1
            }]
        );
        assert_eq!(pool.advance(75_000), 0);
        assert_eq!(pool.advance(600_000), 1);
    }

    #[test]
    fn utilization_saturates_and_the_rest_is_lost() {
        let check = |ready: u32, gpus: i64, expected: (i64, i64, i64)| {
            let served = FluidPool::new(4, ready).serve(gpus * MICRO);
            let found = (
                served.served / MICRO,
                served.unserved / MICRO,
                served.utilization_ppm,
            );
            assert_eq!(found, expected, "{ready} nodes, {gpus} GPUs");
        };
        check(2, 0, (0, 0, 0));
        check(2, 2, (2, 0, 250_000));
        check(2, 8, (8, 0, 1_000_000));
        check(2, 9, (8, 1, 1_000_000));
        check(0, 3, (0, 3, 0));
        check(0, 0, (0, 0, 0));
    }

    #[test]
    fn lost_nodes_leave_the_bill() {
        let mut pool = FluidPool::new(8, 5);
        pool.request(0, 2, BOOT);
        pool.request(15_000, 1, BOOT);
        assert_eq!(pool.lose(2), 2);
        assert_eq!(pool.lose_booting(1), 1);
        assert_eq!((pool.asked(), pool.ready(), pool.booting()), (5, 3, 2));
        assert_eq!(pool.boots()[0].nodes, 1, "the oldest boot is the one that failed");
        assert_eq!(pool.lose(9), 3);
        assert_eq!(pool.lose_booting(9), 2);
        assert_eq!(pool.asked(), 0);
    }

    #[test]
    fn nodes_for_rounds_up_and_knows_the_target() {
        let spec = PoolSpec {
            gpus_per_node: 4,
            min_nodes: 1,
            max_nodes: 9,
            boot_ms: BOOT,
        };
        let check = |demand: i64, target: u32, expected: u32| {
            assert_eq!(spec.nodes_for(demand, target), expected, "{demand} at {target} %");
        };
        check(0, 100, 0);
        check(1, 100, 1);
        check(4 * MICRO, 100, 1);
        check(4 * MICRO + 1, 100, 2);
        check(2_800_000, 70, 1);
        check(2_800_001, 70, 2);
        assert_eq!((spec.bounded(0), spec.bounded(5), spec.bounded(50)), (1, 5, 9));
    }

    proptest! {
        /// Any sequence of calls keeps the books: asked = ready + booting = what was granted minus what went.
        #[test]
        fn the_books_balance(calls in prop::collection::vec((0..5_u8, 0..20_u32, 0..900_000_i64), 1..200)) {
            let mut pool = FluidPool::new(4, 3);
            let mut expected = 3_i64;
            for (i, (call, nodes, boot)) in calls.into_iter().enumerate() {
                let now = i64::try_from(i).unwrap() * 15_000;
                pool.advance(now);
                expected += match call {
                    0 => { pool.request(now, nodes, boot); i64::from(nodes) }
                    1 => { let gone = pool.release(nodes); -i64::from(gone.cancelled + gone.released) }
                    2 => -i64::from(pool.lose(nodes)),
                    3 => -i64::from(pool.lose_booting(nodes)),
                    _ => { pool.resize(now, nodes, boot); i64::from(nodes) - expected }
                };
                prop_assert_eq!(i64::from(pool.asked()), expected);
                prop_assert_eq!(pool.boots().iter().map(|c| c.nodes).sum::<u32>(), pool.booting());
                prop_assert!(pool.boots().iter().all(|c| c.nodes > 0));
                let served = pool.serve(50 * MICRO);
                prop_assert_eq!(served.served + served.unserved, 50 * MICRO);
                prop_assert!((0..=MICRO).contains(&served.utilization_ppm));
            }
        }
    }
}
