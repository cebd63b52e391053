//! Pages of real exporters, lines that the library misreads, and what nobody understands.

use proptest::prelude::*;

use super::*;

const L40S: &[u8] = include_bytes!("../../../../tests/fixtures/dcgm/one-gpu-l40s.prom");
const A800_MIG: &[u8] = include_bytes!("../../../../tests/fixtures/dcgm/eight-gpu-a800-gpu0-mig.prom");
const V100: &[u8] = include_bytes!("../../../../tests/fixtures/dcgm/four-gpu-v100-excerpt.prom");
const MIXED: &[u8] =
    include_bytes!("../../../../tests/fixtures/dcgm/mixed-mig-k8s-lowercase-hostname-excerpt.prom");
const SPACED: &[u8] = include_bytes!("../../../../tests/fixtures/dcgm/sentinel-and-spaced-labels.prom");
const PAGES: [&[u8]; 5] = [L40S, A800_MIG, V100, MIXED, SPACED];

fn all(body: &[u8]) -> Page {
    Page::read(body, |_| true).unwrap()
}

fn sample_lines(body: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = body.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"))
}

#[test]
fn real_pages_are_read_to_the_last_line_and_as_the_strict_reader_reads_them() {
    for body in PAGES {
        let page = all(body);
        assert_eq!(page.refused, 0, "{:?}", page.first_refused);
        let strict: Vec<(Labels, f64)> = sample_lines(body)
            .map(|line| live_sample(line).unwrap())
            .collect();
        assert!(!strict.is_empty());
        assert_eq!(page.samples, strict);
    }
}

#[test]
fn most_lines_of_real_pages_need_no_judge() {
    let lines = PAGES[..4].iter().flat_map(|body| sample_lines(body));
    let text = lines.map(|line| std::str::from_utf8(line).unwrap());
    let (read, judged): (Vec<_>, Vec<_>) = text.partition(|line| by_library(line).is_some());
    assert!(read.len() > 20 * judged.len(), "{} and {judged:?}", read.len());
}

#[test]
fn a_gpu_of_a_real_page_is_who_it_says() {
    let page = Page::read(A800_MIG, |name| name == "DCGM_FI_PROF_GR_ENGINE_ACTIVE").unwrap();
    let instances = page
        .samples
        .iter()
        .filter(|(labels, _)| labels.get("GPU_I_ID").is_some());
    assert_eq!((page.samples.len(), instances.count()), (10, 3));
}

/// Lines that the library loses or misreads, and what they say.
#[test]
fn what_the_library_would_lose_is_read_by_the_strict_reader() {
    let check = |line: &str, label: &str, wanted: &str, value: f64| {
        assert!(by_library(line).is_none(), "{line}");
        let page = all(format!("{line}\n").as_bytes());
        assert_eq!(page.refused, 0, "{line}: {:?}", page.first_refused);
        assert_eq!(page.samples[0].0.get(label), Some(wanted), "{line}");
        assert_eq!(page.samples[0].1.to_bits(), value.to_bits(), "{line}");
    };
    check(r#"m{a="x,y",b="c"} 1"#, "a", "x,y", 1.0);
    check(r#"m{a="k=v",b="c"} 1"#, "a", "k=v", 1.0);
    check(r#"m{a="}",b="c"} 1"#, "a", "}", 1.0);
    check(r#"m{a="1", b="2"} 1"#, "b", "2", 1.0);
    check(r#"m{a="say \"hi\""} 1"#, "a", "say \"hi\"", 1.0);
    check(r#"m{a="\\",b="2"} 1"#, "a", "\\", 1.0);
    check(r#"m{a="1",} 97"#, "a", "1", 97.0);
    check("m\t{a=\"1\"} 97", "a", "1", 97.0);
    check(r#"{"m",a="1"} 97"#, "a", "1", 97.0);
}

#[test]
fn what_nobody_understands_is_counted_and_costs_nothing_else() {
    let good = r#"DCGM_FI_DEV_GPU_UTIL{gpu="1"} 5"#;
    let check = |line: &str, message: &str| {
        let page = all(format!("{line}\n{good}\n").as_bytes());
        assert_eq!(page.samples.len(), 1, "{line}: {:?}", page.samples);
        assert_eq!(page.refused, 1, "{line}");
        let first = page.first_refused.unwrap();
        assert!(
            first.starts_with("line 1, ") && first.contains(message),
            "{line}: {first}"
        );
    };
    let util = |rest: &str| format!("DCGM_FI_DEV_GPU_UTIL{rest}");
    check(&util(r#"{gpu="0"} ERROR - FAILED TO CONVERT TO STRING"#), "ERROR");
    check(&util(r#"{gpu="0"}"#), "value");
    check(&util(r#"{gpu="0"} 5 1700000000000"#), "end of the line");
    check(&util(r#"{gpu="0",gpu="1"} 5"#), "gpu");
    check(&util(r#"{gpu="0" 5"#), "label");
    check(&util(r#"{gpu=0,x=""1""} 5"#), "quotes");
    check(&util(r#"{gpu="0"} 5 # not an exemplar"#), "exemplar");
}

#[test]
fn values_that_are_no_numbers_are_read_as_such() {
    let body = b"m{a=\"1\"} NaN\nm{a=\"2\"} +Inf\nm{a=\"3\"} 9223372036854775794\nm{a=\"4\"} 1e-3\n";
    let values: Vec<f64> = all(body).samples.into_iter().map(|(_, value)| value).collect();
    assert!(values[0].is_nan());
    assert_eq!(values[1..], [f64::INFINITY, 9_223_372_036_854_775_794.0, 0.001]);
}

#[test]
fn what_is_no_page_is_refused_and_an_empty_one_says_nothing() {
    assert!(all(b"").samples.is_empty());
    assert!(all(b"# HELP m x\n\n").samples.is_empty());
    let page = Page::read(b"\n<!DOCTYPE html>\n<html>", |_| true).unwrap_err();
    assert_eq!(
        page.to_string(),
        "this is a web page and none of an exporter; it begins with \"<!DOCTYPE html>\\n<html>\""
    );
    let cut = Page::read(b"m{a=\"1\"} 97\nm{a=\"2\"} 9", |_| true).unwrap_err();
    assert_eq!(
        cut.to_string(),
        "the page was cut short in line 2: \"m{a=\\\"2\\\"} 9\""
    );
}

proptest! {
    /// Whatever the line, both readers agree wherever the library is believed.
    #[test]
    fn who_is_believed_agrees_with_the_judge(
        name in "[a-z]{1,3}",
        labels in proptest::collection::vec(("[a-c]{1,2}", r#"[ab"\\=,{} xé]{0,5}"#), 0..4),
        glue in "[, ]{1,2}",
        value in "[0-9.eE+naNIf -]{0,6}",
    ) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!(r#"{name}="{value}""#)).collect();
        let line = format!("{name}{{{}}} {value}", labels.join(&glue));
        if let Some((read, value)) = by_library(&line) {
            let (strict, again) = live_sample(line.as_bytes()).unwrap();
            prop_assert_eq!(read, strict);
            prop_assert!(same(value, again));
        }
    }

    #[test]
    fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Page::read(&body, |_| true);
    }
}
