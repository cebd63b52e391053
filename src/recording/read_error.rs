//! What can be wrong with recorded metrics: where, what, and what to do about it.

use std::fmt;

use super::format::TimeUnit;
use super::metrics::{MAX_SAMPLES, MAX_SERIES};

/// Why a recording of metrics was refused: "line 3, column 17: cause; remedy".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}{cause}; {}", .cause.remedy())]
pub struct ReadError {
    /// Where.
    pub place: Place,
    /// What.
    pub cause: Cause,
}

impl ReadError {
    /// A fault of the recording as a whole.
    #[must_use]
    pub fn whole(cause: Cause) -> Self {
        Self {
            place: Place::Whole,
            cause,
        }
    }

    /// A fault in a line, at a column if it is above 0; both count from 1, columns in bytes.
    #[must_use]
    pub fn at(line: u64, column: usize, cause: Cause) -> Self {
        Self {
            place: Place::Line { line, column },
            cause,
        }
    }
}

/// Where a fault is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// In the recording as a whole.
    Whole,
    /// In a line of text.
    Line {
        /// From 1.
        line: u64,
        /// In bytes, from 1; 0 for the line as a whole.
        column: usize,
    },
    /// In a row of a table without lines.
    Row(u64),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Whole => Ok(()),
            Self::Line { line, column: 0 } => write!(f, "line {line}: "),
            Self::Line { line, column } => write!(f, "line {line}, column {column}: "),
            Self::Row(row) => write!(f, "row {row}: "),
        }
    }
}

/// What is wrong. The text says what was found; [`Cause::remedy`] what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// There are no bytes.
    #[error("the recording is empty")]
    Empty,
    /// There is text but no sample.
    #[error("there is no sample in it")]
    NoSamples,
    /// The first bytes fit no format.
    #[error("the format cannot be told from its first line `{found}`")]
    UnknownFormat {
        /// The beginning of the first line.
        found: String,
    },
    /// An HTML page: what a proxy or a login page answers.
    #[error("this is a web page and not metrics: `{found}`")]
    WebPage {
        /// The beginning of the first line.
        found: String,
    },
    /// Bytes that are not UTF-8 where text is expected.
    #[error("this is not UTF-8 text")]
    NotText,
    /// A line longer than any real one.
    #[error("the line is longer than {limit} bytes")]
    LineTooLong {
        /// The limit.
        limit: usize,
    },
    /// Something else was expected here.
    #[error("expected {expected}, found `{found}`")]
    Syntax {
        /// What was expected.
        expected: &'static str,
        /// What was there.
        found: String,
    },
    /// Something was expected where the line ends.
    #[error("expected {expected}, but the line ends")]
    LineEnds {
        /// What was expected.
        expected: &'static str,
    },
    /// A label that occurs twice in one series.
    #[error("label `{label}` occurs twice")]
    DuplicateLabel {
        /// Its name.
        label: String,
    },
    /// A value that is no number.
    #[error("value `{found}` is not a number")]
    Value {
        /// The text as read.
        found: String,
    },
    /// A timestamp that is no number and no date.
    #[error("timestamp `{found}` is not a number of {unit}")]
    Timestamp {
        /// The text as read.
        found: String,
        /// The unit that was expected.
        unit: TimeUnit,
    },
    /// A sample without a time.
    #[error("the sample has no timestamp")]
    NoTimestamp,
    /// A timestamp outside the years 2000 to 2100.
    #[error("timestamp `{found}` as {unit} is not between the years 2000 and 2100")]
    ImplausibleYear {
        /// The text as read.
        found: String,
        /// The unit in which it was read.
        unit: TimeUnit,
        /// The unit in which it would be plausible, if there is one.
        hint: Option<TimeUnit>,
    },
    /// OpenMetrics text without its last line.
    #[error("the text ends without `# EOF`, so it was cut short")]
    NoEof,
    /// Text after the last line of OpenMetrics.
    #[error("there is text after `# EOF`")]
    AfterEof,
    /// The last line has no end, so nobody knows whether it is whole.
    #[error("the last line has no line end, so it may have been cut short")]
    NoLineEnd,
    /// A compressed stream or a document that ends too early.
    #[error("the {what} ends early, so it was cut short")]
    Truncated {
        /// What ends.
        what: &'static str,
    },
    /// A compressed stream that cannot be unpacked, or a file that cannot be read.
    #[error("cannot read on: {reason}")]
    Unreadable {
        /// What the decoder or the system said.
        reason: String,
    },
    /// Text that is no JSON, or JSON of another shape.
    #[error("{message}")]
    Json {
        /// What the JSON reader said.
        message: String,
    },
    /// The server answered with an error, and the answer was saved.
    #[error("the server answered with an error: {message}")]
    ErrorAnswer {
        /// Its type and text.
        message: String,
    },
    /// The answer says of itself that it is not whole.
    #[error("the answer has warnings, so it may be partial: {warnings}")]
    PartialAnswer {
        /// The warnings.
        warnings: String,
    },
    /// A histogram where a number is expected.
    #[error("`{series}` is a histogram")]
    Histogram {
        /// The series.
        series: String,
    },
    /// A table without the columns that it needs.
    #[error("{problem}")]
    Header {
        /// What is missing or double.
        problem: String,
    },
    /// A row with more or fewer fields than the header.
    #[error("expected {expected} fields, found {found}")]
    FieldCount {
        /// As many as the header has.
        expected: usize,
        /// Fields of the row.
        found: usize,
    },
    /// A Parquet file that cannot be read.
    #[error("cannot read the Parquet file: {reason}")]
    Parquet {
        /// What its reader said.
        reason: String,
    },
    /// An answer that holds no series: a scalar, a text, log lines.
    #[error("the answer is a {found} and not a list of series")]
    ResultType {
        /// Its `resultType`.
        found: String,
    },
    /// Text after a JSON document.
    #[error("there is text after the answer")]
    AfterAnswer,
    /// A string longer than any real label or value.
    #[error("a string is longer than {limit} bytes")]
    StringTooLong {
        /// The limit.
        limit: usize,
    },
    /// A number written for people, with a unit or with separators.
    #[error("value `{found}` is written for people")]
    FormattedValue {
        /// The text as read.
        found: String,
    },
    /// The time of a row in a table that is neither a date nor a number.
    #[error("timestamp `{found}` is no date of ISO 8601 and no number of {unit}")]
    TimeCell {
        /// The text as read.
        found: String,
        /// The unit that a number would be in.
        unit: TimeUnit,
    },
    /// A date outside the years 2000 to 2100.
    #[error("date `{found}` is not between the years 2000 and 2100")]
    ImplausibleDate {
        /// The text as read.
        found: String,
    },
    /// A column that is not written as a series, and no metric was given.
    #[error("nothing says which metric `{heading}` is of")]
    NoMetric {
        /// The heading of the column.
        heading: String,
    },
    /// A demand CSV where metrics are expected.
    #[error("this is a demand recording: its unit is `gpus`")]
    DemandRecording,
    /// A file that has to be held as a whole and is too large for it.
    #[error("the file is larger than {limit} bytes")]
    FileTooLarge {
        /// The limit.
        limit: u64,
    },
    /// More labels in one series than any real one has.
    #[error("a series has more than {limit} labels")]
    TooManyLabels {
        /// The limit.
        limit: usize,
    },
    /// Names and labels of all series together take more than their share of memory.
    #[error("the labels of all series take more than {limit} bytes")]
    LabelsTooLarge {
        /// The limit.
        limit: usize,
    },
    /// A recording that a newer gpuscale wrote.
    #[error("the recording has schema version `{found}`")]
    Version {
        /// The version as read.
        found: String,
    },
    /// More series than [`MAX_SERIES`].
    #[error("there are more than {MAX_SERIES} series")]
    TooManySeries,
    /// More samples than [`MAX_SAMPLES`].
    #[error("there are more than {MAX_SAMPLES} samples")]
    TooManySamples,
}

impl Cause {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> String {
        let fixed = match self {
            Self::Empty | Self::Truncated { .. } | Self::NoEof => "fetch it again",
            Self::NoSamples => "check the query and the time range it was fetched with",
            Self::UnknownFormat { .. } => "name the format with `--recording-format`",
            Self::WebPage { .. } => "fetch it from the Prometheus API itself, with its credentials",
            Self::NotText => "save it as UTF-8, or name its format with `--recording-format`",
            Self::LineTooLong { .. } => "is it one of the known formats? name it with `--recording-format`",
            Self::Syntax { .. } | Self::LineEnds { .. } | Self::Json { .. } | Self::FieldCount { .. } => {
                "correct the line, or fetch the recording again if it was cut short"
            }
            Self::DuplicateLabel { .. } => "keep one of them",
            Self::Value { .. } => "write a decimal number, `NaN`, `+Inf` or `-Inf`",
            Self::Timestamp { .. } => "give every sample the time at which it was taken",
            Self::NoTimestamp => {
                "a recording needs the time of every sample; a page of an exporter has none and cannot be replayed"
            }
            Self::ImplausibleYear { hint: Some(hint), .. } => {
                return format!("say `--timestamps {}` if that is what it is in", hint.short());
            }
            Self::ImplausibleYear { hint: None, .. } => "give unix seconds or milliseconds",
            Self::AfterEof => "keep one exposition per file",
            Self::NoLineEnd => "fetch it again, or end the line if it is whole",
            Self::Unreadable { .. } => "fetch it again",
            Self::ErrorAnswer { .. } => "correct the query and save its answer again",
            Self::PartialAnswer { .. } => "fetch it again when every store answers",
            Self::Histogram { .. } => "query a gauge, or a quantile of the histogram",
            Self::Header { .. } => "see the table of formats in `simulations/README.md`",
            Self::Parquet { .. } => "write it again, uncompressed or with Snappy or Zstandard",
            Self::ResultType { .. } => "query a metric, over a range of time",
            Self::AfterAnswer => "keep one answer per file",
            Self::StringTooLong { .. } => "is it one of the known formats? name it with `--recording-format`",
            Self::FormattedValue { .. } => "export the raw values, in Grafana without `Formatted data`",
            Self::TimeCell { .. } => "write it as `2026-01-31T12:00:00Z`, or as unix time",
            Self::ImplausibleDate { .. } => "correct the date",
            Self::NoMetric { .. } => {
                "give it with `--metric` (and with `--column-label` what the headings are), or write it as \
                 `metric{label=\"value\"}`"
            }
            Self::DemandRecording => "give it as the `recording` of a scenario; it holds no metrics",
            Self::FileTooLarge { .. } => "split it by time, or use a format that is read line by line",
            Self::TooManyLabels { .. } | Self::LabelsTooLarge { .. } => {
                "drop the labels that no policy reads, such as those of pods"
            }
            Self::Version { .. } => "read it with a newer gpuscale",
            Self::TooManySeries => "keep the metrics that a policy reads",
            Self::TooManySamples => "split it by time, or keep the metrics that a policy reads",
        };
        fixed.to_owned()
    }
}
