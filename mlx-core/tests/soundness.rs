//! Calls that once read memory that is not theirs, crashed, or gave wrong numbers. Each must be an error or right.

use mlx_core::{
    Array, AttentionMask, DType, Device, Error, Quantization, Quantized, async_eval, memory, nn,
    scaled_dot_product_attention,
};

fn iota(shape: &[i32]) -> Array {
    let size = shape.iter().product::<i32>();
    Array::arange(0.0, f64::from(size), 1.0, DType::F32).unwrap().reshape(shape).unwrap()
}

fn zeros(shape: &[i32], dtype: DType) -> Array {
    Array::zeros(shape, dtype).unwrap()
}

const Q4: Quantization = Quantization::affine(32, 4);

fn packed(weight: &Array, scales: &Array, biases: &Array, quantization: Quantization) -> Quantized {
    let (weight, scales, biases) = (weight.clone(), scales.clone(), Some(biases.clone()));
    Quantized { weight, scales, biases, quantization }
}

#[test]
fn packed_weights_whose_parts_do_not_belong_together_are_errors() {
    let x = iota(&[2, 64]);
    let weight = zeros(&[4, 8], DType::U32);
    let good = zeros(&[4, 2], DType::F32);
    assert!(x.quantized_matmul(&packed(&weight, &good, &good, Q4), true).is_ok());
    let f32s = |shape: &[i32]| zeros(shape, DType::F32);
    for (name, scales, biases) in [
        ("one row", f32s(&[1, 2]), f32s(&[1, 2])),
        ("one axis", f32s(&[2]), f32s(&[2])),
        ("one group", f32s(&[4, 1]), f32s(&[4, 2])),
        ("biases of another shape", f32s(&[4, 2]), f32s(&[2, 4])),
        ("float64", zeros(&[4, 2], DType::F64), f32s(&[4, 2])),
        ("integers", f32s(&[4, 2]), zeros(&[4, 2], DType::I32)),
    ] {
        assert!(x.quantized_matmul(&packed(&weight, &scales, &biases, Q4), true).is_err(), "{name}");
        assert!(packed(&weight, &scales, &biases, Q4).dequantize().is_err(), "{name}");
    }
    assert!(x.quantized_matmul(&packed(&zeros(&[4, 8], DType::I32), &good, &good, Q4), true).is_err());
    assert!(zeros(&[2, 64], DType::F64).quantized_matmul(&packed(&weight, &good, &good, Q4), true).is_err());
    assert!(iota(&[2, 63]).quantized_matmul(&packed(&weight, &good, &good, Q4), true).is_err());
    assert!(
        Array::scalar(1.0f32).unwrap().quantized_matmul(&packed(&weight, &good, &good, Q4), true).is_err()
    );
    let batch = zeros(&[3, 4, 8], DType::U32);
    let groups = zeros(&[3, 4, 2], DType::F32);
    assert!(x.quantized_matmul(&packed(&batch, &groups, &groups, Q4), true).is_err());
}

#[test]
fn layouts_that_do_not_exist_are_errors() {
    let x = iota(&[2, 64]);
    for (group_size, bits) in [(0, 4), (32, 0), (-32, 4), (32, 7), (48, 4), (i32::MAX, i32::MAX)] {
        let layout = Quantization::affine(group_size, bits);
        assert!(x.quantize(layout).is_err(), "{layout:?}");
        let codes = zeros(&[2, 8], DType::U32);
        assert!(packed(&codes, &x, &x, layout).dequantize().is_err(), "{layout:?}");
        assert!(x.quantized_matmul(&packed(&codes, &x, &x, layout), true).is_err(), "{layout:?}");
    }
    assert!(zeros(&[2, 64], DType::F64).quantize(Q4).is_err());
    assert!(zeros(&[2, 64], DType::I32).quantize(Q4).is_err());
    assert!(zeros(&[0, 64], DType::F32).quantize(Q4).is_err());
}

#[test]
fn products_of_nothing_are_empty() {
    let packed = nn::Weight::quantize(&iota(&[4, 64]), Q4).unwrap();
    let nothing = packed.project(&zeros(&[1, 0, 64], DType::F32)).unwrap();
    assert_eq!((nothing.shape(), nothing.to_vec::<f32>().unwrap().len()), (&[1, 0, 4][..], 0));
    assert_eq!(zeros(&[0, 3], DType::F32).matmul(&iota(&[3, 2])).unwrap().to_vec::<f32>().unwrap().len(), 0);
    let empty_sum = zeros(&[2, 0], DType::F32).matmul(&zeros(&[0, 3], DType::F32)).unwrap();
    assert_eq!(empty_sum.to_vec::<f32>().unwrap(), [0.0; 6]);
}

#[test]
fn attention_refuses_what_its_kernel_would_divide_by_or_misread() {
    let (q, k) = (iota(&[1, 2, 3, 8]), zeros(&[1, 0, 3, 8], DType::F32));
    let rank3 = iota(&[2, 3, 8]);
    for (q, k) in [(&q, &k), (&k, &q), (&rank3, &rank3)] {
        assert!(scaled_dot_product_attention(q, k, k, 1.0, AttentionMask::None).is_err());
    }
    for dtype in [DType::I32, DType::F32, DType::U8] {
        let mask = zeros(&[3, 3], dtype);
        let outcome = scaled_dot_product_attention(&q, &q, &q, 1.0, AttentionMask::Boolean(&mask));
        assert!(matches!(outcome, Err(Error::DTypeMismatch { expected: DType::Bool, .. })), "{dtype}");
    }
}

#[test]
fn sizes_that_overflow_are_errors() {
    // The product of these is 2^64 + 4, which a 64-bit count takes for 4.
    let overflowing = [4, 5, 5581, 8681, 49477, 384_773];
    let one = Array::scalar(1.0f32).unwrap();
    assert!(one.broadcast_to(&overflowing).is_err());
    assert!(iota(&[4]).reshape(&overflowing).is_err());
    assert!(one.broadcast_to(&[65536; 4]).is_err());
    let side = |shape: &[i32]| one.broadcast_to(shape).unwrap();
    assert!(side(&[i32::MAX, 1]).matmul(&side(&[1, i32::MAX])).is_err());
    assert!(iota(&[6]).reshape(&[-2, -3]).is_err());
    assert!(iota(&[6]).reshape(&[-1, -1]).is_err());
    assert_eq!(iota(&[6]).reshape(&[-1, 3]).unwrap().shape(), [2, 3]);
}

#[test]
fn more_than_the_memory_limit_is_an_error() {
    let rows = (memory::memory_limit().unwrap() / 4 / i32::MAX as usize + 2) as i32;
    for too_large in [Array::zeros(&[i32::MAX, rows], DType::F32), Array::full(&[i32::MAX, rows], 1.0f32)] {
        assert!(too_large.unwrap_err().to_string().contains("the memory limit is"));
    }
    let view = Array::scalar(1.0f32).unwrap().broadcast_to(&[i32::MAX, rows]).unwrap();
    assert!(view.to_bytes().is_err());
}

#[test]
fn booleans_are_zero_or_one() {
    assert!(Array::from_bytes(&[0, 2], &[2], DType::Bool).is_err());
    assert_eq!(
        Array::from_bytes(&[0, 1], &[2], DType::Bool).unwrap().to_vec::<bool>().unwrap(),
        [false, true]
    );
}

#[test]
fn ranges_that_are_none_are_errors() {
    for (start, stop, step, dtype) in [
        (0.0, f64::INFINITY, 1.0, DType::F32),
        (f64::NAN, 1.0, 1.0, DType::F32),
        (0.0, 5.0, f64::INFINITY, DType::F32),
        (0.0, 5.0, 0.0, DType::F32),
        (0.0, 5.0, 0.5, DType::I32),
    ] {
        assert!(Array::arange(start, stop, step, dtype).is_err(), "{start} {stop} {step} {dtype}");
    }
    let a = iota(&[4]);
    for at in [vec![5], vec![-1], vec![3, 1]] {
        assert!(a.split(&at, 0).is_err(), "{at:?}");
    }
    assert!(a.softmax(i32::MAX, false).is_err());
    assert!(mlx_core::concatenate(&[&a], i32::MAX).is_err());
    let update = zeros(&[1], DType::F32);
    assert!(a.slice_update_axis(&update, 0, 0, 2).is_err(), "an update is not repeated");
    assert!(a.slice_update_axis(&zeros(&[2], DType::I32), 0, 0, 2).is_err(), "an update is not converted");
}

/// Fails an operation while the thread's storage is being destroyed.
struct FailsAtExit;

impl Drop for FailsAtExit {
    fn drop(&mut self) {
        if let (Ok(a), Ok(b)) =
            (Array::from_slice(&[1.0f32; 6], &[2, 3]), Array::from_slice(&[1.0f32; 6], &[2, 3]))
        {
            assert!(a.matmul(&b).is_err());
        }
    }
}

#[test]
fn operations_may_fail_while_a_thread_ends() {
    thread_local! { static LAST: FailsAtExit = const { FailsAtExit } }
    for _ in 0..20 {
        std::thread::spawn(|| {
            LAST.with(|_| ());
            assert!(iota(&[2, 3]).matmul(&iota(&[2, 3])).is_err());
        })
        .join()
        .unwrap();
    }
}

/// A view as its shape and, for each element in row-major order, its position in the base.
#[derive(Clone)]
struct Model {
    shape: Vec<i32>,
    elements: Vec<usize>,
}

impl Model {
    /// Picks elements of the result by their coordinates in the old shape.
    fn rearranged(&self, shape: Vec<i32>, from: impl Fn(&[i32]) -> Vec<i32>) -> Model {
        let count = shape.iter().product::<i32>();
        let elements = (0..count)
            .map(|mut flat| {
                let mut at = vec![0; shape.len()];
                for axis in (0..shape.len()).rev() {
                    at[axis] = flat % shape[axis];
                    flat /= shape[axis];
                }
                let old = from(&at);
                let position =
                    old.iter().zip(&self.shape).fold(0, |flat, (index, length)| flat * length + index);
                self.elements[position as usize]
            })
            .collect();
        Model { shape, elements }
    }
}

#[test]
fn any_chain_of_views_reads_right() {
    let mut state = 0x2545_F491_4F6C_DD1Du64;
    let mut below = |n: i32| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n as u64) as i32
    };
    for _ in 0..1500 {
        let shape: Vec<i32> = (0..1 + below(4)).map(|_| 1 + below(4)).collect();
        let mut array = iota(&shape);
        let mut model = Model { elements: (0..array.size()).collect(), shape };
        let mut chain = String::new();
        for _ in 0..1 + below(5) {
            let axis = below(model.shape.len() as i32);
            let (index, length) = (axis as usize, model.shape[axis as usize]);
            match below(5) {
                0 => {
                    let start = below(length);
                    let stop = start + 1 + below(length - start);
                    chain += &format!(".slice({axis}, {start}..{stop})");
                    array = array.slice_axis(axis, start, stop).unwrap();
                    let mut shape = model.shape.clone();
                    shape[index] = stop - start;
                    model = model.rearranged(shape, |at| {
                        let mut old = at.to_vec();
                        old[index] += start;
                        old
                    });
                }
                1 => {
                    let other = below(model.shape.len() as i32) as usize;
                    chain += &format!(".swapaxes({index}, {other})");
                    array = array.swapaxes(axis, other as i32).unwrap();
                    let mut shape = model.shape.clone();
                    shape.swap(index, other);
                    model = model.rearranged(shape, |at| {
                        let mut old = at.to_vec();
                        old.swap(index, other);
                        old
                    });
                }
                2 => {
                    let cut = below(length + 1);
                    chain += &format!(".split([{cut}], {axis})");
                    let part = if cut > 0 { 0 } else { 1 };
                    array = array.split(&[cut], axis).unwrap().swap_remove(part);
                    if part == 0 {
                        let mut shape = model.shape.clone();
                        shape[index] = cut;
                        model = model.rearranged(shape, <[i32]>::to_vec);
                    }
                }
                3 => {
                    chain += ".reshape(flat)";
                    let size = model.elements.len() as i32;
                    array = array.reshape(&[size]).unwrap();
                    model.shape = vec![size];
                }
                _ => {
                    chain += &format!(".broadcast(2) at {index}");
                    array = array.expand_dims([axis]).unwrap();
                    let mut shape = model.shape.clone();
                    shape.insert(index, 2);
                    array = array.broadcast_to(&shape).unwrap();
                    model = model.rearranged(shape, |at| {
                        let mut old = at.to_vec();
                        old.remove(index);
                        old
                    });
                }
            }
            if below(3) == 0 {
                array.eval().unwrap();
            }
        }
        let expected: Vec<f32> = model.elements.iter().map(|e| *e as f32).collect();
        assert_eq!(array.to_vec::<f32>().unwrap(), expected, "{chain}");
        let doubled: Vec<f32> = expected.iter().map(|e| e + e).collect();
        assert_eq!(array.add(&array).unwrap().to_vec::<f32>().unwrap(), doubled, "{chain}, added");
    }
}

/// The worker of a CPU stream writes results after `async_eval` has returned, and their memory must outlive that.
#[test]
fn an_array_that_is_dropped_while_it_is_computed_keeps_its_memory() {
    const SIDE: i32 = 256;
    let slow = |step: usize| {
        let a = Array::full(&[SIDE, SIDE], step as f32).unwrap();
        let product = a.matmul(&a).unwrap().matmul(&a).unwrap();
        async_eval(&[&product]).unwrap();
        product
    };
    for step in 0..20 {
        let kept = slow(step);
        drop((slow(step + 1), slow(step + 2).clone()));
        let pattern = vec![7.5f32; (SIDE * SIDE) as usize];
        let others: Vec<Array> =
            (0..4).map(|_| Array::from_slice(&pattern, &[SIDE, SIDE]).unwrap()).collect();
        Device::Cpu.synchronize().unwrap();
        for other in others {
            assert!(other.to_vec::<f32>().unwrap().iter().all(|x| *x == 7.5), "round {step}");
        }
        let expected = (step as f32).powi(3) * (SIDE * SIDE) as f32;
        assert!(kept.to_vec::<f32>().unwrap().iter().all(|x| *x == expected), "round {step}");
    }
    // Nor does a thread wait for ever, or end before its results are there.
    std::thread::spawn(move || drop(slow(1))).join().unwrap();
}

#[test]
fn slices_of_one_element_have_their_own_derivatives() {
    use mlx_core::transforms::{grad, vmap};
    let x = iota(&[4]);
    for (start, stop, step, at) in [(2, 1, -1, 2), (1, 4, 5, 1), (3, i32::MIN, -9, 3)] {
        let cut = |x: &Array| x.slice(&[start], &[stop], &[step]);
        let gradient = grad(|x| cut(x)?.sum(.., false), &x).unwrap().to_vec::<f32>().unwrap();
        let expected: Vec<f32> = (0..4).map(|i| if i == at { 1.0 } else { 0.0 }).collect();
        assert_eq!(gradient, expected, "{start}..{stop} by {step}");
        let rows = iota(&[2, 4]);
        let each = vmap(cut, &rows, &[Some(0)], &[0]).unwrap();
        assert_eq!(each.to_vec::<f32>().unwrap(), [at as f32, (at + 4) as f32]);
    }
    let rows = iota(&[2, 3]);
    let flipped = vmap(|row| row.slice_axis(0, 0, 1)?.flip(0)?.sort(0), &rows, &[Some(0)], &[0]).unwrap();
    assert_eq!(flipped.to_vec::<f32>().unwrap(), [0.0, 3.0]);
    // Mirrors count in the gradient of what they show.
    let padded = |x: &Array| x.pad(0, &[1], &[1], mlx_core::Padding::Reflect)?.sum(.., false);
    assert_eq!(grad(padded, &rows).unwrap().to_vec::<f32>().unwrap(), [2.0; 6]);
    // An update that is the same for all rows reaches all of them.
    let nine = Array::full(&[1], 9.0f32).unwrap();
    let set = |row: &Array| row.slice_update(&nine, &[1], &[2], &[1], mlx_core::Join::Set);
    let all = vmap(set, &rows, &[Some(0)], &[0]).unwrap();
    assert_eq!(all.to_vec::<f32>().unwrap(), [0.0, 9.0, 2.0, 3.0, 9.0, 5.0]);
}

#[test]
fn results_beyond_the_memory_limit_are_errors_and_views_are_not() {
    let long = zeros(&[1 << 22], DType::F32);
    let tiled = iota(&[4]).tile(&[1 << 29, 1 << 28]);
    let view = Array::scalar(1.0f32).unwrap().broadcast_to(&[1 << 24, 1 << 20]).unwrap();
    for refused in
        [long.outer(&long), tiled, view.add(&view), view.contiguous(), view.reshape(&[1 << 20, 1 << 24])]
    {
        assert!(refused.unwrap_err().to_string().contains("the memory limit is"));
    }
    assert_eq!(view.transpose(&[1, 0]).unwrap().shape(), [1 << 20, 1 << 24]);
    assert!(iota(&[4]).unflatten(0, &[65536, 65536, 65536, 65536, -1]).is_err());
}

#[test]
fn eight_bit_floats_of_doubles_are_those_of_their_values() {
    let codes = Array::full(&[1000], 0x38u8).unwrap();
    assert_eq!(codes.from_fp8(DType::F64).unwrap().to_vec::<f64>().unwrap(), [1.0; 1000]);
    let doubles = Array::from_slice(&[1.0f64, 2.0, 4.0, -3.0], &[4]).unwrap();
    assert_eq!(doubles.to_fp8().unwrap().to_vec::<u8>().unwrap(), [56, 64, 72, 196]);
}

#[test]
fn positions_may_lie_anywhere_in_memory() {
    let bytes = Array::from_slice(&[7u8, 1, 0, 0, 0, 2, 0, 0, 0], &[9]).unwrap();
    let positions = |bytes: &Array| bytes.slice_axis(0, 1, 9)?.view(DType::I32);
    let later = positions(&bytes.add(&Array::scalar(0u8).unwrap()).unwrap()).unwrap();
    assert_eq!(iota(&[3]).take(&later, 0).unwrap().to_vec::<f32>().unwrap(), [1.0, 2.0]);
    assert_eq!(
        Array::from_slice(&[1.0f32, f32::NAN, 3.0], &[3])
            .unwrap()
            .argmax(0, false)
            .unwrap()
            .item::<u32>()
            .unwrap(),
        2
    );
}
