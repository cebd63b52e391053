//! The growth vetoes, in order. Each is a function that looks at one thing and says so in the trace.
//!
//! To add a veto: add its name to [`Rule`], write a function of this form, and call it from [`limit`]. The trace
//! records it even when it lets the growth pass, so status, log, report and `explain` show it without more ado.

use super::config::{Behavior, Config, MINUTE_MS, Millis, RateKind, SelectPolicy, Suspend};
use super::evaluation::{Evaluation, Reason, Rule, Trace};
use super::limits::{Bounds, since};
use super::memory::{FOREIGN_WRITES_ALLOWED, Memory, Missing};
use super::observation::{Freeze, Now, Observation, Operation, Pause, Waiting};
use super::wish::{Growth, Wish};

/// Saturated growths in a row, each of +50 %, after which growth without relief is a fault and not a demand:
/// eight of them are a factor of 25.
const GROWTHS_WITHOUT_RELIEF: u32 = 8;

/// How long the breaker stays open.
const BREAKER_MS: Millis = 60 * MINUTE_MS;

/// What a growth is judged by.
pub(super) struct Context<'a> {
    pub(super) config: &'a Config,
    pub(super) observation: &'a Observation<'a>,
    pub(super) now: Now,
    pub(super) wish: Wish,
    pub(super) bounds: Bounds,
    /// Nodes asked for that are neither there nor coming.
    pub(super) missing: u32,
}

type Veto = fn(&Context<'_>, &mut Memory, &mut Trace<'_>);

/// Asks every growth veto about the size in the trace, until one stops it.
pub(super) fn limit(context: &Context<'_>, memory: &mut Memory, trace: &mut Trace<'_>) {
    let vetoes: [Veto; 9] = [
        brakes,
        pool_busy,
        supply,
        free_capacity,
        settle,
        breaker,
        stabilize,
        rate,
        capacity,
    ];
    ask(&vetoes, context, memory, trace);
}

fn ask(vetoes: &[Veto], context: &Context<'_>, memory: &mut Memory, trace: &mut Trace<'_>) {
    for veto in vetoes {
        veto(context, memory, trace);
        if trace.size() <= trace.current() {
            break;
        }
    }
}

/// Nodes asked for that are neither there nor, by `provisionTimeout`, coming. Evicted nodes are among them.
pub(super) fn missing(config: &Config, observation: &Observation<'_>, now: Now) -> u32 {
    let in_time = observation
        .booting
        .iter()
        .filter(|b| now.timer_ms.saturating_sub(b.since_ms) < config.provision_timeout_ms);
    let coming = in_time.fold(0_u32, |coming, booting| coming.saturating_add(booting.nodes));
    observation
        .asked
        .saturating_sub(observation.ready.saturating_add(coming))
}

/// Growth that this pool cannot give: what the signals need within the bounds, less what works, is coming, or has
/// just been asked for.
pub(super) fn unplaced(context: &Context<'_>, memory: &Memory, size: u32) -> u32 {
    if context.missing == 0 && memory.capacity.is_none() {
        return 0;
    }
    let wanted = context.wish.needs.min(context.bounds.max);
    wanted.saturating_sub(size.saturating_sub(context.missing))
}

/// How much of the growth that this pool cannot give may be asked of a fallback pool now: it passes every veto but those
/// that say what this pool can give. Missing nodes may come after all, so under the bound they leave no room.
pub(super) fn placeable(context: &Context<'_>, memory: &mut Memory, unplaced: u32, hold: bool) -> u32 {
    let asked = context.observation.asked;
    let wanted = asked.saturating_add(unplaced).min(context.bounds.max);
    if !hold || wanted <= asked {
        return 0;
    }
    let mut elsewhere = Evaluation::hold(context.now, asked);
    let mut trace = Trace::new(&mut elsewhere);
    trace.wish(wanted, Reason::Limited(Rule::NodesMissing), 0, 0);
    let vetoes: [Veto; 7] = [
        brakes,
        fought_over,
        free_capacity,
        settle,
        breaker,
        stabilize,
        rate,
    ];
    ask(&vetoes, context, memory, &mut trace);
    trace.size().saturating_sub(asked)
}

/// Suspend, freeze and pause, for either direction.
pub(super) fn stopped(config: &Config, observation: &Observation<'_>, paused: Pause, trace: &mut Trace<'_>) {
    if config.suspend == Suspend::Suspended {
        trace.veto(Rule::Suspended, 0, 0);
    } else if observation.freeze == Freeze::On {
        trace.veto(Rule::Frozen, 0, 0);
    } else if observation.overrides.pause == Pause::Both || observation.overrides.pause == paused {
        trace.veto(Rule::Paused, 0, 0);
    }
}

fn brakes(context: &Context<'_>, _: &mut Memory, trace: &mut Trace<'_>) {
    stopped(context.config, context.observation, Pause::ScaleOut, trace);
    if context.config.up.select == SelectPolicy::Disabled {
        trace.veto(Rule::Disabled, 0, 0);
    }
}

/// One resize at a time, ours or anybody's; and none at all in a pool that is fought over.
pub(super) fn busy(observation: &Observation<'_>, memory: &Memory, trace: &mut Trace<'_>) {
    if observation.operation != Operation::None {
        trace.veto(
            Rule::PoolBusy,
            i64::from(observation.operation == Operation::Foreign),
            0,
        );
    } else if memory.is_conflicting() {
        conflicting(memory, trace);
    }
}

fn conflicting(memory: &Memory, trace: &mut Trace<'_>) {
    let writes = i64::try_from(memory.foreign_writes.len()).unwrap_or(i64::MAX);
    trace.veto(
        Rule::Conflicting,
        writes,
        i64::try_from(FOREIGN_WRITES_ALLOWED).unwrap_or(i64::MAX),
    );
}

/// An operation in this pool does not keep another pool from growing, and one that never ends must not.
fn fought_over(_: &Context<'_>, memory: &mut Memory, trace: &mut Trace<'_>) {
    if memory.is_conflicting() {
        conflicting(memory, trace);
    }
}

fn pool_busy(context: &Context<'_>, memory: &mut Memory, trace: &mut Trace<'_>) {
    busy(context.observation, memory, trace);
}

/// How long after nodes asked for twice did not come the platform is left alone: as after an allocation failure.
const MISSING_BACKOFF_MS: Millis = 60 * MINUTE_MS;

/// Nodes asked for are supply until `provisionTimeout`. Those that did not come by then are asked for once more, on
/// top of what is missing; if those do not come either they are `NodesMissing`, and what they were to carry is for
/// the fallback pools. After an hour the platform is asked again: no fault makes a hold permanent.
fn supply(context: &Context<'_>, memory: &mut Memory, trace: &mut Trace<'_>) {
    let (nodes, timeout_ms) = (context.missing, context.config.provision_timeout_ms);
    let now_ms = context.now.timer_ms;
    let again = Some(Missing { at_ms: now_ms, nodes });
    let (missing, limit) = (i64::from(nodes), timeout_ms);
    match memory.missing {
        _ if nodes == 0 => {
            memory.missing = None;
            trace.pass(Rule::SupplyInFlight, missing, limit);
        }
        // No more are missing than were asked for again: the growth is for other demand.
        Some(known) if nodes <= known.nodes => trace.pass(Rule::SupplyInFlight, missing, limit),
        Some(known) if now_ms.saturating_sub(known.at_ms) < timeout_ms => {
            trace.veto(Rule::SupplyInFlight, missing, limit);
        }
        Some(known) if now_ms.saturating_sub(known.at_ms) < MISSING_BACKOFF_MS.max(timeout_ms) => {
            trace.veto(Rule::NodesMissing, missing, limit);
        }
        // The first time, and again after the back-off.
        None | Some(_) => {
            memory.missing = again;
            trace.pass(Rule::NodesMissing, missing, limit);
        }
    }
}

/// Takes a growth back to `to`, but never below what the bounds ask for: reaching a minimum needs no evidence, so no
/// doubt about evidence may prevent it.
fn reduce(context: &Context<'_>, trace: &mut Trace<'_>, to: u32, rule: Rule, value: i64, limit: i64) {
    let least = context.bounds.min.max(trace.current());
    let size = trace.size().min(to.max(least));
    trace.ask(rule, size, value, limit);
}

/// GPUs that are schedulable and free cover the growth: what is missing is pods on them, not nodes. Free GPUs on
/// spare nodes are there on purpose and cover nothing. Waiting pods have been placed on free GPUs already, so a
/// growth for pods is not asked again.
fn free_capacity(context: &Context<'_>, _: &mut Memory, trace: &mut Trace<'_>) {
    let Some(free) = context.observation.free_gpus else {
        return;
    };
    let some_wait = matches!(context.observation.waiting, Waiting::Pods(waiting) if !waiting.is_empty());
    if some_wait {
        return;
    }
    let per_node = context.observation.gpus_per_node.max(1);
    let grown = trace.size() - trace.current();
    let covered = (free / per_node).saturating_sub(context.config.spare_nodes);
    let to = trace.current() + grown.saturating_sub(covered);
    let wanted = i64::from(grown).saturating_mul(i64::from(per_node));
    reduce(context, trace, to, Rule::FreeCapacity, i64::from(free), wanted);
}

/// A guess is not repeated before the last one had time to show. Demand that was measured needs no settling: it is
/// compared with all that was asked for, so it cannot be answered twice.
fn settle(context: &Context<'_>, memory: &mut Memory, trace: &mut Trace<'_>) {
    if context.wish.growth == Growth::Measured {
        return;
    }
    let (settled_ms, settle_ms) = (since(memory.arrived_at_ms, context.now), context.config.settle_ms);
    let to = if settled_ms < settle_ms {
        context.wish.measured
    } else {
        trace.size()
    };
    reduce(context, trace, to, Rule::Settle, settled_ms, settle_ms);
}

/// Growth that brings no relief, again and again, is a fault: a metric stuck at 100 %, or work that does not
/// spread. While the breaker is open, signals with pinned devices grow nothing.
fn breaker(context: &Context<'_>, memory: &mut Memory, trace: &mut Trace<'_>) {
    let growths = memory.growths_without_relief;
    if growths >= GROWTHS_WITHOUT_RELIEF && memory.breaker_until_ms.is_none() {
        memory.breaker_until_ms = Some(context.now.timer_ms.saturating_add(BREAKER_MS));
    }
    let open = memory.breaker_until_ms.is_some();
    let to = if open { context.wish.unpinned } else { trace.size() };
    reduce(
        context,
        trace,
        to,
        Rule::NoRelief,
        i64::from(growths),
        i64::from(GROWTHS_WITHOUT_RELIEF),
    );
}

/// The smallest wish of the growing window, as the HPA does. Every tick's wish is in it, whatever became of it.
fn stabilize(context: &Context<'_>, memory: &mut Memory, trace: &mut Trace<'_>) {
    let window_ms = context.config.up.stabilization_ms;
    if let Some(smallest) = memory.smallest_wishes.extreme().filter(|_| window_ms > 0) {
        reduce(
            context,
            trace,
            smallest,
            Rule::Stabilized,
            i64::from(smallest),
            window_ms,
        );
    }
}

fn rate(context: &Context<'_>, memory: &mut Memory, trace: &mut Trace<'_>) {
    let allowed = largest(&context.config.up, memory, context.now, trace.current());
    let size = trace.size().min(allowed.max(trace.current()));
    trace.ask(
        Rule::RateLimited,
        size,
        i64::from(allowed),
        i64::from(trace.size()),
    );
}

/// Largest size that the rate policies allow: `base + v`, or ⌈base × (1 + v %)⌉, with the size at the start of the
/// period as base (Kubernetes, `podautoscaler/horizontal.go`, `calculateScaleUpLimit`). A percentage always leaves
/// room for one node, since any percentage of an empty pool is nothing.
fn largest(behavior: &Behavior, memory: &Memory, now: Now, current: u32) -> u32 {
    let limits = behavior.policies.iter().map(|policy| {
        let (added, removed) = memory.resizes.within(now.timer_ms, policy.period_ms);
        let base = (i64::from(current) - added + removed).max(0);
        let value = i64::from(policy.value);
        let limit = match policy.kind {
            RateKind::Nodes => base + value,
            RateKind::Percent => {
                let rounded_down = (base * (100 + value)).div_euclid(100);
                (rounded_down + i64::from(base * (100 + value) % 100 > 0)).max(base + 1)
            }
        };
        u32::try_from(limit).unwrap_or(u32::MAX)
    });
    match behavior.select {
        SelectPolicy::Max => limits.max(),
        SelectPolicy::Min => limits.min(),
        SelectPolicy::Disabled => Some(current),
    }
    .unwrap_or(u32::MAX)
}

/// The platform said it has no capacity: asking again before it can have some only costs throttling budget.
fn capacity(context: &Context<'_>, memory: &mut Memory, trace: &mut Trace<'_>) {
    if let Some((_, until_ms)) = memory.capacity {
        trace.veto(
            Rule::CapacityMemory,
            until_ms.saturating_sub(context.now.timer_ms),
            0,
        );
    }
}

#[cfg(test)]
mod tests;
