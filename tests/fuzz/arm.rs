//! What Azure Resource Manager says: documents of pools, errors, progress of operations, and whole answers with their
//! headers over loopback.

use std::io::Write as _;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bolero::check;
use gpuscale::actuator::aks::Aks;
use gpuscale::actuator::aks::agent_pool::{AgentPool, Purchase};
use gpuscale::actuator::aks::{failure, operation};
use gpuscale::config::Config;
use gpuscale::control::ports::{NodePools as _, PoolKey, Progress};
use gpuscale::source::connect::NoIdentity;
use serde_json::Value;

use super::{Mutations, OF_BYTES, OF_DOCUMENTS, mutated};
use crate::hostile::{Hostile, response};

const POOL: &str = r#"{"id":"/subscriptions/s","name":"gpu","properties":{"count":3,"eTag":"e1","maxPods":110,
"nodeImageVersion":"AKSAzureLinux-V3gen2-202611.01.0","provisioningState":"Succeeded","powerState":{"code":"Running"},
"vmSize":"Standard_NC24ads_A100_v4","unheard":{"of":[1.50,null,"\u00e9"]},"status":{"provisioningError":{"code":"x"}}}}"#;

const ERROR: &str = r#"{"error":{"code":"ErrCode_InsufficientVCPUQuota","message":"left regional vcpu quota 10, requested 48",
"details":[{"code":"ZonalAllocationFailed","message":"none","details":[]}],"target":null}}"#;

const MONITOR: &str = r#"{"name":"0","status":"Failed","startTime":"2026-11-20T10:00:00Z","error":{"code":"a",
"message":"overriden and canceled by a later operation","details":[{"code":"AllocationFailed"}]}}"#;

const STATUSES: [u16; 14] = [
    200, 201, 202, 204, 304, 400, 401, 403, 404, 409, 412, 429, 500, 503,
];

/// A document that was garbled, and text of all kinds.
fn texts(start: &str, judge: fn(&str, u16)) {
    judge(start, 200);
    check!()
        .with_iterations(OF_BYTES)
        .with_type::<(Vec<u8>, Mutations, u8)>()
        .for_each(|(bytes, mutations, status)| {
            let status = STATUSES[usize::from(*status) % STATUSES.len()];
            judge(&String::from_utf8_lossy(bytes), status);
            judge(
                &String::from_utf8_lossy(&mutated(start.into(), mutations)),
                status,
            );
        });
}

#[test]
fn pools() {
    texts(POOL, |document, _| {
        let pool = match AgentPool::parse(document) {
            Ok(pool) => pool,
            Err(error) => return assert!(!error.to_string().is_empty()),
        };
        // Whatever was read can be written, or is refused; what is written is that pool with the other count.
        let Ok(body) = pool.resized(7) else { return };
        assert_eq!(AgentPool::parse(&body).unwrap().count, 7, "{body}");
        let (was, is): (Value, Value) = (
            serde_json::from_str(document).unwrap(),
            serde_json::from_str(&body).unwrap(),
        );
        for (name, value) in is["properties"].as_object().unwrap() {
            assert!(name == "count" || was["properties"][name] == *value, "{name}");
            assert_ne!(name, "nodeImageVersion");
        }
    });
}

#[test]
fn errors() {
    texts(ERROR, |body, status| {
        for effect in [failure::Effect::Reads, failure::Effect::Writes] {
            for purchase in [Purchase::OnDemand, Purchase::Spot] {
                let error = failure::of_answer(status, body, None, effect, purchase);
                // It goes into one line of a log.
                let text = error.to_string();
                assert!(!text.is_empty() && text.chars().count() < 1_000, "{text}");
                assert!(!text.contains(['\n', '\r']), "{text:?}");
            }
        }
    });
}

#[test]
fn operations() {
    texts(MONITOR, |body, status| {
        let progress = operation::progress(status, body, Some(1_000), Purchase::OnDemand);
        // Nothing but the word itself is success, or an answer without a body.
        if progress == Progress::Succeeded && !body.trim().is_empty() {
            let low = body.to_ascii_lowercase();
            assert!(low.contains("succeeded") || low.trim() == "null", "{body}");
        }
    });
}

/// A header of text that no header may hold would be a fault of the fuzzer.
fn printable(bytes: &[u8]) -> String {
    let letters = bytes.iter().take(60).map(|byte| char::from(b' ' + byte % 95));
    letters.collect::<String>().trim().to_owned()
}

/// A server that shows the pool, and says to everything else what it is given.
fn serving() -> (Hostile, Arc<Mutex<String>>) {
    let next: Arc<Mutex<String>> = Arc::default();
    let answer = Arc::clone(&next);
    let server = Hostile::asked(move |heard, stream| {
        let text = if heard.head.starts_with("GET ") && heard.head.contains("/agentPools/gpu?") {
            response("200 OK", "", POOL)
        } else {
            answer.lock().unwrap().clone()
        };
        stream.write_all(text.as_bytes())
    });
    (server, next)
}

/// Addresses of operations, waits, dates and etags of all kinds, with bodies of all kinds. The client ends within its time,
/// keeps to its own server, and says either that it was accepted or why not.
#[test]
fn answers() {
    let (server, next) = serving();
    let home = format!("http://{}", server.at);
    let config = Config::parse(&format!(
        "aksClusters: {{ c: {{ subscriptionId: 00000000-0000-0000-0000-000000000000, resourceGroup: r, name: c,
           endpoint: '{home}' }} }}"
    ))
    .unwrap();
    let aks = Aks::connect(&config, &NoIdentity, Duration::from_secs(20)).unwrap();
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let key = PoolKey::new("c", "gpu");
    let pool = runtime.block_on(aks.read(&key)).unwrap();
    // What panics here fails the test, and nobody looks at the client again.
    let client = AssertUnwindSafe((aks, runtime));
    let (waits, addresses) = (
        ["5", "0", "-1", "99999999999", "Fri, 20 Nov 2026 10:00:00 GMT"],
        [
            "",
            "//",
            "/operations/1",
            ":1/operations",
            "@other/",
            ".other/",
            "?t=",
            "#",
        ],
    );
    check!()
        .with_iterations(OF_DOCUMENTS / 2)
        .with_type::<(Vec<u8>, Vec<u8>, Mutations, u8, u8)>()
        .for_each(|(address, wait, mutations, status, choice)| {
            let (aks, runtime) = &*client;
            let choice = usize::from(*choice);
            let address = printable(address);
            let address = match choice % 3 {
                0 => address,
                _ => format!("{home}{}{address}", addresses[choice % addresses.len()]),
            };
            let wait = match choice % 2 {
                0 => printable(wait),
                _ => waits[choice % waits.len()].to_owned(),
            };
            let headers = format!(
                "Azure-AsyncOperation: {address}\r\nLocation: {address}\r\nRetry-After: {wait}\r\nDate: {wait}\r\n"
            );
            let status = STATUSES[usize::from(*status) % STATUSES.len()];
            let body = if [204, 304].contains(&status) {
                String::new()
            } else {
                String::from_utf8_lossy(&mutated(MONITOR.into(), mutations)).into_owned()
            };
            *next.lock().unwrap() = response(&format!("{status} x"), &headers, &body);
            match runtime.block_on(aks.resize(&key, &pool, 4)) {
                Ok(accepted) => {
                    assert!(status < 300);
                    assert!(accepted.retry_after_ms.is_none_or(|wait_ms| (0..=3_600_000).contains(&wait_ms)));
                    if let Some(operation) = accepted.operation {
                        assert!(operation.starts_with(&format!("{home}/")), "{operation}");
                        let _ = runtime.block_on(aks.poll(&key, &operation));
                    }
                }
                Err(error) => assert!(status >= 300, "{error}"),
            }
            // One more in this process is as good as the first.
            assert_eq!(runtime.block_on(aks.read(&key)).unwrap(), pool);
        });
}
