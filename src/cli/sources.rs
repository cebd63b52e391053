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
use gpuscale::source::connect::{Cause, Sources};

/// Sources that are connected to.
pub(super) type Connected = Sources<SystemClock, SystemRandomness>;

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
    #[cfg(feature = "entra")]
    let issuer = ProcessIdentity::new(Environment::from_process(), clock);
    #[cfg(not(feature = "entra"))]
    let issuer = NoIdentity;
    Sources::connect(&alone, clock, &Rc::new(SystemRandomness), &issuer).map_err(|error| error.cause)
}
