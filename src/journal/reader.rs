//! A journal as a stream of records, block by block.

use std::io::Read;

use super::block::{self, Cause, ReadError, Unpacker};
use super::decode::Decoder;
use super::numbers::Input;
use super::record::Record;

/// The records of one segment, or of several written one after another. It ends after the first error.
#[derive(Debug)]
pub struct Reader<R> {
    from: R,
    unpacker: Unpacker,
    decoder: Decoder,
    records: Vec<u8>,
    /// Bytes of `records` that were read already.
    read: usize,
    /// Where the current block begins, and the next.
    block: u64,
    next: u64,
    over: bool,
}

impl<R: Read> Reader<R> {
    /// Reads from the beginning of a segment.
    pub fn new(from: R) -> Self {
        Self {
            from,
            unpacker: Unpacker::default(),
            decoder: Decoder::default(),
            records: Vec::new(),
            read: 0,
            block: 0,
            next: 0,
            over: false,
        }
    }

    fn record(&mut self) -> Result<Option<Record>, Cause> {
        while self.records.len() <= self.read {
            self.block = self.next;
            let Some((records, length)) = block::open_with(&mut self.unpacker, &mut self.from)? else {
                return Ok(None);
            };
            (self.records, self.read) = (records, 0);
            self.next += length;
        }
        let rest = self.records.get(self.read..).unwrap_or_default();
        let mut input = Input(rest);
        let record = self.decoder.record(&mut input)?;
        self.read += rest.len() - input.0.len();
        Ok(Some(record))
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Record, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let record = self.record().map_err(|cause| ReadError {
            offset: self.block,
            cause,
        });
        self.over = !matches!(record, Ok(Some(_)));
        record.transpose()
    }
}
