// What one node of MLX's graph costs in MLX's own C++: the floor for every binding. `../benches/node.rs` says what is
// measured, and does the same.

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "mlx/mlx.h"

namespace mx = mlx::core;
using Clock = std::chrono::steady_clock;

namespace {

constexpr int length = 100, chains = 300, width = 64;

double per_node(Clock::time_point start) {
  return std::chrono::duration<double, std::nano>(Clock::now() - start).count() / length;
}

double median(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

// The operation is a template argument, so that no call through a pointer is counted with it.
template <typename Step>
mx::array chain(const mx::array& first, Step step) {
  mx::array last = step(first, 0);
  for (int number = 1; number < length; ++number) {
    last = step(last, number);
  }
  return last;
}

template <typename Step>
void measure(const char* name, const mx::array& first, Step step) {
  std::vector<double> builds, drops, evals;
  for (int round = 0; round < chains + chains / 10; ++round) {
    double build, dropped, eval;
    Clock::time_point start;
    {
      start = Clock::now();
      mx::array last = chain(first, step);
      build = per_node(start);
      start = Clock::now();
    }
    dropped = per_node(start);
    {
      mx::array last = chain(first, step);
      start = Clock::now();
      last.eval();
      eval = per_node(start);
    }
    if (round >= chains / 10) {
      builds.push_back(build);
      drops.push_back(dropped);
      evals.push_back(eval);
    }
  }
  std::printf("%-18s%10.0f%10.0f%10.0f\n", name, median(builds), median(drops), median(evals));
}

} // namespace

int main() {
  auto s = mx::default_stream(mx::default_device());
  mx::array one(1.0f), sine(1.0f);
  auto row = mx::full({1, width}, 0.5f);
  auto norm = mx::full({width}, 1.0f);
  auto packed = mx::quantize(mx::full({width, width}, 0.01f), 32, 4);
  auto weight = packed[0], scales = packed[1], biases = packed[2];
  auto line = mx::zeros({1, length + 1});
  mx::eval(row, norm, weight, scales, biases, line);

  std::printf("%-18s%10s%10s%10s\n", "ns per node", "build", "drop", "eval");
  measure("add", one, [&](const mx::array& x, int) { return mx::add(x, one, s); });
  measure("sin", sine, [&](const mx::array& x, int) { return mx::sin(x, s); });
  measure("rms_norm", row, [&](const mx::array& x, int) { return mx::fast::rms_norm(x, norm, 1e-5f, s); });
  measure("slice", line, [&](const mx::array& x, int step) {
    return mx::slice(x, {0, 1}, {1, length + 1 - step}, {1, 1}, s);
  });
  measure("quantized_matmul", row, [&](const mx::array& x, int) {
    return mx::quantized_matmul(x, weight, scales, biases, true, 32, 4, "affine", s);
  });
}
