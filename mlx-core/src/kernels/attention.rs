//! Scaled dot-product attention.

use cpu_kernels::attention::{Attention as Options, HeadOrder, Mask, MaskView, attention as kernel};
use cpu_kernels::{Heads, Isa};

use super::memory::{self, is_supported, with_float};
use super::{Kernel, apply, are_used};
use crate::primitive::{Spec, View, ViewMut};
use crate::{Array, AttentionMask, DType, Error, Result, ffi};

const ATTENTION: &str = "scaled_dot_product_attention";

/// Attention of `[B, Hq, L, Dh]`, if there is a kernel for it and it is used here. The caller has checked that there are
/// heads, and as many values as keys.
pub(crate) fn attention(
    [queries, keys, values]: [&Array; 3],
    scale: f32,
    mask: AttentionMask<'_>,
) -> Option<Result<Array>> {
    let operands = [queries, keys, values];
    let same = operands.iter().all(|operand| operand.dtype() == queries.dtype());
    if !same || !is_supported(queries.dtype()) || !are_used() {
        return None;
    }
    let (kind, array) = match mask {
        AttentionMask::None => (Seen::All, None),
        AttentionMask::Causal => (Seen::Causal, None),
        AttentionMask::Window(window) => (Seen::Window(window), None),
        AttentionMask::Boolean(mask) => (Seen::Where, Some(mask)),
        AttentionMask::Additive(mask) => (Seen::Added, Some(mask)),
    };
    let kernel = Attention { scale, seen: kind };
    let inputs: Vec<&Array> = operands.into_iter().chain(array).collect();
    let specs: Vec<Spec> = inputs.iter().map(|input| Spec::of(input)).collect();
    // What does not fit together is MLX's to refuse.
    kernel.outputs(&specs).ok()?;
    Some(apply(kernel, &inputs).map(|[out]| out))
}

/// What a query sees.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    All,
    Causal,
    Window(i32),
    /// Where the fourth input is true.
    Where,
    /// All, with the fourth input added to the scores.
    Added,
}

/// Inputs are queries `[B, Hq, L, Dh]`, keys `[B, Hkv, S, Dh]`, values `[B, Hkv, S, Dv]`, and a mask that is broadcast to
/// `[B, Hq, L, S]`, if the kind has one.
struct Attention {
    scale: f32,
    seen: Seen,
}

fn misfit() -> Error {
    Error::Shape { op: ATTENTION, message: "queries, keys, values and mask do not go together".to_owned() }
}

fn four(shape: &[i32]) -> Result<[usize; 4]> {
    <[i32; 4]>::try_from(shape).map(|shape| shape.map(|axis| axis as usize)).map_err(|_| misfit())
}

/// The strides of a mask of `shape`, broadcast to `to`.
fn broadcast(shape: &[i32], strides: &[usize], to: [usize; 4]) -> Option<[usize; 4]> {
    let missing = to.len().checked_sub(shape.len())?;
    let mut broadcast = [0; 4];
    for (axis, (length, stride)) in shape.iter().zip(strides).enumerate() {
        match *length as usize {
            length if length == to[missing + axis] => broadcast[missing + axis] = *stride,
            1 => {}
            _ => return None,
        }
    }
    Some(broadcast)
}

impl Kernel for Attention {
    fn name(&self) -> &str {
        ATTENTION
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let [q, k, v, mask @ ..] = inputs else { return Err(misfit()) };
        let ([batch, heads, length, width], [kb, kv_heads, keys, kw], [vb, vh, values, vw]) =
            (four(&q.shape)?, four(&k.shape)?, four(&v.shape)?);
        let together = batch == kb && kb == vb && kv_heads == vh && keys == values && width == kw;
        let grouped = kv_heads > 0 && heads.is_multiple_of(kv_heads) && vw > 0 && width > 0;
        let masked = match (self.seen, mask) {
            (Seen::Where, [mask]) => mask.dtype == DType::Bool,
            (Seen::Added, [mask]) => mask.dtype == q.dtype,
            (Seen::Where | Seen::Added, _) => false,
            (_, mask) => mask.is_empty(),
        };
        let fits = |mask: &Spec| {
            broadcast(&mask.shape, &vec![1; mask.shape.len()], [batch, heads, length, keys]).is_some()
        };
        if !together || !grouped || !masked || !mask.iter().all(fits) {
            return Err(misfit());
        }
        let shape = [batch, heads, length, vw].map(|axis| axis as i32);
        Ok(vec![Spec::new(&shape, q.dtype)])
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        let ([q, k, v, mask @ ..], [output]) = (inputs, outputs) else { return Err(misfit()) };
        let [batch, heads, length, _] = four(q.shape())?;
        let scores = [batch, heads, length, four(k.shape())?[2]];
        with_float!(ATTENTION, q.dtype(), T => {
            let (q_shape, k_shape, v_shape) = (four(q.shape())?, four(k.shape())?, four(v.shape())?);
            let (q, k, v) = (memory::heads::<T>(q)?, memory::heads::<T>(k)?, memory::heads::<T>(v)?);
            let booleans;
            let numbers;
            let mask = match (self.seen, mask) {
                (Seen::All, _) => Mask::None,
                (Seen::Causal, _) => Mask::Causal,
                (Seen::Window(window), _) => Mask::Window(window as usize),
                (Seen::Where, [mask]) => {
                    let strides = memory::row_major(mask.shape(), 1);
                    booleans = mask.elements::<bool>()?;
                    let strides = broadcast(mask.shape(), &strides, scores).ok_or_else(misfit)?;
                    Mask::Boolean(MaskView::new(&booleans, scores, strides))
                }
                (Seen::Added, [mask]) => {
                    let strides = memory::row_major(mask.shape(), 1);
                    numbers = mask.elements::<T>()?;
                    let strides = broadcast(mask.shape(), &strides, scores).ok_or_else(misfit)?;
                    Mask::Additive(MaskView::new(&numbers, scores, strides))
                }
                _ => return Err(misfit()),
            };
            let options = Options { scale: self.scale, mask, order: HeadOrder::HeadsFirst };
            let (q, k, v) = (
                Heads::new(&q.0, q_shape, q.1),
                Heads::new(&k.0, k_shape, k.1),
                Heads::new(&v.0, v_shape, v.1),
            );
            kernel(Isa::best(), q, k, v, options, output.as_mut_slice::<T>()?);
            Ok(())
        })
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        self.scale.to_bits() == other.scale.to_bits() && self.seen == other.seen
    }

    fn plain(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let [q, k, v, mask @ ..] = inputs else { return Err(misfit()) };
        let window;
        let (mode, mask) = match self.seen {
            Seen::All => (c"", None),
            Seen::Causal => (c"causal", None),
            Seen::Window(size) => {
                window = windowed(q.dim(2)?, k.dim(2)?, size)?;
                (c"array", Some(&window))
            }
            Seen::Where | Seen::Added => (c"array", mask.first()),
        };
        Ok(vec![ffi::ops::attention([q, k, v], self.scale, mode, mask, None)?])
    }

    /// Gradients of the same thing in single steps, each of which has a kernel.
    fn vjp(&self, primals: &[Array], cotangents: &[Array]) -> Result<Vec<Option<Array>>> {
        let f = |inputs: &Vec<Array>| Ok(vec![self.in_steps(inputs)?]);
        let (differentiable, mask) = primals.split_at(3);
        let with_mask = |inputs: &Vec<Array>| f(&inputs.iter().chain(mask).cloned().collect());
        if self.seen == Seen::Added {
            let (_, gradients) = crate::transforms::vjp(f, &primals.to_vec(), &cotangents.to_vec())?;
            return Ok(gradients.into_iter().map(Some).collect());
        }
        let (_, gradients) =
            crate::transforms::vjp(with_mask, &differentiable.to_vec(), &cotangents.to_vec())?;
        Ok(gradients.into_iter().map(Some).chain(mask.iter().map(|_| None)).collect())
    }
}

impl Attention {
    fn in_steps(&self, inputs: &[Array]) -> Result<Array> {
        let [q, k, v, mask @ ..] = inputs else { return Err(misfit()) };
        let (&[batch, heads, length, width], &[_, kv_heads, keys, _]) = (q.shape(), k.shape()) else {
            return Err(misfit());
        };
        let group = heads / kv_heads;
        // [B, Hkv, group, L, Dh], against [B, Hkv, 1, S, Dh]
        let q = q.multiply(&q.scalar_like(self.scale)?)?.reshape(&[batch, kv_heads, group, length, width])?;
        let [k, v] = [k, v].map(|a| a.expand_dims([2]));
        let mut scores = q.matmul(&k?.swapaxes(-1, -2)?)?;
        let whole = [batch, heads, length, keys];
        let split =
            |mask: &Array| mask.broadcast_to(&whole)?.reshape(&[batch, kv_heads, group, length, keys]);
        match (self.seen, mask) {
            (Seen::All, _) => {}
            (Seen::Added, [mask]) => scores = scores.add(&split(mask)?)?,
            (seen, mask) => {
                let allowed = match (seen, mask) {
                    (Seen::Causal, _) => windowed(length, keys, i32::MAX)?,
                    (Seen::Window(size), _) => windowed(length, keys, size)?,
                    (_, [mask]) => split(mask)?,
                    _ => return Err(misfit()),
                };
                scores = crate::select(&allowed, &scores, &scores.scalar_like(f32::NEG_INFINITY)?)?;
            }
        }
        let weights = scores.softmax(-1, true)?;
        weights.matmul(&v?)?.reshape(&[batch, heads, length, -1])
    }
}

/// Boolean `[L, S]`: the last of `length` queries stands at the last of `keys` keys, and each sees `window` of them, its
/// own the last.
pub(crate) fn windowed(length: i32, keys: i32, window: i32) -> Result<Array> {
    let first = i64::from(keys) - i64::from(length);
    let own = Array::arange(first as f64, f64::from(keys), 1.0, DType::I32)?.reshape(&[-1, 1])?;
    let key = Array::arange(0.0, f64::from(keys), 1.0, DType::I32)?;
    // How far back the key is.
    let back = own.subtract(&key)?;
    let inside = back.less(&Array::scalar(window)?)?;
    back.greater_equal(&Array::scalar(0i32)?)?.logical_and(&inside)
}
