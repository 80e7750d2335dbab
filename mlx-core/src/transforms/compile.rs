//! Compilation: the graph that a function builds is kept, simplified and fused.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Once;

use super::arrays::outline;
use super::stack::with_room;
use super::{Arguments, Arrays, listed};
use crate::ffi::{self, Closure};
use crate::{Array, Device, Error, Result};

/// Compiles a function: it runs once for each set of shapes and dtypes, and its graph is used from then on.
///
/// What the function does besides building its outputs happens only when it runs. Arrays that it captures become
/// constants of the graph; pass what changes as arguments. Its outputs must keep one arrangement.
///
/// The graph is kept until the [`Compiled`] function is dropped. Create it once and call it often: every compiled
/// function has a graph of its own, also if two come from one expression.
///
/// ```
/// use mlx_core::Array;
/// use mlx_core::transforms::compile;
///
/// let gate = compile(|[x, y]: &[Array; 2]| x.sigmoid()?.multiply(y))?;
/// let zero = Array::scalar(0.0f32)?;
/// assert_eq!(gate.call([&zero, &Array::scalar(6.0f32)?])?.item::<f32>()?, 3.0);
/// # Ok::<(), mlx_core::Error>(())
/// ```
///
/// On a CPU, MLX fuses operations by running a C++ compiler when the graph is first computed. So where there is no GPU,
/// the mode is [`CompileMode::NoFuse`] unless [`set_compile_mode`] or the variable `MLX_DISABLE_COMPILE` says otherwise.
///
/// # Errors
/// When no memory is left. What the function fails with comes from [`Compiled::call`].
#[doc(alias = "mlx_compile")]
pub fn compile<I: Arrays + 'static, O: Arrays + 'static>(
    f: impl Fn(&I) -> Result<O> + 'static,
) -> Result<Compiled<I, O>> {
    Compiled::new(f, false)
}

/// Compiles a function into one graph for all shapes with the same numbers of axes.
///
/// The function must not depend on shapes: what it reads from one becomes a constant. It may be made of operations on
/// single elements, reductions, softmax, matrix products, changes of shape and primitives written in Rust.
///
/// # Errors
/// As [`compile`]. Other operations, and shapes that do not go together, fail when the function is called.
pub fn compile_shapeless<I: Arrays + 'static, O: Arrays + 'static>(
    f: impl Fn(&I) -> Result<O> + 'static,
) -> Result<Compiled<I, O>> {
    Compiled::new(f, true)
}

/// A function whose graph is kept; see [`compile`]. It belongs to its thread, as arrays do.
pub struct Compiled<I, O> {
    closure: Closure,
    shapeless: bool,
    trace: Rc<Trace<I, O>>,
    inputs: PhantomData<fn(&I) -> O>,
}

/// The arrangements of a compiled function, without arrays.
struct Trace<I, O> {
    /// Of the call that is under way.
    arguments: RefCell<Option<I>>,
    /// The names that the arguments' arrays had in the first call.
    names: RefCell<Option<Vec<String>>>,
    /// Of the last run.
    outputs: RefCell<Option<O>>,
}

impl<I: Arrays + 'static, O: Arrays + 'static> Compiled<I, O> {
    fn new(f: impl Fn(&I) -> Result<O> + 'static, shapeless: bool) -> Result<Self> {
        choose_mode()?;
        let trace: Rc<Trace<I, O>> = Rc::new(Trace {
            arguments: RefCell::new(None),
            names: RefCell::new(None),
            outputs: RefCell::new(None),
        });
        let inside = Rc::clone(&trace);
        let run = move |arrays: &[Array]| {
            let arguments = match &*inside.arguments.borrow() {
                Some(like) => Arrays::with_arrays(like, arrays.to_vec())?,
                None => return Err(refuse("MLX called the function by itself")),
            };
            let outputs = f(&arguments)?;
            let list = listed("compile", &outputs)?;
            let mut kept = inside.outputs.borrow_mut();
            if kept.as_ref().is_some_and(|kept| kept.arrays().len() != list.len()) {
                return Err(refuse("the function gave another number of arrays than before"));
            }
            if kept.as_ref().is_some_and(|kept| kept.names() != outputs.names()) {
                return Err(refuse("the function gave arrays of other names than before"));
            }
            *kept = Some(outline(&&outputs)?);
            Ok(list)
        };
        let closure = ffi::transforms::compile(&Closure::new(Box::new(run))?, shapeless)?;
        Ok(Compiled { closure, shapeless, trace, inputs: PhantomData })
    }

    /// Calls the function, which builds the graph of its outputs.
    ///
    /// # Errors
    /// What the function fails with when it runs, a call of the function from inside itself, and maps of other names than
    /// those of the first call.
    #[doc(alias = "mlx_closure_apply")]
    pub fn call<A: Arguments<Traced = I>>(&self, arguments: A) -> Result<O> {
        let inputs = arguments.arrays();
        let arrangement = outline(&arguments)?;
        if self.trace.arguments.borrow().is_some() {
            return Err(refuse("the function was called from inside itself"));
        }
        let mut names = self.trace.names.borrow_mut();
        let names = names.get_or_insert_with(|| arrangement.names().into_iter().map(str::to_owned).collect());
        if *names != arrangement.names() {
            return Err(refuse("the arguments have other names than in the first call"));
        }
        self.trace.arguments.replace(Some(arrangement));
        let outputs = with_room("compile", || self.closure.apply("compile", &inputs));
        self.trace.arguments.take();
        let outputs = outputs?;
        if self.shapeless {
            // MLX does not check what it builds for new shapes.
            ffi::transforms::check_shapeless("compile_shapeless", &inputs, &outputs)?;
        }
        let kept = self.trace.outputs.borrow();
        kept.as_ref().ok_or_else(|| refuse("MLX did not call the function"))?.with_arrays(outputs)
    }
}

fn refuse(message: &str) -> Error {
    Error::Op { op: "compile", operands: String::new(), message: message.to_owned() }
}

/// Which steps [`compile`] takes, for the whole process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "mlx_compile_mode")]
pub enum CompileMode {
    /// Compiled functions run like plain ones.
    Disabled,
    /// Graphs are kept as they are built.
    NoSimplify,
    /// Graphs are kept and simplified, but operations are not fused.
    NoFuse,
    /// Operations are fused as well.
    Enabled,
}

static MODE_CHOSEN: Once = Once::new();

/// Sets which steps [`compile`] takes from now on, on every thread.
///
/// # Errors
/// None that is known.
#[doc(alias = "mlx_set_compile_mode", alias = "mlx_enable_compile", alias = "mlx_disable_compile")]
pub fn set_compile_mode(mode: CompileMode) -> Result<()> {
    MODE_CHOSEN.call_once(|| {});
    ffi::transforms::set_compile_mode(mode)
}

/// Forgets the graphs of all compiled functions of this thread; each is built again when it is called.
///
/// # Errors
/// None that is known.
#[doc(alias = "mlx_detail_compile_cache", alias = "mlx_detail_compile_clear_cache")]
pub fn clear_compile_cache() -> Result<()> {
    ffi::transforms::clear_compile_cache()
}

/// Without a GPU, fusing means a C++ compiler at run time, which a machine that runs models need not have.
fn choose_mode() -> Result<()> {
    let mut outcome = Ok(());
    MODE_CHOSEN.call_once(|| {
        if !Device::Gpu.is_available() && std::env::var_os("MLX_DISABLE_COMPILE").is_none() {
            outcome = ffi::transforms::set_compile_mode(CompileMode::NoFuse);
        }
    });
    outcome
}
