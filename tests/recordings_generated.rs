//! The generated recordings against the code that makes them, and all recordings against what a checkout may weigh.
//!
//! Only the unpacked text is compared: another release of a packer may pack it otherwise.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a fault of a fixture may end it at once"
)]

mod generator;

use std::collections::BTreeSet;
use std::fs;

use gpuscale::recording::{self, Format, ReadOptions, Tally};

/// The most that the recordings may weigh together, in bytes: everyone who clones the repository carries them.
const MOST_BYTES: u64 = 15_000_000;

#[test]
fn generated_recordings_are_what_their_generator_writes() {
    let mut changed = Vec::new();
    for generated in &generator::ALL {
        let text = (generated.text)();
        let path = generator::recordings().join(generated.file);
        if std::env::var_os("UPDATE_RECORDINGS").is_some()
            && generator::unpacked(generated.file).as_ref() != Ok(&text)
        {
            fs::write(&path, generator::packed(generated.packing, &text).unwrap()).unwrap();
        }
        match generator::unpacked(generated.file) {
            Ok(saved) if saved == text => {}
            Ok(saved) => changed.push(format!("{}: {}", generated.file, first_difference(&saved, &text))),
            Err(error) => changed.push(error),
        }
    }
    assert!(
        changed.is_empty(),
        "recordings are not what the generator writes:\n{}\nif that was meant, run\n  UPDATE_RECORDINGS=1 cargo test \
         --profile ci --test recordings_generated\nand then look at the scorecards of their scenarios",
        changed.join("\n")
    );
}

/// Where two texts part, in words.
fn first_difference(saved: &str, found: &str) -> String {
    let differing = saved.lines().zip(found.lines()).position(|(old, new)| old != new);
    match differing {
        None => format!(
            "{} lines saved, {} generated",
            saved.lines().count(),
            found.lines().count()
        ),
        Some(line) => {
            let (old, new) = (saved.lines().nth(line).unwrap(), found.lines().nth(line).unwrap());
            let byte = old
                .bytes()
                .zip(new.bytes())
                .take_while(|(old, new)| old == new)
                .count();
            format!("line {}, byte {}", line + 1, byte + 1)
        }
    }
}

/// What is asked of an export, checked by another road than the one that wrote it: each line is JSON, no series comes
/// twice, times rise, and each value is a number or the null of a stale marker. The shipped reader then finds the same
/// samples, and nothing to remark on.
#[test]
fn generated_exports_are_sound() {
    for generated in generator::ALL
        .iter()
        .filter(|generated| generated.packing == generator::Packing::Zstd)
    {
        let text = generator::unpacked(generated.file).unwrap();
        let mut seen = BTreeSet::new();
        let (mut samples, mut markers) = (0, 0);
        for line in text.lines() {
            let series: serde_json::Value = serde_json::from_str(line).unwrap();
            let labels = series["metric"].as_object().unwrap();
            assert!(labels.values().all(serde_json::Value::is_string), "{line:.300}");
            let times: Vec<i64> = series["timestamps"]
                .as_array()
                .unwrap()
                .iter()
                .map(|time| time.as_i64().unwrap())
                .collect();
            assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{line:.300}");
            let values = series["values"].as_array().unwrap();
            assert_eq!(values.len(), times.len(), "{line:.300}");
            assert!(
                values.iter().all(|value| value.is_null() || value.is_number()),
                "{line:.300}"
            );
            markers += values.iter().filter(|value| value.is_null()).count() as u64;
            samples += values.len() as u64;
            assert!(
                seen.insert(series["metric"].to_string()),
                "a series comes twice: {line:.300}"
            );
        }
        assert!(samples > 100_000 && markers > 0, "{}", generated.file);

        assert_eq!(Format::detect(text.as_bytes()), Ok(Format::VmExport));
        let metrics =
            recording::read(Format::VmExport, &mut text.as_bytes(), &ReadOptions::default()).unwrap();
        assert_eq!(metrics.series().len(), seen.len());
        let tally = Tally {
            samples,
            not_finite: markers,
            ..Tally::default()
        };
        assert_eq!(*metrics.tally(), tally, "{}", generated.file);
    }
}

/// What the scenario `dcgm-week` is about, read off the file: the GPUs that are silent over the weekend were busy when
/// they were last seen and are busy when they are seen again, under the same pod.
#[test]
fn the_silent_weekend_is_a_busy_one() {
    const DAY_MS: i64 = 86_400_000;
    let mut silent = 0;
    for line in generator::unpacked("dcgm_week.jsonl.zst").unwrap().lines() {
        let series: serde_json::Value = serde_json::from_str(line).unwrap();
        let of_batch = series["metric"]["pod"]
            .as_str()
            .is_some_and(|pod| pod.starts_with("finetune"));
        if !of_batch || series["metric"]["__name__"] != "DCGM_FI_DEV_GPU_UTIL" {
            continue;
        }
        let times = series["timestamps"].as_array().unwrap();
        let gap = times
            .windows(2)
            .position(|pair| pair[1].as_i64().unwrap() - pair[0].as_i64().unwrap() > 2 * DAY_MS)
            .unwrap();
        let value = |index: usize| series["values"][index].as_u64();
        assert_eq!(value(gap), None, "a failed scrape leaves a marker");
        assert!(
            value(gap - 1) >= Some(82) && value(gap + 1) >= Some(82),
            "{line:.300}"
        );
        silent += 1;
    }
    assert_eq!(silent, 4);
}

#[test]
fn recordings_stay_small() {
    let mut sizes: Vec<(u64, String)> = fs::read_dir(generator::recordings())
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            (
                entry.metadata().unwrap().len(),
                entry.file_name().to_string_lossy().into_owned(),
            )
        })
        .collect();
    sizes.sort();
    let total: u64 = sizes.iter().map(|(size, _)| size).sum();
    assert!(
        total <= MOST_BYTES,
        "{total} bytes of recordings, more than {MOST_BYTES}: {sizes:?}"
    );
}
