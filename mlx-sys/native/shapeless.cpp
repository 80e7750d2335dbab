// The checks that MLX leaves out when it uses a compiled graph for other shapes than those it was traced with.

#include <algorithm>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "mlx/c/error.h"
#include "mlx/c/private/mlx.h"
#include "mlx/primitives.h"
#include "primitive.h"
#include "rust_mlx.h"

namespace {

namespace mx = mlx::core;

// What a node's shapes must be for its kernel to stay inside its inputs.
enum class Rule {
  // MLX works its shape out of its inputs', or fails.
  none,
  // Every input has the output's shape.
  elementwise,
  // The input has as many elements as the output.
  same_size,
  // The input has elements, by whose number the kernel divides.
  not_empty,
  // Every input can be broadcast to the output.
  broadcast,
  // The inner axes of two matrices, and the axes before the last two.
  product,
};

// By the names that MLX gives its primitives.
const std::unordered_map<std::string_view, Rule>& rules() {
  static const auto* table = [] {
    auto* table = new std::unordered_map<std::string_view, Rule>;
    for (auto name :
         {"Abs",          "Add",       "ArcCos",     "ArcCosh",   "ArcSin",      "ArcSinh",    "ArcTan",
          "ArcTan2",      "ArcTanh",   "AsType",     "BitwiseAnd", "BitwiseInvert", "BitwiseOr", "BitwiseXor",
          "Ceil",         "Conjugate", "Contiguous", "Copy",      "Cos",         "Cosh",       "Divide",
          "Equal",        "Erf",       "ErfInv",     "Exp",       "Expm1",       "Floor",      "Greater",
          "GreaterEqual", "Imag",      "LeftShift",  "Less",      "LessEqual",   "Log",        "Log10",
          "Log1p",        "Log2",      "LogAddExp",  "LogicalAnd", "LogicalNot", "LogicalOr",  "Maximum",
          "Minimum",      "Multiply",  "NaNEqual",   "Negative",  "NotEqual",    "Power",      "Real",
          "Remainder",    "RightShift", "Round",     "Rsqrt",     "Select",      "Sigmoid",    "Sign",
          "Sin",          "Sinh",      "Sqrt",       "Square",    "StopGradient", "Subtract",  "Tan",
          "Tanh"}) {
      table->emplace(name, Rule::elementwise);
    }
    for (auto name : {"ExpandDims", "Flatten", "Reshape", "Squeeze", "Transpose", "Unflatten"}) {
      table->emplace(name, Rule::same_size);
    }
    for (auto name : {"And", "Or", "Sum", "Prod", "Min", "Max", "ArgMin", "ArgMax", "Softmax", "LogSumExp"}) {
      table->emplace(name, Rule::not_empty);
    }
    for (auto name : {"Broadcast", "BroadcastAxes", "Full", "NumberOfElements"}) {
      table->emplace(name, Rule::none);
    }
    table->emplace("Matmul", Rule::product);
    return table;
  }();
  return *table;
}

bool can_broadcast(const mx::Shape& from, const mx::Shape& to) {
  const auto lead = static_cast<std::ptrdiff_t>(to.size()) - static_cast<std::ptrdiff_t>(from.size());
  return lead >= 0 && std::equal(from.begin(), from.end(), to.begin() + lead, [](auto own, auto length) {
           return own == length || own == 1;
         });
}

bool is_product(const mx::array& a, const mx::array& b, const mx::array& out) {
  const auto ndim = out.ndim();
  return ndim >= 2 && a.ndim() == ndim && b.ndim() == ndim && a.shape(-1) == b.shape(-2) &&
      a.shape(-2) == out.shape(-2) && b.shape(-1) == out.shape(-1) &&
      std::equal(a.shape().begin(), a.shape().end() - 2, out.shape().begin()) &&
      std::equal(b.shape().begin(), b.shape().end() - 2, out.shape().begin());
}

bool follows(Rule rule, const mx::array& node) {
  const auto& inputs = node.inputs();
  const auto all = [&](auto fits) { return std::all_of(inputs.begin(), inputs.end(), fits); };
  switch (rule) {
    case Rule::none:
      return true;
    case Rule::elementwise:
      return all([&](const auto& in) { return in.shape() == node.shape(); });
    case Rule::same_size:
      return all([&](const auto& in) { return in.size() == node.size(); });
    case Rule::not_empty:
      return all([&](const auto& in) { return in.size() != 0; });
    case Rule::broadcast:
      return all([&](const auto& in) { return can_broadcast(in.shape(), node.shape()); });
    case Rule::product:
      return inputs.size() == 2 && is_product(inputs[0], inputs[1], node);
  }
  return false;
}

void check(const mx::array& node) {
  const auto& primitive = node.primitive();
  if (is_written_in_rust(primitive)) {
    // Its shapes are worked out anew, and it reads its inputs through views.
    return;
  }
  Rule rule;
  if (dynamic_cast<const mx::Compiled*>(&primitive)) {
    rule = Rule::broadcast;
  } else {
    const auto found = rules().find(primitive.name());
    if (found == rules().end()) {
      throw std::invalid_argument(
          std::string(primitive.name()) + " depends on the shapes it was traced with; use compile");
    }
    rule = found->second;
  }
  if (!follows(rule, node)) {
    throw std::invalid_argument(std::string(primitive.name()) + " does not fit the shapes of this call");
  }
}

void check_all(const std::vector<mx::array>& inputs, const std::vector<mx::array>& outputs) {
  std::unordered_set<std::uintptr_t> seen;
  for (const auto& in : inputs) {
    seen.insert(in.id());
  }
  std::vector<mx::array> open = outputs;
  while (!open.empty()) {
    const auto node = open.back();
    open.pop_back();
    if (!seen.insert(node.id()).second || !node.has_primitive()) {
      continue;
    }
    check(node);
    open.insert(open.end(), node.inputs().begin(), node.inputs().end());
  }
}

} // namespace

extern "C" int rust_mlx_check_shapeless(const mlx_vector_array inputs, const mlx_vector_array outputs) {
  try {
    check_all(mlx_vector_array_get_(inputs), mlx_vector_array_get_(outputs));
    return 0;
  } catch (const std::exception& e) {
    mlx_error(e.what());
    return 1;
  } catch (...) {
    mlx_error("the graph could not be checked");
    return 1;
  }
}
