//! The emulator as its clients meet it: over HTTP, held against the published contract, and as the command.

#![cfg(feature = "emulator")]
#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a fault of a fixture may end it at once"
)]

#[path = "emulator/contract.rs"]
mod contract;
#[path = "emulator/stage.rs"]
mod stage;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Command, Stdio};
use std::rc::Rc;
use std::sync::Arc;

use gpuscale::clock::{SystemClock, SystemRandomness};
use gpuscale::config::Config;
use gpuscale::control::ports::{Completeness, MetricsSource as _, ReadRequest, Selector};
use gpuscale::emulator::behavior::{Behavior, MonitorAfterEnd, Throttles};
use gpuscale::emulator::fault::{Answer, Effect, Fault, Reason, Target};
use gpuscale::emulator::message::Method;
use gpuscale::emulator::scenario::BackgroundKind;
use gpuscale::emulator::{ClockReading, Emulator, Scenario, StartError};
use gpuscale::policy::observation::Now;
use gpuscale::source::connect::{NoIdentity, Sources};
use serde_json::{Value, json};
use ureq::http::{HeaderMap, Request};

use contract::{Contract, example, missing};
use stage::{MINUTE, SECOND, Stage, runtime};

const STABLE: &str = "2026-08-01";
const PREVIEW: &str = "2026-08-02-preview";

/// An answer as it came.
struct Answered {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Answered {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    fn code(&self) -> String {
        self.json()["error"]["code"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// Sends a request. The error is one of the connection.
fn send(method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Result<Answered, ureq::Error> {
    let config = ureq::Agent::config_builder().http_status_as_error(false).build();
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = ureq::Agent::new_with_config(config).run(request.body(body.to_owned()).unwrap())?;
    Ok(Answered {
        status: response.status().as_u16(),
        headers: response.headers().clone(),
        body: response.body_mut().read_to_string()?,
    })
}

/// Requests to it, as a test writes them.
trait Requests {
    fn url(&self, part: &str, version: &str) -> String;
    fn call(&self, method: &str, part: &str, version: &str, body: &Value) -> Answered;
    fn get(&self) -> Value;
    fn put(&self, count: u32) -> Result<Answered, ureq::Error>;
    fn count(&self) -> u32;
}

impl Requests for Stage {
    fn url(&self, part: &str, version: &str) -> String {
        format!(
            "{}{}/agentPools{part}?api-version={version}",
            self.arm,
            self.handle.cluster_id()
        )
    }

    fn call(&self, method: &str, part: &str, version: &str, body: &Value) -> Answered {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        send(method, &self.url(part, version), &[], &body).unwrap()
    }

    fn get(&self) -> Value {
        self.call("GET", "/a100", STABLE, &Value::Null).json()
    }

    fn put(&self, count: u32) -> Result<Answered, ureq::Error> {
        let body = json!({ "properties": { "count": count } }).to_string();
        send("PUT", &self.url("/a100", STABLE), &[], &body)
    }

    fn count(&self) -> u32 {
        self.handle.pool("a100").unwrap().count
    }
}

const POOL: &str = "pools: { a100: { count: 2, demand: { gpus: 1.5 } } }";

#[test]
fn a_pool_is_read_resized_and_watched_over_http() {
    let stage = Stage::new(POOL);
    let mut pool = stage.get();
    assert_eq!(pool["properties"]["count"], 2);
    let etag = format!("\"{}\"", pool["properties"]["eTag"].as_str().unwrap());
    pool["properties"]["count"] = 3.into();
    pool["properties"]
        .as_object_mut()
        .unwrap()
        .remove("nodeImageVersion");
    let headers = [
        ("if-match", etag.as_str()),
        ("authorization", "Bearer secret-of-a-test"),
    ];
    let url = stage.url("/a100", STABLE);
    let put = send("PUT", &url, &headers, &pool.to_string()).unwrap();
    assert_eq!((put.status, put.header("retry-after")), (201, Some("10")));
    // Its address leads back here.
    let monitor = put.header("azure-asyncoperation").unwrap();
    assert!(monitor.starts_with(&stage.arm), "{monitor}");
    let status = || send("GET", monitor, &[], "").unwrap().json()["status"].clone();
    assert_eq!(status(), "InProgress");
    stage.wait(30 * SECOND);
    assert_eq!(status(), "Succeeded");
    let again = send("PUT", &url, &headers, &pool.to_string()).unwrap();
    assert_eq!(
        (again.status, again.code()),
        (412, "PreconditionFailed".to_owned())
    );
    // What came is known, but for the credential.
    let log = stage.handle.log();
    let put = log
        .iter()
        .find(|logged| logged.call.method == Method::Put)
        .unwrap();
    assert!(put.was_authorized() && put.call.if_match.as_deref() == Some(etag.as_str()));
    assert_eq!((put.target, put.status), (Target::PutPool, Some(201)));
    assert!(!format!("{log:?}").contains("secret-of-a-test"));
    assert_eq!(stage.handle.violations(), []);
}

#[test]
fn answers_bear_the_emulators_date() {
    let stage = Stage::new(POOL);
    stage.wait(90 * SECOND);
    let answer = stage.call("GET", "", STABLE, &Value::Null);
    assert_eq!(answer.header("date"), Some("Fri, 20 Nov 2026 12:01:30 GMT"));
}

#[test]
fn nodes_report_once_their_driver_is_there() {
    let stage = Stage::new(POOL);
    stage.put(3).unwrap();
    stage.wait(9 * MINUTE - 1);
    let values = || -> Vec<String> {
        let form = "query=DCGM_FI_DEV_GPU_UTIL%7Bagentpool%3D%22a100%22%7D";
        let url = format!("{}/api/v1/query", stage.prometheus);
        let answer = send(
            "POST",
            &url,
            &[("content-type", "application/x-www-form-urlencoded")],
            form,
        )
        .unwrap();
        let result = answer.json()["data"]["result"].as_array().unwrap().clone();
        result
            .iter()
            .map(|series| series["value"][1].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(values(), ["75", "75"]);
    let page = || {
        send(
            "GET",
            &format!("{}/nodes/aks-a100-12345678-vmss000002/metrics", stage.arm),
            &[],
            "",
        )
        .unwrap()
    };
    assert_eq!(page().status, 503);
    stage.wait(1);
    assert_eq!(values(), ["50", "50", "50"]);
    let page = page();
    assert_eq!(
        (page.status, page.header("content-type")),
        (200, Some("text/plain; version=0.0.4; charset=utf-8"))
    );
    assert!(page.body.contains("modelName=\"NVIDIA A100 80GB PCIe\""));
    let wrong = send(
        "GET",
        &format!("{}/api/v1/query?query=sum(up)", stage.prometheus),
        &[],
        "",
    )
    .unwrap();
    assert_eq!(
        (wrong.status, &wrong.json()["errorType"]),
        (400, &json!("bad_data"))
    );
}

#[test]
fn connections_are_cut_before_or_after_the_effect() {
    let stage = Stage::new(POOL);
    for (effect, expected) in [(Effect::LostRequest, 2), (Effect::LostReply, 5)] {
        stage.handle.inject(Fault::once(Target::PutPool, effect));
        assert!(stage.put(5).is_err());
        assert_eq!(stage.count(), expected);
    }
    // And the next one comes through.
    assert_eq!(stage.get()["properties"]["count"], 5);
    let lost = stage
        .handle
        .log()
        .into_iter()
        .filter(|logged| logged.status.is_none());
    assert_eq!(lost.count(), 2);
}

#[test]
fn answers_can_be_late_by_the_emulators_clock() {
    let stage = Stage::new(POOL);
    let delay = Effect::Delay("1h".parse().unwrap());
    stage.handle.inject(Fault::once(Target::GetPool, delay));
    let url = stage.url("/a100", STABLE);
    let late = std::thread::spawn(move || send("GET", &url, &[], "").unwrap().status);
    // It is in the log once it was dealt with, and is held back from there on.
    while stage.handle.log().is_empty() {
        std::thread::yield_now();
    }
    assert!(!late.is_finished());
    stage.wait(3600 * SECOND);
    assert_eq!(late.join().unwrap(), 200);
}

#[test]
fn a_test_meddles_while_it_runs() {
    let stage = Stage::new(POOL);
    let handle = &stage.handle;
    handle.inject(Fault::once(Target::GetPool, Effect::Answer(Answer::forbidden())));
    let refused = stage.call("GET", "/a100", STABLE, &Value::Null);
    assert_eq!(
        (refused.status, refused.code()),
        (403, "AuthorizationFailed".to_owned())
    );
    handle.set_quota("a100", Some(4));
    assert_eq!(stage.put(5).unwrap().code(), "ErrCode_InsufficientVCPUQuota");
    handle.set_available("a100", Some(3));
    let put = stage.put(4).unwrap();
    stage.wait(MINUTE);
    let said = send("GET", put.header("azure-asyncoperation").unwrap(), &[], "")
        .unwrap()
        .json();
    assert_eq!(said["error"]["details"][0]["code"], "AllocationFailed");
    handle.set_demand("a100", 3_000_000);
    stage.wait(60 * MINUTE);
    let pool = handle.pool("a100").unwrap();
    assert_eq!((pool.count, pool.state, pool.nodes.len()), (4, "Failed", 3));
    assert_eq!((pool.schedulable_gpus, pool.utilization_micros), (3, 1_000_000));
    assert!(pool.unserved_micro_gpu_hours > 0);
    assert_eq!(
        pool.demanded_micro_gpu_hours,
        pool.served_micro_gpu_hours + pool.unserved_micro_gpu_hours
    );
    let name = pool.nodes[0].name.clone();
    assert!(handle.lose_node("a100", &name) && !handle.lose_node("a100", &name));
    handle.start_background("a100", BackgroundKind::Upgrading, 5 * MINUTE);
    assert_eq!(stage.put(3).unwrap().code(), "OperationNotAllowed");
    handle.set_behavior(Behavior {
        monitor_after_end: MonitorAfterEnd::Gone,
        throttles: Throttles::Off,
        ..Behavior::default()
    });
    assert_eq!(
        send("GET", put.header("azure-asyncoperation").unwrap(), &[], "")
            .unwrap()
            .status,
        404
    );
    handle.inject(Fault::always(
        Target::Any,
        Effect::OperationFails(Reason::new("X", "")),
    ));
    handle.clear_faults();
    assert_eq!(
        serde_json::to_value(handle.pools()).unwrap()[0]["busyNodesTaken"],
        1
    );
}

/// What gpuscale's own sources read of a metric of the last ten minutes: how many series and samples.
fn sourced(config: &str) -> (usize, usize) {
    let config = Config::parse(config).unwrap();
    let (clock, randomness) = (Rc::new(SystemClock::new()), Rc::new(SystemRandomness));
    let sources = Sources::connect(&config, &clock, &randomness, &NoIdentity).unwrap();
    let selector = Selector::Metric {
        name: "DCGM_FI_DEV_GPU_UTIL",
        match_labels: Vec::new(),
    };
    let request = ReadRequest {
        source: "default",
        selector: &selector,
        window_ms: 10 * MINUTE,
        as_of_ms: None,
    };
    let answer = runtime().block_on(sources.read(&request)).unwrap();
    assert_eq!(answer.completeness, Completeness::Whole);
    (answer.series.len(), answer.series.samples())
}

#[test]
fn gpuscales_own_sources_read_it() {
    let stage = Stage::new(POOL);
    stage.wait(30 * MINUTE);
    let prometheus = &stage.prometheus;
    let config = format!("metricsSources: {{ default: {{ prometheus: {{ url: '{prometheus}' }} }} }}");
    assert_eq!(sourced(&config), (2, 80));
    let get =
        format!("metricsSources: {{ default: {{ prometheus: {{ url: '{prometheus}', method: Get }} }} }}");
    assert_eq!(sourced(&get), (2, 80));
    let page = |node: u32| format!("'{}/nodes/aks-a100-12345678-vmss{node:06}/metrics'", stage.arm);
    let targets = format!("{}, {}", page(0), page(1));
    let config = format!("metricsSources: {{ default: {{ dcgm: {{ targets: [ {targets} ] }} }} }}");
    assert_eq!(sourced(&config), (2, 2));
}

#[test]
fn it_stays_on_this_machine() {
    let refused = |yaml: &str, listen: &str| {
        let clock: ClockReading = Arc::new(Now::default);
        let scenario = Scenario::from_yaml(yaml).unwrap();
        runtime()
            .block_on(Emulator::start(&scenario, clock, listen.parse().unwrap()))
            .unwrap_err()
    };
    assert!(matches!(refused(POOL, "0.0.0.0:0"), StartError::NotLoopback(_)));
    let unread = "pools: { a: { demand: { recording: x.csv } } }";
    assert!(matches!(
        refused(unread, "127.0.0.1:0"),
        StartError::Recording { .. }
    ));
}

#[test]
fn every_answer_is_as_the_contract_has_it() {
    for version in [STABLE, PREVIEW] {
        let contract = Contract::of(version);
        let stage = Stage::new(&format!(
            "{POOL}\nbehavior: {{ pageSize: 1 }}\nfaults: [ {{ on: putPool, after: 1, effect: {{ operationFails: {{ code: \
             AllocationFailed, message: none }} }} }} ]"
        ));
        let get = |part: &str| {
            let answer = stage.call("GET", part, version, &Value::Null);
            assert_eq!(answer.status, 200, "{part}: {}", answer.body);
            answer.json()
        };
        contract.assert("AgentPool", &get("/a100"));
        contract.assert("AgentPoolListResult", &get(""));
        contract.assert("MachineListResult", &get("/a100/machines"));
        contract.assert("Machine", &get("/a100/machines/aks-a100-12345678-vmss000000"));
        contract.assert("AgentPoolUpgradeProfile", &get("/a100/upgradeProfiles/default"));
        contract.assert(
            "ErrorResponse",
            &stage.call("GET", "/b", version, &Value::Null).json(),
        );
        // Created, failed, being scaled: other states have other properties.
        let made = json!({ "properties": { "vmSize": "Standard_NC24ads_A100_v4" } });
        contract.assert("AgentPool", &stage.call("PUT", "/new", version, &made).json());
        let asked = json!({ "properties": { "count": 4 } });
        contract.assert("AgentPool", &stage.call("PUT", "/a100", version, &asked).json());
        contract.assert(
            "ErrorResponse",
            &stage.call("PUT", "/a100", version, &asked).json(),
        );
        stage.wait(MINUTE);
        let failed = get("/a100");
        contract.assert("AgentPool", &failed);
        assert_eq!(
            failed["properties"]["status"]["provisioningError"]["code"],
            "AllocationFailed"
        );
    }
}

#[test]
fn the_contracts_check_bites() {
    let contract = Contract::of(STABLE);
    let check = |document: Value, expected: &str| {
        let problems = contract.problems("AgentPool", &document).join("\n");
        assert!(problems.contains(expected), "{document}: {problems}");
    };
    check(json!({ "properties": { "count": "3" } }), "properties.count");
    check(json!({ "properties": { "cuont": 3 } }), "not in the contract");
    check(json!({ "properties": { "nodeTaints": [1] } }), "nodeTaints[0]");
    check(json!({ "properties": { "tags": { "a": 1 } } }), "tags.a");
    assert!(
        contract
            .problems("AgentPoolListResult", &json!({}))
            .concat()
            .contains("lacks")
    );
    // What the reference itself gives as examples passes.
    for name in [
        "AgentPoolsGet",
        "AgentPoolsCreate_Update",
        "AgentPoolsCreate_ManagedGPU",
        "AgentPools_Update",
    ] {
        contract.assert("AgentPool", &example(name)["responses"]["200"]["body"]);
    }
    contract.assert("Machine", &example("MachineGet")["responses"]["200"]["body"]);
}

/// What the reference's examples send is taken, and given back.
#[test]
fn the_references_own_requests_are_taken() {
    let stage = Stage::new("pools: { a100: {} }\nbehavior: { throttles: off }");
    let check = |name: &str, version: &str, pool: &str, but: &[&str]| {
        let body = example(name)["parameters"]["parameters"].clone();
        let put = stage.call("PUT", pool, version, &body);
        assert_eq!(put.status, 201, "{name}: {}", put.body);
        stage.wait(MINUTE);
        let found = stage.call("GET", pool, version, &Value::Null).json();
        let missing = missing(&body["properties"], &found["properties"]);
        assert_eq!(
            missing.iter().map(String::as_str).collect::<Vec<_>>(),
            but,
            "{name}"
        );
        assert_eq!(found["properties"]["provisioningState"], "Succeeded");
    };
    // An empty version is none.
    check(
        "AgentPoolsCreate_Update",
        STABLE,
        "/one",
        &["orchestratorVersion"],
    );
    check("AgentPoolsCreate_ManagedGPU", STABLE, "/two", &[]);
    check(
        "AgentPoolsCreate_GPUMIG.preview",
        PREVIEW,
        "/three",
        &["orchestratorVersion"],
    );
    check("AgentPools_Update", STABLE, "/four", &["orchestratorVersion"]);
    let body = &example("AgentPoolsUpdate_Scale.preview")["parameters"]["parameters"];
    let patch = stage.call("PATCH", "/one", PREVIEW, body);
    assert_eq!((patch.status, patch.body.as_str()), (202, ""));
    assert!(patch.header("location").is_some() && patch.header("azure-asyncoperation").is_some());
    stage.wait(MINUTE);
    let names: Vec<String> = stage
        .handle
        .pool("one")
        .unwrap()
        .nodes
        .into_iter()
        .map(|node| node.name)
        .collect();
    assert_eq!(names.len(), 5);
    let body = json!({ "machineNames": names[..2] });
    assert_eq!(
        stage.call("POST", "/one/deleteMachines", STABLE, &body).status,
        202
    );
    assert_eq!(stage.call("POST", "/one/abort", STABLE, &Value::Null).status, 202);
}

/// The command, stopped when this is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(arguments: &[&str]) -> (Process, Value) {
    let child = Command::new(env!("CARGO_BIN_EXE_gpuscale"))
        .arg("emulator")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut process = Process(child.unwrap());
    let mut line = String::new();
    let stdout = process.0.stdout.as_mut().unwrap();
    BufReader::new(stdout).read_line(&mut line).unwrap();
    (process, serde_json::from_str(&line).unwrap())
}

#[test]
fn the_command_says_where_everything_is() {
    // A thousand times as fast: the 30 s of an operation are over at once.
    let (process, said) = start(&["--speed", "1000"]);
    assert_eq!((&said["pools"], &said["speed"]), (&json!(["a100"]), &json!(1000)));
    let url = format!(
        "{}{}/agentPools/a100?api-version={STABLE}",
        said["arm"].as_str().unwrap(),
        said["cluster"].as_str().unwrap()
    );
    assert_eq!(
        send("GET", &url, &[], "").unwrap().json()["properties"]["count"],
        2
    );
    let put = send("PUT", &url, &[], r#"{"properties":{"count":3}}"#).unwrap();
    assert_eq!(put.status, 201);
    let monitor = put.header("azure-asyncoperation").unwrap();
    let polled = (0..1000).find(|_| {
        let said = send("GET", monitor, &[], "").unwrap().json();
        said["status"] == "Succeeded"
    });
    assert!(polled.is_some());
    let query = format!(
        "{}/api/v1/query?query=DCGM_FI_DEV_GPU_UTIL",
        said["prometheus"].as_str().unwrap()
    );
    let series = send("GET", &query, &[], "").unwrap().json();
    let node = series["data"]["result"][0]["metric"]["instance"]
        .as_str()
        .unwrap()
        .to_owned();
    let page = said["exporters"].as_str().unwrap().replace("{node}", &node);
    assert!(
        send("GET", &page, &[], "")
            .unwrap()
            .body
            .contains("DCGM_FI_DEV_GPU_UTIL")
    );
    stops(process);
}

/// SIGTERM ends it with exit code 0.
fn stops(mut process: Process) {
    let id = process.0.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(process.0.wait().unwrap().code(), Some(0));
}

#[test]
fn the_command_reads_a_scenario_with_its_recording() {
    let directory = tempfile::tempdir().unwrap();
    let scenario = directory.path().join("cluster.yaml");
    let recording = "timestamp,series,value,unit\n1795176000,m,2,gpus\n1795179600,m,2,gpus\n";
    std::fs::write(directory.path().join("demand.csv"), recording).unwrap();
    let yaml = "clusterName: ml\npools: { b: { count: 4, demand: { recording: demand.csv, scale: 0.5 } } }\n";
    std::fs::write(&scenario, yaml).unwrap();
    let (process, said) = start(&["--scenario", scenario.to_str().unwrap()]);
    assert!(said["cluster"].as_str().unwrap().ends_with("/ml"));
    let query = format!(
        "{}/api/v1/query?query=DCGM_FI_DEV_GPU_UTIL",
        said["prometheus"].as_str().unwrap()
    );
    let series = send("GET", &query, &[], "").unwrap().json();
    assert_eq!(series["data"]["result"][0]["value"][1], "25");
    stops(process);
}

#[test]
fn the_command_refuses_what_cannot_be() {
    let check = |arguments: &[&str], expected: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_gpuscale"))
            .arg("emulator")
            .args(arguments)
            .output()
            .unwrap();
        let mut error = String::new();
        output.stderr.as_slice().read_to_string(&mut error).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(error.contains(expected), "{error}");
    };
    check(
        &["--scenario", "/nowhere.yaml"],
        "cannot read scenario `/nowhere.yaml`",
    );
    check(&["--scenario", "Cargo.toml"], "cannot use scenario `Cargo.toml`");
    check(&["--listen", "0.0.0.0:0"], "is no loopback address");
    check(&["--speed", "0"], "--speed");
}

/// What the command's help shows as a scenario is one.
#[test]
fn the_help_shows_a_scenario() {
    let output = Command::new(env!("CARGO_BIN_EXE_gpuscale"))
        .args(["emulator", "--help"])
        .env("COLUMNS", "120")
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let (_, scenario) = help.split_once("but `pools`:\n").unwrap();
    let (scenario, example) = scenario.split_once("\n\n").unwrap();
    let scenario = Scenario::from_yaml(scenario).unwrap();
    assert_eq!(scenario.recordings().count(), 0, "it can be used as it stands");
    assert!(example.contains("curl -s"));
}
