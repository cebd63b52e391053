//! From windows to evidence: what each signal can be trusted to say.

use super::config::{Config, Millis, ONE, Rule, Signal, SignalSource};
use super::evaluation::{Quality, SignalEvidence, Verdict};
use super::fixed::scaled;
use super::memory::Memory;
use super::observation::{Now, Observation, Waiting};
use super::signal_window::{Edge, SignalWindow};
use super::windows::{ReadStatus, Windows};

/// Share of unhealthy nodes beyond which utilization says nothing about the load.
const TOO_MANY_UNHEALTHY_PERCENT: u64 = 20;

/// The evidence of signal number `index`. Sizes (`needs_up`, `needs_down`) are left to [`super::wish`].
pub(super) fn gather(
    config: &Config,
    windows: &Windows,
    observation: &Observation<'_>,
    memory: &Memory,
    index: usize,
    now: Now,
    evidence: &mut SignalEvidence,
) {
    let signal = &config.signals[index];
    let Some(Some(window)) = windows.signals.get(index) else {
        let seen = matches!(observation.waiting, Waiting::Pods(_));
        evidence.quality = if seen {
            Quality::Good
        } else {
            Quality::NoClusterView
        };
        evidence.coverage = if seen { ONE } else { 0 };
        evidence.up = Verdict::Met;
        evidence.down = if seen { Verdict::Met } else { Verdict::Unknown };
        return;
    };
    let newest = window.newest_ms();
    evidence.age_ms = newest.map_or(Millis::MAX, |newest| now.wall_ms.saturating_sub(newest));
    let read = windows.reads.get(index).copied().unwrap_or_default();
    let sick = too_many_unhealthy(signal, observation);
    let usable = if newest.is_none() {
        Quality::NoData
    } else if read == ReadStatus::Partial {
        Quality::PartialAnswer
    } else if evidence.age_ms > config.data_quality.max_age_ms {
        Quality::Stale
    } else if sick {
        Quality::TooManyUnhealthy
    } else {
        Quality::Good
    };
    demand(config, signal, window, usable, now, evidence);
    let up_since = memory.up_since_ms.unwrap_or(Millis::MIN);
    let down_since = memory.down_since_ms.unwrap_or(Millis::MIN);
    let good = evidence.quality == Quality::Good;
    let judge = |rule: &Option<Rule>, edge, since_ms| match rule {
        None if good => (Verdict::Met, 0),
        Some(rule) if usable == Quality::Good => verdict(config, window, rule, edge, since_ms, now),
        _ => (Verdict::Unknown, 0),
    };
    (evidence.up, evidence.up_value) = judge(&signal.up, Edge::Up, up_since);
    (evidence.down, evidence.down_value) = judge(&signal.down, Edge::Down, down_since);
}

fn too_many_unhealthy(signal: &Signal, observation: &Observation<'_>) -> bool {
    let device_signal = matches!(signal.source, SignalSource::Device(_));
    let nodes = observation.ready.max(observation.schedulable);
    device_signal && u64::from(observation.unhealthy) * 100 > u64::from(nodes) * TOO_MANY_UNHEALTHY_PERCENT
}

/// Demand over the signal's own window, and whether that window can be judged.
fn demand(
    config: &Config,
    signal: &Signal,
    window: &SignalWindow,
    usable: Quality,
    now: Now,
    evidence: &mut SignalEvidence,
) {
    let from_ms = now.wall_ms.saturating_sub(signal.demand_window_ms);
    let totals = window.span(Edge::Demand, from_ms, known_until(window, now));
    evidence.coverage = scaled(totals.covered_ms, ONE, signal.demand_window_ms);
    evidence.demand_low = totals.mean(totals.busy).unwrap_or(0);
    evidence.demand_high = totals.mean(totals.busy + totals.missing).unwrap_or(0);
    evidence.pinned = totals.mean(totals.pinned).unwrap_or(0);
    evidence.quality = match usable {
        Quality::Good if evidence.coverage < config.data_quality.min_coverage => Quality::LowCoverage,
        Quality::Good if !window.has_history(Edge::Demand, from_ms) => Quality::ShortHistory,
        other => other,
    };
}

/// Where the span of a window that ends now really ends: nothing is known of the time since the last read.
fn known_until(window: &SignalWindow, now: Now) -> Millis {
    now.wall_ms.min(window.read_until_ms())
}

/// Judges one rule over its window, which begins no earlier than `since_ms`.
///
/// A window that was cut short by a resize may be judged once it is as long as `min(N, settle)` for growing and N
/// for shrinking; growing is what hurries after a resize.
fn verdict(
    config: &Config,
    window: &SignalWindow,
    rule: &Rule,
    edge: Edge,
    since_ms: Millis,
    now: Now,
) -> (Verdict, i64) {
    let full_from_ms = now.wall_ms.saturating_sub(rule.window_ms);
    let from_ms = full_from_ms.max(since_ms);
    let length_ms = now.wall_ms.saturating_sub(from_ms);
    let wanted_ms = match edge {
        Edge::Up => rule
            .window_ms
            .min(config.settle_ms.max(config.evaluation_interval_ms)),
        Edge::Demand | Edge::Down => rule.window_ms,
    };
    let totals = window.span(edge, from_ms, known_until(window, now));
    let value = match edge {
        Edge::Up => totals.mean(totals.low),
        Edge::Demand | Edge::Down => totals.mean(totals.high),
    };
    let value = value.unwrap_or(0);
    let covered = scaled(totals.covered_ms, ONE, length_ms.max(1));
    if length_ms < wanted_ms
        || covered < config.data_quality.min_coverage
        || !window.has_history(edge, from_ms)
    {
        return (Verdict::Unknown, value);
    }
    let satisfied = match edge {
        Edge::Up => totals.satisfies_up(rule),
        Edge::Demand | Edge::Down => totals.satisfies_down(rule),
    };
    let verdict = match satisfied {
        Some(true) => Verdict::Met,
        Some(false) => Verdict::NotMet,
        None => Verdict::Unknown,
    };
    (verdict, value)
}

#[cfg(test)]
mod tests;
