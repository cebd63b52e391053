//! Scenario files that are read, and those that are refused, with their messages.

use super::*;
use crate::policy::observation::Failure;
use crate::simulator::fault::FaultKind;

const LEAST: &str = "name: least\nrecording: ../r.csv.gz\ngpusPerNode: 8\n";

fn parse(yaml: &str) -> Scenario {
    Scenario::parse(yaml).unwrap()
}

#[test]
fn the_least_scenario_has_the_documented_defaults() {
    let scenario = parse(LEAST);
    assert_eq!(
        (scenario.scale, scenario.series, scenario.policy),
        (1.0, None, None)
    );
    assert_eq!(scenario.pool, Pool::default());
    assert_eq!(scenario.pool.mean_boot_ms(), 480_000);
}

#[test]
fn every_field_is_read() {
    let scenario = parse(
        "name: all\n\
         description: everything at once\n\
         recording: r.csv\n\
         series: a\n\
         scale: 0.3\n\
         policy: policy.yaml\n\
         world: fluid\n\
         vmSize: Standard_NC96ads_A100_v4\n\
         priceUsdPerHour: 14.69\n\
         bootDelay: { triangular: { min: 5m, mode: 8m, max: 14m } }\n\
         driverDelay: 90s\n\
         interval: 30s\n\
         seed: 7\n\
         initialNodes: 3\n\
         unserved: queued\n\
         faults:\n\
         - { at: 3h, for: 10m, exporterGap: 50 }\n\
         - { at: 2h, nodeLoss: 2 }\n\
         - { at: 4h, for: 1h, allocationFailure: Allocation }\n\
         - { at: 5h, for: 1h, staleSeries: {} }\n",
    );
    let pool = &scenario.pool;
    assert_eq!(pool.gpus_per_node, 4);
    assert_eq!(pool.node_price, Some(14_690_000));
    assert_eq!(pool.mean_boot_ms(), 9 * 60_000 + 90_000);
    assert_eq!(
        (pool.interval_ms, pool.seed, pool.initial_nodes),
        (Some(30_000), 7, Some(3))
    );
    assert_eq!(pool.unserved, Unserved::Queued);
    assert_eq!(scenario.policy, Some(PolicySource::Path("policy.yaml".into())));
    let kinds: Vec<_> = pool
        .faults
        .iter()
        .map(|fault| (fault.at_ms / 3_600_000, fault.kind))
        .collect();
    assert_eq!(
        kinds,
        [
            (2, FaultKind::NodeLoss(2)),
            (3, FaultKind::ExporterGap(50)),
            (4, FaultKind::AllocationFailure(Failure::Allocation)),
            (5, FaultKind::StaleSeries),
        ],
        "in order of time"
    );
}

#[test]
fn a_policy_may_stand_in_the_scenario() {
    let scenario = parse(&format!(
        "{LEAST}policy:\n  kind: GpuScalePolicy\n  spec: {{ maxNodes: 4 }}\n"
    ));
    let Some(PolicySource::Inline(policy)) = scenario.policy else {
        panic!("{:?}", scenario.policy)
    };
    assert_eq!(policy["spec"]["maxNodes"], 4);
}

#[test]
fn uniform_boots_are_read() {
    let scenario = parse(&format!(
        "{LEAST}bootDelay: {{ uniform: {{ min: 5m, max: 12m }} }}\n"
    ));
    assert_eq!(
        scenario.pool.boot,
        BootDelay::Uniform {
            min_ms: 300_000,
            max_ms: 720_000
        }
    );
    assert_eq!(scenario.pool.mean_boot_ms(), 510_000);
}

#[test]
fn each_fault_is_refused_with_its_line_and_the_way_out() {
    let check = |lines: &str, expected: &str| {
        let yaml = format!("name: least\nrecording: r.csv\n{lines}\n");
        let error = Scenario::parse(&yaml).unwrap_err().to_string();
        assert!(
            error.starts_with("line 3") && error.contains(expected),
            "{lines:?} gave: {error}"
        );
    };
    check("gpusPerNod: 8", "unknown field `gpusPerNod`");
    check("gpusPerNode: 0", "`gpusPerNode`: must be from 1 to 64, is 0");
    check("gpusPerNode: many", "invalid");
    check(
        "gpusPerNode: 8\nvmSize: Standard_NC96ads_A100_v4",
        "is 8, but a Standard_NC96ads_A100_v4 has 4; correct one of them",
    );
    check(
        "scale: 0\ngpusPerNode: 8",
        "`scale`: `0` is not a finite number above 0",
    );
    check("scale: .nan\ngpusPerNode: 8", "not a finite number");
    check(
        "priceUsdPerHour: -1\ngpusPerNode: 8",
        "not a price of a node-hour",
    );
    check("bootDelay: 8\ngpusPerNode: 8", "8");
    check("bootDelay: 5M\ngpusPerNode: 8", "months");
    check("bootDelay: 5h\ngpusPerNode: 8", "at most 4h");
    check(
        "bootDelay: { uniform: { min: 9m, max: 5m } }\ngpusPerNode: 8",
        "write min ≤ mode ≤ max",
    );
    check(
        "bootDelay: { normal: { min: 9m } }\ngpusPerNode: 8",
        "unknown variant",
    );
    check("interval: 100ms\ngpusPerNode: 8", "must be from 1s to 10m");
    check("world: gas\ngpusPerNode: 8", "unknown variant");
    check(
        "unserved: queued\nworld: pods\ngpusPerNode: 8",
        "pods always wait for room",
    );
    check(
        "drainTime: 5m\ngpusPerNode: 8",
        "load moves at once in the fluid world",
    );
    check(
        "faults: [ { at: 1h, for: 1h } ]\ngpusPerNode: 8",
        "number 1: needs exactly one of `allocationFailure`",
    );
    check(
        "faults: [ { at: 1h, for: 1h, exporterGap: 120 } ]\ngpusPerNode: 8",
        "120 is no percentage",
    );
    check(
        "faults: [ { at: 1h, exporterGap: 20 } ]\ngpusPerNode: 8",
        "add `for`",
    );
    check(
        "faults: [ { at: 1h, for: 1h, nodeLoss: 1 } ]\ngpusPerNode: 8",
        "remove `for`",
    );
}

#[test]
fn what_is_missing_is_named() {
    let check = |yaml: &str, expected: &str| {
        let error = Scenario::parse(yaml).unwrap_err().to_string();
        assert!(error.contains(expected), "{yaml:?} gave: {error}");
    };
    check("name: x\nrecording: r.csv\n", "`gpusPerNode`: is missing");
    check("name: x\ngpusPerNode: 8\n", "missing field `recording`");
    check(
        "name: ' '\nrecording: r\ngpusPerNode: 8\n",
        "line 1: `name`: is empty",
    );
    check("", "the document is empty");
    check("\n  \n", "the document is empty");
    check("- a\n- b\n", "line 1");
}
