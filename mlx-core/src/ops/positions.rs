//! Positions in arrays. MLX's kernels follow them without a look, out of the array if they lead there.
//!
//! Positions that are computed already are checked at once. Others are checked when they are computed, by a primitive that
//! stands between them and their use: an operation never waits for them, and the check survives compilation. A GPU cannot
//! raise an error in mid-graph, and a graph in a file holds no primitives of ours; there a position outside becomes the
//! nearest one inside.

use std::cell::Cell;

use crate::primitive::{Primitive, Spec, View, ViewMut, apply};
use crate::{Array, DType, Device, Error, Result, transforms};

const POSITION: &str = "position";

thread_local! {
    /// Whether this thread builds a graph that is made of MLX's own operations.
    static PLAIN: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f`, which builds graphs of MLX's own operations alone.
pub(crate) fn plain<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            PLAIN.set(self.0);
        }
    }
    let _restore = Restore(PLAIN.replace(true));
    f()
}

/// Whether this thread builds a graph of MLX's own operations alone.
pub(crate) fn is_plain() -> bool {
    PLAIN.get()
}

/// The positions that are allowed: 0 to `last`, and `-wrap` to -1 counted from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limit {
    what: &'static str,
    wrap: i64,
    last: i64,
}

impl Limit {
    /// Positions in an axis of `length`, at which `taken` elements begin.
    pub(crate) fn axis(length: i32, taken: i32) -> Self {
        Limit { what: POSITION, wrap: i64::from(length), last: i64::from(length) - i64::from(taken) }
    }

    /// Numbers from 0 to `last`, which may be the end of an axis.
    pub(crate) fn upto(last: i32) -> Self {
        Limit { what: POSITION, wrap: 0, last: i64::from(last) }
    }

    /// Numbers of `count` classes.
    pub(crate) fn classes(count: i32) -> Self {
        Limit { what: "class", wrap: 0, last: i64::from(count) - 1 }
    }

    /// The position counted from the start.
    fn place(self, position: i128) -> Option<u32> {
        let position = if position < 0 { position + i128::from(self.wrap) } else { position };
        u32::try_from(position).ok().filter(|position| i64::from(*position) <= self.last)
    }
}

/// `positions`, none of which lies outside its limit: there is one for all, or one for each along the last axis.
///
/// What comes back holds the same numbers, or the same counted from the start.
pub(crate) fn inside(op: &'static str, positions: &Array, limits: &[Limit]) -> Result<Array> {
    if let Some(bytes) = positions.known_bytes() {
        require_integers(op, positions.dtype())?;
        let width = positions.dtype().size();
        for (bytes, limit) in bytes.chunks_exact(width).zip(limits.iter().cycle()) {
            let position = number(positions.dtype(), bytes);
            if limit.place(position).is_none() {
                return Err(outside(op, position, *limit));
            }
        }
        return without_gradient(positions);
    }
    checked_later(op, positions, limits)
}

/// As [`inside`], in row-major uint32 on a CPU, which some kernels rely on.
pub(super) fn checked_later(op: &'static str, positions: &Array, limits: &[Limit]) -> Result<Array> {
    require_integers(op, positions.dtype())?;
    let positions = &without_gradient(positions)?;
    if positions.size() == 0 {
        return positions.as_type(DType::U32);
    }
    if let Some(empty) = limits.iter().find(|limit| limit.last < 0) {
        return Err(outside(op, 0, *empty));
    }
    if Device::current() == Device::Gpu || is_plain() {
        let bound = |f: fn(&Limit) -> i64| {
            let bounds: Vec<i32> = limits.iter().map(|limit| f(limit) as i32).collect();
            let length = [bounds.len() as i32];
            Array::from_slice(&bounds, if bounds.len() == 1 { &[] } else { &length })
        };
        // What uint64 and the bounds have in common is float32.
        let signed = match positions.dtype() {
            DType::U64 => positions.as_type(DType::I64)?,
            _ => positions.clone(),
        };
        return signed.minimum(&bound(|limit| limit.last)?)?.maximum(&bound(|limit| -limit.wrap)?);
    }
    let [checked] = apply(Positions { op, limits: limits.to_vec() }, &[positions])?;
    Ok(checked)
}

/// Positions have no gradient, and MLX does not differentiate what follows positions that could have one.
pub(super) fn without_gradient(positions: &Array) -> Result<Array> {
    if transforms::under_way() { positions.stop_gradient() } else { Ok(positions.clone()) }
}

fn require_integers(op: &'static str, dtype: DType) -> Result<()> {
    if dtype.is_integer() {
        return Ok(());
    }
    Err(Error::Shape { op, message: format!("positions must be integers, not {dtype}") })
}

fn outside(op: &'static str, position: i128, limit: Limit) -> Error {
    if limit.last < 0 {
        return Error::Shape { op, message: format!("there is no {} to take", limit.what) };
    }
    Error::Shape { op, message: format!("{} {position} lies outside: {}", limit.what, limit.text()) }
}

impl Limit {
    fn text(self) -> String {
        match self.wrap {
            0 => format!("0 to {} exist", self.last),
            wrap => format!("{} to {} exist", -wrap, self.last),
        }
    }
}

/// One integer of `dtype` in the machine's byte order.
fn number(dtype: DType, bytes: &[u8]) -> i128 {
    use crate::element::sealed::Bytes;
    match dtype {
        DType::U8 => u8::from_bytes(bytes).into(),
        DType::U16 => u16::from_bytes(bytes).into(),
        DType::U32 => u32::from_bytes(bytes).into(),
        DType::U64 => u64::from_bytes(bytes).into(),
        DType::I8 => i8::from_bytes(bytes).into(),
        DType::I16 => i16::from_bytes(bytes).into(),
        DType::I32 => i32::from_bytes(bytes).into(),
        _ => i64::from_bytes(bytes).into(),
    }
}

/// Passes positions on, counted from the start, and fails if one lies outside.
struct Positions {
    op: &'static str,
    limits: Vec<Limit>,
}

impl Primitive for Positions {
    fn name(&self) -> &str {
        self.op
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        Ok(inputs.iter().map(|positions| Spec::new(&positions.shape, DType::U32)).collect())
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        macro_rules! check {
            ($($dtype:ident => $type:ty),*) => {
                match inputs[0].dtype() {
                    $(DType::$dtype => self.place(&inputs[0].elements::<$type>()?, &mut outputs[0]),)*
                    other => Err(Error::Shape {
                        op: self.op,
                        message: format!("positions must be integers, not {other}"),
                    }),
                }
            };
        }
        check!(U8 => u8, U16 => u16, U32 => u32, U64 => u64, I8 => i8, I16 => i16, I32 => i32, I64 => i64)
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<i32>]) -> Result<(Vec<Array>, Vec<i32>)> {
        if self.limits.len() > 1 {
            let message = "starts cannot be vectorized".to_owned();
            return Err(Error::Shape { op: self.op, message });
        }
        let checked = checked_later(self.op, &inputs[0], &self.limits)?;
        Ok((vec![checked], vec![axes[0].unwrap_or(0)]))
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        self.limits == other.limits
    }
}

impl Positions {
    fn place<T: Copy + Into<i128>>(&self, positions: &[T], out: &mut ViewMut<'_>) -> Result<()> {
        let out = out.as_mut_slice::<u32>()?;
        for ((out, position), limit) in out.iter_mut().zip(positions).zip(self.limits.iter().cycle()) {
            let position = (*position).into();
            *out = limit.place(position).ok_or_else(|| outside(self.op, position, *limit))?;
        }
        Ok(())
    }
}
