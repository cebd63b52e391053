//! The world: pools of GPU nodes with a demand on them, their exporters and the server that scrapes them, and the
//! platform that owns the pools. In virtual time, in memory, from a seed.

pub mod arm;
pub mod arm_checks;
pub mod checks;
pub mod demand;
pub mod fleet;
pub mod prometheus;
pub mod store;
pub mod whole;
