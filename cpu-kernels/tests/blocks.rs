//! The block formats against the Python package `gguf`, bit for bit, and their affine form against MLX's
//! packing.
//!
//! The expected values and words were written by `data/make_blocks.py`.

use cpu_kernels::blocks::{Affine, BlockError, BlockFormat, check, dequantize, to_affine};

struct Case {
    format: BlockFormat,
    blocks: &'static [u8],
    values: &'static [u8],
    words: Option<&'static [u8]>,
}

macro_rules! case {
    ($format:ident, $stem:literal) => {
        Case { words: None, ..case!(@ $format, $stem) }
    };
    ($format:ident, $stem:literal, affine) => {
        Case { words: Some(include_bytes!(concat!("data/", $stem, ".words"))), ..case!(@ $format, $stem) }
    };
    (@ $format:ident, $stem:literal) => {
        Case {
            format: BlockFormat::$format,
            blocks: include_bytes!(concat!("data/", $stem, ".blocks")),
            values: include_bytes!(concat!("data/", $stem, ".f32")),
            words: None,
        }
    };
}

const CASES: [Case; 10] = [
    case!(Q4_0, "q4_0", affine),
    case!(Q4_1, "q4_1", affine),
    case!(Q5_0, "q5_0", affine),
    case!(Q5_1, "q5_1", affine),
    case!(Q8_0, "q8_0", affine),
    case!(Q2K, "q2_k"),
    case!(Q3K, "q3_k"),
    case!(Q4K, "q4_k", affine),
    case!(Q5K, "q5_k", affine),
    case!(Q6K, "q6_k"),
];

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks().0.iter().map(|&word| u32::from_le_bytes(word)).collect()
}

fn values(format: BlockFormat, blocks: &[u8]) -> Vec<f32> {
    let mut out = vec![f32::NAN; blocks.len() / format.block_bytes() * format.block_len()];
    dequantize(format, blocks, &mut out).unwrap();
    out
}

/// Fails with the count and the first few of the values whose bits differ.
fn assert_same_bits(format: BlockFormat, found: &[f32], expected: impl Iterator<Item = u32>) {
    let differ: Vec<_> = found
        .iter()
        .zip(expected)
        .enumerate()
        .filter(|(_, (found, expected))| found.to_bits() != *expected)
        .map(|(i, (found, expected))| format!("[{i}] {found:e} != {:e}", f32::from_bits(expected)))
        .collect();
    assert!(
        differ.is_empty(),
        "{format}: {} of {} differ: {:?}",
        differ.len(),
        found.len(),
        &differ[..differ.len().min(5)]
    );
}

/// The values of an affine tensor, its levels read bit by bit.
fn unpack(affine: &Affine) -> Vec<f32> {
    let bit = |i: usize| affine.weight[i / 32] >> (i % 32) & 1;
    (0..affine.scales.len() * affine.group_size)
        .map(|i| {
            let q: u32 = (0..affine.bits).map(|b| bit(i * affine.bits + b) << b).sum();
            let group = i / affine.group_size;
            affine.scales[group] * q as f32 + affine.biases[group]
        })
        .collect()
}

#[test]
fn values_equal_gguf() {
    for case in CASES {
        let expected = words(case.values);
        let found = values(case.format, case.blocks);
        assert_eq!(found.len(), expected.len(), "{}", case.format);
        assert_same_bits(case.format, &found, expected.into_iter());
    }
}

#[test]
fn affine_words_equal_mlx() {
    for case in CASES {
        let Some(expected) = case.words else { continue };
        assert_eq!(to_affine(case.format, case.blocks).unwrap().weight, words(expected), "{}", case.format);
    }
}

#[test]
fn affine_values_equal_dequantized() {
    for case in CASES.iter().filter(|case| case.words.is_some()) {
        let affine = to_affine(case.format, case.blocks).unwrap();
        assert_eq!(affine.bits, case.format.bits());
        // Adding 0 makes a -0 of the formats with a zero point the +0 of the affine form.
        let expected = values(case.format, case.blocks).into_iter().map(|v| (v + 0.0).to_bits());
        let found: Vec<f32> = unpack(&affine).into_iter().map(|v| v + 0.0).collect();
        assert_same_bits(case.format, &found, expected);
    }
}

#[test]
fn every_format_has_a_case() {
    assert_eq!(CASES.map(|case| case.format), BlockFormat::ALL);
    for case in CASES {
        assert_eq!(case.words.is_some(), case.format.is_affine(), "{}", case.format);
        assert_eq!(case.blocks.len() % case.format.block_bytes(), 0, "{}", case.format);
    }
}

#[test]
fn any_bytes_are_read() {
    for format in BlockFormat::ALL {
        for byte in 0..=u8::MAX {
            values(format, &vec![byte; 3 * format.block_bytes()]);
        }
        assert_eq!(values(format, &[]), []);
    }
}

#[test]
fn refusals() {
    for format in BlockFormat::ALL {
        let bytes = vec![0; 2 * format.block_bytes()];
        let partial = BlockError::PartialBlock { format, bytes: bytes.len() - 1 };
        assert_eq!(dequantize(format, &bytes[1..], &mut []), Err(partial));

        let expected = 2 * format.block_len();
        for found in [0, expected - 1, expected + 1] {
            let refused = dequantize(format, &bytes, &mut vec![0.0; found]);
            assert_eq!(refused, Err(BlockError::OutputLength { format, expected, found }));
        }

        let refused = to_affine(format, &bytes[1..]);
        assert_eq!(refused, Err(if format.is_affine() { partial } else { BlockError::NotAffine { format } }));
    }
}

#[test]
fn blocks_are_checked_as_their_values_are() {
    for format in BlockFormat::ALL {
        let size = format.block_bytes();
        for at in 0..size - 1 {
            let mut bytes = vec![1; 2 * size];
            assert_eq!(check(format, &bytes), Ok(()));
            bytes[size + at..size + at + 2].copy_from_slice(&0x7c00u16.to_le_bytes());
            let mut values = vec![0.0; 2 * format.block_len()];
            dequantize(format, &bytes, &mut values).unwrap();
            let finite = values.iter().all(|value| value.is_finite());
            assert_eq!(check(format, &bytes).is_ok(), finite, "{format}, byte {at}");
        }
        assert!(check(format, &vec![0; size + 1]).is_err());
    }
}

#[test]
fn infinite_scales_are_not_affine() {
    let format = BlockFormat::Q4_1;
    let mut bytes = vec![0; 3 * format.block_bytes()];
    bytes[format.block_bytes() + 3] = 0x7c; // the minimum of the second block: infinity
    let error = to_affine(format, &bytes).unwrap_err();
    assert_eq!(error, BlockError::NotFinite { format, group: 1 });
    assert_eq!(error.to_string(), "group 1 of the Q4_1 blocks has a scale that is not finite");
}
