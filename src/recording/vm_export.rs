//! JSON lines of VictoriaMetrics' `/api/v1/export`.
//!
//! A line is a piece of one series: `{"metric":{…},"values":[…],"timestamps":[…]}`, times in milliseconds. Values are
//! numbers, with `null` or a text for those that JSON cannot write. The two arrays hold nearly all bytes of an export,
//! so they are read here by hand: each number from its own digits, because a general JSON reader may round the last
//! one, and without a copy.

use std::io::Read;
use std::ops::Range;

use memchr::memchr;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::bytes::{Lines, MAX_LINE, open};
use super::format::{Format, ReadOptions, TimeUnit};
use super::long_table::Entries;
use super::metrics::{Metrics, MetricsBuilder};
use super::read_error::{Cause, ReadError};
use super::series_text;
use super::time::{self, shown};

/// Reads an export. The last line may lack its end: a line that was cut short is not a whole JSON object.
pub(super) fn read(input: &mut dyn Read, options: &ReadOptions) -> Result<Metrics, ReadError> {
    let unit = options.timestamps.unwrap_or(Format::VmExport.time_unit());
    let mut lines = Lines::new(open(input)?, MAX_LINE);
    let mut builder = MetricsBuilder::new();
    loop {
        let number = lines.number() + 1;
        let Some(line) = lines.next()? else {
            return builder.finish().map_err(ReadError::whole);
        };
        let added = add(line, number, unit, &mut builder);
        added.map_err(|Fault { at, cause }| ReadError::at(number, at + 1, cause))?;
    }
}

/// What is wrong in a line, and before which byte, from 0.
struct Fault {
    at: usize,
    cause: Cause,
}

/// Adds the samples of one line.
fn add(line: &[u8], number: u64, unit: TimeUnit, builder: &mut MetricsBuilder) -> Result<(), Fault> {
    if line.trim_ascii().is_empty() {
        return Ok(());
    }
    let parts = Parts::of(line)?;
    let at_end = |cause| Fault { at: 0, cause };
    let id = builder.series(series_text::labels("", parts.metric).map_err(at_end)?);
    let id = id.map_err(at_end)?;
    let (mut values, mut times) = (Cells::new(line, parts.values), Cells::new(line, parts.timestamps));
    loop {
        match (values.next(), times.next()) {
            (Some(value), Some(time)) => {
                let sample = value_of(value.text).map_err(|cause| value.fault(cause))?;
                let at_ms = time::parse(time.text, unit).map_err(|cause| time.fault(cause))?;
                let pushed = builder.push(id, at_ms, sample, number);
                pushed.map_err(|cause| value.fault(cause))?;
            }
            (None, None) => return Ok(()),
            (Some(cell), None) | (None, Some(cell)) => {
                let message = "`values` and `timestamps` are not equally many".to_owned();
                return Err(cell.fault(Cause::Json { message }));
            }
        }
    }
}

/// A value: a number, `null`, or a text such as `"NaN"` and `"Infinity"`. Version 1.79 writes infinities bare, and NaN,
/// too, where it is the first value of a line.
fn value_of(cell: &[u8]) -> Result<f64, Cause> {
    let text = match cell {
        b"null" => return Ok(f64::NAN),
        [b'"', text @ .., b'"'] => text,
        b"NaN" | b"+Inf" | [b'-' | b'0'..=b'9', ..] => cell,
        _ => &[],
    };
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| Cause::Value { found: shown(cell) })
}

/// The parts of a line; the arrays as the places of what stands between their brackets.
struct Parts {
    metric: Vec<(String, String)>,
    values: Range<usize>,
    timestamps: Range<usize>,
}

impl Parts {
    fn of(line: &[u8]) -> Result<Self, Fault> {
        let mut cursor = Cursor { line, at: 0 };
        let (mut metric, mut values, mut timestamps) = (None, None, None);
        cursor.require(b'{', "`{`")?;
        while !cursor.take(b'}') {
            if metric.is_some() || values.is_some() || timestamps.is_some() {
                cursor.require(b',', "`,` or `}`")?;
            }
            let at = cursor.at;
            let key: String = cursor.json()?;
            cursor.require(b':', "`:`")?;
            let twice = match key.as_str() {
                "metric" => metric.replace(cursor.json::<Entries>()?.0).is_some(),
                "values" => values.replace(cursor.array()?).is_some(),
                "timestamps" => timestamps.replace(cursor.array()?).is_some(),
                _ => cursor.json().map(|IgnoredAny| false)?,
            };
            if twice {
                let message = format!("`{key}` occurs twice");
                return Err(Fault {
                    at,
                    cause: Cause::Json { message },
                });
            }
        }
        cursor.end()?;
        let missing = |name: &str| Fault {
            at: 0,
            cause: Cause::Json {
                message: format!("the line has no `{name}`"),
            },
        };
        Ok(Self {
            metric: metric.ok_or_else(|| missing("metric"))?,
            values: values.ok_or_else(|| missing("values"))?,
            timestamps: timestamps.ok_or_else(|| missing("timestamps"))?,
        })
    }
}

/// A place in a line.
struct Cursor<'a> {
    line: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    /// What is left, without white space in front.
    fn rest(&mut self) -> &'a [u8] {
        let rest = self.line.get(self.at..).unwrap_or_default();
        let trimmed = rest.trim_ascii_start();
        self.at += rest.len() - trimmed.len();
        trimmed
    }

    fn take(&mut self, byte: u8) -> bool {
        let found = self.rest().first() == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn require(&mut self, byte: u8, expected: &'static str) -> Result<(), Fault> {
        if self.take(byte) {
            return Ok(());
        }
        let cause = match self.rest() {
            [] => Cause::Truncated { what: "JSON line" },
            rest => Cause::Syntax {
                expected,
                found: shown(rest),
            },
        };
        Err(Fault { at: self.at, cause })
    }

    fn end(&mut self) -> Result<(), Fault> {
        match self.rest() {
            [] => Ok(()),
            rest => {
                let (expected, found) = ("the end of the line", shown(rest));
                Err(Fault {
                    at: self.at,
                    cause: Cause::Syntax { expected, found },
                })
            }
        }
    }

    /// Any JSON value.
    fn json<T: Deserialize<'a>>(&mut self) -> Result<T, Fault> {
        let rest = self.rest();
        let mut stream = serde_json::Deserializer::from_slice(rest).into_iter();
        let value = stream.next();
        let fault = |cause| Fault { at: self.at, cause };
        match value {
            Some(Ok(value)) => {
                self.at += stream.byte_offset();
                Ok(value)
            }
            Some(Err(error)) if !error.is_eof() => {
                let message = error.to_string();
                // Lines and columns count from where the value begins.
                let message = message.split(" at line ").next().unwrap_or_default().to_owned();
                Err(fault(Cause::Json { message }))
            }
            _ => Err(fault(Cause::Truncated { what: "JSON line" })),
        }
    }

    /// An array of numbers: where what it holds begins and ends.
    fn array(&mut self) -> Result<Range<usize>, Fault> {
        self.require(b'[', "`[`")?;
        let start = self.at;
        let Some(length) = memchr(b']', self.rest()) else {
            let cause = Cause::Truncated { what: "JSON line" };
            return Err(Fault {
                at: self.line.len(),
                cause,
            });
        };
        let end = self.at + length;
        self.at = end + 1;
        Ok(start..end)
    }
}

/// A number in an array, and where it is.
struct Cell<'a> {
    at: usize,
    text: &'a [u8],
}

impl Cell<'_> {
    fn fault(&self, cause: Cause) -> Fault {
        Fault { at: self.at, cause }
    }
}

/// The numbers of an array.
struct Cells<'a> {
    line: &'a [u8],
    left: Option<Range<usize>>,
}

impl<'a> Cells<'a> {
    fn new(line: &'a [u8], place: Range<usize>) -> Self {
        let empty = line[place.clone()].trim_ascii().is_empty();
        Self {
            line,
            left: (!empty).then_some(place),
        }
    }
}

impl<'a> Iterator for Cells<'a> {
    type Item = Cell<'a>;

    fn next(&mut self) -> Option<Cell<'a>> {
        let Range { start, end } = self.left.take()?;
        let text = match memchr(b',', &self.line[start..end]) {
            Some(length) => {
                self.left = Some(start + length + 1..end);
                &self.line[start..start + length]
            }
            None => &self.line[start..end],
        };
        Some(Cell {
            at: start,
            text: text.trim_ascii(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown_series(text: &str) -> Result<Vec<String>, String> {
        let metrics =
            read(&mut text.as_bytes(), &ReadOptions::default()).map_err(|error| error.to_string())?;
        let show = |series: &crate::recording::Series| {
            let samples: Vec<_> = series.samples().map(|(at, v)| format!("{v}@{at}")).collect();
            format!("{} {}", series.labels(), samples.join(" "))
        };
        Ok(metrics.series().iter().map(show).collect())
    }

    #[test]
    fn lines_are_pieces_of_series() {
        let text = concat!(
            r#"{"metric":{"__name__":"U","gpu":"0"},"values":[1,2.5,null],"timestamps":[1700000000000,1700000015000,1700000030000]}"#,
            "\n\n",
            r#" { "values" : [ "Infinity", "-Infinity", "NaN" ] , "more": {"a": [1]}, "#,
            r#""timestamps" : [1700000000000 ,1700000015000, 1700000030001 ], "metric" : {"__name__":"V"} } "#,
            "\r\n",
            r#"{"metric":{"__name__":"U","gpu":"0"},"values":[0.30000000000000004],"timestamps":[1700000045000]}"#,
            "\n",
            r#"{"metric":{"__name__":"W"},"values":[],"timestamps":[]}"#,
        );
        assert_eq!(
            shown_series(text).unwrap(),
            [
                r#"U{gpu="0"} 1@1700000000000 2.5@1700000015000 NaN@1700000030000 0.30000000000000004@1700000045000"#,
                "V inf@1700000000000 -inf@1700000015000 NaN@1700000030001",
            ]
        );
    }

    #[test]
    fn what_json_cannot_write_may_stand_there_bare() {
        let line = r#"{"metric":{"__name__":"U"},"values":[NaN,+Inf,-Inf],"timestamps":[1700000000000,1700000015000,1700000030000]}"#;
        let samples = "U NaN@1700000000000 inf@1700000015000 -inf@1700000030000";
        assert_eq!(shown_series(line).unwrap(), [samples]);
        assert!(shown_series(&line.replace("+Inf", "+1")).is_err());
    }

    #[test]
    fn every_digit_of_a_value_counts() {
        // Numbers of 17 digits that a reader which multiplies by a power of ten rounds to their neighbour.
        for value in [0.1 + 0.2, 1.0 / 3.0, 5e-324, f64::MAX, 123_456_789.123_456_78] {
            assert_eq!(value_of(value.to_string().as_bytes()), Ok(value));
            assert_eq!(value_of(format!("{value:e}").as_bytes()), Ok(value));
        }
    }

    #[test]
    fn faults_have_their_line_and_column() {
        const GOOD: &str = "{\"metric\":{\"a\":\"1\"},\"values\":[1],\"timestamps\":[1700000000000]}\n";
        let check = |line: &str, wanted: &str| {
            let error = shown_series(&format!("{GOOD}{line}")).unwrap_err();
            assert!(error.starts_with(&format!("line 2, {wanted}")), "{line}: {error}");
        };
        for cut in [
            1,
            5,
            12,
            20,
            30,
            40,
            GOOD.len() - 20,
            GOOD.len() - 3,
            GOOD.len() - 2,
        ] {
            let error = shown_series(&format!("{GOOD}{}", &GOOD[..cut])).unwrap_err();
            assert!(
                error.contains("the JSON line ends early"),
                "cut at {cut}: {error}"
            );
        }
        check(
            r#"{"metric":{},"values":[1,2],"timestamps":[1700000000000]}"#,
            "column 26: `values` and `timestamps` are not equally many",
        );
        check(
            r#"{"metric":{},"values":[1],"timestamps":[1700000000]}"#,
            "column 41: timestamp `1700000000` as milliseconds is not between the years 2000 and 2100; say \
             `--timestamps s`",
        );
        check(
            r#"{"metric":{},"values":[x],"timestamps":[1]}"#,
            "column 24: value `x`",
        );
        check(
            r#"{"metric":{},"values":[1,],"timestamps":[1,2]}"#,
            "column 42: timestamp `1` as",
        );
        check(
            r#"{"metric":{"a":1},"values":[1],"timestamps":[1]}"#,
            "column 11: invalid type: integer `1`",
        );
        check(
            r#"{"metric":{},"values":[1]}"#,
            "column 1: the line has no `timestamps`",
        );
        check(
            r#"{"values":[1],"values":[1]}"#,
            "column 15: `values` occurs twice",
        );
        check(
            r#"{"metric":{"a":"1","a":"2"},"values":[],"timestamps":[]}"#,
            "column 1: label `a` occurs twice",
        );
        check(
            r#"{"metric":{}} {}"#,
            "column 15: expected the end of the line, found `{}`",
        );
        check(r#"{"metric":{} "values":[]}"#, "column 14: expected `,` or `}`");
        check("[1]", "column 1: expected `{`, found `[1]`");
    }
}
