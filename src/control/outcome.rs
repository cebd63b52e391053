//! What became of the resizes on their way, and what the pools' counts are now.

use crate::policy::config::Millis;
use crate::policy::observation::Now;

use super::flight::{self, Settled};
use super::ports::{Lever, Pool, PoolError, PoolErrorKind, Ports, Progress};
use super::session::{Failed, Session, Touched};
use super::tick::{PoolSight, Sight, tell};
use super::{Shared, Watch};

/// How long after a failed resize of ours a count that goes back is taken for its doing.
const TAKEN_BACK_MS: Millis = 10 * 60_000;

/// How long the owner of a pool is left alone after a refusal that a person has to mend, and after several of any kind.
const MEND_MS: Millis = 60_000;

/// Refusals in a row that are tried again at the next tick.
const PATIENT_REFUSALS: u32 = 3;

/// The longest wait after refusals in a row.
const LONGEST_WAIT_MS: Millis = 5 * 60_000;

/// Settles resizes that are on their way, and takes note of what the pools' counts are now. Says whether one is over, so that
/// the state is to be saved.
pub(super) fn settle<P: Ports, W: Watch>(
    shared: &Shared<P, W>,
    session: &mut Session,
    sight: &Sight,
    now: Now,
) -> bool {
    let mut over = false;
    for (index, seen) in sight.pools.iter().enumerate() {
        let pool = seen.pool.as_ref().ok();
        over |= settle_one(shared, session, index, seen.progress.as_ref(), pool, now);
    }
    let before = session.memory.asked;
    let taken_back = sight
        .pools
        .iter()
        .enumerate()
        .filter(|(index, seen)| note_count(session, *index, seen, now))
        .count();
    let follows = session.policy.lever == Lever::Least && before != Some(session.asked());
    let ours = session.memory.intent.map(|intent| intent.to) == Some(session.asked());
    if before.is_some() && (taken_back > 0 || follows && !ours) {
        session.memory.taken_back(session.asked());
        session.touched = Touched::Yes;
    }
    over
}

/// Settles the resize of one pool; says whether it is over.
fn settle_one<P: Ports, W: Watch>(
    shared: &Shared<P, W>,
    session: &mut Session,
    index: usize,
    progress: Option<&Result<Progress, PoolError>>,
    pool: Option<&Pool>,
    now: Now,
) -> bool {
    let Some(track) = session.pools.get_mut(index) else {
        return false;
    };
    let Some(mut flight) = track.in_flight.take() else {
        return false;
    };
    let settled = flight::settle(&mut flight, progress, pool, now);
    let (what, message) = match &settled {
        Settled::Running => {
            track.in_flight = Some(flight);
            return false;
        }
        Settled::Succeeded => {
            track.refusals = 0;
            ("succeeded", String::new())
        }
        Settled::Superseded => ("superseded", String::new()),
        Settled::NeverArrived => ("never arrived", String::new()),
        Settled::Failed(error) => (error.kind.as_str(), error.to_string()),
    };
    let (from, to) = (flight.from, flight.to);
    match &settled {
        Settled::NeverArrived => {
            session.memory.not_sent();
            session.touched = Touched::Yes;
        }
        Settled::Failed(error) => {
            let failed = Failed {
                nodes: flight.to.saturating_sub(flight.from),
                no_capacity: flight.lever == Lever::Count && matches!(error.kind, PoolErrorKind::Capacity(_)),
                until_ms: now.timer_ms.saturating_add(TAKEN_BACK_MS),
                flight,
            };
            if failed.no_capacity && track.count == Some(failed.flight.to) {
                track.arrivals.refused(failed.nodes);
            }
            track.failed = Some(failed);
            refused(session, index, error, now);
        }
        _ => {}
    }
    tell(shared, session, index, (from, to), (what, &message), now);
    true
}

/// Takes note of a refusal, whenever it came.
pub(super) fn refused(session: &mut Session, index: usize, error: &PoolError, now: Now) {
    let Some(track) = session.pools.get_mut(index) else {
        return;
    };
    let wait = |ms: Millis| now.timer_ms.saturating_add(ms.clamp(0, TAKEN_BACK_MS));
    track.refusals = track.refusals.saturating_add(1);
    if let Some(doublings) = track.refusals.checked_sub(PATIENT_REFUSALS) {
        // One minute, two, four, five: within what AKS grants for ever.
        track.not_before_ms = wait((MEND_MS << doublings.min(3)).min(LONGEST_WAIT_MS));
    }
    match error.kind {
        PoolErrorKind::Capacity(failure) if index == 0 => {
            session.memory.no_capacity(failure, now);
            session.touched = Touched::Yes;
        }
        PoolErrorKind::Capacity(failure) => {
            track.capacity = Some((failure, now.timer_ms.saturating_add(failure.backoff_ms())));
        }
        PoolErrorKind::Throttled(ms) => track.not_before_ms = track.not_before_ms.max(wait(ms)),
        PoolErrorKind::Auth | PoolErrorKind::BadRequest | PoolErrorKind::Gone => {
            track.not_before_ms = track.not_before_ms.max(wait(MEND_MS));
        }
        _ => {}
    }
}

/// Takes note of a pool's count; says whether the platform took it back after a failure of ours.
fn note_count(session: &mut Session, index: usize, seen: &PoolSight, now: Now) -> bool {
    let Some(track) = session.pools.get_mut(index) else {
        return false;
    };
    let count = match &seen.pool {
        Ok(pool) => {
            (track.last, track.gone) = (Some(pool.clone()), 0);
            pool.count
        }
        // A fallback pool that is no more has no nodes. That it is no more has to be said more than once: nodes that are
        // not counted make room for others.
        Err(error) if error.kind == PoolErrorKind::Gone && index > 0 => {
            track.gone = track.gone.saturating_add(1);
            if !track.is_gone() {
                return false;
            }
            track.last = None;
            0
        }
        Err(_) => return false,
    };
    track.failed.take_if(|failed| failed.until_ms <= now.timer_ms);
    let Some(before) = track.count.replace(count) else {
        return false;
    };
    if before == count {
        return false;
    }
    track.arrivals.asked_changed(before, count, now.timer_ms);
    let Some(failed) = &track.failed else { return false };
    let (from, to) = (failed.flight.from, failed.flight.to);
    if failed.no_capacity && (before, count) == (from, to) {
        track.arrivals.refused(failed.nodes);
    }
    before == to && (from..to).contains(&count)
}
