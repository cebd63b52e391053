//! What can be wrong with a recording.

use super::{MAX_DEMAND, MAX_POINTS, MICRO};

/// Why a recording was refused. The text says where, what was found and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// There was nothing in the file.
    #[error("the recording is empty; expected the header `timestamp,series,value,unit`")]
    Empty,
    /// The first line is not the header of a demand CSV.
    #[error("line 1: expected the header `timestamp,series,value,unit`, found `{found}`")]
    Header {
        /// The first line as read.
        found: String,
    },
    /// A header and no rows.
    #[error("the recording has a header and no rows; at least two rows of a series are needed")]
    NoRows,
    /// A row with more or fewer than four fields.
    #[error(
        "line {line}: expected 4 fields, found {found}; if this is the last line, the file was cut short"
    )]
    FieldCount {
        /// Line number, from 1.
        line: u64,
        /// Fields found.
        found: usize,
    },
    /// A timestamp that is not a whole number.
    #[error("line {line}: timestamp `{found}` is not a whole number of unix seconds")]
    Timestamp {
        /// Line number, from 1.
        line: u64,
        /// The field as read.
        found: String,
    },
    /// A timestamp outside the years 2000 to 2100.
    #[error("line {line}: timestamp {seconds} is not between the years 2000 and 2100; {hint}")]
    ImplausibleYear {
        /// Line number, from 1.
        line: u64,
        /// The timestamp as read.
        seconds: i64,
        /// What it probably is.
        hint: &'static str,
    },
    /// A timestamp that occurs twice in a series.
    #[error("line {line}: timestamp {seconds} of series `{series}` was there before; keep one row per time")]
    DuplicateTime {
        /// Line number, from 1.
        line: u64,
        /// The series.
        series: String,
        /// The timestamp as read.
        seconds: i64,
    },
    /// Times of a series that do not rise.
    #[error(
        "line {line}: series `{series}` goes back in time, from {previous} to {seconds}; \
         sort the rows by time"
    )]
    Disorder {
        /// Line number, from 1.
        line: u64,
        /// The series.
        series: String,
        /// The time of the row before.
        previous: i64,
        /// The timestamp as read.
        seconds: i64,
    },
    /// A row without a series name.
    #[error("line {line}: the series has no name")]
    UnnamedSeries {
        /// Line number, from 1.
        line: u64,
    },
    /// A value that is not a number, not finite, negative, or more than a datacentre could hold.
    #[error("line {line}: value `{found}` is not a number of GPUs between 0 and {}", MAX_DEMAND / MICRO)]
    Value {
        /// Line number, from 1.
        line: u64,
        /// The field as read.
        found: String,
    },
    /// A unit other than `gpus`.
    #[error("line {line}: unknown unit `{found}`; demand is given in `gpus`")]
    Unit {
        /// Line number, from 1.
        line: u64,
        /// The field as read.
        found: String,
    },
    /// A gzip stream that ends before its checksum.
    #[error("the gzip data ends early, after line {line}; the file was cut short, fetch it again")]
    Truncated {
        /// The last line that could be read.
        line: u64,
    },
    /// Bytes that are neither CSV nor gzip.
    #[error("cannot read on after line {line}: {reason}")]
    Unreadable {
        /// The last line that could be read.
        line: u64,
        /// What the decoder said.
        reason: String,
    },
    /// One row: how long it holds cannot be known.
    #[error("series `{series}` has one row; at least two are needed to know its interval")]
    SingleRow {
        /// The series.
        series: String,
    },
    /// A grid that would not fit in memory.
    #[error(
        "series `{series}` needs {points} points on a grid of {step_ms} ms, more than {MAX_POINTS}; \
         align its timestamps or split it"
    )]
    TooLong {
        /// The series.
        series: String,
        /// Points needed.
        points: u128,
        /// The grid's interval in milliseconds.
        step_ms: i64,
    },
    /// An interval of zero or less, or values that are out of bounds, given by code and not by a file.
    #[error("series `{series}` cannot be put on a grid: {reason}")]
    Grid {
        /// The series.
        series: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A scale that is not a finite number above zero.
    #[error("cannot scale demand by `{factor}`; give a finite number above 0")]
    Scale {
        /// The factor as given.
        factor: String,
    },
    /// The series asked for is not in the recording.
    #[error("no series `{wanted}` in the recording; it has: {names}")]
    NoSuchSeries {
        /// The name asked for.
        wanted: String,
        /// The names there are.
        names: String,
    },
    /// No series was named and there are several.
    #[error("the recording has several series; name one of: {names}")]
    SeriesNotNamed {
        /// The names there are.
        names: String,
    },
}
