//! `cvxc`: a terminal operations console with an embedded coordination engine for fleets of agents.
//!
//! The code map, from the inside out (an arrow means "may be used by"):
//! `model → ports → engine → {tui, gateway, cli, agent} → boot`, and `ports → adapters → boot`.
//! `tests/architecture.rs` holds these arrows. Invariants: `model` is pure; the engine knows ports and
//! never adapters; every mutation is an operation written by `engine::journal`; text that others wrote
//! reaches a screen, a log or a clipboard only as [`model::text::Safe`].

pub mod adapters;
pub mod agent;
pub mod boot;
pub mod cli;
pub mod engine;
pub mod gateway;
pub mod model;
pub mod ports;
pub mod settings;
pub mod telemetry;
pub mod tui;
