//! The rules that every store keeps, each run on every adapter: one test per rule and adapter, named by both.
//!
//! A new rule is one function in a `rules_…` file and one word in `every_rule!`; a new adapter is one fixture.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

mod store {
    #[macro_use]
    pub mod macros;
    pub mod arango;
    mod arango_faults;
    mod arango_fleet;
    mod arango_schema;
    mod arango_sends;
    mod arango_server;
    mod arango_speed;
    #[cfg(unix)]
    mod files;
    pub mod fixture;
    mod processes;
    pub mod rules_claims;
    pub mod rules_documents;
    pub mod rules_edges;
    pub mod rules_feed;
    pub mod rules_filters;
    pub mod rules_life;
    pub mod rules_pages;
    pub mod rules_sequence;
    pub mod rules_transactions;
    pub mod rules_unique;
}

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use cvxc::adapters::faulty::{Call, Fault, Faults};
use futures::FutureExt;
use store::arango::arango;
use store::fixture::{Fixture, faulty, sqlite};

every_rule!(sqlite, sqlite());
every_rule!(faulty_without_faults, faulty(Arc::default()));
every_rule!(
    #[ignore = "needs an ArangoDB server, named by CVXC_TEST_ARANGO_URL"]
    arango_db,
    arango()
);

/// A store that claims to have written, and has not.
async fn losing() -> Fixture {
    let faults = Arc::<Faults>::default();
    faults.every(1, Call::Write, Fault::LoseWrite);
    faulty(faults).await
}

/// The rules would be worth nothing if a store that loses writes could keep them.
macro_rules! notices_lost_writes {
    ($($module:ident :: $rule:ident),* $(,)?) => {
        mod a_store_that_loses_writes_is_caught_by { use super::*; $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $rule() {
                let fixture = losing().await;
                let kept = store::$module::$rule(&fixture);
                let kept = AssertUnwindSafe(kept).catch_unwind().await;
                assert!(kept.is_err(), "the rule did not notice that nothing was written");
            }
        )* }
    };
}

notices_lost_writes![
    rules_documents::a_document_reads_back_as_it_was_written,
    rules_documents::a_stale_replace_is_a_conflict_and_writes_nothing,
    rules_transactions::own_writes_are_read_at_once,
    rules_unique::a_taken_unique_index_refuses_and_names_its_fields,
    rules_claims::eight_claimers_share_the_messages_without_overlap,
    rules_sequence::new_documents_are_stamped_in_order,
    rules_life::what_was_acknowledged_is_there_after_opening_again,
];
