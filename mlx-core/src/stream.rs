//! The stream that operations of a thread run on.
//!
//! MLX's streams belong to the thread that made them. So the handle is asked for once per thread and device, and kept
//! in thread-local storage; nothing about streams is shared between threads.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use crate::ffi::{self, StreamHandle};
use crate::{Device, Error, Result};

/// A queue of work on a device, beside the thread's own one.
///
/// Operations run one after the other on a stream, and side by side on several. What an operation needs of another stream
/// it waits for, so streams change when something is computed, never what. A failure crosses streams in the same way: each
/// that it has passed tells it at its next wait, such as [`synchronize`](Self::synchronize).
///
/// ```
/// use mlx_core::{Array, Device, Stream, eval};
///
/// let side = Stream::new(Device::Cpu)?;
/// let x = Array::from_slice(&[1.0f32, 2.0], &[2])?;
/// let squares = side.scope(|| x.square())?;
/// let sum = x.add(&squares)?; // on the thread's own stream
/// eval(&[&sum, &squares])?;
/// assert_eq!(sum.to_vec::<f32>()?, [2.0, 6.0]);
/// # Ok::<(), mlx_core::Error>(())
/// ```
///
/// MLX keeps a stream until [`clear_streams`](crate::clear_streams), and the worker thread of a CPU stream for the life
/// of the process: make a few and keep them. `clone` gives the same stream.
///
/// A stream stays on the thread that made it:
/// ```compile_fail
/// let stream = mlx_core::Stream::new(mlx_core::Device::Cpu).unwrap();
/// std::thread::spawn(move || stream.synchronize());
/// ```
#[derive(Clone)]
pub struct Stream {
    device: Device,
    handle: Rc<StreamHandle>,
    /// How often the thread's streams had been ended when this one was made.
    cleared: u64,
}

impl Stream {
    /// Makes a stream of this thread.
    ///
    /// # Errors
    /// When MLX has no such device here.
    #[doc(alias = "mlx_stream_new_device")]
    pub fn new(device: Device) -> Result<Self> {
        let handle = Rc::new(StreamHandle::new(device)?);
        let cleared = STREAMS.try_with(|streams| streams.cleared.get()).map_err(|_| ending())?;
        Ok(Stream { device, handle, cleared })
    }

    /// The device that the stream's work runs on.
    #[doc(alias = "mlx_stream_get_device")]
    pub fn device(&self) -> Device {
        self.device
    }

    /// Runs `f` with this stream as the one that operations of this thread run on; [`Device::current`] is its device.
    #[doc(alias = "mlx_set_default_stream")]
    pub fn scope<R>(&self, f: impl FnOnce() -> R) -> R {
        with_chosen(Chosen { device: self.device, stream: Some(self.clone()) }, f)
    }

    /// Waits until everything that was started on the stream is done.
    ///
    /// # Errors
    /// Whatever failed on the stream since the last wait, and when [`clear_streams`](crate::clear_streams) has ended it.
    #[doc(alias = "mlx_synchronize")]
    pub fn synchronize(&self) -> Result<()> {
        let cleared = STREAMS.try_with(|streams| streams.cleared.get()).map_err(|_| ending())?;
        self.require_live(cleared)?;
        self.handle.synchronize()
    }

    fn require_live(&self, cleared: u64) -> Result<()> {
        if self.cleared == cleared {
            return Ok(());
        }
        Err(refuse(&format!("{self} was ended by clear_streams")))
    }
}

/// Shows the device and the number that tells the streams of the process apart.
impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "stream {} of the {}", self.handle.index(), self.device)
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Stream({:?}, {})", self.device, self.handle.index())
    }
}

/// What a scope has set.
#[derive(Clone)]
struct Chosen {
    device: Device,
    /// The stream, where it is not the thread's own on that device.
    stream: Option<Stream>,
}

struct Streams {
    chosen: RefCell<Option<Chosen>>,
    /// Operations that this thread has built.
    operations: Cell<u64>,
    /// How often this thread's streams were ended.
    cleared: Cell<u64>,
    cpu: RefCell<Option<Rc<StreamHandle>>>,
    gpu: RefCell<Option<Rc<StreamHandle>>>,
}

impl Streams {
    /// The thread's own stream on a device.
    fn own(&self, device: Device) -> Result<Rc<StreamHandle>> {
        let slot = match device {
            Device::Cpu => &self.cpu,
            Device::Gpu => &self.gpu,
        };
        if let Some(stream) = &*slot.borrow() {
            return Ok(Rc::clone(stream));
        }
        let stream = Rc::new(StreamHandle::of_thread(device)?);
        *slot.borrow_mut() = Some(Rc::clone(&stream));
        Ok(stream)
    }

    fn current(&self) -> Result<Rc<StreamHandle>> {
        if let Some(chosen) = &*self.chosen.borrow() {
            return match &chosen.stream {
                Some(stream) => {
                    stream.require_live(self.cleared.get())?;
                    Ok(Rc::clone(&stream.handle))
                }
                None => self.own(chosen.device),
            };
        }
        let device = best_device();
        self.chosen.replace(Some(Chosen { device, stream: None }));
        self.own(device)
    }
}

thread_local! {
    static STREAMS: Streams = const {
        Streams {
            chosen: RefCell::new(None),
            operations: Cell::new(0),
            cleared: Cell::new(0),
            cpu: RefCell::new(None),
            gpu: RefCell::new(None),
        }
    };
}

/// The device of the innermost scope, else the best that there is.
pub(crate) fn current_device() -> Device {
    let chosen = |streams: &Streams| streams.chosen.borrow().as_ref().map(|chosen| chosen.device);
    STREAMS.try_with(chosen).ok().flatten().unwrap_or_else(best_device)
}

fn best_device() -> Device {
    if ffi::device_is_available(Device::Gpu) { Device::Gpu } else { Device::Cpu }
}

/// How many operations this thread has built.
pub(crate) fn operations() -> u64 {
    STREAMS.try_with(|streams| streams.operations.get()).unwrap_or(0)
}

/// Calls `f` with the current stream.
pub(crate) fn with_current<R>(f: impl FnOnce(&StreamHandle) -> R) -> Result<R> {
    let current = |streams: &Streams| {
        streams.operations.set(streams.operations.get() + 1);
        streams.current()
    };
    let stream = STREAMS.try_with(current).map_err(|_| ending())??;
    Ok(f(&stream))
}

/// Runs `f` with `device` as the current one, and puts the old one back even if `f` panics.
pub(crate) fn with_device<R>(device: Device, f: impl FnOnce() -> R) -> R {
    with_chosen(Chosen { device, stream: None }, f)
}

fn with_chosen<R>(chosen: Chosen, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Chosen>);
    impl Drop for Restore {
        fn drop(&mut self) {
            // A thread that is ending has no scope left to restore.
            let _ = STREAMS.try_with(|streams| streams.chosen.replace(self.0.take()));
        }
    }
    let _restore = Restore(STREAMS.try_with(|streams| streams.chosen.replace(Some(chosen))).ok().flatten());
    f()
}

/// Drops this thread's handles to streams that are about to end.
pub(crate) fn forget() {
    // A thread that is ending drops its handles by itself.
    let _ = STREAMS.try_with(|streams| {
        streams.cleared.set(streams.cleared.get() + 1);
        streams.cpu.take();
        streams.gpu.take();
    });
}

fn ending() -> Error {
    refuse("this thread is ending, and its streams with it")
}

fn refuse(message: &str) -> Error {
    Error::Op { op: "stream", operands: String::new(), message: message.to_owned() }
}
