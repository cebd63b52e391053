//! The words of operations: what is to be done, by whom, what is in store for it, what is known of it.

use gpuscale::policy::config::Millis;
use gpuscale::policy::observation::Failure;

use super::chance::{Chance, Draw};
use super::door::Refusal;
use super::faults::{ArmFaultKind, CountAfter, Said};

/// Who wanted an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    Ours,
    Foreign,
}

/// Something that will happen in a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Machines are ordered or let go for this work; nothing happens if its operation is no longer the running one.
    Begin(Option<usize>, Work),
    /// An operation ends.
    End(usize),
    /// Somebody changes the count.
    Write(ArmFaultKind, i32),
    /// Somebody cancels this operation by a later one.
    Overtake(usize, i32),
    /// Somebody upgrades the pool.
    Upgrade(Millis),
    /// Somebody stops the pool.
    Stop,
    /// Somebody starts it again.
    Start,
    /// The pool is shown as it is.
    Show,
}

/// A change of the count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    pub whose: Whose,
    pub from: u32,
    pub to: u32,
    pub ending: Ending,
    pub leaves: Leaves,
    /// What further draws about it are made from.
    pub salt: u64,
}

/// When nodes of an operation leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaves {
    AtStart,
    AtEnd,
}

/// How an operation ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Good,
    Partial(Said),
    Fails(Failure, CountAfter),
    Stuck,
}

/// An operation in progress.
#[derive(Debug)]
pub struct Operation {
    pub number: usize,
    /// `None` is an upgrade.
    pub work: Option<Work>,
    /// Nodes that boot and will be given up at its end.
    pub given_up: u32,
}

impl Operation {
    /// Who wanted it.
    pub fn whose(&self) -> Whose {
        self.work.map_or(Whose::Foreign, |work| work.whose)
    }

    /// The fault that keeps it from ending.
    pub fn held_by(&self) -> Option<ArmFaultKind> {
        match self.work.map(|work| work.ending) {
            None => Some(ArmFaultKind::Upgrade),
            Some(Ending::Stuck) => Some(ArmFaultKind::Stuck),
            Some(_) => None,
        }
    }
}

/// What is known of an operation.
#[derive(Debug)]
pub struct Record {
    pub over: Over,
    pub monitor: Monitor,
    pub retry_after_ms: Option<Millis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    Running,
    Succeeded,
    Failed(Refusal),
    Cancelled,
}

impl Over {
    /// The word of the log.
    pub fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Whether an operation can be asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Monitor {
    Answers,
    Lost,
}

/// What is in store for an operation.
pub struct Fate {
    pub ending: Ending,
    pub monitor: Monitor,
    pub duration_ms: Millis,
}

impl Fate {
    /// Nothing but an end after a while.
    pub fn good(chance: Chance, number: usize) -> Self {
        Self {
            ending: Ending::Good,
            monitor: Monitor::Answers,
            duration_ms: chance.between(Draw::Duration, number as u64, 30_000, 180_000),
        }
    }
}

/// How a write of somebody else goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// It is over when it is seen.
    AtOnce,
    /// As an operation that takes its time.
    Operation,
}
