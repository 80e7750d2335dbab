//! Arrangements of arrays: what functions that are transformed take and give.

use std::collections::BTreeMap;

use crate::{Array, Error, Result};

/// A fixed arrangement of arrays, such as a tuple or a map by name.
///
/// Implement it for a struct of your own to pass that to a transform: list the arrays in one order, and put others back
/// in the same.
pub trait Arrays: Sized {
    /// The arrays, always in the same order.
    fn arrays(&self) -> Vec<&Array>;

    /// The same arrangement of other arrays.
    ///
    /// # Errors
    /// When there are not as many arrays as this arrangement has.
    fn with_arrays(&self, arrays: Vec<Array>) -> Result<Self>;

    /// Names that the arrays have beside their order, such as the keys of a map. What is compiled for some does not serve
    /// for others.
    fn names(&self) -> Vec<&str> {
        Vec::new()
    }
}

/// The arguments of a function that is transformed: a borrowed arrangement, or a list of borrowed arrays.
///
/// The function sees them as [`Traced`](Self::Traced): `&Array` for `&Array`, `&[Array; 2]` for `[&Array; 2]`, `&(A, B)`
/// for `&(A, B)`, and `&Vec<Array>` for `&[&Array]`.
pub trait Arguments {
    /// The arrangement in which the function gets its arguments, and in which their gradients come back.
    type Traced: Arrays;

    /// The arrays, always in the same order.
    fn arrays(&self) -> Vec<&Array>;

    /// The same arrangement of other arrays.
    ///
    /// # Errors
    /// When there are not as many arrays as this arrangement has.
    fn with_arrays(&self, arrays: Vec<Array>) -> Result<Self::Traced>;
}

/// An arrangement without its arrays: scalars stand in their places, so that keeping it keeps no memory.
pub(super) fn outline<A: Arguments>(arguments: &A) -> Result<A::Traced> {
    let nothing = Array::scalar(false)?;
    arguments.with_arrays(vec![nothing; arguments.arrays().len()])
}

fn refuse(expected: usize, found: usize) -> Error {
    Error::Shape { op: "with_arrays", message: format!("{found} arrays do not fill a place for {expected}") }
}

impl Arrays for Array {
    fn arrays(&self) -> Vec<&Array> {
        vec![self]
    }

    fn with_arrays(&self, arrays: Vec<Array>) -> Result<Self> {
        let [array] = <[Array; 1]>::try_from(arrays).map_err(|arrays| refuse(1, arrays.len()))?;
        Ok(array)
    }
}

impl<const N: usize> Arrays for [Array; N] {
    fn arrays(&self) -> Vec<&Array> {
        self.iter().collect()
    }

    fn with_arrays(&self, arrays: Vec<Array>) -> Result<Self> {
        arrays.try_into().map_err(|arrays: Vec<Array>| refuse(N, arrays.len()))
    }
}

impl Arrays for Vec<Array> {
    fn arrays(&self) -> Vec<&Array> {
        self.iter().collect()
    }

    fn with_arrays(&self, arrays: Vec<Array>) -> Result<Self> {
        if arrays.len() == self.len() { Ok(arrays) } else { Err(refuse(self.len(), arrays.len())) }
    }
}

impl Arrays for BTreeMap<String, Array> {
    fn arrays(&self) -> Vec<&Array> {
        self.values().collect()
    }

    fn with_arrays(&self, arrays: Vec<Array>) -> Result<Self> {
        if arrays.len() != self.len() {
            return Err(refuse(self.len(), arrays.len()));
        }
        Ok(self.keys().cloned().zip(arrays).collect())
    }

    fn names(&self) -> Vec<&str> {
        self.keys().map(String::as_str).collect()
    }
}

macro_rules! tuples {
    ($(($($name:ident $index:tt),*))*) => {$(
        impl<$($name: Arrays),*> Arrays for ($($name,)*) {
            fn arrays(&self) -> Vec<&Array> {
                [$(self.$index.arrays()),*].concat()
            }

            fn with_arrays(&self, arrays: Vec<Array>) -> Result<Self> {
                let lengths = [$(self.$index.arrays().len()),*];
                if arrays.len() != lengths.iter().sum::<usize>() {
                    return Err(refuse(lengths.iter().sum(), arrays.len()));
                }
                let mut rest = arrays.into_iter();
                Ok(($(self.$index.with_arrays(rest.by_ref().take(lengths[$index]).collect())?,)*))
            }

            fn names(&self) -> Vec<&str> {
                [$(self.$index.names()),*].concat()
            }
        }
    )*};
}

tuples! {
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
}

impl<A: Arrays> Arguments for &A {
    type Traced = A;

    fn arrays(&self) -> Vec<&Array> {
        A::arrays(self)
    }

    fn with_arrays(&self, arrays: Vec<Array>) -> Result<A> {
        A::with_arrays(self, arrays)
    }
}

impl<const N: usize> Arguments for [&Array; N] {
    type Traced = [Array; N];

    fn arrays(&self) -> Vec<&Array> {
        self.to_vec()
    }

    fn with_arrays(&self, arrays: Vec<Array>) -> Result<[Array; N]> {
        arrays.try_into().map_err(|arrays: Vec<Array>| refuse(N, arrays.len()))
    }
}

impl Arguments for &[&Array] {
    type Traced = Vec<Array>;

    fn arrays(&self) -> Vec<&Array> {
        self.to_vec()
    }

    fn with_arrays(&self, arrays: Vec<Array>) -> Result<Vec<Array>> {
        if arrays.len() == self.len() { Ok(arrays) } else { Err(refuse(self.len(), arrays.len())) }
    }
}
