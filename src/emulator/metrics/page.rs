//! What `dcgm-exporter` says on a node with A100s.
//!
//! The order, labels and forms of values are those of a real page of version 4.5 (`tests/fixtures/dcgm`). All GPUs of a
//! pool are equally busy, so a page is made of one utilization.

use std::fmt::Write as _;

use crate::policy::config::Micro;

/// One in 1e-6.
const ONE: Micro = 1_000_000;

/// Memory of an A100 that can be used, in MiB.
const MEMORY_MIB: Micro = 81_050;

/// Memory that work takes, in MiB.
const WORK_MIB: Micro = 61_440;

/// Power of an A100 without work and with all of it, in W.
const POWER_W: (Micro, Micro) = (52, 300);

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Without decimals.
    Integer,
    /// With six.
    Decimal,
}

/// A metric of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    help: &'static str,
    form: Form,
}

/// What a metric says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Which metric.
    pub metric: &'static str,
    /// Its value in millionths.
    pub micro: Micro,
}

/// The metrics in the order of the page.
pub const METRICS: [Metric; 11] = [
    integer("DCGM_FI_DEV_SM_CLOCK", "SM clock frequency (in MHz)."),
    integer("DCGM_FI_DEV_MEM_CLOCK", "Memory clock frequency (in MHz)."),
    integer("DCGM_FI_DEV_GPU_TEMP", "GPU temperature (in C)."),
    decimal("DCGM_FI_DEV_POWER_USAGE", "Power draw (in W)."),
    integer("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %)."),
    integer(
        "DCGM_FI_DEV_XID_ERRORS",
        "Value of the last XID error encountered.",
    ),
    integer("DCGM_FI_DEV_FB_FREE", "Framebuffer memory free (in MiB)."),
    integer("DCGM_FI_DEV_FB_USED", "Framebuffer memory used (in MiB)."),
    decimal(
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
        "Ratio of time the graphics engine is active.",
    ),
    decimal(
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
        "Ratio of cycles the tensor (HMMA) pipe is active.",
    ),
    decimal(
        "DCGM_FI_PROF_DRAM_ACTIVE",
        "Ratio of cycles the device memory interface is active sending or receiving data.",
    ),
];

const fn integer(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        help,
        form: Form::Integer,
    }
}

const fn decimal(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        help,
        form: Form::Decimal,
    }
}

/// What every GPU says that is so busy (in millionths), in the order of [`METRICS`].
#[must_use]
pub fn readings(utilization: Micro) -> [Reading; METRICS.len()] {
    let busy = utilization.clamp(0, ONE);
    let works = Micro::from(busy > 0);
    let percent = (busy * 100 + ONE / 2) / ONE;
    let used_mib = WORK_MIB * works;
    let micros = [
        (210 + 1_200 * works) * ONE,
        1_512 * ONE,
        (32 + 38 * percent / 100) * ONE,
        POWER_W.0 * ONE + (POWER_W.1 - POWER_W.0) * busy,
        percent * ONE,
        0,
        (MEMORY_MIB - used_mib) * ONE,
        used_mib * ONE,
        busy,
        busy / 5 * 2,
        busy / 10 * 3,
    ];
    let mut readings = [Reading { metric: "", micro: 0 }; METRICS.len()];
    for ((reading, metric), micro) in readings.iter_mut().zip(&METRICS).zip(micros) {
        *reading = Reading {
            metric: metric.name,
            micro,
        };
    }
    readings
}

/// The labels of a GPU, in the order of the page.
#[must_use]
pub fn labels(node: &str, gpu: u32) -> [(&'static str, String); 7] {
    [
        ("gpu", gpu.to_string()),
        ("UUID", uuid(node, gpu)),
        ("pci_bus_id", format!("{:08X}:00:00.0", gpu.saturating_add(1))),
        ("device", format!("nvidia{gpu}")),
        ("modelName", "NVIDIA A100 80GB PCIe".to_owned()),
        ("Hostname", node.to_owned()),
        ("DCGM_FI_DRIVER_VERSION", "595.58.03".to_owned()),
    ]
}

/// A name of the device that is the same for as long as the node lives, and nobody else's.
fn uuid(node: &str, gpu: u32) -> String {
    // FNV-1a, twice from different starts.
    let hash = |start: u64| {
        let bytes = node.bytes().chain(gpu.to_be_bytes());
        bytes.fold(start, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    };
    let (high, low) = (hash(0xcbf2_9ce4_8422_2325), hash(0x9ae1_6a3b_2f90_404f));
    format!(
        "GPU-{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

/// The page of a node whose GPUs are so busy (in millionths).
#[must_use]
pub fn render(node: &str, gpus: u32, utilization: Micro) -> String {
    let mut page = String::new();
    // Writing into a string cannot fail.
    for (metric, reading) in METRICS.iter().zip(readings(utilization)) {
        let _ = writeln!(page, "# HELP {0} {1}\n# TYPE {0} gauge", metric.name, metric.help);
        for gpu in 0..gpus {
            let _ = write!(page, "{}{{", metric.name);
            for (number, (label, value)) in labels(node, gpu).iter().enumerate() {
                let comma = if number == 0 { "" } else { "," };
                let _ = write!(page, "{comma}{label}=\"{value}\"");
            }
            let (whole, rest) = (reading.micro / ONE, reading.micro % ONE);
            let _ = match metric.form {
                Form::Integer => writeln!(page, "}} {whole}"),
                Form::Decimal => writeln!(page, "}} {whole}.{rest:06}"),
            };
        }
    }
    page
}
