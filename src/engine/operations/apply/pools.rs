//! Pools from manifests: created, or changed where the manifest differs.

use serde_json::{Value, json};

use super::difference::note;
use super::{Apply, Reference, insertion, merged};
use crate::engine::documents::{body, overlay};
use crate::engine::handle::CommandError;
use crate::engine::operations::draft::{AT_ONCE, count, target};
use crate::engine::operations::planner::Planner;
use crate::engine::operations::resolve::Found;
use crate::engine::operations::reversal::{Reversal, differences};
use crate::engine::templates;
use crate::model::agent::Desired;
use crate::model::agent::intent::Intent;
use crate::model::id::PoolId;
use crate::model::manifest::Spec;
use crate::model::plan::{Goal, Manifest, Noun, Tier};
use crate::model::pool::Pool;
use crate::model::scaling::Mode;
use crate::model::schema::Collection;
use crate::model::template::FieldError;
use crate::ports::store::Key;

/// The most agents of a pool whose manifest names no `max`.
const DEFAULT_MAX: u32 = 100;

impl Planner<'_> {
    pub(super) async fn apply_pool(
        &self,
        apply: &mut Apply,
        manifest: &Manifest,
        spec: &Spec,
    ) -> Result<(), CommandError> {
        let tenant = self.tenant_of(apply, manifest, spec);
        let reference = match &spec.template {
            Some(name) => self.referred(apply, manifest, name, spec.version.as_deref()).await?,
            None => None,
        };
        if spec.template.is_some() && reference.is_none() {
            return Ok(()); // the fault has been noted; what follows from it would only be noise
        }
        match self.stored::<Pool>(Noun::Pool, &spec.name, &tenant).await? {
            Some(found) => self.change_applied_pool(apply, manifest, spec, found, reference).await,
            None => self.create_pool(apply, manifest, spec, tenant, reference),
        }
    }

    fn create_pool(
        &self,
        apply: &mut Apply,
        manifest: &Manifest,
        spec: &Spec,
        tenant: String,
        reference: Option<Reference>,
    ) -> Result<(), CommandError> {
        let number = |name: &str| spec.set.get(name).and_then(Value::as_u64);
        let (min, desired) = (number("min").unwrap_or(0), number("desired"));
        let clip = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let desired = desired.unwrap_or(min.max(1));
        let fresh = Pool {
            name: spec.name.clone(),
            live_name: Some(spec.name.clone()),
            tenant,
            desired: clip(desired),
            max: clip(desired).max(DEFAULT_MAX),
            template_id: reference.as_ref().map(|it| it.id.clone()),
            template_version: reference
                .as_ref()
                .map(|it| it.template.version.clone())
                .unwrap_or_default(),
            generation: 1,
            created_at: self.now,
            updated_at: self.now,
            created_by: self.actor.name.clone(),
            ..Pool::default()
        };
        let pool: Pool = merged(body(&fresh)?, spec)?;
        apply.faults_of(manifest, pool.validate());
        apply.faults_of(manifest, self.beyond_the_runtime(&pool));
        let Some(reference) = reference else { return Ok(()) };
        let id = PoolId::mint(self.ctx.ids.draw());
        let body = body(&pool)?;
        let what = target(Noun::Pool, id.as_str(), &*spec.name);
        let words = format!(
            "{} of {} {}",
            count(pool.desired as usize, "agent"),
            reference.template.name,
            reference.template.version
        );
        apply.draft.creates(what, pool_goal(&pool), note(&words, None, &body));
        apply.draft.rely(json!({ "new": ["pool", pool.tenant, spec.name] }));
        apply.draft.extra.push(templates::hold(&Key::new(reference.id.as_str())?, self.now));
        apply.draft.changes.push(insertion(
            Collection::AgentPools,
            id.as_str(),
            body,
            "pool.created",
            &spec.name,
        )?);
        apply.reversals.push(templates::created(Noun::Pool, id.as_str(), &spec.name));
        apply.created += 1;
        Ok(())
    }

    /// What only some runtimes can do.
    fn beyond_the_runtime(&self, pool: &Pool) -> Option<FieldError> {
        if pool.scaling.mode != Mode::Hpa {
            return None;
        }
        if !self.ctx.runtime.has_crews() {
            let message = "expected manual or engine: hpa needs the Kubernetes runtime";
            return Some(FieldError::new("/scaling/mode", message));
        }
        pool.paused.then(|| {
            let message =
                "expected false: a pool in hpa mode cannot be paused, since its autoscaler goes on";
            FieldError::new("/paused", message)
        })
    }

    async fn change_applied_pool(
        &self,
        apply: &mut Apply,
        manifest: &Manifest,
        spec: &Spec,
        found: Found<Pool>,
        reference: Option<Reference>,
    ) -> Result<(), CommandError> {
        let before = &found.value;
        if before.deleting {
            let message = format!("pool {} is being deleted", spec.name);
            apply.faults_of(manifest, [FieldError::new("/name", message)]);
            return Ok(());
        }
        let mut after: Pool = merged(found.document.body.clone(), spec)?;
        // the hold is no part of a manifest: applying one does not end it
        after.scaling.hold_until = before.scaling.hold_until;
        let current = self.current(&found).await?;
        if before.scaling.mode == Mode::Hpa
            && after.scaling.mode != Mode::Hpa
            && !spec.set.contains_key("desired")
        {
            // what its autoscaler has made of it goes on, until somebody says a number
            after.desired = current.clamp(after.min, after.max.max(after.min));
        }
        if after.scaling.mode != Mode::Manual && after.min <= after.max {
            let kept = current.clamp(after.min, after.max);
            if kept != after.desired {
                let words = "is kept: the autoscaler sets it";
                apply.draft.warnings.push(format!("pool {}: desired {kept} {words}", spec.name));
            }
            after.desired = kept;
        }
        let mut moved = false;
        if let Some(reference) = &reference {
            moved = before.template_id.as_ref() != Some(&reference.id);
            if moved {
                after.previous_version = String::new();
                after.template_version.clone_from(&reference.template.version);
            } else if spec.version.is_some()
                && before.template_version != reference.template.version
            {
                after.previous_version.clone_from(&before.template_version);
                after.template_version.clone_from(&reference.template.version);
                after.status.halted = false;
            }
            after.template_id = Some(reference.id.clone());
        }
        apply.faults_of(manifest, after.validate());
        apply.faults_of(manifest, self.beyond_the_runtime(&after));
        apply.draft.rely_on_pool(found.id(), before);
        if differences(&found.document.body, &overlay(&found.document.body, before, &after))
            .is_empty()
        {
            apply.unchanged();
            return Ok(());
        }
        if after.desired < before.desired {
            self.judge_shrinking(apply, &found, after.desired).await?;
        }
        if (before.scaling.mode == Mode::Hpa) != (after.scaling.mode == Mode::Hpa) {
            self.judge_crossing(apply, manifest, &found, after.scaling.mode).await?;
        }
        if let (true, Some(id)) = (moved, &after.template_id) {
            apply.draft.extra.push(templates::hold(&Key::new(id.as_str())?, self.now));
        }
        let goal = if after.template_version != before.template_version || moved {
            Goal::PoolUpdated { version: after.template_version.clone() }
        } else if after.desired != before.desired {
            pool_goal(&after)
        } else {
            Goal::Written
        };
        if after.paused != before.paused {
            self.pause_members(apply, &found, after.paused).await?;
        }
        let reversal = self.change_pool(&mut apply.draft, &found, after, "pool.updated");
        let written = apply.draft.changes.last().and_then(|change| change.after.clone());
        let what = target(Noun::Pool, found.id(), &*spec.name);
        let note = note("changed", Some(&found.document.body), &written.unwrap_or_default());
        apply.draft.step(0, "update", what, goal, note);
        apply.reversals.push(reversal);
        apply.changed += 1;
        Ok(())
    }

    /// How many the pool is to have at this moment: its record is a little behind an autoscaler of the runtime's.
    async fn current(&self, pool: &Found<Pool>) -> Result<u32, CommandError> {
        if pool.value.scaling.mode != Mode::Hpa {
            return Ok(pool.value.desired);
        }
        let crews = self.ctx.runtime.crews().await?;
        let seen = crews.into_iter().find(|seen| seen.pool.as_str() == pool.id());
        let scaled = seen.filter(|seen| seen.scaled_by.is_some());
        Ok(scaled.map_or(pool.value.desired, |seen| seen.replicas))
    }

    /// The members follow their pool when it is paused or resumed.
    async fn pause_members(
        &self,
        apply: &mut Apply,
        pool: &Found<Pool>,
        paused: bool,
    ) -> Result<(), CommandError> {
        let (intent, now) = match paused {
            true => (Intent::Pause, Desired::Paused),
            false => (Intent::Resume, Desired::Running),
        };
        let mut at = 0;
        for found in self.members(pool.id()).await? {
            apply.draft.rely_on_agent(found.id(), &found.value);
            // one that is stopped or failed stays so
            let Ok(Some(_)) = intent.apply(&found.value, None, self.now) else { continue };
            let batch = u32::try_from(at / AT_ONCE).unwrap_or(u32::MAX);
            at += 1;
            apply.draft.wishes(batch, intent, &found, None, self.now, "with its pool");
            let (id, name, was) =
                (found.id().to_owned(), found.value.name.clone(), found.value.desired);
            apply.reversals.push(Reversal::Desired { id, name, was, now }.written());
        }
        Ok(())
    }

    /// Going over to `hpa` or back replaces every agent by another under a name of its own.
    async fn judge_crossing(
        &self,
        apply: &mut Apply,
        manifest: &Manifest,
        pool: &Found<Pool>,
        to: Mode,
    ) -> Result<(), CommandError> {
        let members = self.members(pool.id()).await?;
        if members.is_empty() {
            return Ok(());
        }
        let pinned = members.iter().filter(|found| found.value.pinned).count();
        if pinned > 0 {
            let message =
                format!("{} would be replaced, being pinned: unpin first", count(pinned, "agent"));
            apply.faults_of(manifest, [FieldError::new("/scaling/mode", message)]);
        }
        let by = if to == Mode::Hpa {
            "pods of one Deployment"
        } else {
            "agents with a Deployment each"
        };
        let agents = count(members.len(), "agent");
        apply.draft.fact(
            "replaces",
            format!("{agents} of pool {} by {by}, once these are up", pool.value.name),
        );
        apply.draft.at_least(Tier::Two);
        Ok(())
    }

    /// A manifest that ends many agents is confirmed like any other ending.
    async fn judge_shrinking(
        &self,
        apply: &mut Apply,
        pool: &Found<Pool>,
        to: u32,
    ) -> Result<(), CommandError> {
        let members = self.members(pool.id()).await?.len();
        let ended = members.saturating_sub(to as usize);
        if ended == 0 {
            return Ok(());
        }
        let name = &pool.value.name;
        apply.draft.fact("ends", format!("{} of pool {name}", count(ended, "agent")));
        if ended > 10.max(members / 10) || to == 0 {
            apply.draft.at_least(Tier::Three);
            apply.draft.confirm_word = Some(name.clone());
        }
        Ok(())
    }
}

fn pool_goal(pool: &Pool) -> Goal {
    if pool.paused { Goal::Written } else { Goal::PoolReady { ready: pool.desired } }
}
