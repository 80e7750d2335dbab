//! The owner of one `mlx_stream`, and questions about devices.

use std::sync::Once;

use mlx_sys::{mlx_device, mlx_device_type_ as CDevice, mlx_stream};

use super::door;
use crate::{Device, Result};

/// Owns the name of a stream: a device and an index. MLX keeps the stream itself.
pub(crate) struct StreamHandle {
    raw: mlx_stream,
}

impl StreamHandle {
    /// The calling thread's default stream on `device`; MLX makes it on first use.
    pub(crate) fn of_thread(device: Device) -> Result<Self> {
        static STARTED: Once = Once::new();
        STARTED.call_once(start_scheduler);
        StreamHandle::default_of(device)
    }

    fn default_of(device: Device) -> Result<Self> {
        let mut stream = StreamHandle { raw: mlx_stream { ctx: std::ptr::null_mut() } };
        let device = DeviceHandle::new(device);
        // SAFETY: both handles are live, and an empty stream handle may be filled.
        let status = unsafe { mlx_sys::mlx_get_default_stream(&mut stream.raw, device.raw) };
        door::check("default_stream", &[], status)?;
        Ok(stream)
    }

    pub(crate) fn as_raw(&self) -> mlx_stream {
        self.raw
    }

    pub(crate) fn synchronize(&self) -> Result<()> {
        // SAFETY: the handle is live.
        door::check("synchronize", &[], unsafe { mlx_sys::mlx_synchronize(self.raw) })
    }
}

impl Drop for StreamHandle {
    fn drop(&mut self) {
        // SAFETY: this owner's handle is not used again. It holds a name only, so work on the stream is not touched.
        unsafe { mlx_sys::mlx_stream_free(self.raw) };
    }
}

/// Makes a thread that does nothing MLX's main thread.
///
/// The thread that starts MLX's scheduler is its main one, on which a failure comes out of whatever is scheduled next,
/// be it the signal that others wait for: they would wait for ever. On all other threads it comes out of the wait.
fn start_scheduler() {
    let (started, wait) = std::sync::mpsc::channel();
    let idle = move || {
        // A stream of this thread, which also starts the scheduler. A failure comes up again on the caller's thread.
        let stream = StreamHandle::default_of(Device::Cpu);
        let synchronized = stream.map(|stream| stream.synchronize());
        let _ = started.send(synchronized.is_ok());
        loop {
            std::thread::park();
        }
    };
    // Without a thread the caller's becomes the main one, as MLX has it.
    if std::thread::Builder::new().name("mlx-main".to_owned()).spawn(idle).is_ok() {
        let _ = wait.recv();
    }
}

struct DeviceHandle {
    raw: mlx_device,
}

impl DeviceHandle {
    fn new(device: Device) -> Self {
        let kind = match device {
            Device::Cpu => CDevice::MLX_CPU,
            Device::Gpu => CDevice::MLX_GPU,
        };
        // SAFETY: takes plain numbers; without memory it gives an empty handle, which every function refuses.
        DeviceHandle { raw: unsafe { mlx_sys::mlx_device_new_type(kind, 0) } }
    }
}

impl Drop for DeviceHandle {
    fn drop(&mut self) {
        // SAFETY: this owner's handle is not used again; freeing an empty one does nothing.
        unsafe { mlx_sys::mlx_device_free(self.raw) };
    }
}

pub(crate) fn is_available(device: Device) -> bool {
    let device = DeviceHandle::new(device);
    let mut available = false;
    // SAFETY: the handle is live and `available` outlives the call.
    let status = unsafe { mlx_sys::mlx_device_is_available(&mut available, device.raw) };
    status == 0 && available
}

/// Whether the GPU that this build of MLX drives is an Apple one.
pub(crate) fn is_metal() -> bool {
    let mut available = false;
    // SAFETY: `available` outlives the call.
    let status = unsafe { mlx_sys::mlx_metal_is_available(&mut available) };
    status == 0 && available
}

/// Ends the calling thread's streams.
pub(crate) fn clear() -> Result<()> {
    // SAFETY: takes nothing. Handles to streams hold an index, and using one that is gone is an error, not a read of
    // freed memory.
    door::check("clear_streams", &[], unsafe { mlx_sys::rust_mlx_clear_streams() })
}
