//! Tokens of Microsoft Entra, for whatever of Azure is asked on behalf of a policy.
//!
//! `azure_identity` speaks the protocols; what is here is which identity is used, by which HTTP, for how long one is waited
//! for, and what is said when there is none:
//!
//! - the order of identities ([`Identity`]), which never falls back to one that has other rights than the pod was given;
//! - one token for each [`Entra`], kept until shortly before it ends and asked for once however many wait for it;
//! - while a token is still good, a new one that cannot be had is no failure;
//! - requests by the same HTTP as those for metrics: no proxies, no redirects, no link-local addresses but the one where a
//!   machine asks for its own identity.
//!
//! No error and no `Debug` here shows a token, the pod's own token, or a secret.

mod credential;
mod environment;
mod error;
mod secret;
mod transport;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use azure_core::credentials::AccessToken;
use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, Shared, WeakShared};
use reqwest::header::HeaderValue;

use crate::config::{self, Cloud};
use crate::control::ports::Clock;
use crate::policy::config::Millis;

use credential::{Candidate, candidates};
pub use environment::Environment;
pub use error::{EntraError, Failure, Tried};

/// How long before its end a token is replaced. Half of its life if that is less.
const EARLY_MS: Millis = 5 * 60_000;

/// The end of a token's life in which it is no longer handed out: a request with it takes time as well.
const LATE_MS: Millis = 5_000;

/// How long a token is used in peace after a new one could not be had.
const PEACE_MS: Millis = 30_000;

/// How long a token is kept though a server refuses it: one that refuses every token is not a reason to ask for one each time.
const KEPT_MS: Millis = 60_000;

/// The longest that a token may take, by default: the time between two evaluations, since the loop waits for it.
const LIMIT: Duration = Duration::from_secs(30);

/// Which identity asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Identity {
    /// By what is found, the first of these: the client secret that the configuration names; workload identity, if the pod
    /// has a federated token; the client secret of the environment; the managed identity of the machine; and then, but not
    /// in a cluster, the login of the Azure CLI.
    #[default]
    Found,
    /// The federated token of the pod.
    Workload,
    /// The managed identity of the machine.
    Managed,
    /// The login of the Azure CLI.
    AzureCli,
    /// The secret of an application.
    Secret,
}

/// Which token is wanted, and from whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Which identity asks.
    pub identity: Identity,
    /// Client id of that identity; that of the pod where it is not given.
    pub client_id: Option<String>,
    /// File with the secret of that application, read for each token.
    pub client_secret_file: Option<PathBuf>,
    /// Tenant of that application; that of the environment where it is not given.
    pub tenant_id: Option<String>,
    /// What the token is for, such as `https://prometheus.monitor.azure.com/.default`.
    pub scope: String,
    /// Whose authority is asked, unless the platform names one.
    pub cloud: Cloud,
    /// The longest that a token may take, whatever is tried again. Default 30 s.
    pub limit: Duration,
    /// Where all requests go in place of the servers that they name, in plain HTTP: an emulator on this machine. Any address
    /// but a loopback one is refused.
    pub stand_in: Option<SocketAddr>,
}

impl Settings {
    /// A token for `audience`, by whatever identity is found.
    #[must_use]
    pub fn new(audience: &str, cloud: Cloud) -> Self {
        let scope = if audience.ends_with("/.default") {
            audience.to_owned()
        } else {
            format!("{}/.default", audience.trim_end_matches('/'))
        };
        Self {
            identity: Identity::default(),
            client_id: None,
            client_secret_file: None,
            tenant_id: None,
            scope,
            cloud,
            limit: LIMIT,
            stand_in: None,
        }
    }

    /// A token for a source of metrics as it is configured.
    #[must_use]
    pub fn of_source(entra: &config::Entra, cloud: Cloud) -> Self {
        let audience = entra.audience.as_deref().unwrap_or(metrics_audience(cloud));
        Self {
            client_id: entra.client_id.clone(),
            client_secret_file: entra.client_secret_file.as_ref().map(PathBuf::from),
            tenant_id: entra.tenant_id.clone(),
            ..Self::new(audience, cloud)
        }
    }
}

/// The audience of Azure Monitor workspaces.
#[must_use]
pub fn metrics_audience(cloud: Cloud) -> &'static str {
    match cloud {
        Cloud::Public => "https://prometheus.monitor.azure.com",
        Cloud::UsGovernment => "https://prometheus.monitor.azure.us",
        Cloud::China => "https://prometheus.monitor.azure.cn",
    }
}

/// Hands out tokens for one scope. Clones share them.
pub struct Entra<C>(Rc<Inner<C>>);

struct Inner<C> {
    clock: Rc<C>,
    scope: String,
    limit: Duration,
    settings: Settings,
    environment: Environment,
    candidates: RefCell<Rc<[Candidate]>>,
    /// The candidate that got a token: from then on it is the only one, so that a bad moment changes no identity.
    settled: Cell<Option<usize>>,
    state: RefCell<State>,
}

type Flight = LocalBoxFuture<'static, Result<Held, EntraError>>;

#[derive(Default)]
struct State {
    held: Option<Held>,
    /// The request on its way, as long as anybody waits for it.
    flight: Option<WeakShared<Flight>>,
    /// Until when a token that should be replaced is used in peace, by the timer.
    peace_until_ms: Millis,
    /// Why the token was not replaced.
    trouble: Option<EntraError>,
}

/// A token, with times by the timer: a wall clock that is set ends none.
#[derive(Clone)]
struct Held {
    value: HeaderValue,
    since_ms: Millis,
    replace_ms: Millis,
    ends_ms: Millis,
}

impl<C> Clone for Entra<C> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<C> fmt::Debug for Entra<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entra")
            .field("identity", &self.identity())
            .field("scope", &self.0.scope)
            .finish_non_exhaustive()
    }
}

impl<C> Entra<C> {
    /// Which identity asks, in words: the one that got a token, and until then all that would be tried.
    #[must_use]
    pub fn identity(&self) -> String {
        let all = self.0.candidates();
        if let Some(settled) = self.0.settled.get().and_then(|index| all.get(index)) {
            return settled.words.clone();
        }
        let words: Vec<&str> = all.iter().map(|candidate| candidate.words.as_str()).collect();
        words.join(", else ")
    }

    /// Why the token that is handed out could not be replaced when it was time to.
    #[must_use]
    pub fn trouble(&self) -> Option<EntraError> {
        self.0.state.borrow().trouble.clone()
    }
}

impl<C: Clock + 'static> Entra<C> {
    /// Tokens as `settings` ask for them; none is asked for yet.
    ///
    /// # Errors
    /// [`EntraError`] if a setting cannot be used, or workload identity lacks a part.
    pub fn new(settings: &Settings, environment: &Environment, clock: Rc<C>) -> Result<Self, EntraError> {
        let refuse = |setting, message: &str| EntraError::Setting {
            setting,
            message: message.to_owned(),
        };
        if settings
            .stand_in
            .is_some_and(|address| !address.ip().is_loopback())
        {
            return Err(refuse("the stand-in", "it is not on this machine"));
        }
        if settings.limit.is_zero() {
            return Err(refuse("the time limit", "nothing can be done in no time"));
        }
        let named = settings.scope.strip_suffix("/.default").unwrap_or_default();
        if named.is_empty() || !named.chars().all(|c| c.is_ascii_graphic()) {
            return Err(refuse("the audience", "it is not an address or an id"));
        }
        Ok(Self(Rc::new(Inner {
            clock,
            scope: settings.scope.clone(),
            limit: settings.limit,
            candidates: RefCell::new(candidates(settings, environment)?.into()),
            settings: settings.clone(),
            environment: environment.clone(),
            settled: Cell::new(None),
            state: RefCell::default(),
        })))
    }

    /// The value of an `Authorization` header, marked as sensitive. From the cache unless it is time for a new token.
    ///
    /// # Errors
    /// [`EntraError::NoToken`] if there is none, after the settings' time limit at most for each identity that is tried.
    pub async fn bearer(&self) -> Result<HeaderValue, EntraError> {
        let now_ms = self.0.timer_ms();
        let Some(held) = self.0.good() else {
            return self.flight().await.map(|fresh| fresh.value);
        };
        let peace_until_ms = self.0.state.borrow().peace_until_ms;
        if now_ms < held.replace_ms.max(peace_until_ms) {
            return Ok(held.value);
        }
        // What is still good is not waited for as long as what is needed.
        let trouble = match tokio::time::timeout(self.0.limit / 3, self.flight()).await {
            Ok(Ok(fresh)) => return Ok(fresh.value),
            Ok(Err(error)) => error,
            Err(_) => EntraError::NoToken {
                tried: vec![Tried {
                    identity: self.identity(),
                    failure: Failure::Timeout {
                        limit: self.0.limit / 3,
                        last: None,
                    },
                }],
            },
        };
        let mut state = self.0.state.borrow_mut();
        state.peace_until_ms = self.0.timer_ms().saturating_add(PEACE_MS);
        state.trouble = Some(trouble.clone());
        drop(state);
        self.0.good().map(|held| held.value).ok_or(trouble)
    }

    /// A server refused the token, which is not handed out again unless it is less than a minute old.
    pub fn refused(&self, token: &str) {
        let mut state = self.0.state.borrow_mut();
        let is_it = |held: &&Held| {
            let value = held.value.to_str().ok();
            value.and_then(|value| value.strip_prefix("Bearer ")) == Some(token)
        };
        let age_ms = |held: &Held| self.0.timer_ms().saturating_sub(held.since_ms);
        let held = state.held.as_ref().filter(is_it);
        if held.is_none_or(|held| age_ms(held) < KEPT_MS) {
            return;
        }
        (state.held, state.peace_until_ms) = (None, 0);
        // The library keeps tokens too, and has no word for giving one up.
        if let Ok(anew) = candidates(&self.0.settings, &self.0.environment) {
            *self.0.candidates.borrow_mut() = anew.into();
        }
    }

    /// The request on its way, or a new one. Whoever waits shares its outcome, a failure too: otherwise they would fail one
    /// after the other, each in its own time.
    fn flight(&self) -> Shared<Flight> {
        let mut state = self.0.state.borrow_mut();
        let under_way = state.flight.as_ref().and_then(WeakShared::upgrade);
        if let Some(flight) = under_way.filter(|flight| flight.peek().is_none()) {
            return flight;
        }
        let inner = Rc::clone(&self.0);
        let flight = async move { inner.fetch().await }.boxed_local().shared();
        state.flight = flight.downgrade();
        flight
    }
}

impl<C> Inner<C> {
    fn candidates(&self) -> Rc<[Candidate]> {
        Rc::clone(&self.candidates.borrow())
    }
}

impl<C: Clock> Inner<C> {
    fn timer_ms(&self) -> Millis {
        self.clock.now().timer_ms
    }

    /// The token that is held, if it can still be handed out.
    fn good(&self) -> Option<Held> {
        let held = self.state.borrow().held.clone()?;
        (self.timer_ms() < held.ends_ms.saturating_sub(LATE_MS)).then_some(held)
    }

    async fn fetch(&self) -> Result<Held, EntraError> {
        let mut tried = Vec::new();
        let settled = self.settled.get();
        for (index, candidate) in self.candidates().iter().enumerate() {
            if settled.is_some_and(|settled| settled != index) {
                continue;
            }
            let token = candidate.token(&self.scope).await;
            match token.and_then(|token| self.held(&token)) {
                Ok(held) => {
                    self.settled.set(Some(index));
                    let mut state = self.state.borrow_mut();
                    state.held = Some(held.clone());
                    state.peace_until_ms = 0;
                    state.trouble = None;
                    return Ok(held);
                }
                Err(failure) => tried.push(Tried {
                    identity: candidate.words.clone(),
                    failure,
                }),
            }
        }
        Err(EntraError::NoToken { tried })
    }

    fn held(&self, token: &AccessToken) -> Result<Held, Failure> {
        let malformed = |message: &str| Failure::Malformed {
            host: "the giver of tokens".to_owned(),
            message: message.to_owned(),
        };
        let now = self.clock.now();
        let ends_ms = token.expires_on.unix_timestamp().saturating_mul(1000);
        let life_ms = ends_ms.saturating_sub(now.wall_ms);
        if life_ms <= LATE_MS {
            return Err(malformed(
                "it has expired already; is this machine's clock right?",
            ));
        }
        let secret = token.token.secret();
        let text = format!("Bearer {secret}");
        let value = HeaderValue::try_from(text).ok().filter(|_| !secret.is_empty());
        let mut value = value.ok_or_else(|| malformed("it cannot be sent in a header"))?;
        value.set_sensitive(true);
        Ok(Held {
            value,
            since_ms: now.timer_ms,
            replace_ms: now.timer_ms.saturating_add(life_ms - EARLY_MS.min(life_ms / 2)),
            ends_ms: now.timer_ms.saturating_add(life_ms),
        })
    }
}
