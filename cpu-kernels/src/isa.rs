//! Instruction sets, chosen when the program runs.
//!
//! A kernel is written once, in safe Rust over the vectors of [`Simd`](crate::simd::Simd), and compiled once for each
//! instruction set by [`compiled_for_each`].

use std::fmt;
use std::sync::OnceLock;

/// An instruction set that this processor has. One can only be had by detection, so having one proves it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Isa(Set);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Set {
    /// Whatever the target that the program was compiled for has.
    Portable,
    /// 256-bit vectors with fused multiply-add and float16 conversion.
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Isa {
    /// The best that this processor has.
    pub fn best() -> Isa {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| *Isa::available().last().unwrap_or(&Isa::portable()))
    }

    /// All that this processor has, the best last.
    pub fn available() -> Vec<Isa> {
        #[allow(unused_mut)]
        let mut all = vec![Isa::portable()];
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx2")
                && has!("fma")
                && has!("f16c")
                && has!("bmi1")
                && has!("bmi2")
                && has!("lzcnt")
                && has!("popcnt")
            {
                all.push(Isa(Set::Avx2));
            }
        }
        all
    }

    /// What every processor of the target has.
    pub const fn portable() -> Isa {
        Isa(Set::Portable)
    }

    #[doc(hidden)]
    pub(crate) const fn set(self) -> Set {
        self.0
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            // On arm64 every processor has Advanced SIMD, so the portable code uses it.
            Set::Portable if cfg!(target_arch = "aarch64") => "NEON",
            Set::Portable => "portable",
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => "AVX2",
        })
    }
}

/// How `a * b + c` is computed.
pub(crate) trait Fma: Copy {
    fn fma(self, a: f32, b: f32, c: f32) -> f32;
}

/// `fn name(isa, arguments..)`, which calls `body(simd, arguments..)` compiled for `isa`. The body must be
/// `#[inline(always)]`, and so must be what it calls in its loops.
macro_rules! compiled_for_each {
    ($(#[$meta:meta])* $vis:vis fn $name:ident $(<$($g:ident: $bound:path),+>)? ($($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? = $body:path) => {
        $(#[$meta])*
        #[allow(unsafe_code, clippy::too_many_arguments)]
        $vis fn $name $(<$($g: $bound),+>)? (isa: $crate::isa::Isa, $($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c,bmi1,bmi2,lzcnt,popcnt")]
            fn avx2 $(<$($g: $bound),+>)? ($($arg: $ty),*) $(-> $ret)? {
                // SAFETY: this function runs only where the processor has these instructions.
                $body(unsafe { $crate::simd::Avx2::new() }, $($arg),*)
            }
            match isa.set() {
                $crate::isa::Set::Portable => $body($crate::simd::Portable, $($arg),*),
                // SAFETY: an `Isa` of this set exists only where the processor has its instructions.
                #[cfg(target_arch = "x86_64")]
                $crate::isa::Set::Avx2 => unsafe { avx2($($arg),*) },
            }
        }
    };
}

pub(crate) use compiled_for_each;
