//! Words that hands know from k9s and kubectl: some have a page here, of others it is said what there is instead.

/// What such a word comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    /// The same as this word of ours.
    Same(&'static str),
    /// There is no such thing; this there is instead.
    Instead(&'static str),
}

const HABITS: &[(&[&str], Habit)] = &[
    (&["pod", "pods", "wk", "workload", "workloads"], Habit::Same("agents")),
    (
        &[
            "dp",
            "deployment",
            "deployments",
            "rs",
            "replicasets",
            "sts",
            "statefulsets",
            "ds",
            "daemonsets",
            "hpa",
            "horizontalpodautoscalers",
        ],
        Habit::Same("pools"),
    ),
    (&["a", "alias"], Habit::Same("aliases")),
    (
        &["popeye", "lint", "sick"],
        Habit::Instead(":agents faults shows only what is not well, and why"),
    ),
    (
        &["sd", "screendump", "screendumps", "dumps"],
        Habit::Instead(
            ":dump writes what was seen and pressed into files, ctrl-s the table in sight",
        ),
    ),
    (
        &["svc", "services", "ing", "ingresses", "ep", "endpoints", "np", "networkpolicies"],
        Habit::Instead(
            "agents talk through messages: :mq shows their queues, :subscriptions who hears what",
        ),
    ),
    (
        &["cm", "configmaps", "sec", "secrets"],
        Habit::Instead("what an agent is set up with stands in its template: :templates"),
    ),
    (
        &["job", "jobs", "cj", "cronjobs"],
        Habit::Instead("what was done and is being done: :operations"),
    ),
    (
        &["crd", "crds", "apis", "vul", "helm", "all"],
        Habit::Instead("every page and command: :aliases"),
    ),
    (
        &[
            "sa",
            "roles",
            "rolebindings",
            "clusterroles",
            "rb",
            "cr",
            "crb",
            "who-can",
            "user",
            "users",
            "group",
            "groups",
            "policy",
            "policies",
            "can",
        ],
        Habit::Same("can-i"),
    ),
    (&["dir"], Habit::Instead("manifests are read from outside: cvxc apply -f FOLDER")),
    (&["portforward", "portforwards"], Habit::Same("pf")),
    (&["log"], Habit::Instead(":logs NAME, or l on an agent or a pool")),
    (
        &["pv", "pvs", "pvc", "pvcs", "pdb", "pdbs", "sc", "storageclasses"],
        Habit::Instead("agents keep what they know in the store: describe (d) shows it"),
    ),
    (&["audit", "journal"], Habit::Same("events")),
    (&["queues", "queue"], Habit::Same("mq")),
    (&["dlq", "dead"], Habit::Same("messages /status=dead")),
    (&["find"], Habit::Instead("/ filters what is in sight, :xray shows what belongs together")),
    (&["bench", "be"], Habit::Instead("what a frame costs: :perf")),
    (&["kill"], Habit::Instead("a plan comes first: :delete, :restart or :drain")),
    (
        &["sort"],
        Habit::Instead(
            "shift and a letter sort a table (? lists them), as does sort:COLUMN behind a page",
        ),
    ),
    (&["faults", "fault"], Habit::Instead("faults stands behind a page, as in :agents faults")),
    (
        &["timeline", "history"],
        Habit::Instead("what happened to a row: E on it, or :events in:agent/NAME"),
    ),
    (
        &["why", "explain"],
        Habit::Instead("describe (d) on a row says why it is as it is, :health what is wrong"),
    ),
    (
        &["conflict", "conflicts"],
        Habit::Instead("what somebody else changed stands among the events: :events"),
    ),
    (&["cordon", "uncordon"], Habit::Instead("hosts are closed and opened by z on :hosts")),
    (&["cow"], Habit::Instead("but agents: :agents")),
];

/// What `word`, in lower case, means to who knows k9s.
pub fn habit(word: &str) -> Option<Habit> {
    HABITS.iter().find(|(words, _)| words.contains(&word)).map(|(_, habit)| *habit)
}

/// The words of k9s and what they are the same as, for the list of commands.
pub fn same() -> impl Iterator<Item = (&'static [&'static str], &'static str)> {
    HABITS.iter().filter_map(|(words, habit)| match habit {
        Habit::Same(ours) => Some((*words, *ours)),
        Habit::Instead(_) => None,
    })
}

/// The words of k9s that begin with `typed`, and the page of ours that they open.
pub fn pages(typed: &str) -> impl Iterator<Item = (&'static str, &'static str)> {
    let all = same().flat_map(|(words, ours)| words.iter().map(move |word| (*word, ours)));
    all.filter(move |(word, _)| !typed.is_empty() && word.starts_with(typed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::command::parse;

    #[test]
    fn a_word_of_k9s_opens_what_is_the_same_here_or_says_what_there_is_instead() {
        assert_eq!(parse("pods /failed wide"), parse("agents /failed wide"));
        assert_eq!(parse("dp triage"), parse("pools triage"));
        assert_eq!(parse("a"), parse("aliases"));
        let said = parse("popeye").unwrap_err();
        assert!(said.as_str().contains(":agents faults"), "{said:?}");
    }

    #[test]
    fn no_word_of_ours_is_taken_for_one_of_k9s_and_each_leads_somewhere() {
        for (words, habit) in HABITS {
            for word in *words {
                match (parse(word), habit) {
                    (Ok(line), Habit::Same(ours)) => assert_eq!(Ok(line), parse(ours), "{word}"),
                    (Err(said), Habit::Instead(instead)) => {
                        assert!(said.as_str().contains(instead), "{word}: {said:?}");
                    }
                    (found, habit) => panic!("{word}: {found:?}, {habit:?}"),
                }
            }
        }
    }
}
