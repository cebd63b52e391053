//! The policy engine: pure, total, deterministic.
//!
//! ```text
//! samples ─► Windows ─► evidence ─► wish ─► limits ─► vetoes ─► guard ─► Evaluation
//! ```
//!
//! Two calls a tick: [`Windows::ingest`] takes new samples in, [`evaluate`](fn@evaluate) decides. Every caller shares them: the
//! control loop, the external scaler, the simulator and the replay of a journal. Time is an argument; there is no
//! clock, no IO, no randomness, no logging and no async in here, and `tests/architecture.rs` keeps it so.
//!
//! In reading order:
//!
//! - [`config`]: what the engine is told.
//! - [`sample`], [`dcgm`]: what a source delivers, as integers.
//! - [`window`]: statistics of a step function as differences of integrals.
//! - `signal_window`, [`windows`]: devices merged into one step function per signal.
//! - [`observation`]: the pool and its surroundings at one tick.
//! - `evidence`, `wish`, [`placement`]: what the signals can be trusted to say, and the size they ask for.
//! - `limits`, `growth`, `shrink`: bounds, growth vetoes, shrink vetoes and the choice of nodes.
//! - [`memory`]: what is remembered between ticks.
//! - [`evaluation`]: the record of one decision; [`checksum`]: what proves that it was made again.

pub mod checksum;
pub mod config;
pub mod dcgm;
mod evaluate;
pub mod evaluation;
mod evidence;
mod fixed;
mod growth;
mod limits;
pub mod memory;
pub mod observation;
pub mod placement;
mod readings;
pub mod sample;
pub mod schedule;
mod shrink;
mod signal_window;
mod track;
pub mod window;
pub mod windows;
mod wish;

pub use config::Config;
pub use evaluate::evaluate;
pub use evaluation::{Decision, Evaluation, Reason};
pub use memory::Memory;
pub use observation::{Now, Observation};
pub(crate) use track::{READS_ZERO, WORKING_POWER};
pub use windows::{Delta, Windows};
