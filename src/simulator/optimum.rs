//! The clairvoyant optimum: what a pool would have cost under an operator who knew the whole demand
//! beforehand.
//!
//! Every scorecard stands beside it, because "saved 30 %" says nothing without the least that was possible.
//! The problem: choose the ready nodes `n(t)`, with `min ≤ n ≤ max`, that minimise
//!
//! ```text
//! Σ n(t)·Δ  +  p · Σ (D(t)/g − n(t))⁺·Δ  +  β · Σ (n(t) − n(t−1))⁺
//! ```
//!
//! in node-time. Whoever knows the future requests a node one boot time before it is needed, so the delay
//! costs no misses; but a booting node is billed, which makes the boot time a pure start cost: `β` = boot
//! time. Releases are free, and so is the initial state: a schedule may open with any number of nodes.
//! Holding a node from the opening is therefore an alternative to starting it soon after, and both solvers
//! take it when it is cheaper; an optimum that charges every first start is too dear.
//!
//! Two answers: [`zero_miss`] (`p → ∞`) and [`soft`] (a stated `p`). The online bounds for this problem are
//! known: no deterministic rule without foresight beats 3 (Albers & Quedenfeld, arXiv 1807.05112), and lazy
//! capacity provisioning reaches it (Lin, Wierman, Andrew & Thereska, INFOCOM 2011).
//!
//! Pure functions of demand and pool shape; they know no policy and no report.

use super::fluid::PoolSpec;
use crate::recording::Demand;

/// A schedule and what it costs. Exact integers; [`Optimum::node_hours`] is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Optimum {
    /// Ready nodes in each interval of the demand.
    pub nodes: Vec<u32>,
    /// Billed node-milliseconds: intervals held plus one boot per start.
    pub node_ms: i128,
    /// The boots' part of `node_ms`.
    pub boot_node_ms: i128,
    /// Demand not served, in 1e-6 GPU · ms.
    pub missed: i128,
    /// Times at which the number of nodes changes.
    pub resizes: u64,
}

impl Optimum {
    /// Prices a schedule: `nodes[i]` ready nodes in interval `i` of `demand`, any opening for free.
    #[must_use]
    pub fn of_schedule(demand: &Demand, spec: &PoolSpec, nodes: Vec<u32>) -> Self {
        let (mut held, mut starts, mut missed, mut resizes) = (0_i128, 0_i128, 0_i128, 0);
        let node = i128::from(spec.node_capacity());
        let mut previous = nodes.first().copied().unwrap_or(0);
        for (&n, &wanted) in nodes.iter().zip(demand.values()) {
            held += i128::from(n);
            starts += i128::from(n.saturating_sub(previous));
            missed += (i128::from(wanted) - i128::from(n) * node).max(0);
            resizes += u64::from(n != previous);
            previous = n;
        }
        let step = i128::from(demand.step_ms());
        let boot_node_ms = starts * i128::from(spec.boot_ms.max(0));
        Self {
            nodes,
            node_ms: held * step + boot_node_ms,
            boot_node_ms,
            missed: missed * step,
            resizes,
        }
    }

    /// Billed node-hours, boots included.
    #[must_use]
    pub fn node_hours(&self) -> f64 {
        hours(self.node_ms)
    }

    /// The objective in node-hours: billed plus `miss_penalty` times the missed node-hours.
    #[must_use]
    pub fn cost_node_hours(&self, spec: &PoolSpec, miss_penalty: u32) -> f64 {
        let capacity = i128::from(spec.node_capacity());
        let missed = hours(self.missed * i128::from(miss_penalty));
        #[expect(clippy::cast_precision_loss, reason = "a node's capacity is exact in an f64")]
        let missed_nodes = missed / capacity as f64;
        self.node_hours() + missed_nodes
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "for people; the exact figure is the integer"
)]
fn hours(ms: i128) -> f64 {
    ms as f64 / 3_600_000.0
}

/// The cheapest schedule that misses nothing (or no more than `max_nodes` forces).
///
/// It decomposes by level: node `k` is needed while `⌈D/g⌉ ≥ k`, and an idle gap between two needs is bridged
/// if holding costs no more than a boot (gap ≤ β). The opening gap counts as well, the end has none. The
/// levels' answers nest, since the gaps of level `k` lie inside those of `k + 1`. O(T + level changes).
#[must_use]
pub fn zero_miss(demand: &Demand, spec: &PoolSpec) -> Optimum {
    zero_miss_at(demand, spec, 100)
}

/// The cheapest schedule that never lets the mean utilization exceed `target_percent` (as far as `max_nodes`
/// allows): what a policy that holds this headroom cannot beat.
#[must_use]
pub fn zero_miss_at(demand: &Demand, spec: &PoolSpec, target_percent: u32) -> Optimum {
    let need = |value: &i64| spec.bounded(spec.nodes_for(*value, target_percent));
    let mut nodes: Vec<u32> = demand.values().iter().map(need).collect();
    bridge_gaps(&mut nodes, demand.step_ms(), spec.boot_ms);
    Optimum::of_schedule(demand, spec, nodes)
}

/// Raises `nodes` where a level's idle gap is no longer than the boot time.
fn bridge_gaps(nodes: &mut [u32], step_ms: i64, boot_ms: i64) {
    // Levels below the least need have no gaps.
    let base = nodes.iter().copied().min().unwrap_or(0);
    let index = |level: u32| usize::try_from(level - base).unwrap_or(usize::MAX);
    let top = nodes.iter().copied().max().unwrap_or(0);
    let longest = usize::try_from(boot_ms.max(0) / step_ms).unwrap_or(usize::MAX);
    // For each level, where its current gap began; 0 for levels not needed yet: the opening is a free start.
    let mut gap_from = vec![0_usize; index(top)];
    // Bridges as +1 where one begins and −1 where it ends.
    let mut bridges = vec![0_i64; nodes.len() + 1];
    let mut previous = nodes.first().copied().unwrap_or(0);
    for (t, &now) in nodes.iter().enumerate() {
        if now < previous {
            gap_from[index(now)..index(previous)].fill(t);
        }
        for &from in gap_from.get(index(previous)..index(now)).unwrap_or_default() {
            if t - from <= longest {
                bridges[from] += 1;
                bridges[t] -= 1;
            }
        }
        previous = now;
    }
    let mut held = 0_i64;
    for (n, change) in nodes.iter_mut().zip(&bridges) {
        held += change;
        *n += u32::try_from(held).unwrap_or(0);
    }
}

/// The cheapest schedule when an unserved GPU-hour costs `miss_penalty` GPU-hours of capacity.
///
/// Dynamic programming over `V_t(n)`, the least cost of the intervals up to `t` that ends with `n` nodes:
///
/// ```text
/// V_t(n) = f_t(n) + min( min_{m≥n} V_{t−1}(m),  min_{m≤n} V_{t−1}(m) + β·(n−m) )
/// ```
///
/// `f_t` is convex in `n`, and so every `V_t` is. The inner minimum of a convex function only clips its
/// slopes to `[0, β]`, so the table is one array of slopes, updated in place: clip, then add the slopes of
/// `f_t`. The way back needs two numbers of each interval, the smallest `n` whose slope upwards is ≥ 0 (above
/// the least cost: stay rather than release below it) and the smallest whose slope exceeds β (beyond it,
/// holding was dearer than starting): the earlier state is the later one, moved into that range. This is the
/// form in which Lin et al. show the optimum to be lazy in reverse time. O(T·N) time, O(T + N) memory; of
/// equal costs, staying wins.
#[must_use]
pub fn soft(demand: &Demand, spec: &PoolSpec, miss_penalty: u32) -> Optimum {
    let low = spec.min_nodes;
    let top = spec.bounded(spec.nodes_for(demand.peak(), 100));
    let start_cost = bounded_cost(i128::from(spec.node_capacity()) * i128::from(spec.boot_ms.max(0)));

    // slopes[i] = V(low + i + 1) − V(low + i), in 1e-6 GPU · ms; they never fall.
    let mut slopes = vec![0_i64; usize::try_from(top - low).unwrap_or(0)];
    let ranges: Vec<(u32, u32)> = demand
        .values()
        .iter()
        .map(|&value| {
            add_interval(
                &mut slopes,
                start_cost,
                &Interval::new(demand, spec, miss_penalty, value),
            );
            let at = |i: usize| low + u32::try_from(i).unwrap_or(u32::MAX);
            (
                at(slopes.partition_point(|&s| s < 0)),
                at(slopes.partition_point(|&s| s <= start_cost)),
            )
        })
        .collect();

    // The last state is free to be the cheapest; each earlier one is the later one moved into its range.
    let mut nodes = vec![low; ranges.len()];
    let mut later = ranges.last().map_or(low, |&(cheapest, _)| cheapest);
    for (n, &(cheapest, dearest)) in nodes.iter_mut().zip(&ranges).rev() {
        later = later.clamp(cheapest, dearest);
        *n = later;
    }
    Optimum::of_schedule(demand, spec, nodes)
}

/// The slopes of one interval's cost `f(n)`: three values, by how much of the next node's capacity is wanted.
struct Interval {
    /// Steps, counted from `min_nodes`, in which the next node would be wholly used.
    wholly_used: usize,
    whole: i64,
    /// The step at which the next node would be used in part.
    part: i64,
    unused: i64,
}

impl Interval {
    fn new(demand: &Demand, spec: &PoolSpec, miss_penalty: u32, value: i64) -> Self {
        let (node, step) = (spec.node_capacity(), i128::from(demand.step_ms()));
        let wanted = value.saturating_sub(i64::from(spec.min_nodes).saturating_mul(node));
        let slope =
            |used: i64| bounded_cost((i128::from(node) - i128::from(miss_penalty) * i128::from(used)) * step);
        Self {
            wholly_used: usize::try_from(wanted.max(0) / node).unwrap_or(usize::MAX),
            whole: slope(node),
            part: slope(wanted.max(0) % node),
            unused: slope(0),
        }
    }
}

fn add_interval(slopes: &mut [i64], start_cost: i64, interval: &Interval) {
    let (whole, rest) = slopes.split_at_mut(interval.wholly_used.min(slopes.len()));
    let step = |slope: &mut i64, change: i64| *slope = (*slope).clamp(0, start_cost) + change;
    for slope in whole {
        step(slope, interval.whole);
    }
    if let Some((part, unused)) = rest.split_first_mut() {
        step(part, interval.part);
        for slope in unused {
            step(slope, interval.unused);
        }
    }
}

/// Costs so far out that only their sign matters are held where two of them can be added.
fn bounded_cost(cost: i128) -> i64 {
    const FAR: i64 = i64::MAX / 4;
    i64::try_from(cost).map_or(if cost < 0 { -FAR } else { FAR }, |cost| cost.clamp(-FAR, FAR))
}

#[cfg(test)]
mod tests;
