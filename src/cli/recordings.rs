//! Recordings from files: demand, or metrics in any format.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use gpuscale::recording::{Format, Labels, Metrics, ReadError, Recording, read, schema, unpacked};
use gpuscale::simulator::scenario::Reading;

use super::ahead::ReadAhead;
use crate::error::Error;

/// The first bytes of a recording of demand.
const DEMAND_HEADER: &[u8] = b"timestamp,series,value,unit";

/// Bytes that are looked at to tell the format.
const HEAD: usize = 1 << 16;

/// What was read.
#[derive(Debug)]
pub(super) enum Loaded {
    /// GPUs wanted over time.
    Demand(Recording),
    /// Series of exporters and of the pool.
    Metrics(Metrics),
}

/// Reads the recordings of one simulation, and those of its PromQL signals.
pub(super) fn load(
    paths: &[PathBuf],
    signals: &[(String, PathBuf)],
    reading: &Reading,
) -> Result<Loaded, Error> {
    let mut parts = Vec::new();
    for path in paths {
        match (one(path, reading)?, paths.len()) {
            (Loaded::Demand(recording), 1) => return Ok(Loaded::Demand(recording)),
            (Loaded::Demand(_), _) => {
                return Err(Error::Usage(format!(
                    "`{}` is a recording of demand and stands alone; only recordings of metrics can be joined",
                    path.display()
                )));
            }
            (Loaded::Metrics(metrics), _) => parts.push(metrics),
        }
    }
    for (signal, path) in signals {
        parts.push(of_signal(signal, path, reading)?);
    }
    let joined = Metrics::merged(parts).map_err(|cause| Error::Metrics {
        path: paths.first().cloned().unwrap_or_default(),
        source: ReadError::whole(cause),
    })?;
    Ok(Loaded::Metrics(joined))
}

/// A recording of one signal under the name that the replay looks for.
fn of_signal(signal: &str, path: &Path, reading: &Reading) -> Result<Metrics, Error> {
    let Loaded::Metrics(metrics) = one(path, reading)? else {
        return Err(Error::Usage(format!(
            "`{}` is a recording of demand; signal `{signal}` needs the values of its query",
            path.display()
        )));
    };
    let series = metrics.series().len();
    let labels = Labels::new(schema::SIGNAL, [(schema::SIGNAL_LABEL, signal)]).map_err(Error::Usage)?;
    metrics.relabelled(labels).ok_or_else(|| {
        Error::Usage(format!(
            "`{}` has {series} series and signal `{signal}` is one number; aggregate them in the query, as the policy \
             does",
            path.display()
        ))
    })
}

/// Reads one file, whatever it is.
fn one(path: &Path, reading: &Reading) -> Result<Loaded, Error> {
    let open = |source| Error::Open {
        what: "recording",
        path: path.to_owned(),
        source,
    };
    let refused = |source| Error::Metrics {
        path: path.to_owned(),
        source,
    };
    let mut file = BufReader::with_capacity(HEAD, File::open(path).map_err(open)?);
    let packed = is_packed(file.fill_buf().map_err(open)?);
    let plain = unpacked(file).map_err(refused)?;
    let input: Box<dyn Read> = if packed {
        Box::new(ReadAhead::of(plain))
    } else {
        plain
    };
    let mut input = BufReader::with_capacity(HEAD, input);
    let head = input.fill_buf().unwrap_or_default();
    // Demand is small and is read as a whole, packed as it is: its reader says best what is wrong with it, and with
    // packed bytes of which not even the first come out.
    if head.starts_with(DEMAND_HEADER) && reading.format.is_none() || packed && head.is_empty() {
        return super::input::recording(path).map(Loaded::Demand);
    }
    let format = match reading.format {
        Some(format) => format,
        None => Format::detect(head).map_err(refused)?,
    };
    read(format, &mut input, &reading.options)
        .map(Loaded::Metrics)
        .map_err(refused)
}

fn is_packed(head: &[u8]) -> bool {
    head.starts_with(&[0x1f, 0x8b]) || head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd])
}
