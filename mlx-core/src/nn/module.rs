//! Modules: trees of named parts, with arrays as leaves.

use std::any::Any;
use std::collections::BTreeMap;

use crate::transforms::{self, Arrays};
use crate::{Array, Error, Result};

use super::Weight;

/// A module of any type. Where a function takes `&DynModule`, `&model` is one.
pub type DynModule = dyn Module;

/// The parts of a module by name, in the order of its fields.
pub type Children<'a> = Vec<(String, &'a DynModule)>;

/// The parts of a module by name, in the order of its fields.
pub type ChildrenMut<'a> = Vec<(String, &'a mut DynModule)>;

/// Something that holds arrays under names: a layer, a model, a list of layers, an array itself.
///
/// The name of an array is the path to it, such as `layers.0.mlp.down_proj.weight`, which is also its name in a
/// checkpoint. A list names its elements `0`, `1` and so on, and an [`Option`] adds nothing to the path.
///
/// [`module!`](crate::nn::module!) implements the trait for a struct. What it leaves out, such as a number or a table of
/// angles, is no parameter. A weight that is used in two places is held in one of them and has one name: see
/// [`Embedding::as_linear`](super::Embedding::as_linear).
pub trait Module: Any {
    /// The parts. A part without a name (`""`) has its own parts in its place.
    fn children(&self) -> Children<'_>;

    /// The same parts, to be changed.
    fn children_mut(&mut self) -> ChildrenMut<'_>;
}

/// Implements [`Module`] for a struct: the fields that are modules, then, after a semicolon, those that are not.
///
/// The compiler refuses a list that leaves a field out. `as` gives a field another name than its own.
///
/// ```
/// use mlx_core::nn::{self, Linear, RmsNorm};
///
/// struct Block {
///     norm: RmsNorm,
///     heads: Vec<Linear>,
///     gate: Option<Linear>,
///     classes: usize,
/// }
///
/// nn::module! { Block { norm, heads as "experts", gate; classes } }
/// ```
///
/// The arrays of this block are `norm.weight`, `experts.0.weight` and so on.
///
/// ```compile_fail
/// struct Two {
///     left: mlx_core::Array,
///     right: mlx_core::Array,
/// }
/// mlx_core::nn::module! { Two { left } } // where is `right`?
/// ```
#[doc(hidden)]
#[macro_export]
macro_rules! __module {
    ($type:ident { $($field:ident $(as $name:literal)?),* $(,)? $(; $($other:ident),* $(,)?)? }) => {
        impl $crate::nn::Module for $type {
            fn children(&self) -> $crate::nn::Children<'_> {
                let Self { $($field,)* $($($other: _,)*)? } = self;
                ::std::vec![$(($crate::__module!(@name $field $($name)?), $field as _)),*]
            }

            fn children_mut(&mut self) -> $crate::nn::ChildrenMut<'_> {
                let Self { $($field,)* $($($other: _,)*)? } = self;
                ::std::vec![$(($crate::__module!(@name $field $($name)?), $field as _)),*]
            }
        }
    };
    (@name $field:ident) => {
        ::std::string::String::from(::std::stringify!($field))
    };
    (@name $field:ident $name:literal) => {
        ::std::string::String::from($name)
    };
}

/// The modules of type `T` inside `model`, itself included, by name and in order. Those inside another `T` are not
/// looked for.
///
/// ```
/// use mlx_core::nn::{self, Linear, Weight};
/// use mlx_core::{Array, DType};
///
/// let layer = || Ok::<_, mlx_core::Error>(Linear::new(Weight::Dense(Array::zeros(&[2, 2], DType::F32)?), None));
/// let model = vec![layer()?, layer()?];
/// let names = |found: Vec<(String, &Array)>| found.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
/// assert_eq!(names(nn::find::<Array>(&model)), ["0.weight", "1.weight"]);
/// assert_eq!(nn::find::<Linear>(&model).len(), 2);
/// # Ok::<(), mlx_core::Error>(())
/// ```
pub fn find<T: Module>(model: &DynModule) -> Vec<(String, &T)> {
    let mut found = Vec::new();
    descend(String::new(), model, &mut |name, module| match (module as &dyn Any).downcast_ref() {
        Some(module) => {
            found.push((name.to_owned(), module));
            false
        }
        None => true,
    });
    found
}

/// As [`find`], to change what is found.
pub fn find_mut<T: Module>(model: &mut DynModule) -> Vec<(String, &mut T)> {
    fn descend<'a, T: Module>(path: String, module: &'a mut DynModule, found: &mut Vec<(String, &'a mut T)>) {
        if (&*module as &dyn Any).is::<T>() {
            found.extend((module as &mut dyn Any).downcast_mut().map(|module| (path, module)));
            return;
        }
        for (name, child) in module.children_mut() {
            descend(join(&path, &name), child, found);
        }
    }
    let mut found = Vec::new();
    descend(String::new(), model, &mut found);
    found
}

/// Calls `visit` for a module and, where it returns true, for what is inside.
fn descend<'a>(path: String, module: &'a DynModule, visit: &mut dyn FnMut(&str, &'a DynModule) -> bool) {
    if visit(&path, module) {
        for (name, child) in module.children() {
            descend(join(&path, &name), child, visit);
        }
    }
}

fn join(path: &str, name: &str) -> String {
    match (path, name) {
        ("", name) => name.to_owned(),
        (path, "") => path.to_owned(),
        (path, name) => format!("{path}.{name}"),
    }
}

/// All arrays of a model by name. They are the model's own, so keeping them costs no memory until the model changes.
///
/// # Errors
/// When two arrays have one name.
pub fn parameters(model: &DynModule) -> Result<BTreeMap<String, Array>> {
    distinct(find::<Array>(model).into_iter().map(|(name, array)| (name, array.clone())))
}

/// The arrays of a model that training changes: those whose name `trainable` accepts.
///
/// Arrays that are not floating-point, and the parts of quantized weights, are never among them.
///
/// # Errors
/// When two arrays of the model have one name.
pub fn trainable_parameters(
    model: &DynModule,
    trainable: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Array>> {
    let mut chosen = parameters(model)?;
    chosen.retain(|name, array| array.dtype().is_float() && trainable(name));
    descend(String::new(), model, &mut |name, module| match (module as &dyn Any).downcast_ref() {
        Some(weight @ Weight::Quantized(_)) => {
            weight.children().iter().for_each(|(part, _)| drop(chosen.remove(&join(name, part))));
            false
        }
        _ => true,
    });
    Ok(chosen)
}

/// The places of a model's arrays by name.
pub(crate) fn places(model: &mut DynModule) -> Result<BTreeMap<String, &mut Array>> {
    distinct(find_mut(model).into_iter())
}

fn distinct<T>(named: impl Iterator<Item = (String, T)>) -> Result<BTreeMap<String, T>> {
    let mut map = BTreeMap::new();
    for (name, value) in named {
        if map.contains_key(&name) {
            return Err(refuse("parameters", format!("two arrays are named {name}")));
        }
        map.insert(name, value);
    }
    Ok(map)
}

/// Replaces arrays of a model by name; the others stay.
///
/// # Errors
/// When the model has no array of a name, or one of another shape or dtype; nothing is replaced then.
pub fn update(model: &mut DynModule, arrays: BTreeMap<String, Array>) -> Result<()> {
    const OP: &str = "update";
    let mut places = places(model)?;
    for (name, array) in &arrays {
        let place = places.get(name).ok_or_else(|| refuse(OP, format!("the model has no array {name}")))?;
        if (place.shape(), place.dtype()) != (array.shape(), array.dtype()) {
            let message = format!("{name} is {}, not {}", place.describe(), array.describe());
            return Err(refuse(OP, message));
        }
    }
    for (name, array) in arrays {
        if let Some(place) = places.get_mut(&name) {
            **place = array;
        }
    }
    Ok(())
}

/// The value of `f` at a model, and the gradients of its first array with respect to the model's arrays whose names
/// `trainable` accepts (see [`trainable_parameters`]).
///
/// `f` gets the model with tracers in place of these arrays, so what it computes is differentiated. Afterwards the
/// model holds its own arrays again, also if `f` fails or panics.
///
/// ```
/// use mlx_core::nn::{self, Linear, Weight};
/// use mlx_core::Array;
///
/// let weight = Array::from_slice(&[3.0f32, 4.0], &[1, 2])?;
/// let mut model = Linear::new(Weight::Dense(weight), None);
/// let x = Array::from_slice(&[1.0f32, 2.0], &[1, 2])?;
/// let (loss, gradients) =
///     nn::value_and_grad(&mut model, |_| true, |model| model.forward(&x)?.square()?.sum(.., false))?;
/// assert_eq!(loss.item::<f32>()?, 121.0);
/// assert_eq!(gradients["weight"].to_vec::<f32>()?, [22.0, 44.0]);
/// # Ok::<(), mlx_core::Error>(())
/// ```
///
/// [`transforms::value_and_grad`] does the same for arrays that are passed to a function.
///
/// # Errors
/// As [`transforms::value_and_grad`], and when `trainable` accepts nothing, or two arrays of one name.
pub fn value_and_grad<M: Module, O: Arrays>(
    model: &mut M,
    trainable: impl Fn(&str) -> bool,
    f: impl FnOnce(&M) -> Result<O>,
) -> Result<(O, BTreeMap<String, Array>)> {
    let parameters = trainable_parameters(model, trainable)?;
    if parameters.is_empty() {
        return Err(refuse("value_and_grad", "the model has no trainable parameter".to_owned()));
    }
    transforms::value_and_grad(
        |traced: &BTreeMap<String, Array>| {
            let lent = Lent::new(model, traced, &parameters);
            f(lent.model)
        },
        &parameters,
    )
}

/// A model that holds other arrays than its own until this is dropped.
struct Lent<'a, M: Module> {
    model: &'a mut M,
    own: &'a BTreeMap<String, Array>,
}

impl<'a, M: Module> Lent<'a, M> {
    fn new(model: &'a mut M, others: &BTreeMap<String, Array>, own: &'a BTreeMap<String, Array>) -> Self {
        let lent = Lent { model, own };
        place(lent.model, others);
        lent
    }
}

impl<M: Module> Drop for Lent<'_, M> {
    fn drop(&mut self) {
        place(self.model, self.own);
    }
}

fn place(model: &mut DynModule, arrays: &BTreeMap<String, Array>) {
    for (name, place) in find_mut::<Array>(model) {
        if let Some(array) = arrays.get(&name) {
            *place = array.clone();
        }
    }
}

fn refuse(op: &'static str, message: String) -> Error {
    Error::Shape { op, message }
}

impl Module for Array {
    fn children(&self) -> Children<'_> {
        Vec::new()
    }

    fn children_mut(&mut self) -> ChildrenMut<'_> {
        Vec::new()
    }
}

impl<M: Module> Module for Option<M> {
    fn children(&self) -> Children<'_> {
        self.iter().map(|module| (String::new(), module as _)).collect()
    }

    fn children_mut(&mut self) -> ChildrenMut<'_> {
        self.iter_mut().map(|module| (String::new(), module as _)).collect()
    }
}

impl<M: Module> Module for Vec<M> {
    fn children(&self) -> Children<'_> {
        self.iter().enumerate().map(|(index, module)| (index.to_string(), module as _)).collect()
    }

    fn children_mut(&mut self) -> ChildrenMut<'_> {
        self.iter_mut().enumerate().map(|(index, module)| (index.to_string(), module as _)).collect()
    }
}

impl<M: Module> Module for BTreeMap<String, M> {
    fn children(&self) -> Children<'_> {
        self.iter().map(|(name, module)| (name.clone(), module as _)).collect()
    }

    fn children_mut(&mut self) -> ChildrenMut<'_> {
        self.iter_mut().map(|(name, module)| (name.clone(), module as _)).collect()
    }
}

impl<M: Module> Module for Box<M> {
    fn children(&self) -> Children<'_> {
        vec![(String::new(), &**self)]
    }

    fn children_mut(&mut self) -> ChildrenMut<'_> {
        vec![(String::new(), &mut **self)]
    }
}
