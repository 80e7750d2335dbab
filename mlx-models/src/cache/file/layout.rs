//! How the cache of a layer lies in a file.

use std::collections::BTreeMap;

use mlx_core::io::SafetensorsFile;
use mlx_core::{Array, DType, Quantization};
use serde::{Deserialize, Serialize};

use crate::cache::buffers::Buffers;
use crate::cache::rows::{Packed, Rows};
use crate::cache::{KvCache, Store};
use crate::{CacheConfig, Result};

/// What the metadata say of a layer.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Layer {
    /// Positions that a token sees, if that is limited.
    window: Option<i32>,
    /// Positions that are held, the newest ones.
    held: i32,
    /// How the cache packs, or will once it has read enough.
    quantization: Option<Packing>,
    /// Whether it has.
    packed: bool,
}

/// A [`CacheConfig`] with quantization.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Packing {
    group_size: i32,
    bits: i32,
    start: usize,
}

/// Which layer, and how many tokens it has read.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) index: usize,
    pub(super) offset: i32,
}

/// What a tensor has to be.
pub(super) struct Tensor {
    pub(super) name: String,
    pub(super) dtype: DType,
    pub(super) shape: Vec<usize>,
}

/// dtype and `[B, Hkv, Dh]` of keys and of values.
fn rows(cache: &KvCache) -> Option<[(DType, [i32; 3]); 2]> {
    match &cache.store {
        None => None,
        Some(Store::Plain(buffers)) => Some([buffers.keys.row(), buffers.values.row()]),
        Some(Store::Packed(buffers)) => Some([buffers.keys.row(), buffers.values.row()]),
    }
}

/// Whether a cache is of the kind that another is.
pub(super) fn is_alike(cache: &KvCache, other: &KvCache) -> bool {
    cache.window == other.window && rows(cache).is_some() && rows(cache) == rows(other)
}

impl Layer {
    pub(super) fn of(cache: &KvCache) -> Self {
        let quantization = cache.config.quantization.map(|quantization| Packing {
            group_size: quantization.group_size(),
            bits: quantization.bits(),
            start: cache.config.start,
        });
        let packed = matches!(cache.store, Some(Store::Packed(_)));
        Layer { window: cache.window, held: cache.held(), quantization, packed }
    }

    /// mlx-lm's class for such a cache; it has none for the last.
    pub(super) fn class(&self) -> &'static str {
        match (self.packed, self.window) {
            (false, None) => "KVCache",
            (false, Some(_)) => "RotatingKVCache",
            (true, None) => "QuantizedKVCache",
            (true, Some(_)) => "RotatingQuantizedKVCache",
        }
    }

    /// Rows in front of those that are held, all zeros.
    ///
    /// A cache of mlx-lm's that has read as much as its window always has as many rows. Ours may lack the oldest, which is
    /// the one that the next token does not see.
    fn padding(&self, place: Place) -> i32 {
        let short = self.window.is_some_and(|window| place.offset >= window && self.held < window);
        i32::from(short && !self.packed)
    }

    /// The numbers of mlx-lm's classes, as tensors are named.
    pub(super) fn scalars(&self, place: Place) -> Vec<(String, i32)> {
        let mut values = vec![place.offset];
        match &self.quantization {
            Some(packing) if self.packed => {
                values.extend([packing.group_size, packing.bits]);
                values.extend(self.window);
            }
            _ => {
                let kept_at_the_front = 0;
                let next = self.held + self.padding(place);
                values.extend(
                    self.window.map(|window| [kept_at_the_front, window, next]).into_iter().flatten(),
                );
            }
        }
        values
            .into_iter()
            .enumerate()
            .map(|(i, value)| (format!("{}.{}", place.index, i + 2), value))
            .collect()
    }

    /// The tensors of a cache, by name.
    pub(super) fn arrays(&self, place: Place, cache: &KvCache) -> Result<BTreeMap<String, Array>> {
        let index = place.index;
        let mut arrays = BTreeMap::new();
        match &cache.store {
            None => {}
            Some(Store::Plain(buffers)) => {
                for (kind, rows) in [&buffers.keys, &buffers.values].into_iter().enumerate() {
                    let held = rows.part(0, self.held)?;
                    let held = match self.padding(place) {
                        0 => held,
                        length => {
                            let (dtype, [batch, heads, width]) = rows.row();
                            let zeros = Array::zeros(&[batch, heads, length, width], dtype)?;
                            Rows::joined([&zeros, &held], 0)?
                        }
                    };
                    arrays.insert(format!("{index}.{kind}"), held);
                }
            }
            Some(Store::Packed(buffers)) => {
                for (kind, rows) in [&buffers.keys, &buffers.values].into_iter().enumerate() {
                    for (part, array) in rows.part(0, self.held)?.parts.into_iter().enumerate() {
                        arrays.insert(format!("{index}.{kind}.{part}"), array);
                    }
                }
            }
        }
        Ok(arrays)
    }

    /// What does not fit a layer that makes caches like `fresh`.
    pub(super) fn check(&self, place: Place, fresh: &KvCache) -> Result<(), String> {
        if self.window != fresh.window {
            let name = |window: Option<i32>| window.map_or("none".to_owned(), |window| window.to_string());
            return Err(format!(
                "its window is {}, the model's is {}",
                name(self.window),
                name(fresh.window)
            ));
        }
        let needed = self.window.map_or(place.offset, |window| place.offset.min(window - 1));
        if !(needed.max(0)..=place.offset).contains(&self.held) {
            return Err(format!("{} positions held of {}; {needed} are needed", self.held, place.offset));
        }
        if self.packed && self.quantization.is_none() {
            return Err("packed without saying how".to_owned());
        }
        for (_, [_, _, width]) in rows(fresh).into_iter().flatten() {
            self.config().check(width as usize).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    fn config(&self) -> CacheConfig {
        match &self.quantization {
            None => CacheConfig::default(),
            Some(Packing { group_size, bits, start }) => {
                let quantization = Some(Quantization::affine(*group_size, *bits));
                CacheConfig { quantization, start: *start }
            }
        }
    }

    /// The tensors of the keys and then of the values, for a layer that makes caches like `fresh`.
    pub(super) fn tensors(&self, place: Place, fresh: &KvCache) -> Vec<Tensor> {
        let mut tensors = Vec::new();
        for (kind, (dtype, [batch, heads, width])) in rows(fresh).into_iter().flatten().enumerate() {
            let mut add = |name: String, dtype, width: i32| {
                let length = self.held + self.padding(place);
                let shape = [batch, heads, length, width].map(|axis| axis as usize).to_vec();
                tensors.push(Tensor { name, dtype, shape });
            };
            let name = format!("{}.{kind}", place.index);
            match &self.quantization {
                Some(Packing { group_size, bits, .. }) if self.packed => {
                    let groups = width / group_size;
                    add(format!("{name}.0"), DType::U32, width / 32 * bits);
                    add(format!("{name}.1"), dtype, groups);
                    add(format!("{name}.2"), dtype, groups);
                }
                _ => add(name, dtype, width),
            }
        }
        tensors
    }

    /// The cache that [`tensors`](Self::tensors) hold.
    pub(super) fn cache(&self, place: Place, tensors: &[Tensor], file: &SafetensorsFile) -> Result<KvCache> {
        let read = |tensor: &Tensor| file.array(&tensor.name);
        let end = self.held;
        let store = match (tensors, self.config().quantization) {
            ([k, v], _) => {
                let from = self.padding(place);
                let [keys, values] = [read(k)?, read(v)?];
                let [keys, values] = [keys.part(from, from + end)?, values.part(from, from + end)?];
                Some(Store::Plain(Buffers { keys, values, end }))
            }
            ([kc, ks, kb, vc, vs, vb], Some(quantization)) => {
                let keys = Packed { parts: [read(kc)?, read(ks)?, read(kb)?], quantization };
                let values = Packed { parts: [read(vc)?, read(vs)?, read(vb)?], quantization };
                Some(Store::Packed(Buffers { keys, values, end }))
            }
            _ => None,
        };
        Ok(KvCache {
            window: self.window,
            config: self.config(),
            offset: place.offset,
            store,
            recorded: None,
        })
    }
}
