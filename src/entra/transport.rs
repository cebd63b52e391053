//! How requests for tokens are sent: by the same HTTP as all others, in bounded time, with words for what goes wrong.
//!
//! What is tried again is decided here and not by the pipeline above, which would wait in threads of its own and for as long
//! as a server asks it to. A failure leaves here in a form that the pipeline hands on as it is.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use azure_core::error::ErrorKind;
use azure_core::http::headers::Headers;
use azure_core::http::{AsyncRawResponse, Body, HttpClient, Method, Request, StatusCode};
use reqwest::header::{DATE, HOST, HeaderName, HeaderValue, RETRY_AFTER};
use reqwest::{Response, Url};
use serde::Deserialize;

use crate::source::http::{Allowed, ClientError, connections, http_date, retry_after_ms, shown, words};

use super::error::Failure;

/// Where machines of Azure ask for their identity.
const METADATA: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));

/// Requests for one token at most: the control loop asks again soon.
const TRIES: u32 = 4;

/// Time before the second request; it quadruples.
const FIRST_DELAY: Duration = Duration::from_millis(250);

/// Most of an answer that is read: tokens are a few KiB.
const LARGEST: usize = 256 << 10;

/// The shortest part of a secret that is looked for in what a server says.
const TELLING: usize = 8;

/// Who is asked for tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Giver {
    /// An authority on the network.
    Authority,
    /// The metadata service of the machine, at its fixed address.
    Machine,
}

/// Sends requests for tokens.
#[derive(Debug)]
pub(super) struct Transport {
    http: reqwest::Client,
    allowed: Allowed,
    giver: Giver,
    limit: Duration,
    /// Where requests go in place of the server that they name.
    stand_in: Option<SocketAddr>,
}

/// One request that got no token.
struct Setback {
    failure: Failure,
    again: bool,
}

impl Transport {
    /// A transport whose requests take `limit` at most, with all that is tried again.
    pub(super) fn new(
        giver: Giver,
        limit: Duration,
        stand_in: Option<SocketAddr>,
    ) -> Result<Self, ClientError> {
        let allowed = match giver {
            Giver::Authority => Allowed::default(),
            Giver::Machine => Allowed::new(&[METADATA]),
        };
        Ok(Self {
            // A server that does not answer leaves time for another request, which may meet another one.
            http: connections(&allowed, limit / 3)?,
            allowed,
            giver,
            limit,
            stand_in,
        })
    }

    async fn send(&self, request: &Request) -> Result<Vec<u8>, Failure> {
        let question = self.question(request)?;
        let mut last = None;
        let tries = async {
            let mut delay = FIRST_DELAY;
            for left in (0..TRIES).rev() {
                let setback = match self.once(&question).await {
                    Ok(body) => return Ok(body),
                    Err(setback) => setback,
                };
                let wait = setback.wait().unwrap_or(delay);
                if left == 0 || !setback.again || wait >= self.limit {
                    return Err(setback.failure);
                }
                last = Some(Box::new(setback.failure));
                tokio::time::sleep(wait).await;
                delay *= 4;
            }
            Err(question.malformed("no request was sent"))
        };
        match tokio::time::timeout(self.limit, tries).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Timeout {
                limit: self.limit,
                last,
            }),
        }
    }

    /// The request as it is sent.
    fn question(&self, request: &Request) -> Result<Question, Failure> {
        let host = request.url().host_str().unwrap_or_default().to_owned();
        let refuse = |message: &str| Failure::Unreachable {
            host: host.clone(),
            message: message.to_owned(),
        };
        self.check(request.url()).map_err(|message| refuse(&message))?;
        let mut url = request.url().clone();
        let name = HeaderValue::from_str(&host).map_err(|_| refuse("its name cannot be sent"))?;
        if let Some(address) = self.stand_in {
            divert(&mut url, address).map_err(|()| refuse("its address cannot be replaced"))?;
        }
        let Body::Bytes(body) = request.body() else {
            return Err(refuse("a request for a token has no stream"));
        };
        let method = match request.method() {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            _ => return Err(refuse("a request for a token is GET or POST")),
        };
        let mut sent = reqwest::Request::new(method, url);
        for (name, value) in request.headers().iter() {
            let (Ok(name), Ok(value)) = (
                HeaderName::from_bytes(name.as_str().as_bytes()),
                HeaderValue::from_str(value.as_str()),
            ) else {
                return Err(refuse("a header cannot be sent"));
            };
            sent.headers_mut().insert(name, value);
        }
        if self.stand_in.is_some() {
            sent.headers_mut().insert(HOST, name);
        }
        let secrets = secrets(request, body);
        *sent.body_mut() = Some(body.clone().into());
        Ok(Question { sent, host, secrets })
    }

    /// Whether a server may be asked. Names are looked at when they are resolved; literal addresses never are.
    fn check(&self, url: &Url) -> Result<(), String> {
        let host = url.host_str().unwrap_or_default();
        let literal = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        if let Some(address) = literal {
            self.allowed
                .check(address)
                .map_err(|_| "tokens are not asked for at such an address".to_owned())?;
        }
        let near = host == "localhost"
            || literal.is_some_and(|address| {
                address.is_loopback() || (self.giver == Giver::Machine && address == METADATA)
            });
        if url.scheme() != "https" && !near {
            return Err("it is asked without encryption; use `https`".to_owned());
        }
        Ok(())
    }

    async fn once(&self, question: &Question) -> Result<Vec<u8>, Setback> {
        let Some(request) = question.sent.try_clone() else {
            return Err(Setback {
                failure: question.malformed("the request cannot be repeated"),
                again: false,
            });
        };
        let response = match self.http.execute(request).await {
            Ok(response) => response,
            Err(error) => return Err(question.broken(&error)),
        };
        let status = response.status();
        let header = |name: HeaderName| response.headers().get(name)?.to_str().ok();
        let date_ms = header(DATE).and_then(http_date);
        let wait_ms = header(RETRY_AFTER).and_then(|text| retry_after_ms(text, date_ms));
        let body = question.body(response).await?;
        if status.is_success() {
            return Ok(body);
        }
        // The metadata service says so while it starts, and while an identity that was just assigned is on its way.
        let starting = self.giver == Giver::Machine && matches!(status.as_u16(), 404 | 410);
        Err(Setback {
            again: starting || matches!(status.as_u16(), 408 | 429 | 500..),
            failure: Failure::Refused {
                host: question.host.clone(),
                status: status.as_u16(),
                message: question.said(&body),
                wait_ms,
            },
        })
    }
}

#[async_trait]
impl HttpClient for Transport {
    async fn execute_request(&self, request: &Request) -> azure_core::Result<AsyncRawResponse> {
        match self.send(request).await {
            Ok(body) => Ok(AsyncRawResponse::from_bytes(StatusCode::Ok, Headers::new(), body)),
            // Of a kind that nobody above tries again.
            Err(failure) => Err(azure_core::Error::new(ErrorKind::Other, failure)),
        }
    }
}

/// Sends a request elsewhere, in plain HTTP.
fn divert(url: &mut Url, address: SocketAddr) -> Result<(), ()> {
    url.set_scheme("http")?;
    url.set_ip_host(address.ip())?;
    url.set_port(Some(address.port()))
}

/// What of a request nobody is to read, should a server say it back: the assertion with its parts, the secret of an
/// application as it is and as it was sent, and the header with which a machine knows its own processes.
fn secrets(request: &Request, body: &[u8]) -> Vec<String> {
    let mut secrets: Vec<String> = Vec::new();
    let mut form = request.url().clone();
    form.set_query(std::str::from_utf8(body).ok());
    for (_, assertion) in form.query_pairs().filter(|(name, _)| name == "client_assertion") {
        secrets.push(assertion.clone().into_owned());
        secrets.extend(assertion.split('.').map(str::to_owned));
    }
    for (_, secret) in form.query_pairs().filter(|(name, _)| name == "client_secret") {
        secrets.push(secret.into_owned());
    }
    let parts = std::str::from_utf8(body).unwrap_or_default().split('&');
    secrets.extend(parts.filter_map(|part| part.strip_prefix("client_secret=").map(str::to_owned)));
    let headers = request.headers().iter();
    let keys = headers.filter(|(name, _)| name.as_str().eq_ignore_ascii_case("x-identity-header"));
    secrets.extend(keys.map(|(_, value)| value.as_str().to_owned()));
    secrets.retain(|secret| secret.len() >= TELLING);
    secrets
}

/// A request and what is needed to talk about its answer.
struct Question {
    sent: reqwest::Request,
    host: String,
    secrets: Vec<String>,
}

impl Question {
    fn malformed(&self, message: &str) -> Failure {
        Failure::Malformed {
            host: self.host.clone(),
            message: message.to_owned(),
        }
    }

    /// A connection that was not made or broke.
    fn broken(&self, error: &reqwest::Error) -> Setback {
        let message = if error.is_timeout() {
            "no answer in time".to_owned()
        } else {
            words(error)
        };
        let failure = if error.is_body() || error.is_decode() {
            self.malformed(&message)
        } else {
            Failure::Unreachable {
                host: self.host.clone(),
                message,
            }
        };
        Setback { failure, again: true }
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, Setback> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.broken(&error))? {
            body.extend_from_slice(&chunk);
            if body.len() > LARGEST {
                let message = format!("it is larger than {} KiB", LARGEST >> 10);
                return Err(Setback {
                    failure: self.malformed(&message),
                    again: false,
                });
            }
        }
        Ok(body)
    }

    /// What a refusal says, on one line, without what the request said.
    fn said(&self, body: &[u8]) -> String {
        #[derive(Deserialize)]
        struct Said {
            error: String,
            #[serde(default)]
            error_description: String,
        }
        let text = match serde_json::from_slice::<Said>(body) {
            Ok(said) if said.error_description.is_empty() => said.error,
            Ok(said) => said.error_description,
            Err(_) if body.is_empty() => return "nothing".to_owned(),
            Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
        };
        let hidden = self
            .secrets
            .iter()
            .fold(text, |text, secret| text.replace(secret, "…"));
        shown(&hidden)
    }
}

impl Setback {
    fn wait(&self) -> Option<Duration> {
        match self.failure {
            Failure::Refused { wait_ms, .. } => wait_ms
                .and_then(|ms| u64::try_from(ms).ok())
                .map(Duration::from_millis),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metadata_service_is_open_to_the_identity_of_the_machine_alone() {
        let check = |giver, url: &str| {
            let transport = Transport::new(giver, Duration::from_secs(1), None).unwrap();
            transport.check(&Url::parse(url).unwrap())
        };
        let metadata = "http://169.254.169.254/metadata/identity/oauth2/token";
        assert_eq!(check(Giver::Machine, metadata), Ok(()));
        assert_eq!(check(Giver::Machine, "http://127.0.0.1:42356/msi/token"), Ok(()));
        assert_eq!(
            check(Giver::Authority, "https://login.microsoftonline.com/t"),
            Ok(())
        );
        for (giver, url) in [
            (Giver::Authority, metadata),
            (Giver::Authority, "https://169.254.169.254/t"),
            (Giver::Authority, "https://[::ffff:169.254.169.254]/t"),
            (Giver::Authority, "https://168.63.129.16/t"),
            (Giver::Authority, "http://login.microsoftonline.com/t"),
            (Giver::Machine, "http://169.254.169.253/t"),
            (Giver::Machine, "http://10.0.0.4/t"),
        ] {
            assert!(check(giver, url).is_err(), "{url}");
        }
    }
}
