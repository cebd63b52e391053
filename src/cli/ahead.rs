//! Reading ahead: unpacking on one thread while another parses.
//!
//! Unpacking gzip takes about as long as parsing what comes out, so two threads halve the time. Plain files gain
//! nothing and are not read this way.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;

/// Bytes in one block.
const BLOCK: usize = 1 << 18;

/// Blocks that may wait to be parsed.
const BLOCKS_AHEAD: usize = 8;

/// What another thread reads.
#[derive(Debug)]
pub(super) struct ReadAhead {
    blocks: Receiver<io::Result<Vec<u8>>>,
    block: Vec<u8>,
    used: usize,
    ended: bool,
}

impl ReadAhead {
    /// Starts to read. The thread ends with the input, with the first error, or when this is dropped.
    pub(super) fn of(mut input: impl Read + Send + 'static) -> Self {
        let (sender, blocks) = sync_channel(BLOCKS_AHEAD);
        thread::spawn(move || {
            loop {
                let mut block = Vec::with_capacity(BLOCK);
                let read = input.by_ref().take(BLOCK as u64).read_to_end(&mut block);
                let ended = read.is_err() || block.is_empty();
                // Bytes before a fault are good, and its place is only known after them. An empty block is the end:
                // a thread that is gone without having said so has read no whole input.
                let reader_is_gone = (read.is_ok() || !block.is_empty()) && sender.send(Ok(block)).is_err();
                if let Err(error) = read {
                    let _ = sender.send(Err(error));
                }
                if ended || reader_is_gone {
                    return;
                }
            }
        });
        Self {
            blocks,
            block: Vec::new(),
            used: 0,
            ended: false,
        }
    }
}

impl Read for ReadAhead {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.used == self.block.len() && !self.ended {
            let lost = |_| io::Error::new(io::ErrorKind::UnexpectedEof, "the thread that unpacks is gone");
            (self.block, self.used) = (self.blocks.recv().map_err(lost)??, 0);
            self.ended = self.block.is_empty();
        }
        let rest = &self.block[self.used..];
        let length = rest.len().min(to.len());
        to[..length].copy_from_slice(&rest[..length]);
        self.used += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives `left` bytes, then fails.
    struct Failing {
        left: usize,
    }

    impl Read for Failing {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            if self.left == 0 {
                return Err(io::Error::other("cut"));
            }
            let length = to.len().min(self.left).min(1000);
            to[..length].fill(b'x');
            self.left -= length;
            Ok(length)
        }
    }

    #[test]
    fn every_byte_arrives_in_order() {
        let bytes: Vec<u8> = (0..3 * BLOCK + 17)
            .map(|i| u8::try_from(i % 251).unwrap())
            .collect();
        let mut read = Vec::new();
        ReadAhead::of(io::Cursor::new(bytes.clone()))
            .read_to_end(&mut read)
            .unwrap();
        assert_eq!(read, bytes);
    }

    #[test]
    fn a_fault_comes_after_the_bytes_before_it() {
        let mut ahead = ReadAhead::of(Failing { left: BLOCK + 5 });
        let mut read = Vec::new();
        let error = ahead.read_to_end(&mut read).unwrap_err();
        assert_eq!((read.len(), error.to_string()), (BLOCK + 5, "cut".to_owned()));
    }

    /// Gives some bytes, then takes its thread down.
    struct Falling {
        left: usize,
    }

    impl Read for Falling {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            assert!(self.left > 0, "the decoder fell over");
            let length = to.len().min(self.left);
            self.left -= length;
            Ok(length)
        }
    }

    #[test]
    fn a_thread_that_fell_over_is_no_end_of_the_input() {
        let mut ahead = ReadAhead::of(Falling { left: BLOCK });
        let error = ahead.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn who_stops_reading_leaves_no_thread_behind() {
        let mut ahead = ReadAhead::of(io::repeat(1));
        let mut some = [0; 10];
        ahead.read_exact(&mut some).unwrap();
        drop(ahead);
    }
}
