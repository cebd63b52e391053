//! The one table of findings: what each code means, how grave it is, and what to do.
//!
//! Everything that people read about a code comes from here: the severity and the default remedy of a
//! finding, the section that `gpuscale check --explain` prints, and the whole of `deploy/guide/findings.md`.
//! Codes are stable: scripts name them, so a code is never given another meaning, and one that is no longer
//! found is not used again.

pub mod behaviour;
pub mod documents;
pub mod live;
pub mod metrics;
pub mod policy;
pub mod scenarios;
pub mod settings;

use std::fmt;

use serde::{Deserialize, Serialize};

/// How grave a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; often it is meant so.
    Note,
    /// It works, and does not do what its writer most likely wants.
    Warning,
    /// It cannot be used.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// What is said about a code, wherever it is found.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// The code, such as `GS301`.
    pub code: &'static str,
    /// How grave it is.
    pub severity: Severity,
    /// What is wrong, in a few words.
    pub title: &'static str,
    /// Why it matters.
    pub explanation: &'static str,
    /// What to do.
    pub remedy: &'static str,
    /// The smallest YAML that has it.
    pub example: &'static str,
}

/// Defines the entries of one group, and the list of them.
macro_rules! entries {
    ($($(#[$doc:meta])* $name:ident = $code:literal $severity:ident $title:literal:
        $explanation:literal, $remedy:literal, $example:literal;)*) => {
        $(
            $(#[$doc])*
            pub static $name: $crate::check::codes::Entry = $crate::check::codes::Entry {
                code: $code,
                severity: $crate::check::codes::Severity::$severity,
                title: $title,
                explanation: $explanation,
                remedy: $remedy,
                example: $example,
            };
        )*

        /// The entries of this group, by code.
        pub(super) static ALL: &[&$crate::check::codes::Entry] = &[$(&$name),*];
    };
}
use entries;

/// A hundred of codes that belong together.
#[derive(Debug)]
pub struct Group {
    /// What they are about.
    pub title: &'static str,
    /// The entries, by code.
    pub entries: &'static [&'static Entry],
}

/// Every code, in order.
pub static GROUPS: [Group; 7] = [
    Group {
        title: "Documents",
        entries: documents::ALL,
    },
    Group {
        title: "Rules and bounds of a policy",
        entries: policy::ALL,
    },
    Group {
        title: "Metrics and PromQL",
        entries: metrics::ALL,
    },
    Group {
        title: "Behaviour, by simulation",
        entries: behaviour::ALL,
    },
    Group {
        title: "Scenarios and suites",
        entries: scenarios::ALL,
    },
    Group {
        title: "The administrator's configuration",
        entries: settings::ALL,
    },
    Group {
        title: "What the sources answer (`--live`)",
        entries: live::ALL,
    },
];

/// Every entry, by code.
pub fn all() -> impl Iterator<Item = &'static Entry> {
    GROUPS.iter().flat_map(|group| group.entries.iter().copied())
}

/// The entry of a code such as `GS301`, in any case.
#[must_use]
pub fn entry(code: &str) -> Option<&'static Entry> {
    all().find(|entry| entry.code.eq_ignore_ascii_case(code))
}
