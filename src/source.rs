//! Sources of metrics: what answers the control loop's reads.
//!
//! - [`prometheus`]: servers with the Prometheus API.
//! - `dcgm` (feature `source`): exporters themselves, with a memory of their pages.
//! - [`retry`]: who is asked again, and who is left alone. [`coalesce`]: one question for many policies.
//! - [`record`]: what a policy reads, taken from a source slice by slice.
//! - `connect` (feature `source`): the sources of a configuration, by name.
//! - `http` (feature `source`): requests to servers that an administrator named.

pub mod coalesce;
#[cfg(feature = "source")]
pub mod connect;
#[cfg(feature = "source")]
pub mod dcgm;
#[cfg(feature = "source")]
pub mod http;
pub mod prometheus;
pub mod record;
mod remembered;
pub mod retry;
#[cfg(test)]
mod tests;
