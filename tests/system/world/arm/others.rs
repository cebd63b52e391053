//! What others do to a pool: they write its count, upgrade it, stop it, or turn the cluster autoscaler on.

use gpuscale::control::ports::PoolAutoscaler;
use gpuscale::policy::config::Millis;

use crate::event::{Event, Left};

use super::chance::Draw;
use super::faults::{ArmFault, ArmFaultKind};
use super::operation::{Due, Pace};
use super::site::{Power, Site};
use super::{Machines, Notes};

/// How soon somebody who found the pool busy tries again.
const TRY_AGAIN_MS: Millis = 30_000;

/// What somebody does about an operation that runs already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// He waits until it is over.
    Patient,
    /// He has cancelled it.
    Ruthless,
}

/// Whether somebody wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrote {
    Yes,
    No,
}

impl Site {
    /// The cluster autoscaler takes the pool over, and after some minutes its count.
    pub fn autoscaler_on(&mut self, now_ms: Millis, by: i32, notes: &mut Notes) {
        let kind = ArmFaultKind::AutoscalerOn;
        let on = PoolAutoscaler::On {
            least: 0,
            most: 1_000,
        };
        self.autoscale(now_ms, on, notes);
        self.strike(now_ms, kind, notes);
        if by != 0 {
            let index = self.foreign_writes;
            let wait_ms = self.chance.between(Draw::Foreign, index, 60_000, 300_000);
            self.plan(now_ms + wait_ms, Due::Write(kind, by));
        }
    }

    /// Turns the cluster autoscaler on or off.
    pub fn autoscale(&mut self, now_ms: Millis, to: PoolAutoscaler, notes: &mut Notes) {
        self.autoscaler = to;
        self.changed();
        let on = to != PoolAutoscaler::Off;
        notes.push((now_ms, Event::Autoscaler { pool: self.id, on }));
    }

    /// Somebody's write that waits for this very moment: right after a read, right before a resize.
    pub fn interfere(&mut self, now_ms: Millis, kind: ArmFaultKind, notes: &mut Notes) {
        let Some(ArmFault::WriteAfterRead { by } | ArmFault::WriteBeforeResize { by }) =
            self.faults.get(kind)
        else {
            return;
        };
        if self.write(now_ms, kind, by, Manner::Patient, notes) == Wrote::Yes {
            self.faults.clear(kind);
        }
    }

    /// The write of somebody who tries until he may, or until his fault is off.
    pub fn write_or_wait(&mut self, now_ms: Millis, kind: ArmFaultKind, by: i32, notes: &mut Notes) {
        if !self.faults.has(kind) {
            return;
        }
        match self.write(now_ms, kind, by, Manner::Patient, notes) {
            Wrote::No => self.plan(now_ms + TRY_AGAIN_MS, Due::Write(kind, by)),
            Wrote::Yes if kind == ArmFaultKind::ForeignWrite => self.faults.clear(kind),
            Wrote::Yes => {}
        }
    }

    /// Somebody cancels the running operation by one of his own.
    pub fn overtake(&mut self, at_ms: Millis, by: i32, notes: &mut Notes) {
        let kind = ArmFaultKind::Overtaken;
        self.cancel(at_ms, notes);
        self.write(at_ms, kind, by, Manner::Ruthless, notes);
        self.faults.clear(kind);
    }

    /// Somebody changes the count `by` so many, or the other way if there is no room that way.
    fn write(
        &mut self,
        now_ms: Millis,
        kind: ArmFaultKind,
        by: i32,
        manner: Manner,
        notes: &mut Notes,
    ) -> Wrote {
        let refused = self.power == Power::Stopped
            || self.running.is_some()
            || (self.autoscaler != PoolAutoscaler::Off && kind != ArmFaultKind::AutoscalerOn);
        let (pool, from) = (self.id, self.count);
        let moved = |by: i32| from.saturating_add_signed(by).min(self.setup.largest);
        let to = Some(moved(by)).filter(|to| *to != from).unwrap_or(moved(-by));
        if refused || to == from {
            return Wrote::No;
        }
        self.foreign_writes += 1;
        let index = self.foreign_writes;
        let quick = manner == Manner::Patient && self.chance.strikes(Draw::Foreign, index, 40);
        self.strike(now_ms, kind, notes);
        notes.push((now_ms, Event::ForeignWrite { pool, from, to }));
        self.accept_foreign(now_ms, to, if quick { Pace::AtOnce } else { Pace::Operation });
        Wrote::Yes
    }

    /// Somebody upgrades the pool, as soon as nothing runs in it.
    pub fn upgrade<M: Machines>(&mut self, at_ms: Millis, ms: Millis, machines: &mut M, notes: &mut Notes) {
        let kind = ArmFaultKind::Upgrade;
        if !self.faults.has(kind) {
            return;
        }
        if self.running.is_some() || self.power == Power::Stopped {
            self.plan(at_ms + TRY_AGAIN_MS, Due::Upgrade(ms));
            return;
        }
        self.strike(at_ms, kind, notes);
        if self.count > 0 {
            self.surge = 1;
            self.boot(at_ms, machines);
        }
        self.begin_upgrade(at_ms, ms);
    }

    /// The node too many leaves: not the new one, nor the one that has least to do.
    pub fn end_upgrade<M: Machines>(&mut self, at_ms: Millis, machines: &mut M, notes: &mut Notes) {
        self.surge = 0;
        self.faults.clear(ArmFaultKind::Upgrade);
        if machines.present() > self.count {
            let salt = self.chance.draw(Draw::Foreign, self.boots);
            let taken = machines.evict(at_ms, 1, salt);
            self.left(at_ms, taken, Left::Foreign, notes);
            if taken.nodes == 0 {
                // None is up yet, the one too many neither.
                machines.remove_booting(at_ms, 1);
            }
        }
    }

    /// Somebody stops the pool, whatever runs in it.
    pub fn stop<M: Machines>(&mut self, at_ms: Millis, machines: &mut M, notes: &mut Notes) {
        self.cancel(at_ms, notes);
        self.strike(at_ms, ArmFaultKind::Stopped, notes);
        self.power = Power::Stopped;
        self.surge = 0;
        self.changed();
        let taken = machines.remove_busiest(at_ms, machines.present());
        self.left(at_ms, taken, Left::Foreign, notes);
    }

    /// Somebody starts it again.
    pub fn start(&mut self, at_ms: Millis) {
        self.power = Power::On;
        self.bring_back(at_ms);
    }
}
