#!/usr/bin/env python3
"""Runs llama.cpp's llama-bench and `mlx bench` in turns on one GGUF file, and prints tokens per second and the ratios.

    pip download --no-deps --no-binary llama-cpp-python llama-cpp-python    # llama.cpp is inside, in vendor/
    tar xf llama_cpp_python-*.tar.gz
    cmake -S llama_cpp_python-*/vendor/llama.cpp -B /tmp/llama -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF
    cmake --build /tmp/llama --target llama-bench -j
    cargo build --release -p mlx-cli
    benches/peers/llama_bench.py MODEL.gguf /tmp/llama/bin/llama-bench target/release/mlx [--rounds 5]

Both read a prompt and decode on as many threads, each on a core of its own; a round runs each program once, which warms
up and then measures both tests. The median over the rounds comes first, then the fastest round. Ratios above 1 are in our
favour. They mean nothing on a busy machine: llama.cpp's threads wait for one another at every operation, so it loses far
more to other work than a program of one thread. On Linux the share of the processors' time that other work took is told.
"""

import argparse
import json
import os
import pathlib
import shlex
import subprocess
import time
from statistics import median

STAT = pathlib.Path("/proc/stat")


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path, help="a .gguf file")
    parser.add_argument("llama_bench", help="llama.cpp's llama-bench")
    parser.add_argument("mlx", help="our mlx")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("-p", type=int, default=512, help="tokens of the prompt")
    parser.add_argument("-n", type=int, default=128, help="tokens to decode")
    return parser.parse_args()


def pin(threads):
    """Keeps this process, and those that it starts, to one hardware thread on each of so many cores."""
    if not hasattr(os, "sched_setaffinity"):
        return "not pinned: this system cannot"
    cores = {}
    for cpu in sorted(os.sched_getaffinity(0)):
        siblings = pathlib.Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.setdefault(siblings.read_text() if siblings.exists() else cpu, cpu)
    if len(cores) < threads:
        raise SystemExit(f"--threads {threads}: this process may use {len(cores)} cores")
    cpus = sorted(cores.values())[:threads]
    os.sched_setaffinity(0, cpus)
    return f"pinned to CPUs {', '.join(map(str, cpus))}"


def busy_seconds():
    """Processor time that the machine has spent, and that part of it which went into programs started here."""
    user, nice, system, _, _, irq, softirq, steal, *_ = map(int, STAT.read_text().split("\n", 1)[0].split()[1:])
    own = os.times()
    spent = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
    return spent, own.children_user + own.children_system


def run(command):
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def from_llama_bench(tests):
    """Tokens per second, prefill and decode."""
    return {"prefill" if test["n_prompt"] else "decode": test["avg_ts"] for test in tests}


def from_mlx(answer):
    return {"prefill" if test["test"].startswith("pp") else "decode": test["tokens_per_second"]
            for test in answer["tests"]}


def main():
    args = arguments()
    pinned = pin(args.threads)
    sizes = ["-p", str(args.p), "-n", str(args.n), "-r", "1"]
    peers = {
        "llama.cpp": (
            [args.llama_bench, "-m", args.model, "-t", str(args.threads), "-ngl", "0", *sizes, "-o", "json"],
            from_llama_bench),
        "ours": ([args.mlx, "bench", "--model", args.model, "--device", "cpu", *sizes, "--json"], from_mlx),
    }
    answers = {peer: [] for peer in peers}
    start, before = time.monotonic(), busy_seconds() if STAT.exists() else None
    for _ in range(args.rounds):
        for peer, (command, _) in peers.items():
            answers[peer].append(run(command))
    if before:
        spent, own = (after - earlier for after, earlier in zip(busy_seconds(), before))
        others = max(spent - own, 0) / (time.monotonic() - start) / os.cpu_count()
        pinned += f"; other work took {others:.0%} of the machine"

    theirs, ours = answers["llama.cpp"][0][0], answers["ours"][0]
    print(f"{args.model.name}, {args.model.stat().st_size} bytes")
    print(f"{theirs['cpu_info']}, {args.rounds} rounds, {args.threads} threads, {pinned}")
    print(f"llama.cpp  {theirs['model_type']}, commit {theirs['build_commit']}, {theirs['model_size']} bytes of tensors")
    print(f"ours       {ours['model']}, {ours['weight_bytes']} bytes of tensors in memory")
    for command, _ in peers.values():
        print("$", shlex.join(map(str, command)))

    columns = "".join(f"{peer:>12}" for peer in peers) + f"{'ratio':>8}"
    print(f"\n{'tokens/s':<10}{'median':>32}{'fastest':>32}\n{'':<10}{columns}{columns}")
    speeds = {peer: [read(answer) for answer in answers[peer]] for peer, (_, read) in peers.items()}
    for test in speeds["ours"][0]:
        line = f"{test:<10}"
        for choose in (median, max):
            rates = [choose(speed[test] for speed in speeds[peer]) for peer in peers]
            line += "".join(f"{rate:>12.2f}" for rate in rates) + f"{rates[1] / rates[0]:>8.2f}"
        print(line)


if __name__ == "__main__":
    main()
