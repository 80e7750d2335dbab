//! Any bytes as a GGUF file: opening and reading every tensor must neither panic nor leave the file.
//!
//! `cargo +nightly fuzz run gguf`

#![no_main]

use libfuzzer_sys::fuzz_target;
use mlx_models::gguf::GgufFile;

fuzz_target!(|bytes: &[u8]| {
    let Ok(file) = GgufFile::from_bytes(bytes.to_vec()) else { return };
    for tensor in file.tensors() {
        let data = file.read(&tensor.name).expect("an accepted tensor lies inside the file");
        assert_eq!(data.len() as u64, tensor.nbytes());
        if let Ok(values) = file.dequantize(&tensor.name) {
            assert_eq!(values.len(), tensor.size());
        }
    }
});
