//! Attention over packed keys and values.

use std::borrow::Cow;

use cpu_kernels::product::{Affine, Matrix, Output, Precision, Rows, product, product_transposed};
use cpu_kernels::{Float, Isa, softmax};

use super::attention::Seen;
use super::memory::{self, Floats, is_supported, with_float};
use super::{Kernel, Layout, apply, are_used};
use crate::primitive::{Spec, View, ViewMut};
use crate::{Array, AttentionMask, Error, Quantization, Quantized, Result, ops, transforms};

const ATTENTION: &str = "quantized_attention";

/// Attention of `[B, Hq, L, Dh]`, if there is a kernel for it and it is used here. The caller has checked that everything
/// goes together.
pub(crate) fn quantized_attention(
    queries: &Array,
    [keys, values]: [&Quantized; 2],
    scale: f32,
    mask: AttentionMask<'_>,
) -> Option<Result<Array>> {
    let seen = match mask {
        AttentionMask::None => Seen::All,
        AttentionMask::Causal => Seen::Causal,
        AttentionMask::Window(window) => Seen::Window(window),
        AttentionMask::Boolean(_) | AttentionMask::Additive(_) => return None,
    };
    let layouts = [Layout::of(keys.quantization)?, Layout::of(values.quantization)?];
    let float = |array: &Array| is_supported(array.dtype());
    if !float(queries) || !are_used() || queries.size() == 0 {
        return None;
    }
    let inputs: Vec<&Array> = [queries].into_iter().chain(keys.arrays()).chain(values.arrays()).collect();
    Some(apply(PackedAttention { scale, seen, layouts }, &inputs).map(|[out]| out))
}

/// Inputs are queries `[B, Hq, L, Dh]`, and codes, scales and biases of keys `[B, Hkv, S, Dh]` and of values
/// `[B, Hkv, S, Dv]`.
struct PackedAttention {
    scale: f32,
    seen: Seen,
    layouts: [Layout; 2],
}

fn misfit() -> Error {
    Error::Shape { op: ATTENTION, message: "queries, keys and values do not go together".to_owned() }
}

/// `[B, Hkv, S, D]` of codes of this shape.
fn unpacked(layout: Layout, shape: &[i32]) -> Result<[usize; 4]> {
    match (layout, shape) {
        (Layout::Affine { bits, .. }, &[batch, heads, length, words]) => {
            let columns = i64::from(words) * 32 / i64::from(bits.max(1));
            Ok([i64::from(batch), i64::from(heads), i64::from(length), columns].map(|axis| axis as usize))
        }
        _ => Err(misfit()),
    }
}

fn four(shape: &[i32]) -> Result<[usize; 4]> {
    <[i32; 4]>::try_from(shape).map(|shape| shape.map(|axis| axis as usize)).map_err(|_| misfit())
}

impl Kernel for PackedAttention {
    fn name(&self) -> &str {
        ATTENTION
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let [queries, keys, _, _, values, _, _] = inputs else { return Err(misfit()) };
        let [batch, heads, length, width] = four(&queries.shape)?;
        let [kb, kv_heads, keys, kw] = unpacked(self.layouts[0], &keys.shape)?;
        let [vb, vh, values, vw] = unpacked(self.layouts[1], &values.shape)?;
        let together = batch == kb && kb == vb && kv_heads == vh && keys == values && width == kw;
        if !together || kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(misfit());
        }
        Ok(vec![Spec::new(&[batch, heads, length, vw].map(|axis| axis as i32), queries.dtype)])
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        let ([queries, packed @ ..], [output]) = (inputs, outputs) else { return Err(misfit()) };
        let (keys, values) = packed.split_at_checked(3).ok_or_else(misfit)?;
        let keys = Held::of(self.layouts[0], keys)?;
        let values = Held::of(self.layouts[1], values)?;
        with_float!(ATTENTION, queries.dtype(), T => {
            let shape = four(queries.shape())?;
            self.attend(&queries.elements::<T>()?, shape, &keys, &values, output.as_mut_slice::<T>()?)
        })
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        self.scale.to_bits() == other.scale.to_bits()
            && self.seen == other.seen
            && self.layouts == other.layouts
    }

    fn plain(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let [queries, keys @ .., vc, vs, vb] = inputs else { return Err(misfit()) };
        let [kc, ks, kb] = keys else { return Err(misfit()) };
        let packed = |layout, [codes, scales, biases]: [&Array; 3]| match layout {
            Layout::Affine { group_size, bits } => Ok(Quantized {
                weight: codes.clone(),
                scales: scales.clone(),
                biases: Some(biases.clone()),
                quantization: Quantization::affine(group_size, bits),
            }),
            Layout::Dense | Layout::Blocks(_) => Err(misfit()),
        };
        let keys = packed(self.layouts[0], [kc, ks, kb])?;
        let values = packed(self.layouts[1], [vc, vs, vb])?;
        let mask = match self.seen {
            Seen::Causal => AttentionMask::Causal,
            Seen::Window(window) => AttentionMask::Window(window),
            Seen::All | Seen::Where | Seen::Added => AttentionMask::None,
        };
        Ok(vec![ops::quantized_attention_in_steps(queries, [&keys, &values], self.scale, mask)?])
    }

    /// With respect to the queries: what is packed has no gradient.
    fn vjp(&self, primals: &[Array], cotangents: &[Array]) -> Result<Vec<Option<Array>>> {
        let (queries, packed) = primals.split_first().ok_or_else(misfit)?;
        let plain = |queries: &Vec<Array>| self.plain(&[queries.as_slice(), packed].concat());
        let (_, gradients) = super::with(super::Mode::Off, || {
            transforms::vjp(plain, &vec![queries.clone()], &cotangents.to_vec())
        })?;
        Ok(gradients.into_iter().map(Some).chain(packed.iter().map(|_| None)).collect())
    }
}

impl PackedAttention {
    fn attend<T: Float>(
        &self,
        queries: &[T],
        [batch, heads, length, width]: [usize; 4],
        keys: &Held<'_>,
        values: &Held<'_>,
        output: &mut [T],
    ) -> Result<()> {
        let isa = Isa::best();
        let group = heads / keys.heads;
        // A single row for each head is too little to read the keys for, so the heads that share keys go together. More
        // rows go a head at a time, which bounds the memory that the scores take.
        let together = if length == 1 { group } else { 1 };
        let rows = Rows { sequences: together, length };
        let mut scores = vec![0.0f32; rows.count() * keys.length];
        let mut weights = scores.clone();
        let mut attended = vec![0.0f32; rows.count() * values.columns];
        for first in (0..batch * heads).step_by(together) {
            let (sequence, head) = (first / heads, first % heads / group);
            let queries = &queries[first * length * width..][..rows.count() * width];
            let scaled: Vec<f32> = queries.iter().map(|x| x.to_f32() * self.scale).collect();
            let to_scores = Output { weights: keys.matrix(sequence, head)?, out: &mut scores };
            product(isa, &scaled, rows, &mut [to_scores], Precision::Exact);
            for (row, scores) in scores.chunks_exact_mut(keys.length).enumerate() {
                let (from, to) = self.visible(row % length, length, keys.length);
                scores[..from].fill(f32::NEG_INFINITY);
                scores[to..].fill(f32::NEG_INFINITY);
            }
            softmax::softmax(isa, &scores, keys.length, &mut weights);
            product_transposed(isa, &weights, rows, values.matrix(sequence, head)?, &mut attended);
            let output = &mut output[first * length * values.columns..][..attended.len()];
            for (to, from) in output.iter_mut().zip(&attended) {
                *to = T::from_f32(*from);
            }
        }
        Ok(())
    }

    /// The keys that query `index` of `length` sees, of which the last stands at the last key.
    fn visible(&self, index: usize, length: usize, keys: usize) -> (usize, usize) {
        let end = (keys + index + 1).saturating_sub(length);
        match self.seen {
            Seen::Causal => (0, end),
            Seen::Window(window) => (end.saturating_sub(window as usize), end),
            Seen::All | Seen::Where | Seen::Added => (0, keys),
        }
    }
}

/// The memory of packed matrices `[B, Hkv, S, D]`, taken where it lies: a cache's buffer has room after the last position,
/// so the matrices do not follow one another.
struct Held<'a> {
    codes: (Cow<'a, [u32]>, [usize; 2]),
    scales: (Floats<'a>, [usize; 2]),
    biases: (Floats<'a>, [usize; 2]),
    group_size: usize,
    bits: usize,
    heads: usize,
    length: usize,
    columns: usize,
}

impl<'a> Held<'a> {
    fn of(layout: Layout, arrays: &[View<'a>]) -> Result<Self> {
        let (Layout::Affine { group_size, bits }, [codes, scales, biases]) = (layout, arrays) else {
            return Err(misfit());
        };
        let [_, heads, length, columns] = unpacked(layout, codes.shape())?;
        Ok(Held {
            codes: located_codes(codes)?,
            scales: located(scales)?,
            biases: located(biases)?,
            group_size: group_size as usize,
            bits: bits as usize,
            heads,
            length,
            columns,
        })
    }

    fn matrix(&self, sequence: usize, head: usize) -> Result<Matrix<'_>> {
        let begin = |strides: [usize; 2]| sequence * strides[0] + head * strides[1];
        let words = self.length * (self.columns / 32 * self.bits);
        let groups = self.length * (self.columns / self.group_size);
        let parts = Affine {
            codes: self.codes.0.get(begin(self.codes.1)..).and_then(|c| c.get(..words)).ok_or_else(misfit)?,
            scales: self.scales.0.range(begin(self.scales.1), groups).ok_or_else(misfit)?,
            biases: self.biases.0.range(begin(self.biases.1), groups).ok_or_else(misfit)?,
            group_size: self.group_size,
            bits: self.bits,
        };
        Matrix::affine([self.length, self.columns], parts).map_err(|_| misfit())
    }
}

/// Whether each `[S, D]` of `[B, Hkv, S, D]` lies in one piece.
fn in_pieces(shape: &[i32], strides: &[usize]) -> Option<[usize; 2]> {
    let (&[_, _, rows, width], &[batch, head, row, element]) = (shape, strides) else { return None };
    let whole = (element == 1 || width == 1) && (row == width as usize || rows == 1);
    whole.then_some([batch, head])
}

fn located_codes<'a>(view: &View<'a>) -> Result<(Cow<'a, [u32]>, [usize; 2])> {
    let strides: Option<Vec<usize>> = view.strides().iter().map(|s| usize::try_from(*s).ok()).collect();
    if let (Some(strides), Ok((storage, first))) = (strides, view.storage::<u32>())
        && let Some(pieces) = in_pieces(view.shape(), &strides)
    {
        return Ok((Cow::Borrowed(&storage[first..]), pieces));
    }
    let strides = memory::row_major(view.shape(), 1);
    Ok((view.elements::<u32>()?, in_pieces(view.shape(), &strides).ok_or_else(misfit)?))
}

fn located<'a>(view: &View<'a>) -> Result<(Floats<'a>, [usize; 2])> {
    let floats = Floats::of(ATTENTION, view)?;
    if let Some(pieces) = in_pieces(view.shape(), &floats.strides) {
        return Ok((floats, pieces));
    }
    let strides = memory::row_major(view.shape(), 1);
    Ok((Floats::row_major(ATTENTION, view)?, in_pieces(view.shape(), &strides).ok_or_else(misfit)?))
}
