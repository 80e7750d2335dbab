//! Attention over packed keys and values.

use super::quantized::require_float;
use crate::{Array, AttentionMask, DType, Device, Error, Quantized, Result, ffi, kernels, select};

const OP: &str = "quantized_attention";

/// [`scaled_dot_product_attention`](crate::scaled_dot_product_attention) over packed keys and values, which are never
/// unpacked as a whole.
///
/// # Shapes
/// `queries` `[B, Hq, L, Dh]`; `keys` and `values` pack `[B, Hkv, S, Dh]` with `Hq` a multiple of `Hkv`; the result is
/// `[B, Hq, L, Dh]`, in the dtype of the queries. The softmax is computed in float32; on a GPU the scores are rounded to the
/// dtype of the queries before it.
///
/// # Errors
/// When the shapes do not belong together, there is nothing to attend to, or the mask is of another dtype than its kind says.
#[doc(alias = "mlx_quantized_matmul")]
pub fn quantized_attention(
    queries: &Array,
    keys: &Quantized,
    values: &Quantized,
    scale: f32,
    mask: AttentionMask<'_>,
) -> Result<Array> {
    check(queries, keys, values, mask)?;
    kernels::quantized_attention(queries, [keys, values], scale, mask)
        .unwrap_or_else(|| quantized_attention_in_steps(queries, [keys, values], scale, mask))
}

fn check(queries: &Array, keys: &Quantized, values: &Quantized, mask: AttentionMask<'_>) -> Result<()> {
    let refuse = |message| Err(Error::Shape { op: OP, message });
    require_float(OP, queries)?;
    let width = keys.require(OP)?;
    let width_of_values = values.require(OP)?;
    let (shape, k, v) = (queries.shape(), keys.weight.shape(), values.weight.shape());
    let together = match (shape, k, v) {
        (&[batch, heads, _, columns], &[kb, kv_heads, length, _], &[vb, vh, others, _]) => {
            let same = batch == kb && kb == vb && kv_heads == vh && length == others && columns == width;
            same && kv_heads > 0 && heads % kv_heads == 0 && width_of_values > 0
        }
        _ => false,
    };
    let of = || {
        let (keys, values) = (keys.weight.describe(), values.weight.describe());
        format!("queries {} over packed keys {keys} and values {values}", queries.describe())
    };
    if !together {
        return refuse(format!("{} are not [B, Hq, L, Dh] and [B, Hkv, S, Dh]", of()));
    }
    // A query without a key has no attention, and the kernels divide by the lengths of the axes.
    let aligned = matches!(mask, AttentionMask::Causal | AttentionMask::Window(_));
    if k[2] == 0 || queries.size() == 0 || aligned && shape[2] > k[2] {
        return refuse(format!("{}: some have no key to see", of()));
    }
    match mask {
        AttentionMask::Window(size) if size < 1 => {
            refuse(format!("a window of {size} keys; a query sees one at least, its own"))
        }
        AttentionMask::Boolean(mask) if mask.dtype() != DType::Bool => {
            Err(Error::DTypeMismatch { op: OP, expected: DType::Bool, found: mask.dtype() })
        }
        AttentionMask::Additive(mask) if !mask.dtype().is_float() => {
            Err(Error::DTypeMismatch { op: OP, expected: queries.dtype(), found: mask.dtype() })
        }
        _ => Ok(()),
    }
}

/// The same by MLX's products with packed matrices, one for each head of the keys.
pub(crate) fn quantized_attention_in_steps(
    queries: &Array,
    [keys, values]: [&Quantized; 2],
    scale: f32,
    mask: AttentionMask<'_>,
) -> Result<Array> {
    let (&[batch, heads, length, width], &[_, kv_heads, count, _]) = (queries.shape(), keys.weight.shape())
    else {
        return Err(Error::Shape { op: OP, message: "queries or keys have no four axes".to_owned() });
    };
    let dtype = queries.dtype();
    // MLX's products with packed matrices add up in the dtype of the operands on a CPU, so that the sum over 16-bit
    // scores stops growing after a few hundred keys. On a GPU they add in float32.
    let dtype_of_sums = if Device::current() == Device::Cpu { DType::F32 } else { dtype };
    let queries = queries.as_type(dtype_of_sums)?;
    let group = heads / kv_heads;
    // The heads that share keys lie side by side, so they are more rows of one product.
    let rows =
        queries.multiply(&queries.scalar_like(scale)?)?.reshape(&[batch, kv_heads, group * length, width])?;
    let scores = ffi::ops::quantized_matmul(&rows, keys, true)?; // [B, Hkv, G * L, S]
    let scores = match mask {
        AttentionMask::None => scores,
        mask => masked(&scores.reshape(&[batch, heads, length, count])?, mask)?,
    };
    let weights = scores.reshape(&[batch, kv_heads, group * length, count])?.softmax(-1, true)?;
    let attended = ffi::ops::quantized_matmul(&weights, values, false)?; // [B, Hkv, G * L, Dv]
    attended.reshape(&[batch, heads, length, -1])?.as_type(dtype)
}

/// Scores `[B, Hq, L, S]`, those that do not count at -infinity.
fn masked(scores: &Array, mask: AttentionMask<'_>) -> Result<Array> {
    let (length, count) = (scores.dim(2)?, scores.dim(3)?);
    let aligned;
    let allowed = match mask {
        AttentionMask::None => return Ok(scores.clone()),
        AttentionMask::Additive(mask) => return scores.add(&mask.as_type(scores.dtype())?),
        AttentionMask::Boolean(mask) => mask,
        AttentionMask::Causal => {
            aligned = kernels::windowed(length, count, i32::MAX)?;
            &aligned
        }
        AttentionMask::Window(size) => {
            aligned = kernels::windowed(length, count, size)?;
            &aligned
        }
    };
    select(allowed, scores, &scores.scalar_like(f32::NEG_INFINITY)?)
}
