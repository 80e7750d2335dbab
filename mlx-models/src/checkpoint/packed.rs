//! Tensors of GGUF files as arrays: packed where MLX has the format, dense where it does not.

use cpu_kernels::blocks::{self, BlockFormat};
use mlx_core::{Array, DType, Quantization, nn};

use super::refuse;
use crate::Result;
use crate::gguf::{GgmlType, GgufFile};

/// A matrix of a GGUF file.
///
/// Formats whose groups have 32 elements are MLX's affine quantization with scales in float32, bit for bit. The others
/// (Q2_K, Q3_K, Q6_K: groups of 16) become dense, which is as exact and larger.
pub(super) fn matrix(file: &GgufFile, name: &str, dtype: DType) -> Result<nn::Weight> {
    let Some(tensor) = file.tensor(name) else {
        return Err(refuse(file.path(), format!("no tensor {name}")));
    };
    let ([rows, columns], GgmlType::Block(format)) = (two_axes(&tensor.shape), tensor.ty) else {
        return Ok(nn::Weight::Dense(dense(file, name, dtype)?));
    };
    if !has_affine_groups(format) {
        return Ok(nn::Weight::Dense(dense(file, name, dtype)?));
    }
    let affine = blocks::to_affine(format, &file.read(name)?)
        .map_err(|error| refuse(file.path(), format!("tensor {name}: {error}")))?;
    let groups = [rows as i32, (columns / affine.group_size) as i32];
    Ok(nn::Weight::Quantized {
        weight: Array::from_slice(&affine.weight, &[rows as i32, (columns * affine.bits / 32) as i32])?,
        scales: converted(Array::from_slice(&affine.scales, &groups)?, dtype)?,
        biases: converted(Array::from_slice(&affine.biases, &groups)?, dtype)?,
        quantization: Quantization { group_size: affine.group_size as i32, bits: affine.bits as i32 },
    })
}

/// A tensor of a GGUF file as floats.
pub(super) fn dense(file: &GgufFile, name: &str, dtype: DType) -> Result<Array> {
    let values = file.dequantize(name)?;
    let shape = file.tensor(name).map(|tensor| tensor.shape.iter().map(|n| *n as i32).collect::<Vec<_>>());
    let shape = shape.ok_or_else(|| refuse(file.path(), format!("no tensor {name}")))?;
    converted(Array::from_slice(&values, &shape)?, dtype)
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

fn two_axes(shape: &[usize]) -> [usize; 2] {
    match shape {
        [rows, columns] => [*rows, *columns],
        _ => [1, shape.iter().product()],
    }
}
