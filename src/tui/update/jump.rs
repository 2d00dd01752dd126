//! Jumps and places: to a row's host, to what uses it, to what it is made of; the scope that everything is narrowed to;
//! views kept under a name.

use super::Turn;
use crate::model::id::AgentId;
use crate::model::plan::{Noun, TargetRef};
use crate::model::text::Safe;
use crate::ports::site::{Answer, Ask};
use crate::tui::action::Action;
use crate::tui::command::ScopeName;
use crate::tui::command::suggest::tenants;
use crate::tui::effect::{Effect, Fetch};
use crate::tui::event::{Fault, Reply};
use crate::tui::pages::site::{CLUSTER, meant};
use crate::tui::pages::table::TablePage;
use crate::tui::pages::text::{TextKind, TextPage};
use crate::tui::pages::xray::Root;
use crate::tui::pages::{Page, TableKind};
use crate::tui::widgets::toast::Weight;

impl Turn<'_> {
    /// Carries out what leads elsewhere; returns whether `action` is such.
    pub(super) fn jump_action(&mut self, action: Action) -> bool {
        match action {
            Action::Scopes => self.open_command("ns "),
            Action::ScopeAll => self.narrow(None),
            Action::Scope1 => self.scope_number(0),
            Action::Scope2 => self.scope_number(1),
            Action::Scope3 => self.scope_number(2),
            Action::Scope4 => self.scope_number(3),
            Action::Scope5 => self.scope_number(4),
            Action::Scope6 => self.scope_number(5),
            Action::Scope7 => self.scope_number(6),
            Action::Scope8 => self.scope_number(7),
            Action::Scope9 => self.scope_number(8),
            Action::Warp => self.warp(),
            Action::Bookmark => self.open_command("bookmark "),
            Action::Host => self.host(),
            Action::UsedBy => self.used_by(),
            Action::Flow => self.flow(),
            Action::Xray => self.xray(),
            Action::Fold => self.fold(false),
            Action::Unfold => self.fold(true),
            _ => return false,
        }
        true
    }

    fn scope_number(&mut self, at: usize) {
        match tenants(self.view).into_iter().nth(at) {
            Some(tenant) => self.narrow(Some(tenant)),
            None => self.refuse(&format!("there is no scope {}", at + 1)),
        }
    }

    /// The scope that goes by a name.
    ///
    /// # Errors
    /// Says that there is no such scope, and which there are.
    pub(super) fn scope_named(&self, name: &ScopeName) -> Result<Option<Safe>, Safe> {
        let ScopeName::Tenant(name) = name else { return Ok(None) };
        let all = tenants(self.view);
        let found = all.iter().find(|tenant| tenant.as_str() == name);
        found.cloned().map(Some).ok_or_else(|| {
            let known: Vec<&str> = all.iter().take(9).map(Safe::as_str).collect();
            let known = known.join(", ");
            Safe::new(&format!("there is no scope {name:?}: there are all, {known}"))
        })
    }

    /// `:ns NAME`: a tenant's things alone, or on a cluster the fleet of another namespace.
    ///
    /// # Errors
    /// Says that there is neither.
    pub(super) fn scope_or_namespace(&mut self, name: &ScopeName) -> Result<(), Safe> {
        let asked = match name {
            ScopeName::Tenant(name) => name.strip_prefix("namespace/"),
            ScopeName::All => None,
        };
        let failed = match asked {
            Some(namespace) => return self.find_namespace(namespace),
            None => match self.scope_named(name) {
                Ok(scope) => {
                    self.narrow(scope);
                    return Ok(());
                }
                Err(why) => why,
            },
        };
        match (name, &self.ui.context.cluster) {
            (ScopeName::Tenant(namespace), Some(_)) => self.find_namespace(namespace),
            _ => Err(failed),
        }
    }

    /// Goes over to a namespace that was typed, once the cluster knows of it: to go is to stop leading here.
    ///
    /// # Errors
    /// Says that there is no cluster.
    fn find_namespace(&mut self, namespace: &str) -> Result<(), Safe> {
        if self.ui.context.cluster.as_ref().is_none_or(|(_, here)| here == namespace) {
            return self.enter_namespace(namespace);
        }
        let id = self.ui.next_effect();
        if let Some((before, _)) = self.ui.asked_namespace.replace((id, namespace.to_owned())) {
            self.forget(before);
        }
        self.effects.push(Effect::Fetch(id, Fetch::Site(Ask::Namespaces)));
        Ok(())
    }

    /// What the cluster says of its namespaces. Who may not list them goes to one by its name alone.
    pub(super) fn namespace_told(&mut self, answer: Result<Reply, Fault>) {
        let Some((_, wanted)) = self.ui.asked_namespace.take() else { return };
        let found = match answer {
            Ok(Reply::Site(told)) => match *told {
                Answer::Namespaces(found) => found,
                _ => return,
            },
            Ok(_) => return,
            Err(fault) => return self.say_fault(&fault),
        };
        let listed = found.denied.is_none() && found.complete;
        let gone = if listed && found.known.iter().all(|it| it.name != wanted) {
            let what = format!("the cluster has no namespace {wanted:?}; `:ns` lists what it has");
            Err(Safe::new(&what))
        } else {
            self.enter_namespace(&wanted)
        };
        if let Err(why) = gone {
            self.say_safe(Weight::Warn, why);
        }
    }

    /// Goes over to another namespace of the same cluster.
    ///
    /// # Errors
    /// Says that there is no cluster.
    fn enter_namespace(&mut self, namespace: &str) -> Result<(), Safe> {
        let Some((context, here)) = &self.ui.context.cluster else {
            return Err(Safe::new("agents do not run in a cluster: there are no namespaces"));
        };
        if here == namespace {
            self.say(Weight::Info, &format!("this is namespace {namespace} already"));
            return Ok(());
        }
        let place = format!("{CLUSTER}{context}/{namespace}");
        self.effects.push(Effect::Switch(place, None));
        Ok(())
    }

    /// Enter on a host, a namespace or a context.
    pub(super) fn open_place(&mut self, kind: TableKind) {
        let id =
            self.with_rows(|page, rows| page.selected_row().map(|row| rows.id(row).to_owned()));
        let Some(id) = id.flatten() else { return };
        let gone = match kind {
            TableKind::Hosts => {
                let mut page = TablePage::new(TableKind::Agents);
                page.set_filter(&format!("node=\"{id}\""));
                self.go(Page::Table(Box::new(page)));
                Ok(())
            }
            TableKind::Contexts => self.switch(&id, None),
            _ => match meant(&id) {
                ("namespace", name) => self.enter_namespace(name),
                (_, "*") => {
                    self.narrow(None);
                    self.read_again();
                    Ok(())
                }
                (_, name) => {
                    let scope = Safe::new(name);
                    self.narrow(Some(scope));
                    self.read_again();
                    Ok(())
                }
            },
        };
        if let Err(why) = gone {
            self.say_safe(Weight::Warn, why);
        }
    }

    /// `d` on a host.
    pub(super) fn describe_host(&mut self) {
        let Page::Table(page) = self.ui.page() else { return };
        let found = page.selected_row().and_then(|row| page.fetched.entries.get(row)).cloned();
        let Some(entry) = found else { return self.refuse("there is no row to look at") };
        let mut page = TextPage::new(TextKind::Host, None);
        page.host = Some(Box::new(entry));
        self.go(Page::Text(Box::new(page)));
    }

    /// Everything shown from now on belongs to this tenant, or to any.
    pub(super) fn narrow(&mut self, scope: Option<Safe>) {
        if let Page::Table(page) = self.ui.page_mut() {
            page.narrow(scope.as_ref());
        }
        self.ui.scope = scope;
    }

    /// A new page is as narrow as the one before it.
    pub(super) fn keep_scope(&self, page: &mut Page) {
        if let Page::Table(page) = page {
            page.narrow(self.ui.scope.as_ref());
        }
    }

    /// A page that is gone back to is as narrow as it was left.
    pub(super) fn take_scope(&mut self) {
        if let Page::Table(page) = self.ui.page() {
            self.ui.scope = page.scope.clone();
        }
    }

    /// `w`: the scope of the selected row.
    fn warp(&mut self) {
        let Some(target) = self.selected() else { return };
        let tenant = match target.noun {
            Noun::Agent => {
                let id = AgentId::new(&target.id).ok();
                id.and_then(|id| self.view.agent(&id)).map(|row| row.tenant.clone())
            }
            Noun::Pool => {
                let row = self.view.pools.iter().find(|row| row.id.as_str() == target.id);
                row.map(|row| row.tenant.clone())
            }
            Noun::Template
            | Noun::Message
            | Noun::Subscription
            | Noun::Publication
            | Noun::Operation => None,
        };
        match tenant.filter(|tenant| !tenant.as_str().is_empty()) {
            Some(tenant) => self.narrow(Some(tenant)),
            None => self.refuse("this belongs to no scope"),
        }
    }

    /// `:ctx NAME`, `:agents @NAME`.
    ///
    /// # Errors
    /// Says that there is no such context.
    pub(super) fn switch(&mut self, name: &str, line: Option<String>) -> Result<(), Safe> {
        if self.ui.context.name.as_str() == name {
            return line.map_or(Ok(()), |line| self.run_line(&line));
        }
        // a kubeconfig's context is known by its own name too, where no fleet has it
        let own = self.ui.contexts.iter().any(|(known, _)| known == name);
        let of_cluster = format!("{CLUSTER}{name}");
        let name = if own { name } else { of_cluster.as_str() };
        if !self.ui.contexts.iter().any(|(known, _)| known == name) {
            let name = name.strip_prefix(CLUSTER).unwrap_or(name);
            let known: Vec<&str> = self.ui.contexts.iter().map(|(name, _)| name.as_str()).collect();
            let known = match known.is_empty() {
                true => "there is this one only".to_owned(),
                false => format!("there are {}", known.join(", ")),
            };
            return Err(Safe::new(&format!("there is no context {name:?}: {known}")));
        }
        self.effects.push(Effect::Switch(name.to_owned(), line));
        Ok(())
    }

    /// `:unlock NAME`: allows changes in a protected context.
    ///
    /// # Errors
    /// Says that another name was typed.
    pub(super) fn unlock(&mut self, name: &str) -> Result<(), Safe> {
        if self.ui.context.name.as_str() != name {
            let wanted = &self.ui.context.name;
            return Err(Safe::new(&format!("type the context's name, {wanted}, to allow changes")));
        }
        self.ui.readonly = false;
        self.say(Weight::Warn, &format!("changes are allowed in {name}"));
        Ok(())
    }

    /// `b` and a name: the view in sight can be come back to.
    pub(super) fn bookmark(&mut self, name: String) {
        let line = self.ui.page().line();
        self.say(Weight::Info, &format!("kept as {name}: {line}  (:go {name})"));
        self.ui.bookmarks.insert(name, line);
        self.effects.push(Effect::KeepBookmarks(self.ui.bookmarks.clone()));
    }

    /// # Errors
    /// Says that there is none of this name, or what is wrong with its line.
    pub(super) fn go_to_bookmark(&mut self, name: &str) -> Result<(), Safe> {
        let Some(line) = self.ui.bookmarks.get(name).cloned() else {
            return Err(Safe::new(&format!("there is no bookmark {name:?}")));
        };
        // A bookmark that leads to another would lead round and round.
        if line
            .split_whitespace()
            .next()
            .is_some_and(|word| matches!(word, "go" | "bookmark" | "bm"))
        {
            return Err(Safe::new(&format!("the bookmark {name:?} is no view: {line}")));
        }
        self.run_line(&line)
    }

    /// # Errors
    /// Says that there is none of this name.
    pub(super) fn unmark(&mut self, name: &str) -> Result<(), Safe> {
        if self.ui.bookmarks.remove(name).is_none() {
            return Err(Safe::new(&format!("there is no bookmark {name:?}")));
        }
        self.effects.push(Effect::KeepBookmarks(self.ui.bookmarks.clone()));
        self.say(Weight::Info, &format!("forgot the bookmark {name}"));
        Ok(())
    }

    /// `o`: every agent on the same host.
    fn host(&mut self) {
        let Some(target) = self.selected() else { return };
        let id = AgentId::new(&target.id).ok().filter(|_| target.noun == Noun::Agent);
        let node = id.and_then(|id| self.view.agent(&id)).map(|row| row.node.clone());
        let Some(node) = node.filter(|node| !node.as_str().is_empty()) else {
            return self.refuse("it is on no host");
        };
        let mut page = TablePage::new(TableKind::Agents);
        page.set_filter(&format!("node=\"{node}\""));
        page.goal = Some(target.id);
        self.go(Page::Table(Box::new(page)));
    }

    /// `u`: what uses the selected thing.
    fn used_by(&mut self) {
        let Some(target) = self.selected() else { return };
        let kind = match target.noun {
            Noun::Template => {
                let mut pools = self.view.pools.iter();
                let pooled = pools
                    .any(|row| row.template.as_ref().is_some_and(|it| it.as_str() == target.id));
                if pooled { TableKind::Pools } else { TableKind::Agents }
            }
            Noun::Pool => TableKind::Queues,
            Noun::Agent => TableKind::Subscriptions,
            Noun::Message | Noun::Subscription | Noun::Publication | Noun::Operation => {
                return self.refuse("nothing uses this");
            }
        };
        self.open_within(kind, target);
    }

    /// `f`: the messages of the selected row.
    fn flow(&mut self) {
        let Some(target) = self.selected() else { return };
        match target.noun {
            Noun::Agent => self.open_within(TableKind::Messages, target),
            Noun::Pool => self.open_within(TableKind::Queues, target),
            Noun::Template
            | Noun::Message
            | Noun::Subscription
            | Noun::Publication
            | Noun::Operation => self.refuse("no messages go through this"),
        }
    }

    /// `x`: what the selected row is made of.
    fn xray(&mut self) {
        let Some(target) = self.selected() else { return };
        let mut page = TablePage::new(TableKind::Xray);
        match target.noun {
            Noun::Pool | Noun::Template => {}
            Noun::Agent => page.root = Root::Agent,
            Noun::Message | Noun::Subscription | Noun::Publication | Noun::Operation => {
                return self.refuse("there is nothing to see through");
            }
        }
        page.owner = Some(target);
        self.go(Page::Table(Box::new(page)));
    }

    /// Enter in a tree.
    pub(super) fn open_line(&mut self) {
        let Page::Table(page) = self.ui.page() else { return };
        let id = page.selected_row().and_then(|row| page.fetched.tree.id(row));
        let leaf =
            id.as_deref().and_then(|id| id.rsplit_once('/')).map(|(_, leaf)| leaf.to_owned());
        let Some(target) = self.selected() else {
            return self.toggle_fold();
        };
        match (target.noun, leaf.as_deref()) {
            (Noun::Pool, _) => self.open_within(TableKind::Agents, target),
            (_, Some("queue")) => self.open_within(TableKind::Messages, target),
            (_, Some("process")) => self.about(Action::Logs, target),
            _ => self.about(Action::Describe, target),
        }
    }

    fn toggle_fold(&mut self) {
        let Page::Table(page) = self.ui.page() else { return };
        let Some(id) = page.selected_row().and_then(|row| page.fetched.tree.id(row)) else {
            return;
        };
        let (open, _) = page.fetched.tree.open(&id);
        self.fold(open == Some(false));
    }

    /// Folds or unfolds the line; a line that is so already leads to the one above or below it.
    fn fold(&mut self, unfold: bool) {
        let Page::Table(page) = self.ui.page_mut() else { return };
        let Some(id) = page.selected_row().and_then(|row| page.fetched.tree.id(row)) else {
            return;
        };
        let (open, parent) = page.fetched.tree.open(&id);
        page.state.selected = Some(id.clone());
        match (unfold, open, parent) {
            (true, Some(false), _) | (false, Some(true), _) => {
                page.folds.insert(id, unfold);
                page.touch();
            }
            (true, Some(true), _) => self.move_by(1),
            (false, _, Some(parent)) => {
                page.goal = Some(parent.to_string());
                page.touch();
            }
            (true, None, _) | (false, _, None) => {}
        }
    }

    /// The rows of `kind` that belong to `owner`.
    pub(super) fn open_within(&mut self, kind: TableKind, owner: TargetRef) {
        let mut page = TablePage::new(kind);
        page.owner = Some(owner);
        self.go(Page::Table(Box::new(page)));
    }
}

#[cfg(test)]
mod tests;
