//! Answers as servers give them, in any order of keys, cut short, partial and wrong.

use super::*;

fn read_text(text: &str) -> Result<Metrics, ReadError> {
    read(&mut text.as_bytes(), &ReadOptions::default())
}

fn shown_series(text: &str) -> Result<Vec<String>, String> {
    let metrics = read_text(text).map_err(|error| error.to_string())?;
    let show = |series: &crate::recording::Series| {
        let samples: Vec<_> = series.samples().map(|(at, v)| format!("{v}@{at}")).collect();
        format!("{} {}", series.labels(), samples.join(" "))
    };
    Ok(metrics.series().iter().map(show).collect())
}

/// The answer of Prometheus 2.42 to `up[5s]`, as it came.
const MATRIX: &str = r#"{"status":"success","data":{"resultType":"matrix","result":[{"metric":{"__name__":"up","instance":"127.0.0.1:19401","job":"dcgm"},"values":[[1795332633.568,"1"],[1795332634.571,"1"]]}]}}"#;

#[test]
fn a_matrix_and_a_vector_are_read_to_the_millisecond() {
    assert_eq!(
        shown_series(MATRIX).unwrap(),
        [r#"up{instance="127.0.0.1:19401",job="dcgm"} 1@1795332633568 1@1795332634571"#]
    );
    // Of the same server: vector(0)/0, vector(1)/0, -vector(1)/0.
    let vector = r#"{"status":"success","data":{"resultType":"vector","result":[
        {"metric":{},"value":[1795332634.583,"NaN"]},
        {"metric":{},"value":[1795332634.639,"+Inf"]},
        {"metric":{},"value":[1795332634.788,"-Inf"]}]}}"#;
    assert_eq!(
        shown_series(vector).unwrap(),
        ["{} NaN@1795332634583 inf@1795332634639 -inf@1795332634788"]
    );
}

#[test]
fn every_millisecond_of_a_second_is_exact() {
    for ms in 0..1000 {
        let time = format!("1795332634.{ms:03}");
        let text = format!(r#"{{"data":{{"result":[{{"metric":{{}},"value":[{time},"1"]}}]}}}}"#);
        let span = read_text(&text).unwrap().span_ms();
        assert_eq!(span.0, 1_795_332_634_000 + ms, "{time}");
    }
}

#[test]
fn keys_come_in_any_order_and_unknown_ones_are_passed_over() {
    let text = r#"{"infos":["lookback"],"data":{"stats":{"a":[1,{}]},"result":[
        {"values":[[1700000000,"1"],[1700000015,"2"]],"more":null,"metric":{"__name__":"m"}},
        {"metric":{"__name__":"n"},"values":[],"value":[1700000000,"3"]}],
        "resultType":"matrix"},"warnings":null,"isPartial":false,"status":"success"}"#;
    assert_eq!(
        shown_series(text).unwrap(),
        ["m 1@1700000000000 2@1700000015000", "n 3@1700000000000"]
    );
}

#[test]
fn only_the_data_of_an_answer_is_an_answer_too() {
    let data =
        r#"{"resultType":"matrix","result":[{"metric":{"__name__":"m"},"values":[[1700000000,"1"]]}]}"#;
    assert_eq!(shown_series(data).unwrap(), ["m 1@1700000000000"]);
}

#[test]
fn the_tally_has_the_lines_of_the_document() {
    let text = "{\"data\":{\"result\":[{\"metric\":{},\"values\":[\n[1700000015,\"1\"],\n[1700000000,\"1\"],\n\
        [1700000015,\"2\"]]}]}}";
    let metrics = read_text(text).unwrap();
    assert_eq!(metrics.tally().late.first_line, 3);
    assert_eq!(metrics.tally().conflicts.count, 1);
}

#[test]
fn answers_that_are_not_whole_are_refused() {
    let check = |text: &str, wanted: &str| {
        let error = shown_series(text).unwrap_err();
        assert!(error.contains(wanted), "{text}: {error}");
    };
    // Of Prometheus 2.42 and VictoriaMetrics 1.79.5.
    check(
        r#"{"status":"error","errorType":"bad_data","error":"exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)"}"#,
        "the server answered with an error: bad_data: exceeded maximum resolution of 11,000 points",
    );
    check(
        r#"{"status":"error","errorType":"422","error":"singleExpr: unexpected token \"\"; want \"(\"","data":null}"#,
        r#"the server answered with an error: 422: singleExpr: unexpected token ""; want "("; correct the query"#,
    );
    check(
        r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
        "there is no sample in it; check the query",
    );
    let with = |more: &str| MATRIX.replace(r#""status":"success""#, &format!(r#""status":"success",{more}"#));
    check(
        &with(r#""warnings":["store a: timeout","store b: gone"]"#),
        "the answer has warnings, so it may be partial: store a: timeout; store b: gone; fetch it again",
    );
    check(&with(r#""isPartial":true"#), "`isPartial` is true");
    check(
        &MATRIX.replace("success", "pending"),
        "the `status` is `pending` and not `success`",
    );
    check(r#"{"status":"success"}"#, "it has no `result`");
}

#[test]
fn what_is_no_list_of_series_is_refused() {
    let check = |data: &str, wanted: &str| {
        let error = shown_series(&format!(r#"{{"status":"success","data":{data}}}"#)).unwrap_err();
        assert!(error.contains(wanted), "{data}: {error}");
    };
    check(
        r#"{"resultType":"scalar","result":[1795332635.115,"2"]}"#,
        "the answer is a scalar and not a list of series; query a metric",
    );
    check(
        r#"{"result":[1795332635.115,"2"],"resultType":"scalar"}"#,
        "the answer is a single value",
    );
    check(
        r#"{"resultType":"streams","result":[]}"#,
        "the answer is a streams",
    );
    check(
        r#"["up"]"#,
        "invalid type: sequence, expected an object with `resultType` and `result`",
    );
    check(
        r#"{"result":[{"histogram":[1700000000,{"count":"1"}],"metric":{"__name__":"h","a":"1"}}]}"#,
        r#"`h{a="1"}` is a histogram; query a gauge"#,
    );
    check(r#"{"result":[{"values":[]}]}"#, "a series has no `metric`");
    check(
        r#"{"result":[{"metric":{},"metric":{}}]}"#,
        "`metric` occurs twice",
    );
    check(r#"{"result":[],"result":[]}"#, "`result` occurs twice");
    check(
        r#"{"result":[{"metric":{"a":"1","a":"2"}}]}"#,
        "label `a` occurs twice",
    );
    check(
        r#"{"result":[{"metric":{"a":1}}]}"#,
        "invalid type: integer `1`, expected a string",
    );
}

#[test]
fn faults_of_a_sample_have_their_place() {
    let check = |sample: &str, wanted: &str| {
        let text = format!(
            "{{\"data\":{{\"result\":[{{\"metric\":{{}},\"values\":[\n[1700000000,\"1\"],\n{sample}]}}]}}}}"
        );
        let error = shown_series(&text).unwrap_err();
        assert!(
            error.starts_with("line 3, column ") && error.contains(wanted),
            "{sample}: {error}"
        );
    };
    check(r#"[1700000015,"85%"]"#, "value `85%` is not a number");
    check(
        r"[1700000015,85]",
        "invalid type: integer `85`, expected a value in quotes",
    );
    check(r"[1700000015]", "invalid length 1");
    check(r#"[1700000015,"1","2"]"#, "invalid length 3");
    check(r#"["1700000015","1"]"#, "expected a time in seconds");
    check(
        r#"[1700000015000,"1"]"#,
        "timestamp `1700000015000` as seconds is not between the years 2000 and 2100; say `--timestamps ms`",
    );
    check(r#"[60,"1"]"#, "timestamp `60`");
    check(r#"[-1700000015,"1"]"#, "timestamp `-1700000015`");
    check(r#"[1e300,"1"]"#, "is not between the years");
}

#[test]
fn a_document_that_is_cut_anywhere_is_refused() {
    for cut in 1..MATRIX.len() {
        let error = read_text(&MATRIX[..cut]).unwrap_err();
        assert_eq!(
            error.cause,
            Cause::Truncated {
                what: "JSON document"
            },
            "cut at {cut}"
        );
        assert!(matches!(
            error.place,
            crate::recording::Place::Line { line: 1, .. }
        ));
    }
    assert_eq!(read_text(" \n").unwrap_err().cause, Cause::Empty);
}

#[test]
fn text_after_the_answer_is_refused() {
    assert!(read_text(&format!("{MATRIX}\r\n \n")).is_ok());
    for more in [MATRIX, "x", "]"] {
        let error = read_text(&format!("{MATRIX}\n{more}")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2, column 1: there is text after the answer; keep one answer per file"
        );
    }
}

#[test]
fn a_string_without_an_end_does_not_fill_the_memory() {
    let escaped = "\\\"".repeat(MAX_STRING);
    for endless in ["x".repeat(MAX_STRING + 2), escaped] {
        let text = format!(r#"{{"data":{{"result":[{{"metric":{{"a":"{endless}"}}}}]}}}}"#);
        assert_eq!(
            read_text(&text).unwrap_err().cause,
            Cause::StringTooLong { limit: MAX_STRING }
        );
    }
}
