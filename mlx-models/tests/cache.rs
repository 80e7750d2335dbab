//! Caches against attention with every key kept and an explicit mask, on many small random histories.
//!
//! A case is a history: a prompt in chunks, then steps, tokens taken back, and calls that fail. After each step the
//! result is compared with softmax attention computed here, in float32, over all the keys and values that count. Where
//! the cache packs, those are what packing and unpacking leaves of each row. The seed is in every message.

use mlx_core::kernels::{self, Mode};
use mlx_core::{Array, DType, Quantization};
use mlx_models::{CacheConfig, KvCache};

/// What the kernels' other order of summing may change.
const TOLERANCE: f32 = 1e-4;

/// splitmix64: <https://prng.di.unimi.it/splitmix64.c>.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number of `from..=to`.
    fn within(&mut self, from: i32, to: i32) -> i32 {
        from + (self.next() % (to - from + 1) as u64) as i32
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.next() as usize % from.len()]
    }

    fn rows(&mut self, shape: [i32; 4]) -> Array {
        let count = shape.iter().product();
        let number = |_| (self.next() >> 40) as f32 / (1 << 22) as f32 - 2.0;
        Array::from_slice(&(0..count).map(number).collect::<Vec<f32>>(), &shape).unwrap()
    }
}

/// Every key and value that was ever given and not taken back.
struct Reference {
    window: Option<i32>,
    /// `[B * Hkv][position][Dh]`
    keys: Vec<Vec<Vec<f32>>>,
    values: Vec<Vec<Vec<f32>>>,
}

impl Reference {
    fn length(&self) -> i32 {
        self.keys[0].len() as i32
    }

    fn push(&mut self, keys: &Array, values: &Array) {
        for (held, new) in [(&mut self.keys, keys), (&mut self.values, values)] {
            let (length, width) = (new.shape()[2] as usize, new.shape()[3] as usize);
            let new = new.to_vec::<f32>().unwrap();
            for (held, new) in held.iter_mut().zip(new.chunks(length * width)) {
                held.extend(new.chunks(width).map(<[f32]>::to_vec));
            }
        }
    }

    fn truncate(&mut self, length: i32) {
        self.keys.iter_mut().chain(&mut self.values).for_each(|head| head.truncate(length as usize));
    }

    /// Packs and unpacks everything.
    fn pack(&mut self, quantization: Quantization) {
        for head in self.keys.iter_mut().chain(&mut self.values) {
            let shape = [head.len() as i32, head.first().map_or(0, Vec::len) as i32];
            if shape[0] > 0 {
                let rows = Array::from_slice(&head.concat(), &shape).unwrap();
                let rows = unpacked(&rows, quantization).to_vec::<f32>().unwrap();
                *head = rows.chunks(shape[1] as usize).map(<[f32]>::to_vec).collect();
            }
        }
    }

    /// Whether the query at `own` may see the key at `key`: the full mask.
    fn sees(&self, own: i32, key: i32) -> bool {
        key <= own && self.window.is_none_or(|window| key > own - window)
    }

    /// Attention of queries `[B, Hq, L, Dh]`, the last of which stand at the last keys.
    fn attend(&self, queries: &Array, scale: f32) -> Vec<f32> {
        let &[batch, heads, length, width] = queries.shape() else { panic!() };
        let group = (batch * heads) as usize / self.keys.len();
        let queries = queries.to_vec::<f32>().unwrap();
        let mut out = Vec::new();
        for (row, query) in queries.chunks(width as usize).enumerate() {
            let head = row / length as usize / group;
            let own = self.length() - length + row as i32 % length;
            let score = |key: i32| match self.sees(own, key) {
                true => scale * dot(query, &self.keys[head][key as usize]),
                false => f32::NEG_INFINITY,
            };
            let scores: Vec<f32> = (0..self.length()).map(score).collect();
            let max = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let weights: Vec<f32> = scores.iter().map(|score| (score - max).exp()).collect();
            let total: f32 = weights.iter().sum();
            let mut sum = vec![0.0; width as usize];
            for (weight, value) in weights.iter().zip(&self.values[head]) {
                sum.iter_mut().zip(value).for_each(|(sum, value)| *sum += weight / total * value);
            }
            out.extend(sum);
        }
        out
    }
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn unpacked(rows: &Array, quantization: Quantization) -> Array {
    rows.quantize(quantization).unwrap().dequantize().unwrap()
}

/// One history.
struct Case {
    seed: u64,
    random: Random,
    cache: KvCache,
    reference: Reference,
    batch: i32,
    kv_heads: i32,
    group: i32,
    width: i32,
    packed: bool,
    /// The longest that the cache ever was.
    longest: i32,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let window = random.pick(&[None, Some(1), Some(2), Some(3), Some(5), Some(8), Some(13), Some(90)]);
        let (batch, kv_heads, group) = (random.within(1, 4), random.within(1, 2), random.within(1, 3));
        let width = random.pick(&[32, 64]);
        let bits_and_group = random.pick(&[None, None, Some((8, width)), Some((8, 32)), Some((4, 32))]);
        let config = CacheConfig {
            quantization: bits_and_group.map(|(bits, group)| Quantization::affine(group, bits)),
            start: random.pick(&[0, 0, 3, 20]),
        };
        let cache = window.map_or_else(KvCache::new, KvCache::sliding).with_config(config);
        let heads = vec![Vec::new(); (batch * kv_heads) as usize];
        let reference = Reference { window, keys: heads.clone(), values: heads };
        Case { seed, random, cache, reference, batch, kv_heads, group, width, packed: false, longest: 0 }
    }

    fn describe(&self) -> String {
        let (window, config) = (self.cache.window(), self.cache.config());
        format!("seed {}: window {window:?}, {config:?}, at {}", self.seed, self.cache.offset())
    }

    fn longest_step(&self) -> i32 {
        self.reference.window.unwrap_or(12) + 3
    }

    fn step(&mut self, length: i32) {
        let config = self.cache.config();
        let packs =
            config.quantization.filter(|_| self.packed || self.cache.offset() as usize >= config.start);
        if let Some(quantization) = packs.filter(|_| !self.packed) {
            self.reference.pack(quantization);
            self.packed = true;
        }
        let queries = self.random.rows([self.batch, self.kv_heads * self.group, length, self.width]);
        let [keys, values] =
            [(); 2].map(|()| self.random.rows([self.batch, self.kv_heads, length, self.width]));
        match packs {
            Some(how) => self.reference.push(&unpacked(&keys, how), &unpacked(&values, how)),
            None => self.reference.push(&keys, &values),
        }
        let scale = (self.width as f32).powf(-0.5);
        let attended = self.cache.attend(&queries, &keys, &values, scale).unwrap();
        assert_eq!(attended.shape(), queries.shape(), "{}", self.describe());
        let attended = attended.to_vec::<f32>().unwrap();
        let expected = self.reference.attend(&queries, scale);
        let worst = attended.iter().zip(&expected).map(|(a, e)| (a - e).abs()).fold(0.0, f32::max);
        assert!(worst <= TOLERANCE, "{}, a step of {length}: {worst}", self.describe());
        assert_eq!(self.cache.offset(), self.reference.length(), "{}", self.describe());
        self.longest = self.longest.max(self.cache.offset());
        // What is promised: the last 64 tokens of what was ever read.
        let promised = (self.longest - 64).max(0);
        assert!(self.cache.offset() < promised || self.cache.can_truncate(promised), "{}", self.describe());
        self.check_memory();
    }

    fn check_memory(&self) {
        let numbers_of_row = 2 * self.batch * self.kv_heads * self.width;
        let bits = match self.cache.config().quantization.filter(|_| self.packed) {
            Some(how) => how.bits() + 64 / how.group_size(),
            None => 32,
        };
        let window = self.reference.window.unwrap_or(self.longest + 1);
        // The last positions, spare ones for taking tokens back, and a step of room.
        let most = (window - 1 + 64 + 256) * numbers_of_row * bits / 8;
        assert!(self.cache.nbytes() <= most as usize, "{}: {} bytes", self.describe(), self.cache.nbytes());
    }

    fn take_back(&mut self) {
        let (offset, before) = (self.cache.offset(), self.cache.nbytes());
        // A few tokens, which is what mostly happens; to where it is just possible and just not; and anywhere.
        let length = match self.random.within(0, 6) {
            0 => self.cache.shortest_prefix(),
            1 => self.cache.shortest_prefix() - 1,
            2 => self.longest - 64,
            3 => self.random.within(0, offset),
            _ => offset - self.random.within(0, 9),
        };
        let length = length.clamp(0, offset);
        // By definition: no window, nothing left, or not further back than what is promised.
        let promised = self.reference.window.is_none() || length == 0 || length >= self.longest - 64;
        let possible = self.cache.can_truncate(length);
        assert!(possible || !promised, "{}: {length} cannot be gone back to", self.describe());
        match self.cache.truncate(length) {
            Ok(()) => {
                assert!(possible, "{}", self.describe());
                self.reference.truncate(length);
                if length == 0 {
                    (self.packed, self.longest) = (false, 0);
                }
            }
            Err(error) => {
                let (error, shortest) = (error.to_string(), self.cache.shortest_prefix().to_string());
                assert!(!possible && error.contains(&length.to_string()), "{error}");
                assert!(error.contains(&shortest), "{error}");
                assert_eq!((self.cache.offset(), self.cache.nbytes()), (offset, before));
            }
        }
        assert!(self.cache.truncate(self.cache.offset() + 1).is_err(), "{}", self.describe());
    }

    /// What does not fit is an error that changes nothing; the steps after it show that.
    fn fail(&mut self) {
        if self.cache.offset() == 0 {
            return;
        }
        let before = (self.cache.offset(), self.cache.nbytes());
        let (b, h, w) = (self.batch, self.kv_heads, self.width);
        let heads = h * self.group;
        let zeros = |shape: [i32; 4], dtype| Array::zeros(&shape, dtype).unwrap();
        for (q, k, v, dtype) in [
            ([b, heads, 1, w], [b + 1, h, 1, w], [b + 1, h, 1, w], DType::F32),
            ([b, heads, 1, w], [b, h, 1, w], [b, h, 2, w], DType::F32),
            ([b, heads, 2, w], [b, h, 1, w], [b, h, 1, w], DType::F32),
            ([b, heads + 1, 1, w], [b, h + 1, 1, w], [b, h + 1, 1, w], DType::F32),
            ([b, heads, 1, w / 2], [b, h, 1, w / 2], [b, h, 1, w / 2], DType::F32),
            ([b, heads, 1, w], [b, h, 1, w], [b, h, 1, w], DType::F16),
            ([b, heads, 0, w], [b, h, 0, w], [b, h, 0, w], DType::F32),
        ] {
            let outcome = self.cache.attend(&zeros(q, dtype), &zeros(k, dtype), &zeros(v, dtype), 1.0);
            assert!(outcome.is_err(), "{}: {q:?} {k:?} {v:?} {dtype}", self.describe());
            assert_eq!((self.cache.offset(), self.cache.nbytes()), before);
        }
    }

    fn run(mut self) {
        let prompt = self.random.within(1, 4 * self.reference.window.unwrap_or(10));
        let chunk = self.random.within(1, self.longest_step());
        let mut left = prompt;
        while left > 0 {
            self.step(chunk.min(left));
            left -= chunk;
        }
        for _ in 0..12 {
            match self.random.within(0, 9) {
                0..=4 => self.step(1),
                5 | 6 => {
                    let length = self.random.within(1, self.longest_step());
                    self.step(length);
                }
                7 | 8 => self.take_back(),
                _ => self.fail(),
            }
        }
        self.step(1);
    }
}

#[test]
fn every_history_gives_what_attention_over_all_keys_gives() {
    for seed in 0..400 {
        Case::new(seed).run();
    }
}

#[test]
fn so_it_does_by_mlx_s_own_kernels() {
    kernels::with(Mode::Off, || (1000..1100).for_each(|seed| Case::new(seed).run()));
}

#[test]
fn so_it_does_where_buffers_fill_up_and_move_several_times() {
    for seed in 2000..2012 {
        let mut case = Case::new(seed);
        for round in 0..40 {
            let length = if round % 3 == 0 { case.random.within(20, 70) } else { case.random.within(1, 9) };
            case.step(length);
            if round % 4 == 3 {
                case.take_back();
            }
        }
    }
}
