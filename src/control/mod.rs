//! The control loop: reads metrics, decides, resizes, remembers, over ports.
//!
//! There is one loop for `run`, `controller` and every test. It knows no socket, no file and no runtime: what it needs
//! of the world are the traits of [`ports`].

pub mod deadline;
pub mod gate;
pub mod intake;
pub mod ownership;
mod policy;
pub mod ports;
pub mod roster;
pub mod state;
pub mod throttle;
pub mod turnstile;

use std::marker::PhantomData;

use crate::journal::Sink;
use crate::policy::evaluation::Evaluation;
use crate::policy::observation::{Freeze, Now};

pub use policy::{Mode, Policy, PolicyError};
use ports::{PolicyKey, PoolKey, Ports};

/// What the administrator set for all policies.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The longest that one call of a port may take.
    pub call_timeout_ms: i64,
    /// The longest that one tick of a policy may take, from the first read to the answer to its resize.
    pub tick_timeout_ms: i64,
    /// Ticks at a time.
    pub concurrency: usize,
    /// Memory is saved at least this often while it changes.
    pub save_every_ms: i64,
    /// How long an orderly shutdown may take.
    pub grace_ms: i64,
    /// The largest size of any pool.
    pub max_nodes: Option<u32>,
    /// Whether a platform may choose which nodes leave.
    pub platform_chooses: PlatformChooses,
    /// Stops all changes.
    pub freeze: Freeze,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            call_timeout_ms: 10_000,
            tick_timeout_ms: 60_000,
            concurrency: 64,
            save_every_ms: 60_000,
            grace_ms: 20_000,
            max_nodes: None,
            platform_chooses: PlatformChooses::Refused,
            freeze: Freeze::Off,
        }
    }
}

/// Whether a platform may choose which nodes leave: `limits.allowPlatformChooses`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PlatformChooses {
    /// It may not: pods are not seen there.
    #[default]
    Refused,
    /// It may, where every device was idle over the whole window.
    Allowed,
}

/// What the loop tells whoever wants to know: status, Events, logs, metrics, tests.
pub trait Watch {
    /// A tick of a policy is over.
    fn tick(&self, tick: &Ticked<'_>);

    /// Something was done, or could not be.
    fn action(&self, action: &Action<'_>);

    /// Where the journal of a policy goes. Called when the policy is first seen; `None` keeps none.
    fn journal(&self, policy: &PolicyKey) -> Option<Box<dyn Sink>>;
}

/// A tick of a policy.
#[derive(Debug, Clone, Copy)]
pub struct Ticked<'a> {
    /// The policy.
    pub policy: &'a PolicyKey,
    /// The clocks at its end.
    pub now: Now,
    /// What came of it.
    pub result: TickResult<'a>,
}

/// What came of a tick.
#[derive(Debug, Clone, Copy)]
pub enum TickResult<'a> {
    /// A decision.
    Decided(&'a Evaluation),
    /// None, since something that is needed could not be had: the reason as a `CamelCase` word, and the words.
    Held {
        /// Such as `PoolUnreadable`, `StateUnreadable`, `ClusterNotSynced`.
        reason: &'static str,
        /// What was attempted and what came back.
        message: &'a str,
    },
    /// It took too long and was cut off.
    TimedOut,
    /// It panicked; the words of the panic.
    Panicked(&'a str),
}

/// Something that the loop did.
#[derive(Debug, Clone, Copy)]
pub struct Action<'a> {
    /// The policy.
    pub policy: &'a PolicyKey,
    /// The pool.
    pub pool: &'a PoolKey,
    /// The clocks.
    pub now: Now,
    /// Count before.
    pub from: u32,
    /// Count asked for.
    pub to: u32,
    /// `sending`, `accepted`, `succeeded`, `recommended`, or the reason why not.
    pub what: &'a str,
    /// More about it.
    pub message: &'a str,
}

/// The control loop.
#[derive(Debug)]
pub struct Controller<P, W> {
    _ports: PhantomData<P>,
    _watch: PhantomData<W>,
}

impl<P: Ports, W: Watch> Controller<P, W> {
    /// A loop without policies.
    #[must_use]
    pub fn new(_ports: P, _watch: W, _settings: Settings) -> Self {
        Self {
            _ports: PhantomData,
            _watch: PhantomData,
        }
    }

    /// Takes these policies in place of those it had. One that is gone is released: its pool stays as it is. One
    /// that changed goes on with its memory and fresh windows.
    pub fn set_policies(&self, _policies: Vec<Policy>) {}

    /// Stops or releases all changes of all policies.
    pub fn set_freeze(&self, _freeze: Freeze) {}

    /// Asks the loop to end: no new decision, what is being sent is finished and saved.
    pub fn stop(&self) {}

    /// Runs until [`Controller::stop`] was called.
    pub async fn run(&self) {}
}
