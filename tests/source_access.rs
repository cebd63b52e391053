//! From a configuration to a server that lets nobody in: headers, tenants, passwords, tokens and certificates over real HTTP
//! and TLS on loopback, and none of them anywhere else.

#![cfg(feature = "source")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a fault of a fixture may end it at once"
)]

mod hostile;

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use futures_util::future::LocalBoxFuture;
use gpuscale::clock::{SystemClock, SystemRandomness};
use gpuscale::config::{self, Config};
use gpuscale::control::ports::{Answer, MetricsSource, ReadRequest, Selector, SourceError, SourceErrorKind};
use gpuscale::source::connect::{Issuer, Sources};
use gpuscale::source::http::Tokens;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;

use hostile::{GOOD, Hostile, receive, response};

const CANARY: &str = "canary-7d3c4a2b";

/// A token that somebody issues, another one each time.
struct Issued;

struct Numbered(std::cell::Cell<u32>);

impl Tokens for Numbered {
    fn token(&self) -> LocalBoxFuture<'_, Result<String, String>> {
        self.0.set(self.0.get() + 1);
        let number = self.0.get();
        Box::pin(async move {
            match number {
                3 => Err("the authority said AADSTS70021".to_owned()),
                number => Ok(format!("{CANARY}-{number}")),
            }
        })
    }
}

impl Issuer for Issued {
    fn entra(&self, _: &config::Entra, _: config::Cloud) -> Result<Rc<dyn Tokens>, String> {
        Ok(Rc::new(Numbered(std::cell::Cell::new(0))))
    }
}

type All = Sources<SystemClock, SystemRandomness>;

fn connect(source: &str) -> Result<All, String> {
    let config = Config::parse(&format!("metricsSources: {{ default: {source} }}")).unwrap();
    assert_eq!(config.problems(), []);
    let (clock, randomness) = (Rc::new(SystemClock::new()), Rc::new(SystemRandomness));
    Sources::connect(&config, &clock, &randomness, &Issued).map_err(|error| error.to_string())
}

/// Reads another metric each time, since the same question would not be asked again so soon.
fn read(sources: &All, name: &'static str) -> Result<Answer, SourceError> {
    let selector = Selector::Metric {
        name,
        match_labels: Vec::new(),
    };
    let request = ReadRequest {
        source: "default",
        selector: &selector,
        window_ms: 60_000,
        as_of_ms: None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(sources.read(&request))
}

fn heads(hostile: &Hostile) -> Vec<String> {
    let heard = std::mem::take(&mut *hostile.heard.lock().unwrap());
    heard.into_iter().map(|heard| heard.head).collect()
}

/// The value of a header in the head of a request.
fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then(|| value.trim_end())
    })
}

#[test]
fn headers_tenant_parameters_and_method_are_those_of_the_configuration() {
    let hostile = Hostile::saying(response("200 OK", "", GOOD));
    let url = hostile.url();
    let sources = connect(&format!(
        "{{ prometheus: {{ url: '{url}', method: Get, tenant: team-a, headers: {{ X-Team: gpu }}, parameters: {{ \
         partial_response: 'false' }} }} }}"
    ))
    .unwrap();
    read(&sources, "m").unwrap();
    let heads = heads(&hostile);
    let head = heads.first().unwrap();
    assert!(
        head.starts_with("GET /prometheus/api/v1/query?query=m%5B60000ms%5D&partial_response=false HTTP/1.1"),
        "{head}"
    );
    assert_eq!(header(head, "x-scope-orgid"), Some("team-a"));
    assert_eq!(header(head, "x-team"), Some("gpu"));
    assert_eq!(header(head, "authorization"), None);
}

#[test]
fn a_password_or_token_in_a_file_counts_as_it_is_at_that_moment() {
    let hostile = Hostile::saying(response("200 OK", "", GOOD));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("secret");
    let (url, path) = (hostile.url(), file.display());
    let bearer = connect(&format!(
        "{{ prometheus: {{ url: '{url}', bearerTokenFile: '{path}' }} }}"
    ))
    .unwrap();
    let basic = connect(&format!(
        "{{ prometheus: {{ url: '{url}', basicAuth: {{ username: Aladdin, passwordFile: '{path}' }} }} }}"
    ))
    .unwrap();

    let missing = read(&bearer, "a").map(|answer| answer.series.len()).unwrap_err();
    assert_eq!(missing.kind, SourceErrorKind::Credential);
    assert!(missing.message.contains("cannot be read"), "{missing}");
    fs::write(&file, "open sesame\n").unwrap();
    read(&bearer, "b").unwrap();
    read(&basic, "b").unwrap();
    fs::write(&file, "another").unwrap();
    read(&bearer, "c").unwrap();
    let sent: Vec<String> = heads(&hostile)
        .iter()
        .map(|head| header(head, "authorization").unwrap().to_owned())
        .collect();
    // The one of RFC 7617, section 2.
    assert_eq!(
        sent,
        [
            "Bearer open sesame",
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            "Bearer another"
        ]
    );
}

#[test]
fn a_token_of_entra_is_asked_for_each_time_and_its_failure_has_a_name() {
    let hostile = Hostile::saying(response("200 OK", "", GOOD));
    let url = hostile.url();
    let sources = connect(&format!("{{ prometheus: {{ url: '{url}', entra: {{}} }} }}")).unwrap();
    read(&sources, "a").unwrap();
    read(&sources, "b").unwrap();
    let failed = read(&sources, "c").map(|answer| answer.series.len()).unwrap_err();
    assert_eq!(failed.kind, SourceErrorKind::Credential);
    assert!(failed.message.contains("AADSTS70021"), "{failed}");
    let sent: Vec<String> = heads(&hostile)
        .iter()
        .map(|head| header(head, "authorization").unwrap().to_owned())
        .collect();
    assert_eq!(sent, [format!("Bearer {CANARY}-1"), format!("Bearer {CANARY}-2")]);
}

#[test]
fn a_source_that_can_never_be_asked_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("ca.pem");
    fs::write(&text, "no certificate").unwrap();
    let text = text.display();
    for (source, words) in [
        (
            "{ prometheus: { url: 'https://p', headers: { 'X Y': a } } }".to_owned(),
            "header `X Y` cannot be sent",
        ),
        (
            format!("{{ prometheus: {{ url: 'https://p', tls: {{ caFile: '{text}' }} }} }}"),
            "ca.pem holds no certificate",
        ),
        (
            "{ prometheus: { url: 'https://p', tls: { caFile: /nowhere/ca.pem } } }".to_owned(),
            "/nowhere/ca.pem cannot be read",
        ),
    ] {
        let error = connect(&source).map(|_| ()).unwrap_err();
        assert!(
            error.starts_with("metricsSources.default: ") && error.contains(words),
            "{error}"
        );
    }
}

#[test]
fn a_policy_that_names_a_source_which_is_not_there_is_told_which_are() {
    let sources = connect("{ prometheus: { url: 'http://127.0.0.1:9' } }").unwrap();
    let selector = Selector::Metric {
        name: "m",
        match_labels: Vec::new(),
    };
    let request = ReadRequest {
        source: "thanos",
        selector: &selector,
        window_ms: 60_000,
        as_of_ms: None,
    };
    let read = futures_util::FutureExt::now_or_never(sources.read(&request));
    let error = read.unwrap().map(|answer| answer.series.len()).unwrap_err();
    assert!(
        error.message.contains("no metricsSources.thanos; it has default"),
        "{error}"
    );
}

// --- certificates ---

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key, as PEM.
fn issue(authority: &Authority, name: &str) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    (certificate.pem(), key.serialize_pem())
}

/// A server that shows a certificate and wants one of `clients`.
fn tls_server(authority: &Authority, clients: &Authority) -> SocketAddr {
    let (certificate, key) = issue(authority, "127.0.0.1");
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(clients.pem().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
        )
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream.unwrap());
            // Who shows no certificate or the wrong one is not talked to.
            if receive(&mut stream).is_ok() {
                let _ = stream.write_all(response("200 OK", "", GOOD).as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    at
}

fn write(folder: &TempDir, name: &str, text: &str) -> String {
    let path: &Path = &folder.path().join(name);
    fs::write(path, text).unwrap();
    path.display().to_string()
}

#[test]
fn certificates_are_shown_and_checked_and_a_rotated_one_counts_from_the_next_request() {
    let (servers, clients, strangers) = (authority("servers"), authority("clients"), authority("strangers"));
    let at = tls_server(&servers, &clients);
    let folder = tempfile::tempdir().unwrap();
    let ca = write(&folder, "ca.pem", &servers.pem());
    let (stranger, stranger_key) = issue(&strangers, "gpuscale");
    let certificate = write(&folder, "client.pem", &stranger);
    let key = write(&folder, "client.key", &stranger_key);
    let tls = format!("tls: {{ caFile: '{ca}', certFile: '{certificate}', keyFile: '{key}' }}");
    let sources = connect(&format!("{{ prometheus: {{ url: 'https://{at}', {tls} }} }}")).unwrap();
    let refused = |name: &'static str| {
        let error = read(&sources, name)
            .map(|answer| answer.series.len())
            .unwrap_err();
        assert_eq!(error.kind, SourceErrorKind::Unreachable, "{error}");
        error.message
    };
    // A client of somebody else's.
    refused("a");
    let (ours, our_key) = issue(&clients, "gpuscale");
    write(&folder, "client.pem", &ours);
    // Half a rotation: the certificate is there, and its key is not.
    let error = read(&sources, "b").map(|answer| answer.series.len()).unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Credential, "{error}");
    write(&folder, "client.key", &our_key);
    read(&sources, "c").unwrap();
    // The server's certificate is of somebody whom nobody trusts any more.
    write(&folder, "ca.pem", &strangers.pem());
    let message = refused("d");
    assert!(message.contains("certificate"), "{message}");
    write(&folder, "ca.pem", &servers.pem());
    read(&sources, "e").unwrap();
}

// --- canaries ---

#[test]
fn no_secret_shows_in_errors_or_debug_output() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(&folder, "secret", CANARY);
    // It repeats all that it was sent, in an error and in a page that is no answer.
    let echo = |status: &'static str| {
        Hostile::asked(move |heard, stream| {
            let said = format!("you said {} {}", heard.head.replace("\r\n", " "), heard.body);
            let said: String = said
                .chars()
                .rev()
                .take(250)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
                .collect();
            stream.write_all(response(status, "", &said).as_bytes())
        })
    };
    let hostile = echo("401 Unauthorized");
    let page = echo("200 OK");
    let mut shown = String::new();
    for credential in [
        format!("bearerTokenFile: '{file}'"),
        format!("basicAuth: {{ username: u, passwordFile: '{file}' }}"),
        "entra: {}".to_owned(),
    ] {
        for url in [&hostile.url(), &page.url(), &"http://127.0.0.1:9".to_owned()] {
            let sources = connect(&format!("{{ prometheus: {{ url: '{url}', {credential} }} }}")).unwrap();
            let error = read(&sources, "m").map(|answer| answer.series.len()).unwrap_err();
            writeln!(shown, "{error} {error:?} {sources:?}").unwrap();
        }
    }
    assert_eq!(hostile.requests.load(Ordering::SeqCst), 3);
    let sent = heads(&hostile).concat();
    assert!(sent.contains(CANARY), "{sent}");
    assert!(shown.contains("[hidden]"), "{shown}");
    let lines = shown.lines().filter(|line| line.contains(CANARY));
    assert_eq!(lines.collect::<Vec<_>>(), Vec::<&str>::new());
}
