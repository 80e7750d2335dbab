//! Devices: where operations run.

use crate::{Result, ffi, stream};

/// Where operations run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// The processor.
    Cpu,
    /// The GPU: Apple's on macOS, NVIDIA's with MLX's CUDA build.
    Gpu,
}

impl Device {
    /// Whether MLX can run on this device here.
    #[doc(alias = "mlx_device_is_available")]
    pub fn is_available(self) -> bool {
        ffi::device_is_available(self)
    }

    /// Whether the GPU is driven through Metal; without it, a GPU is driven through CUDA.
    #[doc(alias = "mlx_metal_is_available")]
    pub fn has_metal() -> bool {
        ffi::is_metal()
    }

    /// The device that operations of this thread run on: set by [`Device::scope`], else the GPU if there is one.
    pub fn current() -> Device {
        stream::current_device()
    }

    /// Runs `f` with this device as the current one of this thread.
    ///
    /// ```
    /// use mlx_core::{Array, Device};
    ///
    /// let sum = Device::Cpu.scope(|| Array::arange(0.0, 5.0, 1.0, mlx_core::DType::F32)?.sum(0, false))?;
    /// assert_eq!(sum.item::<f32>()?, 10.0);
    /// # Ok::<(), mlx_core::Error>(())
    /// ```
    pub fn scope<R>(self, f: impl FnOnce() -> R) -> R {
        stream::with_device(self, f)
    }

    /// Waits until everything that this thread started on the device is done.
    ///
    /// # Errors
    /// Whatever failed on the device since the last wait.
    #[doc(alias = "mlx_synchronize")]
    pub fn synchronize(self) -> Result<()> {
        ffi::StreamHandle::of_thread(self)?.synchronize()
    }
}

/// Ends this thread's streams.
///
/// Call it at the end of a thread that computed, when none of its arrays are left; a later operation on the same thread
/// fails with MLX's message about a missing stream. The worker thread that MLX started for a stream of the CPU stays for
/// the life of the process all the same, so a program that computes on ever new threads should keep a few instead.
///
/// # Errors
/// Whatever failed on a stream and was not reported yet.
pub fn clear_streams() -> Result<()> {
    stream::forget();
    ffi::clear_streams()
}

/// The version of the MLX library that this process has loaded, such as `0.32.2`.
///
/// # Errors
/// When no memory is left.
#[doc(alias = "mlx_version")]
pub fn version() -> Result<String> {
    ffi::memory::version()
}
