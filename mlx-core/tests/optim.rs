//! Optimizers: the steps of Python's MLX and of NumPy, states in files, schedules, clipping, flat memory.

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;

use mlx_core::io::SafetensorsFile;
use mlx_core::optim::{AdamW, AdamWConfig, Decay, Optimizer, Schedule, Sgd, SgdConfig, clip_grad_norm};
use mlx_core::{Array, DType, Result};
use support::{EXACT, Reference, Tolerance, assert_close, row, tolerance};

type Map = BTreeMap<String, Array>;

fn map(name: &str, array: &Array) -> Map {
    Map::from([(name.to_owned(), array.clone())])
}

fn refusal<T>(outcome: Result<T>) -> String {
    outcome.map(|_| ()).unwrap_err().to_string()
}

fn adamw(config: AdamWConfig) -> Box<dyn Optimizer> {
    Box::new(AdamW::new(config).unwrap())
}

fn sgd(momentum: f64, nesterov: bool, weight_decay: f64) -> Box<dyn Optimizer> {
    Box::new(Sgd::new(SgdConfig { momentum, nesterov, weight_decay }).unwrap())
}

fn cases() -> Vec<(&'static str, Box<dyn Optimizer>)> {
    let decay = AdamWConfig { weight_decay: 0.05, ..Default::default() };
    let uncorrected =
        AdamWConfig { betas: [0.8, 0.99], eps: 1e-6, weight_decay: 0.0, bias_correction: false };
    vec![
        ("adamw", adamw(decay)),
        ("adamw.float64", adamw(decay)),
        ("adamw.uncorrected", adamw(uncorrected)),
        ("sgd", sgd(0.0, false, 0.0)),
        ("sgd.decay", sgd(0.0, false, 0.2)),
        ("sgd.momentum", sgd(0.9, false, 0.0)),
        ("sgd.nesterov", sgd(0.9, true, 0.2)),
    ]
}

/// The parameter after every step, and the state.
fn run(optimizer: &mut dyn Optimizer, start: &Array, gradients: &[Array]) -> Result<Vec<Array>> {
    let mut model = map("w", start);
    let mut outputs = Vec::new();
    for gradient in gradients {
        optimizer.step(&mut model, &map("w", gradient), 0.1)?;
        outputs.push(model["w"].clone());
    }
    let state = optimizer.state()?;
    outputs.extend(["w.m", "w.v"].iter().filter_map(|name| state.get(*name).cloned()));
    Ok(outputs)
}

#[test]
fn steps_equal_those_of_python() {
    let reference = Reference::open("nn");
    for (name, mut optimizer) in cases() {
        let dtype = if name.ends_with("64") { DType::F64 } else { DType::F32 };
        let close =
            Tolerance { absolute: tolerance(dtype).absolute, relative: 4.0 * tolerance(dtype).relative };
        reference.check(&format!("optimizer.{name}"), close, |inputs| {
            run(&mut *optimizer, &inputs[0], &inputs[1..])
        });
        assert_eq!(optimizer.steps(), 10);
    }
}

#[test]
fn parameters_of_sixteen_bits_move_in_float32() {
    let reference = Reference::open("nn");
    for dtype in [DType::BF16, DType::F16] {
        for case in ["adamw", "sgd.momentum", "sgd"] {
            let make = || cases().into_iter().find(|(name, _)| *name == case).unwrap().1;
            let inputs = reference.inputs(&format!("optimizer.{case}"));
            let rounded: Vec<Array> = inputs.iter().map(|a| a.as_type(dtype).unwrap()).collect();
            let wide: Vec<Array> = rounded.iter().map(|a| a.as_type(DType::F32).unwrap()).collect();
            let mut optimizer = make();
            let found = run(&mut *optimizer, &rounded[0], &rounded[1..]).unwrap();
            let expected = run(&mut *make(), &wide[0], &wide[1..]).unwrap();
            for (found, expected) in found.iter().zip(&expected) {
                assert_close(
                    case,
                    &found.as_type(DType::F32).unwrap(),
                    &expected.as_type(found.dtype()).unwrap().as_type(DType::F32).unwrap(),
                    EXACT,
                );
            }
            assert_eq!(found[9].dtype(), dtype);
            let state = optimizer.state().unwrap();
            assert!(state.iter().all(|(name, array)| name == "step" || array.dtype() == DType::F32));
            assert_close(case, &state["w.master"], &expected[9], EXACT);
        }
    }
    // Steps that are too small for bfloat16 add up.
    let (mut model, one) = (map("w", &Array::full(&[1], half::bf16::ONE).unwrap()), map("w", &row(&[1.0])));
    let mut optimizer = Sgd::new(SgdConfig::default()).unwrap();
    for _ in 0..100 {
        optimizer.step(&mut model, &one, 1e-3).unwrap();
        optimizer.eval(&model).unwrap();
    }
    let moved = model["w"].as_type(DType::F32).unwrap().item::<f32>().unwrap();
    assert!((moved - 0.9).abs() < 4e-3, "{moved}");
}

/// A file that is removed when the test is over.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Scratch(std::env::temp_dir().join(format!("mlx-optim-{}-{name}.safetensors", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_state_goes_through_a_file_and_the_steps_go_on_the_same() {
    let reference = Reference::open("nn");
    let inputs = reference.inputs("optimizer.adamw");
    for dtype in [DType::F32, DType::BF16] {
        let inputs: Vec<Array> = inputs.iter().map(|a| a.as_type(dtype).unwrap()).collect();
        for ((name, mut straight), (_, mut first)) in cases().into_iter().zip(cases()) {
            let (one, two) =
                (Scratch::new(&format!("{name}{dtype}1")), Scratch::new(&format!("{name}{dtype}2")));
            let expected = run(&mut *straight, &inputs[0], &inputs[1..]).unwrap();
            let half = run(&mut *first, &inputs[0], &inputs[1..7]).unwrap();
            first.save(&one.0).unwrap();
            drop(first);
            let (_, mut second) = cases().into_iter().find(|(other, _)| *other == name).unwrap();
            second.load(&one.0).unwrap();
            assert_eq!(second.steps(), 6);
            second.save(&two.0).unwrap();
            assert_eq!(std::fs::read(&one.0).unwrap(), std::fs::read(&two.0).unwrap(), "{name}");
            let rest = run(&mut *second, &half[5], &inputs[7..]).unwrap();
            for (found, expected) in rest.iter().zip(&expected[6..]) {
                assert_eq!(found.to_bytes().unwrap(), expected.to_bytes().unwrap(), "{name}");
            }
            let file = SafetensorsFile::open(&one.0).unwrap();
            assert_eq!(file.info("step").map(|step| (step.dtype, step.shape.len())), Some((DType::U64, 0)));
            assert_eq!(file.info("w.m").is_some(), name.starts_with("adamw"));
            let has_master = file.info("w.master").is_some();
            assert!(!has_master || dtype == DType::BF16, "{name}");
        }
    }
}

#[test]
fn states_that_do_not_fit_are_refused() {
    let zero = row(&[0.0]);
    let step = |n: u64| Array::scalar(n).unwrap();
    let state = |arrays: &[(&str, &Array)]| -> Map {
        arrays.iter().map(|(name, array)| ((*name).to_owned(), (*array).clone())).collect()
    };
    let mut optimizer = AdamW::new(AdamWConfig::default()).unwrap();
    let three = step(3);
    for (arrays, message) in [
        (state(&[]), "the state has no number of steps"),
        (state(&[("step", &Array::scalar(-1i64).unwrap())]), "the state has no number of steps"),
        (state(&[("step", &three), ("w.m", &zero)]), "the state lacks w.v"),
        (state(&[("step", &three), ("w.master", &zero)]), "the state lacks w.m"),
        (state(&[("step", &three), ("w.u", &zero)]), "w.u float32[1] is no part of the state"),
        (state(&[("step", &three), ("w", &zero)]), "w float32[1] is no part of the state"),
        (state(&[("step", &three), ("w.m", &three)]), "w.m uint64[] is no part of the state"),
        (state(&[("step", &row(&[1.0, 2.0]))]), "step float32[2] is no part of the state"),
    ] {
        assert_eq!(refusal(optimizer.set_state(arrays)), format!("AdamW: {message}"));
        assert_eq!(optimizer.steps(), 0);
    }
    // Python's MLX keeps the learning rate too, and moments in the parameter's dtype.
    let narrow = zero.as_type(DType::BF16).unwrap();
    optimizer
        .set_state(state(&[("step", &three), ("learning_rate", &zero), ("w.m", &narrow), ("w.v", &narrow)]))
        .unwrap();
    assert_eq!(optimizer.steps(), 3);
    let mut model = map("w", &narrow);
    optimizer.step(&mut model, &map("w", &zero), 0.1).unwrap();
    assert_eq!(optimizer.state().unwrap()["w.m"].dtype(), DType::F32);
    assert_eq!(optimizer.state().unwrap()["w.master"].dtype(), DType::F32);
    // A velocity that is not needed.
    let mut plain = Sgd::new(SgdConfig::default()).unwrap();
    plain.set_state(state(&[("step", &three), ("w.v", &zero)])).unwrap();
    assert_eq!((plain.steps(), plain.state().unwrap().len()), (3, 1));
    // Another shape is noticed by the step.
    let wide = row(&[1.0, 2.0]);
    let message = refusal(optimizer.step(&mut map("w", &wide), &map("w", &wide), 0.1));
    assert_eq!(message, "AdamW: w is float32[2], and the state of it float32[1]");
    assert!(optimizer.load(&PathBuf::from("/no/such/file")).is_err());
    assert_eq!(optimizer.steps(), 4);
}

#[test]
fn steps_that_cannot_be_taken_change_nothing() {
    let mut optimizer = AdamW::new(AdamWConfig::default()).unwrap();
    let mut model =
        Map::from([("a".to_owned(), row(&[1.0])), ("n".to_owned(), Array::scalar(1i32).unwrap())]);
    let gradients =
        |name: &str, array: Array| Map::from([("a".to_owned(), row(&[1.0])), (name.to_owned(), array)]);
    for (gradients, rate, message) in [
        (gradients("b", row(&[1.0])), 0.1, "the model has no parameter b"),
        (gradients("a", row(&[1.0, 2.0])), 0.1, "a is float32[1] and its gradient float32[2]"),
        (gradients("n", Array::scalar(1.0f32).unwrap()), 0.1, "n is int32[] and its gradient float32[]"),
        (
            gradients("a", Array::from_slice(&[1], &[1]).unwrap()),
            0.1,
            "a is float32[1] and its gradient int32[1]",
        ),
        (gradients("a", row(&[1.0])), f64::NAN, "learning_rate cannot be [NaN]; they must be finite"),
    ] {
        assert_eq!(refusal(optimizer.step(&mut model, &gradients, rate)), format!("AdamW: {message}"));
        assert_eq!(model["a"].to_vec::<f32>().unwrap(), [1.0]);
        assert_eq!((optimizer.steps(), optimizer.state().unwrap().len()), (0, 1));
    }
    let config = AdamWConfig::default();
    assert!(AdamW::new(AdamWConfig { betas: [0.9, 1.0], ..config }).is_err());
    assert!(AdamW::new(AdamWConfig { betas: [f64::NAN, 0.9], ..config }).is_err());
    assert!(AdamW::new(AdamWConfig { eps: -1.0, ..config }).is_err());
    assert!(Sgd::new(SgdConfig { momentum: -0.1, ..Default::default() }).is_err());
    assert_eq!(
        refusal(Sgd::new(SgdConfig { nesterov: true, ..Default::default() })),
        "Sgd: Nesterov's momentum is 0"
    );
    // No gradients, no change but the step.
    optimizer.step(&mut model, &Map::new(), 0.1).unwrap();
    assert_eq!(optimizer.steps(), 1);
}

#[test]
fn clipping_equals_that_of_python() {
    let reference = Reference::open("nn");
    for (name, max_norm) in [("clip.0.5", 0.5), ("clip.100.0", 100.0)] {
        reference.check(name, tolerance(DType::F32), |inputs| {
            let gradients =
                Map::from([("a".to_owned(), inputs[0].clone()), ("b".to_owned(), inputs[1].clone())]);
            let (clipped, norm) = clip_grad_norm(&gradients, max_norm)?;
            Ok(vec![clipped["a"].clone(), clipped["b"].clone(), norm])
        });
    }
    let clip = |values: &[f32], dtype, max_norm| {
        let (clipped, norm) =
            clip_grad_norm(&map("g", &row(values).as_type(dtype).unwrap()), max_norm).unwrap();
        assert_eq!(clipped["g"].dtype(), dtype);
        (clipped["g"].as_type(DType::F32).unwrap().to_vec::<f32>().unwrap(), norm.item::<f32>().unwrap())
    };
    // Squares that float16 cannot hold.
    assert_eq!(clip(&[300.0, 400.0], DType::F16, 5.0), (vec![3.0, 4.0], 500.0));
    assert_eq!(clip(&[3.0, 4.0], DType::F64, 0.0), (vec![0.0, 0.0], 5.0));
    assert_eq!(clip(&[0.0], DType::BF16, 1.0), (vec![0.0], 0.0));
    assert!(clip(&[f32::NAN, 1.0], DType::F32, 1.0).1.is_nan());
    assert!(clip(&[f32::INFINITY, 1.0], DType::F32, 1.0).1.is_infinite());
    assert_eq!(clip_grad_norm(&Map::new(), 1.0).unwrap().1.item::<f32>().unwrap(), 0.0);
    assert_eq!(
        refusal(clip_grad_norm(&Map::new(), -1.0)),
        "clip_grad_norm: max_norm is -1; it must not be negative"
    );
    assert!(clip_grad_norm(&Map::new(), f32::NAN).is_err());
    let integers = map("n", &Array::scalar(1i32).unwrap());
    assert_eq!(refusal(clip_grad_norm(&integers, 1.0)), "clip_grad_norm: n is int32[]");
}

#[test]
fn schedules_equal_those_of_python() {
    let reference = Reference::open("nn");
    let schedule = |warmup_steps, decay| Schedule { peak: 0.1, warmup_steps, decay };
    for (name, schedule) in [
        ("linear", schedule(0, Decay::Linear { steps: 20, end: 0.01 })),
        ("cosine", schedule(0, Decay::Cosine { steps: 20, end: 0.01 })),
        ("warmup", schedule(5, Decay::Cosine { steps: 20, end: 0.0 })),
    ] {
        reference.check(&format!("schedule.{name}"), Tolerance { absolute: 1e-8, relative: 1e-6 }, |_| {
            Ok(vec![row(&(0..30).map(|step| schedule.at(step) as f32).collect::<Vec<_>>())])
        });
    }
    assert_eq!([0, 7, u64::MAX].map(|step| Schedule::constant(0.1).at(step)), [0.1; 3]);
    // Decays without steps are at their end at once.
    assert_eq!(schedule(0, Decay::Linear { steps: 0, end: 0.01 }).at(0), 0.01);
    assert_eq!(schedule(2, Decay::Cosine { steps: 0, end: 0.02 }).at(2), 0.02);
    assert_eq!(schedule(u64::MAX, Decay::Constant).at(0), 0.0);
}

#[test]
fn a_parameter_that_was_replaced_is_moved_from_its_new_value() {
    let half = |value: f32| Array::full(&[4], value).unwrap().as_type(DType::BF16).unwrap();
    let mut model = half(0.5);
    let mut optimizer = Sgd::new(SgdConfig::default()).unwrap();
    let gradients = |value: f32| BTreeMap::from([(String::new(), half(value))]);
    optimizer.step(&mut model, &gradients(1.0), 0.001).unwrap();
    optimizer.eval(&model).unwrap();
    optimizer.step(&mut model, &gradients(0.0), 0.1).unwrap();
    optimizer.eval(&model).unwrap();
    // A thousandth less than a half, which bfloat16 does not tell from it, is remembered.
    let master = optimizer.state().unwrap()[".master"].to_vec::<f32>().unwrap();
    assert_eq!(master, [0.499; 4]);
    mlx_core::nn::update(&mut model, BTreeMap::from([(String::new(), half(0.0))])).unwrap();
    optimizer.step(&mut model, &gradients(0.0), 0.1).unwrap();
    optimizer.eval(&model).unwrap();
    assert_eq!(model.as_type(DType::F32).unwrap().to_vec::<f32>().unwrap(), [0.0; 4]);
}
