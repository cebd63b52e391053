//! Properties: what the engine promises for every policy and every history, not only for the ones in a story.
//!
//! Each file below holds one promise. Policies come from two places: every shipped fixture that compiles, and
//! [`configs::config`], which makes valid ones at random. Histories are played on the same hand-moved rig that the
//! stories use. The seed is fixed, so that a run is the same on every machine; a failure prints the smallest case.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the helpers of tests may fail as tests do, and their numbers are small"
)]

mod rig;

#[path = "properties/bounds.rs"]
mod bounds;
#[path = "properties/configs.rs"]
mod configs;
#[path = "properties/found.rs"]
mod found;
#[path = "properties/hostile.rs"]
mod hostile;
#[path = "properties/liveness.rs"]
mod liveness;
#[path = "properties/monotone.rs"]
mod monotone;
#[path = "properties/no_data.rs"]
mod no_data;
#[path = "properties/rebuilt.rs"]
mod rebuilt;
#[path = "properties/repeatable.rs"]
mod repeatable;
#[path = "properties/settling.rs"]
mod settling;
#[path = "properties/total.rs"]
mod total;
#[path = "properties/world.rs"]
mod world;
