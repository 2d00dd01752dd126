//! Figures for Prometheus, under the names that the product's specification fixes; read from the view at each scrape, so
//! that a gauge can fall and survives a restart.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use strum::IntoEnumIterator;
use tokio_util::sync::CancellationToken;

use crate::engine::handle::Handle;
use crate::engine::view::FleetView;
use crate::model::agent::Phase;
use crate::model::id::OperationId;
use crate::model::message::MessageStatus;
use crate::ports::store::BoxError;

type Labels = Vec<(&'static str, String)>;
type Seconds = Family<Labels, Histogram, fn() -> Histogram>;

/// How many agents get their own usage series; more would make a series an agent.
const TOP: usize = 20;

/// Counters that grow while this process runs.
#[derive(Debug)]
pub struct Meters {
    operations: Family<Labels, Counter>,
    seconds: Seconds,
    deployed: Counter,
    seen: Mutex<HashSet<OperationId>>,
}

impl Default for Meters {
    fn default() -> Self {
        // 1 ms doubled 17 times: 131 s, so that a slow deployment is not all in +Inf
        let buckets: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 18));
        Self {
            operations: Family::default(),
            seconds: Family::new_with_constructor(buckets),
            deployed: Counter::default(),
            seen: Mutex::default(),
        }
    }
}

impl Meters {
    /// Counts operations and deployments as they show in the view, until `stop`.
    ///
    /// # Errors
    /// Never on its own; the signature is the supervisor's.
    pub async fn follow(
        self: Arc<Self>,
        handle: Handle,
        stop: CancellationToken,
    ) -> Result<(), BoxError> {
        let mut views = handle.views();
        let mut events = handle.events();
        // what was over before this process began is not counted again
        let old = views.borrow_and_update().clone();
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(over(&old).map(|row| row.id.clone()));
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                changed = views.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    let view = views.borrow_and_update().clone();
                    self.count(&view);
                }
                event = events.recv() => {
                    if event.is_ok_and(|event| event.kind == "agent.deployed") {
                        self.deployed.inc();
                    }
                }
            }
        }
    }

    fn count(&self, view: &FleetView) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for row in over(view) {
            if seen.insert(row.id.clone()) {
                let kind = row.kind.as_str().to_owned();
                let labels =
                    vec![("operation_type", kind.clone()), ("status", row.status.to_string())];
                self.operations.get_or_create(&labels).inc();
                if let Some(end) = row.finished_at {
                    let took = end.since(row.created_at).as_secs_f64();
                    self.seconds.get_or_create(&vec![("operation_type", kind)]).observe(took);
                }
            }
        }
        let present: HashSet<&OperationId> = view.operations.iter().map(|row| &row.id).collect();
        seen.retain(|id| present.contains(id));
    }

    /// The whole page in the OpenMetrics text format.
    ///
    /// # Errors
    /// When formatting fails, which a `String` never makes it.
    pub fn encode(&self, view: &FleetView) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("codevaldcortex");
        registry.register(
            "agent_operations",
            "Operations ended since this process began",
            self.operations.clone(),
        );
        registry.register(
            "agent_response_time_seconds",
            "Time from confirmation to end",
            self.seconds.clone(),
        );
        registry.register(
            "agents_deployed",
            "Agents deployed since this process began",
            self.deployed.clone(),
        );
        let set = |registry: &mut Registry, name: &str, help: &str, value: i64| {
            let gauge: Gauge = Gauge::default();
            gauge.set(value);
            registry.register(name, help, gauge);
        };
        let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        set(
            &mut registry,
            "agents_running",
            "Agents in phase running",
            whole(view.totals.phase(Phase::Running)),
        );
        set(
            &mut registry,
            "leader",
            "1 while this process leads",
            i64::from(view.system.leader.me),
        );
        set(
            &mut registry,
            "leader_epoch",
            "Changes of leader so far",
            whole(view.system.leader.epoch),
        );
        set(
            &mut registry,
            "store_up",
            "1 while the store answers",
            i64::from(view.system.store.ok),
        );
        set(
            &mut registry,
            "runtime_up",
            "1 while the runtime answers",
            i64::from(view.system.runtime.ok),
        );
        set(
            &mut registry,
            "stale",
            "1 while the picture is old",
            i64::from(view.stale_since.is_some()),
        );

        let phases = Family::<Labels, Gauge>::default();
        for phase in Phase::iter() {
            phases
                .get_or_create(&vec![("phase", phase.to_string())])
                .set(whole(view.totals.phase(phase)));
        }
        registry.register("agents", "Agents by phase", phases);
        let messages = Family::<Labels, Gauge>::default();
        for status in MessageStatus::iter() {
            messages
                .get_or_create(&vec![("status", status.to_string())])
                .set(whole(view.totals.messages(status)));
        }
        registry.register("messages", "Stored messages by status", messages);
        let loops = Family::<Labels, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
        for status in &view.system.loops {
            loops
                .get_or_create(&vec![("loop", status.name.as_str().to_owned())])
                .set(status.duration.as_secs_f64());
        }
        registry.register(
            "loop_duration_seconds",
            "How long the last turn of each loop took",
            loops,
        );
        registry.register(
            "agent_resource_usage",
            "Usage of the busiest agents: cores and bytes",
            usage(view),
        );
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(text)
    }
}

fn over(view: &FleetView) -> impl Iterator<Item = &Arc<crate::engine::view::OperationRow>> {
    view.operations.iter().filter(|row| row.status.is_over())
}

fn usage(view: &FleetView) -> Family<Labels, Gauge<f64, std::sync::atomic::AtomicU64>> {
    let family = Family::<Labels, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
    let mut busy: Vec<_> =
        view.agents.iter().filter_map(|row| Some((row.usage?, &row.id))).collect();
    busy.sort_by(|a, b| b.0.cpu_millis.cmp(&a.0.cpu_millis).then_with(|| a.1.cmp(b.1)));
    for (usage, id) in busy.into_iter().take(TOP) {
        let labels =
            |kind: &str| vec![("agent_id", id.to_string()), ("resource_type", kind.to_owned())];
        #[expect(
            clippy::cast_precision_loss,
            reason = "a gauge is a float; 53 bits of bytes are enough"
        )]
        let (cores, bytes) = (usage.cpu_millis as f64 / 1_000.0, usage.memory_bytes as f64);
        family.get_or_create(&labels("cpu_cores")).set(cores);
        family.get_or_create(&labels("memory_bytes")).set(bytes);
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::view::Totals;
    use std::collections::BTreeMap;

    #[test]
    fn the_names_are_those_of_the_contract() {
        let totals = Totals { phases: BTreeMap::from([(Phase::Running, 3)]), ..Totals::default() };
        let meters = Meters::default();
        meters
            .operations
            .get_or_create(&vec![
                ("operation_type", "scale".into()),
                ("status", "succeeded".into()),
            ])
            .inc();
        meters.seconds.get_or_create(&vec![("operation_type", "scale".into())]).observe(0.2);
        let text = meters.encode(&FleetView { totals, ..FleetView::default() }).unwrap();
        for line in [
            "codevaldcortex_agents_running 3",
            "codevaldcortex_agents_deployed_total 0",
            "codevaldcortex_agent_operations_total{operation_type=\"scale\",status=\"succeeded\"} 1",
            "codevaldcortex_agent_response_time_seconds_bucket{le=\"131.072\",operation_type=\"scale\"} 1",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
