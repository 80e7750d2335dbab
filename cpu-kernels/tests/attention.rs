//! Attention against the formula in float64.

mod common;

use common::{Element, Noise, assert_close, on_any_threads, wide};
use cpu_kernels::attention::{Attention, HeadOrder, Mask, MaskView, attention};
use cpu_kernels::{Heads, Isa};

/// Sizes of one call.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    b: usize,
    q_heads: usize,
    kv_heads: usize,
    l: usize,
    s: usize,
    dh: usize,
    dv: usize,
}

const fn sizes([b, q_heads, kv_heads, l, s, dh, dv]: [usize; 7]) -> Sizes {
    Sizes { b, q_heads, kv_heads, l, s, dh, dv }
}

impl Sizes {
    fn q(self) -> [usize; 4] {
        [self.b, self.q_heads, self.l, self.dh]
    }

    fn k(self) -> [usize; 4] {
        [self.b, self.kv_heads, self.s, self.dh]
    }

    fn v(self) -> [usize; 4] {
        [self.b, self.kv_heads, self.s, self.dv]
    }

    fn outputs(self) -> usize {
        self.b * self.q_heads * self.l * self.dv
    }
}

/// Buffers that are contiguous in the order of their shapes.
#[derive(Clone)]
struct Operands<T> {
    sizes: Sizes,
    q: Vec<T>,
    k: Vec<T>,
    v: Vec<T>,
}

impl<T: Element> Operands<T> {
    /// Scores are up to about `spread`.
    fn new(noise: &mut Noise, sizes: Sizes, spread: f32) -> Self {
        let values =
            |noise: &mut Noise, shape: [usize; 4], scale| noise.values(shape.iter().product(), scale);
        let (q, k) = (values(noise, sizes.q(), spread), values(noise, sizes.k(), 1.0));
        Operands { sizes, q, k, v: values(noise, sizes.v(), 1.0) }
    }

    fn run(&self, isa: Isa, mask: Mask<'_, T>, order: HeadOrder) -> Vec<T> {
        let q = Heads::contiguous(&self.q, self.sizes.q());
        let k = Heads::contiguous(&self.k, self.sizes.k());
        let v = Heads::contiguous(&self.v, self.sizes.v());
        let mut out = vec![T::from_f32(f32::NAN); self.sizes.outputs()];
        attention(isa, q, k, v, Attention { scale: self.scale(), mask, order }, &mut out);
        out
    }

    fn scale(&self) -> f32 {
        1.0 / (self.sizes.dh.max(1) as f32).sqrt()
    }

    /// `bias(b, h, l, s)` is added to the scores, and -infinity hides a key. Also, for each output, what float32
    /// products of this size may be off by, relative to the values' 1.
    fn reference(&self, bias: impl Fn(usize, usize, usize, usize) -> f64) -> (Vec<f64>, Vec<f64>) {
        let Sizes { b, q_heads, kv_heads, l, s, dh, dv } = self.sizes;
        let (q, k, v) = (wide(&self.q), wide(&self.k), wide(&self.v));
        let (mut out, mut slack) = (vec![], vec![]);
        for row in 0..b * q_heads * l {
            let (batch, head, l) = (row / l / q_heads, row / l % q_heads, row % l);
            let kv_head = batch * kv_heads + head / (q_heads / kv_heads);
            let q = &q[row * dh..][..dh];
            let key = |s| &k[(kv_head * s_stride(self.sizes) + s) * dh..][..dh];
            let product = |s| -> f64 { q.iter().zip(key(s)).map(|(q, k)| q * k).sum() };
            let size = |s| -> f64 { q.iter().zip(key(s)).map(|(q, k)| (q * k).abs()).sum() };
            let scale = f64::from(self.scale());
            let scores: Vec<f64> = (0..s).map(|s| product(s) * scale + bias(batch, head, l, s)).collect();
            let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let p: Vec<f64> = scores
                .iter()
                .map(|score| if max == f64::NEG_INFINITY { 0.0 } else { (score - max).exp() })
                .collect();
            let sum: f64 = p.iter().sum();
            // An error of a score is a relative error of its weight.
            let largest = (0..s).filter(|&s| p[s] > 1e-12).map(size).fold(0.0, f64::max) * scale;
            for d in 0..dv {
                let total: f64 =
                    (0..s).map(|s| p[s] * v[(kv_head * s_stride(self.sizes) + s) * dv + d]).sum();
                out.push(if sum == 0.0 { 0.0 } else { total / sum });
                slack.push(3e-7 * (4.0 + largest + max.abs().min(1e30)));
            }
        }
        (out, slack)
    }

    fn check(&self, mask: Mask<'_, T>, bias: impl Fn(usize, usize, usize, usize) -> f64, what: &str) {
        let (expected, slack) = self.reference(bias);
        for isa in Isa::available() {
            let what = format!("{what} {isa} {:?}", self.sizes);
            let found = on_any_threads(|| self.run(isa, mask, HeadOrder::HeadsFirst));
            assert_close(&found, &expected, |i| slack[i], &what);
            let swapped = on_any_threads(|| self.run(isa, mask, HeadOrder::TokensFirst));
            let Sizes { q_heads, l, dv, .. } = self.sizes;
            for (row, values) in found.chunks(dv).enumerate() {
                let (b, h, position) = (row / l / q_heads, row / l % q_heads, row % l);
                assert_eq!(
                    values,
                    &swapped[((b * l + position) * q_heads + h) * dv..][..dv],
                    "{what}: order"
                );
            }
        }
    }
}

fn s_stride(sizes: Sizes) -> usize {
    sizes.s
}

const HIDDEN: f64 = f64::NEG_INFINITY;

fn window(sizes: Sizes, width: usize) -> impl Fn(usize, usize, usize, usize) -> f64 {
    move |_, _, l, s| {
        let position = (l + sizes.s) as isize - sizes.l as isize;
        let (s, width) = (s as isize, width as isize);
        if s <= position && s > position - width { 0.0 } else { HIDDEN }
    }
}

/// B, Hq, Hkv, L, S, Dh, Dv.
const SIZES: [Sizes; 24] = [
    sizes([1, 1, 1, 1, 1, 1, 1]),
    sizes([1, 1, 1, 2, 1, 1, 1]),
    sizes([2, 2, 1, 1, 7, 2, 3]),
    sizes([2, 4, 2, 5, 7, 2, 3]),
    sizes([1, 4, 1, 1, 255, 64, 64]),
    sizes([1, 9, 3, 1, 257, 64, 64]),
    sizes([2, 6, 1, 1, 1000, 80, 96]),
    sizes([1, 8, 8, 1, 300, 128, 128]),
    sizes([1, 5, 1, 1, 515, 7, 9]),
    sizes([1, 7, 1, 1, 30, 33, 17]),
    sizes([1, 4, 1, 1, 600, 256, 256]),
    sizes([3, 2, 2, 1, 0, 4, 4]),
    sizes([1, 2, 2, 3, 0, 4, 4]),
    sizes([1, 9, 3, 5, 255, 64, 64]),
    sizes([2, 4, 2, 33, 257, 80, 96]),
    sizes([1, 4, 4, 64, 64, 96, 96]),
    sizes([1, 4, 1, 64, 257, 256, 256]),
    sizes([1, 3, 1, 33, 1000, 16, 8]),
    sizes([1, 2, 1, 2, 1000, 128, 128]),
    sizes([1, 1, 1, 33, 5, 6, 5]),
    sizes([2, 1, 1, 64, 96, 1, 2]),
    sizes([1, 2, 1, 100, 192, 12, 12]),
    sizes([1, 1, 1, 4, 97, 0, 6]),
    sizes([1, 2, 1, 1, 97, 0, 6]),
];

fn masks<T: Element>() {
    let mut noise = Noise(1);
    for sizes in SIZES {
        let operands = Operands::<T>::new(&mut noise, sizes, 3.0);
        operands.check(Mask::None, |_, _, _, _| 0.0, "no mask");
        operands.check(Mask::Causal, window(sizes, usize::MAX >> 1), "causal");
        for width in [0, 1, 5, 100, 512] {
            operands.check(Mask::Window(width), window(sizes, width), &format!("window {width}"));
        }
        let Sizes { b, q_heads, l, s, .. } = sizes;
        let shape = [b, q_heads, l, s];
        // All of it, and the same for all heads and batches.
        for strides in [[q_heads * l * s, l * s, s, 1], [0, 0, s, 1], [0, l, 1, 0]] {
            let at = |b, h, l, s| strides[0] * b + strides[1] * h + strides[2] * l + strides[3] * s;
            let size = b * q_heads * l * s.max(1);
            let seen: Vec<bool> = (0..size).map(|_| !noise.bits().is_multiple_of(3)).collect();
            let view = MaskView::new(&seen, shape, strides);
            let bias = |b, h, l, s| if seen[at(b, h, l, s)] { 0.0 } else { HIDDEN };
            operands.check(Mask::Boolean(view), bias, &format!("boolean {strides:?}"));

            let mut added: Vec<T> = noise.values(size, 4.0);
            added
                .iter_mut()
                .filter(|_| noise.bits().is_multiple_of(4))
                .for_each(|x| *x = T::from_f32(f32::NEG_INFINITY));
            let view = MaskView::new(&added, shape, strides);
            let bias = |b, h, l, s| f64::from(added[at(b, h, l, s)].to_f32());
            operands.check(Mask::Additive(view), bias, &format!("additive {strides:?}"));
        }
    }
}

/// Scores of ten thousand overflow without the running maximum, which here rises from block to block or falls.
fn large_scores<T: Element>() {
    let mut noise = Noise(2);
    for (l, s) in [(1, 1000), (20, 500)] {
        for slope in [-1e4, 1e4, 30.0] {
            let sizes = sizes([1, 2, 1, l, s, 4, 8]);
            let mut operands = Operands::<T>::new(&mut noise, sizes, 1.0);
            for (i, k) in operands.k.chunks_mut(4).enumerate() {
                k.copy_from_slice(&[i as f32 / s as f32, 0.5, -0.25, 1.0].map(T::from_f32));
            }
            for q in operands.q.chunks_mut(4) {
                q.copy_from_slice(&[slope, 0.5, 1.0, -2.0].map(T::from_f32));
            }
            operands.check(Mask::None, |_, _, _, _| 0.0, &format!("slope {slope}"));
            operands.check(Mask::Causal, window(sizes, s), &format!("causal, slope {slope}"));
        }
    }
}

/// Subnormal numbers are neither flushed nor made infinite.
fn tiny_operands<T: Element>() {
    let mut noise = Noise(3);
    for l in [1, 3] {
        let mut operands = Operands::<T>::new(&mut noise, sizes([1, 2, 1, l, 40, 8, 8]), 1e-39);
        operands.v.iter_mut().for_each(|v| *v = T::from_f32(v.to_f32() * 1e-6));
        let (expected, _) = operands.reference(|_, _, _, _| 0.0);
        for isa in Isa::available() {
            let found = operands.run(isa, Mask::None, HeadOrder::HeadsFirst);
            assert_close(&found, &expected, |_| 1e-12, format!("{isa} {l}"));
        }
    }
}

/// A sequence gets the same bits alone and in a batch, from a cache with room to spare, and tokens first.
fn alone_and_in_place<T: Element>() {
    let mut noise = Noise(4);
    for l in [1, 5, 40] {
        for (q_heads, kv_heads, s) in [(4, 1, 513), (9, 3, 40), (2, 2, 700)] {
            let sizes = sizes([3, q_heads, kv_heads, l, s, 32, 16]);
            let all = Operands::<T>::new(&mut noise, sizes, 3.0);
            for isa in Isa::available() {
                let together = all.run(isa, Mask::Causal, HeadOrder::HeadsFirst);
                for b in 0..3 {
                    let one = Sizes { b: 1, ..sizes };
                    let part = |x: &[T]| x[x.len() / 3 * b..][..x.len() / 3].to_vec();
                    let alone = Operands { sizes: one, q: part(&all.q), k: part(&all.k), v: part(&all.v) };
                    let found = alone.run(isa, Mask::Causal, HeadOrder::HeadsFirst);
                    assert_eq!(found, part(&together), "{isa} {one:?}: batch {b}");

                    // Rows of NaN behind the last key of each head.
                    let spaced = |x: &[T], width: usize| -> Vec<T> {
                        let spare = vec![T::from_f32(f32::NAN); 9 * width];
                        x.chunks(s * width).flat_map(|head| [head, &spare].concat()).collect()
                    };
                    let (k, v) = (spaced(&alone.k, 32), spaced(&alone.v, 16));
                    let k = Heads::new(&k, one.k(), [0, (s + 9) * 32, 32]);
                    let v = Heads::new(&v, one.v(), [0, (s + 9) * 16, 16]);
                    let mut q = alone.q.clone();
                    for (row, x) in alone.q.chunks(32).enumerate() {
                        q[(row % l * q_heads + row / l) * 32..][..32].copy_from_slice(x);
                    }
                    let q = Heads::tokens_first(&q, one.q());
                    let options =
                        Attention { scale: alone.scale(), mask: Mask::Causal, order: HeadOrder::HeadsFirst };
                    let mut out = vec![T::from_f32(f32::NAN); found.len()];
                    attention(isa, q, k, v, options, &mut out);
                    assert_eq!(out, found, "{isa} {one:?}: in place");
                }
            }
        }
    }
}

for_each_type!(masks, large_scores, tiny_operands, alone_and_in_place);

/// What a query sees decides, and not how many are in the call.
#[test]
fn a_query_among_many_is_the_same_with_fewer() {
    let many = Operands::<f32>::new(&mut Noise(5), sizes([1, 4, 2, 60, 400, 16, 16]), 3.0);
    let few_sizes = Sizes { l: 7, ..many.sizes };
    let q = many.q.chunks(60 * 16).flat_map(|head| head[53 * 16..].to_vec()).collect();
    let few = Operands { sizes: few_sizes, q, k: many.k.clone(), v: many.v.clone() };
    for (isa, mask) in
        Isa::available().into_iter().flat_map(|isa| [(isa, Mask::Causal), (isa, Mask::Window(150))])
    {
        let all = many.run(isa, mask, HeadOrder::HeadsFirst);
        let last: Vec<f32> = all.chunks(60 * 16).flat_map(|head| head[53 * 16..].to_vec()).collect();
        assert_eq!(few.run(isa, mask, HeadOrder::HeadsFirst), last, "{isa} {mask:?}");
    }
}

#[test]
fn nan_stays_with_its_query() {
    for (isa, l) in Isa::available().into_iter().flat_map(|isa| [(isa, 1), (isa, 4)]) {
        let mut operands = Operands::<f32>::new(&mut Noise(6), sizes([2, 2, 1, l, 300, 8, 8]), 1.0);
        operands.q[0] = f32::NAN;
        let found = operands.run(isa, Mask::None, HeadOrder::HeadsFirst);
        assert!(found[..8].iter().all(|x| x.is_nan()), "{isa}");
        assert!(found[8..].iter().all(|x| x.is_finite()), "{isa}");
    }
}

#[test]
#[should_panic(expected = "3 heads share 2")]
fn groups_of_unequal_size_are_refused() {
    Operands::<f32>::new(&mut Noise(7), sizes([1, 3, 2, 1, 1, 1, 1]), 1.0).run(
        Isa::best(),
        Mask::None,
        HeadOrder::HeadsFirst,
    );
}

#[test]
#[should_panic(expected = "a mask of another shape")]
fn a_mask_of_another_shape_is_refused() {
    let view = MaskView::new(&[true; 2], [1, 1, 1, 2], [0, 0, 0, 1]);
    Operands::<f32>::new(&mut Noise(8), sizes([1, 1, 1, 1, 3, 1, 1]), 1.0).run(
        Isa::best(),
        Mask::Boolean(view),
        HeadOrder::HeadsFirst,
    );
}
