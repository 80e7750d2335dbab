//! Arrays in and out: creation, views, scalars, empty arrays, errors. Against values worked out by hand.

use mlx_core::{Array, DType, Device, Error, concatenate, eval, memory, select};

fn iota(shape: &[i32]) -> Array {
    let size = shape.iter().product::<i32>();
    Array::arange(0.0, f64::from(size), 1.0, DType::F32).unwrap().reshape(shape).unwrap()
}

#[test]
fn every_element_type_comes_back_as_it_went_in() {
    macro_rules! check {
        ($($type:ty: [$($value:expr),*]),*) => {$({
            let values: Vec<$type> = vec![$($value),*];
            let a = Array::from_slice(&values, &[values.len() as i32]).unwrap();
            assert_eq!(a.to_vec::<$type>().unwrap(), values, stringify!($type));
            assert_eq!(a.nbytes(), values.len() * size_of::<$type>());
        })*};
    }
    check! {
        bool: [true, false], u8: [0, 255], u16: [0, 65535], u32: [0, u32::MAX], u64: [0, u64::MAX],
        i8: [-128, 127], i16: [i16::MIN, 7], i32: [i32::MIN, i32::MAX], i64: [i64::MIN, i64::MAX],
        f32: [-0.5, f32::INFINITY], f64: [1e300, -2.0],
        half::f16: [half::f16::from_f32(1.5), half::f16::MAX], half::bf16: [half::bf16::from_f32(-3.0), half::bf16::MAX]
    }
}

#[test]
fn views_are_read_in_row_major_order() {
    let a = iota(&[2, 3]);
    let cases: [(&str, Array, &[f32]); 5] = [
        ("transposed", a.transpose(&[1, 0]).unwrap(), &[0.0, 3.0, 1.0, 4.0, 2.0, 5.0]),
        (
            "broadcast",
            a.slice_axis(0, 0, 1).unwrap().broadcast_to(&[2, 3]).unwrap(),
            &[0.0, 1.0, 2.0, 0.0, 1.0, 2.0],
        ),
        ("sliced", a.slice_axis(1, 1, 2).unwrap(), &[1.0, 4.0]),
        ("second row", a.slice_axis(0, 1, 2).unwrap(), &[3.0, 4.0, 5.0]),
        (
            "sliced and transposed",
            a.slice_axis(1, 1, 3).unwrap().transpose(&[1, 0]).unwrap(),
            &[1.0, 4.0, 2.0, 5.0],
        ),
    ];
    for (name, view, expected) in cases {
        assert_eq!(view.to_vec::<f32>().unwrap(), expected, "{name}");
    }
}

#[test]
fn scalars_and_empty_arrays_work() {
    let scalar = Array::scalar(2.5f32).unwrap();
    assert_eq!((scalar.ndim(), scalar.size(), scalar.item::<f32>().unwrap()), (0, 1, 2.5));
    let empty = Array::from_slice::<f32>(&[], &[0, 3]).unwrap();
    assert_eq!((empty.shape(), empty.size()), (&[0, 3][..], 0));
    assert!(empty.to_vec::<f32>().unwrap().is_empty());
    assert!(empty.transpose(&[1, 0]).unwrap().to_vec::<f32>().unwrap().is_empty());
    assert_eq!(empty.sum(0, false).unwrap().to_vec::<f32>().unwrap(), [0.0; 3]);
    assert!(matches!(empty.item::<f32>(), Err(Error::Shape { op: "item", .. })));
}

#[test]
fn lengths_and_types_that_do_not_fit_are_errors() {
    assert!(Array::from_slice(&[1.0f32; 5], &[2, 3]).is_err());
    assert!(Array::from_slice(&[1.0f32; 6], &[-2, -3]).is_err());
    assert!(Array::from_bytes(&[0; 4], &[i32::MAX, i32::MAX, i32::MAX, i32::MAX], DType::F32).is_err());
    assert!(Array::zeros(&[i32::MAX, i32::MAX, i32::MAX], DType::F32).is_err());
    assert!(Array::full(&[-1], 1.0f32).is_err());
    let message = iota(&[2]).to_vec::<i32>().unwrap_err().to_string();
    assert_eq!(message, "to_vec: the array holds float32, not int32; convert it with as_type first");
    assert!(iota(&[4]).slice_axis(0, 1, 5).is_err());
    assert!(iota(&[4]).slice_axis(0, -1, 2).is_err());
    assert!(iota(&[4]).slice_axis(1, 0, 1).is_err());
    assert!(iota(&[4]).dim(-2).is_err());
}

#[test]
fn positions_outside_an_axis_are_errors_not_reads() {
    let table = iota(&[3, 2]);
    let take =
        |positions: &[i32]| table.take(&Array::from_slice(positions, &[positions.len() as i32]).unwrap(), 0);
    assert_eq!(take(&[2, 0, -1]).unwrap().to_vec::<f32>().unwrap(), [4.0, 5.0, 0.0, 1.0, 4.0, 5.0]);
    for outside in [3, -4, i32::MAX, i32::MIN] {
        assert!(take(&[0, outside]).unwrap_err().to_string().contains(&outside.to_string()));
    }
    assert!(table.take(&Array::scalar(1.0f32).unwrap(), 0).is_err());
}

#[test]
fn a_failed_operation_names_itself_and_its_operands_and_the_next_one_works() {
    let (a, b) = (iota(&[2, 3]), iota(&[2, 3]));
    let message = a.matmul(&b).unwrap_err().to_string();
    assert!(message.starts_with("matmul(float32[2, 3], float32[2, 3]): "), "{message}");
    assert!(!message.contains('\n') && !message.contains("[matmul]"), "{message}");
    assert_eq!(a.add(&b).unwrap().to_vec::<f32>().unwrap()[5], 10.0);
    assert!(concatenate(&[], 0).is_err());
    assert!(a.transpose(&[0, 0]).is_err());
    assert!(a.sum(2, false).is_err());
    assert!(a.reshape(&[4]).is_err());
    assert!(a.rms_norm(Some(&iota(&[2])), 1e-6).is_err());
}

#[test]
fn selection_and_slice_update() {
    let a = iota(&[2, 3]);
    let large = a.greater(&Array::scalar(2.5f32).unwrap()).unwrap();
    let cut = select(&large, &a, &Array::scalar(0.0f32).unwrap()).unwrap();
    assert_eq!(cut.to_vec::<f32>().unwrap(), [0.0, 0.0, 0.0, 3.0, 4.0, 5.0]);
    let update = Array::full(&[2, 1], 9.0f32).unwrap();
    let updated = a.slice_update_axis(&update, -1, 1, 2).unwrap();
    assert_eq!(updated.to_vec::<f32>().unwrap(), [0.0, 9.0, 2.0, 3.0, 9.0, 5.0]);
    assert_eq!(a.to_vec::<f32>().unwrap(), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0], "the original is untouched");
    assert_eq!(a.split(&[1], 1).unwrap().iter().map(|p| p.shape()[1]).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn threads_compute_side_by_side_each_on_its_own_stream() {
    std::thread::scope(|scope| {
        for seed in 0..8 {
            scope.spawn(move || {
                for step in 0..50 {
                    let a = iota(&[16, 16]).add(&Array::scalar((seed * 50 + step) as f32).unwrap()).unwrap();
                    let sum = a.sum([0, 1], false).unwrap().item::<f32>().unwrap();
                    assert_eq!(sum, (255 * 128 + 256 * (seed * 50 + step)) as f32);
                }
                mlx_core::clear_streams().unwrap();
            });
        }
    });
}

#[test]
fn a_thread_without_streams_left_says_so() {
    std::thread::spawn(|| {
        iota(&[2]).eval().unwrap();
        mlx_core::clear_streams().unwrap();
        let message = iota(&[2]).eval().unwrap_err().to_string();
        assert!(message.contains("no Stream"), "{message}");
    })
    .join()
    .unwrap();
}

#[test]
fn the_device_scope_ends_with_its_closure() {
    let outside = Device::current();
    Device::Cpu.scope(|| {
        assert_eq!(Device::current(), Device::Cpu);
        iota(&[2]).eval().unwrap();
    });
    assert_eq!(Device::current(), outside);
    let _ = std::panic::catch_unwind(|| Device::Cpu.scope(|| panic!("inside")));
    assert_eq!(Device::current(), outside);
}

#[test]
fn printing_shows_only_what_is_computed() {
    let a = iota(&[2]).add(&Array::scalar(1.0f32).unwrap()).unwrap();
    assert_eq!(format!("{a:?}"), "Array(float32[2])");
    eval(&[&a]).unwrap();
    assert_eq!(format!("{a:?}"), "Array(float32[2], [1, 2])");
    let shown = format!("{:?}", Array::from_slice(&[1.5f32; 9], &[9]).unwrap());
    assert_eq!(shown, "Array(float32[9], [1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, …])");
}

#[test]
fn the_loaded_library_is_the_version_that_was_built_against() {
    assert_eq!(mlx_core::version().unwrap(), "0.32.2");
    assert!(memory::memory_limit().unwrap() > 0);
}
