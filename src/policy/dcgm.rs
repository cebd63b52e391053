//! The DCGM ladder: which metric says how busy a GPU is, in which unit, and how each one misleads.
//!
//! Units belong to the metric. `DCGM_FI_DEV_*_UTIL` are percentages from 0 to 100, `DCGM_FI_PROF_*` are ratios
//! from 0 to 1 (an old help text calls some of them "in %"), framebuffer sizes are MiB and power is watts. A
//! threshold of 70 on a ratio never fires and 0.7 on a percentage always does, so a policy never states the unit
//! of a DCGM metric: this module does, and everything is turned into a fraction of the device before the engine
//! sees it.
//!
//! Source of names and ranges: NVIDIA dcgm-exporter, `etc/default-counters.csv` and its renderer.

use super::config::{Micro, ONE};
use super::sample::Dropped;

/// A rung of the ladder, from the roughest measure to the finest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DcgmMetric {
    /// `DCGM_FI_DEV_GPU_UTIL`, percent: "some kernel was resident". Near 100 % with one small request in flight;
    /// absent or 0 under MIG.
    GpuUtilization,
    /// `DCGM_FI_PROF_GR_ENGINE_ACTIVE`, ratio: the utilization of a MIG instance. Has been seen stuck at 0 under
    /// full load after weeks of uptime.
    GraphicsEngineActive,
    /// `DCGM_FI_PROF_SM_ACTIVE`, ratio: share of multiprocessors with work. Not in the exporter's default set;
    /// slightly above 1 under MIG.
    SmActive,
    /// `DCGM_FI_PROF_PIPE_TENSOR_ACTIVE`, ratio: tensor cores at work. 0.5 is already a very busy GPU.
    TensorActive,
    /// `DCGM_FI_PROF_DRAM_ACTIVE`, ratio: memory interface at work; the limit of token generation.
    DramActive,
    /// `DCGM_FI_DEV_FB_USED`, MiB, over used + free: memory held, not work done. A server that reserves all memory
    /// at start is always "full".
    MemoryUsed,
    /// `DCGM_FI_DEV_POWER_USAGE`, watts, over the board's limit. Idle is not 0.
    PowerRatio,
}

/// Unit in which the exporter writes a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DcgmUnit {
    /// 0 to 100.
    Percent,
    /// 0 to 1; values in (1, 1.1] are rounding and are clamped to 1.
    Ratio,
    /// Mebibytes, divided by the device's used + free.
    MebibytesOfTotal,
    /// Watts, divided by the board's power limit.
    WattsOfLimit,
}

/// Largest ratio that is taken for rounding rather than for a wrong unit.
const RATIO_ROUNDING: f64 = 1.1;

impl DcgmMetric {
    /// Every rung, roughest first.
    pub const ALL: [Self; 7] = [
        Self::GpuUtilization,
        Self::GraphicsEngineActive,
        Self::SmActive,
        Self::TensorActive,
        Self::DramActive,
        Self::MemoryUsed,
        Self::PowerRatio,
    ];

    /// The series as dcgm-exporter names it.
    #[must_use]
    pub const fn series(self) -> &'static str {
        match self {
            Self::GpuUtilization => "DCGM_FI_DEV_GPU_UTIL",
            Self::GraphicsEngineActive => "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
            Self::SmActive => "DCGM_FI_PROF_SM_ACTIVE",
            Self::TensorActive => "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
            Self::DramActive => "DCGM_FI_PROF_DRAM_ACTIVE",
            Self::MemoryUsed => "DCGM_FI_DEV_FB_USED",
            Self::PowerRatio => "DCGM_FI_DEV_POWER_USAGE",
        }
    }

    /// The unit in which the exporter writes the series.
    #[must_use]
    pub const fn unit(self) -> DcgmUnit {
        match self {
            Self::GpuUtilization => DcgmUnit::Percent,
            Self::GraphicsEngineActive | Self::SmActive | Self::TensorActive | Self::DramActive => {
                DcgmUnit::Ratio
            }
            Self::MemoryUsed => DcgmUnit::MebibytesOfTotal,
            Self::PowerRatio => DcgmUnit::WattsOfLimit,
        }
    }

    /// Whether the exporter's default counters file has the series.
    #[must_use]
    pub const fn exported_by_default(self) -> bool {
        !matches!(self, Self::SmActive)
    }

    /// Turns a value as exported into a fraction of the device.
    ///
    /// `full` is the device's used + free memory in MiB for [`DcgmMetric::MemoryUsed`], its power limit in watts
    /// for [`DcgmMetric::PowerRatio`], and is not looked at otherwise.
    ///
    /// # Errors
    /// [`Dropped::NotFinite`] for NaN and infinities (stale markers among them), [`Dropped::OutOfRange`] for
    /// values that the unit does not have: blank sentinels such as 9223372036854775794, a percentage where a
    /// ratio belongs, anything below zero.
    pub fn normalize(self, value: f64, full: f64) -> Result<Micro, Dropped> {
        let fraction = match self.unit() {
            DcgmUnit::Percent => value / 100.0,
            DcgmUnit::Ratio if value > 1.0 && value <= RATIO_ROUNDING => 1.0,
            DcgmUnit::Ratio => value,
            DcgmUnit::MebibytesOfTotal | DcgmUnit::WattsOfLimit => {
                if full <= 0.0 || !full.is_finite() {
                    return Err(Dropped::NotFinite);
                }
                // A board may draw slightly more than its limit for a moment.
                let ratio = value / full;
                if ratio > 1.0 && ratio <= RATIO_ROUNDING {
                    1.0
                } else {
                    ratio
                }
            }
        };
        let micros = super::sample::micros(fraction)?;
        if (0..=ONE).contains(&micros) {
            Ok(micros)
        } else {
            Err(Dropped::OutOfRange)
        }
    }
}

/// The share of a GPU that a MIG profile owns, in micro-GPUs, from the `GPU_I_PROFILE` label.
///
/// `1g.10gb` is one of seven compute slices. The count before the `g` is NVIDIA's number of compute slices; a
/// suffix such as `+me` does not change it. `None` for text that is no profile.
#[must_use]
pub fn mig_weight(profile: &str) -> Option<Micro> {
    const SLICES: i64 = 7;
    let (slices, rest) = profile.split_once('g')?;
    let slices: i64 = slices.parse().ok()?;
    (rest.starts_with('.') && (1..=SLICES).contains(&slices)).then_some(slices * ONE / SLICES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_belong_to_the_metric() {
        use DcgmMetric::*;
        for (metric, value, full, wanted) in [
            (GpuUtilization, 70.0, 0.0, Ok(700_000)),
            (GpuUtilization, 100.0, 0.0, Ok(ONE)),
            (GpuUtilization, 100.1, 0.0, Err(Dropped::OutOfRange)),
            (GraphicsEngineActive, 0.7, 0.0, Ok(700_000)),
            (GraphicsEngineActive, 1.05, 0.0, Ok(ONE)),
            (GraphicsEngineActive, 1.1, 0.0, Ok(ONE)),
            (GraphicsEngineActive, 70.0, 0.0, Err(Dropped::OutOfRange)),
            (SmActive, -0.1, 0.0, Err(Dropped::OutOfRange)),
            (TensorActive, f64::NAN, 0.0, Err(Dropped::NotFinite)),
            (DramActive, f64::INFINITY, 0.0, Err(Dropped::NotFinite)),
            (
                GpuUtilization,
                9_223_372_036_854_775_794.0,
                0.0,
                Err(Dropped::OutOfRange),
            ),
            (MemoryUsed, 40_000.0, 80_000.0, Ok(500_000)),
            (MemoryUsed, 40_000.0, 0.0, Err(Dropped::NotFinite)),
            (PowerRatio, 305.0, 300.0, Ok(ONE)),
        ] {
            assert_eq!(metric.normalize(value, full), wanted, "{metric:?} {value}");
        }
    }

    #[test]
    fn mig_instances_count_by_their_slice() {
        for (profile, wanted) in [
            ("1g.10gb", Some(142_857)),
            ("3g.40gb", Some(428_571)),
            ("7g.80gb", Some(ONE)),
            ("1g.10gb+me", Some(142_857)),
            ("8g.80gb", None),
            ("", None),
            ("whole", None),
        ] {
            assert_eq!(mig_weight(profile), wanted, "{profile}");
        }
    }

    #[test]
    fn every_rung_has_its_own_series() {
        let names: std::collections::BTreeSet<_> = DcgmMetric::ALL.iter().map(|m| m.series()).collect();
        assert_eq!(names.len(), DcgmMetric::ALL.len());
    }
}
