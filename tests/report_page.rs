//! The page that `--report` writes, opened in a real browser: is it drawn, does it answer, does it keep to itself.

#![cfg(feature = "cli")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "in a test, a fault of a fixture may end it at once"
)]

#[path = "rig/browser.rs"]
mod browser;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use browser::{Browser, Held, binaries};
use serde_json::{Value, json};

#[test]
fn shots() {
    let Some(found) = binaries() else { return };
    let browser = Browser::start(&found, 1280, 900);
    let out = std::env::var("SHOTS").unwrap();
    use std::io::Write;
    let save = |name: &str| {
        let path = format!("{out}/{name}.b64");
        fs::File::create(path)
            .unwrap()
            .write_all(browser.picture().as_bytes())
            .unwrap();
    };
    let plot = || {
        browser.run("const b = document.getElementById('plot').getBoundingClientRect(); return [b.x, b.y, b.width, b.height].map(Math.round)")
    };
    for name in ["helios", "sg", "bad", "idle"] {
        browser.open(Path::new(&format!("{out}/{name}.html")));
        browser.resize(1280, 1500);
        browser.prefer("dark");
        let box_ = plot();
        let at = |i: usize| box_[i].as_i64().unwrap();
        browser.point(at(0) + at(2) * 2 / 5, at(1) + 100);
        save(&format!("{name}-dark"));
        browser.prefer("light");
        browser.resize(1280, 900);
        browser.drag(
            (at(0) + at(2) * 45 / 100, at(1) + 100),
            (at(0) + at(2) * 48 / 100, at(1) + 120),
            Held::Nothing,
        );
        browser.run("document.getElementById('plot').focus(); window.scrollTo(0, 300)");
        browser.press(&["]", "]"]);
        browser.run("return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))");
        save(&format!("{name}-zoom"));
        browser.run("window.scrollTo(0, 0); document.getElementById('plot').blur()");
        browser.press(&["\u{e00c}"]);
        browser.resize(360, 2400);
        browser.run("document.querySelector('[data-do=all]').click(); return new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))");
        save(&format!("{name}-phone"));
        let pdf = browser.devtools("Page.printToPDF", &json!({"printBackground": false}));
        fs::write(format!("{out}/{name}.pdf.b64"), pdf["data"].as_str().unwrap()).unwrap();
        println!("{:?} {:?}", browser.log("browser"), browser.requests());
    }
    let _: (Option<PathBuf>, Option<Command>, Option<Value>) = (None, None, None);
}
