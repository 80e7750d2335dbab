//! Scaled dot-product attention: `out = softmax(scale * q kᵀ + mask) v` for each head.
//!
//! ```text
//! q [B, Hq, L, Dh]   k [B, Hkv, S, Dh]   v [B, Hkv, S, Dv]   out [B, Hq, L, Dv]
//! ```
//!
//! Query head `h` reads key head `h / (Hq / Hkv)`: whatever is loaded of a key head serves all query heads of its group.
//!
//! The scores are never stored. Keys are taken in blocks whose bounds are multiples of a constant, and for each query
//! a running maximum, the running sum of `e^(score - maximum)` and the running sum of values are kept. One query
//! (`decode`) spreads over the threads by blocks of keys and many (`prefill`) by blocks of queries. Neither the
//! threads nor other queries' presence in the call change what a query gets, but one query alone is added up in
//! another order than the same among several.

mod decode;
mod mask;
mod prefill;

pub use mask::{Mask, MaskView};

use crate::float::Float;
use crate::heads::Heads;
use crate::isa::Isa;

/// What [`attention`] computes.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a, T> {
    /// What the products are multiplied with, `1 / sqrt(Dh)` in most models.
    pub scale: f32,
    /// The keys that each query sees.
    pub mask: Mask<'a, T>,
    /// The order of the output.
    pub order: HeadOrder,
}

/// Which of heads and positions is the outer axis of an output.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeadOrder {
    /// `[B, Hq, L, Dv]`.
    HeadsFirst,
    /// `[B, L, Hq, Dv]`: rows that the output projection takes as they are.
    TokensFirst,
}

/// The operands of one call, which all threads read.
#[derive(Clone, Copy)]
struct Operands<'a, T> {
    q: Heads<'a, T>,
    k: Heads<'a, T>,
    v: Heads<'a, T>,
    options: Attention<'a, T>,
}

impl<T> Operands<'_, T> {
    /// Query heads that share a key head.
    fn group(&self) -> usize {
        self.q.shape()[1] / self.k.shape()[1]
    }
}

/// The attention of `q` over `k` and `v`, into `out`, which is contiguous in the order that `options` asks for.
///
/// A query that sees no key, because they are all masked or there are none, gets 0. (MLX gives NaN or the mean of the
/// values there, depending on the mask.) So does one whose scores are all -infinity. A query with a score of NaN or
/// +infinity gets NaN. The value of a key that is hidden from one query may still be multiplied by 0, so it should be
/// finite.
///
/// # Panics
/// If the shapes do not fit together, `Hq` is not a multiple of `Hkv`, a mask has another shape than `[B, Hq, L, S]`,
/// or `out` another size.
pub fn attention<T: Float>(
    isa: Isa,
    q: Heads<'_, T>,
    k: Heads<'_, T>,
    v: Heads<'_, T>,
    options: Attention<'_, T>,
    out: &mut [T],
) {
    let ([b, q_heads, l, dh], [_, kv_heads, s, dv]) = (q.shape(), v.shape());
    assert_eq!(k.shape(), [b, kv_heads, s, dh], "the keys do not fit the queries and the values");
    assert_eq!(v.shape()[0], b, "the values are of another batch");
    assert_eq!(out.len(), b * q_heads * l * dv, "an output of another size");
    if let Some(shape) = options.mask.shape() {
        assert_eq!(shape, [b, q_heads, l, s], "a mask of another shape");
    }
    if out.is_empty() {
        return;
    }
    assert!(kv_heads > 0 && q_heads.is_multiple_of(kv_heads), "{q_heads} heads share {kv_heads}");
    let operands = Operands { q, k, v, options };
    match l {
        1 => decode::decode(isa, operands, out),
        _ => prefill::prefill(isa, operands, out),
    }
}
