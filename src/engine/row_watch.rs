//! Views as the leader's loops hear of them: a new picture of store, lease and loops alone, which comes every few
//! seconds, wakes nobody who decides on rows.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::sync::watch::error::RecvError;

use super::context::Context;
use super::view::FleetView;

pub struct RowWatch {
    views: watch::Receiver<Arc<FleetView>>,
    seen: Arc<FleetView>,
}

impl RowWatch {
    /// From the view of now on.
    pub fn of(ctx: &Context) -> Self {
        let mut views = ctx.views.subscribe();
        let seen = views.borrow_and_update().clone();
        Self { views, seen }
    }

    /// Waits until a row, the store's being there or the list's completeness is another than it was. Cancel-safe.
    ///
    /// # Errors
    /// When there will be no more views.
    pub async fn changed(&mut self) -> Result<(), RecvError> {
        loop {
            self.views.changed().await?;
            let view = self.views.borrow_and_update().clone();
            let told = differs(&self.seen, &view);
            self.seen = view;
            if told {
                return Ok(());
            }
        }
    }

    /// What has come by now was seen.
    pub fn caught_up(&mut self) {
        self.seen = self.views.borrow_and_update().clone();
    }
}

fn differs(was: &FleetView, is: &FleetView) -> bool {
    !(Arc::ptr_eq(&was.agents, &is.agents)
        && Arc::ptr_eq(&was.pools, &is.pools)
        && Arc::ptr_eq(&was.templates, &is.templates)
        && Arc::ptr_eq(&was.subscriptions, &is.subscriptions)
        && Arc::ptr_eq(&was.operations, &is.operations))
        || (was.loaded, was.stale_since) != (is.loaded, is.stale_since)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::engine::testing::World;

    #[tokio::test(start_paused = true)]
    async fn only_what_loops_decide_on_wakes_them() {
        let world = World::new();
        let mut rows = RowWatch::of(&world.ctx);
        let now = world.ctx.view();
        let tell = |view: FleetView| world.ctx.views.send_replace(Arc::new(view));
        tell(FleetView { version: 7, system: Arc::default(), ..(*now).clone() });
        assert!(timeout(Duration::from_secs(60), rows.changed()).await.is_err());
        tell(FleetView { loaded: !now.loaded, ..(*now).clone() });
        timeout(Duration::from_secs(60), rows.changed()).await.unwrap().unwrap();
        tell(FleetView { operations: Arc::from([]), ..(*world.ctx.view()).clone() });
        timeout(Duration::from_secs(60), rows.changed()).await.unwrap().unwrap();
        tell(FleetView { agents: Arc::from([]), ..(*world.ctx.view()).clone() });
        rows.caught_up();
        assert!(timeout(Duration::from_secs(60), rows.changed()).await.is_err());
    }
}
