//! Numbers of a configuration by any of the names that they go under.

use mlx_core::DType;
use serde_json::Value;

use crate::Checkpoint;
use crate::gguf::{self, GgufFile};

/// Layers that no real model has. They bound what a hostile configuration can make this code do.
pub(super) const MAX_LAYERS: u64 = 1 << 12;

/// A configuration: that of a folder, or the metadata of a GGUF file.
pub(super) enum Settings<'c> {
    /// `config.json`, and its part about text, which comes first.
    Json { text: &'c Value, whole: &'c Value },
    /// A file and its architecture's name, which its keys begin with.
    Gguf { file: &'c GgufFile, architecture: &'c str },
}

impl<'c> Settings<'c> {
    pub(super) fn of(checkpoint: &'c Checkpoint) -> Self {
        match checkpoint {
            Checkpoint::Folder(folder) => {
                let whole = folder.config();
                let text = ["text_config", "language_config", "llm_config"];
                let text = text.iter().find_map(|key| whole.get(key).filter(|value| value.is_object()));
                Settings::Json { text: text.unwrap_or(whole), whole }
            }
            Checkpoint::Gguf(file) => {
                Settings::Gguf { file, architecture: checkpoint.model_type().unwrap_or("") }
            }
        }
    }

    /// A value of a folder's configuration.
    fn json(&self, names: &[&str]) -> Option<&'c Value> {
        let Settings::Json { text, whole } = self else { return None };
        let places = [text, whole];
        let found = places.iter().flat_map(|place| names.iter().filter_map(|name| place.get(name)));
        found.into_iter().find(|value| !value.is_null())
    }

    /// A number of a GGUF file: one, or the largest of a list with one for each layer.
    fn gguf(&self, name: &str) -> Option<u64> {
        let Settings::Gguf { file, architecture } = self else { return None };
        match file.metadata().get(&format!("{architecture}.{name}"))? {
            gguf::Value::Array(gguf::Array::I32(list)) => u64::try_from(*list.iter().max()?).ok(),
            gguf::Value::Array(gguf::Array::U32(list)) => list.iter().max().map(|n| u64::from(*n)),
            _ => file.metadata().optional_u64(&format!("{architecture}.{name}")).ok()?,
        }
    }

    fn number(&self, json: &[&str], gguf: &str) -> Option<u64> {
        self.json(json).and_then(Value::as_u64).or_else(|| self.gguf(gguf)).filter(|number| *number > 0)
    }

    pub(super) fn layers(&self) -> Option<u64> {
        self.number(&["num_hidden_layers", "n_layer", "n_layers", "num_layers"], "block_count")
    }

    pub(super) fn hidden_size(&self) -> Option<u64> {
        self.number(&["hidden_size", "n_embd", "d_model", "dim"], "embedding_length")
    }

    pub(super) fn attention_heads(&self) -> Option<u64> {
        self.number(&["num_attention_heads", "n_head", "n_heads"], "attention.head_count")
    }

    pub(super) fn key_value_heads(&self) -> Option<u64> {
        let names = ["num_key_value_heads", "num_kv_heads", "n_head_kv", "n_kv_heads"];
        self.number(&names, "attention.head_count_kv")
    }

    pub(super) fn head_dim(&self) -> Option<u64> {
        self.number(&["head_dim"], "attention.key_length")
    }

    pub(super) fn context_len(&self) -> Option<u64> {
        let names = ["max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "seq_length"];
        self.number(&names, "context_length")
    }

    pub(super) fn vocab_size(&self) -> Option<u64> {
        self.number(&["vocab_size"], "vocab_size")
    }

    pub(super) fn dtype(&self) -> Option<DType> {
        match self.json(&["dtype", "torch_dtype"])?.as_str()? {
            "float32" => Some(DType::F32),
            "float16" => Some(DType::F16),
            "bfloat16" => Some(DType::BF16),
            _ => None,
        }
    }

    pub(super) fn has_latent_attention(&self) -> bool {
        self.number(&["kv_lora_rank"], "attention.kv_lora_rank").is_some()
    }

    /// The window of each layer; none for those that see everything.
    ///
    /// Newer configurations say it for each layer, older ones that every so many layers sees everything. Where there
    /// is a window and neither, every layer counts as seeing everything, which no cache is larger than.
    pub(super) fn windows(&self, layers: u64) -> Vec<Option<u64>> {
        let layers = usize::try_from(layers.min(MAX_LAYERS)).unwrap_or_default();
        let Some(window) = self.number(&["sliding_window"], "attention.sliding_window") else {
            return vec![None; layers];
        };
        if self.json(&["use_sliding_window"]).and_then(Value::as_bool) == Some(false) {
            return vec![None; layers];
        }
        if let Some(types) = self.json(&["layer_types"]).and_then(Value::as_array) {
            let windowed = |at: usize| types.get(at).and_then(Value::as_str) == Some("sliding_attention");
            return (0..layers).map(|at| windowed(at).then_some(window)).collect();
        }
        let pattern = self.number(&["sliding_window_pattern", "_sliding_window_pattern"], "");
        match pattern.or_else(|| self.usual_pattern()).and_then(|pattern| usize::try_from(pattern).ok()) {
            Some(pattern) => (1..=layers).map(|n| (n % pattern != 0).then_some(window)).collect(),
            None => vec![None; layers],
        }
    }

    /// Of how many layers one sees everything, in architectures that have it so without saying it.
    fn usual_pattern(&self) -> Option<u64> {
        let name = match self {
            Settings::Json { text, whole } => {
                [text, whole].iter().find_map(|place| place.get("model_type")?.as_str())?
            }
            Settings::Gguf { architecture, .. } => architecture,
        };
        match name {
            "gemma3_text" | "gemma3" => Some(6),
            "gemma2" => Some(2),
            _ => None,
        }
    }
}
