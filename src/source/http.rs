//! Requests to servers that an administrator named, and to nobody else.
//!
//! Whoever can make the controller send requests owns a request forger inside the cluster. So addresses come from the
//! administrator's configuration alone, no redirect is followed, no proxy is taken from the environment, and what a name
//! resolves to is looked at when it is dialled: the link-local range and the metadata services of clouds, which hand out
//! credentials, are refused unless the administrator allowed that very address.
//!
//! Every answer has a time limit that includes its body, and is handed on in pieces: whoever reads it counts.

mod dial;
mod failure;

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Response, StatusCode, Url};

use crate::config::Endpoint;
use crate::control::ports::{SourceError, SourceErrorKind};
use crate::policy::config::Millis;

pub use dial::Allowed;
use failure::failed;
pub(crate) use failure::{http_date, retry_after_ms, shown, words};

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
    /// The TLS library cannot be set up.
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
    /// Headers of every request; values of those that are marked sensitive are never shown.
    pub headers: HeaderMap,
}

/// A connection pool to one server.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    headers: HeaderMap,
}

/// The beginning of an answer; its body is to come.
#[derive(Debug)]
pub struct Answer {
    /// The server's clock by its `Date`, to the second.
    pub date_ms: Option<Millis>,
    response: Response,
}

impl Client {
    /// A client for one server; it connects when it is first used.
    ///
    /// # Errors
    /// [`ClientError`] if the address or TLS cannot be used.
    pub fn new(settings: Settings) -> Result<Self, ClientError> {
        let base = base(&settings)?;
        Ok(Self {
            http: connections(&settings.allowed, settings.timeout)?,
            base,
            headers: settings.headers,
        })
    }

    /// Sends a form to `path` below the base address.
    ///
    /// # Errors
    /// [`SourceError`] for whatever is not an answer with status 2xx.
    pub async fn post_form(&self, path: &str, form: String) -> Result<Answer, SourceError> {
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        let request = self.http.post(self.address(path));
        let request = request
            .headers(self.headers.clone())
            .header(CONTENT_TYPE, form_type);
        Self::answer(request.body(form).send().await).await
    }

    /// Asks for `path` below the base address, with parameters in their encoded form.
    ///
    /// # Errors
    /// [`SourceError`] for whatever is not an answer with status 2xx.
    pub async fn get(&self, path: &str, query: &str) -> Result<Answer, SourceError> {
        let mut url = self.address(path);
        url.set_query((!query.is_empty()).then_some(query));
        let request = self.http.get(url).headers(self.headers.clone());
        Self::answer(request.send().await).await
    }

    fn address(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        let joined = format!("{}/{path}", url.path().trim_end_matches('/'));
        url.set_path(&joined);
        url
    }

    async fn answer(sent: Result<Response, reqwest::Error>) -> Result<Answer, SourceError> {
        let response = sent.map_err(|error| failed(&error))?;
        let header = |name: HeaderName| response.headers().get(name)?.to_str().ok();
        let date_ms = header(DATE).and_then(http_date);
        let status = response.status();
        if status.is_success() {
            return Ok(Answer { date_ms, response });
        }
        let wait_ms = header(RETRY_AFTER).and_then(|text| retry_after_ms(text, date_ms));
        let kind = match status {
            StatusCode::TOO_MANY_REQUESTS => SourceErrorKind::Throttled(wait_ms),
            StatusCode::SERVICE_UNAVAILABLE if wait_ms.is_some() => SourceErrorKind::Throttled(wait_ms),
            other => SourceErrorKind::Status(other.as_u16()),
        };
        let mut answer = Answer { date_ms, response };
        let mut body = Vec::new();
        while body.len() < MOST_OF_AN_ERROR {
            match answer.chunk().await {
                Ok(Some(chunk)) => body.extend_from_slice(chunk.as_ref()),
                Ok(None) | Err(_) => break,
            }
        }
        Err(failure::refused(kind, status, &body))
    }
}

impl Answer {
    /// The next piece of the body, unpacked.
    ///
    /// # Errors
    /// [`SourceError`] if the connection breaks, the time is over, or what came is not packed as it says.
    pub async fn chunk(&mut self) -> Result<Option<impl AsRef<[u8]> + use<>>, SourceError> {
        self.response.chunk().await.map_err(|error| failed(&error))
    }
}

/// A connection pool as all requests of ours need it. Literal addresses are not resolved: whoever uses it checks them.
pub(crate) fn connections(allowed: &Allowed, timeout: Duration) -> Result<reqwest::Client, ClientError> {
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
        .build()
        .map_err(|error| ClientError::Tls(words(&error)))
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
    let literal = endpoint.host.parse();
    if let Ok(address) = literal
        && let Err(message) = settings.allowed.check(address)
    {
        return Err(refuse(&settings.url, message));
    }
    Url::parse(&settings.url).map_err(|error| refuse(&settings.url, error.to_string()))
}
