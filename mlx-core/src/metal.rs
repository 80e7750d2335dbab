//! What only Apple's GPUs have. Elsewhere every function is an error.

use std::path::Path;

use crate::{Device, Error, Result, ffi};

/// Starts to record what the GPU does into a `.gputrace` document at `path`, for Xcode to show.
///
/// Metal allows it to processes that run with `MTL_CAPTURE_ENABLED=1`.
///
/// # Errors
/// When Metal does not allow it, the document exists, a recording is under way, or MLX has no Metal here.
#[doc(alias = "mlx_metal_start_capture")]
pub fn start_capture(path: impl AsRef<Path>) -> Result<()> {
    require("start_capture")?;
    ffi::device::start_capture(&ffi::string::c_path("start_capture", path.as_ref())?)
}

/// Ends the recording.
///
/// # Errors
/// When MLX has no Metal here.
#[doc(alias = "mlx_metal_stop_capture")]
pub fn stop_capture() -> Result<()> {
    require("stop_capture")?;
    ffi::device::stop_capture()
}

/// The file of compiled kernels that [`set_metallib_path`] has set; empty as long as MLX looks beside itself.
///
/// # Errors
/// When MLX has no Metal here.
#[doc(alias = "mlx_metal_get_metallib_path")]
pub fn metallib_path() -> Result<String> {
    require("metallib_path")?;
    ffi::device::metallib_path()
}

/// Sets the file of compiled kernels, for a program that ships `mlx.metallib` in a place of its own.
///
/// Call it before anything else: MLX reads the file when the GPU is first used. The file is code and is trusted as such.
///
/// # Errors
/// When MLX has no Metal here. A file that is no library of kernels fails when the GPU is first used.
#[doc(alias = "mlx_metal_set_metallib_path")]
pub fn set_metallib_path(path: impl AsRef<Path>) -> Result<()> {
    require("set_metallib_path")?;
    ffi::device::set_metallib_path(&ffi::string::c_path("set_metallib_path", path.as_ref())?)
}

/// Without Metal, MLX does nothing and says that it went well.
fn require(op: &'static str) -> Result<()> {
    if Device::has_metal() {
        return Ok(());
    }
    Err(Error::Op { op, operands: String::new(), message: "MLX has no Metal here".to_owned() })
}
