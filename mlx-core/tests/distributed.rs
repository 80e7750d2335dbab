//! Groups of processes: a group of one, a ring of two on this machine, and set-ups that are wrong.
//!
//! Every part runs in processes of its own, since a process has one group: the test starts its own executable again,
//! and tells it by a variable which part to play.

mod support;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use mlx_core::distributed::{Backend, Group};
use mlx_core::{Array, DType, Device, eval};
use support::row;

const PART: &str = "MLX_CORE_TEST_PART";
/// Connecting takes MLX at most some seconds; a process that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts the part `name` of this test, with the ring's variables.
fn start(name: &str, variables: &[(&str, &str)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_part_that_another_process_plays", "--nocapture"])
        .env_remove("MLX_RANK")
        .env_remove("MLX_HOSTFILE")
        .env(PART, name)
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn finish(mut child: Child) -> Output {
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
            let output = child.wait_with_output().unwrap();
            panic!("a process hangs: {}", String::from_utf8_lossy(&output.stdout));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

/// The lines that a part printed, if it went well.
fn lines(child: Child) -> Vec<String> {
    let output = finish(child);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text.lines().filter_map(|line| line.strip_prefix("> ").map(str::to_owned)).collect()
}

#[test]
fn a_part_that_another_process_plays() {
    // The ring is of CPUs, also where there is a GPU.
    Device::Cpu.scope(|| match std::env::var(PART).as_deref() {
        Ok("alone") => alone(),
        Ok("ring") => ring(),
        Ok("init") => println!("> {}", Group::init(Backend::Any, false).unwrap_err()),
        Ok("lost") => lost(),
        _ => {}
    })
}

#[test]
fn a_process_alone_is_a_group_of_one() {
    assert_eq!(lines(start("alone", &[])), ["done"]);
}

fn alone() {
    assert!(Backend::Any.is_available() && Backend::Ring.is_available());
    assert!(Backend::Nccl.is_available() == Device::has_cuda() || Device::has_cuda());
    let group = Group::init(Backend::Any, false).unwrap();
    assert_eq!((group.rank(), group.size()), (0, 1));
    assert_eq!(format!("{group:?}"), "Group(0 of 1)");
    let x = row(&[1.0, 2.0]);
    let scalar = Array::scalar(3i32).unwrap();
    for f in [Group::all_sum, Group::all_max, Group::all_min, Group::all_gather, Group::sum_scatter] {
        assert_eq!(f(&group, &x).unwrap().to_vec::<f32>().unwrap(), [1.0, 2.0]);
        assert_eq!(f(&group, &scalar).unwrap().item::<i32>().unwrap(), 3);
    }
    for rank in [0, 1, -1, i32::MAX] {
        let expected = format!("there is no other process {rank} in a group of 1");
        for outcome in [group.send(&x, rank), group.recv(&[2], DType::F32, rank)] {
            let text = outcome.unwrap_err().to_string();
            assert!(text.ends_with(&expected), "{text}");
        }
    }
    assert!(group.split(0, None).unwrap_err().to_string().contains("Cannot split"));
    assert!(group.split(-1, None).unwrap_err().to_string().contains("must not be negative"));
    assert!(group.split(0, Some(-2)).unwrap_err().to_string().contains("must not be negative"));
    for backend in [Backend::Ring, Backend::Mpi, Backend::Nccl, Backend::Jaccl] {
        assert!(Group::init(backend, true).is_err(), "{backend:?}");
    }
    // From several threads at once.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(Group::init(Backend::default(), false).unwrap().size(), 1));
        }
    });
    println!("> done");
}

/// A hosts' file for processes on this machine, on ports that are free.
fn hosts(count: usize) -> tempfile::NamedTempFile {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let hosts: Vec<[String; 1]> =
        listeners.iter().map(|listener| [listener.local_addr().unwrap().to_string()]).collect();
    let file = tempfile::NamedTempFile::with_prefix("mlx-hosts-%s").unwrap();
    std::fs::write(file.path(), serde_json::to_string(&hosts).unwrap()).unwrap();
    file
}

fn start_ring(part: &str, hosts: &tempfile::NamedTempFile, ranks: std::ops::Range<usize>) -> Vec<Child> {
    let file = hosts.path().to_str().unwrap();
    ranks.map(|rank| start(part, &[("MLX_RANK", &rank.to_string()), ("MLX_HOSTFILE", file)])).collect()
}

#[test]
fn a_ring_of_two_processes() {
    let hosts = hosts(2);
    let found: Vec<Vec<String>> = start_ring("ring", &hosts, 0..2).into_iter().map(lines).collect();
    assert_eq!(found, [["rank 0 done"], ["rank 1 done"]]);
}

fn ring() {
    let group = Group::init(Backend::Ring, true).unwrap();
    let rank = group.rank();
    assert_eq!(group.size(), 2);
    let mine = rank as f32;
    // Operations of a process run in the order in which they are computed, which has to be the same in all.
    let check = |what: &str, array: Array, expected: &[f32]| {
        let array = Device::Cpu.scope(|| array.as_type(DType::F32)).unwrap();
        assert_eq!(array.to_vec::<f32>().unwrap(), expected, "{what} on {rank}");
    };
    let x = row(&[1.0 + mine, 10.0, -mine]);
    check("all_sum", group.all_sum(&x).unwrap(), &[3.0, 20.0, -1.0]);
    check("all_max", group.all_max(&x).unwrap(), &[2.0, 10.0, 0.0]);
    check("all_min", group.all_min(&x).unwrap(), &[1.0, 10.0, -1.0]);
    check("all_gather", group.all_gather(&x).unwrap(), &[1.0, 10.0, 0.0, 2.0, 10.0, -1.0]);
    let scalar = Array::scalar(5.0 + mine).unwrap();
    check("all_sum of scalars", group.all_sum(&scalar).unwrap(), &[11.0]);
    let gathered = group.all_gather(&scalar).unwrap();
    assert_eq!(gathered.shape(), [2]);
    check("all_gather of scalars", gathered, &[5.0, 6.0]);
    for dtype in [DType::I32, DType::U8, DType::F16, DType::BF16, DType::F64, DType::I64] {
        let small = row(&[1.0 + mine, 2.0, 3.0]);
        let small = Device::Cpu.scope(|| small.as_type(dtype)).unwrap();
        check("all_sum of a dtype", group.all_sum(&small).unwrap(), &[3.0, 4.0, 6.0]);
    }
    // A view, and an array without elements.
    let table = Array::from_slice(&[1.0 + mine, 2.0, 3.0, 4.0], &[2, 2]).unwrap();
    let view = table.transpose(&[1, 0]).unwrap();
    check("all_sum of a view", group.all_sum(&view).unwrap(), &[3.0, 6.0, 4.0, 8.0]);
    check("all_gather of a view", group.all_gather(&view).unwrap().sum(0, false).unwrap(), &[7.0, 14.0]);
    let none = Array::zeros(&[0, 2], DType::F32).unwrap();
    check("all_sum of nothing", group.all_sum(&none).unwrap(), &[]);
    check("all_gather of nothing", group.all_gather(&none).unwrap(), &[]);

    let large: Vec<f32> = (0..100_000).map(|i| (i % 1000) as f32 + mine).collect();
    let sum = group.all_sum(&row(&large)).unwrap().to_vec::<f32>().unwrap();
    assert!(sum.iter().enumerate().all(|(i, x)| *x == 2.0 * (i % 1000) as f32 + 1.0));

    let other = 1 - rank;
    let sent = row(&[100.0 + mine, 7.0]);
    if rank == 0 {
        eval(&[&group.send(&sent, other).unwrap()]).unwrap();
        check("recv", group.recv(&[2], DType::F32, other).unwrap(), &[101.0, 7.0]);
    } else {
        check("recv", group.recv(&[2], DType::F32, other).unwrap(), &[100.0, 7.0]);
        eval(&[&group.send(&sent, other).unwrap()]).unwrap();
    }

    for wrong in [-1, 2, rank, i32::MIN] {
        assert!(group.send(&x, wrong).is_err() && group.recv(&[1], DType::F32, wrong).is_err());
    }
    for shape in [&[-1][..], &[i32::MAX; 3], &[i32::MAX, 1 << 20]] {
        assert!(group.recv(shape, DType::F32, other).is_err(), "{shape:?}");
    }
    let long = Array::scalar(1u8).unwrap().broadcast_to(&[1 << 30]).unwrap();
    let text = group.all_gather(&long).unwrap_err().to_string();
    assert!(text.contains("are too long"), "{text}");
    assert!(group.sum_scatter(&x).unwrap_err().to_string().contains("must be divisible"));
    let text = group.sum_scatter(&table).and_then(|share| share.eval()).unwrap_err().to_string();
    assert!(text.contains("[ring] sum_scatter not supported"), "{text}");
    assert!(group.split(0, None).unwrap_err().to_string().contains("not supported"));
    check("all_sum after errors", group.all_sum(&x).unwrap(), &[3.0, 20.0, -1.0]);
    // The same group again.
    assert_eq!(Group::init(Backend::Any, true).unwrap().size(), 2);
    println!("> rank {rank} done");
}

#[test]
fn a_lost_neighbour_is_an_error() {
    let hosts = hosts(2);
    let found: Vec<Vec<String>> = start_ring("lost", &hosts, 0..2).into_iter().map(lines).collect();
    assert!(found[1].is_empty());
    assert!(found[0][0].contains("connection to a peer was lost"), "{found:?}");
}

fn lost() {
    let group = Group::init(Backend::Ring, true).unwrap();
    if group.rank() == 0 {
        println!("> {}", group.all_sum(&row(&[1.0; 4])).unwrap().eval().unwrap_err());
    }
}

/// MLX takes the rank for an index and the number of hosts for a divisor.
#[test]
fn wrong_set_ups_are_errors() {
    let good = r#"[["127.0.0.1:1"], ["127.0.0.1:2"]]"#;
    let cases = BTreeMap::from([
        (("-1", good), "is none of the 2 hosts"),
        (("2", good), "is none of the 2 hosts"),
        (("one", good), "is none of the 2 hosts"),
        (("", good), "is none of the 2 hosts"),
        (("0", "[]"), "names 0 hosts"),
        (("0", r#"[["127.0.0.1:1"]]"#), "names 1 hosts"),
        (("0", r#"[[], []]"#), "as many addresses, one or more"),
        (("0", r#"[["127.0.0.1:1"], ["127.0.0.1:2", "127.0.0.1:3"]]"#), "as many addresses"),
        (("0", r#"["127.0.0.1:1", "127.0.0.1:2"]"#), "invalid type"),
        (("0", "{"), "invalid type"),
        (("0", r#"[["%s%n"], ["%s"]]"#), "Can't parse address %s%n"),
        (("0", r#"[["127.0.0.1:port"], ["127.0.0.1:2"]]"#), "Can't parse address 127.0.0.1:port"),
    ]);
    for ((rank, hosts), problem) in cases {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), hosts).unwrap();
        let path = file.path().to_str().unwrap();
        let found = lines(start("init", &[("MLX_RANK", rank), ("MLX_HOSTFILE", path)]));
        assert!(found[0].contains(problem), "{rank} {hosts}: {found:?}");
    }
    let found = lines(start("init", &[("MLX_RANK", "0"), ("MLX_HOSTFILE", "/no/such/%s")]));
    assert!(found[0].starts_with("/no/such/%s: "), "{found:?}");
}
