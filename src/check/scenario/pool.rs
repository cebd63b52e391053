//! The simulated pool against the policy, the demand and its own faults.

use serde_json::Value;

use crate::api::duration::HumanDuration;
use crate::check::codes::scenarios as codes;
use crate::check::page::Page;
use crate::policy::Config;
use crate::policy::config::{Micro, Millis, ONE, SignalSource};
use crate::recording::{Demand, MICRO};
use crate::simulator::boot::BootDelay;
use crate::simulator::scenario::{Loop, Pool, Scenario};

const MINUTE_MS: Millis = 60_000;

/// Checks the pool of a scenario, as far as its policy and its demand are known.
pub(super) fn check(
    page: &mut Page<'_>,
    scenario: &Scenario,
    policy: Option<&Config>,
    demand: Option<&Demand>,
) {
    let pool = &scenario.pool;
    if pool.node_price == Some(0) {
        let message = "every cost of the scorecard would be 0";
        page.about(&codes::FREE_NODES, "priceUsdPerHour", "for nothing", message);
    }
    let interval_ms = pool
        .interval_ms
        .or(policy.map(|policy| policy.evaluation_interval_ms))
        .unwrap_or(15_000);
    faults(page, interval_ms, demand);
    if let Some(policy) = policy {
        if scenario.r#loop == Loop::Closed {
            beside_policy(page, pool, policy);
        }
        money(page, pool, policy);
        if let Some(demand) = demand {
            peak(page, scenario, policy, demand);
        }
    }
}

fn beside_policy(page: &mut Page<'_>, pool: &Pool, policy: &Config) {
    let (min, max) = bounds(policy);
    if let Some(initial) = pool
        .initial_nodes
        .filter(|initial| !(min..=max).contains(initial))
    {
        let message =
            format!("the scenario starts with {initial} nodes, and the policy allows {min} to {max}");
        page.about(&codes::INITIAL_NODES, "initialNodes", "out of bounds", message);
    }
    let longest = match pool.boot {
        BootDelay::Constant(ms) => ms,
        BootDelay::Uniform { max_ms, .. } | BootDelay::Triangular { max_ms, .. } => max_ms,
    } + pool.driver_delay_ms;
    if longest > policy.provision_timeout_ms {
        let message = format!(
            "a boot takes up to {} and the policy waits {}",
            minutes(longest),
            minutes(policy.provision_timeout_ms)
        );
        page.about(
            &codes::BOOT_TOO_LONG,
            "bootDelay",
            "longer than provisionTimeout",
            message,
        );
    }
    let shortest = policy
        .signals
        .iter()
        .filter(|signal| signal.source != SignalSource::GpuRequests)
        .flat_map(|signal| {
            let rules = [&signal.up, &signal.down].into_iter().flatten();
            let windows = rules.map(|rule| (rule.window_ms, &signal.name));
            windows.chain([(signal.demand_window_ms, &signal.name)])
        });
    if let (Some(interval_ms), Some((window_ms, name))) = (pool.interval_ms, shortest.min())
        && interval_ms > window_ms
    {
        let message = format!(
            "the loop runs every {}, and signal `{name}` is judged over {}",
            minutes(interval_ms),
            minutes(window_ms)
        );
        page.about(
            &codes::COARSE_INTERVAL,
            "interval",
            "coarser than a window",
            message,
        );
    }
}

/// The bounds of a policy, its schedules included.
fn bounds(policy: &Config) -> (u32, u32) {
    let least = policy
        .schedules
        .iter()
        .filter_map(|schedule| schedule.min_nodes)
        .min();
    let most = policy
        .schedules
        .iter()
        .filter_map(|schedule| schedule.max_nodes)
        .max();
    (
        least.map_or(policy.min_nodes, |least| least.min(policy.min_nodes)),
        most.map_or(policy.max_nodes, |most| most.max(policy.max_nodes)),
    )
}

fn money(page: &mut Page<'_>, pool: &Pool, policy: &Config) {
    let Some(budget) = policy.budget_micro_usd_per_hour else {
        return;
    };
    let Some(price) = pool.node_price else {
        let message = "the price of a node is unknown, so the policy, which has a budget, never grows";
        page.about(&codes::NO_PRICE, "policy", "has a budget", message);
        return;
    };
    let least = i128::from(price) * i128::from(policy.min_nodes);
    if least > i128::from(budget) {
        let cost = Micro::try_from(least).unwrap_or(Micro::MAX);
        let message = format!(
            "{} nodes at this price cost {} USD per hour, and the budget is {}",
            policy.min_nodes,
            dollars(cost),
            dollars(budget)
        );
        page.about(
            &codes::BUDGET_BELOW_MIN,
            "priceUsdPerHour",
            "too dear for minNodes",
            message,
        );
    }
}

fn peak(page: &mut Page<'_>, scenario: &Scenario, policy: &Config, demand: &Demand) {
    let (_, max) = bounds(policy);
    let gpus = i64::from(scenario.pool.gpus_per_node);
    let capacity = i64::from(max) * gpus * MICRO;
    let peak = demand.peak();
    if peak > capacity {
        let message = format!(
            "the demand peaks at {} GPUs, and {max} nodes of {gpus} GPUs serve {}: a miss is certain",
            (peak + MICRO - 1) / MICRO,
            capacity / MICRO
        );
        let path = if page.written("scale").is_some() {
            "scale"
        } else {
            "recording"
        };
        page.about(
            &codes::CERTAIN_MISS,
            path,
            "more than the pool can serve",
            message,
        );
    }
}

/// A fault as written.
struct Written {
    path: String,
    kind: String,
    at_ms: Millis,
    /// `None` for one that happens at once.
    for_ms: Option<Millis>,
}

/// The faults in the order of the document: the checked ones are in the order of time.
fn written(page: &Page<'_>) -> Vec<Written> {
    let duration = |value: &Value| {
        let duration: HumanDuration = value.as_str()?.parse().ok()?;
        Some(duration.as_millis())
    };
    let faults = page.value.get("faults").and_then(Value::as_array);
    let faults = faults.into_iter().flatten().enumerate();
    let read = |(index, fault): (usize, &Value)| {
        let kind = fault
            .as_object()?
            .keys()
            .find(|key| *key != "at" && *key != "for")?;
        Some(Written {
            path: format!("faults[{index}]"),
            kind: kind.clone(),
            at_ms: fault.get("at").and_then(duration)?,
            for_ms: fault.get("for").and_then(duration),
        })
    };
    faults.filter_map(read).collect()
}

fn faults(page: &mut Page<'_>, interval_ms: Millis, demand: Option<&Demand>) {
    let faults = written(page);
    for (index, fault) in faults.iter().enumerate() {
        let at = format!("{}.at", fault.path);
        if let Some(demand) = demand.filter(|demand| fault.at_ms >= demand.duration_ms()) {
            let message = format!(
                "the fault begins {} after the start, and the recording ends after {}",
                minutes(fault.at_ms),
                minutes(demand.duration_ms())
            );
            page.about(&codes::FAULT_TOO_LATE, &at, "after the end", message);
        }
        if fault.for_ms.is_some_and(|for_ms| for_ms < interval_ms) {
            let message = format!(
                "the fault ends before the next evaluation, {} later",
                minutes(interval_ms)
            );
            let path = format!("{}.for", fault.path);
            page.about(&codes::FAULT_UNFELT, &path, "shorter than the interval", message);
        }
        let ends = |fault: &Written| fault.at_ms + fault.for_ms.unwrap_or(0);
        let other = faults[..index]
            .iter()
            .find(|other| other.kind == fault.kind && other.at_ms < ends(fault) && fault.at_ms < ends(other));
        if let Some(other) = other {
            let first = page.at(&format!("{}.at", other.path));
            let message = format!(
                "two faults `{}` overlap; the worse one holds while they do",
                fault.kind
            );
            page.about(
                &codes::FAULTS_OVERLAP,
                &at,
                "begins before the other ends",
                message,
            )
            .also(first, "the other one");
        }
    }
}

fn minutes(ms: Millis) -> String {
    match ms {
        ms if ms < MINUTE_MS => format!("{} s", ms / 1000),
        ms if ms % MINUTE_MS == 0 => format!("{} min", ms / MINUTE_MS),
        ms => format!("{} min {} s", ms / MINUTE_MS, ms % MINUTE_MS / 1000),
    }
}

/// Micro-USD as dollars and cents.
fn dollars(micros: Micro) -> String {
    let cents = (micros + ONE / 200) / (ONE / 100);
    format!("{}.{:02}", cents / 100, cents % 100)
}
