//! Requests to Azure Resource Manager.
//!
//! The address is the administrator's or the cloud's; an address that an answer names is followed only where it is of the same
//! server, since a token goes along. Plain HTTP is spoken to this machine alone, and without a token.

use std::rc::Rc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, DATE, HeaderName, HeaderValue, IF_MATCH, LOCATION, RETRY_AFTER};
use reqwest::{Method, Response, StatusCode, Url};

use crate::config::{Endpoint, Reach};
use crate::control::ports::{PoolError, PoolErrorKind};
use crate::policy::config::Millis;
use crate::source::http::{Allowed, ClientError, Tokens, connections, http_date, retry_after_ms, words};

use super::agent_pool::Purchase;
use super::failure::{self, Effect};

/// Where the progress of an operation is told.
const ASYNC_OPERATION: HeaderName = HeaderName::from_static("azure-asyncoperation");

/// Largest answer that is read, in bytes. A list of a thousand machines has some hundreds of kilobytes.
const LARGEST: usize = 8 << 20;

/// Largest part of an error that is read, in bytes.
const LARGEST_ERROR: usize = 256 << 10;

/// Azure Resource Manager at one address.
pub(super) struct Arm {
    http: reqwest::Client,
    base: Url,
    /// `None` for plain HTTP.
    tokens: Option<Rc<dyn Tokens>>,
    timeout: Duration,
}

impl std::fmt::Debug for Arm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Arm({})", self.base)
    }
}

/// A request.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) url: Url,
    /// Of the version that was seen; only a pool that is still that one is changed.
    pub(super) etag: Option<String>,
    pub(super) body: Option<String>,
    pub(super) purchase: Purchase,
}

impl Request {
    pub(super) fn get(url: Url, purchase: Purchase) -> Self {
        Self {
            method: Method::GET,
            url,
            etag: None,
            body: None,
            purchase,
        }
    }

    fn effect(&self) -> Effect {
        if self.method == Method::GET {
            Effect::Reads
        } else {
            Effect::Writes
        }
    }
}

/// An answer with a status of success.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Where to ask for the progress of what was begun.
    pub(super) operation: Option<String>,
    pub(super) retry_after_ms: Option<Millis>,
    /// Empty if what was asked for has happened and the rest of the answer was lost.
    pub(super) body: String,
}

impl Arm {
    pub(super) fn new(
        url: &str,
        tokens: Option<Rc<dyn Tokens>>,
        timeout: Duration,
    ) -> Result<Self, ClientError> {
        let refuse = |message: String| ClientError::Address {
            url: url.to_owned(),
            message,
        };
        let endpoint = Endpoint::parse(url).map_err(|error| refuse(error.to_string()))?;
        if endpoint.has_user {
            return Err(ClientError::Address {
                url: endpoint.host,
                message: "it has a user name or password, which nobody asks for there".to_owned(),
            });
        }
        if !endpoint.encrypted && endpoint.reach() != Reach::Loopback {
            return Err(refuse(
                "plain HTTP is for this machine alone; use https".to_owned(),
            ));
        }
        let allowed = Allowed::default();
        if let Ok(address) = endpoint.host.parse() {
            allowed.check(address).map_err(refuse)?;
        }
        Ok(Self {
            http: connections(&allowed, timeout)?,
            base: Url::parse(url).map_err(|error| refuse(error.to_string()))?,
            tokens: tokens.filter(|_| endpoint.encrypted),
            timeout,
        })
    }

    /// The address of a resource. The parts of the path are names and need no escapes but those that `Url` makes.
    pub(super) fn address(&self, path: &str, api_version: &str) -> Url {
        let mut url = self.base.clone();
        let joined = format!("{}/{path}", url.path().trim_end_matches('/'));
        url.set_path(&joined);
        url.query_pairs_mut().append_pair("api-version", api_version);
        url
    }

    /// An address that the service named, if it is one of its own.
    pub(super) fn own(&self, address: &str) -> Option<Url> {
        let url = Url::parse(address).ok()?;
        let (host, base) = (url.host_str()?, self.base.host_str()?);
        let below = host.strip_suffix(base).is_some_and(|rest| rest.ends_with('.'));
        let same = url.scheme() == self.base.scheme()
            && (host == base || below)
            && url.port_or_known_default() == self.base.port_or_known_default()
            && url.username().is_empty()
            && url.password().is_none();
        same.then_some(url)
    }

    /// Sends a request once.
    pub(super) async fn send(&self, request: Request) -> Result<Reply, PoolError> {
        let (effect, purchase) = (request.effect(), request.purchase);
        let mut building = self.http.request(request.method, request.url);
        if let Some(etag) = &request.etag {
            let quoted = if etag.ends_with('"') {
                etag.clone()
            } else {
                format!("\"{etag}\"")
            };
            let value = HeaderValue::try_from(quoted).map_err(|_| {
                here(
                    PoolErrorKind::BadRequest,
                    "EtagUnusable",
                    "the pool's eTag has characters that no header can carry",
                )
            })?;
            building = building.header(IF_MATCH, value);
        }
        if let Some(body) = request.body {
            building = building
                .header(CONTENT_TYPE, HeaderValue::from_static("application/json"))
                .body(body);
        }
        let token = self.token().await?;
        if let Some(token) = &token {
            building = building.bearer_auth(token);
        }
        let response = building.send().await.map_err(|error| unanswered(&error))?;
        if let (StatusCode::UNAUTHORIZED, Some(tokens), Some(token)) =
            (response.status(), &self.tokens, &token)
        {
            tokens.refused(token);
        }
        let hide = |text: String| match &token {
            Some(token) => text.replace(token.as_str(), "[hidden]"),
            None => text,
        };
        self.reply(response, effect, purchase)
            .await
            .map_err(|error| PoolError {
                code: hide(error.code),
                message: hide(error.message),
                kind: error.kind,
            })
    }

    async fn token(&self) -> Result<Option<String>, PoolError> {
        let Some(tokens) = &self.tokens else {
            return Ok(None);
        };
        let token = tokio::time::timeout(self.timeout, tokens.token()).await;
        let token = token.unwrap_or_else(|_| Err("no token in time".to_owned()));
        token
            .map(Some)
            .map_err(|message| here(PoolErrorKind::Auth, "NoToken", &message))
    }

    async fn reply(
        &self,
        mut response: Response,
        effect: Effect,
        purchase: Purchase,
    ) -> Result<Reply, PoolError> {
        let status = response.status().as_u16();
        let header = |name: HeaderName| response.headers().get(name)?.to_str().ok();
        let date_ms = header(DATE).and_then(http_date);
        let retry_after_ms = header(RETRY_AFTER).and_then(|text| retry_after_ms(text, date_ms));
        let named = [ASYNC_OPERATION, LOCATION].into_iter().find_map(header);
        let operation = named.and_then(|address| {
            let own = self.own(address);
            if own.is_none() {
                // Not the address itself: it may be anything.
                tracing::warn!(
                    "an operation is said to be at another server, where no token is sent; the pool will tell"
                );
            }
            own.map(String::from)
        });
        let is_success = response.status().is_success();
        let largest = if is_success { LARGEST } else { LARGEST_ERROR };
        let body = read(&mut response, largest).await;
        if !is_success {
            let body = String::from_utf8_lossy(&body.unwrap_or_else(|part| part.0)).into_owned();
            return Err(failure::of_answer(
                status,
                &body,
                retry_after_ms,
                effect,
                purchase,
            ));
        }
        let body = match (body, effect) {
            (Ok(body), _) => String::from_utf8(body).unwrap_or_default(),
            // The status says that it happened.
            (Err(_), Effect::Writes) => String::new(),
            (Err(Broken(_, why)), Effect::Reads) => return Err(here(PoolErrorKind::NoAnswer, "Cut", &why)),
        };
        Ok(Reply {
            status,
            operation,
            retry_after_ms,
            body,
        })
    }
}

/// What was read of a body that cannot be read whole, and why not.
struct Broken(Vec<u8>, String);

async fn read(response: &mut Response, largest: usize) -> Result<Vec<u8>, Broken> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if body.len() + chunk.len() > largest => {
                let why = format!("the answer has more than {largest} bytes");
                return Err(Broken(body, why));
            }
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return Err(Broken(body, words(&error))),
        }
    }
}

/// A request without an answer. One that found nobody to send it to did nothing.
fn unanswered(error: &reqwest::Error) -> PoolError {
    let (kind, code) = if error.is_connect() || error.is_builder() {
        (PoolErrorKind::Unavailable, "Unreachable")
    } else if error.is_timeout() {
        (PoolErrorKind::NoAnswer, "Timeout")
    } else {
        (PoolErrorKind::NoAnswer, "ConnectionLost")
    };
    here(kind, code, &words(error))
}

/// An error that was found here and not said by the service.
pub(super) fn here(kind: PoolErrorKind, code: &str, message: &str) -> PoolError {
    PoolError {
        kind,
        code: code.to_owned(),
        message: message.to_owned(),
    }
}
