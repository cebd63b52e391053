//! Scenarios that are read, and those that are not.

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::json;

use super::*;
use crate::emulator::behavior::{DeleteMachinesCount, MonitorPath, SecondWriter};
use crate::emulator::fault::{Answer, Effect, Target};

const WHOLE: &str = "
subscriptionId: 11111111-1111-1111-1111-111111111111
resourceGroup: rg
clusterName: ml
location: westeurope
bootDelay: 6m
driverDelay: 90s
operationTime: 45s
retryAfter: 5s
pools:
  a100:
    vmSize: Standard_NC96ads_A100_v4
    count: 3
    properties: { nodeLabels: { team: ml }, gpuProfile: { driver: Install } }
    demand: { gpus: 2.5 }
    capacity: { quotaNodes: 8, quotaCode: OperationNotAllowed, availableNodes: 5 }
  h100:
    vmSize: Standard_Unheard_Of
    gpusPerNode: 16
    enableAutoScaling: true
    minCount: 0
    maxCount: 4
    demand: { recording: week.csv, series: m, scale: 2.0 }
behavior: { deleteMachinesCount: never, monitorPath: operationresults, secondWriter: cancelsFirst, pageSize: 2 }
metrics: { scrapeInterval: 30s, labels: azureManaged }
faults:
  - { on: putPool, pool: a100, after: 1, times: 2, effect: { answer: { status: 503, error: { code: Busy } } } }
  - { effect: { operationFails: { code: AllocationFailed } } }
background:
  - { pool: a100, at: 10m, takes: 5m, kind: upgrading }
";

#[test]
fn a_whole_scenario_is_read() {
    let scenario = Scenario::from_yaml(WHOLE).unwrap();
    assert_eq!(scenario.boot_delay.as_millis(), 360_000);
    let pool = &scenario.pools["a100"];
    assert_eq!((pool.gpus(), pool.count), (4, 3));
    assert_eq!(pool.demand.constant(), 2_500_000);
    assert_eq!(pool.properties["gpuProfile"]["driver"], "Install");
    assert_eq!(scenario.pools["h100"].gpus(), 16);
    let named: Vec<&str> = scenario.recordings().map(|(pool, _)| pool).collect();
    assert_eq!(named, ["h100"]);
    assert_eq!(
        scenario.behavior.delete_machines_count,
        DeleteMachinesCount::Never
    );
    assert_eq!(scenario.behavior.monitor_path, MonitorPath::OperationResults);
    assert_eq!(scenario.behavior.second_writer, SecondWriter::CancelsFirst);
    assert_eq!(scenario.faults[0].on, Target::PutPool);
    assert!(matches!(scenario.faults[1].effect, Effect::OperationFails(_)));
    assert_eq!(scenario.background[0].kind, BackgroundKind::Upgrading);
}

#[test]
fn a_recording_is_brought_by_the_caller() {
    let mut scenario = Scenario::from_yaml(WHOLE).unwrap();
    let demand = Demand::new("m", 0, 60_000, vec![MICRO]).unwrap();
    assert!(scenario.record("nobody", demand.clone()).is_err());
    scenario.record("h100", demand).unwrap();
    assert_eq!(scenario.recordings().count(), 0);
}

#[test]
fn the_example_is_one() {
    assert_eq!(Scenario::example().check(), Ok(()));
}

#[test]
fn nonsense_is_refused_with_its_place() {
    let check = |yaml: &str, expected: &str| {
        let error = Scenario::from_yaml(yaml).unwrap_err().to_string();
        assert!(error.contains(expected), "{yaml}: {error}");
    };
    check("{}", "`pools` is empty");
    check("pools: { a: { cuont: 1 } }", "cuont");
    check("pools: { A100: {} }", "`pools.A100` is no name");
    check("pools: { a: { count: 1001 } }", "`pools.a.count` is above 1000");
    check("pools: { a: { vmSize: X } }", "`pools.a.gpusPerNode` is missing");
    check(
        "pools: { a: { gpusPerNode: 65 } }",
        "`pools.a.gpusPerNode` is not from 1 to 64",
    );
    check("pools: { a: { enableAutoScaling: true } }", "needs `minCount`");
    check("pools: { a: { demand: { gpus: -1 } } }", "`pools.a.demand.gpus`");
    check(
        "pools: { a: { demand: { gpus: 1, recording: x } } }",
        "has both `gpus` and `recording`",
    );
    check("{ pools: { a: {} }, behavior: { pageSize: 0 } }", "pageSize");
    check(
        "{ pools: { a: {} }, behavior: { omittedProperty: lost } }",
        "lost",
    );
    check(
        "{ pools: { a: {} }, metrics: { scrapeInterval: 10ms } }",
        "below 1s",
    );
    check(
        "{ pools: { a: {} }, background: [ { pool: b, at: 1m, takes: 1m } ] }",
        "names pool `b`",
    );
    check("{ pools: { a: {} }, bootDelay: 300 }", "300");
}

const GUIDE: &str = include_str!("../../../deploy/guide/emulator.md");

/// The names that a type knows, as its refusal of an unknown one lists them.
fn names_of<T: DeserializeOwned>(unknown: &Value) -> BTreeSet<String> {
    let refusal = serde_json::from_value::<T>(unknown.clone()).err().unwrap();
    let refusal = refusal.to_string();
    let (_, known) = refusal.split_once("expected").unwrap();
    known
        .split('`')
        .skip(1)
        .step_by(2)
        .map(ToOwned::to_owned)
        .collect()
}

/// What stands in backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_document_of_the_guide_is_one() {
    let documents: Vec<&str> = GUIDE
        .split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(documents.len() >= 2);
    for document in documents {
        Scenario::from_yaml(document).unwrap();
    }
}

#[test]
fn every_switch_stands_in_the_guide_with_every_value() {
    let mut told = BTreeSet::from(["pageSize".to_owned()]);
    let rows = GUIDE
        .lines()
        .skip_while(|line| !line.starts_with("| `behavior.`"));
    for row in rows.skip(1).filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let [switch, values, _] = cells.as_slice() else {
            continue;
        };
        let switch = quoted(switch)[0];
        let values = quoted(values);
        let with = |value: &str| serde_json::from_value::<Behavior>(json!({ switch: value }));
        assert_eq!(with(values[0]).unwrap(), Behavior::default(), "{row}");
        let differ = values[1..]
            .iter()
            .all(|value| with(value).unwrap() != Behavior::default());
        assert!(differ, "{row}");
        let refusal = with("nonsense").unwrap_err().to_string();
        assert_eq!(
            refusal.matches('`').count() / 2 - 1,
            values.len(),
            "{row}: {refusal}"
        );
        told.insert(switch.to_owned());
    }
    assert_eq!(told, names_of::<Behavior>(&json!({ "nonsense": 1 })));
}

#[test]
fn every_field_target_and_effect_stands_in_the_guide() {
    let nonsense = json!({ "nonsense": 1 });
    let names = [
        names_of::<Scenario>(&nonsense),
        names_of::<PoolSpec>(&nonsense),
        names_of::<DemandSpec>(&nonsense),
        names_of::<Capacity>(&nonsense),
        names_of::<MetricsSpec>(&nonsense),
        names_of::<Background>(&nonsense),
        names_of::<Fault>(&nonsense),
        names_of::<Answer>(&nonsense),
        names_of::<Target>(&json!("nonsense")),
        names_of::<Effect>(&json!("nonsense")),
        names_of::<QuotaCode>(&json!("nonsense")),
        names_of::<Labels>(&json!("nonsense")),
        names_of::<BackgroundKind>(&json!("nonsense")),
    ];
    for name in names.iter().flatten() {
        assert!(
            GUIDE.contains(name.as_str()),
            "the guide does not tell of `{name}`"
        );
    }
}
