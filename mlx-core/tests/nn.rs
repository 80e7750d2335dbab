//! Layers, activations and losses: the numbers of Python's MLX, derivatives, named parameters, and what is refused.

mod support;

use std::collections::BTreeMap;
use std::panic::panic_any;

use mlx_core::loss::{CrossEntropy, Reduction, cross_entropy, mse};
use mlx_core::nn::{
    self, Dropout, Embedding, LayerNorm, Linear, RmsNorm, Rope, Weight, dropout, find, find_mut, gelu,
    gelu_quick, gelu_tanh, leaky_relu, parameters, relu, silu, softplus, swiglu, trainable_parameters,
    update,
};
use mlx_core::transforms::grad;
use mlx_core::{Array, DType, Error, Quantization, Result};
use support::{EXACT, Reference, Tolerance, assert_close, row, tolerance};

const LAYOUT: Quantization = Quantization::affine(32, 4);
const DTYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

/// For sums over an axis and derivatives, whose terms cancel.
fn loose(dtype: DType) -> Tolerance {
    let Tolerance { absolute, relative } = tolerance(dtype);
    Tolerance { absolute: 5.0 * absolute, relative: 5.0 * relative }
}

fn key(seed: u32) -> Array {
    Array::from_slice(&[0, seed], &[2]).unwrap()
}

fn values(a: &Array) -> Vec<f32> {
    a.to_vec().unwrap()
}

fn refusal<T>(outcome: Result<T>) -> String {
    outcome.map(|_| ()).unwrap_err().to_string()
}

type Activation = fn(&Array) -> Result<Array>;

const ACTIVATIONS: [(&str, Activation); 7] = [
    ("relu", relu),
    ("leaky_relu", |x| leaky_relu(x, 0.1)),
    ("softplus", softplus),
    ("silu", silu),
    ("gelu", gelu),
    ("gelu_tanh", gelu_tanh),
    ("gelu_quick", gelu_quick),
];

#[test]
fn activations_equal_those_of_python() {
    let reference = Reference::open("nn");
    for (name, f) in ACTIVATIONS {
        for dtype in DTYPES {
            reference.check(&format!("{name}.{dtype}"), tolerance(dtype), |inputs| {
                let x = &inputs[0];
                let mut outputs = vec![f(x)?];
                if dtype == DType::F32 {
                    outputs.push(grad(|x| f(x)?.sum(.., false), x)?);
                }
                Ok(outputs)
            });
        }
        // A view, and no elements.
        let x = Array::from_slice(&[-1.0f32, 2.0, 0.5, 3.0], &[2, 2]).unwrap();
        let view = f(&x.transpose(&[1, 0]).unwrap()).unwrap();
        assert_close(name, &view, &f(&x).unwrap().transpose(&[1, 0]).unwrap(), EXACT);
        assert_eq!(f(&Array::zeros(&[0, 3], DType::F32).unwrap()).unwrap().shape(), [0, 3]);
        let message = refusal(f(&Array::scalar(1i32).unwrap()));
        assert_eq!(message, format!("{name}: int32[] does not hold floating-point numbers"));
    }
    let (gate, x) = (row(&[0.0, 1.0]), row(&[5.0, 2.0]));
    assert_close("swiglu", &swiglu(&gate, &x).unwrap(), &row(&[0.0, 1.462_117_2]), tolerance(DType::F32));
}

#[test]
fn layers_equal_those_of_python() {
    let reference = Reference::open("nn");
    for dtype in DTYPES {
        reference.check(&format!("layer_norm.{dtype}"), loose(dtype), |inputs| {
            let [x, weight, bias] = inputs else { panic!() };
            let norm = |weight: Option<&Array>, bias: Option<&Array>| LayerNorm {
                weight: weight.cloned(),
                bias: bias.cloned(),
                eps: 1e-5,
            };
            let mut outputs = vec![
                norm(Some(weight), Some(bias)).forward(x)?,
                norm(Some(weight), None).forward(x)?,
                norm(None, None).forward(x)?,
            ];
            if dtype == DType::F32 {
                let sum = |[x, weight, bias]: &[Array; 3]| {
                    norm(Some(weight), Some(bias)).forward(x)?.square()?.sum(.., false)
                };
                outputs.extend(grad(sum, [x, weight, bias])?);
            }
            Ok(outputs)
        });
        reference.check(&format!("rms_norm.{dtype}"), loose(dtype), |inputs| {
            let [x, weight] = inputs else { panic!() };
            Ok(vec![RmsNorm { weight: weight.clone(), eps: 1e-5 }.forward(x)?])
        });
        reference.check(&format!("linear.{dtype}"), loose(dtype), |inputs| {
            let [x, weight, bias] = inputs else { panic!() };
            Ok(vec![Linear::new(Weight::Dense(weight.clone()), Some(bias.clone())).forward(x)?])
        });
    }
    reference.check("embedding", loose(DType::F32), |inputs| {
        let [tokens, weight] = inputs else { panic!() };
        let embedding = Embedding { weight: Weight::Dense(weight.clone()) };
        let vectors = embedding.forward(tokens)?;
        Ok(vec![vectors.clone(), embedding.as_linear(&vectors)?])
    });
    reference
        .check("dropout", tolerance(DType::F32), |inputs| Ok(vec![dropout(&inputs[0], 0.25, &inputs[1])?]));
    reference.check("init", tolerance(DType::F32), |inputs| {
        let Linear { weight, bias, .. } = Linear::init(4, 3, true, &inputs[0])?;
        Ok(vec![weight.dequantized()?, bias.unwrap()])
    });
    reference.check("init.embedding", tolerance(DType::F32), |inputs| {
        Ok(vec![Embedding::init(3, 4, &inputs[0])?.weight.dequantized()?])
    });
}

#[test]
fn layer_norm_takes_what_it_is_given_or_refuses_it() {
    let one = row(&[1.0]);
    for shape in [&[0][..], &[0, 3], &[3, 0], &[2, 0, 4]] {
        assert_eq!(
            Array::zeros(shape, DType::F32).unwrap().layer_norm(None, None, 1e-5).unwrap().shape(),
            shape
        );
    }
    let x = Array::from_slice(&[1.0f32, 2.0, 3.0, 5.0, 8.0, 13.0], &[2, 3]).unwrap();
    let view = x.transpose(&[1, 0]).unwrap().layer_norm(None, None, 0.0).unwrap();
    assert_eq!(values(&view), [-1.0, 1.0, -1.0, 1.0, -1.0, 1.0]);
    let repeated = row(&[7.0]).broadcast_to(&[2, 5]).unwrap().layer_norm(None, None, 1e-5).unwrap();
    assert_eq!(values(&repeated), [0.0; 10]);
    for (outcome, cause) in [
        (Array::scalar(1.0f32).unwrap().layer_norm(None, None, 1e-5), "at least 1 dimension"),
        (x.layer_norm(Some(&one), None, 1e-5), "weight must have the same size"),
        (x.layer_norm(None, Some(&x), 1e-5), "bias must have 1 dimension"),
        (
            Array::scalar(1i32).unwrap().reshape(&[1]).unwrap().layer_norm(None, None, 1e-5),
            "unsupported type",
        ),
    ] {
        let message = refusal(outcome);
        assert!(message.starts_with("layer_norm(") && message.contains(cause), "{message}");
    }
}

#[test]
fn dropout_keeps_the_mean_and_needs_a_key() {
    let ones = Array::full(&[100, 100], 1.0f32).unwrap();
    let mut layer = Dropout::new(0.25);
    assert_eq!(values(&layer.forward(&ones).unwrap()), [1.0; 10_000]);
    nn::train(&mut layer, Some(&key(1))).unwrap();
    let first = values(&layer.forward(&ones).unwrap());
    assert_eq!(first, values(&layer.forward(&ones).unwrap()), "one key, one choice");
    assert!(first.iter().all(|x| [0.0, 4.0 / 3.0].contains(x)));
    let mean = first.iter().sum::<f32>() / 1e4;
    assert!((mean - 1.0).abs() < 0.02, "{mean}");
    nn::train(&mut layer, Some(&key(2))).unwrap();
    assert_ne!(first, values(&layer.forward(&ones).unwrap()));
    nn::train(&mut layer, None).unwrap();
    assert_eq!(values(&layer.forward(&ones).unwrap()), [1.0; 10_000]);

    let half = ones.as_type(DType::BF16).unwrap();
    assert_eq!(dropout(&half, 0.5, &key(1)).unwrap().dtype(), DType::BF16);
    assert_eq!(dropout(&Array::zeros(&[0], DType::F32).unwrap(), 0.5, &key(1)).unwrap().shape(), [0]);
    assert!(
        [0.0, 2.0].contains(
            &dropout(&Array::scalar(1.0f32).unwrap(), 0.5, &key(1)).unwrap().item::<f32>().unwrap()
        )
    );
    nn::train(&mut Linear::init(1, 1, true, &key(1)).unwrap(), Some(&key(1))).unwrap();
    let gradient = grad(|x| dropout(x, 0.25, &key(1))?.sum(.., false), &ones).unwrap();
    assert_eq!(values(&gradient), values(&dropout(&ones, 0.25, &key(1)).unwrap()));
    // Each dropout of a model draws by itself.
    let mut two = vec![Dropout::new(0.5), Dropout::new(0.5)];
    nn::train(&mut two, Some(&key(3))).unwrap();
    assert_ne!(values(&two[0].forward(&ones).unwrap()), values(&two[1].forward(&ones).unwrap()));
    assert!(parameters(&two).unwrap().is_empty(), "a key is no parameter");

    for p in [-0.1, 1.0, 2.0, f32::NAN] {
        let message = refusal(dropout(&ones, p, &key(1)));
        assert_eq!(message, format!("dropout: the part {p} must be at least 0 and below 1"));
    }
    assert!(dropout(&ones.as_type(DType::I32).unwrap(), 0.5, &key(1)).is_err());
    for key in [row(&[1.0, 2.0]), Array::from_slice(&[1u32], &[1]).unwrap(), Array::scalar(3u32).unwrap()] {
        assert!(refusal(dropout(&ones, 0.5, &key)).contains("is no key"));
        assert!(nn::train(&mut two, Some(&key)).is_err());
        assert!(Linear::init(2, 2, true, &key).is_err());
    }
}

#[test]
fn sizes_that_no_layer_has_are_refused() {
    let key = key(1);
    for (inputs, outputs) in [(-1, 2), (2, -1), (i32::MAX, i32::MAX)] {
        assert!(Linear::init(inputs, outputs, true, &key).is_err());
        assert!(Embedding::init(inputs, outputs, &key).is_err());
    }
    assert!(LayerNorm::init(-1, 1e-5).is_err() && RmsNorm::init(-1, 1e-5).is_err());
    let empty = Linear::init(0, 3, true, &key).unwrap();
    assert_eq!(empty.forward(&Array::zeros(&[2, 0], DType::F32).unwrap()).unwrap().shape(), [2, 3]);
    let linear = Linear::init(2, 3, true, &key).unwrap();
    assert!(linear.forward(&row(&[1.0])).is_err());
}

#[test]
fn cross_entropy_equals_that_of_python() {
    let reference = Reference::open("nn");
    for smoothing in ["0.0", "0.1"] {
        for dtype in DTYPES {
            // The logits are rounded; the loss is computed in float32 from them.
            reference.check(&format!("cross_entropy.{smoothing}.{dtype}"), loose(DType::F32), |inputs| {
                let [logits, targets, weights] = inputs else { panic!() };
                let options = |reduction, weights| CrossEntropy {
                    weights,
                    label_smoothing: smoothing.parse().unwrap(),
                    reduction,
                };
                let mut outputs = Vec::new();
                for (reduction, weights) in [
                    (Reduction::None, None),
                    (Reduction::Sum, None),
                    (Reduction::Mean, None),
                    (Reduction::None, Some(weights)),
                    (Reduction::Mean, Some(weights)),
                ] {
                    outputs.push(cross_entropy(logits, targets, options(reduction, weights))?);
                }
                if dtype == DType::F32 {
                    let mean = options(Reduction::Mean, Some(weights));
                    outputs.push(grad(|logits| cross_entropy(logits, targets, mean), logits)?);
                }
                Ok(outputs)
            });
        }
    }
    let none = CrossEntropy { reduction: Reduction::None, ..Default::default() };
    // Views as operands, in every dtype of targets and weights.
    let (logits, targets) =
        (Embedding::init(6, 4, &key(9)).unwrap().weight.dequantized().unwrap(), [3, 0, 2, 1, 1, 0]);
    let targets = Array::from_slice(&targets, &[6]).unwrap();
    let expected = cross_entropy(&logits, &targets, none).unwrap();
    let view = Array::from_slice(&values(&logits.transpose(&[1, 0]).unwrap()), &[4, 6]).unwrap();
    let view = view.transpose(&[1, 0]).unwrap();
    for dtype in [DType::U8, DType::I8, DType::U16, DType::I16, DType::U32, DType::I64, DType::U64] {
        let weights = Array::full(&[1], 1u8).unwrap().broadcast_to(&[6]).unwrap().as_type(dtype).unwrap();
        let options = CrossEntropy { weights: Some(&weights), ..none };
        let losses = cross_entropy(&view, &targets.as_type(dtype).unwrap(), options).unwrap();
        assert_close("views", &losses, &expected, EXACT);
    }
    reference.check("cross_entropy.large", tolerance(DType::F32), |inputs| {
        Ok(vec![cross_entropy(&inputs[0], &inputs[1], none)?])
    });
    for dtype in DTYPES {
        reference.check(&format!("mse.{dtype}"), loose(DType::F32), |inputs| {
            [Reduction::None, Reduction::Sum, Reduction::Mean]
                .into_iter()
                .map(|reduction| mse(&inputs[0], &inputs[1], reduction))
                .collect()
        });
    }
}

#[test]
fn losses_in_parts_add_up_to_the_loss_of_the_whole() {
    let logits = Linear::init(5, 12, false, &key(3)).unwrap().weight.dequantized().unwrap();
    let targets = Array::from_slice(&[0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0, 1], &[12]).unwrap();
    let mask: Vec<bool> = (0..12).map(|i| i % 5 != 0).collect();
    let total = mask.iter().filter(|kept| **kept).count() as f32;
    let mask = Array::from_slice(&mask, &[12]).unwrap();
    let loss = |logits: &Array, from, to, reduction| {
        let mask = mask.slice_axis(0, from, to)?;
        let options = CrossEntropy { weights: Some(&mask), reduction, ..Default::default() };
        cross_entropy(logits, &targets.slice_axis(0, from, to)?, options)
    };
    let whole = grad(|x| loss(x, 0, 12, Reduction::Mean), &logits).unwrap();
    let part = |from, to| {
        let f = |x: &Array| {
            loss(&x.slice_axis(0, from, to)?, from, to, Reduction::Sum)?.divide(&Array::scalar(total)?)
        };
        grad(f, &logits).unwrap()
    };
    let sum = part(0, 1).add(&part(1, 6)).unwrap().add(&part(6, 12)).unwrap();
    assert_close("sum of parts", &sum, &whole, Tolerance { absolute: 1e-7, relative: 1e-5 });
}

#[test]
fn nothing_to_predict_gives_a_loss_of_zero() {
    let logits = Array::from_slice(&[f32::NEG_INFINITY, 0.0, 1.0, 2.0], &[2, 2]).unwrap();
    let targets = Array::from_slice(&[0u8, 1], &[2]).unwrap();
    let mean = |weights: &[f32]| {
        let weights = row(weights);
        let options = CrossEntropy { weights: Some(&weights), ..Default::default() };
        let loss = cross_entropy(&logits, &targets, options).unwrap().item::<f32>().unwrap();
        let gradient = grad(|logits| cross_entropy(logits, &targets, options), &logits).unwrap();
        (loss, values(&gradient))
    };
    // The first loss is infinite, but does not count.
    let (loss, gradient) = mean(&[0.0, 3.0]);
    assert!(
        (loss - 0.313_261_7).abs() < 1e-6 && gradient.iter().all(|g| g.is_finite()),
        "{loss} {gradient:?}"
    );
    assert_eq!(mean(&[0.0, 0.0]), (0.0, vec![0.0; 4]));
    for shape in [&[0, 5][..], &[2, 0, 5], &[0, 0]] {
        let logits = Array::zeros(shape, DType::F16).unwrap();
        let targets = Array::zeros(&shape[..shape.len() - 1], DType::I64).unwrap();
        let loss = cross_entropy(&logits, &targets, CrossEntropy::default()).unwrap();
        assert_eq!(values(&loss), [0.0], "{shape:?}");
        let options = CrossEntropy { reduction: Reduction::None, ..Default::default() };
        assert_eq!(cross_entropy(&logits, &targets, options).unwrap().shape(), targets.shape());
        assert_eq!(values(&mse(&logits, &logits, Reduction::Mean).unwrap()), [0.0], "{shape:?}");
    }
}

#[test]
fn targets_that_are_no_classes_are_refused() {
    let logits = Array::zeros(&[2, 3], DType::F32).unwrap();
    let loss = |targets: &Array| cross_entropy(&logits, targets, CrossEntropy::default());
    for class in [3, -1, -100, i32::MAX, i32::MIN] {
        let targets = Array::from_slice(&[0, class], &[2]).unwrap();
        assert_eq!(
            refusal(loss(&targets)),
            format!("cross_entropy: class {class} lies outside: 0 to 2 exist")
        );
        // Computed only when it is looked at.
        let later = targets.add(&Array::scalar(0i32).unwrap()).unwrap();
        assert!(loss(&later).and_then(|loss| loss.eval()).is_err());
    }
    assert!(loss(&Array::from_slice(&[0u64, u64::MAX], &[2]).unwrap()).is_err());
    let fits = Array::from_slice(&[0u64, 2], &[2]).unwrap();
    assert!(loss(&fits).is_ok());
    let options = |label_smoothing| CrossEntropy { label_smoothing, ..Default::default() };
    let wrong = Array::zeros(&[3], DType::I32).unwrap();
    for (outcome, message) in [
        (loss(&row(&[0.0, 1.0])), "targets are integers, not float32"),
        (loss(&wrong), "targets int32[3] for logits float32[2, 3]"),
        (cross_entropy(&fits, &wrong, options(0.0)), "uint64[2] does not hold floating-point numbers"),
        (cross_entropy(&Array::scalar(1.0f32).unwrap(), &wrong, options(0.0)), "float32[] has no axis -1"),
        (cross_entropy(&logits, &fits, options(1.0)), "label smoothing 1 is not at least 0 and below 1"),
        (
            cross_entropy(&logits, &fits, options(f32::NAN)),
            "label smoothing NaN is not at least 0 and below 1",
        ),
        (
            cross_entropy(&logits, &fits, CrossEntropy { weights: Some(&wrong), ..options(0.0) }),
            "weights int32[3] for losses float32[2]",
        ),
        (
            cross_entropy(
                &Array::zeros(&[1, 0], DType::F32).unwrap(),
                &Array::zeros(&[1], DType::I8).unwrap(),
                options(0.0),
            ),
            "there is no class to take",
        ),
    ] {
        assert_eq!(refusal(outcome), format!("cross_entropy: {message}"));
    }
    assert_eq!(
        refusal(mse(&logits, &row(&[1.0]), Reduction::Mean)),
        "mse: targets float32[1] for predictions float32[2, 3]"
    );
    assert!(mse(&wrong, &wrong, Reduction::Mean).is_err());
}

struct Mlp {
    gate_proj: Linear,
    down_proj: Linear,
}

nn::module! { Mlp { gate_proj, down_proj } }

struct Block {
    input_layernorm: RmsNorm,
    mlp: Mlp,
    extra: Option<Linear>,
    rope: Rope,
    heads: usize,
}

nn::module! { Block { input_layernorm, mlp, extra; rope, heads, } }

struct Model {
    embed_tokens: Embedding,
    blocks: Vec<Block>,
    shift: Array,
    by_name: BTreeMap<String, Box<Array>>,
    table: Array,
}

nn::module! { Model { embed_tokens, blocks as "layers", shift, by_name as "named"; table } }

fn model() -> Model {
    let linear = |inputs, outputs| Linear::init(inputs, outputs, false, &key(1)).unwrap();
    let block = |extra| Block {
        input_layernorm: RmsNorm::init(4, 1e-6).unwrap(),
        mlp: Mlp { gate_proj: linear(4, 6), down_proj: linear(6, 4) },
        extra,
        rope: Rope::new(2, 1e4),
        heads: 2,
    };
    let mut packed = Linear::init(64, 4, true, &key(2)).unwrap();
    packed.weight = quantized(&packed.weight);
    Model {
        embed_tokens: Embedding::init(5, 4, &key(3)).unwrap(),
        blocks: vec![block(None), block(Some(packed))],
        shift: row(&[0.5; 4]),
        by_name: BTreeMap::from([("a.b".to_owned(), Box::new(row(&[1.0])))]),
        table: row(&[1.0]),
    }
}

fn quantized(weight: &Weight) -> Weight {
    Weight::quantize(&weight.dequantized().unwrap(), LAYOUT).unwrap()
}

impl Model {
    /// Logits, through the table that is also the embedding.
    fn forward(&self, tokens: &Array) -> Result<Array> {
        let mut h = self.embed_tokens.forward(tokens)?;
        for Block { input_layernorm, mlp, rope, heads, .. } in &self.blocks {
            let x = rope.forward(&input_layernorm.forward(&h)?.expand_dims([0])?, 0)?.squeeze([0])?;
            let x = mlp.down_proj.forward(&silu(&mlp.gate_proj.forward(&x)?)?)?;
            h = h.add(&x.divide(&x.scalar_like(*heads as f32)?)?)?;
        }
        self.embed_tokens.as_linear(&h.add(&self.shift)?.multiply(&self.table)?)
    }

    fn loss(&self) -> Result<Array> {
        let tokens = Array::from_slice(&[0, 3, 1, 4, 4], &[5])?;
        cross_entropy(&self.forward(&tokens)?, &tokens, CrossEntropy::default())
    }
}

const NAMES: [&str; 13] = [
    "embed_tokens.weight",
    "layers.0.input_layernorm.weight",
    "layers.0.mlp.gate_proj.weight",
    "layers.0.mlp.down_proj.weight",
    "layers.1.input_layernorm.weight",
    "layers.1.mlp.gate_proj.weight",
    "layers.1.mlp.down_proj.weight",
    "layers.1.extra.weight",
    "layers.1.extra.scales",
    "layers.1.extra.biases",
    "layers.1.extra.bias",
    "shift",
    "named.a.b",
];

#[test]
fn parameters_have_the_names_of_their_paths() {
    let mut model = model();
    let names: Vec<String> = find::<Array>(&model).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, NAMES);
    let linears: Vec<String> = find_mut::<Linear>(&mut model).into_iter().map(|(name, _)| name).collect();
    assert_eq!(linears.len(), 5);
    assert_eq!((&*linears[0], &*linears[4]), ("layers.0.mlp.gate_proj", "layers.1.extra"));
    assert_eq!(find::<Linear>(&model.blocks[0].mlp.gate_proj)[0].0, "", "a module is inside itself");
    assert!(find::<Dropout>(&model).is_empty());

    // Quantized weights are not trained, nor are integers.
    let trainable = trainable_parameters(&model, |_| true).unwrap();
    let packed = ["layers.1.extra.weight", "layers.1.extra.scales", "layers.1.extra.biases"];
    assert_eq!(trainable.len(), NAMES.len() - packed.len());
    assert!(packed.iter().all(|name| !trainable.contains_key(*name)));
    let count: usize = trainable_parameters(&model, |name| name.starts_with("layers.0."))
        .unwrap()
        .values()
        .map(Array::size)
        .sum();
    assert_eq!(count, 4 + 6 * 4 + 4 * 6);
}

#[test]
fn two_arrays_of_one_name_are_refused() {
    struct Twice {
        left: Linear,
        right: Linear,
    }
    nn::module! { Twice { left as "x", right as "x" } }
    let linear = Linear::init(1, 1, false, &key(1)).unwrap();
    let mut twice = Twice { left: linear.clone(), right: linear };
    let message = "parameters: two arrays are named x.weight";
    assert_eq!(refusal(parameters(&twice)), message);
    assert_eq!(refusal(trainable_parameters(&twice, |_| true)), message);
    assert_eq!(refusal(nn::value_and_grad(&mut twice, |_| true, |_| Array::scalar(1.0f32))), message);
    assert_eq!(refusal(update(&mut twice, BTreeMap::new())), message);
    // Also where only one of the two could be trained.
    twice.left.weight = Weight::quantize(&Array::zeros(&[1, 32], DType::F32).unwrap(), LAYOUT).unwrap();
    assert_eq!(refusal(nn::value_and_grad(&mut twice, |_| true, |_| Array::scalar(1.0f32))), message);
}

#[test]
fn arrays_are_replaced_by_name_or_not_at_all() {
    let mut model = model();
    let ones = Array::full(&[4], 1.0f32).unwrap();
    let replace = |name: &str, array: Array| {
        BTreeMap::from([("shift".to_owned(), ones.clone()), (name.to_owned(), array)])
    };
    let wrong = [
        (
            "layers.2.input_layernorm.weight",
            ones.clone(),
            "the model has no array layers.2.input_layernorm.weight",
        ),
        ("named.a.b", ones.clone(), "named.a.b is float32[1], not float32[4]"),
        ("table", row(&[2.0]), "the model has no array table"),
        (
            "layers.0.input_layernorm.weight",
            ones.as_type(DType::F16).unwrap(),
            "layers.0.input_layernorm.weight is float32[4], not float16[4]",
        ),
    ];
    for (name, array, message) in wrong {
        assert_eq!(refusal(update(&mut model, replace(name, array))), format!("update: {message}"));
        assert_eq!(values(&model.shift), [0.5; 4]);
    }
    update(&mut model, replace("named.a.b", row(&[3.0]))).unwrap();
    assert_eq!((values(&model.shift), values(&model.by_name["a.b"])), (vec![1.0; 4], vec![3.0]));
}

#[test]
fn gradients_of_a_model_equal_finite_differences() {
    const STEP: f32 = 1e-2;
    let mut model = model();
    let (loss, gradients) = nn::value_and_grad(&mut model, |_| true, Model::loss).unwrap();
    assert_eq!(loss.item::<f32>().unwrap(), model.loss().unwrap().item::<f32>().unwrap());
    assert_eq!(values(&gradients["named.a.b"]), [0.0], "nothing depends on it");
    // The embedding is used twice, and has one gradient.
    for name in
        ["embed_tokens.weight", "layers.0.mlp.gate_proj.weight", "layers.1.input_layernorm.weight", "shift"]
    {
        let at = parameters(&model).unwrap()[name].clone();
        let (numbers, gradient) = (values(&at), values(&gradients[name]));
        for index in 0..numbers.len() {
            let mut shifted = |by: f32| {
                let mut numbers = numbers.clone();
                numbers[index] += by;
                let array = Array::from_slice(&numbers, at.shape()).unwrap();
                update(&mut model, BTreeMap::from([(name.to_owned(), array)])).unwrap();
                model.loss().unwrap().item::<f32>().unwrap()
            };
            let difference = (shifted(STEP) - shifted(-STEP)) / (2.0 * STEP);
            assert!(
                (gradient[index] - difference).abs() < 2e-3,
                "{name} {index}: {} {difference}",
                gradient[index]
            );
        }
        update(&mut model, BTreeMap::from([(name.to_owned(), at)])).unwrap();
    }
}

#[test]
fn only_what_is_trainable_gets_gradients_and_more_comes_back_beside_the_loss() {
    let mut model = model();
    let ((loss, tokens), gradients) = nn::value_and_grad(
        &mut model,
        |name| name.ends_with("down_proj.weight"),
        |model| Ok((model.loss()?, Array::scalar(5i32)?)),
    )
    .unwrap();
    assert!(loss.item::<f32>().unwrap().is_finite());
    assert_eq!(tokens.item::<i32>().unwrap(), 5);
    let names: Vec<&String> = gradients.keys().collect();
    assert_eq!(names, ["layers.0.mlp.down_proj.weight", "layers.1.mlp.down_proj.weight"]);
    assert_eq!(
        refusal(nn::value_and_grad(&mut model, |name| name == "table", Model::loss)),
        "value_and_grad: the model has no trainable parameter"
    );
    // An array, or a map of arrays, is a model too.
    let mut square = row(&[1.0, 3.0]);
    let (_, gradients) = nn::value_and_grad(&mut square, |_| true, |x| x.square()?.sum(.., false)).unwrap();
    assert_eq!(values(&gradients[""]), [2.0, 6.0]);
}

#[test]
fn a_model_has_its_own_arrays_after_a_failure() {
    let mut model = model();
    let before = values(&model.loss().unwrap());
    for round in 0..3 {
        let outcome = nn::value_and_grad(
            &mut model,
            |_| true,
            |model| -> Result<Array> {
                model.loss()?;
                match round {
                    0 => Err(Error::other("no")),
                    1 => panic_any("stop"),
                    _ => model.forward(&Array::from_slice(&[0, 1], &[2])?),
                }
            },
        );
        let message = refusal(outcome);
        assert!(
            ["no", "closure: panicked: stop", "value_and_grad: the function's first output must be"]
                .iter()
                .any(|start| message.starts_with(start)),
            "{message}"
        );
        assert_eq!(values(&model.loss().unwrap()), before);
        assert!(find::<Array>(&model).iter().all(|(_, array)| array.eval().is_ok()));
    }
}

/// A trait of models, as an application may have it: the trait's objects are modules as well.
trait Language: nn::Module {
    fn loss(&self) -> Result<Array>;
}

impl Language for Model {
    fn loss(&self) -> Result<Array> {
        Model::loss(self)
    }
}

impl nn::Module for Box<dyn Language> {
    fn children(&self) -> nn::Children<'_> {
        (**self).children()
    }

    fn children_mut(&mut self) -> nn::ChildrenMut<'_> {
        (**self).children_mut()
    }
}

#[test]
fn a_model_may_be_behind_a_trait() {
    let mut boxed: Box<dyn Language> = Box::new(model());
    assert_eq!(find::<Array>(&*boxed).len(), NAMES.len());
    let (_, gradients) =
        nn::value_and_grad(&mut boxed, |name| name == "shift", |model| model.loss()).unwrap();
    assert_eq!(gradients["shift"].shape(), [4]);
}
