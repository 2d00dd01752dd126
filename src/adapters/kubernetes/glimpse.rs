//! What is seen of the fleet by now, for those who show it: told from the first page of the first list on.

use std::sync::Arc;

use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::table::{Source, Table};
use crate::ports::runtime::{Glimpse, Glimpsed, Sight};

struct Looking {
    table: Arc<Table>,
    /// Nothing has been told yet, or not since something was missed.
    changes: Option<Receiver<Sight>>,
    whole: bool,
}

/// Never ends.
pub fn stream(table: Arc<Table>) -> BoxStream<'static, Glimpse> {
    let looking = Looking { table, changes: None, whole: false };
    stream::unfold(looking, |looking| next(looking).map(Some)).boxed()
}

async fn next(mut at: Looking) -> (Glimpse, Looking) {
    loop {
        let Some(changes) = &mut at.changes else {
            // first whether it is whole, so that what is told then is not older
            at.whole = is_whole(&at.table);
            let (seen, changes) = at.table.glimpse();
            at.changes = Some(changes);
            return (Glimpse::All { seen, whole: at.whole }, at);
        };
        let sight = tokio::select! {
            biased;
            sight = changes.recv() => sight,
            () = whole(&at.table), if !at.whole => {
                at.changes = None;
                continue;
            }
        };
        let glimpse = match sight {
            Ok(Sight::Changed(seen)) => {
                let since = at.table.since(&seen.agent);
                Glimpse::Changed(Glimpsed { seen, since })
            }
            Ok(Sight::Gone(agent)) => Glimpse::Gone(agent),
            // the sender lives in the table, as long as this does
            Ok(Sight::Resync) | Err(RecvError::Lagged(_) | RecvError::Closed) => {
                at.changes = None;
                continue;
            }
        };
        return (glimpse, at);
    }
}

fn is_whole(table: &Table) -> bool {
    [Source::Deployments, Source::Pods]
        .into_iter()
        .all(|source| table.standing(source).borrow().whole)
}

async fn whole(table: &Table) {
    for source in [Source::Deployments, Source::Pods] {
        drop(table.standing(source).subscribe().wait_for(|it| it.whole).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::kubernetes::judge;
    use crate::adapters::kubernetes::objects::Podded;
    use crate::model::id::AgentId;
    use crate::model::time::Time;
    use crate::ports::runtime::State;

    /// Made a second before it started.
    fn pod(name: &str) -> Podded {
        let started_at = Some(Time::from_millis(6_000));
        Podded { started_at, ..judge::tests::pod(name, 1, 5_000) }
    }

    #[tokio::test]
    async fn what_is_listed_is_told_before_all_is_and_a_pod_whose_deployment_may_come_is_not() {
        let table = Arc::new(Table::default());
        let mut feed = stream(table.clone());
        let mut next = async || feed.next().await.unwrap();
        assert_eq!(next().await, Glimpse::All { seen: Vec::new(), whole: false });
        let (copy, alone) = (AgentId::new("agent-pool-p-a").unwrap(), AgentId::new("b").unwrap());
        table.podded(&alone, pod("agent-b-7d"));
        table.podded(&copy, pod(copy.as_str()));
        let Glimpse::Changed(told) = next().await else { panic!("a change") };
        assert_eq!((&told.seen.agent, told.seen.state), (&copy, State::Running));
        assert_eq!(told.since, Some(Time::from_millis(5_000)));
        table.begin_deployments();
        table.end_deployments();
        let Glimpse::Changed(told) = next().await else { panic!("a change") };
        assert_eq!(
            (&told.seen.agent, told.seen.message.as_str()),
            (&alone, "its Deployment is gone")
        );
        table.stands(Source::Pods);
        let Glimpse::All { seen, whole } = next().await else { panic!("all") };
        assert_eq!((seen.len(), whole), (2, true));
        table.unpodded(&copy, copy.as_str());
        assert_eq!(next().await, Glimpse::Gone(copy));
    }
}
