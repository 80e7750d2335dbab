//! The array: a handle to a node of MLX's graph, and the ways in and out of it.

use std::fmt;

use crate::ffi::{self, ArrayHandle};
use crate::{DType, Element, Error, Result, memory};

/// An n-dimensional array of one element type, computed when it is needed.
///
/// `clone` copies a reference. Dropping the last reference frees the memory.
///
/// An array stays on the thread that made it:
/// ```compile_fail
/// let a = mlx_core::Array::scalar(1.0f32).unwrap();
/// std::thread::spawn(move || a.eval());
/// ```
pub struct Array {
    handle: ArrayHandle,
}

impl Array {
    /// Makes an array of `shape` from elements in row-major order.
    ///
    /// ```
    /// let a = mlx_core::Array::from_slice(&[1i32, 2, 3, 4], &[2, 2])?;
    /// assert_eq!(a.shape(), [2, 2]);
    /// # Ok::<(), mlx_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// When the number of elements is not the product of the shape, or an axis is negative.
    #[doc(alias = "mlx_array_new_data")]
    pub fn from_slice<T: Element>(elements: &[T], shape: &[i32]) -> Result<Self> {
        Self::from_bytes(bytemuck::cast_slice(elements), shape, T::DTYPE)
    }

    /// Makes an array of `shape` from the bytes of its elements, row-major and in the machine's byte order.
    ///
    /// # Errors
    /// When the number of bytes is not what `shape` and `dtype` need, an axis is negative, or a boolean is neither 0 nor 1.
    pub fn from_bytes(bytes: &[u8], shape: &[i32], dtype: DType) -> Result<Self> {
        Ok(Self::from_handle(ArrayHandle::from_bytes(bytes, shape, dtype)?))
    }

    /// Makes an array of `shape` in memory that `write` fills, such as with the bytes of a file.
    ///
    /// `write` gets the bytes of the elements, all 0: row-major and in the machine's byte order, aligned to the elements.
    /// Nothing is copied, so this needs half the memory that [`from_bytes`](Self::from_bytes) does.
    ///
    /// ```
    /// use mlx_core::{Array, DType};
    ///
    /// let a = Array::from_writer(&[2, 2], DType::U8, |bytes| {
    ///     bytes.copy_from_slice(&[1, 2, 3, 4]);
    ///     Ok(())
    /// })?;
    /// assert_eq!(a.to_vec::<u8>()?, [1, 2, 3, 4]);
    /// # Ok::<(), mlx_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// When an axis is negative, the size is above the memory limit, `write` fails, or it writes a boolean that is neither
    /// 0 nor 1.
    pub fn from_writer(
        shape: &[i32],
        dtype: DType,
        write: impl FnOnce(&mut [u8]) -> Result<()>,
    ) -> Result<Self> {
        check_shape("from_writer", shape, dtype)?;
        Ok(Self::from_handle(ArrayHandle::written("from_writer", shape, dtype, write)?))
    }

    /// Makes an array without axes that holds one element.
    ///
    /// # Errors
    /// When no memory is left.
    pub fn scalar<T: Element>(value: T) -> Result<Self> {
        Self::from_slice(&[value], &[])
    }

    /// Lengths of the axes; empty for a scalar.
    #[doc(alias = "mlx_array_shape")]
    pub fn shape(&self) -> &[i32] {
        self.handle.shape()
    }

    /// Number of axes.
    #[doc(alias = "mlx_array_ndim")]
    pub fn ndim(&self) -> usize {
        self.shape().len()
    }

    /// Length of one axis; negative axes count from the last.
    ///
    /// # Errors
    /// When there is no such axis.
    #[doc(alias = "mlx_array_dim")]
    pub fn dim(&self, axis: i32) -> Result<i32> {
        self.axis_length("dim", axis)
    }

    /// [`dim`](Self::dim) on behalf of another operation.
    pub(crate) fn axis_length(&self, op: &'static str, axis: i32) -> Result<i32> {
        Ok(self.shape()[self.axis_index(op, axis)?])
    }

    /// An axis counted from the first.
    pub(crate) fn axis_index(&self, op: &'static str, axis: i32) -> Result<usize> {
        let ndim = self.ndim();
        let index = if axis < 0 { ndim as i64 + i64::from(axis) } else { i64::from(axis) };
        usize::try_from(index)
            .ok()
            .filter(|index| *index < ndim)
            .ok_or_else(|| Error::Shape { op, message: format!("{} has no axis {axis}", self.describe()) })
    }

    /// Axes counted from the first, each named once.
    pub(crate) fn axis_indices(&self, op: &'static str, axes: &[i32]) -> Result<Vec<usize>> {
        let indices = axes.iter().map(|axis| self.axis_index(op, *axis)).collect::<Result<Vec<_>>>()?;
        let twice = (1..indices.len()).find(|place| indices[..*place].contains(&indices[*place]));
        match twice {
            None => Ok(indices),
            Some(place) => Err(Error::Shape { op, message: format!("axis {} is named twice", axes[place]) }),
        }
    }

    /// Number of elements.
    #[doc(alias = "mlx_array_size")]
    pub fn size(&self) -> usize {
        self.handle.size()
    }

    /// Bytes that the elements take.
    #[doc(alias = "mlx_array_nbytes")]
    pub fn nbytes(&self) -> usize {
        self.size() * self.dtype().size()
    }

    /// The element type.
    #[doc(alias = "mlx_array_dtype")]
    pub fn dtype(&self) -> DType {
        self.handle.dtype()
    }

    /// Computes the elements now. Blocks until they are there.
    ///
    /// # Errors
    /// Whatever the operations behind this array fail with, memory included.
    #[doc(alias = "mlx_array_eval")]
    pub fn eval(&self) -> Result<()> {
        self.handle.eval(self)
    }

    /// Whether the elements are computed: reading them neither computes nor waits.
    ///
    /// After [`async_eval`](crate::async_eval) it tells whether the work is done; what fails is told by a read.
    #[doc(alias = "_mlx_array_is_available")]
    pub fn is_available(&self) -> bool {
        self.handle.is_available()
    }

    /// Copies the elements out, in row-major order, computing them first if need be.
    ///
    /// # Errors
    /// When `T` is not the array's element type, or computing fails.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.elements("to_vec")
    }

    fn elements<T: Element>(&self, op: &'static str) -> Result<Vec<T>> {
        if T::DTYPE != self.dtype() {
            return Err(Error::DTypeMismatch { op, expected: T::DTYPE, found: self.dtype() });
        }
        self.with_bytes(|bytes| bytes.chunks_exact(T::DTYPE.size()).map(T::from_bytes).collect())
    }

    /// Copies the one element out, computing it first if need be.
    ///
    /// # Errors
    /// When the array holds another number of elements than one, `T` is not its element type, or computing fails.
    #[doc(alias = "mlx_array_item_float32")]
    pub fn item<T: Element>(&self) -> Result<T> {
        let refuse = || Error::Shape {
            op: "item",
            message: format!("{} does not hold exactly one element", self.describe()),
        };
        if self.size() != 1 {
            return Err(refuse());
        }
        self.elements("item")?.first().copied().ok_or_else(refuse)
    }

    /// Copies the bytes of the elements out, in row-major order and the machine's byte order.
    ///
    /// # Errors
    /// When computing fails.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        self.with_bytes(<[u8]>::to_vec)
    }

    /// The one way to the memory: evaluated and contiguous, or not at all.
    fn with_bytes<R>(&self, read: impl FnOnce(&[u8]) -> R) -> Result<R> {
        Ok(read(self.laid_out()?.bytes()?))
    }

    /// This array, evaluated and contiguous.
    pub(crate) fn laid_out(&self) -> Result<Array> {
        self.eval()?;
        if self.handle.contiguous_bytes().is_some() {
            return Ok(self.clone());
        }
        // A view may stand for more elements than there is memory for.
        check_shape("read", self.shape(), self.dtype())?;
        let contiguous = ffi::ops::contiguous(self)?;
        contiguous.eval()?;
        Ok(contiguous)
    }

    /// The memory of an array that is [`laid_out`](Self::laid_out).
    pub(crate) fn bytes(&self) -> Result<&[u8]> {
        self.handle.contiguous_bytes().ok_or_else(|| Error::Op {
            op: "read",
            operands: self.describe(),
            message: "MLX did not lay the elements out".to_owned(),
        })
    }

    /// The bytes of the elements in row-major order, where they are computed and lie so.
    pub(crate) fn known_bytes(&self) -> Option<&[u8]> {
        self.handle.contiguous_bytes()
    }

    /// Whether both are the same array, as far as their memory tells: arrays that are not computed pass for the same.
    pub(crate) fn is_same(&self, other: &Array) -> bool {
        let memory = |array: &Array| array.known_bytes().map(<[u8]>::as_ptr);
        memory(self) == memory(other)
    }

    /// Dtype and shape, as error messages show operands.
    pub(crate) fn describe(&self) -> String {
        format!("{}{:?}", self.dtype(), self.shape())
    }

    pub(crate) fn handle(&self) -> &ArrayHandle {
        &self.handle
    }

    pub(crate) fn from_handle(handle: ArrayHandle) -> Self {
        Array { handle }
    }

    pub(crate) fn raw(&self) -> ffi::c::mlx_array {
        self.handle.as_raw()
    }
}

impl Clone for Array {
    fn clone(&self) -> Self {
        Array { handle: self.handle.share() }
    }
}

/// Shows dtype and shape, and the first elements if they are already computed; printing never starts a computation.
impl fmt::Debug for Array {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 8;
        write!(f, "Array({}", self.describe())?;
        if let Some(bytes) = self.handle.contiguous_bytes() {
            let size = self.dtype().size();
            let shown: Vec<String> =
                bytes.chunks_exact(size).take(SHOWN).map(|b| show(self.dtype(), b)).collect();
            let more = if self.size() > SHOWN { ", …" } else { "" };
            write!(f, ", [{}{more}]", shown.join(", "))?;
        }
        f.write_str(")")
    }
}

fn show(dtype: DType, bytes: &[u8]) -> String {
    use crate::element::sealed::Bytes;
    match dtype {
        DType::Bool => bool::from_bytes(bytes).to_string(),
        DType::U8 => u8::from_bytes(bytes).to_string(),
        DType::U16 => u16::from_bytes(bytes).to_string(),
        DType::U32 => u32::from_bytes(bytes).to_string(),
        DType::U64 => u64::from_bytes(bytes).to_string(),
        DType::I8 => i8::from_bytes(bytes).to_string(),
        DType::I16 => i16::from_bytes(bytes).to_string(),
        DType::I32 => i32::from_bytes(bytes).to_string(),
        DType::I64 => i64::from_bytes(bytes).to_string(),
        DType::F16 => half::f16::from_bytes(bytes).to_string(),
        DType::BF16 => half::bf16::from_bytes(bytes).to_string(),
        DType::F32 => f32::from_bytes(bytes).to_string(),
        DType::F64 => f64::from_bytes(bytes).to_string(),
        DType::Complex64 => num_complex::Complex32::from_bytes(bytes).to_string(),
    }
}

/// Refuses shapes that are none, and sizes beyond MLX's memory limit: on the CPU it does not notice that an allocation
/// failed.
pub(crate) fn check_shape(op: &'static str, shape: &[i32], dtype: DType) -> Result<()> {
    let limit = memory::memory_limit()?;
    match ffi::byte_count(shape, dtype) {
        Some(bytes) if bytes <= limit => Ok(()),
        Some(bytes) => Err(Error::Shape {
            op,
            message: format!("{dtype}{shape:?} takes {bytes} bytes, and the memory limit is {limit}"),
        }),
        None => Err(Error::Shape { op, message: format!("{shape:?} is not a shape of {dtype}") }),
    }
}
