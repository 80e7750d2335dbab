//! Which wheels this build needs. Pure decisions: nothing here touches the disk or the network.

use crate::config::{Config, Cuda, Os};

/// A set of wheels that is installed together, and the name of the cache folder that holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wheels {
    /// The main package, as messages name it.
    pub package: &'static str,
    /// Its version, part of the cache folder's name.
    pub version: &'static str,
    /// The pip requirements: exact versions with their sha256 sums.
    pub pins: &'static str,
}

/// The version of MLX that the pinned mlx-c is written against.
pub const MLX_VERSION: &str = "0.32.2";

const MLX_CPU: Wheels =
    Wheels { package: "mlx-cpu", version: MLX_VERSION, pins: include_str!("pins/mlx-cpu.txt") };
const MLX_METAL: Wheels =
    Wheels { package: "mlx-metal", version: MLX_VERSION, pins: include_str!("pins/mlx-metal.txt") };
const MLX_CUDA_12: Wheels =
    Wheels { package: "mlx-cuda-12", version: MLX_VERSION, pins: include_str!("pins/mlx-cuda-12.txt") };
const MLX_CUDA_13: Wheels =
    Wheels { package: "mlx-cuda-13", version: MLX_VERSION, pins: include_str!("pins/mlx-cuda-13.txt") };
/// The library that bindgen reads C headers with.
pub const LIBCLANG: Wheels =
    Wheels { package: "libclang", version: "18.1.1", pins: include_str!("pins/libclang.txt") };

/// The build of MLX that runs on the target.
pub fn mlx_to_run(config: &Config) -> Wheels {
    match (config.os, config.cuda) {
        (Os::MacOs, _) => MLX_METAL,
        (Os::Linux, None) => MLX_CPU,
        (Os::Linux, Some(Cuda::V12)) => MLX_CUDA_12,
        (Os::Linux, Some(Cuda::V13)) => MLX_CUDA_13,
    }
}

/// The build of MLX that the linker reads.
///
/// All builds of one version export the same C++ API. The CUDA one names NVIDIA's driver among its needs, which a
/// machine without a GPU lacks; linking against the CPU build lets such a machine build for one that has it.
pub fn mlx_to_link(config: &Config) -> Wheels {
    match config.os {
        Os::MacOs => MLX_METAL,
        Os::Linux => MLX_CPU,
    }
}

impl Wheels {
    /// The folder in the cache; the target is part of its name, since one home folder may serve several machines.
    pub fn folder(&self, config: &Config) -> String {
        let os = match config.os {
            Os::Linux => "linux",
            Os::MacOs => "macos",
        };
        format!("{}-{}-{os}-{}", self.package, self.version, config.arch)
    }

    /// The same for uv, which knows systems rather than tags.
    pub fn uv_platform(config: &Config) -> String {
        match config.os {
            Os::MacOs => "aarch64-apple-darwin".to_owned(),
            Os::Linux => format!("{}-manylinux_2_35", config.arch),
        }
    }

    /// The wheel tags to ask pip for when the target is not the machine that builds; newest system first.
    pub fn platform_tags(config: &Config) -> Vec<String> {
        match config.os {
            Os::MacOs => {
                ["14_0", "13_0", "12_0", "11_0"].iter().map(|v| format!("macosx_{v}_arm64")).collect()
            }
            Os::Linux => {
                ["manylinux_2_35", "manylinux_2_28", "manylinux_2_27", "manylinux_2_17", "manylinux2014"]
                    .iter()
                    .map(|tag| format!("{tag}_{}", config.arch))
                    .collect()
            }
        }
    }
}
