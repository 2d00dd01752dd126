//! The only traits between the engine and the world. Depends on `model`, never on an adapter.

pub mod clock;
pub mod ids;
pub mod runtime;
pub mod site;
pub mod store;
