//! Errors of the command: what was attempted, with which file, and which exit code it ends with.
//!
//! The library's errors say what is wrong inside a document; this module adds which document it was. The chain is
//! printed one cause per line, so no message repeats its cause.

use std::io;
use std::path::PathBuf;

use gpuscale::api::{ApiError, CompileError};
use gpuscale::journal::ReplayError;
use gpuscale::recording::{ReadError, RecordingError};
use gpuscale::report::gate::GateError;
use gpuscale::simulator::history::HistoryError;
use gpuscale::simulator::scenario::ScenarioError;

/// Exit code for input that cannot be used.
pub(crate) const BAD_INPUT: u8 = 2;
/// Exit code for a gate that failed, for findings of `check`, and for a difference that `replay` found.
pub(crate) const GATE_FAILED: u8 = 3;

/// Why a command ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file that cannot be read.
    #[error("cannot read {what} `{}`", path.display())]
    Open {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// A file that cannot be written.
    #[error("cannot write {what} `{}`", path.display())]
    Write {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// A recording that was refused.
    #[error("cannot use recording `{}`", path.display())]
    Recording { path: PathBuf, source: RecordingError },
    /// A recording of metrics that was refused.
    #[error("cannot use recording `{}`", path.display())]
    Metrics { path: PathBuf, source: ReadError },
    /// A recording of metrics that says nothing to the policy.
    #[error("cannot replay recording `{}`", path.display())]
    History {
        path: PathBuf,
        source: Box<HistoryError>,
    },
    /// A scenario or suite that was refused.
    #[error("cannot use {what} `{}`", path.display())]
    Scenario {
        what: &'static str,
        path: PathBuf,
        source: ScenarioError,
    },
    /// A cluster to emulate that was refused.
    #[cfg(feature = "emulator")]
    #[error("cannot use scenario `{}`", path.display())]
    Emulated {
        path: PathBuf,
        source: gpuscale::emulator::ScenarioError,
    },
    /// An emulator that does not start.
    #[cfg(feature = "emulator")]
    #[error("the emulator does not start")]
    Emulator(#[from] gpuscale::emulator::StartError),
    /// Flags that make no scenario.
    #[error("cannot simulate what the flags describe")]
    Flags(#[from] ScenarioError),
    /// A policy that was refused.
    #[error("cannot use policy {place}")]
    Policy { place: String, source: ApiError },
    /// A policy that the engine cannot be told about.
    #[error("cannot simulate policy {place}")]
    Compile { place: String, source: CompileError },
    /// A saved result that cannot be read.
    #[error("cannot compare with `{}`", path.display())]
    Saved {
        path: PathBuf,
        source: serde_json::Error,
    },
    /// A journal that cannot be replayed at all.
    #[error("cannot replay the journal")]
    Replay(#[from] ReplayError),
    /// A gate that cannot be judged.
    #[error("cannot judge `--fail-if`")]
    Gate(#[from] GateError),
    /// Arguments that do not go together.
    #[error("{0}")]
    Usage(String),
    /// Gates that failed, one line each.
    #[error("{}", .0.join("\n"))]
    Failed(Vec<String>),
    /// Findings of `check`, or a difference of `replay`, that fail it; they are on standard output.
    #[error("there are findings")]
    Findings,
    /// Standard output that cannot be written.
    #[error("cannot write the result")]
    Output(#[from] io::Error),
}

impl Error {
    /// The exit code of the command. A reader that went away is no fault: `head` has seen enough.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Findings => GATE_FAILED,
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => 0,
            _ => BAD_INPUT,
        }
    }
}
