//! Plans that carry over what somebody made of a document in an editor: only the fields they changed, and only where these
//! are still as they were read. What it comes to is an apply of those fields.

use serde_json::{Map, Value};

use super::draft::Draft;
use super::planner::Planner;
use super::resolve::refused;
use super::reversal::{FieldChange, differences, put_back, set};
use crate::engine::handle::CommandError;
use crate::engine::queries::Asker;
use crate::model::manifest::editable;
use crate::model::plan::{Manifest, Noun};

impl Planner<'_> {
    pub(super) async fn edit(
        &self,
        noun: Noun,
        name: &str,
        base: &Map<String, Value>,
        fields: &Map<String, Value>,
    ) -> Result<Draft, CommandError> {
        let document = self.resolver.document(noun, name).await?;
        let cannot = || refused(format!("a {noun} cannot be edited"));
        let now = editable(noun, &document.body).ok_or_else(cannot)?;
        let text = |field: &str| document.body.get(field).and_then(Value::as_str);
        let called = text("name").unwrap_or(name);
        if matches!(noun, Noun::Agent | Noun::Pool) && text("live_name").is_none() {
            return Err(refused(format!("{noun} {called} is deleted: undo the deletion first")));
        }
        // what the editor showed had its secrets hidden, so it is compared in that form
        let mut masked = document.body.clone();
        Asker::new(self.ctx, self.actor).mask(&mut masked);
        let shown = editable(noun, &masked).ok_or_else(cannot)?;
        let edits = differences(base, fields);
        if edits.is_empty() {
            return Err(refused(format!("nothing of {noun} {called} was changed")));
        }
        let back = |edit: &FieldChange| FieldChange {
            path: edit.path.clone(),
            was: edit.now.clone(),
            now: edit.was.clone(),
        };
        put_back(&shown, &edits.iter().map(back).collect::<Vec<_>>()).map_err(|moved| {
            refused(format!("somebody changed {noun} {called} since: {}", moved.join("; ")))
        })?;
        let manifest = Manifest {
            noun,
            name: called.to_owned(),
            fields: changed(now, &edits, text("tenant").filter(|_| noun != Noun::Template)),
            source: "edit".to_owned(),
        };
        let mut draft = self.apply(&[manifest]).await?;
        draft.title = format!("Edit {noun} {called}");
        draft.facts.retain(|fact| !matches!(fact.name.as_str(), "created" | "unchanged"));
        Ok(draft)
    }
}

/// The fields that a manifest has to name for these edits, as they will be. What was taken out asks for its default.
fn changed(
    now: Map<String, Value>,
    edits: &[FieldChange],
    tenant: Option<&str>,
) -> Map<String, Value> {
    let mut after = Value::Object(now);
    for edit in edits {
        let inside =
            ["/configuration/", "/config/"].iter().find_map(|of| edit.path.strip_prefix(of));
        let whole = match inside {
            Some(rest) => !rest.contains('/'),
            None => edit.path.matches('/').count() == 1,
        };
        // a manifest names what it takes away; deeper down, the object around it is replaced as a whole
        let value = edit.now.clone().or_else(|| whole.then_some(Value::Null));
        set(&mut after, &edit.path, value);
    }
    let Value::Object(mut after) = after else { return Map::new() };
    let touched = |name: &String| {
        edits.iter().any(|edit| {
            let first = edit.path.trim_start_matches('/').split('/').next().unwrap_or_default();
            first.replace("~1", "/").replace("~0", "~") == *name
        })
    };
    after.retain(|name, _| touched(name));
    if let Some(tenant) = tenant {
        after.insert("tenant".to_owned(), tenant.into());
    }
    after
}
