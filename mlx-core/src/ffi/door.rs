//! One helper per C signature. The function types make the compiler check the tables of operations in `ops`.

use std::ffi::{CStr, c_int};

use mlx_sys::{mlx_array, mlx_stream, mlx_vector_array};

use super::array::byte_count;
use super::{ArrayHandle, ArrayVector, callback};
use crate::array::check_shape;
use crate::{Array, Error, Result, stream};

pub(crate) type UnaryFn = unsafe extern "C" fn(*mut mlx_array, mlx_array, mlx_stream) -> c_int;
pub(crate) type BinaryFn = unsafe extern "C" fn(*mut mlx_array, mlx_array, mlx_array, mlx_stream) -> c_int;
pub(crate) type AxisFn = unsafe extern "C" fn(*mut mlx_array, mlx_array, c_int, mlx_stream) -> c_int;
pub(crate) type AxisFlagFn =
    unsafe extern "C" fn(*mut mlx_array, mlx_array, c_int, bool, mlx_stream) -> c_int;
pub(crate) type AxesFn =
    unsafe extern "C" fn(*mut mlx_array, mlx_array, *const c_int, usize, mlx_stream) -> c_int;
pub(crate) type AxesFlagFn =
    unsafe extern "C" fn(*mut mlx_array, mlx_array, *const c_int, usize, bool, mlx_stream) -> c_int;
pub(crate) type AxisPairFn =
    unsafe extern "C" fn(*mut mlx_array, mlx_array, c_int, c_int, mlx_stream) -> c_int;

/// `out = f(a)`
pub(crate) fn unary(op: &'static str, f: UnaryFn, a: &Array) -> Result<Array> {
    call(op, &[a], |out, stream| {
        // SAFETY: `f` has this exact C signature; `out` and `a` are live handles for the whole call.
        unsafe { f(out, a.raw(), stream) }
    })
}

/// `out = f(a, b)`
pub(crate) fn binary(op: &'static str, f: BinaryFn, a: &Array, b: &Array) -> Result<Array> {
    call(op, &[a, b], |out, stream| {
        // SAFETY: `f` has this exact C signature; `out`, `a` and `b` are live handles for the whole call.
        unsafe { f(out, a.raw(), b.raw(), stream) }
    })
}

/// `out = f(a, axis)`, also for operations that take another number
pub(crate) fn axis(op: &'static str, f: AxisFn, a: &Array, axis: i32) -> Result<Array> {
    call(op, &[a], |out, stream| {
        // SAFETY: `f` has this exact C signature; `out` and `a` are live handles for the whole call.
        unsafe { f(out, a.raw(), axis, stream) }
    })
}

/// `out = f(a, axis, flag)`
pub(crate) fn axis_flag(op: &'static str, f: AxisFlagFn, a: &Array, axis: i32, flag: bool) -> Result<Array> {
    call(op, &[a], |out, stream| {
        // SAFETY: `f` has this exact C signature; `out` and `a` are live handles for the whole call.
        unsafe { f(out, a.raw(), axis, flag, stream) }
    })
}

/// `out = f(a, axes)`, also for operations that take a shape
pub(crate) fn axes(op: &'static str, f: AxesFn, a: &Array, axes: &[i32]) -> Result<Array> {
    call(op, &[a], |out, stream| {
        // SAFETY: `f` has this exact C signature; the handles are live, and mlx-c copies the `axes.len()` numbers
        // before it returns.
        unsafe { f(out, a.raw(), axes.as_ptr(), axes.len(), stream) }
    })
}

/// `out = f(a, axes, flag)`
pub(crate) fn axes_flag(
    op: &'static str,
    f: AxesFlagFn,
    a: &Array,
    axes: &[i32],
    flag: bool,
) -> Result<Array> {
    call(op, &[a], |out, stream| {
        // SAFETY: `f` has this exact C signature; the handles are live, and mlx-c copies the `axes.len()` numbers
        // before it returns.
        unsafe { f(out, a.raw(), axes.as_ptr(), axes.len(), flag, stream) }
    })
}

/// `out = f(a, axis, axis)`, also for operations that take other numbers
pub(crate) fn axis_pair(
    op: &'static str,
    f: AxisPairFn,
    a: &Array,
    first: i32,
    second: i32,
) -> Result<Array> {
    call(op, &[a], |out, stream| {
        // SAFETY: `f` has this exact C signature; `out` and `a` are live handles for the whole call.
        unsafe { f(out, a.raw(), first, second, stream) }
    })
}

/// Runs one operation on the thread's current stream and gives its array, or MLX's message with the operands.
pub(crate) fn call(
    op: &'static str,
    operands: &[&Array],
    f: impl FnOnce(*mut mlx_array, mlx_stream) -> c_int,
) -> Result<Array> {
    let mut out = ArrayHandle::empty();
    let status = stream::with_current(|stream| f(out.as_raw_mut(), stream.as_raw()))?;
    check(op, operands, status)?;
    let out = accept(op, out)?;
    // On the CPU MLX does not notice that an allocation failed.
    if out.nbytes() > LARGE && !VIEWS.contains(&op) {
        check_shape(op, out.shape(), out.dtype())?;
    }
    Ok(out)
}

/// Bytes above which a result is held against the memory limit.
const LARGE: usize = 1 << 30;

/// Operations whose result takes no memory of its own, however large it looks.
const VIEWS: [&str; 10] = [
    "as_strided",
    "broadcast_to",
    "expand_dims",
    "moveaxis",
    "slice",
    "squeeze",
    "stop_gradient",
    "swapaxes",
    "transpose",
    "view",
];

/// Runs one operation that gives a list of arrays.
pub(crate) fn call_many(
    op: &'static str,
    operands: &[&Array],
    f: impl FnOnce(*mut mlx_vector_array, mlx_stream) -> c_int,
) -> Result<Vec<Array>> {
    let mut out = ArrayVector::empty();
    let status = stream::with_current(|stream| f(out.as_raw_mut(), stream.as_raw()))?;
    check(op, operands, status)?;
    out.arrays(op)
}

/// Runs one operation that gives `N` arrays, whose sizes the caller has checked.
pub(crate) fn call_each<const N: usize>(
    op: &'static str,
    operands: &[&Array],
    f: impl FnOnce(*mut mlx_array, mlx_stream) -> c_int,
) -> Result<[Array; N]> {
    let mut raw = [mlx_array { ctx: std::ptr::null_mut() }; N];
    let status = stream::with_current(|stream| f(raw.as_mut_ptr(), stream.as_raw()))?;
    // Owned before anything else, so that none is lost.
    let arrays = raw.map(|raw| Array::from_handle(ArrayHandle::own(raw)));
    check(op, operands, status)?;
    Ok(arrays)
}

/// Runs one operation that gives two arrays.
pub(crate) fn call_pair(
    op: &'static str,
    operands: &[&Array],
    f: impl FnOnce(*mut mlx_array, *mut mlx_array, mlx_stream) -> c_int,
) -> Result<(Array, Array)> {
    let (mut first, mut second) = (ArrayHandle::empty(), ArrayHandle::empty());
    let status = stream::with_current(|stream| f(first.as_raw_mut(), second.as_raw_mut(), stream.as_raw()))?;
    check(op, operands, status)?;
    Ok((accept(op, first)?, accept(op, second)?))
}

/// Refuses an array whose size does not fit: MLX multiplies lengths without a look at overflow, and would compute in a
/// buffer that is too small.
pub(crate) fn accept(op: &'static str, out: ArrayHandle) -> Result<Array> {
    if byte_count(out.shape(), out.dtype()).is_none() {
        let message = format!("the result would be {}{:?}, which no memory holds", out.dtype(), out.shape());
        return Err(Error::Shape { op, message });
    }
    Ok(Array::from_handle(out))
}

/// Turns a status into a result.
pub(crate) fn check(op: &'static str, operands: &[&Array], status: c_int) -> Result<()> {
    if status == 0 { Ok(()) } else { Err(failure(op, operands)) }
}

/// The error for a call that just failed on this thread.
#[cold]
pub(crate) fn failure(op: &'static str, operands: &[&Array]) -> Error {
    // First of all: describing the operands calls into MLX, which may replace the message.
    let message = take_message();
    // A callback's own error says more than MLX's word that a function failed.
    if let Some(error) = callback::take_parked() {
        return error;
    }
    let message = message.unwrap_or_else(|| "MLX gave no reason".to_owned());
    let operands: Vec<String> = operands.iter().map(|a| a.describe()).collect();
    // MLX opens many messages with the operation's name, which this error says already.
    let message = message.strip_prefix(&format!("[{op}] ")).map(str::to_owned).unwrap_or(message);
    Error::Op { op, operands: operands.join(", "), message }
}

fn take_message() -> Option<String> {
    // SAFETY: takes no pointers; the result is null or a NUL-terminated string that stays valid until the next mlx-c
    // call on this thread, and it is copied before then.
    let message = unsafe {
        let text = mlx_sys::rust_mlx_take_error();
        if text.is_null() { None } else { Some(CStr::from_ptr(text).to_string_lossy().into_owned()) }
    };
    // One line, whatever MLX wrote.
    message.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))
}
