//! Several matrices of one shape, of which each row of an input meets one.

use super::{Children, ChildrenMut, Module, Weight};
use crate::kernels;
use crate::{Array, DType, Device, Error, Quantized, Result};

const OP: &str = "project";

/// `E` matrices of weights, `[E, N, K]`: the same layer of every expert in a mixture of experts.
#[derive(Clone, Debug)]
#[doc(alias = "SwitchLinear")]
pub struct Stacked {
    /// The matrices one below the other, `[E * N, K]`.
    pub weight: Weight,
    /// `E`
    pub count: usize,
}

/// Choices from which on a GPU gets them in the order of the matrices, each of which it then reads once.
const SORT_FROM: usize = 64;

/// Which matrices each token meets, `k` of them.
#[derive(Clone, Debug)]
pub struct Routing {
    /// The number of a matrix for each row, uint32 `[T * k]`.
    pub(crate) experts: Array,
    k: i32,
    order: Option<Order>,
    /// Tokens of each sequence. As in [`Weight::project`], what a row gives depends on this number, and on nothing else of
    /// the rows beside it.
    pub(crate) length: usize,
}

/// Rows in the order of their matrices.
#[derive(Clone, Debug)]
struct Order {
    /// The token of each row.
    tokens: Array,
    /// Where each choice has its row.
    rows: Array,
}

impl Routing {
    /// Token `t` meets the matrices `experts[t]`, uint32 `[T, k]`; `length` is how many of the tokens make a sequence.
    ///
    /// # Errors
    /// When there are not two axes.
    pub fn new(experts: &Array, length: i32) -> Result<Self> {
        let (count, k) = (experts.size(), experts.dim(1)?);
        let experts = experts.as_type(DType::U32)?.reshape(&[-1])?;
        let length = usize::try_from(length).unwrap_or(0);
        if Device::current() == Device::Cpu || count < SORT_FROM {
            return Ok(Routing { experts, k, order: None, length });
        }
        let order = experts.argsort(0)?;
        let tokens = order.floor_divide(&Array::scalar(k.max(1) as u32)?)?;
        let sorted = experts.take(&order, 0)?;
        Ok(Routing { experts: sorted, k, order: Some(Order { tokens, rows: order.argsort(0)? }), length })
    }

    /// A row for each choice: `[T, K] -> [T * k, K]`
    ///
    /// # Errors
    /// When there are fewer rows than tokens.
    pub fn rows(&self, x: &Array) -> Result<Array> {
        match &self.order {
            Some(order) => x.take(&order.tokens, 0),
            None => {
                let (tokens, width) = (x.dim(0)?, x.dim(1)?);
                let each = x.expand_dims(1)?.broadcast_to(&[tokens, self.k, width])?;
                each.reshape(&[tokens * self.k, width])
            }
        }
    }

    /// Back from rows to choices: `[T * k, N] -> [T, k, N]`
    ///
    /// # Errors
    /// When there are not as many rows as choices.
    pub fn choices(&self, y: &Array) -> Result<Array> {
        let y = match &self.order {
            Some(order) => y.take(&order.rows, 0)?,
            None => y.clone(),
        };
        y.unflatten(0, &[-1, self.k])
    }
}

impl Stacked {
    /// `[E, N, K]`
    pub fn shape(&self) -> [usize; 3] {
        let [rows, columns] = self.weight.shape();
        [self.count, rows / self.count.max(1), columns]
    }

    /// The [`rows`](Routing::rows) of a routing, each times the transpose of its matrix: `[T * k, K] -> [T * k, N]`
    ///
    /// # Errors
    /// When the shapes do not go together or there is no such matrix; on a GPU, the nearest one is taken.
    pub fn project(&self, x: &Array, routing: &Routing) -> Result<Array> {
        let [count, rows, columns] = self.shape();
        let &[picks, width] = x.shape() else {
            return Err(Error::Shape { op: OP, message: format!("{} is not [C, {columns}]", x.describe()) });
        };
        if width as usize != columns || routing.experts.shape() != [picks] {
            let message = format!(
                "{} and choices {} for matrices {:?}",
                x.describe(),
                routing.experts.describe(),
                self.shape()
            );
            return Err(Error::Shape { op: OP, message });
        }
        if let Some((layout, arrays)) = self.weight.stored(x)
            && let Some(product) = kernels::project_each(x, routing, layout, arrays, count)
        {
            return product;
        }
        let sorted = routing.order.is_some();
        // MLX takes each row as a matrix of one.
        let x = x.expand_dims(1)?;
        let stack =
            |array: &Array| array.reshape(&[count as i32, rows as i32, *array.shape().last().unwrap_or(&1)]);
        let product = match &self.weight {
            Weight::Quantized(packed) => {
                let packed = Quantized {
                    weight: stack(&packed.weight)?,
                    scales: stack(&packed.scales)?,
                    biases: packed.biases.as_ref().map(stack).transpose()?,
                    quantization: packed.quantization,
                };
                x.gather_qmm(&packed, None, Some(&routing.experts), true, sorted)?
            }
            weight => {
                // On CPUs MLX has this in float32 alone.
                let dtype = if Device::current() == Device::Cpu { DType::F32 } else { x.dtype() };
                let matrices = stack(&weight.dequantized()?.as_type(dtype)?)?.transpose(&[0, 2, 1])?;
                let product = x.as_type(dtype)?.gather_mm(&matrices, None, Some(&routing.experts), sorted)?;
                product.as_type(x.dtype())?
            }
        };
        product.squeeze(1)
    }
}

/// The arrays are named as those of the [`Weight`], whose matrices stand one below the other.
impl Module for Stacked {
    fn children(&self) -> Children<'_> {
        self.weight.children()
    }

    fn children_mut(&mut self) -> ChildrenMut<'_> {
        self.weight.children_mut()
    }
}
