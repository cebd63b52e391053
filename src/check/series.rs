//! What dcgm-exporter emits: names, kinds, units and labels, and the names that people take for its own.
//!
//! Source: the counters files `etc/default-counters.csv` and `etc/dcp-metrics-included.csv` of
//! NVIDIA/dcgm-exporter (commented-out fields included, since a counters file of one's own brings them in),
//! its renderer for the labels, and the field list of DCGM.

use crate::api::edits;

/// What a series is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// 0 to 100.
    Percent,
    /// 0 to 1.
    Ratio,
    /// Mebibytes.
    Mebibytes,
    /// Another gauge: watts, degrees, megahertz, codes.
    Gauge,
    /// A counter, or a field that was exported as either.
    Counter,
}

/// The series that the exporter's own files name.
const SERIES: &[(&str, Shape)] = &[
    ("DCGM_FI_DEV_SM_CLOCK", Shape::Gauge),
    ("DCGM_FI_DEV_MEM_CLOCK", Shape::Gauge),
    ("DCGM_FI_DEV_MEMORY_TEMP", Shape::Gauge),
    ("DCGM_FI_DEV_GPU_TEMP", Shape::Gauge),
    ("DCGM_FI_DEV_POWER_USAGE", Shape::Gauge),
    ("DCGM_FI_DEV_POWER_MGMT_LIMIT", Shape::Gauge),
    ("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", Shape::Gauge),
    ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", Shape::Counter),
    ("DCGM_FI_DEV_PCIE_TX_THROUGHPUT", Shape::Counter),
    ("DCGM_FI_DEV_PCIE_RX_THROUGHPUT", Shape::Counter),
    ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", Shape::Counter),
    ("DCGM_FI_DEV_GPU_UTIL", Shape::Percent),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", Shape::Percent),
    ("DCGM_FI_DEV_ENC_UTIL", Shape::Percent),
    ("DCGM_FI_DEV_DEC_UTIL", Shape::Percent),
    ("DCGM_FI_DEV_XID_ERRORS", Shape::Gauge),
    ("DCGM_FI_DEV_POWER_VIOLATION", Shape::Counter),
    ("DCGM_FI_DEV_THERMAL_VIOLATION", Shape::Counter),
    ("DCGM_FI_DEV_SYNC_BOOST_VIOLATION", Shape::Counter),
    ("DCGM_FI_DEV_BOARD_LIMIT_VIOLATION", Shape::Counter),
    ("DCGM_FI_DEV_LOW_UTIL_VIOLATION", Shape::Counter),
    ("DCGM_FI_DEV_RELIABILITY_VIOLATION", Shape::Counter),
    ("DCGM_FI_DEV_CLOCK_THROTTLE_REASONS", Shape::Gauge),
    ("DCGM_FI_DEV_CLOCKS_EVENT_REASONS", Shape::Gauge),
    ("DCGM_FI_DEV_FB_TOTAL", Shape::Mebibytes),
    ("DCGM_FI_DEV_FB_FREE", Shape::Mebibytes),
    ("DCGM_FI_DEV_FB_USED", Shape::Mebibytes),
    ("DCGM_FI_DEV_FB_RESERVED", Shape::Mebibytes),
    ("DCGM_FI_DEV_FB_USED_PERCENT", Shape::Ratio),
    ("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", Shape::Counter),
    ("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", Shape::Counter),
    ("DCGM_FI_DEV_ECC_SBE_AGG_TOTAL", Shape::Counter),
    ("DCGM_FI_DEV_ECC_DBE_AGG_TOTAL", Shape::Counter),
    ("DCGM_FI_DEV_RETIRED_SBE", Shape::Counter),
    ("DCGM_FI_DEV_RETIRED_DBE", Shape::Counter),
    ("DCGM_FI_DEV_RETIRED_PENDING", Shape::Counter),
    ("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", Shape::Counter),
    ("DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL", Shape::Counter),
    ("DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL", Shape::Counter),
    ("DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL", Shape::Counter),
    ("DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", Shape::Counter),
    ("DCGM_FI_DEV_NVLINK_BANDWIDTH_L0", Shape::Counter),
    ("DCGM_FI_DEV_VGPU_LICENSE_STATUS", Shape::Gauge),
    ("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", Shape::Counter),
    ("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", Shape::Counter),
    ("DCGM_FI_DEV_ROW_REMAP_FAILURE", Shape::Gauge),
    ("DCGM_FI_DEV_ROW_REMAP_PENDING", Shape::Gauge),
    ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", Shape::Ratio),
    ("DCGM_FI_PROF_SM_ACTIVE", Shape::Ratio),
    ("DCGM_FI_PROF_SM_OCCUPANCY", Shape::Ratio),
    ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", Shape::Ratio),
    ("DCGM_FI_PROF_DRAM_ACTIVE", Shape::Ratio),
    ("DCGM_FI_PROF_PIPE_FP64_ACTIVE", Shape::Ratio),
    ("DCGM_FI_PROF_PIPE_FP32_ACTIVE", Shape::Ratio),
    ("DCGM_FI_PROF_PIPE_FP16_ACTIVE", Shape::Ratio),
    // Exported as counters by some versions and as gauges by others.
    ("DCGM_FI_PROF_PCIE_TX_BYTES", Shape::Counter),
    ("DCGM_FI_PROF_PCIE_RX_BYTES", Shape::Counter),
    ("DCGM_FI_PROF_NVLINK_TX_BYTES", Shape::Counter),
    ("DCGM_FI_PROF_NVLINK_RX_BYTES", Shape::Counter),
    ("DCGM_EXP_XID_ERRORS_COUNT", Shape::Gauge),
    ("DCGM_EXP_CLOCK_EVENTS_COUNT", Shape::Gauge),
    ("DCGM_EXP_GPU_HEALTH_STATUS", Shape::Gauge),
];

/// Names of a published table of AKS metrics that no version of the exporter emits, and what is meant.
const NEVER_EMITTED: [(&str, &str); 5] = [
    ("DCGM_FI_DEV_SM_UTIL", "DCGM_FI_PROF_SM_ACTIVE"),
    ("DCGM_FI_DEV_MEMORY_UTIL", "DCGM_FI_DEV_MEM_COPY_UTIL"),
    ("DCGM_FI_DEV_MEMORY_CLOCK", "DCGM_FI_DEV_MEM_CLOCK"),
    ("DCGM_FI_DEV_TEMPERATURE", "DCGM_FI_DEV_GPU_TEMP"),
    ("DCGM_FI_DEV_NVLINK_RX", "DCGM_FI_PROF_NVLINK_RX_BYTES"),
];

/// Whether a name is meant to be one of the exporter's.
pub(super) fn is_dcgm(name: &str) -> bool {
    name.get(..5)
        .is_some_and(|start| start.eq_ignore_ascii_case("DCGM_"))
}

/// What a known series is.
pub(super) fn shape(name: &str) -> Option<Shape> {
    SERIES
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, shape)| *shape)
}

/// What is known about a name that is none of the exporter's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stranger {
    /// Of the published table; no exporter emits it.
    NeverEmitted(&'static str),
    /// A typing error: one or two letters from a known name.
    Misspelt(&'static str),
}

/// Why a name that begins like the exporter's is not emitted; `None` where it is known, or may come from a
/// counters file.
pub(super) fn stranger(name: &str) -> Option<Stranger> {
    if shape(name).is_some() {
        return None;
    }
    if let Some((_, meant)) = NEVER_EMITTED.iter().find(|(never, _)| *never == name) {
        return Some(Stranger::NeverEmitted(meant));
    }
    // Names of fields are long and differ by whole words; one letter in eight is a typing error.
    let nearest = SERIES
        .iter()
        .map(|(known, _)| (edits(name, known), *known))
        .min()?;
    (nearest.0 * 8 <= name.len()).then_some(Stranger::Misspelt(nearest.1))
}

/// How sure it is that a series carries a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carried {
    /// The exporter sets it, or every scrape does.
    Always,
    /// Its meaning depends on the version or on how the exporter is scraped.
    Depends(&'static str),
    /// The exporter knows nothing of the kind.
    Never,
    /// Not the exporter's; a scrape may add it.
    Elsewhere,
}

/// Whether the series of dcgm-exporter carry a label.
pub(super) fn carries(label: &str) -> Carried {
    match label {
        "__name__" | "gpu" | "UUID" | "pci_bus_id" | "device" | "modelName" | "GPU_I_PROFILE"
        | "GPU_I_ID" | "pod_uid" | "vgpu" | "hpc_job" | "err_code" | "err_msg" | "job" | "instance"
        | "window_size_in_ms" | "health_watch" | "clock_event" => Carried::Always,
        "namespace" => Carried::Depends("exported_namespace"),
        "pod" => Carried::Depends("exported_pod"),
        "container" => Carried::Depends("exported_container"),
        "Hostname" => Carried::Depends("hostname"),
        "hostname" => Carried::Depends("Hostname"),
        "deployment"
        | "statefulset"
        | "daemonset"
        | "replicaset"
        | "cronjob"
        | "workload"
        | "job_name"
        | "deployment_name"
        | "kubernetes_deployment"
        | "label_app"
        | "owner_name"
        | "created_by_name" => Carried::Never,
        _ if label.starts_with("exported_") || label.starts_with("DCGM_FI_") || label.starts_with("dra_") => {
            Carried::Always
        }
        _ => Carried::Elsewhere,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::dcgm::DcgmMetric;

    #[test]
    fn the_ladder_is_known() {
        for metric in DcgmMetric::ALL {
            assert!(shape(metric.series()).is_some(), "{metric:?}");
        }
    }

    #[test]
    fn strangers_get_the_right_name() {
        for (name, meant) in NEVER_EMITTED {
            assert_eq!(stranger(name), Some(Stranger::NeverEmitted(meant)));
            assert!(shape(meant).is_some(), "{meant}");
        }
        for (name, expected) in [
            ("DCGM_FI_DEV_GPU_UTIL", None),
            ("DCGM_FI_DEV_GPU_UTILL", Some("DCGM_FI_DEV_GPU_UTIL")),
            ("dcgm_fi_dev_gpu_util", Some("DCGM_FI_DEV_GPU_UTIL")),
            (
                "DCGM_FI_PROF_GR_ENGIN_ACTIVE",
                Some("DCGM_FI_PROF_GR_ENGINE_ACTIVE"),
            ),
            // A field that a counters file may bring in.
            ("DCGM_FI_DEV_FAN_SPEED", None),
        ] {
            let found = match stranger(name) {
                Some(Stranger::Misspelt(known)) => Some(known),
                _ => None,
            };
            assert_eq!(found, expected, "{name}");
        }
    }
}
