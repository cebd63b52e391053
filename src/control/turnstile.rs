//! One submission at a time per cluster, growth first.
//!
//! A managed cluster takes one change at a time in the worst case, and answers a second one with `OperationNotAllowed`.
//! The turnstile covers the submission, from the last look at the pool to the answer; the operations that follow
//! overlap across pools. Growth goes before shrinking, since work waits for it and money can wait; among equals
//! whoever has wanted to change for longest goes first, whatever the order in which the ticks came by.
//!
//! A stream of growths could hold shrinking up for as long as it lasts. That is meant: a policy that is
//! held up decides anew at its next tick.

use crate::policy::config::Millis;

use super::gate::{Enter, Gate, Place};
use super::ports::PolicyKey;

/// The turnstile of one cluster. A clone is the same turnstile.
#[derive(Debug, Clone)]
pub struct Turnstile {
    gate: Gate<Priority>,
}

/// Who goes first: the fields in their order, the lesser before the greater.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Priority {
    /// Growth before shrinking.
    pub direction: Direction,
    /// Timer since which the policy has wanted to change.
    pub since_ms: Millis,
    /// Decides between two that have wanted it for as long, so that a run can be repeated.
    pub policy: PolicyKey,
}

/// Which way a pool is to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// More nodes.
    Growth,
    /// Fewer nodes.
    Shrink,
}

impl Direction {
    /// The way from one count to another.
    #[must_use]
    pub fn of(from: u32, to: u32) -> Self {
        if to > from { Self::Growth } else { Self::Shrink }
    }
}

/// The turn of one policy, over when it is dropped.
pub type Turn = Place<Priority>;

impl Turnstile {
    /// A turnstile that nobody has passed.
    #[must_use]
    pub fn new() -> Self {
        Self { gate: Gate::new(1) }
    }

    /// Waits for the turn. Whoever drops the future has left the line.
    pub fn acquire(&self, priority: Priority) -> Enter<Priority> {
        self.gate.enter(priority)
    }

    /// How many wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.gate.waiting()
    }
}

impl Default for Turnstile {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn priority(direction: Direction, since_ms: Millis, policy: &str) -> Priority {
        Priority {
            direction,
            since_ms,
            policy: PolicyKey::new("default", policy),
        }
    }

    /// The order in which those who wait behind a holder get their turn.
    fn order(mut line: Vec<Priority>) -> Vec<String> {
        let turnstile = Turnstile::new();
        let mut turn = turnstile
            .acquire(priority(Direction::Shrink, 0, "holder"))
            .now_or_never();
        assert!(turn.is_some());
        let mut waiting: Vec<(String, Enter<Priority>)> = line
            .drain(..)
            .map(|priority| (priority.policy.name.to_string(), turnstile.acquire(priority)))
            .collect();
        for (_, enter) in &mut waiting {
            assert!(enter.now_or_never().is_none());
        }
        let mut order = Vec::new();
        while !waiting.is_empty() {
            drop(turn.take());
            let next = waiting.iter_mut().position(|(_, enter)| {
                turn = enter.now_or_never();
                turn.is_some()
            });
            order.push(waiting.remove(next.unwrap()).0);
        }
        order
    }

    #[test]
    fn growth_goes_first_then_who_has_wanted_longest_then_the_name() {
        use Direction::{Growth, Shrink};
        let came = order(vec![
            priority(Shrink, 10, "old-shrink"),
            priority(Shrink, 90, "new-shrink"),
            priority(Growth, 80, "new-growth-b"),
            priority(Growth, 80, "new-growth-a"),
            priority(Growth, 20, "old-growth"),
        ]);
        assert_eq!(
            came,
            [
                "old-growth",
                "new-growth-a",
                "new-growth-b",
                "old-shrink",
                "new-shrink"
            ]
        );
    }

    #[test]
    fn two_submissions_of_one_policy_keep_the_order_of_their_arrival() {
        let same = priority(Direction::Growth, 1, "twice");
        assert_eq!(order(vec![same.clone(), same]), ["twice", "twice"]);
    }

    #[test]
    fn one_that_gives_up_its_wait_or_its_turn_lets_the_next_pass() {
        let turnstile = Turnstile::new();
        let holder = turnstile
            .acquire(priority(Direction::Growth, 1, "holder"))
            .now_or_never();
        let mut gone = turnstile.acquire(priority(Direction::Growth, 2, "gone"));
        let mut next = turnstile.acquire(priority(Direction::Shrink, 3, "next"));
        assert!((&mut gone).now_or_never().is_none() && (&mut next).now_or_never().is_none());
        drop(gone);
        assert_eq!(turnstile.waiting(), 1);
        drop(holder);
        let turn = (&mut next).now_or_never();
        assert!(turn.is_some() && turnstile.waiting() == 0);
        drop(turn);
        assert!(
            turnstile
                .acquire(priority(Direction::Shrink, 4, "after"))
                .now_or_never()
                .is_some()
        );
    }

    #[test]
    fn a_count_that_stays_is_no_growth() {
        assert_eq!(Direction::of(3, 4), Direction::Growth);
        assert_eq!(Direction::of(3, 2), Direction::Shrink);
        assert_eq!(Direction::of(3, 3), Direction::Shrink);
    }
}
