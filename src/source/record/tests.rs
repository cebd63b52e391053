//! Slices of a store in memory that has limits, failures and strange labels.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::FutureExt;

use super::*;
use crate::source::tests::{Timer, error, selector};

/// A store with a sample per minute, which answers no more than so many at a time.
struct Store {
    most: usize,
    /// What it says first, one after the other.
    before: RefCell<Vec<SourceError>>,
    completeness: Completeness,
    series: Vec<Labels>,
    asked: RefCell<Vec<(Millis, Millis)>>,
}

impl Store {
    fn of(series: Vec<Labels>) -> Self {
        Self {
            most: usize::MAX,
            before: RefCell::default(),
            completeness: Completeness::Whole,
            series,
            asked: RefCell::default(),
        }
    }
}

impl MetricsSource for Store {
    async fn read(&self, request: &ReadRequest<'_>) -> Result<Answer, SourceError> {
        if let Some(error) = self.before.borrow_mut().pop() {
            return Err(error);
        }
        let to_ms = request.as_of_ms.unwrap();
        let from_ms = to_ms - request.window_ms;
        self.asked.borrow_mut().push((from_ms, to_ms));
        // As a server whose windows have their first moment.
        let times = (from_ms..=to_ms).filter(|ms| ms % 60_000 == 0);
        let samples: Vec<(Millis, f64)> = times.map(|at_ms| (at_ms, 0.5)).collect();
        if samples.len() > self.most {
            return Err(error(SourceErrorKind::TooLarge));
        }
        let series = self
            .series
            .iter()
            .map(|labels| (Arc::new(labels.clone()), samples.clone()));
        Ok(Answer {
            now_ms: to_ms,
            completeness: self.completeness.clone(),
            series: series.collect(),
        })
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::new("m", pairs.iter().copied()).unwrap()
}

fn metric() -> Wanted {
    Wanted {
        selector: selector("m"),
        signals: Vec::new(),
    }
}

fn taken(
    store: &Store,
    wanted: &Wanted,
    mapping: &LabelMapping,
    parts: Parts,
    to_ms: Millis,
) -> (Result<Slice, RecordError>, Millis) {
    let clock = Rc::new(Timer::default());
    let recorder = Recorder {
        source: store,
        name: "default",
        mapping,
        clock: &*clock,
        parts,
    };
    let slice = recorder.slice(wanted, 0, to_ms).now_or_never().unwrap();
    (slice, clock.now().timer_ms)
}

fn slice(store: &Store, to_ms: Millis) -> Slice {
    let mapping = LabelMapping::default();
    taken(store, &metric(), &mapping, Parts::Refused, to_ms)
        .0
        .unwrap()
}

fn failure(store: &Store, wanted: &Wanted) -> String {
    let mapping = LabelMapping::default();
    let taken = taken(store, wanted, &mapping, Parts::Refused, 240_000);
    taken.0.unwrap_err().to_string()
}

#[test]
fn a_slice_in_parts_is_the_slice() {
    let all = slice(&Store::of(vec![labels(&[("gpu", "0")])]), 3_600_000);
    let samples = &all[&labels(&[("gpu", "0")])];
    assert_eq!(
        (samples.len(), samples[0].0),
        (60, 60_000),
        "it is open at its beginning"
    );
    let small = Store {
        most: 7,
        ..Store::of(vec![labels(&[("gpu", "0")])])
    };
    assert_eq!(slice(&small, 3_600_000), all);
    let asked = small.asked.borrow();
    assert!(
        asked.windows(2).all(|pair| pair[0].0 <= pair[1].0),
        "in order of time: {asked:?}"
    );
}

#[test]
fn what_is_too_large_in_its_smallest_part_is_an_error_that_says_which() {
    let small = Store {
        most: 0,
        ..Store::of(vec![labels(&[])])
    };
    assert_eq!(
        failure(&small, &metric()),
        "m from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z: too_large: as told"
    );
}

#[test]
fn a_server_that_is_busy_or_away_is_waited_for() {
    let told = |kinds: &[SourceErrorKind]| Store {
        before: RefCell::new(kinds.iter().map(|&kind| error(kind)).collect()),
        ..Store::of(vec![labels(&[])])
    };
    let mapping = LabelMapping::default();
    let waited = |kinds: &[SourceErrorKind]| {
        let (taken, ms) = taken(&told(kinds), &metric(), &mapping, Parts::Refused, 60_000);
        (taken.is_ok(), ms)
    };
    assert_eq!(
        waited(&[SourceErrorKind::Throttled(Some(7_000)); 20]),
        (true, 140_000)
    );
    assert_eq!(waited(&[SourceErrorKind::Throttled(None); 21]), (false, 600_000));
    assert_eq!(waited(&[SourceErrorKind::Unreachable; 5]), (true, 53_000));
    assert_eq!(waited(&[SourceErrorKind::Status(503); 6]), (false, 53_000));
    assert_eq!(waited(&[SourceErrorKind::Status(401)]), (false, 0));
    assert_eq!(waited(&[SourceErrorKind::Credential]), (false, 0));
}

#[test]
fn an_answer_that_lacks_something_is_refused_unless_it_is_wanted() {
    let store = Store {
        completeness: Completeness::Partial("store-1 is down".to_owned()),
        ..Store::of(vec![labels(&[])])
    };
    assert!(failure(&store, &metric()).ends_with("something is missing: store-1 is down"));
    let mapping = LabelMapping::default();
    let (taken, _) = taken(&store, &metric(), &mapping, Parts::Taken, 60_000);
    assert_eq!(taken.unwrap().len(), 1);
}

#[test]
fn an_expression_is_its_signals_and_one_number() {
    let wanted = Wanted {
        selector: Selector::Expression {
            promql: "sum(waiting)".to_owned(),
            step_ms: 60_000,
        },
        signals: vec!["queue".to_owned(), "again".to_owned()],
    };
    let mapping = LabelMapping::default();
    let one = Store::of(vec![Labels::new("", [("", ""); 0]).unwrap()]);
    let (slice, _) = taken(&one, &wanted, &mapping, Parts::Refused, 60_000);
    let slice = slice.unwrap();
    let names: Vec<_> = slice
        .keys()
        .map(|labels| labels.get(schema::SIGNAL_LABEL))
        .collect();
    assert_eq!(names, [Some("again"), Some("queue")]);
    let two = Store::of(vec![labels(&[("a", "1")]), labels(&[("a", "2")])]);
    assert!(failure(&two, &wanted).contains("2 series, and the signal `queue` is one number"));
}

#[test]
fn mapped_labels_stand_under_the_names_that_simulations_look_for() {
    let mapping: LabelMapping = serde_json::from_str(r#"{ "node": "k8s_node", "pod": "workload" }"#).unwrap();
    let store = Store::of(vec![
        labels(&[
            ("gpu", "0"),
            ("k8s_node", "n1"),
            ("node", "exporter"),
            ("workload", "w"),
        ]),
        labels(&[("gpu", "0"), ("k8s_node", "n1"), ("exported_pod", "gone")]),
    ]);
    let (slice, _) = taken(&store, &metric(), &mapping, Parts::Refused, 60_000);
    let slice = slice.unwrap();
    let seen: Vec<_> = slice
        .keys()
        .map(|labels| (labels.get("node"), labels.get("exported_pod")))
        .collect();
    assert_eq!(seen, [(Some("n1"), Some("w")), (Some("n1"), None)]);
}

#[test]
fn a_policy_reads_each_thing_once() {
    let policy = crate::api::validate(
        "apiVersion: gpuscale.dev/v1alpha1\nkind: GpuScalePolicy\nmetadata: { name: p }\nspec:\n  targetRef: { kind: \
         AksNodePool, name: p }\n  maxNodes: 4\n  signals:\n  - { name: gpu, dcgm: { metric: SmActive, matchLabels: { modelName: \
         A100 } } }\n  - { name: queue, promql: 'sum(waiting)', unit: count, perNode: 8 }\n  - { name: pods, gpuRequests: {} }\n",
    )
    .unwrap();
    let config = crate::api::compile(&policy).unwrap();
    let wanted = wanted(&config, &crate::api::queries(&policy));
    let names: Vec<&str> = wanted.iter().map(Wanted::name).collect();
    assert_eq!(
        names,
        [
            "DCGM_FI_PROF_SM_ACTIVE",
            schema::SIGNAL,
            "DCGM_FI_DEV_POWER_USAGE",
            "DCGM_FI_DEV_FB_USED",
            "DCGM_FI_DEV_FB_FREE",
            "DCGM_FI_DEV_XID_ERRORS"
        ]
    );
    assert_eq!(wanted[1].signals, ["queue"]);
}
