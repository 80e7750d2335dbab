//! Convolutions over one to three axes.
//!
//! The channels are the last axis on both sides: inputs are `[N, L.., C]`, weights `[O, K.., C / groups]`, with as many
//! lengths `L` as kernel lengths `K`. As everywhere in machine learning the kernel is not reversed:
//! `out[n, l, o] = Σ in[n, l * stride + k * dilation - padding, c] weight[o, k, c]`.

use crate::array::check_shape;
use crate::ffi::ops::ConvAxes;
use crate::transforms::is_vectorizing;
use crate::{Array, DType, Device, Error, Result, concatenate, ffi, select};

/// How a kernel moves in [`Array::conv`].
///
/// A list has one number for each axis that is convolved, one number for all of them, or none for the default.
///
/// ```
/// use mlx_core::{Array, ConvOptions};
///
/// let input = Array::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[1, 4, 1])?;
/// let weight = Array::from_slice(&[1.0f32, 10.0], &[1, 2, 1])?;
/// let every = input.conv(&weight, ConvOptions::default())?;
/// assert_eq!(every.to_vec::<f32>()?, [21.0, 32.0, 43.0]);
/// let second = input.conv(&weight, ConvOptions { stride: &[2], padding: &[1], ..Default::default() })?;
/// assert_eq!(second.to_vec::<f32>()?, [10.0, 32.0, 4.0]);
/// # Ok::<(), mlx_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct ConvOptions<'a> {
    /// Elements from one position of the kernel to the next; 1 without.
    pub stride: &'a [i32],
    /// Zeros before the first element, and after the last if [`padding_high`](Self::padding_high) is not given.
    pub padding: &'a [i32],
    /// Zeros after the last element, where they are not as many as before the first.
    pub padding_high: Option<&'a [i32]>,
    /// Elements of the input from one element of the kernel to the next; 1 without.
    pub dilation: &'a [i32],
    /// Where each element of the input stands before the next, with zeros between; 1 without.
    pub input_dilation: &'a [i32],
    /// Parts into which the channels of both sides are cut; each convolves by itself. More than one only over one or two
    /// axes.
    pub groups: i32,
    /// Whether the kernel is reversed along its axes.
    pub flip: bool,
}

impl Default for ConvOptions<'_> {
    fn default() -> Self {
        ConvOptions {
            stride: &[],
            padding: &[],
            padding_high: None,
            dilation: &[],
            input_dilation: &[],
            groups: 1,
            flip: false,
        }
    }
}

/// How a kernel moves in [`Array::conv_transpose`]. The lists are as in [`ConvOptions`].
#[derive(Clone, Copy, Debug)]
pub struct ConvTransposeOptions<'a> {
    /// Elements of the output from one position of the kernel to the next; 1 without.
    pub stride: &'a [i32],
    /// Elements cut off at both ends of the output; 0 without.
    pub padding: &'a [i32],
    /// Elements of the output from one element of the kernel to the next; 1 without.
    pub dilation: &'a [i32],
    /// Elements added to the end of the output; 0 without.
    pub output_padding: &'a [i32],
    /// As in [`ConvOptions`].
    pub groups: i32,
}

impl Default for ConvTransposeOptions<'_> {
    fn default() -> Self {
        ConvTransposeOptions { stride: &[], padding: &[], dilation: &[], output_padding: &[], groups: 1 }
    }
}

impl Array {
    /// Convolves `[N, L.., C]` with the kernels `weight` `[O, K.., C / groups]` over one, two or three axes.
    ///
    /// The result is `[N, M.., O]` with `M = (L + padding + padding_high - dilation (K - 1) - 1) / stride + 1`, rounded
    /// down, where an input of length `L` counts as `input_dilation (L - 1) + 1`. Sums are computed in float32.
    ///
    /// # Errors
    /// When the shapes or the groups do not belong together, the kernels or the input are empty (an empty batch is not),
    /// a list has another length or a number out of range, the kernel is longer than the padded input, an element is
    /// neither float32, float16 nor bfloat16, or what MLX computes in does not fit into the memory limit.
    #[doc(alias = "mlx_conv_general")]
    #[doc(alias = "mlx_conv1d")]
    #[doc(alias = "mlx_conv2d")]
    #[doc(alias = "mlx_conv3d")]
    pub fn conv(&self, weight: &Array, options: ConvOptions<'_>) -> Result<Array> {
        let spatial = Spatial::of("conv", self, weight, options.groups)?;
        let stride = spatial.list("stride", options.stride, 1)?;
        let low = spatial.list("padding", options.padding, 0)?;
        let high = spatial.list("padding_high", options.padding_high.unwrap_or(options.padding), 0)?;
        let dilation = spatial.list("dilation", options.dilation, 1)?;
        let spread = spatial.list("input_dilation", options.input_dilation, 1)?;
        let axis = |i: usize| Axis {
            stride: stride[i],
            low: i64::from(low[i]),
            high: i64::from(high[i]),
            dilation: dilation[i],
            spread: spread[i],
        };
        spatial.conv((0..stride.len()).map(axis).collect(), options.flip)
    }

    /// The transpose of [`conv`](Self::conv), `[N, L.., C]` with `weight` `[O, K.., C / groups]`: every element of the
    /// input places a kernel, multiplied by it, into the output.
    ///
    /// The result is `[N, M.., O]` with `M = stride (L - 1) - 2 padding + dilation (K - 1) + 1 + output_padding`.
    ///
    /// # Errors
    /// As [`conv`](Self::conv), and when the padding cuts everything off.
    #[doc(alias = "mlx_conv_transpose1d")]
    #[doc(alias = "mlx_conv_transpose2d")]
    #[doc(alias = "mlx_conv_transpose3d")]
    pub fn conv_transpose(&self, weight: &Array, options: ConvTransposeOptions<'_>) -> Result<Array> {
        let spatial = Spatial::of("conv_transpose", self, weight, options.groups)?;
        let spread = spatial.list("stride", options.stride, 1)?;
        let padding = spatial.list("padding", options.padding, 0)?;
        let output_padding = spatial.list("output_padding", options.output_padding, 0)?;
        let dilation = spatial.list("dilation", options.dilation, 1)?;
        let axis = |i: usize| {
            // Less than nothing where more is cut off than a kernel overlaps: MLX's own transpose then cuts the input,
            // before its elements are moved apart.
            let low = spatial.reach(i, dilation[i]) - i64::from(padding[i]);
            let high = low + i64::from(output_padding[i]);
            Axis { stride: 1, low, high, dilation: dilation[i], spread: spread[i] }
        };
        spatial.conv((0..spread.len()).map(axis).collect(), true)
    }
}

/// How the kernel moves along one axis.
struct Axis {
    stride: i32,
    /// Zeros before the first element of the input; below 0 the output's first are left out (at stride 1).
    low: i64,
    /// The same after the last.
    high: i64,
    dilation: i32,
    /// The input's own dilation.
    spread: i32,
}

/// What is left out (below 0) or filled up with zeros at both ends of an axis.
#[derive(Clone, Copy, PartialEq)]
struct Ends {
    before: i64,
    after: i64,
}

impl Ends {
    const NONE: Ends = Ends { before: 0, after: 0 };
}

/// An input and kernels that belong together.
struct Spatial<'a> {
    op: &'static str,
    input: &'a Array,
    weight: &'a Array,
    groups: i32,
}

impl<'a> Spatial<'a> {
    fn of(op: &'static str, input: &'a Array, weight: &'a Array, groups: i32) -> Result<Self> {
        let spatial = Spatial { op, input, weight, groups };
        for a in [input, weight] {
            if !matches!(a.dtype(), DType::F32 | DType::F16 | DType::BF16) {
                let message = format!("{} is neither float32, float16 nor bfloat16", a.describe());
                return Err(spatial.refuse(message));
            }
        }
        if !matches!(input.ndim(), 3..=5) || weight.ndim() != input.ndim() {
            return Err(
                spatial.refuse("1 to 3 axes between [N, .., C] and [O, .., C] are convolved".to_owned())
            );
        }
        if weight.size() == 0 || input.shape()[1..].contains(&0) {
            return Err(spatial.refuse("nothing to convolve".to_owned()));
        }
        let channels = |a: &Array| a.shape().last().copied().map_or(0, i64::from);
        let outputs = weight.shape()[0];
        if groups < 1 || outputs % groups != 0 || channels(weight) * i64::from(groups) != channels(input) {
            return Err(spatial.refuse(format!("the channels do not fall into {groups} groups")));
        }
        Ok(spatial)
    }

    /// One number for each axis, none below `least`, which is also the default.
    fn list(&self, name: &str, numbers: &[i32], least: i32) -> Result<Vec<i32>> {
        let count = self.input.ndim() - 2;
        if let Some(number) = numbers.iter().find(|number| **number < least) {
            return Err(self.refuse(format!("{name} {number} is below {least}")));
        }
        match *numbers {
            [] => Ok(vec![least; count]),
            [all] => Ok(vec![all; count]),
            _ if numbers.len() == count => Ok(numbers.to_vec()),
            _ => Err(self.refuse(format!("{name} {numbers:?} is not one number for each of {count} axes"))),
        }
    }

    /// Elements of the input from the first to the last of the kernel.
    fn reach(&self, axis: usize, dilation: i32) -> i64 {
        i64::from(dilation) * (i64::from(self.weight.shape()[axis + 1]) - 1)
    }

    /// Convolves, with what MLX computes right.
    ///
    /// Its gradients are those of another convolution where the padding differs between the ends, lies beyond the reach of
    /// the kernel, or meets both a stride and a dilated input. So MLX pads both ends alike and the rest is done here: to
    /// the output if each of its elements is one step of the kernel, else to the input.
    fn conv(&self, mut axes: Vec<Axis>, flip: bool) -> Result<Array> {
        let mut input = self.input.clone();
        let mut out_shape = self.input.shape().to_vec();
        let (mut padded_shape, mut computed_shape) = (out_shape.clone(), out_shape.clone());
        let (mut call, mut output_ends) = (ConvAxes::default(), Vec::new());
        for (i, axis) in axes.iter_mut().enumerate() {
            let place = i as i32 + 1;
            let length = (i64::from(self.input.shape()[i + 1]) - 1) * i64::from(axis.spread) + 1;
            let length = i64::from(self.narrow(length)?);
            let reach = i64::from(self.narrow(self.reach(i, axis.dilation))?);
            let padded = length + axis.low + axis.high;
            if reach >= padded {
                return Err(self.refuse(format!("nothing is left of axis {place}, padded to {padded}")));
            }
            let count = (padded - reach - 1) / i64::from(axis.stride) + 1;
            out_shape[i + 1] = self.narrow(count)?;
            computed_shape[i + 1] = out_shape[i + 1];

            let mut ends = Ends::NONE;
            let padding = if axis.stride == 1 {
                let (low, high) = (axis.low.min(reach), axis.high.min(reach));
                let padding = low.max(high).max(0);
                // First what MLX gives too many, then the zeros of a kernel that lies outside altogether.
                let over = Ends { before: low - padding, after: high - padding };
                let zeros = Ends { before: axis.low - low, after: axis.high - high };
                output_ends.push((place, [over, zeros]));
                computed_shape[i + 1] = self.narrow(length + 2 * padding - reach)?;
                padding
            } else {
                let padding = axis.low.min(axis.high).min(reach);
                ends = Ends { before: axis.low - padding, after: axis.high - padding };
                padding
            };
            padded_shape[i + 1] =
                self.narrow(length + 2 * padding + ends.before.max(0) + ends.after.max(0))?;
            check_shape(self.op, &padded_shape, DType::F32)?;
            if axis.stride != 1 && axis.spread != 1 {
                input = self.spread(&input, place, axis.spread)?;
                axis.spread = 1;
            }
            input = self.fit(&input, place, ends)?;
            call.stride.push(axis.stride);
            call.padding.push(self.narrow(padding)?);
            call.dilation.push(axis.dilation);
            call.input_dilation.push(axis.spread);
        }
        let last = out_shape.len() - 1;
        out_shape[last] = self.weight.shape()[0];
        computed_shape[last] = out_shape[last];
        check_shape(self.op, &out_shape, DType::F32)?;
        check_shape(self.op, &computed_shape, DType::F32)?;
        self.check_patches(&computed_shape)?;
        if self.input.shape()[0] == 0 {
            let same = self.input.dtype() == self.weight.dtype();
            return Array::zeros(&out_shape, if same { self.input.dtype() } else { DType::F32 });
        }
        if self.groups > 1 && is_vectorizing() {
            // Where many kernels meet one input, MLX mixes up their groups; many inputs and kernels it keeps apart.
            let first = self.weight.reshape(&[-1])?.slice_axis(0, 0, 1)?.as_type(input.dtype())?;
            input = select(&Array::scalar(false)?, &first, &input)?;
        }
        let mut out = ffi::ops::conv_general(self.op, &input, self.weight, &call, self.groups, flip)?;
        for (place, steps) in output_ends {
            for ends in steps {
                out = self.fit(&out, place, ends)?;
            }
        }
        Ok(out)
    }

    /// `a` with zeros between the elements of an axis.
    fn spread(&self, a: &Array, axis: i32, step: i32) -> Result<Array> {
        let length = a.axis_length(self.op, axis)?;
        let apart = a.expand_dims([axis + 1])?;
        let mut zeros = apart.shape().to_vec();
        zeros[axis as usize + 1] = step - 1;
        let mut shape = a.shape().to_vec();
        shape[axis as usize] = self.narrow(i64::from(length) * i64::from(step))?;
        check_shape(self.op, &shape, DType::F32)?;
        let spread = concatenate(&[&apart, &Array::zeros(&zeros, a.dtype())?], axis + 1)?.reshape(&shape)?;
        spread.slice_axis(axis, 0, shape[axis as usize] - step + 1)
    }

    /// `a` with elements of an axis left out or zeros added, at its ends.
    fn fit(&self, a: &Array, axis: i32, ends: Ends) -> Result<Array> {
        if ends == Ends::NONE {
            return Ok(a.clone());
        }
        let length = i64::from(a.axis_length(self.op, axis)?);
        let (start, stop) = (self.narrow((-ends.before).max(0))?, self.narrow(length + ends.after.min(0))?);
        let kept = a.slice_axis(axis, start, stop)?;
        let zeros = |count: i64| {
            let mut shape = kept.shape().to_vec();
            shape[axis as usize] = self.narrow(count.max(0))?;
            check_shape(self.op, &shape, DType::F32)?;
            Array::zeros(&shape, a.dtype())
        };
        concatenate(&[&zeros(ends.before)?, &kept, &zeros(ends.after)?], axis)
    }

    /// On the CPU, MLX lays out a copy of what each position of the kernel covers.
    fn check_patches(&self, computed_shape: &[i32]) -> Result<()> {
        let product = |lengths: &[i32]| lengths.iter().fold(1i64, |all, n| all.saturating_mul(i64::from(*n)));
        let positions = self.narrow(product(&computed_shape[..computed_shape.len() - 1]))?;
        let covered =
            self.narrow(product(&self.weight.shape()[1..]).saturating_mul(i64::from(self.groups)))?;
        match Device::current() {
            Device::Cpu => check_shape(self.op, &[positions, covered], DType::F32),
            Device::Gpu => Ok(()),
        }
    }

    fn narrow(&self, number: i64) -> Result<i32> {
        i32::try_from(number).map_err(|_| self.refuse(format!("{number} elements are more than MLX counts")))
    }

    fn refuse(&self, message: String) -> Error {
        let operands = format!("{}, {}", self.input.describe(), self.weight.describe());
        Error::Shape { op: self.op, message: format!("{operands}: {message}") }
    }
}
