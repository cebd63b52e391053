//! The real programs that tests run against: where they are, and how one is started, asked and ended.
//!
//! `.ci/provision` brings the programs and writes where it put them. A test asks for a [`Program`] and gets a path, or
//! fails with what to do about it. Only `GPUSCALE_SKIP_BACKENDS` lets it get nothing, and that is said aloud past the
//! test runner's capture: a suite that did not run must not look like one that passed.
//!
//! A [`Server`] has a directory and a port of its own, listens on 127.0.0.1 only, and is killed and waited for when
//! it goes out of scope. If that happens because the test failed, the end of what it logged is shown. This module does
//! not know recordings. The browser of the tests has a rig of its own.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "each test binary uses its own part, and a backend that does not start should stop the test"
)]

pub mod exporter;

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long anything may take before the test gives up; nothing here takes a tenth of it on an idle machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often a server is started anew because another process took its port first.
const ATTEMPTS: u32 = 5;

/// A program that is not built from this repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Prometheus,
    Promtool,
    VictoriaMetrics,
    Chromium,
    Chromedriver,
    /// A Python that has Microsoft's client for AKS.
    AzureSdk,
}

impl Program {
    /// The variable that points to it.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Prometheus => "PROMETHEUS_BIN",
            Self::Promtool => "PROMTOOL_BIN",
            Self::VictoriaMetrics => "VICTORIA_METRICS_BIN",
            Self::Chromium => "CHROMIUM_BIN",
            Self::Chromedriver => "CHROMEDRIVER_BIN",
            Self::AzureSdk => "AZURE_SDK_PYTHON",
        }
    }

    /// Its file on PATH.
    pub const fn file(self) -> &'static str {
        match self {
            Self::Prometheus => "prometheus",
            Self::Promtool => "promtool",
            Self::VictoriaMetrics => "victoria-metrics",
            Self::Chromium => "chromium",
            Self::Chromedriver => "chromedriver",
            // Any other Python lacks the client.
            Self::AzureSdk => "python-with-azure-sdk",
        }
    }

    /// The word for it in `GPUSCALE_SKIP_BACKENDS`.
    pub const fn backend(self) -> &'static str {
        match self {
            Self::Prometheus | Self::Promtool => "prometheus",
            Self::VictoriaMetrics => "victoria-metrics",
            Self::Chromium | Self::Chromedriver => "chromium",
            Self::AzureSdk => "azure-sdk",
        }
    }
}

/// What is known of a program before it is looked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Hints<'a> {
    /// `GPUSCALE_SKIP_BACKENDS`: words of [`Program::backend`], separated by commas or spaces.
    pub skip: &'a str,
    /// The value of the program's variable, if it is set.
    pub variable: Option<&'a OsStr>,
    /// `PATH`.
    pub path: &'a OsStr,
    /// What `.ci/provision` wrote.
    pub env_file: &'a str,
}

/// Where a program is.
#[derive(Debug, PartialEq, Eq)]
pub enum Place {
    At(PathBuf),
    Skipped,
    /// Nowhere; the text says what to do.
    Missing(String),
}

/// Looks for a program: its variable, then PATH, then where `.ci/provision` put it. A variable that points nowhere is
/// an error and not a reason to take another program than the one that was meant.
pub fn place(program: Program, hints: Hints<'_>) -> Place {
    let (variable, backend) = (program.variable(), program.backend());
    if hints.skip.split([',', ' ']).any(|word| word == backend) {
        return Place::Skipped;
    }
    if let Some(given) = hints.variable.filter(|given| !given.is_empty()) {
        let given = PathBuf::from(given);
        return if given.is_file() {
            Place::At(given)
        } else {
            Place::Missing(format!("{variable} is `{}`, which is no file", given.display()))
        };
    }
    let on_path = std::env::split_paths(hints.path).map(|folder| folder.join(program.file()));
    let provided = hints.env_file.lines().find_map(|line| {
        let value = line.strip_prefix("export ")?.strip_prefix(variable)?;
        Some(PathBuf::from(value.strip_prefix("='")?.strip_suffix('\'')?))
    });
    match on_path.chain(provided).find(|path| path.is_file()) {
        Some(found) => Place::At(found),
        None => Place::Missing(format!(
            "there is no {file}: run `sh .ci/provision`, or set {variable} to the path of one, or leave out what \
             needs it with GPUSCALE_SKIP_BACKENDS={backend}",
            file = program.file(),
        )),
    }
}

/// The path of a program; nothing if it is left out on purpose, which is then said.
///
/// # Panics
///
/// If there is none.
pub fn find(program: Program) -> Option<PathBuf> {
    let skip = std::env::var("GPUSCALE_SKIP_BACKENDS").unwrap_or_default();
    let variable = std::env::var_os(program.variable());
    let hints = Hints {
        skip: &skip,
        variable: variable.as_deref(),
        path: &std::env::var_os("PATH").unwrap_or_default(),
        env_file: &env_file(),
    };
    match place(program, hints) {
        Place::At(path) => Some(path),
        Place::Missing(what) => panic!("{what}"),
        Place::Skipped => {
            // Not `eprintln!`, which the runner keeps to itself when a test passes.
            let test = std::thread::current().name().unwrap_or_default().to_owned();
            let note = format!(
                "skipped: {test}: GPUSCALE_SKIP_BACKENDS leaves out {}\n",
                program.backend()
            );
            std::io::stderr().write_all(note.as_bytes()).unwrap();
            None
        }
    }
}

/// What `.ci/provision` wrote last; empty if it never did.
fn env_file() -> String {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = set("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(Path::new(&set("HOME")?).join(".cache")));
    cache
        .and_then(|cache| fs::read_to_string(cache.join("gpuscale/backends/backends.env")).ok())
        .unwrap_or_default()
}

/// Asks `found` until it gives something. There is no event to wait for: what is polled is another process.
///
/// # Panics
///
/// If it gives nothing for a minute.
#[expect(
    clippy::disallowed_methods,
    reason = "a foreign process lives by the machine's clock, and between two questions it needs the CPU"
)]
pub fn wait_for<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < deadline, "gave up waiting for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a program that ends by itself and gives its standard output.
///
/// # Panics
///
/// If it fails, with what it said.
pub fn run<S: AsRef<OsStr>>(program: &Path, arguments: impl IntoIterator<Item = S>) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{}: {}\n{}{}",
        program.display(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    output.stdout
}

/// Answer of a server.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body of an answer that must be a success.
    pub fn ok(self) -> Vec<u8> {
        assert!(
            (200..300).contains(&self.status),
            "HTTP status {}: {}",
            self.status,
            String::from_utf8_lossy(&self.body)
        );
        self.body
    }
}

/// A running server with a directory and a port of its own.
pub struct Server {
    child: Child,
    program: PathBuf,
    arguments: Vec<String>,
    port: u16,
    folder: TempDir,
    agent: ureq::Agent,
}

impl Server {
    /// Starts `program` and waits until `ready` is true of it.
    ///
    /// `arguments` gets the server's folder and its port. `folder` may hold what it finds there.
    ///
    /// # Panics
    ///
    /// If it ends or is not ready in a minute, with the end of its log.
    pub fn start(
        program: &Path,
        folder: TempDir,
        arguments: impl Fn(&Path, u16) -> Vec<String>,
        ready: impl Fn(&Self) -> bool,
    ) -> Self {
        let mut server = Self::spawn(program, folder, &arguments);
        for attempt in 1.. {
            let ended = wait_for(&program.display().to_string(), || {
                // In this order: what ended cannot be what answered.
                let answers = ready(&server);
                match server.child.try_wait().unwrap() {
                    Some(status) => Some(Some(status)),
                    None => answers.then_some(None),
                }
            });
            let Some(status) = ended else { break };
            let log = server.log();
            let taken = log.to_ascii_lowercase().contains("address already in use");
            assert!(
                taken && attempt < ATTEMPTS,
                "{} ended with {status}",
                program.display()
            );
            server = Self::spawn(program, server.into_folder(), &arguments);
        }
        server
    }

    fn spawn(program: &Path, folder: TempDir, arguments: &impl Fn(&Path, u16) -> Vec<String>) -> Self {
        // Another process may take the port between here and the server; `start` then tries another one.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let arguments = arguments(folder.path(), port);
        let child = child(program, &arguments, folder.path());
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .proxy(None)
            .build()
            .into();
        Self {
            child,
            program: program.to_owned(),
            arguments,
            port,
            folder,
            agent,
        }
    }

    /// Kills it, so that connections are refused from here on. It keeps its directory and its port.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again after [`Server::kill`], and waits until `path` answers with success.
    pub fn start_again(&mut self, path: &str) {
        self.child = child(&self.program, &self.arguments, self.folder.path());
        wait_for("the server that was started again", || {
            self.ask(path, &[], &[]).filter(|answer| answer.status == 200)
        });
    }

    /// The address of a path, such as `/-/ready`.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The server's directory.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Asks without waiting; nothing if nobody listens.
    pub fn ask(&self, path: &str, query: &[(&str, &str)], headers: &[(&str, &str)]) -> Option<Answer> {
        let request = self.agent.get(self.url(path)).query_pairs(query.iter().copied());
        let request = headers
            .iter()
            .fold(request, |request, (name, value)| request.header(*name, *value));
        answer(request.call().ok()?)
    }

    /// Asks a server that has to answer with success.
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Vec<u8> {
        let answer = self.ask(path, query, &[]);
        answer.unwrap_or_else(|| panic!("no answer for {path}")).ok()
    }

    /// Sends a body to a server that has to answer with success.
    pub fn post(&self, path: &str, body: &[u8]) -> Vec<u8> {
        let response = self.agent.post(self.url(path)).send(body);
        let response = response.unwrap_or_else(|error| panic!("{path}: {error}"));
        answer(response)
            .unwrap_or_else(|| panic!("the answer for {path} broke off"))
            .ok()
    }

    /// Waits until a server that was told to end has ended, and gives its directory.
    pub fn ended(mut self) -> TempDir {
        wait_for("the server to end", || self.child.try_wait().unwrap());
        self.into_folder()
    }

    /// The directory of a server that is not needed any more.
    fn into_folder(mut self) -> TempDir {
        let empty = tempfile::tempdir().unwrap();
        std::mem::replace(&mut self.folder, empty)
    }

    fn log(&self) -> String {
        let bytes = fs::read(self.folder.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(30)..];
            let text = format!("the last lines of the server's log:\n{}\n", tail.join("\n"));
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }
}

fn child(program: &Path, arguments: &[String], folder: &Path) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.join("log"))
        .unwrap();
    Command::new(program)
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

fn answer(response: ureq::http::Response<ureq::Body>) -> Option<Answer> {
    let status = response.status().as_u16();
    // The default limit of 10 MB is less than a day of a small fleet.
    let body = response.into_body().into_with_config().limit(u64::MAX);
    Some(Answer {
        status,
        body: body.read_to_vec().ok()?,
    })
}

/// A Prometheus over `folder/data`, which may hold blocks, with the given configuration.
pub fn prometheus(folder: TempDir, config: &str) -> Option<Server> {
    let program = find(Program::Prometheus)?;
    fs::write(folder.path().join("prometheus.yml"), config).unwrap();
    let arguments = |folder: &Path, port: u16| {
        vec![
            format!("--config.file={}", folder.join("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", folder.join("data").display()),
            // The default of 15 days would do for new blocks only.
            "--storage.tsdb.retention.time=100y".to_owned(),
            format!("--web.listen-address=127.0.0.1:{port}"),
            // Lets `/-/quit` end it in order.
            "--web.enable-lifecycle".to_owned(),
        ]
    };
    // The flags prove that the one which answers is ours.
    let ready = |server: &Server| {
        let ours = server.folder().join("data").display().to_string();
        says(server, "/-/ready", "") && says(server, "/api/v1/status/flags", &ours)
    };
    Some(Server::start(&program, folder, arguments, ready))
}

/// An empty VictoriaMetrics, which scrapes what `scrape_config` names if there is one.
pub fn victoria_metrics(scrape_config: Option<&str>) -> Option<Server> {
    let program = find(Program::VictoriaMetrics)?;
    let folder = tempfile::tempdir().unwrap();
    if let Some(config) = scrape_config {
        fs::write(folder.path().join("scrape.yml"), config).unwrap();
    }
    let arguments = |folder: &Path, port: u16| {
        let mut arguments = vec![
            format!("-storageDataPath={}", folder.join("data").display()),
            format!("-httpListenAddr=127.0.0.1:{port}"),
            "-retentionPeriod=100y".to_owned(),
            // The newest samples are wanted, too.
            "-search.latencyOffset=0s".to_owned(),
        ];
        let scraping =
            scrape_config.map(|_| format!("-promscrape.config={}", folder.join("scrape.yml").display()));
        arguments.extend(scraping);
        arguments
    };
    let ready = |server: &Server| {
        let ours = server.folder().join("data").display().to_string();
        says(server, "/health", "OK") && says(server, "/flags", &ours)
    };
    Some(Server::start(&program, folder, arguments, ready))
}

/// Whether a server answers with success and `text` somewhere in it.
fn says(server: &Server, path: &str, text: &str) -> bool {
    server
        .ask(path, &[], &[])
        .is_some_and(|answer| answer.status == 200 && String::from_utf8_lossy(&answer.body).contains(text))
}
