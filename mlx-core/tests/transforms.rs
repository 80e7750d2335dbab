//! Derivatives, vectorization and compilation: right numbers, failing closures.

mod support;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::panic::panic_any;

use mlx_core::transforms::{
    CustomFunction, checkpoint, clear_compile_cache, compile, compile_shapeless, grad, jvp, value_and_grad,
    vjp, vmap,
};
use mlx_core::{Array, DType, Error, Result};
use support::row;

fn scalar(value: f32) -> Array {
    Array::scalar(value).unwrap()
}

fn values(a: &Array) -> Vec<f32> {
    a.to_vec().unwrap()
}

/// `Σ sigmoid(x²) x`
fn wave(x: &Array) -> Result<Array> {
    x.square()?.sigmoid()?.multiply(x)?.sum(.., false)
}

#[test]
fn gradients_equal_finite_differences() {
    const STEP: f32 = 1e-2;
    let at = [0.3f32, -1.2, 0.0, 2.0];
    let gradient = values(&grad(wave, &row(&at)).unwrap());
    for index in 0..at.len() {
        let shifted = |by: f32| {
            let mut x = at;
            x[index] += by;
            wave(&row(&x)).unwrap().item::<f32>().unwrap()
        };
        let difference = (shifted(STEP) - shifted(-STEP)) / (2.0 * STEP);
        assert!((gradient[index] - difference).abs() < 1e-3, "{index}: {} {difference}", gradient[index]);
    }
}

#[test]
fn every_arrangement_of_arguments_works() {
    let (a, b) = (scalar(2.0), scalar(3.0));
    let [da, db] = grad(|[a, b]| a.multiply(b), [&a, &b]).unwrap();
    assert_eq!((values(&da), values(&db)), (vec![3.0], vec![2.0]));
    let (da, (db, dc)) = grad(|(a, (b, _))| a.multiply(b), &(a.clone(), (b.clone(), a.clone()))).unwrap();
    assert_eq!((values(&da), values(&db), values(&dc)), (vec![3.0], vec![2.0], vec![0.0]));
    let list: &[&Array] = &[&a, &b, &a];
    let gradients = grad(|list| list[0].multiply(&list[1])?.multiply(&list[2]), list).unwrap();
    assert_eq!(gradients.iter().map(values).collect::<Vec<_>>(), [[6.0], [4.0], [6.0]]);
    let named = BTreeMap::from([("w".to_owned(), a.clone()), ("b".to_owned(), b.clone())]);
    let gradients = grad(|named| named["w"].multiply(&named["w"])?.add(&named["b"]), &named).unwrap();
    assert_eq!((values(&gradients["w"]), values(&gradients["b"])), (vec![4.0], vec![1.0]));
}

#[test]
fn values_come_back_beside_gradients() {
    let x = row(&[1.0, 2.0]);
    let f = |x: &Array| Ok((x.square()?.sum(.., false)?, (x.add(x)?, x.clone())));
    let ((loss, (twice, same)), gradient) = value_and_grad(f, &x).unwrap();
    assert_eq!(values(&loss), [5.0]);
    assert_eq!((values(&twice), values(&same)), (vec![2.0, 4.0], vec![1.0, 2.0]));
    assert_eq!(values(&gradient), [2.0, 4.0]);
}

#[test]
fn transforms_nest() {
    let x = scalar(2.0);
    let cube = |x: &Array| x.square()?.multiply(x);
    let third = grad(|x| grad(|x| grad(cube, x), x), &x).unwrap();
    assert_eq!(values(&third), [6.0]);
    let rows = Array::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2]).unwrap();
    let each =
        vmap(|row| grad(|row: &Array| row.square()?.sum(.., false), row), &rows, &[Some(0)], &[0]).unwrap();
    assert_eq!(values(&each), [2.0, 4.0, 6.0, 8.0]);
    let (_, along) = jvp(|x| grad(cube, x), &x, &scalar(1.0)).unwrap();
    assert_eq!(values(&along), [12.0]);
    let compiled = compile(move |x: &Array| grad(cube, x)).unwrap();
    assert_eq!(values(&compiled.call(&x).unwrap()), [12.0]);
    let through = grad(|x| compiled.call(x), &x).unwrap();
    assert_eq!(values(&through), [12.0]);
}

#[test]
fn vjp_and_jvp_are_products_with_the_jacobian() {
    let x = row(&[1.0, 2.0, 3.0]);
    let f = |x: &Array| Ok((x.square()?, x.sum(.., false)?));
    let ((squares, sum), gradient) = vjp(f, &x, &(row(&[1.0, 0.0, 2.0]), scalar(10.0))).unwrap();
    assert_eq!((values(&squares), values(&sum)), (vec![1.0, 4.0, 9.0], vec![6.0]));
    assert_eq!(values(&gradient), [12.0, 10.0, 22.0]);
    let (_, (squares, sum)) = jvp(f, &x, &row(&[1.0, 0.0, 2.0])).unwrap();
    assert_eq!((values(&squares), values(&sum)), (vec![2.0, 0.0, 12.0], vec![3.0]));
}

#[test]
fn an_argument_that_is_not_used_has_a_gradient_of_zero() {
    let [used, unused] = grad(|[a, _]| a.sum(.., false), [&row(&[1.0]), &row(&[1.0, 2.0])]).unwrap();
    assert_eq!((values(&used), values(&unused)), (vec![1.0], vec![0.0, 0.0]));
}

#[test]
fn an_integer_argument_has_a_gradient_of_its_own_dtype() {
    let (whole, x) = (Array::from_slice(&[1i32, 2], &[2]).unwrap(), row(&[3.0, 4.0]));
    let [to_whole, to_x] = grad(|[whole, x]| whole.multiply(x)?.sum(.., false), [&whole, &x]).unwrap();
    assert_eq!(values(&to_x), [1.0, 2.0]);
    // The gradient is [3, 4]: cut to whole numbers, in this case without a loss.
    assert_eq!(to_whole.to_vec::<i32>().unwrap(), [3, 4]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let x = row(&[1.0, 2.0]);
    let text = grad(|x: &Array| x.square(), &x).unwrap_err().to_string();
    let expected =
        "value_and_grad: the function's first output must be a floating-point scalar, and is float32[2]";
    assert!(text.starts_with(expected), "{text}");
    assert!(grad(|x: &Array| x.as_type(DType::I32)?.sum(.., false), &x).is_err());
    let text = vjp(|x: &Array| x.square(), &x, &scalar(1.0)).unwrap_err().to_string();
    assert!(text.contains("cotangents") && text.contains("float32[2]"), "{text}");
    let text = jvp(|x: &Array| x.square(), &x, &scalar(1.0)).unwrap_err().to_string();
    assert!(text.contains("tangents") && text.contains("float32[]"), "{text}");
    assert!(grad(|_: &[Array; 0]| Ok(scalar(1.0)), []).unwrap_err().to_string().contains("no array"));
    assert!(grad(|_: &Array| Ok(Vec::<Array>::new()), &x).unwrap_err().to_string().contains("gave no array"));
    for (axes, out) in
        [(&[Some(2)][..], &[0][..]), (&[Some(-3)], &[0]), (&[None], &[0]), (&[Some(0)], &[2]), (&[], &[0])]
    {
        let rows = Array::zeros(&[2, 3], DType::F32).unwrap();
        assert!(
            vmap(|row: &Array| row.square()?.sum(.., false), &rows, axes, out).is_err(),
            "{axes:?} {out:?}"
        );
    }
}

#[test]
fn an_error_inside_comes_out_as_it_is() {
    let x = row(&[1.0]);
    #[derive(Debug, thiserror::Error)]
    #[error("mine: 100%s")]
    struct Mine;
    let fail = |_: &Array| -> Result<Array> { Err(Error::other(Mine)) };
    let mine = |error: Error| matches!(error, Error::Other(inner) if inner.is::<Mine>());
    assert!(mine(grad(fail, &x).unwrap_err()));
    assert!(mine(vjp(fail, &x, &x).unwrap_err()));
    assert!(mine(jvp(fail, &x, &x).unwrap_err()));
    assert!(mine(vmap(fail, &x, &[Some(0)], &[0]).unwrap_err()));
    assert!(mine(checkpoint(fail, &x).unwrap_err()));
    assert!(mine(CustomFunction::new(fail).call(&x).unwrap_err()));
    assert!(mine(compile(fail).unwrap().call(&x).unwrap_err()));
    assert!(mine(grad(|x| grad(fail, x), &x).unwrap_err()));
    let twisted = |x: &Array| CustomFunction::new(wave).with_vjp(|_, _, _| Err(Error::other(Mine))).call(x);
    assert!(mine(grad(twisted, &x).unwrap_err()));
    // The next call works.
    assert_eq!(values(&grad(|x: &Array| x.sum(.., false), &x).unwrap()), [1.0]);
    // A failing operation inside is told with its own name.
    let text = grad(|x: &Array| x.reshape(&[7])?.sum(.., false), &x).unwrap_err().to_string();
    assert!(text.starts_with("reshape(float32[1])"), "{text}");
}

#[test]
fn a_panic_inside_comes_out_as_an_error() {
    let x = row(&[1.0]);
    fn fail(_: &Array) -> Result<Array> {
        panic!("broken %n %s")
    }
    let told = |error: Error| matches!(&error, Error::Panic { message, .. } if message == "broken %n %s");
    assert!(told(grad(fail, &x).unwrap_err()));
    assert!(told(vmap(fail, &x, &[Some(0)], &[0]).unwrap_err()));
    assert!(told(checkpoint(fail, &x).unwrap_err()));
    let compiled = compile(fail).unwrap();
    assert!(told(compiled.call(&x).unwrap_err()));
    assert!(told(compiled.call(&x).unwrap_err()));
    let odd = grad(|_: &Array| -> Result<Array> { panic_any(7) }, &x).unwrap_err();
    assert!(matches!(odd, Error::Panic { .. }), "{odd}");
    assert_eq!(values(&grad(|x: &Array| x.sum(.., false), &x).unwrap()), [1.0]);
}

#[test]
fn tracers_that_escape_are_harmless() {
    let kept: RefCell<Vec<Array>> = RefCell::default();
    let x = row(&[1.0, 2.0]);
    let keep = |x: &Array| {
        let square = x.square()?;
        kept.borrow_mut().extend([x.clone(), square.clone()]);
        square.sum(.., false)
    };
    grad(keep, &x).unwrap().eval().unwrap();
    assert_eq!(values(&kept.borrow()[1]), [1.0, 4.0]);
    kept.borrow_mut().clear();
    vmap(keep, &Array::zeros(&[2, 3], DType::F32).unwrap(), &[Some(0)], &[0]).unwrap().eval().unwrap();
    for tracer in &*kept.borrow() {
        // They stand for one slice of many, or for no value at all: an answer or an error, not an end.
        let _ = tracer.to_vec::<f32>();
    }
    kept.borrow_mut().clear();
    let shared = std::rc::Rc::new(RefCell::new(Vec::new()));
    let inside = std::rc::Rc::clone(&shared);
    let compiled = compile(move |x: &Array| {
        inside.borrow_mut().push(x.clone());
        x.add(x)
    });
    compiled.unwrap().call(&x).unwrap().eval().unwrap();
    assert!(shared.borrow()[0].to_vec::<f32>().is_err());
}

#[test]
fn reading_inside_is_an_error_where_there_is_no_value() {
    let x = row(&[1.0, 2.0]);
    let read = |x: &Array| {
        let first = x.to_vec::<f32>()?[0];
        x.multiply(&Array::scalar(first)?)?.sum(.., false)
    };
    assert_eq!(values(&grad(read, &x).unwrap()), [1.0, 1.0]);
    assert!(compile(read).unwrap().call(&x).is_err());
    assert!(compile(|x: &Array| x.square()?.eval().map(|()| scalar(1.0))).unwrap().call(&x).is_err());
    let inside = vmap(|x: &Array| x.square()?.eval().map(|()| scalar(1.0)), &x, &[Some(0)], &[0]);
    assert!(inside.is_err());
    assert_eq!(values(&x.add(&x).unwrap()), [2.0, 4.0]);
}

#[test]
fn vmap_equals_a_loop() {
    let a = Array::arange(0.0, 12.0, 1.0, DType::F32).unwrap().reshape(&[3, 4]).unwrap();
    let b = Array::arange(0.0, 8.0, 1.0, DType::F32).unwrap().reshape(&[4, 2]).unwrap();
    let product = vmap(|[a, b]| a.matmul(b), [&a, &b], &[Some(0), None], &[0]).unwrap();
    assert_eq!(values(&product), values(&a.matmul(&b).unwrap()));
    let turned = vmap(|[a, b]| a.matmul(b), [&a, &b], &[Some(0), None], &[1]).unwrap();
    assert_eq!(values(&turned), values(&a.matmul(&b).unwrap().transpose(&[1, 0]).unwrap()));
    let columns = vmap(|a: &Array| a.sum(.., false), &a, &[Some(-1)], &[-1]).unwrap();
    assert_eq!(values(&columns), [12.0, 15.0, 18.0, 21.0]);
    let constant = vmap(|_: &Array| Ok(scalar(7.0)), &a, &[Some(0)], &[0]).unwrap();
    assert_eq!(values(&constant), [7.0; 3]);
}

#[test]
fn compiled_functions_run_once_for_each_shape() {
    let runs = std::rc::Rc::new(Cell::new(0));
    let counted = |shapeless: bool| {
        let runs = std::rc::Rc::clone(&runs);
        runs.set(0);
        let f = move |[x, y]: &[Array; 2]| {
            runs.set(runs.get() + 1);
            x.add(y)?.square()
        };
        if shapeless { compile_shapeless(f).unwrap() } else { compile(f).unwrap() }
    };
    for (shapeless, expected) in [(false, 3), (true, 2)] {
        let compiled = counted(shapeless);
        for len in [2, 3, 2, 3, 2] {
            let x = row(&vec![1.0; len]);
            assert_eq!(values(&compiled.call([&x, &x]).unwrap()), vec![4.0; len]);
        }
        let half = row(&[1.0]).as_type(DType::F16).unwrap();
        assert_eq!(compiled.call([&half, &half]).unwrap().dtype(), DType::F16);
        assert_eq!(runs.get(), expected, "shapeless: {shapeless}");
    }
}

#[test]
fn compiled_functions_of_one_expression_are_apart() {
    let times = |factor: f32| compile(move |x: &Array| x.multiply(&Array::scalar(factor)?)).unwrap();
    let x = row(&[1.0]);
    for _ in 0..100 {
        let (two, three) = (times(2.0), times(3.0));
        assert_eq!(values(&two.call(&x).unwrap()), [2.0]);
        assert_eq!(values(&three.call(&x).unwrap()), [3.0]);
        drop(two);
        assert_eq!(values(&times(5.0).call(&x).unwrap()), [5.0]);
        assert_eq!(values(&three.call(&x).unwrap()), [3.0]);
    }
    let kept = times(2.0);
    kept.call(&x).unwrap();
    clear_compile_cache().unwrap();
    assert_eq!(values(&kept.call(&x).unwrap()), [2.0]);
}

#[test]
fn compiled_functions_refuse_what_they_cannot_do() {
    let x = row(&[1.0]);
    type Slot = RefCell<Option<mlx_core::transforms::Compiled<Array, Array>>>;
    let slot: std::rc::Rc<Slot> = std::rc::Rc::default();
    let inside = std::rc::Rc::clone(&slot);
    *slot.borrow_mut() = Some(compile(move |x: &Array| inside.borrow().as_ref().unwrap().call(x)).unwrap());
    let text = slot.borrow().as_ref().unwrap().call(&x).unwrap_err().to_string();
    assert!(text.contains("from inside itself"), "{text}");
    slot.borrow_mut().take();

    let more = Cell::new(1);
    let growing = compile(move |x: &Array| {
        more.set(more.get() + 1);
        Ok(vec![x.clone(); more.get()])
    });
    let growing = growing.unwrap();
    assert_eq!(growing.call(&x).unwrap().len(), 2);
    assert!(growing.call(&row(&[1.0, 2.0])).unwrap_err().to_string().contains("another number"));
}

#[test]
fn checkpoints_compute_again_and_give_the_same() {
    let x = row(&[0.5, -1.5]);
    let plain = value_and_grad(wave, &x).unwrap();
    let saved = value_and_grad(|x| checkpoint(wave, x), &x).unwrap();
    assert_eq!(values(&plain.0), values(&saved.0));
    assert_eq!(values(&plain.1), values(&saved.1));
}

#[test]
fn custom_derivatives_are_used_and_checked() {
    let x = row(&[1.0, 2.0]);
    let with = |vjp: fn(&Array) -> Result<Array>| {
        let f = move |x: &Array| {
            CustomFunction::new(|x: &Array| x.square())
                .with_vjp(move |_, cotangent: &Array, _| vjp(cotangent))
                .with_jvp(|x, tangent| x.multiply(tangent)?.multiply(&scalar(100.0)))
                .call(x)
        };
        (f, grad(move |x| f(x)?.sum(.., false), &x))
    };
    let (f, gradient) = with(|cotangent| cotangent.multiply(&scalar(-1.0)));
    assert_eq!(values(&gradient.unwrap()), [-1.0, -1.0]);
    let (_, along) = jvp(f, &x, &row(&[1.0, 1.0])).unwrap();
    assert_eq!(values(&along), [100.0, 200.0]);
    let (_, gradient) = with(|cotangent| cotangent.sum(.., false));
    let text = gradient.unwrap_err().to_string();
    assert!(text.contains("gradients") && text.contains("float32[2]"), "{text}");
    let rows = x.reshape(&[2, 1]).unwrap();
    let stacked = |x: &Array| {
        CustomFunction::new(|x: &Array| x.square())
            .with_vmap(|x, axes| Ok((x.multiply(&scalar(-1.0))?, vec![axes[0].unwrap()])))
            .call(x)
    };
    assert_eq!(values(&vmap(stacked, &rows, &[Some(0)], &[0]).unwrap()), [-1.0, -2.0]);
}

#[test]
fn deep_graphs_have_room_and_deeper_ones_are_refused() {
    let chain = |length: usize| {
        move |x: &Array| {
            let one = Array::scalar(1.0f32)?;
            (0..length).try_fold(x.clone(), |y, _| y.add(&one))
        }
    };
    // A test's thread has 2 MiB of stack, on which a fifth of this would not fit.
    let (x, deep) = (scalar(0.0), 50_000);
    assert_eq!(values(&grad(chain(deep), &x).unwrap()), [1.0]);
    assert_eq!(values(&jvp(chain(deep), &x, &x).unwrap().1), [0.0]);
    assert_eq!(values(&vmap(chain(deep), &row(&[0.0]), &[Some(0)], &[0]).unwrap()), [deep as f32]);
    assert_eq!(values(&compile(chain(deep)).unwrap().call(&x).unwrap()), [deep as f32]);
    let text = grad(|x| grad(chain(500_001), x), &x).unwrap_err().to_string();
    assert!(text.contains("built 500001 operations"), "{text}");
    assert_eq!(values(&grad(chain(10), &x).unwrap()), [1.0]);
}

#[test]
fn transforms_work_on_every_thread_at_once() {
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            std::thread::spawn(move || {
                let compiled = compile(|x: &Array| x.square()?.sum(.., false)).unwrap();
                for step in 0..50 {
                    let x = row(&[thread as f32, step as f32]);
                    let expected = [2.0 * thread as f32, 2.0 * step as f32];
                    assert_eq!(values(&grad(|x| compiled.call(x), &x).unwrap()), expected);
                    assert_eq!(values(&vmap(|x: &Array| x.add(x), &x, &[Some(0)], &[0]).unwrap()), expected);
                    assert!(grad(|_: &Array| -> Result<Array> { panic!("on purpose") }, &x).is_err());
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_graph_without_shapes_is_refused_where_it_would_read_outside() {
    let column = |n: i32| Array::full(&[n, 1], 2.0f32).unwrap();
    let row = |n: i32| Array::full(&[1, n], 3.0f32).unwrap();
    type F = fn(&[Array; 2]) -> Result<Array>;
    // What it is traced with, what it is called with, and whether that can be computed.
    type Case = (&'static str, F, [Array; 2], [Array; 2], bool);
    let cases: [Case; 9] = [
        ("an element for each", |[a, b]| a.add(b), [row(4), row(4)], [row(3), row(3)], true),
        ("a broadcast that was none", |[a, b]| a.add(b), [row(4), row(4)], [row(3), row(1)], true),
        ("other lengths", |[a, b]| a.add(b), [row(4), row(4)], [row(4), row(3)], false),
        ("a sum", |[a, b]| a.sum(1, false)?.add(&b.sum(1, false)?), [row(4), row(4)], [row(9), row(2)], true),
        ("a sum of nothing", |[a, _]| a.sum(1, false), [row(4), row(4)], [row(0), row(0)], false),
        ("a product", |[a, b]| a.matmul(b), [row(4), column(4)], [row(3), column(3)], true),
        ("inner axes that differ", |[a, b]| a.matmul(b), [row(4), column(4)], [row(3), column(5)], false),
        (
            "an axis that is no longer one",
            |[a, _]| a.squeeze(0),
            [row(4), row(4)],
            [column(4), row(4)],
            false,
        ),
        ("a slice", |[a, _]| a.slice_axis(1, 1, 4), [row(4), row(4)], [row(2), row(2)], false),
    ];
    for (name, f, traced, called, fits) in cases {
        let compiled = compile_shapeless(f).unwrap();
        let first = compiled.call([&traced[0], &traced[1]]);
        let then = compiled.call([&called[0], &called[1]]).and_then(|array| array.eval());
        assert_eq!(then.is_ok(), fits, "{name}: {first:?} {then:?}");
        if let Err(error) = then {
            assert!(!error.to_string().is_empty());
        } else {
            let found = compiled.call([&called[0], &called[1]]).unwrap();
            assert_eq!(values(&found), values(&f(&called).unwrap()), "{name}");
        }
    }
    let sorted = compile_shapeless(|a: &Array| a.sort(1)).unwrap();
    let message = sorted.call(&row(4)).unwrap_err().to_string();
    assert!(message.contains("Sort") && message.contains("use compile"), "{message}");
}

#[test]
fn what_is_compiled_for_some_names_does_not_serve_for_others() {
    let compiled = compile(|named: &BTreeMap<String, Array>| match named.get("a") {
        Some(a) => a.add(a),
        None => named["b"].square(),
    })
    .unwrap();
    let named = |name: &str| BTreeMap::from([(name.to_owned(), scalar(3.0))]);
    assert_eq!(values(&compiled.call(&named("a")).unwrap()), [6.0]);
    let text = compiled.call(&named("b")).unwrap_err().to_string();
    assert!(text.contains("other names"), "{text}");
    assert_eq!(values(&compiled.call(&named("a")).unwrap()), [6.0]);
}

#[test]
fn derivatives_of_another_shape_or_dtype_are_refused_or_converted() {
    let x = row(&[1.0, 2.0, 3.0]);
    let narrow = |x: &Array| {
        CustomFunction::new(|x: &Array| x.square())
            .with_jvp(|_, tangent: &Array| tangent.sum(.., false))
            .call(x)
    };
    assert!(jvp(narrow, &x, &x).unwrap_err().to_string().contains("a derivative is"));
    let whole = |x: &Array| {
        CustomFunction::new(|x: &Array| x.square()).with_vjp(|_, c: &Array, _| c.as_type(DType::I32)).call(x)
    };
    assert_eq!(grad(|x| whole(x)?.sum(.., false), &x).unwrap().dtype(), DType::F32);
    let short = |axis: i32| {
        move |x: &Array| {
            CustomFunction::new(|x: &Array| x.square())
                .with_vmap(move |x: &Array, _| Ok((x.slice_axis(0, 0, 1)?.square()?, vec![axis])))
                .call(x)
        }
    };
    let rows = Array::zeros(&[5, 2], DType::F32).unwrap();
    for axis in [0, -1] {
        assert!(vmap(short(axis), &rows, &[Some(0)], &[0]).is_err(), "{axis}");
    }
}
