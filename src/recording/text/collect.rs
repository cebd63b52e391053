//! Samples from lines: the quick way for lines as all others, the careful way for the rest.
//!
//! The quick way takes a line whose series is known and after which come a value and a timestamp with one blank
//! between them. It never finds a fault: whatever it does not take, `grammar` reads, and only that
//! decides what is wrong with a line. Both give the same samples.

use super::grammar::{self, Dialect};
use super::known::{Found, Known};
use super::value;
use crate::recording::metrics::{Metrics, MetricsBuilder, SeriesId};
use crate::recording::read_error::ReadError;
use crate::recording::{TimeUnit, time};

/// Collects the samples of a text.
pub(in crate::recording) struct Collector {
    dialect: Dialect,
    unit: TimeUnit,
    known: Known,
    builder: MetricsBuilder,
}

impl Collector {
    /// Nothing yet; timestamps will be in `unit`.
    pub(in crate::recording) fn new(dialect: Dialect, unit: TimeUnit) -> Self {
        Self {
            dialect,
            unit,
            known: Known::default(),
            builder: MetricsBuilder::new(),
        }
    }

    /// Takes the sample in line `number`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, at that line and the column of the fault; more series or samples than are held.
    #[inline]
    pub(in crate::recording) fn take(&mut self, number: u64, line: &[u8]) -> Result<(), ReadError> {
        let (series, at_ms, value) = match self.quickly(line) {
            Some((found, at_ms, value)) => {
                self.known.follow(found);
                (found.series, at_ms, value)
            }
            None => self.carefully(number, line)?,
        };
        let pushed = self.builder.push(series, at_ms, value, number);
        pushed.map_err(|cause| ReadError::at(number, 0, cause))
    }

    #[inline]
    fn quickly(&self, line: &[u8]) -> Option<(Found, i64, f64)> {
        let found = self.known.find(line)?;
        let rest = line.get(found.end + 1..)?;
        let blank = rest.iter().position(|&byte| byte == b' ')?;
        let value = value::parse(&rest[..blank])?;
        let at_ms = time::parse(&rest[blank + 1..], self.unit).ok()?;
        Some((found, at_ms, value))
    }

    #[cold]
    fn carefully(&mut self, number: u64, line: &[u8]) -> Result<(SeriesId, i64, f64), ReadError> {
        let sample = grammar::sample(line, self.dialect, self.unit)
            .map_err(|fault| ReadError::at(number, fault.offset + 1, fault.cause))?;
        let series = self.builder.series(sample.labels);
        let series = series.map_err(|cause| ReadError::at(number, 0, cause))?;
        self.known.learn(&line[..sample.labels_end], series);
        Ok((series, sample.at_ms, sample.value))
    }

    /// What was collected.
    ///
    /// # Errors
    ///
    /// There was no sample.
    pub(in crate::recording) fn finish(self) -> Result<Metrics, ReadError> {
        let Self { known, builder, .. } = self;
        drop(known);
        builder.finish().map_err(ReadError::whole)
    }
}
