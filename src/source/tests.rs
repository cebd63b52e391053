//! Fakes for the unit tests of sources.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use crate::control::ports::{
    Answer, Clock, Completeness, MetricsSource, Randomness, ReadRequest, Selector, SourceError,
    SourceErrorKind,
};
use crate::policy::config::Millis;
use crate::policy::observation::Now;
use crate::recording::Labels;

/// A clock that only moves when somebody sleeps, and then at once.
#[derive(Debug, Default)]
pub(super) struct Timer(Cell<Millis>);

impl Timer {
    pub(super) fn advance(&self, by_ms: Millis) {
        self.0.set(self.0.get() + by_ms);
    }
}

impl Clock for Timer {
    fn now(&self) -> Now {
        Now::at(self.0.get())
    }

    async fn sleep_until(&self, timer_ms: Millis) {
        self.0.set(self.0.get().max(timer_ms));
    }
}

/// Always in the middle.
#[derive(Debug, Default)]
pub(super) struct Dice;

impl Randomness for Dice {
    fn next(&self) -> u64 {
        100
    }
}

/// A source that gives one result after the other and counts.
#[derive(Debug, Default)]
pub(super) struct Counted {
    results: RefCell<VecDeque<Result<Answer, SourceError>>>,
    asked: RefCell<Vec<(Selector, Millis)>>,
    takes: RefCell<Option<(Millis, Rc<Timer>)>>,
}

impl Counted {
    pub(super) fn saying(results: Vec<Result<Answer, SourceError>>) -> Self {
        Self {
            results: RefCell::new(results.into()),
            ..Self::default()
        }
    }

    /// Every read takes that long.
    pub(super) fn takes(&self, ms: Millis, clock: &Rc<Timer>) {
        self.takes.replace(Some((ms, Rc::clone(clock))));
    }

    pub(super) fn reads(&self) -> usize {
        self.asked.borrow().len()
    }

    pub(super) fn asked(&self) -> Vec<(Selector, Millis)> {
        self.asked.borrow().clone()
    }
}

impl MetricsSource for Counted {
    async fn read(&self, request: &ReadRequest<'_>) -> Result<Answer, SourceError> {
        let asked = (request.selector.clone(), request.window_ms);
        self.asked.borrow_mut().push(asked);
        if let Some((ms, clock)) = &*self.takes.borrow() {
            clock.advance(*ms);
        }
        let next = self.results.borrow_mut().pop_front();
        next.unwrap_or_else(|| Ok(answer(1)))
    }
}

pub(super) fn selector(name: &'static str) -> Selector {
    Selector::Metric {
        name,
        match_labels: Vec::new(),
    }
}

pub(super) fn request(selector: &Selector, window_ms: Millis) -> ReadRequest<'_> {
    ReadRequest {
        source: "default",
        selector,
        window_ms,
        as_of_ms: None,
    }
}

/// An answer with one sample.
pub(super) fn answer(at_ms: Millis) -> Answer {
    let labels = Labels::new("m", [("gpu", "0")]).unwrap();
    Answer {
        now_ms: at_ms,
        completeness: Completeness::Whole,
        series: [(Arc::new(labels), vec![(at_ms, 0.5)])].into_iter().collect(),
    }
}

pub(super) fn error(kind: SourceErrorKind) -> SourceError {
    SourceError {
        kind,
        message: "as told".to_owned(),
    }
}
