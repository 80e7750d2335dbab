//! Layers: plain structs that hold arrays, each with a `forward`.

mod activation;
mod linear;
mod norm;
mod rope;
mod weight;

pub use activation::gelu_tanh;
pub use linear::{Embedding, Linear};
pub use norm::RmsNorm;
pub use rope::Rope;
pub use weight::Weight;
