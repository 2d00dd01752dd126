//! Where new ids come from.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

/// Draws UUIDs of version 7, so that ids sort by age. Shared as `Arc<dyn Ids>`.
pub trait Ids: fmt::Debug + Send + Sync {
    fn draw(&self) -> Uuid;
}

/// Real ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomIds;

impl RandomIds {
    pub fn shared() -> Arc<dyn Ids> {
        Arc::new(Self)
    }
}

impl Ids for RandomIds {
    fn draw(&self) -> Uuid {
        Uuid::now_v7()
    }
}
