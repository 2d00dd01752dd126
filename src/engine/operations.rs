//! Every mutation as an operation: planned, confirmed, written with what is wanted in one transaction, followed to its
//! end, undone. This module plans and confirms; the leader releases later batches and judges the steps by the fleet.

mod adopt;
mod agents;
mod apply;
pub(crate) mod confirm;
pub(crate) mod draft;
mod edit;
mod hosts;
mod judge;
mod messages;
mod migrate;
pub(crate) mod planner;
mod pools;
mod rehearse;
mod release;
pub(crate) mod resolve;
pub(crate) mod reversal;
mod scale;
mod undo;

pub(crate) use hosts::{CORDON, EVICT, UNCORDON};
pub use judge::{PROGRESS_DEADLINE, StepVerdict, judge};
pub use release::{Released, release};
