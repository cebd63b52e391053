//! The platform that owns the node pools, as a resource provider in memory: etags, one operation at a time, limits
//! of calls, other writers, and every way in which capacity is refused or does not come.
//!
//! It speaks the words of the ports, in true time that each call brings along, and knows nothing of the controller.
//! [`Arm::advance`] is due whenever [`Arm::next_event_ms`] has come, and before a call at the same time. What it
//! has to tell goes to the log by `advance`; a call that leaves something to tell makes one due at once.

mod chance;
mod door;
mod faults;
mod operation;
mod others;
mod site;
mod work;

use gpuscale::control::ports::{Accepted, Pool, PoolError, Progress};
use gpuscale::policy::config::{Micro, Millis};

use crate::event::{Arrived, Event, Log, PoolId};

use chance::{Chance, Draw};
use door::{Bucket, Call, Refusal, Refused};
pub use faults::{ArmFault, ArmFaultKind, CountAfter, LateView, Said};
use site::Site;

/// Facts that are not in the log yet.
type Notes = Vec<(Millis, Event)>;

/// The machines of one pool, as the platform handles them.
pub trait Machines {
    /// Boots one node.
    fn boot(&mut self, now_ms: Millis, boot_ms: Millis, driver_ms: Millis);
    /// Takes nodes of the platform's choice, nastily.
    fn remove_busiest(&mut self, now_ms: Millis, nodes: u32) -> Taken;
    /// Gives up boots; how many there were.
    fn remove_booting(&mut self, now_ms: Millis, nodes: u32) -> u32;
    /// Takes nodes by chance.
    fn evict(&mut self, now_ms: Millis, nodes: u32, salt: u64) -> Taken;
    /// Nodes that are there, the booting ones among them.
    fn present(&self) -> u32;
}

/// Nodes that were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// How many.
    pub nodes: u32,
    /// How many of them did work.
    pub busy: u32,
}

/// A pool at the start of a run: all its nodes are there.
#[derive(Debug, Clone, Copy)]
pub struct PoolSetup {
    pub count: u32,
    pub gpus_per_node: u32,
    /// Price of a node in micro-USD per hour.
    pub price: Micro,
    /// The largest count that other writers set.
    pub largest: u32,
}

/// How the platform behaves where nobody knows what the real one does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Platform {
    pub missing: Missing,
    pub first: First,
}

/// What becomes of nodes that the count promises and that are not there: evicted, or never allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// A resize boots no more than the count grows by.
    StayAway,
    /// A resize, even to the same count, boots whatever is missing.
    ReplacedByResize,
}

/// What is checked first when a resize comes with an old etag while an operation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// The etag: it is stale.
    Etag,
    /// The operation: the pool is busy.
    Busy,
}

impl Platform {
    /// The platform of a run.
    pub fn drawn(seed: u64) -> Self {
        let draw = Chance::new(seed, 0xA1).draw(Draw::Platform, 0);
        Self {
            missing: if draw & 1 == 0 {
                Missing::StayAway
            } else {
                Missing::ReplacedByResize
            },
            first: if draw & 2 == 0 { First::Etag } else { First::Busy },
        }
    }
}

/// The platform.
#[derive(Debug)]
pub struct Arm {
    sites: Vec<Site>,
    /// Reads of all pools together.
    reads: Bucket,
    /// Questions for the progress of operations.
    polls: Bucket,
    notes: Notes,
}

impl Arm {
    /// The platform of the run `seed` with these pools.
    pub fn new(seed: u64, pools: &[PoolSetup]) -> Self {
        Self::on(Platform::drawn(seed), seed, pools)
    }

    /// The same with a given platform.
    pub fn on(platform: Platform, seed: u64, pools: &[PoolSetup]) -> Self {
        let site = |(id, setup): (PoolId, &PoolSetup)| Site::new(seed, id, platform, *setup);
        Self {
            sites: pools.iter().enumerate().map(site).collect(),
            reads: Bucket::new(60, 1000),
            polls: Bucket::new(200, 500),
            notes: Notes::new(),
        }
    }

    /// Turns a fault on in a pool.
    pub fn set(&mut self, now_ms: Millis, pool: PoolId, fault: ArmFault) {
        self.sites[pool].set(now_ms, fault, &mut self.notes);
    }

    /// Turns a fault off in a pool. What it held up ends.
    pub fn clear(&mut self, now_ms: Millis, pool: PoolId, kind: ArmFaultKind) {
        self.sites[pool].clear(now_ms, kind, &mut self.notes);
    }

    /// The pool as it is shown.
    pub fn read(&mut self, now_ms: Millis, pool: PoolId) -> Result<Pool, PoolError> {
        self.enter(now_ms, pool, Call::Read).map_err(Refusal::error)?;
        let site = &mut self.sites[pool];
        let shown = site.shown();
        if !site.faults.none() {
            site.interfere(now_ms, ArmFaultKind::WriteAfterRead, &mut self.notes);
        }
        Ok(shown)
    }

    /// Takes a request for `count` nodes; what the caller is told, and what was true when it arrived.
    pub fn resize(
        &mut self,
        now_ms: Millis,
        pool: PoolId,
        if_match: &str,
        count: u32,
    ) -> (Result<Accepted, PoolError>, Arrived) {
        let entered = self.enter(now_ms, pool, Call::Resize);
        let site = &mut self.sites[pool];
        let refused = entered.and_then(|()| {
            site.interfere(now_ms, ArmFaultKind::WriteBeforeResize, &mut self.notes);
            site.refuses(if_match, count)
                .map_err(|refused| told(site, now_ms, refused, &mut self.notes))
        });
        let answer = refused.map_or_else(|refusal| refusal.code, |()| "accepted");
        let arrived = site.arrival(if_match, count, answer);
        let result = match refused {
            Ok(()) => Ok(site.accept(now_ms, count, &mut self.notes)),
            Err(refusal) => Err(refusal.error()),
        };
        (result, arrived)
    }

    /// How an operation is getting on.
    pub fn poll(&mut self, now_ms: Millis, operation: &str) -> Result<Progress, PoolError> {
        let (pool, number) = self.find(operation).ok_or_else(|| Refusal::GONE.error())?;
        self.enter(now_ms, pool, Call::Poll).map_err(Refusal::error)?;
        self.sites[pool].progress(number).map_err(Refusal::error)
    }

    fn find(&self, operation: &str) -> Option<(PoolId, usize)> {
        let (pool, number) = operation.strip_prefix("operations/")?.split_once('/')?;
        let pool = pool.parse().ok().filter(|pool| *pool < self.sites.len())?;
        Some((pool, number.parse().ok()?))
    }

    fn enter(&mut self, now_ms: Millis, pool: PoolId, call: Call) -> Result<(), Refusal> {
        let site = &mut self.sites[pool];
        let shared = match call {
            Call::Read => Some(&mut self.reads),
            Call::Poll => Some(&mut self.polls),
            Call::Resize => None,
        };
        let knocked = site.door.knock(now_ms, call, shared, &site.faults, site.chance);
        knocked.map_err(|refused| told(site, now_ms, refused, &mut self.notes))
    }

    /// Lets everything happen that is due, with the machines of each pool, and tells the log.
    pub fn advance<M: Machines>(&mut self, now_ms: Millis, machines: &mut [M], log: &mut Log) {
        while let Some(site) = self.sites.iter_mut().min_by_key(|site| site.next_ms()) {
            if site.next_ms() > now_ms {
                break;
            }
            let Some((at_ms, due)) = site.take_due() else {
                break;
            };
            site.happen(at_ms, due, &mut machines[site.id], &mut self.notes);
        }
        log.events.append(&mut self.notes);
    }

    /// When [`Arm::advance`] is due next.
    pub fn next_event_ms(&self) -> Option<Millis> {
        let noted = self.notes.first().map_or(Millis::MAX, |(at_ms, _)| *at_ms);
        let next = self.sites.iter().map(Site::next_ms).fold(noted, Millis::min);
        (next < Millis::MAX).then_some(next)
    }

    /// The nodes asked for in a pool, whatever is shown.
    pub fn count(&self, pool: PoolId) -> u32 {
        self.sites[pool].count()
    }

    /// Whether an operation runs in a pool, anybody's.
    pub fn is_busy(&self, pool: PoolId) -> bool {
        self.sites[pool].running.is_some()
    }

    /// How often a fault struck, in all pools.
    pub fn struck(&self, kind: ArmFaultKind) -> u32 {
        self.sites
            .iter()
            .map(|site| site.faults.struck()[kind as usize])
            .sum()
    }

    /// Calls that were sent away since there were too many: no fault, but the caller's own doing.
    pub fn self_inflicted(&self) -> u32 {
        self.sites.iter().map(|site| site.door.self_inflicted).sum()
    }

    /// Calls that came before the time that an earlier one of the kind was asked to wait for.
    pub fn impatient(&self) -> u32 {
        self.sites.iter().map(|site| site.door.impatient).sum()
    }
}

/// Counts the fault that a refusal comes of.
fn told(site: &mut Site, now_ms: Millis, (refusal, fault): Refused, notes: &mut Notes) -> Refusal {
    if let Some(kind) = fault {
        site.strike(now_ms, kind, notes);
    }
    refusal
}
