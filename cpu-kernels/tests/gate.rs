//! The gates and their gradients against the formulas in float64.

mod common;

use common::{Element, Noise, assert_close, on_any_threads, wide};
use cpu_kernels::Isa;
use cpu_kernels::gate::{geglu_tanh, geglu_tanh_vjp, swiglu, swiglu_vjp};

/// The activation and its derivative.
type Reference = fn(f64) -> (f64, f64);

fn silu(x: f64) -> (f64, f64) {
    let s = 1.0 / (1.0 + (-x).exp());
    (x * s, s * (1.0 + x / (1.0 + x.exp())))
}

/// By way of `e^-2u`, because the float64 of `1 + tanh u` has no digits left for `u < -18`.
fn gelu_tanh(x: f64) -> (f64, f64) {
    let c = (2.0 / std::f64::consts::PI).sqrt();
    let (u, du) = (c * (x + 0.044715 * x * x * x), c * (1.0 + 3.0 * 0.044715 * x * x));
    let (s, rest) = (1.0 / (1.0 + (-2.0 * u).exp()), 1.0 / (1.0 + (2.0 * u).exp()));
    (x * s, s * (1.0 + x * rest * 2.0 * du))
}

#[test]
fn the_logistic_form_is_the_definition_by_tanh() {
    for i in -500..=500 {
        let x = f64::from(i) / 100.0;
        let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
        assert!((gelu_tanh(x).0 - 0.5 * x * (1.0 + u.tanh())).abs() < 1e-14);
        for activation in [silu, gelu_tanh] {
            let slope = (activation(x + 1e-6).0 - activation(x - 1e-6).0) / 2e-6;
            assert!((activation(x).1 - slope).abs() < 1e-8, "{x}");
        }
    }
}

/// More elements than one piece of work has, from all magnitudes, and what is extreme.
fn gates<T: Element>(noise: &mut Noise) -> Vec<T> {
    let mut gates = noise.values(20_000, 6.0);
    for scale in [1e-40, 1e-20, 1e-6, 1e-3, 0.1, 1.0, 20.0, 100.0, 1e4] {
        gates.extend(noise.values::<T>(1003, scale));
    }
    gates.extend([0.0, -0.0, 13.0, -13.0, 3e4, -3e4, f32::NAN].map(T::from_f32));
    gates
}

fn values_and_gradients<T: Element>() {
    let mut noise = Noise(1);
    let gate: Vec<T> = gates(&mut noise);
    let (up, c) = (noise.values::<T>(gate.len(), 2.0), noise.values::<T>(gate.len(), 1.0));
    // What a relative error of the exponent, 2u up to 90, makes of the exponential.
    const RELATIVE: f64 = 2e-5;
    let references: [(&str, Reference); 2] = [("swiglu", silu), ("geglu_tanh", gelu_tanh)];
    for (isa, (name, reference)) in Isa::available().into_iter().flat_map(|isa| references.map(|r| (isa, r)))
    {
        let what = format!("{name} {isa}");
        let operands = || wide(&gate).into_iter().zip(wide(&up)).zip(wide(&c)).map(|((g, u), c)| (g, u, c));
        let value: Vec<f64> = operands().map(|(g, u, _)| reference(g).0 * u).collect();
        let dgate: Vec<f64> = operands().map(|(g, u, c)| reference(g).1 * u * c).collect();
        let dup: Vec<f64> = operands().map(|(g, _, c)| reference(g).0 * c).collect();

        let found = on_any_threads(|| {
            let mut out = vec![T::from_f32(1.0); gate.len() * 3];
            let (out_value, gradients) = out.split_at_mut(gate.len());
            let (out_gate, out_up) = gradients.split_at_mut(gate.len());
            match name {
                "swiglu" => {
                    swiglu(isa, &gate, &up, out_value);
                    swiglu_vjp(isa, &gate, &up, &c, out_gate, out_up);
                }
                _ => {
                    geglu_tanh(isa, &gate, &up, out_value);
                    geglu_tanh_vjp(isa, &gate, &up, &c, out_gate, out_up);
                }
            }
            out
        });
        // Where e^-x overflows, less than this is left.
        let tiny = 1e-35;
        let [out_value, out_gate, out_up] = [0, 1, 2].map(|i| &found[i * gate.len()..][..gate.len()]);
        assert_close(out_value, &value, |i| RELATIVE * value[i].abs() + tiny, &what);
        assert_close(out_up, &dup, |i| RELATIVE * dup[i].abs() + tiny, format!("dup {what}"));
        // The derivative passes through zero between its two terms.
        assert_close(out_gate, &dgate, |i| RELATIVE * dgate[i].abs() + 1e-6, format!("dgate {what}"));
    }
}

for_each_type!(values_and_gradients);

#[test]
fn infinite_gates_are_the_other_operand_or_undefined() {
    for isa in Isa::available() {
        let mut out = [0f32; 2];
        swiglu(isa, &[f32::INFINITY, f32::MAX], &[2.0, 0.5], &mut out);
        assert_eq!(out, [f32::INFINITY, f32::MAX / 2.0]);
        geglu_tanh(isa, &[f32::INFINITY, f32::MIN], &[2.0, 0.5], &mut out);
        assert_eq!(out, [f32::INFINITY, 0.0]);
    }
}

#[test]
#[should_panic(expected = "differ in size")]
fn operands_of_other_sizes_are_refused() {
    swiglu(Isa::best(), &[1f32; 4], &[1.0; 3], &mut [0.0; 4]);
}
