//! A flag that tasks can wait for.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// Counts how often something happened, and wakes who waits for the next time.
#[derive(Debug, Default)]
pub(super) struct Signal {
    times: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Signal {
    /// It happened: wakes everybody.
    pub(super) fn raise(&self) {
        self.times.set(self.times.get().wrapping_add(1));
        for waker in self.waiting.take() {
            waker.wake();
        }
    }

    /// Waits for the next time, counted from this call.
    pub(super) fn next(&self) -> Next<'_> {
        Next {
            signal: self,
            seen: self.times.get(),
        }
    }
}

/// Waits for the next time.
#[derive(Debug)]
pub(super) struct Next<'a> {
    signal: &'a Signal,
    seen: u64,
}

impl Future for Next<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.signal.times.get() != self.seen {
            return Poll::Ready(());
        }
        let mut waiting = self.signal.waiting.borrow_mut();
        // One task polls the same future many times; it needs one place.
        if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
        Poll::Pending
    }
}
