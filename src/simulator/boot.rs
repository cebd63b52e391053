//! How long a node takes from the request to its first work.

use serde::{Deserialize, Serialize};

use crate::policy::config::Millis;

/// Boot delay of a node, without and with randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum BootDelay {
    /// Every node takes this long.
    Constant(Millis),
    /// Each node's delay is drawn uniformly from this range, ends included.
    Uniform {
        /// Shortest.
        min_ms: Millis,
        /// Longest.
        max_ms: Millis,
    },
    /// Each node's delay is drawn from a triangle: most often `mode_ms`, never outside the ends.
    Triangular {
        /// Shortest.
        min_ms: Millis,
        /// Most frequent.
        mode_ms: Millis,
        /// Longest.
        max_ms: Millis,
    },
}
