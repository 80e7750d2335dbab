//! The element types that kernels read and write. All of them compute in float32.

use half::{bf16, f16};

/// A floating-point element type.
pub trait Float: Copy + Send + Sync + 'static {
    /// The value.
    fn to_f32(self) -> f32;
    /// The nearest value.
    fn from_f32(value: f32) -> Self;
}

impl Float for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
}

impl Float for bf16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    /// To the nearest, ties to even; NaN stays NaN. Written without branches, so that loops over it become vectors.
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
        let nan = (bits >> 16) as u16 | 0x40;
        bf16::from_bits(if value.is_nan() { nan } else { rounded })
    }
}

impl Float for f16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        // The exponent is moved by multiplying, which also normalizes what is subnormal in float16.
        let bits = u32::from(self.to_bits());
        let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
        let infinite_or_nan = bits & 0x7c00 == 0x7c00;
        let magnitude =
            if infinite_or_nan { (bits & 0x7fff) << 13 | 0x7f80_0000 } else { magnitude.to_bits() };
        f32::from_bits(magnitude | (bits & 0x8000) << 16)
    }

    /// To the nearest, ties to even. Written without branches, as above.
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        let (sign, magnitude) = (value.to_bits() & 0x8000_0000, value.to_bits() & 0x7fff_ffff);
        // Adding a half shifts a subnormal's bits to the end of the mantissa, where the addition rounds them.
        let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
        let odd = magnitude >> 13 & 1;
        let normal = magnitude.wrapping_sub(112 << 23).wrapping_add(0xfff + odd) >> 13;
        let beyond = if magnitude > 0x7f80_0000 { 0x7e00 } else { 0x7c00 };
        let finite = if magnitude < 113 << 23 { subnormal } else { normal };
        let magnitude = if magnitude >= 143 << 23 { beyond } else { finite };
        f16::from_bits((sign >> 16 | magnitude) as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_16_bit_floats_come_and_go_as_half_has_them() {
        for bits in 0..=u16::MAX {
            let (a, b) = (f16::from_bits(bits), bf16::from_bits(bits));
            let same = |ours: f32, theirs: f32| {
                ours.to_bits() == theirs.to_bits() || ours.is_nan() && theirs.is_nan()
            };
            assert!(same(Float::to_f32(a), a.to_f32()), "f16 {bits:#x}");
            assert!(same(Float::to_f32(b), b.to_f32()), "bf16 {bits:#x}");
            // And what lies between two neighbours.
            for step in [0, 1, 0x0fff, 0x1000, 0x1001, 0x7fff, 0x8000, 0x8001, 0xffff] {
                let value = f32::from_bits(u32::from(bits) << 16 | step);
                let (ours, theirs) = (<f16 as Float>::from_f32(value), f16::from_f32(value));
                assert!(ours == theirs || value.is_nan() && ours.is_nan(), "{value:?}: {ours} {theirs}");
                let (ours, theirs) = (<bf16 as Float>::from_f32(value), bf16::from_f32(value));
                assert_eq!(ours.to_bits(), theirs.to_bits(), "{value:?}");
            }
        }
    }
}
