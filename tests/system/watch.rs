//! Takes note of what the controller tells: its ticks, and the records that it keeps.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use gpuscale::control::ports::PolicyKey;
use gpuscale::control::{Action, Policy, TickResult, Ticked, Watch};
use gpuscale::journal::{
    self, ActionRecord, Beginning, InMemory, JournalError, Limits, Replay, Replayer, Segments, Sink,
    TickRecord, Writer,
};
use gpuscale::policy::Evaluation;
use gpuscale::policy::evaluation::Quality;

use crate::event::{Decided, Event, PolicyId};
use crate::gate::Change;
use crate::ports::{PLANNED_PANIC, Shared, policy_of};

/// Watches one process.
pub struct SimWatch {
    pub shared: Rc<Shared>,
}

impl Watch for SimWatch {
    fn tick(&self, ticked: &Ticked<'_>) {
        let policy = policy_of(ticked.policy);
        let decided = match ticked.result {
            TickResult::Decided(evaluation) => Some(told(evaluation)),
            TickResult::Panicked(words) => {
                if words != PLANNED_PANIC {
                    self.shared
                        .trouble("no-panic", format!("policy {policy} panicked: {words}"));
                }
                None
            }
            TickResult::Held { .. } | TickResult::TimedOut => None,
        };
        self.shared.log(Event::Ticked { policy, decided });
    }

    fn action(&self, action: &Action<'_>) {
        if self.shared.is_verbose() {
            let now_ms = self.shared.time.true_ms();
            println!(
                "{} action {}: {} -> {} {} {}",
                crate::run::clock_face(now_ms),
                action.pool,
                action.from,
                action.to,
                action.what,
                action.message
            );
        }
    }

    fn journal(&self, policy: &PolicyKey) -> Option<Box<dyn Sink>> {
        let policy = policy_of(policy);
        let writer = Writer::new(self.shared.shelves[policy].clone(), Limits::default());
        Some(Box::new(Keeper {
            policy,
            shared: Rc::clone(&self.shared),
            writer: writer.expect("there is memory"),
        }))
    }
}

/// What the log keeps of an evaluation.
fn told(evaluation: &Evaluation) -> Decided {
    let decision = &evaluation.decision;
    Decided {
        from: decision.from,
        to: decision.to,
        wish: decision.wish,
        reason: decision.reason.as_str(),
        known: evaluation
            .signals()
            .iter()
            .all(|signal| signal.quality == Quality::Good),
        checksum: evaluation.checksum(),
    }
}

/// Bytes of a policy's journal, which outlive the process that writes them.
#[derive(Debug, Clone, Default)]
pub struct Shelf(Rc<RefCell<InMemory>>);

impl Segments for Shelf {
    fn kept(&self) -> Vec<(u64, u64)> {
        self.0.borrow().kept()
    }

    fn append(&mut self, segment: u64, bytes: &[u8]) -> Result<(), JournalError> {
        self.0.borrow_mut().append(segment, bytes)
    }

    fn drop_segment(&mut self, segment: u64) -> Result<(), JournalError> {
        self.0.borrow_mut().drop_segment(segment)
    }
}

impl Shelf {
    /// Makes every decision in it again, of which most were by `policy`; what is wrong, if anything is.
    pub fn replay(&self, policy: Policy) -> Result<Replay, String> {
        let known = journal::Policy {
            name: policy.key.name.to_string(),
            config: policy.config,
            queries: policy.queries,
        };
        let mut replayer = Replayer::new(None).knowing(&policy.document, known);
        for (number, segment) in &self.0.borrow().segments {
            let fed = replayer.segment(&number.to_string(), segment.as_slice(), &mut |_| {});
            fed.map_err(|error| error.to_string())?;
        }
        let replay = replayer.finish();
        if let Some(difference) = &replay.first_difference {
            return Err(format!(
                "{} decisions came out otherwise, first {difference:?}",
                replay.differing
            ));
        }
        if let Some(fault) = replay.faults.first() {
            return Err(format!("{} cannot be read: {}", fault.segment, fault.error));
        }
        Ok(replay)
    }

    /// Writes the segments as files.
    pub fn write(&self, folder: &Path, seed: u64, policy: PolicyId) -> std::io::Result<()> {
        let folder = folder.join(format!("{seed}-policy{policy}"));
        std::fs::create_dir_all(&folder)?;
        for (number, bytes) in &self.0.borrow().segments {
            std::fs::write(folder.join(format!("{number:08}.gsj")), bytes)?;
        }
        Ok(())
    }
}

/// Keeps the records of one policy in one process.
struct Keeper {
    policy: PolicyId,
    shared: Rc<Shared>,
    writer: Writer<Shelf>,
}

impl Sink for Keeper {
    fn begin(&mut self, beginning: &Beginning<'_>) -> Result<(), JournalError> {
        self.writer.begin(beginning)
    }

    fn tick(&mut self, tick: &TickRecord<'_>) -> Result<(), JournalError> {
        self.writer.tick(tick)?;
        if let Some(decided) = &tick.decided {
            let decision = &decided.evaluation.decision;
            let change = if decision.from == decision.to && decision.unplaced == 0 {
                Change::None
            } else {
                Change::Some
            };
            self.shared.gate.borrow_mut().decided(self.policy, change);
            self.shared.log(Event::Recorded {
                policy: self.policy,
                from: decision.from,
                to: decision.to,
            });
        }
        Ok(())
    }

    fn action(&mut self, action: &ActionRecord<'_>) -> Result<(), JournalError> {
        self.writer.action(action)
    }

    fn flush(&mut self) -> Result<(), JournalError> {
        self.writer.flush()
    }
}
