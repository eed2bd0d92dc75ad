//! The binary layout of trained models: little-endian numbers behind a magic word and a format version.
//!
//! A reader checks every length against the bytes that are there before it allocates, so that a damaged file costs no
//! more memory than its own size and ends in an error, never in a panic.

use std::path::Path;

use crate::{ModelError, trust};

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 30;

/// Writes the parts of one file into memory.
#[derive(Debug)]
pub(crate) struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// Begins a file with its eight-byte magic word and format version.
    pub(crate) fn new(magic: &[u8; 8], version: u32) -> Self {
        let mut writer = Self { bytes: magic.to_vec() };
        writer.number(version);
        writer
    }

    /// Appends a number.
    pub(crate) fn number(&mut self, number: u32) {
        self.bytes.extend(number.to_le_bytes());
    }

    /// Appends a real number.
    pub(crate) fn real(&mut self, number: f32) {
        self.bytes.extend(number.to_le_bytes());
    }

    /// Appends a text with its length.
    pub(crate) fn text(&mut self, text: &str) {
        self.number(text.len() as u32);
        self.bytes.extend(text.as_bytes());
    }

    /// Appends a list of names.
    pub(crate) fn texts<'a>(&mut self, texts: impl ExactSizeIterator<Item = &'a str>) {
        self.number(texts.len() as u32);
        texts.for_each(|text| self.text(text));
    }

    /// Appends numbers whose count the reader knows.
    pub(crate) fn numbers<T: bytemuck::Pod>(&mut self, numbers: &[T]) {
        const { assert!(cfg!(target_endian = "little"), "the file format is little-endian") };
        self.bytes.extend(bytemuck::cast_slice::<T, u8>(numbers));
    }

    /// Appends real numbers with their count.
    pub(crate) fn sized_reals(&mut self, numbers: &[f32]) {
        self.number(numbers.len() as u32);
        self.numbers(numbers);
    }

    /// Returns the whole file.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads the parts of one file in the order in which they were written.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    path: &'a Path,
    rest: &'a [u8],
}

/// Reads a whole file.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, ModelError> {
    trust::read(path, MAX_FILE_BYTES)
}

impl<'a> Reader<'a> {
    /// Checks magic word and version; `path` is for messages only.
    pub(crate) fn new(path: &'a Path, bytes: &'a [u8], magic: &[u8; 8], version: u32) -> Result<Self, ModelError> {
        let mut reader = Self { path, rest: bytes };
        if reader.take(8).ok() != Some(magic.as_slice()) {
            let expected = String::from_utf8_lossy(magic);
            return Err(reader.invalid(format!("it does not begin with `{expected}`, so it is another kind of file")));
        }
        let found = reader.number("format version")?;
        if found != version {
            return Err(reader.invalid(format!("it has format version {found}, this program reads {version}")));
        }
        Ok(reader)
    }

    /// Reads a number.
    pub(crate) fn number(&mut self, what: &str) -> Result<u32, ModelError> {
        Ok(self.numbers::<u32>(1, what)?[0])
    }

    /// Reads a finite real number.
    pub(crate) fn real(&mut self, what: &str) -> Result<f32, ModelError> {
        Ok(self.reals(1, what)?[0])
    }

    /// Reads a text.
    pub(crate) fn text(&mut self, what: &str) -> Result<String, ModelError> {
        let length = self.number(what)? as usize;
        let bytes = self.take(length).map_err(|missing| self.truncated(what, missing))?;
        String::from_utf8(bytes.to_vec()).map_err(|_| self.invalid(format!("{what} is not UTF-8")))
    }

    /// Reads a list of names.
    pub(crate) fn texts(&mut self, what: &str) -> Result<Vec<String>, ModelError> {
        let count = self.number(what)? as usize;
        let mut texts = Vec::with_capacity(count.min(self.rest.len() / 4));
        for _ in 0..count {
            texts.push(self.text(what)?);
        }
        Ok(texts)
    }

    /// Reads `count` finite real numbers.
    pub(crate) fn reals(&mut self, count: usize, what: &str) -> Result<Vec<f32>, ModelError> {
        let numbers = self.numbers::<f32>(count, what)?;
        if let Some(found) = numbers.iter().find(|number| !number.is_finite()) {
            return Err(self.invalid(format!("{what} holds {found}, expected finite numbers")));
        }
        Ok(numbers)
    }

    /// Reads finite real numbers that stand there with their count.
    pub(crate) fn sized_reals(&mut self, what: &str) -> Result<Vec<f32>, ModelError> {
        let count = self.number(what)? as usize;
        self.reals(count, what)
    }

    /// Reads `count` numbers.
    pub(crate) fn numbers<T: bytemuck::Pod>(&mut self, count: usize, what: &str) -> Result<Vec<T>, ModelError> {
        let length = count.saturating_mul(size_of::<T>());
        let bytes = self.take(length).map_err(|missing| self.truncated(what, missing))?;
        let mut numbers = vec![T::zeroed(); count];
        bytemuck::cast_slice_mut::<T, u8>(&mut numbers).copy_from_slice(bytes);
        Ok(numbers)
    }

    /// Checks that nothing follows.
    pub(crate) fn end(self) -> Result<(), ModelError> {
        match self.rest.len() {
            0 => Ok(()),
            more => Err(self.invalid(format!("{more} bytes follow where it should end"))),
        }
    }

    /// Makes the error for content that cannot be.
    pub(crate) fn invalid(&self, reason: impl Into<String>) -> ModelError {
        ModelError::invalid(self.path, reason)
    }

    /// Splits off `length` bytes, or tells how many are missing.
    fn take(&mut self, length: usize) -> Result<&'a [u8], usize> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or_else(|| length - self.rest.len())?;
        self.rest = rest;
        Ok(taken)
    }

    fn truncated(&self, what: &str, missing: usize) -> ModelError {
        self.invalid(format!("it ends within {what}: {missing} bytes are missing"))
    }
}
