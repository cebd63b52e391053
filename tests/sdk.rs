//! Microsoft's own client against the emulator: what it makes of the answers is what it would make of Azure's.

#![cfg(feature = "emulator")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a fault of a fixture may end it at once"
)]

mod backends;

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use backends::{Program, find, run};
use serde_json::{Value, json};

const CLUSTER: &str = "
retryAfter: 0s
behavior: { pageSize: 1 }
pools:
  a100: { count: 2 }
  full: { count: 1, capacity: { availableNodes: 2 } }
";

/// The emulator's process, which ends with its test.
struct Emulated(Child);

impl Drop for Emulated {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn microsofts_client_reads_resizes_and_deletes() {
    let Some(python) = find(Program::AzureSdk) else {
        return;
    };
    let directory = tempfile::tempdir().unwrap();
    let scenario = directory.path().join("cluster.yaml");
    std::fs::write(&scenario, CLUSTER).unwrap();
    // An operation takes 30 s, which is over in 30 ms.
    let child = Command::new(env!("CARGO_BIN_EXE_gpuscale"))
        .args(["emulator", "--speed", "1000", "--scenario"])
        .arg(&scenario)
        .stdout(Stdio::piped())
        .spawn();
    let mut emulated = Emulated(child.unwrap());
    let mut line = String::new();
    BufReader::new(emulated.0.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let said = String::from_utf8(run(&python, ["tests/sdk/drive.py", line.trim()])).unwrap();
    let said: Vec<Value> = said
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();

    let machine = |number: u32| format!("aks-a100-12345678-vmss{number:06}");
    let raised = |step: &str, class: &str, code: &str, details: &[&str]| json!({ "step": step, "raised": class, "code": code, "details": details });
    let expected = [
        json!({ "step": "get", "name": "a100", "count": 2, "size": "Standard_NC24ads_A100_v4" }),
        json!({ "step": "list", "names": ["a100", "full"] }),
        json!({ "step": "machines", "names": [machine(0), machine(1)], "zones": ["1"] }),
        json!({ "step": "resize", "count": 3, "state": "Succeeded" }),
        raised("stale", "ResourceModifiedError", "PreconditionFailed", &[]),
        raised(
            "full",
            "HttpResponseError",
            "ResourceOperationFailure",
            &["AllocationFailed"],
        ),
        json!({ "step": "failed", "state": "Failed", "code": "AllocationFailed" }),
        json!({ "step": "deleted", "count": 2, "left": [machine(1), machine(2)] }),
        json!({ "step": "profile", "os": "Linux" }),
        raised("idle", "ResourceExistsError", "OperationNotAllowed", &[]),
        raised("gone", "ResourceNotFoundError", "ResourceNotFound", &[]),
        json!({ "step": "left", "names": ["a100"] }),
    ];
    for (said, expected) in said.iter().zip(&expected) {
        assert_eq!(said, expected);
    }
    assert_eq!(said.len(), expected.len());
}
