//! The pairs of keys and values.

use super::reader::{Reader, quote};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Arrays inside arrays that are followed; the models in use have none.
const MAX_DEPTH: usize = 4;

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// An unsigned 8-bit integer.
    U8(u8),
    /// A signed 8-bit integer.
    I8(i8),
    /// An unsigned 16-bit integer.
    U16(u16),
    /// A signed 16-bit integer.
    I16(i16),
    /// An unsigned 32-bit integer.
    U32(u32),
    /// A signed 32-bit integer.
    I32(i32),
    /// An unsigned 64-bit integer.
    U64(u64),
    /// A signed 64-bit integer.
    I64(i64),
    /// A single-precision number.
    F32(f32),
    /// A double-precision number.
    F64(f64),
    /// A truth value.
    Bool(bool),
    /// Text.
    String(String),
    /// Values of one type.
    Array(Array),
}

/// An array of values of one type.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Array {
    /// Unsigned 8-bit integers.
    U8(Vec<u8>),
    /// Signed 8-bit integers.
    I8(Vec<i8>),
    /// Unsigned 16-bit integers.
    U16(Vec<u16>),
    /// Signed 16-bit integers.
    I16(Vec<i16>),
    /// Unsigned 32-bit integers.
    U32(Vec<u32>),
    /// Signed 32-bit integers.
    I32(Vec<i32>),
    /// Unsigned 64-bit integers.
    U64(Vec<u64>),
    /// Signed 64-bit integers.
    I64(Vec<i64>),
    /// Single-precision numbers.
    F32(Vec<f32>),
    /// Double-precision numbers.
    F64(Vec<f64>),
    /// Truth values.
    Bool(Vec<bool>),
    /// Texts.
    String(Vec<String>),
    /// Arrays, whose element types may differ.
    Array(Vec<Array>),
}

impl Value {
    /// Reads a value's type, then the value of `key`.
    pub(super) fn read(reader: &mut Reader<'_>, key: &str) -> Result<Self> {
        Ok(match reader.u32()? {
            0 => Value::U8(u8::from_le_bytes(reader.array()?)),
            1 => Value::I8(i8::from_le_bytes(reader.array()?)),
            2 => Value::U16(u16::from_le_bytes(reader.array()?)),
            3 => Value::I16(i16::from_le_bytes(reader.array()?)),
            4 => Value::U32(u32::from_le_bytes(reader.array()?)),
            5 => Value::I32(i32::from_le_bytes(reader.array()?)),
            6 => Value::F32(f32::from_le_bytes(reader.array()?)),
            7 => Value::Bool(truth(reader, key)?),
            8 => Value::String(reader.string()?),
            9 => Value::Array(Array::read(reader, key, 1)?),
            10 => Value::U64(u64::from_le_bytes(reader.array()?)),
            11 => Value::I64(i64::from_le_bytes(reader.array()?)),
            12 => Value::F64(f64::from_le_bytes(reader.array()?)),
            id => return Err(unknown_type(reader, key, id)),
        })
    }

    /// The type's name, such as `u32` or `array of string`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Value::U8(_) => "u8",
            Value::I8(_) => "i8",
            Value::U16(_) => "u16",
            Value::I16(_) => "i16",
            Value::U32(_) => "u32",
            Value::I32(_) => "i32",
            Value::U64(_) => "u64",
            Value::I64(_) => "i64",
            Value::F32(_) => "f32",
            Value::F64(_) => "f64",
            Value::Bool(_) => "bool",
            Value::String(_) => "string",
            Value::Array(array) => match array {
                Array::U8(_) => "array of u8",
                Array::I8(_) => "array of i8",
                Array::U16(_) => "array of u16",
                Array::I16(_) => "array of i16",
                Array::U32(_) => "array of u32",
                Array::I32(_) => "array of i32",
                Array::U64(_) => "array of u64",
                Array::I64(_) => "array of i64",
                Array::F32(_) => "array of f32",
                Array::F64(_) => "array of f64",
                Array::Bool(_) => "array of bool",
                Array::String(_) => "array of string",
                Array::Array(_) => "array of array",
            },
        }
    }

    /// The integer, whatever its width and sign.
    fn integer(&self) -> Option<i128> {
        Some(match *self {
            Value::U8(v) => v.into(),
            Value::I8(v) => v.into(),
            Value::U16(v) => v.into(),
            Value::I16(v) => v.into(),
            Value::U32(v) => v.into(),
            Value::I32(v) => v.into(),
            Value::U64(v) => v.into(),
            Value::I64(v) => v.into(),
            _ => return None,
        })
    }

    fn float(&self) -> Option<f32> {
        match *self {
            Value::F32(v) => Some(v),
            Value::F64(v) => Some(v as f32),
            _ => None,
        }
    }
}

impl Array {
    /// Reads an element type, a count and the elements; `depth` counts the arrays around them and this one.
    fn read(reader: &mut Reader<'_>, key: &str, depth: usize) -> Result<Self> {
        if depth > MAX_DEPTH {
            return Err(reader.refuse(format!("key {}: arrays lie deeper than {MAX_DEPTH}", quote(key))));
        }
        Ok(match reader.u32()? {
            0 => Array::U8(numbers(reader, u8::from_le_bytes)?),
            1 => Array::I8(numbers(reader, i8::from_le_bytes)?),
            2 => Array::U16(numbers(reader, u16::from_le_bytes)?),
            3 => Array::I16(numbers(reader, i16::from_le_bytes)?),
            4 => Array::U32(numbers(reader, u32::from_le_bytes)?),
            5 => Array::I32(numbers(reader, i32::from_le_bytes)?),
            6 => Array::F32(numbers(reader, f32::from_le_bytes)?),
            7 => Array::Bool(items(reader, 1, |reader| truth(reader, key))?),
            8 => Array::String(items(reader, 8, Reader::string)?),
            // The shortest array is a type and a count.
            9 => Array::Array(items(reader, 12, |reader| Array::read(reader, key, depth + 1))?),
            10 => Array::U64(numbers(reader, u64::from_le_bytes)?),
            11 => Array::I64(numbers(reader, i64::from_le_bytes)?),
            12 => Array::F64(numbers(reader, f64::from_le_bytes)?),
            id => return Err(unknown_type(reader, key, id)),
        })
    }
}

fn numbers<T, const N: usize>(reader: &mut Reader<'_>, decode: fn([u8; N]) -> T) -> Result<Vec<T>> {
    items(reader, N as u64, |reader| reader.array().map(decode))
}

/// A count, then that many items of at least `smallest` bytes.
fn items<'a, T>(
    reader: &mut Reader<'a>,
    smallest: u64,
    mut item: impl FnMut(&mut Reader<'a>) -> Result<T>,
) -> Result<Vec<T>> {
    let count = reader.count("array elements", smallest, size_of::<T>())?;
    let mut items = Vec::with_capacity(count);
    for _ in 0..count {
        items.push(item(reader)?);
    }
    Ok(items)
}

fn truth(reader: &mut Reader<'_>, key: &str) -> Result<bool> {
    match reader.array()? {
        [0] => Ok(false),
        [1] => Ok(true),
        [byte] => Err(reader.refuse(format!("key {}: {byte} is no truth value", quote(key)))),
    }
}

fn unknown_type(reader: &Reader<'_>, key: &str, id: u32) -> Error {
    reader.refuse(format!("key {}: value type {id} is unknown", quote(key)))
}

/// A file's metadata.
///
/// Each getter comes in two forms: the plain one fails when the key is missing, the `optional_` one returns
/// `None`. Both fail when the value has another type, with a message that names the file, the key and the
/// type found. Integers are taken in any width as long as the value fits, because writers differ in the one
/// they choose.
#[derive(Clone, Debug)]
pub struct Metadata {
    path: PathBuf,
    entries: BTreeMap<String, Value>,
}

macro_rules! getters {
    ($($(#[$doc:meta])* $name:ident / $optional:ident -> $t:ty = $wanted:literal, $convert:expr;)*) => {
        $(
            $(#[$doc])*
            ///
            /// # Errors
            /// When the key is missing or its value is of another kind.
            pub fn $name(&self, key: &str) -> Result<$t> {
                self.$optional(key)?.ok_or_else(|| self.refuse(key, "missing from the metadata"))
            }

            #[doc = concat!("As [`", stringify!($name), "`](Self::", stringify!($name), "), `None` when missing.")]
            ///
            /// # Errors
            /// When the value is of another kind.
            pub fn $optional(&self, key: &str) -> Result<Option<$t>> {
                self.converted(key, $wanted, $convert)
            }
        )*
    };
}

impl Metadata {
    pub(super) fn new(path: PathBuf, entries: BTreeMap<String, Value>) -> Self {
        Metadata { path, entries }
    }

    /// The value of a key as the file has it.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    /// All pairs, in the order of their keys.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    getters! {
        /// An integer.
        u32 / optional_u32 -> u32 = "u32", |v| v.integer()?.try_into().ok();
        /// An integer.
        u64 / optional_u64 -> u64 = "u64", |v| v.integer()?.try_into().ok();
        /// A number; f64 is rounded.
        f32 / optional_f32 -> f32 = "f32", |v| v.float();
        /// A truth value.
        bool / optional_bool -> bool = "bool", |v| match v { Value::Bool(v) => Some(*v), _ => None };
        /// A text.
        str / optional_str -> &str = "string", |v| match v { Value::String(v) => Some(v.as_str()), _ => None };
        /// Texts, such as a vocabulary.
        string_array / optional_string_array -> &[String] = "array of string",
            |v| match v { Value::Array(Array::String(v)) => Some(v.as_slice()), _ => None };
        /// Numbers, such as a vocabulary's scores.
        f32_array / optional_f32_array -> &[f32] = "array of f32",
            |v| match v { Value::Array(Array::F32(v)) => Some(v.as_slice()), _ => None };
        /// Integers, such as a vocabulary's token types.
        i32_array / optional_i32_array -> &[i32] = "array of i32",
            |v| match v { Value::Array(Array::I32(v)) => Some(v.as_slice()), _ => None };
    }

    fn converted<'a, T>(
        &'a self,
        key: &str,
        wanted: &str,
        convert: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(value) = self.get(key) else { return Ok(None) };
        if let Some(converted) = convert(value) {
            return Ok(Some(converted));
        }
        // The number is worth showing: it may be of the right type and just not fit.
        let number = value.integer().map_or(String::new(), |n| format!(" {n}"));
        Err(self.refuse(key, format!("expected {wanted}, found {}{number}", value.type_name())))
    }

    /// An error about a key of this file.
    pub(super) fn refuse(&self, key: &str, message: impl AsRef<str>) -> Error {
        Error::Gguf { path: self.path.clone(), message: format!("key {}: {}", quote(key), message.as_ref()) }
    }
}
