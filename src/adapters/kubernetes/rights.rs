//! What we may do in the cluster, as it says itself: one SelfSubjectAccessReview for each verb that some action needs.

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Api;
use kube::api::PostParams;

use super::client::Cluster;
use super::fault::Kind;
use crate::ports::runtime::RuntimeError;
use crate::ports::site::{Allowance, Use};

/// Questions under way at once.
const AT_ONCE: usize = 16;

struct Needed {
    resource: &'static str,
    group: &'static str,
    /// `name/subresource` as it is written in a role.
    shown: &'static str,
    verbs: &'static [&'static str],
    need: Use,
    purpose: &'static str,
    optional: bool,
    everywhere: bool,
}

const fn needed(
    shown: &'static str,
    group: &'static str,
    verbs: &'static [&'static str],
    need: Use,
    purpose: &'static str,
) -> Needed {
    Needed {
        resource: shown,
        group,
        shown,
        verbs,
        need,
        purpose,
        optional: false,
        everywhere: false,
    }
}

const fn optional(needed: Needed, everywhere: bool) -> Needed {
    Needed { optional: true, everywhere, ..needed }
}

/// Everything that is asked of the cluster; `config/deploy/kubernetes/rights*.yaml` grant exactly these.
const NEEDED: &[Needed] = &[
    needed(
        "deployments",
        "apps",
        &["get", "list", "watch", "create", "patch", "delete"],
        Use::Run,
        "agents are Deployments: made, changed, followed and removed",
    ),
    needed(
        "pods",
        "",
        &["get", "list", "watch", "create", "delete"],
        Use::Run,
        "what became of an agent; dry runs in a plan; shorter graces",
    ),
    needed(
        "horizontalpodautoscalers",
        "autoscaling",
        &["get", "create", "patch", "delete"],
        Use::Pools,
        "autoscalers of pools in hpa mode",
    ),
    needed("pods/log", "", &["get"], Use::Logs, "logs of agents"),
    needed("pods/exec", "", &["get", "create"], Use::Shell, "exec and shell"),
    needed("pods/portforward", "", &["get", "create"], Use::PortForward, "port-forward"),
    needed("pods/eviction", "", &["create"], Use::HostsManage, "draining a host"),
    needed("events", "", &["list"], Use::Events, "the cluster's events in describe"),
    needed("resourcequotas", "", &["list"], Use::Plans, "quotas in a plan"),
    optional(
        needed("pods", "metrics.k8s.io", &["get", "list"], Use::Usage, "what agents use"),
        false,
    ),
    optional(
        needed(
            "nodes",
            "",
            &["get", "list", "watch"],
            Use::Hosts,
            "hosts, and agents on dead ones",
        ),
        true,
    ),
    optional(needed("nodes", "", &["patch"], Use::HostsManage, "closing and opening hosts"), true),
    optional(needed("nodes", "metrics.k8s.io", &["list"], Use::Hosts, "what hosts use"), true),
    optional(
        needed(
            "namespaces",
            "",
            &["get", "list"],
            Use::Namespaces,
            "namespaces, and that ours is gone",
        ),
        true,
    ),
];

/// A question with its answer: whether it is allowed, and why not.
type Answered = (&'static Needed, &'static str, Result<(Option<bool>, String), RuntimeError>);

/// # Errors
/// Those of the API server when it answers none of the questions.
pub async fn allowances(cluster: &Cluster) -> Result<Vec<Allowance>, RuntimeError> {
    let mut asked: Vec<BoxFuture<'_, Answered>> = Vec::new();
    for it in NEEDED {
        for verb in it.verbs {
            asked.push(async move { (it, *verb, may(cluster, it, verb).await) }.boxed());
        }
    }
    // in the order of the table, whatever comes first
    let answers: Vec<_> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let mut all = Vec::with_capacity(answers.len());
    let mut failed = None;
    for (it, verb, answer) in answers {
        let (allowed, reason) = match answer {
            Ok(answer) => answer,
            Err(error) => {
                let reason = crate::ports::store::chain(&error);
                failed = Some(error);
                (None, reason)
            }
        };
        all.push(Allowance {
            verb: verb.to_owned(),
            resource: named(it).to_owned(),
            need: it.need,
            purpose: it.purpose.to_owned(),
            optional: it.optional,
            allowed,
            reason,
        });
    }
    match failed {
        Some(error) if all.iter().all(|it| it.allowed.is_none()) => Err(error),
        _ => Ok(all),
    }
}

/// As a role names it, with the group where it has one.
fn named(it: &Needed) -> &'static str {
    match (it.shown, it.group) {
        ("pods", "metrics.k8s.io") => "pods.metrics.k8s.io",
        ("nodes", "metrics.k8s.io") => "nodes.metrics.k8s.io",
        ("deployments", _) => "deployments.apps",
        ("horizontalpodautoscalers", _) => "horizontalpodautoscalers.autoscaling",
        (shown, _) => shown,
    }
}

async fn may(
    cluster: &Cluster,
    it: &Needed,
    verb: &str,
) -> Result<(Option<bool>, String), RuntimeError> {
    let (resource, subresource) = match it.resource.split_once('/') {
        Some((resource, sub)) => (resource, Some(sub.to_owned())),
        None => (it.resource, None),
    };
    let attributes = ResourceAttributes {
        group: Some(it.group.to_owned()),
        namespace: (!it.everywhere).then(|| cluster.namespace.clone()),
        resource: Some(resource.to_owned()),
        subresource,
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(attributes),
        ..SelfSubjectAccessReviewSpec::default()
    };
    let review = SelfSubjectAccessReview { spec, ..SelfSubjectAccessReview::default() };
    let api: Api<SelfSubjectAccessReview> = Api::all(cluster.client.clone());
    let answer = cluster.ask(Kind::Read, api.create(&PostParams::default(), &review)).await?;
    let status = answer.status.unwrap_or_default();
    let reason = status.reason.filter(|_| !status.allowed).unwrap_or_default();
    Ok((Some(status.allowed), reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHTS: [&str; 2] = [
        include_str!("../../../config/deploy/kubernetes/rights.yaml"),
        include_str!("../../../config/deploy/kubernetes/rights-cluster.yaml"),
    ];

    /// Whether some line of a manifest grants it.
    fn granted(text: &str, it: &Needed, verb: &str) -> bool {
        let list = |line: &str, name: &str| -> Vec<String> {
            let rest = line.split_once(&format!("{name}: [")).map(|(_, rest)| rest);
            let inside =
                rest.and_then(|rest| rest.split_once(']')).map_or("", |(inside, _)| inside);
            inside.split(',').map(|word| word.trim().trim_matches('"').to_owned()).collect()
        };
        text.lines().any(|line| {
            let has = |name: &str, word: &str| list(line, name).iter().any(|it| it == word);
            has("apiGroups", it.group) && has("resources", it.shown) && has("verbs", verb)
        })
    }

    #[test]
    fn the_shipped_roles_grant_what_is_asked_for() {
        for it in NEEDED {
            let text = if it.everywhere { RIGHTS[1] } else { RIGHTS[0] };
            for verb in it.verbs {
                assert!(granted(text, it, verb), "{verb} {} is not granted", named(it));
            }
        }
    }
}
