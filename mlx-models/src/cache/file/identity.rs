//! Which model a file belongs to.

use mlx_core::{Array, DType, kernels};
use serde::{Deserialize, Serialize};

use super::shortened;
use crate::{KvCache, LanguageModel, Result};

/// Tokens that a model is shown. Some, so that every matrix matters: with one alone, attention looks at nothing else, and
/// queries and keys would not.
const TOKENS: usize = 4;

/// Numbers of the last hidden state that are kept.
const KEPT: usize = 64;

/// A model, told by its kind, its sizes, and what it makes of a few tokens.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    head_dim: usize,
    parameters: usize,
    dtype: String,
    /// The first numbers of [`Probe::hidden`].
    probe: Vec<f32>,
}

/// What a model makes of a few tokens.
pub(super) struct Probe {
    /// The last of the hidden states, its first numbers.
    hidden: Vec<f32>,
    /// The caches, which tell the shapes of keys and values.
    pub(super) caches: Vec<KvCache>,
}

impl Probe {
    pub(super) fn of(model: &dyn LanguageModel) -> Result<Self> {
        /// Neighbours are far apart in the embeddings.
        const STRIDE: usize = 7919;
        let id = |index: usize| ((index + 1) * STRIDE % model.shape().vocab_size.max(1)) as u32;
        let ids: Vec<u32> = (0..TOKENS).map(id).collect();
        let mut caches = model.make_caches();
        let hidden = kernels::exactly(|| -> Result<Vec<f32>> {
            let hidden = model.forward(&Array::from_slice(&ids, &[1, TOKENS as i32])?, &mut caches)?;
            let last = hidden.slice_axis(1, TOKENS as i32 - 1, TOKENS as i32)?;
            Ok(last.as_type(DType::F32)?.to_vec()?)
        })?;
        Ok(Probe { hidden: hidden.into_iter().take(KEPT).collect(), caches })
    }
}

impl Identity {
    pub(super) fn of(model: &dyn LanguageModel, probe: &Probe) -> Result<Self> {
        let shape = model.shape();
        Ok(Identity {
            model_type: model.model_type().to_owned(),
            vocab_size: shape.vocab_size,
            hidden_size: shape.hidden_size,
            num_hidden_layers: shape.num_hidden_layers,
            head_dim: shape.head_dim,
            parameters: shape.parameters,
            dtype: shape.dtype.name().to_owned(),
            probe: probe.hidden.clone(),
        })
    }

    /// What differs from `model`, as far as can be told without computing.
    pub(super) fn difference(&self, model: &dyn LanguageModel) -> Option<String> {
        let shape = model.shape();
        let names = [
            ("model_type", &*self.model_type, model.model_type()),
            ("dtype", &*self.dtype, shape.dtype.name()),
        ];
        for (field, theirs, ours) in names {
            if theirs != ours {
                return Some(format!("its {field} is {:?}, this model's is {ours:?}", shortened(theirs)));
            }
        }
        let sizes = [
            ("vocab_size", self.vocab_size, shape.vocab_size),
            ("hidden_size", self.hidden_size, shape.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers, shape.num_hidden_layers),
            ("head_dim", self.head_dim, shape.head_dim),
            ("number of parameters", self.parameters, shape.parameters),
        ];
        let (field, theirs, ours) = sizes.into_iter().find(|(_, theirs, ours)| theirs != ours)?;
        Some(format!("its {field} is {theirs}, this model's is {ours}"))
    }

    /// Whether the weights differ: whether the hidden states do, by more than rounding on another machine.
    pub(super) fn difference_of_weights(&self, model: &dyn LanguageModel, probe: &Probe) -> Option<String> {
        let allowed = if model.shape().dtype == DType::F32 { 0.01 } else { 0.05 };
        let norm = |numbers: &mut dyn Iterator<Item = f32>| {
            numbers.map(|x| f64::from(x).powi(2)).sum::<f64>().sqrt()
        };
        let (theirs, ours) = (&self.probe, &probe.hidden);
        let apart = norm(&mut theirs.iter().zip(ours).map(|(a, b)| a - b));
        // Written so that NaN is a difference.
        let alike = theirs.len() == ours.len() && apart <= allowed * norm(&mut ours.iter().copied());
        (!alike)
            .then(|| "its weights are others; they give other hidden states for the same tokens".to_owned())
    }
}
