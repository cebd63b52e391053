//! Which faults befall a run, and when: an explicit list, drawn from the seed.
//!
//! All of them are over before the last stretch of the run, in which the pools must come back to what the demand
//! wants. Each entry is drawn for itself, so any of them can be left out.

use gpuscale::policy::config::Millis;
use gpuscale::policy::observation::Failure;

use crate::chance::Stream;
use crate::event::{PolicyId, PoolId};
use crate::gate::{Admin, GateFault, PORTS, Port, Side, Strike};
use crate::shapes::POLICIES;
use crate::world::arm::{ArmFault, CountAfter, LateView, Said};
use crate::world::prometheus::faults::{Blank, Fault as MetricsFault, History, Hit};
use crate::world::store::StoreFault;

/// From here on nothing fails.
pub const QUIET_MS: Millis = 225 * MINUTE_MS;

const SECOND_MS: Millis = 1_000;
const MINUTE_MS: Millis = 60_000;

/// A fault and its time.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    pub from_ms: Millis,
    pub to_ms: Millis,
    pub fault: Fault,
}

/// What goes wrong.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// The metrics.
    Metrics(MetricsFault),
    /// The platform, in one pool.
    Arm(PoolId, ArmFault),
    /// Nodes of a pool are evicted or die.
    Evicted { pool: PoolId, nodes: u32 },
    /// Nodes of a pool fall ill.
    Unhealthy { pool: PoolId, node: usize },
    /// The cluster cannot be seen.
    View(ViewFault),
    /// The cluster view is complete only so long after each start.
    SlowSync { ms: Millis },
    /// The state cannot be read or written.
    Store(StoreFault),
    /// Calls do not come through.
    Gate(GateFault),
    /// The process dies and starts again.
    Crash { down_ms: Millis },
    /// The process is asked to end, and starts again.
    Stop { down_ms: Millis },
    /// The local wall clock is wrong.
    Wall(Wall),
    /// The administrator's brake.
    Freeze,
    /// A policy is taken away and comes back.
    Delete(PolicyId),
    /// A policy has another threshold for a while.
    Edit(PolicyId),
    /// A policy's GPUs are all busy, however many there are.
    Saboteur(PolicyId),
}

/// How the cluster cannot be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ViewFault {
    Unsynced,
    Unreachable,
}

/// Where the local wall clock jumps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wall {
    HourAhead,
    HourBack,
    Year1970,
    Year2100,
}

impl Wall {
    /// What happened to it.
    pub fn what(self) -> &'static str {
        match self {
            Self::HourAhead => "wall clock an hour ahead",
            Self::HourBack => "wall clock an hour back",
            Self::Year1970 => "wall clock in 1970",
            Self::Year2100 => "wall clock in 2100",
        }
    }

    /// How far off it is.
    pub fn offset_ms(self) -> Millis {
        match self {
            Self::HourAhead => 60 * MINUTE_MS,
            Self::HourBack => -60 * MINUTE_MS,
            Self::Year1970 => -crate::clock::EPOCH_MS,
            Self::Year2100 => 4_102_444_800_000 - crate::clock::EPOCH_MS,
        }
    }
}

/// What a plan is drawn for.
#[derive(Debug, Clone)]
pub struct Stage {
    /// Pools of each policy: its target, then its fallback pool if it has one.
    pub pools: Vec<Vec<PoolId>>,
}

/// The faults of a run, in order of time.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan(pub Vec<Planned>);

impl Plan {
    /// The plan of a seed.
    pub fn from_seed(seed: u64, stage: &Stage) -> Self {
        let count = Stream::new(seed, &[0x91a7]).between(4, 25);
        let mut planned: Vec<Planned> = (0..count)
            .map(|number| draw_one(seed, number.unsigned_abs(), stage))
            .collect();
        planned.sort_by_key(|planned| planned.from_ms);
        // Behind the others, whose numbers stay as they are.
        let count = Stream::new(seed, &[0xad31]).between(0, 4);
        planned.extend((0..count).map(|number| draw_admin(seed, number.unsigned_abs())));
        Self(planned)
    }
}

/// The administrator acts at the worst moment: while a decision is on its way to the platform.
fn draw_admin(seed: u64, number: u64) -> Planned {
    let mut stream = Stream::new(seed, &[0xad31, number + 1]);
    let (port, side) = *stream.of(&[
        (Port::PoolRead, Side::Before),
        (Port::PoolRead, Side::After),
        (Port::Look, Side::Before),
        (Port::Look, Side::After),
        (Port::Save, Side::Before),
        (Port::Save, Side::After),
        (Port::Resize, Side::Before),
        (Port::Resize, Side::After),
    ]);
    let from_ms = stream.between(5 * MINUTE_MS, QUIET_MS - 60 * MINUTE_MS);
    Planned {
        from_ms,
        to_ms: from_ms + 60 * MINUTE_MS,
        fault: Fault::Gate(GateFault::AdminAt {
            port,
            side,
            whom: usize::try_from(stream.between(0, POLICIES as i64 - 1)).unwrap_or(0),
            admin: *stream.of(&[
                Admin::Freeze,
                Admin::Freeze,
                Admin::Remove,
                Admin::Remove,
                Admin::Edit,
            ]),
            lasts_ms: stream.between(20, 600) * SECOND_MS,
        }),
    }
}

fn draw_one(seed: u64, number: u64, stage: &Stage) -> Planned {
    let mut stream = Stream::new(seed, &[0x91a7, number + 1]);
    let from_ms = stream.between(30 * SECOND_MS, QUIET_MS - 10 * MINUTE_MS);
    let lasts_ms = match stream.between(0, 9) {
        0..=3 => stream.between(5, 120) * SECOND_MS,
        4..=7 => stream.between(2, 15) * MINUTE_MS,
        _ => stream.between(15, 60) * MINUTE_MS,
    };
    let to_ms = (from_ms + lasts_ms).min(QUIET_MS);
    let mut fault = draw_fault(&mut stream, stage);
    if let Fault::Crash { down_ms }
    | Fault::Stop { down_ms }
    | Fault::Gate(GateFault::CrashAt { down_ms, .. }) = &mut fault
    {
        // It is up again before the quiet begins, whenever in its time the crash comes.
        *down_ms = (*down_ms).min(QUIET_MS - to_ms).max(SECOND_MS);
    }
    Planned {
        from_ms,
        to_ms,
        fault,
    }
}

fn draw_fault(stream: &mut Stream, stage: &Stage) -> Fault {
    let whom = usize::try_from(stream.between(0, POLICIES as i64 - 1)).unwrap_or(0);
    let pool = *stream.of(&stage.pools[whom]);
    match stream.between(0, 99) {
        0..=23 => Fault::Metrics(draw_metrics(stream)),
        24..=47 => Fault::Arm(pool, draw_arm(stream)),
        48..=50 => Fault::Evicted {
            pool,
            nodes: small(stream, 1, 3),
        },
        51 | 52 => Fault::Unhealthy {
            pool,
            node: small(stream, 0, 3) as usize,
        },
        53..=55 => Fault::View(*stream.of(&[ViewFault::Unsynced, ViewFault::Unreachable])),
        56 | 57 => Fault::SlowSync {
            ms: stream.between(5, 300) * SECOND_MS,
        },
        58..=61 => Fault::Store(*stream.of(&[
            StoreFault::Unavailable,
            StoreFault::KeptAndError,
            StoreFault::LostAndError,
        ])),
        62..=71 => Fault::Gate(draw_calls(stream, whom)),
        72..=76 => Fault::Gate(draw_crash(stream)),
        77..=79 => Fault::Crash {
            down_ms: down_ms(stream),
        },
        80..=83 => Fault::Stop {
            down_ms: down_ms(stream),
        },
        84..=87 => {
            Fault::Wall(*stream.of(&[Wall::HourAhead, Wall::HourBack, Wall::Year1970, Wall::Year2100]))
        }
        88 | 89 => Fault::Freeze,
        90 | 91 => Fault::Delete(whom),
        92 | 93 => Fault::Edit(whom),
        94 | 95 => Fault::Gate(GateFault::MetricsHang { whom }),
        96 | 97 => Fault::Gate(GateFault::Panics {
            whom,
            per_mille: *stream.of(&[20, 200, 1_000]),
        }),
        _ => Fault::Saboteur(whom),
    }
}

fn draw_calls(stream: &mut Stream, whom: PolicyId) -> GateFault {
    // Resizes and saves are rare among the calls, and what happens to them matters most.
    let port = match stream.between(0, 9) {
        0..=3 => Port::Resize,
        4 | 5 => Port::Save,
        _ => *stream.of(&PORTS),
    };
    GateFault::Calls {
        port,
        whom: stream.percent(50).then_some(whom),
        per_mille: *stream.of(&[50, 200, 500, 1_000]),
        strike: *stream.of(&[
            Strike::FailBefore,
            Strike::RequestLost,
            Strike::ReplyLost,
            Strike::Delay,
            Strike::Hang,
        ]),
    }
}

fn draw_crash(stream: &mut Stream) -> GateFault {
    let port = match stream.between(0, 9) {
        0..=3 => Port::Resize,
        4..=6 => Port::Save,
        _ => *stream.of(&PORTS),
    };
    GateFault::CrashAt {
        port,
        side: *stream.of(&[Side::Before, Side::After]),
        down_ms: down_ms(stream),
    }
}

fn down_ms(stream: &mut Stream) -> Millis {
    if stream.percent(60) {
        stream.between(5, 90) * SECOND_MS
    } else {
        stream.between(2, 20) * MINUTE_MS
    }
}

fn draw_metrics(stream: &mut Stream) -> MetricsFault {
    let of = small(stream, 2, 6);
    let some = Hit {
        count: small(stream, 1, i64::from(of) - 1),
        of,
        salt: small(stream, 0, 11),
    };
    let hit = if stream.percent(30) { Hit::ALL } else { some };
    match stream.between(0, 13) {
        0 | 1 => MetricsFault::Empty,
        2 | 3 => MetricsFault::Error(*stream.of(&MetricsFault::ERRORS)),
        4 => MetricsFault::ServerDown,
        5 => MetricsFault::Partial { devices: hit },
        6 => MetricsFault::Blank {
            devices: hit,
            blank: *stream.of(&Blank::ALL),
        },
        7 => MetricsFault::ExportersDead { nodes: hit },
        8 => MetricsFault::ExporterRestarts {
            one_in: small(stream, 2, 8),
        },
        9 => MetricsFault::Ghosts,
        10 => MetricsFault::Replica {
            shift_ms: stream.between(1, 14) * SECOND_MS,
        },
        11 => MetricsFault::Skew {
            by_ms: stream.between(-600, 600) * SECOND_MS,
            history: *stream.of(&[History::Kept, History::Shifted]),
        },
        12 => MetricsFault::Lag {
            nodes: hit,
            by_ms: stream.between(10, 240) * SECOND_MS,
        },
        _ if stream.percent(50) => MetricsFault::Foreign {
            series: *stream.of(&[10, 100, 400]),
        },
        _ => MetricsFault::Lying { devices: hit },
    }
}

fn draw_arm(stream: &mut Stream) -> ArmFault {
    let by = *stream.of(&[-2, -1, 1, 2]);
    let why = *stream.of(&[
        Failure::QuotaLow,
        Failure::QuotaZero,
        Failure::Allocation,
        Failure::Sku,
    ]);
    match stream.between(0, 18) {
        0 => ArmFault::AutoscalerOn {
            by: *stream.of(&[-1, 0, 1]),
        },
        1 => ArmFault::ForeignWrite { by },
        2 => ArmFault::WriteAfterRead { by },
        3 => ArmFault::WriteBeforeResize { by },
        4 => ArmFault::Overtaken { by },
        5 => ArmFault::Upgrade {
            ms: stream.between(5, 30) * MINUTE_MS,
        },
        6 => ArmFault::Stopped,
        7 => ArmFault::QuotaLow {
            room: small(stream, 1, 3),
        },
        8 => ArmFault::QuotaZero,
        9 => ArmFault::SkuGone,
        10 => ArmFault::FailsLate {
            why,
            count: *stream.of(&[CountAfter::Stays, CountAfter::Reverts]),
        },
        11 => ArmFault::PartialFill {
            said: *stream.of(&[Said::Succeeded, Said::Failed]),
        },
        12 => ArmFault::Stuck {
            ms: stream.between(10, 40) * MINUTE_MS,
        },
        13 => ArmFault::Lost,
        14 => ArmFault::CountLate {
            ms: stream.between(5, 120) * SECOND_MS,
            view: *stream.of(&[LateView::Count, LateView::Pool]),
        },
        15 => ArmFault::Throttled {
            percent: *stream.of(&[20, 60, 100]),
            retry_after_ms: stream.between(1, 120) * SECOND_MS,
        },
        16 => ArmFault::AuthExpired,
        17 => ArmFault::Unavailable {
            percent: *stream.of(&[20, 60, 100]),
        },
        _ => ArmFault::PollsDropped {
            percent: *stream.of(&[50, 100]),
        },
    }
}

fn small(stream: &mut Stream, from: i64, to: i64) -> u32 {
    u32::try_from(stream.between(from, to)).unwrap_or(0)
}
