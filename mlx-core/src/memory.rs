//! What MLX's allocator holds, and its limits. All sizes are bytes; all numbers are of the whole process.

use crate::Result;
use crate::ffi::{c, memory};

macro_rules! readings {
    ($($(#[$doc:meta])* $name:ident => $c:ident, $alias:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        /// When MLX cannot tell.
        #[doc(alias = $alias)]
        pub fn $name() -> Result<usize> {
            memory::read(stringify!($name), c::$c)
        }
    )*};
}

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident => $c:ident, $alias:literal;)*) => {$(
        $(#[$doc])*
        ///
        /// Returns the limit that was set before.
        ///
        /// # Errors
        /// When the device has no such limit.
        #[doc(alias = $alias)]
        pub fn $name(bytes: usize) -> Result<usize> {
            memory::write(stringify!($name), c::$c, bytes)
        }
    )*};
}

readings! {
    /// Memory in arrays that are alive.
    active_memory => mlx_get_active_memory, "mlx_get_active_memory";
    /// Memory that MLX keeps for reuse.
    cache_memory => mlx_get_cache_memory, "mlx_get_cache_memory";
    /// The most active memory since the start or the last [`reset_peak_memory`].
    peak_memory => mlx_get_peak_memory, "mlx_get_peak_memory";
    /// The limit above which allocations wait or fail.
    memory_limit => mlx_get_memory_limit, "mlx_get_memory_limit";
}

limits! {
    /// Sets how much memory MLX may keep for reuse.
    set_cache_limit => mlx_set_cache_limit, "mlx_set_cache_limit";
    /// Sets the limit above which allocations wait or fail.
    set_memory_limit => mlx_set_memory_limit, "mlx_set_memory_limit";
    /// Sets how much memory may be wired down, on Metal.
    set_wired_limit => mlx_set_wired_limit, "mlx_set_wired_limit";
}

/// Starts a new measurement of [`peak_memory`].
///
/// # Errors
/// When MLX cannot.
#[doc(alias = "mlx_reset_peak_memory")]
pub fn reset_peak_memory() -> Result<()> {
    memory::command("reset_peak_memory", c::mlx_reset_peak_memory)
}

/// Gives the memory that MLX keeps for reuse back to the system.
///
/// # Errors
/// When MLX cannot.
#[doc(alias = "mlx_clear_cache")]
pub fn clear_cache() -> Result<()> {
    memory::command("clear_cache", c::mlx_clear_cache)
}

/// Handles to arrays that are alive in this process. It grows without bound only if something leaks.
pub fn live_arrays() -> usize {
    memory::live_arrays()
}
