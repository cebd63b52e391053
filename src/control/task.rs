//! The life of one policy in the loop: tick after tick, each with a timeout and a guard against panics, so that no
//! policy can stall or take down another.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::Rc;

use futures_util::future::select;

use crate::policy::config::Millis;

use super::deadline::{guarded, with_timeout};
use super::policy::Policy;
use super::ports::{Clock as _, Ports, Randomness as _};
use super::session::{Session, State};
use super::signal::Signal;
use super::state::Ended;
use super::tick::{Held, save, tick};
use super::{FIRST_TICKS_SPREAD_MS, Shared, TickResult, Ticked, Watch};

/// The place of a policy in the loop.
pub(super) struct Slot {
    /// The policy as it was given last.
    policy: RefCell<Rc<Policy>>,
    /// What is to become of it.
    fate: Cell<Fate>,
    changed: Signal,
    /// The place that the same policy had before it was removed and came back: its last words come first.
    before: Option<Rc<Self>>,
    ended: Cell<bool>,
    over: Signal,
}

/// What is to become of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It goes on.
    Runs,
    /// It was edited and begins anew after this tick.
    Edited,
    /// It was removed, or the loop stops: this tick is the last.
    Leaves,
}

impl Slot {
    /// A place for a policy; `before` is the one that it had until it was removed.
    pub(super) fn new(policy: Policy, before: Option<Rc<Self>>) -> Self {
        Self {
            policy: RefCell::new(Rc::new(policy)),
            fate: Cell::new(Fate::Runs),
            changed: Signal::default(),
            before: before.filter(|before| !before.ended.get()),
            ended: Cell::new(false),
            over: Signal::default(),
        }
    }

    /// Whether its last word is said.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    fn end(&self) {
        self.ended.set(true);
        self.over.raise();
    }

    /// The policy as it was given last.
    pub(super) fn policy(&self) -> Rc<Policy> {
        self.policy.borrow().clone()
    }

    /// Takes an edited policy.
    pub(super) fn edit(&self, policy: Policy) {
        if **self.policy.borrow() != policy {
            self.policy.replace(Rc::new(policy));
            if self.fate.get() == Fate::Runs {
                self.fate.set(Fate::Edited);
            }
            self.changed.raise();
        }
    }

    /// The policy is removed, or the loop stops.
    pub(super) fn leave(&self) {
        self.fate.set(Fate::Leaves);
        self.changed.raise();
    }

    /// Whether what was decided so far is void.
    pub(super) fn is_leaving(&self) -> bool {
        self.fate.get() != Fate::Runs
    }
}

/// Ticks until the policy leaves, then saves for the last time.
pub(super) async fn run<P: Ports, W: Watch>(shared: Rc<Shared<P, W>>, slot: Rc<Slot>) {
    if let Some(before) = slot.before.as_ref().filter(|before| !before.has_ended()) {
        before.over.next().await;
    }
    live(&shared, &slot).await;
    slot.end();
}

async fn live<P: Ports, W: Watch>(shared: &Rc<Shared<P, W>>, slot: &Slot) {
    let mut session = begin(shared, slot.policy());
    let spread = shared.ports.randomness().next() % FIRST_TICKS_SPREAD_MS.unsigned_abs();
    let mut due_ms = shared.now().timer_ms.saturating_add(spread.cast_signed());
    loop {
        wait(shared, slot, due_ms).await;
        match slot.fate.get() {
            Fate::Leaves => break,
            Fate::Edited => {
                slot.fate.set(Fate::Runs);
                session = Box::new(session.edited(slot.policy(), shared.now()));
                continue;
            }
            Fate::Runs => {}
        }
        let place = shared.permits.acquire().await;
        session = guarded_tick(shared, slot, session).await;
        drop(place);
        due_ms = next(
            due_ms,
            session.policy.config.evaluation_interval_ms,
            shared.now().timer_ms,
        );
    }
    session.journal.keep(|sink| sink.flush());
    if session.state == State::Live {
        // Nothing can be done about a failure here: the next start then counts as one after a crash.
        let _ = guarded(save(shared, &mut session, Ended::Cleanly)).await;
    }
}

fn begin<P: Ports, W: Watch>(shared: &Shared<P, W>, policy: Rc<Policy>) -> Box<Session> {
    let journal = shared.watch.journal(&policy.key);
    // A session is large, and a future that holds one is moved with it.
    Box::new(Session::new(policy, journal, shared.now()))
}

/// Waits until `due_ms`, or until something about the policy changed.
async fn wait<P: Ports, W: Watch>(shared: &Shared<P, W>, slot: &Slot, due_ms: Millis) {
    if slot.is_leaving() {
        return;
    }
    let sleep = pin!(shared.ports.clock().sleep_until(due_ms));
    let changed = slot.changed.next();
    let _ = select(sleep, changed).await;
}

/// The tick after the one that was due at `due_ms`: on the same grid, and never in the past.
fn next(due_ms: Millis, interval_ms: Millis, now_ms: Millis) -> Millis {
    let interval_ms = interval_ms.max(1);
    let behind = now_ms.saturating_sub(due_ms).max(0);
    due_ms.saturating_add((behind / interval_ms + 1).saturating_mul(interval_ms))
}

/// One tick with its timeout and its guard. A panic costs the policy its windows, which are fetched again, and what it
/// remembered since the last save: it is a restart of this policy alone.
async fn guarded_tick<P: Ports, W: Watch>(
    shared: &Rc<Shared<P, W>>,
    slot: &Slot,
    mut session: Box<Session>,
) -> Box<Session> {
    let outcome = {
        // Pinned here: the future of a tick is large, and would be moved into its timeout and into its guard.
        let ticking = pin!(tick(shared, slot, &mut session));
        let bounded = with_timeout(shared.ports.clock(), shared.settings.tick_timeout_ms, ticking);
        guarded(bounded).await
    };
    let policy = session.policy.clone();
    let told = |result: TickResult<'_>| {
        shared.watch.tick(&Ticked {
            policy: &policy.key,
            now: shared.now(),
            result,
        });
    };
    match outcome {
        Ok(Ok(Ok(evaluation))) => told(TickResult::Decided(&evaluation)),
        Ok(Ok(Err(Held { reason, message }))) => told(TickResult::Held {
            reason,
            message: &message,
        }),
        Ok(Err(_)) => told(TickResult::TimedOut),
        Err(panic) => {
            told(TickResult::Panicked(&panic));
            return Box::new(session.again(shared.now()));
        }
    }
    session
}
