// A primitive whose behaviour is a table of functions: how operations written in Rust take their place in MLX's graph.

#include <algorithm>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "mlx/allocator.h"
#include "mlx/backend/cpu/encoder.h"
#include "mlx/c/error.h"
#include "mlx/c/private/mlx.h"
#include "mlx/primitives.h"
#include "primitive.h"
#include "rust_mlx.h"

namespace {

namespace mx = mlx::core;

// MLX's export tells primitives apart by their names alone: none of MLX's own may be among ours.
constexpr const char* PREFIX = "rust:";

// A vector of arrays lent to a callback, which takes references of its own to what it keeps.
class Lent {
 public:
  explicit Lent(const std::vector<mx::array>& arrays)
      : raw_{const_cast<std::vector<mx::array>*>(&arrays)} {}

  operator mlx_vector_array() const {
    return raw_;
  }

 private:
  mlx_vector_array raw_;
};

// A vector of arrays that a callback fills.
class Received {
 public:
  Received() : raw_{nullptr} {}
  Received(const Received&) = delete;
  Received& operator=(const Received&) = delete;

  ~Received() {
    mlx_vector_array_free(raw_);
  }

  mlx_vector_array* out() {
    return &raw_;
  }

  std::vector<mx::array> take(std::size_t expected) {
    if (!raw_.ctx || mlx_vector_array_get_(raw_).size() != expected) {
      throw std::runtime_error("a function of the primitive gave another number of arrays than it has to");
    }
    return std::move(mlx_vector_array_get_(raw_));
  }

 private:
  mlx_vector_array raw_;
};

// What a task on the stream's thread needs to know of an array. The memory itself is kept by MLX until the task is done.
struct Operand {
  explicit Operand(const mx::array& a)
      : data(const_cast<char*>(a.data<char>())),
        shape(a.shape()),
        strides(a.strides()),
        dtype(mlx_dtype_to_c(a.dtype())) {}

  rust_mlx_operand view() const {
    return {data, shape.data(), strides.data(), shape.size(), dtype};
  }

  char* data;
  mx::Shape shape;
  mx::Strides strides;
  mlx_dtype dtype;
};

std::vector<Operand> operands(const std::vector<mx::array>& arrays) {
  return {arrays.begin(), arrays.end()};
}

std::vector<rust_mlx_operand> views(const std::vector<Operand>& operands) {
  std::vector<rust_mlx_operand> views;
  views.reserve(operands.size());
  for (const auto& operand : operands) {
    views.push_back(operand.view());
  }
  return views;
}

// The payload and the functions that know it. MLX's graph holds it, and so do tasks that are under way.
class RustPrimitive : public mx::Primitive {
 public:
  RustPrimitive(mx::Stream stream, std::string name, void* payload, const rust_mlx_primitive_table& table)
      : mx::Primitive(stream), name_(std::move(name)), payload_(payload), table_(table) {}

  RustPrimitive(const RustPrimitive&) = delete;
  RustPrimitive& operator=(const RustPrimitive&) = delete;

  ~RustPrimitive() override {
    table_.drop(payload_);
  }

  void eval_cpu(const std::vector<mx::array>& inputs, std::vector<mx::array>& outputs) override {
    for (auto& out : outputs) {
      out.set_data(mx::allocator::malloc(out.nbytes()));
    }
    // An output may let go of its primitive before the task has run.
    auto self = outputs.at(0).primitive_ptr();
    if (self.get() != this) {
      throw std::runtime_error(own_name() + " is not the primitive of its outputs");
    }
    // What is thrown on the stream's thread comes out of the wait for it.
    mx::cpu::get_command_encoder(stream()).dispatch(
        [self = std::move(self), this, in = operands(inputs), out = operands(outputs)]() {
          const auto inputs = views(in);
          const auto outputs = views(out);
          char message[1024] = "";
          const int status = table_.eval(
              payload_, inputs.data(), inputs.size(), outputs.data(), outputs.size(), message, sizeof(message));
          if (status != 0) {
            throw std::runtime_error(message);
          }
        });
  }

  void eval_gpu(const std::vector<mx::array>&, std::vector<mx::array>&) override {
    throw std::runtime_error(own_name() + " has no kernel for the GPU; evaluate it on a CPU stream");
  }

  std::vector<mx::array> vjp(
      const std::vector<mx::array>& primals,
      const std::vector<mx::array>& cotangents,
      const std::vector<int>& argnums,
      const std::vector<mx::array>& outputs) override {
    Received gradients;
    check(
        "vjp",
        table_.vjp(
            gradients.out(),
            payload_,
            Lent(primals),
            Lent(cotangents),
            argnums.data(),
            argnums.size(),
            Lent(outputs)));
    return gradients.take(argnums.size());
  }

  std::vector<mx::array> jvp(
      const std::vector<mx::array>& primals,
      const std::vector<mx::array>& tangents,
      const std::vector<int>& argnums) override {
    Received derivatives;
    check(
        "jvp",
        table_.jvp(
            derivatives.out(),
            payload_,
            Lent(primals),
            Lent(tangents),
            argnums.data(),
            argnums.size()));
    return derivatives.take(number_of_axes_.size());
  }

  std::pair<std::vector<mx::array>, std::vector<int>> vmap(
      const std::vector<mx::array>& inputs,
      const std::vector<int>& axes) override {
    Received outputs;
    std::vector<int> output_axes(number_of_axes_.size(), 0);
    check(
        "vmap",
        table_.vmap(
            outputs.out(),
            output_axes.data(),
            payload_,
            Lent(inputs),
            axes.data(),
            output_axes.size()));
    return {outputs.take(number_of_axes_.size()), std::move(output_axes)};
  }

  const char* name() const override {
    return name_.c_str();
  }

  bool is_equivalent(const mx::Primitive& other) const override {
    // MLX compares only primitives of one C++ type.
    const auto& same = static_cast<const RustPrimitive&>(other);
    return table_.is_equivalent(payload_, same.payload_);
  }

  std::vector<mx::Shape> output_shapes(const std::vector<mx::array>& inputs) override {
    std::vector<mx::Shape> shapes;
    auto add = [](void* shapes, const int* shape, std::size_t ndim) {
      static_cast<std::vector<mx::Shape>*>(shapes)->emplace_back(shape, shape + ndim);
    };
    check("output_shapes", table_.output_shapes(payload_, Lent(inputs), &shapes, add));
    if (shapes.size() != number_of_axes_.size()) {
      throw std::runtime_error(own_name() + " has another number of outputs than before");
    }
    for (std::size_t i = 0; i < shapes.size(); ++i) {
      // What follows in the graph names axes of the output that it was built with.
      if (shapes[i].size() != number_of_axes_[i]) {
        throw std::runtime_error(own_name() + " has outputs with another number of axes than before");
      }
    }
    return shapes;
  }

  void set_outputs(const std::vector<mx::Shape>& shapes) {
    number_of_axes_.reserve(shapes.size());
    for (const auto& shape : shapes) {
      number_of_axes_.push_back(shape.size());
    }
  }

 private:
  void check(const char* function, int status) const {
    if (status != 0) {
      throw std::runtime_error(own_name() + ": " + function + " failed");
    }
  }

  // As its author calls it.
  std::string own_name() const {
    return name_.substr(std::strlen(PREFIX));
  }

  const std::string name_;
  void* const payload_;
  const rust_mlx_primitive_table& table_;
  // Of each output.
  std::vector<std::size_t> number_of_axes_;
};

} // namespace

bool is_written_in_rust(const mx::Primitive& primitive) {
  return dynamic_cast<const RustPrimitive*>(&primitive) != nullptr;
}

extern "C" int rust_mlx_primitive(
    mlx_array* res,
    const char* name,
    size_t name_length,
    void* payload,
    const rust_mlx_primitive_table* table,
    const mlx_array* inputs,
    size_t inputs_num,
    const rust_mlx_operand* outputs,
    size_t outputs_num,
    const mlx_stream stream) {
  std::shared_ptr<RustPrimitive> primitive;
  try {
    auto full_name = PREFIX + std::string(name, name_length);
    primitive = std::make_shared<RustPrimitive>(mlx_stream_get_(stream), std::move(full_name), payload, *table);
  } catch (...) {
    table->drop(payload);
    mlx_error("no memory is left for a primitive");
    return 1;
  }
  try {
    std::vector<mx::array> operands;
    operands.reserve(inputs_num);
    for (size_t i = 0; i < inputs_num; ++i) {
      operands.push_back(mlx_array_get_(inputs[i]));
    }
    std::vector<mx::Shape> shapes;
    std::vector<mx::Dtype> dtypes;
    shapes.reserve(outputs_num);
    dtypes.reserve(outputs_num);
    for (size_t i = 0; i < outputs_num; ++i) {
      shapes.emplace_back(outputs[i].shape, outputs[i].shape + outputs[i].ndim);
      dtypes.push_back(mlx_dtype_to_cpp(outputs[i].dtype));
    }
    primitive->set_outputs(shapes);
    auto arrays = mx::array::make_arrays(std::move(shapes), dtypes, primitive, std::move(operands));
    for (size_t i = 0; i < outputs_num; ++i) {
      mlx_array_set_(res[i], std::move(arrays[i]));
    }
    return 0;
  } catch (const std::exception& e) {
    mlx_error(e.what());
    return 1;
  } catch (...) {
    mlx_error("the primitive could not be made");
    return 1;
  }
}
