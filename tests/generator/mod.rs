//! The recordings that no cluster made, and the code that makes them.
//!
//! A recording of real GPUs names hosts, pods and tenants, so nobody publishes one. What the scenarios need from it is
//! known, though: the label sets of dcgm-exporter, series that change their identity when a pod starts, exporters that
//! fall silent, utilization that stops at 100 %, a metric that lies. All of it is written down here, as a history of
//! nodes, pods and faults, and told the way a store would have kept it. The shapes are invented and say so; what could
//! be taken from real GPUs (how busy a training GPU is while it is busy) is taken from published quantiles.
//!
//! Text is the same on every machine: integers and decimals of integers, straight lines instead of sines, and random
//! numbers of a seeded stream per device, so that a change of one device does not move the others. No clock, no
//! environment. `tests/recordings_generated.rs` holds the checked-in files against this code.

mod capacity_week;
mod dcgm_week;
mod export;
mod fleet;
mod load;
mod lying_metric;
mod mig_pool;
mod office_weeks;
mod serving;

use std::fs;
use std::path::{Path, PathBuf};

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    /// gzip: the demand tables.
    Gzip,
    /// Zstandard at level 19: the series of devices, whose times repeat from series to series.
    Zstd,
}

/// A checked-in file that is generated.
pub(crate) struct Generated {
    /// Its name in `simulations/recordings/`.
    pub(crate) file: &'static str,
    /// How it is packed.
    pub(crate) packing: Packing,
    /// Makes its text.
    pub(crate) text: fn() -> String,
}

/// Every generated recording.
pub(crate) const ALL: [Generated; 6] = [
    Generated {
        file: "dcgm_week.jsonl.zst",
        packing: Packing::Zstd,
        text: dcgm_week::text,
    },
    Generated {
        file: "mig_pool.jsonl.zst",
        packing: Packing::Zstd,
        text: mig_pool::text,
    },
    Generated {
        file: "lying_metric.jsonl.zst",
        packing: Packing::Zstd,
        text: lying_metric::with_power,
    },
    Generated {
        file: "lying_metric_without_power.jsonl.zst",
        packing: Packing::Zstd,
        text: lying_metric::without_power,
    },
    Generated {
        file: "helios_bad_week.csv.gz",
        packing: Packing::Gzip,
        text: capacity_week::text,
    },
    Generated {
        file: "office_weeks.csv.gz",
        packing: Packing::Gzip,
        text: office_weeks::text,
    },
];

/// Where the recordings are.
pub(crate) fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("simulations/recordings")
}

/// A file of the recordings, unpacked.
pub(crate) fn unpacked(file: &str) -> Result<String, String> {
    use std::io::Read;
    let path = recordings().join(file);
    let bytes = fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut text = String::new();
    let read = match path.extension().and_then(|extension| extension.to_str()) {
        Some("gz") => flate2::read::MultiGzDecoder::new(&bytes[..]).read_to_string(&mut text),
        Some("zst") => zstd::Decoder::new(&bytes[..]).and_then(|mut reader| reader.read_to_string(&mut text)),
        _ => (&bytes[..]).read_to_string(&mut text),
    };
    read.map(|_| text)
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// Packs a text.
pub(crate) fn packed(packing: Packing, text: &str) -> std::io::Result<Vec<u8>> {
    use std::io::Write;
    match packing {
        Packing::Gzip => {
            // No name and no time in the header: the same text gives the same file.
            let mut writer = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::best());
            writer.write_all(text.as_bytes())?;
            writer.finish()
        }
        Packing::Zstd => zstd::encode_all(text.as_bytes(), 19),
    }
}
