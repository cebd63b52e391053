//! The cloud's side of the loop, the same for every world: the pool's count, what a request brings, and when.
//!
//! The *count* is what was asked for and accepted. What exists may be less: a request that was filled in
//! part, a node that died. Nothing brings such a node back, but a smaller count takes those that exist only
//! on paper first.

use std::cmp::Ordering;

use crate::policy::config::Millis;
use crate::policy::observation::Failure;
use crate::simulator::boot::Boots;
use crate::simulator::fault::{Active, Grant, Timeline};

use super::Setup;

/// The cloud and its faults.
#[derive(Debug)]
pub(in crate::simulator) struct Platform<'a> {
    timeline: Timeline<'a>,
    boots: Boots,
    count: u32,
    failure: Option<Failure>,
}

/// What a change of the count does to the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::simulator) enum Change {
    /// Nothing.
    None,
    /// So many nodes start to boot.
    Boot(u32),
    /// So many existing nodes go.
    Go(u32),
}

impl<'a> Platform<'a> {
    pub(in crate::simulator) fn new(setup: &Setup<'a>, count: u32) -> Self {
        Self {
            timeline: Timeline::new(setup.faults, setup.demand.start_ms()),
            boots: Boots::new(setup.boot, setup.seed),
            count,
            failure: None,
        }
    }

    /// The pool's count: nodes asked for.
    pub(in crate::simulator) fn count(&self) -> u32 {
        self.count
    }

    /// What is wrong at the moment.
    pub(in crate::simulator) fn active(&self) -> &Active {
        self.timeline.active()
    }

    /// Moves time to `now_ms` and returns how many Ready nodes vanish now.
    #[inline]
    pub(in crate::simulator) fn advance(&mut self, now_ms: Millis) -> u32 {
        self.timeline.advance(now_ms)
    }

    /// How the last resize failed, told once.
    pub(in crate::simulator) fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }

    /// Asks for `to` nodes, of which `existing` are there or booting.
    #[inline]
    pub(in crate::simulator) fn resize(&mut self, to: u32, existing: u32) -> Change {
        match to.cmp(&self.count) {
            Ordering::Equal => Change::None,
            Ordering::Less => {
                self.count = to;
                Change::Go(existing.saturating_sub(to))
            }
            Ordering::Greater => self.grow(to),
        }
    }

    fn grow(&mut self, to: u32) -> Change {
        let wanted = to - self.count;
        match self.active().grant(wanted) {
            Grant::Whole => {
                self.count = to;
                Change::Boot(wanted)
            }
            Grant::Part(granted, failure) => {
                (self.count, self.failure) = (to, Some(failure));
                Change::Boot(granted)
            }
            Grant::Refused(failure) => {
                self.failure = Some(failure);
                Change::None
            }
        }
    }

    /// The delay of every node, if it is no matter of chance.
    pub(in crate::simulator) fn constant_boot(&self) -> Option<Millis> {
        self.boots.constant()
    }

    /// The boot delay of the next node.
    pub(in crate::simulator) fn next_boot_ms(&mut self) -> Millis {
        self.boots.next_ms()
    }
}
