//! The owner of one `mlx_stream`.

use std::sync::Once;

use mlx_sys::mlx_stream;

use super::device::{DeviceHandle, is_available};
use super::door;
use crate::{Device, Result};

/// Owns the name of a stream: a device and an index. MLX keeps the stream itself.
pub(crate) struct StreamHandle {
    raw: mlx_stream,
}

impl StreamHandle {
    /// The calling thread's default stream on `device`; MLX makes it on first use.
    pub(crate) fn of_thread(device: Device) -> Result<Self> {
        start_scheduler_once();
        StreamHandle::default_of(device)
    }

    fn default_of(device: Device) -> Result<Self> {
        let mut stream = StreamHandle { raw: mlx_stream { ctx: std::ptr::null_mut() } };
        let device = DeviceHandle::new(device);
        // SAFETY: both handles are live, and an empty stream handle may be filled.
        let status = unsafe { mlx_sys::mlx_get_default_stream(&mut stream.raw, device.as_raw()) };
        door::check("default_stream", &[], status)?;
        Ok(stream)
    }

    /// A new stream of the calling thread on `device`.
    pub(crate) fn new(device: Device) -> Result<Self> {
        start_scheduler_once();
        let device = DeviceHandle::new(device);
        // SAFETY: the handle is live. A failure is told by an empty handle.
        let raw = unsafe { mlx_sys::mlx_stream_new_device(device.as_raw()) };
        if raw.ctx.is_null() { Err(door::failure("stream", &[])) } else { Ok(StreamHandle { raw }) }
    }

    /// A new stream on `device` that every thread may use, but only one at a time: the first of a device is the one that
    /// imported functions run on.
    fn shared(device: Device) -> Result<Self> {
        let device = DeviceHandle::new(device);
        // SAFETY: the handle is live. A failure is told by an empty handle.
        let raw = unsafe { mlx_sys::mlx_stream_new_thread_unsafe(device.as_raw()) };
        if raw.ctx.is_null() { Err(door::failure("stream", &[])) } else { Ok(StreamHandle { raw }) }
    }

    /// The number that tells the streams of the process apart.
    pub(crate) fn index(&self) -> i32 {
        let mut index = 0;
        // SAFETY: the handle is live and `index` outlives the call, which copies a number.
        unsafe { mlx_sys::mlx_stream_get_index(&mut index, self.raw) };
        index
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

pub(super) fn start_scheduler_once() {
    static STARTED: Once = Once::new();
    STARTED.call_once(start_scheduler);
}

/// Makes a thread that does nothing MLX's main thread.
///
/// The thread that starts MLX's scheduler is its main one, on which a failure comes out of whatever is scheduled next,
/// be it the signal that others wait for: they would wait for ever. On all other threads it comes out of the wait.
fn start_scheduler() {
    let (started, wait) = std::sync::mpsc::channel();
    let idle = move || {
        // The first stream of the process, which also starts the scheduler. A failure comes up again on the caller's thread.
        let stream = StreamHandle::shared(Device::Cpu);
        let synchronized = stream.and_then(|stream| stream.synchronize());
        if is_available(Device::Gpu) {
            let _ = StreamHandle::shared(Device::Gpu);
        }
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

/// Ends the calling thread's streams.
pub(crate) fn clear() -> Result<()> {
    // SAFETY: takes nothing. Handles to streams hold an index, and using one that is gone is an error, not a read of
    // freed memory.
    door::check("clear_streams", &[], unsafe { mlx_sys::rust_mlx_clear_streams() })
}
