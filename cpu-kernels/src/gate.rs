//! The gates of feed-forward layers: an activation of one projection times another.
//!
//! ```text
//! swiglu(gate, up)     = silu(gate) up,        silu(x)      = x σ(x)
//! geglu_tanh(gate, up) = gelu_tanh(gate) up,   gelu_tanh(x) = x/2 (1 + tanh u) = x σ(2u),
//!                                              u            = √(2/π) (x + 0.044715 x³)
//! ```
//!
//! where `σ(x) = 1 / (1 + e^-x)`. The logistic form needs no tanh, and keeps its digits where `1 + tanh u` would
//! lose them. Everything is computed in float32 and rounded once.

use crate::float::Float;
use crate::isa::{Fma, Isa, compiled_for_each};
use crate::math::{GRAIN, sigmoid};
use crate::threads;

const SQRT_2_OVER_PI: f32 = 0.797_884_6;
const CUBE: f32 = 0.044715;

/// `silu(gate) * up` of each element.
///
/// # Panics
/// If the slices differ in length.
pub fn swiglu<T: Float>(isa: Isa, gate: &[T], up: &[T], out: &mut [T]) {
    forward(gate, up, out, |gate, up, out| swiglu_piece(isa, gate, up, out));
}

/// `gelu_tanh(gate) * up` of each element.
///
/// # Panics
/// If the slices differ in length.
pub fn geglu_tanh<T: Float>(isa: Isa, gate: &[T], up: &[T], out: &mut [T]) {
    forward(gate, up, out, |gate, up, out| geglu_tanh_piece(isa, gate, up, out));
}

/// The gradients of [`swiglu`] for the cotangent of its result.
///
/// # Panics
/// If the slices differ in length.
pub fn swiglu_vjp<T: Float>(isa: Isa, gate: &[T], up: &[T], cotangent: &[T], dgate: &mut [T], dup: &mut [T]) {
    backward(gate, up, cotangent, dgate, dup, |gate, up, cotangent, dgate, dup| {
        swiglu_vjp_piece(isa, gate, up, cotangent, dgate, dup);
    });
}

/// The gradients of [`geglu_tanh`] for the cotangent of its result.
///
/// # Panics
/// If the slices differ in length.
pub fn geglu_tanh_vjp<T: Float>(
    isa: Isa,
    gate: &[T],
    up: &[T],
    cotangent: &[T],
    dgate: &mut [T],
    dup: &mut [T],
) {
    backward(gate, up, cotangent, dgate, dup, |gate, up, cotangent, dgate, dup| {
        geglu_tanh_vjp_piece(isa, gate, up, cotangent, dgate, dup);
    });
}

fn forward<T: Float>(gate: &[T], up: &[T], out: &mut [T], piece: impl Fn(&[T], &[T], &mut [T]) + Sync) {
    assert!(gate.len() == up.len() && up.len() == out.len(), "a gate's operands differ in size");
    let pieces = gate.chunks(GRAIN).zip(up.chunks(GRAIN)).zip(out.chunks_mut(GRAIN)).collect();
    threads::for_each(pieces, |((gate, up), out)| piece(gate, up, out));
}

fn backward<T: Float>(
    gate: &[T],
    up: &[T],
    cotangent: &[T],
    dgate: &mut [T],
    dup: &mut [T],
    piece: impl Fn(&[T], &[T], &[T], &mut [T], &mut [T]) + Sync,
) {
    let sizes = [up.len(), cotangent.len(), dgate.len(), dup.len()];
    assert!(sizes == [gate.len(); 4], "a gate's operands differ in size");
    let inputs = gate.chunks(GRAIN).zip(up.chunks(GRAIN)).zip(cotangent.chunks(GRAIN));
    let pieces = inputs.zip(dgate.chunks_mut(GRAIN).zip(dup.chunks_mut(GRAIN))).collect();
    threads::for_each(pieces, |(((gate, up), cotangent), (dgate, dup))| {
        piece(gate, up, cotangent, dgate, dup);
    });
}

/// `σ(x)` and the derivative of `x σ(x)`.
#[inline(always)]
fn silu_parts<F: Fma>(f: F, x: f32) -> (f32, f32) {
    let s = sigmoid(f, x);
    (s, s * f.fma(x, 1.0 - s, 1.0))
}

/// `σ(2u)` and the derivative of `x σ(2u)`.
#[inline(always)]
fn gelu_parts<F: Fma>(f: F, x: f32) -> (f32, f32) {
    // From 13 on the function is 0 or x, and the cube would overflow. NaN passes both comparisons.
    let near = if x > 13.0 { 13.0 } else { x };
    let near = if near < -13.0 { -13.0 } else { near };
    let square = near * near;
    let s = sigmoid(f, 2.0 * SQRT_2_OVER_PI * near * f.fma(CUBE, square, 1.0));
    let slope = 2.0 * SQRT_2_OVER_PI * f.fma(3.0 * CUBE, square, 1.0);
    (s, s * f.fma(near * slope, 1.0 - s, 1.0))
}

macro_rules! gate {
    ($body:ident, $vjp_body:ident, $parts:ident) => {
        #[inline(always)]
        fn $body<F: Fma, T: Float>(f: F, gate: &[T], up: &[T], out: &mut [T]) {
            for ((gate, up), out) in gate.iter().zip(up).zip(out) {
                let gate = gate.to_f32();
                *out = T::from_f32(gate * $parts(f, gate).0 * up.to_f32());
            }
        }

        #[inline(always)]
        fn $vjp_body<F: Fma, T: Float>(
            f: F,
            gate: &[T],
            up: &[T],
            cotangent: &[T],
            dgate: &mut [T],
            dup: &mut [T],
        ) {
            for (((gate, up), c), (dgate, dup)) in
                gate.iter().zip(up).zip(cotangent).zip(dgate.iter_mut().zip(dup))
            {
                let (gate, c) = (gate.to_f32(), c.to_f32());
                let (s, slope) = $parts(f, gate);
                *dgate = T::from_f32(c * up.to_f32() * slope);
                *dup = T::from_f32(c * (gate * s));
            }
        }
    };
}

gate!(swiglu_body, swiglu_vjp_body, silu_parts);
gate!(geglu_tanh_body, geglu_tanh_vjp_body, gelu_parts);

compiled_for_each! {
    fn swiglu_piece<T: Float>(gate: &[T], up: &[T], out: &mut [T]) = swiglu_body
}
compiled_for_each! {
    fn geglu_tanh_piece<T: Float>(gate: &[T], up: &[T], out: &mut [T]) = geglu_tanh_body
}
compiled_for_each! {
    fn swiglu_vjp_piece<T: Float>(
        gate: &[T], up: &[T], cotangent: &[T], dgate: &mut [T], dup: &mut [T],
    ) = swiglu_vjp_body
}
compiled_for_each! {
    fn geglu_tanh_vjp_piece<T: Float>(
        gate: &[T], up: &[T], cotangent: &[T], dgate: &mut [T], dup: &mut [T],
    ) = geglu_tanh_vjp_body
}
