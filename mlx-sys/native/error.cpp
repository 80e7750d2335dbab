// The error channel of mlx-c, in place of its own error.cpp.
//
// mlx-c reports a failure by calling _mlx_error with the exception's text as a printf format. Its own implementation
// would expand a '%' in that text (a file name is enough), keeps one handler for the whole process, and by default ends
// the process. This one stores the text as it is, per thread, and does nothing else.

#include <string>

#include "mlx/c/error.h"
#include "rust_mlx.h"

namespace {

struct LastError {
  bool fresh = false;
  std::string text;
};

thread_local LastError last_error;

} // namespace

// `format` is always a complete message: mlx-c passes no arguments after it. The place that is reported is mlx-c's own
// source line, which helps nobody above it.
extern "C" void _mlx_error(const char*, const int, const char* format, ...) {
  // A failure to store the message (no memory left) must not become an exception that crosses into C.
  try {
    last_error.text = format ? format : "";
    last_error.fresh = true;
  } catch (...) {
    last_error.fresh = false;
  }
}

// Part of mlx-c's API. There is no handler to set here: failures are kept for rust_mlx_take_error.
extern "C" void mlx_set_error_handler(mlx_error_handler_func, void* data, void (*dtor)(void*)) {
  if (dtor) {
    dtor(data);
  }
}

extern "C" const char* rust_mlx_take_error(void) {
  if (!last_error.fresh) {
    return nullptr;
  }
  last_error.fresh = false;
  return last_error.text.c_str();
}
