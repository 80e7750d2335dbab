/* Our own small native part beside mlx-c. */

#ifndef RUST_MLX_H
#define RUST_MLX_H

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

#ifdef __cplusplus
}
#endif

#endif
