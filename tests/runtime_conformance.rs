//! Rules that every runtime keeps, run on every adapter: one test a rule and adapter, so that a failure names both.
//! A new rule is one function in `runtime/rules.rs`; a new adapter is one fixture and one `conforms!`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "tests stop at the first surprise and may print"
)]
#![cfg(target_os = "linux")]

#[path = "runtime/fixture.rs"]
mod fixture;
#[path = "runtime/kubelet.rs"]
mod kubelet;
#[path = "runtime/kubernetes.rs"]
mod kubernetes;
#[path = "runtime/local.rs"]
mod local;
#[path = "runtime/rules.rs"]
mod rules;
#[path = "runtime/simulated.rs"]
mod simulated;

/// `conforms!(adapter, fixture, [rule, …])`: one test for each rule; attributes before it are every test's.
macro_rules! conforms {
    (@rules $adapter:ident, $fixture:expr, $attributes:tt, [$($rule:ident),* $(,)?]) => {
        mod $adapter {
            $(conforms!(@rule $fixture, $attributes, $rule);)*
        }
    };
    (@rule $fixture:expr, [$($attribute:meta),*], $rule:ident) => {
                $(#[$attribute])*
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $rule() {
                    let fixture = $fixture;
                    crate::rules::$rule(&fixture).await;
                    crate::fixture::Fixture::end(fixture).await;
                }
    };
    ($(#[$attribute:meta])* $adapter:ident, $fixture:expr, $rules:tt) => {
        conforms!(@rules $adapter, $fixture, [$($attribute),*], $rules);
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
        hosts_have_room_and_one_of_them_runs_the_workload,
        what_is_not_there_has_no_log_and_runs_no_command,
        a_command_runs_beside_the_agent,
        a_command_that_takes_too_long_is_ended,
        a_terminal_beside_the_agent_is_typed_into_resized_and_ends_with_a_code,
        a_terminal_is_hung_up_when_nobody_holds_it,
        usage_is_given_for_what_runs_and_missing_for_the_rest,
        the_tail_of_a_log_is_its_last_lines,
        // needs containers: elsewhere a program that ends is begun again, both streams are one, and a log goes with its pod
        an_exit_code_is_seen,
        both_streams_are_logged_line_by_line_with_their_times,
        the_log_of_the_incarnation_before_is_kept,
        // about what a program itself does
        a_workload_asked_to_end_may_end_its_own_way,
        a_workload_that_hangs_is_killed_after_its_grace,
        a_second_wish_to_end_may_shorten_the_grace,
        a_followed_log_gives_what_was_and_what_comes,
        a_log_can_be_read_from_a_time_on,
        a_line_of_a_megabyte_is_cut_and_says_so,
        bytes_that_are_no_text_are_logged_as_what_they_are_not,
        an_agent_gets_its_environment_and_nothing_of_the_engines,
        a_busy_agent_uses_more_than_an_idle_one,
    ]
);

conforms!(
    simulation,
    crate::simulated::Simulated::open(),
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
        hosts_have_room_and_one_of_them_runs_the_workload,
        what_is_not_there_has_no_log_and_runs_no_command,
        a_command_runs_beside_the_agent,
        a_command_that_takes_too_long_is_ended,
        usage_is_given_for_what_runs_and_missing_for_the_rest,
        the_tail_of_a_log_is_its_last_lines,
    ]
);

conforms!(
    #[ignore = "needs a cluster: CVXC_TEST_KUBECONFIG"]
    on_kubernetes,
    crate::kubernetes::OnKubernetes::open().await,
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
        a_parked_workload_is_kept_without_running_and_runs_again,
        an_empty_command_is_refused_by_name,
        info_names_the_kind_and_a_node_with_room,
        hosts_have_room_and_one_of_them_runs_the_workload,
        what_is_not_there_has_no_log_and_runs_no_command,
        a_command_runs_beside_the_agent,
        a_command_that_takes_too_long_is_ended,
        a_terminal_beside_the_agent_is_typed_into_resized_and_ends_with_a_code,
        the_tail_of_a_log_is_its_last_lines,
    ]
);

conforms!(
    #[ignore = "needs a cluster with metrics: CVXC_TEST_KUBECONFIG"]
    on_kubernetes_measured,
    crate::kubernetes::OnKubernetes::measured().await,
    [
        usage_is_given_for_what_runs_and_missing_for_the_rest,
        a_busy_agent_uses_more_than_an_idle_one,
    ]
);

conforms!(
    #[ignore = "needs a cluster: CVXC_TEST_KUBECONFIG"]
    on_kubernetes_with_programs,
    crate::kubernetes::OnKubernetes::programs().await,
    [
        a_workload_asked_to_end_may_end_its_own_way,
        a_workload_that_hangs_is_killed_after_its_grace,
        a_second_wish_to_end_may_shorten_the_grace,
        a_followed_log_gives_what_was_and_what_comes,
        a_log_can_be_read_from_a_time_on,
        a_line_of_a_megabyte_is_cut_and_says_so,
        bytes_that_are_no_text_are_logged_as_what_they_are_not,
        an_agent_gets_its_environment_and_nothing_of_the_engines,
    ]
);
