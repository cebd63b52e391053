//! Runs one process of the controller in virtual time.
//!
//! There is one root future and no thread. While something is ready it is polled; when nothing is, time jumps to
//! the next thing that happens: a timer, or something in the world.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use gpuscale::policy::config::Millis;

use crate::clock::Time;

/// Polls of the root future that may follow each other while time stands still.
const MOST_POLLS: u32 = 20_000;

/// What surrounds the process and goes on by itself.
pub trait Surroundings {
    /// When something happens next, in true time.
    fn next_event_ms(&mut self) -> Option<Millis>;

    /// Lets everything happen that is due at `true_ms`, which is the time now.
    fn advance(&mut self, true_ms: Millis);

    /// Does at once what the process brought about in its last step.
    fn respond(&mut self);
}

/// Why a run of the executor ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The future came back.
    Finished,
    /// The process died; the future is to be dropped.
    Crashed,
    /// The time was up.
    TimeUp,
    /// The future kept waking itself while time stood still.
    Livelock,
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Runs `root` until it ends, dies, or true time reaches `until_ms`.
pub fn run<S: Surroundings>(
    time: &Time,
    mut root: Pin<&mut dyn Future<Output = ()>>,
    surroundings: &mut S,
    until_ms: Millis,
) -> End {
    let ready = Arc::new(Flag(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&ready));
    let mut context = Context::from_waker(&waker);
    let mut polls = 0;
    loop {
        while ready.0.swap(false, Ordering::Relaxed) {
            let polled = root.as_mut().poll(&mut context);
            surroundings.respond();
            if polled == Poll::Ready(()) {
                return if time.take_crash() {
                    End::Crashed
                } else {
                    End::Finished
                };
            }
            if time.take_crash() {
                return End::Crashed;
            }
            polls += 1;
            if polls > MOST_POLLS {
                return End::Livelock;
            }
        }
        if step(time, surroundings, until_ms, &mut polls) == Stepped::TimeUp {
            return End::TimeUp;
        }
        if time.take_crash() {
            return End::Crashed;
        }
    }
}

/// Lets time pass while no process runs.
pub fn idle<S: Surroundings>(time: &Time, surroundings: &mut S, until_ms: Millis) {
    let mut stands = 0;
    while step(time, surroundings, until_ms, &mut stands) == Stepped::Moved {}
}

#[derive(PartialEq, Eq)]
enum Stepped {
    Moved,
    TimeUp,
}

/// Jumps to the next thing that happens, the world's before the timers' so that what arrives now is seen now.
fn step<S: Surroundings>(time: &Time, surroundings: &mut S, until_ms: Millis, polls: &mut u32) -> Stepped {
    let event_ms = surroundings.next_event_ms().unwrap_or(Millis::MAX);
    let timer_ms = time.next_timer_ms().unwrap_or(Millis::MAX);
    let next_ms = event_ms.min(timer_ms).max(time.true_ms());
    if next_ms >= until_ms {
        time.set(until_ms);
        surroundings.advance(until_ms);
        return Stepped::TimeUp;
    }
    if next_ms > time.true_ms() {
        *polls = 0;
        time.set(next_ms);
    } else {
        *polls += 1;
        assert!(
            *polls <= 2 * MOST_POLLS,
            "something in the world is due for ever at {next_ms}"
        );
    }
    if event_ms <= next_ms {
        surroundings.advance(next_ms);
    }
    time.fire();
    Stepped::Moved
}
