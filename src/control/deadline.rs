//! Guards around foreign futures: one against taking too long, one against panics.
//!
//! Every call of a port and every tick goes through both, so that one policy that hangs or dies leaves the others
//! alone. Time comes from the [`Clock`] port, so the guards know no runtime and work in virtual time.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::pin;

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use thiserror::Error;

use crate::policy::config::Millis;

use super::ports::Clock;

/// Something did not come back in time; it was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no answer within {after_ms} ms")]
pub struct TimedOut {
    /// How long it was given.
    pub after_ms: Millis,
}

/// Awaits a future for at most `after_ms` of the monotonic clock, and drops it then. One that is ready exactly when
/// its time is over is in time.
///
/// # Errors
/// [`TimedOut`] if it did not come back.
pub async fn with_timeout<C: Clock, T>(
    clock: &C,
    after_ms: Millis,
    future: impl Future<Output = T>,
) -> Result<T, TimedOut> {
    let deadline_ms = clock.now().timer_ms.saturating_add(after_ms);
    match select(pin!(future), pin!(clock.sleep_until(deadline_ms))).await {
        Either::Left((value, _)) => Ok(value),
        Either::Right(((), _)) => Err(TimedOut { after_ms }),
    }
}

/// Awaits a future and stops a panic in it here. What the future shared with others may be half changed then: the
/// caller must throw away, or check, what it had lent.
///
/// # Errors
/// The words of the panic.
pub async fn guarded<T>(future: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(future)
        .catch_unwind()
        .await
        .map_err(|panic| words(panic.as_ref()))
}

fn words(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|words| (*words).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};
    use std::rc::Rc;
    use std::task::{Context, Poll};

    use futures_util::task::noop_waker;

    use crate::policy::observation::Now;

    use super::*;

    /// A clock that is moved by hand.
    #[derive(Default)]
    struct HandClock(Cell<Millis>);

    impl Clock for HandClock {
        fn now(&self) -> Now {
            Now::at(self.0.get())
        }

        async fn sleep_until(&self, timer_ms: Millis) {
            std::future::poll_fn(|_| {
                if self.0.get() >= timer_ms {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
        }
    }

    /// Says when it is dropped.
    struct Dropped(Rc<Cell<bool>>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.set(true);
        }
    }

    #[test]
    fn what_is_ready_comes_through() {
        let clock = HandClock::default();
        assert_eq!(with_timeout(&clock, 10, ready(7)).now_or_never(), Some(Ok(7)));
    }

    #[test]
    fn what_is_ready_when_its_time_is_over_is_in_time() {
        let clock = HandClock::default();
        assert_eq!(with_timeout(&clock, 0, ready(7)).now_or_never(), Some(Ok(7)));
    }

    #[test]
    fn what_hangs_is_dropped_when_its_time_is_over() {
        let clock = HandClock(Cell::new(100));
        let dropped = Rc::new(Cell::new(false));
        let guard = Dropped(Rc::clone(&dropped));
        let hangs = async move {
            let _guard = guard;
            pending::<()>().await;
        };
        let waker = noop_waker();
        let mut context = Context::from_waker(&waker);
        {
            let mut waits = pin!(with_timeout(&clock, 50, hangs));
            for (now_ms, expected) in [
                (100, Poll::Pending),
                (149, Poll::Pending),
                (150, Poll::Ready(Err(TimedOut { after_ms: 50 }))),
            ] {
                clock.0.set(now_ms);
                assert_eq!(waits.as_mut().poll(&mut context), expected, "at {now_ms}");
            }
            assert!(
                dropped.get(),
                "the future goes with its time, not with the wait for it"
            );
        }
    }

    #[test]
    fn a_time_without_end_does_not_overflow() {
        let clock = HandClock(Cell::new(100));
        assert_eq!(
            with_timeout(&clock, Millis::MAX, pending::<()>()).now_or_never(),
            None
        );
    }

    #[test]
    fn a_timeout_says_how_long_it_was() {
        assert_eq!(TimedOut { after_ms: 50 }.to_string(), "no answer within 50 ms");
    }

    #[test]
    fn a_panic_is_stopped_with_its_words() {
        let check = |future: std::pin::Pin<Box<dyn Future<Output = ()>>>, words: &str| {
            assert_eq!(guarded(future).now_or_never(), Some(Err(words.to_owned())));
        };
        check(Box::pin(async { panic!("planted") }), "planted");
        let number = 7;
        check(Box::pin(async move { panic!("planted {number}") }), "planted 7");
        check(
            Box::pin(async { std::panic::panic_any(7) }),
            "a panic without words",
        );
    }

    #[test]
    fn no_panic_changes_nothing() {
        assert_eq!(guarded(ready(7)).now_or_never(), Some(Ok(7)));
    }

    #[test]
    fn a_panic_drops_what_the_future_held() {
        let dropped = Rc::new(Cell::new(false));
        let guard = Dropped(Rc::clone(&dropped));
        let panics = async move {
            let _guard = guard;
            ready(()).await;
            panic!("planted");
        };
        let result: Option<Result<(), String>> = guarded(panics).now_or_never();
        assert!(result.is_some_and(|result| result.is_err()));
        assert!(dropped.get());
    }
}
