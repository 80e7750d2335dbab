//! Rotary embeddings against float64.

mod common;

use common::{Element, Noise, assert_close, on_any_threads, wide};
use cpu_kernels::rope::{RopePairs, RopeTable, rope};
use cpu_kernels::{Heads, Isa};

fn inverse_frequencies(dims: usize) -> Vec<f32> {
    (0..dims / 2).map(|i| 10_000f32.powf(-2.0 * i as f32 / dims as f32)).collect()
}

/// `x` is contiguous `[B, H, L, Dh]`.
fn reference(
    x: &[f64],
    [_, _, length, width]: [usize; 4],
    dims: usize,
    offset: usize,
    pairs: RopePairs,
) -> Vec<f64> {
    let frequencies = inverse_frequencies(dims);
    let mut out = x.to_vec();
    for (row, (x, out)) in x.chunks(width).zip(out.chunks_mut(width)).enumerate() {
        for (i, freq) in frequencies.iter().enumerate() {
            let angle = f64::from((offset + row % length) as f32 * freq);
            let (a, b) = match pairs {
                RopePairs::Halves => (i, i + dims / 2),
                RopePairs::Neighbours => (2 * i, 2 * i + 1),
            };
            out[a] = x[a] * angle.cos() - x[b] * angle.sin();
            out[b] = x[a] * angle.sin() + x[b] * angle.cos();
        }
    }
    out
}

fn rotations<T: Element>() {
    let mut noise = Noise(1);
    let cases = [
        ([0, 2, 3, 4], 4, 0),
        ([1, 1, 1, 2], 2, 7),
        ([1, 3, 5, 6], 4, 1),
        ([2, 3, 4, 64], 64, 4095),
        ([2, 4, 33, 80], 20, 100_000),
        ([1, 2, 300, 256], 256, 0),
        ([1, 2, 3, 5], 0, 3),
    ];
    for (shape, dims, offset) in cases {
        let [b, h, l, w] = shape;
        let x: Vec<T> = noise.values(b * h * l * w, 2.0);
        // The same rows, tokens first.
        let mut swapped = x.clone();
        for (i, row) in x.chunks(w).enumerate() {
            let (batch, head, position) = (i / (h * l), i / l % h, i % l);
            swapped[((batch * l + position) * h + head) * w..][..w].copy_from_slice(row);
        }
        for (isa, pairs) in Isa::available()
            .into_iter()
            .flat_map(|isa| [(isa, RopePairs::Halves), (isa, RopePairs::Neighbours)])
        {
            let what = format!("{isa} {shape:?} {dims} {pairs:?}");
            let positions = (offset..offset + l).map(|p| p as f32);
            let table = RopeTable::new(isa, &inverse_frequencies(dims), positions);
            let turn = |x, table: &RopeTable| {
                on_any_threads(|| {
                    let mut out = vec![T::from_f32(f32::NAN); b * h * l * w];
                    rope(isa, x, table, pairs, &mut out);
                    out
                })
            };
            let found = turn(Heads::contiguous(&x, shape), &table);
            assert_close(&found, &reference(&wide(&x), shape, dims, offset, pairs), |_| 1e-6, &what);
            assert_eq!(found, turn(Heads::tokens_first(&swapped, shape), &table), "{what}");

            // Turning back gives what was, and is the transpose: <turned, c> = <x, c turned back>.
            let back = turn(Heads::contiguous(&found, shape), &table.clone().inverse());
            assert_close(&back, &wide(&x), |_| 6.0 * T::ROUNDOFF + 1e-6, &what);
            let c: Vec<T> = noise.values(x.len(), 1.0);
            let c_back = turn(Heads::contiguous(&c, shape), &table.inverse());
            let dot = |a: &[T], b: &[T]| -> f64 { wide(a).iter().zip(wide(b)).map(|(a, b)| a * b).sum() };
            let off = dot(&found, &c) - dot(&x, &c_back);
            assert!(off.abs() <= (4.0 * T::ROUNDOFF + 1e-6) * (x.len() as f64).sqrt() * 8.0, "{what}: {off}");
        }
    }
}

for_each_type!(rotations);

#[test]
#[should_panic(expected = "fewer positions than 3")]
fn a_short_table_is_refused() {
    let table = RopeTable::new(Isa::best(), &[1.0], [0.0, 1.0]);
    rope(Isa::best(), Heads::contiguous(&[0f32; 6], [1, 1, 3, 2]), &table, RopePairs::Halves, &mut [0.0; 6]);
}
