//! Steps of training.

use std::collections::BTreeMap;
use std::time::Instant;

use mlx_core::nn::{self, lora};
use mlx_core::optim::{AdamW, AdamWConfig, Optimizer, Schedule, clip_grad_norm};
use mlx_core::{Array, DType, eval, kernels, memory, random};

use super::curve::Curve;
use super::data::{DataSet, Row};
use super::loss::{Batch, to_core};
use super::order::Order;
use crate::adapter::{Adapter, AdapterKind};
use crate::models::with_checkpoints;
use crate::{Error, LanguageModel, Result};

/// Steps without a finite loss and gradient, one after the other, that end a run.
const MOST_SKIPPED: u32 = 3;

/// Bytes that MLX may keep for reuse between steps.
const MAX_CACHE: usize = 1 << 30;

/// How to train.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainingOptions {
    /// Rows that go through the model at once.
    pub batch_size: usize,
    /// Batches of a step. A step of 4 batches of 2 rows is one of 8 rows, in the memory of 2.
    pub accumulation: usize,
    /// The learning rate of each step; the first is 0.
    pub schedule: Schedule,
    /// Options of the optimizer.
    pub adamw: AdamWConfig,
    /// What the norm of a step's gradient is cut down to, if it is larger.
    pub max_norm: Option<f32>,
    /// What the order of the rows and dropout follow from.
    pub seed: u64,
    /// The backward pass computes each layer again, in place of keeping what it needs of it.
    pub checkpoint: bool,
}

/// One batch of 4 rows a step, at a constant rate of 1e-4, by AdamW with PyTorch's numbers.
impl Default for TrainingOptions {
    fn default() -> Self {
        TrainingOptions {
            batch_size: 4,
            accumulation: 1,
            schedule: Schedule::constant(1e-4),
            adamw: AdamWConfig::default(),
            max_norm: None,
            seed: 0,
            checkpoint: false,
        }
    }
}

/// What a step has done.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// The step's number; the first is 1.
    pub step: u64,
    /// The mean loss of the tokens that count, before the step changed anything.
    pub loss: f32,
    /// The norm of the gradient, before it was cut.
    pub gradient_norm: f32,
    /// The learning rate.
    pub learning_rate: f64,
    /// Tokens that went through the model, without padding.
    pub tokens: usize,
    /// Seconds that the step took.
    pub seconds: f64,
    /// Whether loss or gradient were not finite, so that nothing was changed.
    pub skipped: bool,
}

/// A model in training.
pub struct Trainer {
    pub(super) model: Box<dyn LanguageModel>,
    pub(super) adapter: Adapter,
    pub(super) optimizer: AdamW,
    pub(super) options: TrainingOptions,
    pub(super) data: DataSet,
    order: Order,
    /// Steps taken.
    pub(super) step: u64,
    /// Steps skipped in a row, until now.
    pub(super) skipped: u32,
    pub(super) curve: Curve,
    /// What the last finite loss was computed with.
    good: Option<Good>,
}

/// A state of which the loss is known to be finite.
struct Good {
    parameters: BTreeMap<String, Array>,
    optimizer: AdamW,
    step: u64,
}

impl Trainer {
    /// A run that has taken no step.
    ///
    /// # Errors
    /// When an option is out of its range, or there is no row to train on.
    pub fn new(
        model: Box<dyn LanguageModel>,
        adapter: Adapter,
        data: DataSet,
        options: TrainingOptions,
    ) -> Result<Self> {
        let refuse = |option, message: &str| Err(Error::Option { option, message: message.to_owned() });
        if options.batch_size == 0 || options.accumulation == 0 {
            return refuse("batch size", "a step has at least one batch of one row");
        }
        let size = options.batch_size.saturating_mul(options.accumulation);
        if data.rows.is_empty() {
            return Err(Error::Training { message: "there is no row to train on".to_owned() });
        }
        if options.max_norm.is_some_and(|norm| !norm.is_finite() || norm <= 0.0) {
            return refuse("max norm", "must be a positive number");
        }
        let order = Order::new(&data.rows, size, options.seed);
        Ok(Trainer {
            optimizer: AdamW::new(options.adamw)?,
            order,
            step: 0,
            skipped: 0,
            curve: Curve::default(),
            good: None,
            model,
            adapter,
            options,
            data,
        })
    }

    /// The model, as trained so far.
    pub fn model(&self) -> &dyn LanguageModel {
        &*self.model
    }

    /// The model back, trained.
    pub fn into_model(self) -> Box<dyn LanguageModel> {
        self.model
    }

    /// What is trained.
    pub fn adapter(&self) -> &Adapter {
        &self.adapter
    }

    /// Steps taken so far, those included that were skipped.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Steps in which each row comes once.
    pub fn steps_per_epoch(&self) -> u64 {
        self.order.steps_per_epoch()
    }

    /// Losses so far.
    pub fn curve(&self) -> &Curve {
        &self.curve
    }

    /// Takes the next step: the rows that the seed and its number choose.
    ///
    /// A loss or gradient that is not finite changes nothing, and the report says so. At the third in a row the model goes
    /// back to the last state of which the loss was finite, and the step is an error.
    ///
    /// # Errors
    /// As said, and when computing fails; the model is then as it was.
    pub fn step(&mut self) -> Result<StepReport> {
        let rows = self.order.step(self.step);
        let report = self.step_with(&rows)?;
        Ok(report)
    }

    /// [`step`](Self::step), with rows of the data set by their numbers, for those who choose the order themselves.
    ///
    /// # Errors
    /// As there, and when there is no row of a number.
    pub fn step_with(&mut self, rows: &[usize]) -> Result<StepReport> {
        let start = Instant::now();
        let row = |row: &usize| {
            let missing = || format!("row {row} of {}", self.data.rows.len());
            self.data.rows.get(*row).ok_or_else(|| Error::Training { message: missing() })
        };
        let rows: Vec<&Row> = rows.iter().map(row).collect::<Result<_>>()?;
        if rows.is_empty() {
            return Err(Error::Training { message: "a step without rows".to_owned() });
        }
        let batches = rows.chunks(self.options.batch_size).map(Batch::new).collect::<Result<Vec<_>>>()?;
        // Numbers belong to what was computed, not to something rounded for speed.
        let (loss, gradients) = kernels::exactly(|| self.gradients(&batches))?;
        let (gradients, norm) = clip_grad_norm(&gradients, self.options.max_norm.unwrap_or(f32::INFINITY))?;
        let (norm, learning_rate) = (norm.item::<f32>()?, self.options.schedule.at(self.step));
        let skipped = !loss.is_finite() || !norm.is_finite();
        if loss.is_finite() {
            self.good = Some(Good {
                parameters: self.adapter.parameters(&*self.model)?,
                optimizer: self.optimizer.clone(),
                step: self.step,
            });
        }
        if skipped {
            self.skipped += 1;
        } else {
            self.skipped = 0;
            let moved = self
                .optimizer
                .step(&mut *self.model, &gradients, learning_rate)
                .and_then(|()| self.optimizer.eval(&*self.model));
            if let Err(error) = moved {
                if let Some(good) = &self.good {
                    nn::update(&mut *self.model, good.parameters.clone())?;
                    self.optimizer = good.optimizer.clone();
                }
                return Err(error.into());
            }
        }
        drop(gradients);
        if memory::cache_memory()? > MAX_CACHE {
            memory::clear_cache()?;
        }
        self.step += 1;
        self.curve.training.push((self.step, loss));
        if self.skipped >= MOST_SKIPPED {
            return Err(self.give_up(loss, norm)?);
        }
        Ok(StepReport {
            step: self.step,
            loss,
            gradient_norm: norm,
            learning_rate,
            tokens: batches.iter().map(|batch| batch.tokens).sum(),
            seconds: start.elapsed().as_secs_f64(),
            skipped,
        })
    }

    /// The loss of all batches together, and its gradients: each token weighs the same, whichever batch it is in.
    fn gradients(&mut self, batches: &[Batch]) -> Result<(f32, BTreeMap<String, Array>)> {
        let total = batches.iter().map(|batch| batch.counted).sum();
        let key = if self.adapter.dropout > 0.0 { Some(random::key(self.options.seed)?) } else { None };
        let adapter = self.adapter.clone();
        let trained = |name: &str| adapter.holds(name);
        let frozen = !adapter.names.iter().any(|name| {
            name.starts_with("lm_head")
                || name.starts_with("model.embed_tokens") && adapter.kind == AdapterKind::Full
        });
        let checkpoints: Option<fn(&str) -> bool> = match (self.options.checkpoint, adapter.kind) {
            (false, _) => None,
            (true, AdapterKind::Full) => Some(|_| true),
            (true, _) => Some(lora::is_adapter),
        };
        let (mut loss, mut sums) = (0.0, BTreeMap::<String, Array>::new());
        for (index, batch) in batches.iter().enumerate() {
            if let Some(key) = &key {
                let key = folded(&folded(key, self.step)?, index as u64)?;
                nn::train(&mut *self.model, Some(&key))?;
            }
            let result = with_checkpoints(checkpoints, || {
                nn::value_and_grad(&mut self.model, trained, |model| {
                    to_core(batch.training_loss(&**model, total, frozen))
                })
            });
            if key.is_some() {
                nn::train(&mut *self.model, None)?;
            }
            let ([_, part], gradients) = result?;
            for (name, gradient) in gradients {
                // Sums of 16 bits would lose what the later batches add.
                let gradient = if batches.len() > 1 { gradient.as_type(DType::F32)? } else { gradient };
                let sum = match sums.remove(&name) {
                    Some(sum) => sum.add(&gradient)?,
                    None => gradient,
                };
                sums.insert(name, sum);
            }
            // Computed now, so that the memory of a batch goes before the next one.
            eval(&sums.values().chain([&part]).collect::<Vec<_>>())?;
            loss += part.item::<f32>()?;
        }
        Ok((loss, sums))
    }

    /// Goes back to the last state that is known to be good.
    fn give_up(&mut self, loss: f32, norm: f32) -> Result<Error> {
        let at = self.step;
        let back = match self.good.take() {
            Some(good) => {
                nn::update(&mut *self.model, good.parameters)?;
                self.optimizer = good.optimizer;
                self.step = good.step;
                format!("the state before step {} is the last good one", good.step + 1)
            }
            None => "no step had a finite one".to_owned(),
        };
        self.skipped = 0;
        self.curve.truncate(self.step);
        Ok(Error::Training {
            message: format!(
                "loss {loss} and gradient norm {norm} at step {at}, the third in a row without finite ones; {back}; try a \
                 lower learning rate"
            ),
        })
    }

    /// The mean loss over the tokens of a data set that count, in batches of the same size, over at most `most` of these,
    /// which are spread evenly over the set.
    ///
    /// # Errors
    /// When computing fails, or the set is empty.
    pub fn evaluate(&self, data: &DataSet, most: Option<usize>) -> Result<f64> {
        let mut rows: Vec<&Row> = data.rows.iter().collect();
        if rows.is_empty() {
            return Err(Error::Training { message: "there is no row to evaluate".to_owned() });
        }
        rows.sort_by_key(|row| row.tokens.len());
        let batches: Vec<&[&Row]> = rows.chunks(self.options.batch_size).collect();
        let count = most.unwrap_or(batches.len()).clamp(1, batches.len());
        let (mut sum, mut counted) = (0.0, 0);
        kernels::exactly(|| {
            for index in 0..count {
                let batch = Batch::new(batches[index * batches.len() / count])?;
                sum += f64::from(batch.loss(&*self.model)?.item::<f32>()?);
                counted += batch.counted;
            }
            Ok::<_, Error>(())
        })?;
        memory::clear_cache()?;
        Ok(sum / counted.max(1) as f64)
    }
}

/// A key that follows from another and a number.
fn folded(key: &Array, number: u64) -> Result<Array> {
    let words = key.to_vec::<u32>()?;
    let word = |index: usize| u64::from(words.get(index).copied().unwrap_or(0));
    // The steps of SplitMix64, which spreads close numbers.
    let mut z = (word(0) << 32 | word(1)).wrapping_add((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Ok(random::key(z ^ (z >> 31))?)
}
