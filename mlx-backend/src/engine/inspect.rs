//! A look at the attention of one prompt.

use std::sync::mpsc::SyncSender;

use inference_api::{AttentionSnapshot, AttentionVectors, Error, Result};
use mlx_core::{Array, DType};
use mlx_models::sampling::{Sampler, SamplingConfig};
use mlx_models::{LoadedModel, Recording, Sequence};

use super::Shared;
use super::scheduler::catch;
use crate::error::from_models;

/// A prompt whose attention is to be shown.
pub(crate) struct Inspection {
    pub(crate) prompt: Vec<u32>,
    pub(crate) answer: SyncSender<Result<AttentionSnapshot>>,
}

impl Inspection {
    pub(super) fn answer(self, model: &LoadedModel, shared: &Shared) {
        let snapshot = catch(|| snapshot(model, &self.prompt, shared));
        // Nobody waits any more, at worst.
        let _ = self.answer.send(snapshot);
    }

    pub(super) fn fail(self, error: &Error) {
        let _ = self.answer.send(Err(error.clone()));
    }
}

fn snapshot(model: &LoadedModel, prompt: &[u32], shared: &Shared) -> Result<AttentionSnapshot> {
    let sequence = read(model, prompt, shared).map_err(from_models)?;
    match sequence {
        Some(sequence) => vectors(sequence).map_err(from_models),
        None => Err(shared.closed()),
    }
}

/// Reads the prompt with caches that record; `None` when the model was closed meanwhile.
fn read<'m>(
    model: &'m LoadedModel,
    prompt: &[u32],
    shared: &Shared,
) -> mlx_models::Result<Option<Sequence<'m>>> {
    let caches = model.model.make_caches().into_iter().map(|cache| cache.recording()).collect();
    let sampler = Sampler::new(SamplingConfig::default(), 0)?;
    let mut sequence = Sequence::resume(&*model.model, sampler, Vec::new(), caches)?;
    Ok(sequence.prefill(prompt, || !shared.is_closing())?.then_some(sequence))
}

fn vectors(sequence: Sequence<'_>) -> mlx_models::Result<AttentionSnapshot> {
    let (tokens, caches) = sequence.into_parts()?;
    let mut layers = Vec::with_capacity(caches.len());
    for cache in &caches {
        let Some(Recording { queries, keys }) = cache.recorded()? else { continue };
        let floats = |array: &Array| array.as_type(DType::F32)?.to_vec::<f32>();
        layers.push(AttentionVectors {
            query_heads: queries.shape()[1] as usize,
            key_heads: keys.shape()[1] as usize,
            head_dim: keys.shape()[3] as usize,
            window: cache.window().map(|window| window as usize),
            queries: floats(&queries)?,
            keys: floats(&keys)?,
        });
    }
    Ok(AttentionSnapshot { tokens, layers })
}
