//! OpenMetrics and Prometheus text, strictly and fast.
//!
//! A recording in this form is what `promtool tsdb create-blocks-from openmetrics` takes, and what an exporter
//! writes, with the time of each sample after its value: in seconds for OpenMetrics, which ends with `# EOF`, and in
//! milliseconds for the older format, which does not say where it ends. A sample is a sample: `_bucket`, `_sum` and
//! `_created` lines are ordinary series, types and help texts are not kept, and neither are exemplars.
//!
//! Tolerant readers of this text lose lines in silence: labels with a `}` in them, names with colons, times
//! replaced by now. Here every line is read or refused with its number, and a text that was cut short is refused as
//! well, as far as the format lets it be known: Prometheus text that ends after a whole line looks complete.
//!
//! What makes it fast is in [`known`]: series repeat, so most of a line is compared with one that was checked
//! before, and not parsed again.

mod collect;
mod grammar;
mod known;
#[cfg(test)]
mod tests;
mod value;

use std::io::Read;

pub(super) use collect::Collector;
pub(super) use grammar::Dialect;

#[cfg(feature = "source")]
use super::Labels;
use super::format::{Format, ReadOptions};
use super::lines::{Line, LineEnd, Lines};
use super::metrics::Metrics;
use super::read_error::{Cause, ReadError};
use super::time::shown;

/// The longest line. Real ones have some hundred bytes; what has more is not text of this kind.
pub(super) const LONGEST_LINE: usize = 1 << 20;

/// How far a text has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Nothing but blank lines.
    Begun,
    Reading,
    /// Beyond `# EOF`.
    Ended,
}

/// Reads a text exposition in which every sample has its time.
pub(super) fn read(
    format: Format,
    input: &mut dyn Read,
    options: &ReadOptions,
) -> Result<Metrics, ReadError> {
    let unit = options.timestamps.unwrap_or(format.time_unit());
    let mut collector = Collector::new(Dialect::Exposition, unit);
    let mut lines = Lines::new(input, LONGEST_LINE);
    let mut progress = Progress::Begun;
    while let Some(line) = lines.next()? {
        let at = |cause| ReadError::at(line.number, 0, cause);
        let Some(&first) = line.text.trim_ascii_start().first() else {
            continue;
        };
        match progress {
            Progress::Begun => refuse_page(&line)?,
            Progress::Reading => {}
            Progress::Ended => return Err(at(Cause::AfterEof)),
        }
        progress = Progress::Reading;
        if format == Format::OpenMetrics && line.text == b"# EOF" {
            progress = Progress::Ended;
        } else if line.end == LineEnd::Missing {
            return Err(at(cut_short(format)));
        } else if first != b'#' {
            collector.take(line.number, line.text)?;
        }
    }
    match (lines.number(), format, progress) {
        (0, ..) => Err(ReadError::whole(Cause::Empty)),
        (last, Format::OpenMetrics, Progress::Begun | Progress::Reading) => {
            Err(ReadError::at(last, 0, Cause::NoEof))
        }
        _ => collector.finish(),
    }
}

/// Reads a line of a live exporter's page: a series and its value now.
///
/// # Errors
///
/// What is wrong with it and at which byte, counted from 1; a timestamp is wrong, since the page is not of now then.
#[cfg(feature = "source")]
pub(crate) fn live_sample(line: &[u8]) -> Result<(Labels, f64), String> {
    grammar::live_sample(line).map_err(|fault| format!("byte {}: {}", fault.offset + 1, fault.cause))
}

/// A web page, or nothing: what a proxy answers instead of metrics.
pub(super) fn refuse_page(line: &Line<'_>) -> Result<(), ReadError> {
    let text = line.text.trim_ascii();
    if text.starts_with(b"<") {
        let found = shown(text);
        return Err(ReadError::at(line.number, 0, Cause::WebPage { found }));
    }
    Ok(())
}

/// What the last line without an end means.
fn cut_short(format: Format) -> Cause {
    match format {
        Format::OpenMetrics => Cause::NoEof,
        _ => Cause::NoLineEnd,
    }
}
