//! What a GPU model can draw and hold, for recordings that do not say.
//!
//! From NVIDIA's data sheets: the board power limit and the framebuffer of each model, as `modelName` spells it.

/// Words of `modelName`, the power limit in watts, the framebuffer in MiB. The first match counts, so longer names
/// come first.
const MODELS: [(&str, f64, f64); 19] = [
    ("H200", 700.0, 143_771.0),
    ("H100 NVL", 400.0, 95_830.0),
    ("H100 PCIe", 350.0, 81_559.0),
    ("H100", 700.0, 81_559.0),
    ("A100 80GB PCIe", 300.0, 81_920.0),
    ("A100-SXM4-80GB", 400.0, 81_920.0),
    ("A100-SXM4-40GB", 400.0, 40_960.0),
    ("A100-PCIE-40GB", 250.0, 40_960.0),
    ("A800 80GB PCIe", 300.0, 81_920.0),
    ("A800-SXM4-80GB", 400.0, 81_920.0),
    ("V100-SXM2-32GB", 300.0, 32_768.0),
    ("V100-SXM2-16GB", 300.0, 16_384.0),
    ("V100-PCIE-32GB", 250.0, 32_768.0),
    ("V100-PCIE-16GB", 250.0, 16_384.0),
    ("L40S", 350.0, 46_068.0),
    ("L40", 300.0, 46_068.0),
    ("A10", 150.0, 23_028.0),
    ("L4", 72.0, 23_034.0),
    ("T4", 70.0, 15_360.0),
];

/// Whole words only: an L40 is no L4, and a GH200 no H200.
fn of(model: &str) -> Option<&'static (&'static str, f64, f64)> {
    let model = words(model);
    MODELS.iter().find(|(name, ..)| {
        let name = words(name);
        model.windows(name.len()).any(|part| part == name)
    })
}

fn words(text: &str) -> Vec<&str> {
    text.split([' ', '-']).collect()
}

/// The board power limit of a model in watts; `None` for one that is not known.
#[must_use]
pub fn power_limit_watts(model: &str) -> Option<f64> {
    of(model).map(|&(_, watts, _)| watts)
}

/// The framebuffer of a model in MiB; `None` for one that is not known.
#[must_use]
pub fn memory_mib(model: &str) -> Option<f64> {
    of(model).map(|&(_, _, mib)| mib)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_told_apart() {
        for (model, watts) in [
            ("NVIDIA A100 80GB PCIe", Some(300.0)),
            ("NVIDIA A100-SXM4-80GB", Some(400.0)),
            ("NVIDIA H100 80GB HBM3", Some(700.0)),
            ("NVIDIA H100 NVL", Some(400.0)),
            ("Tesla T4", Some(70.0)),
            ("NVIDIA L40S", Some(350.0)),
            ("NVIDIA L4", Some(72.0)),
            ("Tesla V100-SXM2-32GB", Some(300.0)),
            ("NVIDIA L40", Some(300.0)),
            ("NVIDIA GH200 480GB", None),
            ("NVIDIA A10", Some(150.0)),
            ("NVIDIA A10G", None),
            ("NVIDIA RTX A1000", None),
            ("Voodoo 2", None),
        ] {
            assert_eq!(power_limit_watts(model), watts, "{model}");
        }
        assert_eq!(memory_mib("NVIDIA A100 80GB PCIe"), Some(81_920.0));
    }
}
