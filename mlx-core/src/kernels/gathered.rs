//! Products of rows with a matrix of their own each, as in a mixture of experts.

use cpu_kernels::product::{MANY, Output, Precision, Rows, product};
use cpu_kernels::{Float, Isa};
use smallvec::SmallVec;

use super::memory::with_float;
use super::product::{Arrays, Held, Layout, are_known, plain_product, precision};
use super::{Kernel, Mode, apply, are_used};
use crate::nn::Routing;
use crate::primitive::{Spec, View, ViewMut};
use crate::{Array, DType, Error, Result, transforms};

const OP: &str = "project_each";

/// Row `i` of `x` `[C, K]` times the transpose of matrix `experts[i]` of `count`, if there is a kernel for it and it
/// is used here. The arrays hold the matrices one below the other, `[count * N, K]`.
pub(crate) fn project_each<'a>(
    x: &'a Array,
    routing: &'a Routing,
    layout: Layout,
    arrays: Arrays<'a>,
    count: usize,
) -> Option<Result<Array>> {
    let counts = routing.experts.dtype() == DType::U32;
    if !counts || x.size() == 0 || !are_used() || !are_known(x, layout, &arrays) {
        return None;
    }
    let kernel = Gathered { layout, count, many: routing.length >= MANY, precision: precision() };
    let inputs: SmallVec<[&Array; 5]> = [x, &routing.experts].into_iter().chain(arrays).collect();
    Some(apply(kernel, &inputs).map(|[product]| product))
}

/// Inputs are `x` `[C, K]`, the numbers of matrices `[C]` and the arrays of the matrices; the output is `[C, N]`.
struct Gathered {
    layout: Layout,
    count: usize,
    /// The rows of a matrix go through the kernel for many, however few they are.
    many: bool,
    precision: Precision,
}

fn refuse(message: impl Into<String>) -> Error {
    Error::Shape { op: OP, message: message.into() }
}

impl Gathered {
    /// The places of the rows that meet each matrix.
    fn places(&self, experts: &[u32]) -> Result<Vec<Vec<usize>>> {
        let mut places = vec![Vec::new(); self.count];
        for (place, expert) in experts.iter().enumerate() {
            let count = self.count;
            let of = places.get_mut(*expert as usize);
            of.ok_or_else(|| refuse(format!("choice {place} is matrix {expert} of {count}")))?.push(place);
        }
        Ok(places)
    }
}

impl Kernel for Gathered {
    fn name(&self) -> &str {
        OP
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let output = || {
            let [x, _, arrays @ ..] = inputs else { return None };
            let [rows, columns] = self.layout.shape(arrays)?;
            let mut shape = x.shape.clone();
            *shape.last_mut().filter(|last| **last == columns)? = rows / i32::try_from(self.count).ok()?;
            Some(Spec { shape, dtype: x.dtype })
        };
        Ok(vec![output().ok_or_else(|| refuse("the arrays of the matrices do not go with x"))?])
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        let ([x, experts, arrays @ ..], [output]) = (inputs, outputs) else {
            return Err(refuse("too few inputs"));
        };
        let held = Held::of(self.layout, arrays)?;
        let places = self.places(&experts.elements::<u32>()?)?;
        let width = x.shape().last().map_or(0, |last| *last as usize);
        let rows = output.shape().last().map_or(0, |last| *last as usize);
        with_float!(OP, x.dtype(), T => {
            let x = x.elements::<T>()?;
            let out = output.as_mut_slice::<T>()?;
            let (mut gathered, mut products) = (Vec::new(), Vec::new());
            for (expert, places) in places.iter().enumerate().filter(|(_, places)| !places.is_empty()) {
                gathered.clear();
                for place in places {
                    gathered.extend_from_slice(&x[place * width..(place + 1) * width]);
                }
                // Rows of zeros make up for those that the kernel for many wants.
                let length = if self.many { places.len().max(MANY) } else { places.len() };
                gathered.resize(length * width, T::from_f32(0.0));
                products.resize(length * rows, T::from_f32(0.0));
                let shape = match self.many {
                    true => Rows::of_one(length),
                    false => Rows { sequences: length, length: 1 },
                };
                let weights = held.rows(expert * rows, rows)?;
                let mut outputs = [Output { weights, out: &mut products[..length * rows] }];
                product(Isa::best(), &gathered, shape, &mut outputs, self.precision);
                for (place, product) in places.iter().zip(products.chunks_exact(rows.max(1))) {
                    out[place * rows..(place + 1) * rows].copy_from_slice(product);
                }
            }
            Ok(())
        })
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        (self.layout, self.count, self.many) == (other.layout, other.count, other.many)
            && self.precision == other.precision
    }

    fn plain(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let [x, experts, arrays @ ..] = inputs else { return Err(refuse("too few inputs")) };
        // Every row with every matrix, of which its own is kept: for derivatives, which are rare here.
        let all = plain_product(self.layout, x, arrays, true)?; // [C, E * N]
        let stacked = all.unflatten(1, &[self.count as i32, -1])?;
        let own = experts.reshape(&[-1, 1, 1])?;
        Ok(vec![stacked.take_along(&own, 1)?.squeeze(1)?])
    }

    /// Packed weights and choices have no gradient.
    fn vjp(&self, primals: &[Array], cotangents: &[Array]) -> Result<Vec<Option<Array>>> {
        let learned: &[usize] = if self.layout == Layout::Dense { &[0, 2] } else { &[0] };
        let chosen: Vec<Array> = learned.iter().map(|at| primals[*at].clone()).collect();
        let forward = |chosen: &Vec<Array>| {
            let mut inputs = primals.to_vec();
            for (at, array) in learned.iter().zip(chosen) {
                inputs[*at] = array.clone();
            }
            self.plain(&inputs)
        };
        let found = super::with(Mode::Off, || transforms::vjp(forward, &chosen, &cotangents.to_vec()))?.1;
        let mut gradients = vec![None; primals.len()];
        for (at, gradient) in learned.iter().zip(found) {
            gradients[*at] = Some(gradient);
        }
        Ok(gradients)
    }
}
