//! A look at the attention of one prompt.

use std::sync::mpsc::SyncSender;

use inference_api::{AttentionSnapshot, AttentionVectors, Error, Result};
use mlx_core::{Array, DType};
use mlx_models::sampling::{Sampler, SamplingConfig};
use mlx_models::{LoadedModel, Recording, Sequence};

use super::scheduler::catch;
use crate::error::from_models;

/// A prompt whose attention is to be shown.
pub(crate) struct Inspection {
    pub(crate) prompt: Vec<u32>,
    pub(crate) answer: SyncSender<Result<AttentionSnapshot>>,
}

impl Inspection {
    pub(super) fn answer(self, model: &LoadedModel) {
        let snapshot = catch(|| snapshot(model, &self.prompt).map_err(from_models));
        // Nobody waits any more, at worst.
        let _ = self.answer.send(snapshot);
    }

    pub(super) fn fail(self, error: &Error) {
        let _ = self.answer.send(Err(error.clone()));
    }
}

fn snapshot(model: &LoadedModel, prompt: &[u32]) -> mlx_models::Result<AttentionSnapshot> {
    let caches = model.model.make_caches().into_iter().map(|cache| cache.recording()).collect();
    let sampler = Sampler::new(SamplingConfig::default(), 0)?;
    let mut sequence = Sequence::resume(&*model.model, sampler, Vec::new(), caches)?;
    sequence.prefill(prompt, || true)?;
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
