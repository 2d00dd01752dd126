//! Rules that every runtime keeps, run on every adapter: one test a rule and adapter, so that a failure names both.
//! A new rule is one function in `runtime/rules.rs`; a new adapter is one fixture and one `conforms!`.
#![cfg(target_os = "linux")]

#[path = "runtime/fixture.rs"]
mod fixture;
#[path = "runtime/local.rs"]
mod local;
#[path = "runtime/rules.rs"]
mod rules;

/// `conforms!(adapter, fixture, [rule, …])`: one test for each rule.
macro_rules! conforms {
    ($adapter:ident, $fixture:expr, [$($rule:ident),* $(,)?]) => {
        mod $adapter {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $rule() {
                    let fixture = $fixture;
                    crate::rules::$rule(&fixture).await;
                    crate::fixture::Fixture::end(fixture).await;
                }
            )*
        }
    };
}

conforms!(
    local_process,
    crate::local::Local::open(),
    [
        a_workload_starts_and_is_seen_running,
        applying_twice_starts_it_once,
        engines_that_race_start_it_once,
        another_engine_sees_what_the_first_started,
        the_watch_tells_everything_once_and_then_changes,
        a_removed_workload_ends_and_is_listed_until_it_is_forgotten,
        removing_and_forgetting_what_is_not_there_is_no_error,
        a_running_workload_is_not_forgotten,
        a_newer_incarnation_takes_the_place_of_the_older,
        an_older_incarnation_is_refused,
        an_incarnation_that_has_ended_is_not_begun_again,
        an_empty_command_is_refused_by_name,
        info_names_the_kind_and_a_node_with_room,
        // these need containers: they are about what a program itself does
        an_exit_code_is_seen,
    ]
);
