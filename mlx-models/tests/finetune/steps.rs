//! Numbers.

use mlx_core::DType;
use mlx_core::nn::{self, lora};
use mlx_core::optim::{AdamWConfig, Decay, Schedule};
use mlx_models::adapter::{self, AdapterKind, AdapterOptions};
use mlx_models::training::{Trainer, TrainingOptions};

use crate::{Case, base, bytes, load, on_cpu};

impl Case {
    fn options(&self) -> TrainingOptions {
        let cosine = self.number("cosine_steps").map(|steps| steps as u64);
        TrainingOptions {
            schedule: Schedule {
                peak: self.number("lr").unwrap(),
                warmup_steps: self.number("warmup").unwrap_or(0.0) as u64,
                decay: cosine.map_or(Decay::Constant, |steps| Decay::Cosine { steps, end: 0.0 }),
            },
            adamw: AdamWConfig { weight_decay: self.number("weight_decay").unwrap(), ..Default::default() },
            max_norm: self.number("max_norm").map(|norm| norm as f32),
            ..Default::default()
        }
    }
}

/// Losses of all steps of a case.
fn losses(case: &Case, trainer: &mut Trainer) -> Vec<f32> {
    case.steps().iter().map(|rows| trainer.step_with(rows).unwrap().loss).collect()
}

#[test]
fn losses_of_twenty_steps_equal_those_of_torch_and_mlx_lm() {
    on_cpu(|| {
        for name in ["gemma3-classic", "llama3", "llama3-dora", "qwen2-packed"] {
            let case = Case::open(name);
            let mut trainer = case.trainer(case.options());
            let before = bytes(&base(trainer.model()));
            let found = losses(&case, &mut trainer);
            let mut compared = 0;
            for reference in ["torch", "mlx_lm"] {
                let Some(expected) = case.losses(reference) else { continue };
                for (step, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    let off = (found - expected).abs() / expected.abs().max(1.0);
                    assert!(off < 1e-4, "{name}, {reference}, step {step}: {found} for {expected}");
                }
                compared += 1;
            }
            assert!(compared > 0 && found[19] < 0.8 * found[0], "{name}: {found:?}");
            assert_eq!(bytes(&base(trainer.model())), before, "{name}: the base has changed");
        }
    });
}

#[test]
fn batches_together_are_one_large_batch() {
    on_cpu(|| {
        let case = Case::open("llama3");
        let run = |batch_size, accumulation| {
            let mut trainer =
                case.trainer(TrainingOptions { batch_size, accumulation, seed: 3, ..case.options() });
            let losses: Vec<f32> = (0..6).map(|_| trainer.step().unwrap().loss).collect();
            let adapter = trainer.adapter().parameters(trainer.model()).unwrap();
            let numbers: Vec<f32> = adapter.values().flat_map(|a| a.to_vec::<f32>().unwrap()).collect();
            (losses, numbers)
        };
        let (losses, numbers) = run(4, 1);
        for (batch_size, accumulation) in [(2, 2), (1, 4)] {
            let (parts, others) = run(batch_size, accumulation);
            for (a, b) in losses.iter().zip(&parts) {
                assert!((a - b).abs() < 1e-5 * a.abs(), "{losses:?} {parts:?}");
            }
            let worst = numbers.iter().zip(&others).fold(0f32, |worst, (a, b)| worst.max((a - b).abs()));
            assert!(worst < 1e-4, "{worst}");
        }
    });
}

#[test]
fn the_gradient_of_a_large_batch_is_the_sum_of_its_parts_to_a_hundred_thousandth() {
    on_cpu(|| {
        let case = Case::open("llama3");
        let norm = |batch_size| {
            let rows: Vec<usize> = (0..8).collect();
            let options = TrainingOptions { batch_size, accumulation: 8 / batch_size, ..case.options() };
            let report = case.trainer(options).step_with(&rows).unwrap();
            (report.loss, report.gradient_norm)
        };
        let (loss, whole) = norm(8);
        for batch_size in [1, 2, 4] {
            let (other, parts) = norm(batch_size);
            assert!(
                (loss - other).abs() < 1e-5 * loss && (whole - parts).abs() < 1e-5 * whole,
                "{batch_size}"
            );
        }
    });
}

#[test]
fn checkpointed_layers_give_the_same_steps() {
    on_cpu(|| {
        for name in ["gemma3-classic", "qwen2-packed", "llama3-dora"] {
            let case = Case::open(name);
            let run = |checkpoint| {
                let mut trainer = case.trainer(TrainingOptions { checkpoint, ..case.options() });
                let losses = losses(&case, &mut trainer);
                (losses, bytes(&trainer.adapter().parameters(trainer.model()).unwrap()))
            };
            assert_eq!(run(false), run(true), "{name}");
        }
    });
}

#[test]
fn full_fine_tuning_trains_a_model_from_scratch_and_only_what_it_names() {
    on_cpu(|| {
        for (model, layers) in [("tiny/llama3", None), ("gemma3-classic", Some(2))] {
            let mut loaded = load(model);
            let options = AdapterOptions { kind: AdapterKind::Full, layers, ..Default::default() };
            let adapter = adapter::attach(&mut *loaded.model, &options, 0).unwrap();
            let trained = adapter.names.clone();
            let before = bytes(&nn::parameters(&*loaded.model).unwrap());
            let case = Case::open("llama3");
            let options = TrainingOptions { schedule: Schedule::constant(3e-3), ..Default::default() };
            let mut trainer = Trainer::new(loaded.model, adapter, case.rows(), options).unwrap();
            let losses: Vec<f32> = (0..30).map(|_| trainer.step_with(&[0, 1, 2, 3]).unwrap().loss).collect();
            assert!(losses[29] < 0.2 * losses[0], "{model}: {losses:?}");
            let after = bytes(&nn::parameters(trainer.model()).unwrap());
            for (name, bytes) in &before {
                assert_eq!(after[name] != *bytes, trained.contains(name), "{model}: {name}");
            }

            // What is saved is in the layout of checkpoints, whichever way norms are held.
            let folder = tempfile::TempDir::new().unwrap();
            trainer.adapter().save(trainer.model(), folder.path(), model).unwrap();
            let again =
                mlx_models::load_with_adapter(&crate::data(model), Some(DType::F32), Some(folder.path()))
                    .unwrap();
            let tokens = [5, 9, 33, 12];
            let off = crate::difference(
                &crate::logits(&*again.model, &tokens),
                &crate::logits(trainer.model(), &tokens),
            );
            assert!(off < 1e-5, "{model}: {off}");
        }
    });
}

#[test]
fn bfloat16_adapters_and_dropout_train_too() {
    on_cpu(|| {
        let case = Case::open("llama3");
        let mut loaded = load("tiny/llama3");
        let options = AdapterOptions { dtype: DType::BF16, dropout: 0.1, rank: 4, ..Default::default() };
        let adapter = adapter::attach(&mut *loaded.model, &options, 1).unwrap();
        let mut trainer = Trainer::new(loaded.model, adapter, case.rows(), case.options()).unwrap();
        let losses = losses(&case, &mut trainer);
        assert!(losses[19] < 0.7 * losses[0], "{losses:?}");
        let arrays = trainer.adapter().parameters(trainer.model()).unwrap();
        assert!(arrays.iter().all(|(name, a)| lora::is_adapter(name) && a.dtype() == DType::BF16));
    });
}
