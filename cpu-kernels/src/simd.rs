//! Vectors of eight numbers, and what kernels do with them.

use half::f16;

use crate::Float;
use crate::isa::Fma;

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

    fn splat(self, value: f32) -> Self::F;
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
    /// The low nibble and the high one of each byte.
    fn nibble_pairs(self, from: &[u8; 16]) -> Self::B;
    /// The four fields of two bits of each byte, the lowest first.
    fn bit_pairs(self, from: &[u8; 8]) -> Self::B;
    /// A byte with all bits set for each bit that is, from the lowest on.
    fn bits(self, from: &[u8; 4]) -> Self::B;
    fn byte_and(self, a: Self::B, mask: u8) -> Self::B;
    fn byte_or(self, a: Self::B, b: Self::B) -> Self::B;
    fn byte_sub(self, a: Self::B, b: u8) -> Self::B;
    /// Each byte to the right, filled with zeros; `by` is below 8.
    fn byte_shr(self, a: Self::B, by: u32) -> Self::B;
    /// Each byte to the left, filled with zeros; `by` is below 8.
    fn byte_shl(self, a: Self::B, by: u32) -> Self::B;
    /// Sums of the products of two neighbours each, those of the first half and those of the second. The bytes of `a` have a
    /// sign or none; no number of `b` is -32768.
    fn dot(self, a: Self::B, signed: bool, b: &[i16; BYTES]) -> [Self::I; 2];
    fn add_int(self, a: Self::I, b: Self::I) -> Self::I;

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

    #[inline(always)]
    fn splat(self, value: f32) -> Self::F {
        [value; LANES]
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
    fn nibble_pairs(self, from: &[u8; 16]) -> Self::B {
        each!(i => from[i / 2] >> (i % 2 * 4) & 0x0f)
    }

    #[inline(always)]
    fn bit_pairs(self, from: &[u8; 8]) -> Self::B {
        each!(i => from[i / 4] >> (i % 4 * 2) & 3)
    }

    #[inline(always)]
    fn bits(self, from: &[u8; 4]) -> Self::B {
        each!(i => if from[i / 8] >> (i % 8) & 1 == 1 { 0xff } else { 0 })
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
    fn dot(self, a: Self::B, signed: bool, b: &[i16; BYTES]) -> [Self::I; 2] {
        let level = |i: usize| if signed { i32::from(a[i].cast_signed()) } else { i32::from(a[i]) };
        let product = |i: usize| level(i) * i32::from(b[i]);
        each!(half => each!(lane => {
            let i = half * BYTES / 2 + 2 * lane;
            (product(i) + product(i + 1)) as u32
        }))
    }

    #[inline(always)]
    fn add_int(self, a: Self::I, b: Self::I) -> Self::I {
        zip(a, b, u32::wrapping_add)
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

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::Avx2;

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use std::arch::x86_64::*;

    use half::f16;

    use super::{BYTES, LANES, Simd};
    use crate::isa::Fma;

    /// Bytes that are asked for before they are read: the processor's own guesses end at each page.
    const AHEAD: usize = 1024;

    /// AVX2, FMA and F16C.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(());

    impl Avx2 {
        /// # Safety
        /// The processor must have AVX2, FMA and F16C.
        #[inline(always)]
        pub(crate) unsafe fn new() -> Self {
            Avx2(())
        }
    }

    /// Calls of instructions that the processor has, since there is an [`Avx2`]. Those that touch memory get references to
    /// as much of it as they read or write, and ask for no alignment.
    macro_rules! have {
        ($($call:tt)*) => {
            // SAFETY: as the macro says.
            unsafe { $($call)* }
        };
    }

    impl Fma for Avx2 {
        #[inline(always)]
        fn fma(self, a: f32, b: f32, c: f32) -> f32 {
            a.mul_add(b, c)
        }
    }

    impl Simd for Avx2 {
        type F = __m256;
        type I = __m256i;
        type B = __m256i;

        #[inline(always)]
        fn splat(self, value: f32) -> __m256 {
            have!(_mm256_set1_ps(value))
        }

        #[inline(always)]
        fn load(self, from: &[f32; LANES]) -> __m256 {
            have!(_mm256_loadu_ps(from.as_ptr()))
        }

        #[inline(always)]
        fn store(self, value: __m256, to: &mut [f32; LANES]) {
            have!(_mm256_storeu_ps(to.as_mut_ptr(), value))
        }

        #[inline(always)]
        fn add(self, a: __m256, b: __m256) -> __m256 {
            have!(_mm256_add_ps(a, b))
        }

        #[inline(always)]
        fn mul(self, a: __m256, b: __m256) -> __m256 {
            have!(_mm256_mul_ps(a, b))
        }

        #[inline(always)]
        fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
            have!(_mm256_fmadd_ps(a, b, c))
        }

        #[inline(always)]
        fn to_float(self, value: __m256i) -> __m256 {
            have!(_mm256_cvtepi32_ps(value))
        }

        #[inline(always)]
        fn bits_to_float(self, value: __m256i) -> __m256 {
            have!(_mm256_castsi256_ps(value))
        }

        #[inline(always)]
        fn splat_bits(self, value: u32) -> __m256i {
            have!(_mm256_set1_epi32(value.cast_signed()))
        }

        #[inline(always)]
        fn words(self, from: &[u32; LANES]) -> __m256i {
            have!(_mm256_loadu_si256(from.as_ptr().cast()))
        }

        #[inline(always)]
        fn bytes(self, from: &[u8; LANES]) -> __m256i {
            have!(_mm256_cvtepu8_epi32(_mm_loadl_epi64(from.as_ptr().cast())))
        }

        #[inline(always)]
        fn signed_bytes(self, from: &[u8; LANES]) -> __m256i {
            have!(_mm256_cvtepi8_epi32(_mm_loadl_epi64(from.as_ptr().cast())))
        }

        #[inline(always)]
        fn shorts(self, from: &[u16; LANES]) -> __m256i {
            have!(_mm256_cvtepu16_epi32(_mm_loadu_si128(from.as_ptr().cast())))
        }

        #[inline(always)]
        fn and(self, a: __m256i, b: __m256i) -> __m256i {
            have!(_mm256_and_si256(a, b))
        }

        #[inline(always)]
        fn or(self, a: __m256i, b: __m256i) -> __m256i {
            have!(_mm256_or_si256(a, b))
        }

        #[inline(always)]
        fn sub(self, a: __m256i, b: __m256i) -> __m256i {
            have!(_mm256_sub_epi32(a, b))
        }

        #[inline(always)]
        fn shl(self, a: __m256i, by: u32) -> __m256i {
            have!(_mm256_sll_epi32(a, _mm_cvtsi32_si128(by.cast_signed())))
        }

        #[inline(always)]
        fn shr(self, a: __m256i, by: u32) -> __m256i {
            have!(_mm256_srl_epi32(a, _mm_cvtsi32_si128(by.cast_signed())))
        }

        #[inline(always)]
        fn shl_each(self, a: __m256i, by: __m256i) -> __m256i {
            have!(_mm256_sllv_epi32(a, by))
        }

        #[inline(always)]
        fn shr_each(self, a: __m256i, by: __m256i) -> __m256i {
            have!(_mm256_srlv_epi32(a, by))
        }

        #[inline(always)]
        fn load_bytes(self, from: &[u8; BYTES]) -> __m256i {
            have!(_mm256_loadu_si256(from.as_ptr().cast()))
        }

        #[inline(always)]
        fn nibbles(self, from: &[u8; 16]) -> __m256i {
            have! {
                let bytes = _mm_loadu_si128(from.as_ptr().cast());
                let both = _mm256_set_m128i(_mm_srli_epi16::<4>(bytes), bytes);
                _mm256_and_si256(both, _mm256_set1_epi8(0x0f))
            }
        }

        #[inline(always)]
        fn nibble_pairs(self, from: &[u8; 16]) -> __m256i {
            have! {
                // The high nibble moves into the byte above.
                let wide = _mm256_cvtepu8_epi16(_mm_loadu_si128(from.as_ptr().cast()));
                let both = _mm256_or_si256(wide, _mm256_slli_epi16::<4>(wide));
                _mm256_and_si256(both, _mm256_set1_epi8(0x0f))
            }
        }

        #[inline(always)]
        fn bit_pairs(self, from: &[u8; 8]) -> __m256i {
            have! {
                // Each field moves into a byte of its own.
                let wide = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.as_ptr().cast()));
                let two = _mm256_or_si256(wide, _mm256_slli_epi32::<6>(wide));
                let four = _mm256_or_si256(two, _mm256_slli_epi32::<12>(two));
                _mm256_and_si256(four, _mm256_set1_epi8(3))
            }
        }

        #[inline(always)]
        fn bits(self, from: &[u8; 4]) -> __m256i {
            have! {
                let all = _mm256_set1_epi32(i32::from_le_bytes(*from));
                // Byte `i` gets the byte that holds bit `i`.
                let spread = _mm256_set_epi64x(
                    0x0303_0303_0303_0303, 0x0202_0202_0202_0202, 0x0101_0101_0101_0101, 0,
                );
                let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
                let own = _mm256_and_si256(_mm256_shuffle_epi8(all, spread), bit);
                _mm256_cmpeq_epi8(own, bit)
            }
        }

        #[inline(always)]
        fn byte_and(self, a: __m256i, mask: u8) -> __m256i {
            have!(_mm256_and_si256(a, _mm256_set1_epi8(mask.cast_signed())))
        }

        #[inline(always)]
        fn byte_or(self, a: __m256i, b: __m256i) -> __m256i {
            have!(_mm256_or_si256(a, b))
        }

        #[inline(always)]
        fn byte_sub(self, a: __m256i, b: u8) -> __m256i {
            have!(_mm256_sub_epi8(a, _mm256_set1_epi8(b.cast_signed())))
        }

        #[inline(always)]
        fn byte_shr(self, a: __m256i, by: u32) -> __m256i {
            have! {
                let shifted = _mm256_srl_epi16(a, _mm_cvtsi32_si128(by.cast_signed()));
                _mm256_and_si256(shifted, _mm256_set1_epi8((0xff_u8 >> by).cast_signed()))
            }
        }

        #[inline(always)]
        fn byte_shl(self, a: __m256i, by: u32) -> __m256i {
            have! {
                let shifted = _mm256_sll_epi16(a, _mm_cvtsi32_si128(by.cast_signed()));
                _mm256_and_si256(shifted, _mm256_set1_epi8((0xff_u8 << by).cast_signed()))
            }
        }

        #[inline(always)]
        fn dot(self, a: __m256i, signed: bool, b: &[i16; BYTES]) -> [__m256i; 2] {
            have! {
                let (low, high) = (_mm256_castsi256_si128(a), _mm256_extracti128_si256::<1>(a));
                let (low, high) = if signed {
                    (_mm256_cvtepi8_epi16(low), _mm256_cvtepi8_epi16(high))
                } else {
                    (_mm256_cvtepu8_epi16(low), _mm256_cvtepu8_epi16(high))
                };
                let numbers = b.as_ptr().cast::<__m256i>();
                [
                    _mm256_madd_epi16(low, _mm256_loadu_si256(numbers)),
                    _mm256_madd_epi16(high, _mm256_loadu_si256(numbers.add(1))),
                ]
            }
        }

        #[inline(always)]
        fn add_int(self, a: __m256i, b: __m256i) -> __m256i {
            have!(_mm256_add_epi32(a, b))
        }

        #[inline(always)]
        fn half(self, value: f16) -> f32 {
            have!(_mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(value.to_bits())))))
        }

        #[inline(always)]
        fn halves(self, from: &[f16; LANES]) -> __m256 {
            have!(_mm256_cvtph_ps(_mm_loadu_si128(from.as_ptr().cast())))
        }

        #[inline(always)]
        fn prefetch<T>(self, items: &[T], start: usize) {
            // The instruction reads nothing that the program could see, wherever the address leads.
            let ahead = items.as_ptr().wrapping_add(start).cast::<i8>().wrapping_add(AHEAD);
            have!(_mm_prefetch::<_MM_HINT_T0>(ahead))
        }
    }
}
