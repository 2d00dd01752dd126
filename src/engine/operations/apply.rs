//! Plans that create or change documents from manifests: templates, then pools, then agents, all in one transaction.
//! Every fault of every manifest is listed before anything is refused.

mod agents;
pub(super) mod difference;
mod pools;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

pub(super) use agents::Wanted;

use super::draft::{Draft, count, target};
use super::planner::Planner;
use super::resolve::Found;
use crate::engine::documents::{body, read};
use crate::engine::handle::CommandError;
use crate::engine::journal::Change;
use crate::engine::templates;
use crate::model::id::TemplateId;
use crate::model::manifest::{Spec, merge};
use crate::model::operation::UndoInfo;
use crate::model::plan::{Goal, Manifest, Noun, Tier};
use crate::model::schema::Collection;
use crate::model::template::{FIRST_VERSION, FieldError, Template};
use crate::ports::store::{Body, Key, StoreError};
use difference::note;

/// The tenant of what nobody said a tenant for.
pub(super) const DEFAULT_TENANT: &str = "default";

/// What one apply has found and made so far.
#[derive(Debug)]
struct Apply {
    draft: Draft,
    faults: Vec<FieldError>,
    /// Templates as they will be after this apply, by name: what pools and agents of the same files refer to.
    templates: BTreeMap<String, (TemplateId, Template)>,
    /// Templates of this apply that have faults of their own.
    unread: BTreeSet<String>,
    reversals: Vec<Value>,
    created: usize,
    changed: usize,
    unchanged: usize,
}

/// A template that something refers to, in the version that it names.
#[derive(Debug)]
struct Reference {
    id: TemplateId,
    template: Template,
}

impl Apply {
    fn unchanged(&mut self) {
        self.unchanged += 1;
    }

    fn faults_of(&mut self, manifest: &Manifest, faults: impl IntoIterator<Item = FieldError>) {
        self.faults.extend(faults.into_iter().map(|fault| manifest.locate(fault)));
    }
}

impl Planner<'_> {
    pub(super) async fn apply(&self, manifests: &[Manifest]) -> Result<Draft, CommandError> {
        let mut apply = Apply {
            draft: Draft::new(String::new(), Tier::One),
            faults: Vec::new(),
            templates: BTreeMap::new(),
            unread: BTreeSet::new(),
            reversals: Vec::new(),
            created: 0,
            changed: 0,
            unchanged: 0,
        };
        if manifests.is_empty() {
            apply.faults.push(FieldError::new("/manifests", "expected at least one document"));
        }
        let mut read: Vec<(&Manifest, Spec)> = Vec::new();
        let (mut met, mut unread) = (BTreeSet::new(), Vec::new());
        for manifest in manifests {
            match manifest.read() {
                Ok(spec) => {
                    if !met.insert((spec.noun, spec.name.clone(), spec.tenant.clone())) {
                        let message = format!("{} {} is described twice", spec.noun, spec.name);
                        apply.faults_of(manifest, [FieldError::new("/name", message)]);
                    }
                    read.push((manifest, spec));
                }
                Err(faults) => {
                    apply.faults.extend(faults);
                    unread.push(manifest);
                }
            }
        }
        for manifest in &unread {
            if manifest.noun == Noun::Template {
                apply.unread.insert(manifest.name.clone());
            }
        }
        for noun in [Noun::Template, Noun::Pool, Noun::Agent] {
            for (manifest, spec) in read.iter().filter(|(_, spec)| spec.noun == noun) {
                match noun {
                    Noun::Template => self.apply_template(&mut apply, manifest, spec).await?,
                    Noun::Pool => self.apply_pool(&mut apply, manifest, spec).await?,
                    _ => self.apply_agent(&mut apply, manifest, spec).await?,
                }
            }
        }
        // what a faulty manifest refers to is looked up all the same: every fault at once
        for manifest in unread {
            if let Some(Value::String(name)) = manifest.fields.get("template") {
                self.referred(&mut apply, manifest, name, None).await?;
            }
        }
        if !apply.faults.is_empty() {
            return Err(CommandError::Invalid { errors: apply.faults });
        }
        let Apply { mut draft, reversals, created, changed, unchanged, .. } = apply;
        draft.title = format!("Apply {}", count(manifests.len(), "document"));
        draft.fact("created", created);
        draft.fact("changed", changed);
        draft.fact("unchanged", unchanged);
        if changed > 0 {
            draft.at_least(Tier::Two);
        }
        if !reversals.is_empty() {
            let mut note = Vec::new();
            if created > 0 {
                note.push(format!("delete the {created} created"));
            }
            if changed > 0 {
                note.push(format!("put back the {changed} changed, if unchanged since"));
            }
            draft.undo = UndoInfo::Restore { documents: reversals, note: note.join(", ") };
        }
        Ok(draft)
    }

    pub(super) fn tenant(&self, named: Option<&str>) -> String {
        let own = self.actor.tenant.as_deref();
        named.or(own).unwrap_or(DEFAULT_TENANT).to_owned()
    }

    /// The tenant that a manifest is for; another tenant's is a fault.
    fn tenant_of(&self, apply: &mut Apply, manifest: &Manifest, spec: &Spec) -> String {
        let tenant = self.tenant(spec.tenant.as_deref());
        if let Some(own) = &self.actor.tenant
            && *own != tenant
        {
            let message = format!("{} belongs to tenant {own}", self.actor.name);
            apply.faults_of(manifest, [FieldError::new("/tenant", message)]);
        }
        tenant
    }

    async fn stored<T: serde::de::DeserializeOwned>(
        &self,
        noun: Noun,
        name: &str,
        tenant: &str,
    ) -> Result<Option<Found<T>>, StoreError> {
        let found = self.resolver.named(noun, name, tenant).await?;
        found.map(|document| Ok(Found { value: read(&document)?, document })).transpose()
    }

    async fn apply_template(
        &self,
        apply: &mut Apply,
        manifest: &Manifest,
        spec: &Spec,
    ) -> Result<(), CommandError> {
        let stored: Option<Found<Template>> = self.stored(Noun::Template, &spec.name, "").await?;
        let fresh = Template {
            name: spec.name.clone(),
            kind: spec.name.clone(),
            version: FIRST_VERSION.to_owned(),
            created_at: self.now,
            updated_at: self.now,
            created_by: self.actor.name.clone(),
            ..Template::default()
        };
        let start = match &stored {
            Some(found) => found.document.body.clone(),
            None => body(&fresh)?,
        };
        let after: Template = merged(start, spec)?;
        let mut faults = after.validate();
        self.judge_privileges(
            &after.configuration,
            "/configuration",
            &mut apply.draft,
            &mut faults,
        );
        apply.faults_of(manifest, faults);
        let Some(found) = stored else {
            let id = TemplateId::mint(self.ctx.ids.draw());
            apply.draft.changes.extend(templates::creation(&id, &after)?);
            let what = target(Noun::Template, id.as_str(), &*spec.name);
            let words = format!("version {}", after.version);
            apply.draft.creates(what, Goal::Written, note(&words, None, &body(&after)?));
            apply.draft.rely(json!({ "new": ["template", spec.name] }));
            apply.reversals.push(templates::created(Noun::Template, id.as_str(), &spec.name));
            apply.created += 1;
            apply.templates.insert(spec.name.clone(), (id, after));
            return Ok(());
        };
        let id = template_id(&found)?;
        apply.draft.rely(json!({ "template": found.id(), "version": found.value.version }));
        match templates::update(&found, after, self.now)? {
            None => {
                apply.unchanged();
                apply.templates.insert(spec.name.clone(), (id, found.value));
            }
            Some((after, changes, reversal)) => {
                let words = format!("version {} → {}", found.value.version, after.version);
                let written = changes.first().and_then(|change| change.after.clone());
                let what = target(Noun::Template, found.id(), &*spec.name);
                let note = note(&words, Some(&found.document.body), &written.unwrap_or_default());
                apply.draft.step(0, "update", what, Goal::Written, note);
                apply.draft.changes.extend(changes);
                apply.reversals.push(reversal.written());
                apply.changed += 1;
                self.warn_of_drift(apply, &found, &after).await?;
                apply.templates.insert(spec.name.clone(), (id, after));
            }
        }
        Ok(())
    }

    /// A new version reaches nobody by itself: say so.
    async fn warn_of_drift(
        &self,
        apply: &mut Apply,
        found: &Found<Template>,
        after: &Template,
    ) -> Result<(), CommandError> {
        let (users, all) = self.resolver.template_users(found.id()).await?;
        if all > 0 {
            apply.draft.warnings.push(format!(
                "{} of template {} stay on the version they have until they are brought to {} (set-template): {}{}",
                count(usize::try_from(all).unwrap_or(usize::MAX), "user"),
                after.name,
                after.version,
                users.join(", "),
                if all > users.len() as u64 { ", …" } else { "" },
            ));
        }
        Ok(())
    }

    /// The template that a manifest refers to, of this apply or of the store. `None` is a fault that has been noted.
    async fn referred(
        &self,
        apply: &mut Apply,
        manifest: &Manifest,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<Reference>, CommandError> {
        if apply.unread.contains(name) {
            return Ok(None); // its own faults are listed
        }
        let of_this_apply = apply
            .templates
            .iter()
            .find(|(known, (id, _))| *known == name || id.as_str() == name)
            .map(|(_, found)| found.clone());
        let (id, current) = match of_this_apply {
            Some(found) => found,
            None => match self.resolver.one::<Template>(Noun::Template, name).await {
                Ok(found) => (template_id(&found)?, found.value),
                Err(error @ CommandError::NotFound { .. }) => {
                    let fault = FieldError::new("/template", error.to_string());
                    apply.faults_of(manifest, [fault]);
                    return Ok(None);
                }
                Err(error) => return Err(error),
            },
        };
        let version = version.unwrap_or(&current.version).to_owned();
        if version == current.version {
            return Ok(Some(Reference { id, template: current }));
        }
        let key = Key::new(id.as_str())?;
        let document = match self.ctx.store.get(Collection::AgentTemplates, &key).await {
            Ok(document) => document,
            Err(StoreError::NotFound { .. }) => {
                let message = format!("template {name} has no version {version} yet");
                apply.faults_of(manifest, [FieldError::new("/version", message)]);
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        match self.template_version(&Found { document, value: current }, &version).await {
            Ok(template) => Ok(Some(Reference { id, template })),
            Err(CommandError::Refused { message }) => {
                apply.faults_of(manifest, [FieldError::new("/version", message)]);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn template_id(found: &Found<Template>) -> Result<TemplateId, StoreError> {
    TemplateId::new(found.id()).map_err(|error| StoreError::Invalid { message: error.to_string() })
}

/// The document with what the manifest sets put in.
fn merged<T: serde::de::DeserializeOwned>(mut body: Body, spec: &Spec) -> Result<T, StoreError> {
    merge(&mut body, &spec.set);
    serde_json::from_value(Value::Object(body))
        .map_err(|error| StoreError::Invalid { message: format!("{}: {error}", spec.name) })
}

/// A new document with its event.
fn insertion(
    collection: Collection,
    id: &str,
    body: Body,
    kind: &'static str,
    name: &str,
) -> Result<Change, StoreError> {
    Ok(Change {
        collection,
        key: Key::new(id)?,
        before: None,
        after: Some(body),
        kind,
        subject: name.to_owned(),
        evidence: Value::Null,
    })
}
