//! Answers of the Prometheus query API, saved as they came.
//!
//! `/api/v1/query_range` answers with a matrix, `/api/v1/query` with a matrix if the query ends in a range such as
//! `[6h]`, else with a vector. The document is read as it streams by and nothing of it is kept but the samples. That
//! takes some care, since the keys of a JSON object have no order: `values` may come before the `metric` that they are
//! of, and `status` after everything.
//!
//! An answer can say that it is not whole: by `warnings`, by VictoriaMetrics' `isPartial`, by `status: error`. Then it
//! is refused. A series that is missing because a store did not answer looks exactly like one that did not exist.

use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};

use serde::de::{self, DeserializeSeed, Deserializer as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;
use serde_json::error::Category;

use super::bytes::open;
use super::format::{Format, ReadOptions, TimeUnit};
use super::labels::Labels;
use super::long_table::Entries;
use super::metrics::{MAX_SAMPLES, Metrics, MetricsBuilder, SeriesId};
use super::packed::fault;
use super::read_error::{Cause, ReadError};
use super::series_text;
use super::time::{self, plausible, shown};

/// The longest string: labels are far shorter, and the reader holds one at a time.
const MAX_STRING: usize = 1 << 20;

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
    let mut json = Deserializer::from_reader(Watched {
        input: open(input)?,
        watch: &watch,
        string: None,
    });
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

/// What is seen of the bytes on their way to the JSON reader.
#[derive(Default)]
struct Watch {
    /// Line ends so far.
    line_ends: Cell<u64>,
    /// Whether a string was too long.
    too_long: Cell<bool>,
    /// Whether there are no more bytes.
    ended: Cell<bool>,
}

/// Passes bytes on and watches them: for the number of the line, which the JSON reader tells only in errors, and for
/// the length of strings, which it does not bound.
struct Watched<'a, R> {
    input: R,
    watch: &'a Watch,
    /// Inside a string: its length, and whether the next byte is escaped.
    string: Option<(usize, Escape)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    No,
    Next,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.watch.ended.set(count == 0);
        for &byte in &buffer[..count] {
            self.string = match (self.string, byte) {
                (None, b'"') => Some((0, Escape::No)),
                (None, _) => None,
                (Some((_, Escape::No)), b'"') => None,
                (Some((length, Escape::No)), b'\\') => Some((length + 1, Escape::Next)),
                (Some((length, _)), _) => Some((length + 1, Escape::No)),
            };
            if byte == b'\n' {
                self.watch.line_ends.set(self.watch.line_ends.get() + 1);
            }
        }
        match self.string {
            Some((length, _)) if length > MAX_STRING => {
                self.watch.too_long.set(true);
                Err(io::Error::other("string too long"))
            }
            _ => Ok(count),
        }
    }
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
        self.watch.line_ends.get() + 1
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
            (Some(_), _) if self.watch.ended.get() => Cause::Truncated {
                what: "JSON document",
            },
            (Some(cause), _) => cause,
            (None, Category::Eof) => Cause::Truncated {
                what: "JSON document",
            },
            (None, Category::Io) if self.watch.too_long.get() => Cause::StringTooLong { limit: MAX_STRING },
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

/// A sample of a series whose labels have not come yet.
struct Sample {
    at_ms: i64,
    value: f64,
    line: u64,
}

/// Where samples go.
enum Sink<'s> {
    Series(SeriesId),
    Waiting(&'s mut Vec<Sample>),
}

impl Sink<'_> {
    /// The same place once more.
    fn again(&mut self) -> Sink<'_> {
        match self {
            Self::Series(id) => Sink::Series(*id),
            Self::Waiting(waiting) => Sink::Waiting(waiting),
        }
    }

    fn push(&mut self, answer: &mut Answer<'_>, at_ms: i64, value: f64) -> Result<(), Cause> {
        let line = answer.line();
        match self {
            Self::Series(id) => answer.builder.push(*id, at_ms, value, line),
            Self::Waiting(waiting) if answer.builder.samples() + waiting.len() as u64 >= MAX_SAMPLES => {
                Err(Cause::TooManySamples)
            }
            Self::Waiting(waiting) => {
                waiting.push(Sample { at_ms, value, line });
                Ok(())
            }
        }
    }
}

/// The samples of a range: a list of pairs.
struct Values<'s, 'a> {
    answer: &'s mut Answer<'a>,
    sink: Sink<'s>,
}

impl<'de> DeserializeSeed<'de> for Values<'_, '_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Values<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of samples")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        loop {
            let pair = Pair {
                answer: &mut *self.answer,
                sink: self.sink.again(),
            };
            if seq.next_element_seed(pair)?.is_none() {
                return Ok(());
            }
        }
    }
}

/// One sample: `[1700000000.123, "85"]`.
struct Pair<'s, 'a> {
    answer: &'s mut Answer<'a>,
    sink: Sink<'s>,
}

impl<'de> DeserializeSeed<'de> for Pair<'_, '_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Pair<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pair of a time and a value in quotes")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<(), A::Error> {
        let answer = self.answer;
        let expected = "a pair of a time and a value in quotes";
        let at_ms = seq.next_element_seed(Time(&mut *answer))?;
        let at_ms = at_ms.ok_or_else(|| de::Error::invalid_length(0, &expected))?;
        let value = seq.next_element_seed(Value(&mut *answer))?;
        let value = value.ok_or_else(|| de::Error::invalid_length(1, &expected))?;
        if seq.next_element::<IgnoredAny>()?.is_some() {
            return Err(de::Error::invalid_length(3, &expected));
        }
        let pushed = self.sink.push(answer, at_ms, value);
        pushed.map_err(|cause| answer.refuse(cause))
    }
}

/// A time in seconds, exact to the millisecond.
struct Time<'s, 'a>(&'s mut Answer<'a>);

impl<'de> DeserializeSeed<'de> for Time<'_, '_> {
    type Value = i64;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<i64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Time<'_, '_> {
    type Value = i64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a time in {}", self.0.unit)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<i64, E> {
        #[expect(
            clippy::cast_precision_loss,
            reason = "times of recordings are far below 2^53 in either unit"
        )]
        self.visit_f64(number as f64)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<i64, E> {
        #[expect(clippy::cast_precision_loss, reason = "a negative time is refused")]
        self.visit_f64(number as f64)
    }

    /// In this century the neighbours of a number of seconds are 0.24 microseconds away, so that rounding to
    /// milliseconds gives the digits that were written.
    fn visit_f64<E: de::Error>(self, number: f64) -> Result<i64, E> {
        let ms = match self.0.unit {
            TimeUnit::Seconds => number * 1000.0,
            TimeUnit::Milliseconds => number,
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "what does not fit is implausible either way"
        )]
        let at_ms = ms.round() as i64;
        if plausible(at_ms) {
            return Ok(at_ms);
        }
        let refused = time::parse(number.to_string().as_bytes(), self.0.unit);
        refused.map_err(|cause| self.0.refuse(cause))
    }
}

/// A value in quotes, as the API writes it; `NaN`, `+Inf` and `-Inf` among them.
struct Value<'s, 'a>(&'s mut Answer<'a>);

impl<'de> DeserializeSeed<'de> for Value<'_, '_> {
    type Value = f64;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<f64, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Value<'_, '_> {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value in quotes")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<f64, E> {
        text.parse().map_err(|_| {
            let found = shown(text.as_bytes());
            self.0.refuse(Cause::Value { found })
        })
    }
}

#[cfg(test)]
mod tests;
