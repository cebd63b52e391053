//! Resizes on their way: what became of one, from what its operation and its pool show.
//!
//! An answer that never came is the hard case. The request may have been lost, may have been carried out, or may
//! still be on its way. It is never sent again on a guess: the pool is read until it tells. Its etag is what tells,
//! and what makes a late request harmless: a pool that has changed since refuses it.

use crate::policy::config::Millis;
use crate::policy::observation::Now;

use super::ports::{Pool, PoolError, PoolErrorKind, PoolState, Progress};
use super::state::{InFlight, Phase};

/// How long a request without an answer may still be on its way. Longer than any call may take.
pub(super) const LATE_MS: Millis = 60_000;

/// When to ask for progress where the owner does not say.
pub(super) const ASK_AGAIN_MS: Millis = 15_000;

/// The longest that an owner may tell us to wait: a hold has to end.
const LONGEST_WAIT_MS: Millis = 5 * 60_000;

/// How long an operation may go on saying that it runs while its pool says that nothing is being done to it, and how
/// long a pool may go on being shown as it was before a request that was accepted.
const LOST_OPERATION_MS: Millis = 10 * 60_000;

/// What became of a resize.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Settled {
    /// It is on its way, or nobody knows yet.
    Running,
    /// It is over and did what was asked.
    Succeeded,
    /// It is over and failed.
    Failed(PoolError),
    /// Something else took its place.
    Superseded,
    /// It never reached the pool, and can change nothing there any more.
    NeverArrived,
}

/// Looks at a resize again. `progress` is the answer about its operation if that was asked for, `pool` the pool if it
/// could be read, later than `progress`.
pub(super) fn settle(
    flight: &mut InFlight,
    progress: Option<&Result<Progress, PoolError>>,
    pool: Option<&Pool>,
    now: Now,
) -> Settled {
    if flight.phase == Phase::Sent {
        match arrived(flight, pool, now) {
            Arrival::Unknown => return Settled::Running,
            Arrival::Never => return Settled::NeverArrived,
            Arrival::Happened => {
                flight.phase = Phase::Accepted {
                    operation: None,
                    ask_at_ms: now.timer_ms,
                };
            }
        }
    }
    if let Some(over) = progress.and_then(|progress| note(flight, progress, now)) {
        return over;
    }
    pool.map_or(Settled::Running, |pool| by_pool(flight, pool, now))
}

enum Arrival {
    Unknown,
    Happened,
    Never,
}

fn arrived(flight: &InFlight, pool: Option<&Pool>, now: Now) -> Arrival {
    let Some(pool) = pool else {
        return Arrival::Unknown;
    };
    let late = now.timer_ms.saturating_sub(flight.sent_ms) >= LATE_MS;
    let unchanged = pool.etag == flight.etag;
    match pool.state {
        _ if !unchanged && pool.stands_at(flight.lever) == Some(flight.to) => Arrival::Happened,
        // Something is being done to it that may be ours.
        PoolState::Busy if !unchanged => Arrival::Unknown,
        _ if late => Arrival::Never,
        _ => Arrival::Unknown,
    }
}

/// Notes what the operation says of itself.
fn note(flight: &mut InFlight, progress: &Result<Progress, PoolError>, now: Now) -> Option<Settled> {
    let Phase::Accepted { operation, ask_at_ms } = &mut flight.phase else {
        return None;
    };
    let wait = |ms: Option<Millis>| {
        let ms = ms.unwrap_or(ASK_AGAIN_MS).clamp(0, LONGEST_WAIT_MS);
        now.timer_ms.saturating_add(ms)
    };
    match progress {
        Ok(Progress::Succeeded) => return Some(Settled::Succeeded),
        Ok(Progress::Failed(error)) => return Some(Settled::Failed(error.clone())),
        Ok(Progress::Cancelled) => return Some(Settled::Superseded),
        Ok(Progress::Running(retry_after_ms)) => *ask_at_ms = wait(*retry_after_ms),
        Err(error) => match error.kind {
            // Nobody knows it any more; the pool has to tell.
            PoolErrorKind::Gone => *operation = None,
            // Some operations end in the answer's own status.
            PoolErrorKind::Capacity(_) => return Some(Settled::Failed(error.clone())),
            PoolErrorKind::Throttled(ms) => *ask_at_ms = wait(Some(ms)),
            _ => *ask_at_ms = wait(None),
        },
    }
    None
}

/// The pool is the second witness, for operations that are lost or never end.
fn by_pool(flight: &InFlight, pool: &Pool, now: Now) -> Settled {
    let known = matches!(
        &flight.phase,
        Phase::Accepted {
            operation: Some(_),
            ..
        }
    );
    // The request was accepted, so a pool that shows the etag of before is one that was read too late.
    let stale = pool.etag == flight.etag;
    let believed = (known || stale) && now.timer_ms.saturating_sub(flight.sent_ms) < LOST_OPERATION_MS;
    match pool.state {
        PoolState::Busy => Settled::Running,
        _ if believed => Settled::Running,
        PoolState::Steady => Settled::Succeeded,
        PoolState::Stopped => Settled::Superseded,
        PoolState::Failed => Settled::Failed(pool.error.clone().unwrap_or_else(|| PoolError {
            kind: PoolErrorKind::Unavailable,
            code: "OperationLost".to_owned(),
            message: "the pool has failed, and nobody knows the operation that did it".to_owned(),
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ports::{Lever, PoolAutoscaler};
    use crate::policy::observation::Failure;

    use super::*;

    fn flight(phase: Phase) -> InFlight {
        InFlight {
            lever: Lever::Count,
            from: 2,
            to: 5,
            etag: "a".to_owned(),
            sent_ms: 1_000,
            phase,
        }
    }

    fn pool(count: u32, etag: &str, state: PoolState) -> Pool {
        Pool {
            count,
            etag: etag.to_owned(),
            state,
            autoscaler: PoolAutoscaler::Off,
            gpus_per_node: None,
            node_price: None,
            error: None,
        }
    }

    fn at(timer_ms: Millis) -> Now {
        Now { wall_ms: 0, timer_ms }
    }

    #[test]
    fn a_lost_answer_is_settled_by_the_pool_and_never_by_a_guess() {
        use PoolState::{Busy, Failed, Steady};
        let (soon, late) = (at(2_000), at(1_000 + LATE_MS));
        for (count, etag, state, now, wanted) in [
            (2, "a", Steady, soon, Settled::Running),
            (2, "a", Steady, late, Settled::NeverArrived),
            (2, "a", Busy, late, Settled::NeverArrived),
            (5, "b", Busy, soon, Settled::Running),
            (5, "b", Steady, soon, Settled::Succeeded),
            (2, "b", Busy, late, Settled::Running),
            (3, "b", Steady, soon, Settled::Running),
            (3, "b", Steady, late, Settled::NeverArrived),
            (2, "b", Failed, late, Settled::NeverArrived),
        ] {
            let mut flight = flight(Phase::Sent);
            let settled = settle(&mut flight, None, Some(&pool(count, etag, state)), now);
            assert_eq!(settled, wanted, "{count} {etag} {state:?} {}", now.timer_ms);
        }
        assert_eq!(
            settle(&mut flight(Phase::Sent), None, None, late),
            Settled::Running
        );
    }

    #[test]
    fn an_operation_that_nobody_knows_any_more_ends_with_its_pool() {
        let accepted = || {
            flight(Phase::Accepted {
                operation: Some("op".to_owned()),
                ask_at_ms: 0,
            })
        };
        let gone = Err(PoolError {
            kind: PoolErrorKind::Gone,
            code: String::new(),
            message: String::new(),
        });
        let busy = pool(5, "b", PoolState::Busy);
        let steady = pool(5, "c", PoolState::Steady);
        let mut lost = accepted();
        assert_eq!(
            settle(&mut lost, Some(&gone), Some(&busy), at(2_000)),
            Settled::Running
        );
        assert_eq!(
            settle(&mut lost, None, Some(&steady), at(3_000)),
            Settled::Succeeded
        );
        let running = Ok(Progress::Running(Some(1_000)));
        let mut endless = accepted();
        assert_eq!(
            settle(&mut endless, Some(&running), Some(&steady), at(2_000)),
            Settled::Running
        );
        let after = at(1_000 + LOST_OPERATION_MS);
        assert_eq!(
            settle(&mut endless, Some(&running), Some(&steady), after),
            Settled::Succeeded
        );
    }

    #[test]
    fn a_pool_that_is_shown_as_it_was_before_says_nothing_of_an_operation_that_nobody_knows() {
        let mut flight = flight(Phase::Accepted {
            operation: None,
            ask_at_ms: 0,
        });
        let (before, after) = (pool(2, "a", PoolState::Steady), pool(5, "c", PoolState::Steady));
        let mut settled = |pool: &Pool, timer_ms| settle(&mut flight, None, Some(pool), at(timer_ms));
        assert_eq!(settled(&before, 31_000), Settled::Running);
        assert_eq!(settled(&after, 91_000), Settled::Succeeded);
        assert_eq!(
            settled(&before, 1_000 + LOST_OPERATION_MS),
            Settled::Succeeded,
            "but not for ever"
        );
    }

    #[test]
    fn a_failure_has_its_class_whoever_tells_of_it() {
        let no_quota = PoolError {
            kind: PoolErrorKind::Capacity(Failure::QuotaLow),
            code: "QuotaExceeded".to_owned(),
            message: "12 of 12".to_owned(),
        };
        let accepted = |operation: Option<&str>| {
            flight(Phase::Accepted {
                operation: operation.map(str::to_owned),
                ask_at_ms: 0,
            })
        };
        let failed = Settled::Failed(no_quota.clone());
        let told = Err(no_quota.clone());
        let busy = pool(5, "b", PoolState::Busy);
        let by_answer = settle(&mut accepted(Some("op")), Some(&told), Some(&busy), at(2_000));
        assert_eq!(by_answer, failed, "the operation's own status");
        let pool = Pool {
            error: Some(no_quota),
            ..pool(5, "c", PoolState::Failed)
        };
        assert_eq!(settle(&mut accepted(None), None, Some(&pool), at(2_000)), failed);
        assert_eq!(
            settle(&mut flight(Phase::Sent), None, Some(&pool), at(2_000)),
            failed
        );
    }

    #[test]
    fn an_owner_cannot_tell_us_to_wait_for_ever() {
        let mut flight = flight(Phase::Accepted {
            operation: Some("op".to_owned()),
            ask_at_ms: 0,
        });
        let running = Ok(Progress::Running(Some(Millis::MAX)));
        settle(&mut flight, Some(&running), None, at(2_000));
        let Phase::Accepted { ask_at_ms, .. } = flight.phase else {
            panic!("it was accepted");
        };
        assert_eq!(ask_at_ms, 2_000 + LONGEST_WAIT_MS);
    }
}
