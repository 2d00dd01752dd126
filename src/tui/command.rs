//! The `:` grammar: a page by any of its names with its arguments in any order (`:agents all /failed sort:queue:desc
//! tier=gold faults`), a verb with the names of what it is about, or a setting. It resolves no name and opens nothing.

use std::str::FromStr;

use strum::IntoEnumIterator;

use super::action::Action;
use super::load::nearest;
use super::pages::TableKind;
use super::pages::text::TextKind;
use super::pages::xray::Root;
use crate::model::plan::Noun;
use crate::model::text::Safe;

pub mod habit;
mod locator;
pub mod suggest;

use locator::locator;

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    Open(Locator),
    Text(TextKind),
    /// The fleet in tiles.
    Pulse,
    /// Describe, YAML or logs of something by name.
    About(Action, Option<Noun>, String),
    /// A verb that changes the fleet, and its words.
    Act(Verb, Vec<String>),
    /// Any action that is bound to keys, by its name.
    Action(Action),
    /// Only one tenant's things from now on, or everybody's; or another namespace.
    Scope(ScopeName),
    /// Go over to another fleet, and to this line there.
    Context(String, Option<String>),
    /// Allow changes in a protected context, by its name.
    Unlock(String),
    /// Keep the view in sight under a name.
    Bookmark(String),
    /// Go to a bookmark.
    Go(String),
    /// Forget a bookmark.
    Unmark(String),
    Theme(String),
    Keymap(String),
    Set(Setting),
    Quit,
}

/// Which scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScopeName {
    All,
    Tenant(String),
}

impl ScopeName {
    pub fn named(name: &str) -> Self {
        if name == "all" { Self::All } else { Self::Tenant(name.to_owned()) }
    }
}

/// How a table is looked at, as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locator {
    pub kind: TableKind,
    /// Only what belongs to this thing: `in:pool/triage`.
    pub owner: Option<(Noun, String)>,
    /// `ns:NAME`, or `all`; else the scope stays.
    pub scope: Option<ScopeName>,
    /// What stands at the root of a tree.
    pub root: Root,
    pub filter: String,
    pub sort: Option<(String, bool)>,
    pub faults: bool,
    pub wide: bool,
    /// A word that names a row, or else filters.
    pub name: Option<String>,
}

/// Verbs that lead to a plan.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, strum::EnumString, strum::EnumIter, strum::IntoStaticStr,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Verb {
    Deploy,
    Scale,
    Restart,
    Pause,
    Resume,
    Drain,
    Stop,
    Start,
    Delete,
    Adopt,
    SetTemplate,
    Rollback,
    Send,
    Undo,
}

impl Verb {
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// Its words, for help and for what is missing.
    pub fn usage(self) -> &'static str {
        match self {
            Self::Deploy => "deploy TEMPLATE [NAME]",
            Self::Scale => "scale POOL [COUNT]",
            Self::Restart => "restart [agent|pool] NAME…",
            Self::Pause => "pause [agent|pool] NAME…",
            Self::Resume => "resume [agent|pool] NAME…",
            Self::Drain => "drain [agent|pool] NAME…",
            Self::Stop => "stop [agent|pool] NAME…",
            Self::Start => "start [agent|pool] NAME…",
            Self::Delete => "delete [agent|pool|template] NAME…",
            Self::Adopt => "adopt [NAME…]",
            Self::SetTemplate => "set-template POOL [VERSION]",
            Self::Rollback => "rollback POOL",
            Self::Send => "send AGENT",
            Self::Undo => "undo [OPERATION]",
        }
    }
}

/// `:set NAME [VALUE]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    LocalTime(bool),
    Header(bool),
    Crumbs(bool),
    Detail(bool),
    Ascii(bool),
}

/// Words that leave the console.
const QUIT: [&str; 5] = ["q", "q!", "qa", "quit", "exit"];

/// Reads a line without its `:`.
///
/// # Errors
/// Says what is wrong, in one line, with what was likely meant.
pub fn parse(line: &str) -> Result<Line, Safe> {
    let mut words = line.split_whitespace();
    let Some(first) = words.next() else {
        return Err(Safe::new("type a page or a verb; ? lists them"));
    };
    let rest: Vec<&str> = words.collect();
    let word = first.to_ascii_lowercase();
    if let Some(at) = rest.iter().position(|word| word.len() > 1 && word.starts_with('@')) {
        // `@context` anywhere in the line: the rest of it is meant there
        let name = rest[at][1..].to_owned();
        let others =
            rest.iter().enumerate().filter(|(place, _)| *place != at).map(|(_, word)| *word);
        let line: Vec<&str> = std::iter::once(first).chain(others).collect();
        let line = line.join(" ");
        parse(&line)?;
        return Ok(Line::Context(name, Some(line)));
    }
    let places = match word.as_str() {
        "ns" | "scope" | "scopes" | "namespaces" | "tenant" | "tenants" => {
            Some(TableKind::Namespaces)
        }
        "ctx" | "context" | "contexts" => Some(TableKind::Contexts),
        _ => None,
    };
    if let Some(kind) = places {
        // one plain word is where to go; anything else is how the page is looked at
        return match (kind, rest.as_slice()) {
            (TableKind::Namespaces, [name]) if !is_argument(name) => {
                Ok(Line::Scope(ScopeName::named(name)))
            }
            (_, [name]) if !is_argument(name) => Ok(Line::Context((*name).to_owned(), None)),
            (kind, rest) => locator(kind, &rest.join(" ")).map(Line::Open),
        };
    }
    if let Some(kind) = TableKind::named(&word) {
        return locator(kind, line[line.find(first).unwrap_or(0) + first.len()..].trim())
            .map(Line::Open);
    }
    if let Ok(verb) = Verb::from_str(&word) {
        return Ok(Line::Act(verb, rest.into_iter().map(str::to_owned).collect()));
    }
    match (word.as_str(), rest.as_slice()) {
        (quit, []) if QUIT.contains(&quit) => Ok(Line::Quit),
        ("help" | "h", []) => Ok(Line::Text(TextKind::Help)),
        ("notices" | "notifications", []) => Ok(Line::Text(TextKind::Notices)),
        ("pulse" | "pulses" | "pu", []) => Ok(Line::Pulse),
        ("pulse" | "pulses" | "pu", _) => {
            Err(Safe::new("pulse takes no name: it shows the whole fleet"))
        }
        ("perf", []) => Ok(Line::Action(Action::TogglePerf)),
        ("aliases", []) => Ok(Line::Text(TextKind::Aliases)),
        ("can-i" | "cani", []) => Ok(Line::Text(TextKind::Rights)),
        ("unlock", [name]) => Ok(Line::Unlock((*name).to_owned())),
        ("bookmark" | "bm", [name]) => Ok(Line::Bookmark((*name).to_owned())),
        ("go", [name]) => Ok(Line::Go((*name).to_owned())),
        ("forget", [name]) => Ok(Line::Unmark((*name).to_owned())),
        ("bookmark" | "bm" | "go" | "forget", _) => {
            Err(Safe::new(&format!("{word} needs one name, without blanks")))
        }
        ("theme", [name]) => Ok(Line::Theme((*name).to_owned())),
        ("keymap", [name]) => Ok(Line::Keymap((*name).to_owned())),
        ("theme" | "keymap", _) => Err(Safe::new(&format!("{word} needs one name"))),
        ("set", words) => setting(words).map(Line::Set),
        ("describe" | "yaml" | "live" | "logs", [name]) => about(&word, None, name),
        ("describe" | "yaml" | "live" | "logs", [noun, name]) => about(&word, Some(noun), name),
        _ => match Action::from_str(&word) {
            Ok(action) if rest.is_empty() => Ok(Line::Action(action)),
            _ => match habit::habit(&word) {
                Some(habit::Habit::Same(ours)) => {
                    let line: Vec<&str> = std::iter::once(ours).chain(rest).collect();
                    parse(&line.join(" "))
                }
                Some(habit::Habit::Instead(instead)) => {
                    Err(Safe::new(&format!("there is no {word}: {instead}")))
                }
                None => Err(unknown(&word)),
            },
        },
    }
}

/// Whether a word says how a page is looked at, instead of naming something.
fn is_argument(word: &str) -> bool {
    word.starts_with(['/', '-']) || word.starts_with("sort:") || matches!(word, "faults" | "wide")
}

fn unknown(word: &str) -> Safe {
    let near = nearest(word, names());
    let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    Safe::new(&format!("there is no command {word:?}{hint}"))
}

/// Every first word that means something, the pages first.
pub fn names() -> impl Iterator<Item = &'static str> {
    TableKind::iter().map(TableKind::name).chain(Verb::iter().map(Verb::name)).chain([
        "pulse", "describe", "yaml", "live", "logs", "help", "notices", "aliases", "can-i", "ctx",
        "ns", "perf", "dump", "bookmark", "go", "forget", "theme", "keymap", "set", "quit",
    ])
}

fn about(word: &str, noun: Option<&str>, name: &str) -> Result<Line, Safe> {
    let action = match word {
        "describe" => Action::Describe,
        "yaml" => Action::Yaml,
        "live" => Action::Live,
        _ => Action::Logs,
    };
    let noun = match noun {
        Some(text) => Some(
            self::noun(text).ok_or_else(|| Safe::new(&format!("{text:?} is no kind of thing")))?,
        ),
        None => None,
    };
    Ok(Line::About(action, noun, name.to_owned()))
}

/// A kind of thing, in singular or plural or short.
pub fn noun(text: &str) -> Option<Noun> {
    let text = text.to_ascii_lowercase();
    Noun::from_str(&text).or_else(|_| Noun::from_str(text.trim_end_matches('s'))).ok().or_else(
        || {
            TableKind::named(&text)
                .and_then(|kind| Noun::from_str(kind.name().trim_end_matches('s')).ok())
        },
    )
}

fn setting(words: &[&str]) -> Result<Setting, Safe> {
    let wrong =
        || Safe::new("set takes tz utc|local, header full|compact, crumbs|detail|ascii on|off");
    let [name, value] = words else { return Err(wrong()) };
    let on = match *value {
        "on" | "true" | "full" | "local" => true,
        "off" | "false" | "compact" | "utc" => false,
        _ => return Err(wrong()),
    };
    match *name {
        "tz" => Ok(Setting::LocalTime(on)),
        "header" => Ok(Setting::Header(on)),
        "crumbs" => Ok(Setting::Crumbs(on)),
        "detail" => Ok(Setting::Detail(on)),
        "ascii" => Ok(Setting::Ascii(on)),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::pages::table::TablePage;

    fn open(line: &str) -> Locator {
        match parse(line) {
            Ok(Line::Open(locator)) => locator,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn a_page_goes_by_any_of_its_names_with_arguments_in_any_order() {
        for name in ["agents", "agent", "ag", "AGENTS"] {
            assert_eq!(open(name).kind, TableKind::Agents);
        }
        let to = open("agents all /state!=running age<2h sort:queue:desc wide");
        assert_eq!(
            (to.filter.as_str(), to.wide, to.faults),
            ("state!=running age<2h", true, false)
        );
        assert_eq!(to.sort, Some(("queue".into(), true)));
        let same = open("ag wide sort:queue:desc state!=running age<2h all");
        assert_eq!(same, to);
        assert_eq!(to.scope, Some(ScopeName::All));
        let to = open("agents ns:acme state in (failed, paused) wide");
        assert_eq!(to.scope, Some(ScopeName::Tenant("acme".into())));
        assert_eq!((to.filter.as_str(), to.wide), ("state in (failed, paused)", true));
        let there = Line::Context("prod-eu".into(), Some("agents /failed wide".into()));
        assert_eq!(parse("agents /failed @prod-eu wide"), Ok(there));
        assert!(parse("agetns @prod-eu").is_err(), "the rest of the line is checked here already");
        let to = open("xray agent triage-2");
        assert_eq!((to.root, to.name.as_deref()), (Root::Agent, Some("triage-2")));
        let to = open("xray po");
        assert_eq!((to.root, to.name.as_deref()), (Root::Pool, None));
        assert_eq!(open("pools triage").name, Some("triage".into()));
        assert_eq!(open("agents in:pool/triage faults").owner, Some((Noun::Pool, "triage".into())));
        assert_eq!(open("agents -l tier=gold,env!=dev").filter, "-l tier=gold,env!=dev");
        assert_eq!(open("agents -f trg").filter, "-f trg");
        assert_eq!(open("agents /a b  c").filter, "a b c");
    }

    #[test]
    fn the_line_of_a_page_opens_the_same_page() {
        let mut page = TablePage::new(TableKind::Agents);
        page.set_filter("failed queue>3");
        page.sort_by("queue");
        page.wide = true;
        let to = open(&page.line());
        assert_eq!(to.filter, "failed queue>3");
        assert_eq!(to.sort, Some(("queue".into(), true)));
        assert!(to.wide && !to.faults);
    }

    #[test]
    fn verbs_settings_and_the_way_out_are_told_apart() {
        for quit in QUIT {
            assert_eq!(parse(quit), Ok(Line::Quit));
        }
        assert_eq!(
            parse("scale triage 19"),
            Ok(Line::Act(Verb::Scale, vec!["triage".into(), "19".into()]))
        );
        assert_eq!(parse(" theme light "), Ok(Line::Theme("light".into())));
        assert_eq!(parse("set tz local"), Ok(Line::Set(Setting::LocalTime(true))));
        assert_eq!(parse("toggle-wide"), Ok(Line::Action(Action::ToggleWide)));
        assert_eq!(
            parse("logs agent a-1"),
            Ok(Line::About(Action::Logs, Some(Noun::Agent), "a-1".into()))
        );
        assert_eq!(
            parse("describe pools triage"),
            Ok(Line::About(Action::Describe, Some(Noun::Pool), "triage".into()))
        );
    }

    #[test]
    fn a_wrong_line_says_what_was_likely_meant() {
        for (line, said) in [
            ("agetns", "there is no command \"agetns\"; did you mean agents?"),
            ("restrat x", "there is no command \"restrat\"; did you mean restart?"),
            ("agents sort:queu", "agents have no column \"queu\"; did you mean queue?"),
            ("agents sort:queue:up", "sort: takes asc or desc after the column"),
            ("theme", "theme needs one name"),
            ("bookmark a b", "bookmark needs one name, without blanks"),
            (
                "set tz mars",
                "set takes tz utc|local, header full|compact, crumbs|detail|ascii on|off",
            ),
            ("pulse x", "pulse takes no name: it shows the whole fleet"),
            ("xray svc", "xray grows from pools, agents or queues, not from svc"),
            ("", "type a page or a verb; ? lists them"),
            ("\u{1b}[2J", "there is no command \"\\u{1b}[2j\""),
        ] {
            assert_eq!(parse(line).unwrap_err(), said, "{line}");
        }
    }

    #[test]
    fn no_name_of_a_page_is_taken_twice_or_begins_the_way_out() {
        let mut seen = std::collections::BTreeSet::new();
        for name in TableKind::iter().flat_map(TableKind::names) {
            assert!(seen.insert(*name), "{name} is taken twice");
            assert!(!name.starts_with('q'), "{name} looks like quit");
            assert!(Verb::from_str(name).is_err(), "{name} is a verb");
        }
    }
}
