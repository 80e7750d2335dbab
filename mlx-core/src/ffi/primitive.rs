//! The table of functions behind a primitive written in Rust, and its way into the graph.

use std::any::Any;
use std::ffi::{c_char, c_int, c_void};

use mlx_sys::{mlx_array, mlx_stream, mlx_vector_array, rust_mlx_operand, rust_mlx_primitive_table};
use smallvec::SmallVec;

use super::array::to_c;
use super::callback::{contain, guard};
use super::closure::{borrowed, fill, numbers};
use super::door;
use super::view::{View, ViewMut};
use crate::primitive::{Shape, Spec};
use crate::{Array, Error, Result};

/// A primitive, whatever its type: what MLX asks of it. Everything it gives has been checked.
pub(crate) trait Behaviour: Send + Sync + Any {
    fn name(&self) -> &str;
    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()>;
    /// One gradient for each of `wanted`, which are positions among the primals.
    fn vjp(
        &self,
        primals: &[Array],
        cotangents: &[Array],
        wanted: &[i32],
        outputs: &[Array],
    ) -> Result<Vec<Array>>;
    /// One derivative for each output; the tangents belong to the primals at `given`.
    fn jvp(&self, primals: &[Array], tangents: &[Array], given: &[i32]) -> Result<Vec<Array>>;
    /// Outputs and their axes; -1 marks an input that is not mapped.
    fn vmap(&self, inputs: &[Array], axes: &[i32]) -> Result<(Vec<Array>, Vec<i32>)>;
    fn output_shapes(&self, inputs: &[Array]) -> Result<Vec<Shape>>;
    fn is_equivalent(&self, other: &dyn Behaviour) -> bool;
}

/// What C++ holds: a thin pointer to this.
type Payload = Box<dyn Behaviour>;

static TABLE: rust_mlx_primitive_table = rust_mlx_primitive_table {
    eval: Some(eval),
    vjp: Some(vjp),
    jvp: Some(jvp),
    vmap: Some(vmap),
    output_shapes: Some(output_shapes),
    is_equivalent: Some(is_equivalent),
    drop: Some(drop_payload),
};

/// Puts a primitive into the graph; its outputs are what `specs` says.
pub(crate) fn primitive<const N: usize>(
    behaviour: Box<dyn Behaviour>,
    inputs: &[&Array],
    specs: &[Spec; N],
) -> Result<[Array; N]> {
    const OP: &str = "primitive";
    let operands = specs.each_ref().map(|Spec { shape, dtype }| rust_mlx_operand {
        data: std::ptr::null_mut(),
        shape: shape.as_ptr(),
        strides: std::ptr::null(),
        ndim: shape.len(),
        dtype: to_c(*dtype),
    });
    let handles: SmallVec<[mlx_array; 8]> = inputs.iter().map(|input| input.raw()).collect();
    let payload = Box::new(behaviour);
    door::call_each(OP, inputs, |out: *mut mlx_array, stream: mlx_stream| {
        let name = payload.name();
        let (name, length) = (name.as_ptr().cast(), name.len());
        // SAFETY: `out` leads to `N` empty handles, as many as there are operands; the other handles are live; C++ copies the
        // name (before the payload can end) and the shapes; the payload is what the table's functions take it for, and
        // passes to C++, which ends it by `drop_payload` whatever happens.
        unsafe {
            mlx_sys::rust_mlx_primitive(
                out,
                name,
                length,
                Box::<Payload>::into_raw(payload).cast(),
                &TABLE,
                handles.as_ptr(),
                handles.len(),
                operands.as_ptr(),
                N,
                stream,
            )
        }
    })
}

/// # Safety
/// `payload` is what [`primitive`] gave to C++, and is not dropped while the result is used.
unsafe fn behaviour<'a>(payload: *const c_void) -> &'a dyn Behaviour {
    // SAFETY: the caller says so.
    unsafe { &**payload.cast::<Payload>() }
}

/// # Safety
/// `data` leads to `len` operands that live as long as the result is used.
unsafe fn operands<'a>(data: *const rust_mlx_operand, len: usize) -> &'a [rust_mlx_operand] {
    // SAFETY: the caller says so; without operands the pointer may be anything and is not read.
    if len == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data, len) } }
}

unsafe extern "C" fn eval(
    payload: *const c_void,
    inputs: *const rust_mlx_operand,
    inputs_num: usize,
    outputs: *const rust_mlx_operand,
    outputs_num: usize,
    message: *mut c_char,
    capacity: usize,
) -> c_int {
    // SAFETY: C++ keeps the payload and the memory of the operands until this returns; the inputs are computed and are
    // written by nobody, and each output is new memory of its own.
    let (behaviour, inputs, mut outputs) = unsafe {
        let inputs: Vec<View<'_>> = operands(inputs, inputs_num).iter().map(|raw| View::new(raw)).collect();
        let outputs: Vec<ViewMut<'_>> =
            operands(outputs, outputs_num).iter().map(|raw| ViewMut::new(raw)).collect();
        (behaviour(payload), inputs, outputs)
    };
    let outcome = contain("eval", || behaviour.eval(&inputs, &mut outputs));
    let Err(error) = outcome else { return 0 };
    outputs.iter_mut().for_each(ViewMut::poison);
    let named = || {
        let (name, text) = (behaviour.name(), error.to_string());
        // Many errors begin with the name already.
        Ok(if text.starts_with(&format!("{name}: ")) { text } else { format!("{name}: {text}") })
    };
    let text =
        contain("eval", named).unwrap_or_else(|_| "a primitive failed, and so did its error".to_owned());
    let mut len = text.len().min(capacity.saturating_sub(1));
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    // SAFETY: C++ lends `capacity` bytes, of which `len` and one more are written.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), message.cast::<u8>(), len);
        message.add(len).write(0);
    }
    1
}

unsafe extern "C" fn vjp(
    res: *mut mlx_vector_array,
    payload: *const c_void,
    primals: mlx_vector_array,
    cotangents: mlx_vector_array,
    wanted: *const c_int,
    wanted_num: usize,
    outputs: mlx_vector_array,
) -> c_int {
    guard("vjp", || {
        // SAFETY: C++ keeps the payload, the vectors and the numbers for the call; the result may be filled.
        unsafe {
            let wanted = numbers(wanted, wanted_num);
            let (primals, cotangents) = (borrowed(primals)?, borrowed(cotangents)?);
            fill(res, &behaviour(payload).vjp(&primals, &cotangents, wanted, &borrowed(outputs)?)?);
        }
        Ok(())
    })
}

unsafe extern "C" fn jvp(
    res: *mut mlx_vector_array,
    payload: *const c_void,
    primals: mlx_vector_array,
    tangents: mlx_vector_array,
    given: *const c_int,
    given_num: usize,
) -> c_int {
    guard("jvp", || {
        // SAFETY: as in `vjp`.
        unsafe {
            let given = numbers(given, given_num);
            fill(res, &behaviour(payload).jvp(&borrowed(primals)?, &borrowed(tangents)?, given)?);
        }
        Ok(())
    })
}

unsafe extern "C" fn vmap(
    res: *mut mlx_vector_array,
    output_axes: *mut c_int,
    payload: *const c_void,
    inputs: mlx_vector_array,
    axes: *const c_int,
    outputs_num: usize,
) -> c_int {
    guard("vmap", || {
        // SAFETY: as in `vjp`; there is one axis for each input, and room for one number for each output.
        unsafe {
            let inputs = borrowed(inputs)?;
            let axes = numbers(axes, inputs.len());
            let (outputs, positions) = behaviour(payload).vmap(&inputs, axes)?;
            if positions.len() != outputs_num {
                let message = format!("{} axes for {outputs_num} outputs", positions.len());
                return Err(Error::Shape { op: "vmap", message });
            }
            fill(res, &outputs);
            std::ptr::copy_nonoverlapping(positions.as_ptr(), output_axes, outputs_num);
        }
        Ok(())
    })
}

unsafe extern "C" fn output_shapes(
    payload: *const c_void,
    inputs: mlx_vector_array,
    shapes: *mut c_void,
    add: Option<unsafe extern "C" fn(*mut c_void, *const c_int, usize)>,
) -> c_int {
    guard("output_shapes", || {
        let Some(add) = add else { return Ok(()) };
        // SAFETY: C++ keeps the payload and the vector for the call; `add` copies each shape into `shapes`.
        unsafe {
            for shape in behaviour(payload).output_shapes(&borrowed(inputs)?)? {
                add(shapes, shape.as_ptr(), shape.len());
            }
        }
        Ok(())
    })
}

unsafe extern "C" fn is_equivalent(payload: *const c_void, other: *const c_void) -> bool {
    let mut equivalent = false;
    let _ = contain("is_equivalent", || {
        // SAFETY: C++ keeps both payloads for the call, and both came from `primitive`.
        equivalent = unsafe { behaviour(payload).is_equivalent(behaviour(other)) };
        Ok(())
    });
    equivalent
}

unsafe extern "C" fn drop_payload(payload: *mut c_void) {
    // What the primitive holds may panic when it is dropped; there is nobody to tell.
    let _ = contain("drop", || {
        // SAFETY: C++ calls this once, with the pointer that `primitive` made.
        drop(unsafe { Box::from_raw(payload.cast::<Payload>()) });
        Ok(())
    });
}
