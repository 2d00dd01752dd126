//! The AQL of a document with some fields set or removed, which may lie deep inside: objects on the way are made where
//! something is set, and nothing is made where something is only removed.

use crate::model::filter::Field;

/// What becomes of the fields of one object.
#[derive(Debug, Default)]
pub(super) struct Tree {
    fields: Vec<(String, Node)>,
}

#[derive(Debug)]
enum Node {
    Set(String),
    Removed,
    Inside(Tree),
}

impl Tree {
    /// Sets the field to what an expression gives; none removes it. Of two words on one field the later counts.
    pub(super) fn set(&mut self, field: &Field, expression: Option<String>) {
        let leaf = expression.map_or(Node::Removed, Node::Set);
        let segments: Vec<&str> = field.segments().collect();
        self.place(&segments, leaf);
    }

    fn place(&mut self, segments: &[&str], leaf: Node) {
        let Some((first, rest)) = segments.split_first() else { return };
        let found = self.fields.iter().position(|(name, _)| name == first);
        if rest.is_empty() {
            match found {
                Some(at) => self.fields[at].1 = leaf,
                None => self.fields.push(((*first).to_owned(), leaf)),
            }
            return;
        }
        let at = found.unwrap_or_else(|| {
            self.fields.push(((*first).to_owned(), Node::Inside(Self::default())));
            self.fields.len() - 1
        });
        if let Node::Set(_) | Node::Removed = self.fields[at].1 {
            self.fields[at].1 = Node::Inside(Self::default());
        }
        if let Node::Inside(tree) = &mut self.fields[at].1 {
            tree.place(rest, leaf);
        }
    }

    fn only_removes(&self) -> bool {
        self.fields.iter().all(|(_, node)| match node {
            Node::Set(_) => false,
            Node::Removed => true,
            Node::Inside(tree) => tree.only_removes(),
        })
    }

    /// The expression of `base`, the object at `path`, with the changes done.
    pub(super) fn of(&self, path: &str, base: &str) -> String {
        let gone = self.fields.iter().filter(|(_, node)| matches!(node, Node::Removed));
        let gone: Vec<String> = gone.map(|(name, _)| format!("\"{name}\"")).collect();
        let mut parts = vec![if gone.is_empty() {
            base.to_owned()
        } else {
            format!("UNSET({base}, [{}])", gone.join(", "))
        }];
        for (name, node) in &self.fields {
            let here = format!("{path}.`{name}`");
            match node {
                Node::Removed => {}
                Node::Set(expression) => parts.push(format!("{{ \"{name}\": {expression} }}")),
                Node::Inside(tree) if tree.only_removes() => parts.push(format!(
                    "(IS_OBJECT({here}) ? {{ \"{name}\": {} }} : {{}})",
                    tree.of(&here, &here)
                )),
                Node::Inside(tree) => {
                    let object = format!("(IS_OBJECT({here}) ? {here} : {{}})");
                    parts.push(format!("{{ \"{name}\": {} }}", tree.of(&here, &object)));
                }
            }
        }
        match parts.as_slice() {
            [only] => only.clone(),
            _ => format!("MERGE({})", parts.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_set_removed_and_made_on_the_way() {
        let mut tree = Tree::default();
        tree.set(&"a.b".into(), Some("@v0".into()));
        tree.set(&"gone".into(), None);
        tree.set(&"never.there".into(), None);
        assert_eq!(
            tree.of("d", "d"),
            "MERGE(UNSET(d, [\"gone\"]), { \"a\": MERGE((IS_OBJECT(d.`a`) ? d.`a` : {}), { \"b\": @v0 }) }, \
             (IS_OBJECT(d.`never`) ? { \"never\": UNSET(d.`never`, [\"there\"]) } : {}))"
        );
    }

    #[test]
    fn nothing_to_do_leaves_the_document() {
        assert_eq!(Tree::default().of("d", "d"), "d");
    }
}
