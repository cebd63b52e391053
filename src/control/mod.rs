//! The control loop: reads metrics, decides, resizes, remembers, over ports.
//!
//! There is one loop for `run`, `controller` and every test. It knows no socket, no file and no runtime: what it needs
//! of the world are the traits of [`ports`].

pub mod deadline;
mod flight;
pub mod gate;
pub mod intake;
pub mod listed;
mod outcome;
pub mod ownership;
mod plan;
mod policy;
pub mod ports;
pub mod roster;
mod series;
mod session;
mod signal;
pub mod state;
mod submit;
mod task;
pub mod throttle;
mod tick;
pub mod turnstile;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::select;
use futures_util::stream::{FuturesUnordered, StreamExt as _};

use crate::journal::Sink;
use crate::policy::evaluation::Evaluation;
use crate::policy::observation::{Failure, Freeze, Now};

pub use policy::{Mode, Policy, PolicyError};

use gate::Permits;
use ownership::{Claim, owners};
use ports::{Clock as _, PolicyKey, PoolKey, Ports};
use signal::Signal;
use task::Slot;
use turnstile::Turnstile;

/// First ticks are spread over this time, so that a thousand policies do not ask at once. It is less than the shortest
/// `evaluationInterval`, so that sources can tell the same question of another policy from the next one of the same.
pub const FIRST_TICKS_SPREAD_MS: i64 = 4_000;

/// What the administrator set for all policies.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The longest that one call of a port may take, but for reads of metrics.
    pub call_timeout_ms: i64,
    /// The longest that one read of metrics may take, with all that the source tries again.
    pub read_timeout_ms: i64,
    /// The longest that one tick of a policy may take, from the first read to the answer to its resize.
    pub tick_timeout_ms: i64,
    /// Ticks at a time.
    pub concurrency: usize,
    /// Memory is saved at least this often while it changes.
    pub save_every_ms: i64,
    /// How long an orderly shutdown may take.
    pub grace_ms: i64,
    /// The largest size of any pool.
    pub max_nodes: Option<u32>,
    /// Whether a platform may choose which nodes leave.
    pub platform_chooses: PlatformChooses,
    /// Stops all changes.
    pub freeze: Freeze,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            call_timeout_ms: 10_000,
            read_timeout_ms: 10_000,
            tick_timeout_ms: 60_000,
            concurrency: 64,
            save_every_ms: 60_000,
            grace_ms: 20_000,
            max_nodes: None,
            platform_chooses: PlatformChooses::Refused,
            freeze: Freeze::Off,
        }
    }
}

/// Whether a platform may choose which nodes leave: `limits.allowPlatformChooses`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlatformChooses {
    /// It may not: pods are not seen there.
    #[default]
    Refused,
    /// It may, where every device was idle over the whole window.
    Allowed,
}

/// What the loop tells whoever wants to know: status, Events, logs, metrics, tests.
pub trait Watch {
    /// A tick of a policy is over.
    fn tick(&self, tick: &Ticked<'_>);

    /// Something was done, or could not be.
    fn action(&self, action: &Action<'_>);

    /// Where the journal of a policy goes. Called when the policy is first seen; `None` keeps none.
    fn journal(&self, policy: &PolicyKey) -> Option<Box<dyn Sink>>;
}

/// Whoever else wants to look at what was told keeps an `Rc` too.
impl<W: Watch> Watch for Rc<W> {
    fn tick(&self, tick: &Ticked<'_>) {
        W::tick(self, tick);
    }

    fn action(&self, action: &Action<'_>) {
        W::action(self, action);
    }

    fn journal(&self, policy: &PolicyKey) -> Option<Box<dyn Sink>> {
        W::journal(self, policy)
    }
}

/// A tick of a policy.
#[derive(Debug, Clone, Copy)]
pub struct Ticked<'a> {
    /// The policy.
    pub policy: &'a PolicyKey,
    /// The clocks at its end.
    pub now: Now,
    /// What came of it.
    pub result: TickResult<'a>,
}

/// What came of a tick.
#[derive(Debug, Clone, Copy)]
pub enum TickResult<'a> {
    /// A decision.
    Decided(&'a Evaluation),
    /// None, since something that is needed could not be had: the reason as a `CamelCase` word, and the words.
    Held {
        /// Such as `PoolUnreadable`, `StateUnreadable`, `ClusterNotSynced`.
        reason: &'static str,
        /// What was attempted and what came back.
        message: &'a str,
    },
    /// It took too long and was cut off.
    TimedOut,
    /// It panicked; the words of the panic.
    Panicked(&'a str),
}

impl TickResult<'_> {
    /// The rule that had the last word, or why there was no decision: a `CamelCase` word.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Decided(evaluation) => evaluation.decision.reason.as_str(),
            Self::Held { reason, .. } => reason,
            Self::TimedOut => "TimedOut",
            Self::Panicked(_) => "Panicked",
        }
    }
}

/// Something that the loop did.
#[derive(Debug, Clone, Copy)]
pub struct Action<'a> {
    /// The policy.
    pub policy: &'a PolicyKey,
    /// The pool.
    pub pool: &'a PoolKey,
    /// The clocks.
    pub now: Now,
    /// Count before.
    pub from: u32,
    /// Count asked for.
    pub to: u32,
    /// `sending`, `accepted`, `succeeded`, `recommended`, or the reason why not.
    pub what: &'a str,
    /// More about it.
    pub message: &'a str,
}

/// The control loop.
///
/// One per process. Its methods may be called while [`Controller::run`] runs, from the same thread.
pub struct Controller<P: Ports, W> {
    shared: Rc<Shared<P, W>>,
}

/// What all policies share.
struct Shared<P, W> {
    ports: P,
    watch: W,
    settings: Settings,
    freeze: Cell<Freeze>,
    permits: Permits,
    turnstiles: RefCell<BTreeMap<Arc<str>, Rc<Turnstile>>>,
    slots: RefCell<BTreeMap<PolicyKey, Rc<Slot>>>,
    /// Slots of policies that were removed and have not said their last word.
    leaving: RefCell<BTreeMap<PolicyKey, Rc<Slot>>>,
    /// Slots whose task has not been started yet.
    new: RefCell<Vec<Rc<Slot>>>,
    /// Who owns each pool.
    owners: RefCell<BTreeMap<PoolKey, PolicyKey>>,
    stopping: Cell<bool>,
    changed: Signal,
}

impl<P: Ports, W: Watch> Shared<P, W> {
    fn now(&self) -> Now {
        self.ports.clock().now()
    }

    /// Submissions to a cluster go through here, one at a time.
    fn turnstile(&self, cluster: &Arc<str>) -> Rc<Turnstile> {
        let mut turnstiles = self.turnstiles.borrow_mut();
        turnstiles.entry(cluster.clone()).or_default().clone()
    }

    fn owns(&self, policy: &PolicyKey, pool: &PoolKey) -> bool {
        self.owners.borrow().get(pool) == Some(policy)
    }
}

impl<P: Ports, W: Watch> Controller<P, W> {
    /// A loop without policies.
    #[must_use]
    pub fn new(ports: P, watch: W, settings: Settings) -> Self {
        let shared = Shared {
            freeze: Cell::new(settings.freeze),
            permits: Permits::new(settings.concurrency),
            ports,
            watch,
            settings,
            turnstiles: RefCell::default(),
            slots: RefCell::default(),
            leaving: RefCell::default(),
            new: RefCell::default(),
            owners: RefCell::default(),
            stopping: Cell::new(false),
            changed: Signal::default(),
        };
        Self {
            shared: Rc::new(shared),
        }
    }

    /// Takes these policies in place of those it had. One that is gone is released: its pool stays as it is. One
    /// that changed goes on with its memory and fresh windows. After [`Self::stop`] nothing begins any more.
    pub fn set_policies(&self, mut policies: Vec<Policy>) {
        let shared = &self.shared;
        if shared.stopping.get() {
            return;
        }
        shared.owners.replace(settle_ownership(&mut policies));
        let (mut slots, mut leaving) = (shared.slots.borrow_mut(), shared.leaving.borrow_mut());
        let mut before = std::mem::take(&mut *slots);
        for policy in policies {
            let key = policy.key.clone();
            let slot = if let Some(slot) = before.remove(&key) {
                slot.edit(policy);
                slot
            } else {
                let slot = Rc::new(Slot::new(policy, leaving.remove(&key)));
                shared.new.borrow_mut().push(slot.clone());
                slot
            };
            slots.insert(key, slot);
        }
        for (key, slot) in before {
            slot.leave();
            leaving.insert(key, slot);
        }
        leaving.retain(|_, slot| !slot.has_ended());
        shared.changed.raise();
    }

    /// Stops or releases all changes of all policies. Decisions go on and show what is stopped.
    pub fn set_freeze(&self, freeze: Freeze) {
        self.shared.freeze.set(freeze);
    }

    /// Asks the loop to end: no new decision, what is being sent is finished and saved.
    pub fn stop(&self) {
        self.shared.stopping.set(true);
        for slot in self.shared.slots.borrow().values() {
            slot.leave();
        }
        self.shared.changed.raise();
    }

    /// Runs until [`Controller::stop`] was called, and no longer than the grace period after that: whatever is still
    /// unanswered then is settled after the next start.
    pub async fn run(&self) {
        let shared = &self.shared;
        let mut tasks = FuturesUnordered::new();
        let mut deadline = None;
        loop {
            let changed = shared.changed.next();
            for slot in shared.new.take() {
                tasks.push(task::run(shared.clone(), slot));
            }
            if shared.stopping.get() {
                let ends_ms = shared.now().timer_ms.saturating_add(shared.settings.grace_ms);
                let ends_ms = *deadline.get_or_insert(ends_ms);
                if tasks.is_empty() || shared.now().timer_ms >= ends_ms {
                    return;
                }
                let sleep = pin!(shared.ports.clock().sleep_until(ends_ms));
                let _ = select(select(tasks.next(), changed), sleep).await;
            } else if tasks.is_empty() {
                changed.await;
            } else {
                let _ = select(tasks.next(), changed).await;
            }
        }
    }
}

/// Who owns each pool. Fallback pools that are another policy's are taken out of the policies.
fn settle_ownership(policies: &mut [Policy]) -> BTreeMap<PoolKey, PolicyKey> {
    let ownership = owners(policies.iter().map(Claim::from));
    let kept = policies.iter().map(|policy| {
        let claim = Claim::from(policy);
        let kept = ownership.fallbacks(&claim);
        kept.filter_map(|index| policy.fallbacks.get(index).cloned())
            .collect()
    });
    let kept: Vec<Vec<PoolKey>> = kept.collect();
    let named = policies
        .iter()
        .flat_map(|policy| std::iter::once(&policy.target).chain(&policy.fallbacks));
    let owned = named.filter_map(|pool| Some((pool.clone(), ownership.owner(pool)?.clone())));
    let owned = owned.collect();
    for (policy, fallbacks) in policies.iter_mut().zip(kept) {
        policy.fallbacks = fallbacks;
    }
    owned
}

impl<P: Ports, W> std::fmt::Debug for Controller<P, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Controller").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
