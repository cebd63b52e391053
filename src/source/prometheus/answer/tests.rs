//! Bodies as servers and those in between send them, whole and in pieces.

#![allow(
    clippy::cast_precision_loss,
    clippy::float_cmp,
    reason = "what is compared was written and read exactly"
)]

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const LIMITS: Limits = Limits {
    bytes: 1 << 20,
    series: 100,
    samples: 1_000,
};

/// Name and labels of a series as text, and its samples.
type Shown = (String, Vec<(i64, f64)>);

fn read_by(
    catalogue: &mut Catalogue,
    chunks: &mut dyn Iterator<Item = &[u8]>,
    limits: Limits,
) -> Result<Body, AnswerError> {
    let mut reader = Reader::new(catalogue, limits);
    for chunk in chunks {
        reader.feed(chunk)?;
    }
    reader.finish()
}

fn read(body: &str) -> Result<Body, AnswerError> {
    let whole = read_by(
        &mut Catalogue::default(),
        &mut std::iter::once(body.as_bytes()),
        LIMITS,
    );
    let single = read_by(&mut Catalogue::default(), &mut body.as_bytes().chunks(1), LIMITS);
    let text = |read: &Result<Body, AnswerError>| match read {
        Ok(body) => format!("{:?} {:?}", body.completeness, shown(body)),
        // How a foreign page begins depends on how much of it is there.
        Err(AnswerError::Foreign { .. }) => "foreign".to_owned(),
        Err(error) => error.to_string(),
    };
    assert_eq!(text(&whole), text(&single), "byte by byte it is the same");
    whole
}

fn shown(body: &Body) -> Vec<Shown> {
    let all = body.series.iter();
    all.map(|series| {
        let labels: Vec<String> = series
            .labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        (
            format!("{}{{{}}}", series.labels.name(), labels.join(",")),
            series.samples.to_vec(),
        )
    })
    .collect()
}

fn answer(result: &Value) -> String {
    json!({ "status": "success", "data": { "resultType": "matrix", "result": result } }).to_string()
}

fn one(gpu: &str, at: f64) -> Value {
    json!({ "metric": { "__name__": "m", "gpu": gpu }, "values": [[at, "1"]] })
}

#[test]
fn a_matrix_and_a_vector_are_read_exactly() {
    let body = read(
        r#"{"status":"success","data":{"resultType":"matrix","result":[
            {"metric":{"__name__":"DCGM_FI_DEV_GPU_UTIL","gpu":"0"},"values":[[1700000000.123,"85"],[1700000015.1,"NaN"],[1700000030,"+Inf"]]},
            {"values":[[1700000000,"0.5"]],"metric":{}}
        ]}}"#,
    )
    .unwrap();
    assert_eq!(body.completeness, Completeness::Whole);
    let shown = shown(&body);
    assert_eq!(shown[0].0, "DCGM_FI_DEV_GPU_UTIL{gpu=0}");
    assert_eq!(shown[0].1[0], (1_700_000_000_123, 85.0));
    assert!(shown[0].1[1].1.is_nan() && shown[0].1[1].0 == 1_700_000_015_100);
    assert!(shown[0].1[2].1.is_infinite());
    assert_eq!(shown[1], ("{}".to_owned(), vec![(1_700_000_000_000, 0.5)]));

    let vector = r#"{"data":{"result":[{"metric":{"a":"b"},"value":[1,"2"]}],"resultType":"vector"},"status":"success"}"#;
    assert_eq!(
        shown_of(vector),
        [("{a=b}".to_owned(), vec![(1_000, 2.0)])],
        "whatever the order of keys"
    );
    assert_eq!(shown_of(&answer(&json!([]))), []);
}

fn shown_of(body: &str) -> Vec<Shown> {
    shown(&read(body).unwrap())
}

#[test]
fn brackets_quotes_and_commas_in_labels_are_labels() {
    let odd = "}],{\"[\\ \u{7} é \u{1f600} \\\"";
    let body = answer(&json!([{ "metric": { "job": odd }, "values": [[1, "1"]] }, one("1", 2.0)]));
    let labels = read(&body).unwrap().series.labels()[0].clone();
    assert_eq!(labels.get("job"), Some(odd));
}

fn refused(cases: &[(String, &str)]) {
    for (body, expected) in cases {
        let error = read(body).map(|body| shown(&body)).unwrap_err().to_string();
        assert!(error.contains(expected), "{body}\n{error}");
    }
}

#[test]
fn what_is_no_answer_says_what_it_is() {
    refused(&[
        (
            r#"{"status":"error","errorType":"bad_data","error":"invalid parameter \"query\": 1:5: parse error"}"#.to_owned(),
            "the server says `bad_data`: invalid parameter \"query\": 1:5: parse error",
        ),
        (
            r#"{"status":"error","errorType":"422","error":"too\nmany"}"#.to_owned(),
            "the server says `422`: too many",
        ),
        (
            r#"{"status":"error","errorType":"execution","error":"e","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"]]}]}}"#
                .to_owned(),
            "the server says `execution`: e",
        ),
        ("<html><body>502 Bad Gateway</body></html>".to_owned(), "it begins with `<html>"),
        ("  \n[1]".to_owned(), "it begins with `[1]"),
        (String::new(), "this is no answer of the query API: it is empty"),
        (" \n".to_owned(), "it is empty"),
        ("{}".to_owned(), "it has no `status`"),
        (r#"{"status":"ok"}"#.to_owned(), "its `status` is `ok`"),
        (r#"{"status":"success"}"#.to_owned(), "it has no `data`"),
        (r#"{"status":"success","data":{}}"#.to_owned(), "it has no `resultType`"),
        (
            r#"{"status":"success","data":{"resultType":"matrix"}}"#.to_owned(),
            "it has no `result`",
        ),
        (
            r#"{"status":"success","d\u0061ta":{"resultType":"matrix","result":[{"metric":{},"values":[[1,"1"]]}]}}"#
                .to_owned(),
            "its series are not where the API puts them",
        ),
        (
            r#"{"status":"success","data":{"resultType":"streams","result":[]}}"#.to_owned(),
            "its `resultType` is `streams`",
        ),
        (
            r#"{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}"#.to_owned(),
            "the query gives a number or a text and not series",
        ),
    ]);
}

#[test]
fn a_series_that_cannot_be_read_says_which_and_why() {
    let series =
        |one: &str| format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{one}]}}}}"#);
    let ok = r#"{"metric":{},"values":[[1,"1"]]}"#;
    refused(&[
        (
            series(r#"{"metric":{},"histograms":[[1,{"count":"1"}]]}"#),
            "series 1 of the answer is a native histogram",
        ),
        (
            series(r#"{"metric":{},"histogram":[1,{"count":"1"}]}"#),
            "series 1 of the answer is a native histogram",
        ),
        (
            series(r#"{"metric":{}}"#),
            "series 1 of the answer cannot be read: missing field `values`",
        ),
        (series(r#"{"values":[[1,"1"]]}"#), "it has no `metric`"),
        (
            series(r#"{"metric":{},"metric":{},"values":[[1,"1"]]}"#),
            "duplicate field `metric`",
        ),
        (
            series(r#"{"metric":{},"values":[[1,"1"]],"value":[2,"1"]}"#),
            "duplicate field `values`",
        ),
        (
            series(r#"{"metric":{},"values":[[1,1]]}"#),
            "invalid type: integer `1`",
        ),
        (
            series(r#"{"metric":{},"values":[[1,"1",2]]}"#),
            "invalid length 3",
        ),
        (series(r#"{"metric":{},"values":[[1]]}"#), "invalid length 1"),
        (
            series(r#"{"metric":{},"values":[[1,"ten"]]}"#),
            "the value `ten` is no number",
        ),
        (
            series(r#"{"metric":{},"values":[[1700000000000,"1"]]}"#),
            "1700000000000 is no time in seconds since 1970",
        ),
        (
            series(r#"{"metric":{},"values":[[2,"1"],[1,"1"]]}"#),
            "its samples are not in the order of time at 1",
        ),
        (
            series(r#"{"metric":{"a":1},"values":[[1,"1"]]}"#),
            "invalid type: integer `1`",
        ),
        (
            series(r#"{"metric":{"a":"1","a":"2"},"values":[[1,"1"]]}"#),
            "label `a` is there twice",
        ),
        (
            series(&format!("{ok},{ok}")),
            "series 2 of the answer cannot be read: its labels are those of a series before it",
        ),
    ]);
}

#[test]
fn what_no_json_has_is_refused_where_it_stands() {
    let series =
        |one: &str| format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{one}]}}}}"#);
    let ok = r#"{"metric":{},"values":[[1,"1"]]}"#;
    refused(&[
        (series(&format!("{ok} {ok}")), "is 0x7b, which no JSON has there"),
        (series(&format!("{ok},")), "is 0x5d, which no JSON has there"),
        (series(&format!(",{ok}")), "the query gives a number or a text"),
        (series(ok) + "}", "is 0x7d, which no JSON has there"),
        (series(ok) + "x", "trailing characters"),
        (
            series(ok).replace("]}}", "}}}"),
            "is 0x7d, which no JSON has there",
        ),
        (
            r#"{"status":"success","data":{"resultType":"matrix","result":[],"result":[]}}"#.to_owned(),
            "two lists of series",
        ),
        (format!("{{\"a\":{}", "[".repeat(50)), "nested more than 32 deep"),
    ]);
}

#[test]
fn a_body_that_ends_early_is_cut_wherever_it_ends() {
    let body = answer(&json!([one("0", 1.0), one("}\"", 2.0)]));
    for end in 1..body.len() {
        let cut = read(&body[..end]).map(|body| shown(&body));
        assert_eq!(
            cut,
            Err(AnswerError::Cut { bytes: end as u64 }),
            "{}",
            &body[..end]
        );
    }
    assert!(read(&body).is_ok());
}

#[test]
fn warnings_and_a_mark_make_an_answer_partial_and_infos_do_not() {
    let with = |key: &str, value: Value| {
        let mut body =
            json!({ "status": "success", "data": { "resultType": "matrix", "result": [one("0", 1.0)] } });
        body[key] = value;
        read(&body.to_string()).unwrap().completeness
    };
    let partial = |words: &str| Completeness::Partial(words.to_owned());
    assert_eq!(
        with("warnings", json!(["store a is down"])),
        partial("store a is down")
    );
    assert_eq!(
        with("warnings", json!(["a", "b", "c", "d"])),
        partial("a; b; c; …"),
        "not all of a thousand stores"
    );
    assert_eq!(
        with("isPartial", json!(true)),
        partial("the server marks it as partial (`isPartial`)")
    );
    for (key, value) in [
        ("warnings", json!([])),
        ("warnings", json!(null)),
        ("isPartial", json!(false)),
        ("infos", json!(["metric might not be a counter"])),
        (
            "stats",
            json!({ "seriesFetched": "2", "data": { "result": [1] } }),
        ),
    ] {
        assert_eq!(with(key, value.clone()), Completeness::Whole, "{key} {value}");
    }
}

#[test]
fn each_limit_is_an_error_and_never_a_part() {
    let many = |series: usize, samples: usize| {
        let values: Vec<Value> = (0..samples).map(|at| json!([at, "1"])).collect();
        let all: Vec<Value> = (0..series)
            .map(|gpu| json!({ "metric": { "gpu": gpu.to_string() }, "values": values }))
            .collect();
        answer(&json!(all))
    };
    let limited = |body: &str, limits: Limits| {
        let mut catalogue = Catalogue::default();
        let read = read_by(&mut catalogue, &mut body.as_bytes().chunks(1_000), limits);
        read.map(|body| body.series.len())
    };
    assert_eq!(limited(&many(100, 10), LIMITS), Ok(100));
    assert_eq!(
        limited(&many(101, 1), LIMITS),
        Err(AnswerError::SeriesCount { most: 100 })
    );
    assert_eq!(
        limited(&many(91, 11), LIMITS),
        Err(AnswerError::Samples { most: 1_000 })
    );
    let body = many(100, 10);
    let exact = Limits {
        bytes: body.len() as u64,
        ..LIMITS
    };
    assert_eq!(limited(&body, exact), Ok(100));
    let most = exact.bytes - 1;
    assert_eq!(
        limited(
            &body,
            Limits {
                bytes: most,
                ..LIMITS
            }
        ),
        Err(AnswerError::Bytes { most })
    );
    let wide = Limits {
        bytes: u64::MAX,
        series: 100,
        samples: 1_000,
    };
    let long = answer(&json!([{ "metric": { "a": "x".repeat(9 << 20) }, "values": [[1, "1"]] }]));
    assert_eq!(
        limited(&long, wide),
        Err(AnswerError::SeriesTooLong { most: 8 << 20 })
    );
    let around = json!({ "status": "success", "warnings": ["x".repeat(1 << 20)] }).to_string();
    assert_eq!(
        limited(&around, wide),
        Err(AnswerError::EnvelopeTooLong { most: 256 << 10 })
    );
}

#[test]
fn series_that_were_there_before_are_the_same_ones() {
    let mut catalogue = Catalogue::default();
    let mut next = |all: &[&str]| {
        let all: Vec<Value> = all.iter().map(|gpu| one(gpu, 1.0)).collect();
        let body = answer(&json!(all));
        let body = read_by(&mut catalogue, &mut std::iter::once(body.as_bytes()), LIMITS).unwrap();
        Arc::clone(body.series.labels())
    };
    let first = next(&["a", "b", "c"]);
    assert!(Arc::ptr_eq(&first, &next(&["a", "b", "c"])), "the list itself");
    let other = next(&["c", "a", "d"]);
    assert!(Arc::ptr_eq(&other[0], &first[2]) && Arc::ptr_eq(&other[1], &first[0]));
    assert_eq!(other[2].get("gpu"), Some("d"));
    let fewer = next(&["c", "a"]);
    assert!(fewer.len() == 2 && Arc::ptr_eq(&fewer[0], &first[2]));
    assert!(Arc::ptr_eq(&fewer, &next(&["c", "a"])), "and then it is the list");
    assert!(next(&[]).is_empty());
    assert_eq!(next(&["a"])[0].get("gpu"), Some("a"));
}

#[test]
fn an_answer_that_failed_leaves_the_series_of_the_one_before() {
    let mut catalogue = Catalogue::default();
    let good = answer(&json!([one("a", 1.0), one("b", 1.0)]));
    let bad = good.replace("\"b\"", "2");
    let mut next = |body: &str| read_by(&mut catalogue, &mut std::iter::once(body.as_bytes()), LIMITS);
    let first = next(&good).unwrap().series;
    next(&bad).unwrap_err();
    assert!(Arc::ptr_eq(first.labels(), next(&good).unwrap().series.labels()));
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{0,6}", "[\\PC\"\\\\{}\\[\\],:\n]{0,12}"]
}

fn any_series() -> impl Strategy<Value = Value> {
    let labels = proptest::collection::btree_map("[a-z]{1,4}", any_text(), 0..4);
    let samples = proptest::collection::btree_map(0_i64..2_000_000_000_000, any::<f64>(), 0..5);
    (labels, samples).prop_map(|(labels, samples)| {
        let values: Vec<Value> = samples
            .into_iter()
            .map(|(at_ms, value)| json!([at_ms as f64 / 1000.0, value.to_string()]))
            .collect();
        json!({ "metric": labels, "values": values })
    })
}

proptest! {
    /// What `serde_json` makes of the whole document is what comes out of its pieces.
    #[test]
    fn pieces_of_any_size_give_what_the_whole_gives(
        all in proptest::collection::vec(any_series(), 0..6),
        sizes in proptest::collection::vec(1_usize..40, 1..20),
    ) {
        let body = answer(&json!(all));
        let expected: Value = serde_json::from_str(&body).unwrap();
        let mut rest = body.as_bytes();
        let mut chunks: Vec<&[u8]> = Vec::new();
        for size in sizes.iter().cycle() {
            let (chunk, others) = rest.split_at((*size).min(rest.len()));
            chunks.push(chunk);
            rest = others;
            if rest.is_empty() {
                break;
            }
        }
        let read = read_by(&mut Catalogue::default(), &mut chunks.into_iter(), LIMITS);
        let list = expected["data"]["result"].as_array().unwrap();
        let without_blanks = |one: &Value| -> Vec<(String, String)> {
            let labels = one["metric"].as_object().unwrap().iter();
            labels
                .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
                .filter(|(_, value)| !value.is_empty())
                .collect()
        };
        let mut different: Vec<_> = list.iter().map(without_blanks).collect();
        different.sort();
        different.dedup();
        if different.len() < list.len() {
            prop_assert!(matches!(read, Err(AnswerError::Series { .. })), "{:?}", read);
        } else {
            let read = read.unwrap();
            prop_assert_eq!(read.series.len(), list.len());
            for (one, expected) in read.series.iter().zip(list) {
                let labels: Vec<(String, String)> = one
                    .labels
                    .iter()
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .collect();
                prop_assert_eq!(labels, without_blanks(expected));
                let values = expected["values"].as_array().unwrap();
                prop_assert_eq!(one.samples.len(), values.len());
                for (&(at_ms, value), expected) in one.samples.iter().zip(values) {
                    let seconds = expected[0].as_f64().unwrap();
                    prop_assert_eq!(at_ms as f64 / 1000.0, seconds);
                    let text = expected[1].as_str().unwrap();
                    let number: f64 = text.parse().unwrap();
                    prop_assert!(value == number || (value.is_nan() && number.is_nan()));
                }
            }
        }
    }

    /// Whatever comes, it ends, and what is damaged is either refused or JSON all the same.
    #[test]
    fn damage_is_never_a_panic(
        all in proptest::collection::vec(any_series(), 0..4),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        size in 1_usize..50,
    ) {
        let mut body = answer(&json!(all)).into_bytes();
        for (place, byte) in damage {
            let place = place.index(body.len());
            body[place] = byte;
        }
        let read = read_by(&mut Catalogue::default(), &mut body.chunks(size), LIMITS);
        if read.is_ok() {
            prop_assert!(serde_json::from_slice::<Value>(&body).is_ok(), "{}", String::from_utf8_lossy(&body));
        }
    }
}
