//! Honest, lying and mutated files, all built in memory.

mod writer;

use super::*;
use cpu_kernels::blocks::BlockFormat;
use writer::{Writer, array, string};

const F32: u32 = 0;
const F16: u32 = 1;
const Q8_0: u32 = 8;
const I32: u32 = 26;
const BF16: u32 = 30;

fn open(writer: &Writer) -> GgufFile {
    GgufFile::from_bytes(writer.bytes()).unwrap()
}

fn refusal(bytes: Vec<u8>) -> String {
    let error = GgufFile::from_bytes(bytes).unwrap_err();
    assert!(matches!(error, Error::Gguf { .. }), "{error}");
    let message = error.to_string();
    assert!(!message.contains('\n') && message.len() < 1500, "{message}");
    message
}

/// A small file with every kind of value and several types of tensors.
fn sample() -> Writer {
    let q8_0: Vec<u8> = [0x00, 0x38].into_iter().chain(0..32).collect(); // scale 0.5
    Writer::new()
        .pair("general.architecture", 8, &string("toy"))
        .u32("toy.block_count", 2)
        .pair("toy.small", 1, &[0xff])
        .pair("toy.wide", 10, &7_u64.to_le_bytes())
        .pair("toy.eps", 6, &1e-6_f32.to_le_bytes())
        .pair("toy.base", 12, &1e6_f64.to_le_bytes())
        .pair("toy.causal", 7, &[1])
        .pair("tokens", 9, &array(8, 2, &[string("a"), string("é")].concat()))
        .pair("scores", 9, &array(6, 2, &[1.0_f32, -2.0].map(f32::to_le_bytes).concat()))
        .pair("kinds", 9, &array(5, 3, &[1_i32, -1, 6].map(i32::to_le_bytes).concat()))
        .pair("nested", 9, &array(9, 2, &[array(0, 1, &[7]), array(7, 0, &[])].concat()))
        .tensor("f32", &[2, 1, 3], F32, &[1.0_f32, -0.0, 2.0, 3.0, 4.0, 5.0].map(f32::to_le_bytes).concat())
        .tensor("f16", &[2], F16, &[0x00, 0x3c, 0x00, 0xc0])
        .tensor("bf16", &[1, 2], BF16, &[0x80, 0x3f, 0x00, 0xc0])
        .tensor("q8_0", &[32, 1], Q8_0, &q8_0)
        .tensor("scalar", &[], I32, &[1, 2, 3, 4])
        .tensor("empty", &[3, 0], F32, &[])
}

#[test]
fn metadata_is_read() {
    let file = open(&sample());
    let meta = file.metadata();
    assert_eq!(meta.str("general.architecture").unwrap(), "toy");
    assert_eq!(meta.u32("toy.block_count").unwrap(), 2);
    assert_eq!(meta.u32("toy.wide").unwrap(), 7);
    assert_eq!(meta.u64("toy.block_count").unwrap(), 2);
    assert_eq!(meta.f32("toy.eps").unwrap(), 1e-6);
    assert_eq!(meta.f32("toy.base").unwrap(), 1e6);
    assert!(meta.bool("toy.causal").unwrap());
    assert_eq!(meta.string_array("tokens").unwrap(), ["a", "é"]);
    assert_eq!(meta.f32_array("scores").unwrap(), [1.0, -2.0]);
    assert_eq!(meta.i32_array("kinds").unwrap(), [1, -1, 6]);
    let nested = Array::Array(vec![Array::U8(vec![7]), Array::Bool(vec![])]);
    assert_eq!(meta.get("nested"), Some(&Value::Array(nested)));
    assert_eq!(meta.iter().len(), 11);

    assert_eq!(meta.optional_u32("lost").unwrap(), None);
    for (error, expected) in [
        (meta.u32("lost").unwrap_err(), "<memory>: key \"lost\": missing from the metadata"),
        (meta.u32("toy.small").unwrap_err(), "<memory>: key \"toy.small\": expected u32, found i8 -1"),
        (
            meta.optional_str("toy.wide").unwrap_err(),
            "<memory>: key \"toy.wide\": expected string, found u64 7",
        ),
        (
            meta.f32_array("kinds").unwrap_err(),
            "<memory>: key \"kinds\": expected array of f32, found array of i32",
        ),
    ] {
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn tensors_are_read() {
    let file = open(&sample());
    let list: Vec<_> =
        file.tensors().map(|t| (t.name.as_str(), t.ty.name(), t.shape.as_slice(), t.nbytes())).collect();
    let expected: [(&str, &str, &[usize], u64); 6] = [
        ("f32", "F32", &[3, 1, 2], 24),
        ("f16", "F16", &[2], 4),
        ("bf16", "BF16", &[2, 1], 4),
        ("q8_0", "Q8_0", &[1, 32], 34),
        ("scalar", "I32", &[], 4),
        ("empty", "F32", &[0, 3], 0),
    ];
    assert_eq!(list, expected);
    assert_eq!(file.tensor("q8_0").unwrap().ty, GgmlType::Block(BlockFormat::Q8_0));
    assert_eq!(file.read("scalar").unwrap(), [1, 2, 3, 4]);
    assert!(file.read("empty").unwrap().is_empty());
    let mut scalar = [0; 4];
    file.read_into("scalar", &mut scalar).unwrap();
    assert_eq!(scalar, [1, 2, 3, 4]);
    assert_eq!(file.dequantize("f32").unwrap(), [1.0, -0.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(file.dequantize("f16").unwrap(), [1.0, -2.0]);
    assert_eq!(file.dequantize("bf16").unwrap(), [1.0, -2.0]);
    assert_eq!(file.dequantize("q8_0").unwrap(), std::array::from_fn::<f32, 32, _>(|i| i as f32 / 2.0));
    for (error, expected) in [
        (
            file.read_into("f16", &mut scalar[1..]).unwrap_err(),
            "<memory>: tensor \"f16\" takes 4 bytes, not 3",
        ),
        (file.read("lost").unwrap_err(), "<memory>: no tensor \"lost\""),
        (file.dequantize("scalar").unwrap_err(), "<memory>: tensor \"scalar\": type I32 has no f32 values"),
    ] {
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn versions_and_alignments_are_read() {
    let file = open(&Writer { version: 2, ..sample() });
    assert_eq!(file.tensors().len(), 6);
    assert_eq!(open(&Writer::new()).tensors().len(), 0);

    let wide = Writer { alignment: 4096, ..Writer::new() }.u32("general.alignment", 4096);
    let file = open(&wide.tensor("a", &[1], F32, &[1; 4]).tensor("b", &[1], F32, &[2; 4]));
    assert_eq!((file.read("a").unwrap(), file.read("b").unwrap()), (vec![1; 4], vec![2; 4]));
}

#[test]
fn long_values_cross_the_buffer() {
    let long = "long ".repeat(50_000);
    let numbers: Vec<i32> = (0..100_000).collect();
    let elements: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    let file = open(
        &Writer::new()
            .u32("a", 1)
            .pair("b", 8, &string(&long))
            .u32("c", 3)
            .pair("d", 9, &array(5, numbers.len() as u64, &elements))
            .pair("e", 8, &string("end")),
    );
    let meta = file.metadata();
    assert_eq!(meta.str("b").unwrap(), long);
    assert_eq!(meta.u32("c").unwrap(), 3);
    assert_eq!(meta.i32_array("d").unwrap(), numbers);
    assert_eq!(meta.str("e").unwrap(), "end");
}

#[test]
fn lying_headers_are_refused() {
    let new = Writer::new;
    let one = || new().tensor("a", &[32], F32, &[0; 128]);
    let deep = (0..4).fold(array(0, 0, &[]), |inner, _| array(9, 1, &inner));
    let cases: Vec<(Writer, &str)> = vec![
        (Writer { magic: *b"GGML", ..new() }, "not a GGUF file: it starts with \"GGML\""),
        (Writer { version: 1, ..new() }, "version 1 is not supported"),
        (Writer { version: 3_u32.swap_bytes(), ..new() }, "big-endian"),
        (Writer { version: 0, ..new() }, "version 0 is unknown"),
        (Writer { version: 4, ..new() }, "version 4 is unknown"),
        (
            Writer { tensor_count: Some(1 << 60), ..one() },
            "1152921504606846976 tensors do not fit the 168 bytes",
        ),
        (Writer { tensor_count: Some(u64::MAX), ..new() }, "tensors do not fit the 0 bytes left"),
        (Writer { pair_count: Some(1 << 60), ..one() }, "1152921504606846976 metadata pairs do not fit"),
        (Writer { pair_count: Some(1), ..new() }, "1 metadata pairs do not fit the 0 bytes left"),
        (
            Writer { pair_count: Some(2), ..new() }.pair("k", 8, &string("some text")),
            "cut short: 8 bytes wanted",
        ),
        (new().pair("k", 8, &[0xff; 8]), "cut short: 18446744073709551615 bytes wanted"),
        (new().pair("k", 8, &[&1_u64.to_le_bytes()[..], &[0xff]].concat()), "is not UTF-8"),
        (new().pair("k", 13, &[0; 8]), "key \"k\": value type 13 is unknown"),
        (new().pair("k", 7, &[2]), "key \"k\": 2 is no truth value"),
        (new().pair("k", 9, &array(13, 1, &[0; 8])), "key \"k\": value type 13 is unknown"),
        (
            new().pair("k", 9, &array(5, 1 << 60, &[0; 8])),
            "1152921504606846976 array elements do not fit the 8 bytes",
        ),
        (new().pair("k", 9, &array(8, 2, &string("x"))), "2 array elements do not fit"),
        (new().pair("k", 9, &deep), "key \"k\": arrays lie deeper than 4"),
        (new().u32("k", 1).u32("k", 2), "key \"k\" appears twice"),
        (one().u32("general.alignment", 0), "key \"general.alignment\": 0 is not a power of two"),
        (one().u32("general.alignment", 48), "48 is not a power of two"),
        (one().pair("general.alignment", 8, &string("32")), "expected u32, found string"),
        (new().entry("a", &[1; 5], F32, 0), "tensor \"a\" has 5 axes, more than 4"),
        (new().entry("a", &[1 << 40, 1 << 40], F32, 0), "tensor \"a\": its shape has more bytes"),
        (new().entry("a", &[1 << 40, 1 << 40, 0], F32, 0), "tensor \"a\": its shape has more bytes"),
        (new().entry("a", &[1 << 63], F32, 0), "tensor \"a\": its shape has more bytes"),
        (new().entry("a", &[(1 << 62) + 1], F32, 0), "tensor \"a\": its shape has more bytes"),
        (
            new().entry("a", &[1 << 60], F32, 0),
            "tensor \"a\": its data ends at 4611686018427387968, but the file has",
        ),
        (
            new().entry("a", &[1], F32, u64::MAX - 31),
            "tensor \"a\": offset 18446744073709551584 is outside the file",
        ),
        (one().entry("b", &[8], F32, 1 << 50), "tensor \"b\": its data ends at"),
        (one().entry("b", &[8], F32, 8), "tensor \"b\": offset 8 is not a multiple of 32"),
        (one().entry("b", &[8], F32, 96), "tensors \"a\" and \"b\" overlap"),
        (one().entry("b", &[8], F32, 0), "overlap"),
        (one().tensor("a", &[1], F32, &[0; 4]), "tensor \"a\" appears twice"),
        (
            new().tensor("a", &[33], Q8_0, &[0; 68]),
            "tensor \"a\": rows of 33 are not whole Q8_0 blocks of 32",
        ),
        (new().tensor("a", &[], Q8_0, &[0; 34]), "tensor \"a\": rows of 1 are not whole"),
        (new().tensor("a", &[256], 16, &[0; 66]), "tensor \"a\": type IQ2_XXS is not supported"),
        (new().tensor("a", &[32], 4, &[0; 32]), "tensor \"a\": type 4 is unknown"),
        (new().entry(&"x\n".repeat(10_000), &[1], 99, 0), "type 99 is unknown"),
    ];
    for (writer, expected) in cases {
        let message = refusal(writer.bytes());
        assert!(message.starts_with("<memory>: ") && message.contains(expected), "{expected}: {message}");
    }
}

#[test]
fn every_truncation_is_refused() {
    // The last tensor of the sample has no data, so the file ends with its last but one.
    let bytes = sample().tensor("last", &[8], F32, &[5; 32]).bytes();
    assert!(GgufFile::from_bytes(bytes.clone()).is_ok());
    for len in 0..bytes.len() {
        refusal(bytes[..len].to_vec());
    }
}

#[test]
fn metadata_memory_is_capped() {
    // Zeros, as far as the header claims: 12 million empty texts, 96 MiB of file but 288 MiB of memory.
    let count = 12 << 20;
    let path = std::env::temp_dir().join(format!("mlx-gguf-{}", std::process::id()));
    std::fs::write(&path, Writer::new().pair("k", 9, &array(8, count, &[])).bytes()).unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() + count * 8).unwrap();
    let error = GgufFile::open(&path).unwrap_err().to_string();
    std::fs::remove_file(&path).unwrap();
    assert!(error.ends_with(": the metadata takes more than 268435456 bytes of memory"), "{error}");
    assert!(error.starts_with(path.to_str().unwrap()), "{error}");
}

/// Marsaglia's xorshift64: the same numbers in every run.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }
}

#[test]
fn mutated_files_give_errors_or_reads_inside_the_file() {
    let valid = sample().bytes();
    let mut random = Xorshift(0x6775_6621);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut bytes = valid.clone();
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            match random.below(6) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][random.below(5)],
                2 => bytes[at] = random.below(256) as u8,
                3 => bytes.insert(at, random.below(16) as u8),
                _ => bytes[at] ^= 1 << random.below(8),
            }
        }
        let len = bytes.len() as u64;
        let Ok(file) = GgufFile::from_bytes(bytes) else { continue };
        accepted += 1;
        for tensor in file.tensors() {
            assert!(tensor.position + tensor.nbytes <= len);
            assert_eq!(file.read(&tensor.name).unwrap().len() as u64, tensor.nbytes);
            if let Ok(values) = file.dequantize(&tensor.name) {
                assert_eq!(values.len(), tensor.size());
            }
        }
    }
    assert!(
        accepted > 1000,
        "only {accepted} mutated files were accepted: the test does not reach the reads"
    );
}
