//! What has happened so far in a run, as far as the invariants need it.
//!
//! Beliefs of the controller are followed only where the promise itself depends on what it could see: a foreign write
//! counts once a decision started from it, and what was not saved before a crash is gone.

use std::collections::VecDeque;

use gpuscale::policy::config::{MINUTE_MS, Millis};

use super::super::event::{Arrived, Decided, Event, PolicyId, PoolId};
use super::{Rules, Times, Truth};

/// How long a foreign write counts.
pub const FOREIGN_MS: Millis = 60 * MINUTE_MS;
/// Foreign writes within [`FOREIGN_MS`] that make a conflict.
pub const FOREIGN_WRITES: usize = 3;
/// Burst of writes to a pool that the platform takes.
pub const BURST: Millis = 20;
/// Requests that may never arrive are remembered up to this number.
const MOST_SENT: usize = 16;
/// Longer than any period of a rate limit.
const OWN_MS: Millis = 3 * 60 * MINUTE_MS;
/// From when a request without an answer may be taken for lost: longer than any call may take.
const LOST_MS: Millis = MINUTE_MS;

/// The record of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    pub seq: u64,
    pub at_ms: Millis,
    pub from: u32,
    pub to: u32,
}

/// A resize that left the controller.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    pub count: u32,
    pub record: Option<Record>,
}

/// A resize of ours that the platform took.
#[derive(Debug, Clone, Copy)]
pub struct Own {
    pub seq: u64,
    pub at_ms: Millis,
    pub decided_ms: Millis,
    pub delta: i64,
    pub sent_ms: Millis,
    /// Whether the controller could tell it from somebody else's: a write on top of it hides it.
    pub told: bool,
    /// Whether the platform's answer reached the controller, and whether a decision started from what it did.
    pub answered: bool,
    pub seen: bool,
}

impl Own {
    /// Whether the controller can know at that time that the platform took it. If no answer came and the pool goes on
    /// being shown as it was, it is taken for lost; its etag keeps what is decided then from being done twice.
    pub fn is_known(&self, at_ms: Millis) -> bool {
        self.told && (self.answered || self.seen || at_ms - self.sent_ms < LOST_MS)
    }
}

/// A decision that repeats itself.
#[derive(Debug, Clone, Copy)]
pub struct Hold {
    pub reason: &'static str,
    pub from: u32,
    pub since_ms: Millis,
    pub reported: bool,
}

#[derive(Debug, Default)]
pub struct Policy {
    pub absent_since_ms: Option<Millis>,
    /// When it began last.
    pub began_ms: Millis,
    /// When a resize of it left last.
    pub sent_ms: Millis,
    /// Whether the brake of now, or its removal, met a decision of it on its way.
    pub met_freeze: bool,
    pub met_removal: bool,
    /// When it was last heard of, and whether that was its beginning.
    pub heard: Option<(Millis, bool)>,
    pub record: Option<Record>,
    /// The last save that said that a resize is in flight, while none was sent since.
    pub armed_seq: Option<u64>,
    /// The record whose resize the platform took.
    pub taken_seq: Option<u64>,
    pub saved_ms: Millis,
    pub wishes: VecDeque<(Millis, u32)>,
    pub own: VecDeque<Own>,
    /// The count that the last decision started from.
    pub seen: Option<u32>,
    /// Resizes of ours that no decision started from yet, by what they changed.
    unseen: VecDeque<i64>,
    /// What others changed since the last tick, all in all.
    others_changed: i64,
    /// When decisions started from counts that somebody else wrote.
    pub strange: VecDeque<Millis>,
    /// The same with those that may have been the platform's.
    maybe: VecDeque<Millis>,
    /// Whether anybody else wrote, and whether an operation of ours ended badly, since the last decision: then a
    /// platform may have taken the count back.
    foreign: bool,
    taken_back: bool,
    /// Until when the pool is surely fought over, and until when it may look so.
    pub conflict_until_ms: Millis,
    pub may_conflict_until_ms: Millis,
    pub live_read_ms: Option<Millis>,
    pub read_since_start: bool,
    pub partial: bool,
    pub refused_ms: Option<Millis>,
    pub capacity_until_ms: Millis,
    pub hold: Option<Hold>,
    pub missing: u32,
    pub missing_ms: Option<Millis>,
    /// When any was missing last.
    pub short_ms: Millis,
    /// Schedulable nodes at the beginning of the plateau, and the count at its end.
    pub at_plateau: u32,
    pub at_zero: u32,
    /// Whether an operation from the time of faults still runs, and when it ended.
    pub stuck: bool,
    pub unstuck_ms: Millis,
}

#[derive(Debug)]
pub struct Pool {
    pub owner: Option<PolicyId>,
    /// Since when an operation of ours runs.
    pub running_ms: Option<Millis>,
    sent: VecDeque<Sent>,
    pub disturbed_seq: u64,
    pub disturbed_ms: Millis,
    /// Since when it has had a node all the time that can work.
    pub served_ms: Option<Millis>,
    pub autoscaler: bool,
    /// Writes that may still be sent, in milli-writes times 60 to stay in integers: one ms earns one.
    pub allowance: Millis,
    pub allowance_ms: Millis,
    /// When the last accepted shrink was decided.
    pub shrunk_ms: Option<Millis>,
}

#[derive(Debug)]
pub struct State {
    pub rules: Vec<Rules>,
    pub times: Times,
    pub policies: Vec<Policy>,
    pub pools: Vec<Pool>,
    pub seq: u64,
    pub up: bool,
    pub stopping_ms: Option<Millis>,
    ended_ms: Millis,
    pub frozen_ms: Option<Millis>,
    /// Pools with a submission that has not come back.
    pub submitting: Vec<PoolId>,
    /// The decision behind the request that arrives.
    claimed: Option<Record>,
    /// What [`super::liveness::pass`] waits for.
    pub stage: usize,
    begun: bool,
}

impl State {
    pub fn new(rules: Vec<Rules>, pools: usize, times: Times) -> Self {
        let pools = (0..pools)
            .map(|pool| Pool {
                owner: rules.iter().position(|rules| rules.pools.contains(&pool)),
                running_ms: None,
                sent: VecDeque::new(),
                disturbed_seq: 0,
                disturbed_ms: Millis::MIN,
                served_ms: None,
                autoscaler: false,
                allowance: BURST * MINUTE_MS,
                allowance_ms: 0,
                shrunk_ms: None,
            })
            .collect();
        Self {
            policies: rules.iter().map(|_| Policy::default()).collect(),
            rules,
            times,
            pools,
            seq: 1,
            up: false,
            stopping_ms: None,
            ended_ms: 0,
            frozen_ms: None,
            submitting: Vec::new(),
            claimed: None,
            stage: 0,
            begun: false,
        }
    }

    /// The policy that owns a pool, with its rules.
    pub fn owner(&self, pool: PoolId) -> Option<(PolicyId, &Rules, &Policy)> {
        let owner = self.pools[pool].owner?;
        Some((owner, &self.rules[owner], &self.policies[owner]))
    }

    /// Takes the request that arrives out of those that were sent. Of two that ask for the same the newer is meant:
    /// the older one may have been lost.
    pub fn claim(&mut self, arrived: &Arrived) -> Option<Sent> {
        let sent = &mut self.pools[arrived.pool].sent;
        let found = sent.iter().rposition(|sent| sent.count == arrived.to);
        let sent = found.and_then(|found| sent.remove(found));
        self.claimed = sent.as_ref().and_then(|sent| sent.record);
        sent
    }

    /// Sum of the counts of a policy's pools.
    pub fn group_count(&self, policy: PolicyId, truth: &dyn Truth) -> u32 {
        self.rules[policy]
            .pools
            .iter()
            .map(|&pool| truth.count(pool))
            .sum()
    }

    /// Adds an event to what has happened.
    pub fn apply(&mut self, at_ms: Millis, event: &Event, truth: &dyn Truth) {
        self.seq += 1;
        if !self.begun {
            self.begun = true;
            (0..self.pools.len()).for_each(|pool| self.serves(pool, at_ms, truth));
        }
        match event {
            Event::Started => self.start(at_ms),
            Event::Crashed | Event::Stopped => {
                (self.up, self.stopping_ms, self.ended_ms) = (false, None, at_ms);
                self.submitting.clear();
            }
            Event::StopAsked => self.stopping_ms = Some(at_ms),
            Event::Ticked { policy, decided } => {
                let interval_ms = self.rules[*policy].down.stabilization_ms;
                self.policies[*policy].ticked(at_ms, interval_ms, decided.as_ref());
                // Whether any node is well is told by no event.
                for index in 0..self.rules[*policy].pools.len() {
                    self.serves(self.rules[*policy].pools[index], at_ms, truth);
                }
            }
            Event::Recorded { policy, from, to } => {
                let (seq, from, to) = (self.seq, *from, *to);
                self.policies[*policy].record = Some(Record { seq, at_ms, from, to });
            }
            Event::Saved {
                policy,
                in_flight,
                kept: true,
            } => {
                let policy = &mut self.policies[*policy];
                policy.saved_ms = at_ms;
                if *in_flight {
                    policy.armed_seq = Some(self.seq);
                }
            }
            Event::ResizeSent { pool, count, .. } => self.send(at_ms, *pool, *count),
            Event::ResizeReturned { pool, answered } => self.returned(*pool, *answered),
            Event::ResizeArrived(arrived) => self.arrive(at_ms, arrived),
            Event::OperationEnded { pool, ours, outcome } => {
                self.operation_ended(at_ms, *pool, *ours, outcome);
            }
            Event::ForeignWrite { pool, from, to } => {
                self.pools[*pool].disturbed_seq = self.seq;
                self.pools[*pool].disturbed_ms = at_ms;
                if let Some(owner) = self.pools[*pool].owner {
                    self.policies[owner].foreign = true;
                    self.policies[owner].others_changed += i64::from(*to) - i64::from(*from);
                    self.policies[owner].cancel_out();
                }
            }
            Event::NodesLeft { pool, .. } | Event::NodeCame { pool } => self.serves(*pool, at_ms, truth),
            Event::MetricsRead { of_signal: false, .. } => {}
            Event::MetricsRead {
                policy,
                whole,
                newest_ms,
                ..
            } => {
                let policy = &mut self.policies[*policy];
                match (whole, newest_ms) {
                    (true, Some(_)) => {
                        policy.live_read_ms = Some(at_ms);
                        policy.read_since_start = true;
                    }
                    // Something came, and it said that it is not all.
                    (false, Some(_)) => policy.partial = true,
                    (_, None) => {}
                }
            }
            Event::Frozen(true) => self.freeze(at_ms),
            Event::Frozen(false) => self.frozen_ms = None,
            Event::PolicyPresent { policy, present } => self.presence(at_ms, *policy, *present),
            Event::Autoscaler { pool, on } => self.pools[*pool].autoscaler = *on,
            // A panic is a restart of one policy; the fault does not say of which.
            Event::Fault {
                what: "a tick panics",
                ..
            } => {
                self.policies.iter_mut().for_each(Policy::forget_unsaved);
            }
            Event::Saved { .. } | Event::Fault { .. } => {}
        }
    }

    fn start(&mut self, at_ms: Millis) {
        (self.up, self.stopping_ms) = (true, None);
        self.submitting.clear();
        let down_ms = at_ms - self.ended_ms;
        for policy in &mut self.policies {
            policy.begin(at_ms);
            // Timers may stand still while the process is down.
            policy.may_conflict_until_ms += down_ms;
            policy.capacity_until_ms += down_ms;
        }
    }

    fn freeze(&mut self, at_ms: Millis) {
        self.frozen_ms = self.frozen_ms.or(Some(at_ms));
        for (policy, rules) in self.policies.iter_mut().zip(&self.rules) {
            policy.met_freeze = policy.is_sending(at_ms, rules);
        }
    }

    fn presence(&mut self, at_ms: Millis, policy: PolicyId, present: bool) {
        let rules = &self.rules[policy];
        let policy = &mut self.policies[policy];
        if present {
            policy.absent_since_ms = None;
            policy.begin(at_ms);
        } else {
            policy.met_removal = policy.is_sending(at_ms, rules);
            policy.absent_since_ms = policy.absent_since_ms.or(Some(at_ms));
            policy.heard = None;
        }
    }

    fn send(&mut self, at_ms: Millis, pool: PoolId, count: u32) {
        self.submitting.push(pool);
        let owner = self.pools[pool].owner.map(|owner| &mut self.policies[owner]);
        let record = owner.and_then(|policy| {
            // The next one has to be saved for itself.
            policy.armed_seq = None;
            policy.sent_ms = at_ms;
            policy.record
        });
        let pool = &mut self.pools[pool];
        if pool.sent.len() >= MOST_SENT {
            pool.sent.pop_front();
        }
        pool.sent.push_back(Sent { count, record });
        pool.allowance = pool.allowance_at(at_ms) - MINUTE_MS;
        pool.allowance_ms = at_ms;
    }

    fn arrive(&mut self, at_ms: Millis, arrived: &Arrived) {
        let (seq, claimed) = (self.seq, self.claimed.take());
        let pool = &mut self.pools[arrived.pool];
        let Some(owner) = pool.owner else { return };
        let policy = &mut self.policies[owner];
        if arrived.answer != "accepted" {
            // A pool that is busy is refused by the same code as one whose quota is used up.
            let busy = arrived.ours_running || arrived.foreign_running;
            if arrived.to > arrived.from && !busy {
                policy.refused(at_ms, arrived.answer);
            }
            return;
        }
        pool.running_ms = Some(at_ms);
        let decided_ms = claimed.map_or(at_ms, |record| record.at_ms);
        let delta = i64::from(arrived.to) - i64::from(arrived.from);
        if delta < 0 {
            pool.shrunk_ms = Some(decided_ms);
        }
        while policy.own.front().is_some_and(|own| at_ms - own.at_ms > OWN_MS) {
            policy.own.pop_front();
        }
        policy.taken_seq = claimed.map(|record| record.seq);
        policy.own.push_back(Own {
            seq,
            at_ms,
            decided_ms,
            delta,
            sent_ms: policy.sent_ms,
            told: true,
            answered: false,
            seen: false,
        });
        policy.unseen.push_back(delta);
        policy.cancel_out();
    }

    fn returned(&mut self, pool: PoolId, answered: bool) {
        self.submitting.retain(|&other| other != pool);
        let policy = self.pools[pool].owner.map(|owner| &mut self.policies[owner]);
        if let Some(policy) = policy.filter(|_| answered) {
            let sent_ms = policy.sent_ms;
            if let Some(newest) = policy.own.back_mut().filter(|own| own.at_ms >= sent_ms) {
                newest.answered = true;
            }
        }
    }

    fn operation_ended(&mut self, at_ms: Millis, pool: PoolId, ours: bool, outcome: &str) {
        self.pools[pool].disturbed_seq = self.seq;
        if outcome != "succeeded" {
            self.pools[pool].disturbed_ms = at_ms;
        }
        let owner = self.pools[pool].owner;
        if ours {
            self.pools[pool].running_ms = None;
            if let Some(owner) = owner {
                self.policies[owner].taken_back |= outcome != "succeeded";
                self.policies[owner].refused(at_ms, outcome);
            }
        }
    }

    fn serves(&mut self, pool: PoolId, at_ms: Millis, truth: &dyn Truth) {
        let served = truth.schedulable(pool) > truth.unhealthy(pool);
        let pool = &mut self.pools[pool];
        pool.served_ms = served.then(|| pool.served_ms.unwrap_or(at_ms));
    }
}

impl Pool {
    /// What may be written at `at_ms`, in ms of earning; a write costs a minute.
    pub fn allowance_at(&self, at_ms: Millis) -> Millis {
        (self.allowance + at_ms - self.allowance_ms).min(BURST * MINUTE_MS)
    }
}

impl Policy {
    /// Whether it may be about to carry out its last decision.
    fn is_sending(&self, at_ms: Millis, rules: &Rules) -> bool {
        self.record.is_some_and(|record| {
            record.from != record.to
                && self.sent_ms <= record.at_ms
                && at_ms - record.at_ms <= rules.interval_ms
        })
    }

    /// The process started, or the policy came: what was not saved is gone.
    fn begin(&mut self, at_ms: Millis) {
        self.heard = Some((at_ms, true));
        self.began_ms = at_ms;
        (self.record, self.armed_seq, self.read_since_start, self.partial) = (None, None, false, false);
        self.hold = None;
        self.forget_unsaved();
    }

    /// What was not saved is gone.
    fn forget_unsaved(&mut self) {
        let saved_ms = self.saved_ms;
        let strange = self.strange.len();
        self.strange.retain(|&strange_ms| strange_ms <= saved_ms);
        self.wishes.retain(|&(wish_ms, _)| wish_ms <= saved_ms);
        if self.strange.len() < strange {
            // It will see that change for the first time once more, and begin anew from it.
            self.wishes.clear();
            self.conflict_until_ms = 0;
        }
    }

    /// Design section 6: how long the platform is left alone, by the class of its refusal.
    fn refused(&mut self, at_ms: Millis, code: &str) {
        let is = |words: &[&str]| words.iter().any(|word| code.contains(word));
        let backoff_ms = if is(&["Sku", "failed"]) {
            // Not within a run. A failure that does not say its class may be one of these.
            Millis::MAX / 4
        } else if is(&["Quota", "OperationNotAllowed", "Allocation"]) {
            60 * MINUTE_MS
        } else {
            return;
        };
        self.refused_ms = Some(at_ms);
        self.capacity_until_ms = self.capacity_until_ms.max(at_ms + backoff_ms);
    }

    fn ticked(&mut self, at_ms: Millis, stabilization_ms: Millis, decided: Option<&Decided>) {
        self.heard = Some((at_ms, false));
        self.partial = false;
        let Some(decided) = decided else { return };
        if let Some(seen) = self.seen.replace(decided.from)
            && seen != decided.from
            && !self.explains(at_ms, i64::from(decided.from) - i64::from(seen))
        {
            self.startle(at_ms);
        }
        (self.foreign, self.taken_back, self.others_changed) = (false, false, 0);
        while self
            .wishes
            .front()
            .is_some_and(|(wish_ms, _)| at_ms - wish_ms > stabilization_ms)
        {
            self.wishes.pop_front();
        }
        // It was wished for when it was decided; a tick may save for a while after that.
        let decided_ms = self.record.map_or(at_ms, |record| record.at_ms);
        self.wishes.push_back((decided_ms, decided.wish));
    }

    /// How many of the newest resizes of ours a decision that starts from `from` takes no account of: if they do not
    /// explain that count, somebody else made it.
    pub fn hidden(&self, from: u32) -> usize {
        let change = self.seen.map_or(0, |seen| i64::from(from) - i64::from(seen));
        let sums = self.unseen.iter().scan(0, |sum, delta| {
            *sum += delta;
            Some(*sum)
        });
        if change == 0 || sums.into_iter().any(|sum| sum == change) {
            return 0;
        }
        self.unseen.len()
    }

    /// Whether resizes of ours, in order, explain a change of the count.
    fn explains(&mut self, at_ms: Millis, change: i64) -> bool {
        let mut sum = 0;
        let found = self.unseen.iter().position(|delta| {
            sum += delta;
            sum == change
        });
        let Some(last) = found else { return false };
        let first = self.own.len().saturating_sub(self.unseen.len());
        for own in self.own.iter_mut().skip(first).take(last + 1) {
            own.told = own.is_known(at_ms);
            own.seen = true;
        }
        self.unseen.drain(..=last);
        true
    }

    /// If what others changed since the last tick undid what was not seen yet, it never will be seen.
    fn cancel_out(&mut self) {
        if !self.unseen.is_empty() && self.unseen.iter().sum::<i64>() + self.others_changed == 0 {
            self.hide_unseen();
            self.others_changed = 0;
        }
    }

    fn hide_unseen(&mut self) {
        let hidden = self.own.len().saturating_sub(self.unseen.len());
        self.own.iter_mut().skip(hidden).for_each(|own| own.told = false);
        self.unseen.clear();
    }

    /// A decision started from a count that somebody else made.
    fn startle(&mut self, at_ms: Millis) {
        self.hide_unseen();
        self.wishes.clear();
        while self
            .strange
            .front()
            .is_some_and(|strange_ms| at_ms - strange_ms >= FOREIGN_MS)
        {
            self.strange.pop_front();
        }
        self.maybe.retain(|maybe_ms| at_ms - maybe_ms < FOREIGN_MS);
        self.maybe.push_back(at_ms);
        if self.maybe.len() >= FOREIGN_WRITES || self.may_conflict_until_ms > at_ms {
            self.may_conflict_until_ms = at_ms + FOREIGN_MS;
        }
        if !self.foreign || self.taken_back {
            return;
        }
        self.strange.push_back(at_ms);
        if self.strange.len() >= FOREIGN_WRITES || self.conflict_until_ms > at_ms {
            self.conflict_until_ms = at_ms + FOREIGN_MS;
        }
    }
}
