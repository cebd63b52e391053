//! The resource provider without a server.

mod hostile;

use serde_json::json;

use super::*;
use crate::emulator::message::Authorization;

const STABLE: &str = "api-version=2026-08-01";
const PREVIEW: &str = "api-version=2026-08-02-preview";
const SECOND: Millis = 1000;
const MINUTE: Millis = 60 * SECOND;

/// A cluster at a time.
struct Rig {
    arm: Arm,
    now_ms: Millis,
}

impl Rig {
    /// A pool `a` of two nodes, with more of a scenario.
    fn new(more: &str) -> Self {
        Self::of(&format!("pools: {{ a: {{ count: 2 }} }}\n{more}"))
    }

    fn of(yaml: &str) -> Self {
        let now_ms = 1_700_000_000_000;
        Self {
            arm: Arm::new(&Scenario::from_yaml(yaml).unwrap(), now_ms),
            now_ms,
        }
    }

    fn send(&mut self, call: &Call) -> Reply {
        self.arm.handle(self.now_ms, call, Plan::default())
    }

    fn call(&mut self, method: Method, part: &str, version: &str, body: &Value) -> Reply {
        let call = self.request(method, part, version, body);
        self.send(&call)
    }

    fn request(&self, method: Method, part: &str, version: &str, body: &Value) -> Call {
        let address = format!("{}/agentPools{part}?{version}", self.arm.cluster_id());
        Call {
            body: if body.is_null() {
                String::new()
            } else {
                body.to_string()
            },
            authorization: Authorization::Present,
            ..Call::new(method, &address)
        }
    }

    fn get(&mut self) -> Value {
        let reply = self.call(Method::Get, "/a", STABLE, &Value::Null);
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.body().clone()
    }

    /// As a careful client does it: the raw pool with another count, and its etag.
    fn resize(&mut self, count: u32) -> Reply {
        let mut pool = self.get();
        let etag = pool["properties"]["eTag"].as_str().unwrap().to_owned();
        pool["properties"]["count"] = count.into();
        pool["properties"]
            .as_object_mut()
            .unwrap()
            .remove("nodeImageVersion");
        let call = Call {
            if_match: Some(etag),
            ..self.request(Method::Put, "/a", STABLE, &pool)
        };
        self.send(&call)
    }

    fn put(&mut self, properties: &Value) -> Reply {
        self.call(Method::Put, "/a", STABLE, &json!({ "properties": properties }))
    }

    fn wait(&mut self, ms: Millis) {
        self.now_ms += ms;
        self.arm.advance(self.now_ms);
    }

    /// What the monitor of an answer says.
    fn monitor(&mut self, reply: &Reply) -> Value {
        let address = reply.header("Azure-AsyncOperation").unwrap();
        let path = address.strip_prefix("http://127.0.0.1").unwrap();
        self.send(&Call::new(Method::Get, path)).body().clone()
    }

    fn code(reply: &Reply) -> (u16, &str) {
        (
            reply.status,
            reply.body()["error"]["code"].as_str().unwrap_or_default(),
        )
    }

    fn nodes(&self) -> u32 {
        self.arm.fleet("a").unwrap().present()
    }
}

#[test]
fn a_resize_is_accepted_watched_and_done() {
    let mut rig = Rig::new("");
    let before = rig.get();
    assert_eq!(before["properties"]["provisioningState"], "Succeeded");
    let reply = rig.resize(4);
    assert_eq!((reply.status, reply.header("Retry-After")), (201, Some("10")));
    assert_eq!(reply.body()["properties"]["count"], 4);
    assert_eq!(reply.body()["properties"]["provisioningState"], "Scaling");
    assert_ne!(reply.body()["properties"]["eTag"], before["properties"]["eTag"]);
    assert_eq!(rig.monitor(&reply)["status"], "InProgress");
    rig.wait(30 * SECOND);
    let done = rig.monitor(&reply);
    assert_eq!(
        (&done["status"], &done["endTime"]),
        (&json!("Succeeded"), &json!("2023-11-14T22:13:50Z"))
    );
    assert_eq!(
        (
            rig.nodes(),
            rig.arm.fleet("a").unwrap().schedulable_gpus(rig.now_ms)
        ),
        (4, 2)
    );
    rig.wait(9 * MINUTE);
    assert_eq!(rig.arm.fleet("a").unwrap().schedulable_gpus(rig.now_ms), 4);
    // Machines go when the operation ends.
    rig.resize(1);
    assert_eq!((rig.nodes(), rig.arm.count("a")), (4, Some(1)));
    rig.wait(30 * SECOND);
    assert_eq!(rig.nodes(), 1);
    assert_eq!(rig.arm.violations(), []);
}

#[test]
fn a_stale_etag_is_refused_in_any_spelling() {
    let mut rig = Rig::new("");
    let etag = rig.arm.sites["a"].etag();
    let check = |header: &str, value: &str, expected: u16| {
        let mut rig = Rig::new("");
        let mut call = rig.request(
            Method::Put,
            "/a",
            STABLE,
            &json!({ "properties": { "count": 3 } }),
        );
        match header {
            "if-match" => call.if_match = Some(value.to_owned()),
            _ => call.if_none_match = Some(value.to_owned()),
        }
        assert_eq!(rig.send(&call).status, expected, "{header}: {value}");
    };
    check("if-match", &etag, 201);
    check("if-match", &format!("\"{etag}\""), 201);
    check("if-match", &format!("W/\"{etag}\""), 201);
    check("if-match", "*", 201);
    check("if-match", "stale", 412);
    check("if-none-match", "*", 412);
    check("if-none-match", &etag, 412);
    check("if-none-match", "other", 201);
    let call = Call {
        if_match: Some("*".to_owned()),
        ..rig.request(
            Method::Put,
            "/b",
            STABLE,
            &json!({ "properties": { "vmSize": "X" } }),
        )
    };
    assert_eq!(Rig::code(&rig.send(&call)), (412, "PreconditionFailed"));
}

#[test]
fn one_operation_at_a_time_or_the_second_writer_wins() {
    let mut rig = Rig::new("");
    let first = rig.resize(3);
    let second = rig.resize(4);
    assert_eq!(Rig::code(&second), (409, "OperationNotAllowed"));
    assert!(
        second
            .body()
            .to_string()
            .contains("Another operation (Scaling) is in progress")
    );
    assert_eq!(rig.monitor(&first)["status"], "InProgress");

    let mut rig = Rig::new("behavior: { secondWriter: cancelsFirst }");
    let first = rig.resize(3);
    // A write that is refused for something else cancels nothing.
    assert_eq!(rig.put(&json!({ "vmSize": "Other" })).status, 400);
    assert_eq!(rig.monitor(&first)["status"], "InProgress");
    let second = rig.resize(4);
    let said = rig.monitor(&first);
    assert_eq!((second.status, &said["status"]), (201, &json!("Canceled")));
    assert!(
        said["error"]["message"]
            .as_str()
            .unwrap()
            .contains("overriden and canceled by a later operation")
    );
    rig.wait(MINUTE);
    assert_eq!(
        (rig.monitor(&second)["status"].as_str(), rig.nodes()),
        (Some("Succeeded"), 4)
    );
}

#[test]
fn only_the_words_may_say_that_a_later_writer_won() {
    let mut rig = Rig::new("behavior: { secondWriter: cancelsFirst, superseded: failed }");
    let first = rig.resize(3);
    rig.resize(4);
    let said = rig.monitor(&first);
    assert_eq!(said["status"], "Failed");
    assert!(
        said["error"]
            .to_string()
            .contains("overriden and canceled by a later operation")
    );
}

#[test]
fn which_of_two_refusals_comes_first_is_a_switch() {
    let check = |behavior: &str, expected: u16| {
        let mut rig = Rig::new(behavior);
        rig.resize(3);
        let call = Call {
            if_match: Some("stale".to_owned()),
            ..rig.request(
                Method::Put,
                "/a",
                STABLE,
                &json!({ "properties": { "count": 4 } }),
            )
        };
        assert_eq!(rig.send(&call).status, expected, "{behavior}");
    };
    check("", 412);
    check("behavior: { checkedFirst: operation }", 409);
}

#[test]
fn what_a_put_leaves_out_stays_or_goes() {
    let extra =
        "pools: { a: { count: 3, properties: { nodeLabels: { x: ml }, gpuProfile: { driver: None } } } }\n";
    let check = |behavior: &str, count: u32, label: Value| {
        let mut rig = Rig::of(&format!("{extra}{behavior}"));
        let reply =
            rig.put(&json!({ "maxPods": 50, "eTag": "mine", "provisioningState": "Failed", "future": [1] }));
        assert_eq!(reply.status, 201);
        let pool = rig.get();
        let properties = &pool["properties"];
        assert_eq!(
            (properties["count"].as_u64(), properties["maxPods"].as_u64()),
            (Some(count.into()), Some(50))
        );
        assert_eq!(properties["nodeLabels"]["x"], label);
        assert_eq!(properties["gpuProfile"]["driver"], "None");
        assert_eq!(properties["future"], json!([1]));
        assert_ne!(properties["eTag"], "mine");
        assert_eq!(
            properties["provisioningState"],
            if count == 3 { "Updating" } else { "Scaling" }
        );
    };
    check("", 3, json!("ml"));
    check("behavior: { omittedProperty: reset }", 1, Value::Null);
}

#[test]
fn writes_that_cannot_be_are_refused() {
    let check = |properties: Value, code: &str| {
        let mut rig = Rig::new("");
        let before = rig.get();
        assert_eq!(Rig::code(&rig.put(&properties)), (400, code), "{properties}");
        assert_eq!(rig.get(), before);
    };
    check(json!({ "count": -1 }), "InvalidParameter");
    check(json!({ "count": "three" }), "InvalidParameter");
    check(json!({ "count": 1001 }), "InvalidParameter");
    check(json!({ "count": 0, "mode": "System" }), "InvalidParameter");
    check(
        json!({ "vmSize": "Standard_ND96asr_v4" }),
        "PropertyChangeNotAllowed",
    );
    check(
        json!({ "gpuProfile": { "driver": "None" } }),
        "PropertyChangeNotAllowed",
    );
    check(
        json!({ "gpuInstanceProfile": "MIG1g" }),
        "PropertyChangeNotAllowed",
    );
    let mut rig = Rig::new("");
    let call = Call {
        body: "{".to_owned(),
        ..rig.request(Method::Put, "/a", STABLE, &Value::Null)
    };
    assert_eq!(Rig::code(&rig.send(&call)), (400, "InvalidRequestContent"));
    assert_eq!(
        Rig::code(&rig.call(Method::Put, "/A-1", STABLE, &json!({}))).0,
        400
    );
    assert_eq!(
        Rig::code(&rig.call(Method::Get, "/b", STABLE, &json!({}))),
        (404, "ResourceNotFound")
    );
    assert_eq!(
        Rig::code(&rig.call(Method::Post, "/a", STABLE, &json!({}))).0,
        405
    );
}

#[test]
fn a_pool_of_the_autoscaler_keeps_its_count() {
    let yaml = "pools: { a: { count: 2, enableAutoScaling: true, minCount: 1, maxCount: 5 } }";
    let mut rig = Rig::of(yaml);
    assert_eq!(Rig::code(&rig.resize(3)), (400, "InvalidParameter"));
    assert_eq!(rig.resize(2).status, 201);
    rig.wait(MINUTE);
    // Its floor is another matter.
    assert_eq!(rig.put(&json!({ "minCount": 4 })).status, 201);
    assert_eq!(rig.arm.count("a"), Some(4));
}

#[test]
fn a_rollback_is_written_down() {
    let mut rig = Rig::new("");
    let pool = rig.get();
    rig.put(&pool["properties"]);
    assert_eq!(rig.arm.violations().len(), 1);
}

#[test]
fn quota_is_refused_at_once_with_one_of_three_codes() {
    let check = |code: &str, expected: (u16, &str), words: &str| {
        let capacity = format!("capacity: {{ quotaNodes: 3, quotaCode: {code} }}");
        let mut rig = Rig::of(&format!("pools: {{ a: {{ count: 2, {capacity} }} }}"));
        let reply = rig.resize(5);
        assert_eq!(Rig::code(&reply), expected);
        assert!(reply.body().to_string().contains(words), "{reply:?}");
        assert_eq!((rig.nodes(), rig.resize(3).status), (2, 201));
    };
    check(
        "ErrCode_InsufficientVCPUQuota",
        (400, "ErrCode_InsufficientVCPUQuota"),
        "requested 72, remaining 24 for family StandardNC24adsA100v4Family",
    );
    check(
        "OperationNotAllowed",
        (409, "OperationNotAllowed"),
        "exceeding approved",
    );
    check("QuotaExceeded", (400, "QuotaExceeded"), "quota exceeded");
}

#[test]
fn a_partial_fill_fails_at_the_end_and_says_so_in_three_ways() {
    let check = |behavior: &str, state: &str, count: u32, in_pool: Option<&str>| {
        let yaml =
            format!("pools: {{ a: {{ capacity: {{ availableNodes: 2 }} }} }}\nbehavior: {{ {behavior} }}");
        let mut rig = Rig::of(&yaml);
        let reply = rig.resize(4);
        assert_eq!((reply.status, rig.nodes()), (201, 2));
        rig.wait(30 * SECOND);
        let said = rig.monitor(&reply);
        assert_eq!(said["status"], "Failed");
        assert_eq!(said["error"]["code"], "ResourceOperationFailure");
        let pool = rig.get();
        assert_eq!(pool["properties"]["provisioningState"], state, "{behavior}");
        assert_eq!(pool["properties"]["count"], count, "{behavior}");
        assert_eq!(
            pool.pointer("/properties/status/provisioningError/code")
                .and_then(Value::as_str),
            in_pool
        );
        // What is missing is asked for again by the next write, and the error goes.
        rig.arm.set_available("a", None);
        rig.resize(4);
        assert_eq!(
            (rig.nodes(), rig.get()["properties"]["status"].is_null()),
            (4, true)
        );
    };
    let code = Some("AllocationFailed");
    check("", "Failed", 4, code);
    check("failedPool: succeeded", "Succeeded", 4, code);
    check("countAfterFailure: actual", "Failed", 2, code);
    check("errorDetail: provisioningErrorOnly", "Failed", 4, code);
    check("errorDetail: messageOnly", "Failed", 4, None);
}

#[test]
fn machines_are_deleted_by_name() {
    let check = |behavior: &str, at_once: u32, at_end: u32| {
        let mut rig = Rig::of(&format!(
            "pools: {{ a: {{ count: 3 }} }}\nbehavior: {{ {behavior} }}"
        ));
        let name = rig.arm.fleet("a").unwrap().nodes()[1].name.clone();
        let body = json!({ "machineNames": [name] });
        let reply = rig.call(Method::Post, "/a/deleteMachines", STABLE, &body);
        assert_eq!(
            (reply.status, rig.arm.count("a"), rig.nodes()),
            (202, Some(at_once), 3)
        );
        assert!(reply.header("location").unwrap().contains("/operationresults/"));
        rig.wait(30 * SECOND);
        assert_eq!((rig.arm.count("a"), rig.nodes()), (Some(at_end), 2));
        assert!(rig.arm.fleet("a").unwrap().node(&name).is_none());
    };
    check("", 2, 2);
    check("deleteMachinesCount: atEnd", 3, 2);
    check("deleteMachinesCount: never", 3, 3);
    let mut rig = Rig::new("");
    for body in [
        json!({}),
        json!({ "machineNames": [] }),
        json!({ "machineNames": ["x"] }),
        json!({ "machineNames": [1] }),
    ] {
        let reply = rig.call(Method::Post, "/a/deleteMachines", STABLE, &body);
        assert_eq!(Rig::code(&reply), (400, "InvalidParameter"), "{body}");
    }
}

#[test]
fn the_autoscalers_least_holds_for_machines_too_or_not() {
    let check = |behavior: &str, expected: u16| {
        let pool = "{ count: 2, enableAutoScaling: true, minCount: 2, maxCount: 5 }";
        let mut rig = Rig::of(&format!("pools: {{ a: {pool} }}\nbehavior: {{ {behavior} }}"));
        let name = rig.arm.fleet("a").unwrap().nodes()[1].name.clone();
        let reply = rig.call(
            Method::Post,
            "/a/deleteMachines",
            STABLE,
            &json!({ "machineNames": [name] }),
        );
        assert_eq!(reply.status, expected, "{behavior}");
    };
    check("", 400);
    check("deleteMachinesBelowMin: allowed", 202);
}

#[test]
fn a_patch_scales_and_nothing_else_and_only_in_the_preview() {
    let mut rig = Rig::new("");
    let body = json!({ "properties": { "count": 3 } });
    assert_eq!(rig.call(Method::Patch, "/a", STABLE, &body).status, 405);
    let other = json!({ "properties": { "count": 3, "maxPods": 1 } });
    assert_eq!(rig.call(Method::Patch, "/a", PREVIEW, &other).status, 400);
    assert_eq!(
        rig.call(Method::Patch, "/a", PREVIEW, &json!({ "properties": {} }))
            .status,
        400
    );
    let reply = rig.call(Method::Patch, "/a", PREVIEW, &body);
    assert_eq!((reply.status, rig.arm.count("a")), (202, Some(3)));
    assert!(reply.header("location").is_some());
    rig.wait(MINUTE);
    let sizes = json!([{ "size": "X", "count": 1 }, { "size": "Y", "count": 1 }]);
    let body = json!({ "properties": { "virtualMachinesProfile": { "scale": { "manual": sizes } } } });
    assert_eq!(rig.call(Method::Patch, "/a", PREVIEW, &body).status, 202);
    assert_eq!(rig.arm.count("a"), Some(2));
}

#[test]
fn a_patch_goes_beside_an_upgrade_or_waits() {
    let check = |behavior: &str, expected: u16| {
        let background = "background: [ { pool: a, at: 1m, takes: 10m, kind: upgrading } ]";
        let mut rig = Rig::new(&format!("{background}\nbehavior: {{ {behavior} }}"));
        rig.wait(MINUTE);
        assert_eq!(rig.get()["properties"]["provisioningState"], "Upgrading");
        assert_eq!(Rig::code(&rig.resize(3)).0, 409);
        let body = json!({ "properties": { "count": 3 } });
        let reply = rig.call(Method::Patch, "/a", PREVIEW, &body);
        assert_eq!(reply.status, expected, "{behavior}");
        if expected == 202 {
            rig.wait(MINUTE);
            assert_eq!((rig.nodes(), rig.arm.state("a")), (3, Some("Upgrading")));
        }
        rig.wait(10 * MINUTE);
        assert_eq!(rig.arm.state("a"), Some("Succeeded"));
    };
    check("", 202);
    check("patchDuringUpgrade: refused", 409);
}

#[test]
fn an_abort_cancels_what_runs() {
    let mut rig = Rig::new("");
    assert_eq!(
        Rig::code(&rig.call(Method::Post, "/a/abort", STABLE, &Value::Null)).0,
        409
    );
    let resize = rig.resize(1);
    let abort = rig.call(Method::Post, "/a/abort", STABLE, &Value::Null);
    assert_eq!((abort.status, rig.arm.state("a")), (202, Some("Canceling")));
    assert_eq!(rig.monitor(&resize)["status"], "Canceled");
    rig.wait(5 * SECOND);
    assert_eq!((rig.arm.state("a"), rig.nodes()), (Some("Canceled"), 2));
    assert_eq!(rig.monitor(&abort)["status"], "Succeeded");
}

#[test]
fn pools_are_made_and_deleted() {
    let mut rig = Rig::new("");
    let body = json!({ "properties": { "count": 1 } });
    assert_eq!(Rig::code(&rig.call(Method::Put, "/b", STABLE, &body)).0, 400);
    let body = json!({ "properties": { "count": 1, "vmSize": "Standard_NC96ads_A100_v4" } });
    let reply = rig.call(Method::Put, "/b", STABLE, &body);
    assert_eq!((reply.status, rig.arm.state("b")), (201, Some("Creating")));
    rig.wait(10 * MINUTE);
    assert_eq!(rig.arm.fleet("b").unwrap().schedulable_gpus(rig.now_ms), 4);
    let reply = rig.call(Method::Delete, "/b", STABLE, &Value::Null);
    assert_eq!((reply.status, rig.arm.state("b")), (202, Some("Deleting")));
    rig.wait(MINUTE);
    assert_eq!(rig.monitor(&reply)["status"], "Succeeded");
    assert_eq!(rig.call(Method::Delete, "/b", STABLE, &Value::Null).status, 204);
}

#[test]
fn lists_come_in_pages() {
    let mut rig = Rig::of("pools: { a: { count: 5 }, b: {}, c: {} }\nbehavior: { pageSize: 2 }");
    let check = |rig: &mut Rig, part: &str, expected: usize| {
        let mut address = format!("{}/agentPools{part}?{STABLE}", rig.arm.cluster_id());
        let mut found = Vec::new();
        loop {
            let reply = rig.send(&Call::new(Method::Get, &address));
            let body = reply.body();
            found.extend(
                body["value"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|item| item["name"].to_string()),
            );
            let Some(next) = body["nextLink"].as_str() else {
                break;
            };
            address = next.strip_prefix("http://127.0.0.1").unwrap().to_owned();
        }
        found.dedup();
        assert_eq!(found.len(), expected, "{found:?}");
    };
    check(&mut rig, "", 3);
    check(&mut rig, "/a/machines", 5);
    let address = format!("{}/agentPools?{STABLE}&$skiptoken=x", rig.arm.cluster_id());
    assert_eq!(rig.send(&Call::new(Method::Get, &address)).status, 400);
}

#[test]
fn machines_are_shown_with_more_in_the_preview() {
    let mut rig = Rig::new("");
    let reply = rig.call(
        Method::Get,
        "/a/machines/aks-a-12345678-vmss000001",
        STABLE,
        &Value::Null,
    );
    assert_eq!(reply.body()["zones"], json!(["2"]));
    assert!(reply.body()["properties"]["status"].is_null());
    let reply = rig.call(
        Method::Get,
        "/a/machines/aks-a-12345678-vmss000001",
        PREVIEW,
        &Value::Null,
    );
    assert_eq!(reply.body()["properties"]["status"]["vmState"], "Running");
    assert_eq!(
        rig.call(Method::Get, "/a/machines/x", STABLE, &Value::Null)
            .status,
        404
    );
    let profile = rig.call(Method::Get, "/a/upgradeProfiles/default", STABLE, &Value::Null);
    assert_eq!(profile.body()["properties"]["osType"], "Linux");
}

#[test]
fn monitors_have_three_words_and_may_forget() {
    for word in ["operations", "operationStatus", "operationresults"] {
        let mut rig = Rig::new(&format!("behavior: {{ monitorPath: {word} }}"));
        let reply = rig.resize(3);
        assert!(
            reply
                .header("azure-asyncoperation")
                .unwrap()
                .contains(&format!("/{word}/"))
        );
        assert_eq!(rig.monitor(&reply)["status"], "InProgress");
    }
    let mut rig = Rig::new("behavior: { monitorAfterEnd: gone, retryAfter: omitted, putStatus: ok }");
    let reply = rig.resize(3);
    assert_eq!((reply.status, reply.header("retry-after")), (200, None));
    assert_eq!(rig.monitor(&reply)["status"], "InProgress");
    rig.wait(MINUTE);
    assert_eq!(rig.monitor(&reply)["error"]["code"], "ResourceNotFound");
}

#[test]
fn results_are_empty_once_they_are_there() {
    let mut rig = Rig::new("");
    let reply = rig.call(
        Method::Patch,
        "/a",
        PREVIEW,
        &json!({ "properties": { "count": 3 } }),
    );
    let address = reply
        .header("location")
        .unwrap()
        .strip_prefix("http://127.0.0.1")
        .unwrap()
        .to_owned();
    let call = Call::new(Method::Get, &address);
    assert_eq!(rig.send(&call).status, 202);
    rig.wait(MINUTE);
    assert_eq!(rig.send(&call).status, 204);
}

#[test]
fn faults_of_operations_come_at_their_end() {
    let mut rig = Rig::new("");
    let call = rig.request(
        Method::Put,
        "/a",
        STABLE,
        &json!({ "properties": { "count": 5 } }),
    );
    let plan = Plan {
        fails: Some(Reason::new("SkuNotAvailable", "none here")),
        takes_ms: Some(10 * MINUTE),
    };
    let reply = rig.arm.handle(rig.now_ms, &call, plan);
    assert_eq!(reply.status, 201);
    rig.wait(9 * MINUTE);
    assert_eq!(rig.monitor(&reply)["status"], "InProgress");
    rig.wait(MINUTE);
    assert_eq!(
        rig.monitor(&reply)["error"]["details"][0]["code"],
        "SkuNotAvailable"
    );
    assert_eq!(rig.nodes(), 2);
    // One that hangs.
    let plan = Plan {
        fails: None,
        takes_ms: Some(Millis::MAX),
    };
    let reply = rig.arm.handle(rig.now_ms, &call, plan);
    rig.wait(1000 * MINUTE);
    assert_eq!(rig.monitor(&reply)["status"], "InProgress");
}

#[test]
fn puts_are_throttled() {
    let mut rig = Rig::new("operationTime: 0s");
    let sent: Vec<u16> = (0..21).map(|_| rig.put(&json!({})).status).collect();
    assert_eq!((sent[19], sent[20]), (201, 429));
    let refused = rig.put(&json!({}));
    assert_eq!(
        (Rig::code(&refused), refused.header("retry-after")),
        ((429, "Throttled"), Some("60"))
    );
}
