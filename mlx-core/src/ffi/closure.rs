//! The owners of `mlx_closure` and its relatives: Rust functions that MLX calls.
//!
//! A closure that C++ keeps is boxed, and the box is freed with the last copy that C++ holds. One that is needed for a
//! single call is lent from the stack.

use std::cell::RefCell;
use std::ffi::{c_int, c_void};

use mlx_sys::{mlx_closure, mlx_closure_custom, mlx_closure_custom_jvp, mlx_closure_custom_vmap};
use mlx_sys::{mlx_vector_array, mlx_vector_int};

use super::callback::{contain, guard};
use super::{ArrayVector, door};
use crate::{Array, Error, Result};

/// A function of arrays, as every transform takes it.
pub(crate) type Function = dyn Fn(&[Array]) -> Result<Vec<Array>>;
/// Gradients of the primals, given `(primals, cotangents, outputs)`.
pub(crate) type VjpFunction = dyn Fn(&[Array], &[Array], &[Array]) -> Result<Vec<Array>>;
/// Derivatives of the outputs, given `(primals, tangents, positions of the tangents' primals)`.
pub(crate) type JvpFunction = dyn Fn(&[Array], &[Array], &[i32]) -> Result<Vec<Array>>;
/// Outputs and their mapped axes, given `(inputs, axes)`; -1 means not mapped.
pub(crate) type VmapFunction = dyn Fn(&[Array], &[i32]) -> Result<(Vec<Array>, Vec<i32>)>;

macro_rules! owner {
    ($(#[$doc:meta])* $name:ident, $raw:ident, $free:ident) => {
        $(#[$doc])*
        pub(crate) struct $name {
            raw: $raw,
        }

        impl $name {
            pub(super) fn as_raw(&self) -> $raw {
                self.raw
            }
        }

        impl Drop for $name {
            fn drop(&mut self) {
                // SAFETY: this owner's reference is not used again; freeing an empty one does nothing.
                unsafe { mlx_sys::$free(self.raw) };
            }
        }
    };
}

owner! {
    /// Owns one reference to a function that MLX calls.
    Closure, mlx_closure, mlx_closure_free
}
owner! {
    /// Owns one reference to the gradient of a custom function.
    VjpClosure, mlx_closure_custom, mlx_closure_custom_free
}
owner! {
    /// Owns one reference to the derivative of a custom function.
    JvpClosure, mlx_closure_custom_jvp, mlx_closure_custom_jvp_free
}
owner! {
    /// Owns one reference to the vectorized form of a custom function.
    VmapClosure, mlx_closure_custom_vmap, mlx_closure_custom_vmap_free
}

impl Closure {
    pub(super) fn empty() -> Self {
        Closure { raw: mlx_closure { ctx: std::ptr::null_mut() } }
    }

    /// A closure that C++ may keep for as long as it likes.
    pub(crate) fn new(f: Box<Function>) -> Result<Self> {
        let payload = into_payload(f);
        // SAFETY: `call_boxed` takes the payload for what it is, a box of this type, which C++ frees by `free_boxed`
        // once the last copy is gone.
        let raw = unsafe {
            mlx_sys::mlx_closure_new_func_payload(
                Some(call_boxed),
                payload,
                Some(free_boxed::<Box<Function>>),
            )
        };
        if raw.ctx.is_null() { Err(door::failure("closure", &[])) } else { Ok(Closure { raw }) }
    }

    /// Calls `run` with a closure around `f`, which C++ must not keep after `run` is done.
    pub(super) fn lend<R>(
        f: &mut dyn FnMut(&[Array]) -> Result<Vec<Array>>,
        run: impl FnOnce(&Closure) -> Result<R>,
    ) -> Result<R> {
        let lent: Lent<'_> = RefCell::new(f);
        let payload = (&raw const lent).cast_mut().cast::<c_void>();
        // SAFETY: the payload lives until this function returns, and the only owner of the closure is dropped before
        // that; there is nothing to free.
        let raw = unsafe { mlx_sys::mlx_closure_new_func_payload(Some(call_lent), payload, None) };
        if raw.ctx.is_null() {
            return Err(door::failure("closure", &[]));
        }
        run(&Closure { raw })
    }

    pub(super) fn as_raw_mut(&mut self) -> *mut mlx_closure {
        &mut self.raw
    }

    /// Calls the function.
    pub(crate) fn apply(&self, op: &'static str, inputs: &[&Array]) -> Result<Vec<Array>> {
        let vector = ArrayVector::new(inputs);
        let mut out = ArrayVector::empty();
        // SAFETY: the handles are live for the call, and an empty vector may be filled.
        let status = unsafe { mlx_sys::mlx_closure_apply(out.as_raw_mut(), self.raw, vector.as_raw()) };
        door::check(op, inputs, status)?;
        out.arrays(op)
    }
}

impl VjpClosure {
    pub(crate) fn new(f: Box<VjpFunction>) -> Result<Self> {
        let payload = into_payload(f);
        // SAFETY: `call_vjp` takes the payload for what it is, a box of this type, which C++ frees by `free_boxed`.
        let raw = unsafe {
            mlx_sys::mlx_closure_custom_new_func_payload(
                Some(call_vjp),
                payload,
                Some(free_boxed::<Box<VjpFunction>>),
            )
        };
        if raw.ctx.is_null() { Err(door::failure("closure", &[])) } else { Ok(VjpClosure { raw }) }
    }
}

impl JvpClosure {
    pub(crate) fn new(f: Box<JvpFunction>) -> Result<Self> {
        let payload = into_payload(f);
        // SAFETY: `call_jvp` takes the payload for what it is, a box of this type, which C++ frees by `free_boxed`.
        let raw = unsafe {
            mlx_sys::mlx_closure_custom_jvp_new_func_payload(
                Some(call_jvp),
                payload,
                Some(free_boxed::<Box<JvpFunction>>),
            )
        };
        if raw.ctx.is_null() { Err(door::failure("closure", &[])) } else { Ok(JvpClosure { raw }) }
    }
}

impl VmapClosure {
    pub(crate) fn new(f: Box<VmapFunction>) -> Result<Self> {
        let payload = into_payload(f);
        // SAFETY: `call_vmap` takes the payload for what it is, a box of this type, which C++ frees by `free_boxed`.
        let raw = unsafe {
            mlx_sys::mlx_closure_custom_vmap_new_func_payload(
                Some(call_vmap),
                payload,
                Some(free_boxed::<Box<VmapFunction>>),
            )
        };
        if raw.ctx.is_null() { Err(door::failure("closure", &[])) } else { Ok(VmapClosure { raw }) }
    }
}

/// A closure on the stack of whoever lends it. MLX calls it once, or a second call is refused.
type Lent<'a> = RefCell<&'a mut dyn FnMut(&[Array]) -> Result<Vec<Array>>>;

/// A thin pointer to a box that may hold a wide one.
fn into_payload<T>(f: T) -> *mut c_void {
    Box::into_raw(Box::new(f)).cast()
}

unsafe extern "C" fn free_boxed<T>(payload: *mut c_void) {
    // What the closure has captured may panic when it is dropped; there is nobody to tell.
    let _ = contain("closure", || {
        // SAFETY: C++ calls this once, with the pointer that `into_payload` made for this type.
        drop(unsafe { Box::from_raw(payload.cast::<T>()) });
        Ok(())
    });
}

unsafe extern "C" fn call_lent(
    out: *mut mlx_vector_array,
    inputs: mlx_vector_array,
    payload: *mut c_void,
) -> c_int {
    guard("closure", || {
        // SAFETY: `Closure::lend` keeps the payload alive for as long as the closure exists. The lifetime inside is
        // not used beyond this call.
        let lent = unsafe { &*payload.cast::<Lent<'_>>() };
        let mut f = lent.try_borrow_mut().map_err(|_| Error::Op {
            op: "closure",
            operands: String::new(),
            message: "a function was called while it was running".to_owned(),
        })?;
        // SAFETY: mlx-c passes a vector that lives for the call, and an output that may be filled.
        unsafe { fill(out, &(*f)(&borrowed(inputs)?)?) };
        Ok(())
    })
}

unsafe extern "C" fn call_boxed(
    out: *mut mlx_vector_array,
    inputs: mlx_vector_array,
    payload: *mut c_void,
) -> c_int {
    guard("closure", || {
        // SAFETY: the payload is the box that `Closure::new` made, alive while a closure refers to it; mlx-c passes a
        // vector that lives for the call, and an output that may be filled.
        unsafe {
            let f = &*payload.cast::<Box<Function>>();
            fill(out, &f(&borrowed(inputs)?)?);
        }
        Ok(())
    })
}

unsafe extern "C" fn call_vjp(
    out: *mut mlx_vector_array,
    primals: mlx_vector_array,
    cotangents: mlx_vector_array,
    outputs: mlx_vector_array,
    payload: *mut c_void,
) -> c_int {
    guard("vjp", || {
        // SAFETY: the payload is the box that `VjpClosure::new` made, alive while a closure refers to it; mlx-c passes
        // vectors that live for the call, and an output that may be filled.
        unsafe {
            let f = &*payload.cast::<Box<VjpFunction>>();
            fill(out, &f(&borrowed(primals)?, &borrowed(cotangents)?, &borrowed(outputs)?)?);
        }
        Ok(())
    })
}

unsafe extern "C" fn call_jvp(
    out: *mut mlx_vector_array,
    primals: mlx_vector_array,
    tangents: mlx_vector_array,
    positions: *const c_int,
    positions_len: usize,
    payload: *mut c_void,
) -> c_int {
    guard("jvp", || {
        // SAFETY: the payload is the box that `JvpClosure::new` made, alive while a closure refers to it; mlx-c passes
        // vectors that live for the call, as many numbers as it says, and an output that may be filled.
        unsafe {
            let f = &*payload.cast::<Box<JvpFunction>>();
            fill(out, &f(&borrowed(primals)?, &borrowed(tangents)?, numbers(positions, positions_len))?);
        }
        Ok(())
    })
}

unsafe extern "C" fn call_vmap(
    out: *mut mlx_vector_array,
    out_axes: *mut mlx_vector_int,
    inputs: mlx_vector_array,
    axes: *const c_int,
    axes_len: usize,
    payload: *mut c_void,
) -> c_int {
    guard("vmap", || {
        // SAFETY: the payload is the box that `VmapClosure::new` made, alive while a closure refers to it; mlx-c passes
        // vectors that live for the call, as many numbers as it says, and outputs that may be filled.
        unsafe {
            let f = &*payload.cast::<Box<VmapFunction>>();
            let (outputs, output_axes) = f(&borrowed(inputs)?, numbers(axes, axes_len))?;
            fill(out, &outputs);
            *out_axes = mlx_sys::mlx_vector_int_new_data(output_axes.as_ptr().cast_mut(), output_axes.len());
        }
        Ok(())
    })
}

/// References to the arrays of a vector that C++ lends for a call.
///
/// # Safety
/// The vector is live.
pub(super) unsafe fn borrowed(vector: mlx_vector_array) -> Result<Vec<Array>> {
    // SAFETY: the vector is live, and `ManuallyDrop` leaves it to its owner.
    let vector = std::mem::ManuallyDrop::new(unsafe { ArrayVector::from_raw(vector) });
    vector.arrays("closure")
}

/// Hands arrays to C++.
///
/// # Safety
/// `out` points to an empty handle that may be filled.
pub(super) unsafe fn fill(out: *mut mlx_vector_array, arrays: &[Array]) {
    let references: Vec<&Array> = arrays.iter().collect();
    // SAFETY: the caller says so; ownership of the vector passes with the handle.
    unsafe { *out = ArrayVector::new(&references).into_raw() };
}

/// # Safety
/// `data` leads to `len` numbers that live as long as the result is used.
pub(super) unsafe fn numbers<'a>(data: *const c_int, len: usize) -> &'a [i32] {
    // SAFETY: the caller says so; without numbers the pointer may be anything and is not read.
    if len == 0 { &[] } else { unsafe { std::slice::from_raw_parts(data, len) } }
}
