//! What the JSON reader does not tell and does not bound, seen on the way to it.

use std::cell::Cell;
use std::io::{self, Read};

/// The longest string: labels are far shorter, and the reader holds one at a time.
pub(super) const MAX_STRING: usize = 1 << 20;

/// What is seen of the bytes on their way to the JSON reader.
#[derive(Default)]
pub(super) struct Watch {
    /// Line ends so far.
    line_ends: Cell<u64>,
    /// Whether a string was too long.
    too_long: Cell<bool>,
    /// Whether there are no more bytes.
    ended: Cell<bool>,
}

impl Watch {
    /// The line that is being read, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line_ends.get() + 1
    }

    /// Whether a string was too long.
    pub(super) fn too_long(&self) -> bool {
        self.too_long.get()
    }

    /// Whether there are no more bytes.
    pub(super) fn ended(&self) -> bool {
        self.ended.get()
    }
}

/// Passes bytes on and watches them: for the number of the line, which the JSON reader tells only in errors, and for
/// the length of strings, which it does not bound.
pub(super) struct Watched<'a, R> {
    input: R,
    watch: &'a Watch,
    /// Inside a string: its length, and whether the next byte is escaped.
    string: Option<(usize, Escape)>,
}

/// Whether the next byte of a string means itself.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    No,
    Next,
}

impl<'a, R: Read> Watched<'a, R> {
    /// Passes on `input`.
    pub(super) fn new(input: R, watch: &'a Watch) -> Self {
        Self {
            input,
            watch,
            string: None,
        }
    }
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.read(buffer)?;
        self.watch.ended.set(count == 0);
        for &byte in &buffer[..count] {
            self.string = match (self.string, byte) {
                (None, b'"') => Some((0, Escape::No)),
                (None, _) | (Some((_, Escape::No)), b'"') => None,
                (Some((length, Escape::No)), b'\\') => Some((length + 1, Escape::Next)),
                (Some((length, _)), _) => Some((length + 1, Escape::No)),
            };
            if byte == b'\n' {
                self.watch.line_ends.set(self.watch.line_ends.get() + 1);
            }
        }
        match self.string {
            Some((length, _)) if length > MAX_STRING => {
                self.watch.too_long.set(true);
                Err(io::Error::other("string too long"))
            }
            _ => Ok(count),
        }
    }
}
