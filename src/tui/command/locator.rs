//! How a page is asked for: what follows its name in the command bar, in any order.

use std::str::FromStr;

use super::{Locator, ScopeName, habit};
use crate::model::text::Safe;
use crate::tui::load::nearest;
use crate::tui::pages::TableKind;
use crate::tui::pages::row::is_custom;
use crate::tui::pages::xray::Root;

/// The arguments of a page, in any order. A filter begins with `/` and ends where another argument begins.
pub(super) fn locator(kind: TableKind, rest: &str) -> Result<Locator, Safe> {
    let mut to = Locator {
        kind,
        owner: None,
        scope: None,
        root: Root::default(),
        filter: String::new(),
        sort: None,
        faults: false,
        wide: false,
        name: None,
    };
    let mut in_filter = false;
    let mut in_list = false;
    let mut words = rest.split(' ').filter(|word| !word.is_empty()).peekable();
    if kind == TableKind::Xray
        && let Some(root) = words.peek().and_then(|word| root(word))
    {
        to.root = root;
        words.next();
    }
    if kind == TableKind::Xray
        && let Some(word) = words.peek()
        && let Some(habit::Habit::Instead(_)) = habit::habit(&word.to_ascii_lowercase())
    {
        let said = format!("xray grows from pools, agents or queues, not from {word}");
        return Err(Safe::new(&said));
    }
    while let Some(word) = words.next() {
        if in_list {
            // `state in (failed, paused)` goes on until its bracket closes
            add(&mut to.filter, word);
            in_list = !word.ends_with(')');
        } else if matches!(word, "-A" | "--all-namespaces") {
            to.scope = Some(ScopeName::All);
            in_filter = false;
        } else if matches!(word, "-n" | "--namespace") {
            // as kubectl has it
            let name = words.next().ok_or_else(|| Safe::new("-n needs a scope: -n NAME"))?;
            to.scope = Some(ScopeName::named(name));
            in_filter = false;
        } else if let Some(sort) = word.strip_prefix("sort:") {
            to.sort = Some(sort_argument(kind, sort)?);
            in_filter = false;
        } else if let Some(owner) = word.strip_prefix("in:") {
            let (noun, name) = owner.split_once('/').unwrap_or(("pool", owner));
            let noun = super::noun(noun)
                .ok_or_else(|| Safe::new(&format!("in: {noun:?} is no kind of thing")))?;
            to.owner = Some((noun, name.to_owned()));
            in_filter = false;
        } else if let Some(scope) = word.strip_prefix("ns:") {
            to.scope = Some(ScopeName::named(scope));
            in_filter = false;
        } else if let Some(filter) = word.strip_prefix('/').filter(|_| !in_filter) {
            add(&mut to.filter, filter);
            in_filter = true;
        } else if in_filter && !matches!(word, "faults" | "wide") {
            add(&mut to.filter, word);
        } else {
            match word {
                "all" => to.scope = Some(ScopeName::All),
                "in" | "notin" if to.name.is_some() => {
                    let field = to.name.take().unwrap_or_default();
                    add(&mut to.filter, &field);
                    add(&mut to.filter, word);
                    in_list = true;
                }
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

/// What stands at the root of a tree: a page of such things by any of its names.
fn root(word: &str) -> Option<Root> {
    let word = word.to_ascii_lowercase();
    let word = match habit::habit(&word) {
        Some(habit::Habit::Same(ours)) => ours,
        Some(habit::Habit::Instead(_)) | None => &word,
    };
    match TableKind::named(word) {
        Some(TableKind::Agents) => Some(Root::Agent),
        Some(TableKind::Pools) => Some(Root::Pool),
        Some(TableKind::Queues) => Some(Root::Queue),
        _ => Root::from_str(word).ok(),
    }
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
    if !columns().any(|known| known == column) && !is_custom(column) {
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
