//! Virtual time: true time, the timers that wait for it, and the clocks that a process of the controller sees.
//!
//! True time runs from 0 and only the executor moves it. The local wall clock is true time with an offset that may
//! jump; the local monotonic clock has another origin in every process.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use gpuscale::control::ports::Clock;
use gpuscale::policy::Now;
use gpuscale::policy::config::Millis;

/// The wall clock of the source at true time 0.
pub const EPOCH_MS: Millis = 1_700_000_000_000;

/// True time and everything that waits for it. Clones are the same time.
#[derive(Debug, Clone, Default)]
pub struct Time(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    true_ms: Cell<Millis>,
    wall_offset_ms: Cell<Millis>,
    crashing: Cell<bool>,
    timers: RefCell<Timers>,
}

/// Timers in a slab; the heap names them by place and generation, so that one that was dropped costs nothing but its
/// entry in the heap.
#[derive(Debug, Default)]
struct Timers {
    due: BinaryHeap<Reverse<(Millis, u64, u32)>>,
    slots: Vec<(u64, Option<Waker>)>,
    free: Vec<u32>,
    made: u64,
}

impl Time {
    /// True time.
    pub fn true_ms(&self) -> Millis {
        self.0.true_ms.get()
    }

    /// Moves true time.
    pub fn set(&self, true_ms: Millis) {
        debug_assert!(true_ms >= self.true_ms(), "true time ran backwards");
        self.0.true_ms.set(true_ms);
    }

    /// Lets the local wall clock be off by this much.
    pub fn set_wall_offset(&self, offset_ms: Millis) {
        self.0.wall_offset_ms.set(offset_ms);
    }

    /// Kills the process: the executor drops it as soon as it comes back from the poll that it is in.
    pub fn crash(&self) {
        self.0.crashing.set(true);
    }

    /// Whether the process is dying.
    pub fn is_crashing(&self) -> bool {
        self.0.crashing.get()
    }

    /// Whether the process was dying; it is not any more.
    pub fn take_crash(&self) -> bool {
        self.0.crashing.take()
    }

    /// When the next timer is due.
    pub fn next_timer_ms(&self) -> Option<Millis> {
        let mut timers = self.0.timers.borrow_mut();
        while let Some(Reverse((at_ms, generation, place))) = timers.due.peek().copied() {
            if timers.slots[place as usize].0 == generation {
                return Some(at_ms);
            }
            timers.due.pop();
        }
        None
    }

    /// Wakes whoever waits for a time that has come.
    pub fn fire(&self) {
        let now_ms = self.true_ms();
        while self.next_timer_ms().is_some_and(|at_ms| at_ms <= now_ms) {
            let waker = {
                let mut timers = self.0.timers.borrow_mut();
                let Some(Reverse((_, _, place))) = timers.due.pop() else {
                    return;
                };
                let slot = &mut timers.slots[place as usize];
                slot.0 = 0;
                slot.1.take()
            };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Comes back once true time is `at_ms` or later.
    pub fn sleep_until(&self, at_ms: Millis) -> Sleep {
        Sleep {
            time: self.clone(),
            at_ms,
            place: None,
        }
    }

    /// Comes back `delay_ms` from now.
    pub fn sleep(&self, delay_ms: Millis) -> Sleep {
        self.sleep_until(self.true_ms() + delay_ms)
    }
}

/// A timer. Dropping it takes it back.
#[derive(Debug)]
pub struct Sleep {
    time: Time,
    at_ms: Millis,
    place: Option<u32>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.time.true_ms() >= self.at_ms {
            return Poll::Ready(());
        }
        let at_ms = self.at_ms;
        let inner = Rc::clone(&self.time.0);
        let mut timers = inner.timers.borrow_mut();
        if let Some(place) = self.place {
            let slot = &mut timers.slots[place as usize];
            if !slot
                .1
                .as_ref()
                .is_some_and(|waker| waker.will_wake(context.waker()))
            {
                slot.1 = Some(context.waker().clone());
            }
            return Poll::Pending;
        }
        timers.made += 1;
        let generation = timers.made;
        let slot = (generation, Some(context.waker().clone()));
        let place = if let Some(place) = timers.free.pop() {
            timers.slots[place as usize] = slot;
            place
        } else {
            timers.slots.push(slot);
            u32::try_from(timers.slots.len() - 1).expect("fewer than 4 billion timers")
        };
        timers.due.push(Reverse((at_ms, generation, place)));
        drop(timers);
        self.place = Some(place);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let mut timers = self.time.0.timers.borrow_mut();
            timers.slots[place as usize] = (0, None);
            timers.free.push(place);
        }
    }
}

/// The clocks of one process of the controller.
#[derive(Debug, Clone)]
pub struct VirtualClock {
    time: Time,
    origin_ms: Millis,
}

impl VirtualClock {
    /// The clocks of a process whose monotonic clock reads `origin_ms` at true time 0.
    pub fn new(time: Time, origin_ms: Millis) -> Self {
        Self { time, origin_ms }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Now {
        Now {
            wall_ms: EPOCH_MS + self.time.true_ms() + self.time.0.wall_offset_ms.get(),
            timer_ms: self.time.true_ms() + self.origin_ms,
        }
    }

    fn sleep_until(&self, timer_ms: Millis) -> impl Future<Output = ()> {
        self.time.sleep_until(timer_ms - self.origin_ms)
    }
}
