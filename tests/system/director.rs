//! Lets the plan happen: turns faults on and off in the world, at the gate and in the process.

use std::collections::BTreeMap;
use std::rc::Rc;

use gpuscale::control::{Controller, Policy};
use gpuscale::policy::config::Millis;
use gpuscale::policy::observation::Freeze;

use crate::chance::draw;
use crate::event::{Event, PolicyId};
use crate::executor::Surroundings;
use crate::gate::{Admin, GateFault};
use crate::invariants::Checker;
use crate::plan::{Fault, Planned, QUIET_MS};
use crate::ports::{Shared, SimPorts};
use crate::run::Outcome;
use crate::shapes::{Edition, Shape};
use crate::watch::SimWatch;
use crate::world::demand::RUN_MS;

/// The controller of the simulation.
pub type SimController = Controller<SimPorts, SimWatch>;

/// A beginning or an end in the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Act {
    at_ms: Millis,
    /// Ends come before beginnings of the same time.
    change: Change,
    place: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    End,
    Begin,
}

/// What the administrator did at a call, until it is taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ruling {
    until_ms: Millis,
    admin: Admin,
    whom: PolicyId,
}

/// Drives a run along its plan.
pub struct Director<'a> {
    pub shared: Rc<Shared>,
    pub checker: Checker,
    pub controller: Option<Rc<SimController>>,
    /// Running checksum over all facts: the same seed must give the same one.
    pub checksum: u64,
    pub ticks: u64,
    pub faults: BTreeMap<(&'static str, &'static str), u64>,
    seed: u64,
    plan: &'a [(usize, Planned)],
    shapes: &'a [Shape],
    acts: Vec<Act>,
    next: usize,
    /// Places in the plan of the faults that are on, oldest first.
    on: Vec<usize>,
    rulings: Vec<Ruling>,
    documents: Vec<[Option<Policy>; 2]>,
    told_frozen: bool,
    asked_to_stop: bool,
}

impl<'a> Director<'a> {
    /// For a run that has not begun.
    pub fn new(
        seed: u64,
        shared: Rc<Shared>,
        plan: &'a [(usize, Planned)],
        shapes: &'a [Shape],
        checker: Checker,
    ) -> Self {
        let mut acts = Vec::with_capacity(plan.len() * 2);
        for (place, (_, planned)) in plan.iter().enumerate() {
            acts.push(Act {
                at_ms: planned.from_ms,
                change: Change::Begin,
                place,
            });
            acts.push(Act {
                at_ms: planned.to_ms.max(planned.from_ms + 1),
                change: Change::End,
                place,
            });
        }
        acts.sort();
        Self {
            shared,
            checker,
            controller: None,
            checksum: seed,
            ticks: 0,
            faults: BTreeMap::new(),
            seed,
            plan,
            shapes,
            acts,
            next: 0,
            on: Vec::new(),
            rulings: Vec::new(),
            documents: shapes.iter().map(|_| [None, None]).collect(),
            told_frozen: false,
            asked_to_stop: false,
        }
    }

    fn active(&self) -> impl DoubleEndedIterator<Item = &'a Fault> {
        self.on.iter().map(|&place| &self.plan[place].1.fault)
    }

    /// The policies that are there now, in their editions of now.
    pub fn policies(&mut self) -> Vec<Policy> {
        (0..self.shapes.len())
            .filter(|&policy| !self.is_gone(policy))
            .collect::<Vec<_>>()
            .into_iter()
            .map(|policy| self.policy(policy))
            .collect()
    }

    fn is_gone(&self, policy: PolicyId) -> bool {
        self.active().any(|fault| *fault == Fault::Delete(policy)) || self.ruled(Admin::Remove, policy)
    }

    fn ruled(&self, admin: Admin, whom: PolicyId) -> bool {
        let same = |ruling: &Ruling| ruling.admin == admin && ruling.whom == whom;
        self.rulings.iter().any(same)
    }

    /// A policy in its edition of now.
    pub fn policy(&mut self, policy: PolicyId) -> Policy {
        let edited =
            self.active().any(|fault| *fault == Fault::Edit(policy)) || self.ruled(Admin::Edit, policy);
        let edition = if edited { Edition::Edited } else { Edition::First };
        let shape = &self.shapes[policy];
        self.documents[policy][edition as usize]
            .get_or_insert_with(|| shape.policy(edition))
            .clone()
    }

    /// The administrator's brake.
    pub fn freeze(&self) -> Freeze {
        let frozen = self.active().any(|fault| *fault == Fault::Freeze)
            || self.rulings.iter().any(|ruling| ruling.admin == Admin::Freeze);
        if frozen { Freeze::On } else { Freeze::Off }
    }

    /// How long the cluster view is incomplete after a start.
    pub fn sync_ms(&self) -> Millis {
        let slow = |fault: &Fault| match fault {
            Fault::SlowSync { ms } => Some(*ms),
            _ => None,
        };
        self.active().filter_map(slow).max().unwrap_or(0)
    }

    /// A process begins.
    pub fn begin_process(&mut self, controller: Rc<SimController>) {
        self.controller = Some(controller);
        self.asked_to_stop = false;
    }

    /// It is over.
    pub fn end_process(&mut self) {
        self.controller = None;
    }

    /// Whether the process was asked to end.
    pub fn was_asked_to_stop(&self) -> bool {
        self.asked_to_stop
    }

    /// The run is over; what came of it.
    pub fn end(mut self) -> Outcome {
        self.tell();
        self.checker.end(RUN_MS, &*self.shared.world.borrow());
        let findings = self.checker.findings();
        let mut violations = self.shared.troubles.take();
        violations.extend(findings.violations.iter().cloned());
        violations.sort_by_key(|violation| violation.at_ms);
        Outcome {
            violations,
            checks: findings
                .checked()
                .map(|(invariant, checked)| (invariant.name(), checked))
                .collect(),
            faults: self.faults.into_iter().collect(),
            policy_ms: RUN_MS * self.shapes.len() as i64,
            ticks: self.ticks,
            checksum: self.checksum,
        }
    }

    /// Shows the facts since the last time to the invariants.
    pub fn tell(&mut self) {
        let mut world = self.shared.world.borrow_mut();
        if world.log.events.is_empty() {
            return;
        }
        let mut events = std::mem::take(&mut world.log.events);
        for (at_ms, event) in &events {
            self.checksum = draw(self.checksum, &[at_ms.cast_unsigned(), digest(event)]);
            match event {
                Event::Fault { name, what } => *self.faults.entry((name, what)).or_default() += 1,
                Event::Ticked { .. } => self.ticks += 1,
                Event::NodeCame { .. } => {
                    *self
                        .faults
                        .entry(("F15", "node Ready before its GPUs can be used"))
                        .or_default() += 1;
                }
                _ => {}
            }
            if self.shared.is_verbose() {
                println!("{} {event:?}", crate::run::clock_face(*at_ms));
            }
            self.checker.see(*at_ms, event, &*world);
        }
        events.clear();
        world.log.events = events;
    }

    fn strike(&self, name: &'static str, what: &'static str) {
        self.shared.log(Event::Fault { name, what });
    }

    fn act(&mut self, act: Act) {
        match act.change {
            Change::Begin => {
                self.on.push(act.place);
                self.strikes(act);
            }
            Change::End => {
                self.on.retain(|place| *place != act.place);
                self.ceases(act);
            }
        }
    }

    fn strikes(&mut self, act: Act) {
        let plan = self.plan;
        let (number, planned) = &plan[act.place];
        let now_ms = act.at_ms;
        match &planned.fault {
            Fault::Metrics(fault) => {
                self.strike(fault.number(), fault.what());
                self.shared.world.borrow_mut().prometheus.set(now_ms, *fault);
            }
            Fault::Arm(pool, fault) => self.shared.world.borrow_mut().arm.set(now_ms, *pool, *fault),
            Fault::Evicted { pool, nodes } => {
                let salt = draw(self.seed, &[0xe71c, *number as u64]);
                self.shared.world.borrow_mut().evict(now_ms, *pool, *nodes, salt);
                self.strike("evict", "nodes evicted");
            }
            Fault::Unhealthy { pool, node } => {
                self.shared.world.borrow_mut().fleets[*pool].set_unhealthy(*node, true);
                self.strike("ill", "node unhealthy");
            }
            Fault::Store(fault) => {
                let (name, what) = fault.name();
                self.strike(name, what);
                self.shared.world.borrow_mut().store.set(*fault);
            }
            Fault::View(_) | Fault::Wall(_) | Fault::SlowSync { .. } => self.settle(),
            Fault::Gate(fault) => self.shared.gate.borrow_mut().set(*number, *fault),
            Fault::Crash { down_ms } => {
                if self.controller.is_some() {
                    self.strike("F9", "crash at a time");
                    self.shared.down_ms.set(*down_ms);
                    self.shared.time.crash();
                }
            }
            Fault::Stop { down_ms } => {
                if let Some(controller) = &self.controller {
                    self.strike("F27", "orderly stop");
                    self.shared.down_ms.set(*down_ms);
                    self.shared.log(Event::StopAsked);
                    controller.stop();
                    self.asked_to_stop = true;
                }
            }
            Fault::Freeze => self.brake(),
            Fault::Delete(policy) => {
                self.strike("F20", "policy deleted");
                self.remove(*policy);
            }
            Fault::Edit(_) => {
                self.strike("F19", "policy edited");
                self.hand_over();
            }
            Fault::Saboteur(_) => self.strike("F17", "all GPUs busy however many"),
        }
    }

    fn ceases(&mut self, act: Act) {
        let plan = self.plan;
        let (number, planned) = &plan[act.place];
        match &planned.fault {
            Fault::Metrics(fault) => self.shared.world.borrow_mut().prometheus.clear(act.at_ms, *fault),
            Fault::Arm(pool, fault) => {
                let same = |other: &&Fault| matches!(other, Fault::Arm(on, kind) if on == pool && kind.kind() == fault.kind());
                // Another one of its kind took its place and ends it.
                if self.active().find(same).is_none() {
                    self.shared
                        .world
                        .borrow_mut()
                        .arm
                        .clear(act.at_ms, *pool, fault.kind());
                }
            }
            Fault::Unhealthy { pool, node } => {
                self.shared.world.borrow_mut().fleets[*pool].set_unhealthy(*node, false);
            }
            Fault::Store(fault) => {
                if !self.active().any(|other| other == &planned.fault) {
                    self.shared.world.borrow_mut().store.clear(*fault);
                }
            }
            Fault::View(_) | Fault::Wall(_) | Fault::SlowSync { .. } => self.settle(),
            Fault::Gate(_) => self.shared.gate.borrow_mut().clear(*number),
            Fault::Freeze => self.brake(),
            Fault::Delete(policy) => {
                self.put_back(*policy);
            }
            Fault::Edit(_) => self.hand_over(),
            Fault::Evicted { .. } | Fault::Crash { .. } | Fault::Stop { .. } | Fault::Saboteur(_) => {}
        }
    }

    fn remove(&mut self, policy: PolicyId) {
        let present = false;
        self.shared.log(Event::PolicyPresent { policy, present });
        self.hand_over();
    }

    fn put_back(&mut self, policy: PolicyId) {
        if !self.is_gone(policy) {
            let present = true;
            self.shared.log(Event::PolicyPresent { policy, present });
        }
        self.hand_over();
    }

    /// The administrator acts at the call that the fault with this number waited for.
    fn rule(&mut self, number: usize, now_ms: Millis) {
        let planned = self.plan.iter().find(|(other, _)| *other == number);
        let Some(Fault::Gate(GateFault::AdminAt {
            whom,
            admin,
            lasts_ms,
            ..
        })) = planned.map(|(_, planned)| &planned.fault)
        else {
            return;
        };
        self.rulings.push(Ruling {
            until_ms: (now_ms + lasts_ms).min(QUIET_MS),
            admin: *admin,
            whom: *whom,
        });
        match admin {
            Admin::Freeze => self.brake(),
            Admin::Remove => self.remove(*whom),
            Admin::Edit => self.hand_over(),
        }
    }

    /// Takes back what has lasted long enough.
    fn take_back(&mut self, now_ms: Millis) {
        while let Some(due) = self.rulings.iter().position(|ruling| ruling.until_ms <= now_ms) {
            let ruling = self.rulings.remove(due);
            match ruling.admin {
                Admin::Freeze => self.brake(),
                Admin::Remove => self.put_back(ruling.whom),
                Admin::Edit => self.hand_over(),
            }
        }
    }

    /// Gives the controller the policies of now.
    fn hand_over(&mut self) {
        let policies = self.policies();
        if let Some(controller) = &self.controller {
            controller.set_policies(policies);
        }
    }

    fn brake(&mut self) {
        let freeze = self.freeze();
        let frozen = freeze == Freeze::On;
        if frozen != self.told_frozen {
            self.told_frozen = frozen;
            self.shared.log(Event::Frozen(frozen));
        }
        if let Some(controller) = &self.controller {
            controller.set_freeze(freeze);
        }
    }

    /// Puts what only one fault at a time can decide as the newest of those that are on says.
    fn settle(&self) {
        let mut view = None;
        let mut wall = None;
        for fault in self.active() {
            match fault {
                Fault::View(fault) => view = Some(*fault),
                Fault::Wall(jump) => wall = Some(*jump),
                _ => {}
            }
        }
        self.shared.world.borrow_mut().view_fault = view;
        if let Some(wall) = wall {
            self.strike("F8", wall.what());
        }
        self.shared
            .time
            .set_wall_offset(wall.map_or(0, crate::plan::Wall::offset_ms));
    }
}

impl Surroundings for Director<'_> {
    fn next_event_ms(&mut self) -> Option<Millis> {
        self.tell();
        let world_ms = self.shared.world.borrow().next_event_ms();
        let ends = self.rulings.iter().map(|ruling| ruling.until_ms).min();
        let world_ms = world_ms.min(ends.unwrap_or(Millis::MAX));
        Some(
            self.acts
                .get(self.next)
                .map_or(world_ms, |act| act.at_ms.min(world_ms)),
        )
    }

    fn advance(&mut self, true_ms: Millis) {
        self.shared.world.borrow_mut().advance(true_ms);
        while let Some(act) = self
            .acts
            .get(self.next)
            .copied()
            .filter(|act| act.at_ms <= true_ms)
        {
            self.next += 1;
            self.act(act);
        }
        self.take_back(true_ms);
    }

    fn respond(&mut self) {
        let summons = self.shared.summons.take();
        for number in summons {
            self.rule(number, self.shared.time.true_ms());
        }
    }
}

/// A number for a fact, for the checksum of a run.
fn digest(event: &Event) -> u64 {
    match event {
        Event::Ticked { policy, decided } => {
            decided.map_or(1, |decided| decided.checksum) ^ (*policy as u64) << 1
        }
        Event::Recorded { policy, from, to } => draw(2, &[*policy as u64, u64::from(*from), u64::from(*to)]),
        Event::ResizeSent { pool, count, .. } => draw(3, &[*pool as u64, u64::from(*count)]),
        Event::ResizeArrived(arrived) => draw(
            4,
            &[
                arrived.pool as u64,
                u64::from(arrived.to),
                arrived.answer.len() as u64,
            ],
        ),
        Event::Saved {
            policy,
            in_flight,
            kept,
        } => draw(5, &[*policy as u64, u64::from(*in_flight), u64::from(*kept)]),
        Event::MetricsRead {
            policy,
            of_signal,
            whole,
            newest_ms,
        } => draw(
            6,
            &[
                *policy as u64,
                u64::from(*of_signal),
                u64::from(*whole),
                newest_ms.unwrap_or(0).cast_unsigned(),
            ],
        ),
        _ => 7,
    }
}
