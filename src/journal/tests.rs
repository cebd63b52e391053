//! Journals of seeded lives: whatever happened to a policy, a replay comes to the same.

mod life;

use super::record::Record;
use super::*;
use life::{Life, Plan, policy};

fn slices(kept: &InMemory) -> Vec<&[u8]> {
    kept.segments.values().map(Vec::as_slice).collect()
}

fn replayed(kept: &InMemory, other: Option<&str>) -> Replay {
    replay(slices(kept), other.map(|other| Policy::new(other).unwrap())).unwrap()
}

fn small() -> Limits {
    Limits {
        total_bytes: 1 << 30,
        segment_bytes: 12_000,
        block_bytes: 4_000,
        block_ticks: 7,
        checkpoint_ticks: 25,
    }
}

#[track_caller]
fn assert_equal(replay: &Replay, seed: u64) {
    if let Some(first) = &replay.first_difference {
        panic!("seed {seed}: {first:?}");
    }
    assert_eq!(replay.differing, 0);
}

#[test]
fn every_decision_of_any_life_comes_out_the_same() {
    for seed in 0..12 {
        let mut life = Life::new(seed, Plan::Eventful, small());
        life.ticks(900);
        let kept = life.end();
        let replay = replayed(&kept, None);
        assert_equal(&replay, seed);
        assert!(
            replay.faults.is_empty() && replay.gaps == 0,
            "seed {seed}: {replay:?}"
        );
        assert!(kept.segments.len() > 5, "seed {seed}: {}", kept.segments.len());
        assert!(
            replay.decisions > 700 && replay.verified == replay.decisions,
            "seed {seed}: {replay:?}"
        );
        assert!(
            replay.starts > 1 && replay.changes > 0 && replay.grown > 3,
            "seed {seed}: {replay:?}"
        );
    }
}

#[test]
fn a_journal_without_its_oldest_segments_is_proved_from_where_its_windows_are_whole() {
    let mut verified = 0;
    for seed in 0..12 {
        let mut life = Life::new(seed, Plan::Eventful, small());
        life.ticks(900);
        let kept = life.end();
        for dropped in [1, 2, 3, kept.segments.len() / 2] {
            let mut rest = kept.clone();
            rest.segments = rest.segments.into_iter().skip(dropped).collect();
            let replay = replayed(&rest, None);
            assert_equal(&replay, seed);
            assert_eq!(replay.gaps, 0);
            verified += replay.verified;
        }
    }
    assert!(verified > 12 * 4 * 300, "{verified}");
}

#[test]
fn one_long_stretch_is_proved_from_every_segment_on() {
    for seed in 100..104 {
        let mut life = Life::new(seed, Plan::Stretch, small());
        life.ticks(900);
        let kept = life.end();
        for dropped in 1..kept.segments.len() / 2 {
            let mut rest = kept.clone();
            rest.segments = rest.segments.into_iter().skip(dropped).collect();
            let replay = replayed(&rest, None);
            assert_equal(&replay, seed);
            assert!(replay.verified > 200, "seed {seed} without {dropped}: {replay:?}");
            assert!(
                replay.verified < replay.decisions,
                "the windows were not whole at first"
            );
        }
    }
}

#[test]
fn the_writer_keeps_to_its_bytes() {
    let limits = Limits {
        total_bytes: 40_000,
        ..small()
    };
    let mut life = Life::new(5, Plan::Eventful, limits);
    life.ticks(1_500);
    let kept = life.end();
    let bytes: usize = kept.segments.values().map(Vec::len).sum();
    assert!(bytes <= 40_000 && bytes > 20_000, "{bytes}");
    let replay = replayed(&kept, None);
    assert_equal(&replay, 5);
    assert!(replay.verified > 100, "{replay:?}");
}

#[test]
fn a_crash_loses_at_most_the_pending_block() {
    for seed in 0..10 {
        let mut life = Life::new(seed, Plan::Crashes, small());
        life.ticks(600);
        let told = life.decisions;
        let kept = life.end();
        let replay = replayed(&kept, None);
        assert_equal(&replay, seed);
        assert!(replay.starts > 3, "{replay:?}");
        let lost = told - replay.decisions;
        assert!(
            lost <= replay.starts * 7,
            "seed {seed}: {lost} lost in {} starts",
            replay.starts
        );
        assert_eq!(replay.verified, replay.decisions);
    }
}

#[test]
fn a_cut_or_damaged_journal_gives_everything_before_and_names_the_place() {
    let mut life = Life::new(
        3,
        Plan::Stretch,
        Limits {
            segment_bytes: 1 << 20,
            ..small()
        },
    );
    life.ticks(300);
    let kept = life.end();
    let whole: Vec<Record> = Reader::new(kept.segments[&0].as_slice())
        .map(Result::unwrap)
        .collect();
    let bytes = &kept.segments[&0];
    for cut in (1..bytes.len()).step_by(37) {
        let read: Vec<_> = Reader::new(&bytes[..cut]).collect();
        let good: Vec<&Record> = read.iter().flatten().collect();
        assert!(good.iter().zip(&whole).all(|(read, written)| *read == written));
        if let Some(Err(error)) = read.last() {
            assert!(error.cause.is_cut(), "{error}");
            assert!(error.offset < cut as u64 && cut as u64 - error.offset < 5_000);
            assert!(
                error.to_string().starts_with(&format!("byte {}: ", error.offset)),
                "{error}"
            );
        }
        let replay = replay([&bytes[..cut]], None).unwrap();
        assert_equal(&replay, 3);
    }
    for at in (0..bytes.len()).step_by(53) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 4;
        let replay = replay([damaged.as_slice()], None).unwrap();
        assert_equal(&replay, 3);
        assert_eq!(replay.faults.len(), 1, "at {at}");
        assert!(replay.faults[0].error.offset <= at as u64);
    }
}

#[test]
fn a_lost_segment_in_the_middle_is_a_gap_and_no_difference() {
    let mut life = Life::new(8, Plan::Stretch, small());
    life.ticks(900);
    let mut kept = life.end();
    let middle = kept.segments.len() as u64 / 2;
    kept.segments.remove(&middle);
    let replay = replayed(&kept, None);
    assert_equal(&replay, 8);
    assert_eq!((replay.gaps, replay.starts), (1, 1));
    assert!(replay.verified < replay.decisions);
}

#[test]
fn a_policy_beside_itself_says_the_same_everywhere() {
    for seed in 0..8 {
        let mut life = Life::new(seed, Plan::Stretch, small());
        life.ticks(600);
        let kept = life.end();
        let replay = replayed(&kept, Some(&policy(70)));
        let comparison = replay.comparison.unwrap();
        assert_eq!(
            (comparison.differing, comparison.first.is_none()),
            (0, true),
            "seed {seed}"
        );
        assert_eq!(comparison.decisions, replay.verified);
        assert_eq!(comparison.node_ms.0, comparison.node_ms.1);
        assert!(comparison.node_ms.0 > 0 && comparison.cost.0 == comparison.cost.1);
    }
}

#[test]
fn another_threshold_differs_first_where_it_must() {
    // Four GPUs at half load: enough for a target of 70 %, too little for one of 30 %.
    let mut life = Life::new(1, Plan::Constant(500_000), small());
    life.ticks(40);
    let kept = life.end();
    let same = replayed(&kept, Some(&policy(70)));
    assert_eq!(same.comparison.unwrap().differing, 0);
    let replay = replayed(&kept, Some(&policy(30)));
    assert_equal(&replay, 1);
    let comparison = replay.comparison.unwrap();
    let first = comparison.first.as_ref().unwrap();
    assert_eq!(
        first.at.timer_ms,
        life::FIRST_TIMER_MS + life::WHOLE_WINDOW_TICKS * life::TICK_MS
    );
    assert_eq!((first.recorded.to, first.evaluation.decision.to), (4, 7));
    assert_eq!(
        first.recorded.reason, "DataQuality",
        "the down window is not whole yet"
    );
    assert!(comparison.node_ms.1 > comparison.node_ms.0, "{comparison:?}");
    assert_eq!(comparison.cost.0, comparison.node_ms.0 * i128::from(life::PRICE));
}

#[test]
fn a_policy_with_other_signals_is_refused_by_name() {
    let mut life = Life::new(1, Plan::Stretch, small());
    life.ticks(5);
    let kept = life.end();
    let other = policy(70).replace("GpuUtilization", "SmActive");
    let error = replay(slices(&kept), Some(Policy::new(&other).unwrap()))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("`gpu` (SmActive) is not in the journal"),
        "{error}"
    );
    assert!(
        error.contains("`gpu` (GpuUtilization), `queue` (`sum(waiting)`), `pods` (gpuRequests)"),
        "{error}"
    );
}

#[test]
fn another_memory_or_another_evaluation_is_shown_with_its_time() {
    let mut life = Life::new(2, Plan::Stretch, small());
    life.ticks(60);
    let tampered = life.decisions + 3;
    life.tampered = Some(tampered);
    life.ticks(60);
    let replay = replayed(&life.end(), None);
    let first = replay.first_difference.unwrap();
    assert_eq!((first.decision, first.what), (tampered, Differs::MemoryBefore));
}

/// A disk that is full for a while.
#[derive(Default)]
struct Full {
    kept: InMemory,
    refused: u32,
}

impl Segments for Full {
    fn kept(&self) -> Vec<(u64, u64)> {
        self.kept.kept()
    }

    fn append(&mut self, segment: u64, bytes: &[u8]) -> Result<(), JournalError> {
        if self.refused > 0 {
            self.refused -= 1;
            // Part of it was written.
            self.kept.append(segment, &bytes[..bytes.len() / 2])?;
            return Err(JournalError("the disk is full".to_owned()));
        }
        self.kept.append(segment, bytes)
    }

    fn drop_segment(&mut self, segment: u64) -> Result<(), JournalError> {
        self.kept.drop_segment(segment)
    }
}

#[test]
fn after_a_full_disk_the_journal_goes_on_in_a_new_segment() {
    let mut full = Full::default();
    let mut life = Life::over(11, Plan::Stretch, small(), &mut full);
    life.ticks(100);
    life.writer.as_mut().unwrap().segments_mut().refused = 2;
    life.ticks(500);
    assert_eq!(life.refusals, 2);
    life.end_over();
    let replay = replayed(&full.kept, None);
    assert_equal(&replay, 11);
    assert!(replay.gaps > 0 && replay.faults.len() == 2, "{replay:?}");
    assert!(replay.faults.iter().all(|fault| fault.error.cause.is_cut()));
    assert!(replay.verified > 300);
}

#[test]
fn a_row_of_segments_in_one_file_is_read_as_well() {
    let mut life = Life::new(4, Plan::Eventful, small());
    life.ticks(300);
    let kept = life.end();
    let one: Vec<u8> = kept.segments.values().flatten().copied().collect();
    let (apart, together) = (replayed(&kept, None), replay([one.as_slice()], None).unwrap());
    assert_equal(&together, 4);
    assert_eq!(
        (apart.verified, apart.actions),
        (together.verified, together.actions)
    );
}
