//! A checkpoint in memory, to be changed before it is written.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use mlx_core::DType;
use mlx_core::io::{SafetensorsFile, TensorView, write_safetensors};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<u8>,
}

/// `config.json` and the tensors of all shards.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) config: Value,
    pub(crate) tensors: BTreeMap<String, Tensor>,
}

impl Draft {
    pub(crate) fn of(name: &str) -> Self {
        let config = serde_json::from_slice(&fs::read(data(name).join("config.json")).unwrap()).unwrap();
        let mut tensors = BTreeMap::new();
        for entry in fs::read_dir(data(name)).unwrap() {
            let path = entry.unwrap().path();
            let file_name = path.file_name().unwrap().to_str().unwrap();
            if !file_name.starts_with("model") || !file_name.ends_with(".safetensors") {
                continue;
            }
            let file = SafetensorsFile::open(&path).unwrap();
            for info in file.tensors() {
                let data = file.read(&info.name).unwrap();
                let tensor = Tensor { dtype: info.dtype, shape: info.shape.clone(), data };
                tensors.insert(info.name.clone(), tensor);
            }
        }
        Draft { config, tensors }
    }

    pub(crate) fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.get_mut(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// Writes the folder anew, with one file for all tensors.
    pub(crate) fn write(&self) -> TempDir {
        let folder = TempDir::new().unwrap();
        fs::write(folder.path().join("config.json"), self.config.to_string()).unwrap();
        self.write_shard(&folder.path().join("model.safetensors"), |_| true);
        folder
    }

    pub(crate) fn write_shard(&self, path: &Path, belongs: impl Fn(&str) -> bool) {
        let chosen = self.tensors.iter().filter(|(name, _)| belongs(name));
        let views: Vec<TensorView<'_>> = chosen
            .map(|(name, t)| TensorView { name, dtype: t.dtype, shape: &t.shape, data: &t.data })
            .collect();
        write_safetensors(path, &views, &BTreeMap::new()).unwrap();
    }
}
