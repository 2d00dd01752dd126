//! Templates as documents: their versions, who uses them, and changes that keep both true. Every version ever is kept in
//! `template_versions` and never changed; a template that is in use is never removed, whoever comes in between.

use serde_json::{Map, Value, json};

use crate::engine::documents::{body, overlay, read};
use crate::engine::handle::CommandError;
use crate::engine::journal::Change;
use crate::engine::operations::draft::{Draft, count, target};
use crate::engine::operations::planner::Planner;
use crate::engine::operations::resolve::{Found, Resolver, refused};
use crate::engine::operations::reversal::{Reversal, differences};
use crate::model::filter::Filter;
use crate::model::id::TemplateId;
use crate::model::operation::UndoInfo;
use crate::model::plan::{Goal, Noun, Tier};
use crate::model::pool::Pool;
use crate::model::schema::Collection;
use crate::model::template::{Template, next_version, version_key};
use crate::model::time::Time;
use crate::ports::store::{Body, Document, Key, Query, StoreError, Write};

/// How many users of a template a refusal names.
const USERS_NAMED: usize = 5;

/// The row of a template's present version, written once and never changed.
fn version_row(id: &str, template: &Template, body: &Body) -> Result<Change, StoreError> {
    let mut row = body.clone();
    row.insert("template_id".to_owned(), id.into());
    row.shift_remove("referenced_at");
    Ok(Change {
        collection: Collection::TemplateVersions,
        key: Key::new(&version_key(id, &template.version))?,
        before: None,
        after: Some(row),
        kind: "template.version_kept",
        subject: format!("{} {}", template.name, template.version),
        evidence: Value::Null,
    })
}

/// Changes that create a template: the document and its first version.
pub(crate) fn creation(id: &TemplateId, template: &Template) -> Result<Vec<Change>, StoreError> {
    let body = body(template)?;
    let version = version_row(id.as_str(), template, &body)?;
    let created = Change {
        collection: Collection::AgentTemplates,
        key: Key::new(id.as_str())?,
        before: None,
        after: Some(body),
        kind: "template.created",
        subject: template.name.clone(),
        evidence: Value::Null,
    };
    Ok(vec![created, version])
}

/// Changes that bring a template to `after` under its next version, and the way back; `None` when nothing differs.
pub(crate) fn update(
    found: &Found<Template>,
    mut after: Template,
    now: Time,
) -> Result<Option<(Template, Vec<Change>, Reversal)>, StoreError> {
    let Some(bump) = found.value.bump(&after) else { return Ok(None) };
    after.version = next_version(&found.value.version, bump);
    after.updated_at = now;
    let written = overlay(&found.document.body, &found.value, &after);
    let mut fields = differences(&found.document.body, &written);
    fields.retain(|field| field.path != "/version");
    let reversal = Reversal::Fields {
        collection: Collection::AgentTemplates.name().to_owned(),
        id: found.id().to_owned(),
        name: after.name.clone(),
        fields,
    };
    let version = version_row(found.id(), &after, &written)?;
    let updated = Change {
        collection: Collection::AgentTemplates,
        key: found.document.key.clone(),
        before: Some(found.document.clone()),
        after: Some(written),
        kind: "template.updated",
        subject: after.name.clone(),
        evidence: json!({ "from": found.value.version, "to": after.version, "reach": bump.to_string() }),
    };
    Ok(Some((after, vec![updated, version], reversal)))
}

/// Marks a template as referred to, in the transaction that makes the reference: fails it if the template is gone, and
/// makes a removal that was decided before fail on the template's revision.
pub(crate) fn hold(key: &Key, now: Time) -> Write {
    let fields = Map::from_iter([("referenced_at".to_owned(), json!(now))]);
    let collection = Collection::AgentTemplates;
    Write::Merge { collection, key: key.clone(), fields, create: false }
}

impl Resolver<'_> {
    /// Who uses the template, in any version: up to a few by name, and how many in all.
    pub(crate) async fn template_users(&self, id: &str) -> Result<(Vec<String>, u64), StoreError> {
        let of = |gone: &'static str, filter: Filter| {
            Filter::And(vec![
                Filter::eq("template_id", id),
                Filter::Not(Box::new(Filter::Exists(gone.into()))),
                filter,
            ])
        };
        let users = [
            (Noun::Pool, Collection::AgentPools, of("purge_at", Filter::All)),
            (Noun::Agent, Collection::Agents, of("purge_at", Filter::ne("phase", "deleted"))),
        ];
        let (mut named, mut all) = (Vec::new(), 0);
        for (noun, collection, filter) in users {
            all += self.ctx.store.count(collection, filter.clone()).await?;
            let query = Query { limit: USERS_NAMED, ..Query::new(collection, filter) };
            for document in self.ctx.store.query(query).await?.documents {
                let name = document.body.get("name").and_then(Value::as_str).unwrap_or_default();
                named.push(format!("{noun} {name}"));
            }
        }
        named.truncate(USERS_NAMED);
        Ok((named, all))
    }
}

impl Planner<'_> {
    pub(crate) async fn template_of(
        &self,
        pool: &Found<Pool>,
    ) -> Result<Found<Template>, CommandError> {
        let Some(id) = &pool.value.template_id else {
            return Err(refused(format!("pool {} has no template", pool.value.name)));
        };
        self.resolver.one(Noun::Template, id.as_str()).await
    }

    /// The template as it was in `version`.
    pub(crate) async fn template_version(
        &self,
        template: &Found<Template>,
        version: &str,
    ) -> Result<Template, CommandError> {
        if template.value.version == version {
            return Ok(template.value.clone());
        }
        let key = Key::new(&version_key(template.id(), version))?;
        let found: Document = match self.ctx.store.get(Collection::TemplateVersions, &key).await {
            Ok(found) => found,
            Err(StoreError::NotFound { .. }) => {
                return Err(refused(format!(
                    "template {} has no version {version}; the newest is {}",
                    template.value.name, template.value.version
                )));
            }
            Err(error) => return Err(error.into()),
        };
        Ok(read(&found)?)
    }

    /// The versions that there are of a template, newest first.
    pub(crate) async fn versions(&self, template: &str) -> Result<Vec<String>, StoreError> {
        let of_it = Filter::eq("template_id", template);
        let documents = self.resolver.all(Collection::TemplateVersions, of_it).await?;
        let text = |document: &Document, name: &str| {
            document.body.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        // a version is a document of its own, last updated when it was made
        let mut found: Vec<(String, String)> =
            documents.iter().map(|it| (text(it, "updated_at"), text(it, "version"))).collect();
        found.sort();
        Ok(found.into_iter().rev().map(|(_, version)| version).collect())
    }

    pub(crate) async fn clone_template(
        &self,
        template: &str,
        name: &str,
    ) -> Result<Draft, CommandError> {
        let source: Found<Template> = self.resolver.one(Noun::Template, template).await?;
        let copy = source.value.cloned(name, &self.actor.name, self.now);
        self.must_be_free(Noun::Template, name, "").await?;
        let mut faults = copy.validate();
        let title = format!("Clone template {} as {name}", source.value.name);
        let mut draft = Draft::new(title, Tier::One);
        self.judge_privileges(&copy.configuration, "/configuration", &mut draft, &mut faults);
        if !faults.is_empty() {
            return Err(CommandError::Invalid { errors: faults });
        }
        draft.rely(json!({ "template": source.id(), "version": source.value.version }));
        let id = TemplateId::mint(self.ctx.ids.draw());
        draft.changes.extend(creation(&id, &copy)?);
        let note = format!("of {} {}", source.value.name, source.value.version);
        draft.creates(target(Noun::Template, id.as_str(), name), Goal::Written, note);
        draft.undo = UndoInfo::Restore {
            documents: vec![created(Noun::Template, id.as_str(), name)],
            note: format!("delete template {name}"),
        };
        Ok(draft)
    }

    pub(crate) async fn delete_templates(&self, names: &[String]) -> Result<Draft, CommandError> {
        let found: Vec<Found<Template>> = self.resolver.many(Noun::Template, names).await?;
        let title = match &found[..] {
            [one] => format!("Delete template {}", one.value.name),
            many => format!("Delete {}", count(many.len(), "template")),
        };
        let mut draft = Draft::new(title, Tier::Two);
        let (mut documents, mut in_use) = (Vec::new(), Vec::new());
        for template in &found {
            let (name, id) = (template.value.name.clone(), template.id());
            match self.resolver.template_users(id).await? {
                (_, 0) => {}
                (users, all) => {
                    let hidden = all.saturating_sub(users.len() as u64);
                    let more =
                        if hidden == 0 { String::new() } else { format!(" and {hidden} more") };
                    in_use.push(format!("template {name} is in use by {}{more}", users.join(", ")));
                }
            }
            draft.rely(json!({ "template": id, "version": template.value.version }));
            draft.step(
                0,
                "delete",
                target(Noun::Template, id, &*name),
                Goal::Written,
                "its versions are kept",
            );
            documents.push(self.remove_document(
                &mut draft,
                Collection::AgentTemplates,
                &template.document,
                &name,
                "template.deleted",
            ));
        }
        if !in_use.is_empty() {
            return Err(refused(in_use.join("; ")));
        }
        draft.undo =
            UndoInfo::Restore { documents, note: "restore them as they are now".to_owned() };
        Ok(draft)
    }

    /// Removes a document at its present revision, and tells the way back.
    pub(crate) fn remove_document(
        &self,
        draft: &mut Draft,
        collection: Collection,
        document: &Document,
        name: &str,
        kind: &'static str,
    ) -> Value {
        draft.changes.push(Change {
            collection,
            key: document.key.clone(),
            before: Some(document.clone()),
            after: None,
            kind,
            subject: name.to_owned(),
            evidence: Value::Null,
        });
        Reversal::Removed {
            collection: collection.name().to_owned(),
            id: document.key.to_string(),
            name: name.to_owned(),
            body: document.body.clone(),
        }
        .written()
    }

    /// # Errors
    /// `Refused` when something else of this kind (in this tenant, where names are per tenant) has the name.
    pub(crate) async fn must_be_free(
        &self,
        noun: Noun,
        name: &str,
        tenant: &str,
    ) -> Result<(), CommandError> {
        match self.resolver.named(noun, name, tenant).await? {
            None => Ok(()),
            Some(taken) => {
                Err(refused(format!("the name {name} is taken by {noun} {}", taken.key)))
            }
        }
    }
}

/// The way back of something created.
pub(crate) fn created(noun: Noun, id: &str, name: &str) -> Value {
    let collection = crate::engine::operations::resolve::collection(noun).name().to_owned();
    Reversal::Created { collection, id: id.to_owned(), name: name.to_owned() }.written()
}
