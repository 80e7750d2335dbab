//! Functions in files, and drawings of graphs.
//!
//! One thread at a time has imported functions, so everything that imports is one test.

mod support;

use std::path::PathBuf;
use std::time::Duration;

use mlx_core::export::{Fingerprint, ImportedFunction, export_function};
use mlx_core::primitive::{Primitive, Spec, View, ViewMut, apply};
use mlx_core::transforms::{CustomFunction, grad};
use mlx_core::{Array, DType, Error, Result, async_eval, graph};
use support::{Fail, row};

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mlx-%s%n-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A primitive of any name that gives its input.
struct Named(&'static str);

impl Primitive for Named {
    fn name(&self) -> &str {
        self.0
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        Ok(inputs.to_vec())
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        outputs[0].as_mut_slice::<f32>()?.copy_from_slice(&inputs[0].elements::<f32>()?);
        Ok(())
    }
}

#[test]
fn functions_come_back_from_files() {
    let folder = Folder::new("import");
    let path = folder.file("%s function.mlxfn");
    let (x, y) = (row(&[1.0, 2.0, 3.0]), row(&[10.0, 20.0, 30.0]));

    // Constants, several outputs, and a captured array that is not computed yet.
    let weight = row(&[1.0, 0.5, 0.25]);
    let lazy = weight.add(&weight).unwrap();
    let f = |[x, y]: &[Array; 2]| {
        let product = x.multiply(y)?.multiply(&weight)?;
        Ok((product.add(&lazy)?, product.sum(.., false)?))
    };
    let fingerprint = export_function(&path, f, &[[&x, &y]], false).unwrap();
    let imported = ImportedFunction::load(&path, &fingerprint).unwrap();
    for _ in 0..3 {
        let found = imported.call(&[&x, &y]).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].to_vec::<f32>().unwrap(), [12.0, 21.0, 23.0]);
        assert_eq!(found[1].item::<f32>().unwrap(), 52.5);
    }
    // What it builds takes part in transforms.
    let gradient = grad(
        |x| {
            let outputs = imported.call(&[x, &y])?;
            Ok(outputs[1].clone())
        },
        &x,
    );
    assert_eq!(gradient.unwrap().to_vec::<f32>().unwrap(), [10.0, 10.0, 7.5]);
    // Other shapes and dtypes are not those of the example.
    let long = row(&[1.0; 4]);
    let whole = x.as_type(DType::I32).unwrap();
    for inputs in
        [&[][..], &[&x], &[&x, &y, &y], &[&x, &long], &[&whole, &y], &[&x, &x.expand_dims([0]).unwrap()]]
    {
        let text = imported.call(inputs).unwrap_err().to_string();
        assert!(text.contains("No imported function found"), "{text}");
    }
    // What was built outlives the function and the file.
    let kept = imported.call(&[&x, &y]).unwrap();
    drop(imported);
    std::fs::remove_file(&path).unwrap();
    assert_eq!(kept[1].item::<f32>().unwrap(), 52.5);

    // Several examples.
    let square = |x: &Array| x.square();
    let fingerprint = export_function(&path, square, &[&x, &long], false).unwrap();
    let imported = ImportedFunction::load(&path, &fingerprint).unwrap();
    assert_eq!(imported.call(&[&x]).unwrap()[0].to_vec::<f32>().unwrap(), [1.0, 4.0, 9.0]);
    assert_eq!(imported.call(&[&long]).unwrap()[0].to_vec::<f32>().unwrap(), [1.0; 4]);
    assert!(imported.call(&[&row(&[1.0])]).is_err());

    // Any lengths.
    let outer = |[x, y]: &[Array; 2]| x.add(y)?.exp()?.sum(.., false);
    let fingerprint = export_function(&path, outer, &[[&x, &y]], true).unwrap();
    let imported = ImportedFunction::load(&path, &fingerprint).unwrap();
    let zeros = Array::zeros(&[5], DType::F32).unwrap();
    assert_eq!(imported.call(&[&zeros, &zeros]).unwrap()[0].item::<f32>().unwrap(), 5.0);
    assert_eq!(imported.call(&[&zeros, &row(&[0.0])]).unwrap()[0].item::<f32>().unwrap(), 5.0);
    // Lengths that do not go together are refused, not computed with.
    for (a, b) in [(2, 1000), (1000, 2), (0, 3)] {
        let (a, b) = (Array::zeros(&[a], DType::F32).unwrap(), Array::zeros(&[b], DType::F32).unwrap());
        let outcome = imported.call(&[&a, &b]).and_then(|found| found[0].eval());
        assert!(outcome.is_err(), "{a:?} {b:?}");
    }

    positions_of_an_exported_function_stay_inside(&folder);
    an_exported_function_for_all_shapes_refuses_those_that_do_not_fit(&folder);

    // A file is read only if it is the one of the fingerprint.
    let good = std::fs::read(&path).unwrap();
    let check = |bytes: &[u8], problem: &str| {
        std::fs::write(&path, bytes).unwrap();
        let text = ImportedFunction::load(&path, &fingerprint).map(drop).unwrap_err().to_string();
        assert!(text.contains(problem) && text.contains("%s function.mlxfn: "), "{text}");
    };
    for position in (0..good.len()).step_by(7) {
        let mut bad = good.clone();
        bad[position] ^= 1;
        check(&bad, "the fingerprint is");
        check(&good[..position], "the fingerprint is");
    }
    check(&[], "the fingerprint is");
    assert!(ImportedFunction::load(folder.file("none"), &fingerprint).is_err());
    assert!(
        ImportedFunction::load(&folder.0, &fingerprint)
            .map(drop)
            .unwrap_err()
            .to_string()
            .contains("not a regular")
    );

    // Another thread cannot, as long as this one lives.
    std::fs::write(&path, &good).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let text = ImportedFunction::load(&path, &fingerprint).map(drop).unwrap_err().to_string();
            assert!(text.contains("another thread uses imported functions"), "{text}");
        });
    });
    assert!(ImportedFunction::load(&path, &fingerprint).is_ok());
}

#[test]
fn what_cannot_be_written_is_an_error() {
    let folder = Folder::new("export");
    let path = folder.file("%d.mlxfn");
    let x = row(&[1.0, 2.0]);
    let export = |f: &dyn Fn(&Array) -> Result<Array>| {
        export_function(&path, f, &[&x], false).unwrap_err().to_string()
    };

    // Names of MLX's own primitives are no way around.
    for name in ["square", "Square", "Reshape", "Convolution"] {
        let text = export(&|x| {
            let [y] = apply(Named(name), &[x])?;
            Ok(y)
        });
        assert!(text.contains(&format!("Unable to serialize primitive rust:{name}")), "{text}");
    }
    let text = export(&|x| {
        CustomFunction::new(|x: &Array| x.square()).with_vjp(|_, c: &Array, _| Ok(c.clone())).call(x)
    });
    assert!(text.contains("Unable to serialize primitive"), "{text}");

    // A captured array that is a view, or that stands for more elements than its memory holds.
    let table = Array::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2]).unwrap();
    let views = [
        table.transpose(&[1, 0]).unwrap(),
        Array::scalar(1.0f32).unwrap().broadcast_to(&[1000, 2]).unwrap(),
        table.slice_axis(1, 0, 1).unwrap().broadcast_to(&[2, 2]).unwrap(),
    ];
    for view in &views {
        view.eval().unwrap();
        let text = export(&|x| x.add(view));
        assert!(text.contains("is a view; make it contiguous"), "{text}");
        let laid_out = view.contiguous().unwrap();
        laid_out.eval().unwrap();
        export_function(&path, |x: &Array| x.add(&laid_out), &[&x], false).unwrap();
    }
    // A captured array whose computing fails.
    let [bad] = apply(Fail(Duration::from_millis(5)), &[&x]).unwrap();
    async_eval(&[&bad]).unwrap();
    let text = export(&|x| x.add(&bad));
    assert!(text.contains("broken %s"), "{text}");

    let old = std::fs::read(&path).unwrap();
    assert_eq!(export(&|_| Err(Error::other("of %s own"))), "of %s own");
    assert!(export(&|_| panic!("halfway")).contains("panicked: halfway"));
    assert!(export(&|x| x.matmul(&table.reshape(&[4])?)).starts_with("matmul("));
    assert!(export(&|x| Array::scalar(x.to_vec::<f32>()?[0])).contains("eval"));
    let none: [&Array; 0] = [];
    let text = export_function(&path, |x: &Array| x.square(), &none, false).unwrap_err().to_string();
    assert!(text.contains("no example"), "{text}");
    let text = export_function(&path, |x: &Array| x.square(), &[&x, &x], false).unwrap_err().to_string();
    assert!(text.contains("twice with the same signature"), "{text}");
    let text =
        export_function(&path, |_: &Array| Ok(Vec::<Array>::new()), &[&x], false).unwrap_err().to_string();
    assert!(text.contains("the function gave no array"), "{text}");
    // The old file is still there, and nothing else.
    assert_eq!(std::fs::read(&path).unwrap(), old);
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
    assert!(export_function(folder.file("no/%s"), |x: &Array| x.square(), &[&x], false).is_err());
    // A deep graph needs more stack than a thread has.
    let deep = |x: &Array| (0..100_000).try_fold(x.clone(), |y, _| y.add(x));
    export_function(&path, deep, &[&x], false).unwrap();
}

#[test]
fn fingerprints_are_texts_and_back() {
    let folder = Folder::new("fingerprint");
    let path = folder.file("f");
    let print = export_function(&path, |x: &Array| x.square(), &[&row(&[1.0])], false).unwrap();
    let text = print.to_string();
    assert_eq!(text.len(), 64);
    assert_eq!(text.parse::<Fingerprint>().unwrap(), print);
    assert_eq!(text.to_uppercase().parse::<Fingerprint>().unwrap(), print);
    for bad in ["", "0", &text[1..], &format!("{text}0"), &text.replace(&text[..1], "g"), "é"] {
        let error = bad.parse::<Fingerprint>().unwrap_err().to_string();
        assert_eq!(error, "fingerprint: a fingerprint is 64 hexadecimal digits");
    }
}

#[test]
fn graphs_are_drawn() {
    let x = row(&[1.0, 2.0]);
    let y = x.square().unwrap();
    let z = y.add(&x).unwrap();
    let dot = graph::to_dot(&[&z], &[("x \"in\" \\ %s\n", &x), ("z", &z)]).unwrap();
    let expected = r#"digraph {
  a0 [label="x \"in\" \\ %s  float32[2]", style=filled];
  p0 [label="Square", shape=rectangle];
  a0 -> p0;
  a1 [label="float32[2]"];
  p0 -> a1;
  p1 [label="Add", shape=rectangle];
  a1 -> p1;
  a0 -> p1;
  a2 [label="z float32[2]", peripheries=2];
  p1 -> a2;
}
"#;
    assert_eq!(dot, expected);
    z.eval().unwrap();
    let dot = graph::to_dot(&[&z], &[]).unwrap();
    assert_eq!(dot, "digraph {\n  a0 [label=\"float32[2]\", style=filled];\n}\n");
    assert_eq!(graph::to_dot(&[], &[]).unwrap(), "digraph {\n}\n");
    assert!(graph::to_dot(&[&z], &[("\0", &z)]).unwrap_err().to_string().contains("NUL"));
    let [own] = apply(Named("its own"), &[&x]).unwrap();
    assert!(graph::to_dot(&[&own], &[]).unwrap().contains("rust:its own"));
    // Several outputs of one operation, and a graph deeper than the stack.
    let parts = Array::from_slice(&[1.0f32; 64], &[1, 64]).unwrap();
    let parts = parts.quantize(mlx_core::Quantization::affine(64, 4)).unwrap();
    let dot = graph::to_dot(&[&parts.weight, &parts.scales], &[]).unwrap();
    assert_eq!(dot.matches("Quantize").count(), 1);
    let deep = (0..200_000).try_fold(x.clone(), |y, _| y.add(&x)).unwrap();
    assert_eq!(graph::to_dot(&[&deep], &[]).unwrap().matches("Add").count(), 200_000);
}

fn positions_of_an_exported_function_stay_inside(folder: &Folder) {
    let path = folder.file("rows.mlxfn");
    let table = Array::from_slice(&[1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0], &[3, 2]).unwrap();
    let at = Array::from_slice(&[0u32, 2], &[2]).unwrap();
    let rows = |[table, at]: &[Array; 2]| table.take(at, 0);
    let fingerprint = export_function(&path, rows, &[[&table, &at]], false).unwrap();
    let imported = ImportedFunction::load(&path, &fingerprint).unwrap();
    let found = |at: &Array| imported.call(&[&table, at]).unwrap()[0].to_vec::<f32>().unwrap();
    assert_eq!(found(&at), [1.0, 2.0, 5.0, 6.0]);
    let outside = Array::from_slice(&[1u32, u32::MAX], &[2]).unwrap();
    assert_eq!(found(&outside), [3.0, 4.0, 5.0, 6.0]);
}

fn an_exported_function_for_all_shapes_refuses_those_that_do_not_fit(folder: &Folder) {
    let path = folder.file("product.mlxfn");
    let (a, b) = (Array::full(&[2, 3], 1.0f32).unwrap(), Array::full(&[3, 2], 2.0f32).unwrap());
    let fingerprint = export_function(&path, |[a, b]| a.matmul(b), &[[&a, &b]], true).unwrap();
    let imported = ImportedFunction::load(&path, &fingerprint).unwrap();
    let longer = Array::full(&[5, 2], 2.0f32).unwrap();
    assert_eq!(imported.call(&[&b, &a]).unwrap()[0].shape(), [3, 3]);
    assert!(imported.call(&[&a, &longer]).is_err());
}
