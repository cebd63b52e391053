//! Which formats there are, and how to tell them apart.

use std::fmt;
use std::io::Read;

use super::metrics::Metrics;
use super::read_error::{Cause, ReadError};
use super::time::shown;
use super::{csv_long, csv_table, csv_wide, query_json, text, tsdb_dump, vm_export};

/// A form in which people hold recorded metrics. Any of them may be packed with gzip or Zstandard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// OpenMetrics text: timestamps in seconds, ends with `# EOF`. The form of gpuscale's own recordings.
    OpenMetrics,
    /// Prometheus text exposition with timestamps in milliseconds.
    Prometheus,
    /// The answer of `/api/v1/query_range` or `/api/v1/query`.
    QueryJson,
    /// What `promtool tsdb dump` prints: `{labels} value milliseconds`.
    TsdbDump,
    /// JSON lines of VictoriaMetrics' `/api/v1/export`.
    VmExport,
    /// One row per time, one column per series: Grafana's "Series joined by time".
    CsvWide,
    /// One row per sample.
    CsvLong,
    /// One row per sample, in Parquet.
    Parquet,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 8] = [
        Self::OpenMetrics,
        Self::Prometheus,
        Self::QueryJson,
        Self::TsdbDump,
        Self::VmExport,
        Self::CsvWide,
        Self::CsvLong,
        Self::Parquet,
    ];

    /// The word for it on the command line and in scenarios.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenMetrics => "openmetrics",
            Self::Prometheus => "prometheus",
            Self::QueryJson => "query-json",
            Self::TsdbDump => "tsdb-dump",
            Self::VmExport => "vm-export",
            Self::CsvWide => "csv-wide",
            Self::CsvLong => "csv-long",
            Self::Parquet => "parquet",
        }
    }

    /// The unit in which the format states times, unless it is told otherwise.
    #[must_use]
    pub const fn time_unit(self) -> TimeUnit {
        match self {
            Self::OpenMetrics | Self::QueryJson | Self::CsvWide | Self::CsvLong => TimeUnit::Seconds,
            Self::Prometheus | Self::TsdbDump | Self::VmExport | Self::Parquet => TimeUnit::Milliseconds,
        }
    }

    /// Tells the format from the beginning of the unpacked bytes; a few kilobytes are enough.
    ///
    /// # Errors
    ///
    /// [`Cause::Empty`], [`Cause::WebPage`] or [`Cause::UnknownFormat`].
    pub fn detect(head: &[u8]) -> Result<Self, ReadError> {
        let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
        if head.starts_with(b"PAR1") {
            return Ok(Self::Parquet);
        }
        let content = head.trim_ascii_start();
        let first = content.split(|&byte| byte == b'\n').next().unwrap_or_default();
        let unknown = || ReadError::whole(Cause::UnknownFormat { found: shown(first) });
        match content.first() {
            None => Err(ReadError::whole(Cause::Empty)),
            Some(b'<') => Err(ReadError::whole(Cause::WebPage { found: shown(first) })),
            Some(b'{') => braces(content).ok_or_else(unknown),
            Some(_) => table(content).or_else(|| exposition(content)).ok_or_else(unknown),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Text that begins with `{`: JSON, a dump, or an exposition with a quoted metric name.
fn braces(content: &[u8]) -> Option<Format> {
    let after = content[1..].trim_ascii_start();
    let key = after.strip_prefix(b"\"").and_then(|rest| {
        let end = rest.iter().position(|&byte| byte == b'"')?;
        let colon = rest[end + 1..].trim_ascii_start().first() == Some(&b':');
        colon.then_some(&rest[..end])
    });
    match key {
        Some(b"metric" | b"values" | b"timestamps") => Some(Format::VmExport),
        Some(_) => Some(Format::QueryJson),
        None if after.first() == Some(&b'"') => exposition(content),
        None => Some(Format::TsdbDump),
    }
}

/// A header of a table: `time` and more, separated by commas or by what a first line `sep=` says.
fn table(content: &[u8]) -> Option<Format> {
    let mut lines = content.split(|&byte| byte == b'\n');
    let mut header = lines.next()?;
    let mut delimiter = ',';
    if let Some(said) = csv_table::delimiter(header) {
        delimiter = char::from(said);
        header = lines.next()?;
    }
    let text = std::str::from_utf8(header).ok()?.trim();
    if text.starts_with('#') || !text.contains(delimiter) {
        return None;
    }
    let names: Vec<&str> = text
        .split(delimiter)
        .map(|cell| cell.trim().trim_matches('"'))
        .collect();
    // The first line of an exposition may have a label such as `time_zone="…"`.
    if !names
        .iter()
        .any(|name| !name.contains('=') && csv_table::is_time(name))
    {
        return None;
    }
    let long = names.iter().any(|name| name.eq_ignore_ascii_case("value"));
    Some(if long { Format::CsvLong } else { Format::CsvWide })
}

/// OpenMetrics and Prometheus text differ in the unit of their timestamps.
///
/// Text that is an exposition but has no timestamp, or a value that is none, is called Prometheus text: its reader
/// can say what is wrong, and where.
fn exposition(content: &[u8]) -> Option<Format> {
    let mut lines = content.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let comment = content.starts_with(b"# ");
    let sample = lines
        .by_ref()
        .find(|line| !line.is_empty() && !line.starts_with(b"#"));
    let Some(sample) = sample else {
        return comment.then_some(Format::OpenMetrics);
    };
    let text = String::from_utf8_lossy(sample);
    let (labels, numbers) = after_series(&text);
    let numbers: Vec<&str> = numbers.split_ascii_whitespace().collect();
    let number = |word: &&str| word.parse::<f64>().is_ok();
    match numbers.as_slice() {
        [value, timestamp, ..] if number(value) && number(timestamp) => {
            let milliseconds = timestamp.len() >= 12 && !timestamp.contains(['.', 'e']);
            Some(if milliseconds {
                Format::Prometheus
            } else {
                Format::OpenMetrics
            })
        }
        [value, ..] if number(value) || comment || labels => Some(Format::Prometheus),
        _ => None,
    }
}

/// Whether a line has labels, and what follows its series.
fn after_series(line: &str) -> (bool, &str) {
    let (mut quoted, mut escaped) = (false, false);
    let end = line.find(|c| {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = quoted,
            '"' => quoted = !quoted,
            _ => {}
        }
        c == '}' && !quoted
    });
    match end {
        Some(brace) => (true, &line[brace + 1..]),
        None => (false, line.split_once([' ', '\t']).map_or("", |(_, rest)| rest)),
    }
}

impl std::str::FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|format| format.as_str() == text);
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|format| format.as_str()).collect();
            format!("no format `{text}`; known are {}", names.join(", "))
        })
    }
}

/// The unit of timestamps that are numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds since 1970, with decimals.
    Seconds,
    /// Milliseconds since 1970.
    Milliseconds,
}

impl TimeUnit {
    /// `s` or `ms`.
    #[must_use]
    pub const fn short(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
        }
    }
}

impl fmt::Display for TimeUnit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seconds => "seconds",
            Self::Milliseconds => "milliseconds",
        })
    }
}

impl std::str::FromStr for TimeUnit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "s" => Ok(Self::Seconds),
            "ms" => Ok(Self::Milliseconds),
            _ => Err(format!("`{text}` is not `s` or `ms`")),
        }
    }
}

/// What a file does not say of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// The unit of numeric timestamps, if it is not that of the format.
    pub timestamps: Option<TimeUnit>,
    /// Tables whose columns are not written as series: the metric that their values are of.
    pub metric: Option<String>,
    /// Wide tables whose columns are not written as series: the label that a column's heading is the value of;
    /// `instance` if not given.
    pub column_label: Option<String>,
}

/// Reads unpacked bytes in the given format.
///
/// Everything is streamed but Parquet, which needs its last bytes first. What is kept is the samples.
///
/// # Errors
///
/// [`ReadError`] with the line, the cause and the remedy. Nothing is guessed and nothing is skipped in silence.
pub fn read(format: Format, input: &mut dyn Read, options: &ReadOptions) -> Result<Metrics, ReadError> {
    match format {
        Format::OpenMetrics | Format::Prometheus => text::read(format, input, options),
        Format::QueryJson => query_json::read(input, options),
        Format::TsdbDump => tsdb_dump::read(input, options),
        Format::VmExport => vm_export::read(input, options),
        Format::CsvWide => csv_wide::read(input, options),
        Format::CsvLong => csv_long::read(input, options),
        #[cfg(feature = "parquet")]
        Format::Parquet => super::parquet::read(input, options),
        #[cfg(not(feature = "parquet"))]
        Format::Parquet => Err(ReadError::whole(Cause::Parquet {
            reason: "this build of gpuscale has no Parquet reader (feature `parquet`)".to_owned(),
        })),
    }
}
