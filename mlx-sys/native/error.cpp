// The error channel of mlx-c, in place of its own error.cpp.
//
// mlx-c reports a failure by calling _mlx_error with the exception's text as a printf format. Its own implementation
// would expand a '%' in that text (a file name is enough), keeps one handler for the whole process, and by default ends
// the process. This one stores the text as it is, per thread, and does nothing else.

#include <cstddef>
#include <cstring>

#include "mlx/c/error.h"
#include "rust_mlx.h"

namespace {

// Plain storage without a destructor: an operation may fail while the thread's other thread-locals are being destroyed.
// Longer messages are cut.
constexpr std::size_t capacity = 4096;
thread_local char text[capacity];
thread_local bool fresh = false;

} // namespace

// `format` is always a complete message: mlx-c passes no arguments after it. The place that is reported is mlx-c's own
// source line, which helps nobody above it.
extern "C" void _mlx_error(const char*, const int, const char* format, ...) {
  std::strncpy(text, format ? format : "", capacity - 1);
  text[capacity - 1] = '\0';
  fresh = true;
}

// Part of mlx-c's API. There is no handler to set here: failures are kept for rust_mlx_take_error.
extern "C" void mlx_set_error_handler(mlx_error_handler_func, void* data, void (*dtor)(void*)) {
  if (dtor) {
    dtor(data);
  }
}

extern "C" const char* rust_mlx_take_error(void) {
  if (!fresh) {
    return nullptr;
  }
  fresh = false;
  return text;
}
