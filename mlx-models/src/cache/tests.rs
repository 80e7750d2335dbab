//! What a step sees, and what the buffers take.

use mlx_core::DType;

use super::buffers::{MOST_ROOM, SPARE};
use super::*;

/// Keys that carry their own position.
fn rows(from: i32, length: i32) -> Array {
    let positions: Vec<f32> = (from..from + length).map(|p| p as f32).collect();
    Array::from_slice(&positions, &[1, 1, length, 1]).unwrap()
}

/// Takes in keys and values; gives those that the step sees.
fn update(cache: &mut KvCache, keys: &Array, values: &Array) -> Result<[Array; 2]> {
    cache.check(keys, keys, values)?;
    let length = keys.dim(2)?;
    let (store, Seen::Plain(seen)) = cache.extended(keys, values, length)? else { panic!("it is packed") };
    cache.store = Some(store);
    cache.offset += length;
    Ok(seen)
}

/// The positions that query `i` of a step sees, by mask and keys together.
fn seen(cache: &mut KvCache, length: i32) -> Vec<Vec<i32>> {
    let mask = cache.mask(length);
    let new = rows(cache.offset(), length);
    let [keys, values] = update(cache, &new, &new).unwrap();
    let keys = keys.to_vec::<f32>().unwrap();
    assert_eq!(keys, values.to_vec::<f32>().unwrap());
    let count = keys.len();
    (0..length as usize)
        .map(|query| {
            let own = count - length as usize + query;
            let sees = |key: usize| match mask {
                AttentionMask::None => true,
                AttentionMask::Window(window) => key <= own && key + window as usize > own,
                _ => key <= own,
            };
            (0..count).filter(|key| sees(*key)).map(|key| keys[key] as i32).collect()
        })
        .collect()
}

#[test]
fn every_query_sees_its_window_whatever_the_chunks() {
    for window in [None, Some(1), Some(2), Some(5), Some(8), Some(300)] {
        for chunk in [1, 2, 3, 7, 8, 9, 11, 64, 260] {
            let mut cache = window.map_or_else(KvCache::new, KvCache::sliding);
            let total = if chunk > 60 { 780 } else { 40 };
            // Single steps follow each chunk, as decoding follows prefill.
            let steps = std::iter::repeat_n([chunk, 1], total as usize).flatten();
            for length in steps {
                let first = cache.offset();
                if first >= total {
                    break;
                }
                for (i, positions) in seen(&mut cache, length).into_iter().enumerate() {
                    let own = first + i as i32;
                    let oldest = window.map_or(0, |w| (own + 1 - w).max(0));
                    assert_eq!(
                        positions,
                        (oldest..=own).collect::<Vec<_>>(),
                        "window {window:?}, chunk {chunk}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_window_bounds_the_memory() {
    let (mut growing, mut sliding) = (KvCache::new(), KvCache::sliding(16));
    for position in 0..1000 {
        for cache in [&mut growing, &mut sliding] {
            update(cache, &rows(position, 1), &rows(position, 1)).unwrap();
        }
    }
    assert_eq!((growing.offset(), sliding.offset()), (1000, 1000));
    assert!(sliding.nbytes() <= 2 * 4 * (15 + SPARE + MOST_ROOM) as usize, "{}", sliding.nbytes());
    assert!(growing.nbytes() >= 2 * 4 * 1000);
}

#[test]
fn a_long_first_chunk_is_held_no_longer_than_the_window() {
    let mut cache = KvCache::sliding(16);
    let [keys, _] = update(&mut cache, &rows(0, 4000), &rows(0, 4000)).unwrap();
    assert_eq!(keys.shape(), [1, 1, 4000, 1]);
    assert!(cache.nbytes() <= 2 * 4 * (15 + SPARE + MOST_ROOM) as usize, "{}", cache.nbytes());
    assert_eq!(seen(&mut cache, 1), [(3985..=4000).collect::<Vec<_>>()]);
}

#[test]
fn keys_of_another_shape_are_an_error() {
    let zeros = |shape: &[i32], dtype| Array::zeros(shape, dtype).unwrap();
    let held = [2, 2, 3, 4];
    // Beside longer axes, those of length one, which MLX would repeat, and dtypes that it would cast.
    for (keys, values) in [
        ([1, 2, 1, 4], [1, 2, 1, 4]),
        ([2, 1, 1, 4], [2, 1, 1, 4]),
        ([2, 2, 1, 1], [2, 2, 1, 1]),
        ([2, 3, 1, 4], [2, 3, 1, 4]),
        ([2, 2, 2, 4], [2, 2, 1, 4]),
        ([2, 2, 1, 4], [2, 2, 1, 1]),
        ([2, 2, 1, 4], [1, 2, 1, 4]),
    ] {
        // Both with room to write into and without.
        for room in [true, false] {
            let mut cache = KvCache::new();
            let first = if room { held } else { [2, 2, MOST_ROOM + 3, 4] };
            let first = zeros(&first, DType::F32);
            update(&mut cache, &first, &first).unwrap();
            if !room {
                let rest = zeros(&[2, 2, MOST_ROOM, 4], DType::F32);
                update(&mut cache, &rest, &rest).unwrap();
            }
            let before = (cache.offset(), cache.nbytes());
            let outcome = update(&mut cache, &zeros(&keys, DType::F32), &zeros(&values, DType::F32));
            assert!(outcome.is_err(), "{keys:?} {values:?}");
            assert_eq!((cache.offset(), cache.nbytes()), before);
        }
    }
    let mut cache = KvCache::new();
    assert!(update(&mut cache, &zeros(&[2, 2, 4], DType::F32), &zeros(&[2, 2, 4], DType::F32)).is_err());
    seen(&mut cache, 2);
    let wide = zeros(&[1, 2, 1, 1], DType::F32);
    let half = zeros(&[1, 1, 1, 1], DType::F16);
    for odd in [&wide, &half] {
        assert!(update(&mut cache, odd, odd).is_err());
    }
    assert_eq!(seen(&mut cache, 1), [[0, 1, 2]], "the cache still works");
}

#[test]
fn what_a_window_leaves_can_be_taken_back_exactly_as_far_as_it_is_held() {
    let mut cache = KvCache::sliding(16);
    update(&mut cache, &rows(0, 500), &rows(0, 500)).unwrap();
    // 15 positions and 64 spare ones are held: 421 to 499. The window of token 436 begins at 421.
    assert_eq!(cache.shortest_prefix(), 436);
    for (length, possible) in [(0, true), (1, false), (435, false), (436, true), (500, true), (501, false)] {
        assert_eq!(cache.can_truncate(length), possible, "{length}");
    }
    let message = cache.truncate(435).unwrap_err().to_string();
    assert!(message.contains("435 of 500") && message.contains("436"), "{message}");
    let message = cache.truncate(501).unwrap_err().to_string();
    assert!(message.contains("501 of 500"), "{message}");
    assert!(cache.truncate(-1).is_err());
    assert_eq!(cache.offset(), 500);
    cache.truncate(436).unwrap();
    assert_eq!(seen(&mut cache, 1), [(421..=436).collect::<Vec<_>>()]);
    cache.truncate(0).unwrap();
    assert_eq!((cache.offset(), cache.nbytes()), (0, 0));
    assert_eq!(seen(&mut cache, 2), [vec![0], vec![0, 1]]);
}

#[test]
fn layers_are_taken_back_together_or_not_at_all() {
    let mut caches = [KvCache::new(), KvCache::sliding(16)];
    for cache in &mut caches {
        update(cache, &rows(0, 500), &rows(0, 500)).unwrap();
    }
    assert_eq!(shortest_prefix(&caches), 436);
    let message = truncate(&mut caches, 400).unwrap_err().to_string();
    assert!(message.contains("layer 1") && message.contains("400") && message.contains("436"), "{message}");
    assert!(truncate(&mut caches, usize::MAX).is_err());
    assert_eq!(caches.each_ref().map(KvCache::offset), [500, 500]);
    truncate(&mut caches, 450).unwrap();
    assert_eq!(caches.each_ref().map(KvCache::offset), [450, 450]);
}

#[test]
fn heads_that_groups_do_not_divide_are_an_error_that_names_both() {
    let packed = CacheConfig::quantized(Quantization::affine(64, 8));
    // Also while nothing is packed yet.
    for start in [0, 100] {
        let mut cache = KvCache::new().with_config(CacheConfig { start, ..packed });
        let heads = Array::zeros(&[1, 1, 1, 80], DType::F32).unwrap();
        let message = cache.attend(&heads, &heads, &heads, 1.0).unwrap_err().to_string();
        assert!(message.contains("80") && message.contains("groups of 64"), "{message}");
        assert_eq!((cache.offset(), cache.nbytes()), (0, 0));
    }
    for (group_size, bits) in [(128, 8), (64, 2), (64, 6), (0, 8), (-64, 8)] {
        let config = CacheConfig::quantized(Quantization::affine(group_size, bits));
        assert!(config.check(128).is_err(), "{config:?}");
    }
    assert!(CacheConfig::quantized(Quantization::Mxfp8).check(128).is_err());
    assert!(CacheConfig::default().check(80).is_ok());
}
