// Arrays whose memory the caller fills.

#include <exception>
#include <utility>

#include "mlx/allocator.h"
#include "mlx/c/error.h"
#include "mlx/c/private/mlx.h"
#include "rust_mlx.h"

extern "C" int rust_mlx_array_allocate(
    mlx_array* res,
    const int* shape,
    size_t ndim,
    mlx_dtype dtype,
    size_t nbytes,
    void** data) {
  try {
    auto buffer = mlx::core::allocator::malloc(nbytes);
    // On the CPU the allocator gives what malloc gives, and nobody else looks.
    if (nbytes != 0 && !buffer.ptr()) {
      mlx_error("no memory is left");
      return 1;
    }
    mlx::core::array array(buffer, mlx::core::Shape(shape, shape + ndim), mlx_dtype_to_cpp(dtype));
    *data = buffer.raw_ptr();
    mlx_array_set_(*res, std::move(array));
    return 0;
  } catch (const std::exception& e) {
    mlx_error(e.what());
    return 1;
  } catch (...) {
    mlx_error("the array could not be made");
    return 1;
  }
}
