//! Virtual time, and the executor that goes through it.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use gpuscale::control::ports::Clock;
use gpuscale::policy::observation::Now;

/// Wall time when the timer reads zero.
const EPOCH_MS: i64 = 1_700_000_000_000;

/// How long a call takes: nothing comes back at once, so every call waits with its timeout beside it.
const CALL_MS: i64 = 20;

/// A clock that stands still while anything can be done, and jumps to the next timer then.
#[derive(Clone, Default)]
pub(crate) struct VirtualClock(Rc<Timers>);

#[derive(Default)]
struct Timers {
    now_ms: Cell<i64>,
    set: Cell<u64>,
    waiting: RefCell<BTreeMap<(i64, u64), Waker>>,
}

impl VirtualClock {
    /// Goes on to the next timer and wakes whoever waits for it.
    fn advance(&self) {
        let mut waiting = self.0.waiting.borrow_mut();
        let (due_ms, _) = *waiting.first_key_value().unwrap().0;
        self.0.now_ms.set(due_ms);
        let later = waiting.split_off(&(due_ms + 1, 0));
        let due = std::mem::replace(&mut *waiting, later);
        drop(waiting);
        due.into_values().for_each(Waker::wake);
    }

    fn next_ms(&self) -> Option<i64> {
        self.0.waiting.borrow().keys().next().map(|(due_ms, _)| *due_ms)
    }

    /// The time that a call takes.
    pub(crate) async fn call(&self) {
        self.sleep_until(self.0.now_ms.get() + CALL_MS).await;
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Now {
        let timer_ms = self.0.now_ms.get();
        Now {
            wall_ms: EPOCH_MS + timer_ms,
            timer_ms,
        }
    }

    fn sleep_until(&self, timer_ms: i64) -> impl Future<Output = ()> {
        Sleep {
            clock: self.clone(),
            due_ms: timer_ms,
            ticket: None,
        }
    }
}

/// A timer, gone when it is dropped.
struct Sleep {
    clock: VirtualClock,
    due_ms: i64,
    ticket: Option<u64>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let timers = Rc::clone(&self.clock.0);
        if timers.now_ms.get() >= self.due_ms {
            return Poll::Ready(());
        }
        let ticket = *self.ticket.get_or_insert_with(|| {
            timers.set.set(timers.set.get() + 1);
            timers.set.get()
        });
        timers
            .waiting
            .borrow_mut()
            .insert((self.due_ms, ticket), context.waker().clone());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.clock.0.waiting.borrow_mut().remove(&(self.due_ms, ticket));
        }
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls `future` through virtual time, until it is over or the time has come.
pub(crate) fn run_until(
    clock: &VirtualClock,
    end_ms: i64,
    mut future: Pin<&mut impl Future<Output = ()>>,
) -> Poll<()> {
    let woken = Arc::new(Woken(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&woken));
    let mut context = Context::from_waker(&waker);
    loop {
        while woken.0.swap(false, Ordering::Relaxed) {
            if future.as_mut().poll(&mut context).is_ready() {
                return Poll::Ready(());
            }
        }
        match clock.next_ms() {
            Some(due_ms) if due_ms <= end_ms => clock.advance(),
            _ => return Poll::Pending,
        }
    }
}
