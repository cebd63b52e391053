//! `gpuscale optimum`: the clairvoyant costs of a recording.

use std::path::PathBuf;

use clap::Args;
use gpuscale::api::duration::HumanDuration;
use gpuscale::report::figures::Price;
use gpuscale::report::json::{Document, Origin, ResultRow, SCHEMA_VERSION, Summary};
use gpuscale::report::table;
use gpuscale::simulator::boot::BootDelay;
use gpuscale::simulator::scenario::{DEFAULT_BOOT_MS, Pool, node_price};
use gpuscale::simulator::scenario_run::Case;

use super::output::{self, Extent, Terminal};
use super::{Format, FormatArgs, input};
use crate::error::Error;

pub(super) const ABOUT: &str = "\
Prints what a demand costs at least, to an operator who knows the future.

Such an operator requests each node one boot before it is needed, so nothing is missed and the boot is a \
pure start cost; nodes are bridged over gaps that are shorter than a boot. `zero-miss` serves \
everything, `soft` may leave out what is dearer to serve than to miss (an unserved GPU-hour costs 10), \
and `at 70 %` keeps that headroom. No policy can be cheaper at the same misses, so every saving is to be \
read against these figures.";

#[derive(Debug, Args)]
pub(super) struct OptimumArgs {
    /// Demand recording, CSV or CSV.gz with the header `timestamp,series,value,unit`
    #[arg(long, value_name = "FILE")]
    recording: PathBuf,

    /// Series of the recording; needed if it has several
    #[arg(long, value_name = "NAME")]
    series: Option<String>,

    /// Factor on the demand
    #[arg(
        long,
        value_name = "FACTOR",
        default_value_t = 1.0,
        allow_negative_numbers = true
    )]
    scale: f64,

    /// GPUs of one node
    #[arg(long, value_name = "N", default_value_t = 8)]
    gpus_per_node: u32,

    /// Time from the request of a node to its first work (default 8m)
    #[arg(long, value_name = "DURATION")]
    boot_delay: Option<HumanDuration>,

    /// Time grid (default 15s)
    #[arg(long, value_name = "DURATION")]
    interval: Option<HumanDuration>,

    /// Price of a node-hour in USD
    #[arg(long, value_name = "USD", allow_negative_numbers = true)]
    price: Option<f64>,

    /// Headrooms to show, as the utilization that is held, in percent
    #[arg(long, value_name = "PERCENT", value_delimiter = ',', default_value = "70,80,90",
        value_parser = clap::value_parser!(u32).range(1..=100))]
    headroom: Vec<u32>,

    /// Show every column
    #[arg(long)]
    wide: bool,

    #[command(flatten)]
    output: FormatArgs,
}

pub(super) fn run(args: &OptimumArgs, terminal: &Terminal) -> Result<(), Error> {
    let demand = input::demand(&args.recording, args.series.as_deref(), args.scale)?;
    let pool = Pool {
        gpus_per_node: args.gpus_per_node,
        boot: BootDelay::Constant(args.boot_delay.map_or(DEFAULT_BOOT_MS, HumanDuration::as_millis)),
        interval_ms: Some(args.interval.map_or(15_000, HumanDuration::as_millis)),
        node_price: args.price.map(node_price).transpose()?,
        ..Pool::default()
    };
    let price = match pool.node_price {
        Some(_) => Price::Known,
        None => Price::Unknown,
    };
    let case = Case::new(pool, &demand, &[])?;
    let rows = case.optima(&args.headroom);
    let origin = Origin {
        name: demand.name(),
        recording: &input::file_name(&args.recording),
        scale: args.scale,
        seeds: (0, 1),
    };
    let document = Document {
        schema_version: SCHEMA_VERSION,
        scenario: Summary::of(&case, origin),
        rows: rows.iter().map(|row| ResultRow::new(row, price)).collect(),
    };
    if args.output.format == Format::Json {
        return output::print(&output::json(&document)?);
    }
    let extent = if args.wide { Extent::Wide } else { Extent::Fitting };
    output::print(&format!(
        "{}\n\n{}",
        terminal.wrapped(&document.scenario.headline()),
        table::scorecard(&document.rows, terminal.look(extent))
    ))
}
