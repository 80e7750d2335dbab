// Functions on streams that mlx-c does not carry.

#include <exception>

#include "mlx/c/error.h"
#include "mlx/stream.h"
#include "rust_mlx.h"

extern "C" int rust_mlx_clear_streams(void) {
  try {
    mlx::core::clear_streams();
    return 0;
  } catch (std::exception& e) {
    mlx_error(e.what());
    return 1;
  } catch (...) {
    mlx_error("clear_streams failed");
    return 1;
  }
}
