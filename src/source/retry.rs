//! A source that is asked again when the failure is one that passes, and is left alone when it says so.
//!
//! A refused connection, a reset one, a proxy without a backend: the next attempt may well succeed, and a tick without
//! data is a tick that shrinks nothing and grows nothing. But a source in trouble is not helped by more questions. So there
//! are at most two more attempts, spread by chance, and none once half of the time is over. A timeout is not tried again: who
//! did not answer in ten seconds will not in the next ten.
//!
//! A server that answers 429 is not asked anything until the time that it names is over, by any policy.

use std::cell::Cell;
use std::rc::Rc;

use crate::control::ports::{
    Answer, Clock, MetricsSource, Randomness, ReadRequest, SourceError, SourceErrorKind,
};
use crate::policy::config::Millis;

/// Attempts after the first.
const MORE: u32 = 2;

/// The first wait, on average; each one after it is twice as long.
const FIRST_WAIT_MS: u64 = 200;

/// How long a server is left alone that says "too many" and not for how long.
const UNNAMED_WAIT_MS: Millis = 5_000;

/// A source with patience.
#[derive(Debug)]
pub struct Retried<S, C, R> {
    source: S,
    clock: Rc<C>,
    randomness: Rc<R>,
    /// No attempt begins later than this after the first.
    limit_ms: Millis,
    /// Timer until which the source is left alone.
    quiet_until_ms: Cell<Millis>,
}

impl<S, C: Clock, R: Randomness> Retried<S, C, R> {
    /// A source that is tried again for up to half of `timeout_ms`.
    pub fn new(source: S, clock: Rc<C>, randomness: Rc<R>, timeout_ms: Millis) -> Self {
        Self {
            source,
            clock,
            randomness,
            limit_ms: timeout_ms / 2,
            quiet_until_ms: Cell::new(Millis::MIN),
        }
    }

    /// The source itself.
    pub fn inner(&self) -> &S {
        &self.source
    }

    /// How long to wait before attempt number `attempt`, counted from 1: between half the step and one and a half.
    fn wait_ms(&self, attempt: u32) -> Millis {
        let step = FIRST_WAIT_MS << (attempt - 1);
        let wait = step / 2 + self.randomness.next() % step;
        Millis::try_from(wait).unwrap_or(Millis::MAX)
    }

    fn quiet(&self) -> Result<(), SourceError> {
        let left_ms = self
            .quiet_until_ms
            .get()
            .saturating_sub(self.clock.now().timer_ms);
        if left_ms <= 0 {
            return Ok(());
        }
        Err(SourceError {
            kind: SourceErrorKind::Throttled(Some(left_ms)),
            message: format!("it asked to be left alone for another {left_ms} ms"),
        })
    }
}

/// Whether the next attempt may succeed.
fn passes(kind: SourceErrorKind) -> bool {
    matches!(
        kind,
        SourceErrorKind::Unreachable | SourceErrorKind::Status(500 | 502 | 503 | 504)
    )
}

impl<S: MetricsSource, C: Clock, R: Randomness> MetricsSource for Retried<S, C, R> {
    async fn read(&self, request: &ReadRequest<'_>) -> Result<Answer, SourceError> {
        self.quiet()?;
        let started_ms = self.clock.now().timer_ms;
        let mut attempt = 0;
        loop {
            let error = match self.source.read(request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let now_ms = self.clock.now().timer_ms;
            if let SourceErrorKind::Throttled(wait_ms) = error.kind {
                let until_ms = now_ms.saturating_add(wait_ms.unwrap_or(UNNAMED_WAIT_MS));
                self.quiet_until_ms.set(self.quiet_until_ms.get().max(until_ms));
                return Err(error);
            }
            attempt += 1;
            if attempt > MORE || !passes(error.kind) {
                return Err(error);
            }
            let next_ms = now_ms.saturating_add(self.wait_ms(attempt));
            if next_ms.saturating_sub(started_ms) > self.limit_ms {
                return Err(error);
            }
            self.clock.sleep_until(next_ms).await;
            // Somebody else may have been told to leave it alone in the meantime.
            self.quiet()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use crate::source::tests::{Counted, Dice, Timer, answer, error, request, selector};

    use super::*;

    fn retried(results: Vec<Result<Answer, SourceError>>) -> Retried<Counted, Timer, Dice> {
        let (clock, dice) = (Rc::new(Timer::default()), Rc::new(Dice));
        Retried::new(Counted::saying(results), clock, dice, 10_000)
    }

    fn read(source: &Retried<Counted, Timer, Dice>) -> Result<Answer, SourceError> {
        let selector = selector("m");
        source.read(&request(&selector, 60_000)).now_or_never().unwrap()
    }

    #[test]
    fn a_failure_that_passes_is_tried_again_at_most_twice() {
        let reset = || Err(error(SourceErrorKind::Unreachable));
        let gateway = || Err(error(SourceErrorKind::Status(502)));
        let source = retried(vec![reset(), gateway(), Ok(answer(1))]);
        assert!(read(&source).is_ok());
        assert_eq!(source.inner().reads(), 3);
        let waited_ms = source.clock.now().timer_ms;
        assert!((300..=900).contains(&waited_ms), "{waited_ms}");

        let source = retried(vec![reset(), reset(), reset(), Ok(answer(1))]);
        assert_eq!(read(&source).unwrap_err().kind, SourceErrorKind::Unreachable);
        assert_eq!(source.inner().reads(), 3);
    }

    #[test]
    fn what_another_attempt_would_not_change_is_an_error_at_once() {
        for kind in [
            SourceErrorKind::Timeout,
            SourceErrorKind::Status(401),
            SourceErrorKind::Status(404),
            SourceErrorKind::Query,
            SourceErrorKind::Malformed,
            SourceErrorKind::TooLarge,
            SourceErrorKind::Credential,
        ] {
            let source = retried(vec![Err(error(kind)), Ok(answer(1))]);
            assert_eq!(read(&source).unwrap_err().kind, kind);
            assert_eq!((source.inner().reads(), source.clock.now().timer_ms), (1, 0));
        }
    }

    #[test]
    fn a_source_that_asks_to_be_left_alone_is() {
        let throttled = |wait_ms| Err(error(SourceErrorKind::Throttled(wait_ms)));
        for (said, until_ms) in [(Some(7_000), 7_000), (None, UNNAMED_WAIT_MS)] {
            let source = retried(vec![throttled(said), Ok(answer(1))]);
            assert!(read(&source).is_err());
            source.clock.advance(until_ms - 1);
            let left = read(&source).unwrap_err();
            assert_eq!(left.kind, SourceErrorKind::Throttled(Some(1)));
            assert_eq!(source.inner().reads(), 1);
            source.clock.advance(1);
            assert!(read(&source).is_ok());
        }
    }

    #[test]
    fn no_attempt_begins_when_half_of_the_time_is_over() {
        let source = retried(vec![Err(error(SourceErrorKind::Unreachable)), Ok(answer(1))]);
        source.inner().takes(4_950, &source.clock);
        assert!(read(&source).is_err());
        assert_eq!(source.inner().reads(), 1);
    }
}
