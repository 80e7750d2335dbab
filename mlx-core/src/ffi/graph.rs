//! The graph behind arrays, as a drawing.

use std::ffi::{CString, c_char};

use super::string::CppString;
use super::{ArrayVector, door};
use crate::{Array, Result};

/// The graph in Graphviz's language; `names` belong to `named`.
pub(crate) fn to_dot(outputs: &[&Array], named: &[&Array], names: &[CString]) -> Result<String> {
    let (outputs_vector, named_vector) = (ArrayVector::new(outputs), ArrayVector::new(named));
    let names: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let mut text = CppString::empty();
    // SAFETY: the handles are live, an empty string may be filled, and there is a NUL-terminated name for each of the named
    // arrays (fewer arrays, where there was no memory for the vector).
    let status = unsafe {
        mlx_sys::rust_mlx_graph_to_dot(
            text.as_raw_mut(),
            outputs_vector.as_raw(),
            named_vector.as_raw(),
            names.as_ptr(),
        )
    };
    door::check("to_dot", outputs, status)?;
    Ok(text.to_text())
}

/// Fails unless the arrays that the graph behind `outputs` starts with, other than `inputs`, are computed and row-major.
pub(crate) fn check_constants(op: &'static str, outputs: &[&Array], inputs: &[&Array]) -> Result<()> {
    let (outputs_vector, inputs_vector) = (ArrayVector::new(outputs), ArrayVector::new(inputs));
    // SAFETY: the handles are live.
    let status =
        unsafe { mlx_sys::rust_mlx_check_constants(outputs_vector.as_raw(), inputs_vector.as_raw()) };
    door::check(op, &[], status)
}
