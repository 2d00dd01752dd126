//! The coordination engine: keeps a fleet as its operators want it. Knows the ports, never an adapter.
//!
//! Every process embeds one; all of them meet in the store. The one that holds the leader lease runs the loops.

pub mod authorize;
pub mod autoscale;
pub mod brake;
pub mod context;
pub mod core;
mod crash;
pub mod documents;
pub mod external;
pub mod fenced;
pub mod fields;
pub mod forward;
pub mod handle;
pub mod health;
pub mod journal;
pub mod leadership;
pub mod messaging;
pub mod mirror;
pub mod operations;
pub mod pubsub;
pub mod queries;
pub mod reconcile;
pub mod retention;
mod row_watch;
pub mod run;
pub mod supervise;
pub mod templates;
#[cfg(test)]
pub mod testing;
pub mod view;
