//! What may be wrong with the metrics: the faults that a plan turns on and off, and what each does to one
//! scrape or one answer.
//!
//! They add up: two dead exporters by two faults are two dead exporters. Requests that hang or are lost on
//! their way are not here, since the server knows nothing of them.

use gpuscale::control::ports::SourceErrorKind;
use gpuscale::policy::config::{MINUTE_MS, Millis, ONE};

use crate::chance::draw;

/// How long the exporter of a node that left may go on being answered.
pub const GHOST_MS: Millis = 5 * MINUTE_MS;
/// How long an exporter that restarts says nothing.
const RESTART_MS: Millis = 45_000;

/// Something that is wrong with the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every answer is whole and has no series.
    Empty,
    /// Every read fails like this.
    Error(SourceErrorKind),
    /// The server is down: it answers nothing and stores nothing, so that a gap stays.
    ServerDown,
    /// Answers lack the series of some devices, and say so.
    Partial { devices: Hit },
    /// Some devices report a value that means none.
    Blank { devices: Hit, blank: Blank },
    /// Some nodes' exporters are dead.
    ExportersDead { nodes: Hit },
    /// Exporters restart now and then; one in so many is away at any time.
    ExporterRestarts { one_in: u32 },
    /// Nodes that left go on being answered with their last values.
    Ghosts,
    /// A second server scrapes too, so many ms later, and both are answered.
    Replica { shift_ms: Millis },
    /// The server's clock is wrong.
    Skew { by_ms: Millis, history: History },
    /// The samples of some nodes can be read only so much later.
    Lag { nodes: Hit, by_ms: Millis },
    /// So many series of other people's nodes match too; all of them idle.
    Foreign { series: u32 },
    /// Some devices report no utilization whatever they do; their power tells.
    Lying { devices: Hit },
}

/// A value that means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blank {
    NotANumber,
    Infinite,
    MinusInfinite,
    /// What DCGM's 64-bit blank becomes in a float.
    Dcgm,
    /// DCGM's blank for a metric that the device does not have.
    DcgmNotSupported,
    /// Below zero.
    Negative,
}

/// What becomes of the samples there are when the server's clock steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// They stay where they are. After a step back nothing is stored until the clock has caught up.
    Kept,
    /// They step too: another server answers, whose clock was always like this.
    Shifted,
}

/// Which of many are hit: `count` of every `of`, those that the salt says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    pub count: u32,
    pub of: u32,
    pub salt: u32,
}

impl Hit {
    /// All of them.
    pub const ALL: Self = Self {
        count: 1,
        of: 1,
        salt: 0,
    };

    /// Whether this one is.
    pub fn strikes(self, number: u32) -> bool {
        number.wrapping_add(self.salt) % self.of.max(1) < self.count
    }
}

impl Blank {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::NotANumber,
        Self::Infinite,
        Self::MinusInfinite,
        Self::Dcgm,
        Self::DcgmNotSupported,
        Self::Negative,
    ];

    /// The float that is written.
    pub fn value(self) -> f64 {
        match self {
            Self::NotANumber => f64::NAN,
            Self::Infinite => f64::INFINITY,
            Self::MinusInfinite => f64::NEG_INFINITY,
            Self::Dcgm => 1.844_674_407_370_955_2e19,
            Self::DcgmNotSupported => 9_223_372_036_854_775_794.0,
            Self::Negative => -1.0,
        }
    }
}

impl Fault {
    /// Every way in which a read can fail.
    pub const ERRORS: [SourceErrorKind; 9] = [
        SourceErrorKind::Unreachable,
        SourceErrorKind::Timeout,
        SourceErrorKind::Status(500),
        SourceErrorKind::Status(429),
        SourceErrorKind::Status(302),
        SourceErrorKind::Query,
        SourceErrorKind::Malformed,
        SourceErrorKind::TooLarge,
        SourceErrorKind::Throttled(Some(60_000)),
    ];

    /// Its number in the list of faults; a metric that lies has none.
    pub fn number(self) -> &'static str {
        match self {
            Self::Empty => "F1",
            Self::Error(SourceErrorKind::Query) | Self::Partial { .. } => "F3",
            Self::Error(SourceErrorKind::TooLarge) | Self::Foreign { .. } => "F24",
            Self::Error(_) | Self::ServerDown => "F2",
            Self::Blank { .. } => "F4",
            Self::ExportersDead { .. } | Self::ExporterRestarts { .. } => "F5",
            Self::Ghosts | Self::Replica { .. } => "F6",
            Self::Skew { .. } | Self::Lag { .. } => "F7",
            Self::Lying { .. } => "lying metric",
        }
    }

    /// What it is.
    pub fn what(self) -> &'static str {
        match self {
            Self::Empty => "empty answers",
            Self::Error(kind) => kind.as_str(),
            Self::ServerDown => "server down",
            Self::Partial { .. } => "partial answers",
            Self::Blank { .. } => "blank values",
            Self::ExportersDead { .. } => "exporters dead",
            Self::ExporterRestarts { .. } => "exporters restart",
            Self::Ghosts => "ghost series",
            Self::Replica { .. } => "duplicate series",
            Self::Skew { .. } => "clock of the source wrong",
            Self::Lag { .. } => "samples late",
            Self::Foreign { .. } => "foreign series",
            Self::Lying { .. } => "zero utilization under load",
        }
    }
}

/// The faults that are on, with the true time since when.
#[derive(Debug, Clone, Default)]
pub(super) struct Active(Vec<(Millis, Fault)>);

impl Active {
    pub(super) fn set(&mut self, true_ms: Millis, fault: Fault) {
        self.0.push((true_ms, fault));
    }

    /// Takes one such fault away; whether there was one.
    pub(super) fn clear(&mut self, fault: Fault) -> bool {
        let found = self.0.iter().position(|&(_, active)| active == fault);
        found.map(|index| self.0.remove(index)).is_some()
    }

    fn any(&self, is: impl Fn(Fault) -> bool) -> bool {
        self.0.iter().any(|&(_, fault)| is(fault))
    }

    fn find<T>(&self, of: impl Fn(Fault) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(|&(_, fault)| of(fault))
    }

    /// Whether the server is down.
    pub(super) fn down(&self) -> bool {
        self.any(|fault| fault == Fault::ServerDown)
    }

    /// How reads fail, if they do.
    pub(super) fn error(&self) -> Option<SourceErrorKind> {
        self.find(|fault| match fault {
            Fault::Error(kind) => Some(kind),
            Fault::ServerDown => Some(SourceErrorKind::Unreachable),
            _ => None,
        })
    }

    /// Whether answers are empty.
    pub(super) fn empty(&self) -> bool {
        self.any(|fault| fault == Fault::Empty)
    }

    /// Whether answers say that something may be missing.
    pub(super) fn partial(&self) -> bool {
        self.any(|fault| matches!(fault, Fault::Partial { .. }))
    }

    /// Whether the answer lacks a device.
    pub(super) fn lacks(&self, device: u32) -> bool {
        self.any(|fault| matches!(fault, Fault::Partial { devices } if devices.strikes(device)))
    }

    /// Whether a node's exporter says nothing.
    pub(super) fn silent(&self, node: u32, true_ms: Millis) -> bool {
        self.any(|fault| match fault {
            Fault::ExportersDead { nodes } => nodes.strikes(node),
            Fault::ExporterRestarts { one_in } => {
                let turn = true_ms.div_euclid(RESTART_MS).unsigned_abs();
                draw(turn, &[u64::from(node)]).is_multiple_of(u64::from(one_in.max(1)))
            }
            _ => false,
        })
    }

    /// The value that a device reports in place of its own.
    pub(super) fn blank(&self, device: u32) -> Option<f64> {
        self.find(|fault| match fault {
            Fault::Blank { devices, blank } if devices.strikes(device) => Some(blank.value()),
            _ => None,
        })
    }

    /// Whether a device says that it does nothing whatever it does.
    pub(super) fn lies(&self, device: u32) -> bool {
        self.any(|fault| matches!(fault, Fault::Lying { devices } if devices.strikes(device)))
    }

    /// Whether nodes that left are answered.
    pub(super) fn ghosts(&self) -> bool {
        self.any(|fault| fault == Fault::Ghosts)
    }

    /// How much later a second server scrapes, if there is one.
    pub(super) fn replica(&self) -> Option<Millis> {
        self.find(|fault| match fault {
            Fault::Replica { shift_ms } => Some(shift_ms),
            _ => None,
        })
    }

    /// How many series of other people there are.
    pub(super) fn foreign(&self) -> u32 {
        self.find(|fault| match fault {
            Fault::Foreign { series } => Some(series),
            _ => None,
        })
        .unwrap_or(0)
    }

    /// By how much the server's clock is wrong.
    pub(super) fn skew(&self) -> Millis {
        let skew = |&(_, fault): &(Millis, Fault)| match fault {
            Fault::Skew { by_ms, .. } => by_ms,
            _ => 0,
        };
        self.0.iter().map(skew).sum()
    }

    /// The true time up to which a node's samples can be read. What could be read once stays readable.
    pub(super) fn readable_until(&self, node: Option<u32>, true_ms: Millis) -> Millis {
        let until = |&(since_ms, fault): &(Millis, Fault)| match fault {
            Fault::Lag { nodes, by_ms }
                if node.map_or(nodes.count >= nodes.of, |node| nodes.strikes(node)) =>
            {
                Some(since_ms.max(true_ms - by_ms))
            }
            _ => None,
        };
        self.0.iter().filter_map(until).min().unwrap_or(true_ms)
    }
}

/// Parts of a million of a ratio; nothing of nothing is `None`.
pub(super) fn share(part: u64, whole: u64) -> Option<i64> {
    let ppm = (part * ONE.unsigned_abs()).checked_div(whole)?;
    i64::try_from(ppm).ok()
}
