//! GPU nodes that report live: real pages of dcgm-exporter, with one row for each GPU and values of now.

#![allow(
    unreachable_pub,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a module of tests, and a fault of a fixture may end one at once"
)]

use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use crate::backends::exporter::Exporter;

/// GPUs of one node.
pub const GPUS_PER_NODE: u32 = 2;

/// Nodes of one pool at the beginning.
pub const NODES: u32 = 2;

/// Seconds since the story began. Before it there is only the warm-up.
#[derive(Debug, Clone)]
pub struct Story {
    start: Instant,
    /// When the story began, in ms after the start; `i64::MAX` before it does.
    began_ms: Arc<AtomicI64>,
}

impl Story {
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            began_ms: Arc::new(AtomicI64::new(i64::MAX)),
        }
    }

    pub fn begin(&self) {
        self.began_ms.store(self.start_ms(), Ordering::SeqCst);
    }

    fn start_ms(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_millis()).unwrap()
    }

    /// Seconds of the story that are over; negative before it.
    pub fn seconds(&self) -> i64 {
        let began_ms = self.began_ms.load(Ordering::SeqCst);
        self.start_ms()
            .checked_sub(began_ms)
            .map_or(-1, |ms| ms.div_euclid(1000))
    }
}

/// What a GPU is labelled with besides what every exporter says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pods {
    None,
    /// A pod that is called so.
    One(&'static str),
    /// The GPU is time-sliced: its rows come once for each of three pods, with the same value.
    Sliced,
}

/// What a node says at one time: the utilization of its GPUs in %, and the pods on them. `None` is an empty page.
pub type Says = fn(node: u32, seconds: i64) -> Option<(i64, Pods)>;

/// One pool whose nodes report.
pub struct Fleet {
    pub pool: &'static str,
    pub nodes: Vec<Option<Exporter>>,
}

impl Fleet {
    pub fn new(pool: &'static str, story: &Story, says: Says) -> Self {
        let nodes = (0..NODES).map(|node| {
            let story = story.clone();
            let template = fs::read_to_string("tests/fixtures/dcgm/one-gpu-l40s.prom").unwrap();
            Some(Exporter::start(move |_| {
                let said = says(node, story.seconds());
                said.map_or(String::new(), |(load, pods)| {
                    page(&template, pool, node, load, pods)
                })
            }))
        });
        Self {
            pool,
            nodes: nodes.collect(),
        }
    }

    /// `host:port` of every exporter.
    pub fn targets(&self) -> Vec<String> {
        self.nodes.iter().flatten().map(Exporter::target).collect()
    }

    /// The exporter of a node dies.
    pub fn kill(&mut self, node: usize) {
        let exporter = self.nodes[node].take();
        assert!(exporter.unwrap().die() > 0, "nobody scraped the one that dies");
    }
}

/// A page as the exporter writes it. Every row of the template becomes one for each GPU.
fn page(template: &str, pool: &str, node: u32, load: i64, pods: Pods) -> String {
    let mut page = String::new();
    for line in template.lines() {
        if line.starts_with('#') {
            writeln!(page, "{line}").unwrap();
            continue;
        }
        let (labels, value) = line.rsplit_once("} ").unwrap();
        let (name, _) = labels.split_once('{').unwrap();
        for gpu in 0..GPUS_PER_NODE {
            let labels = labels
                .replace("gpu=\"0\"", &format!("gpu=\"{gpu}\""))
                .replace("GPU-5b4e07f6-3a86-4340", &format!("GPU-{pool}-{node}-{gpu}"))
                .replace("nvidia0", &format!("nvidia{gpu}"))
                .replace("gpu1-wl8sg", &format!("aks-{pool}-vmss00000{node}"));
            let value = live(name, load).unwrap_or_else(|| value.to_owned());
            let mut row = |pod: &str| writeln!(page, "{labels}{pod}}} {value}").unwrap();
            match pods {
                Pods::None => row(""),
                Pods::One(pod) => row(&format!(",container=\"main\",namespace=\"ml\",pod=\"{pod}\"")),
                Pods::Sliced => (0..3).for_each(|pod| {
                    row(&format!(
                        ",container=\"main\",namespace=\"ml\",pod=\"slice-{pod}\""
                    ));
                }),
            }
        }
    }
    page
}

/// What follows from the load. An L40S may draw 350 W and draws some 35 W when it is idle.
fn live(name: &str, load: i64) -> Option<String> {
    match name {
        "DCGM_FI_DEV_GPU_UTIL" => Some(load.to_string()),
        "DCGM_FI_DEV_POWER_USAGE" => Some(format!("{}.5", 35 + load * 3)),
        "DCGM_FI_DEV_FB_USED" => Some(if load > 1 { "30000" } else { "0" }.to_owned()),
        "DCGM_FI_DEV_FB_FREE" => Some(if load > 1 { "15459" } else { "45459" }.to_owned()),
        _ => None,
    }
}
