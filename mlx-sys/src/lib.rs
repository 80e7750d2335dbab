//! Raw bindings to MLX through mlx-c, Apple's C API over the C++ library, plus our own small native part.
//!
//! Names, types and comments are C's own; nothing here is safe or pretty. `mlx-core` is the crate to use.
//!
//! Conventions of mlx-c, which every caller has to keep:
//! - A function that returns `int` returns 0 on success. Otherwise the message waits in [`rust_mlx_take_error`] on the
//!   same thread.
//! - A function that returns a handle returns one with a null `ctx` on failure.
//! - An output handle passed by pointer may be empty (null `ctx`) or hold a value, which is replaced.
//! - Handles are owned by whoever receives them, and freed by the `_free` function of their type; freeing an empty one
//!   does nothing.
//!
//! How MLX and mlx-c are found, fetched and built is told at the top of `build/main.rs` and in `docs/building.md`.

#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals)]
#![allow(clippy::missing_safety_doc, clippy::too_many_arguments)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
