//! A real browser for the tests: Chromium, driven through `chromedriver` by the `WebDriver` protocol.
//!
//! Each [`Browser`] starts a driver of its own on a free port of the loopback and a Chromium with an empty profile, and
//! ends both when it is dropped. Where the two programs are is said by `backends`, as for every other real program:
//! a test without them fails, and `GPUSCALE_SKIP_BACKENDS=chromium` is the one way not to run it.
//!
//! There is no sleeping: the browser itself waits for a condition, frame by frame, until it holds or the time is over
//! ([`Browser::wait_for`]).

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "each test binary uses its own part of the rig, and a rig that is set up wrongly should stop the test"
)]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::backends::{Program, find};

/// How long the browser waits for a condition.
const PATIENCE_MS: u64 = 15_000;

/// What Chromium must not do in a test: draw with a GPU, ask its maker for anything, remember anything.
const FLAGS: [&str; 11] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
];

/// Where the browser is, or `None` if the environment says to do without.
///
/// # Panics
///
/// If it is neither there nor waived.
pub fn binaries() -> Option<Binaries> {
    Some(Binaries {
        driver: find(Program::Chromedriver)?,
        chromium: find(Program::Chromium)?,
    })
}

/// The two programs.
#[derive(Debug, Clone)]
pub struct Binaries {
    driver: PathBuf,
    chromium: PathBuf,
}

/// A running driver, which ends with its owner.
struct Driver {
    process: Child,
    /// A driver whose output nobody holds any more would die of its next line.
    output: BufReader<ChildStdout>,
}

impl Driver {
    /// Starts a driver; with it comes the port that it chose.
    fn start(program: &Path) -> (Self, u16) {
        let mut process = Command::new(program)
            .arg("--port=0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let output = BufReader::new(process.stdout.take().unwrap());
        let mut driver = Self { process, output };
        let mut lines = driver.output.by_ref().lines().map_while(Result::ok);
        let port = lines.find_map(|line| {
            line.split_once("started successfully on port ")?
                .1
                .trim_end_matches('.')
                .parse()
                .ok()
        });
        (driver, port.expect("the driver says on which port it listens"))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A browser with one window.
pub struct Browser {
    session: String,
    agent: ureq::Agent,
    // In this order: the driver ends before the profile that its browser writes to is removed.
    driver: Driver,
    profile: TempDir,
}

impl Browser {
    /// Starts a driver and a browser whose window is `width` × `height`.
    pub fn start(binaries: &Binaries, width: u32, height: u32) -> Self {
        let profile = tempfile::tempdir().unwrap();
        let (driver, port) = Driver::start(&binaries.driver);
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(60)))
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .into();
        let mut browser = Self {
            driver,
            session: format!("http://127.0.0.1:{port}/session"),
            agent,
            profile,
        };
        let mut arguments: Vec<String> = FLAGS.iter().map(ToString::to_string).collect();
        arguments.push(format!("--window-size={width},{height}"));
        arguments.push(format!("--user-data-dir={}", browser.profile.path().display()));
        let answer = browser.post(
            "",
            &json!({ "capabilities": { "alwaysMatch": {
                "browserName": "chrome",
                "timeouts": { "script": PATIENCE_MS + 5_000 },
                "goog:chromeOptions": { "binary": binaries.chromium, "args": arguments },
                "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
            } } }),
        );
        let id = answer["sessionId"]
            .as_str()
            .expect("a session has an id")
            .to_owned();
        let _ = write!(browser.session, "/{id}");
        // The page of a new tab loads much of its own; leave it, and forget what it asked for.
        browser.post("/url", &json!({ "url": "about:blank" }));
        browser.log("performance");
        browser
    }

    fn answer(sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>, what: &str) -> Value {
        let mut response = sent.unwrap_or_else(|error| panic!("{what}: {error}"));
        let mut body: Value = response
            .body_mut()
            .with_config()
            .limit(64 << 20)
            .read_json()
            .unwrap();
        let value = body["value"].take();
        assert!(
            response.status().is_success(),
            "{what}: {}: {}",
            value["error"],
            value["message"]
        );
        value
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        let url = format!("{}{command}", self.session);
        Self::answer(self.agent.post(&url).send_json(body), command)
    }

    fn get(&self, command: &str) -> Value {
        let url = format!("{}{command}", self.session);
        Self::answer(self.agent.get(&url).call(), command)
    }

    /// Opens a file.
    pub fn open(&self, file: &Path) {
        let url = format!("file://{}", file.canonicalize().unwrap().display());
        self.post("/url", &json!({ "url": url }));
    }

    /// What a script returns.
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Waits until an expression is true and returns it.
    ///
    /// # Panics
    ///
    /// If it does not become true in time.
    pub fn wait_for(&self, expression: &str) -> Value {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             const end = performance.now() + {PATIENCE_MS};
             const look = () => {{
               let value;
               try {{ value = ({expression}); }} catch (error) {{ return done({{ error: String(error) }}); }}
               if (value) return done({{ value }});
               if (performance.now() > end) return done({{ error: 'still ' + JSON.stringify(value) }});
               setTimeout(look, 10);
             }};
             look();"
        );
        let mut answer = self.post("/execute/async", &json!({ "script": script, "args": [] }));
        assert!(
            answer.get("error").is_none(),
            "waited for `{expression}`: {}",
            answer["error"]
        );
        answer["value"].take()
    }

    /// Performs input: the `actions` of the `WebDriver` protocol.
    fn act(&self, sources: &Value) {
        self.post("/actions", &json!({ "actions": sources }));
    }

    /// Presses keys one after another, `Shift` and the like not among them.
    pub fn press(&self, keys: &[&str]) {
        let strokes: Vec<Value> = keys
            .iter()
            .flat_map(|key| ["keyDown", "keyUp"].map(|kind| json!({ "type": kind, "value": key })))
            .collect();
        self.act(&json!([{ "type": "key", "id": "keyboard", "actions": strokes }]));
    }

    /// Moves the pointer to a place in the window.
    pub fn point(&self, x: i64, y: i64) {
        self.act(
            &json!([{ "type": "pointer", "id": "mouse", "parameters": { "pointerType": "mouse" },
            "actions": [{ "type": "pointerMove", "x": x, "y": y, "duration": 0 }] }]),
        );
    }

    /// Presses the button, moves, and lets go; with shift held or not.
    pub fn drag(&self, from: (i64, i64), to: (i64, i64), held: Held) {
        let pause = json!({ "type": "pause" });
        let shift = |kind: &str| match held {
            Held::Shift => json!({ "type": kind, "value": "\u{e008}" }),
            Held::Nothing => pause.clone(),
        };
        let middle = (i64::midpoint(from.0, to.0), i64::midpoint(from.1, to.1));
        let go = |(x, y): (i64, i64)| json!({ "type": "pointerMove", "x": x, "y": y, "duration": 0 });
        self.act(&json!([
            { "type": "key", "id": "keyboard",
              "actions": [shift("keyDown"), pause, pause, pause, pause, shift("keyUp")] },
            { "type": "pointer", "id": "mouse", "parameters": { "pointerType": "mouse" },
              "actions": [go(from), { "type": "pointerDown", "button": 0 }, go(middle), go(to),
                          { "type": "pointerUp", "button": 0 }, pause] },
        ]));
    }

    /// Turns the wheel at a place; negative is away from oneself.
    pub fn wheel(&self, x: i64, y: i64, by: i64) {
        self.act(&json!([{ "type": "wheel", "id": "wheel", "actions": [
            { "type": "scroll", "x": x, "y": y, "deltaX": 0, "deltaY": by, "duration": 0 }] }]));
    }

    /// Calls the `DevTools` protocol.
    pub fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.post(
            "/goog/cdp/execute",
            &json!({ "cmd": command, "params": parameters }),
        )
    }

    /// Makes the window's content `width` × `height` as a device of that size would have it.
    pub fn resize(&self, width: u32, height: u32) {
        self.devtools(
            "Emulation.setDeviceMetricsOverride",
            &json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false }),
        );
    }

    /// Pretends that the system prefers `light` or `dark`.
    pub fn prefer(&self, scheme: &str) {
        self.devtools(
            "Emulation.setEmulatedMedia",
            &json!({ "features": [{ "name": "prefers-color-scheme", "value": scheme }] }),
        );
    }

    /// A picture of the window, as PNG in base64.
    pub fn picture(&self) -> String {
        self.get("/screenshot").as_str().unwrap().to_owned()
    }

    /// Messages since the last call, of the console (`browser`) or of the protocol (`performance`).
    pub fn log(&self, kind: &str) -> Vec<Value> {
        let entries = self.post("/se/log", &json!({ "type": kind }));
        entries.as_array().cloned().unwrap_or_default()
    }

    /// Addresses that were asked for since the last call of this.
    pub fn requests(&self) -> Vec<String> {
        let entries = self.log("performance").into_iter().filter_map(|entry| {
            let message: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            (message["message"]["method"] == "Network.requestWillBeSent").then(|| {
                message["message"]["params"]["request"]["url"]
                    .as_str()
                    .map(str::to_owned)
            })?
        });
        entries.collect()
    }
}

/// Keys held during a drag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// None.
    Nothing,
    /// Shift.
    Shift,
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends Chromium, which would outlive a driver that is killed. Nothing may panic here; if the session does not
        // answer, the driver is asked to end whatever it has started.
        if self.agent.delete(&self.session).call().is_err()
            && let Some((driver, _)) = self.session.split_once("/session")
        {
            let _ = self.agent.get(&format!("{driver}/shutdown")).call();
        }
    }
}
