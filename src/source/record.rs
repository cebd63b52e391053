//! What a policy reads, taken from a source slice by slice, for a recording that a simulation can judge.
//!
//! A store answers about any time, within limits: bytes, series and samples of one answer, and how long it takes. So a
//! slice that is too large is asked in halves, and halves of those, and comes out as if it had been one. A server that is
//! busy, restarting or asks to be left alone is waited for: whoever records has time. What is left out of an answer that
//! the source calls partial would look like a fault of the exporters in the recording, so it is refused unless it is wanted.
//!
//! Series stand in the recording as simulations look for them: where the configuration maps labels, under the names that
//! are looked for; what an expression gave, as [`schema::SIGNAL`].
//!
//! It opens no files, and it does not know where the slices go.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::api::{Query, QuerySource};
use crate::config::LabelMapping;
use crate::control::intake;
use crate::control::ports::{
    Answer, Clock, Completeness, MetricsSource, ReadRequest, Selector, SourceError, SourceErrorKind,
};
use crate::devices;
use crate::policy::Config;
use crate::policy::config::Millis;
use crate::recording::{Labels, schema};

/// No slice is asked in smaller parts.
const LEAST_MS: Millis = 60_000;

/// The waits before a server that failed is asked again, in ms; after the last one it is given up.
const WAITS_MS: [Millis; 5] = [1_000, 2_000, 5_000, 15_000, 30_000];

/// How often a server that asks for patience is given it.
const PATIENCE: usize = 20;

/// What is recorded of one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The question.
    pub selector: Selector,
    /// The signals that are the value of an expression, by name; none for a metric.
    pub signals: Vec<String>,
}

/// What a policy reads, each once.
#[must_use]
pub fn wanted(config: &Config, queries: &[Query]) -> Vec<Wanted> {
    let signals = |selector: &Selector| match selector {
        Selector::Metric { .. } => Vec::new(),
        Selector::Expression { promql, .. } => queries
            .iter()
            .filter(|query| matches!(&query.source, QuerySource::Promql(other) if other == promql))
            .map(|query| query.signal.clone())
            .collect(),
    };
    intake::selectors(config, queries)
        .map(|selector| Wanted {
            signals: signals(&selector),
            selector,
        })
        .collect()
}

impl Wanted {
    /// The name of its series in the recording.
    #[must_use]
    pub fn name(&self) -> &str {
        match &self.selector {
            Selector::Metric { name, .. } => name,
            Selector::Expression { .. } => schema::SIGNAL,
        }
    }
}

/// Why a slice cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// The source gave no answer.
    #[error("{asked}: {error}")]
    Source {
        /// What was asked.
        asked: String,
        /// Why there was none.
        error: SourceError,
    },
    /// An answer that lacks something.
    #[error("{asked}: the source says that something is missing: {words}")]
    Partial {
        /// What was asked.
        asked: String,
        /// The source's words.
        words: String,
    },
    /// An expression that is not one number.
    #[error(
        "{asked}: it gives {series} series, and the signal `{signal}` is one number; aggregate them in the query, such as \
         by `sum(…)`"
    )]
    Many {
        /// What was asked.
        asked: String,
        /// The signal.
        signal: String,
        /// How many series came.
        series: usize,
    },
}

/// Whether answers that lack something are recorded as they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    /// They are refused.
    Refused,
    /// They are taken for what they have.
    Taken,
}

/// The series of a slice, in order of their labels, each with its samples in order of time.
pub type Slice = BTreeMap<Labels, Vec<(Millis, f64)>>;

/// Takes slices from one source.
#[derive(Debug)]
pub struct Recorder<'s, S, C> {
    /// The source.
    pub source: &'s S,
    /// Its name.
    pub name: &'s str,
    /// Which labels say where a sample comes from.
    pub mapping: &'s LabelMapping,
    /// What is waited by.
    pub clock: &'s C,
    /// What becomes of answers that lack something.
    pub parts: Parts,
}

impl<S: MetricsSource, C: Clock> Recorder<'_, S, C> {
    /// The samples in `(from_ms, to_ms]`.
    ///
    /// # Errors
    /// [`RecordError`] for what the source does not answer, however it is asked.
    pub async fn slice(&self, wanted: &Wanted, from_ms: Millis, to_ms: Millis) -> Result<Slice, RecordError> {
        let mut slice = Slice::new();
        // The earliest part is the last one here.
        let mut parts = vec![(from_ms, to_ms)];
        while let Some((from_ms, to_ms)) = parts.pop() {
            match self.ask(wanted, (from_ms, to_ms)).await {
                Ok(answer) => self.take(wanted, &answer, (from_ms, to_ms), &mut slice)?,
                Err(error) if is_smaller_better(error.kind) && to_ms - from_ms >= 2 * LEAST_MS => {
                    let middle_ms = from_ms + (to_ms - from_ms) / 2;
                    parts.extend([(middle_ms, to_ms), (from_ms, middle_ms)]);
                }
                Err(error) => {
                    let asked = asked(wanted, (from_ms, to_ms));
                    return Err(RecordError::Source { asked, error });
                }
            }
        }
        Ok(slice)
    }

    /// Asks until there is an answer, or none is to be hoped for.
    async fn ask(&self, wanted: &Wanted, (from_ms, to_ms): (Millis, Millis)) -> Result<Answer, SourceError> {
        let request = ReadRequest {
            source: self.name,
            selector: &wanted.selector,
            window_ms: to_ms - from_ms,
            as_of_ms: Some(to_ms),
        };
        let (mut failures, mut throttled) = (WAITS_MS.iter(), 0);
        loop {
            let error = match self.source.read(&request).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let wait_ms = match error.kind {
                SourceErrorKind::Throttled(wait_ms) if throttled < PATIENCE => {
                    throttled += 1;
                    wait_ms.or(WAITS_MS.last().copied())
                }
                SourceErrorKind::Unreachable | SourceErrorKind::Status(500..=599) => failures.next().copied(),
                SourceErrorKind::Timeout if to_ms - from_ms < 2 * LEAST_MS => failures.next().copied(),
                _ => None,
            };
            let Some(wait_ms) = wait_ms else {
                return Err(error);
            };
            let until_ms = self.clock.now().timer_ms.saturating_add(wait_ms);
            self.clock.sleep_until(until_ms).await;
        }
    }

    fn take(
        &self,
        wanted: &Wanted,
        answer: &Answer,
        (from_ms, to_ms): (Millis, Millis),
        slice: &mut Slice,
    ) -> Result<(), RecordError> {
        let asked = || asked(wanted, (from_ms, to_ms));
        if let (Completeness::Partial(words), Parts::Refused) = (&answer.completeness, self.parts) {
            return Err(RecordError::Partial {
                asked: asked(),
                words: words.clone(),
            });
        }
        if let Some(signal) = wanted.signals.first()
            && answer.series.len() > 1
        {
            return Err(RecordError::Many {
                asked: asked(),
                signal: signal.clone(),
                series: answer.series.len(),
            });
        }
        for series in answer.series.iter() {
            for labels in self.recorded(wanted, series.labels) {
                let samples = slice.entry(labels).or_default();
                // Servers differ in whether a window has its first moment, and it is in the part before.
                let inside = series
                    .samples
                    .iter()
                    .filter(|(at_ms, _)| (from_ms + 1..=to_ms).contains(at_ms));
                samples.extend(inside);
                // Two series that are one under the names of the recording.
                if !samples.is_sorted_by(|one, next| one.0 < next.0) {
                    samples.sort_by_key(|&(at_ms, _)| at_ms);
                    samples.dedup_by_key(|&mut (at_ms, _)| at_ms);
                }
            }
        }
        slice.retain(|_, samples| !samples.is_empty());
        Ok(())
    }

    /// How a series stands in the recording: once for each signal that it is.
    fn recorded(&self, wanted: &Wanted, labels: &Labels) -> Vec<Labels> {
        if wanted.signals.is_empty() {
            return vec![self.renamed(labels)];
        }
        let of_signal = |signal: &String| Labels::new(schema::SIGNAL, [(schema::SIGNAL_LABEL, signal)]);
        wanted
            .signals
            .iter()
            .filter_map(|signal| of_signal(signal).ok())
            .collect()
    }

    /// The labels, with those that the configuration maps under the first names that are looked for.
    fn renamed(&self, labels: &Labels) -> Labels {
        let looked_for = devices::LabelMapping::default();
        let mapped = [
            (&self.mapping.node, &looked_for.node),
            (&self.mapping.pod, &looked_for.pod),
        ];
        let mut pairs: BTreeMap<&str, &str> = labels.iter().collect();
        for (said, names) in mapped {
            let (Some(said), Some(name)) = (said, names.first()) else {
                continue;
            };
            match labels.get(said.as_str()) {
                Some(value) => pairs.insert(name, value),
                None => pairs.remove(name.as_str()),
            };
        }
        Labels::new(labels.name(), pairs).unwrap_or_else(|_| labels.clone())
    }
}

/// Whether the same question about less time may be answered. Servers say that a query is too much in many words.
fn is_smaller_better(kind: SourceErrorKind) -> bool {
    matches!(
        kind,
        SourceErrorKind::TooLarge | SourceErrorKind::Timeout | SourceErrorKind::Query
    )
}

/// What was asked, for people.
fn asked(wanted: &Wanted, (from_ms, to_ms): (Millis, Millis)) -> String {
    let at = |ms: Millis| {
        jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |at| at.to_string())
    };
    let what = match &wanted.selector {
        Selector::Metric { name, .. } => (*name).to_owned(),
        Selector::Expression { .. } => format!("the query of signal `{}`", wanted.signals.join("`, `")),
    };
    format!("{what} from {} to {}", at(from_ms), at(to_ms))
}

#[cfg(test)]
mod tests;
