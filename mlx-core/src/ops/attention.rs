//! Attention and what stands around it: MLX's fused kernels.

use crate::{Array, DType, Error, Result, ffi};

/// Which keys a query may see.
#[derive(Clone, Copy, Debug)]
pub enum AttentionMask<'a> {
    /// All of them.
    None,
    /// Those up to its own position; the last query stands at the last key.
    Causal,
    /// Those where the array of booleans, broadcast to `[B, Hq, L, S]`, is true.
    Boolean(&'a Array),
}

/// `softmax(scale * Q Kᵀ + mask) V` for each head.
///
/// # Shapes
/// `queries` `[B, Hq, L, Dh]`, `keys` and `values` `[B, Hkv, S, Dh]` with `Hq` a multiple of `Hkv` (grouped-query
/// attention); the result is `[B, Hq, L, Dh]`. The softmax is computed in float32 whatever the dtype.
///
/// # Errors
/// When the shapes do not belong together, there are no heads, or the mask does not hold booleans.
#[doc(alias = "mlx_fast_scaled_dot_product_attention")]
pub fn scaled_dot_product_attention(
    queries: &Array,
    keys: &Array,
    values: &Array,
    scale: f32,
    mask: AttentionMask<'_>,
) -> Result<Array> {
    const OP: &str = "scaled_dot_product_attention";
    // MLX divides by the number of heads, and adds masks of other dtypes to the scores.
    for operand in [queries, keys, values] {
        if operand.ndim() != 4 || operand.axis_length(OP, 1)? == 0 {
            let message = format!("{} is not [B, H, L, Dh] with at least one head", operand.describe());
            return Err(Error::Shape { op: OP, message });
        }
    }
    if let AttentionMask::Boolean(mask) = mask
        && mask.dtype() != DType::Bool
    {
        return Err(Error::DTypeMismatch { op: OP, expected: DType::Bool, found: mask.dtype() });
    }
    match mask {
        AttentionMask::None => ffi::ops::attention(queries, keys, values, scale, c"", None),
        AttentionMask::Causal => ffi::ops::attention(queries, keys, values, scale, c"causal", None),
        AttentionMask::Boolean(mask) => {
            ffi::ops::attention(queries, keys, values, scale, c"array", Some(mask))
        }
    }
}

impl Array {
    /// `x / √(mean(x²) + eps) * weight` over the last axis, computed in float32. (Zhang and Sennrich, 2019)
    ///
    /// # Errors
    /// When `weight` is not as long as the last axis.
    #[doc(alias = "mlx_fast_rms_norm")]
    pub fn rms_norm(&self, weight: Option<&Array>, eps: f32) -> Result<Array> {
        ffi::ops::rms_norm(self, weight, eps)
    }

    /// `(x - mean(x)) / √(var(x) + eps) * weight + bias` over the last axis, computed in float32. (Ba et al., 2016)
    ///
    /// # Errors
    /// When `weight` or `bias` is not as long as the last axis.
    #[doc(alias = "mlx_fast_layer_norm")]
    pub fn layer_norm(&self, weight: Option<&Array>, bias: Option<&Array>, eps: f32) -> Result<Array> {
        ffi::ops::layer_norm(self, weight, bias, eps)
    }

    /// Rotary position embedding of `[B, .., L, Dh]`, the first row at position `offset`. (Su et al., 2021)
    ///
    /// The first `dims` of the last axis are rotated in pairs by the angle `scale * position * base^(-2i / dims)`: pairs
    /// `(i, i + dims / 2)`, or neighbours `(2i, 2i + 1)` if `traditional`.
    ///
    /// # Errors
    /// When there are fewer than three axes or `dims` does not fit the last.
    #[doc(alias = "mlx_fast_rope")]
    pub fn rope(&self, dims: i32, traditional: bool, base: f32, scale: f32, offset: i32) -> Result<Array> {
        ffi::ops::rope(self, dims, traditional, base, scale, offset)
    }
}
