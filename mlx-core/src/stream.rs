//! The stream that operations of a thread run on.
//!
//! MLX's streams belong to the thread that made them. So the handle is asked for once per thread and device, and kept
//! in thread-local storage; nothing about streams is shared between threads.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::ffi::{self, StreamHandle};
use crate::{Device, Error, Result};

struct Streams {
    chosen: Cell<Option<Device>>,
    /// Operations that this thread has built.
    operations: Cell<u64>,
    cpu: RefCell<Option<Rc<StreamHandle>>>,
    gpu: RefCell<Option<Rc<StreamHandle>>>,
}

impl Streams {
    fn slot(&self, device: Device) -> &RefCell<Option<Rc<StreamHandle>>> {
        match device {
            Device::Cpu => &self.cpu,
            Device::Gpu => &self.gpu,
        }
    }
}

thread_local! {
    static STREAMS: Streams = const {
        Streams {
            chosen: Cell::new(None),
            operations: Cell::new(0),
            cpu: RefCell::new(None),
            gpu: RefCell::new(None),
        }
    };
}

/// The device of the innermost scope, else the best that there is.
pub(crate) fn current_device() -> Device {
    let chosen = STREAMS.try_with(|streams| streams.chosen.get()).ok().flatten();
    chosen.unwrap_or_else(|| if ffi::device_is_available(Device::Gpu) { Device::Gpu } else { Device::Cpu })
}

/// How many operations this thread has built.
pub(crate) fn operations() -> u64 {
    STREAMS.try_with(|streams| streams.operations.get()).unwrap_or(0)
}

/// Calls `f` with the stream of the current device.
pub(crate) fn with_current<R>(f: impl FnOnce(&StreamHandle) -> R) -> Result<R> {
    let ending = |_| Error::Op {
        op: "stream",
        operands: String::new(),
        message: "this thread is ending, and its streams with it".to_owned(),
    };
    let stream = STREAMS
        .try_with(|streams| {
            streams.operations.set(streams.operations.get() + 1);
            let device = streams.chosen.get().unwrap_or_else(|| {
                let device = current_device();
                streams.chosen.set(Some(device));
                device
            });
            let slot = streams.slot(device);
            if let Some(stream) = &*slot.borrow() {
                return Ok(Rc::clone(stream));
            }
            let stream = Rc::new(StreamHandle::of_thread(device)?);
            *slot.borrow_mut() = Some(Rc::clone(&stream));
            Ok(stream)
        })
        .map_err(ending)??;
    Ok(f(&stream))
}

/// Runs `f` with `device` as the current one, and puts the old one back even if `f` panics.
pub(crate) fn with_device<R>(device: Device, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Device>);
    impl Drop for Restore {
        fn drop(&mut self) {
            // A thread that is ending has no scope left to restore.
            let _ = STREAMS.try_with(|streams| streams.chosen.set(self.0));
        }
    }
    let _restore = Restore(STREAMS.try_with(|streams| streams.chosen.replace(Some(device))).ok().flatten());
    f()
}

/// Drops this thread's handles to streams that are about to end.
pub(crate) fn forget() {
    // A thread that is ending drops its handles by itself.
    let _ = STREAMS.try_with(|streams| {
        streams.cpu.take();
        streams.gpu.take();
    });
}
