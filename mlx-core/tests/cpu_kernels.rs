//! Operations by our kernels for CPUs against the same by MLX: values, gradients, forward derivatives and vectorization.

mod support;

use mlx_core::kernels::{self, Mode};
use mlx_core::nn::{RmsNorm, Routing, Stacked, Weight, geglu_tanh, swiglu};
use mlx_core::transforms::{jvp, vjp, vmap};
use mlx_core::{
    Array, AttentionMask, BlockFormat, Blocks, DType, Device, Frequencies, Quantization, Quantized, Result,
    eval, scaled_dot_product_attention,
};
use support::{Tolerance, assert_close, noise};

type Operation = Box<dyn Fn(&[Array]) -> Result<Array>>;

/// An operation, its inputs, and how many of them are differentiated.
struct Case {
    name: String,
    inputs: Vec<Array>,
    differentiated: usize,
    f: Operation,
}

fn case(
    name: &str,
    inputs: Vec<Array>,
    differentiated: usize,
    f: impl Fn(&[Array]) -> Result<Array> + 'static,
) -> Case {
    Case { name: name.to_owned(), inputs, differentiated, f: Box::new(f) }
}

/// Attention with one of the masks.
fn attention(name: &str, [heads, kv_heads, length, keys]: [i32; 4], mask: &'static str) -> Case {
    let q = noise(&[2, heads, length, 16]);
    let (k, v) = (noise(&[2, kv_heads, keys, 16]), noise(&[2, kv_heads, keys, 8]));
    let positions = Array::arange(0.0, f64::from(length * keys), 1.0, DType::I32).unwrap();
    let third = Array::scalar(3i32).unwrap();
    let allowed = positions.remainder(&third).unwrap().less(&Array::scalar(2i32).unwrap()).unwrap();
    let allowed = allowed.reshape(&[length, keys]).unwrap();
    let added = noise(&[heads, length, keys]);
    let differentiated = if mask == "additive" { 4 } else { 3 };
    case(name, vec![q, k, v, added], differentiated, move |inputs| {
        let mask = match mask {
            "causal" => AttentionMask::Causal,
            "window" => AttentionMask::Window(3),
            "boolean" => AttentionMask::Boolean(&allowed),
            "additive" => AttentionMask::Additive(&inputs[3]),
            _ => AttentionMask::None,
        };
        scaled_dot_product_attention(&inputs[0], &inputs[1], &inputs[2], 0.3, mask)
    })
}

fn quantized(bits: i32, group_size: i32, rows: i32) -> Case {
    let columns = group_size * 2;
    let packed = noise(&[24, columns]).quantize(Quantization::affine(group_size, bits)).unwrap();
    let (weight, scales, biases) = (packed.weight, packed.scales, packed.biases.unwrap());
    let inputs = vec![noise(&[rows, columns]), scales, biases];
    case(&format!("{bits} bits in groups of {group_size}, {rows} rows"), inputs, 3, move |inputs| {
        let packed = Quantized {
            weight: weight.clone(),
            scales: inputs[1].clone(),
            biases: Some(inputs[2].clone()),
            quantization: Quantization::affine(group_size, bits),
        };
        inputs[0].quantized_matmul(&packed, true)
    })
}

/// Rows that meet one of four matrices each.
fn gathered(weight: &'static str, length: i32) -> Case {
    let experts = Array::from_slice(&[2u32, 0, 3, 3, 0, 2, 3], &[7, 1]).unwrap();
    let packed = noise(&[4 * 5, 64]).quantize(Quantization::affine(32, 4)).unwrap();
    let inputs = match weight {
        "dense" => vec![noise(&[7, 64]), noise(&[4 * 5, 64])],
        _ => vec![noise(&[7, 64])],
    };
    let differentiated = inputs.len();
    case(&format!("gathered, {weight}, sequences of {length}"), inputs, differentiated, move |x| {
        let weight = match x {
            [_, dense] => Weight::Dense(dense.clone()),
            _ => Weight::Quantized(packed.clone()),
        };
        let routing = Routing::new(&experts, length)?;
        Stacked { weight, count: 4 }.project(&routing.rows(&x[0])?, &routing)
    })
}

fn cases() -> Vec<Case> {
    let weight = |inputs: &[Array]| RmsNorm { weight: inputs[1].clone(), eps: 1e-5 };
    let mut cases = vec![
        case("matmul", vec![noise(&[3, 7, 33]), noise(&[33, 5])], 2, |x| x[0].matmul(&x[1])),
        case("matmul of one row", vec![noise(&[1, 40]), noise(&[40, 9])], 2, |x| x[0].matmul(&x[1])),
        case("batched matmul", vec![noise(&[2, 3, 4, 6]), noise(&[3, 6, 5])], 2, |x| x[0].matmul(&x[1])),
        case("broadcast matmul", vec![noise(&[1, 3, 4, 6]), noise(&[2, 1, 6, 5])], 2, |x| x[0].matmul(&x[1])),
        case("matmul of views", vec![noise(&[6, 4]), noise(&[5, 6])], 2, |x| {
            x[0].transpose(&[1, 0])?.matmul(&x[1].transpose(&[1, 0])?)
        }),
        case("project", vec![noise(&[2, 8, 33]), noise(&[5, 33])], 2, |x| {
            Weight::Dense(x[1].clone()).project(&x[0])
        }),
        case("rms_norm", vec![noise(&[2, 5, 24]), noise(&[24])], 2, move |x| weight(x).forward(&x[0])),
        case("rms_norm without a weight", vec![noise(&[5, 24])], 1, |x| x[0].rms_norm(None, 1e-5)),
        case("rms_norm of heads", vec![noise(&[2, 5, 3, 24]), noise(&[24])], 2, move |x| {
            weight(x).forward(&x[0].transpose(&[0, 2, 1, 3])?)
        }),
        case("add and rms_norm", vec![noise(&[5, 24]), noise(&[24]), noise(&[5, 24])], 3, move |x| {
            weight(x).forward_onto(&x[2], &x[0])
        }),
        case("softmax", vec![noise(&[3, 4, 17])], 1, |x| x[0].softmax(-1, true)),
        case("swiglu", vec![noise(&[3, 21]), noise(&[3, 21])], 2, |x| swiglu(&x[0], &x[1])),
        case("geglu_tanh", vec![noise(&[3, 21]), noise(&[3, 21])], 2, |x| geglu_tanh(&x[0], &x[1])),
    ];
    for (traditional, dims) in [(false, 16), (true, 16), (false, 8)] {
        let name = format!("rope of {dims}, traditional: {traditional}");
        cases.push(case(&name, vec![noise(&[2, 3, 5, 16])], 1, move |x| {
            x[0].rope(dims, traditional, Frequencies::Base(10_000.0), 0.5, 7)
        }));
    }
    for (traditional, dims) in [(false, 16), (true, 8)] {
        let wavelengths: Vec<f32> = (0..dims / 2).map(|pair| 1.5 + 7.0 * pair as f32).collect();
        let wavelengths = Array::from_slice(&wavelengths, &[dims / 2]).unwrap();
        let name = format!("rope of {dims} by wavelengths, traditional: {traditional}");
        cases.push(case(&name, vec![noise(&[2, 3, 5, 16]), wavelengths], 1, move |x| {
            x[0].rope(dims, traditional, Frequencies::Wavelengths(&x[1]), 0.5, 7)
        }));
    }
    for mask in ["none", "causal", "window", "boolean", "additive"] {
        for shape in [[4, 2, 5, 9], [6, 2, 1, 9], [2, 2, 7, 7]] {
            cases.push(attention(&format!("attention {shape:?}, {mask}"), shape, mask));
        }
    }
    cases.extend([("dense", 1), ("dense", 7), ("packed", 1), ("packed", 7)].map(|(w, l)| gathered(w, l)));
    for bits in [2, 3, 4, 5, 6, 8] {
        cases.extend([32, 64, 128].map(|group_size| quantized(bits, group_size, 1 + bits)));
    }
    cases
}

const CLOSE: Tolerance = Tolerance { absolute: 3e-5, relative: 3e-5 };

/// What `f` gives by our kernels, and by MLX.
fn both<T>(f: impl Fn() -> Result<T>) -> [T; 2] {
    [Mode::Exact, Mode::Off].map(|mode| Device::Cpu.scope(|| kernels::with(mode, || f().unwrap())))
}

fn compare(what: &str, [ours, theirs]: [Vec<Array>; 2]) {
    assert_eq!(ours.len(), theirs.len(), "{what}");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_close(what, ours, theirs, CLOSE);
    }
}

impl Case {
    fn call(&self, inputs: &[Array]) -> Result<Array> {
        (self.f)(inputs)
    }

    /// The operation as a function of what is differentiated.
    fn partial(&self, inputs: &[Array]) -> Result<Array> {
        let rest = &self.inputs[self.differentiated..];
        self.call(&inputs.iter().chain(rest).cloned().collect::<Vec<_>>())
    }
}

#[test]
fn values_equal_those_of_mlx() {
    for case in cases() {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let narrow = |array: &Array| {
                if array.dtype().is_float() { array.as_type(dtype) } else { Ok(array.clone()) }
            };
            let inputs: Vec<Array> = case.inputs.iter().map(|input| narrow(input).unwrap()).collect();
            // MLX adds 16-bit numbers as they are; the truth is what it makes of the same numbers in float32.
            let wide: Vec<Array> = inputs.iter().map(|input| input.as_type(DType::F32).unwrap()).collect();
            let [ours, _] = both(|| case.call(&inputs)?.as_type(DType::F32));
            let [_, theirs] = both(|| case.call(&wide));
            let unit = match dtype {
                DType::F32 => CLOSE.absolute,
                DType::F16 => 1e-3,
                _ => 1e-2,
            };
            let close = Tolerance { absolute: unit, relative: unit };
            assert_close(&format!("{} {dtype}", case.name), &ours, &theirs, close);
        }
    }
}

#[test]
fn gradients_equal_those_of_mlx() {
    for case in cases() {
        let primals = case.inputs[..case.differentiated].to_vec();
        let gradients = both(|| {
            let cotangent = noise(case.call(&case.inputs)?.shape());
            Ok(vjp(|inputs: &Vec<Array>| case.partial(inputs), &primals, &cotangent)?.1)
        });
        compare(&format!("gradient of {}", case.name), gradients);
    }
}

#[test]
fn second_derivatives_equal_those_of_mlx() {
    for case in cases().iter().filter(|case| !case.name.contains("bits")) {
        let primals = case.inputs[..case.differentiated].to_vec();
        let gradients = both(|| {
            let first = |inputs: &Vec<Array>| {
                let cotangent = noise(case.call(&case.inputs)?.shape());
                let gradients = vjp(|inputs: &Vec<Array>| case.partial(inputs), inputs, &cotangent)?.1;
                gradients[0].square()?.sum(.., false)
            };
            Ok(vjp(first, &primals, &Array::scalar(1.0f32)?)?.1)
        });
        let [ours, theirs] = gradients;
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let close = Tolerance { absolute: 2e-3, relative: 2e-3 };
            assert_close(&format!("second derivative of {}", case.name), ours, theirs, close);
        }
    }
}

#[test]
fn forward_derivatives_equal_those_of_mlx() {
    // MLX has none of attention's, of packed scales and of gathered products.
    let unknown = ["bits", "attention", "gathered"];
    for case in cases().iter().filter(|case| !unknown.iter().any(|name| case.name.contains(name))) {
        let primals = case.inputs[..case.differentiated].to_vec();
        let tangents: Vec<Array> = primals.iter().map(|primal| noise(primal.shape())).collect();
        let derivatives =
            both(|| Ok(vec![jvp(|inputs: &Vec<Array>| case.partial(inputs), &primals, &tangents)?.1]));
        compare(&format!("forward derivative of {}", case.name), derivatives);
    }
}

#[test]
fn vectorized_operations_equal_those_of_mlx() {
    let unknown = ["boolean", "bits", "gathered"];
    for case in cases().iter().filter(|case| !unknown.iter().any(|name| case.name.contains(name))) {
        let many: Vec<Array> = case
            .inputs
            .iter()
            .map(|input| {
                let doubled = input.multiply(&input.scalar_like(2.0).unwrap()).unwrap();
                mlx_core::stack(&[input, &doubled], 0).unwrap()
            })
            .collect();
        let axes = vec![Some(0); many.len()];
        let results = both(|| Ok(vec![vmap(|inputs: &Vec<Array>| case.call(inputs), &many, &axes, &[0])?]));
        compare(&format!("vectorized {}", case.name), results);
    }
}

#[test]
fn rounding_for_speed_hardly_changes_products() {
    for bits in [2, 4, 8] {
        let case = quantized(bits, 64, 1);
        let run = |mode| Device::Cpu.scope(|| kernels::with(mode, || case.call(&case.inputs)));
        let (fast, exact) = (run(Mode::Fast).unwrap(), run(Mode::Exact).unwrap());
        let close = Tolerance { absolute: 3e-4, relative: 1e-4 };
        assert_close(&case.name, &fast, &exact, close);
        assert_ne!(
            fast.to_vec::<f32>().unwrap(),
            exact.to_vec::<f32>().unwrap(),
            "{bits} bits: nothing was rounded"
        );
    }
}

/// Two rows of Q8_0 blocks: the scale 0.5, then levels.
fn blocks() -> Blocks {
    let bytes: Vec<u8> =
        (0..2u8).flat_map(|row| [0x00, 0x38].into_iter().chain((0..32).map(move |i| i * 3 + row))).collect();
    Blocks::new(Array::from_slice(&bytes, &[2, 34]).unwrap(), BlockFormat::Q8_0, DType::F32).unwrap()
}

#[test]
fn blocks_are_weights_like_others() {
    let x = noise(&[3, 32]);
    Device::Cpu.scope(|| {
        let dense = blocks().dequantize().unwrap();
        assert_eq!(dense.shape(), [2, 32]);
        assert_eq!(dense.to_vec::<f32>().unwrap()[32..35], [0.5, 2.0, 3.5]);
        for mode in [Mode::Off, Mode::Exact, Mode::Fast] {
            kernels::with(mode, || {
                let weight = Weight::Blocks(blocks());
                let expected = x.matmul(&dense.transpose(&[1, 0]).unwrap()).unwrap();
                let close = Tolerance { absolute: 2e-3, relative: 1e-4 };
                assert_close("product", &weight.project(&x).unwrap(), &expected, close);
                let positions = Array::from_slice(&[1u32, 0, 1], &[3]).unwrap();
                let rows = weight.rows(&positions).unwrap();
                assert_eq!(rows.to_vec::<f32>().unwrap()[..3], [0.5, 2.0, 3.5]);
                let outside = Array::from_slice(&[2u32], &[1]).unwrap();
                assert!(weight.rows(&outside).is_err());
                let routing =
                    |experts| Routing::new(&Array::from_slice(experts, &[3, 1]).unwrap(), 1).unwrap();
                let stacked = Stacked { weight: Weight::Blocks(blocks()), count: 2 };
                let own = Array::from_slice(&[1u32, 0, 1], &[3, 1]).unwrap();
                let own = expected.take_along(&own, 1).unwrap();
                assert_close("own", &stacked.project(&x, &routing(&[1u32, 0, 1])).unwrap(), &own, close);
                let refused = stacked.project(&x, &routing(&[1u32, 2, 1]));
                assert!(refused.and_then(|product| product.eval()).is_err());
                let gradient = vjp(|x: &Array| weight.project(x), &x, &expected).unwrap().1;
                assert_close("gradient", &gradient, &expected.matmul(&dense).unwrap(), close);
            });
        }
        let narrow = noise(&[3, 31]);
        assert!(blocks().project(&narrow).unwrap_err().to_string().contains("Q8_0"));
        let bytes = Array::from_slice(&[0u8; 33], &[1, 33]).unwrap();
        assert!(Blocks::new(bytes, BlockFormat::Q8_0, DType::F32).is_err());
    });
}

#[test]
fn a_window_without_keys_is_an_error() {
    let x = noise(&[1, 1, 2, 8]);
    for size in [0, -1, i32::MIN] {
        for mode in [Mode::Off, Mode::Exact] {
            let mask = AttentionMask::Window(size);
            let outcome = kernels::with(mode, || scaled_dot_product_attention(&x, &x, &x, 1.0, mask));
            assert!(outcome.unwrap_err().to_string().contains(&format!("window of {size} keys")));
        }
    }
}

#[test]
fn lengths_of_zero_are_no_trouble() {
    Device::Cpu.scope(|| {
        kernels::with(Mode::Exact, || {
            for (m, k, n) in [(0, 3, 2), (2, 0, 3), (2, 3, 0), (0, 0, 0)] {
                let zeros = |shape: [i32; 2]| Array::zeros(&shape, DType::F32).unwrap();
                let product = zeros([m, k]).matmul(&zeros([k, n])).unwrap();
                eval(&[&product]).unwrap();
                assert_eq!(
                    (product.shape(), product.to_vec::<f32>().unwrap()),
                    (&[m, n][..], vec![0.0; (m * n) as usize])
                );
            }
        });
    });
}
