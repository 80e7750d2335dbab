//! mlx-models
