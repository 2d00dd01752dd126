//! All the AQL there is. Every value is bound, collections too; what callers filter by is in `condition`.

pub(super) mod condition;
pub(super) mod sends;

use serde_json::{Map, Value};

use crate::model::filter::{Field, Filter};
use crate::model::schema::{Collection, IndexKind};
use crate::ports::store::{Bookmark, Direction, Guard, Query, UpdateWhere, Way};

use condition::{at, filter, hex};

/// Where the counters and the schema's version are kept.
pub(super) const META: &str = "cvxc_meta";

/// A statement, or a piece of one, with its values.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Aql {
    pub(super) text: String,
    pub(super) bind: Map<String, Value>,
}

impl Aql {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), bind: Map::new() }
    }

    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    fn value(&mut self, value: Value) {
        let name = format!("v{}", self.bind.len());
        self.push("@");
        self.push(&name);
        self.bind.insert(name, value);
    }

    pub(super) fn named(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.bind.insert(name.to_owned(), value.into());
        self
    }

    fn on(self, collection: Collection) -> Self {
        self.named("@c", collection.name())
    }
}

/// By what a field is sorted.
fn sorted(field: &Field) -> String {
    if field.as_str() == "_key" { "TO_HEX(d._key)".to_owned() } else { at("d", field) }
}

fn sort_value(field: &Field, value: &Value) -> Value {
    match (field.as_str(), value) {
        ("_key", Value::String(key)) => hex(key),
        _ => value.clone(),
    }
}

/// Whether no two documents can tie: a unique index that leaves none out has all its fields in the sort.
fn is_total(collection: Collection, sort: &[(Field, Direction)]) -> bool {
    let by = |name: &str| sort.iter().any(|(field, _)| field.as_str() == name);
    let whole = |index: &&crate::model::schema::Index| {
        index.unique && !index.sparse && index.kind == IndexKind::Sorted
    };
    by("_key") || collection.indexes().iter().filter(whole).any(|i| i.fields.iter().all(|f| by(f)))
}

/// What ties are broken by, if there can be any. Whole collections go by the bytes of the key; where a filter or a sort
/// chose an index first, the key as the server sorts it follows in that index.
fn tie(collection: Collection, of: &Filter, sort: &[(Field, Direction)]) -> Option<&'static str> {
    match sort {
        [] if *of == Filter::All => Some("TO_HEX(d._key)"),
        sort if is_total(collection, sort) => None,
        _ => Some("d._key"),
    }
}

fn sort_by(aql: &mut Aql, collection: Collection, of: &Filter, sort: &[(Field, Direction)]) {
    let mut parts: Vec<String> = Vec::new();
    for (field, direction) in sort {
        let word = if *direction == Direction::Descending { " DESC" } else { "" };
        parts.push(format!("{}{word}", sorted(field)));
    }
    parts.extend(tie(collection, of, sort).map(str::to_owned));
    aql.push(&format!(" SORT {}", parts.join(", ")));
}

/// The condition of what comes after a bookmark, led by a range that an index can serve.
fn after(aql: &mut Aql, query: &Query, bookmark: &Bookmark) {
    if let (Some((field, direction)), Some(value)) = (query.sort.first(), bookmark.values.first()) {
        let op = if *direction == Direction::Descending { "<=" } else { ">=" };
        aql.push(&format!(" FILTER {} {op} ", sorted(field)));
        aql.value(sort_value(field, value));
    }
    aql.push(" FILTER ");
    beyond(aql, query, &query.sort, &bookmark.values, bookmark);
}

fn beyond(
    aql: &mut Aql,
    query: &Query,
    sort: &[(Field, Direction)],
    values: &[Value],
    bookmark: &Bookmark,
) {
    let Some((((field, direction), more), (value, values))) =
        sort.split_first().zip(values.split_first())
    else {
        match tie(query.collection, &query.filter, &query.sort) {
            None => aql.push("false"),
            Some(by) => {
                aql.push(&format!("{by} > "));
                let key = bookmark.key.as_str();
                aql.value(if by == "d._key" { key.into() } else { hex(key) });
            }
        }
        return;
    };
    let (at, value) = (sorted(field), sort_value(field, value));
    let op = if *direction == Direction::Descending { "<" } else { ">" };
    aql.push(&format!("({at} {op} "));
    aql.value(value.clone());
    aql.push(&format!(" OR ({at} == "));
    aql.value(value);
    aql.push(" AND ");
    beyond(aql, query, more, values, bookmark);
    aql.push("))");
}

/// `query` with one row more than asked for, which tells whether more follows.
pub(super) fn page(query: &Query, filtered: bool) -> Aql {
    let mut aql = Aql::new("FOR d IN @@c").on(query.collection);
    if filtered && query.filter != Filter::All {
        aql.push(" FILTER ");
        filter(&mut aql, "d", &query.filter);
    }
    if let Some(bookmark) = &query.after {
        after(&mut aql, query, bookmark);
    }
    sort_by(&mut aql, query.collection, &query.filter, &query.sort);
    aql.push(" LIMIT ");
    aql.value((query.limit + 1).into());
    aql.push(" RETURN d");
    aql
}

pub(super) fn many(collection: Collection, keys: &[&str]) -> Aql {
    Aql::new("FOR d IN @@c FILTER d._key IN @keys RETURN d").on(collection).named("keys", keys)
}

pub(super) fn many_revisions(collection: Collection, keys: &[&str]) -> Aql {
    Aql::new("FOR d IN @@c FILTER d._key IN @keys RETURN [d._key, d._rev]")
        .on(collection)
        .named("keys", keys)
}

pub(super) fn count(collection: Collection, of: &Filter) -> Aql {
    if *of == Filter::All {
        return Aql::new("RETURN LENGTH(@@c)").on(collection);
    }
    let mut aql = Aql::new("FOR d IN @@c FILTER ").on(collection);
    filter(&mut aql, "d", of);
    aql.push(" COLLECT WITH COUNT INTO n RETURN n");
    aql
}

pub(super) fn tally(
    collection: Collection,
    of: &Filter,
    by: &[Field],
    least: Option<&Field>,
) -> Aql {
    let mut aql = Aql::new("FOR d IN @@c FILTER ").on(collection);
    filter(&mut aql, "d", of);
    let groups: Vec<String> =
        by.iter().enumerate().map(|(n, field)| format!("g{n} = {}", at("d", field))).collect();
    let names: Vec<String> = (0..by.len()).map(|n| format!("g{n}")).collect();
    let least = least.map_or_else(|| "null".to_owned(), |field| at("d", field));
    aql.push(&format!(
        " COLLECT {} AGGREGATE n = LENGTH(1), least = MIN({least}) RETURN [n, least, [{}]]",
        groups.join(", "),
        names.join(", ")
    ));
    aql
}

/// Key and revision of a whole collection, by key.
pub(super) fn revisions(collection: Collection, after: Option<&str>, limit: usize) -> Aql {
    by_key(collection, after, limit, "[d._key, d._rev]")
}

/// The same with the bodies as text.
pub(super) fn scan(collection: Collection, after: Option<&str>, limit: usize) -> Aql {
    let body = "JSON_STRINGIFY(UNSET(d, [\"_key\", \"_rev\", \"_id\"]))";
    by_key(collection, after, limit, &format!("[d._key, d._rev, {body}]"))
}

fn by_key(collection: Collection, after: Option<&str>, limit: usize, what: &str) -> Aql {
    let mut aql = Aql::new("FOR d IN @@c LET k = TO_HEX(d._key)").on(collection);
    if let Some(after) = after {
        aql.push(" FILTER k > ");
        aql.value(hex(after));
    }
    // other programs may have put documents there under keys that ours never have
    aql.push(" FILTER REGEX_TEST(d._key, \"^[a-z0-9_-]+$\") SORT k LIMIT ");
    aql.value(limit.into());
    aql.push(&format!(" RETURN {what}"));
    aql
}

/// Key, revision, topic and `seq` of everything, or of what has a `seq` above `seq`.
pub(super) fn standing(collection: Collection, seq: Option<u64>) -> Aql {
    let after = if seq.is_some() { " FILTER d.seq > @seq SORT d.seq" } else { "" };
    let topic = topic("d", collection);
    let aql = Aql::new(format!("FOR d IN @@c{after} RETURN [d._key, d._rev, {topic}, d.seq]"));
    match seq {
        None => aql.on(collection),
        Some(seq) => aql.on(collection).named("seq", seq),
    }
}

pub(super) fn walk(edges: Collection, way: Way, start: &str, depth: usize, limit: usize) -> Aql {
    let way = match way {
        Way::Outbound => "OUTBOUND",
        Way::Inbound => "INBOUND",
        Way::Any => "ANY",
    };
    Aql::new(format!(
        "WITH @@agents FOR v, e, p IN 1..@depth {way} @start @@c \
         OPTIONS {{ order: \"bfs\", uniqueVertices: \"global\" }} LIMIT @limit \
         RETURN [p.edges[* RETURN [CURRENT._from, CURRENT._to]], e]"
    ))
    .on(edges)
    .named("@agents", Collection::Agents.name())
    .named("start", start)
    .named("depth", depth)
    .named("limit", limit)
}

fn topic(var: &str, collection: Collection) -> String {
    collection.topic_field().map_or_else(|| "null".to_owned(), |field| format!("{var}.{field}"))
}

/// What each statement that writes says of each document: key, revision, topic.
fn said(collection: Collection) -> String {
    format!("RETURN [NEW._key, NEW._rev, {}]", topic("NEW", collection))
}

/// The kinds of writes; those of one kind and collection make one statement over `@writes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `{_key, …}`
    Insert,
    /// `{_key, _rev, body}`
    Replace,
    /// `{_key, body}`
    Put,
    /// `{_key, names, set}`
    Merge,
    /// `{_key, names, set}`
    MergeOrMake,
    /// `{_key, _rev}`
    Remove,
    /// `{_key, _rev}`; gives the keys that are not as they should be.
    Check,
}

/// How a statement that writes is run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mode {
    /// Whether it returns only when it is on disk.
    pub(super) sync: bool,
    /// Whether nobody else may write to the collection meanwhile.
    pub(super) exclusive: bool,
    /// Whether a transaction around it holds the locks.
    pub(super) inside: bool,
}

/// Reserves as many numbers as there are writes; the lock makes commits visible in their order.
fn reserve(mode: Mode) -> String {
    let lock = !mode.inside;
    format!(
        "LET last = FIRST(FOR s IN @@meta FILTER s._key == @counter \
         UPDATE s WITH {{ last: s.last + LENGTH(@writes) }} IN @@meta OPTIONS {{ exclusive: {lock} }} RETURN OLD.last) \
         FILTER ASSERT(last != null, \"the counter of this collection is missing in the store\") "
    )
}

/// Several statements, each on another collection, as one: all or nothing. Gives the rows of each. The first of `checked`
/// are checks, which must find nothing; the others must do as many as `counts` says.
pub(super) fn whole(parts: Vec<(Aql, usize)>, locked: &[Collection]) -> Aql {
    let mut whole = Aql::default();
    let mut results = Vec::new();
    for (n, (part, count)) in parts.into_iter().enumerate() {
        let (mut text, mut bind) = (part.text, Map::new());
        for (name, value) in part.bind {
            let own = match name.strip_prefix('@') {
                Some(bare) => format!("@p{n}{bare}"),
                None => format!("p{n}{name}"),
            };
            // names are ours and none begins with another
            text = text.replace(&format!("@{name}"), &format!("@{own}"));
            bind.insert(own, value);
        }
        whole.push(&format!("LET r{n} = ({text}) "));
        whole.bind.extend(bind);
        results.push((format!("r{n}"), count));
    }
    for (n, collection) in locked.iter().enumerate() {
        whole.push(&format!(
            "LET l{n} = (FOR d IN @@l{n} FILTER d._key == \"-\" UPDATE d WITH {{}} IN @@l{n} \
             OPTIONS {{ exclusive: true }} RETURN 1) "
        ));
        whole.bind.insert(format!("@l{n}"), collection.name().into());
    }
    let names: Vec<String> = results
        .iter()
        .map(|(name, count)| {
            format!("(ASSERT(LENGTH({name}) == {count}, \"{UNMET}\") ? {name} : [])")
        })
        .collect();
    whole.push(&format!("RETURN [{}]", names.join(", ")));
    whole
}

/// What a statement says whose writes did not find what they name.
pub(super) const UNMET: &str = "cvxc: a write did not find its document as it should be";

pub(super) fn write(kind: Kind, collection: Collection, mut writes: Vec<Value>, mode: Mode) -> Aql {
    let sequenced = collection.is_sequenced();
    let stamp = "{ seq: last + 1 + i }";
    if sequenced && kind == Kind::Insert {
        // whoever counts here need not be asked to count there: sends come in large batches
        for (place, write) in (1_u64..).zip(&mut writes) {
            if let Value::Object(write) = write {
                write.insert("seq".to_owned(), place.into());
            }
        }
    }
    let found = "FOR w IN @writes FOR d IN @@c FILTER d._key == w._key";
    let merged = "MERGE(UNSET(d, w.names), w.set)";
    let keep = if sequenced { "MERGE(w.body, { seq: d.seq })" } else { "w.body" };
    let reserves = sequenced && matches!(kind, Kind::Insert | Kind::Put | Kind::MergeOrMake);
    let numbers = if reserves { reserve(mode) } else { String::new() };
    let each = match reserves {
        true if kind != Kind::Insert => "FOR i IN 0..LENGTH(@writes) - 1 LET w = @writes[i] ",
        _ => "FOR w IN @writes ",
    };
    let each = numbers + each;
    let Mode { sync, exclusive, .. } = mode;
    let how = format!("waitForSync: {sync}, exclusive: {exclusive}");
    let options = format!("OPTIONS {{ {how} }}");
    let said = said(collection);
    let text = match kind {
        Kind::Insert if sequenced => {
            format!("{each}INSERT MERGE(w, {{ seq: last + w.seq }}) INTO @@c {options} {said}")
        }
        Kind::Insert => format!("{each}INSERT w INTO @@c {options} {said}"),
        Kind::Replace => {
            format!("{found} AND d._rev == w._rev REPLACE d WITH {keep} IN @@c {options} {said}")
        }
        Kind::Put if sequenced => format!(
            "{each}UPSERT {{ _key: w._key }} INSERT MERGE(w.body, {{ _key: w._key }}, {stamp}) \
             REPLACE MERGE(w.body, {{ seq: OLD.seq }}) IN @@c {options} {said}"
        ),
        Kind::Put => format!(
            "{each}INSERT MERGE(w.body, {{ _key: w._key }}) INTO @@c \
             OPTIONS {{ overwriteMode: \"replace\", {how} }} {said}"
        ),
        Kind::Merge => format!("{found} REPLACE d WITH {merged} IN @@c {options} {said}"),
        Kind::MergeOrMake => {
            let stamp = if sequenced { format!(", {stamp}") } else { String::new() };
            format!(
                "{each}UPSERT {{ _key: w._key }} INSERT MERGE(w.set, {{ _key: w._key }}{stamp}) \
                 REPLACE MERGE(UNSET(OLD, w.names), w.set) IN @@c {options} {said}"
            )
        }
        Kind::Remove => format!(
            "{found} AND (w._rev == null OR d._rev == w._rev) REMOVE d IN @@c {options} \
             RETURN [OLD._key, null, null]"
        ),
        Kind::Check => "FOR w IN @writes \
             LET rev = FIRST(FOR d IN @@c FILTER d._key == w._key RETURN d._rev) \
             FILTER rev != w._rev RETURN [w._key, null, null]"
            .to_owned(),
    };
    let aql = Aql::new(text).on(collection).named("writes", writes);
    if reserves { aql.named("@meta", META).named("counter", counter(collection)) } else { aql }
}

/// The key of a sequenced collection's counter.
pub(super) fn counter(collection: Collection) -> String {
    format!("seq-{}", collection.name().replace('_', "-"))
}

/// Makes the lock ours if it is still at this revision.
pub(super) fn take_over(key: &str, rev: &str, body: Value) -> Aql {
    Aql::new("FOR d IN @@meta FILTER d._key == @key AND d._rev == @rev REPLACE d WITH @body IN @@meta RETURN 1")
        .named("@meta", META)
        .named("key", key)
        .named("rev", rev)
        .named("body", body)
}

/// Keeps the lock fresh.
pub(super) fn beat(key: &str, token: &str) -> Aql {
    Aql::new(
        "FOR d IN @@meta FILTER d._key == @key AND d.token == @token \
         UPDATE d WITH {beat: d.beat + 1} IN @@meta RETURN 1",
    )
    .named("@meta", META)
    .named("key", key)
    .named("token", token)
}

pub(super) fn let_go(key: &str, token: &str) -> Aql {
    Aql::new(
        "FOR d IN @@meta FILTER d._key == @key AND d.token == @token REMOVE d IN @@meta RETURN 1",
    )
    .named("@meta", META)
    .named("key", key)
    .named("token", token)
}

/// Removes some of what has expired.
pub(super) fn expire(collection: Collection, field: &str, now: &str, limit: usize) -> Aql {
    Aql::new(format!(
        "FOR d IN @@c FILTER IS_STRING(d.`{field}`) AND d.`{field}` <= @now LIMIT @limit \
         REMOVE d IN @@c RETURN OLD._key"
    ))
    .on(collection)
    .named("now", now)
    .named("limit", limit)
}

/// One atomic statement that changes what matches and gives it as it is then.
pub(super) fn update(update: &UpdateWhere, sync: bool) -> Aql {
    let mut aql = Aql::default();
    if let Some(Guard { collection, key, filter: holds }) = &update.guard {
        aql.push("LET g = (FOR g IN @@g FILTER g._key == @guard AND ");
        filter(&mut aql, "g", holds);
        aql.push(" LIMIT 1 RETURN true) ");
        aql = aql.named("@g", collection.name()).named("guard", key.as_str());
    }
    aql.push("FOR d IN @@c");
    if update.guard.is_some() {
        aql.push(" FILTER LENGTH(g) > 0");
    }
    aql.push(" FILTER ");
    filter(&mut aql, "d", &update.filter);
    sort_by(&mut aql, update.collection, &update.filter, &update.sort);
    aql.push(" LIMIT ");
    aql.value(update.limit.into());
    for (field, _) in &update.add {
        let at = at("d", field);
        aql.push(&format!(" FILTER ASSERT({at} == null OR IS_NUMBER({at}), "));
        aql.value(format!("{field} of a document is no number").into());
        aql.push(")");
    }
    let mut tree = super::tree::Tree::default();
    for (field, value) in &update.set {
        let leaf = if value.is_null() {
            None
        } else {
            let name = format!("v{}", aql.bind.len());
            aql.bind.insert(name.clone(), value.clone());
            Some(format!("@{name}"))
        };
        tree.set(field, leaf);
    }
    for (field, more) in &update.add {
        let name = format!("v{}", aql.bind.len());
        aql.bind.insert(name.clone(), (*more).into());
        tree.set(field, Some(format!("NOT_NULL({}, 0) + @{name}", at("d", field))));
    }
    aql.push(&format!(
        " REPLACE d WITH {} IN @@c OPTIONS {{ waitForSync: {sync} }} RETURN NEW",
        tree.of("d", "d")
    ));
    aql.on(update.collection)
}
