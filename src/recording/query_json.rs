//! Answers of the Prometheus query API, saved as they came.
//!
//! `/api/v1/query_range` answers with a matrix, `/api/v1/query` with a matrix if the query ends in a range such as
//! `[6h]`, else with a vector. The document is read as it streams by and nothing of it is kept but the samples. That
//! takes some care, since the keys of a JSON object have no order: `values` may come before the `metric` that they are
//! of, and `status` after everything.
//!
//! An answer can say that it is not whole: by `warnings`, by VictoriaMetrics' `isPartial`, by `status: error`. Then it
//! is refused. A series that is missing because a store did not answer looks exactly like one that did not exist.

mod sample;
mod watch;

use std::fmt;
use std::io::Read;

use serde::de::{self, DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;
use serde_json::error::Category;

use self::sample::{Pair, Sample, Sink, Values};
use self::watch::{MAX_STRING, Watch, Watched};
use super::bytes::open;
use super::format::{Format, ReadOptions, TimeUnit};
use super::labels::Labels;
use super::long_table::Entries;
use super::metrics::{Metrics, MetricsBuilder, SeriesId};
use super::packed::fault;
use super::read_error::{Cause, ReadError};
use super::series_text;
use super::time::shown;

/// Warnings that are kept for the message.
const WARNINGS_SHOWN: usize = 5;

/// Reads one answer.
pub(super) fn read(input: &mut dyn Read, options: &ReadOptions) -> Result<Metrics, ReadError> {
    let watch = Watch::default();
    let mut answer = Answer {
        builder: MetricsBuilder::new(),
        unit: options.timestamps.unwrap_or(Format::QueryJson.time_unit()),
        watch: &watch,
        cause: None,
        head: Head::default(),
    };
    let mut json = Deserializer::from_reader(Watched::new(open(input)?, &watch));
    let read = json.deserialize_map(Document(&mut answer));
    read.map_err(|error| answer.explain(error))?;
    answer.head.judge().map_err(ReadError::whole)?;
    json.end().map_err(|error| match error.classify() {
        Category::Io => answer.explain(error),
        _ => ReadError::at(line(&error), error.column(), Cause::AfterAnswer),
    })?;
    answer.builder.finish().map_err(ReadError::whole)
}

fn line(error: &serde_json::Error) -> u64 {
    error.line() as u64
}

/// What an answer says besides its series.
#[derive(Default)]
struct Head {
    status: Option<String>,
    error_type: String,
    error: String,
    warnings: Vec<String>,
    has_result: bool,
}

impl Head {
    /// Whether the series may be believed.
    fn judge(&self) -> Result<(), Cause> {
        let json = |message: String| Err(Cause::Json { message });
        match self.status.as_deref() {
            Some("error") => Err(Cause::ErrorAnswer {
                message: [self.error_type.as_str(), &self.error].join(": "),
            }),
            Some("success") | None if !self.warnings.is_empty() => Err(Cause::PartialAnswer {
                warnings: self.warnings.join("; "),
            }),
            Some("success") | None if self.has_result => Ok(()),
            Some("success") | None => {
                json("this is no answer of the query API: it has no `result`".to_owned())
            }
            Some(other) => json(format!(
                "the `status` is `{}` and not `success`",
                shown(other.as_bytes())
            )),
        }
    }
}

/// An answer while it is read.
struct Answer<'a> {
    builder: MetricsBuilder,
    unit: TimeUnit,
    watch: &'a Watch,
    /// What this reader found wrong, while the JSON reader makes its way out.
    cause: Option<Cause>,
    head: Head,
}

impl Answer<'_> {
    fn line(&self) -> u64 {
        self.watch.line()
    }

    /// Stops the JSON reader, which then tells where it was.
    fn refuse<E: de::Error>(&mut self, cause: Cause) -> E {
        let error = E::custom(&cause);
        self.cause = Some(cause);
        error
    }

    /// What an error of the JSON reader is about.
    fn explain(&mut self, error: serde_json::Error) -> ReadError {
        let (line, column) = (line(&error), error.column());
        let cause = match (self.cause.take(), error.classify()) {
            // Half of a time may be refused before the JSON reader misses the rest.
            (Some(_), _) if self.watch.ended() => Cause::Truncated {
                what: "JSON document",
            },
            (Some(cause), _) => cause,
            (None, Category::Eof) => Cause::Truncated {
                what: "JSON document",
            },
            (None, Category::Io) if self.watch.too_long() => Cause::StringTooLong { limit: MAX_STRING },
            (None, Category::Io) => fault(&error.into()),
            (None, Category::Syntax | Category::Data) => {
                let message = error.to_string();
                let place = format!(" at line {line} column {column}");
                let message = message.strip_suffix(&place).unwrap_or(&message).to_owned();
                Cause::Json { message }
            }
        };
        ReadError::at(line, column, cause)
    }
}

/// The whole document; also only what stands under its `data`.
struct Document<'s, 'a>(&'s mut Answer<'a>);

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer of the query API")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "status" => self.0.head.status = map.next_value()?,
                "errorType" => self.0.head.error_type = map.next_value::<Option<_>>()?.unwrap_or_default(),
                "error" => self.0.head.error = map.next_value::<Option<_>>()?.unwrap_or_default(),
                "warnings" => map.next_value_seed(Warnings(&mut self.0.head.warnings))?,
                "isPartial" => {
                    if map.next_value::<Option<bool>>()? == Some(true) {
                        self.0.head.warnings.push("`isPartial` is true".to_owned());
                    }
                }
                "data" => map.next_value_seed(Data(self.0))?,
                "resultType" | "result" => entry_of_data(self.0, &key, &mut map)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// The warnings of an answer, of which the first few are kept.
struct Warnings<'s>(&'s mut Vec<String>);

impl<'de> DeserializeSeed<'de> for Warnings<'_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Warnings<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of warnings")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(warning) = seq.next_element::<String>()? {
            if self.0.len() < WARNINGS_SHOWN {
                self.0.push(warning);
            }
        }
        Ok(())
    }
}

/// What stands under `data`; an answer with an error may have `null` there.
struct Data<'s, 'a>(&'s mut Answer<'a>);

impl<'de> DeserializeSeed<'de> for Data<'_, '_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Data<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `resultType` and `result`")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "resultType" | "result" => entry_of_data(self.0, &key, &mut map)?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// `resultType` or `result`.
fn entry_of_data<'de, A: MapAccess<'de>>(
    answer: &mut Answer<'_>,
    key: &str,
    map: &mut A,
) -> Result<(), A::Error> {
    if key == "result" {
        if std::mem::replace(&mut answer.head.has_result, true) {
            let message = "`result` occurs twice".to_owned();
            return Err(answer.refuse(Cause::Json { message }));
        }
        return map.next_value_seed(ResultList(answer));
    }
    let found: String = map.next_value()?;
    if matches!(found.as_str(), "matrix" | "vector") {
        return Ok(());
    }
    let found = shown(found.as_bytes());
    Err(answer.refuse(Cause::ResultType { found }))
}

/// The list of series.
struct ResultList<'s, 'a>(&'s mut Answer<'a>);

impl<'de> DeserializeSeed<'de> for ResultList<'_, '_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ResultList<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of series")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(OneSeries(self.0))?.is_some() {}
        Ok(())
    }
}

/// A series: its labels and its samples, in either order.
struct OneSeries<'s, 'a>(&'s mut Answer<'a>);

impl<'de> DeserializeSeed<'de> for OneSeries<'_, '_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OneSeries<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a series")
    }

    /// The time of a scalar or of a text, if its `resultType` comes after it.
    fn visit_u64<E: de::Error>(self, _: u64) -> Result<(), E> {
        let found = "single value".to_owned();
        Err(self.0.refuse(Cause::ResultType { found }))
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<(), E> {
        self.visit_u64(0)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let answer = self.0;
        let mut series: Option<(Labels, SeriesId)> = None;
        let mut waiting: Vec<Sample> = Vec::new();
        let mut histogram = false;
        while let Some(key) = map.next_key::<String>()? {
            let sink = match &series {
                Some((_, id)) => Sink::Series(*id),
                None => Sink::Waiting(&mut waiting),
            };
            match key.as_str() {
                "metric" => {
                    if series.is_some() {
                        let message = "`metric` occurs twice in a series".to_owned();
                        return Err(answer.refuse(Cause::Json { message }));
                    }
                    let Entries(entries) = map.next_value()?;
                    let labels = series_text::labels("", entries).map_err(|cause| answer.refuse(cause))?;
                    let id = answer
                        .builder
                        .series(labels.clone())
                        .map_err(|cause| answer.refuse(cause))?;
                    series = Some((labels, id));
                }
                "values" => map.next_value_seed(Values {
                    answer: &mut *answer,
                    sink,
                })?,
                "value" => map.next_value_seed(Pair {
                    answer: &mut *answer,
                    sink,
                })?,
                "histogram" | "histograms" => {
                    map.next_value::<IgnoredAny>()?;
                    histogram = true;
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let Some((labels, id)) = series else {
            let message = "a series has no `metric`".to_owned();
            return Err(answer.refuse(Cause::Json { message }));
        };
        if histogram {
            let series = labels.to_string();
            return Err(answer.refuse(Cause::Histogram { series }));
        }
        for Sample { at_ms, value, line } in waiting {
            let pushed = answer.builder.push(id, at_ms, value, line);
            pushed.map_err(|cause| answer.refuse(cause))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
