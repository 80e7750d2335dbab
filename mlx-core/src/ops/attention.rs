//! Attention and what stands around it: MLX's fused kernels.

use crate::{Array, DType, Error, Result, ffi, kernels};

/// Which keys a query may see.
#[derive(Clone, Copy, Debug)]
pub enum AttentionMask<'a> {
    /// All of them.
    None,
    /// Those up to its own position; the last query stands at the last key.
    Causal,
    /// The last so many of those, its own position included: a sliding window.
    Window(i32),
    /// Those where the array of booleans, broadcast to `[B, Hq, L, S]`, is true.
    Boolean(&'a Array),
    /// All of them, with the numbers of the array, broadcast to `[B, Hq, L, S]`, added to the scores.
    Additive(&'a Array),
}

/// `softmax(scale * Q Kᵀ + mask) V` for each head.
///
/// # Shapes
/// `queries` `[B, Hq, L, Dh]`, `keys` and `values` `[B, Hkv, S, Dh]` with `Hq` a multiple of `Hkv` (grouped-query
/// attention); the result is `[B, Hq, L, Dh]`. The softmax is computed in float32 whatever the dtype.
///
/// # Errors
/// When the shapes do not belong together, there are no heads, or the mask is of another dtype than its kind says.
#[doc(alias = "mlx_fast_scaled_dot_product_attention")]
pub fn scaled_dot_product_attention(
    queries: &Array,
    keys: &Array,
    values: &Array,
    scale: f32,
    mask: AttentionMask<'_>,
) -> Result<Array> {
    attention_with_sinks(queries, keys, values, scale, mask, None)
}

/// [`scaled_dot_product_attention`] with a learned score for each head, `sinks` `[Hq]`, that takes part in the softmax and
/// has no value. (Xiao et al., 2023)
///
/// # Errors
/// As there, and when there is not one score for each head.
pub fn attention_with_sinks(
    queries: &Array,
    keys: &Array,
    values: &Array,
    scale: f32,
    mask: AttentionMask<'_>,
    sinks: Option<&Array>,
) -> Result<Array> {
    const OP: &str = "scaled_dot_product_attention";
    let refuse = |message| Err(Error::Shape { op: OP, message });
    // MLX divides by the number of heads.
    for operand in [queries, keys, values] {
        if operand.ndim() != 4 || operand.shape()[1] == 0 {
            return refuse(format!("{} is not [B, H, L, Dh] with at least one head", operand.describe()));
        }
    }
    // Its fused kernels read as many values as there are keys, and as many sinks as heads.
    if keys.shape()[2] != values.shape()[2] {
        return refuse(format!("keys {} and values {} differ in length", keys.describe(), values.describe()));
    }
    if let Some(sinks) = sinks
        && sinks.shape() != [queries.shape()[1]]
    {
        return refuse(format!("sinks {} for the heads of {}", sinks.describe(), queries.describe()));
    }
    if let AttentionMask::Window(size) = mask
        && size < 1
    {
        return refuse(format!("a window of {size} keys; a query sees one at least, its own"));
    }
    if sinks.is_none()
        && let Some(attended) = kernels::attention([queries, keys, values], scale, mask)
    {
        return attended;
    }
    let window;
    let (mode, array) = match mask {
        AttentionMask::None => (c"", None),
        AttentionMask::Causal => (c"causal", None),
        AttentionMask::Window(size) => {
            window = kernels::windowed(queries.dim(2)?, keys.dim(2)?, size)?;
            (c"array", Some(&window))
        }
        AttentionMask::Boolean(mask) if mask.dtype() != DType::Bool => {
            return Err(Error::DTypeMismatch { op: OP, expected: DType::Bool, found: mask.dtype() });
        }
        AttentionMask::Additive(mask) if !mask.dtype().is_float() => {
            return Err(Error::DTypeMismatch { op: OP, expected: queries.dtype(), found: mask.dtype() });
        }
        AttentionMask::Boolean(mask) | AttentionMask::Additive(mask) => (c"array", Some(mask)),
    };
    ffi::ops::attention([queries, keys, values], scale, mode, array, sinks)
}

/// How fast the pairs of features turn in [`Array::rope`].
#[derive(Clone, Copy, Debug)]
pub enum Frequencies<'a> {
    /// Pair `i` turns by `base^(-2i / dims)` a position.
    Base(f32),
    /// Pair `i` turns by `1 / wavelengths[i]` a position; float32 `[dims / 2]`.
    Wavelengths(&'a Array),
}

impl<'a> Frequencies<'a> {
    /// One of the two, as MLX takes them.
    fn parts(self) -> (Option<f32>, Option<&'a Array>) {
        match self {
            Frequencies::Base(base) => (Some(base), None),
            Frequencies::Wavelengths(wavelengths) => (None, Some(wavelengths)),
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
        kernels::rms_norm(self, weight, eps).unwrap_or_else(|| ffi::ops::rms_norm(self, weight, eps))
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
    /// The first `dims` of the last axis are rotated in pairs by an angle of `scale * position` times the pair's frequency:
    /// pairs `(i, i + dims / 2)`, or neighbours `(2i, 2i + 1)` if `traditional`.
    ///
    /// # Errors
    /// When there are fewer than three axes, `dims` does not fit the last, or there are not as many wavelengths as pairs.
    #[doc(alias = "mlx_fast_rope")]
    pub fn rope(
        &self,
        dims: i32,
        traditional: bool,
        frequencies: Frequencies<'_>,
        scale: f32,
        offset: i32,
    ) -> Result<Array> {
        let (base, wavelengths) = frequencies.parts();
        let turns = kernels::Rope { dims, traditional, base, scale, offset, inverse: false };
        kernels::rope(self, wavelengths, turns)
            .unwrap_or_else(|| ffi::ops::rope(self, dims, traditional, base, wavelengths, scale, offset))
    }

    /// [`rope`](Self::rope) with an offset that may be the result of a computation, as int32: a scalar, or one for each
    /// sequence, `[B]`.
    ///
    /// # Errors
    /// As there, and when there are not as many wavelengths or offsets as needed.
    #[doc(alias = "mlx_fast_rope_dynamic")]
    pub fn rope_dynamic(
        &self,
        dims: i32,
        traditional: bool,
        frequencies: Frequencies<'_>,
        scale: f32,
        offset: &Array,
    ) -> Result<Array> {
        let (base, wavelengths) = frequencies.parts();
        ffi::ops::rope_dynamic(self, dims, traditional, base, wavelengths, scale, offset)
    }
}
