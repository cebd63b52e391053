//! The sources of a configuration, by the name that policies use.
//!
//! One source for all policies that name it: its connections, what it knows of a server's clock and series, and the
//! questions that are being asked are shared. What a policy asks passes [`Coalesced`], then [`Retried`], then the source.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

#[cfg(feature = "entra")]
use futures_util::future::LocalBoxFuture;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use thiserror::Error;

use crate::config::{self, Endpoint};
use crate::control::ports::{
    Answer, Clock, MetricsSource, Randomness, ReadRequest, SourceError, SourceErrorKind,
};
#[cfg(feature = "entra")]
use crate::entra::{Entra, Environment};
use crate::policy::config::Millis;

use super::coalesce::Coalesced;
use super::dcgm::{Dcgm, Said};
use super::http::{Allowed, Client, ClientError, Credentials, Settings, TlsFiles, Tokens};
use super::prometheus::answer::Limits;
use super::prometheus::server::{Method, Server};
use super::retry::Retried;

/// The tenant of Mimir, Cortex and Loki.
const TENANT: HeaderName = HeaderName::from_static("x-scope-orgid");

/// Why a source of the configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("metricsSources.{name}: {cause}")]
pub struct ConnectError {
    /// The source.
    pub name: String,
    /// What is wrong.
    pub cause: Cause,
}

/// What is wrong with a source.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Cause {
    /// The address, a header or a certificate.
    #[error("{0}")]
    Client(#[from] ClientError),
    /// An address in `allowedAddresses` that is none.
    #[error("`{0}` in allowedAddresses is no IP address")]
    Allowed(String),
    /// None of the kinds of sources.
    #[error("it is of no kind; set one of prometheus, azureManagedPrometheus and dcgm")]
    Kind,
    /// Exporters that are to be found by the cluster's nodes.
    #[error("the cluster's nodes are not to be had here; list the exporters as `targets`")]
    Nodes,
    /// No tokens for it.
    #[error("{0}")]
    Tokens(String),
}

/// Makes what issues tokens for a source.
pub trait Issuer {
    /// Tokens of Microsoft Entra for the metrics of a cloud.
    ///
    /// # Errors
    /// Why there can be none and what to do.
    fn entra(&self, entra: &config::Entra, cloud: config::Cloud) -> Result<Rc<dyn Tokens>, String>;
}

/// A source of one kind.
#[derive(Debug)]
pub enum Kind<C> {
    /// A server with the Prometheus API, Azure's among them.
    Prometheus(Box<Server<C>>),
    /// Exporters.
    Dcgm(Box<Dcgm<C>>),
}

impl<C: Clock> Kind<C> {
    /// How far the source's clock is ahead of the local wall clock, in ms, if it was heard.
    #[must_use]
    pub fn skew_ms(&self) -> Option<Millis> {
        match self {
            Self::Prometheus(server) => server.skew_ms(),
            Self::Dcgm(dcgm) => Some(dcgm.skew_ms()),
        }
    }

    /// What each exporter said in the last round; empty for what is no exporter.
    #[must_use]
    pub fn exporters(&self) -> Vec<Said> {
        match self {
            Self::Prometheus(_) => Vec::new(),
            Self::Dcgm(dcgm) => dcgm.said().collect(),
        }
    }
}

impl<C: Clock> MetricsSource for Kind<C> {
    async fn read(&self, request: &ReadRequest<'_>) -> Result<Answer, SourceError> {
        match self {
            Self::Prometheus(server) => server.read(request).await,
            Self::Dcgm(dcgm) => dcgm.read(request).await,
        }
    }
}

/// A source as policies share it.
pub type Source<C, R> = Coalesced<Retried<Kind<C>, C, R>, C>;

/// The sources of a configuration.
#[derive(Debug)]
pub struct Sources<C, R> {
    by_name: BTreeMap<String, Source<C, R>>,
}

impl<C: Clock + 'static, R: Randomness + 'static> Sources<C, R> {
    /// All sources of a configuration. None is connected to before it is asked.
    ///
    /// # Errors
    /// [`ConnectError`] for the first source that can never be asked.
    pub fn connect(
        config: &config::Config,
        clock: &Rc<C>,
        randomness: &Rc<R>,
        issuer: &dyn Issuer,
    ) -> Result<Self, ConnectError> {
        let connect = |(name, source): (&crate::api::text::Name, &config::MetricsSource)| {
            let kind = kind(source, clock, issuer).map_err(|cause| ConnectError {
                name: name.as_str().to_owned(),
                cause,
            })?;
            let timeout_ms = Millis::try_from(timeout(source).as_millis()).unwrap_or(Millis::MAX);
            let retried = Retried::new(kind, Rc::clone(clock), Rc::clone(randomness), timeout_ms);
            let shared = Coalesced::new(retried, Rc::clone(clock));
            Ok((name.as_str().to_owned(), shared))
        };
        let by_name = config.metrics_sources.iter().map(connect);
        Ok(Self {
            by_name: by_name.collect::<Result<_, _>>()?,
        })
    }

    /// The source of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Source<C, R>> {
        self.by_name.get(name)
    }

    /// Keeps scraping exporters, for as long as it is polled, so that those who read seldom have whole windows too.
    pub async fn follow(&self) -> Infallible {
        let followed = self.by_name.values().map(|source| async {
            if let Kind::Dcgm(dcgm) = source.inner().inner() {
                dcgm.follow().await;
            }
        });
        futures_util::future::join_all(followed).await;
        futures_util::future::pending().await
    }

    /// All of them, in order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Source<C, R>)> {
        self.by_name.iter().map(|(name, source)| (name.as_str(), source))
    }
}

impl<C: Clock + 'static, R: Randomness + 'static> MetricsSource for Sources<C, R> {
    async fn read(&self, request: &ReadRequest<'_>) -> Result<Answer, SourceError> {
        let Some(source) = self.by_name.get(request.source) else {
            let known: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
            return Err(SourceError {
                kind: SourceErrorKind::Unreachable,
                message: format!(
                    "the configuration has no metricsSources.{}; it has {}",
                    request.source,
                    if known.is_empty() {
                        "none".to_owned()
                    } else {
                        known.join(", ")
                    },
                ),
            });
        };
        source.read(request).await
    }
}

fn kind<C: Clock>(
    source: &config::MetricsSource,
    clock: &Rc<C>,
    issuer: &dyn Issuer,
) -> Result<Kind<C>, Cause> {
    if let Some(prometheus) = &source.prometheus {
        let parameters = prometheus.parameters.clone().into_iter().collect();
        let settings = Settings {
            headers: headers(prometheus)?,
            credentials: credentials(prometheus, issuer)?,
            tls: prometheus.tls.as_ref().map_or_else(TlsFiles::default, tls),
            ..settings(source, &prometheus.url)?
        };
        let method = match prometheus.method {
            config::Method::Post => Method::Post,
            config::Method::Get => Method::Get,
        };
        return server(source, settings, clock, method, parameters);
    }
    if let Some(azure) = &source.azure_managed_prometheus {
        let settings = Settings {
            credentials: entra(&azure.entra, &azure.endpoint, issuer)?,
            ..settings(source, &azure.endpoint)?
        };
        return server(source, settings, clock, Method::Post, Vec::new());
    }
    if let Some(exporters) = &source.dcgm {
        return dcgm(source, exporters, clock);
    }
    Err(Cause::Kind)
}

/// Exporters that are listed. A hanging one must not use up the time of a read, in which all are asked.
fn dcgm<C: Clock>(
    source: &config::MetricsSource,
    exporters: &config::Dcgm,
    clock: &Rc<C>,
) -> Result<Kind<C>, Cause> {
    let Some(first) = exporters.targets.first() else {
        return Err(Cause::Nodes);
    };
    let settings = Settings {
        timeout: timeout(source) / 2,
        ..settings(source, first)?
    };
    let interval_ms = Millis::try_from(exporters.interval.as_millis()).unwrap_or(Millis::MAX);
    let limits = limits(&source.limits);
    let dcgm = Dcgm::new(
        &exporters.targets,
        &settings,
        Rc::clone(clock),
        interval_ms,
        limits,
    )?;
    Ok(Kind::Dcgm(Box::new(dcgm)))
}

fn server<C: Clock>(
    source: &config::MetricsSource,
    settings: Settings,
    clock: &Rc<C>,
    method: Method,
    parameters: Vec<(String, String)>,
) -> Result<Kind<C>, Cause> {
    let client = Client::new(settings)?;
    let clock = Rc::clone(clock);
    let limits = limits(&source.limits);
    let server = Server::new(client, clock, method, limits, parameters);
    Ok(Kind::Prometheus(Box::new(server)))
}

fn settings(source: &config::MetricsSource, url: &str) -> Result<Settings, Cause> {
    let parse = |text: &String| text.parse().map_err(|_| Cause::Allowed(text.clone()));
    let allowed = source.allowed_addresses.iter().map(parse);
    let allowed: Vec<_> = allowed.collect::<Result<_, _>>()?;
    Ok(Settings {
        allowed: Allowed::new(&allowed),
        ..Settings::new(url, timeout(source))
    })
}

fn timeout(source: &config::MetricsSource) -> Duration {
    Duration::from_millis(source.timeout.as_millis().try_into().unwrap_or(u64::MAX))
}

fn limits(limits: &config::AnswerLimits) -> Limits {
    let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    Limits {
        bytes: limits.bytes,
        series: count(limits.series),
        samples: count(limits.samples),
    }
}

fn headers(prometheus: &config::Prometheus) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::new();
    for (name, value) in &prometheus.headers {
        let refuse = |message: String| ClientError::Header {
            name: name.clone(),
            message,
        };
        let key = HeaderName::try_from(name.as_str()).map_err(|error| refuse(error.to_string()))?;
        headers.insert(key, header(value).map_err(refuse)?);
    }
    if let Some(tenant) = &prometheus.tenant {
        let value = header(tenant).map_err(|message| ClientError::Header {
            name: "tenant".to_owned(),
            message,
        })?;
        headers.insert(TENANT, value);
    }
    Ok(headers)
}

/// Not shown in debug output: an administrator may take a header for a safe place.
fn header(value: &str) -> Result<HeaderValue, String> {
    let mut value = HeaderValue::from_str(value)
        .map_err(|_| "its value has characters that no header can carry".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

fn credentials(prometheus: &config::Prometheus, issuer: &dyn Issuer) -> Result<Credentials, Cause> {
    if let Some(basic) = &prometheus.basic_auth {
        return Ok(Credentials::Basic {
            username: basic.username.clone(),
            password: PathBuf::from(&basic.password_file),
        });
    }
    if let Some(file) = &prometheus.bearer_token_file {
        return Ok(Credentials::Bearer(PathBuf::from(file)));
    }
    match &prometheus.entra {
        Some(settings) => entra(settings, &prometheus.url, issuer),
        None => Ok(Credentials::None),
    }
}

fn entra(settings: &config::Entra, url: &str, issuer: &dyn Issuer) -> Result<Credentials, Cause> {
    let tokens = issuer.entra(settings, cloud(url)).map_err(Cause::Tokens)?;
    Ok(Credentials::Issued(tokens))
}

/// The cloud that an address is in: its workspaces have its domain.
fn cloud(url: &str) -> config::Cloud {
    let host = Endpoint::parse(url).map_or(String::new(), |endpoint| endpoint.host.to_ascii_lowercase());
    if host.ends_with(".azure.us") {
        config::Cloud::UsGovernment
    } else if host.ends_with(".azure.cn") {
        config::Cloud::China
    } else {
        config::Cloud::Public
    }
}

/// No tokens at all, for a build without the feature `entra`.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoIdentity;

impl Issuer for NoIdentity {
    fn entra(&self, _: &config::Entra, _: config::Cloud) -> Result<Rc<dyn Tokens>, String> {
        let message = "this build cannot fetch tokens of Microsoft Entra; use one with the feature `entra`";
        Err(message.to_owned())
    }
}

/// Tokens by the identity of this process.
#[cfg(feature = "entra")]
#[derive(Debug)]
pub struct ProcessIdentity<C> {
    environment: Environment,
    clock: Rc<C>,
}

#[cfg(feature = "entra")]
impl<C> ProcessIdentity<C> {
    /// The identity that an environment describes.
    pub fn new(environment: Environment, clock: &Rc<C>) -> Self {
        Self {
            environment,
            clock: Rc::clone(clock),
        }
    }
}

#[cfg(feature = "entra")]
impl<C: Clock + 'static> Issuer for ProcessIdentity<C> {
    fn entra(&self, entra: &config::Entra, cloud: config::Cloud) -> Result<Rc<dyn Tokens>, String> {
        let settings = crate::entra::Settings::of_source(entra, cloud);
        let tokens = Entra::new(&settings, &self.environment, Rc::clone(&self.clock));
        Ok(Rc::new(tokens.map_err(|error| error.to_string())?))
    }
}

#[cfg(feature = "entra")]
impl<C: Clock + 'static> Tokens for Entra<C> {
    fn token(&self) -> LocalBoxFuture<'_, Result<String, String>> {
        let token = async {
            let header = self.bearer().await.map_err(|error| error.to_string())?;
            let token = header
                .to_str()
                .ok()
                .and_then(|value| value.strip_prefix("Bearer "));
            token
                .map(str::to_owned)
                .ok_or_else(|| "Microsoft Entra gave a token that no header can carry".to_owned())
        };
        Box::pin(token)
    }

    fn refused(&self, token: &str) {
        Self::refused(self, token);
    }
}

fn tls(tls: &config::Tls) -> TlsFiles {
    TlsFiles {
        authorities: tls.ca_file.as_ref().map(PathBuf::from),
        identity: tls
            .cert_file
            .as_ref()
            .zip(tls.key_file.as_ref())
            .map(|(certificate, key)| (PathBuf::from(certificate), PathBuf::from(key))),
    }
}
