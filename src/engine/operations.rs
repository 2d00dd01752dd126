//! Every mutation as an operation: planned, confirmed, written with what is wanted in one transaction, followed to its
//! end, undone. This module plans and confirms; the leader releases later batches and judges the steps by the fleet.

mod judge;
mod release;

pub use judge::{PROGRESS_DEADLINE, StepVerdict, judge};
pub use release::{Released, release};
