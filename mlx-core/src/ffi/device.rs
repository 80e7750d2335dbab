//! Questions about devices.

use std::collections::BTreeMap;
use std::ffi::{CStr, c_int};

use mlx_sys::{mlx_device, mlx_device_info, mlx_device_type_ as CDevice};

use super::door;
use super::string::{CppString, StringVector};
use crate::{Device, DeviceProperty, Result};

fn to_c(device: Device) -> CDevice {
    match device {
        Device::Cpu => CDevice::MLX_CPU,
        Device::Gpu => CDevice::MLX_GPU,
    }
}

/// Owns the name of a device.
pub(super) struct DeviceHandle {
    raw: mlx_device,
}

impl DeviceHandle {
    pub(super) fn new(device: Device) -> Self {
        // SAFETY: takes plain numbers; without memory it gives an empty handle, which every function refuses.
        DeviceHandle { raw: unsafe { mlx_sys::mlx_device_new_type(to_c(device), 0) } }
    }

    pub(super) fn as_raw(&self) -> mlx_device {
        self.raw
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

/// Whether the GPU that this build of MLX drives is an NVIDIA one.
pub(crate) fn is_cuda() -> bool {
    let mut available = false;
    // SAFETY: `available` outlives the call.
    let status = unsafe { mlx_sys::mlx_cuda_is_available(&mut available) };
    status == 0 && available
}

/// How many devices of this kind there are.
pub(crate) fn count(device: Device) -> Result<i32> {
    let mut count: c_int = 0;
    // SAFETY: `count` outlives the call.
    door::check("device_count", &[], unsafe { mlx_sys::mlx_device_count(&mut count, to_c(device)) })?;
    Ok(count)
}

struct Info {
    raw: mlx_device_info,
}

impl Drop for Info {
    fn drop(&mut self) {
        // SAFETY: this owner's handle is not used again; freeing an empty one does nothing.
        unsafe { mlx_sys::mlx_device_info_free(self.raw) };
    }
}

/// What MLX tells of a device, by name.
pub(crate) fn info(device: Device) -> Result<BTreeMap<String, DeviceProperty>> {
    const OP: &str = "device_info";
    let device = DeviceHandle::new(device);
    let mut info = Info { raw: mlx_device_info { ctx: std::ptr::null_mut() } };
    // SAFETY: the handles are live, and an empty one may be filled.
    door::check(OP, &[], unsafe { mlx_sys::mlx_device_info_get(&mut info.raw, device.raw) })?;
    let mut keys = StringVector::empty();
    // SAFETY: the handles are live, and an empty vector may be filled.
    door::check(OP, &[], unsafe { mlx_sys::mlx_device_info_get_keys(keys.as_raw_mut(), info.raw) })?;
    let property = |key: &CStr| {
        let mut is_text = false;
        // SAFETY: the handle is live, the key is NUL-terminated, and `is_text` may be filled.
        let status = unsafe { mlx_sys::mlx_device_info_is_string(&mut is_text, info.raw, key.as_ptr()) };
        door::check(OP, &[], status)?;
        if is_text {
            let mut text = std::ptr::null();
            // SAFETY: as above.
            let status = unsafe { mlx_sys::mlx_device_info_get_string(&mut text, info.raw, key.as_ptr()) };
            door::check(OP, &[], status)?;
            // SAFETY: the text is NUL-terminated and lives as long as `info`; it is copied here.
            Ok(DeviceProperty::Text(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()))
        } else {
            let mut size = 0;
            // SAFETY: as above.
            let status = unsafe { mlx_sys::mlx_device_info_get_size(&mut size, info.raw, key.as_ptr()) };
            door::check(OP, &[], status)?;
            Ok(DeviceProperty::Size(size))
        }
    };
    keys.to_texts(OP)?.iter().map(|key| Ok((key.to_string_lossy().into_owned(), property(key)?))).collect()
}

/// Starts to record what the GPU does into a file.
pub(crate) fn start_capture(path: &CStr) -> Result<()> {
    // SAFETY: the path is NUL-terminated, and is copied before this returns.
    door::check("start_capture", &[], unsafe { mlx_sys::mlx_metal_start_capture(path.as_ptr()) })
}

pub(crate) fn stop_capture() -> Result<()> {
    // SAFETY: takes nothing.
    door::check("stop_capture", &[], unsafe { mlx_sys::mlx_metal_stop_capture() })
}

/// The file of kernels, or nothing where MLX looks for it by itself.
pub(crate) fn metallib_path() -> Result<String> {
    let mut text = CppString::empty();
    // SAFETY: an empty string handle may be filled.
    door::check("metallib_path", &[], unsafe { mlx_sys::mlx_metal_get_metallib_path(text.as_raw_mut()) })?;
    Ok(text.to_text())
}

pub(crate) fn set_metallib_path(path: &CStr) -> Result<()> {
    // SAFETY: the path is NUL-terminated, and is copied before this returns.
    door::check("set_metallib_path", &[], unsafe { mlx_sys::mlx_metal_set_metallib_path(path.as_ptr()) })
}
