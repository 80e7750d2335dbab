//! A buffered walk through the header that knows how much of the file is left.

use crate::{Error, Result};
use mlx_core::io::Source;

/// Bytes fetched at a time.
const BUFFER: u64 = 1 << 16;

/// Memory that everything before the data may take. The largest vocabularies in use need some tens of MiB.
const BUDGET: u64 = 256 << 20;

/// Characters of a file's own text that an error message repeats.
const MAX_QUOTE: usize = 200;

/// Reads little-endian values in order.
pub(super) struct Reader<'a> {
    source: &'a Source,
    /// Position of `buffer[at]` in the file.
    position: u64,
    buffer: Vec<u8>,
    at: usize,
    budget: u64,
}

impl<'a> Reader<'a> {
    pub(super) fn new(source: &'a Source) -> Self {
        Reader { source, position: 0, buffer: Vec::new(), at: 0, budget: BUDGET }
    }

    /// Where the next byte lies in the file.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Bytes between here and the end of the file.
    fn remaining(&self) -> u64 {
        self.source.len() - self.position
    }

    /// An error about this file.
    pub(super) fn refuse(&self, message: impl Into<String>) -> Error {
        Error::Gguf { path: self.source.path().to_owned(), message: message.into() }
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        loop {
            if let Some(&bytes) = self.buffer.get(self.at..).and_then(|rest| rest.first_chunk::<N>()) {
                self.at += N;
                self.position += N as u64;
                return Ok(bytes);
            }
            self.require(N as u64)?;
            self.buffer = self.source.read(self.position, BUFFER.min(self.remaining()))?;
            self.at = 0;
        }
    }

    pub(super) fn u32(&mut self) -> Result<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// The next `len` bytes.
    pub(super) fn bytes(&mut self, len: u64) -> Result<Vec<u8>> {
        self.require(len)?;
        self.charge(len)?;
        let buffered = usize::try_from(len).ok().and_then(|len| self.buffer.get(self.at..)?.get(..len));
        let Some(bytes) = buffered else {
            // Too long for the buffer: fetched directly, and the buffer starts anew behind it.
            let bytes = self.source.read(self.position, len)?;
            self.position += len;
            (self.buffer, self.at) = (Vec::new(), 0);
            return Ok(bytes);
        };
        let bytes = bytes.to_vec();
        self.at += bytes.len();
        self.position += len;
        Ok(bytes)
    }

    /// A u64 length, then as many bytes of UTF-8.
    pub(super) fn string(&mut self) -> Result<String> {
        let len = self.u64()?;
        let bytes = self.bytes(len)?;
        String::from_utf8(bytes)
            .map_err(|_| self.refuse(format!("text at {} is not UTF-8", self.position - len)))
    }

    /// A u64 count, checked as [`admit`](Self::admit) says.
    pub(super) fn count(&mut self, what: &str, smallest: u64, memory: usize) -> Result<usize> {
        let count = self.u64()?;
        self.admit(what, count, smallest, memory)
    }

    /// Checks that `count` things of at least `smallest` bytes each can follow, and may take `memory` each
    /// once read.
    pub(super) fn admit(&mut self, what: &str, count: u64, smallest: u64, memory: usize) -> Result<usize> {
        if count > self.remaining() / smallest {
            return Err(self.refuse(format!("{count} {what} do not fit the {} bytes left", self.remaining())));
        }
        self.charge(count.saturating_mul(memory as u64))?;
        usize::try_from(count).map_err(|_| self.refuse(format!("{count} {what} are too many")))
    }

    fn require(&self, len: u64) -> Result<()> {
        if len > self.remaining() {
            return Err(self.refuse(format!(
                "the header is cut short: {len} bytes wanted at {}, {} are there",
                self.position,
                self.remaining()
            )));
        }
        Ok(())
    }

    fn charge(&mut self, memory: u64) -> Result<()> {
        let Some(left) = self.budget.checked_sub(memory) else {
            return Err(self.refuse(format!("the metadata takes more than {BUDGET} bytes of memory")));
        };
        self.budget = left;
        Ok(())
    }
}

/// A name of the file's choosing, escaped and cut to a length that suits a line of text.
pub(super) fn quote(name: &str) -> String {
    let cut = name.char_indices().nth(MAX_QUOTE).map_or(name, |(end, _)| &name[..end]);
    format!("{cut:?}")
}
