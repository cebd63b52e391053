//! Recordings: what happened, held in a form that a simulation can replay.
//!
//! A recording starts as bytes from somewhere else and ends as plain values on a uniform grid of time. This
//! module is that border. Everything behind it may trust what it gets: values are finite, not negative and
//! bounded, time moves forward, and a file that was cut short, sorted wrongly or written in another unit was
//! refused with the line where it went wrong and what to do about it. A strict reader is kinder than a
//! tolerant one: a recording that is silently half read gives a scorecard that looks right.
//!
//! It opens no files and knows no command line: bytes in, values out. It does not know pools, nodes or
//! policies.
//!
//! Numbers are fixed-point (1e-6 GPU in an `i64`) and times are integer milliseconds, so that a replay gives
//! the same bytes on every machine.

mod bytes;
mod csv_long;
mod csv_table;
mod csv_wide;
mod demand;
mod demand_csv;
mod error;
mod format;
mod labels;
mod lines;
mod long_table;
mod metrics;
mod openmetrics;
mod packed;
#[cfg(feature = "parquet")]
mod parquet;
mod query_json;
mod read_error;
pub mod schema;
mod series_text;
mod text;
mod time;
mod tsdb_dump;
mod vm_export;

pub use demand::{Demand, MAX_DEMAND, MAX_POINTS, MICRO};
pub use error::RecordingError;
pub use format::{Format, ReadOptions, TimeUnit, read};
pub use labels::{Labels, NAME_LABEL};
pub use metrics::{MAX_SAMPLES, MAX_SERIES, Metrics, MetricsBuilder, Samples, Seen, Series, SeriesId, Tally};
pub use openmetrics::OpenMetrics;
pub use packed::unpacked;
pub use read_error::{Cause, Place, ReadError};
#[cfg(feature = "source")]
pub(crate) use text::live_sample;
pub use time::plausible;

/// The demand series of one file, ordered by name.
///
/// A file may hold several series (the virtual clusters of one datacentre, say); a simulation runs one of
/// them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    demands: Vec<Demand>,
}

impl Recording {
    /// Reads a demand CSV: the header `timestamp,series,value,unit`, then one row per change or per interval.
    ///
    /// `timestamp` is unix seconds (UTC), `unit` is `gpus`, and a value holds until the series' next row. The
    /// bytes are plain text or gzip; which of the two is told from their first bytes. Rows of several series
    /// may be mixed, but the times of each must rise.
    ///
    /// # Errors
    ///
    /// [`RecordingError`], with a line number wherever a line is to blame.
    pub fn from_demand_csv(bytes: &[u8]) -> Result<Self, RecordingError> {
        Ok(Self {
            demands: demand_csv::parse(bytes)?,
        })
    }

    /// All series, ordered by name; never empty.
    #[must_use]
    pub fn demands(&self) -> &[Demand] {
        &self.demands
    }

    /// The series called `name`, or the only one if no name is given.
    ///
    /// # Errors
    ///
    /// [`RecordingError::NoSuchSeries`] and [`RecordingError::SeriesNotNamed`], both with the names there
    /// are.
    pub fn demand(&self, name: Option<&str>) -> Result<&Demand, RecordingError> {
        let names = || {
            self.demands
                .iter()
                .map(Demand::name)
                .collect::<Vec<_>>()
                .join(", ")
        };
        match (name, self.demands.as_slice()) {
            (Some(wanted), demands) => {
                demands
                    .iter()
                    .find(|demand| demand.name() == wanted)
                    .ok_or_else(|| RecordingError::NoSuchSeries {
                        wanted: wanted.to_owned(),
                        names: names(),
                    })
            }
            (None, [only]) => Ok(only),
            (None, _) => Err(RecordingError::SeriesNotNamed { names: names() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &[u8] = b"timestamp,series,value,unit\n1700000000,b,1,gpus\n1700000060,b,2,gpus\n\
        1700000000,a,1,gpus\n1700000060,a,2,gpus\n";

    #[test]
    fn a_series_is_selected_by_name_and_the_error_lists_the_names() {
        let recording = Recording::from_demand_csv(TWO).unwrap();
        assert_eq!(recording.demand(Some("b")).unwrap().name(), "b");
        let absent = recording.demand(Some("c")).unwrap_err().to_string();
        assert_eq!(absent, "no series `c` in the recording; it has: a, b");
        let ambiguous = recording.demand(None).unwrap_err().to_string();
        assert_eq!(ambiguous, "the recording has several series; name one of: a, b");
    }

    #[test]
    fn the_only_series_needs_no_name() {
        let bytes = b"timestamp,series,value,unit\n1700000000,a,1,gpus\n1700000060,a,2,gpus\n";
        let recording = Recording::from_demand_csv(bytes).unwrap();
        assert_eq!(recording.demand(None).unwrap().name(), "a");
    }
}
