//! The gate in front of every port call: how long it takes, and whether it gets there and back.
//!
//! What happens to a call is drawn from the seed, the fault, the port and the time of the call. The gate knows nothing
//! of what is asked or answered.

use gpuscale::policy::config::Millis;

use crate::chance::{Stream, draw};
use crate::event::PolicyId;
use crate::shapes::POLICIES;

/// The calls that the controller makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    Metrics,
    PoolRead,
    Resize,
    Poll,
    Look,
    Load,
    Save,
}

/// All of them.
pub const PORTS: [Port; 7] = [
    Port::Metrics,
    Port::PoolRead,
    Port::Resize,
    Port::Poll,
    Port::Look,
    Port::Load,
    Port::Save,
];

/// What may happen to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strike {
    /// It is refused at the door.
    FailBefore,
    /// It never arrives.
    RequestLost,
    /// It arrives, and its answer is lost.
    ReplyLost,
    /// It, or its answer, takes up to 40 seconds more.
    Delay,
    /// It hangs for ever.
    Hang,
}

/// Which side of a call the process dies on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Before,
    After,
}

/// What the administrator does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admin {
    /// Freezes everything.
    Freeze,
    /// Takes the policy away.
    Remove,
    /// Gives the policy another threshold.
    Edit,
}

/// A fault of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GateFault {
    /// Calls of a port, of one policy or of all, meet this with a chance in a thousand.
    Calls {
        port: Port,
        whom: Option<PolicyId>,
        per_mille: u16,
        strike: Strike,
    },
    /// The process dies at the next call of this port, once.
    CrashAt { port: Port, side: Side, down_ms: Millis },
    /// Every read of metrics of one policy hangs.
    MetricsHang { whom: PolicyId },
    /// Calls of a policy panic with a chance in a thousand.
    Panics { whom: PolicyId, per_mille: u16 },
    /// The administrator acts at the next call of this port that is made for a decision of the policy, once, and takes
    /// it back after so long.
    AdminAt {
        port: Port,
        side: Side,
        whom: PolicyId,
        admin: Admin,
        lasts_ms: Millis,
    },
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It comes through.
    Pass,
    /// Refused before anything was done.
    Refused,
    /// Not done, and no answer: an error or silence.
    RequestLost(Silence),
    /// Done, and no answer.
    ReplyLost(Silence),
    /// The process dies before it is done.
    CrashBefore { down_ms: Millis },
    /// The process dies after it was sent.
    CrashAfter { down_ms: Millis },
    /// The call panics.
    Panic,
}

/// How the loss of an answer shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Silence {
    /// Nothing ever comes.
    ForEver,
    /// The connection breaks.
    Error,
}

/// A call's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passage {
    pub there_ms: Millis,
    pub back_ms: Millis,
    pub fate: Fate,
    /// The fault that struck, as it is counted.
    pub struck: Option<(&'static str, &'static str)>,
    /// The fault, by number, at which the administrator acts, and on which side of the call.
    pub summons: Option<(usize, Side)>,
}

/// The gate of one run.
#[derive(Debug, Default)]
pub struct Gate {
    seed: u64,
    active: Vec<(usize, GateFault)>,
    /// The last call, and how many like it were made in the same millisecond.
    last: (u64, u64, u64),
    alike: u64,
    /// Whether a policy is about to carry out a decision.
    decided: [bool; POLICIES],
}

impl Gate {
    /// A gate that lets everything through in time.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            ..Self::default()
        }
    }

    /// Sets the fault with this number in the plan.
    pub fn set(&mut self, number: usize, fault: GateFault) {
        self.active.push((number, fault));
    }

    /// Ends the fault with this number.
    pub fn clear(&mut self, number: usize) {
        self.active.retain(|(active, _)| *active != number);
    }

    /// A policy decided: what it calls from now on is for a resize, or is not.
    pub fn decided(&mut self, whom: PolicyId, change: Change) {
        self.decided[whom] = change == Change::Some;
    }

    /// What becomes of a call that is made now.
    pub fn pass(&mut self, port: Port, whom: PolicyId, now_ms: Millis) -> Passage {
        let call = (port as u64, whom as u64, now_ms.unsigned_abs());
        self.alike = if call == self.last { self.alike + 1 } else { 0 };
        self.last = call;
        let words = [call.0, call.1, call.2 << 8 | self.alike];
        let bits = draw(self.seed, &words);
        // Most calls of a moment go and come together, as over one connection; every fourth has its own way. Waking a
        // task costs more than what it then does.
        let alone = (bits >> 16).is_multiple_of(4);
        let way = if alone {
            bits
        } else {
            draw(self.seed, &[0x9a7e, call.2])
        };
        let mut passage = Passage {
            there_ms: 3 + (way & 0x7f).cast_signed(),
            back_ms: 2 + (way >> 8 & 0x7f).cast_signed(),
            fate: Fate::Pass,
            struck: None,
            summons: None,
        };
        let mut used = None;
        for (number, fault) in &self.active {
            if fault.waits() && !self.decided[whom] {
                continue;
            }
            let chance = draw(self.seed, &[*number as u64 + 1, words[0], words[1], words[2]]);
            if fault.strike(port, whom, chance, &mut passage) {
                if let GateFault::AdminAt { side, .. } = fault {
                    passage.summons = Some((*number, *side));
                }
                if matches!(fault, GateFault::CrashAt { .. } | GateFault::AdminAt { .. }) {
                    used = Some(*number);
                }
                break;
            }
        }
        if let Some(number) = used {
            self.clear(number);
        }
        if port == Port::Resize {
            self.decided[whom] = false;
        }
        passage
    }
}

/// Whether a decision changes anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    None,
    Some,
}

impl GateFault {
    /// Whether only calls for a decision are struck.
    fn waits(self) -> bool {
        matches!(self, Self::AdminAt { .. })
    }

    /// Whether the fault strikes this call, and what it does to it.
    fn strike(self, port: Port, whom: PolicyId, chance: u64, passage: &mut Passage) -> bool {
        let mut stream = Stream::new(chance, &[7]);
        match self {
            Self::Calls {
                port: struck,
                whom: only,
                per_mille,
                strike,
            } => {
                if struck != port
                    || only.is_some_and(|only| only != whom)
                    || chance % 1_000 >= u64::from(per_mille)
                {
                    return false;
                }
                passage.meet(port, strike, &mut stream);
            }
            Self::CrashAt {
                port: struck,
                side,
                down_ms,
            } => {
                if struck != port {
                    return false;
                }
                passage.struck = Some(("F9", crash_name(port, side)));
                passage.fate = match side {
                    Side::Before => Fate::CrashBefore { down_ms },
                    Side::After => Fate::CrashAfter { down_ms },
                };
            }
            Self::MetricsHang { whom: only } => {
                if port != Port::Metrics || only != whom {
                    return false;
                }
                passage.struck = Some(("F23", "metrics of one policy hang"));
                passage.fate = Fate::RequestLost(Silence::ForEver);
            }
            Self::Panics {
                whom: only,
                per_mille,
            } => {
                if only != whom || chance % 1_000 >= u64::from(per_mille) {
                    return false;
                }
                passage.struck = Some(("F23", "a tick panics"));
                passage.fate = Fate::Panic;
            }
            Self::AdminAt {
                port: struck,
                whom: only,
                admin,
                ..
            } => {
                if struck != port || only != whom {
                    return false;
                }
                passage.struck = Some(admin_name(admin));
            }
        }
        true
    }
}

impl Passage {
    fn meet(&mut self, port: Port, strike: Strike, stream: &mut Stream) {
        let silence = if stream.percent(50) {
            Silence::ForEver
        } else {
            Silence::Error
        };
        match strike {
            Strike::FailBefore => self.fate = Fate::Refused,
            Strike::RequestLost => self.fate = Fate::RequestLost(silence),
            Strike::ReplyLost => self.fate = Fate::ReplyLost(silence),
            Strike::Hang => self.fate = Fate::RequestLost(Silence::ForEver),
            Strike::Delay => {
                let more_ms = stream.between(500, 40_000);
                *(if stream.percent(50) {
                    &mut self.there_ms
                } else {
                    &mut self.back_ms
                }) += more_ms;
            }
        }
        self.struck = Some((fault_number(port), strike_name(port, strike)));
    }
}

/// The number in the list of faults that trouble at a port counts for.
fn fault_number(port: Port) -> &'static str {
    match port {
        Port::Metrics => "F2",
        Port::PoolRead | Port::Resize | Port::Poll => "F25",
        Port::Look => "F22",
        Port::Load | Port::Save => "store",
    }
}

fn strike_name(port: Port, strike: Strike) -> &'static str {
    use Strike::{Delay, FailBefore, Hang, ReplyLost, RequestLost};
    match (port, strike) {
        (Port::Metrics, FailBefore) => "metrics: refused",
        (Port::Metrics, RequestLost) => "metrics: request lost",
        (Port::Metrics, ReplyLost) => "metrics: reply lost",
        (Port::Metrics, Delay) => "metrics: delayed",
        (Port::Metrics, Hang) => "metrics: hang",
        (Port::PoolRead, FailBefore) => "pool read: refused",
        (Port::PoolRead, RequestLost) => "pool read: request lost",
        (Port::PoolRead, ReplyLost) => "pool read: reply lost",
        (Port::PoolRead, Delay) => "pool read: delayed",
        (Port::PoolRead, Hang) => "pool read: hang",
        (Port::Resize, FailBefore) => "resize: refused",
        (Port::Resize, RequestLost) => "resize: request lost",
        (Port::Resize, ReplyLost) => "resize: reply lost",
        (Port::Resize, Delay) => "resize: delayed",
        (Port::Resize, Hang) => "resize: hang",
        (Port::Poll, FailBefore) => "poll: refused",
        (Port::Poll, RequestLost) => "poll: request lost",
        (Port::Poll, ReplyLost) => "poll: reply lost",
        (Port::Poll, Delay) => "poll: delayed",
        (Port::Poll, Hang) => "poll: hang",
        (Port::Look, FailBefore) => "look: refused",
        (Port::Look, RequestLost) => "look: request lost",
        (Port::Look, ReplyLost) => "look: reply lost",
        (Port::Look, Delay) => "look: delayed",
        (Port::Look, Hang) => "look: hang",
        (Port::Load, FailBefore) => "load: refused",
        (Port::Load, RequestLost) => "load: request lost",
        (Port::Load, ReplyLost) => "load: reply lost",
        (Port::Load, Delay) => "load: delayed",
        (Port::Load, Hang) => "load: hang",
        (Port::Save, FailBefore) => "save: refused",
        (Port::Save, RequestLost) => "save: request lost",
        (Port::Save, ReplyLost) => "save: reply lost",
        (Port::Save, Delay) => "save: delayed",
        (Port::Save, Hang) => "save: hang",
    }
}

fn admin_name(admin: Admin) -> (&'static str, &'static str) {
    match admin {
        Admin::Freeze => ("freeze", "frozen while a decision is carried out"),
        Admin::Remove => ("F20", "policy deleted while a decision is carried out"),
        Admin::Edit => ("F19", "policy edited while a decision is carried out"),
    }
}

fn crash_name(port: Port, side: Side) -> &'static str {
    match (port, side) {
        (Port::Metrics, Side::Before) => "crash before a read of metrics",
        (Port::Metrics, Side::After) => "crash after a read of metrics",
        (Port::PoolRead, Side::Before) => "crash before a read of the pool",
        (Port::PoolRead, Side::After) => "crash after a read of the pool",
        (Port::Resize, Side::Before) => "crash before a resize",
        (Port::Resize, Side::After) => "crash after a resize",
        (Port::Poll, Side::Before) => "crash before a poll",
        (Port::Poll, Side::After) => "crash after a poll",
        (Port::Look, Side::Before) => "crash before a look",
        (Port::Look, Side::After) => "crash after a look",
        (Port::Load, Side::Before) => "crash before a load",
        (Port::Load, Side::After) => "crash after a load",
        (Port::Save, Side::Before) => "crash before a save",
        (Port::Save, Side::After) => "crash after a save",
    }
}
