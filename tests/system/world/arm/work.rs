//! What becomes of an operation once it was accepted: nodes boot and leave, it ends well, badly or never.
//!
//! Things happen at the times on the pool's agenda, not when somebody looks.

use gpuscale::control::ports::{Accepted, Progress};
use gpuscale::policy::config::Millis;
use gpuscale::policy::observation::Failure;

use crate::event::{Event, Left};

use super::chance::Draw;
use super::door::Refusal;
use super::faults::{ArmFault, ArmFaultKind, CountAfter, Said};
use super::operation::{Due, Ending, Fate, Leaves, Monitor, Operation, Over, Pace, Record, Whose, Work};
use super::site::{Resting, Site};
use super::{Machines, Missing, Notes, Taken};

impl Site {
    /// Accepts a resize of ours.
    pub fn accept(&mut self, now_ms: Millis, to: u32, notes: &mut Notes) -> Accepted {
        let number = self.records.len();
        let fate = self.fate(now_ms, number, to, notes);
        let salt = self.chance.draw(Draw::Operation, number as u64);
        let work = self.work(Whose::Ours, to, fate.ending, salt);
        let nothing_to_do = to == self.count && self.platform.missing == Missing::StayAway;
        let quick = fate.ending == Ending::Good
            && fate.monitor == Monitor::Answers
            && !self.faults.has(ArmFaultKind::Overtaken)
            && salt.is_multiple_of(16);
        if nothing_to_do || quick {
            self.do_at_once(now_ms, work);
            let (pool, outcome) = (self.id, Over::Succeeded.word());
            notes.push((
                now_ms,
                Event::OperationEnded {
                    pool,
                    ours: true,
                    outcome,
                },
            ));
            return Accepted {
                operation: None,
                retry_after_ms: None,
            };
        }
        let retry_after_ms = self.begin(now_ms, work, &fate);
        Accepted {
            operation: Some(format!("operations/{}/{number}", self.id)),
            retry_after_ms,
        }
    }

    /// Accepts a write of somebody else.
    pub fn accept_foreign(&mut self, now_ms: Millis, to: u32, pace: Pace) {
        let number = self.records.len();
        let salt = self.chance.draw(Draw::Operation, number as u64);
        let work = self.work(Whose::Foreign, to, Ending::Good, salt);
        match pace {
            Pace::AtOnce => self.do_at_once(now_ms, work),
            Pace::Operation => {
                self.begin(now_ms, work, &Fate::good(self.chance, number));
            }
        }
    }

    /// Brings all nodes of the count back to a pool that has none.
    pub fn bring_back(&mut self, now_ms: Millis) {
        let number = self.records.len();
        let salt = self.chance.draw(Draw::Operation, number as u64);
        let work = self.work(Whose::Foreign, self.count, Ending::Good, salt);
        self.begin(now_ms, Work { from: 0, ..work }, &Fate::good(self.chance, number));
    }

    fn work(&self, whose: Whose, to: u32, ending: Ending, salt: u64) -> Work {
        let leaves = if self.chance.strikes(Draw::Leaves, salt, 50) {
            Leaves::AtStart
        } else {
            Leaves::AtEnd
        };
        let from = self.count;
        Work {
            whose,
            from,
            to,
            ending,
            leaves,
            salt,
        }
    }

    /// What the faults have in store for an operation of ours.
    fn fate(&mut self, now_ms: Millis, number: usize, to: u32, notes: &mut Notes) -> Fate {
        let index = number as u64;
        let mut fate = Fate::good(self.chance, number);
        if self.faults.none() || to == self.count {
            return fate;
        }
        let grows = to > self.count;
        if let Some(ArmFault::Overtaken { by }) = self.faults.get(ArmFaultKind::Overtaken) {
            let percent = self.chance.between(Draw::Moment, index, 10, 90);
            let at_ms = now_ms + fate.duration_ms * percent / 100;
            self.plan(at_ms, Due::Overtake(number, by));
        } else if let Some(ArmFault::Stuck { ms }) = self.faults.get(ArmFaultKind::Stuck) {
            fate.ending = Ending::Stuck;
            fate.duration_ms = ms;
            self.strike(now_ms, ArmFaultKind::Stuck, notes);
        } else if self.faults.has(ArmFaultKind::Lost) {
            fate.monitor = Monitor::Lost;
            if self.chance.strikes(Draw::Moment, index, 50) {
                fate.duration_ms = 1000;
            }
            self.strike(now_ms, ArmFaultKind::Lost, notes);
        } else if let Some(ArmFault::FailsLate { why, count }) = self.faults.get(ArmFaultKind::FailsLate)
            && grows
        {
            fate.ending = Ending::Fails(why, count);
            self.strike(now_ms, ArmFaultKind::FailsLate, notes);
        } else if let Some(ArmFault::PartialFill { said }) = self.faults.get(ArmFaultKind::PartialFill)
            && grows
        {
            fate.ending = Ending::Partial(said);
            self.strike(now_ms, ArmFaultKind::PartialFill, notes);
        }
        fate
    }

    fn do_at_once(&mut self, now_ms: Millis, work: Work) {
        // It has a number like any other, or the draws for the next would be the same.
        self.records.push(Record {
            over: Over::Succeeded,
            monitor: Monitor::Answers,
            retry_after_ms: None,
        });
        self.count = work.to;
        self.resting = Resting::Steady;
        self.changed();
        let leaves = Leaves::AtStart;
        self.plan(now_ms, Due::Begin(None, Work { leaves, ..work }));
    }

    fn begin(&mut self, now_ms: Millis, work: Work, fate: &Fate) -> Option<Millis> {
        let number = self.records.len();
        if let Some(ArmFault::CountLate { ms, view }) = self.faults.get(ArmFaultKind::CountLate) {
            self.hide(view);
            self.plan(now_ms + ms.min(fate.duration_ms), Due::Show);
        }
        let retry_after_ms = match self.chance.between(Draw::RetryAfter, number as u64, 0, 3) {
            0 => None,
            tens => Some(tens * 10_000),
        };
        self.records.push(Record {
            over: Over::Running,
            monitor: fate.monitor,
            retry_after_ms,
        });
        self.count = work.to;
        self.running = Some(Operation {
            number,
            work: Some(work),
            given_up: 0,
        });
        self.changed();
        self.plan(now_ms, Due::Begin(Some(number), work));
        self.plan(now_ms + fate.duration_ms, Due::End(number));
        retry_after_ms
    }

    /// How an operation is getting on.
    pub fn progress(&self, number: usize) -> Result<Progress, Refusal> {
        let record = self
            .records
            .get(number)
            .filter(|record| record.monitor == Monitor::Answers)
            .ok_or(Refusal::GONE)?;
        Ok(match record.over {
            Over::Running => Progress::Running(record.retry_after_ms),
            Over::Succeeded => Progress::Succeeded,
            Over::Failed(refusal) => Progress::Failed(refusal.error()),
            Over::Cancelled => Progress::Cancelled,
        })
    }

    /// Lets something happen.
    pub fn happen<M: Machines>(&mut self, at_ms: Millis, due: Due, machines: &mut M, notes: &mut Notes) {
        match due {
            Due::Begin(None, work) => {
                self.order(at_ms, work, machines, notes);
            }
            Due::Begin(Some(number), work) if self.runs(number) => {
                let given_up = self.order(at_ms, work, machines, notes);
                if let Some(run) = &mut self.running {
                    run.given_up = given_up;
                }
            }
            Due::End(number) if self.runs(number) => self.end(at_ms, machines, notes),
            Due::Overtake(number, by) if self.runs(number) => self.overtake(at_ms, by, notes),
            Due::Begin(..) | Due::End(_) | Due::Overtake(..) => {}
            Due::Write(kind, by) => self.write_or_wait(at_ms, kind, by, notes),
            Due::Upgrade(ms) => self.upgrade(at_ms, ms, machines, notes),
            Due::Stop => self.stop(at_ms, machines, notes),
            Due::Start => self.start(at_ms),
            Due::Show => self.show(),
        }
    }

    fn runs(&self, number: usize) -> bool {
        self.running.as_ref().is_some_and(|run| run.number == number)
    }

    /// Orders machines for a piece of work, or lets them go; how many of them will be given up at its end.
    fn order<M: Machines>(&mut self, at_ms: Millis, work: Work, machines: &mut M, notes: &mut Notes) -> u32 {
        let there = self.there(machines);
        let away = work.to.saturating_sub(there);
        let want = match self.platform.missing {
            Missing::ReplacedByResize => away,
            Missing::StayAway => away.min(work.to.saturating_sub(work.from)),
        };
        let part = |of: u32| {
            let draw = self.chance.draw(Draw::Part, work.salt);
            u32::try_from(draw % u64::from(of.max(1))).expect("less than a u32")
        };
        let (boots, given_up) = match work.ending {
            Ending::Good => (want, 0),
            Ending::Partial(_) | Ending::Stuck => (part(want), 0),
            Ending::Fails(..) => (part(want + 1), part(want + 1)),
        };
        for _ in 0..boots {
            self.boot(at_ms, machines);
        }
        if work.leaves == Leaves::AtStart {
            self.let_go(at_ms, work, machines, notes);
        }
        given_up
    }

    /// Boots one node.
    pub fn boot<M: Machines>(&mut self, at_ms: Millis, machines: &mut M) {
        self.boots += 1;
        let boot_ms = self.chance.between(Draw::Boot, self.boots, 180_000, 540_000);
        let driver_ms = self.chance.between(Draw::Driver, self.boots, 10_000, 120_000);
        machines.boot(at_ms, boot_ms, driver_ms);
    }

    /// Lets the nodes go that are too many after a piece of work. Growth lets nothing go.
    fn let_go<M: Machines>(&mut self, at_ms: Millis, work: Work, machines: &mut M, notes: &mut Notes) {
        let excess = self.there(machines).saturating_sub(work.to);
        if excess == 0 || (work.to >= work.from && work.whose == Whose::Ours) {
            return;
        }
        let why = match work.whose {
            Whose::Ours => Left::Ours,
            Whose::Foreign => Left::Foreign,
        };
        let taken = machines.remove_busiest(at_ms, excess);
        self.left(at_ms, taken, why, notes);
    }

    /// Tells of nodes that left.
    pub fn left(&self, at_ms: Millis, taken: Taken, why: Left, notes: &mut Notes) {
        let Taken { nodes, busy } = taken;
        let pool = self.id;
        if nodes > 0 {
            let left = Event::NodesLeft {
                pool,
                nodes,
                busy,
                why,
            };
            notes.push((at_ms, left));
        }
    }

    /// Nodes that are there for the count.
    fn there<M: Machines>(&self, machines: &M) -> u32 {
        machines.present().saturating_sub(self.surge)
    }

    /// Ends the running operation.
    fn end<M: Machines>(&mut self, at_ms: Millis, machines: &mut M, notes: &mut Notes) {
        let Some(run) = self.running.take() else { return };
        let over = match run.work {
            None => {
                self.end_upgrade(at_ms, machines, notes);
                Over::Succeeded
            }
            Some(work) => self.end_work(at_ms, work, run.given_up, machines, notes),
        };
        self.close(at_ms, &run, over, notes);
        self.show();
        self.changed();
    }

    fn end_work<M: Machines>(
        &mut self,
        at_ms: Millis,
        work: Work,
        given_up: u32,
        machines: &mut M,
        notes: &mut Notes,
    ) -> Over {
        if work.leaves == Leaves::AtEnd {
            self.let_go(at_ms, work, machines, notes);
        }
        match work.ending {
            Ending::Good | Ending::Partial(Said::Succeeded) => Over::Succeeded,
            Ending::Partial(Said::Failed) => Over::Failed(Refusal::capacity(Failure::Allocation)),
            Ending::Stuck => Over::Failed(Refusal::STUCK),
            Ending::Fails(why, count) => {
                if given_up > 0 {
                    machines.remove_booting(at_ms, given_up);
                }
                let there = self.there(machines);
                if count == CountAfter::Reverts && there < self.count {
                    let (pool, from, to) = (self.id, self.count, there);
                    self.count = there;
                    notes.push((at_ms, Event::ForeignWrite { pool, from, to }));
                }
                Over::Failed(Refusal::capacity(why))
            }
        }
    }

    fn close(&mut self, at_ms: Millis, run: &Operation, over: Over, notes: &mut Notes) {
        self.records[run.number].over = over;
        self.resting = match over {
            Over::Succeeded | Over::Running => Resting::Steady,
            Over::Failed(_) | Over::Cancelled => Resting::Failed,
        };
        let (pool, outcome) = (self.id, over.word());
        let ours = run.whose() == Whose::Ours;
        notes.push((at_ms, Event::OperationEnded { pool, ours, outcome }));
    }

    /// Begins an upgrade, which is an operation without a new count.
    pub fn begin_upgrade(&mut self, at_ms: Millis, ms: Millis) {
        let number = self.records.len();
        self.records.push(Record {
            over: Over::Running,
            monitor: Monitor::Answers,
            retry_after_ms: None,
        });
        self.running = Some(Operation {
            number,
            work: None,
            given_up: 0,
        });
        self.changed();
        self.plan(at_ms + ms, Due::End(number));
    }

    /// Cancels what runs.
    pub fn cancel(&mut self, at_ms: Millis, notes: &mut Notes) {
        if let Some(run) = self.running.take() {
            self.close(at_ms, &run, Over::Cancelled, notes);
            self.show();
            self.changed();
        }
    }
}
