//! The shrink vetoes, in order, and the choice of nodes.
//!
//! A shrink must pass every one of them; the data vetoes come first, because no other rule may speak from data
//! that cannot be trusted. To add a veto, see [`super::growth`].

use super::config::{
    Behavior, Config, Millis, ONE, RateKind, Replace, SelectPolicy, SignalSource, VictimPolicy, Workload,
};
use super::evaluation::{MAX_VICTIMS, Rule, Trace, Victims};
use super::growth::{Context, busy, stopped};
use super::limits::since;
use super::memory::Memory;
use super::observation::{Condition, NodeView, Nodes, Now, Pause, Protection};
use super::windows::Windows;
use super::wish::Known;

/// Asks every shrink veto about the size in the trace, until one stops it.
pub(super) fn limit(context: &Context<'_>, windows: &Windows, memory: &mut Memory, trace: &mut Trace<'_>) {
    let vetoes: [fn(&Context<'_>, &mut Memory, &mut Trace<'_>); 10] = [
        brakes,
        data_quality,
        clock_stepped,
        pool_busy,
        settle,
        in_use,
        cooldown,
        stabilized,
        anti_flap,
        rate,
    ];
    for veto in vetoes {
        veto(context, memory, trace);
        if trace.size() >= trace.current() {
            return;
        }
    }
    victims(context, windows, trace);
}

fn brakes(context: &Context<'_>, _: &mut Memory, trace: &mut Trace<'_>) {
    stopped(context.config, context.observation, Pause::ScaleIn, trace);
    if context.config.down.select == SelectPolicy::Disabled {
        trace.veto(Rule::Disabled, 0, 0);
    }
}

/// Promise 1: input that cannot be judged never makes a pool smaller.
fn data_quality(context: &Context<'_>, _: &mut Memory, trace: &mut Trace<'_>) {
    match context.wish.known {
        Known::All => trace.pass(Rule::DataQuality, -1, 0),
        Known::Not { signal, quality } => {
            trace.veto(
                Rule::DataQuality,
                i64::try_from(signal).unwrap_or(i64::MAX),
                quality as i64,
            );
        }
    }
}

/// Windows that were filled under two clocks show some time twice, or not at all.
fn clock_stepped(context: &Context<'_>, memory: &mut Memory, trace: &mut Trace<'_>) {
    let until_ms = memory.doubtful_until_ms.unwrap_or(Millis::MIN);
    let left_ms = until_ms.saturating_sub(context.now.timer_ms);
    if left_ms > 0 {
        trace.veto(Rule::ClockStepped, left_ms, 0);
    }
}

fn pool_busy(context: &Context<'_>, memory: &mut Memory, trace: &mut Trace<'_>) {
    busy(context.observation, memory, trace);
}

/// A node that leaves takes its past along, and its load moves to nodes whose past does not have it: until the
/// longest demand window has passed, what is left looks like all there is.
fn settle(context: &Context<'_>, memory: &mut Memory, trace: &mut Trace<'_>) {
    let devices = context
        .config
        .signals
        .iter()
        .filter(|signal| matches!(signal.source, SignalSource::Device(_)));
    let Some(wanted_ms) = devices.map(|signal| signal.demand_window_ms).max() else {
        return;
    };
    let departed_ms = memory.departed_at_ms.unwrap_or(Millis::MIN);
    let quiet_ms = context.now.wall_ms.saturating_sub(departed_ms);
    if quiet_ms < wanted_ms {
        trace.veto(Rule::Settle, quiet_ms, wanted_ms);
    } else {
        trace.pass(Rule::Settle, quiet_ms, wanted_ms);
    }
}

/// A bound, a schedule or a budget may wish for less than the load needs; the load wins.
fn in_use(context: &Context<'_>, _: &mut Memory, trace: &mut Trace<'_>) {
    let needed = context.wish.floor.min(trace.current());
    let size = trace.size().max(needed);
    trace.ask(Rule::InUse, size, i64::from(needed), 0);
}

fn cooldown(context: &Context<'_>, memory: &mut Memory, trace: &mut Trace<'_>) {
    let (quiet_ms, wanted_ms) = (
        since(memory.resized_at_ms, context.now),
        context.config.down.cooldown_ms,
    );
    if quiet_ms < wanted_ms {
        trace.veto(Rule::Cooldown, quiet_ms, wanted_ms);
    } else {
        trace.pass(Rule::Cooldown, quiet_ms, wanted_ms);
    }
}

/// The largest wish of the window; [`evaluate`](fn@super::evaluate) has put this tick's in.
fn stabilized(context: &Context<'_>, memory: &mut Memory, trace: &mut Trace<'_>) {
    let window_ms = context.config.down.stabilization_ms;
    let largest = memory.largest_wishes.extreme().unwrap_or(trace.size());
    let size = trace.size().max(largest).min(trace.current());
    trace.ask(Rule::Stabilized, size, i64::from(largest), window_ms);
}

/// The demand of today on the nodes that would be left must stay under every up threshold, or the pool would grow
/// again at once.
fn anti_flap(context: &Context<'_>, _: &mut Memory, trace: &mut Trace<'_>) {
    let gpus = i64::from(context.observation.gpus_per_node.max(1));
    let broken = i64::from(context.observation.unhealthy);
    for (index, signal) in context.config.signals.iter().enumerate() {
        let Some(rule) = signal
            .up
            .filter(|_| matches!(signal.source, SignalSource::Device(_)))
        else {
            continue;
        };
        let demand = trace
            .signals()
            .get(index)
            .map_or(0, |evidence| evidence.demand_high);
        // Smallest size whose utilization stays below the threshold: strictly, since `≥` would grow.
        let carried = rule.threshold.saturating_mul(gpus).max(1);
        let fits = (demand / carried).saturating_add(1).saturating_add(broken);
        let fits = u32::try_from(if demand == 0 { 0 } else { fits }).unwrap_or(u32::MAX);
        let left = i64::from(trace.size()).saturating_mul(gpus).max(1);
        let size = trace.size().max(fits).min(trace.current());
        trace.ask(Rule::AntiFlap, size, demand / left, rule.threshold.min(ONE));
    }
}

fn rate(context: &Context<'_>, memory: &mut Memory, trace: &mut Trace<'_>) {
    let allowed = smallest(&context.config.down, memory, context.now, trace.current());
    let size = trace.size().max(allowed.min(trace.current()));
    trace.ask(
        Rule::RateLimited,
        size,
        i64::from(allowed),
        i64::from(trace.size()),
    );
}

/// Smallest size that the rate policies allow: `base − v`, or base × (1 − v %) rounded down (Kubernetes,
/// `podautoscaler/horizontal.go`, `calculateScaleDownLimit`), but always room for one node.
fn smallest(behavior: &Behavior, memory: &Memory, now: Now, current: u32) -> u32 {
    let limits = behavior.policies.iter().map(|policy| {
        let (added, removed) = memory.resizes.within(now.timer_ms, policy.period_ms);
        let base = (i64::from(current) - added + removed).max(0);
        let value = i64::from(policy.value);
        let limit = match policy.kind {
            RateKind::Nodes => base - value,
            RateKind::Percent => (base * (100 - value).max(0)).div_euclid(100).min(base - 1),
        };
        u32::try_from(limit.max(0)).unwrap_or(0)
    });
    match behavior.select {
        SelectPolicy::Max => limits.min(),
        SelectPolicy::Min => limits.max(),
        SelectPolicy::Disabled => Some(current),
    }
    .unwrap_or(0)
}

/// Promise 2: only nodes that can go safely do.
fn victims(context: &Context<'_>, windows: &Windows, trace: &mut Trace<'_>) {
    let wanted = trace.current() - trace.size();
    let idle_ms = context.config.data_quality.idle_window_ms;
    let idle_since_ms = context.now.wall_ms.saturating_sub(idle_ms);
    match context.observation.nodes {
        Nodes::Interchangeable => {}
        Nodes::Unseen => {
            let may = context.config.scale_in.victims == VictimPolicy::PlatformChooses
                && windows.all_idle_since(idle_since_ms);
            if may {
                trace.pass(Rule::NoClusterView, 1, 0);
            } else {
                trace.veto(Rule::NoClusterView, 0, i64::from(wanted));
            }
        }
        Nodes::Named(nodes) => {
            let victims = choose(context.config, windows, nodes, idle_since_ms, wanted);
            let safe = u32::try_from(victims.as_slice().len()).unwrap_or(0);
            let size = trace.current() - safe.min(wanted);
            trace.ask(Rule::NoSafeVictim, size, i64::from(safe), i64::from(wanted));
            trace.decision_mut().victims = victims;
        }
    }
}

/// Nodes that may go, in the order in which they should: unhealthy first, then those with the most free GPUs, then
/// by identity so that the choice is the same on every machine.
fn choose(
    config: &Config,
    windows: &Windows,
    nodes: &[NodeView],
    idle_since_ms: Millis,
    wanted: u32,
) -> Victims {
    // What makes a node go earlier; smaller goes first.
    let rank = |node: &NodeView| (node.condition == Condition::Healthy, node.gpu_pods, node.id);
    let mut victims = Victims::default();
    let mut last = None;
    // Selection without a sorted copy: nothing is allocated, and lists are short.
    while victims.as_slice().len() < (wanted as usize).min(MAX_VICTIMS) {
        let next = nodes
            .iter()
            .filter(|node| last.is_none_or(|last| rank(node) > last))
            .filter(|node| may_go(config, windows, node, idle_since_ms))
            .min_by_key(|node| rank(node));
        let Some(node) = next else { break };
        last = Some(rank(node));
        victims.push(node.id);
    }
    let keep = victims
        .as_slice()
        .len()
        .saturating_sub(spares_among(config, nodes, &victims));
    victims.truncate(keep);
    victims
}

/// How many of the victims must stay as spare nodes. Where pods own their GPUs a spare node is an empty one; where
/// load spreads, the wish has counted the spare nodes already.
fn spares_among(config: &Config, nodes: &[NodeView], victims: &Victims) -> usize {
    if config.workload == Workload::Shared {
        return 0;
    }
    let usable = |node: &&NodeView| is_empty(node) && node.condition == Condition::Healthy;
    let empty = nodes.iter().filter(usable).count();
    let leaving = nodes
        .iter()
        .filter(usable)
        .filter(|node| victims.as_slice().contains(&node.id))
        .count();
    (config.spare_nodes as usize).saturating_sub(empty - leaving)
}

fn is_empty(node: &NodeView) -> bool {
    node.gpu_pods == 0
}

fn may_go(config: &Config, windows: &Windows, node: &NodeView, idle_since_ms: Millis) -> bool {
    if node.protection == Protection::Protected {
        return false;
    }
    if node.condition == Condition::Unhealthy && is_empty(node) {
        return config.scale_in.replace_unhealthy == Replace::Unhealthy
            || node.ready_since_ms <= idle_since_ms;
    }
    match config.scale_in.victims {
        VictimPolicy::Drain if node.protection == Protection::Drainable => true,
        _ => {
            is_empty(node)
                && node.ready_since_ms <= idle_since_ms
                && windows.node_idle_since(node.id, idle_since_ms)
        }
    }
}

#[cfg(test)]
mod tests;
