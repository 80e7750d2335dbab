//! The list of tensors.

use super::reader::{Reader, quote};
use crate::{Error, Result};
use cpu_kernels::blocks::BlockFormat;
use std::fmt;

/// ggml's largest number of axes.
const MAX_AXES: u32 = 4;

/// Bytes of the shortest entry: an empty name, no axes, a type and an offset.
const SMALLEST_ENTRY: u64 = 8 + 4 + 4 + 8;

/// How a tensor's elements are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GgmlType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    BF16,
    /// IEEE double precision.
    F64,
    /// Signed 8-bit integer.
    I8,
    /// Signed 16-bit integer.
    I16,
    /// Signed 32-bit integer.
    I32,
    /// Signed 64-bit integer.
    I64,
    /// Quantized blocks along the last axis.
    Block(BlockFormat),
}

impl GgmlType {
    /// The type of ggml's number `id`; for others, ggml's name where it has one.
    fn from_id(id: u32) -> Result<Self, Option<&'static str>> {
        Ok(match id {
            0 => GgmlType::F32,
            1 => GgmlType::F16,
            2 => GgmlType::Block(BlockFormat::Q4_0),
            3 => GgmlType::Block(BlockFormat::Q4_1),
            6 => GgmlType::Block(BlockFormat::Q5_0),
            7 => GgmlType::Block(BlockFormat::Q5_1),
            8 => GgmlType::Block(BlockFormat::Q8_0),
            10 => GgmlType::Block(BlockFormat::Q2K),
            11 => GgmlType::Block(BlockFormat::Q3K),
            12 => GgmlType::Block(BlockFormat::Q4K),
            13 => GgmlType::Block(BlockFormat::Q5K),
            14 => GgmlType::Block(BlockFormat::Q6K),
            24 => GgmlType::I8,
            25 => GgmlType::I16,
            26 => GgmlType::I32,
            27 => GgmlType::I64,
            28 => GgmlType::F64,
            30 => GgmlType::BF16,
            9 => return Err(Some("Q8_1")),
            15 => return Err(Some("Q8_K")),
            16 => return Err(Some("IQ2_XXS")),
            17 => return Err(Some("IQ2_XS")),
            18 => return Err(Some("IQ3_XXS")),
            19 => return Err(Some("IQ1_S")),
            20 => return Err(Some("IQ4_NL")),
            21 => return Err(Some("IQ3_S")),
            22 => return Err(Some("IQ2_S")),
            23 => return Err(Some("IQ4_XS")),
            29 => return Err(Some("IQ1_M")),
            34 => return Err(Some("TQ1_0")),
            35 => return Err(Some("TQ2_0")),
            39 => return Err(Some("MXFP4")),
            40 => return Err(Some("NVFP4")),
            41 => return Err(Some("Q1_0")),
            _ => return Err(None),
        })
    }

    /// ggml's name of the type, such as `F16` or `Q4_K`.
    pub fn name(self) -> &'static str {
        match self {
            GgmlType::F32 => "F32",
            GgmlType::F16 => "F16",
            GgmlType::BF16 => "BF16",
            GgmlType::F64 => "F64",
            GgmlType::I8 => "I8",
            GgmlType::I16 => "I16",
            GgmlType::I32 => "I32",
            GgmlType::I64 => "I64",
            GgmlType::Block(format) => format.name(),
        }
    }

    /// Elements of one block; 1 for the types that have none.
    pub fn block_len(self) -> usize {
        match self {
            GgmlType::Block(format) => format.block_len(),
            _ => 1,
        }
    }

    /// Bytes of one block, or of one element.
    pub fn block_bytes(self) -> usize {
        match self {
            GgmlType::I8 => 1,
            GgmlType::F16 | GgmlType::BF16 | GgmlType::I16 => 2,
            GgmlType::F32 | GgmlType::I32 => 4,
            GgmlType::F64 | GgmlType::I64 => 8,
            GgmlType::Block(format) => format.block_bytes(),
        }
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the file says of one tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GgufTensor {
    /// The tensor's name, unique in its file.
    pub name: String,
    /// Shape in row-major order: the last axis is contiguous. This is ggml's `ne` reversed.
    pub shape: Vec<usize>,
    /// How the elements are stored.
    pub ty: GgmlType,
    /// First byte, from the start of the file.
    pub(super) position: u64,
    /// Length in bytes.
    pub(super) nbytes: u64,
}

impl GgufTensor {
    /// Number of elements.
    pub fn size(&self) -> usize {
        self.shape.iter().product()
    }

    /// Length of the packed data in bytes.
    pub fn nbytes(&self) -> u64 {
        self.nbytes
    }
}

/// A tensor as the list spells it: each part is read, but only the name and the type have been checked.
pub(super) struct Listed {
    name: String,
    shape: Vec<usize>,
    ty: GgmlType,
    offset: u64,
}

impl Listed {
    /// Reads the list.
    pub(super) fn read_all(reader: &mut Reader<'_>, count: u64) -> Result<Vec<Self>> {
        let memory = size_of::<Self>() + size_of::<GgufTensor>() + MAX_AXES as usize * size_of::<usize>();
        let count = reader.admit("tensors", count, SMALLEST_ENTRY, memory)?;
        let mut listed = Vec::with_capacity(count);
        for _ in 0..count {
            listed.push(Self::read(reader)?);
        }
        Ok(listed)
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let name = reader.string()?;
        let axes = reader.u32()?;
        if axes > MAX_AXES {
            return Err(
                reader.refuse(format!("tensor {} has {axes} axes, more than {MAX_AXES}", quote(&name)))
            );
        }
        let mut shape = Vec::with_capacity(axes as usize);
        for _ in 0..axes {
            let len = reader.u64()?;
            shape.push(usize::try_from(len).map_err(|_| too_large(reader, &name))?);
        }
        shape.reverse();
        let id = reader.u32()?;
        let ty = GgmlType::from_id(id).map_err(|known| {
            let name = quote(&name);
            reader.refuse(match known {
                Some(ty) => format!("tensor {name}: type {ty} is not supported"),
                None => format!("tensor {name}: type {id} is unknown"),
            })
        })?;
        Ok(Listed { name, shape, ty, offset: reader.u64()? })
    }

    /// Length of the packed data; zero-length axes count as one until the end, so that strides fit as well.
    fn nbytes(&self, reader: &Reader<'_>) -> Result<u64> {
        let (row, block_len) = (self.shape.last().copied().unwrap_or(1), self.ty.block_len());
        if !row.is_multiple_of(block_len) {
            let (name, ty) = (quote(&self.name), self.ty);
            return Err(reader
                .refuse(format!("tensor {name}: rows of {row} are not whole {ty} blocks of {block_len}")));
        }
        let size = self.shape.iter().try_fold(1, |size: usize, &axis| size.checked_mul(axis.max(1)));
        let size = size.ok_or_else(|| too_large(reader, &self.name))?;
        let bytes = (size / block_len) as u64;
        let bytes =
            bytes.checked_mul(self.ty.block_bytes() as u64).ok_or_else(|| too_large(reader, &self.name))?;
        Ok(if self.shape.contains(&0) { 0 } else { bytes })
    }
}

fn too_large(reader: &Reader<'_>, name: &str) -> Error {
    reader.refuse(format!("tensor {}: its shape has more bytes than 64 bits can count", quote(name)))
}

/// Tensors whose data is known to lie inside the file, apart from each other.
#[derive(Debug)]
pub(super) struct Tensors {
    /// In the order of the file's list.
    pub(super) list: Vec<GgufTensor>,
    /// Positions in `list`, in the order of their names.
    by_name: Vec<usize>,
}

impl Tensors {
    /// Checks a list that ends where `reader` stands, in a file of `file_len` bytes.
    pub(super) fn check(
        reader: &Reader<'_>,
        listed: Vec<Listed>,
        alignment: u64,
        file_len: u64,
    ) -> Result<Self> {
        // A header is shorter than its file, and no file comes near 2^63 bytes.
        let start = reader.position().next_multiple_of(alignment);
        let mut list = Vec::with_capacity(listed.len());
        for entry in listed {
            let nbytes = entry.nbytes(reader)?;
            let refuse = |message| reader.refuse(format!("tensor {}: {message}", quote(&entry.name)));
            if !entry.offset.is_multiple_of(alignment) {
                return Err(refuse(format!("offset {} is not a multiple of {alignment}", entry.offset)));
            }
            let position = start.checked_add(entry.offset);
            let (Some(position), Some(end)) =
                (position, position.and_then(|start| start.checked_add(nbytes)))
            else {
                return Err(refuse(format!("offset {} is outside the file", entry.offset)));
            };
            // A tensor without elements has nothing to read, wherever it claims to lie.
            let (position, end) = if nbytes == 0 { (0, 0) } else { (position, end) };
            if end > file_len {
                return Err(refuse(format!("its data ends at {end}, but the file has {file_len} bytes")));
            }
            list.push(GgufTensor { name: entry.name, shape: entry.shape, ty: entry.ty, position, nbytes });
        }
        check_apart(reader, &list)?;

        let mut by_name: Vec<usize> = (0..list.len()).collect();
        by_name.sort_by_key(|&i| &list[i].name);
        if let Some(twice) = by_name.windows(2).find(|pair| list[pair[0]].name == list[pair[1]].name) {
            return Err(reader.refuse(format!("tensor {} appears twice", quote(&list[twice[0]].name))));
        }
        Ok(Tensors { list, by_name })
    }

    /// The tensor of that name.
    pub(super) fn find(&self, name: &str) -> Option<&GgufTensor> {
        let found = self.by_name.binary_search_by_key(&name, |&i| &self.list[i].name).ok()?;
        self.list.get(*self.by_name.get(found)?)
    }
}

/// Checks that no two tensors share a byte.
fn check_apart(reader: &Reader<'_>, list: &[GgufTensor]) -> Result<()> {
    let mut by_position: Vec<_> = list.iter().filter(|tensor| tensor.nbytes > 0).collect();
    by_position.sort_by_key(|tensor| tensor.position);
    match by_position.windows(2).find(|pair| pair[0].position + pair[0].nbytes > pair[1].position) {
        Some(pair) => {
            let (first, second) = (quote(&pair[0].name), quote(&pair[1].name));
            Err(reader.refuse(format!("tensors {first} and {second} overlap")))
        }
        None => Ok(()),
    }
}
