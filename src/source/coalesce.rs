//! The same question of many policies is asked once.
//!
//! Policies on one source mostly ask the same: the power of the fleet, its XIDs, the utilization of a pool that two of them
//! watch. A question that is being asked is not asked again, and an answer of a few seconds ago is one. Windows are rounded
//! up, since they differ by the milliseconds that ticks are late, and an answer of a longer window serves a shorter one:
//! the loop takes every sample once, however often it comes.
//!
//! A failure is shared as well. It is no better when a thousand policies ask for it one by one.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, Shared, WeakShared};

use crate::control::FIRST_TICKS_SPREAD_MS;
use crate::control::ports::{Answer, Clock, Completeness, MetricsSource, ReadRequest, Selector, SourceError};
use crate::policy::config::Millis;

use super::remembered::Remembered;

/// Windows are rounded up to multiples of this.
const STEP_MS: Millis = 15_000;

/// How old an answer may be to serve again: the time over which the first ticks of policies are spread. It is less than the
/// shortest time between two ticks of one policy, which would be told its own answer twice.
const FRESH_MS: Millis = FIRST_TICKS_SPREAD_MS;

type Outcome = Rc<Result<Answer, SourceError>>;

type Flight = LocalBoxFuture<'static, Outcome>;

/// A source whose answers are shared.
#[derive(Debug)]
pub struct Coalesced<S, C> {
    source: Rc<S>,
    clock: Rc<C>,
    asked: RefCell<BTreeMap<Selector, Asked>>,
    swept_ms: Cell<Millis>,
    counts: RefCell<Counts>,
    /// Questions whose last answer was none, or not whole, by the word for it.
    failing: Remembered<&'static str>,
}

/// Questions of policies, and those of them that the source was asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counts {
    /// Questions of policies.
    pub reads: u64,
    /// Questions to the source.
    pub queries: u64,
    /// Those of them that had no answer, by the word for the kind of failure, and those whose answer was `partial`.
    pub failures: BTreeMap<&'static str, u64>,
}

/// The word for answers that lack something.
pub const PARTIAL: &str = "partial";

/// The last time that something was asked.
#[derive(Debug)]
struct Asked {
    window_ms: Millis,
    state: State,
}

enum State {
    /// It ends when nobody waits for it any more.
    Flying(WeakShared<Flight>),
    Landed {
        at_ms: Millis,
        outcome: Outcome,
    },
}

impl core::fmt::Debug for State {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Flying(_) => "Flying",
            Self::Landed { .. } => "Landed",
        })
    }
}

/// Where an answer is to be had.
enum Found {
    Here(Outcome),
    Coming(Shared<Flight>),
}

impl<S: MetricsSource + 'static, C: Clock + 'static> Coalesced<S, C> {
    /// A source that is asked each question once at a time.
    pub fn new(source: S, clock: Rc<C>) -> Self {
        Self {
            source: Rc::new(source),
            clock,
            asked: RefCell::default(),
            swept_ms: Cell::new(Millis::MIN),
            counts: RefCell::default(),
            failing: Remembered::default(),
        }
    }

    /// The source itself.
    pub fn inner(&self) -> &S {
        &self.source
    }

    /// What was asked since the start.
    pub fn counts(&self) -> Counts {
        self.counts.borrow().clone()
    }

    /// An answer that is there or on its way.
    fn find(&self, request: &ReadRequest<'_>, now_ms: Millis) -> Option<Found> {
        let asked = self.asked.borrow();
        let last = asked
            .get(request.selector)
            .filter(|last| last.window_ms >= request.window_ms)?;
        match &last.state {
            State::Flying(flight) => flight.upgrade().map(Found::Coming),
            State::Landed { at_ms, outcome } => {
                (now_ms.saturating_sub(*at_ms) < FRESH_MS).then(|| Found::Here(Rc::clone(outcome)))
            }
        }
    }

    fn ask(&self, request: &ReadRequest<'_>) -> Shared<Flight> {
        let window_ms = round_up(request.window_ms);
        let (name, selector) = (request.source.to_owned(), request.selector.clone());
        let source = Rc::clone(&self.source);
        let flight: Flight = async move {
            let request = ReadRequest {
                source: &name,
                selector: &selector,
                window_ms,
                as_of_ms: None,
            };
            Rc::new(source.read(&request).await)
        }
        .boxed_local();
        let flight = flight.shared();
        if let Some(weak) = flight.downgrade() {
            let asked = Asked {
                window_ms,
                state: State::Flying(weak),
            };
            self.asked.borrow_mut().insert(request.selector.clone(), asked);
        }
        flight
    }

    /// Keeps an answer for those who ask next. A flight that was overtaken by a longer one keeps nothing.
    fn land(&self, request: &ReadRequest<'_>, flight: &Shared<Flight>, outcome: &Outcome) {
        let at_ms = self.clock.now().timer_ms;
        if let Some(asked) = self.asked.borrow_mut().get_mut(request.selector)
            && let State::Flying(weak) = &asked.state
            && weak.upgrade().is_some_and(|known| known.ptr_eq(flight))
        {
            asked.state = State::Landed {
                at_ms,
                outcome: Rc::clone(outcome),
            };
            self.note(request, outcome);
        }
    }

    /// Counts what went wrong, and writes it down where it is news.
    fn note(&self, request: &ReadRequest<'_>, outcome: &Outcome) {
        let (word, words) = match &**outcome {
            Err(error) => (Some(error.kind.as_str()), error.message.as_str()),
            Ok(answer) => match &answer.completeness {
                Completeness::Partial(words) => (Some(PARTIAL), words.as_str()),
                Completeness::Whole => (None, ""),
            },
        };
        let before = match word {
            Some(word) => {
                *self.counts.borrow_mut().failures.entry(word).or_default() += 1;
                let timer_ms = self.clock.now().timer_ms;
                self.failing.keep(request.selector, word, timer_ms)
            }
            None => self.failing.take(request.selector),
        };
        let (source, question) = (request.source, request.selector);
        match (before, word) {
            (before, Some(word)) if before != Some(word) => {
                tracing::warn!(source, %question, kind = word, message = words, "no whole answer");
            }
            (Some(_), None) => tracing::info!(source, %question, "answers again"),
            _ => {}
        }
    }

    /// Lets go of answers that serve nobody any more: those of whole windows are large.
    fn sweep(&self, now_ms: Millis) {
        if now_ms.saturating_sub(self.swept_ms.get()) < FRESH_MS {
            return;
        }
        self.swept_ms.set(now_ms);
        self.asked.borrow_mut().retain(|_, asked| match &asked.state {
            State::Flying(flight) => flight.upgrade().is_some(),
            State::Landed { at_ms, .. } => now_ms.saturating_sub(*at_ms) < FRESH_MS,
        });
    }
}

fn round_up(window_ms: Millis) -> Millis {
    let steps = window_ms.div_euclid(STEP_MS) + Millis::from(window_ms.rem_euclid(STEP_MS) > 0);
    steps.saturating_mul(STEP_MS)
}

impl<S: MetricsSource + 'static, C: Clock + 'static> MetricsSource for Coalesced<S, C> {
    async fn read(&self, request: &ReadRequest<'_>) -> Result<Answer, SourceError> {
        if request.as_of_ms.is_some() {
            // Of the past, which nobody asks for twice.
            return self.source.read(request).await;
        }
        let now_ms = self.clock.now().timer_ms;
        self.sweep(now_ms);
        let found = self.find(request, now_ms);
        {
            let mut counts = self.counts.borrow_mut();
            counts.reads += 1;
            counts.queries += u64::from(found.is_none());
        }
        let flight = match found {
            Some(Found::Here(outcome)) => return Result::clone(&outcome),
            Some(Found::Coming(flight)) => flight,
            None => self.ask(request),
        };
        let outcome = flight.clone().await;
        self.land(request, &flight, &outcome);
        Result::clone(&outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use crate::control::ports::SourceErrorKind;
    use crate::source::tests::{Counted, Timer, answer, error, request, selector};

    use super::*;

    fn coalesced<S: MetricsSource + 'static>(source: S) -> Coalesced<S, Timer> {
        Coalesced::new(source, Rc::new(Timer::default()))
    }

    fn read(source: &Coalesced<Counted, Timer>, name: &'static str, window_ms: Millis) -> bool {
        let selector = selector(name);
        let read = source.read(&request(&selector, window_ms)).now_or_never();
        read.unwrap().is_ok()
    }

    #[test]
    fn a_fresh_answer_serves_everybody_who_asks_for_no_more() {
        let source = coalesced(Counted::default());
        assert!(read(&source, "a", 45_007));
        assert!(read(&source, "a", 45_007));
        assert!(read(&source, "a", 60_000));
        source.clock.advance(FRESH_MS - 1);
        assert!(read(&source, "a", 12_000));
        assert_eq!(source.inner().asked(), [(selector("a"), 60_000)]);
        // A longer window, another question, and one that is old are asked.
        assert!(read(&source, "a", 60_001));
        assert!(read(&source, "b", 60_000));
        source.clock.advance(FRESH_MS);
        assert!(read(&source, "a", 60_000));
        let asked: Vec<Millis> = source.inner().asked().into_iter().map(|asked| asked.1).collect();
        assert_eq!(asked, [60_000, 75_000, 60_000, 60_000]);
        let counts = Counts {
            reads: 7,
            queries: 4,
            ..Counts::default()
        };
        assert_eq!(source.counts(), counts);
    }

    #[test]
    fn a_failure_is_shared_for_a_moment_too() {
        let failed = Err(error(SourceErrorKind::Timeout));
        let source = coalesced(Counted::saying(vec![failed, Ok(answer(1))]));
        assert!(!read(&source, "a", 60_000));
        assert!(!read(&source, "a", 60_000));
        source.clock.advance(FRESH_MS);
        assert!(read(&source, "a", 60_000));
    }

    #[test]
    fn what_nobody_will_be_served_with_is_let_go() {
        let source = coalesced(Counted::default());
        for name in ["a", "b", "c"] {
            assert!(read(&source, name, 3_600_000));
        }
        source.clock.advance(FRESH_MS);
        assert!(read(&source, "d", 60_000));
        assert_eq!(source.asked.borrow().len(), 1);
    }

    /// Answers when it is told to.
    #[derive(Debug, Default)]
    struct Held {
        reads: Cell<u32>,
        open: Cell<bool>,
    }

    impl MetricsSource for Held {
        async fn read(&self, _: &ReadRequest<'_>) -> Result<Answer, SourceError> {
            self.reads.set(self.reads.get() + 1);
            std::future::poll_fn(|_| {
                if self.open.get() {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
            .await;
            Ok(answer(1))
        }
    }

    #[test]
    fn a_question_that_is_being_asked_is_waited_for_also_when_the_first_one_leaves() {
        let source = coalesced(Held::default());
        let selector = selector("a");
        let short = request(&selector, 60_000);
        let mut context = Context::from_waker(Waker::noop());
        let mut first = Box::pin(source.read(&short));
        let mut second = pin!(source.read(&short));
        assert!(first.as_mut().poll(&mut context).is_pending());
        assert!(second.as_mut().poll(&mut context).is_pending());
        // Its tick ran out of time; the other one still gets an answer.
        drop(first);
        source.inner().open.set(true);
        assert!(matches!(second.as_mut().poll(&mut context), Poll::Ready(Ok(_))));
        assert_eq!(source.inner().reads.get(), 1);
        // Nobody waits any more: the question is dropped, and the next one is a new one.
        source.inner().open.set(false);
        let long = request(&selector, 600_000);
        {
            let mut third = pin!(source.read(&long));
            assert!(third.as_mut().poll(&mut context).is_pending());
        }
        source.inner().open.set(true);
        let fourth = source.read(&long).now_or_never();
        assert!(fourth.unwrap().is_ok());
        assert_eq!(source.inner().reads.get(), 3);
    }
}
