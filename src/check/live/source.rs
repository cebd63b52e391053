//! A source as a whole: whether it is there, lets us in, is what it is taken for, and what its clock reads.

use std::collections::BTreeMap;

use crate::api::defaults;
use crate::check::codes::{Entry, live as codes};
use crate::check::page::Page;
use crate::check::{Finding, Kind, documents};
use crate::config::{Config, Endpoint, MetricsSource};
use crate::control::ports::{Completeness, SourceError, SourceErrorKind};
use crate::policy::config::Millis;
use crate::source::connect::Cause;
use crate::source::dcgm::Said;
use crate::source::http::ClientError;

use super::{CLOCK_OFF_MS, Outcome, Policy, SourceHeard, SourceLine, span};

/// Judges what was heard of the sources of a configuration, which was read from `text`.
#[must_use]
pub fn sources(
    text: &str,
    config: &Config,
    policies: &[&Policy],
    heard: &BTreeMap<String, SourceHeard>,
) -> (Vec<Finding>, Vec<SourceLine>) {
    let is_settings =
        |part: &std::ops::Range<usize>| Page::new(&text[part.clone()]).read() == Some(Kind::Settings);
    let part = documents(text).find(is_settings).unwrap_or(0..text.len());
    let mut page = Page::new(&text[part.clone()]);
    let mut lines = Vec::new();
    for (name, source) in &config.metrics_sources {
        let name = name.as_str();
        let Some(heard) = heard.get(name) else { continue };
        let place = Place { name, source };
        match &heard.outcome {
            Outcome::Unusable(cause) => place.unusable(&mut page, cause),
            Outcome::Asked(Err(error)) => place.failed(&mut page, error),
            Outcome::Asked(Ok(completeness)) => {
                if let Completeness::Partial(words) = completeness {
                    let message = format!("source `{name}` says: {words}");
                    page.about(&codes::PARTIAL, &place.url_path(), "only a part", message);
                }
                lines.push(SourceLine {
                    source: name.to_owned(),
                    skew_ms: heard.skew_ms,
                });
            }
        }
        if heard.outcome.is_reached() {
            place.exporters(&mut page, &heard.exporters);
        }
        if let Some(skew_ms) = heard.skew_ms {
            let ages = policies.iter().filter(|policy| policy.source == name);
            let max_age_ms = ages.map(|policy| policy.quality.max_age_ms).min();
            place.clock(&mut page, skew_ms, max_age_ms);
        }
    }
    (page.findings_from(part.start).collect(), lines)
}

/// A source and where it stands.
#[derive(Debug, Clone, Copy)]
struct Place<'c> {
    name: &'c str,
    source: &'c MetricsSource,
}

impl Place<'_> {
    fn path(&self, field: &str) -> String {
        format!("metricsSources.{}{field}", self.name)
    }

    /// Where its address stands.
    fn url_path(&self) -> String {
        self.path(if self.source.prometheus.is_some() {
            ".prometheus.url"
        } else if self.source.azure_managed_prometheus.is_some() {
            ".azureManagedPrometheus.endpoint"
        } else {
            ".dcgm.targets"
        })
    }

    fn url(&self) -> &str {
        let prometheus = self.source.prometheus.as_ref().map(|source| &source.url);
        let azure = self.source.azure_managed_prometheus.as_ref();
        prometheus
            .or(azure.map(|source| &source.endpoint))
            .map_or("", String::as_str)
    }

    /// Where its credential stands, and what to do when it is refused.
    fn credential(&self) -> (String, String) {
        if let Some(azure) = &self.source.azure_managed_prometheus {
            let whose = azure.entra.client_id.as_ref();
            let whose = whose.map_or_else(|| "of the pod".to_owned(), |id| format!("`{id}`"));
            let help = format!(
                "federate the identity {whose} with the pod's service account, and give it the role Monitoring Data \
                 Reader on the Azure Monitor workspace, which takes effect after some minutes"
            );
            return (self.path(".azureManagedPrometheus"), help);
        }
        let Some(prometheus) = &self.source.prometheus else {
            return (self.path(""), codes::NOT_AUTHORISED.remedy.to_owned());
        };
        if let Some(file) = &prometheus.bearer_token_file {
            let help = format!(
                "see that `{file}` holds a token that is still valid, and that its owner may query this source"
            );
            return (self.path(".prometheus.bearerTokenFile"), help);
        }
        if let Some(basic) = &prometheus.basic_auth {
            let help = format!(
                "see that `{}` holds the password of `{}`, and that this user may query this source",
                basic.password_file, basic.username
            );
            return (self.path(".prometheus.basicAuth.passwordFile"), help);
        }
        if prometheus.entra.is_some() {
            let help = "see that the identity may query this source; for Azure Monitor that is the role Monitoring \
                        Data Reader on the workspace";
            return (self.path(".prometheus.entra"), help.to_owned());
        }
        let help = "the source wants a credential and has none here: set `bearerTokenFile`, `basicAuth`, `entra`, or \
                    a client certificate in `tls`";
        (self.url_path(), help.to_owned())
    }

    fn not_authorised(&self, page: &mut Page<'_>, words: &str) {
        let (path, help) = self.credential();
        let message = format!("source `{}`: {words}", self.name);
        let finding = page.about(&codes::NOT_AUTHORISED, &path, "this does not let us in", message);
        finding.help(help);
        // Mimir and Cortex say 401 where it is the tenant that is missing.
        if words.contains("org id") {
            finding.help("set `tenant` of the source, which is sent as `X-Scope-OrgID`");
        }
    }

    fn unusable(&self, page: &mut Page<'_>, cause: &Cause) {
        let message = format!("source `{}`: {cause}", self.name);
        match cause {
            Cause::Tokens(words) => self.not_authorised(page, words),
            Cause::Nodes => {
                page.about(&codes::NOT_ASKED, &self.path(".dcgm"), "not asked", message);
            }
            Cause::Client(ClientError::Tls(_)) => {
                let path = self.path(".prometheus.tls");
                page.about(&codes::UNREACHABLE, &path, "TLS cannot be set up", message)
                    .help("see that the files of `tls` are there and hold certificates and keys as PEM");
            }
            _ => {
                page.about(&codes::UNREACHABLE, &self.url_path(), "cannot be asked", message)
                    .help("correct what is named; `deploy/guide/configuration.md` has all settings");
            }
        }
    }

    fn failed(&self, page: &mut Page<'_>, error: &SourceError) {
        let words = &error.message;
        let mut at_url = |entry: &'static Entry, label: &str, help: Option<String>| {
            let message = format!("source `{}`: {words}", self.name);
            let finding = page.about(entry, &self.url_path(), label, message);
            if let Some(help) = help {
                finding.help(help);
            }
        };
        match error.kind {
            SourceErrorKind::Unreachable => {
                at_url(&codes::UNREACHABLE, "no connection", tls_help(words));
            }
            SourceErrorKind::Timeout => {
                let help = format!(
                    "find out why it takes longer than {}, and raise `timeout` of the source if it always does",
                    self.source.timeout
                );
                at_url(&codes::TOO_SLOW, "no answer in time", Some(help));
            }
            SourceErrorKind::Throttled(_) => at_url(&codes::THROTTLED, "asks to be left alone", None),
            SourceErrorKind::Credential => self.not_authorised(page, words),
            SourceErrorKind::Malformed => {
                at_url(&codes::NOT_THE_API, "something else answers", Some(self.prefix()));
            }
            SourceErrorKind::Status(_) | SourceErrorKind::Query | SourceErrorKind::TooLarge => {
                match status(error) {
                    Some(401 | 403) => self.not_authorised(page, words),
                    Some(404 | 405) => {
                        at_url(&codes::NOT_THE_API, "no such path there", Some(self.prefix()));
                    }
                    Some(300..=399) => {
                        let help = "set `url` to the address that it leads to; where that is a login, ask the API \
                                    past it";
                        at_url(&codes::NOT_THE_API, "leads elsewhere", Some(help.to_owned()));
                    }
                    _ => at_url(&codes::FAILS, "answers with an error", None),
                }
            }
        }
    }

    /// Exporters beside those that answer.
    fn exporters(&self, page: &mut Page<'_>, said: &[Said]) {
        let targets = self.source.dcgm.iter().flat_map(|dcgm| &dcgm.targets);
        for (index, target) in targets.enumerate() {
            let Some(said) = said.iter().find(|said| said.target == *target) else {
                continue;
            };
            let words = match &said.page {
                Err(error) => error.to_string(),
                Ok(counts) => match &counts.first_refused {
                    Some(first) => format!("lines of its page are refused ({}): {first}", counts.refused),
                    None if counts.samples == 0 => "its page has no metric that policies read".to_owned(),
                    None => continue,
                },
            };
            let path = self.path(&format!(".dcgm.targets[{index}]"));
            let message = format!("source `{}`, {target}: {words}", self.name);
            page.about(&codes::EXPORTER, &path, "says less than it should", message);
        }
    }

    /// What to do about a path that is no API.
    fn prefix(&self) -> String {
        if self.source.dcgm.is_some() {
            return codes::EXPORTER.remedy.to_owned();
        }
        let Ok(endpoint) = Endpoint::parse(self.url()) else {
            return codes::NOT_THE_API.remedy.to_owned();
        };
        let path = path_of(self.url());
        if path.contains("/api/v1") {
            return "leave `/api/v1` and what follows out of `url`; gpuscale adds it".to_owned();
        }
        let host = endpoint.host.to_ascii_lowercase();
        let likely = if ["mimir", "cortex"].iter().any(|name| host.contains(name)) {
            "/prometheus"
        } else if ["vmselect", "victoria", "vmauth"]
            .iter()
            .any(|name| host.contains(name))
        {
            "/select/0/prometheus"
        } else if host.contains("grafana") {
            "/api/datasources/proxy/uid/<uid>"
        } else {
            return codes::NOT_THE_API.remedy.to_owned();
        };
        if path.contains(likely) {
            return codes::NOT_THE_API.remedy.to_owned();
        }
        format!("by its name the path is `{likely}`: put it behind the host in `url`")
    }

    fn clock(&self, page: &mut Page<'_>, skew_ms: Millis, max_age_ms: Option<Millis>) {
        let max_age_ms = max_age_ms.unwrap_or_else(|| defaults::MAX_AGE.as_millis());
        let off_ms = skew_ms.saturating_abs();
        if off_ms <= CLOCK_OFF_MS {
            return;
        }
        let ahead = if skew_ms > 0 { "ahead of" } else { "behind" };
        let message = format!(
            "the clock of source `{}` is {} {ahead} the local one",
            self.name,
            span(off_ms)
        );
        if off_ms > max_age_ms {
            let message = format!("{message}, and samples may be {} old", span(max_age_ms));
            page.about(
                &codes::CLOCK_WRONG,
                &self.url_path(),
                "another time there",
                message,
            );
        } else {
            page.about(&codes::CLOCK_OFF, &self.url_path(), "another time there", message);
        }
    }
}

/// The path of an address.
fn path_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default()
}

/// What to do about a TLS connection that failed; `None` if it was not TLS.
fn tls_help(words: &str) -> Option<String> {
    let words = words.to_ascii_lowercase();
    if !words.contains("certificate") && !words.contains("tls") {
        return None;
    }
    let help = if words.contains("unknownissuer") || words.contains("unknown issuer") {
        "name the authority of the server's certificate in `tls.caFile`"
    } else {
        "look at the server's certificate: its names, its dates, and its authority, which `tls.caFile` has to hold"
    };
    Some(help.to_owned())
}

/// The HTTP status of an answer that was none. An error of the API keeps it in its words only.
fn status(error: &SourceError) -> Option<u16> {
    if let SourceErrorKind::Status(status) = error.kind {
        return Some(status);
    }
    let rest = error.message.strip_prefix("it answered ")?;
    rest.split(' ').next()?.parse().ok()
}
