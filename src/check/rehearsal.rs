//! A day in the fluid model: what the policy does when the pool is saturated, steady and idle.
//!
//! Most policies that never scale look right on paper. So the policy is run, by the same engine and the same
//! loop as `simulate`, through a demand that leaves no doubt: calm at the minimum, three times what the
//! maximum can serve, a steady half, and nothing. Every kind of signal gets its reading: utilization for
//! devices and shares, demand for `gpus`, waiting work for counts and waiting pods; a count reads one node's
//! load for each node's worth of work that waits, since what one request costs is not in the policy.
//!
//! Schedules are left out, a suspended policy is woken, a budget gets a price of nothing, and a maximum far
//! above the minimum is lowered: none of them changes whether a policy moves at all. It is deterministic and
//! takes milliseconds.

use std::collections::BTreeMap;

use crate::api::GpuScalePolicy;
use crate::api::bounds::TargetKind;
use crate::policy::Config;
use crate::policy::config::{
    Micro, Millis, ONE, SelectPolicy, SeriesUnit, Signal, SignalSource, Suspend, VictimPolicy,
};
use crate::policy::evaluation::{Reason, Rule};
use crate::recording::{Demand, MICRO};
use crate::simulator::closed_loop::{self, Setup, Tick};
use crate::simulator::fluid::PoolSpec;

use super::codes::{Entry, behaviour as codes};
use super::page::Page;

const MINUTE_MS: Millis = 60_000;
const HOUR_MS: Millis = 60 * MINUTE_MS;
const GPUS_PER_NODE: u32 = 8;
const BOOT_MS: Millis = 8 * MINUTE_MS;
/// Nodes above the minimum that are simulated at most.
const MOST_GROWTH: u32 = 12;
/// A reaction that takes longer than this is told.
const SLOW_MS: Millis = 10 * MINUTE_MS;
/// Changes of direction in the steady part that make an oscillation.
const TURNS: u32 = 4;
/// The start of the simulated time; any will do, since there are no schedules.
const START_MS: Millis = 1_767_571_200_000;

/// Runs the policy and reports what it did not do.
pub(super) fn check(page: &mut Page<'_>, policy: &GpuScalePolicy, config: &Config) {
    if config.min_nodes >= config.max_nodes {
        return;
    }
    let plan = Plan::of(config);
    let Some(seen) = plan.run() else { return };
    if config.up.select != SelectPolicy::Disabled {
        growth(page, policy, &plan, &seen);
    }
    let grew = seen.top > plan.config.min_nodes;
    if grew && config.down.select != SelectPolicy::Disabled {
        shrinking(page, &plan, &seen);
    }
    if seen.turns >= TURNS {
        unrest(page, policy, &plan, &seen);
    }
}

/// The size turns under constant load. With a utilization the engine's anti-flap rule prevents it; a count of
/// waiting work falls to nothing as soon as there is room, and then only pods hold the nodes.
fn unrest(page: &mut Page<'_>, policy: &GpuScalePolicy, plan: &Plan, seen: &Seen) {
    let is_count = |signal: &Signal| signal.source == SignalSource::Series(SeriesUnit::Count);
    let counts_only = plan.config.signals.iter().all(is_count);
    let sees_pods = policy.spec.target_ref.kind == TargetKind::AksNodePool
        && plan.config.scale_in.victims != VictimPolicy::PlatformChooses;
    let has_load = plan
        .config
        .signals
        .iter()
        .any(|s| !is_count(s) && s.source != SignalSource::GpuRequests);
    if !has_load && (sees_pods || !counts_only) {
        return;
    }
    let assumed = if counts_only {
        ", if the count leaves out work that is being done"
    } else {
        ""
    };
    let message = format!(
        "under a demand that did not change for {} the size turned {} times, between {} and {} \
         nodes{assumed}",
        span(plan.steady_ms / 2),
        seen.turns,
        seen.low,
        seen.high,
    );
    page.about(&codes::OSCILLATES, "spec.signals", "never at rest", message);
}

/// What is simulated.
struct Plan {
    config: Config,
    interval_ms: Millis,
    calm_ms: Millis,
    busy_ms: Millis,
    steady_ms: Millis,
    idle_ms: Millis,
}

impl Plan {
    fn of(config: &Config) -> Self {
        let mut config = config.clone();
        config.suspend = Suspend::Active;
        config.schedules.clear();
        config.max_nodes = config.max_nodes.min(config.min_nodes + MOST_GROWTH);
        let interval_ms = config.evaluation_interval_ms.clamp(15_000, MINUTE_MS);
        config.evaluation_interval_ms = interval_ms;
        config.signals.iter_mut().for_each(in_nodes);
        let longest =
            |windows: &dyn Fn(&Signal) -> Millis| config.signals.iter().map(windows).max().unwrap_or(0);
        let window =
            |rule: &Option<crate::policy::config::Rule>| rule.as_ref().map_or(0, |rule| rule.window_ms);
        let up_ms = longest(&|signal| window(&signal.up).max(signal.demand_window_ms));
        let down_ms = longest(&|signal| window(&signal.down).max(signal.demand_window_ms));
        let slow_up = up_ms + config.up.stabilization_ms + config.settle_ms;
        let slow_down = down_ms + config.down.stabilization_ms + config.down.cooldown_ms;
        Self {
            calm_ms: 20 * MINUTE_MS,
            busy_ms: (4 * HOUR_MS + 2 * slow_up).min(30 * HOUR_MS),
            steady_ms: (4 * HOUR_MS + 2 * slow_down).min(16 * HOUR_MS),
            idle_ms: (24 * HOUR_MS + 2 * slow_down).min(72 * HOUR_MS),
            interval_ms,
            config,
        }
    }

    fn run(&self) -> Option<Seen> {
        let full = i64::from(self.config.max_nodes) * i64::from(GPUS_PER_NODE) * MICRO;
        let mut values = Vec::new();
        for (length_ms, demand) in [
            (self.calm_ms, 0),
            (self.busy_ms, 3 * full),
            (self.steady_ms, full * 11 / 20),
            (self.idle_ms, 0),
        ] {
            let points = usize::try_from(length_ms / self.interval_ms).unwrap_or(0);
            values.resize(values.len() + points, demand);
        }
        let demand = Demand::new("rehearsal", START_MS, self.interval_ms, values).ok()?;
        let spec = PoolSpec {
            gpus_per_node: GPUS_PER_NODE,
            min_nodes: self.config.min_nodes,
            max_nodes: self.config.max_nodes,
            boot_ms: BOOT_MS,
        };
        let setup = Setup {
            node_price: Some(0),
            ..Setup::new(&self.config, &demand, spec, self.config.min_nodes)
        };
        let mut seen = Seen {
            low: u32::MAX,
            end: self.config.min_nodes,
            ..Seen::default()
        };
        closed_loop::fluid(&setup, &mut |tick: &Tick<'_>| seen.tick(self, tick));
        Some(seen)
    }

    fn busy_from(&self) -> Millis {
        START_MS + self.calm_ms
    }

    fn steady_from(&self) -> Millis {
        self.busy_from() + self.busy_ms
    }

    fn idle_from(&self) -> Millis {
        self.steady_from() + self.steady_ms
    }
}

/// Makes a count read one node's load for each node's worth of waiting work: the simulator's counts are GPUs.
fn in_nodes(signal: &mut Signal) {
    if signal.source != SignalSource::Series(SeriesUnit::Count) {
        return;
    }
    let node = i128::from(GPUS_PER_NODE) * i128::from(ONE);
    let unit = signal
        .per_node
        .or(signal.up.as_ref().map(|up| up.threshold))
        .or(signal.down.as_ref().map(|down| down.threshold))
        .unwrap_or(0)
        .max(1);
    let scaled =
        |value: Micro| Micro::try_from(i128::from(value) * node / i128::from(unit)).unwrap_or(Micro::MAX);
    signal.per_node = signal.per_node.map(scaled);
    for rule in [&mut signal.up, &mut signal.down].into_iter().flatten() {
        rule.threshold = scaled(rule.threshold);
    }
}

/// What was seen.
#[derive(Default)]
struct Seen {
    /// When the first node was asked for after saturation began.
    first_growth_ms: Option<Millis>,
    /// The largest size of the busy part.
    top: u32,
    /// Why the busy part held, and how often.
    busy: BTreeMap<&'static str, (u32, Option<Rule>)>,
    /// The size when the idle part began.
    before_idle: u32,
    /// The size at the end.
    end: u32,
    /// Why the idle part held, and how often.
    idle: BTreeMap<&'static str, (u32, Option<Rule>)>,
    /// Changes of direction in the second half of the steady part, and the sizes there.
    turns: u32,
    low: u32,
    high: u32,
    last_direction: Option<bool>,
}

impl Seen {
    fn tick(&mut self, plan: &Plan, tick: &Tick<'_>) {
        let decision = &tick.evaluation.decision;
        if tick.now_ms < plan.busy_from() {
        } else if tick.now_ms < plan.steady_from() {
            self.top = self.top.max(tick.asked);
            if decision.to > decision.from {
                self.first_growth_ms.get_or_insert(tick.now_ms - plan.busy_from());
            }
            if decision.is_hold() && tick.asked < plan.config.max_nodes {
                tally(&mut self.busy, decision.reason);
            }
        } else if tick.now_ms < plan.idle_from() {
            self.before_idle = tick.asked;
            if tick.now_ms >= plan.steady_from() + plan.steady_ms / 2 {
                self.steady(decision.from, decision.to);
            }
        } else {
            self.end = tick.asked;
            if decision.is_hold() && tick.asked > plan.config.min_nodes {
                tally(&mut self.idle, decision.reason);
            }
        }
    }

    fn steady(&mut self, from: u32, to: u32) {
        (self.low, self.high) = (self.low.min(to), self.high.max(to));
        if from != to {
            let up = to > from;
            if self.last_direction.is_some_and(|last| last != up) {
                self.turns += 1;
            }
            self.last_direction = Some(up);
        }
    }
}

fn tally(counts: &mut BTreeMap<&'static str, (u32, Option<Rule>)>, reason: Reason) {
    let rule = match reason {
        Reason::Limited(rule) => Some(rule),
        _ => None,
    };
    counts.entry(reason.as_str()).or_insert((0, rule)).0 += 1;
}

/// The reason that held most often, in words, and its rule.
fn held(counts: &BTreeMap<&'static str, (u32, Option<Rule>)>) -> (String, Option<Rule>) {
    let all: u32 = counts.values().map(|(count, _)| count).sum();
    let most = counts.iter().max_by_key(|(_, (count, _))| *count);
    let Some((name, (count, rule))) = most else {
        return ("nothing held it".to_owned(), None);
    };
    let what = match rule {
        None => format!("the signals asked for no other size (`{name}`"),
        Some(_) => format!("`{name}` held it (in"),
    };
    let times = format!("{count} of {all} evaluations");
    let text = if rule.is_some() {
        format!("{what} {times})")
    } else {
        format!("{what} in {times})")
    };
    (text, *rule)
}

fn growth(page: &mut Page<'_>, policy: &GpuScalePolicy, plan: &Plan, seen: &Seen) {
    let (min, max) = (plan.config.min_nodes, plan.config.max_nodes);
    let (because, rule) = held(&seen.busy);
    if seen.top <= min {
        let message = format!(
            "simulated for {} with three times the demand that {max} nodes can serve, the size stayed at \
             {min}: {because}",
            span(plan.busy_ms)
        );
        report(page, &codes::NEVER_GROWS, rule, Direction::Up, message);
        return;
    }
    if seen.top < max {
        let message = format!(
            "simulated for {} with three times the demand that {max} nodes can serve, the size went from \
             {min} to {} and no further: {because}",
            span(plan.busy_ms),
            seen.top
        );
        report(page, &codes::STOPS_EARLY, rule, Direction::Up, message);
    }
    if let Some(after_ms) = seen.first_growth_ms.filter(|after_ms| *after_ms > SLOW_MS) {
        let message = format!(
            "from full saturation to the first node asked for it took {}",
            span(after_ms)
        );
        let slowest = policy
            .spec
            .signals
            .iter()
            .enumerate()
            .filter_map(|(index, signal)| {
                let up = signal.up.as_ref()?;
                Some((up.r#for.as_millis(), format!("spec.signals[{index}].up.for")))
            });
        let path = slowest.max().map_or("spec.signals".to_owned(), |(_, path)| path);
        page.about(&codes::SLOW_TO_GROW, &path, "the longest wait", message);
    }
}

fn shrinking(page: &mut Page<'_>, plan: &Plan, seen: &Seen) {
    let min = plan.config.min_nodes;
    // Spare nodes are kept whatever the demand is.
    let floor = (min + plan.config.spare_nodes).min(plan.config.max_nodes);
    if seen.before_idle <= floor || seen.end <= floor {
        return;
    }
    let (because, rule) = held(&seen.idle);
    let (idle, before, end) = (span(plan.idle_ms), seen.before_idle, seen.end);
    if end >= before {
        let message =
            format!("simulated for {idle} without any demand, the size stayed at {before}: {because}");
        report(page, &codes::NEVER_SHRINKS, rule, Direction::Down, message);
    } else {
        let message = format!(
            "simulated for {idle} without any demand, the size went from {before} to {end} and not to the \
             minimum of {min}: {because}"
        );
        report(page, &codes::STAYS_HIGH, rule, Direction::Down, message);
    }
}

#[derive(Clone, Copy)]
enum Direction {
    Up,
    Down,
}

/// Reports at the field that the holding rule belongs to.
fn report(
    page: &mut Page<'_>,
    entry: &'static Entry,
    rule: Option<Rule>,
    direction: Direction,
    message: String,
) {
    let behavior = match direction {
        Direction::Up => "spec.behavior.scaleUp",
        Direction::Down => "spec.behavior.scaleDown",
    };
    let path = match rule {
        Some(Rule::Stabilized) => format!("{behavior}.stabilization"),
        Some(Rule::RateLimited) => format!("{behavior}.policies"),
        Some(Rule::Cooldown) => format!("{behavior}.cooldown"),
        Some(Rule::Settle) => "spec.settle".to_owned(),
        Some(Rule::DataQuality) if page.written("spec.dataQuality").is_some() => {
            "spec.dataQuality".to_owned()
        }
        _ => "spec.signals".to_owned(),
    };
    let path = if page.written(&path).is_some() {
        path
    } else {
        "spec.signals".to_owned()
    };
    page.about(entry, &path, "simulated with this", message);
}

/// A span of time in hours and minutes.
fn span(ms: Millis) -> String {
    let minutes = (ms + MINUTE_MS / 2) / MINUTE_MS;
    match (minutes / 60, minutes % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "apiVersion: gpuscale.dev/v1alpha1
kind: GpuScalePolicy
metadata: { name: p }
spec:
  targetRef: { kind: AksNodePool, name: a100 }
  maxNodes: 400
  signals: [ { name: s, SIGNAL } ]
";

    fn seen(signal: &str) -> Seen {
        let policy =
            crate::api::validate(&POLICY.replace("SIGNAL", signal)).unwrap_or_else(|e| panic!("{e}"));
        Plan::of(&crate::api::compile(&policy).unwrap()).run().unwrap()
    }

    /// Every kind of signal gets a reading that moves a sound policy up and down again.
    #[test]
    fn every_kind_of_signal_moves_the_pool() {
        for signal in [
            "dcgm: { metric: GpuUtilization }",
            "dcgm: { metric: PowerRatio }, targetPercentage: 60",
            "promql: x, unit: percent, targetPercentage: 70",
            "promql: x, unit: ratio, targetPercentage: 70",
            "promql: x, unit: gpus, targetPercentage: 90",
            "promql: x, unit: count, perNode: 500",
            "promql: x, unit: count, perNode: 0.5",
            "gpuRequests: {}",
        ] {
            let seen = seen(signal);
            assert_eq!((seen.top, seen.end), (1 + MOST_GROWTH, 1), "{signal}");
            assert!(
                seen.first_growth_ms.is_some_and(|after_ms| after_ms <= SLOW_MS),
                "{signal}"
            );
        }
    }

    #[test]
    fn a_guard_alone_never_grows() {
        let seen = seen("promql: x, unit: percent, down: { below: 30 }");
        assert_eq!((seen.top, seen.first_growth_ms), (1, None));
    }

    #[test]
    fn spans_read_as_hours_and_minutes() {
        for (ms, text) in [
            (0, "0 min"),
            (90_000, "2 min"),
            (HOUR_MS, "1 h"),
            (90 * MINUTE_MS, "1 h 30 min"),
        ] {
            assert_eq!(span(ms), text);
        }
    }
}
