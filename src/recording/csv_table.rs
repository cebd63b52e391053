//! Tables of text: what wide and long ones have in common.
//!
//! Rows are cut out here and not by the `csv` crate, for three reasons: a row of unbounded length must be refused
//! before it is in memory, the number of its line has to be right also after blank lines and `\r\n`, and a table that
//! ends inside quotes was cut short and must not pass for a whole one. The rules are those of RFC 4180; a test compares
//! the rows with those of the `csv` crate.

use std::io::Read;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use memchr::{memchr, memchr_iter};

use super::bytes::{Lines, MAX_LINE, Opened, open, without_end};
use super::format::TimeUnit;
use super::read_error::{Cause, ReadError};
use super::time::{self, plausible, shown};

/// The delimiter that a first line such as `sep=;` names. Grafana writes one for Excel.
pub(super) fn delimiter(line: &[u8]) -> Option<u8> {
    match *without_end(line).0.strip_prefix(b"sep=")? {
        [b'\t'] => Some(b'\t'),
        [delimiter] if delimiter.is_ascii_punctuation() && delimiter != b'"' => Some(delimiter),
        _ => None,
    }
}

/// Whether a heading is that of the times: `time`, `timestamp`, `ts`, `date` or `datetime`, alone or followed by more,
/// as in `timestamp_ms` or `Time (UTC)`.
pub(super) fn is_time(heading: &str) -> bool {
    if heading.contains('{') {
        return false;
    }
    let bare = heading.trim().split(['(', '_', ' ']).next().unwrap_or_default();
    ["time", "timestamp", "ts", "date", "datetime"]
        .iter()
        .any(|word| bare.eq_ignore_ascii_case(word))
}

/// Reads the cell of a time: a date of ISO 8601, or a number in `unit`. A date without an offset is in UTC.
///
/// # Errors
///
/// [`Cause::NoTimestamp`], [`Cause::TimeCell`], [`Cause::ImplausibleDate`], [`Cause::ImplausibleYear`].
pub(super) fn time(cell: &str, unit: TimeUnit) -> Result<i64, Cause> {
    let cell = cell.trim();
    if cell.is_empty() {
        return Err(Cause::NoTimestamp);
    }
    // Nearly every date has its first dash here, and no number has.
    if cell.as_bytes().get(4) == Some(&b'-') {
        return date(cell, unit);
    }
    match time::parse(cell.as_bytes(), unit) {
        Err(Cause::Timestamp { .. }) => date(cell, unit),
        other => other,
    }
}

fn date(cell: &str, unit: TimeUnit) -> Result<i64, Cause> {
    let found = || shown(cell.as_bytes());
    // A zone or an offset that `Timestamp` cannot read must not be passed over by reading it as a civil time.
    let civil = |cell: &str| {
        let clock = cell.get(10..)?;
        let plain = clock
            .bytes()
            .all(|byte| byte.is_ascii_digit() || b" Tt:.".contains(&byte));
        let civil: DateTime = plain.then(|| cell.parse().ok())??;
        TimeZone::UTC.to_timestamp(civil).ok()
    };
    let parsed = cell.parse::<Timestamp>().ok().or_else(|| civil(cell));
    let instant = parsed.ok_or_else(|| Cause::TimeCell { found: found(), unit })?;
    let at_ms = (instant.as_microsecond() + 500).div_euclid(1000);
    if plausible(at_ms) {
        return Ok(at_ms);
    }
    Err(Cause::ImplausibleDate { found: found() })
}

/// Reads the cell of a value. An empty one is no sample; `null` is one that is not a number.
///
/// # Errors
///
/// [`Cause::FormattedValue`] for `85 %`, `1.5 GiB` and `1,234`, [`Cause::Value`] for other text.
pub(super) fn value(cell: &str) -> Result<Option<f64>, Cause> {
    let cell = cell.trim();
    if cell.is_empty() {
        return Ok(None);
    }
    if let Ok(value) = cell.parse() {
        return Ok(Some(value));
    }
    if cell.eq_ignore_ascii_case("null") {
        return Ok(Some(f64::NAN));
    }
    let found = shown(cell.as_bytes());
    Err(if cell.bytes().any(|byte| byte.is_ascii_digit()) {
        Cause::FormattedValue { found }
    } else {
        Cause::Value { found }
    })
}

/// One row: its fields without quotes.
#[derive(Debug, Default)]
pub(super) struct Row {
    line: u64,
    text: String,
    ends: Vec<usize>,
}

impl Row {
    /// The line on which it begins.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Its number of fields.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// A field; empty if there is none.
    pub(super) fn get(&self, column: usize) -> &str {
        let start = column.checked_sub(1).and_then(|before| self.ends.get(before));
        let end = self.ends.get(column).copied().unwrap_or_default();
        self.text
            .get(start.copied().unwrap_or_default()..end)
            .unwrap_or_default()
    }

    /// All fields.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).map(|column| self.get(column))
    }

    /// A fault of this row.
    pub(super) fn fault(&self, cause: Cause) -> ReadError {
        ReadError::at(self.line, 0, cause)
    }
}

/// A table of which one row after another is read.
pub(super) struct Table<'a> {
    lines: Lines<Opened<'a>>,
    cutter: Cutter,
    row: Row,
    columns: usize,
}

impl<'a> Table<'a> {
    /// Opens a table and reads its header, which is then its [`row`](Self::row).
    ///
    /// # Errors
    ///
    /// [`Cause::Empty`], [`Cause::WebPage`], and those of a row.
    pub(super) fn open(input: &'a mut dyn Read) -> Result<Self, ReadError> {
        let mut table = Self {
            lines: Lines::new(open(input)?, MAX_LINE),
            cutter: Cutter::new(b','),
            row: Row::default(),
            columns: 0,
        };
        if !table.cut()? {
            return Err(ReadError::whole(Cause::Empty));
        }
        table.columns = table.row.len();
        Ok(table)
    }

    /// The row that was read last.
    pub(super) fn row(&self) -> &Row {
        &self.row
    }

    /// Reads the next row; false after the last one.
    ///
    /// # Errors
    ///
    /// With the line: [`Cause::FieldCount`], [`Cause::NotText`], [`Cause::Syntax`] after a closing quote,
    /// [`Cause::Truncated`] inside quotes, [`Cause::LineTooLong`], and what reading says.
    pub(super) fn advance(&mut self) -> Result<bool, ReadError> {
        if !self.cut()? {
            return Ok(false);
        }
        let (expected, found) = (self.columns, self.row.len());
        if found == expected {
            return Ok(true);
        }
        Err(self.row.fault(Cause::FieldCount { expected, found }))
    }

    /// Cuts out the next row that is not blank.
    fn cut(&mut self) -> Result<bool, ReadError> {
        let before_header = self.columns == 0;
        self.cutter.start(&mut self.row);
        let mut start = None;
        loop {
            let Some(line) = self.lines.next()? else {
                // Only a row of which a field is still open is left at the end.
                let cut_short = Cause::Truncated { what: "quoted field" };
                return start.map_or(Ok(false), |start| Err(ReadError::at(start, 0, cut_short)));
            };
            let (text, end) = without_end(line);
            if start.is_none() && text.is_empty() {
                continue;
            }
            if let (true, None, Some(said)) = (before_header, start, delimiter(text)) {
                self.cutter.delimiter = said;
                continue;
            }
            let fed = self.cutter.feed(text, end);
            let number = self.lines.number();
            fed.map_err(|cause| ReadError::at(number, 0, cause))?;
            let start = *start.get_or_insert(number);
            if self.cutter.at != At::Quoted {
                self.cutter.finish(start, &mut self.row)?;
                return Ok(true);
            }
        }
    }
}

/// Where in a row the cutter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Before the first byte of a field.
    Start,
    /// In a field without quotes.
    Bare,
    /// Between the quotes of a field.
    Quoted,
    /// After a quote that ends the field or is the first of two.
    Closed,
}

/// A row while it is cut.
struct Cutter {
    delimiter: u8,
    at: At,
    text: Vec<u8>,
    ends: Vec<usize>,
}

impl Cutter {
    fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            at: At::Start,
            text: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Begins a row in the memory of the one before it.
    fn start(&mut self, row: &mut Row) {
        self.at = At::Start;
        self.text = std::mem::take(&mut row.text).into_bytes();
        self.text.clear();
        self.ends = std::mem::take(&mut row.ends);
        self.ends.clear();
    }

    /// Takes one line in. The row goes on with the next one if the cutter is then between quotes.
    fn feed(&mut self, line: &[u8], end: &[u8]) -> Result<(), Cause> {
        if self.at == At::Start && memchr(b'"', line).is_none() {
            self.feed_bare(line);
            return Ok(());
        }
        if self.text.len() + line.len() > MAX_LINE {
            return Err(Cause::LineTooLong { limit: MAX_LINE });
        }
        for (index, &byte) in line.iter().enumerate() {
            self.at = match self.at {
                At::Quoted if byte == b'"' => At::Closed,
                At::Quoted => self.keep(byte, At::Quoted),
                At::Start if byte == b'"' => At::Quoted,
                At::Closed if byte == b'"' => self.keep(byte, At::Quoted),
                _ if byte == self.delimiter => {
                    self.ends.push(self.text.len());
                    At::Start
                }
                At::Start | At::Bare => self.keep(byte, At::Bare),
                At::Closed => {
                    return Err(Cause::Syntax {
                        expected: "the end of the field after its closing quote",
                        found: shown(&line[index..]),
                    });
                }
            };
        }
        if self.at == At::Quoted {
            self.text.extend_from_slice(end);
        } else {
            self.ends.push(self.text.len());
        }
        Ok(())
    }

    /// A row without quotes, which most are.
    fn feed_bare(&mut self, line: &[u8]) {
        let mut start = 0;
        for end in memchr_iter(self.delimiter, line).chain([line.len()]) {
            self.text.extend_from_slice(&line[start..end]);
            self.ends.push(self.text.len());
            start = end + 1;
        }
    }

    fn keep(&mut self, byte: u8, at: At) -> At {
        self.text.push(byte);
        at
    }

    /// Hands the row out.
    fn finish(&mut self, line: u64, row: &mut Row) -> Result<(), ReadError> {
        let text = String::from_utf8(std::mem::take(&mut self.text));
        *row = Row {
            line,
            text: text.map_err(|_| ReadError::at(line, 0, Cause::NotText))?,
            ends: std::mem::take(&mut self.ends),
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The rows of a table, or its error.
    fn rows(bytes: &[u8]) -> Result<Vec<(u64, Vec<String>)>, String> {
        let mut input = bytes;
        let mut table = Table::open(&mut input).map_err(|error| error.to_string())?;
        let mut rows = Vec::new();
        loop {
            let fields = table.row().iter().map(str::to_owned).collect();
            rows.push((table.row().line(), fields));
            if !table.advance().map_err(|error| error.to_string())? {
                return Ok(rows);
            }
        }
    }

    #[test]
    fn rows_keep_their_lines_through_blank_lines_and_line_breaks_in_fields() {
        let wanted = |end: &str| {
            vec![
                (1, vec!["a".to_owned(), "b".to_owned()]),
                (2, vec!["1".to_owned(), "2".to_owned()]),
                (5, vec!["3".to_owned(), format!("x{end}y\"z")]),
                (7, vec!["5".to_owned(), String::new()]),
            ]
        };
        for end in ["\n", "\r\n"] {
            let text = "a,b\n1,2\n\n\n3,\"x\ny\"\"z\"\n5,".replace('\n', end);
            assert_eq!(rows(text.as_bytes()).unwrap(), wanted(end), "{text:?}");
        }
    }

    #[test]
    fn faults_of_the_table_have_their_lines() {
        let check = |text: &[u8], wanted: &str| {
            let error = rows(text).unwrap_err();
            assert!(error.starts_with(wanted), "{error}");
        };
        check(b"", "the recording is empty");
        check(b"sep=,\n", "the recording is empty");
        check(b"a,b\n\n1,2,3\n", "line 3: expected 2 fields, found 3");
        check(b"a,b\r\n1,2\r\n1", "line 3: expected 2 fields, found 1");
        check(b"a,b\n1,\"2\n3,4\n", "line 2: the quoted field ends early");
        check(
            b"a,b\n1,\"2\"3\n",
            "line 2: expected the end of the field after its closing quote, found `3`",
        );
        check(b"a,b\n1,\xff\n", "line 2: this is not UTF-8 text");
    }

    #[test]
    fn the_first_line_may_name_the_delimiter() {
        for (text, wanted) in [
            ("sep=,\r\na,b\r\n", 2),
            ("sep=;\na;b,c\n", 2),
            ("sep=\t\na\tb\tc\n", 3),
            ("a,sep=;\n", 2),
        ] {
            let header = rows(text.as_bytes()).unwrap().remove(0).1;
            assert_eq!(header.len(), wanted, "{text:?}: {header:?}");
        }
    }

    #[test]
    fn times_are_dates_or_numbers() {
        let check = |cell: &str, wanted: Result<i64, &str>| {
            let found = time(cell, TimeUnit::Seconds).map_err(|cause| cause.to_string());
            assert_eq!(found, wanted.map_err(str::to_owned), "{cell}");
        };
        let t = 1_678_723_200_000;
        check("2023-03-13T16:00:00Z", Ok(t));
        check("2023-03-13T16:00:00.1235Z", Ok(t + 124));
        check("2023-03-14 00:00:00+08:00", Ok(t));
        check("2023-03-13 16:00:00", Ok(t));
        check(" 2023-03-13T16:00:00.5 ", Ok(t + 500));
        check("1678723200", Ok(t));
        check("1678723200.25", Ok(t + 250));
        check("", Err("the sample has no timestamp"));
        let no_date =
            |cell: &str| format!("timestamp `{cell}` is no date of ISO 8601 and no number of seconds");
        for cell in [
            "13/03/2023 16:00",
            "2023-03-13 16:00:00 CET",
            "2023-03-13 16:00:00[Asia/Shanghai]",
            "2023-13-01 00:00:00",
            "soon",
        ] {
            check(cell, Err(&no_date(cell)));
        }
        check(
            "1970-01-01T00:00:00Z",
            Err("date `1970-01-01T00:00:00Z` is not between the years 2000 and 2100"),
        );
        let hint = time("1678723200000", TimeUnit::Seconds).unwrap_err().remedy();
        assert_eq!(hint, "say `--timestamps ms` if that is what it is in");
    }

    #[test]
    fn values_written_for_people_are_told_from_others() {
        let number = |cell: &str| value(cell).unwrap();
        assert_eq!(number(" 85.5 "), Some(85.5));
        assert_eq!(number("-1e3"), Some(-1000.0));
        assert_eq!((number(""), number("+Inf")), (None, Some(f64::INFINITY)));
        assert!(number("NaN").unwrap().is_nan() && number("null").unwrap().is_nan());
        for cell in ["85%", "85 %", "1.5 GiB", "1,234", "12 Mil"] {
            let found = cell.to_owned();
            assert_eq!(value(cell), Err(Cause::FormattedValue { found }));
        }
        let found = "idle".to_owned();
        assert_eq!(value("idle"), Err(Cause::Value { found }));
    }

    #[test]
    fn headings_of_times_are_known() {
        for heading in [
            "Time",
            "timestamp",
            "ts",
            "Date",
            "timestamp_ms",
            "Time (UTC)",
            " datetime ",
        ] {
            assert!(is_time(heading), "{heading}");
        }
        for heading in ["", "times", "uptime", "time{a=\"b\"}", "value"] {
            assert!(!is_time(heading), "{heading}");
        }
    }

    proptest! {
        #[test]
        fn rows_are_those_of_the_csv_crate(
            table in prop::collection::vec(prop::collection::vec("[a-c\",\r\n é]{0,4}", 3), 1..6),
        ) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            let header = ["x", "y", "z"];
            writer.write_record(header).unwrap();
            for row in &table {
                writer.write_record(row).unwrap();
            }
            let text = writer.into_inner().unwrap();
            let found: Vec<Vec<String>> = rows(&text).unwrap().into_iter().map(|(_, row)| row).collect();
            prop_assert_eq!(&found[0], &header);
            prop_assert_eq!(&found[1..], &table[..]);
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in "[a,\"\r\n]{0,40}") {
            let _ = rows(bytes.as_bytes());
        }
    }
}
