//! gpuscale keeps GPU node pools at the size their GPUs' real work needs.

pub mod api;
pub mod policy;
pub mod recording;
pub mod report;
pub mod simulator;
