//! Takes note of what the controller tells: its ticks, and the records that it keeps.

use std::rc::Rc;

use gpuscale::control::ports::PolicyKey;
use gpuscale::control::{Action, TickResult, Ticked, Watch};
use gpuscale::journal::{ActionRecord, Beginning, JournalError, Sink, TickRecord};
use gpuscale::policy::Evaluation;
use gpuscale::policy::evaluation::Quality;

use crate::chance::draw;
use crate::event::{Decided, Event, PolicyId};
use crate::ports::{PLANNED_PANIC, Shared};

/// Watches one process.
pub struct SimWatch {
    pub shared: Rc<Shared>,
}

impl Watch for SimWatch {
    fn tick(&self, ticked: &Ticked<'_>) {
        let policy = self.shared.policy(ticked.policy);
        let decided = match ticked.result {
            TickResult::Decided(evaluation) => Some(told(evaluation)),
            TickResult::Panicked(words) => {
                if words != PLANNED_PANIC {
                    self.shared.trouble("no-panic", format!("policy {policy} panicked: {words}"));
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
        Some(Box::new(Keeper {
            policy: self.shared.policy(policy),
            shared: Rc::clone(&self.shared),
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
        known: evaluation.signals().iter().all(|signal| signal.quality == Quality::Good),
        checksum: checksum(evaluation),
    }
}

/// A checksum over everything in an evaluation that is decided.
fn checksum(evaluation: &Evaluation) -> u64 {
    let decision = &evaluation.decision;
    let mut sum = draw(
        evaluation.at.wall_ms.cast_unsigned(),
        &[u64::from(decision.from), u64::from(decision.to), u64::from(decision.wish), u64::from(decision.unplaced)],
    );
    for signal in evaluation.signals() {
        let words = [
            signal.quality as u64,
            signal.demand_low.cast_unsigned(),
            signal.demand_high.cast_unsigned(),
            signal.up as u64,
            signal.down as u64,
            u64::from(signal.needs_up),
            u64::from(signal.needs_down),
        ];
        sum = draw(sum, &words);
    }
    for step in evaluation.steps() {
        let words = [step.rule as u64, step.effect as u64, u64::from(step.after), step.value.cast_unsigned()];
        sum = draw(sum, &words);
    }
    sum
}

/// Keeps the records of one policy in one process.
struct Keeper {
    policy: PolicyId,
    shared: Rc<Shared>,
}

impl Sink for Keeper {
    fn begin(&mut self, _beginning: &Beginning<'_>) -> Result<(), JournalError> {
        Ok(())
    }

    fn tick(&mut self, tick: &TickRecord<'_>) -> Result<(), JournalError> {
        if let Some(decided) = &tick.decided {
            let decision = &decided.evaluation.decision;
            self.shared.log(Event::Recorded {
                policy: self.policy,
                from: decision.from,
                to: decision.to,
            });
        }
        Ok(())
    }

    fn action(&mut self, _action: &ActionRecord<'_>) -> Result<(), JournalError> {
        Ok(())
    }
}
