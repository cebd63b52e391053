//! Sources of metrics: what answers the control loop's reads.
//!
//! - [`prometheus`]: servers with the Prometheus API.
//! - `http` (feature `source`): requests to servers that an administrator named.

#[cfg(feature = "source")]
pub mod http;
pub mod prometheus;
