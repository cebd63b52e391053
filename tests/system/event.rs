//! What happened in a run, as the invariants see it: a flat list of facts in true time.
//!
//! The worlds and the ports write it, the invariants read it. Nothing in it comes from what the controller believes,
//! except for the decisions that it told ([`Event::Ticked`]) and the records that it kept ([`Event::Recorded`]).

use gpuscale::policy::config::Millis;

/// Index of a policy in the run.
pub type PolicyId = usize;
/// Index of a pool in the run.
pub type PoolId = usize;

/// A fact.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The controller process started (again).
    Started,
    /// It died at a port call, or of a plan; what it held in memory is gone.
    Crashed,
    /// It was asked to end.
    StopAsked,
    /// It ended in order.
    Stopped,
    /// A tick of a policy ended: what was decided, if anything was.
    Ticked {
        policy: PolicyId,
        decided: Option<Decided>,
    },
    /// The journal took the record of a decision.
    Recorded { policy: PolicyId, from: u32, to: u32 },
    /// A state was saved: whether the store has it now.
    Saved {
        policy: PolicyId,
        in_flight: bool,
        kept: bool,
    },
    /// A resize left the controller; it may never arrive.
    ResizeSent { pool: PoolId, etag: String, count: u32 },
    /// Its answer, or the loss of it, came back to the controller.
    ResizeReturned { pool: PoolId, answered: bool },
    /// A resize reached the platform.
    ResizeArrived(Arrived),
    /// An operation ended.
    OperationEnded {
        pool: PoolId,
        ours: bool,
        outcome: &'static str,
    },
    /// Somebody else wrote the count.
    ForeignWrite { pool: PoolId, from: u32, to: u32 },
    /// Nodes left a pool: how many of them did work at that moment, and why they went.
    NodesLeft {
        pool: PoolId,
        nodes: u32,
        busy: u32,
        why: Left,
    },
    /// A node's GPUs became schedulable.
    NodeCame { pool: PoolId },
    /// The state of a policy's metrics as read by the controller in one call: whether a signal is read from it, and
    /// whether the answer was whole.
    MetricsRead {
        policy: PolicyId,
        of_signal: bool,
        whole: bool,
        newest_ms: Option<Millis>,
    },
    /// A fault began or struck; its name as in `facts`: `F1` and so on, with what it was.
    Fault { name: &'static str, what: &'static str },
    /// The brake, or the removal of a policy.
    Frozen(bool),
    /// A policy was taken away or came (back).
    PolicyPresent { policy: PolicyId, present: bool },
    /// The platform's autoscaler was turned on or off.
    Autoscaler { pool: PoolId, on: bool },
}

/// What a policy decided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decided {
    pub from: u32,
    pub to: u32,
    /// Size that the evidence wished for.
    pub wish: u32,
    pub reason: &'static str,
    /// Whether every signal was known.
    pub known: bool,
    /// Checksum over the whole evaluation.
    pub checksum: u64,
}

/// A resize as the platform met it.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrived {
    pub pool: PoolId,
    pub from: u32,
    pub to: u32,
    /// Whether its `If-Match` was the pool's etag at that moment.
    pub etag_current: bool,
    /// Whether an operation of ours was running in the pool.
    pub ours_running: bool,
    /// Whether somebody else's was.
    pub foreign_running: bool,
    /// Whether the cluster autoscaler was on.
    pub autoscaler: bool,
    /// `accepted`, or the error's code.
    pub answer: &'static str,
}

/// Why nodes left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// A resize of ours.
    Ours,
    /// Somebody else's write.
    Foreign,
    /// Eviction or death.
    Evicted,
}

/// The facts of a run in order of true time.
#[derive(Debug, Default)]
pub struct Log {
    pub events: Vec<(Millis, Event)>,
}

impl Log {
    /// Adds a fact.
    pub fn add(&mut self, at_ms: Millis, event: Event) {
        self.events.push((at_ms, event));
    }
}
