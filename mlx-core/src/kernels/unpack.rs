//! The weights that blocks stand for.

use cpu_kernels::Isa;
use cpu_kernels::blocks::BlockFormat;
use cpu_kernels::product::{self, Matrix};

use super::memory::with_float;
use crate::primitive::{Primitive, Spec, View, ViewMut, apply};
use crate::{Array, DType, Error, Result};

const UNPACK: &str = "unpack";

/// Rows of blocks as numbers: uint8 `[.., bytes of a row] -> [.., K]`.
pub(crate) fn unpack(bytes: &Array, format: BlockFormat, dtype: DType) -> Result<Array> {
    let [weights] = apply(Unpack { format, dtype }, &[bytes])?;
    Ok(weights)
}

struct Unpack {
    format: BlockFormat,
    dtype: DType,
}

impl Primitive for Unpack {
    fn name(&self) -> &str {
        UNPACK
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let output = || {
            let [bytes] = inputs else { return None };
            let mut shape = bytes.shape.clone();
            let last = shape.last_mut()?;
            let blocks = *last as usize / self.format.block_bytes();
            let whole =
                (*last as usize).is_multiple_of(self.format.block_bytes()) && bytes.dtype == DType::U8;
            *last = i32::try_from(blocks * self.format.block_len()).ok()?;
            whole.then_some(Spec { shape, dtype: self.dtype })
        };
        let refused =
            || Error::Shape { op: UNPACK, message: format!("these are not {} blocks", self.format) };
        Ok(vec![output().ok_or_else(refused)?])
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        let ([bytes], [output]) = (inputs, outputs) else {
            return Err(Error::Shape { op: UNPACK, message: "there is one input".to_owned() });
        };
        let columns = output.shape().last().map_or(0, |last| *last as usize);
        let rows = output.size() / columns.max(1);
        let bytes = bytes.elements::<u8>()?;
        let weights = Matrix::blocks([rows, columns], self.format, &bytes)
            .map_err(|error| Error::Shape { op: UNPACK, message: error.to_string() })?;
        with_float!(UNPACK, self.dtype, T => {
            product::unpack(Isa::best(), weights, output.as_mut_slice::<T>()?);
            Ok(())
        })
    }

    fn vmap(&self, inputs: &[Array], axes: &[Option<i32>]) -> Result<(Vec<Array>, Vec<i32>)> {
        // Every row stands for itself, so one more axis before the last changes nothing.
        let moved = match axes {
            [Some(axis)] => inputs[0].moveaxis(*axis, 0)?,
            _ => inputs[0].clone(),
        };
        Ok((vec![unpack(&moved, self.format, self.dtype)?], vec![0]))
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        (self.format, self.dtype) == (other.format, other.dtype)
    }
}
