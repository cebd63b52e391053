//! Files into values: recordings, policies, scenarios, saved results.

use std::fs;
use std::path::{Path, PathBuf};

use gpuscale::api::{self, ApiError, GpuScalePolicy};
#[cfg(feature = "source")]
use gpuscale::config::Config;
use gpuscale::recording::{Demand, Recording};
use gpuscale::report::json::Document;
use gpuscale::simulator::peers;
use gpuscale::simulator::scenario::{PolicySource, Scenario};
use gpuscale::simulator::scenario_run::Judged;
use gpuscale::simulator::scenario_suite::Suite;

use crate::error::Error;

/// The word that stands for the shipped defaults where a policy file is expected.
pub(super) const DEFAULT_POLICY: &str = "default";

fn bytes(what: &'static str, path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|source| Error::Open {
        what,
        path: path.to_owned(),
        source,
    })
}

pub(super) fn text(what: &'static str, path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Open {
        what,
        path: path.to_owned(),
        source,
    })
}

/// Reads a recording.
pub(super) fn recording(path: &Path) -> Result<Recording, Error> {
    let bytes = bytes("recording", path)?;
    Recording::from_demand_csv(&bytes).map_err(|source| Error::Recording {
        path: path.to_owned(),
        source,
    })
}

/// One series of a recording, scaled.
pub(super) fn demand(path: &Path, series: Option<&str>, scale: f64) -> Result<Demand, Error> {
    series_of(&recording(path)?, path, series, scale)
}

/// One series of a recording that was read before, scaled.
pub(super) fn series_of(
    recording: &Recording,
    path: &Path,
    series: Option<&str>,
    scale: f64,
) -> Result<Demand, Error> {
    recording
        .demand(series)
        .and_then(|demand| demand.scaled(scale))
        .map_err(|source| Error::Recording {
            path: path.to_owned(),
            source,
        })
}

/// A file's name without its directory, for reports that must not name the machine.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(
        || path.display().to_string(),
        |name| name.to_string_lossy().into_owned(),
    )
}

/// Reads a scenario: the directory that holds `scenario.yaml`, or the file itself. Paths in it are resolved
/// against the directory that comes with it.
pub(super) fn scenario(path: &Path) -> Result<(Scenario, PathBuf), Error> {
    let file = if path.is_dir() {
        path.join("scenario.yaml")
    } else {
        path.to_owned()
    };
    let directory = file.parent().unwrap_or(Path::new("")).to_owned();
    let yaml = text("scenario", &file)?;
    let scenario = Scenario::parse(&yaml).map_err(|source| Error::Scenario {
        what: "scenario",
        path: file,
        source,
    })?;
    Ok((scenario, directory))
}

/// Reads a suite.
pub(super) fn suite(path: &Path) -> Result<Suite, Error> {
    Suite::parse(&text("suite", path)?).map_err(|source| Error::Scenario {
        what: "suite",
        path: path.to_owned(),
        source,
    })
}

/// Reads a saved result of `--format json`.
pub(super) fn saved(path: &Path) -> Result<Document, Error> {
    serde_json::from_slice(&bytes("saved result", path)?).map_err(|source| Error::Saved {
        path: path.to_owned(),
        source,
    })
}

/// Reads policies and gives each a name of its own: that of the document, or of its file where two are alike.
pub(super) fn policies(paths: &[PathBuf], demand: &Demand, gpus_per_node: u32) -> Result<Vec<Judged>, Error> {
    let mut judged = paths
        .iter()
        .map(|path| {
            if path.as_os_str() == DEFAULT_POLICY {
                default_policy(demand, gpus_per_node)
            } else {
                policy_file(path)
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    let names: Vec<String> = judged.iter().map(|policy| policy.name.clone()).collect();
    for ((policy, path), name) in judged.iter_mut().zip(paths).zip(&names) {
        if names.iter().filter(|other| *other == name).count() > 1 {
            policy.name = path.display().to_string();
        }
    }
    Ok(judged)
}

/// Reads a policy.
pub(super) fn policy_file(path: &Path) -> Result<Judged, Error> {
    let place = format!("`{}`", path.display());
    let policy = api::validate(&text("policy", path)?);
    compiled(policy, place, &file_name(path))
}

/// A policy that ships with the program.
#[cfg(all(feature = "aks", feature = "emulator", feature = "serve"))]
pub(super) fn policy_text(yaml: &str, place: &str) -> Result<Judged, Error> {
    compiled(api::validate(yaml), place.to_owned(), "policy")
}

/// Reads a policy as it stands, and compiled.
#[cfg(feature = "source")]
pub(super) fn policy(path: &Path) -> Result<(GpuScalePolicy, Judged), Error> {
    let policy = api::validate(&text("policy", path)?).map_err(|source| Error::Policy {
        place: format!("`{}`", path.display()),
        source,
    })?;
    let judged = compiled(
        Ok(policy.clone()),
        format!("`{}`", path.display()),
        &file_name(path),
    )?;
    Ok((policy, judged))
}

/// Reads the administrator's configuration.
#[cfg(feature = "source")]
pub(super) fn config(path: &Path) -> Result<Config, Error> {
    Config::parse(&text("configuration", path)?).map_err(|problems| {
        Error::Usage(format!(
            "cannot use configuration `{}`: {problems}; `gpuscale check` shows where",
            path.display()
        ))
    })
}

/// The policy of a scenario.
pub(super) fn scenario_policy(
    source: Option<&PolicySource>,
    directory: &Path,
    demand: &Demand,
    gpus_per_node: u32,
) -> Result<Judged, Error> {
    match source {
        Some(PolicySource::Path(path)) => policy_file(&directory.join(path)),
        Some(PolicySource::Inline(value)) => {
            let place = format!("in `{}`", directory.join("scenario.yaml").display());
            compiled(api::validate_value(value.clone()), place, "policy")
        }
        None => default_policy(demand, gpus_per_node),
    }
}

/// The shipped defaults on the reference pool: one signal, and nothing else set.
pub(super) fn default_policy(demand: &Demand, gpus_per_node: u32) -> Result<Judged, Error> {
    let max_nodes = peers::reference_pool(demand, gpus_per_node, 0).max_nodes;
    let yaml = format!(
        "apiVersion: gpuscale.dev/v1alpha1\n\
         kind: GpuScalePolicy\n\
         metadata: {{ name: gpuscale-default }}\n\
         spec:\n  \
           targetRef: {{ kind: AksNodePool, name: pool }}\n  \
           minNodes: 1\n  \
           maxNodes: {max_nodes}\n  \
           signals: [ {{ name: gpu, dcgm: {{ metric: GpuUtilization }} }} ]\n"
    );
    compiled(
        api::validate(&yaml),
        "of the shipped defaults".to_owned(),
        "default",
    )
}

fn compiled(
    policy: Result<GpuScalePolicy, ApiError>,
    place: String,
    otherwise: &str,
) -> Result<Judged, Error> {
    let policy = match policy {
        Ok(policy) => policy,
        Err(source) => return Err(Error::Policy { place, source }),
    };
    match api::compile(&policy) {
        Ok(config) => Ok(Judged {
            queries: api::queries(&policy),
            name: policy.metadata.name.unwrap_or_else(|| otherwise.to_owned()),
            config,
        }),
        Err(source) => Err(Error::Compile { place, source }),
    }
}
