//! The pods world: demand as whole-GPU pods that are placed on nodes by name and do not move.

use super::closed_loop::{Outcome, Setup, Watch, fluid};

/// Runs a policy in the pods world.
pub fn run(setup: &Setup<'_>, watch: &mut impl Watch) -> Outcome {
    fluid(setup, watch)
}
