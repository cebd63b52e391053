//! Shaping: spare nodes are in the wish already; here schedules, overrides, budget and bounds have their say.
//!
//! Being above a bound forces nothing out. It forbids growth, and makes the bound the wish; the shrink rules then
//! do their work, and a busy node stays.

use super::config::{Config, Micro, Millis};
use super::evaluation::{Rule, Trace};
use super::observation::{Now, Observation, Pause};

/// Bounds in force at this tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) min: u32,
    pub(super) max: u32,
}

/// Applies the bounds in force to the wish and returns them. `missing` nodes are asked for and not coming: the lower
/// bound is one of nodes that work, so they do not count towards it. A pool whose last node was evicted has no device
/// to measure, and only its minimum brings it back.
pub(super) fn shape(
    config: &Config,
    observation: &Observation<'_>,
    missing: u32,
    now: Now,
    trace: &mut Trace<'_>,
) -> Bounds {
    let scheduled = schedules(config, now);
    let mut bounds = scheduled.map_or(
        Bounds {
            min: config.min_nodes,
            max: config.max_nodes,
        },
        |open| open.bounds,
    );
    let floor = at_least(observation, now).min(bounds.max);
    let affordable = affordable(config, observation, trace.current());
    let raised = bounds.min.max(floor);
    let by_budget = affordable < bounds.max;
    bounds.max = bounds.max.min(affordable);
    bounds.min = raised.saturating_add(missing).min(bounds.max);
    let size = trace.size();
    if size > bounds.max {
        let (rule, value, limit) = match (by_budget, &scheduled) {
            (true, _) => {
                let price = observation.node_price.unwrap_or(-1);
                (Rule::Budget, price, config.budget_micro_usd_per_hour.unwrap_or(0))
            }
            (false, Some(open)) if open.bounds.max != config.max_nodes => {
                (Rule::Schedule, open.index, i64::from(bounds.max))
            }
            _ => (Rule::MaxNodes, i64::from(size), i64::from(bounds.max)),
        };
        trace.ask(rule, bounds.max, value, limit);
    } else if size < bounds.min {
        let (rule, value) = match (&scheduled, floor) {
            (_, floor) if floor == raised && floor > config.min_nodes => {
                let left_ms = observation
                    .overrides
                    .at_least
                    .map_or(0, |(_, until_ms)| until_ms.saturating_sub(now.wall_ms));
                (Rule::Override, left_ms)
            }
            (Some(open), _) if open.bounds.min != config.min_nodes => (Rule::Schedule, open.index),
            _ => (Rule::MinNodes, i64::from(size)),
        };
        trace.ask(rule, bounds.min, value, i64::from(raised.min(bounds.max)));
    }
    if let Pause::At(held) = observation.overrides.pause {
        bounds.min = held.min(bounds.max);
        trace.ask(Rule::Paused, bounds.min, i64::from(held), i64::from(bounds.max));
    }
    bounds
}

/// The open schedules' bounds and the number of the first of them.
#[derive(Debug, Clone, Copy)]
struct Open {
    index: i64,
    bounds: Bounds,
}

/// Where schedules overlap, the larger minimum and the larger maximum win.
fn schedules(config: &Config, now: Now) -> Option<Open> {
    let mut result: Option<Open> = None;
    for (index, schedule) in (0_i64..).zip(&config.schedules) {
        if !schedule.is_open(now.wall_ms) {
            continue;
        }
        let min = schedule.min_nodes.unwrap_or(config.min_nodes);
        let max = schedule.max_nodes.unwrap_or(config.max_nodes);
        let bounds = Bounds {
            min: min.min(max),
            max,
        };
        result = Some(match result {
            None => Open { index, bounds },
            Some(open) => Open {
                index: open.index,
                bounds: Bounds {
                    min: open.bounds.min.max(bounds.min),
                    max: open.bounds.max.max(bounds.max),
                },
            },
        });
    }
    result
}

/// The override's lower bound while it lasts.
fn at_least(observation: &Observation<'_>, now: Now) -> u32 {
    match observation.overrides.at_least {
        Some((nodes, until_ms)) if now.wall_ms < until_ms => nodes,
        _ => 0,
    }
}

/// Most nodes that the budget pays for. Without a known price nothing may be added; what is there stays.
fn affordable(config: &Config, observation: &Observation<'_>, current: u32) -> u32 {
    match (config.budget_micro_usd_per_hour, observation.node_price) {
        (None, _) => u32::MAX,
        (Some(_), None) => current,
        (Some(budget), Some(price)) => nodes_within(budget, price),
    }
}

fn nodes_within(budget: Micro, price: Micro) -> u32 {
    if price <= 0 {
        u32::MAX
    } else {
        u32::try_from(budget / price).unwrap_or(u32::MAX)
    }
}

/// Milliseconds since `at_ms`; a very long time when it never was.
pub(super) fn since(at_ms: Option<Millis>, now: Now) -> Millis {
    at_ms.map_or(Millis::MAX, |at_ms| now.timer_ms.saturating_sub(at_ms))
}

#[cfg(test)]
mod tests;
