//! The operator's console: a page stack drawn from immutable fleet snapshots. Sees the engine's handle and view and
//! the model; never an adapter, never a document that it changes itself.

pub mod action;
pub mod bookmarks;
pub mod bridge;
pub mod camera;
pub mod clipboard;
pub mod command;
pub mod effect;
pub mod event;
pub mod frame;
#[cfg(test)]
mod gallery;
pub mod history;
#[cfg(test)]
mod hostile;
pub mod input;
pub mod jumps;
pub mod keymap;
pub mod keys;
pub mod load;
pub mod notices;
pub mod pages;
pub mod perf;
pub mod picture;
pub mod plain;
pub mod recorder;
pub mod render;
pub mod run;
#[cfg(test)]
mod storm;
pub mod terminal;
#[cfg(test)]
mod testing;
pub mod theme;
pub mod ui;
pub mod update;
pub mod views;
pub mod widgets;
pub mod writer;

pub use pages::site::CLUSTER;
pub use run::{Ending, Options, Parting, Reread, check_files, run};
