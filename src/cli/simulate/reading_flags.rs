//! The flags that say how recordings of metrics are to be read; each replaces what a scenario says.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use gpuscale::recording::{Format, TimeUnit};
use gpuscale::simulator::scenario::{Loop, Reading};

#[derive(Debug, Args)]
pub(in crate::cli) struct ReadingFlags {
    /// Whether what the policy decides has an effect (default closed)
    #[arg(long = "loop", value_enum, help_heading = "Recordings of metrics")]
    r#loop: Option<LoopFlag>,

    /// Format of the recordings, where it is not to be told from their content: `openmetrics`, `prometheus`,
    /// `query-json`, `tsdb-dump`, `vm-export`, `csv-wide`, `csv-long` or `parquet`
    #[arg(long, value_name = "FORMAT", help_heading = "Recordings of metrics")]
    recording_format: Option<Format>,

    /// Unit of timestamps that are numbers, where it is not that of the format: `s` or `ms`
    #[arg(long, value_name = "UNIT", help_heading = "Recordings of metrics")]
    timestamps: Option<TimeUnit>,

    /// Metric that the values of a table are of, where its columns do not say
    #[arg(long, value_name = "NAME", help_heading = "Recordings of metrics")]
    metric: Option<String>,

    /// Label that the headings of a wide table are values of (default `instance`)
    #[arg(long, value_name = "LABEL", help_heading = "Recordings of metrics")]
    column_label: Option<String>,

    /// Recording of a PromQL signal, with one series; may be repeated
    #[arg(long = "signal", value_name = "NAME=FILE", value_parser = signal, help_heading = "Recordings of metrics")]
    signals: Vec<(String, PathBuf)>,

    /// Nodes of the pool, where the recording does not have them; open loop only
    #[arg(long, value_name = "N", help_heading = "Recordings of metrics")]
    nodes: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LoopFlag {
    /// The policy drives a simulated pool: what would it have cost and missed?
    Closed,
    /// The policy is shown what happened: what would it have said?
    Open,
}

fn signal(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.to_owned(), file.into())),
        _ => Err("write NAME=FILE, such as `queue=queue.json`".to_owned()),
    }
}

impl ReadingFlags {
    /// The loop that was asked for, or the one that a scenario says.
    pub(super) fn loop_or(&self, scenario: Loop) -> Loop {
        match self.r#loop {
            Some(LoopFlag::Closed) => Loop::Closed,
            Some(LoopFlag::Open) => Loop::Open,
            None => scenario,
        }
    }

    /// The reading with the flags in place of what it said.
    pub(super) fn applied_to(&self, mut reading: Reading) -> Reading {
        reading.format = self.recording_format.or(reading.format);
        reading.options.timestamps = self.timestamps.or(reading.options.timestamps);
        if self.metric.is_some() {
            reading.options.metric.clone_from(&self.metric);
        }
        if self.column_label.is_some() {
            reading.options.column_label.clone_from(&self.column_label);
        }
        reading.nodes = self.nodes.or(reading.nodes);
        reading
    }

    /// Recordings of signals, relative to the working directory.
    pub(super) fn signals(&self) -> &[(String, PathBuf)] {
        &self.signals
    }
}
