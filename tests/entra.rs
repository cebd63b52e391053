//! Tokens of Microsoft Entra from a fake authority, over real HTTP on loopback: what is asked, how often, how long it may
//! take, and that nothing that is said about it holds a token or what it was given for.

#![cfg(feature = "entra")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test with real servers and real time"
)]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use gpuscale::clock::SystemRandomness;
use gpuscale::config::{self, Cloud};
use gpuscale::control::ports::{
    Clock, MetricsSource as _, ReadRequest, Selector, SourceError, SourceErrorKind,
};
use gpuscale::entra::{Entra, EntraError, Environment, Failure, Identity, Settings};
use gpuscale::policy::config::Millis;
use gpuscale::policy::observation::Now;
use gpuscale::source::connect::{Issuer, Sources};
use gpuscale::source::http::Tokens;

/// In every token, assertion and secret.
const CANARY: &str = "canary-7d3c4a2b";

/// Long enough for a busy machine to answer in a third of it.
const LIMIT: Duration = Duration::from_secs(3);

/// The real clocks; the timer can be put forward. The wall clock cannot: the library has its own.
#[derive(Debug)]
struct Ahead {
    began: Instant,
    ahead_ms: Cell<Millis>,
}

impl Clock for Ahead {
    fn now(&self) -> Now {
        let millis = |duration: Duration| Millis::try_from(duration.as_millis()).unwrap();
        Now {
            wall_ms: millis(SystemTime::UNIX_EPOCH.elapsed().unwrap()),
            timer_ms: millis(self.began.elapsed()) + self.ahead_ms.get(),
        }
    }

    async fn sleep_until(&self, _: Millis) {
        panic!("nobody sleeps by this clock");
    }
}

impl Ahead {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            began: Instant::now(),
            ahead_ms: Cell::new(0),
        })
    }

    fn forward(&self, by_ms: Millis) {
        self.ahead_ms.set(self.ahead_ms.get() + by_ms);
    }
}

/// A request as it came.
#[derive(Debug, Clone, Default)]
struct Heard {
    line: String,
    headers: BTreeMap<String, String>,
    form: BTreeMap<String, String>,
}

/// Answers the request with this number, counted from 0.
type Answers = dyn Fn(usize, &mut TcpStream) -> std::io::Result<()> + Send + Sync;

/// A fake authority.
struct Authority {
    at: SocketAddr,
    heard: Arc<Mutex<Vec<Heard>>>,
}

impl Authority {
    fn new(answer: impl Fn(usize, &mut TcpStream) -> std::io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let answer: Arc<Answers> = Arc::new(answer);
        let all = Arc::clone(&heard);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let (answer, all) = (Arc::clone(&answer), Arc::clone(&all));
                thread::spawn(move || {
                    if let Ok(heard) = receive(&stream) {
                        let number = {
                            let mut all = all.lock().unwrap();
                            all.push(heard);
                            all.len() - 1
                        };
                        // Whoever asked may have hung up.
                        let _ = answer(number, &mut stream);
                    }
                });
            }
        });
        Self { at, heard }
    }

    /// Answers each request with the next of these, and then the last one again and again.
    fn saying(answers: Vec<String>) -> Self {
        Self::new(move |number, stream| {
            let answer = answers.get(number).or(answers.last()).unwrap();
            stream.write_all(answer.as_bytes())
        })
    }

    fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap().clone()
    }

    /// A pod with workload identity whose authority this is.
    fn pod(&self) -> Pod {
        Pod::new(self.at)
    }
}

/// What a pod is given, in a folder of its own.
struct Pod {
    folder: tempfile::TempDir,
    environment: Environment,
    settings: Settings,
    clock: Rc<Ahead>,
}

impl Pod {
    fn new(at: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("token");
        let environment = Environment {
            tenant_id: Some("tenant-1".to_owned()),
            client_id: Some("client-1".to_owned()),
            token_file: Some(token_file),
            client_secret: None,
            authority_host: Some("https://login.fake.invalid/".to_owned()),
            in_cluster: true,
        };
        let entra = config::Entra::default();
        let settings = Settings {
            limit: LIMIT,
            stand_in: Some(at),
            ..Settings::of_source(&entra, Cloud::Public)
        };
        let clock = Ahead::new();
        let pod = Self {
            folder,
            environment,
            settings,
            clock,
        };
        pod.write_token(&assertion(1));
        pod
    }

    fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    fn write_token(&self, text: &str) {
        fs::write(self.token_file(), text).unwrap();
    }

    fn entra(&self) -> Entra<Ahead> {
        Entra::new(&self.settings, &self.environment, Rc::clone(&self.clock)).unwrap()
    }

    /// The failure of the first request, which holds no secret.
    fn refused(&self) -> Failure {
        let error = without_secret(run(self.entra().bearer()).unwrap_err());
        let EntraError::NoToken { mut tried } = error else {
            panic!("{error}");
        };
        assert_eq!(tried.len(), 1);
        assert!(tried[0].identity.starts_with("workload identity `client-1`"));
        tried.remove(0).failure
    }
}

/// A federated token, which looks like one.
fn assertion(number: usize) -> String {
    format!("eyJhbGciOi{CANARY}.eyJzdWIiOi{number}{CANARY}.c2lnbmF0dXJl{CANARY}")
}

fn response(status: &str, headers: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

/// A token that lives for so many seconds. With at most 300, the library does not keep it.
fn token(number: usize, lives_s: u32) -> String {
    let body = format!(
        r#"{{"token_type":"Bearer","expires_in":{lives_s},"access_token":"token-{number}-{CANARY}"}}"#
    );
    response("200 OK", "Content-Type: application/json\r\n", &body)
}

fn bearer(number: usize) -> String {
    format!("Bearer token-{number}-{CANARY}")
}

fn receive(stream: &TcpStream) -> std::io::Result<Heard> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut heard = Heard::default();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        match line.split_once(": ") {
            Some((name, value)) if !heard.line.is_empty() => {
                heard.headers.insert(name.to_lowercase(), value.to_owned());
            }
            _ => line.clone_into(&mut heard.line),
        }
    }
    let length = heard.headers.get("content-length");
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body)?;
    let mut url = reqwest::Url::parse("http://form").unwrap();
    url.set_query(Some(std::str::from_utf8(&body).unwrap()));
    heard.form = url.query_pairs().into_owned().collect();
    Ok(heard)
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

fn without_secret(error: EntraError) -> EntraError {
    let source = SourceError::from(&error);
    let shown = format!("{error} {error:?} {error:#?} {source} {source:?}");
    assert!(!shown.contains(CANARY), "{shown}");
    error
}

async fn value(entra: &Entra<Ahead>) -> String {
    entra.bearer().await.unwrap().to_str().unwrap().to_owned()
}

#[test]
fn a_pod_exchanges_its_own_token_once_however_many_ask() {
    let authority = Authority::saying(vec![token(0, 3600), token(1, 3600)]);
    let pod = authority.pod();
    let entra = pod.entra();
    let other = entra.clone();
    run(async {
        let (first, second) = futures_util::future::join(value(&entra), value(&other)).await;
        assert_eq!((first, second), (bearer(0), bearer(0)));
        assert_eq!(value(&entra).await, bearer(0));
        assert!(entra.bearer().await.unwrap().is_sensitive());
    });
    let heard = authority.heard();
    assert_eq!(heard.len(), 1, "one request for all");
    assert_eq!(heard[0].line, "POST /tenant-1/oauth2/v2.0/token HTTP/1.1");
    assert_eq!(heard[0].headers["host"], "login.fake.invalid");
    assert_eq!(
        heard[0].headers["content-type"],
        "application/x-www-form-urlencoded"
    );
    let assertion_type = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer".to_owned();
    let expected: BTreeMap<String, String> = [
        ("client_assertion", assertion(1)),
        ("client_assertion_type", assertion_type),
        ("client_id", "client-1".to_owned()),
        ("grant_type", "client_credentials".to_owned()),
        (
            "scope",
            "https://prometheus.monitor.azure.com/.default".to_owned(),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    assert_eq!(heard[0].form, expected);
    let shown = format!("{entra:?} {:?} {:?}", pod.settings, pod.environment);
    assert!(!shown.contains(CANARY), "{shown}");
    let identity = "workload identity `client-1` of tenant `tenant-1` at login.fake.invalid";
    assert_eq!(entra.identity(), identity);
}

#[test]
fn an_application_asks_with_its_secret_of_that_moment() {
    let authority = Authority::saying(vec![token(0, 60), token(1, 3600)]);
    let mut pod = authority.pod();
    let file = pod.folder.path().join("secret");
    let configured = config::Entra {
        client_id: Some("app".to_owned()),
        client_secret_file: Some(file.to_str().unwrap().to_owned()),
        tenant_id: Some("tenant-2".to_owned()),
        ..config::Entra::default()
    };
    pod.settings = Settings {
        stand_in: pod.settings.stand_in,
        limit: pod.settings.limit,
        ..Settings::of_source(&configured, Cloud::Public)
    };
    let entra = pod.entra();
    let EntraError::NoToken { tried } = run(entra.bearer()).unwrap_err() else {
        panic!("there is no secret yet");
    };
    assert!(
        matches!(tried[0].failure, Failure::SecretFile { .. }),
        "{tried:?}"
    );
    for number in [0, 1] {
        fs::write(&file, format!("{CANARY}-{number}\n")).unwrap();
        assert_eq!(run(value(&entra)), bearer(number));
        pod.clock.forward(58_000);
    }
    for (number, heard) in authority.heard().iter().enumerate() {
        assert_eq!(heard.line, "POST /tenant-2/oauth2/v2.0/token HTTP/1.1");
        let expected: BTreeMap<String, String> = [
            ("client_id", "app".to_owned()),
            ("client_secret", format!("{CANARY}-{number}")),
            ("grant_type", "client_credentials".to_owned()),
            (
                "scope",
                "https://prometheus.monitor.azure.com/.default".to_owned(),
            ),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        assert_eq!(heard.form, expected);
    }
    let shown = format!("{entra:?} {:?} {}", pod.settings, entra.identity());
    assert!(!shown.contains(CANARY), "{shown}");
    assert!(
        shown.contains("the secret of `app` of tenant `tenant-2` at login.fake.invalid"),
        "{shown}"
    );
}

#[test]
fn an_authority_that_repeats_the_secret_of_an_application_is_not_quoted() {
    let said = format!("you sent client_secret={CANARY}%2F7 which is {CANARY}/7");
    let authority = Authority::saying(vec![response("400 Bad Request", "", &said)]);
    let mut pod = authority.pod();
    pod.environment = Environment {
        token_file: None,
        client_secret: Some(format!("{CANARY}/7").into()),
        ..pod.environment
    };
    without_secret(run(pod.entra().bearer()).unwrap_err());
}

#[test]
fn a_secret_of_the_environment_is_used_and_not_shown() {
    let authority = Authority::saying(vec![token(0, 3600)]);
    let mut pod = authority.pod();
    pod.environment = Environment {
        token_file: None,
        client_secret: Some(CANARY.into()),
        ..pod.environment
    };
    let entra = pod.entra();
    assert_eq!(run(value(&entra)), bearer(0));
    assert_eq!(authority.heard()[0].form["client_secret"], CANARY);
    let shown = format!("{entra:?} {:?}", pod.environment);
    assert!(!shown.contains(CANARY), "{shown}");
}

#[test]
fn identity_and_audience_of_the_configuration_come_before_those_of_the_pod() {
    let authority = Authority::saying(vec![token(0, 3600)]);
    let mut pod = authority.pod();
    let configured = config::Entra {
        client_id: Some("client-2".to_owned()),
        audience: Some("api://metrics".to_owned()),
        ..config::Entra::default()
    };
    pod.settings = Settings {
        stand_in: pod.settings.stand_in,
        ..Settings::of_source(&configured, Cloud::UsGovernment)
    };
    pod.environment.authority_host = None;
    assert_eq!(run(value(&pod.entra())), bearer(0));
    let heard = &authority.heard()[0];
    assert_eq!(heard.form["client_id"], "client-2");
    assert_eq!(heard.form["scope"], "api://metrics/.default");
    assert_eq!(heard.headers["host"], "login.microsoftonline.us");
}

#[test]
fn a_token_is_replaced_before_its_end_with_the_pods_token_of_that_time() {
    let authority = Authority::saying(vec![token(0, 200), token(1, 200)]);
    let pod = authority.pod();
    let entra = pod.entra();
    run(async {
        assert_eq!(value(&entra).await, bearer(0));
        pod.write_token(&format!("{}\n", assertion(2)));
        pod.clock.forward(90_000);
        assert_eq!(value(&entra).await, bearer(0), "half of its life is left");
        pod.clock.forward(15_000);
        assert_eq!(value(&entra).await, bearer(1));
    });
    let heard = authority.heard();
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[0].form["client_assertion"], assertion(1));
    assert_eq!(heard[1].form["client_assertion"], assertion(2));
}

#[test]
fn a_token_that_its_server_refuses_is_replaced_and_not_more_often_than_once_a_minute() {
    let authority = Authority::saying(vec![token(0, 3600), token(1, 3600), token(2, 3600)]);
    let pod = authority.pod();
    let entra = pod.entra();
    let refuse = |number: usize| entra.refused(bearer(number).strip_prefix("Bearer ").unwrap());
    run(async {
        assert_eq!(value(&entra).await, bearer(0));
        refuse(0);
        assert_eq!(value(&entra).await, bearer(0), "it is new");
        pod.clock.forward(60_000);
        refuse(7);
        assert_eq!(value(&entra).await, bearer(0), "that was another one");
        refuse(0);
        assert_eq!(value(&entra).await, bearer(1));
        refuse(0);
        refuse(1);
        assert_eq!(value(&entra).await, bearer(1));
    });
    assert_eq!(authority.heard().len(), 2);
}

#[test]
fn a_token_that_cannot_be_replaced_is_used_to_its_end() {
    let denied = response("400 Bad Request", "", &aadsts(""));
    let authority = Authority::saying(vec![
        token(0, 200),
        denied.clone(),
        denied.clone(),
        denied,
        token(4, 200),
    ]);
    let pod = authority.pod();
    let entra = pod.entra();
    run(async {
        assert_eq!(value(&entra).await, bearer(0));
        assert_eq!(entra.trouble(), None);
        pod.clock.forward(120_000);
        for _ in 0..3 {
            assert_eq!(value(&entra).await, bearer(0), "it is good for 80 s");
        }
        assert_eq!(
            authority.heard().len(),
            2,
            "it is used in peace after one failure"
        );
        assert!(
            without_secret(entra.trouble().unwrap())
                .to_string()
                .contains("AADSTS70021")
        );
        pod.clock.forward(40_000);
        assert_eq!(value(&entra).await, bearer(0), "it is good for 40 s");
        assert_eq!(authority.heard().len(), 3);
        pod.clock.forward(37_000);
        without_secret(entra.bearer().await.unwrap_err());
        assert_eq!(value(&entra).await, bearer(4));
        assert_eq!(entra.trouble(), None);
    });
    assert_eq!(authority.heard().len(), 5);
}

/// The error of an authority; `said` is said back.
fn aadsts(said: &str) -> String {
    format!(
        r#"{{"error":"invalid_client","error_description":"AADSTS70021: No matching federated identity record found for presented assertion {said}. Trace ID: 1\r\nTimestamp: 2","error_codes":[70021],"timestamp":"2"}}"#
    )
}

#[test]
fn a_refusal_is_told_with_its_code_and_not_tried_again() {
    // An authority that says back what it got.
    let said = assertion(1);
    let parts = said.replace('.', " ");
    let authority = Authority::saying(vec![response(
        "400 Bad Request",
        "",
        &aadsts(&format!("{said} {parts}")),
    )]);
    let failure = authority.pod().refused();
    let text = failure.to_string();
    assert!(
        text.starts_with(
            "login.fake.invalid answered 400: AADSTS70021: No matching federated identity record found"
        ),
        "{text}"
    );
    assert!(text.contains("api://AzureADTokenExchange"), "{text}");
    assert_eq!(authority.heard().len(), 1);

    let authority = Authority::saying(vec![response("401 Unauthorized", "", "")]);
    assert_eq!(
        authority.pod().refused().to_string(),
        "login.fake.invalid answered 401: nothing"
    );
    let moved = response("302 Found", "Location: https://elsewhere.invalid/\r\n", "");
    let authority = Authority::saying(vec![moved]);
    assert!(matches!(
        authority.pod().refused(),
        Failure::Refused { status: 302, .. }
    ));
    assert_eq!(authority.heard().len(), 1);
}

#[test]
fn what_may_pass_is_tried_again_within_the_time() {
    let broken = response("500 Internal Server Error", "", "<html>Oops</html>");
    let authority = Authority::saying(vec![broken.clone(), token(1, 3600)]);
    assert_eq!(run(value(&authority.pod().entra())), bearer(1));

    let authority = Authority::saying(vec![broken]);
    let began = Instant::now();
    let failure = authority.pod().refused();
    assert!(began.elapsed() < LIMIT * 3, "{:?}", began.elapsed());
    let text = failure.to_string();
    assert!(text.contains("answered 500: <html>Oops</html>"), "{text}");
    assert!(authority.heard().len() > 1);

    // Whoever asks for more time than there is gets none.
    let throttled = response("429 Too Many Requests", "Retry-After: 20\r\n", "");
    let authority = Authority::saying(vec![throttled]);
    let error = run(authority.pod().entra().bearer()).unwrap_err();
    assert_eq!(
        SourceError::from(&error).kind,
        SourceErrorKind::Throttled(Some(20_000))
    );
    assert!(error.is_transient());
    assert_eq!(authority.heard().len(), 1);
}

#[test]
fn an_authority_that_hangs_costs_its_time_and_no_more_however_many_wait() {
    let authority = Authority::new(|_, stream| stream.read(&mut [0]).map(drop));
    let pod = authority.pod();
    let entra = pod.entra();
    let began = Instant::now();
    let waiting = (0..8).map(|_| entra.bearer());
    let results = run(futures_util::future::join_all(waiting));
    assert!(began.elapsed() < LIMIT * 3, "{:?}", began.elapsed());
    for result in results {
        let error = without_secret(result.unwrap_err());
        assert_eq!(
            (error.as_str(), error.is_transient()),
            ("timeout", true),
            "{error}"
        );
    }
    // Nobody is there at all.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = Pod::new(nobody).refused().to_string();
    assert!(text.contains("cannot reach login.fake.invalid"), "{text}");
}

#[test]
fn a_token_that_is_good_is_not_held_up_by_an_authority_that_hangs() {
    let authority = Authority::new(|number, stream| match number {
        0 => stream.write_all(token(0, 200).as_bytes()),
        _ => stream.read(&mut [0]).map(drop),
    });
    let pod = authority.pod();
    let entra = pod.entra();
    run(async {
        assert_eq!(value(&entra).await, bearer(0));
        pod.clock.forward(120_000);
        assert_eq!(value(&entra).await, bearer(0));
    });
    assert_eq!(without_secret(entra.trouble().unwrap()).as_str(), "timeout");
}

#[test]
fn what_is_no_token_is_none_and_is_not_repeated() {
    let said = |body: &str| {
        Authority::saying(vec![response("200 OK", "", body)])
            .pod()
            .refused()
    };
    for body in [
        String::new(),
        "<html>Sign in</html>".to_owned(),
        format!("[\"{CANARY}\"]"),
        format!(r#"{{"access_token":["{CANARY}"],"expires_in":3600}}"#),
        format!(r#"{{"access_token":"{CANARY}","expires_in":"{CANARY}"}}"#),
        format!(r#"{{"access_token":"{CANARY}","expires_in":-5}}"#),
        format!(r#"{{"access_token":"{CANARY}"}}"#),
        format!(r#"{{"access_token":"{CANARY}\nX-Injected: 1","expires_in":3600}}"#),
        r#"{"expires_in":3600}"#.to_owned(),
        format!(
            r#"{{"access_token":"{}","expires_in":3600}}"#,
            CANARY.repeat(40_000)
        ),
    ] {
        let failure = said(&body);
        let shown: String = body.chars().take(80).collect();
        assert!(matches!(failure, Failure::Malformed { .. }), "{shown}: {failure}");
    }
    // The connection breaks in the middle.
    let cut = token(0, 3600).replace("token_type", "token_type_and_more");
    let authority = Authority::saying(vec![cut[..cut.len() - 20].to_owned()]);
    authority.pod().refused();
}

#[test]
fn the_pods_token_may_be_missing_and_come_later() {
    let authority = Authority::saying(vec![token(0, 3600)]);
    let pod = authority.pod();
    fs::remove_file(pod.token_file()).unwrap();
    let entra = pod.entra();
    let missing = run(entra.bearer()).unwrap_err();
    assert!(
        missing.to_string().contains("cannot read the pod's token"),
        "{missing}"
    );
    assert!(missing.is_transient());
    for text in ["", "\n", &CANARY.repeat(10_000)] {
        pod.write_token(text);
        let error = without_secret(run(entra.bearer()).unwrap_err());
        assert!(
            error.to_string().contains("cannot read the pod's token"),
            "{error}"
        );
    }
    assert_eq!(authority.heard().len(), 0);
    pod.write_token(&assertion(1));
    assert_eq!(run(value(&entra)), bearer(0));
}

/// A token of a machine's identity.
fn machine_token(number: usize) -> String {
    let body = format!(
        r#"{{"access_token":"token-{number}-{CANARY}","expires_on":"4102444800","resource":"r","token_type":"Bearer"}}"#
    );
    response("200 OK", "", &body)
}

#[test]
fn a_machine_asks_its_metadata_service() {
    let authority = Authority::saying(vec![response("404 Not Found", "", ""), machine_token(1)]);
    let mut pod = authority.pod();
    pod.environment = Environment {
        in_cluster: true,
        ..Environment::default()
    };
    pod.settings.client_id = Some("client-2".to_owned());
    let entra = pod.entra();
    run(async {
        assert_eq!(value(&entra).await, bearer(1), "a 404 may pass");
        assert_eq!(value(&entra).await, bearer(1));
    });
    assert_eq!(entra.identity(), "the managed identity `client-2`");
    let heard = authority.heard();
    assert_eq!(heard.len(), 2);
    assert_eq!(heard[1].headers["host"], "169.254.169.254");
    assert_eq!(heard[1].headers["metadata"], "true");
    for part in [
        "GET /metadata/identity/oauth2/token?",
        "resource=https%3A%2F%2Fprometheus.monitor.azure.com&",
        "client_id=client-2",
    ] {
        assert!(heard[1].line.contains(part), "{}", heard[1].line);
    }
}

#[test]
fn a_machine_without_that_identity_says_so() {
    let body = r#"{"error":"invalid_request","error_description":"Identity not found"}"#;
    let authority = Authority::saying(vec![response("400 Bad Request", "", body)]);
    let mut pod = authority.pod();
    pod.settings.identity = Identity::Managed;
    let error = without_secret(run(pod.entra().bearer()).unwrap_err());
    assert_eq!(
        error.to_string(),
        "no token of Microsoft Entra: by the managed identity `client-1`: 169.254.169.254 answered 400: Identity not found"
    );
    assert_eq!(SourceError::from(&error).kind, SourceErrorKind::Status(400));
    assert!(!error.is_transient());
}

/// Runs a test of this file in a process of its own: the library reads some variables from nowhere else.
fn alone(test: &str, variables: &[(&str, &str)]) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env("GPUSCALE_TEST_ALONE", "1")
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let passed = String::from_utf8_lossy(&output.stdout).contains("1 passed");
    assert!(passed, "there is no test of that name");
}

fn is_alone() -> bool {
    std::env::var("GPUSCALE_TEST_ALONE").is_ok()
}

#[test]
fn a_process_of_app_service_asks_the_service_that_it_is_told() {
    if is_alone() {
        let at = std::env::var("IDENTITY_ENDPOINT").unwrap();
        let at: SocketAddr = at
            .trim_start_matches("http://")
            .trim_end_matches("/msi/token")
            .parse()
            .unwrap();
        let mut pod = Pod::new(at);
        pod.settings.identity = Identity::Managed;
        pod.settings.stand_in = None;
        let entra = pod.entra();
        assert_eq!(run(value(&entra)), bearer(1));
        let refused = Entra::new(&pod.settings, &pod.environment, Ahead::new()).unwrap();
        let error = without_secret(run(refused.bearer()).unwrap_err());
        assert!(error.to_string().contains("answered 403"), "{error}");
        return;
    }
    let failures = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&failures);
    let service = Authority::new(move |number, stream| {
        let secret = format!("secret-{CANARY}");
        let answer = match number {
            0 => machine_token(1),
            _ => response("403 Forbidden", "", &format!("{secret} is not the secret")),
        };
        counted.fetch_add(number, Ordering::SeqCst);
        stream.write_all(answer.as_bytes())
    });
    alone(
        "a_process_of_app_service_asks_the_service_that_it_is_told",
        &[
            ("IDENTITY_ENDPOINT", &format!("http://{}/msi/token", service.at)),
            ("IDENTITY_HEADER", &format!("secret-{CANARY}")),
        ],
    );
    let heard = service.heard();
    assert_eq!((heard.len(), failures.load(Ordering::SeqCst)), (2, 1));
    assert_eq!(heard[0].headers["x-identity-header"], format!("secret-{CANARY}"));
    assert!(
        heard[0]
            .line
            .starts_with("GET /msi/token?api-version=2019-08-01&resource="),
        "{}",
        heard[0].line
    );
}

#[test]
fn on_a_desk_the_login_of_the_azure_cli_is_the_last_resort() {
    // Nobody is at the machine's address.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    if is_alone() {
        let mut pod = Pod::new(nobody);
        pod.environment = Environment::default();
        let entra = pod.entra();
        let both = "the system-assigned managed identity, else the login of the Azure CLI";
        assert_eq!(entra.identity(), both);
        if std::env::var("AZ_FAILS").is_ok() {
            let text = without_secret(run(entra.bearer()).unwrap_err()).to_string();
            for part in [
                "managed identity: cannot reach 169.254.169.254",
                "Azure CLI: `az account",
                "az login",
            ] {
                assert!(text.contains(part), "{text}");
            }
        } else {
            assert_eq!(run(value(&entra)), bearer(1));
            assert_eq!(entra.identity(), "the login of the Azure CLI");
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let az = folder.path().join("az");
    let path = ("PATH", folder.path().to_str().unwrap());
    let test = "on_a_desk_the_login_of_the_azure_cli_is_the_last_resort";
    let says = |script: &str| {
        fs::write(&az, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&az, fs::Permissions::from_mode(0o755)).unwrap();
    };
    says(&format!(
        r#"echo '{{"accessToken":"token-1-{CANARY}","expires_on":4102444800,"tokenType":"Bearer"}}'"#
    ));
    alone(test, &[path]);
    says("echo 'Please run az login' >&2; exit 1");
    alone(test, &[path, ("AZ_FAILS", "1")]);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let pod = Pod::new("127.0.0.1:1".parse().unwrap());
    let refused = |change: &dyn Fn(&mut Settings, &mut Environment)| {
        let (mut settings, mut environment) = (pod.settings.clone(), pod.environment.clone());
        change(&mut settings, &mut environment);
        let error = Entra::new(&settings, &environment, Ahead::new())
            .map(|_| ())
            .unwrap_err();
        without_secret(error).to_string()
    };
    let away = refused(&|settings, _| settings.stand_in = Some("10.0.0.4:80".parse().unwrap()));
    assert_eq!(away, "the stand-in cannot be used: it is not on this machine");
    for audience in ["", "/.default", "two words"] {
        let refused = refused(&|settings, _| settings.scope = Settings::new(audience, Cloud::Public).scope);
        assert!(refused.starts_with("the audience cannot be used"), "{refused}");
    }
    let plain =
        refused(&|_, environment| environment.authority_host = Some("http://login.fake.invalid".to_owned()));
    assert!(plain.contains("HTTPS"), "{plain}");
    let tenant = refused(&|_, environment| environment.tenant_id = None);
    assert!(
        tenant.contains("`AZURE_TENANT_ID`") && tenant.contains("azure.workload.identity/use"),
        "{tenant}"
    );
    refused(&|settings, _| settings.limit = Duration::ZERO);
    refused(&|_, environment| environment.tenant_id = Some("a/../b".to_owned()));
}

/// Gives every source the tokens of one pod.
struct OfPod(Pod);

impl Issuer for OfPod {
    fn entra(&self, _: &config::Entra, cloud: Cloud) -> Result<Rc<dyn Tokens>, String> {
        assert_eq!(cloud, Cloud::Public);
        Ok(Rc::new(self.0.entra()))
    }
}

#[test]
fn a_source_of_the_configuration_asks_with_the_token_and_says_so_when_there_is_none() {
    let refusal = response(
        "400 Bad Request",
        "",
        &aadsts("AADSTS70021: no matching federated identity"),
    );
    let authority = Authority::saying(vec![token(0, 3600), refusal]);
    let empty = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
    let server = Authority::saying(vec![response("200 OK", "", empty)]);
    let config = format!(
        "metricsSources:\n  one: {{ azureManagedPrometheus: {{ endpoint: 'http://{at}' }} }}\n  two: {{ prometheus: {{ url: \
         'http://{at}/x', entra: {{}} }} }}\n",
        at = server.at
    );
    let config = config::Config::parse(&config).unwrap();
    let pods = OfPod(authority.pod());
    let sources = Sources::connect(&config, &pods.0.clock, &Rc::new(SystemRandomness), &pods).unwrap();
    let selector = Selector::Metric {
        name: "DCGM_FI_DEV_GPU_UTIL",
        match_labels: Vec::new(),
    };
    let read = |source: &'static str| {
        let request = ReadRequest {
            source,
            selector: &selector,
            window_ms: 60_000,
            as_of_ms: None,
        };
        run(sources.read(&request)).map(|answer| answer.series.len())
    };
    assert_eq!(read("one"), Ok(0));
    assert_eq!(server.heard()[0].headers["authorization"], bearer(0));
    // Each source has an identity of its own, and that of the other one is refused.
    let error = read("two").unwrap_err();
    assert_eq!(error.kind, SourceErrorKind::Credential);
    assert!(error.message.contains("AADSTS70021"), "{error}");
    assert!(!format!("{error:?} {sources:?}").contains(CANARY));
    assert_eq!(server.heard().len(), 1, "nothing is asked without a token");
}

#[test]
fn a_source_that_refuses_a_token_is_asked_with_another_one() {
    let authority = Authority::saying(vec![token(0, 3600), token(1, 3600)]);
    let empty = r#"{"status":"success","data":{"resultType":"matrix","result":[]}}"#;
    let taken = response("200 OK", "", empty);
    let refused = response("401 Unauthorized", "", "");
    let server = Authority::saying(vec![taken.clone(), refused, taken]);
    let config = format!(
        "metricsSources: {{ one: {{ azureManagedPrometheus: {{ endpoint: 'http://{}' }} }} }}",
        server.at
    );
    let config = config::Config::parse(&config).unwrap();
    let pods = OfPod(authority.pod());
    let sources = Sources::connect(&config, &pods.0.clock, &Rc::new(SystemRandomness), &pods).unwrap();
    let selector = Selector::Metric {
        name: "DCGM_FI_DEV_GPU_UTIL",
        match_labels: Vec::new(),
    };
    let request = ReadRequest {
        source: "one",
        selector: &selector,
        window_ms: 60_000,
        as_of_ms: None,
    };
    let read = || {
        pods.0.clock.forward(60_000);
        run(sources.read(&request)).map(drop).map_err(|error| error.kind)
    };
    assert_eq!(read(), Ok(()));
    assert_eq!(read(), Err(SourceErrorKind::Status(401)));
    assert_eq!(read(), Ok(()));
    let heard = server.heard();
    let sent: Vec<&str> = heard
        .iter()
        .map(|heard| &*heard.headers["authorization"])
        .collect();
    assert_eq!(sent, [bearer(0), bearer(0), bearer(1)]);
}
