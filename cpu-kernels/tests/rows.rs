//! Sums, the largest elements, and their order.

mod common;

use common::{Element, Noise, on_any_threads};
use cpu_kernels::Isa;
use cpu_kernels::rows::{add, argmax, top_k};

fn sums<T: Element>() {
    let mut noise = Noise(1);
    for count in [0, 1, 7, 33, 40_000] {
        let (a, b) = (noise.values::<T>(count, 3.0), noise.values::<T>(count, 1e-2));
        let expected: Vec<T> = a.iter().zip(&b).map(|(a, b)| T::from_f32(a.to_f32() + b.to_f32())).collect();
        for isa in Isa::available() {
            let found = on_any_threads(|| {
                let mut out = vec![T::from_f32(f32::NAN); count];
                add(isa, &a, &b, &mut out);
                out
            });
            assert_eq!(found, expected, "{isa} {count}");
        }
    }
}

/// Indices by value, the largest first, NaN last, and earlier ones first among equals.
fn sorted<T: Element>(x: &[T]) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..x.len()).collect();
    indices.sort_by(|&a, &b| {
        let (a, b) = (x[a].to_f32(), x[b].to_f32());
        a.is_nan().cmp(&b.is_nan()).then(b.partial_cmp(&a).unwrap_or(std::cmp::Ordering::Equal))
    });
    indices
}

fn largest<T: Element>() {
    let mut noise = Noise(2);
    for count in [1, 2, 31, 257, 5000] {
        let rising: Vec<T> = (0..count).map(|i| T::from_f32(i as f32)).collect();
        let mut many_equal: Vec<T> =
            (0..count).map(|_| T::from_f32((noise.bits() % 7) as f32 - 3.0)).collect();
        let with_zeros: Vec<T> =
            (0..count).map(|i| T::from_f32(if i % 2 == 0 { -0.0 } else { 0.0 })).collect();
        let low = vec![T::from_f32(f32::NEG_INFINITY); count];
        let random = noise.values(count, 10.0);
        let falling = rising.iter().rev().copied().collect();
        let mut cases = vec![rising, falling, with_zeros, low, random.clone(), many_equal.clone()];
        for (i, x) in many_equal.iter_mut().enumerate().filter(|(i, _)| i % 3 != 1) {
            *x = T::from_f32(if i % 2 == 0 { f32::NAN } else { f32::NEG_INFINITY });
        }
        cases.extend([many_equal, vec![T::from_f32(f32::NAN); count]]);
        for (x, isa) in cases.iter().flat_map(|x| Isa::available().into_iter().map(move |isa| (x, isa))) {
            let expected = sorted(x);
            assert_eq!(argmax(isa, x), expected[0], "{isa} {x:?}");
            for k in [0, 1, 2, 50, count, count + 3] {
                assert_eq!(top_k(isa, x, k), expected[..k.min(count)], "{isa} {k} of {x:?}");
            }
        }
    }
}

for_each_type!(sums, largest);

#[test]
#[should_panic(expected = "no largest")]
fn nothing_has_no_largest_element() {
    argmax::<f32>(Isa::best(), &[]);
}
