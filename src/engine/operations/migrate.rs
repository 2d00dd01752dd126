//! The plan that rewrites documents of other programs into our shape, each with its way back.

use serde_json::{Map, Value, json};

use super::draft::{Draft, count, target};
use super::planner::Planner;
use super::resolve::refused;
use super::reversal::Reversal;
use super::undo::Undoing;
use crate::engine::handle::CommandError;
use crate::engine::journal::{Change, seal};
use crate::model::agent::Phase;
use crate::model::agent::shapes::{self, Rewritten};
use crate::model::operation::UndoInfo;
use crate::model::plan::{Goal, Noun, Tier};
use crate::model::schema::Collection;
use crate::ports::store::{Body, Document};

/// The most documents of one operation: each is kept whole with it, for the way back.
const AT_ONCE: usize = 500;
const PAGE: usize = 500;
/// What may be in another shape, and as what it is told of.
const FOREIGN: [(Collection, Noun); 3] = [
    (Collection::Agents, Noun::Agent),
    (Collection::WorkflowExecutions, Noun::Operation),
    (Collection::AgentCommunications, Noun::Message),
];

impl Planner<'_> {
    pub(super) async fn migrate(&self) -> Result<Draft, CommandError> {
        let mut draft = Draft::new("Migrate documents of other programs", Tier::Two);
        let (mut ways, mut left) = (Vec::new(), 0);
        for (collection, noun) in FOREIGN {
            let mut after = None;
            loop {
                let page = self.ctx.store.scan(collection, after.as_ref(), PAGE).await?;
                let full = page.len() == PAGE;
                after = page.last().map(|raw| raw.key.clone());
                for raw in page {
                    let Ok(body) = serde_json::from_str::<Body>(&raw.json) else { continue };
                    let document = Document { key: raw.key, rev: raw.rev, body };
                    match in_ours(collection, &document) {
                        Ok(None) => {}
                        Ok(Some(_)) if ways.len() == AT_ONCE => left += 1,
                        Ok(Some(done)) => {
                            ways.push(rewrite(&mut draft, noun, collection, document, done));
                        }
                        Err(why) => draft
                            .warnings
                            .push(format!("{collection}/{} stays as it is: {why}", document.key)),
                    }
                }
                if !full {
                    break;
                }
            }
        }
        draft.fact("rewrites", count(ways.len(), "document"));
        if left > 0 {
            draft.warnings.push(format!("{left} more are left for the next migration"));
        }
        if !ways.is_empty() {
            draft.undo =
                UndoInfo::Restore { documents: ways, note: "every document as it was".to_owned() };
        }
        Ok(draft)
    }

    /// Puts a document back into the shape that it had, unless it was put to use here since.
    pub(super) async fn shape_back(
        &self,
        to: &mut Undoing,
        way: Shape,
    ) -> Result<(), CommandError> {
        let Shape { collection, id, name, body, generation } = way;
        let Ok(collection) = collection.parse::<Collection>() else {
            return Err(refused(format!("there is no collection {collection}")));
        };
        let Some(document) = self.get(collection, &id).await? else {
            to.moved.push(format!("{name} is gone"));
            return Ok(());
        };
        let number =
            |name: &str| document.body.get(name).and_then(Value::as_u64).unwrap_or_default();
        let phase = document.body.get("phase").and_then(Value::as_str).unwrap_or_default();
        let works = phase.parse::<Phase>().is_ok_and(Phase::has_workload);
        if number("generation") != generation {
            to.moved.push(format!("{name} was changed"));
        } else if works && number("incarnation") > 0 {
            to.moved.push(format!("{name} was started here: stop it first"));
        } else {
            to.draft.rely(json!({ "shape": id, "generation": generation }));
            let noun = FOREIGN
                .iter()
                .find(|(it, _)| *it == collection)
                .map_or(Noun::Agent, |(_, noun)| *noun);
            let what = target(noun, &id, &name);
            to.draft.step(0, "restore", what, Goal::Written, "in the shape that it had");
            to.draft.changes.push(Change {
                collection,
                key: document.key.clone(),
                before: Some(document),
                after: Some(body),
                kind: "document.unmigrated",
                subject: name,
                evidence: Value::Null,
            });
        }
        Ok(())
    }
}

/// One document's way back to its shape.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Shape {
    collection: String,
    id: String,
    name: String,
    body: Map<String, Value>,
    /// As the migration left it.
    generation: u64,
}

fn in_ours(collection: Collection, document: &Document) -> Result<Option<Rewritten>, String> {
    match collection {
        Collection::Agents => shapes::ours(document.key.as_str(), &document.body),
        Collection::WorkflowExecutions => Ok(shapes::renamed(&document.body, &shapes::EXECUTION)),
        Collection::AgentCommunications => {
            Ok(shapes::renamed(&document.body, &shapes::COMMUNICATION))
        }
        _ => Ok(None),
    }
}

/// Adds the change, and gives its way back.
fn rewrite(
    draft: &mut Draft,
    noun: Noun,
    collection: Collection,
    document: Document,
    done: Rewritten,
) -> Value {
    let (id, Rewritten { body, rewrites }) = (document.key.to_string(), done);
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let name = text("name").unwrap_or_else(|| id.clone());
    draft.rely(json!({ "rewrites": id, "sum": seal::sum(&document.body) }));
    draft.step(0, "rewrite", target(noun, &id, &name), Goal::Written, rewrites.join("; "));
    let generation = body.get("generation").and_then(Value::as_u64).unwrap_or_default();
    let mut was = document.body.clone();
    was.shift_remove(seal::FIELD);
    let way = Shape {
        collection: collection.name().to_owned(),
        id,
        name: name.clone(),
        body: was,
        generation,
    };
    draft.changes.push(Change {
        collection,
        key: document.key.clone(),
        before: Some(document),
        after: Some(body),
        kind: "document.migrated",
        subject: name,
        evidence: json!({ "rewrites": rewrites }),
    });
    Reversal::Shape(way).written()
}
