//! `gpuscale crd`.

use super::output;
use crate::error::Error;

/// Prints the custom resource definition.
pub(super) fn run() -> Result<(), Error> {
    let yaml = gpuscale::api::crd_yaml().map_err(|source| Error::Policy {
        place: "definition".to_owned(),
        source,
    })?;
    output::print(&yaml)
}
