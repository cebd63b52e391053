//! The page that `--report` writes: what the command does, and the page itself in a real browser.
//!
//! Is everything drawn, does it answer to pointer and keys, can it be read in the dark, on a phone and on paper, and
//! does it keep to itself: every test with a browser ends by asking for errors and for foreign requests.

#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a fault of a fixture may end it at once"
)]

mod backends;
#[path = "rig/browser.rs"]
mod browser;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use backends::{Hints, Place, Program, place};
use browser::{Browser, Held, binaries};
use gpuscale::api;
use gpuscale::recording::Demand;
use gpuscale::report::html::{Input, Loop, Stretch, StretchKind, Subject, Timeline, page};
use gpuscale::report::json::Document;
use gpuscale::simulator::closed_loop::{Tick, Watch};
use gpuscale::simulator::scenario::Pool;
use gpuscale::simulator::scenario_run::{Case, Judged};
use serde_json::{Value, json};

const HOUR: &str = "simulations/azure-llm-hour";
const MONTH: &str = "simulations/helios-cluster";

/// The margins of the charts, as `report.js` has them.
const LEFT: f64 = 52.0;
const RIGHT: f64 = 14.0;

fn gpuscale(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gpuscale"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(arguments);
    command.output().unwrap()
}

/// A file of a test's own.
fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// The page of a run; `name` keeps tests that run side by side apart.
fn report(name: &str, arguments: &[&str]) -> PathBuf {
    let path = file(&format!("{name}.html"));
    let mut all = vec!["simulate", "--report", path.to_str().unwrap()];
    all.extend(arguments);
    let output = gpuscale(&all);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    path
}

/// A page in a browser.
struct Opened {
    browser: Browser,
    path: PathBuf,
}

impl Opened {
    /// Opens a page and waits until it is drawn; `None` if there is to be no browser.
    fn new(path: PathBuf) -> Option<Self> {
        let browser = Browser::start(&binaries()?, 1280, 900);
        browser.resize(1280, 900);
        browser.open(&path);
        browser.wait_for("document.querySelector('#plot [data-series=demand]')");
        Some(Self { browser, path })
    }

    fn text(&self, selector: &str) -> String {
        let script = format!("return document.querySelector('{selector}').textContent");
        self.browser.run(&script).as_str().unwrap().to_owned()
    }

    fn number(&self, expression: &str) -> f64 {
        let value = self.browser.run(&format!("return {expression}"));
        value
            .as_f64()
            .unwrap_or_else(|| panic!("{expression} is {value}"))
    }

    /// First and last tick in view.
    fn view(&self) -> (i64, i64) {
        let value = self
            .browser
            .run("const { from, to } = document.getElementById('plot').dataset; return [+from, +to]");
        (value[0].as_i64().unwrap(), value[1].as_i64().unwrap())
    }

    /// Waits until something else is in view, and returns it.
    fn view_after(&self, before: (i64, i64)) -> (i64, i64) {
        let (from, to) = before;
        self.browser.wait_for(&format!(
            "document.getElementById('plot').dataset.from !== '{from}' || \
             document.getElementById('plot').dataset.to !== '{to}'"
        ));
        self.view()
    }

    /// A place in the window: a share of the charts' width, and of the height of the element that is named.
    fn place(&self, share: f64, element: &str) -> (i64, i64) {
        self.browser.run(&format!(
            "document.querySelector('{element}').scrollIntoView({{ block: 'center' }})"
        ));
        let left = self.number("document.getElementById('plot').getBoundingClientRect().left");
        let width = self.number("document.getElementById('plot').getBoundingClientRect().width");
        let rect = format!("document.querySelector('{element}').getBoundingClientRect()");
        let middle = self.number(&format!("{rect}.top + {rect}.height / 2"));
        #[expect(clippy::cast_possible_truncation, reason = "a place on a screen")]
        let whole = |value: f64| value.round() as i64;
        (whole(left + LEFT + share * (width - LEFT - RIGHT)), whole(middle))
    }

    fn focus(&self) {
        self.browser.run("document.getElementById('plot').focus()");
    }

    /// What must hold of every page, whatever was done to it.
    fn finish(self) {
        let drawn = self
            .browser
            .run("return document.getElementById('plot').outerHTML");
        assert!(
            !drawn.as_str().unwrap().contains("NaN"),
            "something is drawn nowhere"
        );
        assert_eq!(
            self.browser.log("browser"),
            Vec::<Value>::new(),
            "the console is silent"
        );
        let own = format!("file://{}", self.path.canonicalize().unwrap().display());
        assert_eq!(
            self.browser.requests(),
            [own],
            "the page asks for nothing but itself"
        );
    }
}

#[test]
fn the_command_writes_the_page_and_prints_the_scorecard() {
    let (path, trace) = (file("command.html"), file("command.jsonl"));
    let arguments = [
        "simulate",
        HOUR,
        "--report",
        path.to_str().unwrap(),
        "--trace",
        trace.to_str().unwrap(),
    ];
    let output = gpuscale(&arguments);
    assert!(output.status.success());
    let plain = gpuscale(&["simulate", HOUR]);
    assert_eq!(output.stdout, plain.stdout, "the scorecard is the same");
    let page = fs::read_to_string(&path).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.ends_with("</html>\n"));
    let lines = fs::read_to_string(&trace).unwrap();
    assert!(
        lines.lines().last().unwrap().contains("\"end\":true"),
        "and there is a trace"
    );
    assert!(gpuscale(&arguments).status.success());
    assert_eq!(
        page,
        fs::read_to_string(&path).unwrap(),
        "the same run, the same bytes"
    );
}

#[test]
fn what_a_recording_hides_is_shaded() {
    let path = report("derived", &["simulations/dcgm-week", "--loop", "closed"]);
    let page = fs::read_to_string(path).unwrap();
    let (_, data) = page.split_once("id=\"data\">").unwrap();
    let data: Value = serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap();
    for kind in ["censored", "unknown"] {
        assert!(!data[kind].as_array().unwrap().is_empty(), "{kind}");
    }
}

#[test]
fn what_cannot_be_reported_is_refused() {
    let check = |arguments: &[&str], expected: &str| {
        let output = gpuscale(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    };
    let nowhere = ["simulate", HOUR, "--report", "no/such/folder/page.html"];
    check(&nowhere, "cannot write report `no/such/folder/page.html`");
    check(
        &["simulate", HOUR, MONTH, "--report", "unwritten.html"],
        "`--report` is of one run; name one scenario",
    );
    check(
        &["simulate", HOUR, "--seeds", "0..3", "--report", "unwritten.html"],
        "`--report` is of one run; name one policy and one seed",
    );
    check(
        &[
            "simulate",
            HOUR,
            "--explain",
            "2023-11-16T18:30:00Z",
            "--report",
            "unwritten.html",
        ],
        "cannot be used with",
    );
    assert!(
        !Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("unwritten.html")
            .exists()
    );
}

#[test]
fn without_a_browser_a_test_fails_or_is_left_out_aloud() {
    for (program, variable) in [
        (Program::Chromium, "CHROMIUM_BIN"),
        (Program::Chromedriver, "CHROMEDRIVER_BIN"),
    ] {
        let Place::Missing(what) = place(program, Hints::default()) else {
            panic!("{program:?} is nowhere")
        };
        assert!(
            what.contains(variable) && what.contains(".ci/provision"),
            "{what}"
        );
        let waived = Hints {
            skip: "prometheus,chromium",
            ..Hints::default()
        };
        assert_eq!(place(program, waived), Place::Skipped);
    }
}

#[test]
fn every_series_is_drawn_and_can_be_hidden() {
    let Some(page) = Opened::new(report("series", &[MONTH])) else {
        return;
    };
    let browser = &page.browser;
    let sizes = browser.run(
        "const sizes = {};
         for (const path of document.querySelectorAll('#plot [data-series]')) {
           const { width, height } = path.getBBox();
           sizes[path.dataset.series] = [width, height];
         }
         return sizes;",
    );
    for (series, widest, highest) in [
        ("demand", 1000.0, 100.0),
        ("ready", 1000.0, 100.0),
        ("asked", 1000.0, 100.0),
        ("busy", 1000.0, 80.0),
        ("cost", 1000.0, 60.0),
        ("grew", 900.0, 10.0),
        ("shrank", 900.0, 10.0),
        ("saturated", 900.0, 80.0),
        ("unknown", 0.5, 80.0),
        ("target", 1000.0, -1.0),
        ("bounds", 1000.0, -1.0),
        ("reference", 1000.0, -1.0),
    ] {
        let size = &sizes[series];
        let (width, height) = (size[0].as_f64(), size[1].as_f64());
        assert!(width > Some(widest) && height > Some(highest), "{series}: {size}");
    }
    let toggles =
        browser.run("return [...document.querySelectorAll('#legend button')].map(b => b.dataset.toggles)");
    assert!(toggles.as_array().unwrap().len() >= 10, "{toggles}");
    for toggle in toggles.as_array().unwrap() {
        let (with, button) = (
            browser.picture(),
            format!("[data-toggles={}]", toggle.as_str().unwrap()),
        );
        let press = |pressed: &str| {
            browser.run(&format!(
                "document.querySelector('{button}').click();
                 return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
            ));
            let state = browser.run(&format!("return document.querySelector('{button}').ariaPressed"));
            assert_eq!(state, pressed, "{button}");
            browser.picture()
        };
        assert_ne!(with, press("false"), "{toggle} is gone");
        press("true");
    }
    page.finish();
}

#[test]
fn another_run_looks_different() {
    let Some(page) = Opened::new(report("month", &[MONTH])) else {
        return;
    };
    let shape = "return document.querySelector('[data-series=demand]').getAttribute('d')";
    let (before, label) = (page.browser.run(shape), page.text("#range"));
    let hour = report("hour", &[HOUR]);
    page.browser.open(&hour);
    page.browser
        .wait_for("document.querySelector('#plot [data-series=demand]')");
    assert_ne!(page.browser.run(shape), before);
    assert_ne!(page.text("#range"), label);
    assert!(
        page.text("#range").ends_with("UTC (58.3 minutes)"),
        "{}",
        page.text("#range")
    );
    assert_eq!(page.text("h1"), "azure-llm-hour");
}

#[test]
fn a_resize_says_why_where_the_pointer_is() {
    let Some(page) = Opened::new(report("hover", &[MONTH])) else {
        return;
    };
    // The table leads to the chart: the twentieth resize, with two hours around it.
    let row = "#decisions tbody tr:nth-child(20)";
    let (before, decision) = (page.view(), page.text(&format!("{row} td:nth-child(3)")));
    let tick = page.number(&format!("+document.querySelector('{row} a').dataset.tick"));
    page.browser
        .run(&format!("document.querySelector('{row} a').click()"));
    let (from, to) = page.view_after(before);
    assert_eq!(to - from, 480, "two hours of 15 seconds");
    page.browser.press(&["\u{e00c}"]);
    page.browser.wait_for("document.getElementById('tip').hidden");
    // A little beside it in the row of resizes is near enough.
    #[expect(clippy::cast_precision_loss, reason = "ticks of a month")]
    let share = (tick + 0.5 - from as f64) / (to - from) as f64;
    let (x, y) = page.place(share, "[data-series=grew]");
    page.browser.point(x + 3, y);
    page.browser.wait_for("!document.getElementById('tip').hidden");
    let tip = page.text("#tip");
    assert!(
        tip.contains("Decided here:") && tip.contains(&decision),
        "{tip}\n{decision}"
    );
    let when = page.text(&format!("{row} a"));
    assert!(tip.contains(when.split_once(' ').unwrap().1), "{tip}\n{when}");
    assert!(tip.contains("signal gpu "), "{tip}");
    for reading in ["Demand", "Ready", "Asked", "Utilization", "Cost so far"] {
        assert!(tip.contains(reading), "{reading}: {tip}");
    }
    // Elsewhere it is the decision in force there, and the last resize before it.
    for share in [0.6, 0.7, 0.8, 0.9] {
        let (x, y) = page.place(share, "[data-series=demand]");
        page.browser.point(x, y);
    }
    page.browser
        .wait_for("document.getElementById('tip').textContent.includes('Last resize')");
    assert!(page.text("#tip").contains("hold at "), "{}", page.text("#tip"));
    page.finish();
}

#[test]
fn pointer_and_wheel_zoom_and_pan() {
    let Some(page) = Opened::new(report("pointer", &[MONTH])) else {
        return;
    };
    let labels =
        "return [...document.querySelectorAll('#plot .day, #plot .time')].map(t => t.textContent).join()";
    let (all, days) = (page.view(), page.browser.run(labels));
    assert_eq!(all, (0, 178_560));
    let (from, to) = (
        page.place(0.25, "[data-series=ready]"),
        page.place(0.5, "[data-series=ready]"),
    );
    page.browser.drag(from, to, Held::Nothing);
    let dragged = page.view_after(all);
    let near = |value: i64, wanted: i64| (value - wanted).abs() < 500;
    assert!(near(dragged.0, 44_640) && near(dragged.1, 89_280), "{dragged:?}");
    assert_ne!(page.browser.run(labels), days, "the axis follows");

    page.browser.drag(to, from, Held::Shift);
    let panned = page.view_after(dragged);
    assert_eq!(panned.1 - panned.0, dragged.1 - dragged.0, "{panned:?}");
    assert!(near(panned.0, dragged.0 + 11_160), "{panned:?}");

    let (x, y) = page.place(0.5, "[data-series=ready]");
    page.browser.wheel(x, y, -200);
    let nearer = page.view_after(panned);
    assert!(nearer.0 > panned.0 && nearer.1 < panned.1, "{nearer:?}");
    page.browser.wheel(x, y, 200);
    let back = page.view_after(nearer);
    assert!(near(back.0, panned.0) && near(back.1, panned.1), "{back:?}");

    // Fully out, the wheel belongs to the page.
    page.browser
        .run("document.querySelector('[data-do=all]').click()");
    assert_eq!(page.view_after(back), all);
    let (x, y) = page.place(0.5, "[data-series=ready]");
    let scrolled = page.number("scrollY");
    page.browser.wheel(x, y, 100);
    page.browser.wait_for(&format!("scrollY > {scrolled}"));
    assert_eq!(page.view(), all);
    page.finish();
}

#[test]
fn keys_zoom_and_pan_and_read_out() {
    let Some(page) = Opened::new(report("keys", &[MONTH])) else {
        return;
    };
    page.focus();
    let all = page.view();
    page.browser.press(&["+"]);
    let mut before = page.view_after(all);
    assert_eq!(before, (44_640, 133_920));
    for (key, wanted) in [
        ("\u{e014}", (62_496, 151_776)),
        ("\u{e012}", (44_640, 133_920)),
        ("\u{e011}", (0, 89_280)),
        ("\u{e010}", (89_280, 178_560)),
        ("-", (0, 178_560)),
    ] {
        page.browser.press(&[key]);
        let found = page.view_after(before);
        assert_eq!(found, wanted, "{key:?}");
        before = found;
    }
    let resize = |number: usize| {
        page.text(&format!(
            "#decisions tbody tr:nth-child({number}) td:nth-child(3)"
        ))
    };
    for (key, number) in [("]", 1), ("]", 2), ("]", 3), ("[", 2)] {
        page.browser.press(&[key]);
        let (said, wanted) = (page.text("#said"), resize(number));
        assert!(said.contains(&wanted), "{key}: {said}, not {wanted}");
        page.browser.wait_for(&format!(
            "document.getElementById('tip').textContent.includes('{wanted}')"
        ));
    }
    page.browser.press(&["["]);
    page.browser.press(&["["]);
    assert_eq!(page.text("#said"), "There is no earlier resize");
    page.browser.press(&["."]);
    assert!(page.text("#said").contains("UTC"), "the cursor moves by itself");
    page.browser.press(&["\u{e00c}"]);
    page.browser.wait_for("document.getElementById('tip').hidden");
    page.browser.press(&["0"]);
    assert_eq!(page.view(), all);
    let plot = page.browser.run(
        "const plot = document.getElementById('plot');
         return [plot.tabIndex, plot.getAttribute('aria-label'), document.getElementById('said').ariaLive]",
    );
    assert_eq!((&plot[0], &plot[2]), (&json!(0), &json!("polite")));
    assert!(plot[1].as_str().unwrap().contains("907 resizes"), "{plot}");
    page.finish();
}

#[test]
fn it_is_dark_where_that_is_preferred_or_wanted() {
    let Some(page) = Opened::new(report("dark", &[HOUR])) else {
        return;
    };
    let colours = || {
        page.browser.run(
            "const of = (selector, what) => getComputedStyle(document.querySelector(selector))[what];
             return [of('body', 'backgroundColor'), of('body', 'color'), of('.demand', 'stroke')]",
        )
    };
    page.browser.prefer("light");
    let light = colours();
    assert_eq!(light[0], "rgb(255, 255, 255)");
    page.browser.prefer("dark");
    let dark = colours();
    assert!((0..3).all(|part| light[part] != dark[part]), "{light} {dark}");
    page.browser
        .wait_for("document.getElementById('theme').textContent === 'Light'");
    page.browser.run("document.getElementById('theme').click()");
    assert_eq!(colours(), light, "the button has the last word");
    page.browser.prefer("light");
    page.browser.run("document.getElementById('theme').click()");
    assert_eq!(colours(), dark);
    page.finish();
}

#[test]
fn paper_is_white_and_has_no_buttons() {
    let Some(page) = Opened::new(report("paper", &[MONTH])) else {
        return;
    };
    page.browser.prefer("dark");
    let pdf = page
        .browser
        .devtools("Page.printToPDF", &json!({ "printBackground": true }));
    let pdf = pdf["data"].as_str().unwrap();
    assert!(pdf.starts_with("JVBERi"), "it begins with %PDF");
    assert!(pdf.len() > 40_000, "{} characters are no month", pdf.len());
    page.browser.devtools(
        "Emulation.setEmulatedMedia",
        &json!({ "media": "print", "features": [{ "name": "prefers-color-scheme", "value": "dark" }] }),
    );
    let style = |selector: &str, what: &str| {
        let script = format!("return getComputedStyle(document.querySelector('{selector}')).{what}");
        page.browser.run(&script)
    };
    assert_eq!(style("body", "backgroundColor"), "rgb(255, 255, 255)");
    for control in ["#tools", "#theme", "#keys"] {
        assert_eq!(style(control, "display"), "none", "{control}");
    }
    assert_eq!(
        style("#legend", "display"),
        "flex",
        "the legend is needed on paper"
    );
    assert_eq!(style("#decisions tbody tr:nth-child(60)", "display"), "table-row");
    assert_eq!(style("#decisions tbody tr:nth-child(61)", "display"), "none");
    page.finish();
}

#[test]
fn it_fits_a_phone_and_moves_for_nobody_who_minds() {
    let Some(page) = Opened::new(report("phone", &[MONTH])) else {
        return;
    };
    page.browser.resize(360, 740);
    page.browser
        .wait_for("document.getElementById('plot').viewBox.baseVal.width < 360");
    assert!(
        page.number("document.documentElement.scrollWidth") <= 360.0,
        "nothing sticks out"
    );
    let clashes = page.browser.run(
        "const boxes = [...document.querySelectorAll('#plot .day, #plot .time')].map(t => t.getBoundingClientRect());
         return boxes.filter((box, at) => at && box.left < boxes[at - 1].right).length",
    );
    assert_eq!(clashes, 0, "the times can be read");
    page.browser
        .run("document.querySelector('[data-do=next]').click()");
    page.browser.wait_for("!document.getElementById('tip').hidden");
    let tip = page.browser.run(
        "const { left, right, bottom } = document.getElementById('tip').getBoundingClientRect();
         return left >= 0 && right <= 360 && bottom <= 740",
    );
    assert_eq!(tip, true, "the read-out is on the screen");
    let (x, y) = page.place(0.2, "#range");
    page.browser.drag((x, y), (x, y), Held::Nothing);
    page.browser.wait_for("document.getElementById('tip').hidden");
    let motion = |preference: &str| {
        page.browser.devtools(
            "Emulation.setEmulatedMedia",
            &json!({ "features": [{ "name": "prefers-reduced-motion", "value": preference }] }),
        );
        page.browser
            .run("return getComputedStyle(document.getElementById('theme')).transitionDuration")
    };
    assert_eq!(motion("reduce"), "0s");
    assert_ne!(motion("no-preference"), "0s");
    page.finish();
}

#[test]
fn a_day_without_work_is_told_in_words() {
    let csv = file("idle.csv");
    let rows = (0..1440).map(|minute| format!("{},idle,0,gpus\n", 1_700_000_000 + minute * 60));
    fs::write(
        &csv,
        format!("timestamp,series,value,unit\n{}", rows.collect::<String>()),
    )
    .unwrap();
    let path = report("idle", &["--recording", csv.to_str().unwrap()]);
    let Some(page) = Opened::new(path) else { return };
    let remarks = page.text("#charts");
    assert!(remarks.contains("Demand is zero from start to end"), "{remarks}");
    assert!(
        remarks.contains("No decision changed the size: the pool stayed at 1 node."),
        "{remarks}"
    );
    assert!(
        page.text("#decisions").contains("There is none"),
        "{}",
        page.text("#decisions")
    );
    page.focus();
    page.browser.press(&["]"]);
    assert_eq!(page.text("#said"), "There is no later resize");
    page.finish();
}

/// A page whose every name is hostile, of a policy beside a history that did something else.
fn hostile_history() -> PathBuf {
    let yaml = "apiVersion: gpuscale.dev/v1alpha1\nkind: GpuScalePolicy\nmetadata: { name: p }\nspec:\n  \
                targetRef: { kind: AksNodePool, name: a }\n  maxNodes: 9\n  \
                signals: [ { name: gpu, dcgm: { metric: GpuUtilization } } ]\n";
    let policy = api::validate(yaml).unwrap();
    let mut config = api::compile(&policy).unwrap();
    let evil =
        "<img src=x onerror=\"document.title='owned'\"></script><script>document.title='owned'</script>";
    evil.clone_into(&mut config.signals[0].name);
    let judged = Judged {
        name: "p".to_owned(),
        config,
        queries: api::queries(&policy),
    };
    let values = (0..240).map(|minute| (minute / 30 % 4) * 14_000_000).collect();
    let demand = Demand::new("a", 1_700_000_000_000, 60_000, values).unwrap();
    let case = Case::new(Pool::default(), &demand, std::slice::from_ref(&judged)).unwrap();
    let mut timeline = Timeline::new(&judged.config, case.spec.gpus_per_node, Loop::Open);
    let mut history = |tick: &Tick<'_>| {
        timeline.tick(&Tick {
            asked: 5,
            ready: 5,
            ..*tick
        });
    };
    case.policy_row(&judged, 0, &mut history);
    let saved = gpuscale(&["simulate", HOUR, "--format", "json"]).stdout;
    let mut document: Document = serde_json::from_slice(&saved).unwrap();
    for name in [
        &mut document.scenario.name,
        &mut document.scenario.series,
        &mut document.rows[0].name,
    ] {
        evil.clone_into(name);
    }
    let stretch = |from_minute: i64, to_minute: i64, kind| Stretch {
        from_ms: 1_700_000_000_000 + from_minute * 60_000,
        to_ms: 1_700_000_000_000 + to_minute * 60_000,
        kind,
    };
    let html = page(&Input {
        subject: Subject::Scorecard(&document),
        timeline: &timeline,
        stretches: &[
            stretch(60, 90, StretchKind::Censored),
            stretch(150, 200, StretchKind::Unknown),
        ],
    });
    let path = file("hostile.html");
    fs::write(&path, html).unwrap();
    path
}

#[test]
fn a_history_is_drawn_beside_the_policy_and_names_stay_names() {
    let Some(page) = Opened::new(hostile_history()) else {
        return;
    };
    assert!(page.text("h1").starts_with("<img src=x"), "{}", page.text("h1"));
    let parts = page
        .browser
        .run("return [document.images.length, document.scripts.length]");
    assert_eq!(parts, json!([0, 2]), "no image, and the page's own scripts");
    for series in ["would", "would-cost", "censored", "unknown"] {
        let width = page.number(&format!(
            "document.querySelector('[data-series={series}]').getBBox().width"
        ));
        assert!(width > 50.0, "{series}: {width}");
    }
    let (x, y) = page.place(0.3, "[data-series=demand]");
    page.browser.point(x, y);
    page.browser.wait_for("!document.getElementById('tip').hidden");
    let tip = page.text("#tip");
    assert!(tip.contains("Policy asks") && tip.contains("censored"), "{tip}");
    page.focus();
    page.browser.press(&["]", "]"]);
    assert!(
        page.text("#said").contains("<img src=x"),
        "{}",
        page.text("#said")
    );
    assert!(
        page.browser
            .run("return document.title")
            .as_str()
            .unwrap()
            .starts_with("<img")
    );
    page.finish();
}
