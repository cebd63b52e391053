//! What the sources of a configuration answer, held against what the policies need of them.
//!
//! A policy may be right and a source reachable, and still no sample arrive: the label is another one, the path misses
//! its prefix, the exporter's counters file lacks the metric. So `check --live` asks what the control loop would ask, and
//! what came back is judged here: [`sources`] for each source as a whole, [`policy`] for each signal of a policy.
//!
//! Pure, like all of [`check`](super): who asks ([`policies`] says what) puts the answers into [`SourceHeard`] and
//! [`Heard`], and gets findings and a line for each thing that was asked.

mod fleet;
mod series;
mod signal;
mod source;

use std::ops::Range;

use serde::Serialize;

use crate::api::{self, Query, QuerySource};
use crate::config::MetricsSource;
use crate::control::ports::{Answer, Completeness, Selector, SourceError};
use crate::devices::MEMORY_FREE;
use crate::policy::config::{DataQuality, Millis, SeriesUnit, SignalSource};
use crate::policy::dcgm::DcgmMetric;
use crate::source::connect::Cause;
use crate::source::dcgm::Said;

use super::page::Page;
use super::{Finding, Kind, documents};

pub use source::sources;

/// How far back devices are asked for: one that was silent for longer is forgotten.
const BACK_MS: Millis = 3_600_000;

/// Steps over which an expression is asked for.
const STEPS: Millis = 20;

/// The series of power and memory that are asked for beside a signal, with its labels.
pub const BESIDE: [&str; 3] = [
    DcgmMetric::PowerRatio.series(),
    DcgmMetric::MemoryUsed.series(),
    MEMORY_FREE,
];

/// Over how long the time between two samples is measured.
const MEASURED_MS: Millis = 20 * 60_000;

/// From how many ms on the two clocks differ.
const CLOCK_OFF_MS: Millis = 5_000;

/// A policy of a text, as far as its source is concerned.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Its document in the text, in bytes.
    part: Range<usize>,
    /// Its name.
    pub name: String,
    /// The source that it names.
    pub source: String,
    /// When its data is good enough.
    pub quality: DataQuality,
    /// How far back its decisions look at the most, in ms.
    pub look_back_ms: Millis,
    /// Its signals, in their order.
    pub signals: Vec<Signal>,
}

/// A signal of a policy.
#[derive(Debug, Clone)]
pub struct Signal {
    /// Its name.
    pub name: String,
    /// What it is read from.
    pub query: QuerySource,
    /// Its path in the document.
    path: String,
    /// The unit of an expression.
    unit: Option<SeriesUnit>,
}

impl Signal {
    /// What is asked for its samples; `None` where no metrics source is asked.
    #[must_use]
    pub fn selector(&self, quality: &DataQuality) -> Option<Selector> {
        match &self.query {
            QuerySource::Dcgm { metric, match_labels } => Some(Selector::Metric {
                name: metric.series(),
                match_labels: match_labels.clone(),
            }),
            QuerySource::Promql(promql) => Some(Selector::Expression {
                promql: promql.clone(),
                step_ms: quality.scrape_interval_ms,
            }),
            QuerySource::GpuRequests => None,
        }
    }

    /// How far back is asked, in ms. An expression is evaluated at each of its steps, so a few have to do.
    #[must_use]
    pub fn back_ms(&self, quality: &DataQuality) -> Millis {
        match self.query {
            QuerySource::Promql(_) => quality.scrape_interval_ms.saturating_mul(STEPS),
            QuerySource::Dcgm { .. } | QuerySource::GpuRequests => BACK_MS,
        }
    }

    /// The labels that its series must carry; none for an expression, which says itself what it wants.
    #[must_use]
    pub fn match_labels(&self) -> &[(String, String)] {
        match &self.query {
            QuerySource::Dcgm { match_labels, .. } => match_labels,
            QuerySource::Promql(_) | QuerySource::GpuRequests => &[],
        }
    }
}

/// What a source answered about a signal.
#[derive(Debug, Clone)]
pub struct Heard {
    /// Its samples.
    pub samples: Result<Answer, SourceError>,
    /// The series of the metric whatever their labels. Asked for only where the labels match none.
    pub unmatched: Option<Answer>,
    /// Series of [`BESIDE`] that are not there for these labels.
    pub missing: Vec<&'static str>,
    /// How many of them are.
    pub beside: usize,
}

/// What is known of a source as a whole.
#[derive(Debug, Clone)]
pub struct SourceHeard {
    /// What it said to the simplest question.
    pub outcome: Outcome,
    /// How far its clock is ahead of the local one, in ms, if it said what it reads.
    pub skew_ms: Option<Millis>,
    /// What each of its exporters said, if it has any.
    pub exporters: Vec<Said>,
}

/// What a source said to the simplest question.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It could not even be asked.
    Unusable(Cause),
    /// It was asked.
    Asked(Result<Completeness, SourceError>),
}

impl Outcome {
    /// Whether there is anything to be had: it answered, or only the answer to this question was no good.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        matches!(self, Self::Asked(Ok(_)))
    }
}

/// A source that answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceLine {
    /// Its name.
    pub source: String,
    /// How far its clock is ahead of the local one, in ms, if it said what it reads.
    pub skew_ms: Option<Millis>,
}

/// A signal of a policy whose source answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SignalLine {
    /// The policy.
    pub policy: String,
    /// The signal.
    pub signal: String,
    /// Devices that reported in the last hour; `None` for an expression.
    pub devices: Option<usize>,
    /// Those of them with a sample younger than `maxAge`.
    pub reporting: Option<usize>,
    /// Time between two samples of a series, in ms, where it could be measured.
    pub interval_ms: Option<Millis>,
}

/// The policies of a text that can run.
#[must_use]
pub fn policies(text: &str) -> Vec<Policy> {
    documents(text).filter_map(|part| read(text, part)).collect()
}

fn read(text: &str, part: Range<usize>) -> Option<Policy> {
    let mut page = Page::new(&text[part.clone()]);
    if page.read() != Some(Kind::Policy) {
        return None;
    }
    let policy = api::validate(page.text).ok()?;
    let config = api::compile(&policy).ok()?;
    let signals = api::queries(&policy).into_iter().zip(&config.signals);
    let signal = |(index, (query, compiled)): (usize, (Query, &crate::policy::config::Signal))| Signal {
        name: query.signal,
        query: query.source,
        path: format!("spec.signals[{index}]"),
        unit: match compiled.source {
            SignalSource::Series(unit) => Some(unit),
            _ => None,
        },
    };
    Some(Policy {
        part,
        name: policy.metadata.name.clone().unwrap_or_default(),
        source: policy.spec.metrics_source.as_str().to_owned(),
        quality: config.data_quality,
        look_back_ms: config.look_back_ms(),
        signals: signals.enumerate().map(signal).collect(),
    })
}

/// Judges what was heard about the signals of a policy: `None` for one that was not asked about.
///
/// `text` is the one that the policy was read from.
#[must_use]
pub fn policy(
    text: &str,
    policy: &Policy,
    source: &MetricsSource,
    heard: &[Option<Heard>],
) -> (Vec<Finding>, Vec<SignalLine>) {
    let mut page = Page::new(text.get(policy.part.clone()).unwrap_or_default());
    let mut lines = Vec::new();
    for (index, (asked, heard)) in policy.signals.iter().zip(heard).enumerate() {
        let Some(heard) = heard else { continue };
        // Power and memory are read once for each set of labels, and told once.
        let before = policy.signals.get(..index).unwrap_or_default();
        let is_first = !before
            .iter()
            .any(|other| other.match_labels() == asked.match_labels());
        let judged = signal::Judged {
            policy,
            signal: asked,
            source,
            missing: if is_first { &heard.missing } else { &[] },
        };
        lines.extend(judged.judge(&mut page, heard));
    }
    (page.findings_from(policy.part.start).collect(), lines)
}

/// A time as people write it, in seconds from a second on.
fn span(ms: Millis) -> String {
    let ms = ms.max(0);
    let rounded = if ms < 1000 {
        ms
    } else {
        ms.saturating_add(500) / 1000 * 1000
    };
    let duration = std::time::Duration::from_millis(rounded.unsigned_abs());
    api::duration::HumanDuration::try_from(duration).map_or_else(
        |_| format!("{} s", rounded / 1000),
        |duration| duration.to_string(),
    )
}

/// The first few of a list in words, and how many more there are.
fn few<T: AsRef<str>>(all: &[T], most: usize) -> String {
    let named: Vec<&str> = all.iter().take(most).map(AsRef::as_ref).collect();
    let named = named.join(", ");
    match all.len().saturating_sub(most) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

#[cfg(test)]
mod tests;
