//! `gpuscale demo`: the whole system on one machine, with nothing installed.
//!
//! The loop is the one that runs in production, over the client that speaks to Azure and the source that speaks to
//! Prometheus, over HTTP. What is emulated stands on the other side of the socket ([`gpuscale::emulator`]). Only the clock is
//! another one, which runs faster.

mod screen;
mod told;

use std::fs;
use std::io::{IsTerminal as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use futures_util::future::{Either, join, select};
use gpuscale::actuator::aks::{Aks, sizes};
use gpuscale::clock::{AcceleratedClock, SystemRandomness};
use gpuscale::config::Config;
use gpuscale::control::listed::Listed;
use gpuscale::control::throttle::Throttled;
use gpuscale::control::{Controller, PlatformChooses, Policy, Settings};
use gpuscale::emulator::scenario::PoolSpec;
use gpuscale::emulator::{Emulator, Running, Scenario, readings};
use gpuscale::recording::{Demand, Recording};
use gpuscale::report::figures::Price;
use gpuscale::report::html::{Input, Subject, page};
use gpuscale::report::json::{Document, Origin, ResultRow, SCHEMA_VERSION, Summary};
use gpuscale::report::{sentence, table};
use gpuscale::simulator::boot::BootDelay;
use gpuscale::simulator::closed_loop::Unwatched;
use gpuscale::simulator::scenario::Pool;
use gpuscale::simulator::scenario_run::{Case, Judged};
use gpuscale::simulator::scorecard::Kind;
use gpuscale::source::connect::{NoIdentity, Sources};

use super::output::{self, Extent, Terminal};
use super::run::asked_to_stop;
use super::run::world::World;
use super::{Format, FormatArgs, input};
use crate::error::Error;
use screen::Frame;
use told::{Run, Told};

/// The pool.
const POOL: &str = "a100";

/// Its machines.
const VM_SIZE: &str = "Standard_NC96ads_A100_v4";

/// Nodes at the beginning.
const NODES: u32 = 3;

/// An hour of conversations with a language model in Azure, in GPUs; where it comes from is in `simulations/recordings`.
const RECORDING: &[u8] = include_bytes!("../../simulations/recordings/azllm23_conv.csv.gz");

/// How long nothing is asked for after it: time for the windows to pass, and for the pool to be small.
const SILENCE_MS: i64 = 31 * 60_000;

/// How long the emulator goes on with that: its demand begins anew at its end, which is not to be seen.
const LONGER_MS: i64 = 24 * 60 * 60_000;

const POLICY: &str = include_str!("demo/policy.yaml");

/// How often the picture is drawn, in real time.
const DRAWN_EVERY: Duration = Duration::from_millis(100);

/// How often a line is written where there is no picture, in emulated time.
const LINE_EVERY_MS: i64 = 10 * 60_000;

pub(super) const ABOUT: &str = "\
Show the whole system on this machine, with nothing else installed.

A cluster of AKS is emulated: its part of Azure Resource Manager, nodes that take eight minutes to boot, their GPUs' \
exporters and a Prometheus. The control loop reads and resizes it over HTTP, as it would Azure. The GPUs are asked for what \
was recorded of a language model in Azure for an hour, and then for nothing. At the end there is the scorecard of this run, \
beside what `simulate` says of the same policy and the same hour, and beside what was possible.";

pub(super) const EXAMPLES: &str = "\
Examples:
  gpuscale demo
  gpuscale demo --report demo.html
  gpuscale demo --keep        # and then look around with curl, az or the SDK";

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    /// How many times as fast as real time it runs, up to 240
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=240))]
    speed: u32,

    /// Leave the emulated cluster up at the end, until Ctrl-C, and say where it is
    #[arg(long)]
    keep: bool,

    /// Write lines and draw nothing, on a terminal too
    #[arg(long)]
    plain: bool,

    /// Write the run as one HTML page
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    #[command(flatten)]
    format: FormatArgs,
}

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// A picture on the terminal.
    Picture,
    /// Lines on standard error, since standard output is for the result.
    Lines,
}

pub(super) fn run(args: &DemoArgs, terminal: &Terminal) -> Result<(), Error> {
    let judged = judged()?;
    let case = case(&story(SILENCE_MS)?, &judged)?;
    let demand = story(SILENCE_MS + LONGER_MS)?;
    let drawn =
        std::io::stdout().is_terminal() && output::shows_progress() && args.format.format == Format::Table;
    let stage = if drawn && !args.plain {
        Stage::Picture
    } else {
        Stage::Lines
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        let clock = AcceleratedClock::from_now(args.speed);
        let emulator = emulated(&demand, clock).await?;
        let Some(run) = play(args, &emulator, clock, &case, &judged, stage, terminal).await? else {
            return Ok(());
        };
        let document = document(&case, &judged, &run);
        if let Some(path) = &args.report {
            write_report(path, &document, &run)?;
        }
        match args.format.format {
            Format::Json => output::print(&output::json(&document)?)?,
            Format::Table => output::print(&summary(&document, args, terminal))?,
        }
        if args.keep {
            kept(&emulator).await?;
        }
        Ok(())
    })
}

/// What is asked for: the recording and then silence.
fn story(silence_ms: i64) -> Result<Demand, Error> {
    let unusable = |source| Error::Recording {
        path: PathBuf::from("azllm23_conv.csv.gz"),
        source,
    };
    let recording = Recording::from_demand_csv(RECORDING).map_err(unusable)?;
    let recorded = recording.demand(None).map_err(unusable)?;
    let silent = usize::try_from(silence_ms / recorded.step_ms().max(1)).unwrap_or(0);
    let values = recorded
        .values()
        .iter()
        .copied()
        .chain(std::iter::repeat_n(0, silent));
    Demand::new(
        recorded.name(),
        recorded.start_ms(),
        recorded.step_ms(),
        values.collect(),
    )
    .map_err(unusable)
}

fn judged() -> Result<Judged, Error> {
    let policy = input::policy_text(POLICY, "of the demo")?;
    Ok(Judged {
        name: "demo, simulated".to_owned(),
        ..policy
    })
}

fn case(demand: &Demand, judged: &Judged) -> Result<Case, Error> {
    let size = sizes::of(VM_SIZE);
    let emulated = Scenario::example();
    let pool = Pool {
        gpus_per_node: size.map_or(1, |size| size.gpus),
        vm_size: Some(VM_SIZE.to_owned()),
        node_price: size.and_then(|size| size.price),
        boot: BootDelay::Constant(emulated.boot_delay.as_millis()),
        driver_delay_ms: emulated.driver_delay.as_millis(),
        initial_nodes: Some(NODES),
        ..Pool::default()
    };
    Case::new(pool, demand, std::slice::from_ref(judged)).map_err(Error::from)
}

async fn emulated(demand: &Demand, clock: AcceleratedClock) -> Result<Running, Error> {
    let mut scenario = Scenario::example();
    scenario.pools.clear();
    let mut pool = PoolSpec {
        vm_size: VM_SIZE.to_owned(),
        count: NODES,
        ..PoolSpec::default()
    };
    pool.demand.recording = Some(demand.name().to_owned());
    scenario.pools.insert(POOL.to_owned(), pool);
    scenario
        .record(POOL, demand.clone())
        .map_err(|error| Error::Usage(error.to_string()))?;
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Ok(Emulator::start(&scenario, readings(clock), listen).await?)
}

/// The administrator's configuration for the emulated cluster.
fn configuration(emulator: &Running) -> Result<Config, Error> {
    let scenario = Scenario::example();
    let text = format!(
        "metricsSources: {{ default: {{ prometheus: {{ url: '{}' }} }} }}
aksClusters:
  emulated:
    subscriptionId: {}
    resourceGroup: {}
    name: {}
    endpoint: '{}'
limits: {{ allowPlatformChooses: true }}
",
        emulator.prometheus_endpoint(),
        scenario.subscription_id,
        scenario.resource_group,
        scenario.cluster_name,
        emulator.arm_endpoint(),
    );
    Config::parse(&text).map_err(|error| Error::Usage(error.to_string()))
}

/// Runs the loop to the end of the story; nothing if somebody has seen enough.
async fn play<'a>(
    args: &DemoArgs,
    emulator: &Running,
    clock: AcceleratedClock,
    case: &Case,
    judged: &'a Judged,
    stage: Stage,
    terminal: &Terminal,
) -> Result<Option<Run<'a>>, Error> {
    let config = configuration(emulator)?;
    let (clock, randomness) = (Rc::new(clock), Rc::new(SystemRandomness));
    let unusable = |error: &dyn std::fmt::Display| Error::Usage(error.to_string());
    let sources =
        Sources::connect(&config, &clock, &randomness, &NoIdentity).map_err(|error| unusable(&error))?;
    let sources = Rc::new(sources);
    let aks =
        Aks::connect(&config, &NoIdentity, Duration::from_secs(10)).map_err(|error| unusable(&error))?;
    let world = World {
        pools: Listed::new(Throttled::new(aks, Rc::clone(&clock)), Rc::clone(&clock)),
        sources: Rc::clone(&sources),
        clock: Rc::clone(&clock),
        randomness,
        store: None,
    };
    // A call takes its milliseconds in real time, which are many times as long here.
    let settings = Settings {
        call_timeout_ms: i64::from(args.speed) * 10_000,
        read_timeout_ms: i64::from(args.speed) * 10_000,
        tick_timeout_ms: i64::from(args.speed) * 20_000,
        platform_chooses: PlatformChooses::Allowed,
        ..Settings::default()
    };
    let policy = Policy::new(POLICY, 0, "emulated").map_err(|error| unusable(&error))?;
    let gpus_per_node = case.spec.gpus_per_node;
    let frame = Frame {
        total_ms: case.demand.duration_ms(),
        speed: args.speed,
        ..Frame::default()
    };
    let handle = emulator.handle().clone();
    let Some(view) = handle.pool(POOL) else {
        return Err(Error::Usage("the emulator has lost its pool".to_owned()));
    };
    let told = Rc::new(Told::new(handle, view, frame, &judged.config, gpus_per_node));
    let controller = Controller::new(world, Rc::clone(&told), settings);
    controller.set_policies(vec![policy]);
    let shown = async {
        let ended = show(&told, stage, terminal).await;
        controller.stop();
        ended
    };
    let ended = match select(pin!(join(controller.run(), shown)), pin!(sources.follow())).await {
        Either::Left((((), ended), _)) => ended?,
        Either::Right((never, _)) => match never {},
    };
    drop(controller);
    let run = Rc::into_inner(told).map(Told::end);
    Ok(run.filter(|_| ended == Ended::Told))
}

/// How a story ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Told,
    SeenEnough,
}

/// Shows what happens, until it is over.
async fn show(told: &Told<'_>, stage: Stage, terminal: &Terminal) -> Result<Ended, Error> {
    let mut stop = pin!(asked_to_stop());
    let (mut drawn, mut next_line_ms) = (0, 0);
    loop {
        let frame = told.frame();
        let over = frame.elapsed_ms >= frame.total_ms;
        match stage {
            Stage::Picture => {
                let lines = screen::picture(&frame, usize::from(terminal.width()));
                redraw(&lines, &mut drawn)?;
            }
            Stage::Lines => {
                for line in told.fresh() {
                    output::print_beside(&line)?;
                }
                if frame.elapsed_ms >= next_line_ms && !frame.demand.is_empty() {
                    next_line_ms = frame.elapsed_ms / LINE_EVERY_MS * LINE_EVERY_MS + LINE_EVERY_MS;
                    output::print_beside(&screen::line(&frame))?;
                }
            }
        }
        if over {
            return Ok(Ended::Told);
        }
        if let Either::Left(_) = select(stop.as_mut(), pin!(tokio::time::sleep(DRAWN_EVERY))).await {
            return Ok(Ended::SeenEnough);
        }
    }
}

/// Draws over what was drawn before.
fn redraw(lines: &[String], drawn: &mut usize) -> Result<(), Error> {
    let mut text = match *drawn {
        0 => String::new(),
        lines => format!("\x1b[{lines}A"),
    };
    for line in lines {
        text.push_str("\r\x1b[K");
        text.push_str(line);
        text.push('\n');
    }
    *drawn = lines.len();
    let mut stdout = anstream::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()?;
    Ok(())
}

/// This run, what the simulation says of it, what was possible, and what people use.
fn document(case: &Case, judged: &Judged, run: &Run<'_>) -> Document {
    let price = if case.pool.node_price.is_some() {
        Price::Known
    } else {
        Price::Unknown
    };
    #[expect(clippy::cast_precision_loss, reason = "a price is at most 1e10 micro-USD")]
    let usd = case.pool.node_price.unwrap_or(0) as f64 / 1e6;
    let live = run.meter.row(Kind::Policy, "demo, this run", &case.baseline, usd);
    let simulated = case.policy_row(judged, 0, &mut Unwatched);
    let references = case.optima(&[]).into_iter().chain(case.peers());
    let rows = [ResultRow::new(&live, price), ResultRow::policy(&simulated, price)];
    let origin = Origin {
        name: "demo",
        recording: "azllm23_conv.csv.gz",
        scale: 1.0,
        seeds: (0, 1),
    };
    Document {
        schema_version: SCHEMA_VERSION,
        scenario: Summary::of(case, origin),
        rows: rows
            .into_iter()
            .chain(references.map(|row| ResultRow::new(&row, price)))
            .collect(),
    }
}

fn write_report(path: &Path, document: &Document, run: &Run<'_>) -> Result<(), Error> {
    let page = page(&Input {
        subject: Subject::Scorecard(document),
        timeline: &run.timeline,
        stretches: &[],
    });
    fs::write(path, page).map_err(|source| Error::Write {
        what: "report",
        path: path.to_owned(),
        source,
    })
}

fn summary(document: &Document, args: &DemoArgs, terminal: &Terminal) -> String {
    let table = table::scorecard(&document.rows, terminal.look(Extent::Fitting));
    let mut lines = vec![String::new(), document.scenario.headline(), table];
    let conclusions = sentence::conclusions(&document.rows);
    lines.extend(conclusions.iter().map(|sentence| terminal.wrapped(sentence)));
    let note = "the demo's policy lets go within minutes, so that there is something to see in two; `gpuscale quality` judges \
                the defaults on weeks";
    lines.push(terminal.wrapped(note));
    match &args.report {
        Some(path) => lines.push(format!("the run as a page: {}", path.display())),
        None => lines.push("the run as a page: `gpuscale demo --report demo.html`".to_owned()),
    }
    lines.join("\n")
}

/// Says where everything is and waits.
async fn kept(emulator: &Running) -> Result<(), Error> {
    let cluster = emulator.handle().cluster_id();
    let arm = emulator.arm_endpoint();
    output::print(&format!(
        "\nThe emulated cluster goes on until Ctrl-C:
  curl -s '{arm}{cluster}/agentPools/{POOL}?api-version=2026-08-01'
  curl -s -X PUT -d '{{\"properties\":{{\"count\":4}}}}' '{arm}{cluster}/agentPools/{POOL}?api-version=2026-08-01'
  curl -s {}/api/v1/query -d 'query=DCGM_FI_DEV_GPU_UTIL'",
        emulator.prometheus_endpoint()
    ))?;
    asked_to_stop().await;
    Ok(())
}
