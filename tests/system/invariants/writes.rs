//! What is sent to the platform, and how: bounds, fences, one at a time, each with its reason on record.

use gpuscale::policy::config::{MINUTE_MS, Millis};

use super::super::event::{Arrived, PoolId};
use super::rules::Rules;
use super::state::{FOREIGN_MS, Record, Sent, State};
use super::{AT_ONCE_MS, Findings, Invariant, Truth};

/// The longest that the platform goes on showing the count of before.
const SHOWN_LATE_MS: Millis = 2 * MINUTE_MS;

/// A resize leaves the controller.
pub fn sent(
    state: &State,
    findings: &mut Findings,
    at_ms: Millis,
    pool: PoolId,
    etag: &str,
    count: u32,
    truth: &dyn Truth,
) {
    findings.check(
        at_ms,
        Invariant::OneSubmission,
        state.submitting.is_empty(),
        || {
            format!(
                "pool {pool} is resized while {:?} are being submitted",
                state.submitting
            )
        },
    );
    findings.check(at_ms, Invariant::IfMatch, !etag.is_empty(), || {
        format!("a resize of pool {pool} goes without an etag")
    });
    findings.check(
        at_ms,
        Invariant::Throttle,
        state.pools[pool].allowance_at(at_ms) >= MINUTE_MS,
        || format!("pool {pool} is written to more often than 20 times and once a minute"),
    );
    one_in_flight(state, findings, at_ms, pool, truth);
    recorded(state, findings, at_ms, pool, count);
    conflicting(state, findings, at_ms, pool);
}

/// An operation that began while the controller was between its last read and the write is for the platform to
/// refuse: two calls with their timeouts, the read and the save.
fn one_in_flight(state: &State, findings: &mut Findings, at_ms: Millis, pool: PoolId, truth: &dyn Truth) {
    let Some((_, rules, policy)) = state.owner(pool) else {
        return;
    };
    let known = policy.own.back().is_none_or(|own| own.is_known(at_ms));
    let running = state.pools[pool]
        .running_ms
        .filter(|_| known && truth.operation_runs(pool));
    let unseen_ms = 2 * rules.call_ms + AT_ONCE_MS;
    let late = running.is_some_and(|since_ms| at_ms - since_ms > unseen_ms);
    let twice = state.submitting.contains(&pool);
    findings.check(at_ms, Invariant::OneInFlight, !late && !twice, || {
        let what = running.map_or("the last one has not come back".to_owned(), |since_ms| {
            format!("one of ours has been running since {since_ms}")
        });
        format!("pool {pool} is resized while {what}")
    });
}

fn recorded(state: &State, findings: &mut Findings, at_ms: Millis, pool: PoolId, count: u32) {
    let Some((owner, rules, policy)) = state.owner(pool) else {
        return;
    };
    let most_ms = rules.interval_ms + rules.tick_ms;
    // In a group a record names the sum of the counts, and what is left for a fallback pool is not in it. The
    // administrator's limit may leave less than was decided.
    let between = |record: &Record| {
        let (least, most) = (record.from.min(record.to), record.from.max(record.to));
        count != record.from && (least..=most).contains(&count)
    };
    let recent = policy.record.filter(|record| at_ms - record.at_ms <= most_ms);
    let record = recent.filter(|record| rules.is_group() || between(record));
    let again = recent.is_some_and(|record| policy.taken_seq == Some(record.seq)) && !rules.is_group();
    findings.check(at_ms, Invariant::NeverRepeated, !again, || {
        format!("policy {owner} sends {count} for a decision that the platform has carried out")
    });
    let armed = record.is_some_and(|record| policy.armed_seq.is_some_and(|seq| seq > record.seq));
    findings.check(at_ms, Invariant::RecordedBeforeWrite, armed, || match record {
        None => format!(
            "policy {owner} sends {count} and its last record is {:?}",
            policy.record
        ),
        Some(_) => format!("policy {owner} sends {count} and did not save that before"),
    });
}

fn conflicting(state: &State, findings: &mut Findings, at_ms: Millis, pool: PoolId) {
    let Some((owner, rules, policy)) = state.owner(pool) else {
        return;
    };
    let Some(&last_ms) = policy.strange.back() else {
        return;
    };
    // Timers of a restarted process are as good as the clock it was moved by: a tick's worth is let go.
    let fought_over = policy.conflict_until_ms - at_ms > rules.interval_ms && at_ms - last_ms < FOREIGN_MS;
    findings.check(at_ms, Invariant::Conflicting, !fought_over, || {
        format!(
            "policy {owner} resizes a pool that others changed at {:?}",
            policy.strange
        )
    });
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
    bounds(state, findings, at_ms, arrived, truth);
    let Arrived { pool, from, to, .. } = *arrived;
    if arrived.etag_current {
        findings.check(at_ms, Invariant::Autoscaler, !arrived.autoscaler, || {
            format!("pool {pool} was read with its autoscaler on, and resized to {to}")
        });
    }
    if arrived.answer != "accepted" {
        return;
    }
    findings.check(at_ms, Invariant::IfMatch, arrived.etag_current, || {
        format!("the platform took {from} -> {to} of pool {pool} from a stale read")
    });
    findings.check(at_ms, Invariant::OneInFlight, !arrived.ours_running, || {
        format!("two operations of ours run in pool {pool}")
    });
    answered(state, findings, at_ms, arrived, sent, truth);
}

/// The count that an accepted resize changes is the one that its decision saw, and what was done since for the same
/// decision.
fn answered(
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
    let others = rules.pools.iter().filter(|&&pool| pool != arrived.pool);
    // A fence guards one pool: what others did to the other pools of a group nobody could know, and what they did
    // while the pools were read may or may not have been seen.
    if others.clone().any(|&pool| unseen(state, pool, &record, rules)) {
        return;
    }
    let elsewhere: u32 = others.map(|&pool| truth.count(pool)).sum();
    let before = i64::from(elsewhere) + i64::from(arrived.from);
    let since = policy.own.iter().rev().take_while(|own| own.seq > record.seq);
    let done: i64 = if rules.is_group() {
        since.map(|own| own.delta).sum()
    } else {
        0
    };
    let holds = before == i64::from(record.from) + done;
    let foreign = state.pools[arrived.pool].disturbed_seq > record.seq;
    findings.check(at_ms, Invariant::NeverRepeated, holds || foreign, || {
        format!(
            "policy {owner} decided {} -> {} and changed {before} by it",
            record.from, record.to
        )
    });
    if !policy.strange.is_empty() || foreign {
        findings.check(at_ms, Invariant::ForeignAdopted, holds, || {
            format!(
                "policy {owner} decided {} -> {} before others made it {before}",
                record.from, record.to
            )
        });
    }
}

/// Whether somebody else may have written a pool without its count showing that when it was read for a decision.
fn unseen(state: &State, pool: PoolId, record: &Record, rules: &Rules) -> bool {
    let disturbed = &state.pools[pool];
    let hidden_ms = rules.call_ms.saturating_add(SHOWN_LATE_MS);
    disturbed.disturbed_seq > record.seq || disturbed.disturbed_ms.saturating_add(hidden_ms) > record.at_ms
}

fn bounds(state: &State, findings: &mut Findings, at_ms: Millis, arrived: &Arrived, truth: &dyn Truth) {
    let Some((owner, rules, policy)) = state.owner(arrived.pool) else {
        return;
    };
    let others = rules.pools.iter().filter(|&&pool| pool != arrived.pool);
    // The others' writes into another pool of a group are seen at the next tick.
    let known = others.clone().all(|&pool| {
        let record = policy.record.as_ref();
        record.map_or(state.pools[pool].disturbed_seq == 0, |record| {
            !unseen(state, pool, record, rules)
        })
    });
    let elsewhere: u32 = others.map(|&pool| truth.count(pool)).filter(|_| known).sum();
    let after = arrived.to + elsewhere;
    let grows = arrived.to > arrived.from;
    let holds = if grows {
        after <= rules.max && arrived.to <= rules.pool_max
    } else {
        after >= rules.min || !known
    };
    findings.check(at_ms, Invariant::Bounds, holds, || {
        format!(
            "policy {owner} asks for {after} nodes ({} -> {} in pool {}); it may have {} to {}, a pool {}",
            arrived.from, arrived.to, arrived.pool, rules.min, rules.max, rules.pool_max
        )
    });
}
