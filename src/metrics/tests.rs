//! Names, types and values of the page, and that a policy takes its series along.

use std::rc::Rc;

use crate::control::ports::PoolKey;
use crate::policy::observation::{Freeze, Now};

use super::*;

/// Nobody.
struct Silence;

impl Watch for Silence {
    fn tick(&self, _: &Ticked<'_>) {}

    fn action(&self, _: &Action<'_>) {}

    fn journal(&self, _: &PolicyKey) -> Option<Box<dyn Sink>> {
        None
    }
}

fn policy(name: &str) -> Policy {
    let document = format!(
        "apiVersion: gpuscale.dev/v1alpha1
kind: GpuScalePolicy
metadata: {{ name: {name}, namespace: gpus }}
spec:
  targetRef: {{ kind: AksNodePool, name: {name} }}
  signals: [ {{ name: gpu, dcgm: {{ metric: GpuUtilization }} }} ]
  maxNodes: 8
"
    );
    Policy::new(&document, 0, "prod").unwrap()
}

fn metered(names: &[&str]) -> Metered<Rc<Silence>> {
    let metered = Metered::new(Rc::new(Silence));
    metered.set_policies(names.iter().map(|name| policy(name)).collect::<Vec<_>>().iter());
    metered
}

fn told(metered: &Metered<Rc<Silence>>, name: &str) {
    let key = PolicyKey::new("gpus", name);
    let now = Now {
        wall_ms: 1_795_384_800_500,
        timer_ms: 7,
    };
    let result = TickResult::Held {
        reason: "PoolUnreadable",
        message: "nobody answers",
    };
    metered.tick(&Ticked {
        policy: &key,
        now,
        result,
    });
    metered.action(&Action {
        policy: &key,
        pool: &PoolKey::new("prod", name),
        now,
        from: 4,
        to: 2,
        what: "no answer",
        message: "",
    });
}

#[test]
fn plain_text_is_what_prometheus_has_always_read() {
    let metered = metered(&["a"]);
    told(&metered, "a");
    told(&metered, "a");
    metered.set_frozen(Freeze::On);
    let page = metered.page().text(Format::Plain).unwrap();
    for line in [
        "# TYPE gpuscale_ticks_total counter",
        "gpuscale_ticks_total{namespace=\"gpus\",policy=\"a\",reason=\"PoolUnreadable\"} 2",
        "gpuscale_last_tick_timestamp_seconds{namespace=\"gpus\",policy=\"a\"} 1795384800.5",
        "gpuscale_resizes_total{namespace=\"gpus\",policy=\"a\",cluster=\"prod\",pool=\"a\",direction=\"down\",outcome=\"no_answer\"} 2",
        "gpuscale_policies 1",
        "gpuscale_frozen 1",
        "# TYPE gpuscale_build_info gauge",
    ] {
        assert!(
            page.lines().any(|found| found == line),
            "{line}\nis not in\n{page}"
        );
    }
    assert!(!page.contains("# EOF") && !page.contains("# UNIT"), "{page}");
    assert!(
        !page.contains("gpuscale_wanted_nodes{"),
        "nothing was decided: {page}"
    );
}

#[test]
fn open_metrics_ends_with_its_mark_and_both_forms_tell_the_same_samples() {
    let metered = metered(&["a"]);
    told(&metered, "a");
    let samples = |format| {
        let page = metered.page().text(format).unwrap();
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(samples(Format::OpenMetrics), samples(Format::Plain));
    assert!(
        metered
            .page()
            .text(Format::OpenMetrics)
            .unwrap()
            .ends_with("# EOF\n")
    );
}

#[test]
fn a_policy_takes_its_series_along_and_does_not_come_back_with_its_last_word() {
    let metered = metered(&["a", "b"]);
    told(&metered, "a");
    told(&metered, "b");
    metered.set_policies(std::iter::once(&policy("b")));
    told(&metered, "a");
    let page = metered.page().text(Format::Plain).unwrap();
    assert!(!page.contains("policy=\"a\""), "{page}");
    assert!(page.contains("policy=\"b\""), "{page}");
}

#[test]
fn counts_of_others_only_rise() {
    let metered = metered(&[]);
    let counts = |reads, failed| SourceCounts {
        reads,
        queries: reads / 2,
        failures: [("timeout", failed)].into(),
    };
    for (reads, failed) in [(10, 1), (14, 3), (2, 0)] {
        metered.set_source("default", &counts(reads, failed));
    }
    let page = metered.page().text(Format::Plain).unwrap();
    for line in [
        "gpuscale_source_reads_total{source=\"default\"} 14",
        "gpuscale_source_queries_total{source=\"default\"} 7",
        "gpuscale_source_failures_total{source=\"default\",kind=\"timeout\"} 3",
    ] {
        assert!(page.contains(line), "{page}");
    }
}

#[test]
fn the_form_is_what_the_scraper_accepts() {
    let accepted = |accept| Format::accepted(accept).content_type();
    let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain";
    assert!(accepted(Some(prometheus)).starts_with("application/openmetrics-text"));
    assert!(accepted(Some("*/*")).starts_with("text/plain; version=0.0.4"));
    assert!(accepted(None).starts_with("text/plain"));
}
