//! The `:` grammar: a page by any of its names with its arguments in any order (`:agents all /failed sort:queue:desc
//! tier=gold faults`), a verb with the names of what it is about, or a setting. It resolves no name and opens nothing.

use std::str::FromStr;

use strum::IntoEnumIterator;

use super::action::Action;
use super::load::nearest;
use super::pages::TableKind;
use super::pages::text::TextKind;
use crate::model::plan::Noun;
use crate::model::text::Safe;

pub mod suggest;

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
    Theme(String),
    Keymap(String),
    Set(Setting),
    Quit,
}

/// How a table is looked at, as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locator {
    pub kind: TableKind,
    /// Only what belongs to this thing: `in:pool/triage`.
    pub owner: Option<(Noun, String)>,
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
const QUIT: [&str; 4] = ["q", "qa", "quit", "exit"];

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
        ("perf", []) => Ok(Line::Action(Action::TogglePerf)),
        ("aliases", []) => Ok(Line::Text(TextKind::Aliases)),
        ("theme", [name]) => Ok(Line::Theme((*name).to_owned())),
        ("keymap", [name]) => Ok(Line::Keymap((*name).to_owned())),
        ("theme" | "keymap", _) => Err(Safe::new(&format!("{word} needs one name"))),
        ("set", words) => setting(words).map(Line::Set),
        ("describe" | "yaml" | "logs", [name]) => about(&word, None, name),
        ("describe" | "yaml" | "logs", [noun, name]) => about(&word, Some(noun), name),
        _ => match Action::from_str(&word) {
            Ok(action) if rest.is_empty() => Ok(Line::Action(action)),
            _ => Err(unknown(&word)),
        },
    }
}

fn unknown(word: &str) -> Safe {
    let near = nearest(word, names());
    let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
    Safe::new(&format!("there is no command {word:?}{hint}"))
}

/// Every first word that means something, the pages first.
pub fn names() -> impl Iterator<Item = &'static str> {
    TableKind::iter().map(TableKind::name).chain(Verb::iter().map(Verb::name)).chain([
        "pulse", "describe", "yaml", "logs", "help", "notices", "aliases", "perf", "dump", "theme",
        "keymap", "set", "quit",
    ])
}

fn about(word: &str, noun: Option<&str>, name: &str) -> Result<Line, Safe> {
    let action = match word {
        "describe" => Action::Describe,
        "yaml" => Action::Yaml,
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
    let wrong = || Safe::new("set takes tz utc|local, header|crumbs|detail|ascii on|off");
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

/// The arguments of a page, in any order. A filter begins with `/` and ends where another argument begins.
fn locator(kind: TableKind, rest: &str) -> Result<Locator, Safe> {
    let mut to = Locator {
        kind,
        owner: None,
        filter: String::new(),
        sort: None,
        faults: false,
        wide: false,
        name: None,
    };
    let mut in_filter = false;
    for word in rest.split(' ').filter(|word| !word.is_empty()) {
        if let Some(sort) = word.strip_prefix("sort:") {
            to.sort = Some(sort_argument(kind, sort)?);
            in_filter = false;
        } else if let Some(owner) = word.strip_prefix("in:") {
            let (noun, name) = owner.split_once('/').unwrap_or(("pool", owner));
            let noun = self::noun(noun)
                .ok_or_else(|| Safe::new(&format!("in: {noun:?} is no kind of thing")))?;
            to.owner = Some((noun, name.to_owned()));
            in_filter = false;
        } else if let Some(filter) = word.strip_prefix('/').filter(|_| !in_filter) {
            add(&mut to.filter, filter);
            in_filter = true;
        } else if in_filter && !matches!(word, "faults" | "wide") {
            add(&mut to.filter, word);
        } else {
            match word {
                "all" => {}
                "faults" => to.faults = true,
                "wide" => to.wide = true,
                // `-f fuzzy`, `-l labels` and terms are parts of a filter even without its `/`
                _ if word.starts_with('-') => {
                    add(&mut to.filter, word);
                    in_filter = true;
                }
                _ if word.contains(['=', '>', '<', '~']) => add(&mut to.filter, word),
                _ => to.name = Some(word.to_owned()),
            }
        }
    }
    Ok(to)
}

fn add(line: &mut String, word: &str) {
    if !line.is_empty() {
        line.push(' ');
    }
    line.push_str(word);
}

fn sort_argument(kind: TableKind, text: &str) -> Result<(String, bool), Safe> {
    let (column, way) = text.split_once(':').unwrap_or((text, "asc"));
    let columns = || kind.spec().columns.iter().map(|column| column.key);
    if !columns().any(|known| known == column) {
        let near = nearest(column, columns());
        let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        return Err(Safe::new(&format!("{} have no column {column:?}{hint}", kind.name())));
    }
    match way {
        "asc" => Ok((column.to_owned(), false)),
        "desc" => Ok((column.to_owned(), true)),
        _ => Err(Safe::new("sort: takes asc or desc after the column")),
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
        let same = open("ag wide sort:queue:desc state!=running age<2h");
        assert_eq!(same, to);
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
            ("set tz mars", "set takes tz utc|local, header|crumbs|detail|ascii on|off"),
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
