//! Products of dense matrices, and of batches of them.

use cpu_kernels::Isa;
use cpu_kernels::product::{Dense, Matrix, Output, Precision, Rows, product};
use smallvec::smallvec;

use super::memory::{Floats, is_supported, row_major, with_float};
use super::product::{Layout, project};
use super::{Kernel, apply, are_used};
use crate::primitive::{Spec, View, ViewMut};
use crate::{Array, Error, Result, ffi};

const MATMUL: &str = "matmul";

/// `a b` of dense arrays, if there is a kernel for it and it is used here.
pub(crate) fn matmul(a: &Array, b: &Array) -> Option<Result<Array>> {
    let same = a.dtype() == b.dtype() && is_supported(a.dtype());
    let [.., inner, _] = *b.shape() else { return None };
    // A row by itself is a matrix of one to MLX, whose axis goes again.
    if !same || a.ndim() < 2 || a.shape().last() != Some(&inner) || !are_used() {
        return None;
    }
    if b.ndim() == 2 {
        let rows = match b.transpose(&[1, 0]) {
            Ok(rows) => rows,
            Err(error) => return Some(Err(error)),
        };
        return project(a, [(Layout::Dense, smallvec![&rows])])
            .map(|outputs| outputs.map(|[product]| product));
    }
    let outputs = [Spec::of(a), Spec::of(b)];
    Batched.outputs(&outputs).ok()?;
    Some(apply(Batched, &[a, b]).map(|[product]| product))
}

fn refuse(message: &str) -> Error {
    Error::Shape { op: MATMUL, message: message.to_owned() }
}

/// `[.., M, K] x [.., K, N] -> [.., M, N]`, of which the axes before the last two are broadcast.
struct Batched;

impl Kernel for Batched {
    fn name(&self) -> &str {
        "matmul"
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let output = || {
            let [a, b] = inputs else { return None };
            let ([left @ .., m, k], [right @ .., inner, n]) = (&a.shape[..], &b.shape[..]) else {
                return None;
            };
            let mut shape = broadcast(left, right)?;
            shape.extend([*m, *n]);
            (k == inner).then_some(Spec { shape: shape.into(), dtype: a.dtype })
        };
        Ok(vec![output().ok_or_else(|| refuse("the matrices do not go together"))?])
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        let ([a, b], [output]) = (inputs, outputs) else { return Err(refuse("too few inputs")) };
        let ([left @ .., m, k], [right @ .., _, n]) = (a.shape(), b.shape()) else {
            return Err(refuse("no matrices"));
        };
        let [m, k, n] = [m, k, n].map(|axis| *axis as usize);
        let floats = Floats::of(MATMUL, b)?;
        let batch = output.shape()[..output.shape().len() - 2].to_vec();
        with_float!(MATMUL, a.dtype(), T => {
            let x = a.elements::<T>()?;
            let own = row_major(left, m * k);
            let out = output.as_mut_slice::<T>()?;
            for (index, out) in out.chunks_exact_mut((m * n).max(1)).enumerate() {
                let first = offset(index, &batch, left, &own);
                let dense = floats.matrix(offset(index, &batch, right, &floats.strides));
                let rows_of_weights =
                    Dense { row_stride: dense.column_stride, column_stride: dense.row_stride, ..dense };
                let weights = Matrix::dense([n, k], rows_of_weights).map_err(|error| refuse(&error.to_string()))?;
                let outputs = &mut [Output { weights, out }];
                product(Isa::best(), &x[first..first + m * k], Rows::of_one(m), outputs, Precision::Exact);
            }
            Ok(())
        })
    }

    fn is_equivalent(&self, _: &Self) -> bool {
        true
    }

    fn plain(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let [a, b] = inputs else { return Err(refuse("too few inputs")) };
        Ok(vec![ffi::ops::matmul(a, b)?])
    }

    fn vjp(&self, primals: &[Array], cotangents: &[Array]) -> Result<Vec<Option<Array>>> {
        let ([a, b], [cotangent]) = (primals, cotangents) else { return Err(refuse("too few inputs")) };
        let to_a = cotangent.matmul(&b.swapaxes(-1, -2)?)?;
        let to_b = a.swapaxes(-1, -2)?.matmul(cotangent)?;
        Ok(vec![Some(summed_to(to_a, a)?), Some(summed_to(to_b, b)?)])
    }
}

/// The shape that both are broadcast to.
fn broadcast(a: &[i32], b: &[i32]) -> Option<Vec<i32>> {
    let ndim = a.len().max(b.len());
    let length =
        |shape: &[i32], axis: usize| (axis + shape.len()).checked_sub(ndim).map_or(1, |axis| shape[axis]);
    (0..ndim)
        .map(|axis| match (length(a, axis), length(b, axis)) {
            (1, other) | (other, 1) => Some(other),
            (a, b) => (a == b).then_some(a),
        })
        .collect()
}

/// Where the operand of the batch's element `index` begins.
fn offset(mut index: usize, batch: &[i32], shape: &[i32], strides: &[usize]) -> usize {
    let mut offset = 0;
    for (axis, length) in batch.iter().enumerate().rev() {
        let position = index % *length as usize;
        index /= *length as usize;
        if let Some(own) = (axis + shape.len()).checked_sub(batch.len())
            && shape[own] != 1
        {
            offset += position * strides[own];
        }
    }
    offset
}

/// A gradient summed over the axes along which `like` was broadcast.
fn summed_to(gradient: Array, like: &Array) -> Result<Array> {
    if gradient.shape() == like.shape() {
        return Ok(gradient);
    }
    let added = gradient.ndim() - like.ndim();
    let axes: Vec<i32> = (0..gradient.ndim())
        .filter(|axis| *axis < added || like.shape()[axis - added] == 1 && gradient.shape()[*axis] != 1)
        .map(|axis| axis as i32)
        .collect();
    gradient.sum(&axes[..], true)?.reshape(like.shape())
}
