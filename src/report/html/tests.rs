//! The page as text: its size, its safety, what it says when there is little to say.

use super::*;
use crate::policy::observation::{Nodes, Now, Observation};
use crate::policy::sample::{DeviceId, NodeId, Sample};
use crate::policy::windows::{Delta, Device};
use crate::policy::{Config, Memory, Windows, evaluate};
use crate::report::compare::tests::document;
use crate::report::json::Document;
use crate::simulator::closed_loop::{Tick, Watch};
use crate::simulator::scenario_run::ZERO_MISS;
use crate::simulator::scorecard::Kind;

const START_MS: Millis = 1_700_000_000_000;

fn config() -> Config {
    let policy = "apiVersion: gpuscale.dev/v1alpha1\nkind: GpuScalePolicy\nmetadata: { name: p }\nspec:\n  \
                  targetRef: { kind: AksNodePool, name: a }\n  maxNodes: 40\n  \
                  signals: [ { name: gpu, dcgm: { metric: GpuUtilization }, targetPercentage: 75 } ]\n";
    crate::api::compile(&crate::api::validate(policy).unwrap()).unwrap()
}

/// Numbers that look drawn and are the same everywhere.
fn noise(tick: i64) -> i64 {
    let mixed = tick
        .wrapping_mul(0x5851_f42d_4c95_7f2d)
        .wrapping_add(0x1405_7b7e_f767_814f);
    (mixed >> 33).rem_euclid(1000)
}

/// Ticks whose decisions come from the engine, while the pool does something else: all that the page can meet.
fn watched(config: &Config, ticks: i64, run: Loop, demand: impl Fn(i64) -> i64) -> Timeline<'_> {
    let mut timeline = Timeline::new(config, 8, run);
    let (mut windows, mut memory) = (Windows::new(config), Memory::default());
    let mut asked = 3;
    for number in 0..ticks {
        let now_ms = START_MS + number * 15_000;
        let wanted = demand(number);
        let served = wanted.min(i64::from(asked) * 8_000_000);
        let inventory = [Device {
            weight: i64::from(asked) * 8_000_000,
            ..Device::new(DeviceId(0), NodeId(0), START_MS)
        }];
        windows.ingest(&Delta {
            now_ms,
            samples: &[Sample {
                weight: i64::from(asked) * 8_000_000,
                ..Sample::of_device(0, DeviceId(0), now_ms, served / i64::from(asked) / 8)
            }],
            inventory: Some(&inventory),
            reads: &[],
        });
        let observation = Observation {
            asked,
            ready: asked,
            schedulable: asked,
            gpus_per_node: 8,
            nodes: Nodes::Interchangeable,
            ..Observation::default()
        };
        let evaluation = evaluate(config, &windows, &observation, &mut memory, Now::at(now_ms));
        if run == Loop::Closed {
            asked = evaluation.decision.to.max(1);
        }
        timeline.tick(&Tick {
            now_ms,
            demand: wanted,
            served,
            asked,
            ready: asked,
            evaluation: &evaluation,
        });
    }
    timeline
}

fn busy(number: i64) -> i64 {
    let wave = (number / 240 % 24 - 12).abs() * 8_000_000;
    wave + noise(number / 40) * 40_000
}

fn rows() -> Document {
    document(&[
        (Kind::Policy, "mine", 1240.0, 0.25),
        (Kind::Optimum, ZERO_MISS, 1000.0, 0.0),
        (Kind::Peer, "HPA 70", 1430.0, 0.18),
        (Kind::Peer, "static peak", 4000.0, 0.0),
    ])
}

fn page_of(document: &Document, timeline: &Timeline<'_>, stretches: &[Stretch]) -> String {
    page(&Input {
        subject: Subject::Scorecard(document),
        timeline,
        stretches,
    })
}

/// The numbers behind a page, as its script reads them.
fn data_of(page: &str) -> serde_json::Value {
    let (_, data) = page
        .split_once("<script type=\"application/json\" id=\"data\">")
        .unwrap();
    serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap()
}

fn summed(differences: &serde_json::Value) -> Vec<i64> {
    let differences = differences.as_array().unwrap().iter();
    let mut sum = 0;
    differences
        .map(|difference| {
            sum += difference.as_i64().unwrap();
            sum
        })
        .collect()
}

#[test]
fn a_month_is_under_a_megabyte() {
    let config = config();
    let timeline = watched(&config, 178_560, Loop::Closed, busy);
    assert!(
        timeline.events.resizes() > 1000,
        "{} are not busy",
        timeline.events.resizes()
    );
    let page = page_of(&rows(), &timeline, &[]);
    assert!(page.len() < 1_000_000, "{} bytes", page.len());
    assert!(
        page.contains("5580 points of 8m (32 ticks each)"),
        "it says how coarse it is"
    );
    assert!(
        page.contains("more, which the charts show"),
        "and what the table leaves out"
    );
}

#[test]
fn a_restless_month_is_under_a_megabyte_too() {
    let config = config();
    // No signal is calm for two ticks: the worst that demand can do to a page.
    let restless = |number| noise(number) * 300_000 * (number % 2) + noise(number / 3) * 1_000;
    for run in [Loop::Closed, Loop::Open] {
        let page = page_of(&rows(), &watched(&config, 178_560, run, restless), &[]);
        assert!(page.len() < 1_000_000, "{run:?}: {} bytes", page.len());
    }
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let config = config();
    let page = || page_of(&rows(), &watched(&config, 2000, Loop::Closed, busy), &[]);
    assert_eq!(page(), page());
}

#[test]
fn few_ticks_are_exact() {
    let config = config();
    let timeline = watched(&config, 500, Loop::Closed, busy);
    let data = data_of(&page_of(&rows(), &timeline, &[]));
    let demand: Vec<i64> = (0..500).map(|number| busy(number) / 1000).collect();
    assert_eq!(summed(&data["demand"]["mean"]), demand);
    assert_eq!((&data["ticks"], &data["per_bucket"]), (&500.into(), &1.into()));
    assert_eq!(
        data["demand"]["max"],
        serde_json::json!([]),
        "the mean is all there is"
    );
}

#[test]
fn every_resize_is_an_event_with_its_words() {
    let config = config();
    let timeline = watched(&config, 4000, Loop::Closed, busy);
    let (mut asked, mut found) = (3, 0);
    for event in timeline
        .events
        .as_slice()
        .iter()
        .filter(|event| event.is_resize())
    {
        assert_eq!(event.from, asked, "resizes follow on each other");
        asked = event.to;
        found += 1;
        let sentences = timeline.events.sentences(event);
        let verb = if event.to > event.from { "grow" } else { "shrink" };
        assert!(sentences[0].starts_with(&format!("{verb} from {} to {} ", event.from, event.to)));
        assert!(
            sentences.last().unwrap().starts_with("signal `gpu` "),
            "{sentences:?}"
        );
    }
    assert!(found > 10, "{found}");
    assert_eq!(timeline.asked.as_slice().last().map(|last| last.1), Some(asked));
}

#[test]
fn an_open_loop_has_a_line_of_its_own() {
    let config = config();
    let timeline = watched(&config, 4000, Loop::Open, |number| busy(number) / 8);
    let page = page_of(&rows(), &timeline, &[]);
    let data = data_of(&page);
    assert_eq!(
        data["asked"],
        serde_json::json!([0, 3]),
        "the recorded pool never changed"
    );
    let would = timeline.would.as_slice();
    assert!(would.len() > 3, "the policy would have changed it: {would:?}");
    let changes = would.windows(2).count() as u64;
    assert_eq!(
        timeline.events.resizes(),
        changes,
        "at first it would ask for what is there"
    );
    assert_eq!(data["would"].as_array().unwrap().len(), would.len() * 2);
    assert_eq!(data["is_open"], true);
    assert!(page.contains("against its history"));
}

#[test]
fn stretches_from_outside_are_shaded_once() {
    let config = config();
    let timeline = watched(&config, 100, Loop::Closed, |_| 1_000_000);
    let stretch = |from: i64, to: i64, kind| Stretch {
        from_ms: START_MS + from * 15_000,
        to_ms: START_MS + to * 15_000,
        kind,
    };
    let stretches = [
        stretch(90, 1000, StretchKind::Censored),
        stretch(20, 30, StretchKind::Censored),
        stretch(25, 40, StretchKind::Censored),
        stretch(-10, 2, StretchKind::Censored),
        stretch(60, 61, StretchKind::Unknown),
        stretch(200, 300, StretchKind::Unknown),
    ];
    let data = data_of(&page_of(&rows(), &timeline, &stretches));
    assert_eq!(data["censored"], serde_json::json!([0, 2, 18, 20, 50, 10]));
    let unknown = data["unknown"].as_array().unwrap();
    assert_eq!(unknown.last(), Some(&1.into()), "{unknown:?}");
    assert_eq!(
        data_of(&page_of(&rows(), &timeline, &[]))["censored"],
        serde_json::json!([])
    );
}

#[test]
fn foreign_names_stay_names() {
    let config = config();
    let evil = "<img src=x onerror=alert(1)></script><script>alert(2)</script>{{data}}";
    let mut document = rows();
    document.scenario.name = evil.to_owned();
    document.scenario.series = evil.to_owned();
    document.scenario.recording = evil.to_owned();
    for row in &mut document.rows {
        row.name.push_str(evil);
    }
    let mut named = config.clone();
    named.signals[0].name = evil.to_owned();
    let page = page_of(&document, &watched(&named, 2000, Loop::Closed, busy), &[]);
    assert!(!page.contains("<img"), "an element came in");
    assert!(!page.contains("<script>alert"), "a script came in");
    assert_eq!(page.matches("</script>").count(), 2, "the page's own two");
    assert_eq!(
        page.matches("id=\"data\"").count(),
        1,
        "what was put in is not a template"
    );
    let label = &data_of(&page)["levels"][0]["label"];
    assert!(label.as_str().unwrap().starts_with(evil), "{label}");
}

#[test]
fn where_there_is_nothing_it_says_so() {
    let config = config();
    let idle = page_of(&rows(), &watched(&config, 100, Loop::Closed, |_| 0), &[]);
    assert!(idle.contains("Demand is zero from start to end"));
    let none = page_of(&rows(), &Timeline::new(&config, 8, Loop::Closed), &[]);
    assert!(none.contains("There is nothing to draw: the run has no tick."));
    assert_eq!(data_of(&none)["ticks"], 0);
    let steady = page_of(&rows(), &watched(&config, 10, Loop::Closed, |_| 17_000_000), &[]);
    assert!(steady.contains("No decision changed the size: the pool stayed at 3 nodes."));
    assert!(steady.contains("There is none: no decision changed the size."));
    assert!(!steady.contains("Demand is zero"));
}

#[test]
fn the_page_asks_nobody_for_anything() {
    let config = config();
    let page = page_of(&rows(), &watched(&config, 100, Loop::Closed, busy), &[]);
    assert!(page.contains("default-src 'none'"));
    for asks in [
        "src=\"",
        "@import",
        "url(http",
        "fetch(",
        "XMLHttpRequest",
        "href=\"http",
    ] {
        assert!(!page.contains(asks), "`{asks}` asks for something");
    }
    assert!(
        !SCRIPT.contains("innerHTML"),
        "text from documents is only ever text"
    );
    assert!(!SCRIPT.contains("</script") && !STYLE.contains("</style"));
}

#[test]
fn a_template_is_filled_once() {
    let filled = fill("a {{x}} b {{y}} c", |part| match part {
        "x" => "{{y}}".to_owned(),
        part => part.to_uppercase(),
    });
    assert_eq!(filled, "a {{y}} b Y c");
    assert_eq!(fill("open {{ end", |part| format!("<{part}>")), "open <> end");
}

#[test]
fn the_page_of_an_open_loop_says_what_the_policy_said() {
    let advice = crate::report::advice::tests::document();
    let config = config();
    let timeline = watched(&config, 200, Loop::Open, busy);
    let page = page(&Input {
        subject: Subject::Advice(&advice),
        timeline: &timeline,
        stretches: &[],
    });
    for words in [
        "against its history",
        "would have grown the pool",
        "What had the last word",
        "LowCoverage",
        "Coverage is assumed",
        "&lt;week&gt;",
    ] {
        assert!(page.contains(words), "no `{words}` in the page");
    }
    assert!(!page.contains("Scorecard"), "there is none");
}
