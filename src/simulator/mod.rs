//! The simulator: recorded demand in, scorecards out.
//!
//! - [`fluid`]: the reference model of a node pool with boot delay.
//! - [`optimum`]: the clairvoyant least cost of a demand, which every result is judged against.
//! - [`scorecard`]: one row per autoscaler, all computed by the same code.
//!
//! Pure: no files, no clock, no randomness of its own, no logging.

pub mod fluid;
pub mod optimum;
pub mod scorecard;
