//! Tensors of GGUF files as arrays: packed where MLX has the format, dense where it does not.

use cpu_kernels::blocks::{self, BlockFormat};
use mlx_core::{Array, Blocks, DType, Quantization, Quantized, kernels, nn};

use super::{misshapen, missing, refuse, to_shape};
use crate::Result;
use crate::gguf::{GgmlType, GgufFile, GgufTensor};

/// A matrix of a GGUF file, of `[rows, columns]`.
///
/// Where kernels of our own compute, packed tensors stay as they are in the file. Elsewhere they become what MLX has:
/// formats whose groups have 32 elements are MLX's affine quantization with scales in float32, bit for bit. The others
/// (Q2_K, Q3_K, Q6_K: groups of 16) become dense, which is as exact and larger.
pub(super) fn matrix(
    file: &GgufFile,
    name: &str,
    [rows, columns]: [usize; 2],
    dtype: DType,
) -> Result<nn::Weight> {
    let format = match find(file, name, &[rows, columns])?.ty {
        GgmlType::Block(format) if kernels::are_used() => {
            let bytes = file.read(name)?;
            blocks::check(format, &bytes)
                .map_err(|error| refuse(file.path(), format!("tensor {name}: {error}")))?;
            let shape = shape_of(file, name, &[rows, bytes.len() / rows.max(1)])?;
            return Ok(nn::Weight::Blocks(Blocks::new(Array::from_slice(&bytes, &shape)?, format, dtype)?));
        }
        GgmlType::Block(format) if has_affine_groups(format) => format,
        _ => return Ok(nn::Weight::Dense(dense(file, name, &[rows, columns], dtype)?)),
    };
    let affine = blocks::to_affine(format, &file.read(name)?)
        .map_err(|error| refuse(file.path(), format!("tensor {name}: {error}")))?;
    let groups = shape_of(file, name, &[rows, columns / affine.group_size])?;
    let words = shape_of(file, name, &[rows, columns * affine.bits / 32])?;
    Ok(nn::Weight::Quantized(Quantized {
        weight: Array::from_slice(&affine.weight, &words)?,
        scales: converted(Array::from_slice(&affine.scales, &groups)?, dtype)?,
        biases: Some(converted(Array::from_slice(&affine.biases, &groups)?, dtype)?),
        quantization: Quantization::affine(affine.group_size as i32, affine.bits as i32),
    }))
}

/// A tensor of a GGUF file as floats, of `shape`.
pub(super) fn dense(file: &GgufFile, name: &str, shape: &[usize], dtype: DType) -> Result<Array> {
    let tensor = find(file, name, shape)?;
    let values = file.dequantize(name)?;
    // A broken block spoils its whole row without any further sign.
    if matches!(tensor.ty, GgmlType::Block(_)) && values.iter().any(|value| !value.is_finite()) {
        return Err(refuse(file.path(), format!("tensor {name}: its {} blocks hold no numbers", tensor.ty)));
    }
    converted(Array::from_slice(&values, &shape_of(file, name, shape)?)?, dtype)
}

fn shape_of(file: &GgufFile, name: &str, shape: &[usize]) -> Result<Vec<i32>> {
    to_shape(shape).ok_or_else(|| refuse(file.path(), format!("tensor {name} is too large")))
}

/// What the file says of a tensor, which must be of `shape`: checked before anything is read.
fn find<'f>(file: &'f GgufFile, name: &str, shape: &[usize]) -> Result<&'f GgufTensor> {
    let tensor = file.tensor(name).ok_or_else(|| missing(file.path(), name))?;
    if tensor.shape != shape {
        return Err(misshapen(file.path(), name, shape, &tensor.shape));
    }
    Ok(tensor)
}

/// The array in the dtype that the model computes in, computed now so that the original can be freed.
pub(super) fn converted(array: Array, dtype: DType) -> Result<Array> {
    if array.dtype() == dtype || !array.dtype().is_float() {
        return Ok(array);
    }
    let array = array.as_type(dtype)?;
    array.eval()?;
    Ok(array)
}

fn has_affine_groups(format: BlockFormat) -> bool {
    !matches!(format, BlockFormat::Q2K | BlockFormat::Q3K | BlockFormat::Q6K)
}
