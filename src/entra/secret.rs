//! A client secret: of an application that is no managed identity, where there is neither a pod nor a machine of Azure.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, Secret, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use azure_core::http::ClientOptions;
use azure_identity::{ClientSecretCredential, ClientSecretCredentialOptions};

use super::credential::file_of_secret;
use super::error::Failure;

/// Where a client secret is.
#[derive(Clone)]
pub(super) enum Kept {
    /// In a file, which may be replaced.
    File(PathBuf),
    /// In the environment of this process.
    Here(Secret),
}

/// Asks with the secret of that moment: the library's own credential keeps the one that it was made with, and a secret that
/// is renewed would need a restart.
pub(super) struct ClientSecret {
    pub(super) tenant: String,
    pub(super) client: String,
    pub(super) kept: Kept,
    pub(super) options: ClientOptions,
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientSecret")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

impl ClientSecret {
    /// The library's credential with the secret of this moment.
    pub(super) fn now(&self) -> azure_core::Result<Arc<ClientSecretCredential>> {
        let secret = match &self.kept {
            Kept::Here(secret) => secret.clone(),
            Kept::File(path) => {
                let text = file_of_secret(path).map_err(|message| {
                    let path = path.clone();
                    azure_core::Error::new(ErrorKind::Other, Failure::SecretFile { path, message })
                })?;
                Secret::new(text)
            }
        };
        let options = ClientSecretCredentialOptions {
            client_options: self.options.clone(),
        };
        ClientSecretCredential::new(&self.tenant, self.client.clone(), secret, Some(options))
    }
}

#[async_trait]
impl TokenCredential for ClientSecret {
    async fn get_token(
        &self,
        scopes: &[&str],
        options: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        self.now()?.get_token(scopes, options).await
    }
}
