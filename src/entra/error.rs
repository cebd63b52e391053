//! Why there is no token: what was tried, what came back, and what to do about it. Never a token, an assertion or a secret.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::control::ports::{SourceError, SourceErrorKind};
use crate::policy::config::Millis;
use crate::source::http::ClientError;

/// Why there is no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntraError {
    /// Workload identity without one of the variables that it needs.
    #[error(
        "workload identity needs `{variable}`, which is not set; label the pod `azure.workload.identity/use: \"true\"` \
         and annotate its service account with `azure.workload.identity/client-id`"
    )]
    Missing {
        /// The environment variable.
        variable: &'static str,
    },
    /// A setting that cannot be used.
    #[error("{setting} cannot be used: {message}")]
    Setting {
        /// Which one, in words.
        setting: &'static str,
        /// What is wrong with it.
        message: String,
    },
    /// The HTTP client cannot be made.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// None of the identities that may be used got a token.
    #[error("no token of Microsoft Entra: {}", listed(.tried))]
    NoToken {
        /// What was tried, in this order; at least one.
        tried: Vec<Tried>,
    },
}

/// An identity that got no token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Which identity, in words.
    pub identity: String,
    /// What happened.
    pub failure: Failure,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "by {}: {}", self.identity, self.failure)
    }
}

fn listed(tried: &[Tried]) -> String {
    let words: Vec<String> = tried.iter().map(Tried::to_string).collect();
    words.join("; ")
}

/// Why an identity got no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The pod's own token cannot be read.
    #[error("cannot read the pod's token `{}`: {message}", path.display())]
    TokenFile {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        message: String,
    },
    /// The file with the secret of an application cannot be read.
    #[error("cannot read the client secret `{}`: {message}", path.display())]
    SecretFile {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        message: String,
    },
    /// No connection.
    #[error("cannot reach {host}: {message}{}", hint(host))]
    Unreachable {
        /// Who was asked.
        host: String,
        /// Why not.
        message: String,
    },
    /// An answer that is a refusal.
    #[error("{host} answered {status}: {message}{}", advice(message))]
    Refused {
        /// Who was asked.
        host: String,
        /// The HTTP status.
        status: u16,
        /// What was said, with its code such as `AADSTS70021`.
        message: String,
        /// How long to wait, in ms, if that was said.
        wait_ms: Option<Millis>,
    },
    /// An answer that is neither a token nor a refusal.
    #[error("{host} answered with what is no token: {message}")]
    Malformed {
        /// Who was asked.
        host: String,
        /// What is wrong with it.
        message: String,
    },
    /// Not within the time that it may take.
    #[error("no token within {:.1} s{}", limit.as_secs_f64(), before(last.as_deref()))]
    Timeout {
        /// The time that it may take.
        limit: Duration,
        /// What went wrong before the time was over.
        last: Option<Box<Self>>,
    },
    /// The command line of Azure gave none.
    #[error("`az account get-access-token` failed: {message}")]
    AzureCli {
        /// What it said.
        message: String,
    },
}

/// The metadata service is asked at an address that network policies like to close.
fn hint(host: &str) -> &'static str {
    if host == "169.254.169.254" {
        "; managed identity needs a machine of Azure, and network policies that leave this address open"
    } else {
        ""
    }
}

fn before(last: Option<&Failure>) -> String {
    last.map_or_else(
        || "; is the address open to this pod?".to_owned(),
        |last| format!("; before that, {last}"),
    )
}

/// What to do about the refusals that a wrong setup brings about.
fn advice(message: &str) -> String {
    let Some(code) = aadsts(message) else {
        return String::new();
    };
    let advice = match code {
        "70021" | "700211" | "700212" | "700213" | "70025" => {
            "the identity needs a federated credential whose issuer is this cluster's, whose subject is \
             `system:serviceaccount:<namespace>:<service account>` and whose audience is `api://AzureADTokenExchange`"
        }
        "700016" => "no such client id in this tenant; look at `clientId` and AZURE_TENANT_ID",
        "90002" => "no such tenant in this cloud; look at AZURE_TENANT_ID and the cloud",
        "500011" | "70011" | "1002012" => {
            "nobody is known by this audience; look at `audience` and the cloud"
        }
        "700024" => "the pod's token has expired or is not valid yet; is the node's clock right?",
        _ => return String::new(),
    };
    format!(" ({advice})")
}

/// The number of the code with which a message of Entra begins.
fn aadsts(message: &str) -> Option<&str> {
    let digits = message.strip_prefix("AADSTS")?;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end)
}

impl EntraError {
    /// The word for metrics and logs.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::Setting { .. } | Self::Client(_) => "setting",
            Self::NoToken { .. } => self.kind().as_str(),
        }
    }

    /// Whether the same may work a moment later, without anybody changing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Missing { .. } | Self::Setting { .. } | Self::Client(_) => false,
            Self::NoToken { tried } => tried.iter().any(|tried| tried.failure.is_transient()),
        }
    }

    /// The kind of failure of a source that cannot be asked without the token: that of the identity tried first, which is
    /// the one that was meant.
    fn kind(&self) -> SourceErrorKind {
        match self {
            Self::NoToken { tried } => tried
                .first()
                .map_or(SourceErrorKind::Unreachable, |tried| tried.failure.kind()),
            _ => SourceErrorKind::Unreachable,
        }
    }
}

impl From<&EntraError> for SourceError {
    fn from(error: &EntraError) -> Self {
        Self {
            kind: error.kind(),
            message: error.to_string(),
        }
    }
}

impl Failure {
    fn is_transient(&self) -> bool {
        match self {
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..),
            // The file may be mounted a moment later, or be in the middle of its rotation.
            Self::TokenFile { .. }
            | Self::SecretFile { .. }
            | Self::Unreachable { .. }
            | Self::Timeout { .. }
            | Self::Malformed { .. } => true,
            Self::AzureCli { .. } => false,
        }
    }

    fn kind(&self) -> SourceErrorKind {
        match self {
            Self::Timeout { .. } => SourceErrorKind::Timeout,
            Self::Malformed { .. } => SourceErrorKind::Malformed,
            Self::Refused {
                status: 429, wait_ms, ..
            } => SourceErrorKind::Throttled(*wait_ms),
            Self::Refused { status, .. } => SourceErrorKind::Status(*status),
            Self::TokenFile { .. }
            | Self::SecretFile { .. }
            | Self::Unreachable { .. }
            | Self::AzureCli { .. } => SourceErrorKind::Unreachable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_what_to_do() {
        for (message, words) in [
            (
                "AADSTS70021: No matching federated identity record found",
                "federated credential",
            ),
            ("AADSTS700016: Application not found", "clientId"),
            ("AADSTS500011: The resource principal was not found", "audience"),
        ] {
            assert!(advice(message).contains(words), "{message}");
        }
        for message in ["AADSTS1: What is new", "Identity not found", "AADSTS"] {
            assert_eq!(advice(message), "", "{message}");
        }
    }
}
