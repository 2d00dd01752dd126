//! Clusters and namespaces as places to go over to: every context of the kubeconfig beside the fleets of contexts.toml.
//! Each has a fleet of its own, since the agents of one namespace are not those of another.

use super::fail::Fail;
use crate::boot::{self, Request, cluster};
use crate::settings::{RuntimeKind, Settings};
use crate::tui::CLUSTER;

/// The request that opens `kube/CONTEXT[/NAMESPACE]`; nothing when the name is none such.
///
/// # Errors
/// Exit code 2 when there is no such context, or when its fleet would share another's database.
pub fn named(request: &Request, name: &str) -> Result<Option<Request>, Fail> {
    let Some(rest) = name.strip_prefix(CLUSTER) else { return Ok(None) };
    let ground = boot::ground(request)?;
    let settings = &ground.loaded.settings;
    let known = cluster::known(settings);
    let Some((context, namespace)) = split(&known, rest) else {
        let names: Vec<&str> = known.contexts.iter().map(|it| it.name.as_str()).collect();
        let what = format!("the kubeconfig has no context {rest:?}: it has {}", names.join(", "));
        return Err(Fail::usage(what));
    };
    let own = known.contexts.iter().find(|it| it.name == context);
    let own = own.map(|it| it.namespace.clone()).filter(|it| !it.is_empty());
    let namespace = namespace.or(own).unwrap_or_else(|| "default".to_owned());
    let mut request = request.clone();
    let is_base = settings.runtime.kind == RuntimeKind::Kubernetes
        && (known.context.as_str(), known.namespace.as_str()) == (&context, &namespace);
    if !is_base {
        if !cluster::is_embedded(&ground.loaded) {
            let what = format!(
                "the store {} holds the fleet of another place: name this one in contexts.toml, with a store of its own",
                settings.store.url
            );
            return Err(Fail::usage(what));
        }
        let folder = ground.places.data.join("places").join(file_name(&context));
        let file = folder.join(format!("{}.db", file_name(&namespace)));
        put(&mut request, "store.url", file.display().to_string());
    }
    put(&mut request, "runtime.kind", RuntimeKind::Kubernetes.to_string());
    put(&mut request, "kubernetes.context", context);
    put(&mut request, "kubernetes.namespace", namespace);
    Ok(Some(request))
}

/// What was gone over to stands above what the console was started with.
fn put(request: &mut Request, key: &'static str, value: String) {
    if !value.is_empty() {
        request.flags.retain(|(known, ..)| *known != key);
        request.flags.push((key, value, ":ctx"));
    }
}

/// A context, and perhaps a namespace of it. Names of contexts may hold a `/` themselves; the longest that fits is meant.
fn split(known: &cluster::Known, rest: &str) -> Option<(String, Option<String>)> {
    let names = known.contexts.iter().map(|it| it.name.as_str()).chain([known.context.as_str()]);
    let fits = names.filter_map(|name| {
        let after = rest.strip_prefix(name)?;
        match after.strip_prefix('/') {
            Some(namespace) if !namespace.is_empty() && !namespace.contains('/') => {
                Some((name.to_owned(), Some(namespace.to_owned())))
            }
            None if after.is_empty() => Some((name.to_owned(), None)),
            Some(_) | None => None,
        }
    });
    fits.max_by_key(|(name, _)| name.len())
}

/// A name as one part of a path.
fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '_' };
    let plain_name: String = name.chars().map(plain).collect();
    if plain_name == name {
        return plain_name;
    }
    // two names that read alike this way are told apart all the same
    let mark = name
        .bytes()
        .fold(0x811c_9dc5_u32, |mark, byte| (mark ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    format!("{plain_name}-{mark:08x}")
}

/// The context and the namespace that agents run in, where they run in a cluster.
pub fn here(settings: &Settings) -> Option<(String, String)> {
    if settings.runtime.kind != RuntimeKind::Kubernetes {
        return None;
    }
    let known = cluster::known(settings);
    Some((known.context, known.namespace))
}

/// Every context of the kubeconfig with a word about it.
pub fn listed(known: &cluster::Known) -> Vec<(String, String)> {
    let note = |it: &crate::boot::cluster::KubeContext| {
        let namespace = if it.namespace.is_empty() { "default" } else { &it.namespace };
        let about = format!("cluster {}, as {}, namespace {namespace}", it.cluster, it.user);
        (format!("{CLUSTER}{}", it.name), about)
    };
    known.contexts.iter().map(note).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(folder: &std::path::Path) -> Request {
        let text = "apiVersion: v1\nkind: Config\ncurrent-context: kit\ncontexts:\n- {name: kit, context: {cluster: kit, user: admin, namespace: agents}}\n- {name: 'arn:aws/prod', context: {cluster: c, user: u}}\n";
        let file = folder.join("kubeconfig");
        std::fs::write(&file, text).unwrap();
        Request {
            data_dir: Some(folder.to_owned()),
            flags: vec![
                ("kubernetes.kubeconfig", file.display().to_string(), "--kubeconfig"),
                ("runtime.kind", "kubernetes".to_owned(), "--runtime"),
            ],
            ..Request::default()
        }
    }

    fn flag<'a>(request: &'a Request, key: &str) -> Option<&'a str> {
        request.flags.iter().find(|(known, ..)| *known == key).map(|(_, value, _)| value.as_str())
    }

    #[test]
    fn another_namespace_has_a_fleet_of_its_own_and_the_first_one_keeps_its_store() {
        let folder = tempfile::tempdir().unwrap();
        let base = request(folder.path());
        assert!(named(&base, "prod").unwrap().is_none());
        let same = named(&base, "kube/kit").unwrap().unwrap();
        assert_eq!(flag(&same, "store.url"), None);
        assert_eq!(flag(&same, "kubernetes.namespace"), Some("agents"));
        let other = named(&base, "kube/kit/blue").unwrap().unwrap();
        assert_eq!(flag(&other, "kubernetes.namespace"), Some("blue"));
        assert!(flag(&other, "store.url").unwrap().ends_with("places/kit/blue.db"));
        // from there back to where it began
        let back = named(&base, "kube/kit/agents").unwrap().unwrap();
        assert_eq!(flag(&back, "store.url"), None);
        let odd = named(&base, "kube/arn:aws/prod/x").unwrap().unwrap();
        assert_eq!(flag(&odd, "kubernetes.context"), Some("arn:aws/prod"));
        assert!(flag(&odd, "store.url").unwrap().contains("places/arn_aws_prod-"));
    }

    #[test]
    fn a_place_that_is_not_there_or_would_share_a_database_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let mut base = request(folder.path());
        let why = named(&base, "kube/nowhere").unwrap_err().message;
        assert!(why.contains("no context \"nowhere\"") && why.contains("kit"), "{why}");
        base.flags.push(("store.url", "arangodb://u@h:8529/fleet".to_owned(), "--store"));
        let why = named(&base, "kube/kit/blue").unwrap_err().message;
        assert!(why.contains("a store of its own"), "{why}");
        assert!(named(&base, "kube/kit").unwrap().is_some());
    }
}
