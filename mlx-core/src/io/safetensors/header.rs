//! The header: JSON to checked tensors.

use super::TensorInfo;
use crate::io::Source;
use crate::{DType, Error, Result};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use std::collections::BTreeMap;
use std::fmt;

/// Longest header that is read.
const MAX_HEADER: u64 = 100 << 20;

/// Characters of a file's own text that an error message repeats.
const MAX_QUOTE: usize = 200;

/// The key that holds free-form strings instead of a tensor.
pub(super) const METADATA: &str = "__metadata__";

/// Names that the format gives to dtypes that we read and write.
const DTYPES: [(&str, DType); 14] = [
    ("BOOL", DType::Bool),
    ("U8", DType::U8),
    ("U16", DType::U16),
    ("U32", DType::U32),
    ("U64", DType::U64),
    ("I8", DType::I8),
    ("I16", DType::I16),
    ("I32", DType::I32),
    ("I64", DType::I64),
    ("F16", DType::F16),
    ("BF16", DType::BF16),
    ("F32", DType::F32),
    ("F64", DType::F64),
    ("C64", DType::Complex64),
];

/// The name of the 8-bit floats that MLX computes with, and holds in uint8.
const FP8: &str = "F8_E4M3";

/// Names of the format that MLX has no element type for.
const UNSUPPORTED: [&str; 7] =
    ["F4", "F6_E2M3", "F6_E3M2", "F8_E5M2", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"];

/// The format's name of a dtype.
pub(super) fn dtype_name(dtype: DType) -> Option<&'static str> {
    DTYPES.iter().find(|(_, known)| *known == dtype).map(|(name, _)| *name)
}

/// Bytes of an array; `None` when they do not fit 64 bits.
///
/// Zero-length axes count as one until the end, so that strides of a tensor without elements fit as well.
pub(super) fn nbytes(dtype: DType, shape: &[usize]) -> Option<u64> {
    let size =
        shape.iter().try_fold(dtype.size() as u64, |size, &axis| size.checked_mul(axis.max(1) as u64))?;
    Some(if shape.contains(&0) { 0 } else { size })
}

/// A header whose tensors are known to cover the file's data.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, String>,
    /// In the order of their data.
    pub(super) tensors: Vec<TensorInfo>,
    /// Positions in `tensors`, in the order of their names.
    by_name: Vec<usize>,
    /// Where the data starts in the file.
    pub(super) data_start: u64,
}

impl Header {
    /// Reads and checks the header of `source`.
    pub(super) fn read(source: &Source) -> Result<Self> {
        let refuse = |message| Error::Safetensors { path: source.path().to_owned(), message };
        let Some(after_prefix) = source.len().checked_sub(8) else {
            return Err(refuse(format!("{} bytes are too few for a safetensors file", source.len())));
        };
        let mut prefix = [0; 8];
        source.read_into(0, &mut prefix)?;
        let len = u64::from_le_bytes(prefix);
        if len > MAX_HEADER {
            return Err(refuse(format!("the header claims {len} bytes, more than {MAX_HEADER}")));
        }
        let Some(data_len) = after_prefix.checked_sub(len) else {
            return Err(refuse(format!("the header claims {len} bytes, {after_prefix} are there")));
        };
        let json = source.read(8, len)?;
        Self::parse(&json, 8 + len, data_len).map_err(refuse)
    }

    /// Checks the header `json` of a file that has `data_len` bytes of data from `data_start` on.
    fn parse(json: &[u8], data_start: u64, data_len: u64) -> Result<Self, String> {
        if json.first() != Some(&b'{') {
            return Err("the header does not start with a '{'".into());
        }
        let raw: RawHeader =
            serde_json::from_slice(json).map_err(|e| format!("header: {}", cut(&e.to_string())))?;
        let mut tensors =
            raw.tensors.into_iter().map(|(name, entry)| entry.check(name)).collect::<Result<Vec<_>, _>>()?;
        // Tensors without elements come before the one that starts where they are.
        tensors.sort_by(|a, b| (a.offset, a.nbytes, &a.name).cmp(&(b.offset, b.nbytes, &b.name)));
        check_cover(&tensors, data_len)?;

        let mut by_name: Vec<usize> = (0..tensors.len()).collect();
        by_name.sort_by_key(|&i| &tensors[i].name);
        if let Some(twice) = by_name.windows(2).find(|pair| tensors[pair[0]].name == tensors[pair[1]].name) {
            return Err(format!("tensor {} appears twice", quote(&tensors[twice[0]].name)));
        }
        Ok(Header { metadata: raw.metadata.unwrap_or_default(), tensors, by_name, data_start })
    }

    /// The tensor of that name.
    pub(super) fn find(&self, name: &str) -> Option<&TensorInfo> {
        let found = self.by_name.binary_search_by_key(&name, |&i| &self.tensors[i].name).ok()?;
        self.tensors.get(*self.by_name.get(found)?)
    }
}

/// Checks that tensors in the order of their offsets follow each other from 0 to `data_len`.
fn check_cover(tensors: &[TensorInfo], data_len: u64) -> Result<(), String> {
    let mut end = 0;
    for tensor in tensors {
        let (name, start) = (|| quote(&tensor.name), tensor.offset);
        if start < end {
            return Err(format!("tensor {} starts at {start}, inside the tensor that ends at {end}", name()));
        }
        if start > end {
            return Err(format!("{} bytes before tensor {} belong to no tensor", start - end, name()));
        }
        end = start + tensor.nbytes;
        if end > data_len {
            return Err(format!("tensor {} ends at {end}, but the data has {data_len} bytes", name()));
        }
    }
    if end < data_len {
        return Err(format!("{} bytes after the last tensor belong to no tensor", data_len - end));
    }
    Ok(())
}

/// A tensor as the header spells it. Further keys are ignored, as the reference reader does.
#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: (u64, u64),
}

impl Entry {
    fn check(self, name: String) -> Result<TensorInfo, String> {
        let refuse = |message| Err(format!("tensor {}: {message}", quote(&name)));
        let is_fp8 = self.dtype == FP8;
        let wanted = if is_fp8 { "U8" } else { self.dtype.as_str() };
        let Some(&(_, dtype)) = DTYPES.iter().find(|(known, _)| *known == wanted) else {
            let known = UNSUPPORTED.contains(&self.dtype.as_str());
            let problem = if known { "is not supported" } else { "is unknown" };
            return refuse(format!("dtype {} {problem}", quote(&self.dtype)));
        };
        let Some(nbytes) = nbytes(dtype, &self.shape) else {
            return refuse("its shape has more bytes than 64 bits can count".into());
        };
        let (start, end) = self.data_offsets;
        match end.checked_sub(start) {
            None => refuse(format!("data_offsets [{start}, {end}] end before they start")),
            Some(found) if found != nbytes => {
                refuse(format!("data_offsets hold {found} bytes, shape and dtype make {nbytes}"))
            }
            Some(_) => Ok(TensorInfo { name, dtype, is_fp8, shape: self.shape, offset: start, nbytes }),
        }
    }
}

/// The header's object with every key kept, so that repeated ones can be refused.
struct RawHeader {
    metadata: Option<BTreeMap<String, String>>,
    tensors: Vec<(String, Entry)>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RawHeaderVisitor)
    }
}

struct RawHeaderVisitor;

impl<'de> Visitor<'de> for RawHeaderVisitor {
    type Value = RawHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
        let mut raw = RawHeader { metadata: None, tensors: Vec::new() };
        while let Some(key) = map.next_key::<String>()? {
            if key != METADATA {
                let entry = map.next_value().map_err(|e| named("tensor", &key, &e))?;
                raw.tensors.push((key, entry));
            } else if raw.metadata.is_none() {
                raw.metadata = Some(map.next_value::<Strings>().map_err(|e| named("key", METADATA, &e))?.0);
            } else {
                return Err(de::Error::custom(format_args!("{METADATA} appears twice")));
            }
        }
        Ok(raw)
    }
}

/// An object of strings without repeated keys.
struct Strings(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(StringsVisitor)
    }
}

struct StringsVisitor;

impl<'de> Visitor<'de> for StringsVisitor {
    type Value = Strings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Strings, A::Error> {
        let mut strings = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<String, String>()? {
            if strings.contains_key(&key) {
                return Err(de::Error::custom(format_args!("{} appears twice", quote(&key))));
            }
            strings.insert(key, value);
        }
        Ok(Strings(strings))
    }
}

fn named<E: de::Error>(what: &str, name: &str, error: &E) -> E {
    E::custom(format_args!("{what} {}: {}", quote(name), cut(&error.to_string())))
}

/// A name of the file's choosing, escaped and cut to a length that suits a line of text.
pub(super) fn quote(name: &str) -> String {
    format!("{:?}", cut(name))
}

fn cut(text: &str) -> &str {
    text.char_indices().nth(MAX_QUOTE).map_or(text, |(end, _)| &text[..end])
}
