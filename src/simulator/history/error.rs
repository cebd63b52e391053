//! Why a recording cannot be replayed.

use crate::recording::{MAX_POINTS, RecordingError, schema};

/// Why a recording cannot be replayed through a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// A recording that a newer gpuscale wrote.
    #[error(
        "the recording has schema version `{found}`, and this gpuscale reads version {}; use a newer one",
        schema::VERSION
    )]
    Version {
        /// The version as read.
        found: String,
    },
    /// None of the policy's signals is in the recording.
    #[error(
        "the recording has nothing that the policy reads; it reads {wanted}, and the recording has {has}"
    )]
    NothingRead {
        /// What the policy's signals are read from.
        wanted: String,
        /// Metrics of the recording.
        has: String,
    },
    /// No device is in a node that the inventory lists.
    #[error(
        "the devices are in nodes {devices}, and the inventory (`{}`) lists {inventory}; name nodes alike",
        schema::NODE_GPUS
    )]
    OtherNodes {
        /// Nodes as the devices name them.
        devices: String,
        /// Nodes of the inventory.
        inventory: String,
    },
    /// A series of the pool without a label that it needs.
    #[error("`{series}` needs the label `{label}`{wanted}")]
    Label {
        /// The series.
        series: String,
        /// The label.
        label: &'static str,
        /// What it has to be.
        wanted: &'static str,
    },
    /// A value that cannot be.
    #[error("`{series}` has the value {found}; {wanted}")]
    Value {
        /// The series.
        series: String,
        /// The value.
        found: String,
        /// What it has to be.
        wanted: &'static str,
    },
    /// Fewer samples than one decision needs.
    #[error(
        "the recording is from {first} to {last}, which is less than one interval of {step}; record for longer"
    )]
    TooShort {
        /// Its first sample.
        first: String,
        /// Its last sample.
        last: String,
        /// The interval.
        step: String,
    },
    /// More decisions than anybody waits for; most often one sample with an odd time.
    #[error(
        "from the first sample, {first} ({first_series}), to the last, {last} ({last_series}), there are more than \
         {MAX_POINTS} intervals of {step}; remove the sample whose time is wrong, or use a longer interval"
    )]
    TooLong {
        /// The time of the first sample.
        first: String,
        /// Its series.
        first_series: String,
        /// The time of the last sample.
        last: String,
        /// Its series.
        last_series: String,
        /// The interval.
        step: String,
    },
    /// A series whose labels do not say which device it is of.
    #[error(
        "`{series}` does not say which GPU it is of; it needs the label `UUID`, or `gpu` and one for the node"
    )]
    Unidentified {
        /// The series.
        series: String,
    },
    /// More than one series where there can be one.
    #[error("{what} has several series: {series}; keep the one of the pool")]
    Several {
        /// What they are of.
        what: String,
        /// The series.
        series: String,
    },
    /// The closed loop needs a demand, and no device signal gives one.
    #[error(
        "demand is derived from the utilization of devices, and the policy reads none that is in the recording; run it \
         with `--loop open`, or with a recording of demand"
    )]
    NoUtilization,
    /// A demand that cannot be put on a grid.
    #[error(transparent)]
    Demand(#[from] RecordingError),
}
