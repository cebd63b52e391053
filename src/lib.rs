//! gpuscale keeps GPU node pools at the size their GPUs' real work needs, and can show beforehand what a policy would
//! cost and miss.
//!
//! In reading order:
//!
//! - [`policy`]: the engine. Samples and a view of the pool in, one decision with its whole record out. Pure.
//! - [`api`]: the `GpuScalePolicy` resource, its rules, and its translation for the engine.
//! - [`recording`]: recorded demand, from bytes to values.
//! - [`devices`]: from labelled series to the devices of a pool.
//! - [`simulator`]: worlds to let a policy loose in, what can go wrong there, and what to compare it with.
//! - [`journal`]: what decisions were made from, and their proof.
//! - `control` (feature `control`): the loop that reads, decides, resizes and remembers.
//! - `logged` (feature `control`): what the loop tells, as lines of a log and as counts.
//! - `metrics` (feature `serve`): the same as metrics that Prometheus reads.
//! - `source` (feature `control`): what answers the loop's reads of metrics.
//! - `actuator` (feature `aks`): what carries decisions out.
//! - `entra` (feature `entra`): tokens of Microsoft Entra for those reads.
//! - `emulator` (feature `emulator`): a cluster of AKS that is not there, over real HTTP.
//! - `clock` (feature `source`): the machine's clocks, and chance.
//! - [`mod@config`]: the administrator's configuration.
//! - `check` (feature `cli`): what is wrong or doubtful in any of these documents, with its place and what to do.
//! - [`report`]: results and decisions as tables, JSON and words.
//!
//! The library opens no file and reads no clock, but for `source`, which reads credentials, and `clock`; the `gpuscale`
//! binary does. `ARCHITECTURE.md` tells why things are as
//! they are, and how to add to them.
//!
//! ```
//! use gpuscale::policy::{Delta, Memory, Now, Observation, Windows, evaluate};
//! use gpuscale::policy::sample::{DeviceId, NodeId, Sample};
//! use gpuscale::policy::windows::Device;
//!
//! let policy = gpuscale::api::validate(
//!     "apiVersion: gpuscale.dev/v1alpha1
//! kind: GpuScalePolicy
//! metadata: { name: a100 }
//! spec:
//!   targetRef: { kind: AksNodePool, name: a100 }
//!   signals: [ { name: gpu, dcgm: { metric: GpuUtilization } } ]
//!   maxNodes: 8
//! ")?;
//! let config = gpuscale::api::compile(&policy)?;
//! let (mut windows, mut memory) = (Windows::new(&config), Memory::default());
//!
//! // Two minutes of one GPU at 100 %, sampled every 15 seconds.
//! let gpu = DeviceId(0);
//! let samples: Vec<Sample> = (0..=8).map(|i| Sample::of_device(0, gpu, i * 15_000, 1_000_000)).collect();
//! let inventory = [Device::new(gpu, NodeId(0), -3_600_000)];
//! windows.ingest(&Delta { now_ms: 120_000, samples: &samples, inventory: Some(&inventory), reads: &[] });
//!
//! let pool = Observation { asked: 1, ready: 1, schedulable: 1, gpus_per_node: 1, ..Observation::default() };
//! let evaluation = evaluate(&config, &windows, &pool, &mut memory, Now::at(120_000));
//! assert_eq!(evaluation.decision.to, 2);
//! println!("{}", gpuscale::report::explain(&evaluation, &config));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#[cfg(feature = "aks")]
pub mod actuator;
pub mod api;
#[cfg(feature = "cli")]
pub mod check;
#[cfg(feature = "source")]
pub mod clock;
pub mod config;
#[cfg(feature = "control")]
pub mod control;
pub mod devices;
#[cfg(feature = "emulator")]
pub mod emulator;
#[cfg(feature = "entra")]
pub mod entra;
pub mod journal;
#[cfg(feature = "control")]
pub mod logged;
#[cfg(feature = "serve")]
pub mod metrics;
pub mod policy;
pub mod recording;
pub mod report;
pub mod simulator;
#[cfg(feature = "control")]
pub mod source;
