//! Sources of metrics: what answers the control loop's reads.
//!
//! - [`prometheus`]: servers with the Prometheus API.

pub mod prometheus;
