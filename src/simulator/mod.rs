//! The simulator: recorded demand in, scorecards out.
//!
//! - [`fluid`]: the reference model of a node pool with boot delay.
//! - [`optimum`]: the clairvoyant least cost of a demand, which every result is judged against.
//! - [`hpa`]: the Horizontal Pod Autoscaler, exactly.
//! - [`peers`]: the autoscalers that a policy has to beat, and the loop that drives them.
//! - [`scenario`], [`scenario_run`], [`scenario_suite`]: a stated pool, policy and demand, and the rows it
//!   comes to.
//! - [`closed_loop`], [`pods`]: the policy engine in the fluid world and in a world of pods that do not move,
//!   with [`boot`] delays and [`fault`]s.
//! - [`history`]: a recording of metrics as a policy would have met it.
//! - [`open_loop`]: what a policy would have said to it.
//! - [`scorecard`]: one row per autoscaler, all computed by the same code.
//!
//! Pure: no files, no clock, no randomness of its own, no logging.

pub mod boot;
pub mod closed_loop;
pub mod fault;
pub mod fluid;
pub mod history;
pub mod hpa;
pub mod open_loop;
pub mod optimum;
pub mod peers;
pub mod pods;
pub mod scenario;
pub mod scenario_run;
pub mod scenario_suite;
pub mod scorecard;
