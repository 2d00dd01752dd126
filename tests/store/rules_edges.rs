//! Walks over edges: nearest first, each vertex once, also round in circles.

use cvxc::model::schema::Collection::{Agents, Dependencies};
use cvxc::ports::store::{StoreError, Traversal, Way, Write};
use serde_json::json;

use super::fixture::*;

fn edge(from: &str, to: &str) -> Write {
    let value = json!({"_from": format!("agents/{from}"), "_to": format!("agents/{to}"), "dependency_type": "needs", "why": [from, to]});
    insert(Dependencies, &format!("{from}-{to}"), value)
}

fn walk(start: &str, way: Way, depth: usize) -> Traversal {
    Traversal { edges: Dependencies, start: format!("agents/{start}"), way, depth, limit: 1_000 }
}

/// Vertices and depths, without order inside one depth.
async fn met(store: &Fixture, walk: Traversal) -> Vec<(usize, String)> {
    let hops = store.traverse(walk).await.unwrap();
    let depths: Vec<usize> = hops.iter().map(|hop| hop.depth).collect();
    assert!(depths.is_sorted(), "nearest first: {depths:?}");
    let mut met: Vec<_> = hops
        .into_iter()
        .map(|hop| (hop.depth, hop.vertex.strip_prefix("agents/").unwrap().to_owned()))
        .collect();
    met.sort();
    met
}

fn expect(met: &[(usize, &str)]) -> Vec<(usize, String)> {
    met.iter().map(|(depth, vertex)| (*depth, (*vertex).to_owned())).collect()
}

/// a → b → c → d, a → c, d → a (a circle), e → b, and x alone.
async fn fill(store: &Fixture) {
    let edges = [("a", "b"), ("b", "c"), ("c", "d"), ("a", "c"), ("d", "a"), ("e", "b")];
    write_all(&**store, edges.map(|(from, to)| edge(from, to)).into()).await;
}

pub async fn a_walk_follows_direction_and_ends_in_circles(store: &Fixture) {
    fill(store).await;
    let out = met(store, walk("a", Way::Outbound, 10)).await;
    assert_eq!(out, expect(&[(1, "b"), (1, "c"), (2, "d")]));
    let inward = met(store, walk("a", Way::Inbound, 10)).await;
    assert_eq!(inward, expect(&[(1, "d"), (2, "c"), (3, "b"), (4, "e")]));
    let any = met(store, walk("a", Way::Any, 10)).await;
    assert_eq!(any, expect(&[(1, "b"), (1, "c"), (1, "d"), (2, "e")]));
    assert_eq!(met(store, walk("x", Way::Any, 10)).await, vec![]);
}

pub async fn a_walk_minds_depth_and_limit(store: &Fixture) {
    fill(store).await;
    assert_eq!(met(store, walk("e", Way::Outbound, 1)).await, expect(&[(1, "b")]));
    assert_eq!(met(store, walk("e", Way::Outbound, 2)).await, expect(&[(1, "b"), (2, "c")]));
    let few = met(store, Traversal { limit: 2, ..walk("a", Way::Any, 10) }).await;
    assert_eq!(few.len(), 2);
    assert!(few.iter().all(|(depth, _)| *depth == 1), "the nearest are kept");
}

pub async fn a_hop_carries_the_edge_that_led_there(store: &Fixture) {
    fill(store).await;
    let hops = store.traverse(walk("e", Way::Outbound, 1)).await.unwrap();
    assert_eq!(hops.len(), 1);
    assert_eq!(hops[0].edge, get(&**store, Dependencies, "e-b").await);
    assert_eq!(hops[0].edge.body["why"], json!(["e", "b"]));
}

pub async fn an_edge_to_itself_leads_nowhere(store: &Fixture) {
    write_all(&**store, vec![edge("a", "a")]).await;
    for way in [Way::Outbound, Way::Inbound, Way::Any] {
        assert_eq!(met(store, walk("a", way, 3)).await, vec![]);
    }
}

pub async fn a_walk_out_of_bounds_is_refused(store: &Fixture) {
    let wrong = [
        walk("a", Way::Any, 0),
        walk("a", Way::Any, 11),
        Traversal { limit: 0, ..walk("a", Way::Any, 1) },
        Traversal { edges: Agents, ..walk("a", Way::Any, 1) },
    ];
    for walk in wrong {
        let refused = store.traverse(walk.clone()).await;
        assert!(matches!(refused, Err(StoreError::Invalid { .. })), "{walk:?}: {refused:?}");
    }
}
