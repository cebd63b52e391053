//! Who is told what the loop does, behind the log and the metrics: the journals, and whoever waits for first decisions.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gpuscale::control::ports::PolicyKey;
use gpuscale::control::{Action, TickResult, Ticked, Watch};
use gpuscale::journal::{ActionRecord, Beginning, JournalError, Limits, Sink, TickRecord, Writer};
use tokio::sync::Notify;

use super::store::Journals;
use crate::cli::journal_dir::Directory;

/// What came of the first ticks.
#[derive(Debug, Default)]
pub(super) struct First {
    policies: RefCell<BTreeMap<PolicyKey, Option<Outcome>>>,
    ready: Arc<AtomicBool>,
    changed: Notify,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Decided(String),
    Held(String),
}

impl First {
    /// These are the policies from now on.
    pub(super) fn await_first(&self, policies: impl Iterator<Item = PolicyKey>) {
        let before = self.policies.take();
        let kept = policies.map(|policy| {
            let outcome = before.get(&policy).cloned().flatten();
            (policy, outcome)
        });
        self.policies.replace(kept.collect());
        self.note();
    }

    /// Whether every policy has ticked, for whoever asks from another thread.
    pub(super) fn readiness(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.ready)
    }

    /// Comes back once every policy has ticked.
    pub(super) async fn all(&self) {
        loop {
            let changed = self.changed.notified();
            if self.ready.load(Ordering::Relaxed) {
                return;
            }
            changed.await;
        }
    }

    /// A line for each policy.
    pub(super) fn lines(&self) -> Vec<String> {
        let policies = self.policies.borrow();
        let line = |(policy, outcome): (&PolicyKey, &Option<Outcome>)| match outcome {
            Some(Outcome::Decided(words)) => format!("{policy}: {words}"),
            Some(Outcome::Held(words)) => format!("{policy}: no decision: {words}"),
            None => format!("{policy}: it was not its turn yet"),
        };
        policies.iter().map(line).collect()
    }

    /// Policies that could not decide.
    pub(super) fn undecided(&self) -> Vec<String> {
        let policies = self.policies.borrow();
        let undecided = policies
            .iter()
            .filter(|(_, outcome)| !matches!(outcome, Some(Outcome::Decided(_))));
        undecided.map(|(policy, _)| policy.to_string()).collect()
    }

    fn tick(&self, tick: &Ticked<'_>) {
        let outcome = match tick.result {
            TickResult::Decided(evaluation) => {
                Outcome::Decided(gpuscale::report::explain::headline(evaluation))
            }
            TickResult::Held { reason, message } => Outcome::Held(format!("{reason}: {message}")),
            TickResult::TimedOut => Outcome::Held("the tick took too long".to_owned()),
            TickResult::Panicked(words) => Outcome::Held(format!("a fault of this program: {words}")),
        };
        if let Some(first) = self.policies.borrow_mut().get_mut(tick.policy) {
            first.get_or_insert(outcome);
        }
        self.note();
    }

    fn note(&self) {
        let ready = self.policies.borrow().values().all(Option::is_some);
        self.ready.store(ready, Ordering::Relaxed);
        self.changed.notify_waiters();
    }
}

/// Keeps journals and notes first ticks.
#[derive(Debug)]
pub(super) struct Watching {
    first: Rc<First>,
    journals: Option<Journals>,
}

impl Watching {
    pub(super) fn new(first: Rc<First>, journals: Option<Journals>) -> Self {
        Self { first, journals }
    }
}

impl Watch for Watching {
    fn tick(&self, tick: &Ticked<'_>) {
        self.first.tick(tick);
    }

    fn action(&self, _: &Action<'_>) {}

    fn journal(&self, policy: &PolicyKey) -> Option<Box<dyn Sink>> {
        let journals = self.journals.as_ref()?;
        let folder = journals
            .of(policy)
            .map_err(|error| JournalError(error.to_string()));
        let writer = folder.and_then(|folder| Writer::new(Directory::new(&folder), Limits::default()));
        Some(match writer {
            Ok(writer) => Box::new(writer),
            Err(error) => {
                tracing::error!(%policy, %error, "the journal cannot be kept; nothing is taken away without one");
                Box::new(Broken(error))
            }
        })
    }
}

/// A journal that cannot be kept, and says so whenever it is asked to.
#[derive(Debug)]
struct Broken(JournalError);

impl Broken {
    fn refuse(&self) -> Result<(), JournalError> {
        Err(self.0.clone())
    }
}

impl Sink for Broken {
    fn begin(&mut self, _: &Beginning<'_>) -> Result<(), JournalError> {
        self.refuse()
    }

    fn tick(&mut self, _: &TickRecord<'_>) -> Result<(), JournalError> {
        self.refuse()
    }

    fn action(&mut self, _: &ActionRecord<'_>) -> Result<(), JournalError> {
        self.refuse()
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        self.refuse()
    }
}
