//! The header: a Python literal to a checked dtype and shape.

use crate::io::Source;
use crate::{DType, Error, Result};

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Longest header that is read; NumPy itself reads 10000 bytes. What is longer describes records.
const MAX_HEADER: u64 = 1 << 16;

/// Most axes, as NumPy has it.
const MAX_AXES: usize = 64;

/// The data starts at a multiple of this.
const ALIGNMENT: usize = 64;

/// Kind, size in bytes, and dtype: `f4` is four bytes of floating point.
const DTYPES: [(&str, DType); 14] = [
    ("b1", DType::Bool),
    ("u1", DType::U8),
    ("u2", DType::U16),
    ("u4", DType::U32),
    ("u8", DType::U64),
    ("i1", DType::I8),
    ("i2", DType::I16),
    ("i4", DType::I32),
    ("i8", DType::I64),
    ("f2", DType::F16),
    ("V2", DType::BF16),
    ("f4", DType::F32),
    ("f8", DType::F64),
    ("c8", DType::Complex64),
];

/// The letter for the machine's byte order.
const NATIVE: char = if cfg!(target_endian = "little") { '<' } else { '>' };

/// A header that fits the length of its file.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) dtype: DType,
    /// As the array has it, whatever the order of the elements.
    pub(super) shape: Vec<i32>,
    /// Whether the first axis is the one whose elements lie next to each other.
    pub(super) fortran_order: bool,
    /// Whether the bytes of a number are in the other order than the machine's.
    swapped: bool,
    /// Where the data starts in the file.
    pub(super) data_start: u64,
}

impl Header {
    /// Reads and checks the header of `source`.
    pub(super) fn read(source: &Source) -> Result<Self> {
        let refuse = |message: String| Error::Npy { path: source.path().to_owned(), message };
        let mut start = [0; 12];
        let prefix = source.len().min(12);
        let short = || refuse(format!("{} bytes are too few for an npy file", source.len()));
        source.read_into(0, &mut start[..prefix as usize])?;
        if !start.starts_with(MAGIC) && prefix >= MAGIC.len() as u64 {
            return Err(refuse("the file does not start as an npy file does".to_owned()));
        }
        let (len, text_start) = match start[6] {
            _ if prefix < 12 => return Err(short()),
            1 => (u64::from(u16::from_le_bytes([start[8], start[9]])), 10),
            2 | 3 => (u64::from(u32::from_le_bytes([start[8], start[9], start[10], start[11]])), 12),
            version => return Err(refuse(format!("npy version {version}.{} is unknown", start[7]))),
        };
        if start[7] != 0 {
            return Err(refuse(format!("npy version {}.{} is unknown", start[6], start[7])));
        }
        if len > MAX_HEADER {
            return Err(refuse(format!("the header claims {len} bytes, more than {MAX_HEADER}")));
        }
        let Some(data_len) = source.len().checked_sub(text_start + len) else {
            return Err(refuse(format!(
                "the header claims {len} bytes, {} are there",
                source.len() - text_start
            )));
        };
        let bytes = source.read(text_start, len)?;
        // Versions before 3.0 are in Latin-1, but the texts that describe an array of numbers are the same in both.
        let text = std::str::from_utf8(&bytes).map_err(|_| refuse("the header is not a text".to_owned()))?;
        Self::parse(text, text_start + len, data_len).map_err(refuse)
    }

    /// Checks the header `text` of a file that has `data_len` bytes of data from `data_start` on.
    fn parse(text: &str, data_start: u64, data_len: u64) -> Result<Self, String> {
        let entries = Entries::parse(text)?;
        let (dtype, swapped) = dtype(entries.descr)?;
        if entries.shape.len() > MAX_AXES {
            return Err(format!("{} axes are more than {MAX_AXES}", entries.shape.len()));
        }
        let shape: Option<Vec<i32>> =
            entries.shape.iter().map(|length| i32::try_from(*length).ok()).collect();
        let shape = shape.ok_or_else(|| format!("an axis of {:?} is too long", entries.shape))?;
        let size =
            entries.shape.iter().try_fold(dtype.size() as u64, |size, length| size.checked_mul(*length));
        // A product may overflow before it meets the axis that makes it 0.
        let nbytes = if shape.contains(&0) { Some(0) } else { size };
        if nbytes != Some(data_len) {
            return Err(format!("{data_len} bytes of data do not make an array of {dtype}{shape:?}"));
        }
        Ok(Header { dtype, shape, fortran_order: entries.fortran_order, swapped, data_start })
    }

    /// Turns the elements' bytes into the machine's order.
    pub(super) fn to_native(&self, bytes: &mut [u8]) {
        if self.swapped {
            // A complex number is two numbers.
            let size = if self.dtype == DType::Complex64 { 4 } else { self.dtype.size() };
            bytes.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        }
    }
}

/// A dtype, and whether its bytes are in the other order than the machine's.
fn dtype(descr: &str) -> Result<(DType, bool), String> {
    let order = descr.chars().next().filter(|order| "<>|=".contains(*order));
    let kind = order.map_or(descr, |_| &descr[1..]);
    let (_, dtype) = DTYPES
        .into_iter()
        .find(|(known, _)| *known == kind || (kind == "?" && *known == "b1"))
        .ok_or_else(|| {
            if kind.starts_with('O') {
                return "the elements are Python objects, and reading those can run code".to_owned();
            }
            format!("dtype {} is not supported", quote(descr))
        })?;
    let swapped = matches!(order, Some('<' | '>')) && order != Some(NATIVE) && dtype.size() > 1;
    Ok((dtype, swapped))
}

/// The bytes before the data.
pub(super) fn text(shape: &[i32], dtype: DType) -> Result<Vec<u8>, String> {
    if shape.len() > MAX_AXES {
        return Err(format!("{} axes are more than {MAX_AXES}", shape.len()));
    }
    let Some((kind, _)) = DTYPES.iter().find(|(_, known)| *known == dtype) else {
        return Err(format!("npy has no {dtype}"));
    };
    let order = if dtype.size() == 1 { '|' } else { NATIVE };
    let lengths: Vec<String> = shape.iter().map(|length| length.to_string()).collect();
    let comma = if shape.len() == 1 { "," } else { "" };
    let literal = format!(
        "{{'descr': '{order}{kind}', 'fortran_order': False, 'shape': ({}{comma}), }}",
        lengths.join(", ")
    );
    let total = (10 + literal.len() + 1).next_multiple_of(ALIGNMENT);
    let len = u16::try_from(total - 10).map_err(|_| "the header is too long".to_owned())?;
    let mut bytes = [&MAGIC[..], &[1, 0], &len.to_le_bytes(), literal.as_bytes()].concat();
    bytes.resize(total - 1, b' ');
    bytes.push(b'\n');
    Ok(bytes)
}

/// The three entries of the header.
#[derive(Debug)]
struct Entries<'a> {
    descr: &'a str,
    fortran_order: bool,
    shape: Vec<u64>,
}

impl<'a> Entries<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let mut rest = Literal(text.trim_ascii_start());
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        rest.expect('{')?;
        while !rest.take('}') {
            let key = rest.string()?;
            rest.expect(':')?;
            let twice = match key {
                "descr" => descr.replace(rest.descr()?).is_some(),
                "fortran_order" => fortran_order.replace(rest.boolean()?).is_some(),
                "shape" => shape.replace(rest.lengths()?).is_some(),
                key => return Err(format!("the header has an unknown entry {}", quote(key))),
            };
            if twice {
                return Err(format!("the header has two entries {key:?}"));
            }
            if !rest.take(',') {
                rest.expect('}')?;
                break;
            }
        }
        if !rest.0.is_empty() {
            return Err(format!("the header goes on after its end: {}", quote(rest.0)));
        }
        let lacks = |name: &str| format!("the header has no {name:?}");
        Ok(Entries {
            descr: descr.ok_or_else(|| lacks("descr"))?,
            fortran_order: fortran_order.ok_or_else(|| lacks("fortran_order"))?,
            shape: shape.ok_or_else(|| lacks("shape"))?,
        })
    }
}

/// What is left of the header to read, from the next thing that is no space on.
struct Literal<'a>(&'a str);

impl<'a> Literal<'a> {
    fn skip(&mut self, bytes: usize) {
        self.0 = self.0[bytes..].trim_ascii_start();
    }

    fn take(&mut self, token: char) -> bool {
        let found = self.0.starts_with(token);
        if found {
            self.skip(token.len_utf8());
        }
        found
    }

    fn expect(&mut self, token: char) -> Result<(), String> {
        if self.take(token) { Ok(()) } else { Err(self.unexpected(&format!("{token:?}"))) }
    }

    fn unexpected(&self, wanted: &str) -> String {
        format!("the header has {} where {wanted} should be", quote(self.0))
    }

    fn string(&mut self) -> Result<&'a str, String> {
        let text = self.0;
        let mark = text.chars().next().filter(|mark| "'\"".contains(*mark));
        let mark = mark.ok_or_else(|| self.unexpected("a text"))?;
        let inside = &text[1..];
        let end = inside.find(mark).ok_or_else(|| "a text in the header does not end".to_owned())?;
        self.skip(end + 2);
        Ok(&inside[..end])
    }

    fn descr(&mut self) -> Result<&'a str, String> {
        if self.0.starts_with('[') {
            return Err("the elements are records, which arrays do not hold".to_owned());
        }
        self.string()
    }

    fn boolean(&mut self) -> Result<bool, String> {
        for (word, value) in [("True", true), ("False", false)] {
            if self.0.starts_with(word) {
                self.skip(word.len());
                return Ok(value);
            }
        }
        Err(self.unexpected("True or False"))
    }

    fn lengths(&mut self) -> Result<Vec<u64>, String> {
        let mut lengths = Vec::new();
        self.expect('(')?;
        while !self.take(')') {
            let digits = self.0.bytes().take_while(u8::is_ascii_digit).count();
            let length = self.0[..digits].parse().map_err(|_| self.unexpected("the length of an axis"))?;
            lengths.push(length);
            self.skip(digits);
            // Python 2 marks long numbers.
            self.take('L');
            if !self.take(',') {
                // One number in brackets is a number; NumPy refuses it as well.
                if lengths.len() == 1 {
                    return Err(self.unexpected("','"));
                }
                self.expect(')')?;
                break;
            }
        }
        Ok(lengths)
    }
}

/// A piece of the file's own text, escaped and cut to a length that suits a line.
fn quote(text: &str) -> String {
    const SHOWN: usize = 40;
    let end = text.char_indices().nth(SHOWN).map_or(text.len(), |(end, _)| end);
    format!("{:?}", &text[..end])
}
