//! Implementations of the ports: each depends on `model` and `ports` only, never on another adapter.

pub mod faulty;
#[cfg(target_os = "linux")]
pub mod local;
pub mod sqlite;
