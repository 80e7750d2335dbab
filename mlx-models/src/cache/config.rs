//! How a caller wants caches to hold what they hold.

use mlx_core::Quantization;

use crate::{Error, Result};

/// How caches hold keys and values. The default holds them as the model computes them.
///
/// ```
/// use mlx_core::Quantization;
/// use mlx_models::CacheConfig;
///
/// let packed = CacheConfig::quantized(Quantization::affine(64, 8));
/// assert!(packed.check(256).is_ok());
/// assert!(packed.check(80).unwrap_err().to_string().contains("groups of 64"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheConfig {
    /// Packs keys and values: affine quantization of 4 or 8 bits in groups of 32 or 64 along each head. Of the 16 bits of
    /// a number there remain 8.5 (8 bits, groups of 64) to 5 (4 bits, groups of 32).
    pub quantization: Option<Quantization>,
    /// Tokens that a cache reads before it packs anything; it then packs them all. 0 packs from the first. Ignored without
    /// quantization, of which it is a part.
    pub start: usize,
}

impl CacheConfig {
    /// Caches that are packed from the first token on.
    pub const fn quantized(quantization: Quantization) -> Self {
        CacheConfig { quantization: Some(quantization), start: 0 }
    }

    /// Whether caches can hold heads `head_dim` wide in this way.
    ///
    /// # Errors
    /// When the quantization is of another kind, or its groups do not divide a head.
    pub fn check(self, head_dim: usize) -> Result<()> {
        let refuse = |message| Err(Error::Option { option: "cache quantization", message });
        match self.quantization {
            None => Ok(()),
            Some(Quantization::Affine { group_size: group @ (32 | 64), bits: 4 | 8 }) => {
                if head_dim > 0 && head_dim.is_multiple_of(group as usize) {
                    return Ok(());
                }
                refuse(format!("heads of {head_dim} cannot be packed in groups of {group}"))
            }
            Some(other) => {
                refuse(format!("{other:?} is not possible; 4 or 8 bits in groups of 32 or 64 are (affine)"))
            }
        }
    }
}
