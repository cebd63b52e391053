//! Series that were met before, told from their very bytes.
//!
//! An exporter writes a series the same way each time, and the series after it too. So most lines are recognised
//! by comparing them with the one line that is expected, which costs a memory comparison. Where that fails, the bytes are
//! looked up by their hash. Whoever asks parses the rest, and teaches the result.
//!
//! Nothing is taken for granted by this: equal bytes were parsed and checked before, and parse the same again. A
//! series that is written in several ways has several keys. Their number is bounded, and so are their bytes; what
//! does not fit is parsed each time, which is slow and right.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use memchr::memrchr;

use crate::recording::metrics::{MAX_SERIES, SeriesId};

/// The most ways to write series that are remembered.
const MAX_KEYS: usize = 4 * MAX_SERIES;

/// The most bytes of them; [`MAX_SERIES`] of the longest that DCGM writes are a third of it.
const MAX_BYTES: usize = 256 << 20;

/// One way to write a series: the bytes of `name{labels}`.
#[derive(Debug)]
struct Key {
    start: usize,
    len: u32,
    series: SeriesId,
    /// The key that followed this one the last time; itself at first, as in dumps that go series by series.
    next: u32,
}

/// A key that a line begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    key: u32,
    /// Its series.
    pub(super) series: SeriesId,
    /// Where the rest of the line begins.
    pub(super) end: usize,
}

/// All keys.
#[derive(Debug)]
pub(super) struct Known {
    /// Their bytes, in the order in which they were met: the next key is most likely in the cache.
    bytes: Vec<u8>,
    keys: Vec<Key>,
    by_hash: HashMap<u64, u32>,
    hasher: RandomState,
    /// The key of the line before, if it has one.
    last: Option<u32>,
    max_keys: usize,
    max_bytes: usize,
}

impl Default for Known {
    fn default() -> Self {
        Self::bounded(MAX_KEYS, MAX_BYTES)
    }
}

impl Known {
    fn bounded(max_keys: usize, max_bytes: usize) -> Self {
        Self {
            bytes: Vec::new(),
            keys: Vec::new(),
            by_hash: HashMap::new(),
            hasher: RandomState::new(),
            last: None,
            max_keys,
            max_bytes,
        }
    }

    /// The key that a line begins with, if it is known and a blank follows.
    #[inline]
    pub(super) fn find(&self, line: &[u8]) -> Option<Found> {
        let expected = self.last.map(|last| self.keys[last as usize].next);
        expected
            .and_then(|key| self.begins(line, key))
            .or_else(|| self.look_up(line))
    }

    #[inline]
    fn begins(&self, line: &[u8], key: u32) -> Option<Found> {
        let Key {
            start, len, series, ..
        } = self.keys[key as usize];
        let end = len as usize;
        let blank = matches!(line.get(end), Some(b' ' | b'\t'));
        (blank && line[..end] == self.bytes[start..start + end]).then_some(Found { key, series, end })
    }

    /// Where a line has labels, the last brace most likely ends them; if it is another one, nothing is found.
    fn look_up(&self, line: &[u8]) -> Option<Found> {
        let end = match memrchr(b'}', line) {
            Some(brace) => brace + 1,
            None => line.iter().position(|&byte| byte == b' ' || byte == b'\t')?,
        };
        let key = *self.by_hash.get(&self.hasher.hash_one(&line[..end]))?;
        self.begins(line, key).filter(|found| found.end == end)
    }

    /// Notes that the line which was just read had this key.
    #[inline]
    pub(super) fn follow(&mut self, found: Found) {
        if let Some(last) = self.last {
            self.keys[last as usize].next = found.key;
        }
        self.last = Some(found.key);
    }

    /// Remembers one more way to write a series, if there is room, and notes that the line which was just read had it.
    pub(super) fn learn(&mut self, raw: &[u8], series: SeriesId) {
        let hash = self.hasher.hash_one(raw);
        if let Some(&key) = self.by_hash.get(&hash) {
            // Most likely the same bytes, after which came something odd. Two keys with one hash: the first stays.
            let end = raw.len();
            if self.raw(key) == raw {
                self.follow(Found { key, series, end });
            } else {
                self.last = None;
            }
            return;
        }
        let room = self.keys.len() < self.max_keys && self.bytes.len() + raw.len() <= self.max_bytes;
        let (Ok(key), Ok(len), true) = (u32::try_from(self.keys.len()), u32::try_from(raw.len()), room)
        else {
            self.last = None;
            return;
        };
        self.keys.push(Key {
            start: self.bytes.len(),
            len,
            series,
            next: key,
        });
        self.bytes.extend_from_slice(raw);
        self.by_hash.insert(hash, key);
        let end = raw.len();
        self.follow(Found { key, series, end });
    }

    fn raw(&self, key: u32) -> &[u8] {
        let Key { start, len, .. } = self.keys[key as usize];
        &self.bytes[start..start + len as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::{Labels, MetricsBuilder};

    fn ids(count: usize) -> Vec<SeriesId> {
        let mut builder = MetricsBuilder::new();
        let id = |n: usize| {
            builder
                .series(Labels::new("m", [("n", n.to_string())]).unwrap())
                .unwrap()
        };
        (0..count).map(id).collect()
    }

    #[test]
    fn a_known_series_is_found_wherever_it_stands() {
        let ids = ids(3);
        let raws: [&[u8]; 3] = [b"m{n=\"0\"}", b"m{n=\"1\"}", b"up"];
        let mut known = Known::default();
        for (raw, &id) in raws.iter().zip(&ids) {
            known.learn(raw, id);
        }
        for order in [[0, 1, 2], [2, 1, 0], [1, 1, 1], [0, 2, 1]] {
            for index in order {
                let line = [raws[index], b" 5 1700000000"].concat();
                let found = known.find(&line).unwrap();
                assert_eq!((found.series, found.end), (ids[index], raws[index].len()));
                known.follow(found);
            }
        }
    }

    #[test]
    fn the_beginning_of_another_name_is_no_find() {
        let mut known = Known::default();
        known.learn(b"up", ids(1)[0]);
        for line in ["uptime 5 1", "up{a=\"b\"} 5 1", "up", "u", "", "upp{} up 5"] {
            assert_eq!(known.find(line.as_bytes()), None, "{line}");
        }
        assert!(known.find(b"up\t5 1").is_some());
    }

    #[test]
    fn a_series_in_a_cycle_is_expected() {
        let ids = ids(2);
        let mut known = Known::default();
        for _ in 0..2 {
            known.learn(b"a", ids[0]);
            known.learn(b"b", ids[1]);
        }
        let expected = known.keys[known.last.unwrap() as usize].next;
        assert_eq!(known.raw(expected), b"a");
        assert_eq!(known.keys.len(), 2);
    }

    #[test]
    fn keys_that_do_not_fit_are_not_kept() {
        let id = ids(1)[0];
        for (max_keys, max_bytes) in [(1, 100), (100, 2)] {
            let mut known = Known::bounded(max_keys, max_bytes);
            known.learn(b"xx", id);
            assert!(known.find(b"xx 1 2").is_some());
            known.learn(b"y", id);
            assert_eq!((known.keys.len(), known.last), (1, None));
            assert_eq!(known.find(b"y 1 2"), None);
            assert!(known.find(b"xx 1 2").is_some());
        }
    }
}
