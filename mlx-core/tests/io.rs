//! Files of arrays: what other libraries wrote is read, what is written is read by them, and hostile files are errors.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mlx_core::io::{Source, load_npy, load_safetensors, read_npy, save_npy, save_safetensors};
use mlx_core::{Array, DType, Error, Result};
use support::{EXACT, Reference, assert_close};

/// A folder of this test's own, whose name would be a format of `printf`.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mlx-%s%n-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn names(folder: &Path) -> Vec<String> {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// One array of every dtype, two by three.
fn one_of_each() -> Vec<Array> {
    use DType::*;
    let numbers = Array::from_slice(&[0.0f32, 1.0, 2.0, 3.0, 100.0, 101.0], &[2, 3]).unwrap();
    [Bool, U8, U16, U32, U64, I8, I16, I32, I64, F16, BF16, F32, F64, Complex64]
        .into_iter()
        .map(|dtype| mlx_core::Device::Cpu.scope(|| numbers.as_type(dtype)).unwrap())
        .collect()
}

#[test]
fn safetensors_come_back() {
    let folder = Folder::new("safetensors");
    let path = folder.file("%d arrays.safetensors");
    let mut arrays: BTreeMap<String, Array> =
        one_of_each().into_iter().map(|array| (array.dtype().to_string(), array)).collect();
    let row = Array::from_slice(&[1i32, 2, 3], &[3]).unwrap();
    arrays.insert("scalar".into(), Array::scalar(7u8).unwrap());
    arrays.insert("none".into(), Array::zeros(&[0, 4], DType::F32).unwrap());
    arrays.insert("transposed".into(), arrays["float32"].transpose(&[1, 0]).unwrap());
    arrays.insert("repeated".into(), row.broadcast_to(&[2, 3]).unwrap());
    arrays.insert("lazy".into(), row.add(&row).unwrap());
    let metadata = BTreeMap::from([("format".to_owned(), "%s".to_owned())]);

    save_safetensors(&path, &arrays, &metadata).unwrap();
    let first = fs::read(&path).unwrap();
    let (found, strings) = load_safetensors(&path).unwrap();
    assert_eq!(strings, metadata);
    assert_eq!(found.keys().collect::<Vec<_>>(), arrays.keys().collect::<Vec<_>>());
    for (name, array) in &arrays {
        assert_eq!((found[name].dtype(), found[name].shape()), (array.dtype(), array.shape()), "{name}");
        assert_eq!(found[name].to_bytes().unwrap(), array.to_bytes().unwrap(), "{name}");
    }
    // What was read makes the same file.
    save_safetensors(&path, &found, &strings).unwrap();
    assert_eq!(fs::read(&path).unwrap(), first);
    assert_eq!(names(&folder.0).len(), 1);
}

#[test]
fn safetensors_that_arrays_cannot_hold_are_refused() {
    let folder = Folder::new("refused");
    let write = |header: &str, data: &[u8]| {
        let path = folder.file("bad.safetensors");
        let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat();
        fs::write(&path, bytes).unwrap();
        load_safetensors(&path).unwrap_err().to_string()
    };
    let text = write(r#"{"b":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]}}"#, &[1, 2]);
    assert!(text.ends_with(r#"bad.safetensors: tensor "b": a boolean is neither 0 nor 1"#), "{text}");
    let text = write(r#"{"e":{"dtype":"U8","shape":[0,3000000000],"data_offsets":[0,0]}}"#, &[]);
    assert!(text.contains(r#"tensor "e": an axis of [0, 3000000000] is too long"#), "{text}");

    let missing = load_safetensors(folder.file("no %s file")).unwrap_err();
    assert!(
        matches!(&missing, Error::Io { .. }) && missing.to_string().contains("no %s file: "),
        "{missing}"
    );
    let arrays = BTreeMap::from([("__metadata__".to_owned(), Array::scalar(1u8).unwrap())]);
    let error = save_safetensors(folder.file("%s"), &arrays, &BTreeMap::new()).unwrap_err();
    assert!(error.to_string().contains("/%s: tensor \"__metadata__\""), "{error}");
    assert!(save_safetensors(folder.file("no/folder"), &BTreeMap::new(), &BTreeMap::new()).is_err());
}

#[test]
fn npy_of_numpy_and_mlx_are_read_and_written() {
    let reference = Reference::open("npy");
    let folder = Folder::new("npy");
    let path = folder.file("%s.npy");
    let cases = reference.cases();
    assert!(cases.len() > 40);
    for case in &cases {
        let bytes = reference.inputs(case)[0].to_vec::<u8>().unwrap();
        let expected = &reference.outputs(case)[0];
        let found = read_npy(&Source::from_bytes(bytes.clone())).unwrap_or_else(|e| panic!("{case}: {e}"));
        assert_close(case, &found, expected, EXACT);
        save_npy(&path, &found).unwrap();
        if case.starts_with("plain") {
            assert_eq!(fs::read(&path).unwrap(), bytes, "{case}");
        }
        assert_close(case, &load_npy(&path).unwrap(), expected, EXACT);
    }
    for array in one_of_each() {
        save_npy(&path, &array.transpose(&[1, 0]).unwrap()).unwrap();
        let found = load_npy(&path).unwrap();
        assert_eq!((found.dtype(), found.shape()), (array.dtype(), &[3, 2][..]));
        assert_eq!(found.transpose(&[1, 0]).unwrap().to_bytes().unwrap(), array.to_bytes().unwrap());
    }
    assert_eq!(names(&folder.0), ["%s.npy"]);
}

/// An npy file of version 1.0.
fn npy(header: &str, data: &[u8]) -> Vec<u8> {
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

fn read(bytes: &[u8]) -> Result<Array> {
    read_npy(&Source::from_bytes(bytes.to_vec()))
}

#[test]
fn npy_headers_may_be_spelled_otherwise() {
    let data = [1, 0, 2, 0];
    for header in [
        "{'descr': '<i2', 'fortran_order': False, 'shape': (2,)}",
        "{'shape':(2,),'descr':'<i2','fortran_order':False}\n",
        "{\"descr\": \"<i2\", \"fortran_order\": True, \"shape\": (2, ), }   \n",
        "{'descr': '=i2', 'fortran_order': False, 'shape': (2L,), }",
        "{'descr': 'i2', 'fortran_order': False, 'shape': (2,), }",
        "  { 'descr' : '<i2' , 'fortran_order' : False , 'shape' : ( 2 , ) , }  ",
    ] {
        assert_eq!(read(&npy(header, &data)).unwrap().to_vec::<i16>().unwrap(), [1, 2], "{header}");
    }
    let header = "{'descr': '|?', 'fortran_order': False, 'shape': (), }";
    assert!(read(&npy(header, &[1])).unwrap().item::<bool>().unwrap());
}

#[test]
fn hostile_npy_files_are_errors() {
    let plain = |descr: &str, shape: &str| {
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}")
    };
    for (header, data, problem) in [
        (plain("<f4", "(2,)"), 7, "7 bytes of data do not make an array of float32[2]"),
        (plain("<f4", "(2,)"), 9, "9 bytes of data do not make"),
        (plain("<f4", "()"), 0, "0 bytes of data do not make an array of float32[]"),
        (plain("<f4", "(4294967296,)"), 0, "an axis of [4294967296] is too long"),
        (plain("<f4", "(99999999999999999999,)"), 0, "where the length of an axis should be"),
        (plain("<f4", "(2147483647, 2147483647, 2147483647)"), 0, "do not make an array"),
        (plain("<f4", "(-1,)"), 0, "where the length of an axis should be"),
        (plain("<f4", "(2)"), 8, "where ',' should be"),
        (plain("<f4", "(2,"), 8, "should be"),
        (plain("<f4", "[2]"), 8, "where '(' should be"),
        (plain("<f4", &format!("({})", "1, ".repeat(65))), 4, "65 axes are more than 64"),
        (plain("|b1", "(1,)"), 1, "a boolean is neither 0 nor 1"),
        (plain("|O", "(1,)"), 8, "Python objects"),
        (plain("<U3", "(1,)"), 12, "dtype \"<U3\" is not supported"),
        (plain("<c16", "(1,)"), 16, "dtype \"<c16\" is not supported"),
        (plain("é4", "(1,)"), 4, "is not supported"),
        (plain("", "(1,)"), 4, "is not supported"),
        ("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }".into(), 4, "records"),
        ("{'descr': '<f4', 'shape': (1,), }".into(), 4, "has no \"fortran_order\""),
        ("{'descr': '<f4', 'descr': '<f4', }".into(), 4, "two entries \"descr\""),
        ("{'descr': '<f4', 'more': 1, }".into(), 4, "unknown entry \"more\""),
        ("{'descr': '<f4', 'fortran_order': 1, 'shape': (1,)}".into(), 4, "where True or False should be"),
        ("{'descr: ".into(), 4, "does not end"),
        ("{'descr': '<f4', 'fortran_order': False, 'shape': (1,)} + 1".into(), 4, "after its end"),
        ("".into(), 4, "where '{' should be"),
        ("%s%n".into(), 4, "\"%s%n\" where '{' should be"),
    ] {
        let text = read(&npy(&header, &vec![3; data])).unwrap_err().to_string();
        assert!(text.starts_with("<memory>: ") && text.contains(problem), "{header}: {text}");
        assert!(text.len() < 400, "{text}");
    }
    for (bytes, problem) in [
        (&b""[..], "0 bytes are too few"),
        (b"\x93NUMPY\x01\x00\xff", "9 bytes are too few"),
        (b"PK\x03\x04 not an npy file", "does not start as an npy file does"),
        (b"\x93NUMPY\x04\x00\x00\x00\x00\x00", "version 4.0 is unknown"),
        (b"\x93NUMPY\x01\x07\x00\x00\x00\x00", "version 1.7 is unknown"),
        (b"\x93NUMPY\x01\x00\xff\xff{}", "claims 65535 bytes, 2 are there"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{}", "claims 4294967295 bytes, more than 65536"),
        (b"\x93NUMPY\x01\x00\x02\x00\xff\xfe", "not a text"),
    ] {
        let text = read(bytes).unwrap_err().to_string();
        assert!(text.contains(problem), "{text}");
    }
    let missing = load_npy("/no/such/%s.npy").unwrap_err().to_string();
    assert!(missing.contains("/no/such/%s.npy: "), "{missing}");
    let deep = Array::scalar(1.0f32).unwrap().reshape(&[1; 65]).unwrap();
    let error = save_npy("/no/such/%s.npy", &deep).unwrap_err().to_string();
    assert_eq!(error, "/no/such/%s.npy: 65 axes are more than 64");
}

/// Every file that differs from a good one in one byte is read or refused, and nothing else.
#[test]
fn npy_files_with_a_changed_byte_do_no_harm() {
    let good = npy("{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", &[0; 24]);
    assert!(read(&good).is_ok());
    for position in 0..good.len() {
        for byte in [0, b'0', b'9', b'\'', b'(', b')', b',', 0x7f, 0xff] {
            let mut bytes = good.clone();
            bytes[position] = byte;
            let _ = read(&bytes).map(|array| array.to_bytes().unwrap());
        }
        assert!(read(&good[..position]).is_err(), "cut at {position}");
    }
}

#[test]
fn arrays_are_written_in_place() {
    for dtype in one_of_each().iter().map(Array::dtype) {
        let array = Array::from_writer(&[3], dtype, |bytes| {
            assert_eq!(bytes.len(), 3 * dtype.size());
            assert!(bytes.iter().all(|byte| *byte == 0));
            assert_eq!(bytes.as_ptr() as usize % dtype.size(), 0, "{dtype}");
            bytes[0] = 1;
            Ok(())
        });
        let bytes = array.unwrap().to_bytes().unwrap();
        assert_eq!((bytes[0], &bytes[1..]), (1, &vec![0; 3 * dtype.size() - 1][..]), "{dtype}");
    }
    let write = |shape: &[i32], dtype, byte| {
        Array::from_writer(shape, dtype, |bytes| {
            bytes.fill(byte);
            Ok(())
        })
    };
    assert_eq!(write(&[], DType::U8, 9).unwrap().item::<u8>().unwrap(), 9);
    assert!(write(&[0, 3], DType::F32, 1).unwrap().to_vec::<f32>().unwrap().is_empty());
    for (shape, dtype, problem) in [
        (&[2][..], DType::Bool, "from_writer: a boolean is neither 0 nor 1"),
        (&[-1], DType::U8, "from_writer: [-1] is not a shape of uint8"),
        (&[i32::MAX; 3], DType::U8, "is not a shape of uint8"),
        (&[i32::MAX, 1 << 20], DType::U8, "and the memory limit is"),
    ] {
        let text = write(shape, dtype, 2).unwrap_err().to_string();
        assert!(text.contains(problem), "{text}");
    }
    let error = Array::from_writer(&[1], DType::U8, |_| Err(Error::other("no file"))).unwrap_err();
    assert_eq!(error.to_string(), "no file");
    let panicked = std::panic::catch_unwind(|| Array::from_writer(&[1], DType::U8, |_| panic!("halfway")));
    assert!(panicked.is_err());
}
