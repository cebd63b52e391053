//! `gpuscale emulator`: a cluster of AKS that is not there, on a port of this machine.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;

use clap::Args;
use futures_util::future::select;
use gpuscale::clock::AcceleratedClock;
use gpuscale::emulator::{Emulator, Running, Scenario, readings};
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{input, output};
use crate::error::Error;

pub(super) const ABOUT: &str = "\
Emulates a cluster of AKS on this machine: the node pools' part of Azure Resource Manager, nodes that take minutes to \
boot, pages of their GPUs' exporters, and a Prometheus API over what those pages said.

Nothing leaves the machine and nobody is asked for a credential. A scenario says which pools there are, what their GPUs \
are asked for, how the platform behaves where its reference says nothing, and what goes wrong. Without one there is a \
pool `a100` of two nodes with one GPU each, 1.5 of which are busy.

One line of JSON on standard output says where everything is. It runs until SIGINT or SIGTERM.";

pub(super) const EXAMPLES: &str = "\
A scenario; every part may be left out but `pools`:
  bootDelay: 8m
  pools:
    a100: { vmSize: Standard_NC24ads_A100_v4, count: 2, demand: { gpus: 1.5 } }
    h100: { vmSize: Standard_NC40ads_H100_v5 }
  behavior: { deleteMachinesCount: never, errorDetail: messageOnly }
  faults: [ { on: putPool, after: 2, times: 1, effect: lostReply } ]

Example:
  # A minute of the cluster in a second
  gpuscale emulator --listen 127.0.0.1:8180 --speed 60 &

  cluster=/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/gpuscale
  cluster=$cluster/providers/Microsoft.ContainerService/managedClusters/emulated
  curl -s \"http://127.0.0.1:8180$cluster/agentPools?api-version=2026-08-01\"
  curl -s -X PUT -d '{\"properties\":{\"count\":4}}' \\
      \"http://127.0.0.1:8180$cluster/agentPools/a100?api-version=2026-08-01\"
  curl -s http://127.0.0.1:8180/prometheus/api/v1/query -d 'query=DCGM_FI_DEV_GPU_UTIL'";

#[derive(Debug, Args)]
pub(super) struct EmulatorArgs {
    /// The cluster, as YAML
    #[arg(long, value_name = "FILE")]
    scenario: Option<PathBuf>,

    /// Address of this machine to listen on; port 0 is any free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,

    /// How many times as fast as real time it runs, up to 10000
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    speed: u32,
}

pub(super) fn run(args: &EmulatorArgs) -> Result<(), Error> {
    let scenario = match &args.scenario {
        Some(path) => scenario(path)?,
        None => Scenario::example(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    runtime.block_on(emulate(args, &scenario))
}

async fn emulate(args: &EmulatorArgs, scenario: &Scenario) -> Result<(), Error> {
    // Before anybody hears that it runs, so that whoever hears it can stop it.
    let (mut interrupted, mut terminated) = signals()?;
    let clock = AcceleratedClock::from_now(args.speed);
    let running = Emulator::start(scenario, readings(clock), args.listen).await?;
    output::print(&line(&running, args.speed))?;
    select(pin!(interrupted.recv()), pin!(terminated.recv())).await;
    Ok(running.stop().await?)
}

fn signals() -> io::Result<(Signal, Signal)> {
    Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
}

/// Where everything is.
fn line(running: &Running, speed: u32) -> String {
    let pools = running.handle().pools();
    let pools: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
    json!({
        "arm": running.arm_endpoint(),
        "cluster": running.handle().cluster_id(),
        "pools": pools,
        "prometheus": running.prometheus_endpoint(),
        "exporters": running.exporter("{node}"),
        "targets": running.discovery_endpoint(),
        "speed": speed,
    })
    .to_string()
}

/// Reads a scenario and the recordings that it names, which lie beside it.
fn scenario(path: &Path) -> Result<Scenario, Error> {
    let text = input::text("scenario", path)?;
    let refused = |source| Error::Emulated {
        path: path.to_owned(),
        source,
    };
    let mut scenario = Scenario::from_yaml(&text).map_err(refused)?;
    let directory = path.parent().unwrap_or(Path::new(""));
    let named: Vec<_> = scenario
        .recordings()
        .map(|(pool, demand)| (pool.to_owned(), demand.clone()))
        .collect();
    for (pool, demand) in named {
        let file = directory.join(demand.recording.unwrap_or_default());
        let demand = input::demand(&file, demand.series.as_deref(), demand.scale.unwrap_or(1.0))?;
        scenario.record(&pool, demand).map_err(refused)?;
    }
    Ok(scenario)
}
