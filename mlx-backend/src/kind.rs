//! Which of the three backends: what drives the device.

use mlx_core::Device;

/// What drives the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Metal,
    Cuda,
    Cpu,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Metal => "metal",
            Kind::Cuda => "cuda",
            Kind::Cpu => "cpu",
        }
    }

    pub(crate) fn device(self) -> Device {
        match self {
            Kind::Metal | Kind::Cuda => Device::Gpu,
            Kind::Cpu => Device::Cpu,
        }
    }

    pub(crate) fn is_available(self) -> bool {
        self.device().is_available()
            && match self {
                Kind::Metal => Device::has_metal(),
                Kind::Cuda => !Device::has_metal(),
                Kind::Cpu => true,
            }
    }
}
