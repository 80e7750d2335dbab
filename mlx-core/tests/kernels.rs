//! Kernels from source. Without a GPU every way to make one is an error; what runs on a GPU says so.

use mlx_core::kernel::{Constant, CudaKernel, KernelSource, Launch, MetalKernel};
use mlx_core::primitive::Spec;
use mlx_core::{Array, DType, Device, Result};

const TWICE: KernelSource<'static> = KernelSource {
    name: "twice",
    inputs: &["x"],
    outputs: &["y"],
    body: "",
    header: "",
    contiguous_inputs: true,
};

#[test]
fn a_missing_backend_is_an_error() {
    let metal = MetalKernel::new(&TWICE, false).map(drop);
    let cuda = CudaKernel::new(&TWICE, 0).map(drop);
    for (made, available, expected) in [
        (metal, Device::has_metal(), "metal_kernel: MLX has no Metal here"),
        (cuda, Device::has_cuda(), "cuda_kernel: MLX has no CUDA here"),
    ] {
        assert_eq!(made.err().map(|error| error.to_string()), (!available).then(|| expected.to_owned()));
    }
}

#[test]
fn sources_are_checked_first() {
    for (source, problem) in [
        (KernelSource { outputs: &[], ..TWICE }, "at least one output"),
        (KernelSource { name: "", ..TWICE }, "\"\" is no name"),
        (KernelSource { name: "a b", ..TWICE }, "\"a b\" is no name"),
        (KernelSource { name: "%s", ..TWICE }, "\"%s\" is no name"),
        (KernelSource { inputs: &["x", "2x"], ..TWICE }, "\"2x\" is no name"),
        (KernelSource { outputs: &["y, float* z"], ..TWICE }, "is no name"),
        (KernelSource { body: "\0", ..TWICE }, "holds a NUL"),
        (KernelSource { header: "\0", ..TWICE }, "holds a NUL"),
    ] {
        let metal = MetalKernel::new(&source, false).map(drop).unwrap_err().to_string();
        let cuda = CudaKernel::new(&source, 0).map(drop).unwrap_err().to_string();
        assert!(metal.contains(problem) && cuda.contains(problem), "{metal} {cuda}");
    }
    let error = CudaKernel::new(&TWICE, u32::MAX).map(drop).unwrap_err().to_string();
    assert!(error.contains("shared memory"), "{error}");
}

/// Twice the elements, whatever GPU there is.
fn twice(x: &Array, launch: &Launch<'_>, outputs: &[Spec]) -> Option<Result<[Array; 1]>> {
    if Device::has_cuda() {
        let body = "auto i = cg::this_grid().thread_rank(); if (i < N) { y[i] = F * x[i]; }";
        let kernel = CudaKernel::new(&KernelSource { body, ..TWICE }, 0).unwrap();
        Some(kernel.call(&[x], outputs, launch))
    } else if Device::has_metal() {
        let body = "uint i = thread_position_in_grid.x; if (i < N) { y[i] = F * x[i]; }";
        let kernel = MetalKernel::new(&KernelSource { body, ..TWICE }, false).unwrap();
        Some(kernel.call(&[x], outputs, launch))
    } else {
        println!("skipped: there is no GPU");
        None
    }
}

#[test]
fn a_kernel_runs_on_the_gpu() {
    let x = Array::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2]).unwrap();
    let constants = [("N", Constant::Int(4)), ("F", 2.into()), ("T", DType::F32.into()), ("B", true.into())];
    let launch = Launch { grid: [4, 1, 1], threads: [256, 1, 1], constants: &constants, ..Launch::default() };
    let spec = [Spec::of(&x)];
    let transposed = x.transpose(&[1, 0]).unwrap();
    let Some(y) = twice(&transposed, &launch, &spec) else { return };
    let [y] = y.unwrap();
    assert_eq!(y.to_vec::<f32>().unwrap(), [2.0, 6.0, 4.0, 8.0]);
    // Places that no thread writes keep the initial value.
    let [y] = twice(
        &x,
        &Launch { initial: Some(7.0), constants: &[("N", 2.into()), ("F", 2.into())], ..launch },
        &spec,
    )
    .unwrap()
    .unwrap();
    assert_eq!(y.to_vec::<f32>().unwrap(), [2.0, 4.0, 7.0, 7.0]);

    let none = [Spec::new(&[0], DType::F32)];
    for (launch, outputs, problem) in [
        (Launch { grid: [0, 1, 1], ..launch }, &spec[..], "is empty or too large"),
        (Launch { threads: [1024, 2, 1], ..launch }, &spec, "is empty or too large"),
        (Launch { threads: [-1, 1, 1], ..launch }, &spec, "is empty or too large"),
        (Launch { grid: [i32::MAX, 1, 1], ..launch }, &spec, "is empty or too large"),
        (Launch { grid: [1, 100_000, 1], ..launch }, &spec, "is empty or too large"),
        (Launch { constants: &[("2", 2.into())], ..launch }, &spec, "is no name"),
        (launch, &none, "has no memory to write to"),
        (launch, &[], "0 outputs, of which 1 are taken"),
    ] {
        let error = twice(&x, &launch, outputs).unwrap().unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    let error = Device::Cpu.scope(|| twice(&x, &launch, &spec)).unwrap().unwrap_err().to_string();
    assert!(error.contains("not the current device"), "{error}");
    // What does not compile is an error of the evaluation, and the GPU goes on.
    let [bad] = twice(&x, &Launch { constants: &[], ..launch }, &spec).unwrap().unwrap();
    assert!(bad.eval().is_err());
    let [y] = twice(&x, &launch, &spec).unwrap().unwrap();
    assert_eq!(y.to_vec::<f32>().unwrap(), [2.0, 4.0, 6.0, 8.0]);
}
