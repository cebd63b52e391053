//! Writes recordings, as OpenMetrics text with a time in seconds for each sample.
//!
//! It is the form that every tool for Prometheus reads, `promtool tsdb create-blocks-from openmetrics` among them, and the
//! reader of [`Format::OpenMetrics`](super::Format::OpenMetrics) gives back the same values and times, to the bit and the millisecond. Names that the plain
//! form cannot hold are quoted, as OpenMetrics does since Prometheus 3.

use std::io::{self, Write};

use super::Labels;

/// Writes lines of samples; [`OpenMetrics::finish`] ends the text.
#[derive(Debug)]
pub struct OpenMetrics<W> {
    to: W,
}

impl<W: Write> OpenMetrics<W> {
    /// Goes on, or begins, where `to` stands.
    pub fn new(to: W) -> Self {
        Self { to }
    }

    /// Says what a metric is, once and before its first sample. All that is recorded is a gauge or is taken for one.
    ///
    /// # Errors
    /// What the writer says.
    pub fn gauge(&mut self, name: &str, help: &str) -> io::Result<()> {
        let named = if is_plain(name) {
            name.to_owned()
        } else {
            quoted(name)
        };
        if !help.is_empty() {
            writeln!(self.to, "# HELP {named} {}", escaped(help))?;
        }
        writeln!(self.to, "# TYPE {named} gauge")
    }

    /// Writes the samples of a series: times in ms, in their order.
    ///
    /// # Errors
    /// What the writer says.
    pub fn series(&mut self, labels: &Labels, samples: &[(i64, f64)]) -> io::Result<()> {
        let series = series(labels);
        for &(at_ms, value) in samples {
            let (seconds, rest) = (at_ms.div_euclid(1000), at_ms.rem_euclid(1000));
            write!(self.to, "{series} ")?;
            match value {
                value if value.is_nan() => self.to.write_all(b"NaN")?,
                f64::INFINITY => self.to.write_all(b"+Inf")?,
                f64::NEG_INFINITY => self.to.write_all(b"-Inf")?,
                value => write!(self.to, "{value}")?,
            }
            if rest == 0 {
                writeln!(self.to, " {seconds}")?;
            } else {
                writeln!(self.to, " {seconds}.{rest:03}")?;
            }
        }
        Ok(())
    }

    /// What was written to, without ending the text.
    #[must_use]
    pub fn into_inner(self) -> W {
        self.to
    }

    /// Ends the text, which is cut short without this.
    ///
    /// # Errors
    /// What the writer says.
    pub fn finish(mut self) -> io::Result<W> {
        self.to.write_all(b"# EOF\n")?;
        self.to.flush()?;
        Ok(self.to)
    }
}

/// A series as the text names it.
fn series(labels: &Labels) -> String {
    let mut inside = Vec::with_capacity(labels.iter().len() + 1);
    let mut text = String::new();
    if is_plain(labels.name()) {
        text.push_str(labels.name());
    } else {
        inside.push(quoted(labels.name()));
    }
    for (label, value) in labels.iter() {
        // A colon is for names of metrics alone.
        let label = if is_plain(label) && !label.contains(':') {
            label.to_owned()
        } else {
            quoted(label)
        };
        inside.push(format!("{label}={}", quoted(value)));
    }
    if !inside.is_empty() {
        text.push('{');
        text.push_str(&inside.join(","));
        text.push('}');
    }
    text
}

/// Whether a name needs no quotes: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
fn is_plain(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':');
    !name.is_empty() && name.bytes().all(fits) && !name.starts_with(|first: char| first.is_ascii_digit())
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::recording::{Format, ReadOptions, read};

    fn written(series: &[(Labels, Vec<(i64, f64)>)]) -> String {
        let mut text = OpenMetrics::new(Vec::new());
        for (labels, samples) in series {
            text.gauge(labels.name(), "Said \"so\".\nTwice.").unwrap();
            text.series(labels, samples).unwrap();
        }
        String::from_utf8(text.finish().unwrap()).unwrap()
    }

    #[test]
    fn a_text_is_as_promtool_wants_it() {
        let labels = Labels::new("m", [("gpu", "0"), ("b c", "\\")]).unwrap();
        let samples = vec![(1_700_000_000_000, 1.5), (1_700_000_015_007, f64::INFINITY)];
        assert_eq!(
            written(&[(labels, samples)]),
            "# HELP m Said \\\"so\\\".\\nTwice.\n# TYPE m gauge\nm{\"b c\"=\"\\\\\",gpu=\"0\"} 1.5 1700000000\n\
             m{\"b c\"=\"\\\\\",gpu=\"0\"} +Inf 1700000015.007\n# EOF\n"
        );
        let no_labels = Labels::new("node:gpus", [("", ""); 0]).unwrap();
        assert!(written(&[(no_labels, vec![(0, 2.0)])]).contains("\nnode:gpus 2 0\n"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_to_the_bit(
            name in "[a-z:é ]{1,6}",
            labels in proptest::collection::btree_map("[a-z_é: 0]{1,4}", "[ -~é\n]{0,6}", 0..4),
            steps in proptest::collection::vec((1_i64..100_000, any::<f64>()), 1..20),
        ) {
            let labels = Labels::new(&name, labels).unwrap();
            let mut at_ms = 1_600_000_000_000;
            let samples: Vec<(i64, f64)> = steps
                .iter()
                .map(|&(step, value)| {
                    at_ms += step;
                    (at_ms, value)
                })
                .collect();
            let text = written(&[(labels.clone(), samples.clone())]);
            let metrics = read(Format::OpenMetrics, &mut text.as_bytes(), &ReadOptions::default()).unwrap();
            let series = &metrics.series()[0];
            prop_assert_eq!(series.labels(), &labels);
            let back: Vec<(i64, f64)> = series.samples().collect();
            prop_assert_eq!(back.len(), samples.len());
            for (one, other) in back.iter().zip(&samples) {
                prop_assert_eq!(one.0, other.0);
                // A recording has one zero and one NaN.
                prop_assert!(one.1.total_cmp(&other.1).is_eq() || (one.1 == 0.0 && other.1 == 0.0) || (one.1.is_nan() && other.1.is_nan()));
            }
        }
    }
}
