// Walks over the graph behind arrays. MLX's own are recursive, and a graph may be deeper than the stack.

#include <exception>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "mlx/c/error.h"
#include "mlx/c/private/mlx.h"
#include "mlx/primitives.h"
#include "mlx/utils.h"
#include "rust_mlx.h"

namespace {

namespace mx = mlx::core;

// Calls `visit` once for each array from which `outputs` follow, inputs before what is made of them; of arrays that one
// operation made together, for one.
template <typename Visit>
void walk(const std::vector<mx::array>& outputs, Visit visit) {
  std::unordered_set<std::uintptr_t> seen;
  std::vector<std::pair<mx::array, size_t>> path;
  auto enter = [&](const mx::array& a) {
    if (seen.insert(a.id()).second) {
      for (const auto& sibling : a.siblings()) {
        seen.insert(sibling.id());
      }
      path.emplace_back(a, 0);
    }
  };
  for (const auto& output : outputs) {
    enter(output);
    while (!path.empty()) {
      auto& [a, next] = path.back();
      if (next < a.inputs().size()) {
        // A copy, because entering may move the path.
        const mx::array input = a.inputs()[next++];
        enter(input);
      } else {
        visit(a);
        path.pop_back();
      }
    }
  }
}

std::vector<mx::array> arrays(const mlx_vector_array& vector) {
  return vector.ctx ? mlx_vector_array_get_(vector) : std::vector<mx::array>{};
}

// A text as it stands between quotation marks in DOT.
std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
    }
    out += c == '\n' || c == '\r' ? ' ' : c;
  }
  return out + '"';
}

std::string draw(const std::vector<mx::array>& outputs, const std::unordered_map<std::uintptr_t, std::string>& names) {
  std::unordered_map<std::uintptr_t, size_t> numbers;
  std::unordered_set<std::uintptr_t> last;
  for (const auto& output : outputs) {
    last.insert(output.id());
  }
  std::ostringstream os;
  os << "digraph {\n";
  auto node = [&](const mx::array& a) { return "a" + std::to_string(numbers.at(a.id())); };
  auto declare = [&](const mx::array& a) {
    numbers.emplace(a.id(), numbers.size());
    std::ostringstream label;
    if (auto it = names.find(a.id()); it != names.end()) {
      label << it->second << ' ';
    }
    label << a.dtype() << '[';
    for (size_t i = 0; i < a.ndim(); ++i) {
      label << (i ? ", " : "") << a.shape(i);
    }
    label << ']';
    os << "  " << node(a) << " [label=" << quoted(label.str());
    if (!a.has_primitive()) {
      os << ", style=filled";
    } else if (last.count(a.id())) {
      os << ", peripheries=2";
    }
    os << "];\n";
  };
  size_t operations = 0;
  walk(outputs, [&](const mx::array& a) {
    if (!a.has_primitive()) {
      declare(a);
      return;
    }
    const auto operation = "p" + std::to_string(operations++);
    os << "  " << operation << " [label=" << quoted(a.primitive().name()) << ", shape=rectangle];\n";
    for (const auto& input : a.inputs()) {
      os << "  " << node(input) << " -> " << operation << ";\n";
    }
    for (const auto& output : a.outputs()) {
      declare(output);
      os << "  " << operation << " -> " << node(output) << ";\n";
    }
  });
  os << "}\n";
  return os.str();
}

} // namespace

extern "C" int rust_mlx_graph_to_dot(
    mlx_string* res,
    const mlx_vector_array outputs,
    const mlx_vector_array named,
    const char* const* names) {
  try {
    std::unordered_map<std::uintptr_t, std::string> by_id;
    for (const auto& a : arrays(named)) {
      by_id.emplace(a.id(), *names++);
    }
    mlx_string_set_(*res, draw(arrays(outputs), by_id));
    return 0;
  } catch (const std::exception& e) {
    mlx_error(e.what());
    return 1;
  } catch (...) {
    mlx_error("the graph could not be drawn");
    return 1;
  }
}

extern "C" int rust_mlx_check_constants(const mlx_vector_array outputs, const mlx_vector_array inputs) {
  try {
    std::unordered_set<std::uintptr_t> given;
    for (const auto& input : arrays(inputs)) {
      given.insert(input.id());
    }
    walk(arrays(outputs), [&](const mx::array& a) {
      if (a.has_primitive() || given.count(a.id())) {
        return;
      }
      if (a.status() == mx::array::Status::unscheduled) {
        throw std::invalid_argument("an array that the function uses belongs to another function");
      }
      // Waits for what is under way, and throws what it failed with.
      mx::array(a).wait();
      if (!a.data_shared_ptr() || (a.nbytes() && !a.data<char>())) {
        throw std::invalid_argument("an array that the function captures could not be computed");
      }
      mx::Strides::value_type expected = 1;
      for (int axis = static_cast<int>(a.ndim()) - 1; a.size() && axis >= 0; --axis) {
        if (a.shape(axis) != 1 && a.strides(axis) != expected) {
          throw std::invalid_argument(
              "an array that the function captures is a view; make it contiguous before the function uses it");
        }
        expected *= a.shape(axis);
      }
    });
    return 0;
  } catch (const std::exception& e) {
    mlx_error(e.what());
    return 1;
  } catch (...) {
    mlx_error("the graph could not be read");
    return 1;
  }
}
