//! What makes a pool smaller, and how fast it may change: data, work, quiet times, rates.

use gpuscale::policy::config::{Behavior, MINUTE_MS, Millis, ONE};

use super::super::event::{Arrived, Decided, Left, PolicyId, PoolId};
use super::rules::{Rules, allowed};
use super::state::{Own, Record, Sent, State};
use super::{AT_ONCE_MS, Findings, Invariant, Truth};

/// How finely the true demand is looked at.
const PROBE_MS: Millis = 15_000;

/// Part of a window that may differ between a count of devices and ours: a node that came or went at an edge.
const COVERAGE_SLACK: i64 = ONE / 50;

/// The last record of the pool's policy, if it shrinks.
fn shrink_of(state: &State, policy: PolicyId) -> Option<Record> {
    state.policies[policy]
        .record
        .filter(|record| record.to < record.from)
}

/// A resize leaves the controller.
pub fn sent(state: &State, findings: &mut Findings, at_ms: Millis, pool: PoolId) {
    let Some((owner, rules, policy)) = state.owner(pool) else {
        return;
    };
    if shrink_of(state, owner).is_none() {
        return;
    }
    // What was read may be maxAge old, each sample speaks for the hold limit, and a tick takes its time.
    let most_ms = rules.max_age_ms + rules.hold_ms + rules.tick_ms + rules.interval_ms;
    let alive = policy
        .live_read_ms
        .is_some_and(|read_ms| at_ms - read_ms <= most_ms);
    findings.check(at_ms, Invariant::DeadInput, alive, || {
        format!(
            "policy {owner} shrinks; its last whole answer came at {:?}",
            policy.live_read_ms
        )
    });
    findings.check(at_ms, Invariant::WarmStart, policy.read_since_start, || {
        format!("policy {owner} shrinks, and has read nothing whole since it started")
    });
}

/// A decision was put on record.
pub fn recorded(state: &State, findings: &mut Findings, at_ms: Millis, policy: PolicyId, from: u32, to: u32) {
    if to >= from {
        return;
    }
    let (owner, rules, policy) = (policy, &state.rules[policy], &state.policies[policy]);
    findings.check(at_ms, Invariant::PartialHolds, !policy.partial, || {
        format!("policy {owner} decided {from} -> {to} from an answer that was not whole")
    });
    // Timers of a restarted process are as good as the clock it was moved by: a tick's worth is let go.
    let slack_ms = rules.interval_ms + AT_ONCE_MS;
    if let Some(own) = policy.own.iter().rev().find(|own| own.is_known(at_ms)) {
        let quiet_ms = at_ms - own.at_ms;
        findings.check(
            at_ms,
            Invariant::Cooldown,
            quiet_ms >= rules.down.cooldown_ms - slack_ms,
            || format!("policy {owner} decided {from} -> {to}; its last resize was {quiet_ms} ms before"),
        );
    }
    let window_ms = rules.down.stabilization_ms - slack_ms;
    let recent = policy
        .wishes
        .iter()
        .rev()
        .take_while(|(wish_ms, _)| at_ms - wish_ms < window_ms);
    if let Some(largest) = recent.map(|&(_, wish)| wish).max() {
        findings.check(at_ms, Invariant::Stabilization, to >= largest.min(from), || {
            format!("policy {owner} decided {from} -> {to}; {largest} were wished for within the window")
        });
    }
}

/// A tick ended.
pub fn ticked(
    state: &State,
    findings: &mut Findings,
    at_ms: Millis,
    policy: PolicyId,
    decided: Option<&Decided>,
) {
    let Some(decided) = decided else { return };
    if decided.to < decided.from {
        findings.check(at_ms, Invariant::Guarded, decided.known, || {
            format!(
                "policy {policy} decided {} -> {} without knowing all",
                decided.from, decided.to
            )
        });
    }
    if state.policies[policy].partial {
        findings.check(at_ms, Invariant::PartialHolds, !decided.known, || {
            format!("policy {policy} took an answer that was not whole for one that is")
        });
    }
}

/// A resize reaches the platform.
pub fn arrived(
    state: &State,
    findings: &mut Findings,
    at_ms: Millis,
    arrived: &Arrived,
    sent: Option<&Sent>,
    truth: &dyn Truth,
) {
    let Some((owner, rules, policy)) = state.owner(arrived.pool) else {
        return;
    };
    let Some(record) = sent.and_then(|sent| sent.record) else {
        return;
    };
    let is_target = rules.pools.first() == Some(&arrived.pool);
    if arrived.answer == "accepted" && is_target && record.to != record.from {
        rate(state, findings, at_ms, owner, record);
    }
    // What is fenced off was decided for another count, and may have been growth.
    let fenced_off = !arrived.etag_current && arrived.answer != "accepted";
    if arrived.to >= arrived.from || fenced_off {
        return;
    }
    let served_ms = state.pools[arrived.pool].served_ms;
    data(findings, at_ms, (arrived.pool, served_ms), rules, record, truth);
    if rules.is_group() {
        // Which of a group's pools carries the load is not asked; NodesLeft tells.
        return;
    }
    let idle_ms = record.at_ms - seen_ms(rules, rules.idle_ms, record.at_ms, truth);
    let busy = busy_since(state, arrived.pool, owner, rules, (idle_ms, record.at_ms), truth);
    findings.check(at_ms, Invariant::NoBusyTaken, busy.is_none(), || {
        format!(
            "pool {} goes {} -> {}, and worked at {busy:?}",
            arrived.pool, arrived.from, arrived.to
        )
    });
    if let Some(refused_ms) = policy
        .refused_ms
        .filter(|refused_ms| at_ms - refused_ms < 60 * MINUTE_MS)
    {
        let since_ms = idle_ms.max(refused_ms);
        let busy = busy_since(state, arrived.pool, owner, rules, (since_ms, record.at_ms), truth);
        findings.check(at_ms, Invariant::NotByForce, busy.is_none(), || {
            format!(
                "pool {} was refused nodes at {refused_ms} and is put back down",
                arrived.pool
            )
        });
    }
}

/// How much of the true time a window of the source's clock spans. A step of that clock that is shorter than a sample
/// speaks for cannot be told from a scrape that is missing.
fn seen_ms(rules: &Rules, window_ms: Millis, to_ms: Millis, truth: &dyn Truth) -> Millis {
    let stepped_ms = truth.stepped_ms(to_ms - window_ms, to_ms);
    window_ms - stepped_ms.min(rules.hold_ms).min(window_ms)
}

/// When, within a range, the pool carried load for longer than a sample may hide: each speaks for the hold limit, and
/// the last of them may be as old at the end of the range.
fn busy_since(
    state: &State,
    pool: PoolId,
    policy: PolicyId,
    rules: &Rules,
    range: (Millis, Millis),
    truth: &dyn Truth,
) -> Option<Millis> {
    let served_ms = state.pools[pool].served_ms?;
    let mut at_ms = range.0.max(served_ms).max(0);
    let until_ms = range.1 - rules.call_ms;
    let mut since_ms = None;
    while at_ms <= until_ms {
        if truth.demand(policy, at_ms) == 0 {
            since_ms = None;
        } else if at_ms - *since_ms.get_or_insert(at_ms) > rules.hold_ms + PROBE_MS {
            return since_ms;
        }
        at_ms += PROBE_MS;
    }
    None
}

fn data(
    findings: &mut Findings,
    at_ms: Millis,
    (pool, served_ms): (PoolId, Option<Millis>),
    rules: &Rules,
    record: Record,
    truth: &dyn Truth,
) {
    let to_ms = record.at_ms;
    let share = |window_ms: Millis| {
        let from_ms = to_ms - seen_ms(rules, window_ms, to_ms, truth);
        known_share(truth, pool, rules, (from_ms, to_ms))
    };
    // Enough of the devices at enough of the instants: the product of both.
    let enough = rules.min_coverage * rules.min_coverage / ONE - COVERAGE_SLACK;
    for &window_ms in &rules.windows_ms {
        let known = share(window_ms);
        findings.check(at_ms, Invariant::NoShrinkWithoutData, known >= enough, || {
            format!("pool {pool} shrinks, and of the last {window_ms} ms {known} millionths are known")
        });
    }
    // An idle window is known of every device, to the last sample that still speaks.
    let known = share(rules.idle_ms);
    let unread = (rules.call_ms + rules.interval_ms) * ONE / rules.idle_ms.max(1);
    findings.check(
        at_ms,
        Invariant::NoShrinkWithoutData,
        known >= ONE - COVERAGE_SLACK - unread,
        || format!("pool {pool} shrinks as idle, and of the idle window {known} millionths are known"),
    );
    let newest_ms = truth.newest_sample_ms(pool);
    let oldest_ms = to_ms - rules.max_age_ms - rules.tick_ms;
    // Where nothing can run yet, as on a node that boots, there is nothing to know; nor before the first scrape.
    let begins = served_ms.is_none_or(|served_ms| served_ms >= oldest_ms);
    let fresh = newest_ms.is_some_and(|newest_ms| newest_ms >= oldest_ms) || begins;
    findings.check(at_ms, Invariant::NoShrinkWithoutData, fresh, || {
        format!("pool {pool} shrinks, and its newest sample is of {newest_ms:?}")
    });
}

/// Share of the devices that are known, over a range: at each instant what was known at its best within the hold
/// limit before it, since that long a sample speaks for its device.
fn known_share(truth: &dyn Truth, pool: PoolId, rules: &Rules, range: (Millis, Millis)) -> i64 {
    let held = usize::try_from(rules.hold_ms / PROBE_MS).unwrap_or(0).max(1);
    let probes = (range.1 - range.0 + rules.hold_ms) / PROBE_MS;
    let slices: Vec<i64> = (0..probes.max(1))
        .map(|slice| {
            let to_ms = range.1 - slice * PROBE_MS;
            truth.known_share(pool, to_ms - PROBE_MS, to_ms, rules.hold_ms, rules.warm_up_ms)
        })
        .collect();
    let best = slices.windows(held.min(slices.len()));
    let (sum, count) = best.fold((0, 0), |(sum, count), near| {
        (sum + near.iter().copied().max().unwrap_or(0), count + 1)
    });
    if count == 0 { ONE } else { sum / count }
}

/// Nodes added or removed in a period, with those of this resize, by the record of what was taken before.
fn rate(state: &State, findings: &mut Findings, at_ms: Millis, owner: PolicyId, record: Record) {
    let (rules, policy) = (&state.rules[owner], &state.policies[owner]);
    let grows = record.to > record.from;
    let behavior: &Behavior = if grows { &rules.up } else { &rules.down };
    let most = allowed(behavior, |period_ms| {
        // A restart may have moved the timers by the error of a clock.
        let error_ms = (rules.interval_ms + AT_ONCE_MS).min(period_ms / 2);
        let recent = policy
            .own
            .iter()
            .rev()
            .skip(policy.hidden(record.from))
            .filter(|own| own.is_known(at_ms) && own.seq < record.seq);
        // What went the other way gives room, and what went this way takes it: either may be just inside the period.
        // Where clocks disagree on how long a process was away, none of that time has passed for it.
        let gives = |own: &&Own| {
            record.at_ms - own.decided_ms < period_ms + error_ms
                || own.decided_ms < policy.began_ms && record.at_ms - policy.began_ms < period_ms
        };
        let net: i64 = recent
            .take_while(gives)
            .filter(|own| (own.delta > 0) != grows || record.at_ms - own.decided_ms < period_ms - error_ms)
            .map(|own| own.delta)
            .sum();
        let base = u32::try_from((i64::from(record.from) - net).max(0)).unwrap_or(0);
        (base, if grows { net } else { -net })
    });
    let Some(most) = most else { return };
    let change = record.to.abs_diff(record.from);
    findings.check(at_ms, Invariant::Rate, change <= most, || {
        format!(
            "policy {owner} goes {} -> {}; {most} more were allowed",
            record.from, record.to
        )
    });
}

/// Nodes left a pool.
pub fn left(
    state: &State,
    findings: &mut Findings,
    at_ms: Millis,
    pool: PoolId,
    busy: u32,
    why: Left,
    truth: &dyn Truth,
) {
    if why != Left::Ours {
        return;
    }
    let Some((owner, rules, _)) = state.owner(pool) else {
        return;
    };
    let decided_ms = state.pools[pool].shrunk_ms;
    // What came after the decision, or so shortly before that no sample told, could not be known.
    let known_ms = decided_ms.map(|decided_ms| (decided_ms - rules.hold_ms - rules.call_ms).max(0));
    let holds = busy == 0 || known_ms.is_some_and(|known_ms| truth.demand(owner, known_ms) == 0);
    findings.check(at_ms, Invariant::NoBusyTaken, holds, || {
        format!("{busy} busy nodes of pool {pool} were taken by a decision of {decided_ms:?}")
    });
}
