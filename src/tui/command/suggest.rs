//! What a half-typed command could become, from names in memory only: pages, verbs, things of the fleet, settings.

use std::collections::{BTreeMap, BTreeSet};

use nucleo_matcher::pattern::{AtomKind, CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};
use strum::IntoEnumIterator;

use super::Verb;
use crate::engine::view::FleetView;
use crate::model::text::Safe;
use crate::tui::keymap;
use crate::tui::pages::TableKind;
use crate::tui::theme;
use crate::tui::widgets::prompt::Suggestion;

/// More are not offered.
const MOST: usize = 40;

/// What is known in memory, to suggest from.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    pub view: &'a FleetView,
    /// Views kept under a name.
    pub bookmarks: &'a BTreeMap<String, String>,
    /// The fleets one can go over to, each with a word about it.
    pub contexts: &'a [(String, String)],
}

/// Suggestions for `line`, the best first.
pub fn suggest(line: &str, known: Known<'_>) -> Vec<Suggestion> {
    let line = line.trim_start();
    let mut found = match line.split_once(' ') {
        None => first_words(line, known),
        Some((head, rest)) => arguments(head, rest.trim_start(), known),
    };
    found.truncate(MOST);
    found
}

/// What the first suggestion would add behind `line`; empty when it does not simply go on, or when `line` by itself already
/// means something else.
pub fn ghost<'a>(line: &str, chosen: Option<&'a Suggestion>) -> &'a str {
    if line.is_empty() {
        return "";
    }
    let Some(rest) = chosen.and_then(|it| it.line.strip_prefix(line)) else { return "" };
    let whole = chosen.map(|it| it.line.as_str()).unwrap_or_default();
    match (line.contains(' '), super::parse(line)) {
        (false, Ok(meant)) if super::parse(whole) != Ok(meant.clone()) => "",
        _ => rest,
    }
}

/// The tenants that anything of the fleet belongs to, in order; digits choose among the first nine.
pub fn tenants(view: &FleetView) -> Vec<Safe> {
    let agents = view.agents.iter().map(|row| &row.tenant);
    let all: BTreeSet<&Safe> = agents.chain(view.pools.iter().map(|row| &row.tenant)).collect();
    all.into_iter().filter(|tenant| !tenant.as_str().is_empty()).cloned().collect()
}

fn first_words(typed: &str, known: Known<'_>) -> Vec<Suggestion> {
    let view = known.view;
    let mut all: Vec<(String, String, &'static str)> = Vec::new();
    for kind in TableKind::iter() {
        let others = kind.names()[1..].join(" ");
        all.push((kind.name().into(), format!("{}  {others}", kind.name()), "view"));
    }
    for verb in Verb::iter() {
        all.push((format!("{} ", verb.name()), verb.usage().into(), "action"));
    }
    for (word, note) in [
        ("pulse", "view"),
        ("describe ", "view"),
        ("yaml ", "view"),
        ("live ", "view"),
        ("logs ", "view"),
        ("help", "view"),
        ("notices", "view"),
        ("aliases", "view"),
        ("can-i", "view"),
        ("ctx ", "context"),
        ("ns ", "scope or namespace"),
        ("bookmark ", "keep this view"),
        ("go ", "bookmark"),
        ("forget ", "bookmark"),
        ("theme ", "setting"),
        ("keymap ", "setting"),
        ("set ", "setting"),
        ("quit", ""),
    ] {
        all.push((word.into(), word.trim_end().into(), note));
    }
    for (name, line) in known.bookmarks {
        all.push((format!("go {name}"), format!("{name}  {line}"), "bookmark"));
    }
    let mut found = rank(typed, all);
    // A word that hands know from k9s leads to what is the same here.
    let typed_low = typed.to_ascii_lowercase();
    for (word, ours) in super::habit::pages(&typed_low) {
        let it = Suggestion {
            line: word.to_owned(),
            shown: Safe::new(&format!("{word}  {ours}")),
            note: Safe::new("view"),
        };
        let at = if word == typed_low { 0 } else { found.len() };
        found.insert(at, it);
    }
    // An alias typed in full means its page, whatever else looks like it.
    if let Some(kind) = TableKind::named(&typed_low)
        && let Some(at) = found.iter().position(|it| it.line == kind.name())
    {
        let it = found.remove(at);
        found.insert(0, it);
    }
    if typed.len() >= 2 {
        let pools = view.pools.iter().map(|row| ("pools", &row.name));
        let agents = view.agents.iter().map(|row| ("agents", &row.name));
        let things = pools.chain(agents).map(|(page, name)| {
            (format!("{page} {}", name.as_str()), format!("{page} {}", name.as_str()), "view")
        });
        let left = MOST.saturating_sub(found.len());
        found.extend(rank(typed, things.collect()).into_iter().take(left));
    }
    found
}

fn arguments(head: &str, rest: &str, known: Known<'_>) -> Vec<Suggestion> {
    let view = known.view;
    // Only the last word is being typed; what stands before it stays.
    let (before, typed) = match rest.rsplit_once(' ') {
        Some((before, typed)) => (format!("{head} {before} "), typed),
        None => (format!("{head} "), rest),
    };
    let add = |words: Vec<(String, &'static str)>| {
        let all = words.into_iter().map(|(word, note)| (format!("{before}{word}"), word, note));
        rank(typed, all.collect())
    };
    let agents = || view.agents.iter().map(|row| (row.name.as_str().to_owned(), "agent"));
    let pools = || view.pools.iter().map(|row| (row.name.as_str().to_owned(), "pool"));
    let templates = || view.templates.iter().map(|row| (row.name.as_str().to_owned(), "template"));
    let head = head.to_ascii_lowercase();
    if let Some(kind) = TableKind::named(&head) {
        let columns = kind.spec().columns.iter();
        let sorts = columns.map(|column| (format!("sort:{}", column.key), "order"));
        let owners = pools().map(|(name, _)| (format!("in:pool/{name}"), "owner"));
        let words = ["faults", "wide", "all"].map(|word| (word.to_owned(), "how"));
        let names: Vec<_> = match kind {
            TableKind::Agents | TableKind::Health | TableKind::Queues => agents().collect(),
            TableKind::Pools => pools().collect(),
            TableKind::Templates => templates().collect(),
            TableKind::Xray => pools().chain(agents()).collect(),
            TableKind::Messages
            | TableKind::Subscriptions
            | TableKind::Publications
            | TableKind::Events
            | TableKind::Operations
            | TableKind::Hosts
            | TableKind::Namespaces
            | TableKind::Contexts
            | TableKind::Forwards => Vec::new(),
        };
        return add(names.into_iter().chain(sorts).chain(words).chain(owners).collect());
    }
    match head.as_str() {
        "ns" | "scope" | "scopes" | "namespaces" | "tenant" | "tenants" => {
            let digits = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];
            let keys = digits.into_iter().chain(std::iter::repeat("scope"));
            let tenants = tenants(view).into_iter().map(|name| name.as_str().to_owned());
            let all = std::iter::once(("all".to_owned(), "0"));
            add(all.chain(tenants.zip(keys)).collect())
        }
        "ctx" | "context" | "contexts" => {
            let it = known.contexts.iter();
            let all = it.map(|(name, note)| {
                (format!("{before}{name}"), format!("{name}  {note}"), "context")
            });
            rank(typed, all.collect())
        }
        "go" | "forget" => {
            let it = known.bookmarks.iter();
            let all = it.map(|(name, line)| {
                (format!("{before}{name}"), format!("{name}  {line}"), "bookmark")
            });
            rank(typed, all.collect())
        }
        "theme" => add(theme::load::SHIPPED
            .iter()
            .map(|(name, _)| ((*name).to_owned(), "theme"))
            .collect()),
        "keymap" => add(keymap::load::SHIPPED
            .iter()
            .map(|(name, _)| ((*name).to_owned(), "keymap"))
            .collect()),
        "set" => {
            let words = [
                "tz local",
                "tz utc",
                "header on",
                "header off",
                "crumbs on",
                "crumbs off",
                "detail on",
                "detail off",
                "ascii on",
                "ascii off",
            ];
            add(words.map(|word| (word.to_owned(), "setting")).into())
        }
        "scale" | "rollback" | "set-template" => add(pools().collect()),
        "deploy" => add(templates().collect()),
        "send" | "logs" | "live" => add(agents().collect()),
        "describe" | "yaml" | "delete" => add(pools().chain(templates()).chain(agents()).collect()),
        "restart" | "pause" | "resume" | "drain" | "stop" | "start" => {
            add(pools().chain(agents()).collect())
        }
        _ => Vec::new(),
    }
}

/// Longest text that names are compared with, in bytes.
const LONGEST: usize = 256;

/// Sorts candidates (what the line becomes, what is shown, a note) by how well `typed` fits.
fn rank(typed: &str, all: Vec<(String, String, &'static str)>) -> Vec<Suggestion> {
    let suggestion = |(line, shown, note): (String, String, &str)| Suggestion {
        line: Safe::new(&line).as_str().to_owned(),
        shown: Safe::new(&shown),
        note: Safe::new(note),
    };
    if typed.is_empty() {
        return all.into_iter().take(MOST).map(suggestion).collect();
    }
    // Nothing has such a name, and the matcher's score has no room for it.
    if typed.len() > LONGEST {
        return Vec::new();
    }
    let pattern = Pattern::new(typed, CaseMatching::Smart, Normalization::Smart, AtomKind::Fuzzy);
    let mut matcher = Matcher::new(Config::DEFAULT);
    let mut characters = Vec::new();
    let mut scored: Vec<_> = all
        .into_iter()
        .filter_map(|it| {
            let begins = it.1.starts_with(typed);
            let score = pattern.score(Utf32Str::new(&it.1, &mut characters), &mut matcher)?;
            Some((!begins, std::cmp::Reverse(score), it))
        })
        .collect();
    // Stable: of equals, the first listed.
    scored.sort_by_key(|(begins, score, _)| (*begins, *score));
    scored.into_iter().map(|(_, _, it)| suggestion(it)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::testing::fleet;

    fn all(line: &str) -> Vec<Suggestion> {
        let bookmarks = [("trouble".to_owned(), "agents faults".to_owned())].into();
        let contexts = [("prod-eu".to_owned(), "protected".to_owned())];
        suggest(line, Known { view: &fleet(), bookmarks: &bookmarks, contexts: &contexts })
    }

    fn lines(line: &str) -> Vec<String> {
        all(line).into_iter().map(|it| it.line).collect()
    }

    #[test]
    fn a_page_is_found_by_its_beginning_its_alias_or_a_few_letters() {
        assert_eq!(lines("ag")[0], "agents");
        assert_eq!(lines("po")[0], "pools");
        assert_eq!(lines("scl")[0], "scale ");
        assert!(lines("").len() > 10);
    }

    #[test]
    fn things_are_offered_by_name() {
        assert!(lines("tria").contains(&"pools triage".to_owned()));
        assert_eq!(lines("scale tri")[0], "scale triage");
        assert!(lines("agents sort:qu").contains(&"agents sort:queue".to_owned()));
        assert!(lines("agents faults sort:qu").contains(&"agents faults sort:queue".to_owned()));
        assert_eq!(lines("theme mo"), ["theme mono"]);
        assert_eq!(lines("troub")[0], "go trouble");
        assert_eq!(lines("ctx pr"), ["ctx prod-eu"]);
        assert_eq!(lines("forget "), ["forget trouble"]);
        assert_eq!(lines("ns "), ["ns all", "ns default"]);
    }

    #[test]
    fn the_ghost_is_what_the_suggestion_would_add() {
        let found = all("ag");
        assert_eq!(ghost("ag", found.first()), "ents");
        assert_eq!(ghost("gents", found.first()), "");
        let health = Suggestion { line: "health".into(), ..found[0].clone() };
        assert_eq!(ghost("h", Some(&health)), "", "enter opens help");
        assert_eq!(ghost("", found.first()), "");
    }
}
