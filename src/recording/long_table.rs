//! Long tables: one row per sample, whatever the rows are written in.
//!
//! A few headings have a meaning; every other column is a label. The name of the metric stands in a column of its own,
//! or in one that holds whole series, or it is the same for all rows and given from outside.

use std::collections::HashMap;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};

use super::csv_table::is_time;
use super::labels::{Labels, NAME_LABEL};
use super::metrics::{Metrics, MetricsBuilder, SeriesId};
use super::read_error::{Cause, ReadError};
use super::series_text::{self, MAX_LABELS};
use super::time::shown;

/// Bytes of series as they are written that are remembered, so that a row of a known one costs one look-up.
const KNOWN_BYTES: usize = 64 << 20;

/// What a column is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    /// The time of the sample.
    Time,
    /// Its value.
    Value,
    /// The name of the metric.
    Name,
    /// A series as text, `name{label="value"}`.
    Series,
    /// Several labels as text: a JSON object, or `{label="value"}`.
    Labels,
    /// One label.
    Label(String),
}

/// What each column is, by its heading.
///
/// # Errors
///
/// [`Cause::Header`] if times or values are missing or double, if a label is double, or if a column has no heading.
pub(super) fn roles<'h>(headings: impl Iterator<Item = &'h str>) -> Result<Vec<Role>, Cause> {
    let headings: Vec<&str> = headings.map(str::trim).collect();
    // A table with a column `metric` may well have a label `name`.
    let has = |word: &str| headings.iter().any(|heading| heading.eq_ignore_ascii_case(word));
    let name = [NAME_LABEL, "metric", "name"].into_iter().find(|word| has(word));
    let mut roles = Vec::with_capacity(headings.len());
    for (heading, number) in headings.iter().zip(1..) {
        let is = |word: &str| heading.eq_ignore_ascii_case(word);
        let role = match heading {
            &"" => {
                let problem = format!("column {number} has no heading");
                return Err(Cause::Header { problem });
            }
            heading if is_time(heading) => Role::Time,
            _ if is("value") => Role::Value,
            _ if name.is_some_and(is) => Role::Name,
            _ if is("series") => Role::Series,
            _ if is("labels") => Role::Labels,
            heading => Role::Label((*heading).to_owned()),
        };
        if let Some(first) = roles.iter().position(|known| *known == role) {
            let problem = format!(
                "columns {} (`{}`) and {number} (`{heading}`) are the same",
                first + 1,
                headings[first]
            );
            return Err(Cause::Header { problem });
        }
        roles.push(role);
    }
    for (role, word) in [(Role::Time, "time"), (Role::Value, "value")] {
        if !roles.contains(&role) {
            let found = shown(headings.join(", ").as_bytes());
            let problem = format!("there is no column `{word}` among: {found}");
            return Err(Cause::Header { problem });
        }
    }
    Ok(roles)
}

/// A part of what says which series a row is of.
#[derive(Debug, Clone, Copy)]
pub(super) enum Part<'a> {
    /// The cell of a column.
    Cell(usize, &'a str),
    /// A label and its value.
    #[cfg_attr(not(feature = "parquet"), allow(dead_code, reason = "only Parquet has maps"))]
    Entry(&'a str, &'a str),
}

/// Samples of a long table while it is read.
pub(super) struct LongTable<'o> {
    roles: Vec<Role>,
    metric: Option<&'o str>,
    builder: MetricsBuilder,
    /// Series by how their parts are written.
    known: HashMap<Box<[u8]>, SeriesId>,
    known_bytes: usize,
    key: Vec<u8>,
}

impl<'o> LongTable<'o> {
    /// Nothing yet. `metric` is the name of series that do not say theirs.
    pub(super) fn new(roles: Vec<Role>, metric: Option<&'o str>) -> Self {
        Self {
            roles,
            metric,
            builder: MetricsBuilder::new(),
            known: HashMap::new(),
            known_bytes: 0,
            key: Vec::new(),
        }
    }

    /// Adds the sample of a row, which is of the series that all parts together say.
    ///
    /// # Errors
    ///
    /// [`Cause::NoMetric`], [`Cause::DuplicateLabel`], [`Cause::DemandRecording`], what is wrong with a series, and the
    /// bounds of a [`MetricsBuilder`].
    pub(super) fn push(
        &mut self,
        parts: &[Part<'_>],
        at_ms: i64,
        value: f64,
        line: u64,
    ) -> Result<(), Cause> {
        self.key.clear();
        for part in parts {
            let (place, texts) = match *part {
                Part::Cell(column, text) => (column, ["", text]),
                Part::Entry(label, value) => (usize::MAX, [label, value]),
            };
            self.key.extend_from_slice(&place.to_le_bytes());
            for text in texts {
                self.key.extend_from_slice(&text.len().to_le_bytes());
                self.key.extend_from_slice(text.as_bytes());
            }
        }
        let id = match self.known.get(self.key.as_slice()) {
            Some(&id) => id,
            None => self.meet(parts)?,
        };
        self.builder.push(id, at_ms, value, line)
    }

    /// The series of parts that are written as none before.
    fn meet(&mut self, parts: &[Part<'_>]) -> Result<SeriesId, Cause> {
        let id = self.builder.series(self.labels(parts)?)?;
        // One series can be written in many ways; what is remembered must not grow with them.
        if self.known_bytes + self.key.len() > KNOWN_BYTES {
            self.known.clear();
            self.known_bytes = 0;
        }
        self.known_bytes += self.key.len();
        self.known.insert(self.key.as_slice().into(), id);
        Ok(id)
    }

    fn labels(&self, parts: &[Part<'_>]) -> Result<Labels, Cause> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for part in parts {
            match *part {
                Part::Entry(label, value) => pairs.push((label.to_owned(), value.to_owned())),
                Part::Cell(column, text) => self.read_cell(column, text.trim(), &mut pairs)?,
            }
        }
        if pairs.len() > MAX_LABELS {
            return Err(Cause::TooManyLabels { limit: MAX_LABELS });
        }
        let named = pairs
            .iter()
            .any(|(label, text)| label == NAME_LABEL && !text.is_empty());
        match self.metric {
            _ if named => series_text::labels("", pairs),
            Some(metric) => series_text::labels(metric, pairs),
            None => {
                let labels = series_text::labels("", pairs)?;
                Err(Cause::NoMetric {
                    heading: shown(labels.to_string().as_bytes()),
                })
            }
        }
    }

    /// The labels in one cell.
    fn read_cell(&self, column: usize, text: &str, pairs: &mut Vec<(String, String)>) -> Result<(), Cause> {
        let role = self.roles.get(column);
        match role {
            _ if text.is_empty() => {}
            Some(Role::Name) => pairs.push((NAME_LABEL.to_owned(), text.to_owned())),
            Some(Role::Label(label)) if label.eq_ignore_ascii_case("unit") && text == "gpus" => {
                return Err(Cause::DemandRecording);
            }
            Some(Role::Label(label)) => pairs.push((label.clone(), text.to_owned())),
            Some(Role::Labels) => match serde_json::from_str(text) {
                Ok(Entries(entries)) => pairs.extend(entries),
                Err(_) => take(&series_text::parse(text, None)?, pairs),
            },
            Some(Role::Series) => take(&series_text::parse(text, None)?, pairs),
            Some(Role::Time | Role::Value) | None => {}
        }
        Ok(())
    }

    /// Everything that was read.
    ///
    /// # Errors
    ///
    /// [`Cause::NoSamples`].
    pub(super) fn finish(self) -> Result<Metrics, ReadError> {
        self.builder.finish().map_err(ReadError::whole)
    }
}

fn take(labels: &Labels, pairs: &mut Vec<(String, String)>) {
    if !labels.name().is_empty() {
        pairs.push((NAME_LABEL.to_owned(), labels.name().to_owned()));
    }
    pairs.extend(
        labels
            .iter()
            .map(|(label, value)| (label.to_owned(), value.to_owned())),
    );
}

/// The entries of a JSON object of texts, also those that occur twice.
pub(super) struct Entries(pub(super) Vec<(String, String)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("labels as an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    if entries.len() == MAX_LABELS {
                        return Err(de::Error::custom(Cause::TooManyLabels { limit: MAX_LABELS }));
                    }
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(headings: &str) -> Result<Vec<Role>, String> {
        roles(headings.split(',')).map_err(|cause| cause.to_string())
    }

    #[test]
    fn headings_say_what_a_column_is() {
        let label = |name: &str| Role::Label(name.to_owned());
        assert_eq!(
            found("Time, VALUE ,Metric,name,Labels,series,GPU").unwrap(),
            [
                Role::Time,
                Role::Value,
                Role::Name,
                label("name"),
                Role::Labels,
                Role::Series,
                label("GPU"),
            ]
        );
        assert_eq!(
            found("ts,value,__name__,metric").unwrap()[2..],
            [Role::Name, label("metric")]
        );
        assert_eq!(found("ts,value,name").unwrap()[2], Role::Name);
    }

    #[test]
    fn headers_without_or_with_two_of_what_is_needed_are_refused() {
        let check = |headings: &str, wanted: &str| assert_eq!(found(headings).unwrap_err(), wanted);
        check("value,gpu", "there is no column `time` among: value, gpu");
        check("time,gpu", "there is no column `value` among: time, gpu");
        check(
            "time,value,date",
            "columns 1 (`time`) and 3 (`date`) are the same",
        );
        check(
            "time,value,gpu,gpu",
            "columns 3 (`gpu`) and 4 (`gpu`) are the same",
        );
        check("time,value,", "column 3 has no heading");
    }

    #[test]
    fn a_series_is_what_all_parts_say() {
        let roles = roles("time,value,name,labels,gpu".split(',')).unwrap();
        let mut table = LongTable::new(roles, Some("given"));
        let mut check = |parts: &[Part<'_>], wanted: &str| {
            let shown = table
                .labels(parts)
                .map_or_else(|cause| cause.to_string(), |labels| labels.to_string());
            assert_eq!(shown, wanted, "{parts:?}");
            // The second time it is remembered.
            for _ in 0..2 {
                let pushed = table.push(parts, 1_700_000_000_000, 1.0, 1);
                assert_eq!(
                    pushed
                        .map_err(|cause| cause.to_string())
                        .err()
                        .unwrap_or_default()
                        .is_empty(),
                    !wanted.contains(' ')
                );
            }
        };
        check(
            &[Part::Cell(2, "m"), Part::Cell(3, ""), Part::Cell(4, "0")],
            r#"m{gpu="0"}"#,
        );
        check(
            &[Part::Cell(2, ""), Part::Cell(3, r#"{"a":"1"}"#)],
            r#"given{a="1"}"#,
        );
        check(
            &[Part::Cell(3, r#"{a="1",__name__="n"}"#), Part::Entry("b", "2")],
            r#"n{a="1",b="2"}"#,
        );
        check(
            &[Part::Cell(2, "m"), Part::Cell(3, r#"n{a="1"}"#)],
            "label `__name__` occurs twice",
        );
        check(
            &[Part::Cell(3, r#"{"gpu":"1"}"#), Part::Cell(4, "0")],
            "label `gpu` occurs twice",
        );
        check(&[Part::Cell(3, r#"{"a":"1","a":"1"}"#)], "label `a` occurs twice");
        check(
            &[Part::Cell(3, "a=1")],
            "expected the name of a metric, found `a=1`",
        );
        assert_eq!(table.finish().unwrap().series().len(), 3);
    }

    #[test]
    fn parts_that_run_together_are_still_two() {
        let mut table = LongTable::new(roles("time,value,a,b".split(',')).unwrap(), Some("m"));
        for (a, b) in [("1", "23"), ("12", "3"), ("123", "")] {
            let parts = [Part::Cell(2, a), Part::Cell(3, b)];
            table.push(&parts, 1_700_000_000_000, 1.0, 1).unwrap();
        }
        assert_eq!(table.finish().unwrap().series().len(), 3);
    }
}
