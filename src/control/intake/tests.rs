//! Tables for each rule of the intake, properties over disturbed answers, and the comparison with a recording.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::control::ports::{Completeness, Selector, SourceError, SourceErrorKind};
use crate::policy::sample::Channel;
use crate::recording::Labels;

const T0: Millis = 1_700_000_000_000;
const UTIL: &str = "DCGM_FI_DEV_GPU_UTIL";
const ACTIVE: &str = "DCGM_FI_PROF_GR_ENGINE_ACTIVE";
const POWER: &str = "DCGM_FI_DEV_POWER_USAGE";
const USED: &str = "DCGM_FI_DEV_FB_USED";
const FREE: &str = "DCGM_FI_DEV_FB_FREE";
const XID: &str = "DCGM_FI_DEV_XID_ERRORS";

/// A series that is to be answered.
#[derive(Debug, Clone)]
struct One {
    labels: Arc<Labels>,
    samples: Vec<(Millis, f64)>,
}

type Round = Vec<(usize, Result<Answer, SourceError>)>;

fn policy(signals: &str) -> (Config, Vec<Query>) {
    let text = format!(
        "apiVersion: gpuscale.dev/v1alpha1\nkind: GpuScalePolicy\nmetadata: {{ name: p }}\nspec:\n  targetRef: {{ kind: \
         AksNodePool, name: p }}\n  signals: [ {signals} ]\n  maxNodes: 8\n"
    );
    let policy = crate::api::validate(&text).unwrap();
    (
        crate::api::compile(&policy).unwrap(),
        crate::api::queries(&policy),
    )
}

fn intake(signals: &str) -> Intake {
    let (config, queries) = policy(signals);
    Intake::new(&config, &queries, LabelMapping::default())
}

fn gpu_intake() -> Intake {
    intake("{ name: gpu, dcgm: { metric: GpuUtilization } }")
}

/// A series of GPU number `gpu` in node `n{gpu / 2}`, with samples at seconds after `T0`.
fn series(name: &str, gpu: u32, more: &[(&str, &str)], samples: &[(i64, f64)]) -> One {
    let (uuid, node) = (format!("GPU-{gpu:02}"), format!("n{}", gpu / 2));
    let mut labels = vec![
        ("UUID", uuid.as_str()),
        ("Hostname", node.as_str()),
        ("modelName", "NVIDIA A100-SXM4-80GB"),
    ];
    labels.extend(more);
    let samples = samples.iter();
    One {
        labels: Arc::new(Labels::new(name, labels).unwrap()),
        samples: samples
            .map(|&(second, value)| (T0 + second * 1000, value))
            .collect(),
    }
}

fn whole(second: i64, series: Vec<One>) -> Answer {
    Answer {
        now_ms: T0 + second * 1000,
        completeness: Completeness::Whole,
        series: series.into_iter().map(|one| (one.labels, one.samples)).collect(),
    }
}

fn failed() -> SourceError {
    SourceError {
        kind: SourceErrorKind::Timeout,
        message: "no answer in 10 s".to_owned(),
    }
}

/// A round in which each want is answered with the series of its metric.
fn round(intake: &Intake, second: i64, all: &[One]) -> Round {
    let answer = |want: &Want| match &want.selector {
        Selector::Metric { name, .. } => all
            .iter()
            .filter(|series| series.labels.name() == *name)
            .cloned()
            .collect(),
        Selector::Expression { .. } => all
            .iter()
            .filter(|series| series.labels.name().is_empty())
            .cloned()
            .collect(),
    };
    let wants = intake.wants().iter().enumerate();
    wants
        .map(|(want, what)| (want, Ok(whole(second, answer(what)))))
        .collect()
}

fn want(intake: &Intake, metric: &str) -> usize {
    let is = |want: &Want| matches!(&want.selector, Selector::Metric { name, .. } if *name == metric);
    intake.wants().iter().position(is).unwrap()
}

fn take(intake: &mut Intake, second: i64, all: &[One]) -> Vec<(u32, i64, Option<i64>)> {
    let round = round(intake, second, all);
    intake.take(&round);
    loads(intake)
}

/// Device, second, percent of the samples of signals.
fn loads(intake: &Intake) -> Vec<(u32, i64, Option<i64>)> {
    let loads = intake
        .samples()
        .iter()
        .filter(|sample| sample.channel == Channel::Load);
    let shown = |sample: &Sample| {
        let percent = sample.value.map(|value| value / 10_000);
        (sample.device.0, (sample.at_ms - T0) / 1000, percent)
    };
    loads.map(shown).collect()
}

#[test]
fn each_metric_is_read_once_and_with_the_labels_of_its_signal() {
    let labels = "matchLabels: { pool: a }";
    let intake = intake(&format!(
        "{{ name: gpu, dcgm: {{ metric: GpuUtilization, {labels} }} }}, \
         {{ name: again, dcgm: {{ metric: GpuUtilization, {labels} }}, up: {{ above: 90, for: 5m }} }}, \
         {{ name: memory, dcgm: {{ metric: MemoryUsed, {labels} }} }}, \
         {{ name: queue, promql: 'sum(waiting)', unit: count, perNode: 8 }}, \
         {{ name: pods, gpuRequests: {{}} }}"
    ));
    let shown: Vec<(String, Role)> = intake
        .wants()
        .iter()
        .map(|want| {
            let text = match &want.selector {
                Selector::Metric { name, match_labels } => {
                    assert_eq!(match_labels, &[("pool".to_owned(), "a".to_owned())]);
                    (*name).to_owned()
                }
                Selector::Expression { promql, step_ms } => format!("{promql} every {step_ms}"),
            };
            (text, want.role)
        })
        .collect();
    let wanted = [
        (UTIL, Role::Signal),
        (USED, Role::Signal),
        ("sum(waiting) every 30000", Role::Signal),
        (POWER, Role::Auxiliary),
        (FREE, Role::Auxiliary),
        (XID, Role::Auxiliary),
    ];
    assert_eq!(shown, wanted.map(|(text, role)| (text.to_owned(), role)));
}

#[test]
fn a_policy_of_queries_only_reads_no_devices() {
    let intake = intake("{ name: queue, promql: 'sum(waiting)', unit: count, perNode: 8 }");
    assert_eq!(intake.wants().len(), 1);
}

#[test]
fn the_first_read_fills_the_windows_and_later_ones_overlap_by_two_scrapes() {
    let intake = gpu_intake();
    let whole_ms = intake.window_ms(None);
    // The longest window, the times that a sample holds before it, and a scrape.
    assert_eq!(whole_ms, 600_000 + 3 * 90_000 + 30_000);
    assert_eq!(intake.window_ms(Some(15_000)), 75_000);
    assert_eq!(intake.window_ms(Some(-5)), 60_000);
    assert_eq!(intake.window_ms(Some(Millis::MAX)), whole_ms);
}

#[test]
fn a_sample_comes_out_once_and_a_late_one_still_does() {
    let mut intake = gpu_intake();
    let first = [series(UTIL, 0, &[], &[(0, 10.0), (30, 20.0)])];
    assert_eq!(
        take(&mut intake, 31, &first),
        [(0, 0, Some(10)), (0, 30, Some(20))]
    );
    assert_eq!(take(&mut intake, 46, &first), []);
    let late = [series(
        UTIL,
        0,
        &[],
        &[(0, 10.0), (15, 15.0), (30, 20.0), (60, 30.0)],
    )];
    assert_eq!(
        take(&mut intake, 61, &late),
        [(0, 15, Some(15)), (0, 60, Some(30))]
    );
}

#[test]
fn what_is_no_number_or_out_of_range_is_unknown_and_never_zero() {
    let mut intake = gpu_intake();
    let odd = [f64::NAN, f64::INFINITY, 1.8e19, -1.0, 100.1];
    let samples: Vec<(i64, f64)> = (0..).zip(odd).collect();
    let taken = take(&mut intake, 10, &[series(UTIL, 0, &[], &samples)]);
    assert!(taken.iter().all(|&(.., value)| value.is_none()));
    let counters = intake.counters();
    assert_eq!(
        (taken.len(), counters.not_finite, counters.out_of_range),
        (5, 2, 3)
    );
}

#[test]
fn the_future_is_not_taken_until_it_comes() {
    let mut intake = gpu_intake();
    let all = [series(UTIL, 0, &[], &[(0, 10.0), (30, 20.0)])];
    assert_eq!(take(&mut intake, 10, &all), [(0, 0, Some(10))]);
    assert_eq!(intake.counters().future, 1);
    assert_eq!(take(&mut intake, 31, &all), [(0, 30, Some(20))]);
}

#[test]
fn a_clock_that_is_put_back_takes_what_it_said_of_the_future_along() {
    let mut intake = gpu_intake();
    let all = [series(UTIL, 0, &[], &[(0, 10.0), (30, 20.0), (60, 30.0)])];
    take(&mut intake, 70, &all);
    assert_eq!(take(&mut intake, 40, &all), []);
    assert_eq!(intake.now_ms(), Some(T0 + 40_000));
    assert_eq!(take(&mut intake, 70, &all), [(0, 60, Some(30))]);
    // Ahead by an hour: the windows slid too far, so all is read again.
    take(&mut intake, 3_700, &all);
    take(&mut intake, 80, &all);
    assert_eq!(intake.window_ms(Some(15_000)), intake.window_ms(None));
    take(&mut intake, 95, &all);
    assert_eq!(intake.window_ms(Some(15_000)), 75_000);
}

#[test]
fn the_earliest_time_of_the_signals_governs() {
    let mut intake =
        intake("{ name: gpu, dcgm: { metric: GpuUtilization } }, { name: sm, dcgm: { metric: SmActive } }");
    let mut round = round(&intake, 60, &[series(UTIL, 0, &[], &[(0, 10.0), (59, 20.0)])]);
    round[1].1 = Ok(whole(50, Vec::new()));
    round[2].1 = Ok(whole(1, Vec::new()));
    intake.take(&round);
    assert_eq!(intake.now_ms(), Some(T0 + 50_000));
    assert_eq!(loads(&intake), [(0, 0, Some(10))]);
    assert_eq!(intake.counters().future, 1);
}

#[test]
fn a_signal_is_failed_or_partial_by_its_own_selector_only() {
    use ReadStatus::{Answered, Failed, Partial};
    let mut intake = intake(
        "{ name: gpu, dcgm: { metric: GpuUtilization } }, { name: pods, gpuRequests: {} }, \
         { name: queue, promql: 'sum(waiting)', unit: count, perNode: 8 }",
    );
    let all = [series(UTIL, 0, &[], &[(0, 10.0)])];
    let mut answers = round(&intake, 1, &all);
    for (_, result) in &mut answers[2..] {
        *result = Err(failed());
    }
    intake.take(&answers);
    assert_eq!(intake.reads(), [Answered, Answered, Answered]);
    answers[1].1 = Err(failed());
    answers[0].1.as_mut().unwrap().completeness = Completeness::Partial("one store is down".to_owned());
    intake.take(&answers);
    assert_eq!(intake.reads(), [Partial, Answered, Failed]);
    answers.clear();
    intake.take(&answers);
    assert_eq!(
        intake.reads(),
        [Partial, Answered, Failed],
        "what was left out is still"
    );
    assert_eq!((intake.samples(), intake.now_ms()), (&[][..], Some(T0 + 1_000)));
}

#[test]
fn after_a_partial_answer_everything_is_read_once_more() {
    let mut intake = gpu_intake();
    let mut answers = round(&intake, 31, &[series(UTIL, 0, &[], &[(30, 20.0)])]);
    answers[0].1.as_mut().unwrap().completeness = Completeness::Partial("one store is down".to_owned());
    intake.take(&answers);
    let all = [series(UTIL, 0, &[], &[(0, 10.0), (30, 20.0)])];
    take(&mut intake, 46, &all);
    assert_eq!(intake.reads(), [ReadStatus::Partial]);
    assert_eq!(intake.window_ms(Some(15_000)), intake.window_ms(None));
    intake.take(&[]);
    assert_eq!(
        intake.reads(),
        [ReadStatus::Partial],
        "until all of it could be read"
    );
    assert_eq!(take(&mut intake, 61, &all), [(0, 0, Some(10)), (0, 30, Some(20))]);
    assert_eq!(intake.reads(), [ReadStatus::Answered]);
    assert_eq!(take(&mut intake, 76, &all), []);
    assert_eq!(intake.reads(), [ReadStatus::Answered]);
    assert_eq!(intake.window_ms(Some(15_000)), 75_000);
}

#[test]
fn answers_that_are_too_large_and_queries_of_many_series_are_refused() {
    let mut intake = intake(
        "{ name: gpu, dcgm: { metric: GpuUtilization } }, \
         { name: queue, promql: 'sum(waiting)', unit: count, perNode: 8 }",
    );
    let empty = Arc::new(Labels::new("", [("a", "b")]).unwrap());
    let one = One {
        labels: empty,
        samples: vec![(T0, 1.0)],
    };
    let mut answers = round(&intake, 1, &[]);
    answers[0].1 = Ok(whole(1, vec![one.clone(); MOST_SERIES + 1]));
    answers[1].1 = Ok(whole(1, vec![one.clone(); 2]));
    intake.take(&answers);
    assert_eq!(intake.reads(), [ReadStatus::Failed, ReadStatus::Failed]);
    assert_eq!(intake.refused().len(), 2);
    answers[1].1 = Ok(whole(1, vec![one]));
    intake.take(&answers);
    assert_eq!(intake.reads(), [ReadStatus::Failed, ReadStatus::Answered]);
    assert_eq!(intake.samples().len(), 1);
}

#[test]
fn a_round_of_refused_answers_tells_no_time() {
    let mut intake = intake("{ name: queue, promql: 'sum(waiting)', unit: count, perNode: 8 }");
    let series = |uuid: &str| One {
        labels: Arc::new(Labels::new("", [("a", uuid)]).unwrap()),
        samples: vec![(T0, 1.0)],
    };
    intake.take(&[(0, Ok(whole(1, vec![series("x")])))]);
    assert_eq!((intake.told_ms(), intake.is_refused(0)), (intake.now_ms(), false));
    intake.take(&[(0, Ok(whole(16, vec![series("x"), series("y")])))]);
    assert_eq!((intake.told_ms(), intake.is_refused(0)), (None, true));
    assert_eq!(
        intake.now_ms(),
        Some(T0 + 1_000),
        "what was heard before grows old"
    );
}

#[test]
fn a_device_goes_on_under_another_name_and_series_without_identity_are_counted() {
    let mut intake = gpu_intake();
    let idle = series(UTIL, 0, &[], &[(0, 1.0)]);
    let busy = series(UTIL, 0, &[("pod", "vllm-0")], &[(30, 80.0)]);
    let nobody = One {
        labels: Arc::new(Labels::new(UTIL, [("job", "x")]).unwrap()),
        samples: vec![(T0, 1.0)],
    };
    assert_eq!(
        take(&mut intake, 31, &[busy, nobody, idle]),
        [(0, 0, Some(1)), (0, 30, Some(80))]
    );
    assert_eq!(intake.counters().unidentified_series, 1);
    assert_eq!(intake.devices().count(), 1);
}

#[test]
fn instances_speak_for_a_split_gpu_and_have_no_utilization_of_the_whole() {
    let mut intake = intake(
        "{ name: gpu, dcgm: { metric: GpuUtilization } }, \
         { name: active, dcgm: { metric: GraphicsEngineActive } }",
    );
    let slice = [("GPU_I_ID", "3"), ("GPU_I_PROFILE", "2g.20gb")];
    let all = [
        series(UTIL, 0, &[], &[(0, 0.0)]),
        series(UTIL, 0, &slice, &[(0, 0.0)]),
        series(ACTIVE, 0, &slice, &[(0, 0.5)]),
        series(POWER, 0, &slice, &[(0, 400.0)]),
    ];
    take(&mut intake, 1, &all);
    let found: Vec<_> = intake
        .samples()
        .iter()
        .map(|s| (s.signal, s.value, s.weight))
        .collect();
    assert_eq!(found, [(0, None, 285_714), (1, Some(500_000), 285_714)]);
    let devices: Vec<HeardDevice> = intake.devices().collect();
    assert_eq!((devices.len(), devices[0].instance), (1, true));
    // The instance falls silent, and for a while nobody speaks for the GPU.
    let quiet = intake.quiet_ms() / 1000;
    let alone = |second| [series(UTIL, 0, &[], &[(second, 7.0)])];
    assert_eq!(take(&mut intake, quiet + 1, &alone(quiet)), []);
    assert_eq!(intake.devices().filter(|device| device.instance).count(), 1);
    assert_eq!(take(&mut intake, quiet + 31, &alone(quiet + 1)).len(), 1);
    assert_eq!(intake.devices().filter(|device| device.instance).count(), 0);
}

#[test]
fn an_instance_without_a_profile_makes_its_gpu_unknown() {
    let mut intake = gpu_intake();
    let all = [
        series(UTIL, 0, &[], &[(0, 0.0)]),
        series(UTIL, 0, &[("GPU_I_ID", "3")], &[(0, 0.0)]),
    ];
    assert_eq!(take(&mut intake, 1, &all), []);
    assert_eq!(intake.devices().count(), 0);
}

#[test]
fn memory_is_a_share_of_used_and_free_of_one_time() {
    let mut intake = intake("{ name: memory, dcgm: { metric: MemoryUsed } }");
    let all = [
        series(USED, 0, &[], &[(0, 30_000.0), (30, 20_000.0)]),
        series(FREE, 0, &[], &[(0, 10_000.0)]),
    ];
    assert_eq!(take(&mut intake, 31, &all), [(0, 0, Some(75)), (0, 30, Some(50))]);
    let channel = intake
        .samples()
        .iter()
        .filter(|sample| sample.channel == Channel::Memory);
    assert_eq!(channel.count(), 2);
}

#[test]
fn free_memory_is_read_until_the_memory_of_every_device_is_known() {
    let mut intake = gpu_intake();
    let free = want(&intake, FREE);
    assert!(intake.is_due(free), "before anything is heard");
    let of = |gpu, name, mib| series(name, gpu, &[], &[(0, mib)]);
    let first = [of(0, UTIL, 50.0), of(0, USED, 30_000.0), of(0, FREE, 10_000.0)];
    take(&mut intake, 1, &first);
    assert!(!intake.is_due(free));
    assert!(intake.is_due(want(&intake, USED)));
    take(&mut intake, 2, &[of(1, UTIL, 50.0)]);
    assert!(intake.is_due(free), "a device came");
}

#[test]
fn a_zero_that_power_contradicted_is_not_believed_while_power_cannot_be_read() {
    let mut intake = gpu_intake();
    let power = want(&intake, POWER);
    take(
        &mut intake,
        1,
        &[
            series(UTIL, 0, &[], &[(0, 90.0)]),
            series(POWER, 0, &[], &[(0, 390.0)]),
        ],
    );
    let mut answers = round(
        &intake,
        100,
        &[series(UTIL, 0, &[], &[(60, 0.0), (95, 0.0), (99, 50.0)])],
    );
    answers[power].1 = Err(failed());
    intake.take(&answers);
    // For as long as the last power reading holds, the engine judges by itself.
    assert_eq!(
        loads(&intake),
        [(0, 60, Some(0)), (0, 95, None), (0, 99, Some(50))]
    );
    assert_eq!(intake.counters().unverified, 1);
    assert_eq!(intake.reads(), [ReadStatus::Answered]);
    // Power that is not there at all says nothing.
    assert_eq!(
        take(&mut intake, 131, &[series(UTIL, 0, &[], &[(130, 0.0)])]),
        [(0, 130, Some(0))]
    );
}

#[test]
fn a_value_of_an_expression_that_changes_is_taken_again() {
    let mut intake = intake("{ name: queue, promql: 'sum(waiting)', unit: count, perNode: 8 }");
    let mut take = |second: i64, samples: &[(i64, f64)]| {
        let mut one = series("x", 0, &[], samples);
        one.labels = Arc::new(Labels::new("", [("", ""); 0]).unwrap());
        intake.take(&round(&intake, second, &[one]));
        let taken = intake.samples().iter();
        taken
            .map(|sample| ((sample.at_ms - T0) / 1_000, sample.value.unwrap() / 1_000_000))
            .collect::<Vec<_>>()
    };
    assert_eq!(take(31, &[(0, 8.0), (30, 2.0)]), [(0, 8), (30, 2)]);
    // What the value is made of came late.
    assert_eq!(take(61, &[(0, 8.0), (30, 9.0), (60, 3.0)]), [(30, 9), (60, 3)]);
    assert_eq!(take(76, &[(30, 9.0), (60, 3.0)]), []);
    assert_eq!(take(91, &[(60, 10.0), (90, 4.0)]), [(60, 10), (90, 4)]);
}

#[test]
fn memory_that_was_in_use_is_in_use_until_it_can_be_read_again() {
    let mut intake = gpu_intake();
    let used = want(&intake, USED);
    let of = |name, second, value| series(name, 0, &[], &[(second, value)]);
    take(
        &mut intake,
        1,
        &[of(UTIL, 0, 0.0), of(USED, 0, 30_000.0), of(FREE, 0, 10_000.0)],
    );
    let memory = |intake: &Intake| -> Vec<(Millis, Option<Micro>)> {
        let samples = intake.samples().iter();
        let memory = samples.filter(|sample| sample.channel == Channel::Memory);
        memory.map(|sample| (sample.at_ms - T0, sample.value)).collect()
    };
    for (second, repeated) in [(60, false), (900, true), (1_800, true)] {
        let mut answers = round(&intake, second + 1, &[of(UTIL, second, 0.0)]);
        answers[used].1 = Err(failed());
        intake.take(&answers);
        let wanted = [(second * 1_000, Some(750_000))];
        assert_eq!(
            memory(&intake),
            wanted[..usize::from(repeated)],
            "after {second} s"
        );
    }
    take(&mut intake, 1_831, &[of(UTIL, 1_830, 0.0), of(USED, 1_830, 4.0)]);
    assert_eq!(memory(&intake), [(1_830_000, Some(100))]);
    let mut answers = round(&intake, 2_001, &[of(UTIL, 2_000, 0.0)]);
    answers[used].1 = Err(failed());
    intake.take(&answers);
    assert_eq!(memory(&intake), [(2_000_000, Some(100))], "and free until then");
}

#[test]
fn a_new_hardware_xid_makes_a_device_unhealthy_until_it_is_cleared() {
    let mut intake = gpu_intake();
    let mut health = |second: i64, code: f64| {
        let all = [
            series(UTIL, 0, &[], &[(second, 50.0)]),
            series(XID, 0, &[], &[(second, code)]),
        ];
        take(&mut intake, second, &all);
        intake.devices().next().unwrap().health
    };
    assert_eq!(health(0, 79.0), Health::Healthy, "it was there before");
    assert_eq!(health(30, 31.0), Health::Healthy, "the application's fault");
    assert_eq!(health(60, 79.0), Health::Unhealthy);
    assert_eq!(health(90, f64::NAN), Health::Unhealthy);
    assert_eq!(health(120, 31.0), Health::Unhealthy);
    assert_eq!(health(150, 0.0), Health::Healthy);
}

#[test]
fn devices_of_other_pools_say_nothing_until_they_are_ours() {
    let mut intake = gpu_intake();
    let all = |second| {
        [
            series(UTIL, 0, &[], &[(second, 50.0)]),
            series(UTIL, 2, &[], &[(second, 60.0)]),
        ]
    };
    assert_eq!(take(&mut intake, 1, &all(0)).len(), 2);
    let ours = intake.node("n0");
    intake.assign(|node| {
        if node == ours {
            Belonging::Expected
        } else {
            Belonging::Foreign
        }
    });
    assert_eq!(take(&mut intake, 31, &all(30)), [(0, 30, Some(50))]);
    assert_eq!(intake.counters().foreign_series, 1);
    intake.assign(|_| Belonging::Expected);
    assert_eq!(take(&mut intake, 46, &all(30)), [(1, 30, Some(60))]);
}

#[test]
fn what_is_silent_for_longer_than_any_window_is_forgotten_and_its_number_is_not_given_again() {
    let mut intake = gpu_intake();
    take(
        &mut intake,
        0,
        &[
            series(UTIL, 0, &[], &[(0, 50.0)]),
            series(UTIL, 1, &[], &[(0, 50.0)]),
        ],
    );
    for second in (30..20_000).step_by(30) {
        take(&mut intake, second, &[series(UTIL, 1, &[], &[(second, 50.0)])]);
    }
    assert_eq!(
        intake.devices().map(|device| device.id.0).collect::<Vec<_>>(),
        [1]
    );
    let back = take(&mut intake, 20_000, &[series(UTIL, 0, &[], &[(20_000, 50.0)])]);
    assert_eq!(back, [(2, 20_000, Some(50))]);
}

#[test]
fn the_windows_of_a_recording_and_of_answers_say_the_same() {
    use crate::recording::MetricsBuilder;
    use crate::simulator::history::History;
    let signals =
        "{ name: gpu, dcgm: { metric: GpuUtilization } }, { name: memory, dcgm: { metric: MemoryUsed } }";
    let (config, queries) = policy(signals);
    let wave = |gpu: u32, second: i64| f64::from((gpu * 13 + u32::try_from(second).unwrap() / 7) % 100);
    let mut all = Vec::new();
    for gpu in 0..4 {
        let times = || (i64::from(gpu)..1_800).step_by(30);
        let of = |value: &dyn Fn(i64) -> f64| times().map(|at| (at, value(at))).collect::<Vec<_>>();
        all.push(series(
            UTIL,
            gpu,
            &[],
            &of(&|at| if at % 11 == 0 { f64::NAN } else { wave(gpu, at) }),
        ));
        all.push(series(POWER, gpu, &[], &of(&|at| 60.0 + 3.0 * wave(gpu, at))));
        all.push(series(USED, gpu, &[], &of(&|at| 800.0 * wave(gpu, at))));
        all.push(series(
            FREE,
            gpu,
            &[],
            &of(&|at| 80_000.0 - 800.0 * wave(gpu, at)),
        ));
    }
    let mut builder = MetricsBuilder::new();
    for series in &all {
        let id = builder.series((*series.labels).clone()).unwrap();
        for &(at_ms, value) in &series.samples {
            builder.push(id, at_ms, value, 1).unwrap();
        }
    }
    let metrics = builder.finish().unwrap();
    let mut history = History::new(&metrics, &config, &queries, &LabelMapping::default()).unwrap();
    let mut intake = Intake::new(&config, &queries, LabelMapping::default());
    for second in (15..1_800).step_by(15) {
        let mut wanted = Vec::new();
        history.read_until(T0 + second * 1000, |sample| wanted.push(sample));
        let seen: Vec<One> = all
            .iter()
            .map(|series| One {
                labels: Arc::clone(&series.labels),
                samples: series
                    .samples
                    .iter()
                    .copied()
                    .filter(|&(at, _)| at <= T0 + second * 1000 && at > T0 + (second - 75) * 1000)
                    .collect(),
            })
            .collect();
        take(&mut intake, second, &seen);
        let mut found = intake.samples().to_vec();
        for list in [&mut wanted, &mut found] {
            list.sort_by_key(|sample| {
                (
                    sample.at_ms,
                    sample.signal,
                    sample.device,
                    sample.channel,
                    sample.value,
                )
            });
        }
        assert_eq!(found, wanted, "at {second}");
    }
}

/// Series of some GPUs with samples every 30 s, some of them holes.
fn fleet() -> impl Strategy<Value = Vec<One>> {
    prop::collection::vec(
        (0_u32..6, 0_u32..3, prop::collection::vec(0_u32..120, 1..12)),
        1..12,
    )
    .prop_map(|rows| {
        let mut all: Vec<One> = Vec::new();
        for (gpu, pod, values) in rows {
            let pod = format!("pod-{pod}");
            let samples: Vec<(i64, f64)> = (0..)
                .zip(values)
                .filter(|&(_, value)| value < 110)
                .map(|(at, value)| (at * 30, f64::from(value)))
                .collect();
            for name in [UTIL, POWER] {
                let new = series(name, gpu, &[("pod", &pod)], &samples);
                if all.iter().all(|known| known.labels != new.labels) {
                    all.push(new);
                }
            }
        }
        all
    })
}

proptest! {
    #[test]
    fn the_same_answer_twice_has_no_new_samples(all in fleet()) {
        let mut intake = gpu_intake();
        take(&mut intake, 400, &all);
        take(&mut intake, 401, &all);
        prop_assert_eq!(intake.samples(), &[]);
    }

    #[test]
    fn the_order_of_series_changes_nothing(all in fleet(), seed in 0_usize..1000) {
        let (mut one, mut other) = (gpu_intake(), gpu_intake());
        for second in [100, 400] {
            let mut turned = all.clone();
            turned.rotate_left(seed % all.len());
            if seed % 2 == 0 {
                turned.reverse();
            }
            let mut round = round(&other, second, &turned);
            round.reverse();
            other.take(&round);
            take(&mut one, second, &all);
            prop_assert_eq!(one.samples(), other.samples());
            prop_assert_eq!(one.devices().collect::<Vec<_>>().len(), other.devices().count());
        }
    }
}
