//! A cluster of AKS that is not there, over real HTTP: Azure Resource Manager, nodes that take minutes to boot, their
//! GPUs' exporters, and a Prometheus that has scraped them.
//!
//! It speaks the published contract and is fair by default. Where the reference says nothing, a switch
//! ([`behavior`]) makes it behave either way, and a client has to be right under both. [`fault`] makes requests and
//! operations fail.
//!
//! ```
//! use gpuscale::emulator::message::{Call, Method};
//! use gpuscale::emulator::{Scenario, world::World};
//!
//! let scenario = Scenario::from_yaml(
//!     "bootDelay: 8m
//! pools:
//!   a100: { vmSize: Standard_NC24ads_A100_v4, count: 2, demand: { gpus: 1.5 }, capacity: { availableNodes: 4 } }
//! behavior: { deleteMachinesCount: never, errorDetail: messageOnly }
//! faults:
//!   - { on: putPool, times: 1, effect: lostReply }
//!   - { on: getPool, from: 10m, until: 12m, effect: { answer: { status: 503, retryAfter: 5s } } }
//! background:
//!   - { pool: a100, at: 1h, takes: 20m, kind: upgrading }
//! ",
//! )?;
//! let mut world = World::new(&scenario, 0);
//! let pools = format!("{}/agentPools?api-version=2026-08-01", world.arm().cluster_id());
//! let answer = world.handle(60_000, Call::new(Method::Get, &pools));
//! assert_eq!(answer.reply.body()["value"][0]["properties"]["count"], 2);
//! # Ok::<(), gpuscale::emulator::ScenarioError>(())
//! ```
//!
//! Everything but the server is pure: time comes in as an argument, so that a whole day passes in a test at once. The
//! emulator must not know who asks: nothing here depends on the client.

pub mod arm;
pub mod behavior;
mod cut;
pub mod fault;
pub mod fleet;
pub mod message;
pub mod metrics;
pub mod scenario;
mod server;
pub mod world;

pub use scenario::{Scenario, ScenarioError};
pub use server::{ClockReading, Emulator, Handle, Running, StartError, readings};
