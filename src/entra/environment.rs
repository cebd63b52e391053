//! What the platform tells a process about its identity, as a value.

use std::path::PathBuf;

use azure_core::credentials::Secret;

/// What the platform tells a process about its identity.
///
/// Only the address of App Service's identity service is not in it: `azure_identity` reads `IDENTITY_ENDPOINT` and
/// `IDENTITY_HEADER` by itself, and takes them from nowhere else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// `AZURE_TENANT_ID`: the tenant of the identity.
    pub tenant_id: Option<String>,
    /// `AZURE_CLIENT_ID`: the identity of the pod.
    pub client_id: Option<String>,
    /// `AZURE_FEDERATED_TOKEN_FILE`: the pod's own token, which Entra takes for one of its own.
    pub token_file: Option<PathBuf>,
    /// `AZURE_CLIENT_SECRET`: the secret of an application.
    pub client_secret: Option<Secret>,
    /// `AZURE_AUTHORITY_HOST`: where tokens are given out, such as `https://login.microsoftonline.com/`.
    pub authority_host: Option<String>,
    /// Whether this is a pod, by `KUBERNETES_SERVICE_HOST`.
    pub in_cluster: bool,
}

impl Environment {
    /// That of this process.
    #[must_use]
    pub fn from_process() -> Self {
        Self::read(|name| std::env::var(name).ok())
    }

    /// What `variable` says by name. A variable that is empty is one that is not set: templates leave such behind.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable = |name| variable(name).filter(|value| !value.trim().is_empty());
        Self {
            tenant_id: variable("AZURE_TENANT_ID"),
            client_id: variable("AZURE_CLIENT_ID"),
            token_file: variable("AZURE_FEDERATED_TOKEN_FILE").map(PathBuf::from),
            client_secret: variable("AZURE_CLIENT_SECRET").map(Secret::new),
            authority_host: variable("AZURE_AUTHORITY_HOST"),
            in_cluster: variable("KUBERNETES_SERVICE_HOST").is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_is_not_set() {
        let environment = Environment::read(|name| match name {
            "AZURE_TENANT_ID" => Some("tenant".to_owned()),
            "KUBERNETES_SERVICE_HOST" => Some("10.0.0.1".to_owned()),
            _ => Some(" ".to_owned()),
        });
        let expected = Environment {
            tenant_id: Some("tenant".to_owned()),
            in_cluster: true,
            ..Environment::default()
        };
        assert_eq!(environment, expected);
    }
}
