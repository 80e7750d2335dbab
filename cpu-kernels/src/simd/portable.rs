//! Vectors of any processor.

use half::f16;

use super::{BYTES, LANES, Simd, each};
use crate::Float;
use crate::isa::Fma;

/// Instructions that every processor has, as far as the compiler finds them.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

#[inline(always)]
fn map<A: Copy, B: Copy + Default>(a: [A; LANES], f: impl Fn(A) -> B) -> [B; LANES] {
    let mut out = [B::default(); LANES];
    for i in 0..LANES {
        out[i] = f(a[i]);
    }
    out
}

#[inline(always)]
fn zip<A: Copy, B: Copy + Default>(a: [A; LANES], b: [A; LANES], f: impl Fn(A, A) -> B) -> [B; LANES] {
    let mut out = [B::default(); LANES];
    for i in 0..LANES {
        out[i] = f(a[i], b[i]);
    }
    out
}

impl Fma for Portable {
    #[inline(always)]
    fn fma(self, a: f32, b: f32, c: f32) -> f32 {
        // Without an instruction for it, `mul_add` would call a slow function.
        if cfg!(target_arch = "aarch64") { a.mul_add(b, c) } else { a * b + c }
    }
}

impl Simd for Portable {
    type F = [f32; LANES];
    type I = [u32; LANES];
    type B = [u8; BYTES];
    type W = [i16; BYTES / 2];

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F {
        [value; LANES]
    }

    #[inline(always)]
    fn splat_halves(self, first: f32, second: f32) -> Self::F {
        each!(i => if i < LANES / 2 { first } else { second })
    }

    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::F {
        *from
    }

    #[inline(always)]
    fn store(self, value: Self::F, to: &mut [f32; LANES]) {
        *to = value;
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |a, b| a * b)
    }

    #[inline(always)]
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        let mut out = c;
        for i in 0..LANES {
            out[i] = self.fma(a[i], b[i], c[i]);
        }
        out
    }

    #[inline(always)]
    fn to_float(self, value: Self::I) -> Self::F {
        map(value, |value| value as i32 as f32)
    }

    #[inline(always)]
    fn bits_to_float(self, value: Self::I) -> Self::F {
        map(value, f32::from_bits)
    }

    #[inline(always)]
    fn splat_bits(self, value: u32) -> Self::I {
        [value; LANES]
    }

    #[inline(always)]
    fn words(self, from: &[u32; LANES]) -> Self::I {
        *from
    }

    #[inline(always)]
    fn bytes(self, from: &[u8; LANES]) -> Self::I {
        map(*from, u32::from)
    }

    #[inline(always)]
    fn signed_bytes(self, from: &[u8; LANES]) -> Self::I {
        map(*from, |byte| i32::from(byte.cast_signed()) as u32)
    }

    #[inline(always)]
    fn shorts(self, from: &[u16; LANES]) -> Self::I {
        map(*from, u32::from)
    }

    #[inline(always)]
    fn and(self, a: Self::I, b: Self::I) -> Self::I {
        zip(a, b, |a, b| a & b)
    }

    #[inline(always)]
    fn or(self, a: Self::I, b: Self::I) -> Self::I {
        zip(a, b, |a, b| a | b)
    }

    #[inline(always)]
    fn sub(self, a: Self::I, b: Self::I) -> Self::I {
        zip(a, b, u32::wrapping_sub)
    }

    #[inline(always)]
    fn shl(self, a: Self::I, by: u32) -> Self::I {
        map(a, |a| a.wrapping_shl(by))
    }

    #[inline(always)]
    fn shr(self, a: Self::I, by: u32) -> Self::I {
        map(a, |a| a.wrapping_shr(by))
    }

    #[inline(always)]
    fn shl_each(self, a: Self::I, by: Self::I) -> Self::I {
        zip(a, by, |a, by| a.checked_shl(by).unwrap_or(0))
    }

    #[inline(always)]
    fn shr_each(self, a: Self::I, by: Self::I) -> Self::I {
        zip(a, by, |a, by| a.checked_shr(by).unwrap_or(0))
    }

    #[inline(always)]
    fn load_bytes(self, from: &[u8; BYTES]) -> Self::B {
        *from
    }

    #[inline(always)]
    fn nibbles(self, from: &[u8; 16]) -> Self::B {
        each!(i => if i < 16 { from[i] & 0x0f } else { from[i - 16] >> 4 })
    }

    #[inline(always)]
    fn bit_pairs(self, from: &[u8; 8]) -> Self::B {
        each!(i => from[i / 4] >> (i % 4 * 2) & 3)
    }

    #[inline(always)]
    fn missing_bits(self, from: &[u8; 4]) -> Self::B {
        each!(i => if from[i / 8] >> (i % 8) & 1 == 1 { 0 } else { 0xff })
    }

    #[inline(always)]
    fn byte_and(self, a: Self::B, mask: u8) -> Self::B {
        each!(i => a[i] & mask)
    }

    #[inline(always)]
    fn byte_or(self, a: Self::B, b: Self::B) -> Self::B {
        each!(i => a[i] | b[i])
    }

    #[inline(always)]
    fn byte_sub(self, a: Self::B, b: u8) -> Self::B {
        each!(i => a[i].wrapping_sub(b))
    }

    #[inline(always)]
    fn byte_shr(self, a: Self::B, by: u32) -> Self::B {
        each!(i => a[i].wrapping_shr(by))
    }

    #[inline(always)]
    fn byte_shl(self, a: Self::B, by: u32) -> Self::B {
        each!(i => a[i].wrapping_shl(by))
    }

    #[inline(always)]
    fn evens_and_odds(self, a: Self::B) -> [Self::W; 2] {
        each!(odd => each!(i => i16::from(a[2 * i + odd])))
    }

    #[inline(always)]
    fn signed_evens_and_odds(self, a: Self::B) -> [Self::W; 2] {
        each!(odd => each!(i => i16::from(a[2 * i + odd].cast_signed())))
    }

    #[inline(always)]
    fn nibble_pairs(self, from: &[u8; 16]) -> [Self::W; 2] {
        each!(odd => each!(i => i16::from(from[i] >> (4 * odd) & 0x0f)))
    }

    #[inline(always)]
    fn dot(self, a: [Self::W; 2], b: &[[i16; 16]; 2]) -> Self::I {
        let product = |odd: usize, i: usize| i32::from(a[odd][i]) * i32::from(b[odd][i]);
        let pair = |odd, lane| product(odd, 2 * lane) + product(odd, 2 * lane + 1);
        each!(lane => (pair(0, lane) + pair(1, lane)) as u32)
    }

    #[inline(always)]
    fn half(self, value: f16) -> f32 {
        Float::to_f32(value)
    }

    #[inline(always)]
    fn halves(self, from: &[f16; LANES]) -> Self::F {
        map(*from, |value| self.half(value))
    }

    #[inline(always)]
    fn prefetch<T>(self, _: &[T], _: usize) {}
}
