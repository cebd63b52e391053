//! From evidence to a wish: the size that the signals ask for, before anything limits it.
//!
//! Each signal states two sizes: the one it wants at least ([`SignalEvidence::needs_up`], from demand with unknown
//! devices idle) and the one below which it objects ([`SignalEvidence::needs_down`], from demand with unknown
//! devices busy). The wish is the largest of the former if that is growth; otherwise, and only if no signal is
//! Unknown, the largest of the latter.
//!
//! Sizes from load are ⌈demand ÷ what a node carries⌉ in both directions, so that the size is a function of the
//! load and not of the way there. The HPA rounds the same way; its tolerance, kept here per direction, is what
//! keeps a load at the edge from being felt in both.

use super::config::{
    Across, Config, Micro, ONE, Replace, SeriesUnit, Signal, SignalSource, Strategy, VictimPolicy, Workload,
};
use super::evaluation::{Quality, Reason, Rule, SignalEvidence, Trace, Verdict};
use super::observation::{Nodes, Observation, Waiting};
use super::placement;

/// What the signals wish for together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wish {
    /// Size below which some signal objects; the current size when one is Unknown.
    pub(super) floor: u32,
    /// Whether every signal is known.
    pub(super) known: Known,
    /// What a growth rests on.
    pub(super) growth: Growth,
    /// Nodes that work which the signals want at least.
    pub(super) needs: u32,
    /// The size asked for if only what was measured counts.
    pub(super) measured: u32,
    /// The same without the signals whose devices are pinned.
    pub(super) unpinned: u32,
}

/// Whether every signal is known; if not, the first that is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    All,
    Not { signal: usize, quality: Quality },
}

/// What a growth rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Growth {
    /// Demand that was measured, or pods that were counted.
    Measured,
    /// A guess beyond what was measured: a pinned device, or a step rule.
    Guessed,
}

/// Fills in the sizes that a signal asks for. `supply` is what is asked for now, less what is missing.
pub(super) fn sizes(
    config: &Config,
    signal: &Signal,
    observation: &Observation<'_>,
    supply: u32,
    evidence: &mut SignalEvidence,
) -> Reason {
    if evidence.quality != Quality::Good {
        (evidence.needs_up, evidence.needs_down) = (0, supply);
        return Reason::WithinTarget;
    }
    let reason = match (signal.source, config.strategy) {
        (SignalSource::GpuRequests, _) => {
            pods(config, observation, supply, evidence);
            Reason::PodsWaiting
        }
        (_, Strategy::Step { up, down }) if signal.per_node.is_none() => {
            step(signal, observation, supply, (up, down), evidence);
            Reason::RuleMet
        }
        _ => load(config, signal, observation, supply, evidence),
    };
    if evidence.up != Verdict::Met {
        evidence.needs_up = evidence.needs_up.min(supply);
        evidence.measured_up = evidence.measured_up.min(supply);
    }
    if evidence.down != Verdict::Met {
        evidence.needs_down = evidence.needs_down.max(supply);
    }
    let owns_gpus =
        config.workload == Workload::Exclusive && matches!(signal.source, SignalSource::Device(_));
    if owns_gpus {
        // A training pod owns its GPUs whether they are busy or not: utilization tells neither that more are
        // needed nor that occupied nodes are not.
        (evidence.needs_up, evidence.measured_up) = (0, 0);
        if let Some(occupied) = occupied(observation, supply) {
            evidence.needs_down = occupied.saturating_add(config.spare_nodes).min(supply);
            return Reason::EmptyNodes;
        }
    }
    reason
}

/// One fixed step per satisfied rule, counted from the nodes that can work: a step taken from the count asked for
/// would be taken again each tick while the nodes boot.
fn step(
    signal: &Signal,
    observation: &Observation<'_>,
    supply: u32,
    steps: (u32, u32),
    evidence: &mut SignalEvidence,
) {
    evidence.needs_up = signal
        .up
        .map_or(0, |_| observation.schedulable.saturating_add(steps.0));
    evidence.needs_down = signal.down.map_or(supply, |_| supply.saturating_sub(steps.1));
}

/// Nodes for the pods that wait, and none fewer while some do.
fn pods(config: &Config, observation: &Observation<'_>, supply: u32, evidence: &mut SignalEvidence) {
    let Waiting::Pods(waiting) = observation.waiting else {
        return;
    };
    if waiting.is_empty() && config.spare_nodes == 0 {
        return;
    }
    let arriving = supply.saturating_sub(observation.schedulable);
    let needed = placement::place(waiting, observation, arriving);
    let spare = match observation.nodes {
        // Spare nodes are empty ones; without names nobody knows which are.
        Nodes::Named(_) => config.spare_nodes.saturating_sub(needed.left_empty),
        Nodes::Unseen | Nodes::Interchangeable => 0,
    };
    let wanted = needed.nodes.saturating_add(spare);
    evidence.demand_low = Micro::try_from(waiting.len())
        .unwrap_or(Micro::MAX)
        .saturating_mul(ONE);
    evidence.demand_high = evidence.demand_low;
    evidence.needs_up = if wanted > 0 {
        supply.saturating_add(wanted)
    } else {
        0
    };
    evidence.measured_up = evidence.needs_up;
    let waits = waiting.len() as u64 > u64::from(needed.unfittable);
    let drains = config.scale_in.victims == VictimPolicy::Drain;
    evidence.needs_down = match observation.nodes {
        _ if waits => supply,
        // Empty nodes up to the spare ones stay. Where pods may be drained, an occupied node is no obstacle.
        Nodes::Named(_) if config.spare_nodes > 0 && !drains => {
            supply.saturating_sub(needed.left_empty.saturating_sub(config.spare_nodes))
        }
        _ => 0,
    };
}

/// Size at which load would be the target.
fn load(
    config: &Config,
    signal: &Signal,
    observation: &Observation<'_>,
    supply: u32,
    evidence: &mut SignalEvidence,
) -> Reason {
    let gpus = Micro::from(observation.gpus_per_node.max(1));
    let whole = Micro::from(observation.schedulable).saturating_mul(gpus);
    let is_share = matches!(
        signal.source,
        SignalSource::Series(SeriesUnit::Percent | SeriesUnit::Ratio)
    );
    if signal.per_node.is_none() && is_share {
        // A share of the pool that works now.
        evidence.demand_low = evidence.demand_low.saturating_mul(whole);
        evidence.demand_high = evidence.demand_high.saturating_mul(whole);
    }
    let per_node = signal
        .per_node
        .unwrap_or_else(|| signal.target.unwrap_or(ONE).saturating_mul(gpus))
        .max(1);
    let demand = (evidence.demand_low, evidence.demand_high);
    // A known zero is exact; tolerance is for noise around a load.
    let spared = Micro::from(supply.saturating_sub(config.spare_nodes));
    let carried = per_node.saturating_mul(spared);
    let above = demand.0 > with_tolerance(carried, config.up.tolerance);
    let below = demand.1 < with_tolerance(carried, -config.down.tolerance);
    let nodes = |load: Micro| nodes_for(load, per_node).saturating_add(config.spare_nodes);
    // Unhealthy nodes stand in the count and carry nothing: they must not make healthy ones look superfluous,
    // unless they are to be released in favour of healthy ones.
    let counts = matches!(signal.source, SignalSource::Device(_))
        && config.scale_in.replace_unhealthy == Replace::Never;
    let broken = if counts { observation.unhealthy } else { 0 };
    evidence.needs_up = if above { nodes(demand.0) } else { 0 };
    evidence.measured_up = evidence.needs_up;
    evidence.needs_down = if below {
        nodes(demand.1).saturating_add(broken).min(supply)
    } else {
        supply
    };
    let saturated = saturated(config, signal, gpus, evidence);
    if saturated > evidence.needs_up.max(supply) {
        evidence.needs_up = saturated;
        return Reason::Saturated;
    }
    // Pinned devices hide demand, so what was measured is no reason to shrink below what is assumed, nor to where
    // they would be pinned.
    let unpinned = if hides_demand(config, signal) {
        unpinned(config, gpus, evidence)
    } else {
        0
    };
    evidence.needs_down = evidence.needs_down.max(saturated.max(unpinned).min(supply));
    Reason::DemandAboveTarget
}

/// Size for the demand that pinned devices may hide: what was measured, and `step` of every pinned GPU on top.
///
/// It counts GPUs that work, not nodes asked for, so it cannot compound while nodes boot.
fn saturated(config: &Config, signal: &Signal, gpus: Micro, evidence: &SignalEvidence) -> u32 {
    if evidence.pinned == 0 || !hides_demand(config, signal) {
        return 0;
    }
    let hidden = super::fixed::scaled(evidence.pinned, config.saturation.step, ONE);
    nodes_for(
        evidence.demand_low.saturating_add(hidden),
        ONE.saturating_mul(gpus),
    )
    .saturating_add(config.spare_nodes)
}

/// Whether a pinned device of this signal says that there is more demand than it shows.
fn hides_demand(config: &Config, signal: &Signal) -> bool {
    config.workload == Workload::Shared
        && matches!(signal.source, SignalSource::Device(_))
        && signal.across == Across::Mean
}

/// The smallest size on which the demand would leave devices below the pinned mark: any smaller one would grow
/// again at once.
fn unpinned(config: &Config, gpus: Micro, evidence: &SignalEvidence) -> u32 {
    let pinned_node = config.saturation.pinned_at.saturating_mul(gpus).max(1);
    match evidence.demand_high {
        0 => 0,
        demand => u32::try_from(demand / pinned_node).map_or(u32::MAX, |nodes| nodes.saturating_add(1)),
    }
}

/// Nodes that are not known to be empty: with GPU pods, or on their way. `None` without a view of them.
fn occupied(observation: &Observation<'_>, supply: u32) -> Option<u32> {
    let Nodes::Named(nodes) = observation.nodes else {
        return None;
    };
    let empty = nodes.iter().filter(|node| node.gpu_pods == 0).count();
    Some(supply.saturating_sub(u32::try_from(empty).unwrap_or(supply)))
}

fn with_tolerance(carried: Micro, tolerance: Micro) -> Micro {
    carried.saturating_add(super::fixed::scaled(carried, tolerance, ONE))
}

/// ⌈load ÷ `per_node`⌉.
fn nodes_for(load: Micro, per_node: Micro) -> u32 {
    let nodes = load.max(0) / per_node + Micro::from(load.max(0) % per_node > 0);
    u32::try_from(nodes).unwrap_or(u32::MAX)
}

/// Combines the signals into one wish and records it. `missing` nodes are asked for and not coming: what the load
/// needs, it needs besides them.
pub(super) fn combine(reasons: &[Reason], missing: u32, trace: &mut Trace<'_>) -> Wish {
    let current = trace.current();
    let supply = current.saturating_sub(missing);
    let signals = trace.signals();
    let mut known = Known::All;
    let (mut up, mut down) = (0, 0);
    let (mut grows, mut shrinks) = (Reason::WithinTarget, Reason::DemandBelowTarget);
    for (index, (evidence, reason)) in signals.iter().zip(reasons).enumerate() {
        if known == Known::All {
            known = trusted(index, evidence);
        }
        if evidence.needs_up > up {
            (up, grows) = (evidence.needs_up, *reason);
        }
        if evidence.needs_down >= down {
            down = evidence.needs_down;
            shrinks = if *reason == Reason::EmptyNodes {
                *reason
            } else {
                Reason::DemandBelowTarget
            };
        }
    }
    let count = signals.len();
    let good = signals
        .iter()
        .filter(|evidence| evidence.quality == Quality::Good)
        .count();
    let floor = match known {
        Known::All if count > 0 => down.saturating_add(missing).min(current),
        _ => current,
    };
    let (size, reason) = if up > supply {
        (up.saturating_add(missing), grows)
    } else if floor < current {
        (floor, shrinks)
    } else if known == Known::All {
        (current, Reason::WithinTarget)
    } else {
        // Nobody knows whether the size is right; it is held because nobody knows.
        (current, Reason::Limited(Rule::DataQuality))
    };
    let measured = signals
        .iter()
        .map(|evidence| evidence.measured_up)
        .max()
        .unwrap_or(0);
    let calm = signals.iter().filter(|evidence| evidence.pinned == 0);
    let unpinned = calm.map(|evidence| evidence.measured_up).max().unwrap_or(0);
    trace.wish(size, reason, good, count);
    let guessed = matches!(reason, Reason::Saturated | Reason::RuleMet);
    let growth = if guessed {
        Growth::Guessed
    } else {
        Growth::Measured
    };
    Wish {
        floor,
        known,
        growth,
        needs: up,
        measured: measured.saturating_add(missing),
        unpinned: unpinned.saturating_add(missing),
    }
}

/// Whether a signal lets the pool shrink as far as its data goes.
fn trusted(index: usize, evidence: &SignalEvidence) -> Known {
    match (evidence.quality, evidence.down) {
        (Quality::Good, Verdict::Unknown) => Known::Not {
            signal: index,
            quality: Quality::ShortHistory,
        },
        (Quality::Good, _) => Known::All,
        (quality, _) => Known::Not {
            signal: index,
            quality,
        },
    }
}

#[cfg(test)]
mod tests;
