//! `get` and `describe`: rows of the fleet as a table, or the documents themselves as JSON or YAML.

use serde_json::Value;

use super::args::{DescribeArgs, GetArgs, GetKind, GetOutput};
use super::fail::Fail;
use super::{output, rows};
use crate::engine::handle::{Description, Handle, Listing};
use crate::model::access::Actor;
use crate::model::filter::Filter;
use crate::model::id::AgentId;
use crate::model::schema::Collection;
use crate::model::text::Safe;
use crate::ports::store::Document;

/// # Errors
/// Exit code 2 for a bad filter or an unknown name, 3 when the store is unreachable.
pub async fn run(handle: &Handle, actor: &Actor, args: &GetArgs) -> Result<(), Fail> {
    let chosen = rows::choose(handle, args)?;
    match args.output {
        GetOutput::Table | GetOutput::Wide => {
            let wide = args.output == GetOutput::Wide;
            let (header, rows) = match chosen {
                rows::Chosen::Rows(table) => table.cells(wide),
                rows::Chosen::Documents => {
                    let documents = documents(handle, actor, args).await?;
                    {
                        let view = handle.views().borrow().clone();
                        rows::document_cells(&view, args.kind, &documents, wide)
                    }
                }
            };
            if rows.is_empty() {
                return output::line(empty_hint(handle, args));
            }
            output::table(&header, &rows)
        }
        GetOutput::Json | GetOutput::Yaml => {
            let documents = match chosen {
                rows::Chosen::Rows(table) => by_ids(handle, actor, args, &table.ids()).await?,
                rows::Chosen::Documents => documents(handle, actor, args).await?,
            };
            let whole: Vec<Value> = documents
                .into_iter()
                .map(|document| {
                    output::with_key(
                        document.key.as_str(),
                        &document.rev.to_string(),
                        document.body,
                    )
                })
                .collect();
            if args.output == GetOutput::Json { output::json(&whole) } else { output::yaml(&whole) }
        }
    }
}

fn empty_hint(handle: &Handle, args: &GetArgs) -> &'static str {
    let filtered = args.filter.is_some() || args.selector.is_some() || !args.names.is_empty();
    let empty =
        handle.views().borrow().agents.is_empty() && handle.views().borrow().templates.is_empty();
    match (filtered, empty) {
        (false, true) => "nothing here yet: try `cvxc demo`, or `cvxc apply -f FILE`",
        (false, false) => "none",
        (true, _) => "none match",
    }
}

fn collection(kind: GetKind) -> Collection {
    match kind {
        GetKind::Agents => Collection::Agents,
        GetKind::Pools => Collection::AgentPools,
        GetKind::Templates => Collection::AgentTemplates,
        GetKind::Messages => Collection::AgentMessages,
        GetKind::Events => Collection::Events,
        GetKind::Operations => Collection::Operations,
    }
}

/// The documents of the rows, in their order.
async fn by_ids(
    handle: &Handle,
    actor: &Actor,
    args: &GetArgs,
    ids: &[String],
) -> Result<Vec<Document>, Fail> {
    let mut by_key = std::collections::HashMap::new();
    let mut after = None;
    loop {
        let listing =
            Listing { collection: collection(args.kind), filter: Filter::All, limit: 1_000, after };
        let (page, next) = handle.list(actor, listing).await?;
        by_key.extend(page.into_iter().map(|document| (document.key.to_string(), document)));
        after = next;
        if after.is_none() {
            break;
        }
    }
    let view = handle.views().borrow().clone();
    let bare = |id: &&String| {
        let row = AgentId::new(id.as_str()).ok().and_then(|id| view.agent(&id));
        row.is_some_and(|row| !row.recorded)
    };
    let without = ids.iter().filter(bare).count();
    if without > 0 {
        output::aside(&format!("{without} run without a record, so without a document"));
    }
    Ok(ids.iter().filter_map(|id| by_key.remove(id)).collect())
}

/// The newest documents of the kind.
async fn documents(handle: &Handle, actor: &Actor, args: &GetArgs) -> Result<Vec<Document>, Fail> {
    let (filter, now) = (rows::store_filter(args)?, handle.views().borrow().at);
    let mut found = Vec::new();
    let mut after = None;
    while found.len() < args.limit {
        let filter = filter.clone();
        let listing = Listing { collection: collection(args.kind), filter, limit: 1_000, after };
        let (page, next) = handle.list(actor, listing).await?;
        found.extend(rows::filter_documents(page, args, now)?);
        after = next;
        if after.is_none() {
            break;
        }
    }
    // a filter, too, may be why one of them is not here
    let whole = args.filter.is_none() && args.selector.is_none() && found.len() < args.limit;
    let is_here = |name: &String| found.iter().any(|one| one.key.as_str() == *name);
    let missing = args.names.iter().find(|name| whole && !is_here(name));
    if let Some(missing) = missing {
        return Err(rows::not_among(missing));
    }
    found.truncate(args.limit);
    Ok(found)
}

/// # Errors
/// Exit code 2 when nothing is called so.
pub async fn describe(handle: &Handle, actor: &Actor, args: &DescribeArgs) -> Result<(), Fail> {
    if args.output == super::args::ActOutput::Json {
        let found = handle.document(actor, args.noun, &args.name).await?;
        return output::json(&output::with_key(
            found.key.as_str(),
            &found.rev.to_string(),
            found.body,
        ));
    }
    let description = handle.describe(actor, args.noun, &args.name).await?;
    text_of(&description).iter().try_for_each(|line| output::line(line.as_str()))
}

/// A description as safe lines: the title, then each section indented under its name.
pub fn text_of(description: &Description) -> Vec<Safe> {
    let mut lines = vec![Safe::new(&description.title)];
    for section in &description.sections {
        lines.push(Safe::new(""));
        lines.push(Safe::new(&section.title));
        let width =
            section.lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).min(24);
        for (name, value) in &section.lines {
            for (at, part) in Safe::lines(value).iter().enumerate() {
                let name = if at == 0 { name.as_str() } else { "" };
                lines.push(Safe::new(&format!("  {name:<width$}  {part}")));
            }
        }
    }
    lines
}
