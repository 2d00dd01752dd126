//! The list of rules, and how one becomes a test.

/// One test for each rule on one adapter.
#[macro_export]
macro_rules! conforms {
    ($(#[$needs:meta])? $adapter:ident, $open:expr, [$($module:ident :: $rule:ident),* $(,)?]) => {
        conforms!(@each [$($needs)?], $adapter, $open, [$($module :: $rule),*]);
    };
    (@each $needs:tt, $adapter:ident, $open:expr, [$($module:ident :: $rule:ident),*]) => {
        mod $adapter {
            use super::*;
            $( conforms!(@one $needs, $open, $module, $rule); )*
        }
    };
    (@one [$($needs:meta)?], $open:expr, $module:ident, $rule:ident) => {
                $(#[$needs])?
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $rule() {
                    let fixture: Fixture = $open.await;
                    store::$module::$rule(&fixture).await;
                    fixture.close().await;
                }
    };
}

/// Every rule on one adapter.
#[macro_export]
macro_rules! every_rule {
    ($(#[$needs:meta])? $adapter:ident, $open:expr) => {
        conforms!(
            $(#[$needs])?
            $adapter,
            $open,
            [
                rules_claims::eight_claimers_share_the_messages_without_overlap,
                rules_claims::a_claim_takes_the_first_in_order_up_to_its_limit,
                rules_claims::an_update_returns_documents_as_they_are_now,
                rules_claims::a_guard_that_does_not_hold_stops_the_update,
                rules_claims::set_reaches_inside_and_null_removes,
                rules_claims::add_counts_missing_as_zero_and_refuses_what_is_no_number,
                rules_claims::the_stores_own_fields_cannot_be_set,
                rules_claims::an_update_minds_its_limits,
                rules_claims::an_update_comes_through_the_feed,
                rules_claims::counters_of_many_updaters_add_up,
                rules_documents::a_document_reads_back_as_it_was_written,
                rules_documents::an_empty_document_is_one,
                rules_documents::what_is_not_there_is_not_found,
                rules_documents::one_key_in_two_collections_is_two_documents,
                rules_documents::unknown_fields_survive_a_merge,
                rules_documents::every_write_gives_a_revision_never_seen_before,
                rules_documents::a_stale_replace_is_a_conflict_and_writes_nothing,
                rules_documents::a_replace_leaves_nothing_of_the_old_body,
                rules_documents::a_replace_of_what_is_gone_is_not_found,
                rules_documents::an_insert_of_a_taken_key_is_refused_and_changes_nothing,
                rules_documents::a_put_writes_over_whatever_is_there_or_nothing,
                rules_documents::a_merge_sets_whole_fields_and_null_removes,
                rules_documents::a_merge_makes_a_document_only_when_asked,
                rules_documents::a_removal_minds_the_revision_when_given,
                rules_documents::many_keys_at_once_give_those_that_exist,
                rules_documents::hostile_keys_never_reach_the_store,
                rules_documents::what_is_too_deep_or_too_large_is_refused,
                rules_documents::the_names_of_key_and_revision_are_reserved,
                rules_documents::revisions_list_a_whole_collection_by_key,
                rules_documents::a_scan_gives_a_whole_collection_as_text_by_key,
                rules_edges::a_walk_follows_direction_and_ends_in_circles,
                rules_edges::a_walk_minds_depth_and_limit,
                rules_edges::a_hop_carries_the_edge_that_led_there,
                rules_edges::an_edge_to_itself_leads_nowhere,
                rules_edges::a_walk_out_of_bounds_is_refused,
                rules_feed::changes_come_in_order_from_the_cursor_on,
                rules_feed::only_watched_collections_come,
                rules_feed::a_topic_brings_its_own_and_every_removal,
                rules_feed::bodies_come_when_asked_for,
                rules_feed::the_last_word_on_a_document_always_comes,
                rules_feed::a_feed_goes_on_from_any_change_it_gave,
                rules_feed::own_changes_come_at_once,
                rules_feed::changes_of_another_opener_come_soon,
                rules_feed::a_slow_reader_loses_nothing,
                rules_feed::every_reader_gets_everything,
                rules_feed::writers_at_once_leave_no_gap,
                rules_feed::a_cursor_of_another_store_asks_for_a_new_list,
                rules_feed::whoever_was_away_too_long_is_told_and_goes_on,
                rules_feed::what_is_young_stays_in_the_feed,
                rules_feed::the_cursor_is_where_the_feed_stands,
                rules_feed::a_feed_of_a_closed_store_ends_with_an_error,
                rules_feed::removals_by_expiry_come_through_the_feed,
                rules_filters::a_query_finds_exactly_what_the_filter_matches,
                rules_filters::a_missing_field_is_null,
                rules_filters::a_filter_may_ask_for_the_key,
                rules_filters::hostile_values_are_only_values,
                rules_filters::a_filter_without_end_is_refused_or_answered,
                rules_filters::a_tally_counts_by_value_and_type,
                rules_life::what_was_acknowledged_is_there_after_opening_again,
                rules_life::what_has_expired_is_cleared_away_and_nothing_else,
                rules_life::clearing_away_much_is_finished_in_a_few_calls,
                rules_life::the_store_says_what_it_is,
                rules_life::a_closed_store_answers_that_it_is_not_available,
                rules_life::what_is_under_way_is_finished_before_closing,
                rules_life::a_dropped_call_leaves_the_store_well,
                rules_pages::without_a_sort_pages_go_by_key,
                rules_pages::the_last_page_says_that_nothing_follows,
                rules_pages::a_sort_orders_all_types_and_breaks_ties_by_key,
                rules_pages::a_sort_by_several_fields_goes_both_ways,
                rules_pages::unchanged_rows_are_met_once_while_others_change,
                rules_pages::limits_and_bookmarks_are_checked,
                rules_pages::a_page_reads_one_state_of_the_store,
                rules_sequence::new_documents_are_stamped_in_order,
                rules_sequence::a_document_keeps_its_stamp_for_life,
                rules_sequence::nobody_forges_a_stamp,
                rules_sequence::a_reader_that_saw_a_stamp_never_meets_a_lower_new_one,
                rules_transactions::a_check_that_holds_lets_the_rest_through,
                rules_transactions::writes_of_one_transaction_see_each_other,
                rules_transactions::a_transaction_of_nothing_does_nothing,
                rules_transactions::the_first_write_that_fails_is_named,
                rules_transactions::a_transaction_without_end_is_refused,
                rules_transactions::of_many_writers_with_one_revision_one_wins,
                rules_transactions::of_many_inserts_of_one_key_one_wins_across_openers,
                rules_transactions::merges_of_many_writers_all_arrive,
                rules_transactions::a_failed_neighbour_does_not_touch_other_transactions,
                rules_transactions::own_writes_are_read_at_once,
                rules_transactions::what_one_opener_wrote_another_reads,
                rules_transactions::a_failed_insert_undoes_all,
                rules_transactions::a_failed_replace_undoes_all,
                rules_transactions::a_replace_of_nothing_undoes_all,
                rules_transactions::a_failed_merge_undoes_all,
                rules_transactions::a_failed_removal_undoes_all,
                rules_transactions::a_failed_check_undoes_all,
                rules_transactions::a_check_that_something_is_missing_undoes_all,
                rules_transactions::a_taken_unique_index_undoes_all,
                rules_unique::a_taken_unique_index_refuses_and_names_its_fields,
                rules_unique::missing_and_null_repeat_in_a_sparse_unique_index,
                rules_unique::no_kind_of_write_gets_past_a_unique_index,
                rules_unique::two_of_one_transaction_cannot_share_a_unique_value,
                rules_unique::a_unique_value_is_free_again_when_its_document_lets_go,
                rules_unique::a_document_may_be_written_again_with_its_own_unique_value,
                rules_unique::values_of_different_types_are_different,
                rules_unique::of_many_claims_of_a_unique_value_one_wins,
            ]
        );
    };
}
