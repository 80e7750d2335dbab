//! The tensors of a checkpoint in one form, whatever the format: packed weights as the matrices that they stand for.

use std::collections::BTreeMap;

use cpu_kernels::blocks::BlockFormat;
use mlx_core::io::TensorInfo;
use mlx_core::{DType, kernels};
use serde_json::Value;

use crate::Checkpoint;
use crate::checkpoint::Folder;
use crate::gguf::{GgmlType, GgufTensor};

/// What a tensor is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Language,
    /// Images and sound, and tables of angles that are computed anew.
    Other,
}

/// A tensor, with the scales that belong to it.
#[derive(Debug)]
pub(super) struct Tensor<'c> {
    name: &'c str,
    /// As it is before quantization.
    shape: Vec<u64>,
    pub(super) parameters: u64,
    pub(super) stored_as: String,
    pub(super) stored_bytes: u64,
    /// The dtype of a tensor of plain floats.
    pub(super) float: Option<DType>,
    /// Bytes that stay as they are when it is loaded.
    packed_bytes: u64,
    /// Numbers that are converted to what the model computes in.
    converted: u64,
    pub(super) side: Side,
}

impl Tensor<'_> {
    /// Bytes in memory of a model that computes in `dtype`; without one floats stay as they are.
    pub(super) fn load_bytes(&self, dtype: Option<DType>) -> u64 {
        match dtype.or(self.float) {
            Some(dtype) => {
                self.packed_bytes.saturating_add(self.converted.saturating_mul(dtype.size() as u64))
            }
            None => self.stored_bytes,
        }
    }

    pub(super) fn rows(&self) -> Option<u64> {
        (self.shape.len() == 2).then(|| self.shape[0])
    }

    pub(super) fn columns(&self) -> Option<u64> {
        (self.shape.len() == 2).then(|| self.shape[1])
    }

    pub(super) fn is_embedding(&self) -> bool {
        const NAMES: [&str; 5] = [
            "embed_tokens.weight",
            "token_embd.weight",
            "wte.weight",
            "word_embeddings.weight",
            "tok_embeddings.weight",
        ];
        NAMES.iter().any(|name| ends_with(self.name, name))
    }

    pub(super) fn is_head(&self) -> bool {
        self.name == "output.weight"
            || ["lm_head.weight", "embed_out.weight"].iter().any(|name| ends_with(self.name, name))
    }

    pub(super) fn is_key_or_value(&self) -> bool {
        let names = ["k_proj.weight", "v_proj.weight", "attn_k.weight", "attn_v.weight"];
        names.iter().any(|name| ends_with(self.name, name))
    }

    /// The layer that it belongs to: the number in its name.
    pub(super) fn layer(&self) -> Option<u64> {
        let mut parts = self.name.split('.');
        while let Some(part) = parts.next() {
            if matches!(part, "layers" | "blk" | "h" | "blocks") {
                return parts.next()?.parse().ok();
            }
        }
        None
    }
}

/// Whether a name is `end`, or has it as its last parts.
fn ends_with(name: &str, end: &str) -> bool {
    name.strip_suffix(end).is_some_and(|front| front.is_empty() || front.ends_with('.'))
}

fn side_of(name: &str) -> Side {
    const OTHER: [&str; 6] = ["vision", "visual", "audio", "multi_modal_projector", "mm_projector", "mmproj"];
    const TABLES: [&str; 2] = ["inv_freq", "rope_freqs"];
    let is_other = |part: &str| OTHER.iter().any(|other| part.starts_with(other)) || TABLES.contains(&part);
    if name.split('.').any(is_other) { Side::Other } else { Side::Language }
}

/// The tensors of a checkpoint.
pub(super) fn all(checkpoint: &Checkpoint) -> Vec<Tensor<'_>> {
    match checkpoint {
        Checkpoint::Folder(folder) => of_folder(folder),
        Checkpoint::Gguf(file) => file.tensors().map(of_gguf).collect(),
    }
}

fn of_folder(folder: &Folder) -> Vec<Tensor<'_>> {
    let tensors: BTreeMap<&str, &TensorInfo> = folder
        .files()
        .iter()
        .flat_map(|file| file.tensors())
        .map(|info| (info.name.as_str(), info))
        .collect();
    let config = folder.config();
    let quantization = config.get("quantization").or_else(|| config.get("quantization_config"));
    let has = |name: String| tensors.contains_key(name.as_str());
    let mut found = Vec::new();
    for (name, info) in &tensors {
        let belongs = |suffix: &str| {
            name.strip_suffix(suffix)
                .is_some_and(|base| has(format!("{base}.weight")) && has(format!("{base}.scales")))
        };
        let of_fp8 = [".weight_scale_inv", ".weight_scale", ".input_scale", ".input_scale_ub"];
        let of_fp8 = of_fp8.iter().find_map(|suffix| name.strip_suffix(suffix));
        let of_fp8 = of_fp8.is_some_and(|base| has(format!("{base}.weight")));
        if belongs(".scales") || belongs(".biases") || of_fp8 {
            continue;
        }
        let base = name.strip_suffix(".weight").filter(|_| info.dtype == DType::U32);
        let scales = base.and_then(|base| tensors.get(format!("{base}.scales").as_str()));
        found.push(match (base, scales) {
            (Some(base), Some(scales)) => {
                let biases = tensors.get(format!("{base}.biases").as_str()).copied();
                packed(info, scales, biases, group_size(quantization, base))
            }
            _ => plain(info),
        });
    }
    found
}

fn plain(info: &TensorInfo) -> Tensor<'_> {
    let shape = widened(&info.shape);
    let size = product(&shape);
    let is_float = info.dtype.is_float() || info.is_fp8;
    Tensor {
        name: &info.name,
        parameters: size,
        stored_as: if info.is_fp8 { "float8".to_owned() } else { info.dtype.to_string() },
        stored_bytes: info.nbytes(),
        float: info.dtype.is_float().then_some(info.dtype),
        packed_bytes: if is_float { 0 } else { info.nbytes() },
        converted: if is_float { size } else { 0 },
        side: side_of(&info.name),
        shape,
    }
}

/// A matrix of MLX's quantization: 32-bit words of levels, and a scale and a bias for each group.
fn packed<'c>(
    info: &'c TensorInfo,
    scales: &TensorInfo,
    biases: Option<&TensorInfo>,
    group_size: Option<u64>,
) -> Tensor<'c> {
    let (mut shape, groups) = (widened(&info.shape), widened(&scales.shape));
    let columns = group_size.and_then(|size| groups.last()?.checked_mul(size)).filter(|columns| *columns > 0);
    let words = shape.last().copied().unwrap_or(0);
    let stored_as = match (columns, group_size) {
        (Some(columns), Some(size)) => {
            format!("{} bits, groups of {size}", words.saturating_mul(32) / columns)
        }
        _ => "quantized, in groups that the configuration does not tell".to_owned(),
    };
    if let (Some(last), Some(columns)) = (shape.last_mut(), columns) {
        *last = columns;
    }
    // Scales of the microscaling formats are bytes, and stay so.
    let (mut packed_bytes, mut converted, mut stored_bytes) = (info.nbytes(), 0, info.nbytes());
    for part in [Some(scales), biases].into_iter().flatten() {
        stored_bytes = part.nbytes().saturating_add(stored_bytes);
        match part.dtype.is_float() {
            true => converted += product(&widened(&part.shape)),
            false => packed_bytes += part.nbytes(),
        }
    }
    Tensor {
        name: &info.name,
        parameters: product(&shape),
        stored_as,
        stored_bytes,
        float: None,
        packed_bytes,
        converted,
        side: side_of(&info.name),
        shape,
    }
}

/// The group size of a tensor: that of its own entry, by its name with or without what stands before a text model's
/// names, else the one for all.
fn group_size(quantization: Option<&Value>, base: &str) -> Option<u64> {
    let quantization = quantization?;
    let short = base.strip_prefix("language_model.").unwrap_or(base);
    let own = [base, short].iter().find_map(|name| quantization.get(*name)?.get("group_size"));
    own.or_else(|| quantization.get("group_size"))?.as_u64()
}

fn of_gguf(tensor: &GgufTensor) -> Tensor<'_> {
    let shape = widened(&tensor.shape);
    let size = product(&shape);
    // As matrices are loaded, those of experts too: packed where kernels of our own compute or MLX has the format, else
    // as floats.
    let (packed_bytes, converted) = match tensor.ty {
        GgmlType::Block(_) if shape.len() >= 2 && kernels::are_used() => (tensor.nbytes(), 0),
        GgmlType::Block(format) if shape.len() >= 2 && levels(format).is_some() => {
            let bits = levels(format).unwrap_or_default();
            (size / 8 * bits, size / 32 * 2)
        }
        _ => (0, size),
    };
    Tensor {
        name: &tensor.name,
        parameters: size,
        stored_as: tensor.ty.to_string(),
        stored_bytes: tensor.nbytes(),
        float: match tensor.ty {
            GgmlType::F32 => Some(DType::F32),
            GgmlType::F16 => Some(DType::F16),
            GgmlType::BF16 => Some(DType::BF16),
            _ => None,
        },
        packed_bytes,
        converted,
        side: side_of(&tensor.name),
        shape,
    }
}

/// Bits of a level, in formats whose groups of 32 are MLX's.
fn levels(format: BlockFormat) -> Option<u64> {
    match format {
        BlockFormat::Q4_0 | BlockFormat::Q4_1 | BlockFormat::Q4K => Some(4),
        BlockFormat::Q5_0 | BlockFormat::Q5_1 | BlockFormat::Q5K => Some(5),
        BlockFormat::Q8_0 => Some(8),
        _ => None,
    }
}

fn widened(shape: &[usize]) -> Vec<u64> {
    shape.iter().map(|axis| *axis as u64).collect()
}

/// A file's shapes have been checked against its length, save for those with an axis of nothing.
fn product(shape: &[u64]) -> u64 {
    shape.iter().fold(1, |product: u64, axis| product.saturating_mul(*axis))
}
