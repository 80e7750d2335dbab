//! Work shared by several processes, on one machine or many.
//!
//! Every process runs the same program and calls the same operations in the same order; each works on its own arrays and
//! gets what the operation makes of all. A process that is started alone is a group of one, in which sums are the
//! process's own arrays.
//!
//! ```
//! use mlx_core::Array;
//! use mlx_core::distributed::{Backend, Group};
//!
//! let group = Group::init(Backend::Any, false)?;
//! let gradient = Array::from_slice(&[1.0f32, 2.0], &[2])?;
//! let total = group.all_sum(&gradient)?;
//! if group.size() == 1 {
//!     assert_eq!(total.to_vec::<f32>()?, [1.0, 2.0]);
//! }
//! # Ok::<(), mlx_core::Error>(())
//! ```
//!
//! Operations wait for the other processes when they are computed: one that calls another operation, or passes another
//! shape or dtype, makes the others wait for ever or get wrong numbers. When a process ends early, the others learn of it
//! by an error where the backend notices; then end, since later operations may wait for ever.
//!
//! Operations run on the CPU; with CUDA, on the thread's current device, which has to be the GPU for [`Backend::Nccl`]
//! and the CPU for the others.

use std::fmt;

use crate::array::check_shape;
use crate::ffi::distributed::{CollectiveFn, GroupHandle, is_available, refuse};
use crate::ffi::{c, string};
use crate::{Array, DType, Device, Error, Result};

/// How processes talk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Backend {
    /// The first that has been set up.
    #[default]
    Any,
    /// TCP between neighbours, set up by the variables `MLX_RANK` and `MLX_HOSTFILE`: a JSON file with a list of
    /// `"address:port"` for each process. Knows no [`Group::split`] and no [`Group::sum_scatter`], and sends to neighbours
    /// alone.
    Ring,
    /// Open MPI, where it is installed and has started the process. Its own failures end the process, unless it is told
    /// otherwise.
    Mpi,
    /// NVIDIA's library between its GPUs.
    Nccl,
    /// Remote direct memory access over Thunderbolt, between Macs.
    Jaccl,
}

impl Backend {
    /// Whether this build of MLX has it, set up or not.
    #[doc(alias = "mlx_distributed_is_available")]
    pub fn is_available(self) -> bool {
        string::c_text("is_available", self.name()).is_ok_and(|name| is_available(&name))
    }

    fn name(self) -> &'static str {
        match self {
            Backend::Any => "any",
            Backend::Ring => "ring",
            Backend::Mpi => "mpi",
            Backend::Nccl => "nccl",
            Backend::Jaccl => "jaccl",
        }
    }
}

/// Processes that work together.
///
/// A group belongs to its thread, as arrays do.
pub struct Group {
    handle: GroupHandle,
}

impl Group {
    /// The group of all processes that were started together, as the environment tells. Waits for all of them.
    ///
    /// Where nothing is set up it is a group of one, or with `strict` an error. Later calls give the same group.
    ///
    /// # Errors
    /// When the set-up is wrong or incomplete, another process does not answer, or this build of MLX lacks the backend.
    #[doc(alias = "mlx_distributed_init")]
    pub fn init(backend: Backend, strict: bool) -> Result<Self> {
        if matches!(backend, Backend::Any | Backend::Ring) {
            check_ring()?;
        }
        let group = Group { handle: GroupHandle::init(strict, &string::c_text("init", backend.name())?)? };
        // MLX gives the group that an earlier call got, whatever that one asked for.
        if strict && group.size() == 1 {
            return Err(refuse("init", format!("nothing is set up for {backend:?}")));
        }
        Ok(group)
    }

    /// This process's place in the group, from 0 on.
    #[doc(alias = "mlx_distributed_group_rank")]
    pub fn rank(&self) -> i32 {
        self.handle.rank()
    }

    /// How many processes there are.
    #[doc(alias = "mlx_distributed_group_size")]
    pub fn size(&self) -> i32 {
        self.handle.size()
    }

    /// The group of those processes that give the same `color`, in the order of their `key`, or of their ranks without one.
    ///
    /// # Errors
    /// When the color or the key is negative, or the backend cannot split groups, as a group of one cannot.
    #[doc(alias = "mlx_distributed_group_split")]
    pub fn split(&self, color: i32, key: Option<i32>) -> Result<Group> {
        if color < 0 || key.is_some_and(|key| key < 0) {
            return Err(refuse("split", "the color and the key must not be negative".to_owned()));
        }
        Ok(Group { handle: self.handle.split(color, key.unwrap_or(-1))? })
    }

    /// The sum of all processes' arrays, element by element.
    ///
    /// # Errors
    /// When the backend does not know the dtype; what fails on the way is told by the evaluation.
    #[doc(alias = "mlx_distributed_all_sum")]
    pub fn all_sum(&self, x: &Array) -> Result<Array> {
        self.collective("all_sum", c::mlx_distributed_all_sum, x)
    }

    /// The largest of all processes' elements, at each place.
    ///
    /// # Errors
    /// As [`all_sum`](Self::all_sum).
    #[doc(alias = "mlx_distributed_all_max")]
    pub fn all_max(&self, x: &Array) -> Result<Array> {
        self.collective("all_max", c::mlx_distributed_all_max, x)
    }

    /// The smallest of all processes' elements, at each place.
    ///
    /// # Errors
    /// As [`all_sum`](Self::all_sum).
    #[doc(alias = "mlx_distributed_all_min")]
    pub fn all_min(&self, x: &Array) -> Result<Array> {
        self.collective("all_min", c::mlx_distributed_all_min, x)
    }

    /// All processes' arrays joined along the first axis, in the order of the ranks: `[n, ..] -> [size * n, ..]`. Scalars
    /// become an array of one axis. In a group of one it is the array as it is.
    ///
    /// # Errors
    /// When the first axis would be too long; what fails on the way is told by the evaluation.
    #[doc(alias = "mlx_distributed_all_gather")]
    pub fn all_gather(&self, x: &Array) -> Result<Array> {
        // MLX multiplies without a look at overflow.
        let first = x.shape().first().copied().unwrap_or(1);
        let mut shape = x.shape().to_vec();
        let joined = first.checked_mul(self.size()).ok_or_else(|| {
            refuse("all_gather", format!("{} arrays like {} are too long", self.size(), x.describe()))
        })?;
        match shape.first_mut() {
            Some(first) => *first = joined,
            None => shape.push(joined),
        }
        check_shape("all_gather", &shape, x.dtype())?;
        self.collective("all_gather", c::mlx_distributed_all_gather, x)
    }

    /// This process's share of the sum of all processes' arrays, which is cut along the first axis:
    /// `[size * n, ..] -> [n, ..]`.
    ///
    /// # Errors
    /// When the first axis cannot be cut so; what fails on the way, or what the backend does not know, is told by the
    /// evaluation.
    #[doc(alias = "mlx_distributed_sum_scatter")]
    pub fn sum_scatter(&self, x: &Array) -> Result<Array> {
        self.collective("sum_scatter", c::mlx_distributed_sum_scatter, x)
    }

    /// Sends an array to the process of rank `to`, which has to [`recv`](Self::recv) it. The result is the array, and
    /// computing it sends.
    ///
    /// # Errors
    /// When there is no other process of that rank; what fails on the way is told by the evaluation.
    #[doc(alias = "mlx_distributed_send")]
    pub fn send(&self, x: &Array, to: i32) -> Result<Array> {
        self.require_other("send", to)?;
        on_device(|| self.handle.send(x, to))
    }

    /// The array of that shape and dtype which the process of rank `from` sends.
    ///
    /// # Errors
    /// When there is no other process of that rank, or the shape is none or above the memory limit; what fails on the way
    /// is told by the evaluation.
    #[doc(alias = "mlx_distributed_recv", alias = "mlx_distributed_recv_like")]
    pub fn recv(&self, shape: &[i32], dtype: DType, from: i32) -> Result<Array> {
        self.require_other("recv", from)?;
        check_shape("recv", shape, dtype)?;
        on_device(|| self.handle.receive(shape, dtype, from))
    }

    fn collective(&self, op: &'static str, f: CollectiveFn, x: &Array) -> Result<Array> {
        on_device(|| self.handle.collective(op, f, x))
    }

    fn require_other(&self, op: &'static str, rank: i32) -> Result<()> {
        if rank != self.rank() && (0..self.size()).contains(&rank) {
            return Ok(());
        }
        let message = format!("there is no other process {rank} in a group of {}", self.size());
        Err(refuse(op, message))
    }
}

impl fmt::Debug for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Group({} of {})", self.rank(), self.size())
    }
}

/// The CPU does the talking, except for NCCL, which needs CUDA.
fn on_device<R>(f: impl FnOnce() -> R) -> R {
    if Device::has_cuda() { f() } else { Device::Cpu.scope(f) }
}

/// Checks the ring's set-up: MLX takes the rank for an index and the number of hosts for a divisor.
fn check_ring() -> Result<()> {
    let (Some(rank), Some(path)) = (std::env::var_os("MLX_RANK"), std::env::var_os("MLX_HOSTFILE")) else {
        return Ok(());
    };
    let refuse = |message| Err(refuse("init", message));
    let text = std::fs::read(&path).map_err(|source| Error::Io { path: path.clone().into(), source })?;
    let hosts: Vec<Vec<String>> = match serde_json::from_slice(&text) {
        Ok(hosts) => hosts,
        Err(error) => return refuse(format!("MLX_HOSTFILE {path:?}: {error}")),
    };
    if hosts.len() < 2 {
        return refuse(format!(
            "MLX_HOSTFILE {path:?} names {} hosts, and a ring has two or more",
            hosts.len()
        ));
    }
    let addresses = hosts[0].len();
    if addresses == 0 || hosts.iter().any(|host| host.len() != addresses) {
        return refuse(format!(
            "MLX_HOSTFILE {path:?} does not give every host as many addresses, one or more"
        ));
    }
    let place = rank.to_str().and_then(|rank| rank.parse::<usize>().ok());
    if place.is_none_or(|place| place >= hosts.len()) {
        return refuse(format!("MLX_RANK {rank:?} is none of the {} hosts in {path:?}", hosts.len()));
    }
    Ok(())
}
