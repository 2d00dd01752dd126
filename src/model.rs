//! What a fleet is. Pure: no async, no clock, no I/O, no logging.

pub mod access;
pub mod agent;
pub mod event;
pub mod filter;
pub mod health;
pub mod id;
pub mod manifest;
pub mod message;
pub mod operation;
pub mod pattern;
pub mod plan;
pub mod pool;
pub mod pubsub;
pub mod quantity;
pub mod scaling;
pub mod schema;
pub mod template;
pub mod text;
pub mod time;
pub mod workload;
