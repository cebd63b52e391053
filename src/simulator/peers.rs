//! The autoscalers that a policy has to beat, and the loop that drives any of them over a recorded demand.
//!
//! Each is the rule people really run, reduced to what decides the bill: a pool sized for the peak, the
//! threshold rule of a dashboard alert, the HPA on mean utilization, KEDA on the sum of utilization, and the
//! Cluster Autoscaler. They share one trait and one loop, so a difference between two rows is a difference
//! between two rules.
//!
//! What a rule may see is part of the comparison. [`PoolView::utilization_ppm`] saturates, as an exporter's
//! does. [`PoolView::demand`] does not: it stands for pods that wait, and only [`ClusterAutoscaler`] reads it
//! here.

use std::collections::VecDeque;

use super::fluid::{FluidPool, PoolSpec};
use super::hpa::{self, Behavior, Hpa, PodGroups, PodMetric, Tolerance};
use super::scorecard::{Interval, Meter};
use crate::recording::{Demand, MICRO};

const MINUTE_MS: i64 = 60_000;
/// The target of the reference rows: 70 % in milli-percent.
const TARGET_MILLI_PERCENT: i64 = 70_000;
const TARGET_PERCENT: u32 = 70;

/// What an autoscaler sees at one tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolView {
    /// The time, in unix milliseconds.
    pub now_ms: i64,
    /// Nodes that serve.
    pub ready: u32,
    /// Nodes asked for, ready or not.
    pub asked: u32,
    /// Mean utilization of the ready GPUs in parts per million; at most 1,000,000.
    pub utilization_ppm: i64,
    /// What is wanted, in 1e-6 GPU: more than any exporter shows.
    pub demand: i64,
}

/// A rule from what is seen to the number of nodes to ask for.
pub trait Autoscaler {
    /// Its name in the scorecard.
    fn name(&self) -> &'static str;
    /// The nodes it wants to have asked for; the loop holds the answer inside the pool's bounds.
    fn desired(&mut self, view: &PoolView) -> u32;
}

/// Drives `autoscaler` over `demand`, one tick per grid point, and measures it.
///
/// At each tick: nodes whose boot is over join, the autoscaler sees the utilization that this interval's
/// demand makes on them, its wish takes effect at once (requests start to boot, releases leave), and what is
/// ready then serves the interval. `initial_nodes` are ready from the start and cost no boot.
pub fn run(demand: &Demand, spec: &PoolSpec, initial_nodes: u32, autoscaler: &mut dyn Autoscaler) -> Meter {
    let mut pool = FluidPool::new(spec.gpus_per_node, spec.bounded(initial_nodes));
    let mut meter = Meter::new(spec.gpus_per_node);
    let (length_ms, mut now_ms) = (demand.step_ms(), demand.start_ms());
    for &wanted in demand.values() {
        pool.advance(now_ms);
        let asked = pool.asked();
        let utilization_ppm = pool.serve(wanted).utilization_ppm;
        let view = PoolView {
            now_ms,
            ready: pool.ready(),
            asked,
            utilization_ppm,
            demand: wanted,
        };
        let target = spec.bounded(autoscaler.desired(&view));
        pool.resize(now_ms, target, spec.boot_ms);
        meter.resized(now_ms, asked, target);
        let served = pool.serve(wanted).served;
        meter.interval(&Interval {
            length_ms,
            billed_nodes: pool.asked(),
            demand: wanted,
            served,
        });
        now_ms += length_ms;
    }
    meter
}

/// The pool that the reference rows use: at least one node, at most twice what the peak needs and two more.
#[must_use]
pub fn reference_pool(demand: &Demand, gpus_per_node: u32, boot_ms: i64) -> PoolSpec {
    let mut spec = PoolSpec {
        gpus_per_node,
        min_nodes: 1,
        max_nodes: u32::MAX,
        boot_ms,
    };
    spec.max_nodes = spec
        .nodes_for(demand.peak().saturating_mul(2), 100)
        .saturating_add(2);
    spec
}

/// The reference autoscalers of a demand, each with the nodes it starts with: enough for the first value at
/// 70 %, or its constant size.
#[must_use]
pub fn reference_peers(demand: &Demand, spec: &PoolSpec) -> Vec<(Box<dyn Autoscaler>, u32)> {
    let first = demand.values().first().copied().unwrap_or(0);
    let start = spec.bounded(spec.nodes_for(first, TARGET_PERCENT).max(1));
    let peak = spec.bounded(spec.nodes_for(demand.peak(), 100));
    vec![
        (Box::new(Static::new(peak)), peak),
        (Box::new(Threshold::default()), start),
        (Box::new(HpaUtilization::new(spec)), start),
        (Box::new(KedaSum::new(spec)), start),
        (Box::new(ClusterAutoscaler::new(spec)), start),
    ]
}

/// A pool of constant size, large enough for the peak: what "no autoscaler" costs.
#[derive(Debug, Clone)]
pub struct Static {
    nodes: u32,
}

impl Static {
    /// A pool of `nodes` nodes.
    #[must_use]
    pub fn new(nodes: u32) -> Self {
        Self { nodes }
    }
}

impl Autoscaler for Static {
    fn name(&self) -> &'static str {
        "static peak"
    }

    fn desired(&mut self, _: &PoolView) -> u32 {
        self.nodes
    }
}

/// "Above 70 % for ten minutes: one more. Below 30 % for ten minutes: one less." Read to the letter.
#[derive(Debug, Clone, Default)]
pub struct Threshold {
    above_since: Option<i64>,
    below_since: Option<i64>,
}

impl Threshold {
    const ABOVE_PPM: i64 = 700_000;
    const BELOW_PPM: i64 = 300_000;
    const FOR_MS: i64 = 10 * MINUTE_MS;
}

impl Autoscaler for Threshold {
    fn name(&self) -> &'static str {
        "threshold 70/30"
    }

    fn desired(&mut self, view: &PoolView) -> u32 {
        let held = |since: &mut Option<i64>, condition: bool| {
            if !condition {
                *since = None;
                return false;
            }
            view.now_ms - *since.get_or_insert(view.now_ms) >= Self::FOR_MS
        };
        let up = held(&mut self.above_since, view.utilization_ppm > Self::ABOVE_PPM);
        let down = held(&mut self.below_since, view.utilization_ppm < Self::BELOW_PPM);
        if up {
            self.above_since = None;
            view.asked.saturating_add(1)
        } else if down {
            self.below_since = None;
            view.asked.saturating_sub(1)
        } else {
            view.asked
        }
    }
}

/// The HPA on mean GPU utilization, target 70 %, default behaviour: nodes for pods, booting ones unready.
#[derive(Debug, Clone)]
pub struct HpaUtilization {
    hpa: Hpa,
}

impl HpaUtilization {
    /// An HPA with the pool's bounds and the default behaviour.
    #[must_use]
    pub fn new(spec: &PoolSpec) -> Self {
        Self::with_behavior(spec, Behavior::default())
    }

    /// An HPA with the pool's bounds and a behaviour of its own.
    #[must_use]
    pub fn with_behavior(spec: &PoolSpec, behavior: Behavior) -> Self {
        Self {
            hpa: Hpa::new(spec.min_nodes, spec.max_nodes, Some(behavior)),
        }
    }
}

impl Autoscaler for HpaUtilization {
    fn name(&self) -> &'static str {
        "HPA 70"
    }

    fn desired(&mut self, view: &PoolView) -> u32 {
        let usage_milli = utilization_sum_milli_percent(view);
        let pods = PodGroups {
            ready: view.ready,
            usage_milli,
            unready: view.asked - view.ready,
            missing: 0,
        };
        let wish = hpa::pod_average(
            view.asked,
            pods,
            TARGET_MILLI_PERCENT,
            PodMetric::Plain,
            Tolerance::DEFAULT,
        );
        self.hpa.reconcile(view.now_ms, view.asked, wish)
    }
}

/// KEDA on the sum of utilization with `AverageValue` 70: the form that works, since booting nodes add
/// nothing to the sum and still count in the tolerance.
#[derive(Debug, Clone)]
pub struct KedaSum {
    hpa: Hpa,
}

impl KedaSum {
    /// An HPA with the pool's bounds and the default behaviour.
    #[must_use]
    pub fn new(spec: &PoolSpec) -> Self {
        Self::with_behavior(spec, Behavior::default())
    }

    /// An HPA with the pool's bounds and a behaviour of its own.
    #[must_use]
    pub fn with_behavior(spec: &PoolSpec, behavior: Behavior) -> Self {
        Self {
            hpa: Hpa::new(spec.min_nodes, spec.max_nodes, Some(behavior)),
        }
    }
}

impl Autoscaler for KedaSum {
    fn name(&self) -> &'static str {
        "KEDA sum 70"
    }

    fn desired(&mut self, view: &PoolView) -> u32 {
        let sum = utilization_sum_milli_percent(view);
        let wish = hpa::external_average_value(view.asked, sum, TARGET_MILLI_PERCENT, Tolerance::DEFAULT);
        self.hpa.reconcile(view.now_ms, view.asked, Some(wish))
    }
}

/// Σ over the ready nodes of their mean utilization, in milli-percent.
fn utilization_sum_milli_percent(view: &PoolView) -> i64 {
    i64::from(view.ready) * view.utilization_ppm / 10
}

/// The Cluster Autoscaler's rules: grow at once for pods that wait (one GPU each, packed tightly), drop nodes
/// that were unneeded for ten minutes, and none within ten minutes of a growth.
#[derive(Debug, Clone)]
pub struct ClusterAutoscaler {
    node_capacity: i64,
    last_add_ms: Option<i64>,
    /// `(time, nodes needed)` of the last ten minutes, needs falling: the first is their maximum.
    needs: VecDeque<(i64, u32)>,
}

impl ClusterAutoscaler {
    /// `--scale-down-unneeded-time`.
    const UNNEEDED_MS: i64 = 10 * MINUTE_MS;
    /// `--scale-down-delay-after-add`.
    const DELAY_AFTER_ADD_MS: i64 = 10 * MINUTE_MS;

    /// A Cluster Autoscaler with its default timings.
    #[must_use]
    pub fn new(spec: &PoolSpec) -> Self {
        Self {
            node_capacity: spec.node_capacity(),
            last_add_ms: None,
            needs: VecDeque::new(),
        }
    }

    /// The most nodes needed in the last ten minutes. A need that ended ten minutes ago still counts: its
    /// last tick is one interval older than its end.
    fn most_needed(&mut self, now_ms: i64, needed: u32) -> u32 {
        while self.needs.back().is_some_and(|&(_, earlier)| earlier <= needed) {
            self.needs.pop_back();
        }
        self.needs.push_back((now_ms, needed));
        while self
            .needs
            .front()
            .is_some_and(|&(at_ms, _)| at_ms < now_ms - Self::UNNEEDED_MS)
        {
            self.needs.pop_front();
        }
        self.needs.front().map_or(needed, |&(_, most)| most)
    }
}

impl Autoscaler for ClusterAutoscaler {
    fn name(&self) -> &'static str {
        "Cluster Autoscaler"
    }

    fn desired(&mut self, view: &PoolView) -> u32 {
        // Pods own whole GPUs.
        let pods = (view.demand + MICRO - 1) / MICRO * MICRO;
        let nodes = (pods + self.node_capacity - 1) / self.node_capacity;
        let needed = u32::try_from(nodes).unwrap_or(u32::MAX);
        let most = self.most_needed(view.now_ms, needed);
        if needed > view.asked {
            self.last_add_ms = Some(view.now_ms);
            return needed;
        }
        let rests = self
            .last_add_ms
            .is_some_and(|at_ms| view.now_ms - at_ms < Self::DELAY_AFTER_ADD_MS);
        if rests { view.asked } else { view.asked.min(most) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK_MS: i64 = 15_000;
    const BOOT_MS: i64 = 480_000;
    const POOL: PoolSpec = PoolSpec {
        gpus_per_node: 4,
        min_nodes: 1,
        max_nodes: 50,
        boot_ms: BOOT_MS,
    };

    /// Runs of (GPUs, minutes) as demand.
    fn demand(runs: &[(i64, usize)]) -> Demand {
        let values = runs
            .iter()
            .flat_map(|&(gpus, minutes)| vec![gpus * MICRO; minutes * 4])
            .collect();
        Demand::new("d", 0, TICK_MS, values).unwrap()
    }

    /// Notes what another autoscaler asks for.
    struct Recorded<A> {
        inner: A,
        /// `(minute, nodes)` of each change.
        changes: Vec<(i64, u32)>,
    }

    impl<A: Autoscaler> Autoscaler for Recorded<A> {
        fn name(&self) -> &'static str {
            self.inner.name()
        }

        fn desired(&mut self, view: &PoolView) -> u32 {
            let nodes = self.inner.desired(view);
            if nodes != view.asked {
                self.changes.push((view.now_ms / MINUTE_MS, nodes));
            }
            nodes
        }
    }

    fn changes(autoscaler: impl Autoscaler, initial_nodes: u32, runs: &[(i64, usize)]) -> Vec<(i64, u32)> {
        let mut recorded = Recorded {
            inner: autoscaler,
            changes: Vec::new(),
        };
        run(&demand(runs), &POOL, initial_nodes, &mut recorded);
        recorded.changes
    }

    #[test]
    fn the_threshold_rule_walks_one_step_in_ten_minutes() {
        // 13 of 16 GPUs is above 70 %, 13 of 20 is not; 3 of 20 is below 30 %, 3 of 8 is not.
        let found = changes(Threshold::default(), 4, &[(13, 30), (3, 60)]);
        assert_eq!(found, [(10, 5), (40, 4), (50, 3), (60, 2)]);
        // A boot (8 minutes) ends before the next step, but a step does not wait for it.
        assert_eq!(
            changes(Threshold::default(), 1, &[(40, 31)]),
            [(10, 2), (20, 3), (30, 4)]
        );
    }

    #[test]
    fn the_hpa_counts_booting_nodes_as_idle_on_the_way_up() {
        // 100 % of 2 nodes: ⌈2 · 100/70⌉ = 3 at once. Then 2 busy and 1 idle are 66.7 %: hold until it
        // serves.
        let found = changes(HpaUtilization::new(&POOL), 2, &[(40, 9)]);
        assert_eq!(found, [(0, 3), (8, 5)]);
        let found = changes(KedaSum::new(&POOL), 2, &[(40, 9)]);
        assert_eq!(found, [(0, 3), (8, 5)]);
    }

    #[test]
    fn the_hpa_shrinks_after_five_minutes() {
        for found in [
            changes(HpaUtilization::new(&POOL), 10, &[(28, 5), (14, 10)]),
            changes(KedaSum::new(&POOL), 10, &[(28, 5), (14, 10)]),
        ] {
            assert_eq!(
                found,
                [(9, 5)],
                "the last wish for 10 was made 15 s before minute 5"
            );
        }
    }

    #[test]
    fn the_cluster_autoscaler_sees_what_waits_and_lets_go_late() {
        let found = changes(ClusterAutoscaler::new(&POOL), 1, &[(17, 5), (8, 30)]);
        assert_eq!(found, [(0, 5), (15, 2)]);
        // Unneeded since minute 1, but there was a growth in minute 6.
        let found = changes(
            ClusterAutoscaler::new(&POOL),
            3,
            &[(12, 1), (4, 1), (12, 4), (16, 1), (4, 20)],
        );
        assert_eq!(found, [(6, 4), (17, 1)]);
        // A gap of ten minutes is held to its end.
        assert_eq!(
            changes(ClusterAutoscaler::new(&POOL), 2, &[(8, 1), (4, 10), (8, 5)]),
            []
        );
    }

    #[test]
    fn the_reference_pool_and_starts_are_those_of_the_table() {
        let demand = demand(&[(6, 1), (41, 1)]);
        let spec = reference_pool(&demand, 4, BOOT_MS);
        assert_eq!((spec.min_nodes, spec.max_nodes), (1, 23));
        let starts: Vec<_> = reference_peers(&demand, &spec)
            .iter()
            .map(|(_, start)| *start)
            .collect();
        assert_eq!(starts, [11, 3, 3, 3, 3]);
    }
}
