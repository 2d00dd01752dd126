//! Which keys ask for which action: a trie of chords a scope, loaded from `keymaps/*.toml`, read backwards for hints and
//! help. It knows no page: whoever asks says which scopes count, nearest first.

use std::collections::{BTreeMap, HashMap};

use strum::{EnumIter, EnumString, IntoStaticStr};

use super::action::Action;
use super::keys::{Key, show_chord, typed};

pub mod load;

/// Where a binding holds. A page looks into its own scope, then into that of its widget, then into `global`.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    EnumString,
    IntoStaticStr,
    EnumIter,
    strum::VariantNames,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Scope {
    Global,
    Table,
    Text,
    Tree,
    Dialog,
    Prompt,
    Agents,
    Pools,
    Templates,
    Messages,
    Queues,
    Subscriptions,
    Publications,
    Pulse,
    Xray,
    Health,
    Events,
    Operations,
    Hosts,
    Namespaces,
    Contexts,
    Forwards,
    Describe,
    Yaml,
    Logs,
    Help,
}

impl Scope {
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What the keys typed so far amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    Action(Action),
    /// Half a chord: how it may go on, for the hint list.
    More(Vec<(Key, Continuation)>),
    None,
}

/// What the next key of a half-typed chord would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuation {
    Action(Action),
    Deeper,
}

/// One key's place in the trie.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Leaf(Action),
    Branch(HashMap<Key, Node>),
}

/// Every binding of one profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keymap {
    scopes: HashMap<Scope, HashMap<Key, Node>>,
}

impl Keymap {
    /// Binds `chord`; what it hides (itself, its beginning, what it begins) is gone.
    pub fn bind(&mut self, scope: Scope, chord: &[Key], action: Action) {
        let Some((last, path)) = chord.split_last() else { return };
        let mut keys = self.scopes.entry(scope).or_default();
        for key in path {
            let node = keys.entry(*key).or_insert_with(|| Node::Branch(HashMap::new()));
            if let Node::Leaf(_) = node {
                *node = Node::Branch(HashMap::new());
            }
            let Node::Branch(deeper) = node else { return };
            keys = deeper;
        }
        keys.insert(*last, Node::Leaf(action));
    }

    /// Frees `chord` and everything that begins with it.
    pub fn unbind(&mut self, scope: Scope, chord: &[Key]) {
        fn cut(keys: &mut HashMap<Key, Node>, chord: &[Key]) {
            match chord {
                [] => {}
                [last] => drop(keys.remove(last)),
                [first, rest @ ..] => {
                    if let Some(Node::Branch(deeper)) = keys.get_mut(first) {
                        cut(deeper, rest);
                        if deeper.is_empty() {
                            keys.remove(first);
                        }
                    }
                }
            }
        }
        if let Some(keys) = self.scopes.get_mut(&scope) {
            cut(keys, chord);
        }
    }

    /// Looks `typed` up in `scopes`, nearest first. A nearer scope that knows its beginning hides the farther ones.
    pub fn look_up(&self, scopes: &[Scope], typed: &[Key]) -> Match {
        let mut more: Vec<(Key, Continuation)> = Vec::new();
        for scope in scopes {
            match self.walk(*scope, typed) {
                Some(Node::Leaf(action)) if more.is_empty() => return Match::Action(*action),
                Some(Node::Branch(keys)) => {
                    for (key, node) in keys {
                        if !more.iter().any(|(known, _)| known == key) {
                            let next = match node {
                                Node::Leaf(action) => Continuation::Action(*action),
                                Node::Branch(_) => Continuation::Deeper,
                            };
                            more.push((*key, next));
                        }
                    }
                }
                Some(Node::Leaf(_)) | None => {}
            }
        }
        if more.is_empty() {
            return Match::None;
        }
        more.sort_by_key(|(key, _)| *key);
        Match::More(more)
    }

    fn walk(&self, scope: Scope, typed: &[Key]) -> Option<&Node> {
        let (first, rest) = typed.split_first()?;
        let mut node = self.scopes.get(&scope)?.get(first)?;
        for key in rest {
            let Node::Branch(keys) = node else { return None };
            node = keys.get(key)?;
        }
        Some(node)
    }

    /// Every action that can be reached from `scopes`, with the chords that reach it, shortest first.
    pub fn reverse(&self, scopes: &[Scope]) -> BTreeMap<Action, Vec<String>> {
        let mut found: BTreeMap<Action, Vec<Vec<Key>>> = BTreeMap::new();
        for scope in scopes {
            for (chord, action) in self.chords(*scope) {
                if self.look_up(scopes, &chord) == Match::Action(action) {
                    let chords = found.entry(action).or_default();
                    if !chords.contains(&chord) {
                        chords.push(chord);
                    }
                }
            }
        }
        let sorted = |(action, mut chords): (Action, Vec<Vec<Key>>)| {
            let mut shown: Vec<String> = chords.drain(..).map(|chord| show_chord(&chord)).collect();
            shown.sort_by_key(|chord| (effort(chord), chord.clone()));
            (action, shown)
        };
        found.into_iter().map(sorted).collect()
    }

    /// Every binding of one scope.
    pub fn chords(&self, scope: Scope) -> Vec<(Vec<Key>, Action)> {
        let mut out = Vec::new();
        each(self.scopes.get(&scope), &mut Vec::new(), &mut |chord, action| {
            out.push((chord.to_vec(), action));
        });
        out.sort();
        out
    }

    /// The shortest chord for `action` from `scopes`; `None` when no key reaches it.
    pub fn key_for(&self, scopes: &[Scope], action: Action) -> Option<String> {
        self.keys_for(scopes, [action]).pop().flatten()
    }

    /// The shortest chord for each of `wanted`, in their order. Asked for with every picture, so only their chords are
    /// looked at: what `reverse` gives of all actions takes longer than drawing the rest of the picture.
    pub fn keys_for(
        &self,
        scopes: &[Scope],
        wanted: impl IntoIterator<Item = Action>,
    ) -> Vec<Option<String>> {
        self.best(scopes, wanted, &|_| true)
    }

    /// The same while a text is being written: a chord that begins with a character would become part of it.
    pub fn keys_beside_text(
        &self,
        scopes: &[Scope],
        wanted: impl IntoIterator<Item = Action>,
    ) -> Vec<Option<String>> {
        self.best(scopes, wanted, &|chord| chord.first().is_some_and(|key| typed(*key).is_none()))
    }

    fn best(
        &self,
        scopes: &[Scope],
        wanted: impl IntoIterator<Item = Action>,
        works: &dyn Fn(&[Key]) -> bool,
    ) -> Vec<Option<String>> {
        let wanted: Vec<Action> = wanted.into_iter().collect();
        let mut best: Vec<Option<(u8, String)>> = vec![None; wanted.len()];
        for scope in scopes {
            each(self.scopes.get(scope), &mut Vec::new(), &mut |chord, action| {
                if !wanted.contains(&action)
                    || !works(chord)
                    || self.look_up(scopes, chord) != Match::Action(action)
                {
                    return;
                }
                let shown = show_chord(chord);
                let found = (effort(&shown), shown);
                for (best, _) in best.iter_mut().zip(&wanted).filter(|(_, of)| **of == action) {
                    if best.as_ref().is_none_or(|best| found < *best) {
                        *best = Some(found.clone());
                    }
                }
            });
        }
        best.into_iter().map(|best| best.map(|(_, chord)| chord)).collect()
    }
}

/// Every binding below `keys`, in no order.
fn each(
    keys: Option<&HashMap<Key, Node>>,
    path: &mut Vec<Key>,
    found: &mut impl FnMut(&[Key], Action),
) {
    for (key, node) in keys.into_iter().flatten() {
        path.push(*key);
        match node {
            Node::Leaf(action) => found(path, *action),
            Node::Branch(deeper) => each(Some(deeper), path, found),
        }
        path.pop();
    }
}

/// Which of several chords is shown first: a character, then a named key, then one with a modifier, then an arrow.
fn effort(chord: &str) -> u8 {
    match chord {
        _ if chord.chars().count() == 1 && chord.is_ascii() => 0,
        _ if chord.starts_with(['^']) || chord.starts_with("S-") || chord.starts_with("M-") => 2,
        _ if chord.is_ascii() => 1,
        _ => 3,
    }
}

#[cfg(test)]
mod tests {
    use strum::IntoEnumIterator;

    use super::*;
    use crate::tui::keys::parse_chord;

    fn chord(text: &str) -> Vec<Key> {
        parse_chord(text).unwrap()
    }

    fn keymap(bindings: &[(Scope, &str, Action)]) -> Keymap {
        let mut keymap = Keymap::default();
        for (scope, keys, action) in bindings {
            keymap.bind(*scope, &chord(keys), *action);
        }
        keymap
    }

    #[test]
    fn the_nearest_scope_wins_and_the_rest_fall_through() {
        let keymap = keymap(&[
            (Scope::Global, "q", Action::Leave),
            (Scope::Table, "s", Action::SortColumn),
            (Scope::Pools, "s", Action::Scale),
        ]);
        let scopes = [Scope::Pools, Scope::Table, Scope::Global];
        assert_eq!(keymap.look_up(&scopes, &chord("s")), Match::Action(Action::Scale));
        assert_eq!(keymap.look_up(&scopes, &chord("q")), Match::Action(Action::Leave));
        assert_eq!(keymap.look_up(&scopes[1..], &chord("s")), Match::Action(Action::SortColumn));
        assert_eq!(keymap.look_up(&scopes, &chord("x")), Match::None);
        assert_eq!(keymap.key_for(&scopes, Action::SortColumn), None, "hidden by the page");
    }

    #[test]
    fn the_keys_of_some_actions_are_those_that_all_actions_read_backwards_give() {
        for (name, _) in load::SHIPPED {
            let (keymap, faults) = load::load(name, None);
            assert!(faults.is_empty(), "{faults:?}");
            for page in [Scope::Agents, Scope::Pools, Scope::Logs, Scope::Help] {
                let scopes = [page, Scope::Table, Scope::Global];
                let all = keymap.reverse(&scopes);
                let first = |action| all.get(&action).and_then(|keys| keys.first().cloned());
                let wanted: Vec<Action> = Action::iter().collect();
                let expected: Vec<_> = wanted.iter().map(|action| first(*action)).collect();
                assert!(expected.iter().flatten().count() > 20, "{name}: nothing to compare");
                assert_eq!(keymap.keys_for(&scopes, wanted), expected, "{name} {page:?}");
            }
        }
    }

    #[test]
    fn half_a_chord_says_how_it_goes_on() {
        let keymap = keymap(&[
            (Scope::Global, "g g", Action::SelectFirst),
            (Scope::Global, "g x y", Action::Redraw),
            (Scope::Table, "g e", Action::SelectLast),
        ]);
        let Match::More(more) = keymap.look_up(&[Scope::Table, Scope::Global], &chord("g")) else {
            panic!("no chord");
        };
        let shown: Vec<String> = more.iter().map(|(key, _)| show_chord(&[*key])).collect();
        assert_eq!(shown, ["e", "g", "x"]);
        assert_eq!(more[2].1, Continuation::Deeper);
    }

    #[test]
    fn a_new_binding_takes_what_stood_in_its_way() {
        let mut keymap = keymap(&[(Scope::Table, "d", Action::Describe)]);
        keymap.bind(Scope::Table, &chord("d d"), Action::Delete);
        assert!(matches!(keymap.look_up(&[Scope::Table], &chord("d")), Match::More(_)));
        keymap.bind(Scope::Table, &chord("d"), Action::Describe);
        assert_eq!(keymap.look_up(&[Scope::Table], &chord("d")), Match::Action(Action::Describe));
        keymap.unbind(Scope::Table, &chord("d"));
        assert_eq!(keymap.look_up(&[Scope::Table], &chord("d")), Match::None);
    }
}
