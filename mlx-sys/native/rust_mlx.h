/* Our own small native part beside mlx-c. */

#ifndef RUST_MLX_H
#define RUST_MLX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mlx/c/array.h"
#include "mlx/c/stream.h"
#include "mlx/c/string.h"
#include "mlx/c/vector.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Takes the message of the last failure on the calling thread.
 *
 * Returns a NUL-terminated string that stays valid until the next failure or the next call of this function on the
 * same thread, or NULL if nothing has failed since the last call.
 */
const char* rust_mlx_take_error(void);

/**
 * Ends the streams that the calling thread made. Worker threads of CPU streams stay.
 *
 * MLX keeps a stream for the life of the process unless its thread asks for this before it ends. Nothing that was
 * scheduled on those streams may be unevaluated. Returns 0 on success.
 */
int rust_mlx_clear_streams(void);

/**
 * An array as a primitive sees it: `data` is its first element, strides count elements and may be negative or 0.
 */
typedef struct rust_mlx_operand_ {
  void* data;
  const int* shape;
  const int64_t* strides;
  size_t ndim;
  mlx_dtype dtype;
} rust_mlx_operand;

/**
 * What a primitive does. Functions that return `int` return 0 on success.
 *
 * `eval` and `drop` are called on any thread, the others on the thread that builds the graph. Vectors that are passed
 * in are lent for the call; a vector that is filled passes to the caller.
 */
typedef struct rust_mlx_primitive_table_ {
  /**
   * Computes the outputs, which are row-major and hold anything at first. A failure is told by a NUL-terminated
   * `message` of at most `capacity` bytes.
   */
  int (*eval)(
      const void* payload,
      const rust_mlx_operand* inputs,
      size_t inputs_num,
      const rust_mlx_operand* outputs,
      size_t outputs_num,
      char* message,
      size_t capacity);
  /** Fills `res` with one gradient for each of `argnums`. */
  int (*vjp)(
      mlx_vector_array* res,
      const void* payload,
      const mlx_vector_array primals,
      const mlx_vector_array cotangents,
      const int* argnums,
      size_t argnums_num,
      const mlx_vector_array outputs);
  /** Fills `res` with one derivative for each output; `tangents` belong to the inputs `argnums`. */
  int (*jvp)(
      mlx_vector_array* res,
      const void* payload,
      const mlx_vector_array primals,
      const mlx_vector_array tangents,
      const int* argnums,
      size_t argnums_num);
  /** Fills `res` and `output_axes` with the outputs; an input with axis -1 is not mapped. */
  int (*vmap)(
      mlx_vector_array* res,
      int* output_axes,
      const void* payload,
      const mlx_vector_array inputs,
      const int* axes,
      size_t outputs_num);
  /** Calls `add(shapes, shape, ndim)` for each output. */
  int (*output_shapes)(
      const void* payload,
      const mlx_vector_array inputs,
      void* shapes,
      void (*add)(void* shapes, const int* shape, size_t ndim));
  /** Whether two primitives compute the same from the same inputs. */
  bool (*is_equivalent)(const void* payload, const void* other);
  /** Ends the payload's life. */
  void (*drop)(void* payload);
} rust_mlx_primitive_table;

/**
 * Puts a primitive into the graph and fills the handles at `res`, which are empty or live, with its outputs, whose shapes and
 * dtypes `outputs` tells. After a failure some may be filled.
 *
 * `payload` passes to the primitive, also when this fails; the name is copied, and the table lives as long as the process.
 * Returns 0 on success.
 */
int rust_mlx_primitive(
    mlx_array* res,
    const char* name,
    size_t name_length,
    void* payload,
    const rust_mlx_primitive_table* table,
    const mlx_array* inputs,
    size_t inputs_num,
    const rust_mlx_operand* outputs,
    size_t outputs_num,
    const mlx_stream stream);

/**
 * Checks what a compiled function without fixed shapes gave for `inputs`.
 *
 * MLX builds its graph for new shapes without the checks that the operations make. Fails, with a message, if a node
 * between `outputs` and `inputs` is not known to read inside its inputs whatever their shapes, or has shapes that do not
 * go together. Returns 0 on success.
 */
int rust_mlx_check_shapeless(const mlx_vector_array inputs, const mlx_vector_array outputs);

/**
 * Fills `res` with an array of `nbytes` bytes, which are what `shape` and `dtype` make, and `data` with where they are. They
 * hold anything until the caller has written them, which it does before anything else refers to the array. Returns 0 on
 * success.
 */
int rust_mlx_array_allocate(
    mlx_array* res,
    const int* shape,
    size_t ndim,
    mlx_dtype dtype,
    size_t nbytes,
    void** data);

/**
 * Draws the graph behind `outputs` in Graphviz's language; there is one of `names` for each of the arrays in `named`.
 * Returns 0 on success.
 */
int rust_mlx_graph_to_dot(
    mlx_string* res,
    const mlx_vector_array outputs,
    const mlx_vector_array named,
    const char* const* names);

/**
 * Whether the arrays that the graph behind `outputs` starts with, other than `inputs`, are computed and row-major: MLX's
 * export writes their memory as if they were. Returns 0 if so.
 */
int rust_mlx_check_constants(const mlx_vector_array outputs, const mlx_vector_array inputs);

#ifdef __cplusplus
}
#endif

#endif
