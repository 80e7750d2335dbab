//! Vectors of x86-64 processors.

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
    type W = __m256i;

    #[inline(always)]
    fn splat(self, value: f32) -> __m256 {
        have!(_mm256_set1_ps(value))
    }

    #[inline(always)]
    fn splat_halves(self, first: f32, second: f32) -> __m256 {
        have!(_mm256_set_m128(_mm_set1_ps(second), _mm_set1_ps(first)))
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
            let twice = _mm256_broadcastsi128_si256(_mm_loadu_si128(from.as_ptr().cast()));
            // What comes in from the byte above is cut off.
            let moved = _mm256_srlv_epi64(twice, _mm256_set_epi64x(4, 4, 0, 0));
            _mm256_and_si256(moved, _mm256_set1_epi8(0x0f))
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
    fn missing_bits(self, from: &[u8; 4]) -> __m256i {
        have! {
            let all = _mm256_set1_epi32(i32::from_le_bytes(*from));
            // Byte `i` gets the byte that holds bit `i`.
            let spread = _mm256_set_epi64x(
                0x0303_0303_0303_0303, 0x0202_0202_0202_0202, 0x0101_0101_0101_0101, 0,
            );
            let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64.cast_signed());
            let own = _mm256_and_si256(_mm256_shuffle_epi8(all, spread), bit);
            _mm256_cmpeq_epi8(own, _mm256_setzero_si256())
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
    fn evens_and_odds(self, a: __m256i) -> [__m256i; 2] {
        have!([_mm256_and_si256(a, _mm256_set1_epi16(0x00ff)), _mm256_srli_epi16::<8>(a)])
    }

    #[inline(always)]
    fn signed_evens_and_odds(self, a: __m256i) -> [__m256i; 2] {
        have!([_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(a)), _mm256_srai_epi16::<8>(a)])
    }

    #[inline(always)]
    fn nibble_pairs(self, from: &[u8; 16]) -> [__m256i; 2] {
        have! {
            let wide = _mm256_cvtepu8_epi16(_mm_loadu_si128(from.as_ptr().cast()));
            [_mm256_and_si256(wide, _mm256_set1_epi16(0x000f)), _mm256_srli_epi16::<4>(wide)]
        }
    }

    #[inline(always)]
    fn dot(self, a: [__m256i; 2], b: &[[i16; 16]; 2]) -> __m256i {
        have! {
            let (evens, odds) = (_mm256_loadu_si256(b[0].as_ptr().cast()), _mm256_loadu_si256(b[1].as_ptr().cast()));
            _mm256_add_epi32(_mm256_madd_epi16(a[0], evens), _mm256_madd_epi16(a[1], odds))
        }
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
