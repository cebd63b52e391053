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
/// entry in the heap. Most timers are for the same instant and the same task as one made just before: they share it.
#[derive(Debug, Default)]
struct Timers {
    due: BinaryHeap<Reverse<(Millis, u64, u32)>>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    made: u64,
    /// Places of the last timers made.
    last: [u32; 4],
}

#[derive(Debug)]
struct Slot {
    /// 0 once it has fired or nobody waits for it.
    generation: u64,
    at_ms: Millis,
    /// How many wait for it.
    shared: u32,
    waker: Option<Waker>,
}

impl Timers {
    /// The place of a timer that is as good as a new one.
    fn join(&mut self, at_ms: Millis, waker: &Waker) -> Option<u32> {
        self.last.into_iter().find(|&place| {
            let slot = self.slots.get_mut(place as usize);
            let fits = |slot: &&mut Slot| slot.generation != 0 && slot.at_ms == at_ms && slot.wakes(waker);
            slot.filter(fits).map(|slot| slot.shared += 1).is_some()
        })
    }

    fn make(&mut self, at_ms: Millis, waker: &Waker) -> u32 {
        self.made += 1;
        let slot = Slot {
            generation: self.made,
            at_ms,
            shared: 1,
            waker: Some(waker.clone()),
        };
        let place = if let Some(place) = self.free.pop() {
            self.slots[place as usize] = slot;
            place
        } else {
            self.slots.push(slot);
            u32::try_from(self.slots.len() - 1).expect("fewer than 4 billion timers")
        };
        self.due.push(Reverse((at_ms, self.made, place)));
        self.last.rotate_right(1);
        self.last[0] = place;
        place
    }

    fn leave(&mut self, place: u32) {
        let slot = &mut self.slots[place as usize];
        slot.shared -= 1;
        if slot.shared == 0 {
            (slot.generation, slot.waker) = (0, None);
            self.free.push(place);
        }
    }
}

impl Slot {
    fn wakes(&self, waker: &Waker) -> bool {
        self.waker.as_ref().is_some_and(|known| known.will_wake(waker))
    }
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
            if timers.slots[place as usize].generation == generation {
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
                slot.generation = 0;
                slot.waker.take()
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
        let mut timers = self.time.0.timers.borrow_mut();
        let waker = context.waker();
        let before = self
            .place
            .filter(|&place| !timers.slots[place as usize].wakes(waker));
        if self.place.is_some() && before.is_none() {
            return Poll::Pending;
        }
        // It is polled by another task than before: the timer that it shared is no longer its.
        if let Some(place) = before {
            timers.leave(place);
        }
        let joined = timers.join(self.at_ms, waker);
        let place = joined.unwrap_or_else(|| timers.make(self.at_ms, waker));
        drop(timers);
        self.place = Some(place);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            self.time.0.timers.borrow_mut().leave(place);
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
