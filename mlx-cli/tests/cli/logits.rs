//! `mlx logits`.

use std::path::Path;

use mlx_core::DType;
use mlx_core::io::SafetensorsFile;
use tempfile::TempDir;

use crate::support::{expected, list, mlx, read, tiny};

/// Float32 sums in another order than torch's.
const F32_TIGHT: f32 = 2e-4;
const VOCABULARY: usize = 96;

fn logits(tokens: &[u32], out: &Path, also: &[&str]) -> Vec<f32> {
    let (model, tokens) = (tiny(), list(tokens));
    let args =
        ["logits", "--model", model.to_str().unwrap(), "--tokens", &tokens, "--out", out.to_str().unwrap()];
    assert_eq!(mlx(&[&args, also].concat(), "").text(), "");
    read(out, "logits", f32::from_le_bytes)
}

#[test]
fn rows_are_those_of_the_reference() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out.safetensors");
    let tokens = expected("tokens", u32::from_le_bytes);
    let rows = logits(&tokens, &out, &["--device", "cpu"]);
    let reference = expected("logits", f32::from_le_bytes);
    assert_eq!(rows.len(), reference.len());
    let worst = rows.iter().zip(&reference).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= F32_TIGHT, "a logit differs by {worst}");

    let file = SafetensorsFile::open(&out).unwrap();
    let info = file.info("logits").unwrap();
    assert_eq!((info.dtype, &info.shape[..]), (DType::F32, &[tokens.len(), VOCABULARY][..]));
    assert_eq!(file.names().len(), 1);
}

#[test]
fn the_last_row_alone_is_the_last_of_all() {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out.safetensors");
    for length in [1, 64, 130] {
        let tokens: Vec<u32> = (0..length).map(|i| i * 7 % 90).collect();
        let all = logits(&tokens, &out, &[]);
        assert_eq!(all.len(), tokens.len() * VOCABULARY);
        // The file is there by now, and is replaced.
        let last = logits(&tokens, &out, &["--last"]);
        // One row and many are added up in different orders.
        let worst =
            last.iter().zip(&all[all.len() - VOCABULARY..]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(
            last.len() == VOCABULARY && worst <= F32_TIGHT,
            "{length} tokens: a logit differs by {worst}"
        );
        assert_eq!(SafetensorsFile::open(&out).unwrap().info("logits").unwrap().shape, [1, VOCABULARY]);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a temporary file stayed behind");
}
