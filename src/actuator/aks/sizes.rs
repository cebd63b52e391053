//! The GPU machines of Azure: what is in one, and what it costs.
//!
//! A table that ships with the program, since no API answers it with the rights that a resize needs. Sizes that are not in it
//! are no error: their GPUs are read from the nodes where those can be seen, and a budget that has no price lets nothing grow.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::policy::config::Micro;

const TABLE: &str = include_str!("gpu-vm-sizes.csv");

/// One size of machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Size {
    /// Its name, such as `Standard_NC24ads_A100_v4`.
    pub name: String,
    /// The model of its GPUs.
    pub gpu: String,
    /// GPUs in one machine.
    pub gpus: u32,
    /// Memory of one GPU, in GB as the vendor counts.
    pub gpu_memory_gb: u32,
    /// Processor cores, which quotas are counted in.
    pub cores: u32,
    /// The family that a quota is for; `None` where it is not known.
    pub quota_family: Option<String>,
    /// Whether its GPUs can be cut into instances (MIG).
    pub mig: Answer,
    /// Whether AKS offers it with Azure Linux 3.
    pub azure_linux: Answer,
    /// On-demand price in micro-USD per hour; `None` where none was found.
    pub price: Option<Micro>,
}

/// An answer that the sources may not give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Yes,
    /// No.
    No,
    /// They do not say.
    Unknown,
}

static SIZES: LazyLock<BTreeMap<String, Size>> = LazyLock::new(|| {
    let mut table = csv::ReaderBuilder::new()
        .comment(Some(b'#'))
        .from_reader(TABLE.as_bytes());
    let rows = table.records().filter_map(|row| size(&row.ok()?));
    rows.map(|size| (size.name.to_ascii_lowercase(), size)).collect()
});

/// The size with this name, in whatever case it is written.
#[must_use]
pub fn of(name: &str) -> Option<&'static Size> {
    SIZES.get(&name.to_ascii_lowercase())
}

/// All sizes, by name.
pub fn all() -> impl Iterator<Item = &'static Size> {
    SIZES.values()
}

fn size(row: &csv::StringRecord) -> Option<Size> {
    let text = |column: usize| row.get(column).filter(|text| !text.is_empty());
    let number = |column: usize| text(column)?.parse().ok();
    let answer = |column: usize| match text(column) {
        Some("yes") => Answer::Yes,
        Some("no") => Answer::No,
        _ => Answer::Unknown,
    };
    Some(Size {
        name: text(0)?.to_owned(),
        gpu: text(1)?.to_owned(),
        gpus: number(2)?,
        gpu_memory_gb: number(3)?,
        cores: number(4)?,
        quota_family: text(6).filter(|family| *family != "unknown").map(str::to_owned),
        mig: answer(7),
        azure_linux: answer(8),
        price: text(9).and_then(micro),
    })
}

/// A decimal number in millionths, exactly.
fn micro(text: &str) -> Option<Micro> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let padded = format!("{fraction:0<6}");
    let digits = padded.get(..6).filter(|_| fraction.len() <= 6)?;
    let whole: Micro = whole.parse().ok()?;
    Some(whole * 1_000_000 + digits.parse::<Micro>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_table_is_read() {
        let rows = TABLE.lines().filter(|line| !line.starts_with('#')).count() - 1;
        assert_eq!((SIZES.len(), rows), (20, 20));
        for size in all() {
            assert!(
                (1..=8).contains(&size.gpus) && size.cores >= 4 && size.gpu_memory_gb >= 16,
                "{size:?}"
            );
            if let Some(price) = size.price {
                let per_gpu = price / Micro::from(size.gpus);
                assert!((500_000..=30_000_000).contains(&per_gpu), "{size:?}");
            }
        }
    }

    #[test]
    fn a_size_is_found_in_any_case_and_another_is_none() {
        let a100 = of("standard_nc24ads_a100_V4").unwrap();
        assert_eq!(
            (a100.gpus, a100.cores, a100.gpu_memory_gb, a100.price),
            (1, 24, 80, Some(3_673_000))
        );
        assert_eq!((a100.mig, a100.azure_linux), (Answer::Yes, Answer::Yes));
        assert_eq!(a100.quota_family.as_deref(), Some("StandardNCADSA100v4Family"));
        assert_eq!(of("Standard_ND96asr_v4").unwrap().gpus, 8);
        let gb300 = of("Standard_ND128isr_GB300_v6").unwrap();
        assert_eq!(
            (gb300.price, gb300.quota_family.as_deref(), gb300.mig),
            (None, None, Answer::Unknown)
        );
        assert_eq!(of("Standard_D2s_v5"), None);
    }

    #[test]
    fn prices_are_exact() {
        for (text, wanted) in [
            ("3.673", Some(3_673_000)),
            ("48.00", Some(48_000_000)),
            ("7", Some(7_000_000)),
            ("0.0000001", None),
            ("-", None),
        ] {
            assert_eq!(micro(text), wanted, "{text}");
        }
    }
}
