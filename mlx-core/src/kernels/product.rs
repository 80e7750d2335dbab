//! Products with matrices of weights.

use std::borrow::Cow;

use cpu_kernels::Isa;
use cpu_kernels::blocks::BlockFormat;
use cpu_kernels::product::{Affine, Matrix, Output, Precision, Rows, product, product_transposed};
use smallvec::{SmallVec, smallvec};

use super::memory::{Floats, is_supported, with_float};
use super::{Kernel, Mode, apply, are_used, mode, plain_vjp};
use crate::primitive::{Spec, View, ViewMut};
use crate::{Array, Error, Quantization, Quantized, Result, ffi, transforms};

/// How a matrix of weights `[N, K]` is stored, and in how many arrays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One array of floats.
    Dense,
    /// Codes, scales and biases.
    Affine { group_size: i32, bits: i32 },
    /// One array of bytes, `[N, bytes of a row]`: ggml's blocks.
    Blocks(BlockFormat),
}

impl Layout {
    /// The layout of packed weights, if there is a kernel for it.
    pub(crate) fn of(quantization: Quantization) -> Option<Layout> {
        match quantization {
            Quantization::Affine { group_size, bits } => Some(Layout::Affine { group_size, bits }),
            _ => None,
        }
    }

    fn arrays(self) -> usize {
        match self {
            Layout::Dense | Layout::Blocks(_) => 1,
            Layout::Affine { .. } => 3,
        }
    }

    /// `[N, K]` of arrays of these shapes.
    pub(super) fn shape(self, arrays: &[Spec]) -> Option<[i32; 2]> {
        let &[rows, last] = &arrays.first()?.shape[..] else { return None };
        Some(match self {
            Layout::Dense => [rows, last],
            Layout::Affine { bits, .. } => {
                [rows, i32::try_from(i64::from(last) * 32 / i64::from(bits.max(1))).ok()?]
            }
            Layout::Blocks(format) => {
                let columns = last as usize / format.block_bytes() * format.block_len();
                [rows, i32::try_from(columns).ok()?]
            }
        })
    }
}

/// The arrays of a matrix.
pub(crate) type Arrays<'a> = SmallVec<[&'a Array; 3]>;

/// `x Wᵀ` for each of `N` matrices `[N, K]`, if there are kernels for it and they are used here.
///
/// The caller has checked that the arrays of each belong together, and that the last axis of `x` is `K`.
pub(crate) fn project<const N: usize>(
    x: &Array,
    weights: [(Layout, Arrays<'_>); N],
) -> Option<Result<[Array; N]>> {
    let known = weights.iter().all(|(layout, arrays)| are_known(x, *layout, arrays));
    if !are_used() || !known || x.ndim() == 0 {
        return None;
    }
    let layouts = weights.iter().map(|(layout, _)| *layout).collect();
    let inputs: SmallVec<[&Array; 10]> =
        std::iter::once(x).chain(weights.iter().flat_map(|(_, arrays)| arrays.iter().copied())).collect();
    Some(apply(Product { layouts, precision: precision() }, &inputs))
}

/// Whether there are kernels for the dtypes of `x` and of the arrays of a matrix.
pub(super) fn are_known(x: &Array, layout: Layout, arrays: &[&Array]) -> bool {
    let float = |array: &&Array| is_supported(array.dtype());
    is_supported(x.dtype())
        && match layout {
            Layout::Dense => arrays.iter().all(float),
            Layout::Affine { .. } => arrays[1..].iter().all(float) && arrays[1].dtype() == arrays[2].dtype(),
            Layout::Blocks(_) => true,
        }
}

/// What products that are built now may lose.
pub(super) fn precision() -> Precision {
    match mode() {
        // A gradient belongs to what was computed.
        Mode::Fast if !transforms::under_way() => Precision::Rounded,
        _ => Precision::Exact,
    }
}

const PRODUCT: &str = "product";

/// What a matrix is made of.
type Parts<'i, T> = (Layout, &'i [T]);

/// Inputs are `x` `[.., K]` and the arrays of each matrix `[N, K]`; outputs are `[.., N]`.
struct Product {
    layouts: SmallVec<[Layout; 3]>,
    precision: Precision,
}

impl Product {
    /// What belongs to each matrix.
    fn split<'i, T>(&self, inputs: &'i [T]) -> Option<(&'i T, SmallVec<[Parts<'i, T>; 3]>)> {
        let (x, mut rest) = inputs.split_first()?;
        let mut parts = SmallVec::new();
        for layout in &self.layouts {
            let (arrays, others) = rest.split_at_checked(layout.arrays())?;
            parts.push((*layout, arrays));
            rest = others;
        }
        Some((x, parts))
    }
}

fn refuse(message: &str) -> Error {
    Error::Shape { op: PRODUCT, message: message.to_owned() }
}

impl Kernel for Product {
    fn name(&self) -> &str {
        PRODUCT
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let misfit = || refuse("the arrays of a matrix do not go with x");
        let (x, matrices) = self.split(inputs).ok_or_else(misfit)?;
        let output = |(layout, arrays): &(Layout, &[Spec])| {
            let [rows, columns] = layout.shape(arrays)?;
            let mut shape = x.shape.clone();
            *shape.last_mut().filter(|last| **last == columns)? = rows;
            Some(Spec { shape, dtype: x.dtype })
        };
        matrices.iter().map(|matrix| output(matrix).ok_or_else(misfit)).collect()
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        let (x, parts) = self.split(inputs).ok_or_else(|| refuse("too few inputs"))?;
        let held: Vec<Held<'_>> =
            parts.iter().map(|(layout, arrays)| Held::of(*layout, arrays)).collect::<Result<_>>()?;
        with_float!(PRODUCT, x.dtype(), T => {
            let mut products = Vec::with_capacity(held.len());
            for (held, output) in held.iter().zip(outputs) {
                products.push(Output { weights: held.matrix()?, out: output.as_mut_slice::<T>()? });
            }
            product(Isa::best(), &x.elements::<T>()?, rows(x.shape()), &mut products, self.precision);
            Ok(())
        })
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        self.layouts == other.layouts && self.precision == other.precision
    }

    fn plain(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let (x, matrices) = self.split(inputs).ok_or_else(|| refuse("too few inputs"))?;
        matrices.iter().map(|(layout, arrays)| plain_product(*layout, x, arrays, true)).collect()
    }

    fn vjp(&self, primals: &[Array], cotangents: &[Array]) -> Result<Vec<Option<Array>>> {
        let (x, matrices) = self.split(primals).ok_or_else(|| refuse("too few inputs"))?;
        let mut to_x: Option<Array> = None;
        let mut to_weights = Vec::new();
        for ((layout, arrays), cotangent) in matrices.iter().zip(cotangents) {
            let inputs: Vec<&Array> = std::iter::once(cotangent).chain(*arrays).collect();
            let [gradient] = apply(Transposed { layout: *layout }, &inputs)?;
            to_x = Some(match to_x {
                Some(sum) => sum.add(&gradient)?,
                None => gradient,
            });
            match layout {
                Layout::Dense => {
                    let flat = |array: &Array| array.reshape(&[-1, *array.shape().last().unwrap_or(&1)]);
                    to_weights.push(Some(flat(cotangent)?.transpose(&[1, 0])?.matmul(&flat(x)?)?));
                }
                Layout::Affine { .. } => to_weights.extend(self.to_scales(x, arrays, *layout, cotangent)?),
                Layout::Blocks(_) => to_weights.push(None),
            }
        }
        Ok(std::iter::once(to_x).chain(to_weights).collect())
    }
}

impl Product {
    /// Gradients with respect to codes (none), scales and biases.
    fn to_scales(
        &self,
        x: &Array,
        arrays: &[Array],
        layout: Layout,
        cotangent: &Array,
    ) -> Result<Vec<Option<Array>>> {
        let [codes, scales, biases] = arrays else { return Err(refuse("too few inputs")) };
        let gradients = super::with(Mode::Off, || {
            transforms::vjp(
                |parts: &Vec<Array>| {
                    let arrays = [codes.clone(), parts[0].clone(), parts[1].clone()];
                    Ok(vec![plain_product(layout, x, &arrays, true)?])
                },
                &vec![scales.clone(), biases.clone()],
                &vec![cotangent.clone()],
            )
        });
        Ok(std::iter::once(None).chain(gradients?.1.into_iter().map(Some)).collect())
    }
}

/// `x Wᵀ`, or `x W`, by MLX.
pub(super) fn plain_product(layout: Layout, x: &Array, arrays: &[Array], transpose: bool) -> Result<Array> {
    match (layout, arrays) {
        (Layout::Dense, [weight]) if transpose => ffi::ops::matmul(x, &weight.transpose(&[1, 0])?),
        (Layout::Dense, [weight]) => ffi::ops::matmul(x, weight),
        (Layout::Affine { group_size, bits }, [weight, scales, biases]) => {
            let packed = Quantized {
                weight: weight.clone(),
                scales: scales.clone(),
                biases: Some(biases.clone()),
                quantization: Quantization::affine(group_size, bits),
            };
            ffi::ops::quantized_matmul(x, &packed, transpose)
        }
        (Layout::Blocks(format), [bytes]) => {
            let weight = super::unpack(bytes, format, x.dtype())?;
            plain_product(Layout::Dense, x, &[weight], transpose)
        }
        _ => Err(refuse("too few inputs")),
    }
}

/// Inputs are `x` `[.., N]` and the arrays of a matrix `[N, K]`; the output is `x W` `[.., K]`.
struct Transposed {
    layout: Layout,
}

impl Kernel for Transposed {
    fn name(&self) -> &str {
        "product_transposed"
    }

    fn outputs(&self, inputs: &[Spec]) -> Result<Vec<Spec>> {
        let output = || {
            let (x, arrays) = inputs.split_first()?;
            let [rows, columns] = self.layout.shape(arrays)?;
            let mut shape = x.shape.clone();
            *shape.last_mut().filter(|last| **last == rows)? = columns;
            Some(Spec { shape, dtype: x.dtype })
        };
        Ok(vec![output().ok_or_else(|| refuse("the arrays of a matrix do not go with x"))?])
    }

    fn eval(&self, inputs: &[View<'_>], outputs: &mut [ViewMut<'_>]) -> Result<()> {
        let ([x, arrays @ ..], [output]) = (inputs, outputs) else { return Err(refuse("too few inputs")) };
        let held = Held::of(self.layout, arrays)?;
        with_float!(PRODUCT, x.dtype(), T => {
            let out = output.as_mut_slice::<T>()?;
            product_transposed(Isa::best(), &x.elements::<T>()?, rows(x.shape()), held.matrix()?, out);
            Ok(())
        })
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        self.layout == other.layout
    }

    fn plain(&self, inputs: &[Array]) -> Result<Vec<Array>> {
        let [x, arrays @ ..] = inputs else { return Err(refuse("too few inputs")) };
        Ok(vec![plain_product(self.layout, x, arrays, false)?])
    }

    fn vjp(&self, primals: &[Array], cotangents: &[Array]) -> Result<Vec<Option<Array>>> {
        let ([x, arrays @ ..], [cotangent]) = (primals, cotangents) else {
            return Err(refuse("too few inputs"));
        };
        let inputs: Vec<&Array> = std::iter::once(cotangent).chain(arrays).collect();
        let [to_x] =
            apply(Product { layouts: smallvec![self.layout], precision: Precision::Exact }, &inputs)?;
        let to_weights = match self.layout {
            Layout::Dense => {
                let flat = |array: &Array| array.reshape(&[-1, *array.shape().last().unwrap_or(&1)]);
                vec![Some(flat(x)?.transpose(&[1, 0])?.matmul(&flat(cotangent)?)?)]
            }
            Layout::Affine { .. } => plain_vjp(self, primals, cotangents)?.split_off(1),
            Layout::Blocks(_) => vec![None],
        };
        Ok(std::iter::once(Some(to_x)).chain(to_weights).collect())
    }
}

/// The rows of `[.., L, K]`: what stands before the last two axes counts sequences.
fn rows(shape: &[i32]) -> Rows {
    let length = |axis: &i32| *axis as usize;
    match shape {
        [sequences @ .., l, _] => {
            Rows { sequences: sequences.iter().map(length).product(), length: length(l) }
        }
        _ => Rows::of_one(1),
    }
}

/// The memory of a matrix.
pub(super) enum Held<'a> {
    Dense {
        floats: Floats<'a>,
        shape: [usize; 2],
    },
    Affine {
        codes: Cow<'a, [u32]>,
        scales: Floats<'a>,
        biases: Floats<'a>,
        group_size: usize,
        bits: usize,
        rows: usize,
    },
    Blocks {
        bytes: Cow<'a, [u8]>,
        format: BlockFormat,
        rows: usize,
    },
}

impl<'a> Held<'a> {
    pub(super) fn of(layout: Layout, arrays: &[View<'a>]) -> Result<Self> {
        Ok(match (layout, arrays) {
            (Layout::Dense, [weight]) => {
                let &[rows, columns] = weight.shape() else {
                    return Err(refuse("the weights are not a matrix"));
                };
                Held::Dense { floats: Floats::of(PRODUCT, weight)?, shape: [rows as usize, columns as usize] }
            }
            (Layout::Affine { group_size, bits }, [codes, scales, biases]) => Held::Affine {
                rows: *codes.shape().first().unwrap_or(&0) as usize,
                codes: codes.elements::<u32>()?,
                scales: Floats::row_major(PRODUCT, scales)?,
                biases: Floats::row_major(PRODUCT, biases)?,
                group_size: group_size as usize,
                bits: bits as usize,
            },
            (Layout::Blocks(format), [bytes]) => Held::Blocks {
                rows: *bytes.shape().first().unwrap_or(&0) as usize,
                bytes: bytes.elements::<u8>()?,
                format,
            },
            _ => return Err(refuse("too few inputs")),
        })
    }

    fn matrix(&self) -> Result<Matrix<'_>> {
        let (Held::Dense { shape: [rows, _], .. } | Held::Affine { rows, .. } | Held::Blocks { rows, .. }) =
            self;
        self.rows(0, *rows)
    }

    /// `count` rows of the matrix, from row `first` on.
    pub(super) fn rows(&self, first: usize, count: usize) -> Result<Matrix<'_>> {
        let outside = || refuse("a row outside the matrix");
        let (Held::Dense { shape: [rows, _], .. } | Held::Affine { rows, .. } | Held::Blocks { rows, .. }) =
            self;
        let end = first.checked_add(count).filter(|end| end <= rows).ok_or_else(outside)?;
        let matrix = match self {
            Held::Dense { floats, shape: [_, columns] } => {
                let first = first * floats.strides.first().copied().unwrap_or(0);
                Matrix::dense([count, *columns], floats.matrix(first))
            }
            Held::Affine { codes, scales, biases, group_size, bits, rows } => {
                let words = codes.len() / (*rows).max(1);
                let columns = words * 32 / bits;
                let groups = columns / group_size;
                let parts = Affine {
                    codes: codes.get(first * words..end * words).ok_or_else(outside)?,
                    scales: scales.values(first * groups).first(count * groups),
                    biases: biases.values(first * groups).first(count * groups),
                    group_size: *group_size,
                    bits: *bits,
                };
                Matrix::affine([count, columns], parts)
            }
            Held::Blocks { bytes, format, rows } => {
                let row = bytes.len() / (*rows).max(1);
                let columns = row / format.block_bytes() * format.block_len();
                let part = bytes.get(first * row..end * row).ok_or_else(outside)?;
                Matrix::blocks([count, columns], *format, part)
            }
        };
        matrix.map_err(|error| refuse(&error.to_string()))
    }
}
