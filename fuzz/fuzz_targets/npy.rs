//! Any bytes as an npy file: reading it must neither panic nor leave the file.
//!
//! `cargo +nightly fuzz run npy`

#![no_main]

use libfuzzer_sys::fuzz_target;
use mlx_core::io::{Source, read_npy};

fuzz_target!(|bytes: &[u8]| {
    let Ok(array) = read_npy(&Source::from_bytes(bytes.to_vec())) else { return };
    let elements = array.to_bytes().expect("an accepted array is computed");
    assert_eq!(elements.len(), array.nbytes());
    assert!(elements.len() < bytes.len());
});
