//! What `promtool tsdb dump` prints: `{__name__="up", instance="a:9400"} 1 1700000000000`.
//!
//! Series by series, times in milliseconds, labels quoted as Go quotes (`%q`). A stale marker is printed as `NaN`.
//! There is neither a comment nor an end mark, so a dump that was cut short after a whole line looks complete.
//!
//! Everything but the frame is in [`text`](super::text), whose grammar this is.

use std::io::Read;

use super::format::{Format, ReadOptions};
use super::lines::{LineEnd, Lines};
use super::metrics::Metrics;
use super::read_error::{Cause, ReadError};
use super::text::{Collector, Dialect, LONGEST_LINE, refuse_page};

/// Reads a dump.
pub(super) fn read(input: &mut dyn Read, options: &ReadOptions) -> Result<Metrics, ReadError> {
    let unit = options.timestamps.unwrap_or(Format::TsdbDump.time_unit());
    let mut collector = Collector::new(Dialect::Dump, unit);
    let mut lines = Lines::new(input, LONGEST_LINE);
    while let Some(line) = lines.next()? {
        if line.text.trim_ascii_start().is_empty() {
            continue;
        }
        refuse_page(&line)?;
        if line.end == LineEnd::Missing {
            return Err(ReadError::at(line.number, 0, Cause::NoLineEnd));
        }
        collector.take(line.number, line.text)?;
    }
    match lines.number() {
        0 => Err(ReadError::whole(Cause::Empty)),
        _ => collector.finish(),
    }
}
