//! Devices: where operations run.

use std::collections::BTreeMap;
use std::fmt;

use crate::{Error, Result, ffi, stream};

/// Where operations run.
///
/// MLX runs a process's work on one GPU: a process for each is the way to several, with [`distributed`](crate::distributed)
/// between them.
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

    /// Whether the GPU is driven through Metal.
    #[doc(alias = "mlx_metal_is_available")]
    pub fn has_metal() -> bool {
        ffi::device::is_metal()
    }

    /// Whether the GPU is driven through CUDA.
    #[doc(alias = "mlx_cuda_is_available")]
    pub fn has_cuda() -> bool {
        ffi::device::is_cuda()
    }

    /// How many devices of this kind there are.
    ///
    /// # Errors
    /// When MLX cannot tell.
    #[doc(alias = "mlx_device_count")]
    pub fn count(self) -> Result<usize> {
        Ok(usize::try_from(ffi::device::count(self)?).unwrap_or(0))
    }

    /// What MLX tells of the device, by name: `device_name` and `architecture` of all, `memory_size` and limits of GPUs.
    ///
    /// ```
    /// use mlx_core::{Device, DeviceProperty};
    ///
    /// let info = Device::Cpu.info()?;
    /// assert!(matches!(&info["architecture"], DeviceProperty::Text(name) if !name.is_empty()));
    /// # Ok::<(), mlx_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// When there is no such device.
    #[doc(
        alias = "mlx_device_info_get",
        alias = "mlx_device_info_get_keys",
        alias = "mlx_device_info_is_string"
    )]
    #[doc(alias = "mlx_device_info_get_string", alias = "mlx_device_info_get_size")]
    pub fn info(self) -> Result<BTreeMap<String, DeviceProperty>> {
        if !self.is_available() {
            let message = format!("MLX has no {self} here");
            return Err(Error::Op { op: "device_info", operands: String::new(), message });
        }
        ffi::device::info(self)
    }

    /// The device that operations of this thread run on: set by [`Device::scope`], else the GPU if there is one.
    #[doc(alias = "mlx_get_default_device")]
    pub fn current() -> Device {
        stream::current_device()
    }

    /// Runs `f` with this device as the current one of this thread, on the thread's own stream of it.
    ///
    /// ```
    /// use mlx_core::{Array, Device};
    ///
    /// let sum = Device::Cpu.scope(|| Array::arange(0.0, 5.0, 1.0, mlx_core::DType::F32)?.sum(0, false))?;
    /// assert_eq!(sum.item::<f32>()?, 10.0);
    /// # Ok::<(), mlx_core::Error>(())
    /// ```
    #[doc(alias = "mlx_set_default_device")]
    pub fn scope<R>(self, f: impl FnOnce() -> R) -> R {
        stream::with_device(self, f)
    }

    /// Waits until everything that this thread started on the device is done.
    ///
    /// # Errors
    /// Whatever failed on the device since the last wait.
    pub fn synchronize(self) -> Result<()> {
        ffi::StreamHandle::of_thread(self)?.synchronize()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Device::Cpu => "CPU",
            Device::Gpu => "GPU",
        })
    }
}

/// Something that MLX tells of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceProperty {
    /// A name.
    Text(String),
    /// A number, of bytes where it is memory.
    Size(usize),
}

/// Ends this thread's streams: its own and every [`Stream`](crate::Stream).
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
