//! Arguments that several commands take.

use std::str::FromStr;

use clap::ValueEnum;
use mlx_core::Device;

use crate::failure::Failure;

/// Backends that run on a GPU.
const GPU_BACKENDS: [&str; 2] = ["metal", "cuda"];

/// Where to compute.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum DeviceArg {
    /// The processor.
    Cpu,
    /// The GPU, driven through Metal or CUDA.
    Gpu,
}

impl DeviceArg {
    /// The name of the registered backend for this device.
    pub(crate) fn backend(self) -> Result<String, Failure> {
        let DeviceArg::Gpu = self else { return Ok("cpu".to_owned()) };
        // Tells that there is no backend at all, where that is so.
        inference_api::default_backend()?;
        let available = |name: &&str| inference_api::get(name).is_some_and(|backend| backend.is_available());
        GPU_BACKENDS.into_iter().find(available).map(str::to_owned).ok_or_else(no_gpu)
    }

    /// The device for arrays of this program's own.
    pub(crate) fn device(self) -> Result<Device, Failure> {
        match self {
            DeviceArg::Cpu => Ok(Device::Cpu),
            DeviceArg::Gpu if Device::Gpu.is_available() => Ok(Device::Gpu),
            DeviceArg::Gpu => Err(no_gpu()),
        }
    }
}

fn no_gpu() -> Failure {
    Failure::new("--device gpu: MLX finds no GPU on this machine")
}

/// Token ids, given as `1,2,3`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenIds(pub(crate) Vec<u32>);

impl FromStr for TokenIds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let id = |(index, entry): (usize, &str)| {
            entry.trim().parse().map_err(|_| {
                format!(
                    "entry {} is `{entry}`; a token id is a whole number from 0 to {}",
                    index + 1,
                    u32::MAX
                )
            })
        };
        text.split(',').enumerate().map(id).collect::<Result<_, _>>().map(TokenIds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_lists_parse_or_name_the_bad_entry() {
        assert_eq!("2, 10,4294967295".parse(), Ok(TokenIds(vec![2, 10, u32::MAX])));
        let cases = [
            ("", 1, ""),
            ("1,", 2, ""),
            ("1,x,3", 2, "x"),
            ("-1", 1, "-1"),
            ("0,0,4294967296", 3, "4294967296"),
            ("1.5", 1, "1.5"),
        ];
        for (text, at, entry) in cases {
            let error = text.parse::<TokenIds>().unwrap_err();
            assert!(error.starts_with(&format!("entry {at} is `{entry}`; ")), "{text}: {error}");
        }
    }
}
