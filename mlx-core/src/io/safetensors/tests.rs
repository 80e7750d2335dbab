//! Lying headers, mutated files, and round trips.

use super::*;
use std::fs;
use std::path::PathBuf;

/// A file with this header and `data` bytes of data.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend((0..data).map(|i| i as u8));
    bytes
}

fn refusal(bytes: Vec<u8>) -> String {
    let error = SafetensorsFile::from_bytes(bytes).unwrap_err();
    assert!(matches!(error, Error::Safetensors { .. }), "{error}");
    error.to_string()
}

#[test]
fn lying_headers_are_refused() {
    let cases: [(&str, &str, usize, &str); 27] = [
        ("no header", "", 0, "does not start with a '{'"),
        ("leading space", " {}", 0, "does not start with a '{'"),
        ("not JSON", "{nonsense", 0, "header: key must be a string"),
        ("unfinished", r#"{"a":{"dtype":"U8""#, 0, "tensor \"a\": EOF while parsing"),
        ("trailing text", "{} x", 0, "trailing characters"),
        ("not an object", r#"{"a":7}"#, 0, "tensor \"a\": invalid type: integer `7`"),
        ("no dtype", r#"{"a":{"shape":[],"data_offsets":[0,1]}}"#, 1, "\"a\": missing field `dtype`"),
        ("no shape", r#"{"a":{"dtype":"U8","data_offsets":[0,1]}}"#, 1, "\"a\": missing field `shape`"),
        ("no offsets", r#"{"a":{"dtype":"U8","shape":[]}}"#, 1, "\"a\": missing field `data_offsets`"),
        ("one offset", r#"{"a":{"dtype":"U8","shape":[],"data_offsets":[0]}}"#, 1, "\"a\": invalid length 1"),
        ("field twice", r#"{"a":{"dtype":"U8","dtype":"I8"}}"#, 1, "\"a\": duplicate field `dtype`"),
        (
            "negative axis",
            r#"{"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}}"#,
            1,
            "\"a\": invalid value",
        ),
        ("fraction", r#"{"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}}"#, 1, "\"a\": invalid type"),
        (
            "2^64",
            r#"{"a":{"dtype":"U8","shape":[18446744073709551616],"data_offsets":[0,1]}}"#,
            1,
            "\"a\": invalid",
        ),
        (
            "2^60 elements",
            r#"{"a":{"dtype":"U8","shape":[1152921504606846976],"data_offsets":[0,1152921504606846976]}}"#,
            1,
            "tensor \"a\" ends at 1152921504606846976, but the data has 1 bytes",
        ),
        (
            "2^120 elements",
            r#"{"a":{"dtype":"U8","shape":[1152921504606846976,1152921504606846976],"data_offsets":[0,0]}}"#,
            0,
            "\"a\": its shape has more bytes than 64 bits can count",
        ),
        (
            "2^120 times zero",
            r#"{"a":{"dtype":"U8","shape":[0,1152921504606846976,1152921504606846976],"data_offsets":[0,0]}}"#,
            0,
            "\"a\": its shape has more bytes",
        ),
        (
            "size wraps to fit",
            r#"{"a":{"dtype":"F32","shape":[4611686018427387905],"data_offsets":[0,4]}}"#,
            4,
            "\"a\": its shape has more bytes",
        ),
        (
            "too long",
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#,
            4,
            "4 bytes, shape and dtype make 8",
        ),
        ("backwards", r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[2,0]}}"#, 2, "end before they start"),
        (
            "outside",
            r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#,
            1,
            "ends at 2, but the data has 1",
        ),
        (
            "gap in front",
            r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#,
            2,
            "1 bytes before tensor \"a\"",
        ),
        (
            "gap behind",
            r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#,
            3,
            "2 bytes after the last",
        ),
        (
            "overlap",
            r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}}"#,
            3,
            "tensor \"b\" starts at 1, inside the tensor that ends at 2",
        ),
        (
            "name twice",
            r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#,
            2,
            "tensor \"a\" appears twice",
        ),
        (
            "float 8",
            r#"{"a":{"dtype":"F8_E5M2","shape":[1],"data_offsets":[0,1]}}"#,
            1,
            "\"F8_E5M2\" is not supported",
        ),
        (
            "dtype",
            r#"{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,1]}}"#,
            1,
            "\"a\": dtype \"F31\" is unknown",
        ),
    ];
    for (name, header, data, expected) in cases {
        let message = refusal(file(header, data));
        assert!(message.starts_with("<memory>: ") && message.contains(expected), "{name}: {message}");
        assert!(!message.contains('\n'), "{name}: {message}");
    }
}

#[test]
fn lying_metadata_is_refused() {
    for (header, expected) in [
        (r#"{"__metadata__":{"k":1}}"#, "expected a string"),
        (r#"{"__metadata__":{"k":"v","k":"w"}}"#, "\"k\" appears twice"),
        (r#"{"__metadata__":{},"__metadata__":{}}"#, "__metadata__ appears twice"),
        (r#"{"__metadata__":"text"}"#, "expected an object of strings"),
    ] {
        let message = refusal(file(header, 0));
        assert!(message.contains(expected) && message.contains("__metadata__"), "{message}");
    }
}

#[test]
fn lying_lengths_are_refused() {
    for (bytes, expected) in [
        (Vec::new(), "0 bytes are too few"),
        (vec![0; 7], "7 bytes are too few"),
        (vec![0; 8], "does not start with a '{'"),
        (vec![0xff; 64], "claims 18446744073709551615 bytes, more than 104857600"),
        (1_u64.to_le_bytes().to_vec(), "claims 1 bytes, 0 are there"),
        ([&100_000_000_u64.to_le_bytes()[..], b"{}"].concat(), "claims 100000000 bytes, 2 are there"),
    ] {
        let message = refusal(bytes);
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn messages_stay_short_and_on_one_line() {
    let long = "x\\n".repeat(10_000);
    for header in [
        format!(r#"{{"{long}":{{"dtype":"F8_E5M2","shape":[],"data_offsets":[0,0]}}}}"#),
        format!(r#"{{"a":{{"dtype":"{long}","shape":[],"data_offsets":[0,0]}}}}"#),
        format!(r#"{{"a":{{"dtype":"U8","shape":"{long}","data_offsets":[0,0]}}}}"#),
        format!(r#"{{"a":{}"#, "[".repeat(100_000)),
    ] {
        let message = refusal(file(&header, 0));
        assert!(message.len() < 1500 && !message.contains('\n'), "{} bytes", message.len());
    }
}

#[test]
fn scalars_and_empty_tensors_are_read() {
    let header = r#"{"empty":{"dtype":"F32","shape":[3,0],"data_offsets":[4,4]},
        "scalar":{"dtype":"F32","shape":[],"data_offsets":[0,4]},
        "last":{"dtype":"U8","shape":[2],"data_offsets":[4,6],"note":"ignored"},
        "__metadata__":{"format":"mlx"}}   "#;
    let file = SafetensorsFile::from_bytes(file(header, 6)).unwrap();
    assert_eq!(file.names().collect::<Vec<_>>(), ["scalar", "empty", "last"]);
    assert_eq!(file.metadata()["format"], "mlx");
    assert_eq!(file.info("empty").unwrap().shape, [3, 0]);
    assert_eq!(file.read("scalar").unwrap(), [0, 1, 2, 3]);
    assert!(file.read("empty").unwrap().is_empty());
    let mut last = [9; 2];
    file.read_into("last", &mut last).unwrap();
    assert_eq!(last, [4, 5]);

    let error = file.read_into("last", &mut [0; 3]).unwrap_err();
    assert_eq!(error.to_string(), "<memory>: tensor \"last\" takes 2 bytes, not 3");
    assert_eq!(file.read("lost").unwrap_err().to_string(), "<memory>: no tensor \"lost\"");
    assert_eq!(SafetensorsFile::from_bytes(b"\x02\0\0\0\0\0\0\0{}".to_vec()).unwrap().tensors().len(), 0);
}

/// A folder of its own, removed with its contents on drop.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mlx-safetensors-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn saved_files_come_back_and_save_to_the_same_bytes() {
    let folder = Folder::new("save");
    let (first, second) = (folder.0.join("first.safetensors"), folder.0.join("second.safetensors"));
    let data: Vec<u8> = (0..96).collect();
    let tensors = [
        TensorView { name: "flags", dtype: DType::Bool, shape: &[3], data: &data[..3] },
        TensorView { name: "a\n\"quoted\" é", dtype: DType::BF16, shape: &[2, 3], data: &data[3..15] },
        TensorView { name: "scalar", dtype: DType::F64, shape: &[], data: &data[15..23] },
        TensorView { name: "empty", dtype: DType::F32, shape: &[0, 7], data: &[] },
        TensorView { name: "waves", dtype: DType::Complex64, shape: &[2], data: &data[23..39] },
    ];
    let metadata = BTreeMap::from([("b".into(), "2".into()), ("a".into(), "1\n".into())]);
    write_safetensors(&first, &tensors, &metadata).unwrap();

    let loaded = SafetensorsFile::open(&first).unwrap();
    assert_eq!(loaded.metadata(), &metadata);
    assert_eq!(loaded.header.data_start % 8, 0);
    for tensor in &tensors {
        let info = loaded.info(tensor.name).unwrap();
        assert_eq!((info.dtype, &info.shape[..]), (tensor.dtype, tensor.shape));
        assert_eq!(info.offset % tensor.dtype.size() as u64, 0, "{} is aligned", tensor.name);
        assert_eq!(loaded.read(tensor.name).unwrap(), tensor.data);
    }

    let read: Vec<_> = loaded.tensors().map(|info| (info, loaded.read(&info.name).unwrap())).collect();
    let views: Vec<_> = read
        .iter()
        .map(|(info, data)| TensorView { name: &info.name, dtype: info.dtype, shape: &info.shape, data })
        .collect();
    write_safetensors(&second, &views, loaded.metadata()).unwrap();
    assert_eq!(fs::read(&first).unwrap(), fs::read(&second).unwrap());
}

#[test]
fn bad_tensors_are_not_written() {
    let folder = Folder::new("bad");
    let path = folder.0.join("bad.safetensors");
    let good = TensorView { name: "a", dtype: DType::F32, shape: &[1], data: &[0; 4] };
    for (tensors, expected) in [
        (vec![good, good], "tensor \"a\" is given twice"),
        (vec![TensorView { data: &[0; 3], ..good }], "3 bytes are not a float32 array of shape [1]"),
        (vec![TensorView { shape: &[usize::MAX, 8], ..good }], "4 bytes are not"),
        (vec![TensorView { name: "__metadata__", ..good }], "keeps this name"),
    ] {
        let message = write_safetensors(&path, &tensors, &BTreeMap::new()).unwrap_err().to_string();
        assert!(message.contains("bad.safetensors: ") && message.contains(expected), "{message}");
        assert!(!path.exists());
    }
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
    let header = r#"{"__metadata__":{"format":"pt"},"a":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]},
        "b":{"dtype":"U8","shape":[20],"data_offsets":[12,32]},"c":{"dtype":"I64","shape":[],"data_offsets":[32,40]}}"#;
    let valid = file(header, 40);
    let mut random = Xorshift(0x5afe_7e45);
    let mut accepted = 0;
    for _ in 0..20_000 {
        let mut bytes = valid.clone();
        for _ in 0..=random.below(3) {
            // Mostly the digits, quotes and braces that mean something to the parser.
            let at = random.below(bytes.len());
            match random.below(8) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes[at] ^= 1 << random.below(8),
                2 => bytes[at] = random.below(256) as u8,
                3 => bytes.insert(at, b"0123456789[]{}\",:-"[random.below(18)]),
                4 => drop(bytes.remove(at)),
                _ => bytes[at] = b"0123456789[]{}\",:-"[random.below(18)],
            }
            if bytes.is_empty() {
                break;
            }
        }
        let Ok(file) = SafetensorsFile::from_bytes(bytes.clone()) else { continue };
        accepted += 1;
        let mut total = 0;
        for info in file.tensors() {
            let data = file.read(&info.name).unwrap();
            assert_eq!(data.len(), info.shape.iter().product::<usize>() * info.dtype.size());
            total += data.len() as u64;
        }
        assert_eq!(file.header.data_start + total, bytes.len() as u64);
    }
    assert!(accepted > 100, "only {accepted} mutated files were accepted: the test does not reach the reads");
}
