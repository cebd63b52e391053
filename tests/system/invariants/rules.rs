//! What the checker is told of each policy: the numbers of its document, without the engine's ways of using them.

use gpuscale::control::{PlatformChooses, Settings};
use gpuscale::policy::Config;
use gpuscale::policy::config::{
    Behavior, Micro, Millis, ONE, RateKind, SelectPolicy, SignalSource, Strategy, Suspend, VictimPolicy,
    Workload,
};

use super::super::event::PoolId;

/// When the run grows quiet, in true time.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// From here on nothing fails.
    pub quiet_ms: Millis,
    /// From here on demand is constant.
    pub plateau_ms: Millis,
    /// From here on it is zero.
    pub zero_ms: Millis,
    /// The run is over.
    pub end_ms: Millis,
}

/// What the checker is told of the world that a policy acts on.
#[derive(Debug, Clone)]
pub struct World {
    /// The policy's target, then its fallback pools.
    pub pools: Vec<PoolId>,
    pub gpus_per_node: u32,
    pub node_price: Option<Micro>,
    pub sight: Sight,
    /// The longest that a node takes from the request until its GPUs are schedulable while nothing fails, with the
    /// operation.
    pub boot_ms: Millis,
}

/// Whether a policy can ever shrink.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shrinks {
    /// The platform may choose, where all is idle.
    PlatformChooses,
    /// It has no safe way of doing so.
    Never,
}

/// What a policy promised.
#[derive(Debug, Clone)]
pub struct Rules {
    pub pools: Vec<PoolId>,
    pub min: u32,
    /// The smaller of the policy's maximum and what the budget pays for.
    pub max: u32,
    /// The administrator's maximum of any pool.
    pub pool_max: u32,
    pub up: Behavior,
    pub down: Behavior,
    /// Windows that a shrink looks at.
    pub windows_ms: Vec<Millis>,
    /// The longest window that a growth looks at.
    pub up_window_ms: Millis,
    pub settle_ms: Millis,
    pub idle_ms: Millis,
    pub min_coverage: Micro,
    pub max_age_ms: Millis,
    pub hold_ms: Millis,
    pub warm_up_ms: Millis,
    pub interval_ms: Millis,
    pub provision_timeout_ms: Millis,
    pub call_ms: Millis,
    pub tick_ms: Millis,
    pub grace_ms: Millis,
    pub gpus_per_node: u32,
    pub boot_ms: Millis,
    /// Share of a GPU up to which demand may stand without growth; `None` for a policy that does not grow by load.
    pub carries: Option<Micro>,
    pub shrinks: Shrinks,
    /// How nodes are known.
    pub sight: Sight,
}

/// How the nodes of a pool are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// By name, from the cluster view.
    Named,
    /// By how many were asked for and who reports: a node that does not may be busy.
    Counted,
}

impl Rules {
    /// What the policy of `config` promised in `world`.
    pub fn new(config: &Config, settings: &Settings, world: &World) -> Self {
        let quality = &config.data_quality;
        let demands = config.signals.iter().map(|signal| signal.demand_window_ms);
        let downs = config.signals.iter().filter_map(|signal| signal.down);
        let ups = config.signals.iter().filter_map(|signal| signal.up);
        let affordable = match (config.budget_micro_usd_per_hour, world.node_price) {
            (Some(budget), Some(price)) if price > 0 => u32::try_from(budget / price).unwrap_or(u32::MAX),
            _ => u32::MAX,
        };
        Self {
            pools: world.pools.clone(),
            // The budget goes before the minimum.
            min: config.min_nodes.min(affordable),
            max: config.max_nodes.min(affordable),
            pool_max: settings.max_nodes.unwrap_or(u32::MAX),
            up: config.up.clone(),
            down: config.down.clone(),
            up_window_ms: demands
                .clone()
                .chain(ups.map(|rule| rule.window_ms))
                .max()
                .unwrap_or(0),
            windows_ms: demands.chain(downs.map(|rule| rule.window_ms)).collect(),
            settle_ms: config.settle_ms,
            idle_ms: quality.idle_window_ms,
            min_coverage: quality.min_coverage,
            max_age_ms: quality.max_age_ms,
            hold_ms: quality.hold_limit_ms(),
            warm_up_ms: quality.warm_up_ms,
            interval_ms: config.evaluation_interval_ms,
            provision_timeout_ms: config.provision_timeout_ms,
            call_ms: settings.call_timeout_ms,
            tick_ms: settings.tick_timeout_ms,
            grace_ms: settings.grace_ms,
            gpus_per_node: world.gpus_per_node,
            boot_ms: world.boot_ms,
            carries: carries(config),
            shrinks: shrinks(config, settings),
            sight: world.sight,
        }
    }

    /// The longest window that a shrink looks at.
    pub fn longest_window_ms(&self) -> Millis {
        self.windows_ms
            .iter()
            .copied()
            .max()
            .unwrap_or(0)
            .max(self.idle_ms)
    }

    /// Whether the policy has fallback pools.
    pub fn is_group(&self) -> bool {
        self.pools.len() > 1
    }
}

fn carries(config: &Config) -> Option<Micro> {
    let signal = config
        .signals
        .iter()
        .find(|signal| matches!(signal.source, SignalSource::Device(_)))?;
    // A threshold lets demand stand up to it; a target, up to the tolerance above it. The engine rounds nodes up.
    let threshold = signal.up.map_or(0, |rule| rule.threshold);
    let target = match (config.strategy, signal.target) {
        (Strategy::TargetUtilization, Some(target)) => target + target * config.up.tolerance / ONE,
        _ => 0,
    };
    let may = config.workload == Workload::Shared
        && config.up.select != SelectPolicy::Disabled
        && config.suspend == Suspend::Active
        && (config.strategy == Strategy::TargetUtilization || signal.up.is_some());
    may.then(|| match threshold.max(target) {
        0 => ONE,
        share => share.min(ONE),
    })
}

fn shrinks(config: &Config, settings: &Settings) -> Shrinks {
    let may = config.scale_in.victims == VictimPolicy::PlatformChooses
        && settings.platform_chooses == PlatformChooses::Allowed
        && config.down.select != SelectPolicy::Disabled
        && config.suspend == Suspend::Active;
    if may {
        Shrinks::PlatformChooses
    } else {
        Shrinks::Never
    }
}

/// Largest change that the rate policies allow from a size of `base`, given a period's limit; `None` for no limit.
pub fn allowed(behavior: &Behavior, change: impl Fn(Millis) -> (u32, i64)) -> Option<u32> {
    let limits = behavior.policies.iter().map(|policy| {
        let (base, used) = change(policy.period_ms);
        let whole = i64::from(policy.value);
        let most = match policy.kind {
            RateKind::Nodes => whole,
            // Rounded away from the size, and always room for one node.
            RateKind::Percent => ((i64::from(base) * whole + 99) / 100).max(1),
        };
        u32::try_from((most - used).max(0)).unwrap_or(u32::MAX)
    });
    match behavior.select {
        SelectPolicy::Max => limits.max(),
        SelectPolicy::Min => limits.min(),
        SelectPolicy::Disabled => Some(0),
    }
}

/// The longest that the rate policies may take for a change by `nodes`.
pub fn rate_span_ms(behavior: &Behavior, nodes: u32) -> Millis {
    let spans = behavior.policies.iter().map(|policy| {
        let step = match policy.kind {
            RateKind::Nodes => policy.value.max(1),
            RateKind::Percent => 1,
        };
        Millis::from(nodes.div_ceil(step)) * policy.period_ms
    });
    match behavior.select {
        SelectPolicy::Max | SelectPolicy::Disabled => spans.min(),
        SelectPolicy::Min => spans.max(),
    }
    .unwrap_or(0)
}
