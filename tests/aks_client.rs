//! The ARM client over real HTTP on loopback: what it asks, what it sends, and what it makes of answers that are whole, cut,
//! late, garbled or somebody else's.

#![cfg(feature = "aks")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a fault of a fixture may end it at once"
)]

mod hostile;

use std::io::Write as _;
use std::net::TcpListener;
use std::rc::Rc;
use std::time::Duration;

use gpuscale::actuator::aks::Aks;
use gpuscale::config::{self, Config};
use gpuscale::control::ports::{
    Accepted, NodePools as _, Pool, PoolAutoscaler, PoolErrorKind, PoolKey, PoolState, Progress,
};
use gpuscale::policy::observation::Failure;
use gpuscale::source::connect::Issuer;
use gpuscale::source::http::Tokens;
use serde_json::{Value, json};

use hostile::{Heard, Hostile, response};

const SUBSCRIPTION: &str = "00000000-0000-0000-0000-000000000000";
const CANARY: &str = "canary-51c0ffee";

/// Gives a token to everybody, so that one that goes where it must not is seen.
struct Generous;

struct Canary;

impl Tokens for Canary {
    fn token(&self) -> futures_util::future::LocalBoxFuture<'_, Result<String, String>> {
        Box::pin(async { Ok(CANARY.to_owned()) })
    }
}

impl Issuer for Generous {
    fn entra(&self, _: &config::Entra, _: config::Cloud) -> Result<Rc<dyn Tokens>, String> {
        Ok(Rc::new(Canary))
    }
}

fn connect(endpoint: &str, more: &str) -> Result<Aks, String> {
    let config = format!(
        "aksClusters:
  prod: {{ subscriptionId: {SUBSCRIPTION}, resourceGroup: rg1, name: clustername1, endpoint: '{endpoint}', {more} }}
prices: {{ standard_nc48ads_a100_v4: 5.5 }}
"
    );
    let config = Config::parse(&config).unwrap();
    Aks::connect(&config, &Generous, Duration::from_secs(5)).map_err(|error| error.to_string())
}

fn aks(server: &Hostile) -> Aks {
    connect(&format!("http://{}", server.at), "").unwrap()
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}

fn key() -> PoolKey {
    PoolKey::new("prod", "gpu")
}

fn document(count: u32, etag: &str) -> Value {
    json!({
        "id": "/subscriptions/x/agentPools/gpu", "name": "gpu", "type": "Microsoft.ContainerService/managedClusters/agentPools",
        "properties": {
            "count": count, "eTag": etag, "vmSize": "Standard_NC24ads_A100_v4", "provisioningState": "Succeeded",
            "nodeImageVersion": "AKSAzureLinux-V3gen2-202611.01.0", "type": "VirtualMachineScaleSets",
            "gpuProfile": { "driver": "Install", "nvidia": { "managementMode": "Managed" } }, "newInThisVersion": [1.50],
        },
    })
}

/// Serves a pool at version `e1`, and what `answer` says to everything that is no GET of it.
fn pool_and(answer: impl Fn(&Heard) -> String + Send + Sync + 'static) -> Hostile {
    Hostile::asked(move |heard, stream| {
        let line = heard.head.lines().next().unwrap_or_default();
        let answer = if line.starts_with("GET ") && line.contains("/agentPools/gpu?") {
            response("200 OK", "", &document(3, "e1").to_string())
        } else {
            answer(heard)
        };
        stream.write_all(answer.as_bytes())
    })
}

fn last(server: &Hostile) -> Heard {
    server.heard.lock().unwrap().last().cloned().unwrap()
}

fn header(heard: &Heard, name: &str) -> Option<String> {
    heard.head.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}

fn read(aks: &Aks) -> Pool {
    run(aks.read(&key())).unwrap()
}

#[test]
fn a_pool_is_read_at_its_address_with_what_is_known_of_its_size() {
    let server = pool_and(|_| unreachable!());
    let pool = read(&aks(&server));
    let wanted = Pool {
        count: 3,
        etag: "e1".to_owned(),
        state: PoolState::Steady,
        autoscaler: PoolAutoscaler::Off,
        gpus_per_node: Some(1),
        node_price: Some(3_673_000),
        error: None,
    };
    assert_eq!(pool, wanted);
    let head = last(&server).head;
    let line = format!(
        "GET /subscriptions/{SUBSCRIPTION}/resourceGroups/rg1/providers/Microsoft.ContainerService/managedClusters/clustername1/\
         agentPools/gpu?api-version=2026-08-01 HTTP/1.1"
    );
    assert_eq!(head.lines().next().unwrap(), line);
    assert!(
        !head.to_ascii_lowercase().contains("authorization"),
        "plain HTTP carries no token: {head}"
    );
}

#[test]
fn the_administrators_price_wins_and_an_unknown_size_has_none() {
    for (size, gpus, price) in [
        ("Standard_NC48ads_A100_v4", Some(2), Some(5_500_000)),
        ("Standard_ND128isr_GB300_v6", Some(4), None),
        ("Standard_D8s_v5", None, None),
    ] {
        let mut document = document(1, "e");
        document["properties"]["vmSize"] = json!(size);
        let server = Hostile::saying(response("200 OK", "", &document.to_string()));
        let pool = read(&aks(&server));
        assert_eq!((pool.gpus_per_node, pool.node_price), (gpus, price), "{size}");
    }
}

#[test]
fn a_resize_sends_the_pool_as_it_was_read_with_the_new_count_and_its_version() {
    let server = pool_and(|heard| {
        let host = header(heard, "host").unwrap();
        let headers = format!("Azure-AsyncOperation: http://{host}/operations/1?t=2\r\nRetry-After: 7\r\n");
        response("201 Created", &headers, "{}")
    });
    let aks = aks(&server);
    let pool = read(&aks);
    let accepted = run(aks.resize(&key(), &pool, 5)).unwrap();
    let operation = format!("http://{}/operations/1?t=2", server.at);
    assert_eq!(
        accepted,
        Accepted {
            operation: Some(operation),
            retry_after_ms: Some(7_000)
        }
    );
    let put = last(&server);
    assert!(put.head.starts_with("PUT /subscriptions/"), "{}", put.head);
    assert_eq!(header(&put, "if-match").as_deref(), Some("\"e1\""));
    assert_eq!(header(&put, "content-type").as_deref(), Some("application/json"));
    let wanted = json!({ "properties": {
        "count": 5, "vmSize": "Standard_NC24ads_A100_v4", "type": "VirtualMachineScaleSets",
        "gpuProfile": { "driver": "Install", "nvidia": { "managementMode": "Managed" } }, "newInThisVersion": [1.50],
    } });
    assert_eq!(serde_json::from_str::<Value>(&put.body).unwrap(), wanted);
    assert_eq!(
        server.requests.load(std::sync::atomic::Ordering::SeqCst),
        2,
        "it was read once"
    );
}

#[test]
fn a_pool_that_changed_since_it_was_judged_is_not_written() {
    let server = pool_and(|heard| panic!("{} was sent", heard.head));
    let aks = aks(&server);
    let pool = Pool {
        etag: "e0".to_owned(),
        ..read(&aks)
    };
    let error = run(aks.resize(&key(), &pool, 5)).unwrap_err();
    assert_eq!(
        (error.kind, error.code.as_str()),
        (PoolErrorKind::Stale, "EtagMismatch")
    );
    let pool = Pool {
        etag: String::new(),
        ..pool
    };
    let error = run(aks.resize(&key(), &pool, 5)).unwrap_err();
    assert_eq!(
        (error.kind, error.code.as_str()),
        (PoolErrorKind::BadRequest, "NoEtag")
    );
}

#[test]
fn the_service_says_stale_too() {
    let body = r#"{"error":{"code":"PreconditionFailed","message":"etag"}}"#;
    let server = pool_and(move |_| response("412 Precondition Failed", "", body));
    let aks = aks(&server);
    let error = run(aks.resize(&key(), &read(&aks), 5)).unwrap_err();
    assert_eq!(error.to_string(), "stale (PreconditionFailed): etag");
}

#[test]
fn with_patch_the_count_alone_is_sent() {
    let server = pool_and(|_| response("202 Accepted", "Location: /somewhere\r\n", ""));
    let aks = connect(
        &format!("http://{}", server.at),
        "apiVersion: 2026-08-02-preview, resizeWith: Patch",
    )
    .unwrap();
    let accepted = run(aks.resize(&key(), &read(&aks), 9)).unwrap();
    assert_eq!(accepted.operation, None, "what is no address is not followed");
    let patch = last(&server);
    assert!(patch.head.starts_with("PATCH "), "{}", patch.head);
    assert!(
        patch.head.contains("api-version=2026-08-02-preview"),
        "{}",
        patch.head
    );
    assert_eq!(patch.body, r#"{"properties":{"count":9}}"#);
    assert_eq!(header(&patch, "if-match").as_deref(), Some("\"e1\""));
}

#[test]
fn a_pool_of_single_machines_is_refused_with_what_to_use() {
    let mut document = document(1, "e1");
    document["properties"]["type"] = json!("VirtualMachines");
    let server = Hostile::saying(response("200 OK", "", &document.to_string()));
    let aks = aks(&server);
    let error = run(aks.resize(&key(), &read(&aks), 5)).unwrap_err();
    assert_eq!(error.code, "PoolTypeUnsupported");
    assert!(
        error.message.contains("VirtualMachineScaleSets"),
        "{}",
        error.message
    );
}

#[test]
fn an_operation_is_asked_about_where_it_is_said_to_be() {
    let poll = |status: &str, headers: &str, body: &str| {
        let answer = response(status, headers, body);
        let server = pool_and(move |_| answer.clone());
        let progress =
            run(aks(&server).poll(&key(), &format!("http://{}/operationresults/7?x=1", server.at)));
        assert!(last(&server).head.starts_with("GET /operationresults/7?x=1 "));
        progress
    };
    let running = poll("200 OK", "Retry-After: 3\r\n", r#"{"status":"InProgress"}"#);
    assert_eq!(running, Ok(Progress::Running(Some(3_000))));
    assert_eq!(
        poll("200 OK", "", r#"{"status":"Succeeded"}"#),
        Ok(Progress::Succeeded)
    );
    assert_eq!(poll("202 Accepted", "", ""), Ok(Progress::Running(None)));
    assert_eq!(poll("204 No Content", "", ""), Ok(Progress::Succeeded));
    let gone = poll("404 Not Found", "", r#"{"error":{"code":"ResourceNotFound"}}"#).unwrap_err();
    assert_eq!(gone.kind, PoolErrorKind::Gone);
}

#[test]
fn why_an_operation_failed_is_read_from_the_pool_where_it_says_nothing_itself() {
    let explained = |explanation: Value| {
        let server = Hostile::asked(move |heard, stream| {
            let mut document = document(3, "e2");
            document["properties"]["provisioningState"] = json!("Failed");
            document["properties"]["status"] = json!({ "provisioningError": explanation });
            let answer = if heard.head.contains("/agentPools/gpu?") {
                document.to_string()
            } else {
                r#"{"status":"Failed","error":{"code":"InternalOperationError","message":"it failed"}}"#
                    .to_owned()
            };
            stream.write_all(response("200 OK", "", &answer).as_bytes())
        });
        run(aks(&server).poll(&key(), &format!("http://{}/operations/1", server.at))).unwrap()
    };
    let told = json!({ "code": "ResourceOperationFailure", "message": "see", "details": [
        { "code": "AllocationFailed", "message": "no A100 in eastus" },
    ] });
    let Progress::Failed(error) = explained(told) else {
        panic!("it failed");
    };
    assert_eq!(error.kind, PoolErrorKind::Capacity(Failure::Allocation));
    assert_eq!(error.message, "no A100 in eastus");
    let Progress::Failed(error) = explained(Value::Null) else {
        panic!("it failed");
    };
    assert_eq!(
        error.to_string(),
        "unavailable (InternalOperationError): it failed"
    );
}

#[test]
fn no_request_and_no_token_goes_where_an_answer_points() {
    let elsewhere = Hostile::saying(response("200 OK", "", r#"{"status":"Succeeded","value":[]}"#));
    let there = format!("http://{}", elsewhere.at);
    let redirect = there.clone();
    let server = pool_and(move |heard| {
        if heard.head.contains("/machines") {
            let page = json!({ "value": [], "nextLink": format!("{redirect}/more") });
            return response("200 OK", "", &page.to_string());
        }
        if heard.head.starts_with("GET") {
            return response(
                "307 Temporary Redirect",
                &format!("Location: {redirect}/pools\r\n"),
                "",
            );
        }
        response(
            "201 Created",
            &format!("Azure-AsyncOperation: {redirect}/operations/1\r\n"),
            "{}",
        )
    });
    let aks = aks(&server);
    let accepted = run(aks.resize(&key(), &read(&aks), 4)).unwrap();
    assert_eq!(accepted.operation, None);
    let error = run(aks.poll(&key(), &format!("{there}/operations/1"))).unwrap_err();
    assert_eq!(
        (error.kind, error.code.as_str()),
        (PoolErrorKind::Gone, "OperationElsewhere")
    );
    let error = run(aks.machines(&key())).unwrap_err();
    assert_eq!(error.code, "PageElsewhere");
    let error = run(aks.all(&"prod".into())).unwrap_err();
    assert!(error.message.contains("redirects are not followed"), "{error}");
    assert_eq!(elsewhere.requests.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[test]
fn a_lost_answer_leaves_open_what_happened_and_a_refused_connection_does_not() {
    let server = Hostile::asked(|heard, stream| {
        if heard.head.starts_with("GET") {
            return stream.write_all(response("200 OK", "", &document(3, "e1").to_string()).as_bytes());
        }
        Ok(())
    });
    let client = aks(&server);
    let error = run(client.resize(&key(), &read(&client), 4)).unwrap_err();
    assert!(error.kind.leaves_unknown(), "{error}");

    // Somebody had this port a moment ago, and nobody has it now.
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = run(connect(&format!("http://{gone}"), "").unwrap().read(&key())).unwrap_err();
    assert_eq!(
        (error.kind, error.code.as_str()),
        (PoolErrorKind::Unavailable, "Unreachable")
    );
}

#[test]
fn a_resize_that_was_accepted_is_so_although_the_rest_of_the_answer_is_cut() {
    let server = pool_and(|heard| {
        let host = header(heard, "host").unwrap();
        format!(
            "HTTP/1.1 201 Created\r\nContent-Length: 5000\r\nAzure-AsyncOperation: http://{host}/operations/9\r\n\r\n{{\"id\""
        )
    });
    let aks = aks(&server);
    let accepted = run(aks.resize(&key(), &read(&aks), 4)).unwrap();
    assert_eq!(
        accepted.operation,
        Some(format!("http://{}/operations/9", server.at))
    );
}

#[test]
fn answers_that_are_too_large_or_cut_or_garbled_are_errors_with_words() {
    for (answer, words) in [
        (
            response("200 OK", "", &" ".repeat(9 << 20)),
            "more than 8388608 bytes",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{\"properties\"".to_owned(),
            "no_answer (Cut)",
        ),
        (
            response("200 OK", "", "<html>proxy</html>"),
            "unavailable (Malformed)",
        ),
        (
            response("502 Bad Gateway", "", "<html>proxy</html>"),
            "unavailable (Http502): `<html>proxy</html>`",
        ),
        (response("200 OK", "", "{}"), "missing field `properties`"),
    ] {
        let server = Hostile::saying(answer);
        let error = run(aks(&server).read(&key())).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_throttle_says_how_long() {
    let body = r#"{"error":{"code":"Throttled","message":"slow down"}}"#;
    let server = Hostile::saying(response("429 Too Many Requests", "Retry-After: 26\r\n", body));
    let error = run(aks(&server).read(&key())).unwrap_err();
    assert_eq!(error.kind, PoolErrorKind::Throttled(26_000));
}

#[test]
fn lists_come_in_pages() {
    let server = Hostile::asked(|heard, stream| {
        let host = header(heard, "host").unwrap();
        let line = heard.head.lines().next().unwrap_or_default();
        let page = match (line.contains("/machines"), line.contains("page=2")) {
            (false, false) => {
                json!({ "value": [document(1, "a"), { "name": "odd", "properties": { "count": "many" } }], "nextLink": format!("http://{host}/agentPools?page=2") })
            }
            (false, true) => json!({ "value": [document(2, "b")] }),
            (true, _) => json!({ "value": [
                { "name": "aks-gpu-1-vmss000000", "zones": ["1"], "properties": { "resourceId": "/vm/0" } },
                { "name": "aks-gpu-1-vmss000001" },
            ], "nextLink": "" }),
        };
        stream.write_all(response("200 OK", "", &page.to_string()).as_bytes())
    });
    let aks = aks(&server);
    let pools = run(aks.all(&"prod".into())).unwrap();
    let counts: Vec<(&str, Option<u32>)> = pools
        .iter()
        .map(|(name, pool)| (&**name, pool.as_ref().ok().map(|pool| pool.count)))
        .collect();
    assert_eq!(counts, [("gpu", Some(1)), ("odd", None), ("gpu", Some(2))]);
    let machines = run(aks.machines(&key())).unwrap();
    assert_eq!(machines[0].resource_id.as_deref(), Some("/vm/0"));
    assert_eq!(
        (machines.len(), machines[1].name.as_str()),
        (2, "aks-gpu-1-vmss000001")
    );
}

#[test]
fn machines_are_deleted_by_name_and_an_operation_is_aborted() {
    let server = pool_and(|heard| {
        let host = header(heard, "host").unwrap();
        response(
            "202 Accepted",
            &format!("Location: http://{host}/operationresults/3\r\n"),
            "",
        )
    });
    let aks = aks(&server);
    let names = ["aks-gpu-1-vmss000004".to_owned()];
    let accepted = run(aks.delete_machines(&key(), &names)).unwrap();
    assert_eq!(
        accepted.operation,
        Some(format!("http://{}/operationresults/3", server.at))
    );
    let post = last(&server);
    assert!(
        post.head.contains("/agentPools/gpu/deleteMachines?api-version="),
        "{}",
        post.head
    );
    assert_eq!(post.body, r#"{"machineNames":["aks-gpu-1-vmss000004"]}"#);
    run(aks.abort(&key())).unwrap();
    assert!(last(&server).head.contains("/agentPools/gpu/abort?api-version="));
}

#[test]
fn only_this_machine_is_spoken_to_in_plain_http() {
    for (endpoint, words) in [
        (
            "http://management.azure.com",
            "plain HTTP is for this machine alone",
        ),
        ("http://10.0.0.1:80", "plain HTTP is for this machine alone"),
        ("https://169.254.169.254", "link-local"),
        (
            "https://user:canary@management.azure.com",
            "user name or password",
        ),
        ("ftp://x", "does not begin with"),
    ] {
        let error = connect(endpoint, "").unwrap_err();
        assert!(
            error.starts_with("aksClusters.prod: ") && error.contains(words),
            "{error}"
        );
        assert!(!error.contains("canary"), "{error}");
    }
    assert!(connect("http://[::1]:9", "").is_ok());
    assert!(connect("http://localhost:9", "").is_ok());
}

#[test]
fn a_cluster_that_is_not_configured_is_named() {
    let aks = connect("http://127.0.0.1:9", "").unwrap();
    let error = run(aks.read(&PoolKey::new("other", "gpu"))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "gone (NoSuchCluster): `other` is not under `aksClusters` in the configuration"
    );
}
