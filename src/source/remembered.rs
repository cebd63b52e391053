//! What is kept of each question from one answer to the next, for as long as it is asked.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::control::ports::Selector;
use crate::policy::config::Millis;

/// How long a question is remembered that nobody asks any more: policies are edited and removed.
const KEPT_MS: Millis = 60 * 60_000;

/// Something for each question.
#[derive(Debug)]
pub(super) struct Remembered<V> {
    all: RefCell<BTreeMap<Selector, (Millis, V)>>,
    swept_ms: Cell<Millis>,
}

impl<V> Default for Remembered<V> {
    fn default() -> Self {
        Self {
            all: RefCell::default(),
            swept_ms: Cell::new(Millis::MIN),
        }
    }
}

impl<V> Remembered<V> {
    /// What was kept, which is then no longer there.
    pub(super) fn take(&self, question: &Selector) -> Option<V> {
        self.all.borrow_mut().remove(question).map(|(_, value)| value)
    }

    /// Keeps it, and forgets what has not been kept anew for an hour. Comes back with what was there.
    pub(super) fn keep(&self, question: &Selector, value: V, timer_ms: Millis) -> Option<V> {
        let mut all = self.all.borrow_mut();
        if timer_ms.saturating_sub(self.swept_ms.get()) >= KEPT_MS {
            self.swept_ms.set(timer_ms);
            all.retain(|_, (kept_ms, _)| timer_ms.saturating_sub(*kept_ms) < KEPT_MS);
        }
        let before = all.insert(question.clone(), (timer_ms, value));
        before.map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_asks_any_more_is_forgotten() {
        let remembered = Remembered::default();
        let question = |name: &'static str| Selector::Metric {
            name,
            match_labels: Vec::new(),
        };
        let (old, other) = (question("old"), question("other"));
        assert_eq!(remembered.keep(&old, 1, 0), None);
        for timer_ms in (0..=2 * KEPT_MS).step_by(60_000) {
            remembered.keep(&other, 2, timer_ms);
        }
        assert_eq!(remembered.keep(&other, 3, 2 * KEPT_MS), Some(2));
        assert_eq!((remembered.take(&old), remembered.take(&other)), (None, Some(3)));
        assert_eq!(remembered.take(&other), None);
    }
}
