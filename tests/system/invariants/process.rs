//! The process and its policies: brakes, removal, isolation, an orderly end.

use gpuscale::policy::config::Millis;

use super::super::event::{Event, PolicyId, PoolId};
use super::state::State;
use super::{AT_ONCE_MS, Findings, Invariant};

/// A resize leaves the controller. The last look is after the last wait, so there is no time in which it may.
pub fn sent(state: &State, findings: &mut Findings, at_ms: Millis, pool: PoolId) {
    if let Some(since_ms) = state.frozen_ms {
        findings.check(at_ms, Invariant::Frozen, at_ms == since_ms, || {
            format!("pool {pool} is resized, and everything has been frozen since {since_ms}")
        });
    }
    let Some((owner, _, policy)) = state.owner(pool) else {
        return;
    };
    if let Some(since_ms) = policy.absent_since_ms {
        findings.check(at_ms, Invariant::Deleted, at_ms == since_ms, || {
            format!("pool {pool} is resized, and policy {owner} has been gone since {since_ms}")
        });
    }
    if let (Some(asked_ms), Some(record)) = (state.stopping_ms, policy.record) {
        let holds = record.at_ms <= asked_ms;
        findings.check(at_ms, Invariant::Shutdown, holds, || {
            format!(
                "policy {owner} decided at {} though it was to end at {asked_ms}",
                record.at_ms
            )
        });
    }
}

/// The brake is let go: a decision that it met on its way never left.
pub fn thawed(state: &State, findings: &mut Findings, at_ms: Millis) {
    let Some(since_ms) = state.frozen_ms else {
        return;
    };
    for (number, policy) in state
        .policies
        .iter()
        .enumerate()
        .filter(|(_, policy)| policy.met_freeze)
    {
        findings.check(at_ms, Invariant::Frozen, policy.sent_ms <= since_ms, || {
            format!(
                "policy {number} was frozen at {since_ms} and sent a resize at {}",
                policy.sent_ms
            )
        });
    }
}

/// A policy comes back: a decision that its removal met on its way never left.
pub fn came_back(state: &State, findings: &mut Findings, at_ms: Millis, number: PolicyId) {
    let policy = &state.policies[number];
    if let Some(since_ms) = policy.absent_since_ms.filter(|_| policy.met_removal) {
        findings.check(at_ms, Invariant::Deleted, policy.sent_ms <= since_ms, || {
            format!(
                "policy {number} was removed at {since_ms} and sent a resize at {}",
                policy.sent_ms
            )
        });
    }
}

/// A policy was evaluated or reported.
pub fn ticked(state: &State, findings: &mut Findings, at_ms: Millis, policy: PolicyId) {
    heard(state, findings, at_ms, policy);
}

/// The process ended.
pub fn ended(state: &State, findings: &mut Findings, at_ms: Millis, event: &Event) {
    if !state.up {
        return;
    }
    if let (Some(asked_ms), Event::Stopped) = (state.stopping_ms, event) {
        in_grace(state, findings, at_ms, asked_ms);
    }
    (0..state.policies.len()).for_each(|policy| heard(state, findings, at_ms, policy));
}

/// The run is over.
pub fn end(state: &State, findings: &mut Findings, at_ms: Millis) {
    if !state.up {
        return;
    }
    if let Some(asked_ms) = state.stopping_ms {
        in_grace(state, findings, at_ms, asked_ms);
    }
    (0..state.policies.len()).for_each(|policy| heard(state, findings, at_ms, policy));
}

fn in_grace(state: &State, findings: &mut Findings, at_ms: Millis, asked_ms: Millis) {
    let grace_ms = state.rules.first().map_or(0, |rules| rules.grace_ms);
    findings.check(
        at_ms,
        Invariant::Shutdown,
        at_ms - asked_ms <= grace_ms + AT_ONCE_MS,
        || format!("asked to end at {asked_ms}, and it took longer than {grace_ms} ms"),
    );
}

/// The first word after a start takes longer: the state is loaded, and ticks are spread over an interval.
fn heard(state: &State, findings: &mut Findings, at_ms: Millis, policy: PolicyId) {
    let known = &state.policies[policy];
    let Some((last_ms, first)) = known.heard else {
        return;
    };
    // The last tick of a policy that was taken away may end after its removal.
    if !state.up || state.stopping_ms.is_some() || known.absent_since_ms.is_some() {
        return;
    }
    let rules = &state.rules[policy];
    let usual_ms = rules.interval_ms + rules.tick_ms + 5 * AT_ONCE_MS;
    let most_ms = if first {
        usual_ms + rules.interval_ms + rules.call_ms
    } else {
        usual_ms
    };
    findings.check(at_ms, Invariant::Isolation, at_ms - last_ms <= most_ms, || {
        format!("nothing was heard of policy {policy} from {last_ms} on")
    });
}
