//! Promise 4: once nothing fails any more, capacity comes up to a steady demand, an idle pool comes down, and no hold
//! lasts for ever. How long each may take is derived from the policy and from what happened, not from what the
//! controller believes; each exemption says which promise of the design makes it wait.

use gpuscale::policy::config::{MINUTE_MS, Millis};

use super::super::event::{Decided, PolicyId};
use super::rules::{Shrinks, Sight, allowed, rate_span_ms};
use super::state::{FOREIGN_MS, Hold, State};
use super::{Findings, Invariant, Truth};

/// For ever, as far as a run goes.
const NEVER: Millis = Millis::MAX / 8;

/// How long the engine leaves nodes alone that were asked for twice and did not come, and how long its breaker stays
/// open (design section 5).
const BACKOFF_MS: Millis = 60 * MINUTE_MS;

/// Growths without relief that open the breaker.
const BREAKER_GROWTHS: usize = 8;

/// For delays of ports, jitter of ticks, and demand that is not quite even over devices.
const SLACK_MS: Millis = 5 * MINUTE_MS;

/// Takes stock where the run enters its next stretch. To be called before every event; cheap while nothing is due.
pub fn pass(state: &mut State, findings: &mut Findings, at_ms: Millis, truth: &dyn Truth) {
    let times = state.times;
    let due_ms = [times.quiet_ms, times.plateau_ms, times.zero_ms];
    while due_ms.get(state.stage).is_some_and(|&due_ms| at_ms >= due_ms) {
        for policy in 0..state.policies.len() {
            match state.stage {
                0 => {
                    let runs = |&pool: &usize| truth.operation_runs(pool);
                    state.policies[policy].stuck = state.rules[policy].pools.iter().any(runs);
                }
                1 => state.policies[policy].at_plateau = schedulable(state, policy, truth),
                _ => {
                    up(state, findings, at_ms, policy, truth);
                    state.policies[policy].at_zero = state.group_count(policy, truth);
                }
            }
        }
        state.stage += 1;
    }
}

fn schedulable(state: &State, policy: PolicyId, truth: &dyn Truth) -> u32 {
    state.rules[policy]
        .pools
        .iter()
        .map(|&pool| truth.schedulable(pool))
        .sum()
}

/// From when on nothing that is written in the design keeps the policy from resizing in either direction.
fn free_ms(state: &State, policy: PolicyId) -> Millis {
    let (rules, facts) = (&state.rules[policy], &state.policies[policy]);
    // A person stopped it: the brake, the policy's removal, another autoscaler. And a process that is not there.
    let stopped = state.frozen_ms.is_some()
        || facts.absent_since_ms.is_some()
        || !state.up
        || rules.pools.iter().any(|&pool| state.pools[pool].autoscaler);
    if stopped {
        return NEVER;
    }
    // An operation that was stuck when the faults ended: nothing is written while one runs.
    let stuck_ms = if facts.stuck { NEVER } else { facts.unstuck_ms };
    // Three foreign writes within an hour: the pool is left alone for an hour after the last.
    state
        .times
        .quiet_ms
        .max(stuck_ms)
        .max(facts.may_conflict_until_ms)
}

/// The same for growing.
fn may_grow_ms(state: &State, policy: PolicyId) -> Millis {
    let (rules, facts) = (&state.rules[policy], &state.policies[policy]);
    // Nodes that did not come are supply until provisionTimeout; twice, and the platform is left alone for a while.
    let missing_ms = facts
        .missing_ms
        .map_or(0, |at_ms| at_ms + rules.provision_timeout_ms + BACKOFF_MS);
    // Eight growths without a breath between them may have opened the breaker.
    let growths = facts.own.iter().rev().filter(|own| own.delta > 0);
    let breaker_ms = match growths.clone().nth(BREAKER_GROWTHS - 1) {
        Some(_) => growths.clone().next().map_or(0, |last| last.at_ms + BACKOFF_MS),
        None => 0,
    };
    // The platform had no capacity, and is left alone for the back-off of the failure's class.
    let capacity_ms = facts.capacity_until_ms;
    free_ms(state, policy)
        .max(missing_ms)
        .max(breaker_ms)
        .max(capacity_ms)
}

/// Capacity for a plateau, in time. Where devices are pinned nobody sees how much is missing, so a pool grows by half
/// of what works, and waits for it: that many boots it may take.
fn up(state: &State, findings: &mut Findings, at_ms: Millis, policy: PolicyId, truth: &dyn Truth) {
    let (rules, facts) = (&state.rules[policy], &state.policies[policy]);
    let Some(carries) = rules.carries else { return };
    // Without a view, a pool whose last node was evicted looks like a source that has nothing to say: promise 1 goes
    // before promise 4.
    if rules.sight == Sight::Counted && schedulable(state, policy, truth) == 0 {
        return;
    }
    // Too many unhealthy nodes make utilization say nothing about the load.
    if rules.pools.iter().any(|&pool| truth.unhealthy(pool) > 0) {
        return;
    }
    let demand = truth.demand(policy, state.times.zero_ms - 1);
    let node = i64::from(rules.gpus_per_node) * carries;
    let needed = u32::try_from((demand + node - 1) / node)
        .unwrap_or(u32::MAX)
        .min(rules.max);
    let mut boots = 1;
    let mut nodes = facts.at_plateau.max(1);
    while nodes < needed {
        nodes += nodes.div_ceil(2);
        boots += 1;
    }
    let boot_ms = rules.boot_ms + rules.up_window_ms.max(rules.settle_ms) + 2 * rules.interval_ms + MINUTE_MS;
    let span_ms = boots * boot_ms
        + rate_span_ms(&rules.up, needed.saturating_sub(facts.at_plateau))
        + rules.up.stabilization_ms
        + rules.warm_up_ms
        + SLACK_MS;
    if may_grow_ms(state, policy).max(state.times.plateau_ms) + span_ms > state.times.zero_ms {
        return;
    }
    let there = schedulable(state, policy, truth);
    let capacity = i64::from(there) * node;
    let count = state.group_count(policy, truth);
    let at_bound = count >= rules.max
        || rules
            .pools
            .iter()
            .all(|&pool| truth.count(pool) >= rules.pool_max);
    // Load is not spread to the last digit, and a rule that wants every instant above needs a little more.
    let enough = capacity + capacity / 20 >= demand;
    findings.check(at_ms, Invariant::LivenessUp, enough || at_bound, || {
        format!("policy {policy} has {there} nodes of {count} for {demand} micro-GPUs of demand")
    });
}

/// The run is over: after an hour without demand the pools are down as far as rates and quiet times let them.
pub fn end(state: &State, findings: &mut Findings, at_ms: Millis, truth: &dyn Truth) {
    if at_ms < state.times.end_ms {
        return;
    }
    for policy in 0..state.policies.len() {
        let (rules, facts) = (&state.rules[policy], &state.policies[policy]);
        let sick = rules.pools.iter().any(|&pool| truth.unhealthy(pool) > 0);
        // Of nodes that are not there no metric tells that they are idle.
        let empty = rules
            .pools
            .iter()
            .any(|&pool| truth.count(pool) > 0 && truth.present(pool) == 0);
        // Without a view, a node that was asked for and is not heard may be busy: promise 2 goes before promise 4.
        let unheard = rules.sight == Sight::Counted
            && rules
                .pools
                .iter()
                .any(|&pool| truth.present(pool) < truth.count(pool));
        if rules.shrinks == Shrinks::Never || sick || empty || unheard {
            continue;
        }
        // Nodes that are missing leave first, each after its own stabilization (design section 5).
        let start_ms = free_ms(state, policy)
            .max(state.times.zero_ms)
            .max(facts.short_ms);
        let first_ms = rules.longest_window_ms().max(rules.down.stabilization_ms)
            + rules.hold_ms
            + 2 * rules.interval_ms
            + rules.boot_ms
            + SLACK_MS;
        let left_ms = at_ms - start_ms - first_ms;
        let most = expected(state, policy, left_ms, facts.at_zero);
        // The minimum is one of nodes that work, so those that are missing come on top of it.
        let missing = rules
            .pools
            .iter()
            .any(|&pool| truth.count(pool) > truth.present(pool));
        if missing {
            continue;
        }
        let count = state.group_count(policy, truth);
        if left_ms > 0 {
            findings.check(at_ms, Invariant::LivenessDown, count <= most, || {
                format!(
                    "policy {policy} still has {count} nodes of {}; {most} would do",
                    facts.at_zero
                )
            });
        }
    }
}

/// The size that is reached in `left_ms` by the slowest way that the policy allows: each step waits for the cooldown
/// and for the windows to see the load where it went.
fn expected(state: &State, policy: PolicyId, left_ms: Millis, from: u32) -> u32 {
    let rules = &state.rules[policy];
    let longest_ms = rules
        .down
        .policies
        .iter()
        .map(|policy| policy.period_ms)
        .max()
        .unwrap_or(0);
    let demand_ms = rules.windows_ms.iter().copied().max().unwrap_or(0);
    let step_ms = rules.down.cooldown_ms.max(longest_ms).max(demand_ms) + 4 * rules.interval_ms + MINUTE_MS;
    let mut size = from;
    for _ in 0..left_ms.max(0) / step_ms.max(1) {
        let step = allowed(&rules.down, |_| (size, 0)).unwrap_or(size).max(1);
        size = size.saturating_sub(step).max(rules.min);
    }
    // A pool below its minimum or without a step left is where it should be.
    size.max(rules.min)
}

/// A tick ended: how long does it hold for the same reason?
pub fn ticked(
    state: &mut State,
    findings: &mut Findings,
    at_ms: Millis,
    policy: PolicyId,
    decided: Option<&Decided>,
    truth: &dyn Truth,
) {
    // What was missing before the last hours is long forgotten.
    if at_ms < state.times.quiet_ms - 2 * BACKOFF_MS {
        return;
    }
    count_missing(state, at_ms, policy, truth);
    if at_ms < state.times.quiet_ms {
        return;
    }
    let runs = state.rules[policy]
        .pools
        .iter()
        .any(|&pool| truth.operation_runs(pool));
    if state.policies[policy].stuck && !runs {
        (state.policies[policy].stuck, state.policies[policy].unstuck_ms) = (false, at_ms);
    }
    let (reason, from) = match decided {
        None => ("Held", 0),
        Some(decided) if decided.to != decided.from => ("", decided.from),
        Some(decided) => (decided.reason, decided.from),
    };
    let fresh = Hold {
        reason,
        from,
        since_ms: at_ms,
        reported: false,
    };
    let last = state.policies[policy]
        .hold
        .filter(|hold| (hold.reason, hold.from) == (reason, from));
    let mut hold = last.unwrap_or(fresh);
    if reason == "PoolBusy" && runs {
        // So it is: how long the platform takes is not ours to say.
        hold = fresh;
    }
    if let Some(most_ms) = longest_ms(state, policy, reason, truth).filter(|_| !hold.reported) {
        let start_ms = free_ms(state, policy).max(hold.since_ms);
        let holds = at_ms - start_ms <= most_ms;
        findings.check(at_ms, Invariant::LivenessSteady, holds, || {
            format!(
                "policy {policy} holds {from} for {reason} since {}",
                hold.since_ms
            )
        });
        hold.reported = !holds;
    }
    state.policies[policy].hold = Some(hold);
}

/// Nodes asked for and not there, once no operation could still be bringing them.
fn count_missing(state: &mut State, at_ms: Millis, policy: PolicyId, truth: &dyn Truth) {
    let pools = &state.rules[policy].pools;
    if pools.iter().any(|&pool| truth.operation_runs(pool)) {
        return;
    }
    let missing = pools
        .iter()
        .map(|&pool| truth.count(pool).saturating_sub(truth.present(pool)))
        .sum();
    let facts = &mut state.policies[policy];
    if missing > facts.missing {
        facts.missing_ms = Some(at_ms);
    } else if missing == 0 {
        facts.missing_ms = None;
    }
    if missing > 0 {
        facts.short_ms = at_ms;
    }
    facts.missing = missing;
}

/// How long a reason may hold while nothing fails. Those that are not named are states and not waits: within target,
/// at a bound, load that needs the nodes, load that the platform would have to choose among.
fn longest_ms(state: &State, policy: PolicyId, reason: &str, truth: &dyn Truth) -> Option<Millis> {
    let (rules, facts) = (&state.rules[policy], &state.policies[policy]);
    let most_ms = match reason {
        "Held" => rules.tick_ms + rules.interval_ms,
        // While one runs it is not counted; afterwards it is a poll away.
        "PoolBusy" => rules.tick_ms + 2 * rules.interval_ms,
        "Conflicting" => FOREIGN_MS,
        // A SKU that is not offered is not asked for again within a run.
        "CapacityMemory" if facts.capacity_until_ms >= NEVER => return None,
        "CapacityMemory" | "NoRelief" => BACKOFF_MS,
        "NodesMissing" | "SupplyInFlight" => rules.provision_timeout_ms + BACKOFF_MS,
        "Cooldown" => rules.down.cooldown_ms,
        "Settle" => rules.settle_ms.max(rules.longest_window_ms()),
        "RateLimited" => {
            let periods = rules.up.policies.iter().chain(&rules.down.policies);
            periods.map(|policy| policy.period_ms).max().unwrap_or(0)
        }
        // Without a device, or with too many sick ones, there is nothing to know; the minimum brings one back.
        "DataQuality" if rules.pools.iter().all(|&pool| truth.schedulable(pool) == 0) => return None,
        "DataQuality" if rules.pools.iter().any(|&pool| truth.unhealthy(pool) > 0) => return None,
        "DataQuality" => {
            // Without a view a silent node is waited for, and one of the same count may fall silent after it.
            let patience_ms = match rules.sight {
                Sight::Named => 0,
                Sight::Counted => 2 * rules.provision_timeout_ms,
            };
            rules.longest_window_ms() + rules.warm_up_ms + rules.boot_ms + rules.hold_ms + patience_ms
        }
        _ => return None,
    };
    Some(most_ms + SLACK_MS)
}
