//! Files: safetensors, npy, and what other formats need to be read and written safely.
//!
//! A file's header is hostile until checked. Readers here validate every length and offset against the real
//! size of the file before they allocate or seek, and return errors that name the file and the tensor.

mod arrays;
mod atomic;
mod npy;
mod safetensors;
mod source;

pub use arrays::{load_safetensors, save_safetensors};
pub use atomic::write_atomically;
pub(crate) use atomic::{Temporary, write_by_path};
pub use npy::{load_npy, read_npy, save_npy};
pub use safetensors::{SafetensorsFile, TensorInfo, TensorView, write_safetensors};
pub use source::Source;
