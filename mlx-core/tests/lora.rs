//! LoRA: the numbers of mlx-lm's layer, fresh adapters, fusing, and training over a base that stays as it is.

mod support;

use std::collections::BTreeMap;

use mlx_core::nn::{self, Dropout, Linear, Lora, RmsNorm, Weight, find, lora, silu};
use mlx_core::optim::{AdamW, AdamWConfig, Optimizer};
use mlx_core::{Array, DType, Quantization, Quantized, Result, loss};
use support::{EXACT, Reference, Tolerance, assert_close, tolerance};

const LAYOUT: Quantization = Quantization::affine(32, 4);

fn key(seed: u32) -> Array {
    Array::from_slice(&[0, seed], &[2]).unwrap()
}

fn refusal<T>(outcome: Result<T>) -> String {
    outcome.map(|_| ()).unwrap_err().to_string()
}

fn random(shape: [i32; 2], seed: u32) -> Array {
    Linear::init(shape[1], shape[0], false, &key(seed)).unwrap().weight.dequantized().unwrap()
}

/// A linear map with an adapter that does something.
fn adapted(weight: Weight, dtype: DType, seed: u32) -> Linear {
    let [outputs, inputs] = weight.shape().map(|n| n as i32);
    let config = lora::Config { rank: 4, scale: 2.5, ..Default::default() };
    let adapter = Lora {
        lora_b: random([4, outputs], seed),
        ..Lora::init(inputs, outputs, config, &key(seed)).unwrap()
    };
    let bias = random([1, outputs], seed + 1).reshape(&[outputs]).unwrap().as_type(dtype).unwrap();
    Linear { weight, bias: Some(bias), lora: Some(adapter) }
}

#[test]
fn adapters_equal_those_of_mlx_lm() {
    let reference = Reference::open("nn");
    for (dtype, unit) in [(DType::F32, 1e-5), (DType::BF16, 2e-2)] {
        let close = Tolerance { absolute: unit, relative: unit };
        let lora = |a: &Array, b: &Array| {
            Some(Lora {
                lora_a: a.clone(),
                lora_b: b.clone(),
                scale: 2.5,
                dropout: Dropout::default(),
                magnitude: None,
            })
        };
        reference.check(&format!("lora.dense.{dtype}"), close, |inputs| {
            let [x, weight, bias, a, b] = inputs else { panic!() };
            let weight = Weight::Dense(weight.clone());
            Ok(vec![Linear { weight, bias: Some(bias.clone()), lora: lora(a, b) }.forward(x)?])
        });
        reference.check(&format!("lora.quantized.{dtype}"), close, |inputs| {
            let [x, weight, scales, biases, bias, a, b] = inputs else { panic!() };
            let (weight, scales, biases) = (weight.clone(), scales.clone(), Some(biases.clone()));
            let weight = Weight::Quantized(Quantized { weight, scales, biases, quantization: LAYOUT });
            Ok(vec![Linear { weight, bias: Some(bias.clone()), lora: lora(a, b) }.forward(x)?])
        });
    }
}

struct Model {
    layers: Vec<Layer>,
    head: Linear,
}

struct Layer {
    norm: RmsNorm,
    q_proj: Linear,
    v_proj: Linear,
}

nn::module! { Layer { norm, q_proj, v_proj } }
nn::module! { Model { layers, head } }

impl Model {
    fn init(quantize: bool) -> Self {
        let linear = |inputs, outputs, seed| {
            let mut linear = Linear::init(inputs, outputs, true, &key(seed)).unwrap();
            if quantize {
                linear.weight = Weight::quantize(&linear.weight.dequantized().unwrap(), LAYOUT).unwrap();
            }
            linear
        };
        let layer = |seed| Layer {
            norm: RmsNorm::init(32, 1e-6).unwrap(),
            q_proj: linear(32, 32, seed),
            v_proj: linear(32, 32, seed + 1),
        };
        Model { layers: vec![layer(10), layer(20), layer(30)], head: linear(32, 2, 40) }
    }

    fn forward(&self, x: &Array) -> Result<Array> {
        let mut h = x.clone();
        for Layer { norm, q_proj, v_proj } in &self.layers {
            let x = norm.forward(&h)?;
            h = h.add(&silu(&q_proj.forward(&x)?)?.multiply(&v_proj.forward(&x)?)?)?;
        }
        self.head.forward(&h)
    }
}

/// `q_proj` and `v_proj` of the last two layers.
fn targets(name: &str) -> bool {
    let layer = name.strip_prefix("layers.").and_then(|rest| rest.split('.').next()?.parse().ok());
    layer.is_some_and(|layer: usize| layer >= 1)
}

#[test]
fn a_fresh_adapter_changes_nothing_and_is_all_that_is_trained() {
    for quantize in [false, true] {
        let mut model = Model::init(quantize);
        let x = random([5, 32], 3);
        let before = model.forward(&x).unwrap();
        let config = lora::Config { rank: 4, scale: 2.0, dropout: 0.1, dora: false };
        let names = lora::apply(&mut model, config, &key(1), targets).unwrap();
        assert_eq!(names, ["layers.1.q_proj", "layers.1.v_proj", "layers.2.q_proj", "layers.2.v_proj"]);
        assert_close("fresh", &model.forward(&x).unwrap(), &before, EXACT);

        let trainable = nn::trainable_parameters(&model, lora::is_adapter).unwrap();
        let expected: Vec<String> =
            names.iter().flat_map(|name| [format!("{name}.lora_a"), format!("{name}.lora_b")]).collect();
        assert_eq!(trainable.keys().collect::<Vec<_>>(), expected.iter().collect::<Vec<_>>());
        assert_eq!(trainable.values().map(Array::size).sum::<usize>(), 4 * 4 * (32 + 32));
        let a: Vec<Vec<f32>> = trainable
            .iter()
            .filter(|(name, _)| name.ends_with('a'))
            .map(|(_, a)| a.to_vec().unwrap())
            .collect();
        let bound = 32f32.sqrt().recip();
        assert!(
            a.iter().flatten().all(|x| x.abs() <= bound) && a.iter().flatten().any(|x| x.abs() > 0.9 * bound)
        );
        assert_ne!(a[0], a[1]);
        assert_eq!(find::<Dropout>(&model).len(), 4);

        // The same key gives the same adapters.
        let mut other = Model::init(quantize);
        lora::apply(&mut other, config, &key(1), targets).unwrap();
        assert_eq!(
            nn::trainable_parameters(&other, lora::is_adapter).unwrap()["layers.2.v_proj.lora_a"]
                .to_bytes()
                .unwrap(),
            trainable["layers.2.v_proj.lora_a"].to_bytes().unwrap()
        );
    }
    assert!(!lora::is_adapter("lora_a.weight") && !lora::is_adapter("xlora_a") && lora::is_adapter("lora_b"));
}

#[test]
fn adapters_that_make_no_sense_are_refused() {
    let mut model = Model::init(false);
    let none = lora::apply(&mut model, lora::Config::default(), &key(1), |name| name == "q_proj");
    assert_eq!(
        refusal(none),
        "lora: no linear map has a name that is asked for; the first are layers.0.q_proj, layers.0.v_proj, layers.1.q_proj, \
         layers.1.v_proj"
    );
    for config in [
        lora::Config { rank: 0, ..Default::default() },
        lora::Config { rank: -1, ..Default::default() },
        lora::Config { dropout: 1.0, ..Default::default() },
        lora::Config { dropout: f32::NAN, ..Default::default() },
        lora::Config { scale: f32::INFINITY, ..Default::default() },
        lora::Config { rank: i32::MAX, ..Default::default() },
    ] {
        assert!(lora::apply(&mut model, config, &key(1), targets).is_err(), "{config:?}");
    }
    assert!(
        lora::apply(&mut model, lora::Config::default(), &Array::scalar(1u32).unwrap(), targets).is_err()
    );
    assert!(find::<Lora>(&model).is_empty());

    let mut linear = adapted(Weight::Dense(random([8, 32], 1)), DType::F32, 5);
    assert!(linear.forward(&random([2, 31], 1)).is_err());
    linear.weight = Weight::Dense(random([8, 16], 1));
    assert_eq!(refusal(linear.fused(false)), "fused: an adapter of [8, 32] for a weight of [8, 16]");
}

#[test]
fn fused_maps_equal_adapted_ones() {
    let x = random([3, 32], 1);
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let (x, dense) = (x.as_type(dtype).unwrap(), random([8, 32], 2).as_type(dtype).unwrap());
        let packed = Weight::quantize(&dense, LAYOUT).unwrap();
        // Sums of 32 products of numbers below 1, in the dtype.
        let unit = 8.0 * tolerance(dtype).absolute;
        let close = Tolerance { absolute: unit, relative: unit };
        for weight in [Weight::Dense(dense), packed.clone()] {
            let linear = adapted(weight, dtype, 5);
            let expected = linear.forward(&x).unwrap();
            let fused = linear.fused(true).unwrap();
            assert!(
                fused.lora.is_none()
                    && matches!(&fused.weight, Weight::Dense(weight) if weight.dtype() == dtype)
            );
            assert_close("fused", &fused.forward(&x).unwrap(), &expected, close);
            let bare = Linear { lora: None, ..linear.clone() };
            let change =
                bare.forward(&x).unwrap().subtract(&expected).unwrap().abs().unwrap().max(.., false).unwrap();
            assert!(
                change.as_type(DType::F32).unwrap().item::<f32>().unwrap() > 0.1,
                "the adapter does something"
            );
            assert_close(
                "without",
                &bare.fused(true).unwrap().forward(&x).unwrap(),
                &bare.forward(&x).unwrap(),
                EXACT,
            );
        }
        // Packed again: as near as four bits come.
        let linear = adapted(packed, dtype, 5);
        let fused = linear.fused(false).unwrap();
        let Weight::Quantized(packed) = &fused.weight else { panic!() };
        assert_eq!((packed.quantization, packed.scales.dtype()), (LAYOUT, dtype));
        let (packed, dense) =
            (fused.weight.dequantized().unwrap(), linear.fused(true).unwrap().weight.dequantized().unwrap());
        assert_close("packed", &packed, &dense, Tolerance { absolute: 0.06, relative: 0.0 });
    }
}

#[test]
fn a_model_is_fused_as_a_whole() {
    let mut model = Model::init(true);
    let names =
        lora::apply(&mut model, lora::Config { rank: 2, ..Default::default() }, &key(1), targets).unwrap();
    let x = random([5, 32], 3);
    let b =
        names.iter().map(|name| (format!("{name}.lora_b"), random([2, 32], 9))).collect::<BTreeMap<_, _>>();
    nn::update(&mut model, b).unwrap();
    let expected = model.forward(&x).unwrap();
    lora::fuse(&mut model, true).unwrap();
    assert!(find::<Lora>(&model).is_empty());
    assert!(matches!(model.layers[0].q_proj.weight, Weight::Quantized(_)), "it had no adapter");
    assert_close(
        "model",
        &model.forward(&x).unwrap(),
        &expected,
        Tolerance { absolute: 1e-3, relative: 1e-4 },
    );
}

#[test]
fn training_lowers_the_loss_and_leaves_the_base_as_it_is() {
    let mut model = Model::init(true);
    let config = lora::Config { rank: 4, scale: 2.0, dropout: 0.05, dora: false };
    lora::apply(&mut model, config, &key(1), targets).unwrap();
    let base = |model: &Model| -> BTreeMap<String, Vec<u8>> {
        find::<Array>(model)
            .into_iter()
            .filter(|(name, _)| !lora::is_adapter(name))
            .map(|(name, array)| (name, array.to_bytes().unwrap()))
            .collect()
    };
    let before = base(&model);
    assert_eq!(before.len(), 3 * (1 + 4 + 4) + 4);
    let x = random([16, 32], 3).multiply(&Array::scalar(4.0f32).unwrap()).unwrap();
    let y = x.slice_axis(1, 0, 2).unwrap();
    let evaluate = |model: &Model| {
        loss::mse(&model.forward(&x).unwrap(), &y, loss::Reduction::Mean).unwrap().item::<f32>().unwrap()
    };
    let first = evaluate(&model);
    let mut optimizer = AdamW::new(AdamWConfig::default()).unwrap();
    for step in 0..80 {
        nn::train(&mut model, Some(&key(step))).unwrap();
        let (_, gradients) = nn::value_and_grad(&mut model, lora::is_adapter, |model| {
            loss::mse(&model.forward(&x)?, &y, loss::Reduction::Mean)
        })
        .unwrap();
        assert_eq!(gradients.len(), 8);
        optimizer.step(&mut model, &gradients, 0.01).unwrap();
        optimizer.eval(&model).unwrap();
    }
    nn::train(&mut model, None).unwrap();
    let last = evaluate(&model);
    assert!(last < 0.3 * first, "{first} {last}");
    assert_eq!(base(&model), before);
    assert!(optimizer.state().unwrap().keys().all(|name| name == "step" || name.contains(".lora_")));
}
