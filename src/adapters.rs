//! Implementations of the ports: each depends on `model` and `ports` only, never on another adapter.

pub mod arango;
pub mod faulty;
pub mod kubernetes;
#[cfg(target_os = "linux")]
pub mod local;
#[cfg(not(target_os = "linux"))]
#[path = "adapters/local_elsewhere.rs"]
pub mod local;
pub mod simulated;
pub mod sqlite;
