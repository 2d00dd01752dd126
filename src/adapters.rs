//! What the ports are made of in the real world. Each adapter depends on model and ports, never on another adapter.

pub mod sqlite;
