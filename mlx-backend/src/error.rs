//! Errors of the models, as errors of the contract.

use inference_api::{Error, ErrorKind};

/// One line for the reader. Messages of models name their causes already, so none is put behind it.
pub(crate) fn from_models(error: mlx_models::Error) -> Error {
    use mlx_models::Error as E;
    let kind = match &error {
        E::Io { source, .. } | E::Core(mlx_core::Error::Io { source, .. }) => match source.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            _ => ErrorKind::Io,
        },
        E::Checkpoint { path, .. } if !path.exists() => ErrorKind::NotFound,
        E::Unsupported { .. } => ErrorKind::Unsupported,
        E::Adapter { .. }
        | E::Gguf { .. }
        | E::Checkpoint { .. }
        | E::Tokenizer { .. }
        | E::Template { .. } => ErrorKind::InvalidModel,
        E::Core(mlx_core::Error::Safetensors { .. }) => ErrorKind::InvalidModel,
        E::Core(mlx_core::Error::Op { message, .. }) if is_out_of_memory(message) => ErrorKind::OutOfMemory,
        E::Option { .. } => ErrorKind::InvalidOption,
        E::Fetch { .. } => ErrorKind::Io,
        _ => ErrorKind::Backend,
    };
    Error::new(kind, error.to_string())
}

/// MLX says so in words only.
fn is_out_of_memory(message: &str) -> bool {
    ["malloc]", "Unable to allocate", "out of memory", "Insufficient Memory"]
        .iter()
        .any(|mark| message.contains(mark))
}

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the model was closed")
}
