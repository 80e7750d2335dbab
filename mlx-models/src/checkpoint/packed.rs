//! Tensors of GGUF files as arrays: packed where MLX has the format, dense where it does not.

use cpu_kernels::blocks::{self, BlockFormat};
use mlx_core::{Array, Blocks, DType, Quantization, Quantized, kernels, nn};

use super::{misshapen, missing, refuse, to_shape};
use crate::Result;
use crate::gguf::{GgmlType, GgufFile, GgufTensor};

/// Matrices `[.., rows, columns]` of a GGUF file, one below the other. `heads` is how many heads the rows belong to, if they
/// pair neighbours.
///
/// Where kernels of our own compute, packed tensors stay as they are in the file. Elsewhere they become what MLX has:
/// formats whose groups have 32 elements are MLX's affine quantization with scales in float32, bit for bit. The others
/// (Q2_K, Q3_K, Q6_K: groups of 16) become dense, which is as exact and larger.
pub(super) fn matrix(
    file: &GgufFile,
    name: &str,
    shape: &[usize],
    heads: Option<usize>,
    dtype: DType,
) -> Result<nn::Weight> {
    let tensor = find(file, name, shape)?;
    let columns = shape.last().copied().unwrap_or(1);
    let rows = tensor.size() / columns.max(1);
    let read = || file.read(name).map(|bytes| in_halves(bytes, rows, heads));
    let format = match tensor.ty {
        GgmlType::Block(format) if kernels::are_used() => {
            let bytes = read()?;
            blocks::check(format, &bytes)
                .map_err(|error| refuse(file.path(), format!("tensor {name}: {error}")))?;
            let shape = shape_of(file, name, &[rows, bytes.len() / rows.max(1)])?;
            return Ok(nn::Weight::Blocks(Blocks::new(Array::from_slice(&bytes, &shape)?, format, dtype)?));
        }
        GgmlType::Block(format) if has_affine_groups(format) => format,
        _ => {
            let dense = dense(file, name, shape, heads, dtype)?;
            return Ok(nn::Weight::Dense(dense.reshape(&shape_of(file, name, &[rows, columns])?)?));
        }
    };
    let affine = blocks::to_affine(format, &read()?)
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

/// A tensor of a GGUF file as floats, of `shape`; `heads` as in [`matrix`].
pub(super) fn dense(
    file: &GgufFile,
    name: &str,
    shape: &[usize],
    heads: Option<usize>,
    dtype: DType,
) -> Result<Array> {
    let tensor = find(file, name, shape)?;
    let values = in_halves(file.dequantize(name)?, shape.first().copied().unwrap_or(1), heads);
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
pub(super) fn find<'f>(file: &'f GgufFile, name: &str, shape: &[usize]) -> Result<&'f GgufTensor> {
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

/// Rows in the order of RoPE that pairs halves, from one that pairs neighbours: within a head, row `2i + p` becomes row
/// `p * half + i`. Without `heads` they stay as they are.
fn in_halves<T: Copy>(data: Vec<T>, rows: usize, heads: Option<usize>) -> Vec<T> {
    let Some(heads) = heads else { return data };
    let (width, half) = (data.len() / rows.max(1), rows / heads.max(1) / 2);
    let row = |head: usize, part: usize, pair: usize| (head * half + pair) * 2 + part;
    let order = (0..heads)
        .flat_map(|head| (0..2).flat_map(move |part| (0..half).map(move |pair| row(head, part, pair))));
    order.flat_map(|row| data[row * width..(row + 1) * width].iter().copied()).collect()
}

fn has_affine_groups(format: BlockFormat) -> bool {
    !matches!(format, BlockFormat::Q2K | BlockFormat::Q3K | BlockFormat::Q6K)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_pair_neighbours_become_halves() {
        // Two heads of four rows, two numbers each.
        let rows: Vec<u8> = (0..16).collect();
        let expected = [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15];
        assert_eq!(in_halves(rows.clone(), 8, Some(2)), expected);
        assert_eq!(in_halves(rows.clone(), 8, None), rows);
    }
}
