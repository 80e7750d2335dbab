//! Vectors of eight numbers, and what kernels do with them.

mod portable;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86;

use half::f16;

use crate::isa::Fma;

pub(crate) use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::Avx2;

/// Numbers in a vector.
pub(crate) const LANES: usize = 8;

/// Bytes in a vector.
pub(crate) const BYTES: usize = 32;

/// An array of what an expression gives for `i` from 0 on. `array::from_fn` would call a closure, which is compiled without
/// the instructions of the kernel around it.
macro_rules! each {
    ($i:ident => $value:expr) => {{
        let mut array = [{
            let $i = 0;
            $value
        }; _];
        for $i in 1..array.len() {
            array[$i] = $value;
        }
        array
    }};
}

pub(crate) use each;

/// The instructions that kernels are made of. A value of the type proves that the processor has them.
pub(crate) trait Simd: Fma {
    /// Eight floats.
    type F: Copy;
    /// Eight 32-bit integers.
    type I: Copy;
    /// 32 bytes.
    type B: Copy;
    /// 16 integers of 16 bits.
    type W: Copy;

    fn splat(self, value: f32) -> Self::F;
    /// Four of each.
    fn splat_halves(self, first: f32, second: f32) -> Self::F;
    fn load(self, from: &[f32; LANES]) -> Self::F;
    fn store(self, value: Self::F, to: &mut [f32; LANES]);
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The numbers as floats.
    fn to_float(self, value: Self::I) -> Self::F;
    /// The bits as floats.
    fn bits_to_float(self, value: Self::I) -> Self::F;

    fn splat_bits(self, value: u32) -> Self::I;
    fn words(self, from: &[u32; LANES]) -> Self::I;
    /// Bytes from 0 to 255.
    fn bytes(self, from: &[u8; LANES]) -> Self::I;
    /// Bytes from -128 to 127.
    fn signed_bytes(self, from: &[u8; LANES]) -> Self::I;
    /// 16-bit numbers without a sign.
    fn shorts(self, from: &[u16; LANES]) -> Self::I;
    fn and(self, a: Self::I, b: Self::I) -> Self::I;
    fn or(self, a: Self::I, b: Self::I) -> Self::I;
    fn sub(self, a: Self::I, b: Self::I) -> Self::I;
    /// To the left; `by` is below 32.
    fn shl(self, a: Self::I, by: u32) -> Self::I;
    /// To the right, filled with zeros; `by` is below 32.
    fn shr(self, a: Self::I, by: u32) -> Self::I;
    /// Each number by a distance of its own; nothing is left from 32 on.
    fn shl_each(self, a: Self::I, by: Self::I) -> Self::I;
    /// Likewise to the right.
    fn shr_each(self, a: Self::I, by: Self::I) -> Self::I;

    /// 32 bytes.
    fn load_bytes(self, from: &[u8; BYTES]) -> Self::B;
    /// The low nibbles, then the high ones.
    fn nibbles(self, from: &[u8; 16]) -> Self::B;
    /// The four fields of two bits of each byte, the lowest first.
    fn bit_pairs(self, from: &[u8; 8]) -> Self::B;
    /// A byte with all bits set for each bit that is not, from the lowest on.
    fn missing_bits(self, from: &[u8; 4]) -> Self::B;
    fn byte_and(self, a: Self::B, mask: u8) -> Self::B;
    fn byte_or(self, a: Self::B, b: Self::B) -> Self::B;
    fn byte_sub(self, a: Self::B, b: u8) -> Self::B;
    /// Each byte to the right, filled with zeros; `by` is below 8.
    fn byte_shr(self, a: Self::B, by: u32) -> Self::B;
    /// Each byte to the left, filled with zeros; `by` is below 8.
    fn byte_shl(self, a: Self::B, by: u32) -> Self::B;
    /// The bytes at even places and those at odd ones, from 0 to 255.
    fn evens_and_odds(self, a: Self::B) -> [Self::W; 2];
    /// Likewise, from -128 to 127.
    fn signed_evens_and_odds(self, a: Self::B) -> [Self::W; 2];
    /// Of 32 numbers, the low nibble and the high one of each byte: those at even places and those at odd ones.
    fn nibble_pairs(self, from: &[u8; 16]) -> [Self::W; 2];
    /// Sums of products of 32 numbers, those at even places and those at odd ones: four sums of the first half, four of the
    /// second. No number of `b` is -32768.
    fn dot(self, a: [Self::W; 2], b: &[[i16; 16]; 2]) -> Self::I;

    /// A float16 as a float.
    fn half(self, value: f16) -> f32;
    /// Float16s as floats.
    fn halves(self, from: &[f16; LANES]) -> Self::F;

    /// Asks for the memory some way behind `items[start]`, which is read soon.
    fn prefetch<T>(self, items: &[T], start: usize);

    /// The sum of the lanes: those four apart first, then two, then one.
    #[inline(always)]
    fn sum(self, value: Self::F) -> f32 {
        let mut lanes = [0.0; LANES];
        self.store(value, &mut lanes);
        let [a, b, c, d, e, f, g, h] = lanes;
        ((a + e) + (c + g)) + ((b + f) + (d + h))
    }
}
