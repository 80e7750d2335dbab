//! The border with C: every call into mlx-c happens in this folder, and all of the crate's `unsafe` is here.
//!
//! mlx-c reports in three ways: by a status, which [`door`] turns into a result; by a handle that is empty on failure; and
//! by a plain value that cannot fail. The message of a failure is taken on the same thread right after the call, so it
//! cannot be mistaken for another's.
//!
//! Output handles are made empty and owned *before* the call that fills them, so that `Drop` is the failure path.

#![allow(unsafe_code)]

mod array;
mod callback;
mod closure;
pub(crate) mod device;
pub(crate) mod distributed;
pub(crate) mod door;
pub(crate) mod export;
mod failures;
pub(crate) mod graph;
pub(crate) mod kernel;
pub(crate) mod memory;
pub(crate) mod ops;
mod primitive;
mod stream;
pub(crate) mod string;
pub(crate) mod transforms;
mod vector;
mod view;

pub(crate) use array::{ArrayHandle, byte_count};
pub(crate) use callback::contain;
pub(crate) use closure::{
    Closure, JvpClosure, JvpFunction, VjpClosure, VjpFunction, VmapClosure, VmapFunction,
};
pub(crate) use device::is_available as device_is_available;
/// The C names, for the tables of operations. To name a function in a table is to say that MLX checks its operands;
/// those that need a check of ours (positions, packed weights) have a function in [`ops`] instead.
pub(crate) use mlx_sys as c;
pub(crate) use primitive::{Behaviour, primitive};
pub(crate) use stream::{StreamHandle, clear as clear_streams};
pub(crate) use vector::ArrayVector;
pub use view::{View, ViewMut};
