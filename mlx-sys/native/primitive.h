// Primitives that are written in Rust, as the rest of this folder sees them.

#ifndef RUST_MLX_PRIMITIVE_H
#define RUST_MLX_PRIMITIVE_H

namespace mlx::core {
class Primitive;
}

// Whether a primitive of the graph is one that Rust wrote.
bool is_written_in_rust(const mlx::core::Primitive& primitive);

#endif
