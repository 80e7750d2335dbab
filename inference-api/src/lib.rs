//! inference-api
