//! Integers as bytes and back: seven bits to a byte, signed ones folded so that small magnitudes are short.
//!
//! What is read is foreign: a number that does not fit, a text that is not UTF-8 or a count that cannot be is
//! [`Malformed`], and nothing is set aside for what has not been seen.

use thiserror::Error;

/// Bytes that are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    /// They end before the record does.
    #[error("a record ends early")]
    Short,
    /// A number is larger than what it counts may be.
    #[error("{0} is out of range")]
    Range(&'static str),
    /// A number stands for nothing.
    #[error("{0} is not known to this build")]
    Unknown(&'static str),
    /// A text is not UTF-8.
    #[error("a text is not UTF-8")]
    Text,
    /// A memory is not JSON of a memory.
    #[error("a memory cannot be read")]
    Memory,
    /// There is no segment's beginning before it.
    #[error("a record stands before the beginning of its segment")]
    Headless,
}

#[inline]
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number & 0x7f | 0x80).to_le_bytes()[0]);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

#[inline]
pub(super) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put(out, (number << 1 ^ number >> 63).cast_unsigned());
}

#[inline]
pub(super) fn put_difference(out: &mut Vec<u8>, number: i64, from: i64) {
    put_signed(out, number.wrapping_sub(from));
}

#[inline]
pub(super) fn put_length(out: &mut Vec<u8>, length: usize) {
    put(out, u64::try_from(length).unwrap_or(u64::MAX));
}

/// A number that may be absent: 0 for none, else one more than the folded number's place.
pub(super) fn put_option(out: &mut Vec<u8>, number: Option<i64>) {
    match number {
        None => out.push(0),
        Some(number) => {
            out.push(1);
            put_signed(out, number);
        }
    }
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_length(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Bytes that are read from the front.
#[derive(Debug, Clone, Copy)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(*first)
    }

    #[inline]
    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(Malformed::Range("a number"))
    }

    #[inline]
    pub(super) fn signed(&mut self) -> Result<i64, Malformed> {
        let folded = self.number()?;
        Ok((folded >> 1).cast_signed() ^ -(folded & 1).cast_signed())
    }

    #[inline]
    pub(super) fn difference(&mut self, from: i64) -> Result<i64, Malformed> {
        Ok(from.wrapping_add(self.signed()?))
    }

    #[inline]
    pub(super) fn small(&mut self, what: &'static str) -> Result<u32, Malformed> {
        u32::try_from(self.number()?).map_err(|_| Malformed::Range(what))
    }

    pub(super) fn option(&mut self) -> Result<Option<i64>, Malformed> {
        match self.byte()? {
            0 => Ok(None),
            1 => self.signed().map(Some),
            _ => Err(Malformed::Unknown("an option")),
        }
    }

    /// How many follow. Each takes a byte at least, and there are never more than `most`.
    pub(super) fn count(&mut self, most: usize, what: &'static str) -> Result<usize, Malformed> {
        let count = usize::try_from(self.number()?).map_err(|_| Malformed::Range(what))?;
        if count > most {
            return Err(Malformed::Range(what));
        }
        if count > self.0.len() {
            return Err(Malformed::Short);
        }
        Ok(count)
    }

    pub(super) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.count(usize::MAX, "a text")?;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| Malformed::Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_and_small_ones_are_short() {
        let mut out = Vec::new();
        for (number, length) in [
            (0, 1),
            (-1, 1),
            (63, 1),
            (64, 2),
            (-8_192, 2),
            (i64::MAX, 10),
            (i64::MIN, 10),
        ] {
            out.clear();
            put_signed(&mut out, number);
            assert_eq!(out.len(), length, "{number}");
            assert_eq!(Input(&out).signed(), Ok(number));
            assert_eq!(
                Input(&out[..length - 1]).signed(),
                Err(Malformed::Short),
                "{number}"
            );
        }
        assert_eq!(Input(&[0xff; 10]).number(), Err(Malformed::Range("a number")));
        assert_eq!(Input(&[0xff; 9]).number(), Err(Malformed::Short));
    }

    #[test]
    fn a_count_is_believed_only_as_far_as_there_are_bytes() {
        let mut out = Vec::new();
        put(&mut out, 1 << 40);
        assert_eq!(Input(&out).count(10, "it"), Err(Malformed::Range("it")));
        assert_eq!(Input(&out).count(usize::MAX, "it"), Err(Malformed::Short));
        assert_eq!(Input(&[2, b'a', 0xff]).text(), Err(Malformed::Text));
    }
}
