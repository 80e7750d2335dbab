//! Any bytes as a safetensors file: opening and reading every tensor must neither panic nor leave the file.
//!
//! `cargo +nightly fuzz run safetensors`

#![no_main]

use libfuzzer_sys::fuzz_target;
use mlx_core::io::SafetensorsFile;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = SafetensorsFile::from_bytes(bytes.to_vec()) else { return };
    for tensor in file.tensors() {
        let data = file.read(&tensor.name).expect("an accepted tensor lies inside the file");
        assert_eq!(data.len(), tensor.shape.iter().product::<usize>() * tensor.dtype.size());
    }
});
