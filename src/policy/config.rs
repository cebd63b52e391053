//! What the engine is told: a validated policy, in integers.
//!
//! A [`Config`] is the compiled form of a policy document. It is built once, at the edge, after every check has
//! passed; the engine never sees the document. All utilization is a fraction of a device in micros
//! (1 000 000 = fully busy), all times are milliseconds, all money is micro-USD. Nothing here reads a clock: a
//! schedule is data, and [`super::schedule`] asks it about an instant that the caller names.

use super::dcgm::DcgmMetric;
use super::schedule::Schedule;

/// Milliseconds, as a duration or as an instant since the Unix epoch; field names say which.
pub type Millis = i64;

/// Fixed-point number in 1e-6 units: 1 000 000 is one GPU, 100 %, one request or one dollar.
pub type Micro = i64;

/// One whole unit in [`Micro`].
pub const ONE: Micro = 1_000_000;

/// One minute in [`Millis`].
pub const MINUTE_MS: Millis = 60_000;

/// A validated policy, ready for [`evaluate`](fn@super::evaluate).
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Signals in the order of the policy; at most [`MAX_SIGNALS`].
    pub signals: Vec<Signal>,
    /// How evidence becomes a size.
    pub strategy: Strategy,
    /// Whether load spreads over nodes by itself.
    pub workload: Workload,
    /// Fewest nodes, reached even without metrics.
    pub min_nodes: u32,
    /// Most nodes ever asked for.
    pub max_nodes: u32,
    /// Nodes kept beyond what the evidence needs.
    pub spare_nodes: u32,
    /// Shaping of growth.
    pub up: Behavior,
    /// Shaping of shrinking.
    pub down: Behavior,
    /// How long after a completed resize the up windows may be judged again.
    pub settle_ms: Millis,
    /// How long an asked-for node counts as supply before it is `NodesMissing`.
    pub provision_timeout_ms: Millis,
    /// Time between two evaluations.
    pub evaluation_interval_ms: Millis,
    /// Spending limit in micro-USD per hour; growth needs a known price when set.
    pub budget_micro_usd_per_hour: Option<Micro>,
    /// Time windows that replace the bounds.
    pub schedules: Vec<Schedule>,
    /// Which nodes may leave, and how.
    pub scale_in: ScaleIn,
    /// When data is good enough to act on.
    pub data_quality: DataQuality,
    /// What a pinned device says about demand beyond it.
    pub saturation: Saturation,
    /// The policy's own off switch: decisions are shown, nothing changes.
    pub suspend: Suspend,
}

/// Most signals in one policy: the steps of an evaluation are a fixed-size array.
pub const MAX_SIGNALS: usize = 8;

/// Whether the policy may act at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Suspend {
    /// The policy acts.
    #[default]
    Active,
    /// The policy holds the size as it is.
    Suspended,
}

/// How evidence becomes a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// One fixed step per satisfied rule.
    Step {
        /// Nodes added when an up rule is Met.
        up: u32,
        /// Nodes released when every down rule is Met.
        down: u32,
    },
    /// The size at which utilization would be the target.
    TargetUtilization,
}

/// Whether load spreads over nodes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Workload {
    /// Serving: more nodes take load off the others, and a pinned device hides demand.
    Shared,
    /// Training: a pod owns its GPUs, 100 % is its normal state; only waiting pods and queues grow the pool.
    Exclusive,
}

/// One source of evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    /// The signal's name in the policy.
    pub name: String,
    /// What is measured.
    pub source: SignalSource,
    /// How devices become one number at an instant.
    pub across: Across,
    /// Wanted utilization as a fraction of a GPU; `None` for a signal that only has rules.
    pub target: Option<Micro>,
    /// Load that one node carries, in micros of the signal's unit.
    pub per_node: Option<Micro>,
    /// When this signal may grow the pool; without it the wish itself is the evidence.
    pub up: Option<Rule>,
    /// When this signal lets the pool shrink; without it the wish itself is the evidence.
    pub down: Option<Rule>,
    /// Window over which demand is averaged into a wish.
    pub demand_window_ms: Millis,
    /// What an absent series means while its source answers.
    pub absent: Absent,
}

/// What a signal measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalSource {
    /// A DCGM metric per device, normalised to a fraction of the device.
    Device(DcgmMetric),
    /// One number for the pool from a query, in the stated unit.
    Series(SeriesUnit),
    /// Pods that wait for this pool, from the cluster view.
    GpuRequests,
}

/// Unit of a query's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeriesUnit {
    /// 0 to 100; normalised to a fraction.
    Percent,
    /// 0 to 1.
    Ratio,
    /// A number of things, such as waiting requests.
    Count,
    /// Busy GPUs, whole-GPU equivalents.
    Gpus,
}

/// How devices become one number at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Across {
    /// Weighted mean over devices.
    Mean,
    /// The busiest device.
    Max,
}

/// A threshold over a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Threshold in micros of the signal's unit; `≥` for up, `≤` for down.
    pub threshold: Micro,
    /// Window length N.
    pub window_ms: Millis,
    /// How the window is summarised.
    pub statistic: Statistic,
}

/// How a window is summarised. All are time-weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Statistic {
    /// ∫u dt ÷ known time.
    Mean,
    /// The q-quantile, q in micros.
    Quantile(Micro),
    /// True at every known instant.
    Hold,
}

/// What an absent series means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Absent {
    /// Absent is unknown.
    #[default]
    Unknown,
    /// Absent is zero, and only while the source itself answers.
    Zero,
}

/// Shaping of one direction, in the words of the HPA's `behavior`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behavior {
    /// Limits per period; at most [`MAX_RATE_POLICIES`].
    pub policies: Vec<RatePolicy>,
    /// How the limits combine.
    pub select: SelectPolicy,
    /// Deviation from target that is not acted on, as a fraction.
    pub tolerance: Micro,
    /// The wish acted on is the most cautious one of this window.
    pub stabilization_ms: Millis,
    /// Quiet time after a resize in either direction.
    pub cooldown_ms: Millis,
}

/// Most rate policies per direction.
pub const MAX_RATE_POLICIES: usize = 4;

/// A limit on change per period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RatePolicy {
    /// What `value` counts.
    pub kind: RateKind,
    /// Nodes, or percent of the size at the start of the period.
    pub value: u32,
    /// Length of the period.
    pub period_ms: Millis,
}

/// What a rate policy counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateKind {
    /// Nodes.
    Nodes,
    /// Percent of the size at the start of the period.
    Percent,
}

/// How several rate policies combine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SelectPolicy {
    /// The one that allows the largest change.
    Max,
    /// The one that allows the smallest change.
    Min,
    /// No change in this direction.
    Disabled,
}

/// Which nodes may leave, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScaleIn {
    /// Choice of nodes.
    pub victims: VictimPolicy,
    /// How long a drained node may take to empty.
    pub drain_timeout_ms: Millis,
    /// Whether an unhealthy node is replaced.
    pub replace_unhealthy: Replace,
}

/// Choice of nodes to release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VictimPolicy {
    /// Nodes without GPU pods that were idle over the whole window.
    IdleFirst,
    /// Also nodes whose GPU pods opted in to being drained.
    Drain,
    /// The platform chooses; allowed only when every device was idle over the whole window.
    PlatformChooses,
}

/// Whether unhealthy nodes are replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Replace {
    /// Left alone and reported.
    #[default]
    Never,
    /// Released first, so that growth brings a healthy one.
    Unhealthy,
}

/// When data is good enough to act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DataQuality {
    /// Least share of devices, and of the window's time, that must be known.
    pub min_coverage: Micro,
    /// Oldest acceptable newest sample.
    pub max_age_ms: Millis,
    /// Time between two samples of a device.
    pub scrape_interval_ms: Millis,
    /// How long after Ready a node's devices are expected to report.
    pub warm_up_ms: Millis,
    /// How long after Ready a node may go without being judged idle.
    pub idle_window_ms: Millis,
}

impl Config {
    /// How far back a decision looks at the most.
    #[must_use]
    pub fn look_back_ms(&self) -> Millis {
        let signals = self.signals.iter().map(Signal::look_back_ms);
        signals.fold(self.data_quality.idle_window_ms, Millis::max)
    }
}

impl Signal {
    /// Lengths of its windows: demand, up and down; 0 for a rule that it does not have.
    pub(super) fn windows_ms(&self) -> [Millis; 3] {
        let window = |rule: &Option<Rule>| rule.map_or(0, |rule| rule.window_ms);
        [self.demand_window_ms, window(&self.up), window(&self.down)]
    }

    /// The longest of them.
    pub(super) fn look_back_ms(&self) -> Millis {
        self.windows_ms().into_iter().fold(0, Millis::max)
    }
}

impl DataQuality {
    /// Hold limit H: how long a sample speaks for its device, `max(2 × scrapeInterval, 90 s)`.
    #[must_use]
    pub fn hold_limit_ms(&self) -> Millis {
        (2 * self.scrape_interval_ms).max(90_000)
    }
}

/// What a pinned device says about demand beyond it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Saturation {
    /// Utilization from which a device counts as pinned.
    pub pinned_at: Micro,
    /// Demand assumed beyond a pinned GPU, as a fraction of it.
    pub step: Micro,
}

impl Default for Saturation {
    fn default() -> Self {
        Self {
            pinned_at: 950_000,
            step: 500_000,
        }
    }
}
