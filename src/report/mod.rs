//! Reports: what people, scripts and later runs read of a simulation or a decision.
//!
//! - [`figures`]: the list of all figures of a scorecard; every key, heading and rounding is written there once.
//! - [`json`]: the result document, which is also what a later run compares itself with.
//! - [`quality`]: one policy over a suite of traces, as geometric means.
//! - [`sweep`]: many runs as medians and percentiles.
//! - [`advice`]: what a policy said to a history.
//! - [`replay`]: what became of the decisions of a journal when they were made again.
//! - [`compare`]: the difference between two result documents.
//! - [`gate`]: expressions such as `miss_percent > 0.5` that fail a build.
//! - [`html`]: a run as one page: charts over time, decisions with their reasons, scorecard.
//! - [`sentence`]: what a scorecard says, in words.
//! - `table`: the scorecard for a terminal (feature `cli`).
//! - [`trace`]: every decision as one JSON line.
//! - [`mod@explain`]: one evaluation in plain words.
//!
//! Pure: values in, text out. Nothing here computes a figure or a decision again, writes to a terminal, or knows
//! where its text goes.

pub mod advice;
pub mod compare;
pub mod explain;
pub mod figures;
pub mod gate;
pub mod html;
pub mod json;
pub mod quality;
pub mod replay;
pub mod sentence;
pub mod sweep;
#[cfg(feature = "cli")]
pub mod table;
pub mod trace;

pub use explain::explain;
