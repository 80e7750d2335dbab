//! The header, from the magic to the start of the data.

use super::metadata::{Metadata, Value};
use super::reader::{Reader, quote};
use super::tensors::{Listed, Tensors};
use crate::Result;
use mlx_core::io::Source;
use std::collections::BTreeMap;

/// Bytes of the shortest pair: an empty key, a type and one byte.
const SMALLEST_PAIR: u64 = 8 + 4 + 1;

/// Memory of a pair in the map, allowing for its half-filled nodes.
const PAIR_MEMORY: usize = 2 * size_of::<(String, Value)>();

/// The alignment of files that do not state one.
const DEFAULT_ALIGNMENT: u64 = 32;

/// The key of the alignment.
const ALIGNMENT: &str = "general.alignment";

/// Reads and checks everything before the data.
pub(super) fn read(source: &Source) -> Result<(Metadata, Tensors)> {
    let mut reader = Reader::new(source);
    check_version(&mut reader)?;
    // The list of tensors comes after the pairs, so its count is checked against what they leave.
    let tensor_count = reader.u64()?;
    let pairs = reader.count("metadata pairs", SMALLEST_PAIR, PAIR_MEMORY)?;
    let metadata = read_metadata(&mut reader, source, pairs)?;
    let listed = Listed::read_all(&mut reader, tensor_count)?;
    let alignment = alignment(&metadata)?;
    let tensors = Tensors::check(&reader, listed, alignment, source.len())?;
    Ok((metadata, tensors))
}

fn check_version(reader: &mut Reader<'_>) -> Result<()> {
    let magic = reader.array()?;
    if &magic != b"GGUF" {
        return Err(reader.refuse(format!("not a GGUF file: it starts with \"{}\"", magic.escape_ascii())));
    }
    match reader.u32()? {
        2 | 3 => Ok(()),
        1 => Err(reader.refuse("GGUF version 1 is not supported; convert the model anew")),
        // A small number in the other byte order has its low half empty.
        swapped if swapped & 0xffff == 0 && swapped != 0 => {
            Err(reader.refuse("big-endian GGUF files are not supported"))
        }
        version => Err(reader.refuse(format!("GGUF version {version} is unknown"))),
    }
}

fn read_metadata(reader: &mut Reader<'_>, source: &Source, pairs: usize) -> Result<Metadata> {
    let mut entries = BTreeMap::new();
    for _ in 0..pairs {
        let key = reader.string()?;
        let value = Value::read(reader, &key)?;
        if let Some(key) = entries.contains_key(&key).then(|| quote(&key)) {
            return Err(reader.refuse(format!("key {key} appears twice")));
        }
        entries.insert(key, value);
    }
    Ok(Metadata::new(source.path().to_owned(), entries))
}

/// The alignment of the tensors' data, a power of two.
fn alignment(metadata: &Metadata) -> Result<u64> {
    let Some(alignment) = metadata.optional_u32(ALIGNMENT)? else { return Ok(DEFAULT_ALIGNMENT) };
    if !alignment.is_power_of_two() {
        return Err(metadata.refuse(ALIGNMENT, format!("{alignment} is not a power of two")));
    }
    Ok(alignment.into())
}
