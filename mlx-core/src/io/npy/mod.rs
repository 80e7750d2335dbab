//! npy: NumPy's file of one array.
//!
//! ```text
//! "\x93NUMPY"            magic
//! u8, u8                 version: 1.0, 2.0 or 3.0
//! u16 or u32             length of the header, little-endian: u16 in version 1.0
//! header                 {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }, spaces and a line's end
//! data                   the elements, nothing after them
//! ```
//!
//! The format is that of <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>. The header is a Python
//! literal; the reader here takes the three entries in any order and refuses everything else.

mod header;

use std::io::Write;
use std::path::Path;

use super::{Source, write_atomically};
use crate::{Array, Error, Result};
use header::Header;

/// Reads the array of an npy file.
///
/// Files of NumPy, of MLX and of others that keep to the format: both byte orders, both orders of axes, and every dtype
/// that arrays have. Two-byte raw elements (`V2`) are bfloat16, as MLX writes them.
///
/// # Errors
/// When the file cannot be read, its header breaks a rule, the data is not as long as the header says, the dtype is
/// one that arrays do not have, such as strings or Python objects, a boolean is neither 0 nor 1, or the array does not fit
/// below the memory limit.
pub fn load_npy(path: impl AsRef<Path>) -> Result<Array> {
    read_npy(&Source::open(path)?)
}

/// Reads the array of an npy file from a [`Source`]: an open file, or memory.
///
/// # Errors
/// As [`load_npy`].
pub fn read_npy(source: &Source) -> Result<Array> {
    let refuse = |message| Error::Npy { path: source.path().to_owned(), message };
    let header = Header::read(source)?;
    let read = |bytes: &mut [u8]| {
        source.read_into(header.data_start, bytes)?;
        header.to_native(bytes);
        Ok(())
    };
    let mut shape = header.shape.clone();
    if header.fortran_order {
        shape.reverse();
    }
    let array = Array::from_writer(&shape, header.dtype, read).map_err(|error| match error {
        Error::Shape { message, .. } => refuse(message),
        error => error,
    })?;
    if header.fortran_order {
        return array.transpose(&(0..shape.len() as i32).rev().collect::<Vec<_>>());
    }
    Ok(array)
}

/// Writes an array into an npy file that replaces `path` only once it is complete, computing it first if need be.
///
/// The file is what `numpy.save` writes, in version 1.0. NumPy has no bfloat16: such elements are written as raw ones
/// (`V2`), which MLX and this crate read as bfloat16.
///
/// ```
/// use mlx_core::{Array, io};
///
/// let path = std::env::temp_dir().join("mlx-core-example.npy");
/// io::save_npy(&path, &Array::from_slice(&[1i32, 2, 3], &[3])?)?;
/// assert_eq!(io::load_npy(&path)?.to_vec::<i32>()?, [1, 2, 3]);
/// # Ok::<(), mlx_core::Error>(())
/// ```
///
/// # Errors
/// When computing fails, the array has more than 64 axes, or the file cannot be written.
pub fn save_npy(path: impl AsRef<Path>, array: &Array) -> Result<()> {
    let path = path.as_ref();
    let header = header::text(array.shape(), array.dtype())
        .map_err(|message| Error::Npy { path: path.to_owned(), message })?;
    let array = array.laid_out()?;
    let bytes = array.bytes()?;
    write_atomically(path, |out| {
        out.write_all(&header)?;
        out.write_all(bytes)
    })
}
