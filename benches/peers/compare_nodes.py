#!/usr/bin/env python3
"""Runs node.rs, node.py and node.cpp in turns and prints what a node costs in each, and the ratios.

    python3 -m venv /tmp/peers && /tmp/peers/bin/pip install mlx[cpu]==0.32.2    # [cpu] on Linux
    /tmp/peers/bin/python benches/peers/compare_nodes.py [rounds]

Python must have the MLX version that this repository is pinned to. The C++ program is compiled against the library inside
that package, so a C++20 compiler is needed. Times are nanoseconds per operation. The median over the rounds comes first,
then the lowest round, which is the one to read on a machine that does other work as well.
"""

import pathlib
import subprocess
import sys
import tempfile
from statistics import median

import mlx.core

HERE = pathlib.Path(__file__).parent
MLX = pathlib.Path(mlx.core.__file__).parent
COLUMNS = ("build", "drop", "eval")


def compile_cpp(folder):
    program = f"{folder}/node"
    flags = [f"-I{MLX}/include", f"-L{MLX}/lib", "-lmlx", f"-Wl,-rpath,{MLX}/lib"]
    subprocess.run(["c++", "-std=c++20", "-O2", HERE / "node.cpp", "-o", program, *flags], check=True)
    return [program]


def measure(command):
    """The table that a peer prints, as times by operation and column."""
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=HERE).stdout
    rows = [line.split() for line in output.splitlines()[1:]]
    return {name: dict(zip(COLUMNS, map(float, times))) for name, *times in rows}


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
    with tempfile.TemporaryDirectory() as folder:
        peers = {
            "C++": compile_cpp(folder),
            "Rust": ["cargo", "bench", "--quiet", "-p", "benches", "--bench", "node"],
            "Python": [sys.executable, HERE / "node.py"],
        }
        subprocess.run([*peers["Rust"], "--no-run"], check=True)
        runs = {peer: [] for peer in peers}
        for _ in range(rounds):
            for peer, command in peers.items():
                runs[peer].append(measure(command))

    print(f"MLX {mlx.core.__version__}, {rounds} rounds, ns per operation")
    head = "".join(f"{peer:>8}" for peer in peers) + f"{'Rust/Py':>10}"
    print(f"{'':<24}{'median':>34}{'lowest':>34}")
    print(f"{'':<24}{head}{head}")
    for name in runs["C++"][0]:
        for column in COLUMNS:
            line = f"{name:<18}{column:<6}"
            for choose in (median, min):
                times = [choose(run[name][column] for run in runs[peer]) for peer in peers]
                line += "".join(f"{time:>8.0f}" for time in times) + f"{times[1] / times[2]:>10.2f}"
            print(line)


if __name__ == "__main__":
    main()
