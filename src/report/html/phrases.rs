//! Sentences that differ only by their numbers, kept once.
//!
//! A month has thousands of decisions, and each says a few sentences such as "signal `gpu` sees 14.22 GPUs busy".
//! Their words are put into one table with gaps where the numbers were, and each use keeps its numbers. The words are
//! those of [`explain`](fn@crate::report::explain), not a second set of them.

use std::collections::BTreeMap;

/// Stands in a sentence where a number was: the character that Unicode has for "an object goes here".
pub(super) const GAP: char = '\u{fffc}';

/// A table of sentences without their numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Phrases {
    numbers: BTreeMap<String, usize>,
    sentences: Vec<String>,
}

/// Numbers and points: what is cut out of a sentence.
fn is_numeric(c: char) -> bool {
    c.is_ascii_digit() || c == '.'
}

impl Phrases {
    /// The sentence as its place in the table, then its numbers, with spaces between.
    pub(super) fn shorten(&mut self, sentence: &str) -> String {
        let (mut words, mut numbers) = (String::with_capacity(sentence.len()), String::new());
        let mut in_number = false;
        for c in sentence.chars() {
            match (is_numeric(c), in_number) {
                (true, true) => numbers.push(c),
                (true, false) => {
                    words.push(GAP);
                    numbers.push(' ');
                    numbers.push(c);
                }
                (false, _) => words.push(if c == GAP { '?' } else { c }),
            }
            in_number = is_numeric(c);
        }
        let place = if let Some(&place) = self.numbers.get(&words) {
            place
        } else {
            self.sentences.push(words.clone());
            self.numbers.insert(words, self.sentences.len() - 1);
            self.sentences.len() - 1
        };
        format!("{place}{numbers}")
    }

    /// The sentence again.
    pub(super) fn whole(&self, short: &str) -> String {
        let mut parts = short.split(' ');
        let place = parts.next().and_then(|place| place.parse::<usize>().ok());
        let words = place.and_then(|place| self.sentences.get(place));
        let mut whole = String::new();
        for c in words.map_or("", String::as_str).chars() {
            if c == GAP {
                whole.push_str(parts.next().unwrap_or_default());
            } else {
                whole.push(c);
            }
        }
        whole
    }

    /// All sentences, with [`GAP`] for each number.
    pub(super) fn sentences(&self) -> &[String] {
        &self.sentences
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_that_differ_by_numbers_are_kept_once() {
        let mut phrases = Phrases::default();
        let all = [
            "signal `gpu` sees 14.22 GPUs busy",
            "signal `gpu` sees 3 GPUs busy",
            "70 % of 1h30m",
            "no number",
            "ends in 5",
            "",
        ];
        let short: Vec<String> = all.iter().map(|sentence| phrases.shorten(sentence)).collect();
        assert_eq!(short, ["0 14.22", "0 3", "1 70 1 30", "2", "3 5", "4"]);
        for (short, whole) in short.iter().zip(all) {
            assert_eq!(phrases.whole(short), whole);
        }
        assert_eq!(phrases.sentences().len(), 5);
    }

    proptest::proptest! {
        #[test]
        fn what_was_shortened_can_be_read_again(sentence in "[^\u{fffc}]{0,60}") {
            let mut phrases = Phrases::default();
            let short = phrases.shorten(&sentence);
            proptest::prop_assert_eq!(phrases.whole(&short), sentence);
        }
    }
}
