//! Attention over packed keys and values.
//!
//! One query reads keys and values as they are packed, by the products for packed weights. For many, the keys and values
//! of one head are unpacked at a time, into memory that the next head uses again, and the kernel for floats does the rest:
//! as products, they would write down all scores, `[L, S]`, and unpack the values again for every few rows. So the cache
//! is never unpacked as a whole.

use std::borrow::Cow;

use cpu_kernels::attention::{Attention, HeadOrder, Mask, attention};
use cpu_kernels::product::{Affine, Matrix, Output, Precision, Rows, product, product_transposed, unpack};
use cpu_kernels::{Float, Heads, Isa, softmax, threads};

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
    if !float(queries) || !are_used() {
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

/// Positions of values that a thread adds up by itself. The sums of the parts are then added in order, so the result does
/// not depend on the threads.
const PART: usize = 512;

impl PackedAttention {
    fn attend<T: Float>(
        &self,
        queries: &[T],
        [batch, heads, length, width]: [usize; 4],
        keys: &Held<'_>,
        values: &Held<'_>,
        output: &mut [T],
    ) -> Result<()> {
        let group = heads / keys.heads;
        // Queries and results of the heads that share keys.
        let queries = queries.chunks_exact(group * length * width);
        let outputs = output.chunks_exact_mut(group * length * values.columns);
        let mut attended = vec![0.0; group * length * values.columns];
        let mut room = [Vec::new(), Vec::new()];
        for (index, (queries, output)) in queries.zip(outputs).enumerate().take(batch * keys.heads) {
            let place = (index / keys.heads, index % keys.heads);
            let queries: Vec<f32> = queries.iter().map(|x| x.to_f32()).collect();
            if length == 1 {
                self.one(queries, (keys, values), place, &mut attended)?;
            } else {
                self.many(&queries, [group, length], (keys, values), place, &mut room, &mut attended)?;
            }
            output.iter_mut().zip(&attended).for_each(|(to, from)| *to = T::from_f32(*from));
        }
        Ok(())
    }

    /// One query of each head, `[group, Dh]`, into `[group, Dv]`.
    fn one(
        &self,
        mut queries: Vec<f32>,
        (keys, values): (&Held<'_>, &Held<'_>),
        place: (usize, usize),
        attended: &mut [f32],
    ) -> Result<()> {
        let isa = Isa::best();
        let (count, group) = (keys.length, queries.len() / keys.columns);
        // The query stands at the last key and sees those up to there.
        let from = match self.seen {
            Seen::Window(window) => count.saturating_sub(window as usize),
            _ => 0,
        };
        queries.iter_mut().for_each(|x| *x *= self.scale);
        let mut scores = vec![0.0; group * (count - from)];
        let to_scores = Output { weights: keys.matrix(place, from, count)?, out: &mut scores };
        let rows = Rows { sequences: group, length: 1 };
        product(isa, &queries, rows, &mut [to_scores], Precision::Exact);
        let mut weights = vec![0.0; scores.len()];
        softmax::softmax(isa, &scores, count - from, &mut weights);

        let mut parts = Vec::new();
        for start in (from..count).step_by(PART) {
            let end = count.min(start + PART);
            let of_part = weights.chunks_exact(count - from).flat_map(|row| &row[start - from..end - from]);
            parts.push((of_part.copied().collect::<Vec<f32>>(), values.matrix(place, start, end)?));
        }
        let mut sums = vec![0.0; parts.len() * attended.len()];
        let work = parts.into_iter().zip(sums.chunks_exact_mut(attended.len())).collect();
        threads::for_each(work, |((weights, values), sums)| {
            product_transposed(isa, &weights, rows, values, sums);
        });
        attended.fill(0.0);
        for sums in sums.chunks_exact(attended.len()) {
            attended.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
        Ok(())
    }

    /// Many queries of each head, `[group, L, Dh]`, into `[group, L, Dv]`.
    fn many(
        &self,
        queries: &[f32],
        [group, length]: [usize; 2],
        (keys, values): (&Held<'_>, &Held<'_>),
        place: (usize, usize),
        [k, v]: &mut [Vec<f32>; 2],
        attended: &mut [f32],
    ) -> Result<()> {
        let isa = Isa::best();
        let count = keys.length;
        k.resize(count * keys.columns, 0.0);
        v.resize(count * values.columns, 0.0);
        unpack(isa, keys.matrix(place, 0, count)?, k);
        unpack(isa, values.matrix(place, 0, count)?, v);
        let mask = match self.seen {
            Seen::Causal => Mask::Causal,
            Seen::Window(window) => Mask::Window(window as usize),
            Seen::All | Seen::Where | Seen::Added => Mask::None,
        };
        let options = Attention { scale: self.scale, mask, order: HeadOrder::HeadsFirst };
        let q = Heads::contiguous(queries, [1, group, length, keys.columns]);
        let k = Heads::contiguous(k, [1, 1, count, keys.columns]);
        let v = Heads::contiguous(v, [1, 1, count, values.columns]);
        attention(isa, q, k, v, options, attended);
        Ok(())
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

    /// Rows `from` to below `to` of a sequence and a head.
    fn matrix(&self, (sequence, head): (usize, usize), from: usize, to: usize) -> Result<Matrix<'_>> {
        let (words, groups) = (self.columns / 32 * self.bits, self.columns / self.group_size);
        let first = |strides: [usize; 2], row: usize| sequence * strides[0] + head * strides[1] + from * row;
        let count = to - from;
        let codes = self.codes.0.get(first(self.codes.1, words)..).and_then(|c| c.get(..count * words));
        let parts = Affine {
            codes: codes.ok_or_else(misfit)?,
            scales: self.scales.0.range(first(self.scales.1, groups), count * groups).ok_or_else(misfit)?,
            biases: self.biases.0.range(first(self.biases.1, groups), count * groups).ok_or_else(misfit)?,
            group_size: self.group_size,
            bits: self.bits,
        };
        Matrix::affine([count, self.columns], parts).map_err(|_| misfit())
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
