//! Matrices of any layout beside each other.

use mlx_core::{Array, Quantization, Quantized, concatenate, nn};

use crate::Result;

/// Matrices that are stored alike, one below the other; none if they are not.
pub(super) fn below(matrices: &[nn::Weight]) -> Result<Option<nn::Weight>> {
    let dense: Option<Vec<&Array>> = matrices
        .iter()
        .map(|matrix| match matrix {
            nn::Weight::Dense(array) => Some(array),
            _ => None,
        })
        .collect();
    let join = |arrays: &[&Array]| -> Result<Array> {
        let joined = concatenate(arrays, 0)?;
        joined.eval()?;
        Ok(joined)
    };
    if let Some(arrays) = dense {
        return Ok(Some(nn::Weight::Dense(join(&arrays)?)));
    }
    let packed: Option<Vec<&Quantized>> = matrices
        .iter()
        .map(|matrix| match matrix {
            nn::Weight::Quantized(packed) => Some(packed),
            _ => None,
        })
        .collect();
    let Some(packed) = packed else { return Ok(None) };
    let quantization: Quantization = packed[0].quantization;
    if packed.iter().any(|packed| packed.quantization != quantization) {
        return Ok(None);
    }
    let biases: Option<Vec<&Array>> = packed.iter().map(|packed| packed.biases.as_ref()).collect();
    Ok(Some(nn::Weight::Quantized(Quantized {
        weight: join(&packed.iter().map(|packed| &packed.weight).collect::<Vec<_>>())?,
        scales: join(&packed.iter().map(|packed| &packed.scales).collect::<Vec<_>>())?,
        biases: biases.map(|biases| join(&biases)).transpose()?,
        quantization,
    })))
}

/// Whether two matrices are stored as the same numbers.
pub(crate) fn same_matrix(a: &nn::Weight, b: &nn::Weight) -> Result<bool> {
    let (a, b) = (a.arrays(), b.arrays());
    let same_layout = |(a, b): (&&Array, &&Array)| a.shape() == b.shape() && a.dtype() == b.dtype();
    if a.len() != b.len() || !a.iter().zip(&b).all(same_layout) {
        return Ok(false);
    }
    for (a, b) in a.iter().zip(&b) {
        if !a.equal(b)?.all([0, 1], false)?.item::<bool>()? {
            return Ok(false);
        }
    }
    Ok(true)
}
