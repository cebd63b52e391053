//! What must hold in every run, whatever fails: the list, and the driver that asks it.
//!
//! An invariant reads the facts of the log and the true world. It never asks the controller; what the controller told
//! (its decisions and records) is only compared with the truth. Each family is a file; all of them read [`State`],
//! what has happened so far, before the event at hand is added to it.

pub mod checks;
mod liveness;
mod process;
mod rules;
mod shrinks;
mod state;
mod story;
mod writes;

use gpuscale::policy::config::{Micro, Millis};

use super::event::{Event, PolicyId, PoolId};
pub use rules::{Rules, Shrinks, Sight, Times, World};
use state::State;

/// What the invariants may ask of the true world. Times are true time; node counts are those of now.
pub trait Truth {
    /// Nodes asked for in a pool.
    fn count(&self, pool: PoolId) -> u32;
    /// Nodes that are there, booting ones among them.
    fn present(&self, pool: PoolId) -> u32;
    /// Nodes whose GPUs can be scheduled onto.
    fn schedulable(&self, pool: PoolId) -> u32;
    /// Nodes with an unhealthy GPU.
    fn unhealthy(&self, pool: PoolId) -> u32;
    /// Whether an operation runs in a pool, ours or anybody's.
    fn operation_runs(&self, pool: PoolId) -> bool;
    /// Demand on the pools of a policy at an instant up to now, in micro-GPUs.
    fn demand(&self, policy: PolicyId, at_ms: Millis) -> Micro;
    /// Share, in micros, of the device-time of a pool's present nodes in (from, to] for which the server has samples
    /// that it would give: from a sample until the next, at most the hold limit. A device counts once its node was
    /// Ready for `warm_up_ms`. Without any device-time it is `ONE`. On the source's clock as it was at `to`.
    fn known_share(
        &self,
        pool: PoolId,
        from_ms: Millis,
        to_ms: Millis,
        hold_ms: Millis,
        warm_up_ms: Millis,
    ) -> Micro;
    /// How far the source's clock was set, either way, within a range.
    fn stepped_ms(&self, from_ms: Millis, to_ms: Millis) -> Millis;
    /// When the newest sample that the server has of a pool's present nodes was scraped.
    fn newest_sample_ms(&self, pool: PoolId) -> Option<Millis>;
}

/// Something that must not happen and did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub at_ms: Millis,
    pub invariant: &'static str,
    pub message: String,
}

macro_rules! invariants {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// What must hold. The comment says where it is written down.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Invariant { $($(#[doc = $doc])+ $variant,)+ }

        impl Invariant {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name on the command line and in reports.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

invariants! {
    /// Promise 3: never more than max or the administrator's maximum, never below min by a shrink of ours, growth
    /// within the budget (F17).
    Bounds = "bounds",
    /// Promise 3: no resize is sent into a pool while one of ours is on its way or its operation runs.
    OneInFlight = "one-in-flight",
    /// Section 6: submissions are one at a time per cluster.
    OneSubmission = "one-submission-per-cluster",
    /// F14: every resize carries the etag of a read, and one that is taken carries the current one.
    IfMatch = "if-match",
    /// Promise 3, sections 2 and 3 of the faults: a resize that happened is answered by the count that a decision saw.
    /// One that is sent again after its answer was lost starts from a count that no decision saw.
    NeverRepeated = "never-repeated",
    /// F13, guard of section 5: a count changed by someone else is adopted, and answered only by a decision made from it.
    ForeignAdopted = "foreign-adopted",
    /// Section 5: three foreign writes within an hour, and the pool is left alone until an hour passes without one.
    Conflicting = "conflict-holds",
    /// "Every write has an earlier recorded reason", and F9: what is sent was saved before.
    RecordedBeforeWrite = "recorded-before-write",
    /// F13: none is sent into a pool that was read with its autoscaler on.
    Autoscaler = "autoscaler",
    /// F25: the limit of writes to a pool is kept by ourselves: burst of 20, one a minute.
    Throttle = "throttle",
    /// Promise 1, F5, F6: a shrink needs full windows of which enough is known, up to now.
    NoShrinkWithoutData = "no-shrink-without-data",
    /// Promise 2, F12: with the platform choosing, a shrink needs a pool that was idle over the idle window.
    NoBusyTaken = "no-busy-taken",
    /// F8, F9: no shrink inside the cooldown, by true time, across restarts and jumps of clocks.
    Cooldown = "no-shrink-in-cooldown",
    /// Section 5, F18: no shrink below the largest wish of the stabilization window, by true time, across restarts.
    Stabilization = "stabilization",
    /// F17, F18: nodes added or removed in a period stay within the policy's limits.
    Rate = "rate",
    /// "A dead input never lowers the size" (F1, F2).
    DeadInput = "dead-input",
    /// F3: an answer that says that it is partial makes its signal Unknown.
    PartialHolds = "partial-holds",
    /// F9, F10: no shrink before a whole answer was read since the start.
    WarmStart = "warm-start",
    /// F16: the count is never put back down by force after the platform had no capacity.
    NotByForce = "no-shrink-by-force",
    /// Guard of section 5: a decision shrinks only if every signal is known.
    Guarded = "evaluation-sane",
    /// The administrator's brake: nothing is sent once it is on.
    Frozen = "frozen",
    /// F20: a policy that is gone resizes nothing.
    Deleted = "deleted",
    /// F23: every policy is evaluated or reported in time, whatever happens to the others.
    Isolation = "isolation",
    /// F27: an orderly stop ends within the grace period, and decides nothing new.
    Shutdown = "shutdown-in-grace",
    /// Promise 4: while nothing fails, capacity comes up to a steady demand.
    LivenessUp = "liveness-up",
    /// Promise 4: while nothing fails, an idle pool comes down to its minimum.
    LivenessDown = "liveness-down",
    /// Promise 4: no fault makes a hold permanent.
    LivenessSteady = "liveness-steady",
}

/// Time that passes between two things which happen "at once": a hop through the executor.
pub(crate) const AT_ONCE_MS: Millis = 1_000;

/// Violations found and checks made.
#[derive(Debug)]
pub struct Findings {
    pub violations: Vec<Violation>,
    checked: [u64; Invariant::ALL.len()],
    violated: [u32; Invariant::ALL.len()],
}

/// What is broken is broken at every tick: the first violations of an invariant tell all there is to know.
const MOST_VIOLATIONS: u32 = 3;

impl Findings {
    fn new() -> Self {
        Self {
            violations: Vec::new(),
            checked: [0; Invariant::ALL.len()],
            violated: [0; Invariant::ALL.len()],
        }
    }

    /// Counts a check and, if it fails, keeps what `message` says.
    fn check(&mut self, at_ms: Millis, invariant: Invariant, holds: bool, message: impl FnOnce() -> String) {
        self.checked[invariant as usize] += 1;
        let violated = &mut self.violated[invariant as usize];
        if !holds && *violated < MOST_VIOLATIONS {
            *violated += 1;
            self.violations.push(Violation {
                at_ms,
                invariant: invariant.name(),
                message: message(),
            });
        }
    }

    /// How often an invariant was really checked: its condition was there.
    pub fn checked(&self) -> impl Iterator<Item = (Invariant, u64)> + '_ {
        Invariant::ALL
            .iter()
            .map(|&invariant| (invariant, self.checked[invariant as usize]))
    }
}

/// Follows a run.
#[derive(Debug)]
pub struct Checker {
    state: State,
    findings: Findings,
}

impl Checker {
    /// `rules` of the policies in the order of their numbers; `pools` of the run.
    pub fn new(rules: Vec<Rules>, pools: usize, times: Times) -> Self {
        Self {
            state: State::new(rules, pools, times),
            findings: Findings::new(),
        }
    }

    /// Takes note of an event. To be called for every one, in order, after the step in which it happened.
    pub fn see(&mut self, at_ms: Millis, event: &Event, truth: &dyn Truth) {
        let (state, findings) = (&mut self.state, &mut self.findings);
        liveness::pass(state, findings, at_ms, truth);
        match event {
            Event::ResizeSent { pool, etag, count } => {
                writes::sent(state, findings, at_ms, *pool, etag, *count, truth);
                process::sent(state, findings, at_ms, *pool);
                shrinks::sent(state, findings, at_ms, *pool);
            }
            Event::ResizeArrived(arrived) => {
                let sent = state.claim(arrived);
                writes::arrived(state, findings, at_ms, arrived, sent.as_ref(), truth);
                shrinks::arrived(state, findings, at_ms, arrived, sent.as_ref(), truth);
            }
            Event::Recorded { policy, from, to } => {
                shrinks::recorded(state, findings, at_ms, *policy, *from, *to);
            }
            Event::NodesLeft { pool, busy, why, .. } => {
                shrinks::left(state, findings, at_ms, *pool, *busy, *why, truth);
            }
            Event::Ticked { policy, decided } => {
                process::ticked(state, findings, at_ms, *policy);
                shrinks::ticked(state, findings, at_ms, *policy, decided.as_ref());
                liveness::ticked(state, findings, at_ms, *policy, decided.as_ref(), truth);
            }
            Event::Frozen(false) => process::thawed(state, findings, at_ms),
            Event::PolicyPresent {
                policy,
                present: true,
            } => process::came_back(state, findings, at_ms, *policy),
            Event::Crashed | Event::Stopped => process::ended(state, findings, at_ms, event),
            _ => {}
        }
        state.apply(at_ms, event, truth);
    }

    /// The run is over.
    pub fn end(&mut self, at_ms: Millis, truth: &dyn Truth) {
        liveness::pass(&mut self.state, &mut self.findings, at_ms, truth);
        liveness::end(&self.state, &mut self.findings, at_ms, truth);
        process::end(&self.state, &mut self.findings, at_ms);
    }

    /// What was found so far.
    pub fn findings(&self) -> &Findings {
        &self.findings
    }
}
