//! Operations written in Rust: what they see, what they give, and what happens when they fail.

mod support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use mlx_core::primitive::{Primitive, Spec, View, ViewMut, apply};
use mlx_core::transforms::{checkpoint, compile, compile_shapeless, grad, jvp, value_and_grad, vmap};
use mlx_core::{Array, DType, Error, Result, async_eval, eval};
use support::row;

/// `a * x + b` with a second output that counts elements; gradient for `x` alone.
struct Affine {
    slope: f32,
    runs: Arc<AtomicUsize>,
}

impl Affine {
    fn new(slope: f32) -> Self {
        Affine { slope, runs: Arc::default() }
    }
}

impl Primitive for Affine {
    fn name(&self) -> &str {
        "affine"
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let [x, b] = inputs else {
            return Err(Error::other(format!("affine takes x and b, not {} arrays", inputs.len())));
        };
        if x.dtype != DType::F32 || b.dtype != DType::F32 || !b.shape.is_empty() {
            return Err(Error::other(format!(
                "affine takes float32 and a float32 scalar, not {x:?} and {b:?}"
            )));
        }
        Ok(vec![x.clone(), Spec::new(&[], DType::I32)])
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        let b = inputs[1].as_slice::<f32>()?[0];
        let x = inputs[0].elements::<f32>()?;
        for (y, x) in outputs[0].as_mut_slice::<f32>()?.iter_mut().zip(&*x) {
            *y = self.slope * x + b;
        }
        outputs[1].as_mut_slice::<i32>()?[0] = x.len() as i32;
        Ok(())
    }

    fn vjp(&self, _: &[Array], cotangents: &[Array], _: &[Array]) -> Result<Vec<Option<Array>>> {
        Ok(vec![Some(cotangents[0].multiply(&Array::scalar(self.slope)?)?), None])
    }

    fn jvp(&self, primals: &[Array], tangents: &[Option<Array>]) -> Result<Vec<Array>> {
        let along = match &tangents[0] {
            Some(tangent) => tangent.multiply(&Array::scalar(self.slope)?)?,
            None => Array::zeros(primals[0].shape(), DType::F32)?,
        };
        let along = tangents[1].as_ref().map_or(Ok(along.clone()), |b| along.add(b))?;
        Ok(vec![along, Array::zeros(&[], DType::I32)?])
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<i32>]) -> Result<(Vec<Array>, Vec<i32>)> {
        let (Some(axis), None) = (axes[0], axes[1]) else { return Err(Error::other("only x can be cut")) };
        let count = inputs[0].dim(axis)?;
        let [y, size]: [Array; 2] = apply(Affine::new(self.slope), &[&inputs[0], &inputs[1]])?;
        let each = Array::full(&[count], inputs[0].size() as i32 / count.max(1))?;
        Ok((vec![y, each.add(&size.subtract(&size)?)?], vec![axis, 0]))
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        self.slope == other.slope
    }
}

fn affine(slope: f32, x: &Array, b: f32) -> Result<Array> {
    let [y, _] = apply(Affine::new(slope), &[x, &Array::scalar(b)?])?;
    Ok(y)
}

/// A primitive made of closures, for the many ways to go wrong.
struct Custom<E> {
    specs: Vec<Spec>,
    eval: E,
}

impl<E> Primitive for Custom<E>
where
    E: Fn(&[View<'_>], &mut [ViewMut<'_>]) -> Result<()> + Send + Sync + 'static,
{
    fn name(&self) -> &str {
        "custom"
    }

    fn outputs(&self, _: &[Spec]) -> Result<Vec<Spec>> {
        Ok(self.specs.clone())
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        (self.eval)(inputs, outputs)
    }
}

fn custom<E>(specs: &[Spec], inputs: &[&Array], eval: E) -> Result<Array>
where
    E: Fn(&[View<'_>], &mut [ViewMut<'_>]) -> Result<()> + Send + Sync + 'static,
{
    let [out] = apply(Custom { specs: specs.to_vec(), eval }, inputs)?;
    Ok(out)
}

#[test]
fn outputs_are_computed_in_the_graph() {
    let x = row(&[1.0, 2.0, 3.0]);
    let [y, size] = apply(Affine::new(2.0), &[&x.add(&x).unwrap(), &Array::scalar(1.0f32).unwrap()]).unwrap();
    let z = y.multiply(&y).unwrap();
    assert_eq!(z.to_vec::<f32>().unwrap(), [25.0, 81.0, 169.0]);
    assert_eq!(size.item::<i32>().unwrap(), 3);
}

#[test]
fn inputs_keep_their_strides() {
    let a = Array::arange(0.0, 12.0, 1.0, DType::F32).unwrap().reshape(&[3, 4]).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let look = |a: &Array| {
        let seen = Arc::clone(&seen);
        let spec = Spec::of(a);
        custom(&[spec], &[a], move |inputs, outputs| {
            let [x] = inputs else { unreachable!() };
            let (storage, first) = x.storage::<f32>()?;
            seen.lock().unwrap().push((x.shape().to_vec(), x.strides().to_vec(), storage.to_vec(), first));
            outputs[0].as_mut_slice::<f32>()?.copy_from_slice(&x.elements::<f32>()?);
            assert_eq!(x.as_slice::<f32>().is_ok(), x.strides() == [4, 1] || x.size() == 0);
            Ok(())
        })
        .unwrap()
        .to_vec::<f32>()
        .unwrap()
    };
    assert_eq!(look(&a), a.to_vec::<f32>().unwrap());
    let turned = a.transpose(&[1, 0]).unwrap();
    assert_eq!(look(&turned), turned.to_vec::<f32>().unwrap());
    let part = turned.slice_axis(0, 1, 3).unwrap().slice_axis(1, 0, 2).unwrap();
    assert_eq!(look(&part), [1.0, 5.0, 2.0, 6.0]);
    let wide = Array::scalar(5.0f32).unwrap().broadcast_to(&[2, 2]).unwrap();
    assert_eq!(look(&wide), [5.0; 4]);
    let none = Array::zeros(&[0, 4], DType::F32).unwrap();
    assert!(look(&none).is_empty());
    let seen = seen.lock().unwrap();
    assert_eq!(seen[1].1, [1, 4]);
    assert_eq!(seen[2].1, [1, 4]);
    assert_eq!((&*seen[2].2, seen[2].3), (&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0][..], 0));
    assert_eq!((&seen[3].1, seen[3].2.len()), (&vec![0, 0], 1));
    assert!(seen[4].2.is_empty());
}

#[test]
fn every_dtype_can_be_read_and_written() {
    fn echo<T: mlx_core::Element + bytemuck::CheckedBitPattern + PartialEq + std::fmt::Debug>(values: &[T]) {
        let a = Array::from_slice(values, &[values.len() as i32]).unwrap();
        let out = custom(&[Spec::of(&a)], &[&a], |inputs, outputs| {
            outputs[0].as_mut_slice::<T>()?.copy_from_slice(inputs[0].as_slice::<T>()?);
            Ok(())
        });
        assert_eq!(out.unwrap().to_vec::<T>().unwrap(), values);
    }
    echo(&[1u8, 255]);
    echo(&[1u16, 65535]);
    echo(&[1u32, u32::MAX]);
    echo(&[1u64, u64::MAX]);
    echo(&[-1i8, 5]);
    echo(&[-1i16, 5]);
    echo(&[-1i32, 5]);
    echo(&[-1i64, 5]);
    echo(&[half::f16::from_f32(0.5)]);
    echo(&[half::bf16::from_f32(0.5)]);
    echo(&[0.5f32, -0.0]);
    echo(&[0.5f64]);
    echo(&[true, false]);
}

#[test]
fn a_wrong_type_is_an_error() {
    let a = row(&[1.0]);
    let read = custom(&[Spec::of(&a)], &[&a], |inputs, _| inputs[0].as_slice::<i32>().map(drop)).unwrap();
    let text = read.eval().unwrap_err().to_string();
    assert!(text.contains("custom: as_slice: the array holds float32, not int32"), "{text}");
    let write =
        custom(&[Spec::of(&a)], &[&a], |_, outputs| outputs[0].as_mut_slice::<f64>().map(drop)).unwrap();
    assert!(write.eval().unwrap_err().to_string().contains("as_mut_slice"));
    // A byte that is no boolean does not become one.
    let byte = Array::from_slice(&[2u8], &[1]).unwrap();
    let read =
        custom(&[Spec::of(&byte)], &[&byte], |inputs, _| inputs[0].as_slice::<bool>().map(drop)).unwrap();
    assert!(read.eval().is_err());
}

#[test]
fn outputs_start_at_zero_and_end_as_nan_when_computing_fails() {
    let a = row(&[1.0, 2.0]);
    let fine = custom(&[Spec::of(&a)], &[&a], |_, _| Ok(())).unwrap();
    assert_eq!(fine.to_vec::<f32>().unwrap(), [0.0, 0.0]);

    let specs = vec![Spec::new(&[2], DType::F32), Spec::new(&[2], DType::BF16), Spec::new(&[2], DType::I32)];
    let failing =
        Custom { specs, eval: |_: &[View<'_>], _: &mut [ViewMut<'_>]| Err(Error::other("no %s luck")) };
    let [first, second, third] = apply(failing, &[&a]).unwrap();
    let text = first.eval().unwrap_err().to_string();
    assert!(text.contains("custom: no %s luck"), "{text}");
    // MLX counts the other outputs as computed; they show that they are not.
    assert!(second.to_vec::<half::bf16>().unwrap().iter().all(|x| x.is_nan()));
    assert_eq!(third.to_vec::<i32>().unwrap(), [0, 0]);
    assert_eq!(a.add(&a).unwrap().to_vec::<f32>().unwrap(), [2.0, 4.0]);
}

#[test]
fn a_panic_is_an_error_and_the_stream_lives_on() {
    let a = row(&[1.0]);
    for _ in 0..50 {
        let bad = custom(&[Spec::of(&a)], &[&a], |_, _| panic!("no such {}", "luck")).unwrap();
        let text = bad.add(&a).unwrap().eval().unwrap_err().to_string();
        assert!(text.contains("custom: eval: panicked: no such luck"), "{text}");
        assert_eq!(affine(2.0, &a, 1.0).unwrap().to_vec::<f32>().unwrap(), [3.0]);
    }
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let a = row(&[1.0]);
    let long = "ü".repeat(5000);
    let bad = custom(&[Spec::of(&a)], &[&a], move |_, _| Err(Error::other(long.clone()))).unwrap();
    let text = bad.eval().unwrap_err().to_string();
    assert!(text.contains("üüü") && text.len() < 2000 && !text.contains('\u{fffd}'));
}

#[test]
fn a_failure_in_an_asynchronous_evaluation_arrives() {
    let a = row(&[1.0]);
    for _ in 0..50 {
        let bad = custom(&[Spec::of(&a)], &[&a], |_, _| {
            std::thread::sleep(std::time::Duration::from_micros(200));
            Err(Error::other("late"))
        });
        let bad = bad.unwrap();
        async_eval(&[&bad]).unwrap();
        assert!(bad.to_vec::<f32>().unwrap_err().to_string().contains("late"));
        // The stream is used on, right away.
        assert_eq!(a.add(&a).unwrap().to_vec::<f32>().unwrap(), [2.0]);
    }
}

#[test]
fn a_failure_is_told_by_all_that_were_evaluated_together() {
    let a = row(&[1.0]);
    let bad = custom(&[Spec::of(&a)], &[&a], |_, _| Err(Error::other("broken"))).unwrap();
    let (first, second) = (bad.add(&a).unwrap(), bad.multiply(&a).unwrap());
    async_eval(&[&first, &second]).unwrap();
    let copy = second.clone();
    assert!(first.eval().unwrap_err().to_string().contains("broken"));
    assert!(second.to_vec::<f32>().unwrap_err().to_string().contains("has failed before"));
    assert!(copy.eval().is_err());
    assert!(eval(&[&first]).is_err() || first.eval().is_err());
}

#[test]
fn what_does_not_fit_is_refused_when_the_graph_is_built() {
    let a = row(&[1.0]);
    let text = apply::<2>(Affine::new(1.0), &[&a]).unwrap_err().to_string();
    assert_eq!(text, "affine takes x and b, not 1 arrays");
    let b = Array::scalar(1.0f32).unwrap();
    let text = apply::<1>(Affine::new(1.0), &[&a, &b]).unwrap_err().to_string();
    assert_eq!(text, "primitive: affine has 2 outputs, not 1");
    for shape in [&[-1][..], &[i32::MAX; 3], &[i32::MAX, 1 << 20]] {
        assert!(custom(&[Spec::new(shape, DType::F32)], &[&a], |_, _| Ok(())).is_err(), "{shape:?}");
    }
}

#[test]
fn no_inputs_and_no_elements_are_fine() {
    let ones = custom(&[Spec::new(&[2], DType::F32)], &[], |inputs, outputs| {
        assert!(inputs.is_empty());
        outputs[0].as_mut_slice::<f32>()?.fill(1.0);
        Ok(())
    });
    assert_eq!(ones.unwrap().to_vec::<f32>().unwrap(), [1.0, 1.0]);
    let none = Array::zeros(&[0], DType::F32).unwrap();
    assert!(affine(2.0, &none, 1.0).unwrap().to_vec::<f32>().unwrap().is_empty());
}

#[test]
fn gradients_flow_through() {
    let x = row(&[1.0, 2.0]);
    let loss = |x: &Array| affine(3.0, x, 1.0)?.square()?.sum(.., false);
    let (value, gradient) = value_and_grad(loss, &x).unwrap();
    assert_eq!(value.item::<f32>().unwrap(), 16.0 + 49.0);
    assert_eq!(gradient.to_vec::<f32>().unwrap(), [24.0, 42.0]);
    let again = grad(|x: &Array| grad(loss, x)?.sum(.., false), &x).unwrap();
    assert_eq!(again.to_vec::<f32>().unwrap(), [18.0, 18.0]);
    let saved = grad(|x: &Array| checkpoint(loss, x), &x).unwrap();
    assert_eq!(saved.to_vec::<f32>().unwrap(), [24.0, 42.0]);
    let (_, along) = jvp(|x: &Array| affine(3.0, x, 1.0), &x, &row(&[1.0, 10.0])).unwrap();
    assert_eq!(along.to_vec::<f32>().unwrap(), [3.0, 30.0]);
}

#[test]
fn a_missing_gradient_is_named() {
    let (x, b) = (row(&[1.0]), Array::scalar(1.0f32).unwrap());
    let of_b = |[x, b]: &[Array; 2]| {
        let [y, _] = apply(Affine::new(2.0), &[x, b])?;
        y.sum(.., false)
    };
    let text = grad(of_b, [&x, &b]).unwrap_err().to_string();
    assert_eq!(text, "primitive: affine has no gradient with respect to input 1");
    let none = |x: &Array| custom(&[Spec::of(x)], &[x], |_, _| Ok(()))?.sum(.., false);
    assert_eq!(grad(none, &x).unwrap_err().to_string(), "primitive: custom has no gradient");
    assert!(jvp(none, &x, &x).unwrap_err().to_string().contains("no forward derivative"));
    let rows = x.reshape(&[1, 1]).unwrap();
    let text = vmap(none, &rows, &[Some(0)], &[0]).unwrap_err().to_string();
    assert!(text.contains("custom has no vectorized form"), "{text}");
}

#[test]
fn a_misshapen_gradient_is_refused_and_another_dtype_converted() {
    struct Odd(bool);
    impl Primitive for Odd {
        fn name(&self) -> &str {
            "odd"
        }
        fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
            Ok(inputs.to_vec())
        }
        fn eval(&self, _: &[View<'_>], _: &mut [ViewMut<'_>]) -> Result<()> {
            Ok(())
        }
        fn vjp(&self, primals: &[Array], cotangents: &[Array], _: &[Array]) -> Result<Vec<Option<Array>>> {
            if self.0 {
                return Ok(vec![Some(cotangents[0].as_type(DType::F16)?); primals.len()]);
            }
            Ok(vec![Some(cotangents[0].sum(.., false)?)])
        }
    }
    let x = row(&[1.0, 2.0]);
    let run = |half: bool| grad(|x: &Array| apply(Odd(half), &[x]).and_then(|[y]| y.sum(.., false)), &x);
    assert_eq!(run(true).unwrap().dtype(), DType::F32);
    let text = run(false).unwrap_err().to_string();
    assert_eq!(text, "primitive: odd: a gradient is float32[], not like float32[2]");
}

#[test]
fn compilation_keeps_it_and_merges_equals() {
    let runs = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&runs);
    let f = move |x: &Array| {
        let b = Array::scalar(1.0f32)?;
        let once = || -> Result<Array> {
            let [y, _] = apply(Affine { slope: 2.0, runs: Arc::clone(&count) }, &[x, &b])?;
            Ok(y)
        };
        once()?.add(&once()?)
    };
    let compiled = compile(f.clone()).unwrap();
    for step in 0..3 {
        let x = row(&[step as f32, 1.0]);
        assert_eq!(compiled.call(&x).unwrap().to_vec::<f32>().unwrap(), [4.0 * step as f32 + 2.0, 6.0]);
    }
    assert_eq!(runs.load(Ordering::Relaxed), 3, "equal primitives are computed once");
    let shapeless = compile_shapeless(f).unwrap();
    for len in [1, 4, 9] {
        let x = row(&vec![1.0; len]);
        assert_eq!(shapeless.call(&x).unwrap().to_vec::<f32>().unwrap(), vec![6.0; len]);
    }
}

#[test]
fn vmap_takes_the_form_that_is_given() {
    let rows = Array::arange(0.0, 6.0, 1.0, DType::F32).unwrap().reshape(&[3, 2]).unwrap();
    let f = |x: &Array| {
        let [y, size] = apply(Affine::new(2.0), &[x, &Array::scalar(1.0f32)?])?;
        Ok((y, size))
    };
    let (y, size): (Array, Array) = vmap(f, &rows, &[Some(1)], &[1, 0]).unwrap();
    assert_eq!((y.shape(), y.to_vec::<f32>().unwrap()), (&[3, 2][..], vec![1.0, 3.0, 5.0, 7.0, 9.0, 11.0]));
    assert_eq!(size.to_vec::<i32>().unwrap(), [3, 3]);
}

#[test]
fn primitives_are_dropped_with_the_graph() {
    struct Held(Arc<()>);
    impl Primitive for Held {
        fn name(&self) -> &str {
            "held"
        }
        fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
            Ok(inputs.to_vec())
        }
        fn eval(&self, _: &[View<'_>], _: &mut [ViewMut<'_>]) -> Result<()> {
            Ok(())
        }
    }
    impl Drop for Held {
        fn drop(&mut self) {
            if Arc::strong_count(&self.0) == 2 {
                panic!("dropping must not unwind through C++");
            }
        }
    }
    let alive = Arc::new(());
    let x = row(&[1.0]);
    for run in 0..20 {
        let [y] = apply(Held(Arc::clone(&alive)), &[&x]).unwrap();
        if run % 2 == 0 {
            y.eval().unwrap();
        }
    }
    // A task may hold its last reference for a moment after its result is there.
    for _ in 0..1000 {
        if Arc::strong_count(&alive) == 1 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    panic!("{} primitives are still alive", Arc::strong_count(&alive) - 1);
}

#[test]
fn many_threads_compute_at_once() {
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            std::thread::spawn(move || {
                for step in 0..100 {
                    let x = row(&[thread as f32, step as f32]);
                    let y = affine(2.0, &affine(3.0, &x, 1.0).unwrap(), 0.5).unwrap();
                    let z = affine(-1.0, &x, 0.0).unwrap();
                    eval(&[&y, &z]).unwrap();
                    assert_eq!(
                        y.to_vec::<f32>().unwrap(),
                        [6.0 * thread as f32 + 2.5, 6.0 * step as f32 + 2.5]
                    );
                    assert_eq!(z.to_vec::<f32>().unwrap(), [-(thread as f32), -step as f32]);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// Its input without the axes of length one.
struct Squeezed;

impl Primitive for Squeezed {
    fn name(&self) -> &str {
        "squeezed"
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let shape: Vec<i32> = inputs[0].shape.iter().copied().filter(|length| *length != 1).collect();
        Ok(vec![Spec::new(&shape, inputs[0].dtype)])
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        outputs[0].as_mut_slice::<f32>()?.copy_from_slice(&inputs[0].elements::<f32>()?);
        Ok(())
    }
}

#[test]
fn another_number_of_axes_than_when_it_was_compiled_is_an_error() {
    let f = |x: &Array| {
        let [y] = apply(Squeezed, &[x])?;
        y.expand_dims(3)
    };
    let compiled = compile_shapeless(f).unwrap();
    let ones = |shape: &[i32]| Array::full(shape, 1.0f32).unwrap();
    assert_eq!(compiled.call(&ones(&[2, 3, 4])).unwrap().shape(), [2, 3, 4, 1]);
    assert_eq!(compiled.call(&ones(&[5, 3, 4])).unwrap().shape(), [5, 3, 4, 1]);
    for shape in [[1, 1, 1], [2, 1, 4]] {
        let text = compiled.call(&ones(&shape)).unwrap_err().to_string();
        assert!(text.contains("another number of axes"), "{text}");
    }
}
