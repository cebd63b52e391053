//! Which pool of a group a decision is for, and by how many nodes.
//!
//! A target and its fallback pools are one group with one size. Growth is the target's, and goes on to a fallback pool when
//! the platform has nothing there; the last fallback pool gives first. A pool that cannot be written now keeps no other
//! from being asked.

use crate::policy::evaluation::Evaluation;
use crate::policy::observation::Now;

use super::ports::{Lever, Pool, PoolAutoscaler, PoolState};
use super::session::{Session, Track};

/// A resize of one pool of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resize {
    /// The pool's place in the group.
    pub(super) index: usize,
    pub(super) from: u32,
    pub(super) to: u32,
}

/// Refusals after which the same growth may be asked of the next pool, whichever pool gave them: there is no capacity.
const NO_CAPACITY: [&str; 3] = ["quota", "allocation", "sku"];

/// Refusals that say something of one pool alone. For the target they are no reason to go elsewhere: they pass.
const THIS_POOL_ALONE: [&str; 10] = [
    "AdministratorLimit",
    "Conflicting",
    "ConflictingAutoscaler",
    "PoolBusy",
    "PoolStopped",
    "auth",
    "bad_request",
    "busy",
    "gone",
    "throttled",
];

/// What a decision means for the pools of the group, of which none may have more than `most` nodes.
pub(super) fn plan(session: &Session, evaluation: &Evaluation, most: u32, now: Now) -> Option<Resize> {
    let decision = &evaluation.decision;
    if decision.to > decision.from {
        let target = session.pools.first()?;
        let from = target.count?;
        let to = from.saturating_add(decision.to - decision.from);
        return target.may_be_asked(now).then_some(Resize { index: 0, from, to });
    }
    if decision.to < decision.from {
        return shrink(session, decision.from - decision.to, now);
    }
    let growth = Growth {
        nodes: decision.placeable,
        most,
        now,
    };
    let pools = || growth.on_fallbacks(session, 0);
    pools()
        .find(|resize| is_writable(session, resize.index))
        // One that cannot be written is asked all the same where there is no other, so that it is said why.
        .or_else(|| pools().next())
}

/// Who is asked for a growth that was refused, in the same turn.
pub(super) fn after_refusal(
    session: &Session,
    refused: Resize,
    word: &str,
    most: u32,
    now: Now,
) -> Option<Resize> {
    let goes_on = NO_CAPACITY.contains(&word) || refused.index > 0 && THIS_POOL_ALONE.contains(&word);
    let growth = Growth {
        nodes: refused.to.saturating_sub(refused.from),
        most,
        now,
    };
    let mut pools = growth.on_fallbacks(session, refused.index);
    pools.find(|resize| goes_on && is_writable(session, resize.index))
}

/// The last fallback pool that has nodes gives first: the target is what the policy is about.
fn shrink(session: &Session, fewer: u32, now: Now) -> Option<Resize> {
    let pools = || {
        let pools = session.pools.iter().enumerate().rev();
        pools
            .filter(|(_, track)| track.may_be_asked(now))
            .filter_map(|(index, track)| Some((index, track.count?)))
            .filter(|&(_, count)| count > 0)
    };
    let (index, from) = pools()
        .find(|&(index, _)| is_writable(session, index))
        .or_else(|| pools().next())?;
    Some(Resize {
        index,
        from,
        to: from.saturating_sub(fewer),
    })
}

/// Growth for a fallback pool.
#[derive(Clone, Copy)]
struct Growth {
    nodes: u32,
    most: u32,
    now: Now,
}

impl Growth {
    /// The fallback pools behind `after` that have room, in order. Nodes that were asked for and do not show in a count yet would be asked for twice, so all of them have to show.
    fn on_fallbacks(self, session: &Session, after: usize) -> impl Iterator<Item = Resize> {
        let shows = |track: &Track| {
            let flight = track.in_flight.as_ref();
            flight.is_none_or(|flight| track.count == Some(flight.to))
        };
        let all_show = session.pools.split_first().is_some_and(|(target, fallbacks)| {
            shows(target) && fallbacks.iter().all(|track| track.in_flight.is_none())
        });
        let pools = session.pools.iter().enumerate().skip(after + 1);
        pools
            .filter(move |(_, track)| all_show && track.may_grow(self.now))
            .filter_map(|(index, track)| Some((index, track.count?)))
            .filter_map(move |(index, from)| {
                let nodes = self.nodes.min(affordable(session, index));
                let nodes = nodes.min(self.most.saturating_sub(from));
                let to = from.saturating_add(nodes);
                (nodes > 0).then_some(Resize { index, from, to })
            })
    }
}

/// Whether the pool, as it was seen last, takes a resize at all.
fn is_writable(session: &Session, index: usize) -> bool {
    let takes = |pool: &Pool| {
        let ours = session.policy.lever == Lever::Least || pool.autoscaler == PoolAutoscaler::Off;
        ours && matches!(pool.state, PoolState::Steady | PoolState::Failed)
    };
    let pool = session.pools.get(index).and_then(|track| track.last.as_ref());
    pool.is_some_and(takes)
}

/// Nodes of the pool at `index` that the budget still pays for, at the prices of all pools that have nodes. The engine
/// knows one price; a fallback pool may be dearer. An unknown price pays for nothing.
fn affordable(session: &Session, index: usize) -> u32 {
    let Some(budget) = session.policy.config.budget_micro_usd_per_hour else {
        return u32::MAX;
    };
    let price = |track: &Track| track.last.as_ref().and_then(|pool| pool.node_price);
    let mut left = budget;
    for track in session.pools.iter().filter(|track| track.count != Some(0)) {
        let (Some(count), Some(price)) = (track.count, price(track)) else {
            return 0;
        };
        left = left.saturating_sub(price.saturating_mul(i64::from(count)));
    }
    match session.pools.get(index).and_then(price) {
        Some(price) if price > 0 => u32::try_from(left.max(0) / price).unwrap_or(u32::MAX),
        Some(_) => u32::MAX,
        None => 0,
    }
}
