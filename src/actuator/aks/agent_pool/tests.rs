//! Documents of agent pools: the official examples, the rules of the PUT, and any document at all.

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;

fn read(document: &Value) -> AgentPool {
    AgentPool::parse(&document.to_string()).unwrap()
}

fn body(document: &Value, count: u32) -> Value {
    serde_json::from_str(&read(document).resized(count).unwrap()).unwrap()
}

/// What the body of a PUT has to be, said once more and in another way.
fn expected(document: &Value, count: u32) -> Value {
    let mut body = document.clone();
    for name in ["id", "name", "type", "systemData"] {
        body.as_object_mut().unwrap().remove(name);
    }
    let properties = body["properties"].as_object_mut().unwrap();
    for name in [
        "eTag",
        "provisioningState",
        "currentOrchestratorVersion",
        "status",
        "virtualMachineNodesStatus",
        "nodeImageVersion",
    ] {
        properties.remove(name);
    }
    properties.insert("count".to_owned(), json!(count));
    body
}

#[test]
fn the_official_example_is_read_and_written() {
    let example: Value = serde_json::from_str(include_str!(
        "../../../../tests/fixtures/aks/reference/AgentPoolsGet.json"
    ))
    .unwrap();
    let document = &example["responses"]["200"]["body"];
    let pool = read(document);
    assert_eq!((pool.count, pool.etag.as_deref()), (3, Some("ebwiyfneowv")));
    assert_eq!(pool.vm_size.as_deref(), Some("Standard_DS1_v2"));
    assert_eq!(
        (pool.state, pool.autoscaler),
        (PoolState::Steady, PoolAutoscaler::Off)
    );
    let put = pool.resized(5).unwrap();
    assert_eq!(
        put,
        r#"{"properties":{"count":5,"maxPods":110,"orchestratorVersion":"1.9.6","osType":"Linux","upgradeSettings":{"maxSurge":"33%"},"vmSize":"Standard_DS1_v2"}}"#
    );
}

#[test]
fn states_are_those_of_the_contract() {
    use PoolState::{Busy, Failed, Steady, Stopped};
    for (state, power, wanted) in [
        ("Succeeded", "Running", Steady),
        ("succeeded", "Running", Steady),
        ("Failed", "Running", Failed),
        ("Canceled", "Running", Failed),
        ("Creating", "Running", Busy),
        ("Updating", "Running", Busy),
        ("Scaling", "Running", Busy),
        ("Upgrading", "Running", Busy),
        ("UpgradingNodeImageVersion", "Running", Busy),
        ("Canceling", "Running", Busy),
        ("Deleting", "Running", Busy),
        ("SomethingNew", "Running", Busy),
        ("Succeeded", "Stopped", Stopped),
        ("Scaling", "Stopped", Stopped),
    ] {
        let document = json!({ "properties": { "count": 1, "provisioningState": state, "powerState": { "code": power } } });
        assert_eq!(read(&document).state, wanted, "{state} {power}");
    }
}

#[test]
fn what_decides_is_read_and_null_is_absent() {
    let document = json!({ "properties": {
        "count": 0, "eTag": null, "enableAutoScaling": true, "minCount": 2, "maxCount": 7, "scaleSetPriority": "Spot", "type": "VirtualMachines",
        "status": { "provisioningError": { "code": "AllocationFailed" } },
    } });
    let pool = read(&document);
    assert_eq!(
        (pool.count, pool.etag.clone(), pool.state),
        (0, None, PoolState::Steady)
    );
    assert_eq!(
        (pool.autoscaler, pool.purchase),
        (PoolAutoscaler::On { least: 2, most: 7 }, Purchase::Spot)
    );
    assert_eq!(pool.kind.as_deref(), Some("VirtualMachines"));
    assert_eq!(pool.error, Some(json!({ "code": "AllocationFailed" })));
    let quiet = json!({ "properties": { "count": 4, "enableAutoScaling": null, "powerState": null, "status": null } });
    assert_eq!(
        (read(&quiet).autoscaler, read(&quiet).error),
        (PoolAutoscaler::Off, None)
    );
}

#[test]
fn what_is_no_agent_pool_is_refused_with_what_is_missing() {
    for (document, words) in [
        ("", "EOF"),
        ("<html>", "expected value"),
        ("[]", "invalid length 0"),
        ("{}", "missing field `properties`"),
        (r#"{"properties":{}}"#, "no `properties.count`"),
        (r#"{"properties":{"count":-1}}"#, "-1"),
        (r#"{"properties":{"count":"3"}}"#, "string"),
        (r#"{"properties":{"count":3.5}}"#, "3.5"),
        (r#"{"properties":{"count":4294967296}}"#, "4294967296"),
        (
            r#"{"properties":{"count":1,"count":2}}"#,
            "duplicate field `count`",
        ),
    ] {
        let error = AgentPool::parse(document).unwrap_err().to_string();
        assert!(error.contains(words), "{document}: {error}");
    }
}

#[test]
fn a_member_that_is_there_twice_is_not_guessed_at() {
    let document = r#"{"properties":{"count":1,"tags":{},"tags":{"a":"b"}}}"#;
    let error = AgentPool::parse(document).unwrap().resized(2).unwrap_err();
    assert!(error.to_string().contains("it has `tags` twice"), "{error}");
}

#[test]
fn values_keep_their_bytes() {
    let document = "{\"zones\":[ 1.50, 1e400 ],\"properties\":{\"maxPods\":1.10,\"count\":1,\
                    \"new\\u0041\":{\"b\":1,\"a\":[\"\\u00e9\",9007199254740993123]}}}";
    let body = AgentPool::parse(document).unwrap().resized(2).unwrap();
    assert_eq!(
        body,
        "{\"zones\":[ 1.50, 1e400 ],\"properties\":{\"maxPods\":1.10,\"count\":2,\
         \"newA\":{\"b\":1,\"a\":[\"\\u00e9\",9007199254740993123]}}}"
    );
}

#[test]
fn a_stopped_pool_stays_stopped_and_a_patch_has_the_count_alone() {
    let document = json!({ "properties": { "count": 1, "powerState": { "code": "Stopped" } } });
    assert_eq!(body(&document, 2)["properties"]["powerState"]["code"], "Stopped");
    assert_eq!(AgentPool::patch(7), r#"{"properties":{"count":7}}"#);
}

/// Any JSON, with names that matter among the others.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(NOT_SENT.as_slice()).prop_map(str::to_owned),
        prop::sample::select(READ_ONLY.as_slice()).prop_map(str::to_owned),
        prop::sample::select(
            [
                "properties",
                "tags",
                "nodeTaints",
                "gpuProfile",
                "maxPods",
                "\"",
                ""
            ]
            .as_slice()
        )
        .prop_map(str::to_owned),
        any::<String>(),
    ]
}

fn object(names: impl Strategy<Value = String>) -> impl Strategy<Value = Map<String, Value>> {
    prop::collection::btree_map(names, value(), 0..8).prop_map(|members| members.into_iter().collect())
}

proptest! {
    #[test]
    fn a_put_is_what_was_read_without_what_the_service_writes_and_with_the_new_count(
        top in object(name()),
        unknown in object(name()),
        count in 0_u32..=1000,
        wanted in 0_u32..=1000,
        tag in any::<String>(),
        image in any::<String>(),
    ) {
        let mut properties = unknown;
        // What is read has its own form; all else may be anything.
        for name in ["powerState", "enableAutoScaling", "vmSize", "type", "scaleSetPriority", "status", "provisioningState", "minCount", "maxCount"] {
            properties.remove(name);
        }
        properties.insert("count".to_owned(), json!(count));
        properties.insert("eTag".to_owned(), json!(tag));
        properties.insert("nodeImageVersion".to_owned(), json!(image));
        properties.insert("provisioningState".to_owned(), json!("Succeeded"));
        let mut top = top;
        top.insert("properties".to_owned(), Value::Object(properties));
        let document = Value::Object(top);
        let put = body(&document, wanted);
        prop_assert_eq!(&put, &expected(&document, wanted));
        prop_assert!(put["properties"].get("nodeImageVersion").is_none());
        // The same for the least of the pool's autoscaler, whether it was written before or not.
        let least: Value = serde_json::from_str(&read(&document).with_least(wanted).unwrap()).unwrap();
        let mut wished = expected(&document, count);
        wished["properties"]["minCount"] = json!(wanted);
        prop_assert_eq!(least, wished);
        // What was sent can be read, and sent again without a change.
        let again = read(&put);
        prop_assert_eq!(again.count, wanted);
        prop_assert_eq!(body(&put, wanted), put);
    }

    #[test]
    fn no_document_makes_it_panic(text in any::<String>(), wild in value()) {
        let _ = AgentPool::parse(&text).map(|pool| pool.resized(1));
        let _ = AgentPool::parse(&wild.to_string()).map(|pool| pool.resized(1));
    }
}
