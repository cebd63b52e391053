//! Whose certificates are trusted, and which one is shown. All are files, and a rotated one counts from the next request.

use std::path::PathBuf;

use reqwest::{Certificate, ClientBuilder, Identity};

use super::credentials::pem;

/// Files with certificates.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// Authorities that are trusted in place of the system's.
    pub authorities: Option<PathBuf>,
    /// The client's certificate, and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// What the files held when a connection pool was made.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Held {
    authorities: Option<Vec<u8>>,
    /// Certificate and key, one after the other.
    identity: Option<Vec<u8>>,
}

/// A key is among them.
impl core::fmt::Debug for Held {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Held")
    }
}

impl TlsFiles {
    /// What they hold now.
    pub(super) fn read(&self) -> Result<Held, String> {
        let identity = self.identity.as_ref().map(|(certificate, key)| {
            let mut both = pem(certificate)?;
            both.push(b'\n');
            both.extend(pem(key)?);
            Ok::<_, String>(both)
        });
        Ok(Held {
            authorities: self.authorities.as_deref().map(pem).transpose()?,
            identity: identity.transpose()?,
        })
    }

    /// A builder that trusts and shows them.
    pub(super) fn apply(&self, held: &Held, mut builder: ClientBuilder) -> Result<ClientBuilder, String> {
        if let (Some(bytes), Some(file)) = (&held.authorities, &self.authorities) {
            let certificates = Certificate::from_pem_bundle(bytes)
                .map_err(|_| format!("{} is no PEM bundle of certificates", file.display()))?;
            if certificates.is_empty() {
                return Err(format!("{} holds no certificate", file.display()));
            }
            builder = builder.tls_certs_only(certificates);
        }
        if let (Some(bytes), Some((certificate, key))) = (&held.identity, &self.identity) {
            let identity = Identity::from_pem(bytes).map_err(|_| {
                let (certificate, key) = (certificate.display(), key.display());
                format!("{certificate} and {key} are no certificate and key in PEM")
            })?;
            builder = builder.identity(identity);
        }
        Ok(builder)
    }
}
