//! Layers: plain structs that hold arrays, each with a `forward`.
//!
//! A struct of layers becomes a [`Module`] by [`module!`]: its arrays have names, can be listed, replaced, saved, and
//! trained. [`value_and_grad`] differentiates with respect to those that a predicate on names accepts; nothing else says
//! what is trained and what is frozen. [`lora`] adds small trainable matrices to linear maps.
//!
//! ```
//! use mlx_core::nn::{self, Linear, silu};
//! use mlx_core::{Array, Result};
//!
//! struct Mlp {
//!     gate_proj: Linear,
//!     up_proj: Linear,
//!     down_proj: Linear,
//! }
//!
//! nn::module! { Mlp { gate_proj, up_proj, down_proj } }
//!
//! impl Mlp {
//!     fn forward(&self, x: &Array) -> Result<Array> {
//!         let gate = silu(&self.gate_proj.forward(x)?)?;
//!         self.down_proj.forward(&gate.multiply(&self.up_proj.forward(x)?)?)
//!     }
//! }
//!
//! # fn main() -> Result<()> {
//! # let key = mlx_core::random::key(7)?;
//! let linear = |inputs, outputs| Linear::init(inputs, outputs, false, &key);
//! let mlp = Mlp { gate_proj: linear(2, 3)?, up_proj: linear(2, 3)?, down_proj: linear(3, 2)? };
//! assert_eq!(mlp.forward(&key.as_type(mlx_core::DType::F32)?)?.shape(), [2]);
//! let names: Vec<String> = nn::parameters(&mlp)?.into_keys().collect();
//! assert_eq!(names, ["down_proj.weight", "gate_proj.weight", "up_proj.weight"]);
//! # Ok(())
//! # }
//! ```

mod activation;
mod dropout;
mod linear;
pub mod lora;
mod module;
mod norm;
mod random;
mod rope;
mod stacked;
mod weight;

#[doc(inline)]
pub use crate::__module as module;
pub use activation::{geglu_tanh, gelu, gelu_quick, gelu_tanh, leaky_relu, relu, silu, softplus, swiglu};
pub use dropout::{Dropout, dropout, train};
pub use linear::{Embedding, Linear};
pub use lora::Lora;
pub(crate) use module::places;
pub use module::{
    Children, ChildrenMut, DynModule, Module, find, find_mut, parameters, trainable_parameters, update,
    value_and_grad,
};
pub use norm::{LayerNorm, RmsNorm};
pub use rope::Rope;
pub use stacked::{Routing, Stacked};
pub use weight::Weight;
