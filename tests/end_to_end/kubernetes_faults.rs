//! What a fleet on a real control plane lives through: its namespace deleted and made again, its token revoked and replaced.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use cvxc::adapters::sqlite::{SqliteOptions, SqliteStore};
use cvxc::model::schema::Collection;
use cvxc::ports::clock::SystemClock;
use cvxc::ports::store::{Durability, Key, Store, Write};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod, Secret, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::config::Kubeconfig;
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json as value};

use super::kubernetes::{Cluster, LIMIT, pool, template};
use super::support::{Fleet, eventually, json, text};

impl Cluster {
    /// What a process that looks now says of the runtime: whether it is well, and why not.
    fn runtime(&self) -> (bool, String) {
        let told = self.verb(&["status", "-o", "json"]);
        let status: Value = serde_json::from_slice(&told.stdout).unwrap_or_default();
        let part = &status["runtime"];
        (part["ok"] == true, format!("{} {}", part["error"], text(&told.stderr)))
    }

    /// Every running agent has its one Deployment and its one pod, and there is nothing else.
    fn is_whole(&self, count: usize) {
        eventually(LIMIT * 2, &format!("{count} agents, each once"), || {
            let records = json(&self.fleet.dir, &["get", "agents", "-o", "json"]);
            let up = |it: &&Value| it["phase"] == "running";
            let name = |it: &Value| format!("agent-{}", it["_key"].as_str().unwrap());
            let records: BTreeSet<String> =
                records.as_array().unwrap().iter().filter(up).map(name).collect();
            let deployments: Vec<String> =
                self.all::<Deployment>().iter().map(ResourceExt::name_any).collect();
            let pods = self.all::<Pod>().len();
            let same = deployments.iter().cloned().collect::<BTreeSet<_>>() == records;
            if same && records.len() == count && deployments.len() == count && pods == count {
                Ok(())
            } else {
                Err(format!(
                    "{} run, {} Deployments, {pods} pods",
                    records.len(),
                    deployments.len()
                ))
            }
        });
    }
}

#[test]
#[ignore = "needs a cluster: CVXC_TEST_KUBECONFIG"]
fn on_kubernetes_a_namespace_that_is_deleted_and_made_again_gets_its_fleet_back_once() {
    let cluster = Cluster::open();
    let _daemon = cluster.daemon(None);
    cluster.apply(&(template("kit/agent:1", "one") + &pool("alpha", 3, "")));
    cluster.running(3);
    let all: Api<Namespace> = Api::all(cluster.client.clone());
    cluster.tokio.block_on(all.delete(&cluster.namespace, &DeleteParams::default())).unwrap();
    eventually(LIMIT, "the namespace is gone", || {
        match cluster.tokio.block_on(all.get_opt(&cluster.namespace)).unwrap() {
            None => Ok(()),
            Some(left) => Err(format!("{:?}", left.status)),
        }
    });
    eventually(LIMIT, "what is wrong is said", || {
        let records = json(&cluster.fleet.dir, &["get", "agents", "-o", "json"]).to_string();
        let log = std::fs::read_to_string(cluster.fleet.dir.join("daemon.err")).unwrap();
        if log.contains("namespaces") && !records.contains("\"phase\":\"running\"") {
            Ok(())
        } else {
            Err(records)
        }
    });
    let meta = ObjectMeta { name: Some(cluster.namespace.clone()), ..ObjectMeta::default() };
    let again = Namespace { metadata: meta, ..Namespace::default() };
    cluster.tokio.block_on(all.create(&PostParams::default(), &again)).unwrap();
    cluster.is_whole(3);
}

/// Not beside other tests: they would meet the restart too.
#[test]
#[ignore = "needs a cluster of its own: CVXC_TEST_KUBECONFIG, and CVXC_TEST_KUBE_RESTART, the command that restarts its API server"]
fn a_restarted_api_server_forgets_every_watch_and_the_fleet_is_listed_again() {
    let restart = std::env::var("CVXC_TEST_KUBE_RESTART")
        .expect("CVXC_TEST_KUBE_RESTART: the command that restarts the cluster's API server");
    let cluster = Cluster::open();
    let _daemon = cluster.daemon(None);
    cluster.apply(&(template("kit/agent:1", "one") + &pool("alpha", 3, "")));
    cluster.running(3);
    let log = || std::fs::read_to_string(cluster.fleet.dir.join("daemon.err")).unwrap();
    let before = log().len();
    let restarted = Command::new("sh").args(["-c", &restart]).status().unwrap();
    assert!(restarted.success(), "{restart}: {restarted}");
    eventually(LIMIT, "410 from the server itself to each watch", || {
        let log = log().split_off(before);
        let forgot =
            |what: &str| log.lines().any(|line| line.contains("forgot") && line.contains(what));
        if ["what=Deployments", "what=Pods"].into_iter().all(forgot) { Ok(()) } else { Err(log) }
    });
    let scaled = cluster.verb(&["scale", "alpha", "--to", "5"]);
    assert!(scaled.status.success(), "{}", text(&scaled.stderr));
    cluster.is_whole(5);
}

#[test]
#[ignore = "needs a cluster: CVXC_TEST_KUBECONFIG"]
fn on_kubernetes_a_token_that_is_revoked_is_replaced_by_a_new_one_in_its_file() {
    let mut cluster = Cluster::open();
    let account = Account::new(&cluster);
    let token = cluster.fleet.dir.join("token");
    account.issue("first", &token);
    let mut config = Kubeconfig::read_from(&cluster.kubeconfig).unwrap();
    let user = config.auth_infos[0].auth_info.as_mut().unwrap();
    user.token_file = Some(token.display().to_string());
    let path = cluster.fleet.dir.join("kubeconfig");
    std::fs::write(&path, serde_json::to_string(&config).unwrap()).unwrap();
    cluster.kubeconfig = path;
    let _daemon = cluster.daemon(None);
    cluster.apply(&(template("kit/agent:1", "one") + &pool("alpha", 2, "")));
    cluster.is_whole(2);
    account.revoke("first");
    eventually(LIMIT, "the token is refused", || {
        let (well, why) = cluster.runtime();
        if !well && why.contains("credentials") { Ok(()) } else { Err(why) }
    });
    // wanted while nothing can be done about it
    super::support::good(&cluster.fleet.dir, &["scale", "alpha", "--to", "3"]);
    account.issue("second", &token);
    // a client reads its file again once a minute
    eventually(Duration::from_secs(120), "the new token is taken", || {
        let count = cluster.all::<Deployment>().len();
        if count == 3 { Ok(()) } else { Err(format!("{count} Deployments")) }
    });
    cluster.is_whole(3);
}

#[test]
#[ignore = "needs a cluster: CVXC_TEST_KUBECONFIG"]
fn on_kubernetes_a_host_is_emptied_once_the_disruption_budget_lets_it_and_opened_again() {
    let cluster = Cluster::open();
    let _daemon = cluster.daemon(None);
    cluster.apply(&(template("kit/agent:1", "one") + &pool("alpha", 4, "")));
    cluster.is_whole(4);
    let host = cluster.all::<Pod>()[0].spec.as_ref().unwrap().node_name.clone().unwrap();
    let budget: PodDisruptionBudget = serde_json::from_value(value!({
        "metadata": {"name": "keep-all"},
        "spec": {"minAvailable": 4, "selector": {"matchLabels": {"app": "codevaldcortex-agent"}}},
    }))
    .unwrap();
    let budgets: Api<PodDisruptionBudget> =
        Api::namespaced(cluster.client.clone(), &cluster.namespace);
    cluster.tokio.block_on(budgets.create(&PostParams::default(), &budget)).unwrap();
    // the plan says it beforehand, once the budget has counted
    eventually(LIMIT, "the plan names the budget", || {
        let plan = cluster.good(&["drain-host", &host, "--dry-run"]);
        let named = plan.contains("keep-all") && plan.contains("healthy pods");
        if named { Ok(()) } else { Err(plan) }
    });
    cluster.good(&["drain-host", &host]);
    eventually(LIMIT, "the refusal names the budget", || {
        let operations = json(&cluster.fleet.dir, &["get", "operations", "-o", "json"]);
        let steps = operations[0]["steps"].as_array().unwrap();
        let said = |step: &&Value| step["message"].as_str().unwrap().contains("keep-all");
        let waits = operations[0]["status"] == "running" && steps.iter().any(|it| said(&it));
        if waits { Ok(()) } else { Err(operations[0].to_string()) }
    });
    cluster.tokio.block_on(budgets.delete("keep-all", &DeleteParams::default())).unwrap();
    eventually(LIMIT, "nobody is left there", || {
        let operations = json(&cluster.fleet.dir, &["get", "operations", "-o", "json"]);
        let on = |pod: &Pod| pod.spec.as_ref().unwrap().node_name.as_ref() == Some(&host);
        let left = cluster.all::<Pod>().iter().filter(|pod| on(pod)).count();
        if left == 0 && operations[0]["status"] == "succeeded" {
            Ok(())
        } else {
            Err(format!("{left} left, {}", operations[0]))
        }
    });
    cluster.is_whole(4);
    eventually(LIMIT, "each agent's record says where its pod is now", || {
        let records = json(&cluster.fleet.dir, &["get", "agents", "-o", "json"]);
        let pods = cluster.all::<Pod>();
        let on = |agent: &Value| {
            let of =
                |pod: &&Pod| pod.labels().get("agent-id").map(String::as_str) == agent.as_str();
            pods.iter().find(of)?.spec.as_ref()?.node_name.clone()
        };
        let says_so = |it: &Value| it["deployment"]["node"].as_str() == on(&it["_key"]).as_deref();
        let up = |it: &&Value| it["phase"] == "running";
        let running: Vec<&Value> = records.as_array().unwrap().iter().filter(up).collect();
        let told = running.len() == 4 && running.into_iter().all(says_so);
        if told { Ok(()) } else { Err(records.to_string()) }
    });
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let closed = || {
        let node = cluster.tokio.block_on(nodes.get(&host)).unwrap();
        node.spec.unwrap().unschedulable.unwrap_or(false)
    };
    assert!(closed());
    cluster.good(&["uncordon", &host, "--wait=20s"]);
    assert!(!closed());
    let unknown = cluster.verb(&["cordon", "no-such-host"]);
    assert!(text(&unknown.stderr).contains("node-0"), "{}", text(&unknown.stderr));
}

#[test]
#[ignore = "needs a cluster: CVXC_TEST_KUBECONFIG"]
fn on_kubernetes_a_workload_without_a_record_is_adopted_or_ended_by_plan() {
    let cluster = Cluster::open();
    let daemon = cluster.daemon(None);
    cluster.apply(&(template("kit/agent:1", "one") + &pool("alpha", 2, "")));
    cluster.is_whole(2);
    drop(daemon);
    let before = cluster.all::<Deployment>();
    let orphan = cluster.forget_one();
    let plan = cluster.good(&["adopt", "--dry-run"]);
    assert!(plan.contains("Adopt 1 workload without a record"), "{plan}");
    assert!(plan.contains(&format!("agent-{orphan}")), "{plan}");
    cluster.good(&["adopt", &orphan]);
    let none = cluster.good(&["adopt"]);
    assert!(none.contains("nothing to change"), "{none}");
    let daemon = cluster.daemon(None);
    cluster.is_whole(2);
    let ids = |of: &[Deployment]| of.iter().map(ResourceExt::uid).collect::<BTreeSet<_>>();
    assert_eq!(ids(&cluster.all()), ids(&before), "it went on as it was");
    drop(daemon);

    let orphan = cluster.forget_one();
    cluster.good(&["adopt", &orphan, "--end", "--confirm", "end 1"]);
    let _daemon = cluster.daemon(None);
    cluster.is_whole(2);
    let name = format!("agent-{orphan}");
    assert!(cluster.all::<Deployment>().iter().all(|it| it.name_any() != name));
}

#[test]
#[ignore = "needs a cluster: CVXC_TEST_KUBECONFIG"]
fn on_kubernetes_an_empty_store_shows_what_runs_and_says_that_it_has_no_record() {
    let mut cluster = Cluster::open();
    let daemon = cluster.daemon(None);
    let scaled = "scaling: {mode: hpa, metrics: [{type: cpu, target: 70}]}";
    cluster.apply(
        &(template("kit/agent:1", "one") + &pool("alpha", 2, "") + &pool("beta", 2, scaled)),
    );
    cluster.running(4);
    drop(daemon);
    let known = std::mem::replace(&mut cluster.fleet, Fleet::new());
    let plan = cluster.verb(&["adopt", "--dry-run"]);
    let said = text(&plan.stdout) + &text(&plan.stderr);
    assert!(said.contains("2 copies of pools' own workloads"), "{said}");
    let (mut copy, mut strays) = (String::new(), Vec::new());
    eventually(LIMIT, "four rows without a record", || {
        let told = cluster.good(&["get", "agents", "-o", "wide"]);
        let rows: Vec<&str> =
            told.lines().filter(|line| line.contains("runs without a record")).collect();
        let up = rows.iter().filter(|line| line.contains("running")).count();
        let of_crew = rows.iter().find(|line| line.starts_with("agent-pool-"));
        let name = |line: &&str| line.split(' ').next().unwrap().to_owned();
        copy = of_crew.map(name).unwrap_or_default();
        strays = rows.iter().map(name).collect::<Vec<_>>();
        if (rows.len(), up, copy.is_empty()) == (4, 4, false) { Ok(()) } else { Err(told) }
    });
    let deployments = cluster.all::<Deployment>();
    let mut names = deployments.iter().map(ResourceExt::name_any);
    let alone = names.find(|name| !name.starts_with("agent-pool-")).unwrap();
    for (args, why) in [
        (["restart", alone.as_str()], "adopt it"),
        (["restart", &copy], "own workload"),
        (["adopt", &copy], "own workload"),
    ] {
        let refused = cluster.verb(&args);
        let said = text(&refused.stderr);
        assert!(!refused.status.success() && said.contains(why), "{args:?}: {said}");
    }
    let told = cluster.good(&["describe", "agent", &alone]);
    assert!(told.contains("node-") && told.contains("without a record"), "{told}");
    // where the records are, none of them is without one
    cluster.fleet = known;
    let told = cluster.good(&["get", "agents", "-o", "wide"]);
    let mut left = told.lines().filter(|line| line.contains("without a record"));
    assert!(!left.any(|line| strays.iter().any(|name| line.starts_with(name))), "{told}");
}

impl Cluster {
    /// Takes one running agent's record out of the store behind everybody's back; nobody may lead meanwhile.
    fn forget_one(&self) -> String {
        let records = json(&self.fleet.dir, &["get", "agents", "-o", "json"]);
        let id = records[0]["_key"].as_str().unwrap().to_owned();
        let path = self.fleet.dir.join("fleet.db");
        self.tokio.block_on(async {
            let store =
                SqliteStore::open(SqliteOptions::new(&path), SystemClock::shared()).unwrap();
            let key = Key::new(&id).unwrap();
            let gone = Write::Remove { collection: Collection::Agents, key, rev: None };
            store.transact(vec![gone], Durability::Durable).await.unwrap();
            store.close().await;
        });
        id
    }
}

/// An account of the cluster with all rights, whose tokens live as long as the secrets that they are bound to.
struct Account {
    client: Client,
    namespace: String,
    tokio: tokio::runtime::Handle,
}

impl Account {
    fn new(cluster: &Cluster) -> Self {
        let (name, namespace) = ("fleet", cluster.namespace.as_str());
        let meta = ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() };
        let made = ServiceAccount { metadata: meta, ..ServiceAccount::default() };
        let accounts: Api<ServiceAccount> = Api::namespaced(cluster.client.clone(), namespace);
        cluster.tokio.block_on(accounts.create(&PostParams::default(), &made)).unwrap();
        let bound: ClusterRoleBinding = serde_json::from_value(value!({
            "metadata": {"name": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
        }))
        .unwrap();
        let bindings: Api<ClusterRoleBinding> = Api::all(cluster.client.clone());
        cluster.tokio.block_on(bindings.create(&PostParams::default(), &bound)).unwrap();
        let (client, namespace) = (cluster.client.clone(), cluster.namespace.clone());
        Self { client, namespace, tokio: cluster.tokio.handle().clone() }
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn issue(&self, secret: &str, to: &std::path::Path) {
        let meta = ObjectMeta { name: Some(secret.to_owned()), ..ObjectMeta::default() };
        let made = Secret { metadata: meta, ..Secret::default() };
        let request = async {
            self.secrets().create(&PostParams::default(), &made).await.unwrap();
            let bound = BoundObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Secret".to_owned()),
                name: Some(secret.to_owned()),
                uid: None,
            };
            let spec =
                TokenRequestSpec { bound_object_ref: Some(bound), ..TokenRequestSpec::default() };
            let wanted = TokenRequest { spec, ..TokenRequest::default() };
            let accounts: Api<ServiceAccount> =
                Api::namespaced(self.client.clone(), &self.namespace);
            accounts.create_token_request("fleet", &PostParams::default(), &wanted).await.unwrap()
        };
        let token = self.tokio.block_on(request).status.unwrap().token;
        // whole or not at all, as a mounted secret changes
        let draft = to.with_extension("new");
        std::fs::write(&draft, token).unwrap();
        std::fs::rename(&draft, to).unwrap();
    }

    fn revoke(&self, secret: &str) {
        let gone = DeleteParams::default();
        self.tokio.block_on(self.secrets().delete(secret, &gone)).unwrap();
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let bindings: Api<ClusterRoleBinding> = Api::all(self.client.clone());
        let gone = DeleteParams::default();
        drop(self.tokio.block_on(bindings.delete(&self.namespace, &gone)));
    }
}
