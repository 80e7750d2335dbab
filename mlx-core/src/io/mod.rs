//! Files: safetensors, and what other formats need to be read and written safely.
//!
//! A file's header is hostile until checked. Readers here validate every length and offset against the real
//! size of the file before they allocate or seek, and return errors that name the file and the tensor.

mod atomic;
mod safetensors;
mod source;

pub use atomic::write_atomically;
pub use safetensors::{SafetensorsFile, TensorInfo, TensorView, write_safetensors};
pub use source::Source;
