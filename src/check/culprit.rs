//! From a rule that does not hold to the words that break it.
//!
//! A rule belongs to the object that holds all of its fields, often the whole `spec`, and its message names those
//! fields. So the message is read: the first field that it names and that is written is the culprit, and the second
//! one is shown beside it. A few rules speak of items of a list; those are found by looking at the values, in
//! [`item`].

use serde_json::Value;

use crate::api::Violation;

use super::codes;
use super::page::Page;

/// Reports a violation at the place of its culprit.
pub(super) fn report(page: &mut Page<'_>, violation: &Violation) {
    let (what, help) = split(&violation.message);
    let mut places = item(&page.value, violation);
    if places.is_empty() {
        places = mentioned(page, violation, &what);
    }
    if places.is_empty() {
        places = mentioned(page, violation, &violation.message);
    }
    let label = if places.is_empty() {
        "in here"
    } else {
        "this breaks the rule"
    };
    let mut spans = places.iter().map(|path| page.at(path));
    let first = spans.next().unwrap_or_else(|| page.at(&violation.path));
    let second = spans.find(|other| *other != first);
    drop(spans);
    let finding = page.report(&codes::policy::RULE, first, label, what);
    if let Some(second) = second {
        finding.also(second, "together with this");
    }
    if let Some(help) = help {
        finding.help(help);
    }
}

/// Words by which the second half of a message is known as advice.
const ADVICE: &[&str] = &[
    "use", "set", "add", "remove", "lower", "raise", "keep", "write", "check", "rename", "give", "say",
    "name", "change", "correct", "try", "lengthen", "delete", "mean", "choose", "sort", "move", "fetch",
];

/// A message in two: what is wrong, and what to do.
pub(super) fn split(message: &str) -> (String, Option<String>) {
    let advises = |rest: &str| {
        rest.starts_with("did you mean")
            || rest
                .split(' ')
                .any(|word| ADVICE.contains(&word.trim_end_matches(',')))
    };
    let halves = message.split_once("; ").filter(|(_, rest)| advises(rest));
    // The second form is that of the readers of single values.
    let halves = halves.or_else(|| {
        let at = [": use ", ": write "]
            .iter()
            .find_map(|mark| message.find(mark))?;
        Some((&message[..at], &message[at + 2..]))
    });
    match halves {
        Some((what, help)) => (what.to_owned(), Some(help.to_owned())),
        None => (message.to_owned(), None),
    }
}

/// Paths of the fields that a message names and that are written, in the order of the message.
fn mentioned(page: &Page<'_>, violation: &Violation, message: &str) -> Vec<String> {
    let part_of_name = |c: char| c.is_ascii_alphanumeric() || c == '.';
    let mut paths: Vec<String> = Vec::new();
    for word in message.split(|c: char| !part_of_name(c)) {
        let word = word.trim_matches('.');
        // Fields begin with a small letter; values and kinds with a capital one.
        if !word.starts_with(|c: char| c.is_ascii_lowercase()) {
            continue;
        }
        let exact = format!("{}.{word}", violation.path);
        let found = if page.written(&exact).is_some() {
            Some(exact)
        } else if word.contains('.') {
            // A field that is named with its parent and not written: the parent, if that is.
            let parent = exact.rsplit_once('.').map(|(parent, _)| parent.to_owned());
            parent.filter(|parent| page.written(parent).is_some())
        } else if is_plain_word(word) {
            None
        } else {
            page.named(&violation.path, word).into_iter().next()
        };
        paths.extend(found.filter(|path| !paths.contains(path)));
    }
    let own = violation.path.rsplit('.').next().unwrap_or_default();
    if paths.is_empty()
        && !own.is_empty()
        && page.written(&violation.path).is_some()
        && violation.path != "spec"
    {
        paths.push(violation.path.clone());
    }
    paths
}

/// Names of fields that are also words of a sentence; they are looked for only where the rule stands.
fn is_plain_word(word: &str) -> bool {
    matches!(
        word,
        "name"
            | "for"
            | "mode"
            | "up"
            | "down"
            | "value"
            | "type"
            | "period"
            | "unit"
            | "window"
            | "rule"
            | "a"
            | "duration"
            | "kind"
            | "cluster"
            | "step"
            | "policies"
            | "signals"
            | "absent"
            | "above"
            | "below"
    )
}

/// Paths into lists for the rules that speak of items.
fn item(document: &Value, violation: &Violation) -> Vec<String> {
    let says = |start: &str| violation.message.starts_with(start);
    let list = |path: &str| {
        at(document, path)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let indexed = |list_path: &'static str, field: &'static str, wanted: &dyn Fn(&Value) -> bool| {
        let items = list(list_path);
        let found = items.iter().enumerate().filter(|(_, item)| wanted(item));
        let paths = found.map(|(index, _)| format!("{list_path}[{index}].{field}"));
        paths.collect::<Vec<_>>()
    };
    let number = |path: &str| at(document, path).and_then(Value::as_f64);
    if says("a signal has exactly one source") {
        return written(document, &violation.path, &["gpuRequests", "promql", "dcgm"]);
    }
    if says("a count means nothing") {
        return written(document, &violation.path, &["unit"]);
    }
    if says("a policy has exactly one strategy") {
        return written(
            document,
            &violation.path,
            &["forecast", "targetUtilization", "step"],
        );
    }
    if says("strategy step moves only") {
        let idle = |item: &Value| {
            ["up", "gpuRequests", "perNode", "perReplica"]
                .iter()
                .all(|f| item.get(f).is_none())
        };
        let mut paths = indexed("spec.signals", "name", &idle);
        paths.push("spec.strategy.step".to_owned());
        return paths;
    }
    if says("two signals") || says("two schedules") || says("fallbackNodePools names a pool twice") {
        return twins(&violation.path, &list(&violation.path));
    }
    if says("fallbackNodePools names the target") {
        let target = at(document, "spec.targetRef.name");
        let mut paths = indexed("spec.fallbackNodePools", "name", &|item| {
            item.get("name") == target
        });
        paths.push("spec.targetRef.name".to_owned());
        return paths;
    }
    for (message, own, field) in [
        (
            "a schedule must stay within maxNodes",
            "spec.maxNodes",
            ["maxNodes", "minNodes"],
        ),
        (
            "a schedule must stay within maxReplicas",
            "spec.maxReplicas",
            ["maxReplicas", "minReplicas"],
        ),
    ] {
        if says(message) {
            let above = |item: &Value, field: &str| item.get(field).and_then(Value::as_f64) > number(own);
            let mut paths = indexed("spec.schedules", field[0], &|item| above(item, field[0]));
            paths.extend(indexed("spec.schedules", field[1], &|item| above(item, field[1])));
            paths.push(own.to_owned());
            return paths;
        }
    }
    for (message, own, min, max) in [
        ("a schedule's maxNodes", "spec.minNodes", "minNodes", "maxNodes"),
        (
            "a schedule's maxReplicas",
            "spec.minReplicas",
            "minReplicas",
            "maxReplicas",
        ),
    ] {
        if says(message) {
            let least = number(own).unwrap_or(1.0);
            let low = |item: &Value| {
                item.get(min).is_none()
                    && item
                        .get(max)
                        .and_then(Value::as_f64)
                        .is_some_and(|most| most < least)
            };
            let mut paths = indexed("spec.schedules", max, &low);
            paths.push(own.to_owned());
            return paths;
        }
    }
    for (message, field) in [
        ("minNodes 0 needs", "minNodes"),
        ("minReplicas 0 needs", "minReplicas"),
    ] {
        if says(message) && number(&format!("spec.{field}")) != Some(0.0) {
            let zero = |item: &Value| item.get(field).and_then(Value::as_f64) == Some(0.0);
            return indexed("spec.schedules", field, &zero);
        }
    }
    if says("a rule's window") {
        return short_windows(document);
    }
    Vec::new()
}

/// Paths of the fields among `names` that an object has.
fn written(document: &Value, path: &str, names: &[&str]) -> Vec<String> {
    let object = at(document, path);
    let has = |name: &&&str| object.is_some_and(|object| object.get(**name).is_some());
    names
        .iter()
        .filter(has)
        .map(|name| format!("{path}.{name}"))
        .collect()
}

/// The first two items of a list with the same name, the later one first.
fn twins(path: &str, items: &[Value]) -> Vec<String> {
    let name = |item: &Value| item.get("name").cloned();
    let names: Vec<_> = items.iter().map(name).collect();
    for (second, wanted) in names.iter().enumerate() {
        if let Some(first) = names[..second].iter().position(|other| other == wanted) {
            return vec![format!("{path}[{second}].name"), format!("{path}[{first}].name")];
        }
    }
    Vec::new()
}

/// Rules whose window is below the scrape interval, then the interval.
fn short_windows(document: &Value) -> Vec<String> {
    let duration = |value: &Value| {
        let text = value.as_str()?;
        text.parse::<crate::api::duration::HumanDuration>().ok()
    };
    let interval = at(document, "spec.dataQuality.scrapeInterval")
        .and_then(duration)
        .unwrap_or(crate::api::defaults::SCRAPE_INTERVAL);
    let signals = at(document, "spec.signals").and_then(Value::as_array);
    let mut paths = Vec::new();
    for (index, signal) in signals.into_iter().flatten().enumerate() {
        for rule in ["up", "down"] {
            let window = signal
                .get(rule)
                .and_then(|rule| rule.get("for"))
                .and_then(duration);
            if window.is_some_and(|window| window < interval) {
                paths.push(format!("spec.signals[{index}].{rule}.for"));
            }
        }
    }
    paths.push("spec.dataQuality.scrapeInterval".to_owned());
    paths
}

/// The value at a path such as `spec.signals[0].up`.
pub(super) fn at<'v>(document: &'v Value, path: &str) -> Option<&'v Value> {
    path.split(['.', '['])
        .try_fold(document, |value, step| match step.strip_suffix(']') {
            Some(index) => value.get(index.parse::<usize>().ok()?),
            None => value.get(step),
        })
}
