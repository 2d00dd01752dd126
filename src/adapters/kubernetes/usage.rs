//! What agents use, by metrics.k8s.io where the cluster has it: all containers of a pod summed. Missing is not zero.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time as Stamp;
use kube::api::ListParams;
use kube::core::Request;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::client::Cluster;
use super::fault::Kind;
use super::objects::{APP, time};
use crate::model::health::Usage;
use crate::ports::runtime::RuntimeError;

const PATH: &str = "/apis/metrics.k8s.io/v1beta1/namespaces";
/// Metrics are made every 10 to 60 s: asking more often than this would tell nothing new.
const FRESH: Duration = Duration::from_secs(5);
/// A cluster without the API is asked again after this long.
const ABSENT: Duration = Duration::from_secs(60);

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct List {
    items: Vec<Item>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Item {
    metadata: Meta,
    timestamp: Option<Stamp>,
    containers: Vec<Container>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Meta {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    usage: Amounts,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Amounts {
    pub cpu: String,
    pub memory: String,
}

/// The last figures, by pod.
#[derive(Debug, Default)]
struct Last {
    asked: Option<Instant>,
    absent: bool,
    by_pod: HashMap<String, Usage>,
}

#[derive(Debug, Default)]
pub struct Meter(Mutex<Last>);

impl Meter {
    /// The usage of each of `pods` that has one; one request serves everybody who asks within a moment.
    ///
    /// # Errors
    /// Those of the API server; a cluster that has no metrics is none.
    pub async fn of(
        &self,
        cluster: &Cluster,
        now: Instant,
        pods: &[String],
    ) -> Result<Vec<Option<Usage>>, RuntimeError> {
        let mut last = self.0.lock().await;
        let fresh = if last.absent { ABSENT } else { FRESH };
        if last.asked.is_none_or(|asked| now.saturating_duration_since(asked) >= fresh) {
            match ask(cluster).await? {
                Some(by_pod) => (last.by_pod, last.absent) = (by_pod, false),
                None => (last.by_pod, last.absent) = (HashMap::new(), true),
            }
            last.asked = Some(now);
        }
        Ok(pods.iter().map(|pod| last.by_pod.get(pod).copied()).collect())
    }

    /// Whether the cluster is known to have no metrics.
    pub async fn is_absent(&self) -> bool {
        self.0.lock().await.absent
    }
}

async fn ask(cluster: &Cluster) -> Result<Option<HashMap<String, Usage>>, RuntimeError> {
    let params = ListParams::default().labels(&format!("{}={}", APP.0, APP.1));
    let request = Request::new(format!("{PATH}/{}/pods", cluster.namespace)).list(&params);
    let request = request.map_err(|error| RuntimeError::Unavailable(Box::new(error)))?;
    let answer = cluster.ask(Kind::Read, cluster.client.request::<List>(request)).await;
    match answer {
        Ok(list) => {
            let sum = |item: Item| Some((item.metadata.name.clone(), sum(&item)?));
            Ok(Some(list.items.into_iter().filter_map(sum).collect()))
        }
        // 404: there is no such API
        Err(RuntimeError::Rejected { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

fn sum(item: &Item) -> Option<Usage> {
    let at = time(item.timestamp.as_ref()?);
    let mut nanos = 0_u128;
    let mut bytes = 0_u128;
    for container in &item.containers {
        nanos += billionths(&container.usage.cpu)?;
        bytes += billionths(&container.usage.memory)? / 1_000_000_000;
    }
    let cpu_millis = u64::try_from(nanos / 1_000_000).unwrap_or(u64::MAX);
    let memory_bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
    (!item.containers.is_empty()).then_some(Usage { at, cpu_millis, memory_bytes })
}

/// A quantity as metrics write it (`1234567n`, `12m`, `64Mi`, `1.5`), in billionths of its unit; finer than what templates
/// may ask for, so that a model's own parser is too strict for it.
pub fn billionths(text: &str) -> Option<u128> {
    const ONE: u128 = 1_000_000_000;
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "n" => 1,
        "u" => 1_000,
        "m" => 1_000_000,
        "" => ONE,
        "k" => ONE * 1_000,
        "M" => ONE * 1_000_000,
        "G" => ONE * 1_000_000_000,
        "T" => ONE * 1_000_000_000_000,
        "Ki" => ONE << 10,
        "Mi" => ONE << 20,
        "Gi" => ONE << 30,
        "Ti" => ONE << 40,
        _ => return None,
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let part: String = part.chars().take(9).collect();
    let scale = 10_u128.pow(u32::try_from(part.len()).ok()?);
    let number = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u64>().ok() };
    let value = u128::from(number(whole)?).checked_mul(scale)? + u128::from(number(&part)?);
    value.checked_mul(factor).map(|value| value / scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn all_containers_of_a_pod_count_and_nothing_known_is_not_zero() {
        let item = |containers: serde_json::Value| -> Option<Usage> {
            let item = json!({"metadata": {"name": "p"}, "timestamp": "2026-11-21T03:04:05Z", "containers": containers});
            sum(&serde_json::from_value(item).unwrap())
        };
        let two = item(json!([
            {"name": "agent", "usage": {"cpu": "249500000n", "memory": "64Mi"}},
            {"name": "side", "usage": {"cpu": "1m", "memory": "1024Ki"}},
        ]));
        let two = two.unwrap();
        assert_eq!((two.cpu_millis, two.memory_bytes), (250, 65 << 20));
        assert_eq!(two.at.to_string(), "2026-11-21T03:04:05.000Z");
        assert_eq!(item(json!([])), None);
        assert_eq!(item(json!([{"name": "agent", "usage": {"cpu": "lots", "memory": "1"}}])), None);
    }

    #[test]
    fn quantities_are_read_in_every_form_that_metrics_use() {
        for (text, nanos) in [
            ("1", 1_000_000_000),
            ("1.5", 1_500_000_000),
            ("12m", 12_000_000),
            ("7u", 7_000),
            ("3n", 3),
            ("1.5Ki", 1_536_000_000_000),
            ("0", 0),
        ] {
            assert_eq!(billionths(text), Some(nanos), "{text}");
        }
        for text in ["", "-1", "1e3", "1Xi", "99999999999999999999", "."] {
            assert!(billionths(text).is_none_or(|n| n == 0), "{text}");
        }
    }
}
