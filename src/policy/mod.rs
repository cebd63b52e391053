//! The policy engine: pure, total, deterministic.

pub mod config;
pub mod dcgm;
pub mod sample;
pub mod schedule;

pub use config::Config;
