//! One pool as the platform keeps it: what it shows, what it refuses, which faults are on, what is on its agenda.
//!
//! What becomes of an operation once it was accepted is in `work`, what others do to the pool in `others`. Nothing
//! here touches a machine.

use std::fmt::Write as _;

use gpuscale::control::ports::{Pool, PoolAutoscaler, PoolState};
use gpuscale::policy::config::Millis;
use gpuscale::policy::observation::Failure;

use crate::event::{Arrived, Event, PoolId};

use super::chance::Chance;
use super::door::{Door, Refusal, Refused};
use super::faults::{ArmFault, ArmFaultKind, Faults, LateView};
use super::operation::{Due, Operation, Record, Whose};
use super::{First, Notes, Platform, PoolSetup};

/// More nodes than any pool may have.
const MOST_NODES: u32 = 1000;

/// One pool.
#[derive(Debug)]
pub struct Site {
    pub id: PoolId,
    pub faults: Faults,
    pub door: Door,
    pub chance: Chance,
    pub(super) platform: Platform,
    pub(super) setup: PoolSetup,
    pub(super) count: u32,
    pub(super) resting: Resting,
    pub(super) power: Power,
    pub(super) running: Option<Operation>,
    /// Nodes that an upgrade put in besides those of the count.
    pub(super) surge: u32,
    /// The operations there were, by number.
    pub(super) records: Vec<Record>,
    pub(super) boots: u64,
    pub(super) hidden: Option<Hidden>,
    pub(super) autoscaler: PoolAutoscaler,
    pub(super) foreign_writes: u64,
    etag: String,
    changes: u64,
    /// The count that the quota has room for.
    quota: u32,
    agenda: Vec<(Millis, Due)>,
    next_ms: Millis,
}

/// What a pool is while nothing runs in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resting {
    Steady,
    Failed,
}

/// Whether a pool is there at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    On,
    Stopped,
}

/// A pool as it was, which is shown for a while.
#[derive(Debug)]
pub struct Hidden {
    count: u32,
    etag: String,
    state: PoolState,
    view: LateView,
}

impl Site {
    /// A pool with all its nodes and nothing running.
    pub fn new(seed: u64, id: PoolId, platform: Platform, setup: PoolSetup) -> Self {
        let mut site = Self {
            id,
            faults: Faults::default(),
            door: Door::new(),
            chance: Chance::new(seed, 0xA2_0000 + id as u64),
            platform,
            setup,
            count: setup.count,
            resting: Resting::Steady,
            power: Power::On,
            running: None,
            surge: 0,
            records: Vec::new(),
            boots: 0,
            hidden: None,
            autoscaler: PoolAutoscaler::Off,
            etag: String::new(),
            changes: 0,
            foreign_writes: 0,
            quota: MOST_NODES,
            agenda: Vec::new(),
            next_ms: Millis::MAX,
        };
        site.changed();
        site
    }

    /// The pool as a read shows it.
    pub fn shown(&self) -> Pool {
        let (count, etag, state) = match &self.hidden {
            None => (self.count, &self.etag, self.state()),
            Some(hidden) => match hidden.view {
                LateView::Count => (hidden.count, &self.etag, self.state()),
                LateView::Pool => (hidden.count, &hidden.etag, hidden.state),
            },
        };
        Pool {
            count,
            etag: etag.clone(),
            state,
            autoscaler: self.autoscaler,
            gpus_per_node: Some(self.setup.gpus_per_node),
            node_price: Some(self.setup.price),
            error: None,
        }
    }

    /// The nodes asked for, whatever is shown.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// What is true of it when a resize to `to` arrives, answered with `answer`.
    pub fn arrival(&self, if_match: &str, to: u32, answer: &'static str) -> Arrived {
        let running = |whose| self.running.as_ref().is_some_and(|run| run.whose() == whose);
        Arrived {
            pool: self.id,
            from: self.count,
            to,
            etag_current: if_match == self.etag,
            ours_running: running(Whose::Ours),
            foreign_running: running(Whose::Foreign),
            autoscaler: self.autoscaler != PoolAutoscaler::Off,
            answer,
        }
    }

    /// Why a resize is not accepted, and which fault it was, if one was.
    pub fn refuses(&self, if_match: &str, to: u32) -> Result<(), Refused> {
        if to > MOST_NODES {
            return Err((Refusal::TOO_MANY, None));
        }
        if self.power == Power::Stopped {
            return Err((Refusal::STOPPED, Some(ArmFaultKind::Stopped)));
        }
        if self.autoscaler != PoolAutoscaler::Off {
            return Err((Refusal::AUTOSCALED, Some(ArmFaultKind::AutoscalerOn)));
        }
        let stale = (if_match != self.etag).then_some((Refusal::STALE, None));
        let busy = self.running.is_some().then_some((Refusal::BUSY, None));
        let refusal = match self.platform.first {
            First::Etag => stale.or(busy),
            First::Busy => busy.or(stale),
        };
        refusal.or_else(|| self.no_capacity(to)).map_or(Ok(()), Err)
    }

    fn no_capacity(&self, to: u32) -> Option<Refused> {
        if to <= self.count || self.faults.none() {
            return None;
        }
        let (kind, failure) = if self.faults.has(ArmFaultKind::SkuGone) {
            (ArmFaultKind::SkuGone, Failure::Sku)
        } else if self.faults.has(ArmFaultKind::QuotaZero) {
            (ArmFaultKind::QuotaZero, Failure::QuotaZero)
        } else if self.faults.has(ArmFaultKind::QuotaLow) && to > self.quota {
            (ArmFaultKind::QuotaLow, Failure::QuotaLow)
        } else {
            return None;
        };
        Some((Refusal::capacity(failure), Some(kind)))
    }

    /// Turns a fault on.
    pub fn set(&mut self, now_ms: Millis, fault: ArmFault, notes: &mut Notes) {
        self.faults.set(fault);
        match fault {
            ArmFault::AutoscalerOn { by } => self.autoscaler_on(now_ms, by, notes),
            ArmFault::ForeignWrite { by } => self.plan(now_ms, Due::Write(fault.kind(), by)),
            ArmFault::Upgrade { ms } => self.plan(now_ms, Due::Upgrade(ms)),
            ArmFault::Stopped => self.plan(now_ms, Due::Stop),
            ArmFault::QuotaLow { room } => self.quota = self.count + room,
            _ => {}
        }
    }

    /// Turns a fault off and lets what it holds up end.
    pub fn clear(&mut self, now_ms: Millis, kind: ArmFaultKind, notes: &mut Notes) {
        if !self.faults.has(kind) {
            return;
        }
        self.faults.clear(kind);
        match kind {
            ArmFaultKind::AutoscalerOn => self.autoscale(now_ms, PoolAutoscaler::Off, notes),
            ArmFaultKind::Stopped => self.plan(now_ms, Due::Start),
            ArmFaultKind::CountLate => self.plan(now_ms, Due::Show),
            ArmFaultKind::Stuck | ArmFaultKind::Upgrade => self.release(now_ms, kind),
            _ => {}
        }
    }

    /// Ends the operation that a fault of this kind holds up.
    fn release(&mut self, now_ms: Millis, kind: ArmFaultKind) {
        if let Some(run) = self.running.as_ref().filter(|run| run.held_by() == Some(kind)) {
            let end = Due::End(run.number);
            self.agenda.retain(|(_, due)| *due != end);
            self.plan(now_ms, end);
        }
    }

    /// Counts a strike of a fault, and tells of the first.
    pub fn strike(&mut self, now_ms: Millis, kind: ArmFaultKind, notes: &mut Notes) {
        if self.faults.strike(kind) {
            let (name, what) = kind.name();
            notes.push((now_ms, Event::Fault { name, what }));
        }
    }

    /// A new etag: something about the pool changed.
    pub(super) fn changed(&mut self) {
        self.changes += 1;
        self.etag.clear();
        let _ = write!(self.etag, "{:x}-{}", self.id, self.changes);
    }

    /// Shows the pool as it is now for a while, whatever becomes of it.
    pub(super) fn hide(&mut self, view: LateView) {
        self.hidden = Some(Hidden {
            count: self.count,
            etag: self.etag.clone(),
            state: self.state(),
            view,
        });
    }

    /// Shows the pool as it is.
    pub(super) fn show(&mut self) {
        if self.hidden.take().is_some() {
            self.changed();
        }
    }

    fn state(&self) -> PoolState {
        match (self.power, &self.running, self.resting) {
            (Power::Stopped, ..) => PoolState::Stopped,
            (_, Some(_), _) => PoolState::Busy,
            (_, None, Resting::Steady) => PoolState::Steady,
            (_, None, Resting::Failed) => PoolState::Failed,
        }
    }

    /// When something happens next; `Millis::MAX` if nothing does.
    pub fn next_ms(&self) -> Millis {
        self.next_ms
    }

    /// Puts something on the agenda.
    pub(super) fn plan(&mut self, at_ms: Millis, due: Due) {
        self.agenda.push((at_ms, due));
        self.next_ms = self.next_ms.min(at_ms);
    }

    /// Takes what is due first, and of two at the same time what was planned first.
    pub(super) fn take_due(&mut self) -> Option<(Millis, Due)> {
        let at = self.agenda.iter().position(|(at_ms, _)| *at_ms == self.next_ms)?;
        let due = self.agenda.remove(at);
        self.next_ms = self
            .agenda
            .iter()
            .map(|(at_ms, _)| *at_ms)
            .min()
            .unwrap_or(Millis::MAX);
        Some(due)
    }
}
