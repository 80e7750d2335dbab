//! Tiny checkpoints beside the float32 logits that the reference gives for them: what every architecture must do.

use std::path::PathBuf;

use mlx_core::io::SafetensorsFile;
use mlx_core::kernels::{self, Mode};
use mlx_core::{Array, DType};
use mlx_models::{Checkpoint, KvCache, LanguageModel, models};

/// Difference that is allowed of any logit, as a share of the logits' root mean square: float32 sums in another order than
/// torch's. The mildest mistake that was tried with Gemma 3 moves a logit by ten times as much.
const CLOSE: f32 = 1e-4;

/// A checkpoint of `tests/data` and what is expected of it.
pub(crate) struct Reference {
    name: &'static str,
    checkpoint: PathBuf,
    expected: PathBuf,
}

impl Reference {
    /// `checkpoint` and `expected` lie in `tests/data`.
    pub(crate) fn new(name: &'static str, checkpoint: &str, expected: &str) -> Self {
        let data = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        Reference { name, checkpoint: data.join(checkpoint), expected: data.join(expected) }
    }

    /// The model, computing in float32.
    pub(crate) fn model(&self) -> Box<dyn LanguageModel> {
        self.model_in(Some(DType::F32))
    }

    /// The model, computing in another dtype.
    pub(crate) fn model_in(&self, dtype: Option<DType>) -> Box<dyn LanguageModel> {
        models::load(&Checkpoint::open(&self.checkpoint).unwrap(), dtype).unwrap()
    }

    /// A list of token ids that is kept beside the logits.
    pub(crate) fn ids(&self, tensor: &str) -> Vec<i32> {
        self.expected(tensor).as_chunks().0.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect()
    }

    /// The expected logits of `tokens`, flat.
    pub(crate) fn logits(&self) -> Vec<f32> {
        self.expected("logits").as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
    }

    fn expected(&self, tensor: &str) -> Vec<u8> {
        SafetensorsFile::open(&self.expected).unwrap().read(tensor).unwrap()
    }

    /// Asserts that logits are the expected ones.
    #[track_caller]
    pub(crate) fn assert_close(&self, actual: &[f32], expected: &[f32], how: &str) {
        assert_eq!(actual.len(), expected.len(), "{} {how}", self.name);
        let worst = actual.iter().zip(expected).map(|(a, e)| (a - e).abs()).fold(0.0, f32::max);
        let size = (expected.iter().map(|e| e * e).sum::<f32>() / expected.len() as f32).sqrt();
        let difference = worst / size;
        assert!(
            difference <= CLOSE,
            "{} {how}: a logit differs by {worst}, {difference} of their size",
            self.name
        );
    }

    /// One pass over the whole gives the reference's logits, and so do chunks and single steps, by our kernels and by
    /// MLX's; a sequence gives the same beside another one.
    pub(crate) fn check(&self) {
        for mode in [Mode::Exact, Mode::Off] {
            // What is packed is held in the form that the kernels want.
            kernels::with(mode, || {
                let model = self.model();
                self.check_chunks(&*model, &format!("{mode:?}"));
                self.check_batch(&*model);
            });
        }
    }

    fn check_chunks(&self, model: &dyn LanguageModel, how: &str) {
        let (tokens, expected) = (self.ids("tokens"), self.logits());
        assert_eq!(tokens.len(), 40);
        for chunks in [
            vec![40],
            vec![1; 40],
            vec![12, 1, 1, 1, 25],
            vec![7, 7, 7, 7, 7, 5],
            vec![8, 9, 23],
            vec![39, 1],
        ] {
            let mut caches = model.make_caches();
            let (mut all, mut from) = (Vec::new(), 0);
            for length in &chunks {
                all.extend(run(model, &tokens[from..from + length], &mut caches));
                from += length;
            }
            self.assert_close(&all, &expected, &format!("{how} in {chunks:?}"));
        }
    }

    fn check_batch(&self, model: &dyn LanguageModel) {
        let tokens = self.ids("tokens");
        let reversed: Vec<i32> = tokens.iter().rev().copied().collect();
        let alone = run(model, &reversed, &mut model.make_caches());
        let both = Array::from_slice(&[tokens.clone(), reversed].concat(), &[2, 40]).unwrap();
        let hidden = model.forward(&both, &mut model.make_caches()).unwrap();
        let both = model.logits(&hidden).unwrap().to_vec::<f32>().unwrap();
        self.assert_close(&both, &[self.logits(), alone].concat(), "in a batch");
    }
}

/// Logits of all tokens, flat. The reference does not round for speed.
pub(crate) fn run(model: &dyn LanguageModel, tokens: &[i32], caches: &mut [KvCache]) -> Vec<f32> {
    kernels::exactly(|| {
        let tokens = Array::from_slice(tokens, &[1, tokens.len() as i32]).unwrap();
        let hidden = model.forward(&tokens, caches).unwrap();
        model.logits(&hidden).unwrap().to_vec::<f32>().unwrap()
    })
}
