//! The faults of the platform: which there are, which are on in a pool, and how often each struck.
//!
//! A fault is on from `set` to `clear`. Some strike once and are off by themselves, most strike whatever they meet
//! while they are on. What a fault does is written where it does it; here is only what it is.

use gpuscale::policy::config::Millis;
use gpuscale::policy::observation::Failure;

/// A fault of the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArmFault {
    /// The cluster autoscaler owns the count. After some minutes it changes it `by` so many, unless 0.
    AutoscalerOn { by: i32 },
    /// Somebody changes the count, once, as soon as nothing runs in the pool.
    ForeignWrite { by: i32 },
    /// The same right behind the next read of the pool. Once.
    WriteAfterRead { by: i32 },
    /// The same right before the next resize that arrives, so that its etag is not current. Once.
    WriteBeforeResize { by: i32 },
    /// The next operation of ours is cancelled in its course by somebody's later one. Once.
    Overtaken { by: i32 },
    /// Somebody upgrades the pool, with one node more while it lasts, as soon as nothing runs in it. Once.
    Upgrade { ms: Millis },
    /// The pool is stopped: its nodes are gone and come back after `clear`.
    Stopped,
    /// The quota has room for this many nodes more than there are asked for now.
    QuotaLow { room: u32 },
    /// The quota has room for none.
    QuotaZero,
    /// The size is not offered here (any more).
    SkuGone,
    /// Growth is accepted and fails at its end.
    FailsLate { why: Failure, count: CountAfter },
    /// Growth is accepted and brings fewer nodes than asked for, at least one fewer.
    PartialFill { said: Said },
    /// Operations stay in progress this long and fail then, after part of the work.
    Stuck { ms: Millis },
    /// Operations do their work, but nobody knows them when asked.
    Lost,
    /// Reads show the old count for a while after a resize was accepted, at most until it ends.
    CountLate { ms: Millis, view: LateView },
    /// This share of all calls is asked to wait.
    Throttled { percent: u8, retry_after_ms: Millis },
    /// The token expired: no call is permitted.
    AuthExpired,
    /// This share of all calls is refused at the door.
    Unavailable { percent: u8 },
    /// This share of the questions for progress is never answered.
    PollsDropped { percent: u8 },
}

/// What becomes of the count when an operation fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountAfter {
    /// It stays as it was asked for, and the nodes are missing.
    Stays,
    /// It becomes the number of nodes that are there.
    Reverts,
}

/// What is said of an operation that did part of its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// That it succeeded.
    Succeeded,
    /// That it failed.
    Failed,
}

/// How much of a pool is shown as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LateView {
    /// The count alone: state and etag are new.
    Count,
    /// All of it, as from a cache.
    Pool,
}

/// A fault without its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ArmFaultKind {
    AutoscalerOn,
    ForeignWrite,
    WriteAfterRead,
    WriteBeforeResize,
    Overtaken,
    Upgrade,
    Stopped,
    QuotaLow,
    QuotaZero,
    SkuGone,
    FailsLate,
    PartialFill,
    Stuck,
    Lost,
    CountLate,
    Throttled,
    AuthExpired,
    Unavailable,
    PollsDropped,
}

impl ArmFaultKind {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::AutoscalerOn,
        Self::ForeignWrite,
        Self::WriteAfterRead,
        Self::WriteBeforeResize,
        Self::Overtaken,
        Self::Upgrade,
        Self::Stopped,
        Self::QuotaLow,
        Self::QuotaZero,
        Self::SkuGone,
        Self::FailsLate,
        Self::PartialFill,
        Self::Stuck,
        Self::Lost,
        Self::CountLate,
        Self::Throttled,
        Self::AuthExpired,
        Self::Unavailable,
        Self::PollsDropped,
    ];

    /// Its name in the list of faults, and what it is.
    pub fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::AutoscalerOn => ("F13", "autoscaler on"),
            Self::ForeignWrite => ("F13", "foreign write"),
            Self::WriteAfterRead => ("F13", "foreign write after a read"),
            Self::WriteBeforeResize => ("F14", "foreign write before a resize"),
            Self::Overtaken => ("F13", "cancelled by a later operation"),
            Self::Upgrade => ("F13", "upgrade"),
            Self::Stopped => ("F13", "stopped"),
            Self::QuotaLow => ("F16", "quota low"),
            Self::QuotaZero => ("F16", "quota zero"),
            Self::SkuGone => ("F16", "size not offered"),
            Self::FailsLate => ("F16", "failed at its end"),
            Self::PartialFill => ("F16", "partial fill"),
            Self::Stuck => ("F16", "stuck"),
            Self::Lost => ("F16", "operation lost"),
            Self::CountLate => ("F14", "count shown late"),
            Self::Throttled => ("F25", "throttled"),
            Self::AuthExpired => ("F25", "token expired"),
            Self::Unavailable => ("F25", "unavailable"),
            Self::PollsDropped => ("F25", "poll dropped"),
        }
    }
}

impl ArmFault {
    /// Which one it is.
    pub fn kind(self) -> ArmFaultKind {
        match self {
            Self::AutoscalerOn { .. } => ArmFaultKind::AutoscalerOn,
            Self::ForeignWrite { .. } => ArmFaultKind::ForeignWrite,
            Self::WriteAfterRead { .. } => ArmFaultKind::WriteAfterRead,
            Self::WriteBeforeResize { .. } => ArmFaultKind::WriteBeforeResize,
            Self::Overtaken { .. } => ArmFaultKind::Overtaken,
            Self::Upgrade { .. } => ArmFaultKind::Upgrade,
            Self::Stopped => ArmFaultKind::Stopped,
            Self::QuotaLow { .. } => ArmFaultKind::QuotaLow,
            Self::QuotaZero => ArmFaultKind::QuotaZero,
            Self::SkuGone => ArmFaultKind::SkuGone,
            Self::FailsLate { .. } => ArmFaultKind::FailsLate,
            Self::PartialFill { .. } => ArmFaultKind::PartialFill,
            Self::Stuck { .. } => ArmFaultKind::Stuck,
            Self::Lost => ArmFaultKind::Lost,
            Self::CountLate { .. } => ArmFaultKind::CountLate,
            Self::Throttled { .. } => ArmFaultKind::Throttled,
            Self::AuthExpired => ArmFaultKind::AuthExpired,
            Self::Unavailable { .. } => ArmFaultKind::Unavailable,
            Self::PollsDropped { .. } => ArmFaultKind::PollsDropped,
        }
    }
}

/// How often each fault struck.
pub type Struck = [u32; ArmFaultKind::ALL.len()];

/// The faults of one pool.
#[derive(Debug, Default)]
pub struct Faults {
    on: [Option<ArmFault>; ArmFaultKind::ALL.len()],
    any: u32,
    told: u32,
    struck: Struck,
}

impl Faults {
    /// Turns a fault on, in place of another of its kind.
    pub fn set(&mut self, fault: ArmFault) {
        let kind = fault.kind();
        self.on[kind as usize] = Some(fault);
        self.any |= 1 << kind as u32;
        self.told &= !(1 << kind as u32);
    }

    /// Turns a fault off.
    pub fn clear(&mut self, kind: ArmFaultKind) {
        self.on[kind as usize] = None;
        self.any &= !(1 << kind as u32);
    }

    /// Whether none is on.
    pub fn none(&self) -> bool {
        self.any == 0
    }

    /// The fault of this kind, if it is on.
    pub fn get(&self, kind: ArmFaultKind) -> Option<ArmFault> {
        self.on[kind as usize]
    }

    /// Whether a fault of this kind is on.
    pub fn has(&self, kind: ArmFaultKind) -> bool {
        self.on[kind as usize].is_some()
    }

    /// Counts a strike; whether it is the first one since it was turned on, which is the one to tell of.
    pub fn strike(&mut self, kind: ArmFaultKind) -> bool {
        self.struck[kind as usize] += 1;
        let first = self.told & (1 << kind as u32) == 0;
        self.told |= 1 << kind as u32;
        first
    }

    /// How often each struck.
    pub fn struck(&self) -> &Struck {
        &self.struck
    }
}
