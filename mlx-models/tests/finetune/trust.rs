//! Runs that end early, and numbers that are none.

use std::fs;

use mlx_core::optim::Schedule;
use mlx_models::adapter::{self, AdapterKind, AdapterOptions};
use mlx_models::training::{Trainer, TrainingOptions};
use serde_json::{Map, json};
use tempfile::TempDir;

use crate::{Case, bytes, load, on_cpu};

fn trainer(kind: AdapterKind, rate: f64) -> Trainer {
    let case = Case::open("llama3");
    let mut loaded = load("tiny/llama3");
    let options = AdapterOptions { kind, rank: 4, dropout: 0.2, ..Default::default() };
    let adapter = adapter::attach(&mut *loaded.model, &options, 1).unwrap();
    let options = TrainingOptions { schedule: Schedule::constant(rate), seed: 5, ..Default::default() };
    Trainer::new(loaded.model, adapter, case.rows(), options).unwrap()
}

#[test]
fn a_run_that_goes_on_from_a_saved_state_is_the_run_that_was_not_ended() {
    on_cpu(|| {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("state.safetensors");
        let settings = Map::from_iter([("lr".to_owned(), json!(0.01))]);
        for kind in [AdapterKind::Lora, AdapterKind::Dora, AdapterKind::Full] {
            let mut whole = trainer(kind, 0.01);
            let losses: Vec<u32> = (0..9).map(|_| whole.step().unwrap().loss.to_bits()).collect();

            let mut first = trainer(kind, 0.01);
            for _ in 0..4 {
                first.step().unwrap();
            }
            first.save_state(&file, &settings).unwrap();
            let mut second = trainer(kind, 0.01);
            second.load_state(&file, &settings).unwrap();
            assert_eq!(second.steps(), 4);
            let rest: Vec<u32> = (4..9).map(|_| second.step().unwrap().loss.to_bits()).collect();
            assert_eq!(rest, losses[4..], "{kind:?}");
            let end = |trainer: &Trainer| bytes(&trainer.adapter().parameters(trainer.model()).unwrap());
            assert_eq!(end(&second), end(&whole), "{kind:?}");
            assert_eq!(second.curve(), whole.curve());
        }
    });
}

#[test]
fn a_state_of_another_run_or_a_broken_one_is_refused_by_name() {
    on_cpu(|| {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("state.safetensors");
        let settings = |rate: f64| Map::from_iter([("lr".to_owned(), json!(rate))]);
        let mut run = trainer(AdapterKind::Lora, 0.01);
        run.step().unwrap();
        run.save_state(&file, &settings(0.01)).unwrap();

        let refused = |trainer: &mut Trainer, rate: f64, part: &str| {
            let before = bytes(&trainer.adapter().parameters(trainer.model()).unwrap());
            let error = trainer.load_state(&file, &settings(rate)).unwrap_err().to_string();
            assert!(error.contains("state.safetensors") && error.contains(part), "{part}: {error}");
            assert_eq!(trainer.steps(), 0);
            assert_eq!(bytes(&trainer.adapter().parameters(trainer.model()).unwrap()), before);
        };
        refused(&mut trainer(AdapterKind::Lora, 0.01), 0.02, "lr 0.01, and this one has 0.02");
        refused(&mut trainer(AdapterKind::Dora, 0.01), 0.01, "trains other arrays");
        let whole = fs::read(&file).unwrap();
        for length in [0, 7, 100, whole.len() - 1] {
            fs::write(&file, &whole[..length]).unwrap();
            refused(&mut trainer(AdapterKind::Lora, 0.01), 0.01, "");
        }
        fs::copy(crate::data("finetune/llama3/adapters.safetensors"), &file).unwrap();
        refused(&mut trainer(AdapterKind::Lora, 0.01), 0.01, "is no state of a training run");
    });
}

#[test]
fn losses_that_are_not_finite_change_nothing_and_the_third_in_a_row_goes_back() {
    on_cpu(|| {
        // The first step moves the adapter so far that nothing after it is finite.
        let mut run = trainer(AdapterKind::Lora, 1e30);
        let parameters = |run: &Trainer| bytes(&run.adapter().parameters(run.model()).unwrap());
        let start = parameters(&run);
        assert!(!run.step().unwrap().skipped);
        let far = parameters(&run);
        assert_ne!(far, start);
        for _ in 0..2 {
            let report = run.step().unwrap();
            assert!(
                report.skipped && !(report.loss.is_finite() && report.gradient_norm.is_finite()),
                "{report:?}"
            );
            assert_eq!(parameters(&run), far);
        }
        let error = run.step().unwrap_err().to_string();
        assert!(
            error.contains("third in a row") && error.contains("before step 1 is the last good one"),
            "{error}"
        );
        assert_eq!((parameters(&run), run.steps()), (start, 0));
    });
}
