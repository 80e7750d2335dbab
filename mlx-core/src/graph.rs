//! The graph behind arrays, to look at.

use crate::ffi::{self, string};
use crate::{Array, Result};

/// Draws what `outputs` are computed from, in the language of [Graphviz](https://graphviz.org).
///
/// Boxes are operations, ellipses are arrays with their dtypes and shapes; those in `names` carry their name. Arrays that
/// are computed have no history: they are drawn filled.
///
/// ```
/// use mlx_core::{Array, graph};
///
/// let x = Array::from_slice(&[1.0f32, 2.0], &[2])?;
/// let y = x.square()?.exp()?;
/// let dot = graph::to_dot(&[&y], &[("x", &x), ("y", &y)])?;
/// assert!(dot.starts_with("digraph {") && dot.contains("\"x float32[2]\"") && dot.contains("\"Square\""));
/// # Ok::<(), mlx_core::Error>(())
/// ```
///
/// # Errors
/// When a name holds a NUL, or no memory is left.
#[doc(alias = "mlx_export_to_dot", alias = "mlx_print_graph", alias = "mlx_node_namer_set_name")]
pub fn to_dot(outputs: &[&Array], names: &[(&str, &Array)]) -> Result<String> {
    let texts = names.iter().map(|(name, _)| string::c_text("to_dot", name)).collect::<Result<Vec<_>>>()?;
    let named: Vec<&Array> = names.iter().map(|(_, array)| *array).collect();
    ffi::graph::to_dot(outputs, &named, &texts)
}
