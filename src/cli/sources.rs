//! The metrics sources of a configuration, as this process reaches them.

use std::collections::BTreeMap;
use std::rc::Rc;

use gpuscale::api::text::Name;
use gpuscale::clock::{SystemClock, SystemRandomness};
use gpuscale::config::{Config, MetricsSource};
#[cfg(feature = "entra")]
use gpuscale::entra::Environment;
#[cfg(not(feature = "entra"))]
use gpuscale::source::connect::NoIdentity;
#[cfg(feature = "entra")]
use gpuscale::source::connect::ProcessIdentity;
use gpuscale::source::connect::{Cause, ConnectError, Sources};

/// Sources that are connected to.
pub(super) type Connected = Sources<SystemClock, SystemRandomness>;

/// What issues tokens to this process.
#[cfg(feature = "entra")]
pub(super) type TokenIssuer = ProcessIdentity<SystemClock>;
/// What issues tokens to this process: nobody.
#[cfg(not(feature = "entra"))]
pub(super) type TokenIssuer = NoIdentity;

/// What issues tokens to this process.
#[cfg(feature = "entra")]
pub(super) fn issuer(clock: &Rc<SystemClock>) -> TokenIssuer {
    ProcessIdentity::new(Environment::from_process(), clock)
}

/// What issues tokens to this process: nobody.
#[cfg(not(feature = "entra"))]
pub(super) fn issuer(_: &Rc<SystemClock>) -> TokenIssuer {
    NoIdentity
}

/// All sources of a configuration.
pub(super) fn connect(
    config: &Config,
    clock: &Rc<SystemClock>,
    randomness: &Rc<SystemRandomness>,
) -> Result<Connected, ConnectError> {
    Sources::connect(config, clock, randomness, &issuer(clock))
}

/// One source alone: another one that cannot be connected to is no reason not to ask this one.
pub(super) fn alone(
    name: &Name,
    source: &MetricsSource,
    clock: &Rc<SystemClock>,
) -> Result<Connected, Cause> {
    let alone = Config {
        metrics_sources: BTreeMap::from([(name.clone(), source.clone())]),
        ..Config::default()
    };
    connect(&alone, clock, &Rc::new(SystemRandomness)).map_err(|error| error.cause)
}
