//! The random state of one request: a counter-based stream that depends on the seed and on nothing else.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::{Error, Result};

/// A stream of uniform numbers: ChaCha8 keyed by the seed, little-endian in the first eight bytes of the key.
///
/// The stream is fixed by the cipher's definition, so a seed keeps its meaning across versions and platforms.
#[derive(Debug, Clone)]
pub(super) struct Uniform(ChaCha8Rng);

impl Uniform {
    pub(super) fn new(seed: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        Self(ChaCha8Rng::from_seed(key))
    }

    /// Draws a number in [0, 1) with 53 random bits.
    pub(super) fn draw(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1u64 << 53) as f64;
        (self.0.next_u64() >> 11) as f64 * STEP
    }
}

/// Asks the operating system for a seed, for requests that give none.
///
/// # Errors
/// [`Error::Sampling`] when the system has no randomness to give.
pub fn fresh_seed() -> Result<u64> {
    getrandom::u64().map_err(|e| Error::Sampling {
        message: format!("the operating system gave no random seed ({e}); pass a seed instead"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_of_a_seed_never_changes() {
        // ChaCha8 with an all-zero key and nonce starts 3e00ef2f895f40d6 (the published test vector).
        let first = (u64::from_le_bytes([0x3e, 0x00, 0xef, 0x2f, 0x89, 0x5f, 0x40, 0xd6]) >> 11) as f64;
        assert_eq!(Uniform::new(0).draw(), first / (1u64 << 53) as f64);
        assert_ne!(Uniform::new(1).draw(), Uniform::new(2).draw());
    }

    #[test]
    fn fresh_seeds_differ() {
        assert_ne!(fresh_seed().ok(), fresh_seed().ok());
    }
}
