//! Requests to servers that an administrator named, and to nobody else.
//!
//! Whoever can make the controller send requests owns a request forger inside the cluster. So addresses come from the
//! administrator's configuration alone, no redirect is followed, no proxy is taken from the environment, and what a name
//! resolves to is looked at when it is dialled: the link-local range and the metadata services of clouds, which hand out
//! credentials, are refused unless the administrator allowed that very address.
//!
//! Credentials and certificates are files that others rotate, and are read anew for each request.
//!
//! Every answer has a time limit that includes its body, and is handed on in pieces: whoever reads it counts.

mod credentials;
mod dial;
mod failure;
mod tls;

use std::cell::RefCell;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{ClientBuilder, RequestBuilder, Response, StatusCode, Url};

use crate::config::Endpoint;
use crate::control::ports::{SourceError, SourceErrorKind};
use crate::policy::config::Millis;

use credentials::Secrets;
pub use credentials::{Credentials, Tokens};
pub use dial::Allowed;
use failure::failed;
#[cfg(feature = "aks")]
pub(crate) use failure::retry_after_ms;
#[cfg(feature = "entra")]
pub(crate) use failure::shown;
pub(crate) use failure::{http_date, words};
use tls::Held;
pub use tls::TlsFiles;

/// Most of an error's body that is read: it is for a message.
const MOST_OF_AN_ERROR: usize = 16 << 10;

/// Why a client cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// An address that is no URL of a server.
    #[error("the address `{url}` cannot be used: {message}")]
    Address {
        /// The address, without user and password.
        url: String,
        /// What is wrong with it.
        message: String,
    },
    /// A header that cannot be sent.
    #[error("the header `{name}` cannot be sent: {message}")]
    Header {
        /// Its name.
        name: String,
        /// What is wrong with it.
        message: String,
    },
    /// The certificates cannot be used, or the TLS library cannot be set up.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}

/// How a server is reached.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Base address with the path before `/api/v1`.
    pub url: String,
    /// Addresses that would be refused otherwise.
    pub allowed: Allowed,
    /// The longest that a request may take, its body included.
    pub timeout: Duration,
    /// Headers of every request.
    pub headers: HeaderMap,
    /// What lets requests in.
    pub credentials: Credentials,
    /// Certificates.
    pub tls: TlsFiles,
}

impl Settings {
    /// How a server at `url` is reached that needs nothing special.
    #[must_use]
    pub fn new(url: &str, timeout: Duration) -> Self {
        Self {
            url: url.to_owned(),
            allowed: Allowed::default(),
            timeout,
            headers: HeaderMap::new(),
            credentials: Credentials::None,
            tls: TlsFiles::default(),
        }
    }
}

/// A connection pool to one server.
#[derive(Debug)]
pub struct Client {
    base: Url,
    settings: Settings,
    /// The pool, and the certificates that it was made with.
    made: RefCell<(reqwest::Client, Held)>,
}

/// The beginning of an answer; its body is to come.
#[derive(Debug)]
pub struct Answer {
    /// The server's clock by its `Date`, to the second.
    pub date_ms: Option<Millis>,
    secrets: Secrets,
    response: Response,
}

impl Client {
    /// A client for one server; it connects when it is first used.
    ///
    /// # Errors
    /// [`ClientError`] if the address or TLS cannot be used.
    pub fn new(settings: Settings) -> Result<Self, ClientError> {
        let base = base(&settings)?;
        let held = settings.tls.read().map_err(ClientError::Tls)?;
        let http = make(&settings, &held).map_err(ClientError::Tls)?;
        Ok(Self {
            base,
            settings,
            made: RefCell::new((http, held)),
        })
    }

    /// A client for another address that is reached in the same way and shares the connections.
    ///
    /// # Errors
    /// [`ClientError`] if the address cannot be used.
    pub fn beside(&self, url: &str) -> Result<Self, ClientError> {
        let settings = Settings {
            url: url.to_owned(),
            ..self.settings.clone()
        };
        Ok(Self {
            base: base(&settings)?,
            settings,
            made: RefCell::new(self.made.borrow().clone()),
        })
    }

    /// Host and port of the base address; the port is said even where it is the usual one.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = self.base.host_str().unwrap_or_default();
        match self.base.port_or_known_default() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// Sends a form to `path` below the base address.
    ///
    /// # Errors
    /// [`SourceError`] for whatever is not an answer with status 2xx.
    pub async fn post_form(&self, path: &str, form: String) -> Result<Answer, SourceError> {
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        let request = self.http()?.post(self.address(path));
        self.send(request.header(CONTENT_TYPE, form_type).body(form))
            .await
    }

    /// Asks for `path` below the base address, or for that itself if there is none, with parameters in their encoded form.
    ///
    /// # Errors
    /// [`SourceError`] for whatever is not an answer with status 2xx.
    pub async fn get(&self, path: &str, query: &str) -> Result<Answer, SourceError> {
        let mut url = self.address(path);
        url.set_query((!query.is_empty()).then_some(query));
        self.send(self.http()?.get(url)).await
    }

    async fn send(&self, request: RequestBuilder) -> Result<Answer, SourceError> {
        let http = self.http()?;
        let request = request.headers(self.settings.headers.clone());
        // A token may have to be fetched first, which has a limit of its own.
        let adding = self.settings.credentials.add(request);
        let (request, secrets) = tokio::time::timeout(self.settings.timeout, adding)
            .await
            .unwrap_or_else(|_| Err("no token in time".to_owned()))
            .map_err(without_credential)?;
        let request = request.build().map_err(|error| failed(&error))?;
        let secrets = secrets.and_header(request.headers().get(AUTHORIZATION));
        let sent = http.execute(request).await;
        if matches!(&sent, Ok(response) if response.status() == StatusCode::UNAUTHORIZED) {
            self.settings.credentials.refused(&secrets);
        }
        answer(sent, secrets).await
    }

    /// The connection pool, made anew when a certificate was rotated.
    fn http(&self) -> Result<reqwest::Client, SourceError> {
        let mut made = self.made.borrow_mut();
        let held = self.settings.tls.read().map_err(without_credential)?;
        if held != made.1 {
            let http = make(&self.settings, &held).map_err(without_credential)?;
            *made = (http, held);
        }
        Ok(made.0.clone())
    }

    fn address(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        if path.is_empty() {
            return url;
        }
        let joined = format!("{}/{path}", url.path().trim_end_matches('/'));
        url.set_path(&joined);
        url
    }
}

impl Answer {
    /// Words of the server, without what it was sent to let us in.
    #[must_use]
    pub fn hide_secrets(&self, words: String) -> String {
        self.secrets.hide(words)
    }

    /// The next piece of the body, unpacked.
    ///
    /// # Errors
    /// [`SourceError`] if the connection breaks, the time is over, or what came is not packed as it says.
    pub async fn chunk(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, SourceError> {
        self.response.chunk().await.map_err(|error| failed(&error))
    }
}

fn make(settings: &Settings, held: &Held) -> Result<reqwest::Client, String> {
    let builder = settings
        .tls
        .apply(held, builder(&settings.allowed, settings.timeout))?;
    builder.build().map_err(|error| words(&error))
}

/// A connection pool that needs no certificates of its own. Literal addresses are not resolved: whoever uses it checks
/// them.
#[cfg(any(feature = "aks", feature = "entra"))]
pub(crate) fn connections(allowed: &Allowed, timeout: Duration) -> Result<reqwest::Client, ClientError> {
    let builder = builder(allowed, timeout);
    builder.build().map_err(|error| ClientError::Tls(words(&error)))
}

/// A connection pool as all requests of ours need it.
fn builder(allowed: &Allowed, timeout: Duration) -> ClientBuilder {
    // Ring, unless the program chose another provider before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .redirect(Policy::none())
        .no_proxy()
        .referer(false)
        .timeout(timeout)
        .connect_timeout(timeout)
        .pool_max_idle_per_host(8)
        .user_agent(concat!("gpuscale/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(allowed.clone())
}

/// A request that could not be sent for want of what lets it in.
fn without_credential(message: String) -> SourceError {
    SourceError {
        kind: SourceErrorKind::Credential,
        message,
    }
}

async fn answer(sent: Result<Response, reqwest::Error>, secrets: Secrets) -> Result<Answer, SourceError> {
    let response = sent.map_err(|error| failed(&error))?;
    let header = |name: HeaderName| response.headers().get(name)?.to_str().ok();
    let date_ms = header(DATE).and_then(http_date);
    let status = response.status();
    if status.is_success() {
        return Ok(Answer {
            date_ms,
            secrets,
            response,
        });
    }
    let wait_ms = header(RETRY_AFTER).and_then(|text| retry_after_ms(text, date_ms));
    let kind = match status {
        StatusCode::TOO_MANY_REQUESTS => SourceErrorKind::Throttled(wait_ms),
        StatusCode::SERVICE_UNAVAILABLE if wait_ms.is_some() => SourceErrorKind::Throttled(wait_ms),
        other => SourceErrorKind::Status(other.as_u16()),
    };
    let mut answer = Answer {
        date_ms,
        secrets,
        response,
    };
    let mut body = Vec::new();
    while body.len() < MOST_OF_AN_ERROR {
        match answer.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(chunk.as_ref()),
            Ok(None) | Err(_) => break,
        }
    }
    let mut error = failure::refused(kind, status, &body);
    error.message = answer.hide_secrets(error.message);
    Err(error)
}

/// The base address, which has to be one of a server that may be dialled. A literal address is never resolved, so it is
/// looked at here.
fn base(settings: &Settings) -> Result<Url, ClientError> {
    let refuse = |url: &str, message: String| ClientError::Address {
        url: url.to_owned(),
        message,
    };
    let endpoint = Endpoint::parse(&settings.url).map_err(|error| refuse("…", error.to_string()))?;
    if endpoint.has_user {
        let message = "it has a user name or password; use `basicAuth`".to_owned();
        return Err(refuse(&endpoint.host, message));
    }
    let url = Url::parse(&settings.url).map_err(|error| refuse(&settings.url, error.to_string()))?;
    // As it will be dialled: an address may be written as one number, in hexadecimal, or with a dot at its end.
    let host = url.host_str().unwrap_or_default();
    let literal = host.trim_start_matches('[').trim_end_matches(']').parse();
    if let Ok(address) = literal
        && let Err(message) = settings.allowed.check(address)
    {
        return Err(refuse(&settings.url, message));
    }
    Ok(url)
}
