"""What one node of MLX's graph costs from Python; `../benches/node.rs` says what is measured, and does the same."""

import gc
from statistics import median_high
from time import perf_counter_ns

import mlx.core as mx

LENGTH, CHAINS, WIDTH = 100, 300, 64


def cases():
    """Name, first array, and a function that applies the operation LENGTH times."""
    one = mx.array(1.0)
    row = mx.full((1, WIDTH), 0.5)
    norm = mx.full((WIDTH,), 1.0)
    weight, scales, biases = mx.quantize(mx.full((WIDTH, WIDTH), 0.01), group_size=32, bits=4)
    long = mx.zeros((1, LENGTH + 1))
    mx.eval(row, norm, weight, scales, biases, long)

    # The loop is written out in each, so that no call of a Python function is counted with the operation.
    def add(x):
        for _ in range(LENGTH):
            x = x + one
        return x

    def sin(x):
        for _ in range(LENGTH):
            x = mx.sin(x)
        return x

    def rms_norm(x):
        for _ in range(LENGTH):
            x = mx.fast.rms_norm(x, norm, 1e-5)
        return x

    def slice_(x):
        for _ in range(LENGTH):
            x = x[:, 1:]
        return x

    def quantized_matmul(x):
        for _ in range(LENGTH):
            x = mx.quantized_matmul(x, weight, scales, biases, transpose=True, group_size=32, bits=4)
        return x

    return [
        ("add", one, add),
        ("sin", mx.array(1.0), sin),
        ("rms_norm", row, rms_norm),
        ("slice", long, slice_),
        ("quantized_matmul", row, quantized_matmul),
    ]


def main():
    gc.disable()
    print(f"{'ns per node':<18}{'build':>10}{'drop':>10}{'eval':>10}")
    for name, first, chain in cases():
        builds, drops, evals = [], [], []
        for round in range(CHAINS + CHAINS // 10):
            start = perf_counter_ns()
            last = chain(first)
            build = perf_counter_ns() - start

            start = perf_counter_ns()
            del last
            dropped = perf_counter_ns() - start

            last = chain(first)
            start = perf_counter_ns()
            mx.eval(last)
            evaluated = perf_counter_ns() - start

            if round >= CHAINS // 10:
                builds.append(build / LENGTH)
                drops.append(dropped / LENGTH)
                evals.append(evaluated / LENGTH)
        times = "".join(f"{median_high(times):>10.0f}" for times in (builds, drops, evals))
        print(f"{name:<18}{times}")


if __name__ == "__main__":
    main()
