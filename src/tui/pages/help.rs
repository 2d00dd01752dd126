//! Texts that the console makes of itself: the keys as they are bound at this moment, the commands, what was said.

use std::collections::BTreeMap;

use strum::IntoEnumIterator;

use super::TableKind;
use super::text::{Content, Ink, PlainLine};
use crate::model::access::{Right, Role};
use crate::model::text::Safe;
use crate::model::time::Time;
use crate::tui::action::{Action, Group};
use crate::tui::command::{Verb, habit};
use crate::tui::keymap::{Keymap, Scope};
use crate::tui::notices::Notice;
use crate::tui::widgets::toast::Weight;

/// Columns of the keys.
const KEYS: usize = 22;

/// Every key that works where `scopes` count, under the headings of its group.
pub fn help(
    keymap: &Keymap,
    scopes: &[Scope],
    readonly: bool,
    role: Role,
    missing: &dyn Fn(Action) -> Option<String>,
) -> Content {
    let mut groups: BTreeMap<Group, Vec<(Action, Vec<String>)>> = BTreeMap::new();
    for (action, keys) in keymap.reverse(scopes) {
        groups.entry(action.group()).or_default().push((action, keys));
    }
    let page = scopes.first().map_or("everywhere", |scope| scope.name());
    let mut lines = vec![line(&[
        ("keys in ", Ink::Title),
        (page, Ink::Title),
        ("   / searches, esc goes back, : opens the command bar", Ink::Muted),
    ])];
    for (group, actions) in groups {
        lines.push(Vec::new());
        let hidden = readonly && group == Group::Act;
        let title: &'static str = group.into();
        let note = if hidden { "  refused while read-only" } else { "" };
        lines.push(line(&[(title, Ink::Title), (note, Ink::Warn)]));
        for (action, keys) in actions {
            let shown = keys.join("  ");
            let denied = action.right().filter(|right| !role.may(*right));
            let lacks = missing(action);
            let ink =
                if hidden || denied.is_some() || lacks.is_some() { Ink::Muted } else { Ink::Text };
            let keys = Safe::new(&format!("  {shown:<KEYS$}"));
            let words = Safe::new(action.help());
            let name = Safe::new(&format!("  {}", action.name()));
            let mut line = vec![(keys, Ink::Key), (words, ink), (name, Ink::Muted)];
            if let Some(right) = denied {
                let why = format!("  denied: {role} has no right to {right}");
                line.push((Safe::new(&why), Ink::Warn));
            }
            if let Some(lacks) = lacks {
                line.push((Safe::new(&format!("  denied: {lacks}")), Ink::Warn));
            }
            lines.push(line);
        }
    }
    lines.push(Vec::new());
    lines.push(line(&[("PLANS", Ink::Title)]));
    for (tier, words) in [
        ("tier 1", "y agrees"),
        ("tier 2", "the whole plan, Cancel focused; y agrees"),
        ("tier 3", "the name or `delete 137` has to be typed"),
        ("tier 4", "refused, with the reason"),
    ] {
        lines.push(vec![
            (Safe::new(&format!("  {tier:<KEYS$}")), Ink::Key),
            (Safe::new(words), Ink::Text),
        ]);
    }
    Content::Plain(lines)
}

/// What a role may do, and what it may not, with the right that is missing.
pub fn rights(role: Role) -> Content {
    let mut lines =
        vec![line(&[("what ", Ink::Title), (role.into(), Ink::Title), (" may do", Ink::Title)])];
    lines.push(Vec::new());
    for right in Right::iter() {
        let may = role.may(right);
        let verbs: Vec<&str> = Action::iter()
            .filter(|action| action.right() == Some(right))
            .map(Action::name)
            .collect();
        let (word, ink) = if may { ("yes", Ink::Ok) } else { ("no", Ink::Warn) };
        let what = match right {
            Right::View => "look at everything but payloads".to_owned(),
            Right::ViewPayloads => "look into payloads of messages".to_owned(),
            Right::Operate | Right::Manage => verbs.join("  "),
            Right::Administer => {
                "hand over leadership, change the schema, act across tenants".to_owned()
            }
        };
        lines.push(vec![
            (Safe::new(&format!("  {word:<4}")), ink),
            (Safe::new(&format!("{right:<16}")), Ink::Key),
            (Safe::new(&what), if may { Ink::Text } else { Ink::Muted }),
        ]);
    }
    Content::Plain(lines)
}

/// Every command with its short names.
pub fn aliases() -> Content {
    let mut lines = vec![line(&[("PAGES", Ink::Title)])];
    let row = |left: &str, right: &str| {
        vec![(Safe::new(&format!("  :{left:<32}")), Ink::Key), (Safe::new(right), Ink::Text)]
    };
    for kind in TableKind::iter() {
        lines.push(row(kind.name(), &kind.names()[1..].join("  ")));
    }
    lines.push(row("pulse", "pulses  pu"));
    lines.push(row("help", "h"));
    lines.push(row("notices", "notifications"));
    lines.push(row("aliases", ""));
    lines.push(row("can-i", "what your role may do"));
    lines.push(row(
        "ns [NAME|all]",
        "one tenant's things alone, 0-9 in tables; or another namespace",
    ));
    lines.push(row("ctx [NAME]", "another fleet, or another context of the kubeconfig"));
    lines.push(row("live AGENT", "its objects as the cluster has them; L in its YAML"));
    lines.push(row("bookmark NAME", "keep this view; b in tables"));
    lines.push(row("go NAME, forget NAME", "open a bookmark, or forget it"));
    lines.push(row("xray [pool|agent|queue] [NAME]", "what it is made of, the sick first"));
    lines.push(row("describe|yaml|logs [KIND] NAME", ""));
    lines.push(Vec::new());
    lines.push(line(&[("THE SAME AS IN K9S", Ink::Title)]));
    lines.extend(habit::same().map(|(words, ours)| row(ours, &words.join("  "))));
    lines.push(Vec::new());
    lines.push(line(&[("A PAGE TAKES, IN ANY ORDER", Ink::Title)]));
    for (left, right) in [
        (
            "/FILTER",
            "words are regexes; !word must not match; \"a phrase\"; queue>100 age<2h state=failed",
        ),
        ("-f TEXT", "fuzzy"),
        ("-l tier=gold,env!=dev", "labels"),
        ("sort:COLUMN[:desc]", "order"),
        ("in:pool/NAME  ns:TENANT", "only what belongs to it"),
        ("k=v  k in (a, b)", "terms of a filter, without its /"),
        ("faults  wide  all", "only what is not well; more columns; everything"),
        ("NAME", "go to that row"),
    ] {
        lines.push(vec![
            (Safe::new(&format!("   {left:<32}")), Ink::Key),
            (Safe::new(right), Ink::Text),
        ]);
    }
    lines.push(Vec::new());
    lines.push(line(&[("VERBS", Ink::Title)]));
    lines.extend(Verb::iter().map(|verb| row(verb.usage(), "")));
    lines.push(Vec::new());
    lines.push(line(&[("SETTINGS", Ink::Title)]));
    for usage in [
        "theme NAME",
        "keymap NAME",
        "set tz utc|local",
        "set header full|compact",
        "set crumbs on|off",
        "set detail on|off",
        "set ascii on|off",
        "q  qa  quit  exit",
    ] {
        lines.push(row(usage, ""));
    }
    Content::Plain(lines)
}

/// What was said, newest first.
pub fn notices(all: &[Notice], now: Time) -> Content {
    if all.is_empty() {
        return Content::Plain(vec![line(&[("nothing was said yet", Ink::Muted)])]);
    }
    let lines = all.iter().map(|notice| {
        let ago = super::words::exact(now.since(notice.at));
        let ink = match notice.weight {
            Weight::Info => Ink::Ok,
            Weight::Warn => Ink::Warn,
            Weight::Alarm => Ink::Alarm,
        };
        vec![(Safe::new(&format!("{ago:>8} ago  ")), Ink::Muted), (notice.text.clone(), ink)]
    });
    Content::Plain(lines.collect())
}

fn line(parts: &[(&str, Ink)]) -> PlainLine {
    parts.iter().map(|(text, ink)| (Safe::new(text), *ink)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::keymap::load::load;
    use crate::tui::keys::parse_chord;
    use crate::tui::testing::plain_look;
    use crate::tui::widgets::text::{Lines, Pieces};

    fn shown(content: &Content) -> String {
        let mut out = String::new();
        let mut pieces = Pieces::default();
        for index in 0..content.count() {
            pieces.clear();
            content.line(index, plain_look(), &mut pieces);
            out.push_str(pieces.as_str().trim_end());
            out.push('\n');
        }
        out
    }

    #[test]
    fn help_is_made_of_the_keys_as_they_are_bound() {
        let (mut keymap, _) = load("default", None);
        let scopes = [Scope::Agents, Scope::Table, Scope::Global];
        let help = |keymap: &Keymap, readonly| {
            help(keymap, &scopes, readonly, Role::PlatformAdmin, &|_| None)
        };
        let before = shown(&help(&keymap, false));
        assert!(before.contains("  r                     Restart the selected agents"), "{before}");
        keymap.bind(Scope::Agents, &parse_chord("ctrl-y").unwrap(), Action::Restart);
        keymap.unbind(Scope::Agents, &parse_chord("r").unwrap());
        let after = shown(&help(&keymap, false));
        assert!(after.contains("  ^y                    Restart the selected agents"), "{after}");
        assert!(shown(&help(&keymap, true)).contains("ACT  refused while read-only"));
        let denied = shown(&super::help(&keymap, &scopes, false, Role::Developer, &|_| None));
        let line = denied.lines().find(|line| line.contains("Delete the selected")).unwrap();
        assert!(line.ends_with("denied: developer has no right to manage"), "{line}");
        assert!(!denied.contains("Restart the selected agents, or a pool's  restart  denied"));
    }

    #[test]
    fn what_a_role_may_do_is_listed_with_what_it_lacks() {
        let text = shown(&rights(Role::Developer));
        assert!(text.contains("  yes operate") && text.contains("  no  manage"), "{text}");
        assert!(text.contains("delete") && text.contains("restart"), "{text}");
    }

    #[test]
    fn every_page_and_verb_is_among_the_aliases() {
        let text = shown(&aliases());
        for kind in TableKind::iter() {
            assert!(text.contains(&format!(":{}", kind.name())), "{text}");
        }
        assert!(text.contains(":pulse ") && text.contains("pod  pods"), "{text}");
        for verb in Verb::iter() {
            assert!(text.contains(verb.usage()), "{text}");
        }
    }
}
