//! The Rust types that array elements can be read and written as.

use half::{bf16, f16};
use num_complex::Complex32;

use crate::DType;

/// A Rust type that matches an element type of MLX bit for bit.
pub trait Element: bytemuck::NoUninit + sealed::Bytes {
    /// The matching element type.
    const DTYPE: DType;
}

pub(crate) mod sealed {
    /// Conversion from the bytes of one element, in the machine's order.
    pub trait Bytes: Sized {
        /// Reads one element; `bytes` has the element's size.
        fn from_bytes(bytes: &[u8]) -> Self;
    }
}

macro_rules! elements {
    ($($type:ty => $dtype:ident),* $(,)?) => {$(
        impl Element for $type {
            const DTYPE: DType = DType::$dtype;
        }

        impl sealed::Bytes for $type {
            fn from_bytes(bytes: &[u8]) -> Self {
                let mut own = [0; size_of::<$type>()];
                own.copy_from_slice(bytes);
                <$type>::from_ne_bytes(own)
            }
        }
    )*};
}

elements! {
    u8 => U8, u16 => U16, u32 => U32, u64 => U64,
    i8 => I8, i16 => I16, i32 => I32, i64 => I64,
    f16 => F16, bf16 => BF16, f32 => F32, f64 => F64,
}

impl Element for bool {
    const DTYPE: DType = DType::Bool;
}

impl sealed::Bytes for bool {
    // Rust allows only 0 and 1 in its own booleans; what MLX computes is not taken on trust.
    fn from_bytes(bytes: &[u8]) -> Self {
        bytes.first().is_some_and(|byte| *byte != 0)
    }
}

impl Element for Complex32 {
    const DTYPE: DType = DType::Complex64;
}

impl sealed::Bytes for Complex32 {
    fn from_bytes(bytes: &[u8]) -> Self {
        let (re, im) = bytes.split_at(bytes.len() / 2);
        Complex32::new(f32::from_bytes(re), f32::from_bytes(im))
    }
}
