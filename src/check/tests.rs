//! Findings of whole documents, where a fixture would say no more.

use super::*;
use proptest::prelude::*;

fn codes_of(text: &str) -> Vec<&'static str> {
    let checked = check("t.yaml", text, &Alone, None);
    checked
        .iter()
        .flat_map(|file| file.findings.iter().map(Finding::code))
        .collect()
}

const POLICY: &str = "apiVersion: gpuscale.dev/v1alpha1
kind: GpuScalePolicy
metadata: { name: p }
spec:
  targetRef: { kind: AksNodePool, name: a100 }
  maxNodes: 4
  signals: [ { name: gpu, dcgm: { metric: GpuUtilization } } ]
";

#[test]
fn a_good_policy_has_no_findings() {
    assert_eq!(codes_of(POLICY), [""; 0]);
}

#[test]
fn every_document_of_a_stream_is_checked_in_its_place() {
    let broken = POLICY.replace("maxNodes: 4", "maxNodes: 4\n  minNodes: 9");
    let stream = format!("# one\n---\n{POLICY}---\n{broken}...\n--- # three\nkind: Pod\n");
    let checked = check("t.yaml", &stream, &Alone, None);
    let places: Vec<_> = checked[0]
        .findings
        .iter()
        .map(|f| (f.code(), &stream[f.at.span.clone()]))
        .collect();
    assert_eq!(places, [("GS201", "9"), ("GS104", "Pod")]);
    let line = stream[..checked[0].findings[0].at.span.start].lines().count();
    assert_eq!(line, 17);
}

#[test]
fn a_text_without_a_document_is_a_finding() {
    for text in ["", "# only this\n", "---\n...\n", "%YAML 1.2\n---\n"] {
        assert_eq!(codes_of(text), ["GS103"], "{text:?}");
    }
}

#[test]
fn codes_are_in_order_and_grouped_by_hundreds() {
    let all: Vec<_> = codes::all().map(|entry| entry.code).collect();
    assert!(
        all.is_sorted() && all.windows(2).all(|pair| pair[0] != pair[1]),
        "{all:?}"
    );
    for (hundred, group) in (1..).zip(&codes::GROUPS) {
        for entry in group.entries {
            assert!(entry.code.starts_with(&format!("GS{hundred}")), "{}", entry.code);
            assert!(
                !entry.remedy.ends_with('.') && entry.explanation.ends_with('.'),
                "{}",
                entry.code
            );
        }
    }
    assert_eq!(codes::entry("gs301").map(|entry| entry.code), Some("GS301"));
    assert_eq!(codes::entry("GS999"), None);
}

/// A policy with something of everything.
const RICH: &str = "apiVersion: gpuscale.dev/v1alpha1
kind: GpuScalePolicy
metadata: { name: é }
spec:
  targetRef: { kind: AksNodePool, name: a100 }
  maxNodes: 4
  schedules: [ { name: day, cron: \"0 8 * * *\", duration: 24h, minNodes: 2 } ]
  signals:
    - name: gpu
      dcgm: { metric: GpuUtilization, matchLabels: { pod: ü } }
      up: { above: 100 }
    - name: load
      promql: |
        avg(rate(DCGM_FI_DEV_GPU_UTIL{deployment=\"ö\"}[5m])) > 70
          or vector(0)
      unit: ratio
      targetPercentage: 70
";

#[test]
fn findings_in_a_block_of_several_lines_stand_in_their_line() {
    let checked = check("t.yaml", RICH, &Alone, None);
    let place = |code: &str| {
        let finding = checked[0]
            .findings
            .iter()
            .find(|f| f.code() == code)
            .unwrap_or_else(|| panic!("{code}"));
        &RICH[finding.at.span.clone()]
    };
    for (code, shown) in [
        ("GS203", "100"),
        ("GS209", "24h"),
        ("GS304", "rate"),
        ("GS305", "deployment"),
        ("GS306", "pod"),
        ("GS307", ">"),
        ("GS310", "vector"),
    ] {
        assert_eq!(place(code), shown, "{code}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is written, places lie in the text and on the borders of its characters.
    #[test]
    fn places_lie_in_the_text(at in 0..RICH.len(), cut in 0..40_usize, insert in "\\PC{0,6}") {
        let mut text = RICH.to_owned();
        let is_border = |at: &usize| text.is_char_boundary(*at);
        let border = |from: usize| (from..=text.len()).find(is_border).unwrap_or(text.len());
        let (start, end) = (border(at), border((at + cut).min(text.len())));
        text.replace_range(start..end, &insert);
        for file in check("t.yaml", &text, &Alone, None) {
            for finding in &file.findings {
                prop_assert!(text.get(finding.at.span.clone()).is_some(), "{finding:?}");
                let also = finding.also.as_ref().is_none_or(|also| text.get(also.span.clone()).is_some());
                prop_assert!(also, "{finding:?}");
            }
        }
    }
}
