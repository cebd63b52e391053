//! The numbers behind the charts, as the JSON document that the page's script reads.
//!
//! Columns are written as differences from the value before, which are short. A tick is a number from 0; the script
//! turns it into a time.

use serde::Serialize;

use super::thin::{Bucket, Spans, Spread, Steps};
use super::timeline::{Loop, Timeline, shown};
use super::{Input, StretchKind};
use crate::policy::config::{Micro, ONE, SeriesUnit, Signal, SignalSource};

/// Parts of a GPU in which demand is written.
const DEMAND_PARTS: Micro = 1_000;
/// Parts of the whole in which the busy share is written.
const BUSY_PARTS: Micro = 10_000;
/// What is written for a busy share that is not known.
const UNKNOWN: i64 = -1;

#[derive(Serialize)]
pub(super) struct Data<'a> {
    start_ms: i64,
    step_ms: i64,
    ticks: u32,
    gpus_per_node: u32,
    is_open: bool,
    /// Ticks in each bucket but the last.
    per_bucket: u32,
    demand: Column,
    busy: Column,
    /// Nodes asked for, summed over each bucket's ticks.
    asked_sums: Vec<i64>,
    would_sums: Vec<i64>,
    /// Ticks since the change before, then the value, and so on.
    asked: Vec<u32>,
    ready: Vec<u32>,
    would: Vec<u32>,
    /// Ticks since the event before, nodes before and after, shortened sentences.
    events: Vec<(u32, u32, u32, &'a str)>,
    phrases: &'a [String],
    signals: usize,
    /// Ticks since the end of the stretch before, then its length, and so on.
    saturated: Vec<u32>,
    unknown: Vec<u32>,
    censored: Vec<u32>,
    min_nodes: u32,
    max_nodes: u32,
    levels: Vec<Level>,
    price: Option<f64>,
    references: Vec<(&'a str, f64)>,
}

/// One series in buckets; only the mean where a bucket is one tick.
#[derive(Serialize)]
struct Column {
    mean: Vec<i64>,
    min: Vec<i64>,
    max: Vec<i64>,
}

/// A threshold of a signal, on the scale of utilization.
#[derive(Serialize)]
struct Level {
    kind: &'static str,
    label: String,
    value: f64,
}

/// Everything that the charts of this page need.
pub(super) fn data<'a>(input: &'a Input<'a>) -> Data<'a> {
    let timeline = input.timeline;
    let buckets = timeline.buckets.as_slice();
    let config = timeline.config();
    let sums = |of: fn(&Bucket) -> u64| {
        let sums = buckets
            .iter()
            .map(|bucket| i64::try_from(of(bucket)).unwrap_or(i64::MAX));
        differences(sums)
    };
    Data {
        start_ms: timeline.time_ms(0),
        step_ms: timeline.step_ms(),
        ticks: timeline.ticks(),
        gpus_per_node: timeline.gpus_per_node(),
        is_open: timeline.run() == Loop::Open,
        per_bucket: timeline.buckets.per(),
        demand: column(timeline, DEMAND_PARTS, |bucket| &bucket.demand),
        busy: column(timeline, BUSY_PARTS, |bucket| &bucket.busy),
        asked_sums: sums(|bucket| bucket.asked),
        would_sums: match timeline.run() {
            Loop::Open => sums(|bucket| bucket.would),
            Loop::Closed | Loop::Live => Vec::new(),
        },
        asked: changes(&timeline.asked),
        ready: changes(&timeline.ready),
        would: changes(&timeline.would),
        events: events(timeline),
        phrases: timeline.events.phrases().sentences(),
        signals: config.signals.len(),
        saturated: spans(timeline.saturated.as_slice()),
        unknown: spans(&with_stretches(input, &timeline.unknown, StretchKind::Unknown)),
        censored: spans(&with_stretches(input, &Spans::new(1), StretchKind::Censored)),
        min_nodes: config.min_nodes,
        max_nodes: config.max_nodes,
        levels: config.signals.iter().flat_map(levels).collect(),
        price: input.subject.price(),
        references: input.subject.references(),
    }
}

fn differences(values: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut before = 0;
    values
        .map(|value| {
            let difference = value - before;
            before = value;
            difference
        })
        .collect()
}

fn column(timeline: &Timeline<'_>, parts: Micro, of: fn(&Bucket) -> &Spread) -> Column {
    let buckets = timeline.buckets.as_slice();
    let written = |value: fn(&Spread) -> i64| {
        let values = buckets.iter().map(of);
        differences(values.map(|spread| {
            spread
                .mean()
                .map_or(UNKNOWN, |_| shown(value(spread), parts).max(0))
        }))
    };
    let is_exact = timeline.buckets.per() == 1;
    let extreme = |value| if is_exact { Vec::new() } else { written(value) };
    Column {
        mean: written(|spread| spread.mean().unwrap_or(0)),
        min: extreme(|spread| spread.min),
        max: extreme(|spread| spread.max),
    }
}

fn changes(steps: &Steps) -> Vec<u32> {
    let mut before = 0;
    let mut pairs = Vec::new();
    for &(tick, value) in steps.as_slice() {
        pairs.extend([tick - before, value]);
        before = tick;
    }
    pairs
}

fn spans(spans: &[(u32, u32)]) -> Vec<u32> {
    let mut before = 0;
    let mut pairs = Vec::new();
    for &(from, to) in spans {
        pairs.extend([from - before, to - from]);
        before = to;
    }
    pairs
}

fn events<'a>(timeline: &'a Timeline<'_>) -> Vec<(u32, u32, u32, &'a str)> {
    let mut before = 0;
    let events = timeline.events.as_slice().iter();
    events
        .map(|event| {
            let since = event.tick - before;
            before = event.tick;
            (since, event.from, event.to, event.says.as_str())
        })
        .collect()
}

/// The stretches that the timeline saw and those that were given, in order and without overlap.
fn with_stretches(input: &Input<'_>, seen: &Spans, kind: StretchKind) -> Vec<(u32, u32)> {
    let timeline = input.timeline;
    let given = input.stretches.iter().filter(|stretch| stretch.kind == kind);
    let given = given.map(|stretch| {
        let from = timeline.tick_at(stretch.from_ms);
        let last_ms = stretch.to_ms.saturating_sub(1).max(stretch.from_ms);
        let to = timeline.tick_at(last_ms).saturating_add(1).min(timeline.ticks());
        (from, to)
    });
    let mut all: Vec<(u32, u32)> = seen.as_slice().iter().copied().chain(given).collect();
    all.sort_unstable();
    let mut joined = Spans::new(all.len());
    for (from, to) in all {
        joined.push(from, to);
    }
    joined.as_slice().to_vec()
}

/// Target and thresholds of a signal that is a share of a GPU; others are on no common scale.
fn levels(signal: &Signal) -> Vec<Level> {
    let is_share = matches!(
        signal.source,
        SignalSource::Device(_) | SignalSource::Series(SeriesUnit::Percent | SeriesUnit::Ratio)
    );
    if !is_share {
        return Vec::new();
    }
    let levels = [
        ("target", signal.target),
        ("up", signal.up.map(|rule| rule.threshold)),
        ("down", signal.down.map(|rule| rule.threshold)),
    ];
    let levels = levels
        .into_iter()
        .filter_map(|(kind, value)| Some((kind, value?)));
    levels
        .map(|(kind, value)| {
            let value = share(value);
            Level {
                kind,
                label: format!("{} {kind} {} %", signal.name, (value * 1000.0).round() / 10.0),
                value,
            }
        })
        .collect()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a share of a GPU in micros is far below 2^53"
)]
fn share(micro: Micro) -> f64 {
    micro as f64 / ONE as f64
}
