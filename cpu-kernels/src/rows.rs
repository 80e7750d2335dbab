//! Sums of rows, and the largest elements of one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::float::Float;
use crate::isa::{Fma, Isa, compiled_for_each};
use crate::math::{GRAIN, max_of};
use crate::threads;

/// Elements of which only the largest is compared with the best so far. Nearly always it is not better.
const CHUNK: usize = 256;

/// `a + b` of each element, rounded to `T`.
///
/// # Panics
/// If the slices differ in length.
pub fn add<T: Float>(isa: Isa, a: &[T], b: &[T], out: &mut [T]) {
    assert!(a.len() == b.len() && b.len() == out.len(), "the terms of a sum differ in size");
    let pieces = a.chunks(GRAIN).zip(b.chunks(GRAIN)).zip(out.chunks_mut(GRAIN)).collect();
    threads::for_each(pieces, |((a, b), out)| add_piece(isa, a, b, out));
}

/// The index of the first of the largest elements.
///
/// NaN is never the largest, unless there is nothing else: then it is the first.
///
/// # Panics
/// If `x` is empty.
pub fn argmax<T: Float>(isa: Isa, x: &[T]) -> usize {
    assert!(!x.is_empty(), "nothing has no largest element");
    let (mut largest, mut first) = (f32::NEG_INFINITY, 0);
    for (chunk, start) in x.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
        let value = max_in(isa, chunk);
        if value > largest {
            (largest, first) = (value, start);
        }
    }
    x[first..].iter().position(|x| x.to_f32() == largest).map_or(0, |index| first + index)
}

/// The indices of the `k` largest elements, or of all if there are fewer, the largest first.
///
/// Of equal elements the earlier comes first, and NaN after everything else.
pub fn top_k<T: Float>(isa: Isa, x: &[T], k: usize) -> Vec<usize> {
    if k == 0 {
        return Vec::new();
    }
    // The best so far, the worst of them on top.
    let mut best = BinaryHeap::with_capacity(k.min(x.len()) + 1);
    for (chunk, start) in x.chunks(CHUNK).zip((0..).step_by(CHUNK)) {
        let enters = |best: &BinaryHeap<Reverse<(u32, Reverse<usize>)>>, value| {
            best.len() < k || best.peek().is_some_and(|Reverse((worst, _))| order(value) > *worst)
        };
        if best.len() >= k && !enters(&best, max_in(isa, chunk)) {
            continue;
        }
        for (value, index) in chunk.iter().zip(start..) {
            if enters(&best, value.to_f32()) {
                best.push(Reverse((order(value.to_f32()), Reverse(index))));
                if best.len() > k {
                    best.pop();
                }
            }
        }
    }
    best.into_sorted_vec().into_iter().map(|Reverse((_, Reverse(index)))| index).collect()
}

/// An integer that orders floats by value: zeros are equal, and NaN is below all.
fn order(value: f32) -> u32 {
    let bits = (value + 0.0).to_bits();
    match value.is_nan() {
        true => 0,
        false if bits >> 31 == 1 => !bits,
        false => bits | 1 << 31,
    }
}

#[inline(always)]
fn add_body<F: Fma, T: Float>(_: F, a: &[T], b: &[T], out: &mut [T]) {
    for ((a, b), out) in a.iter().zip(b).zip(out) {
        *out = T::from_f32(a.to_f32() + b.to_f32());
    }
}

compiled_for_each! {
    fn add_piece<T: Float>(a: &[T], b: &[T], out: &mut [T]) = add_body
}

#[inline(always)]
fn max_body<F: Fma, T: Float>(_: F, x: &[T]) -> f32 {
    max_of(x)
}

compiled_for_each! {
    fn max_in<T: Float>(x: &[T]) -> f32 = max_body
}
