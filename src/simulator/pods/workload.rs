//! From a demand series to pods.
//!
//! The rule, for each interval: wanted are ⌈demand⌉ GPUs.
//!
//! - Pods have fewer: pods arrive until they have as many. A size is drawn from the powers of two up to a node's GPUs
//!   and up to what is missing, a size twice as large half as often, so that each carries the same share of the GPUs.
//! - Pods have more: pods leave. One is drawn from all that are not larger than the surplus, waiting or running, and
//!   again, until none fits. So nobody is replaced by a smaller pod, and the pods may have up to the smallest pod's
//!   GPUs more than the series says.
//!
//! What is drawn depends on the seed and the series only, never on the policy: two policies judged with one seed meet
//! the same pods. (A pod that lost its node is the same pod again.)

use rand_chacha::ChaCha8Rng;

use crate::policy::config::{Micro, ONE};
use crate::policy::sample::NodeId;
use crate::simulator::boot::{Stream, draw, stream};

/// A pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pod {
    /// Who it is, in the order of arrival.
    pub(super) id: u32,
    /// GPUs that it has for itself.
    pub(super) gpus: u32,
    /// What its GPUs read while it runs, as a fraction.
    pub(super) level: Micro,
    /// Where it runs; `None` while it waits.
    pub(super) node: Option<NodeId>,
}

/// All pods that are wanted now.
#[derive(Debug)]
pub(super) struct Workload {
    rng: ChaCha8Rng,
    /// Rising by id: it is by this order that one is drawn.
    pods: Vec<Pod>,
    gpus: u64,
    largest: u32,
    next_id: u32,
}

/// The lowest level that a busy GPU reads; the highest is 100 %.
const BUSY_LEVEL: Micro = 900_000;

impl Workload {
    pub(super) fn new(seed: u64, gpus_per_node: u32) -> Self {
        Self {
            rng: stream(seed, Stream::Pods),
            pods: Vec::new(),
            gpus: 0,
            largest: gpus_per_node.max(1),
            next_id: 0,
        }
    }

    /// GPUs of all pods.
    pub(super) fn gpus(&self) -> u64 {
        self.gpus
    }

    /// The pod called `id`, unless it left.
    pub(super) fn pod_mut(&mut self, id: u32) -> Option<&mut Pod> {
        let index = self.pods.binary_search_by_key(&id, |pod| pod.id).ok()?;
        self.pods.get_mut(index)
    }

    /// The id of the next pod: ids are given in the order of arrival.
    pub(super) fn next_id(&self) -> u32 {
        self.next_id
    }

    /// Follows the demand: those that leave are handed to `left`, those that arrive have the next ids and wait.
    pub(super) fn follow(&mut self, demand: Micro, mut left: impl FnMut(Pod)) {
        let demand = u64::try_from(demand).unwrap_or(0);
        let wanted = demand.div_ceil(ONE.unsigned_abs());
        while self.gpus > wanted {
            let Some(pod) = self.leaver(self.gpus - wanted) else {
                break;
            };
            self.gpus -= u64::from(pod.gpus);
            left(pod);
        }
        while self.gpus < wanted {
            let pod = self.newcomer(wanted - self.gpus);
            self.gpus += u64::from(pod.gpus);
            self.pods.push(pod);
        }
    }

    /// A pod of a size that a test wants.
    #[cfg(test)]
    pub(super) fn push(&mut self, gpus: u32) -> u32 {
        let mut pod = self.newcomer(1);
        pod.gpus = gpus;
        self.gpus += u64::from(gpus);
        self.pods.push(pod);
        pod.id
    }

    /// All pods, rising by id.
    #[cfg(test)]
    pub(super) fn pods(&self) -> &[Pod] {
        &self.pods
    }

    fn leaver(&mut self, surplus: u64) -> Option<Pod> {
        let fits = |pod: &Pod| u64::from(pod.gpus) <= surplus;
        let count = self.pods.iter().filter(|pod| fits(pod)).count();
        if count == 0 {
            return None;
        }
        let nth = usize::try_from(draw(&mut self.rng, count as u64)).unwrap_or(0);
        let mut fitting = (0..).zip(&self.pods).filter(|(_, pod)| fits(pod));
        let (index, _) = fitting.nth(nth)?;
        Some(self.pods.remove(index))
    }

    fn newcomer(&mut self, missing: u64) -> Pod {
        let most = missing.min(u64::from(self.largest)).max(1);
        let exponent = most.ilog2();
        // Size 2^k has weight 2^(exponent − k), the weights add up to 2^(exponent + 1) − 1: the position of the
        // highest bit of a number drawn from 1 up to that sum has these weights, the largest number the smallest size.
        let drawn = 1 + draw(&mut self.rng, (2_u64 << exponent) - 1);
        let gpus = 1_u32 << (exponent - drawn.ilog2());
        let span = (ONE - BUSY_LEVEL).unsigned_abs() + 1;
        let level = BUSY_LEVEL + Micro::try_from(draw(&mut self.rng, span)).unwrap_or(0);
        let id = self.next_id;
        self.next_id += 1;
        Pod {
            id,
            gpus,
            level,
            node: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_size_carries_the_same_share_of_the_gpus() {
        let mut workload = Workload::new(3, 8);
        let mut gpus_by_size = [0_u32; 9];
        for _ in 0..30_000 {
            let pod = workload.newcomer(100);
            gpus_by_size[pod.gpus as usize] += pod.gpus;
            assert!((BUSY_LEVEL..=ONE).contains(&pod.level));
        }
        let sizes = [1, 2, 4, 8].map(|size| gpus_by_size[size]);
        assert_eq!(
            sizes.iter().sum::<u32>(),
            gpus_by_size.iter().sum::<u32>(),
            "other sizes"
        );
        // 30,000 draws of 32/15 GPUs on average, a quarter each.
        assert!(
            sizes.iter().all(|&gpus| (15_000..17_000).contains(&gpus)),
            "{sizes:?}"
        );
    }

    #[test]
    fn nobody_leaves_to_be_replaced() {
        let mut workload = Workload::new(1, 8);
        let nobody = |pod: Pod| panic!("{pod:?}");
        workload.follow(ONE, nobody);
        workload.pods[0].gpus = 8;
        workload.gpus = 8;
        workload.follow(ONE, nobody);
        assert_eq!(
            (workload.gpus(), workload.next_id()),
            (8, 1),
            "a surplus of 7 is no room for a pod of 8"
        );
        let mut left = 0;
        workload.follow(0, |_| left += 1);
        assert_eq!((left, workload.gpus()), (1, 0));
    }

    proptest! {
        /// The pods have what the series says, or more by less than the smallest of them.
        #[test]
        fn the_pods_follow_the_series(
            demand in prop::collection::vec(0..60_000_000_i64, 1..80), g in 1..17_u32, seed: u64,
        ) {
            let mut workload = Workload::new(seed, g);
            for gpus in demand {
                let (before, first) = (workload.gpus(), workload.next_id());
                let mut gone = 0;
                workload.follow(gpus, |pod| gone += u64::from(pod.gpus));
                let arrived = workload.pods.iter().filter(|pod| pod.id >= first);
                let come: u64 = arrived.map(|pod| u64::from(pod.gpus)).sum();
                let wanted = u64::try_from((gpus + ONE - 1) / ONE).unwrap();
                let smallest = workload.pods.iter().map(|pod| u64::from(pod.gpus)).min().unwrap_or(1);
                prop_assert!((wanted..wanted + smallest).contains(&workload.gpus()));
                prop_assert_eq!(workload.gpus(), before + come - gone);
                prop_assert!(gone == 0 || come == 0, "both directions in one interval");
                prop_assert!(workload.pods.iter().all(|pod| pod.gpus <= g && pod.gpus.is_power_of_two()));
                prop_assert!(workload.pods.is_sorted_by(|a, b| a.id < b.id));
            }
        }
    }
}
