//! The rules. Each is about one sentence of the port's promise.

use std::time::{Duration, Instant};

use cvxc::ports::runtime::{Exit, LogLine, LogOptions, Observed, RuntimeError, Sight, State};
use cvxc::ports::site::{Answer, Ask, Shell, TerminalSize};
use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::fixture::{Does, Fixture, LIMIT, exited, listed, log, seen, texts};

const MOMENT: Duration = Duration::from_secs(1);

pub async fn a_workload_starts_and_is_seen_running(fixture: &impl Fixture) {
    let workload = fixture.workload(Does::Run);
    let seen = fixture.running(&workload).await;
    assert_eq!((&seen.agent, seen.incarnation, seen.exit), (&workload.agent, 1, None));
    assert!(!seen.node.is_empty() && !seen.workload.is_empty() && seen.started_at.is_some());
    let listed = listed(&*fixture.runtime(), &workload.agent).await;
    assert_eq!(listed, Some(seen), "the list and the watch say the same");
}

pub async fn applying_twice_starts_it_once(fixture: &impl Fixture) {
    let workload = fixture.workload(Does::Run);
    let first = fixture.running(&workload).await;
    fixture.runtime().apply(workload.clone()).await.unwrap();
    assert_eq!(listed(&*fixture.runtime(), &workload.agent).await, Some(first));
}

pub async fn engines_that_race_start_it_once(fixture: &impl Fixture) {
    let (a, b) = (fixture.runtime(), fixture.another());
    for _ in 0..5 {
        let workload = fixture.workload(Does::Run);
        let (one, two, three) = tokio::join!(
            a.apply(workload.clone()),
            b.apply(workload.clone()),
            a.apply(workload.clone())
        );
        one.unwrap();
        two.unwrap();
        three.unwrap();
        let running = |s: &Observed| s.state == State::Running;
        let by_a = seen(&*a, &workload.agent, running).await;
        let by_b = seen(&*b, &workload.agent, running).await;
        assert_eq!((by_a.pid, by_a.incarnation), (by_b.pid, 1));
    }
}

pub async fn another_engine_sees_what_the_first_started(fixture: &impl Fixture) {
    let workload = fixture.workload(Does::Run);
    let first = fixture.running(&workload).await;
    let other = fixture.another();
    assert_eq!(listed(&*other, &workload.agent).await, Some(first.clone()));
    other.apply(workload.clone()).await.unwrap();
    assert_eq!(listed(&*other, &workload.agent).await, Some(first), "adopted, not started again");
    other.remove(&workload.agent, MOMENT).await.unwrap();
    exited(&*fixture.runtime(), &workload.agent).await;
}

pub async fn the_watch_tells_everything_once_and_then_changes(fixture: &impl Fixture) {
    let (one, two) = (fixture.workload(Does::Run), fixture.workload(Does::Run));
    fixture.running(&one).await;
    fixture.running(&two).await;
    let mut watch = fixture.runtime().watch().await.unwrap();
    let mut first = Vec::new();
    for _ in 0..2 {
        match tokio::time::timeout(LIMIT, watch.next()).await.unwrap() {
            Some(Sight::Changed(seen)) => first.push(seen.agent),
            other => panic!("expected what is there, got {other:?}"),
        }
    }
    first.sort();
    let mut both = vec![one.agent.clone(), two.agent.clone()];
    both.sort();
    assert_eq!(first, both);
    fixture.runtime().remove(&two.agent, MOMENT).await.unwrap();
    let until_exited = async {
        loop {
            match watch.next().await {
                Some(Sight::Changed(seen)) => {
                    assert_eq!(seen.agent, two.agent, "the other one did not change");
                    if seen.state == State::Exited {
                        return;
                    }
                }
                other => panic!("expected a change, got {other:?}"),
            }
        }
    };
    tokio::time::timeout(LIMIT, until_exited).await.unwrap();
}

pub async fn a_removed_workload_ends_and_is_listed_until_it_is_forgotten(fixture: &impl Fixture) {
    let workload = fixture.workload(Does::Run);
    fixture.running(&workload).await;
    let runtime = fixture.runtime();
    let mut watch = runtime.watch().await.unwrap();
    runtime.remove(&workload.agent, MOMENT).await.unwrap();
    let ended = exited(&*runtime, &workload.agent).await;
    assert!(ended.exit.is_some() && ended.pid.is_none(), "{ended:?}");
    assert_eq!(listed(&*runtime, &workload.agent).await, Some(ended));
    runtime.forget(&workload.agent).await.unwrap();
    assert_eq!(listed(&*runtime, &workload.agent).await, None);
    let gone = async { while watch.next().await != Some(Sight::Gone(workload.agent.clone())) {} };
    tokio::time::timeout(LIMIT, gone).await.unwrap();
}

pub async fn removing_and_forgetting_what_is_not_there_is_no_error(fixture: &impl Fixture) {
    let runtime = fixture.runtime();
    let workload = fixture.workload(Does::Run);
    runtime.remove(&workload.agent, MOMENT).await.unwrap();
    runtime.forget(&workload.agent).await.unwrap();
    fixture.running(&workload).await;
    for _ in 0..2 {
        runtime.remove(&workload.agent, MOMENT).await.unwrap();
        exited(&*runtime, &workload.agent).await;
    }
    for _ in 0..2 {
        runtime.forget(&workload.agent).await.unwrap();
    }
}

pub async fn a_running_workload_is_not_forgotten(fixture: &impl Fixture) {
    let workload = fixture.workload(Does::Run);
    let running = fixture.running(&workload).await;
    let refused = fixture.runtime().forget(&workload.agent).await.unwrap_err();
    assert!(matches!(refused, RuntimeError::Rejected { .. }), "{refused:?}");
    assert_eq!(listed(&*fixture.runtime(), &workload.agent).await, Some(running));
}

pub async fn a_newer_incarnation_takes_the_place_of_the_older(fixture: &impl Fixture) {
    let mut workload = fixture.workload(Does::Run);
    let first = fixture.running(&workload).await;
    workload.incarnation = 2;
    let second = fixture.running(&workload).await; // without a remove in between
    assert!(first.pid.is_none() || first.pid != second.pid);
    fixture.runtime().remove(&workload.agent, MOMENT).await.unwrap();
    exited(&*fixture.runtime(), &workload.agent).await;
    workload.incarnation = 3;
    fixture.running(&workload).await;
}

pub async fn an_older_incarnation_is_refused(fixture: &impl Fixture) {
    let mut workload = fixture.workload(Does::Run);
    workload.incarnation = 7;
    let running = fixture.running(&workload).await;
    workload.incarnation = 6;
    let refused = fixture.runtime().apply(workload.clone()).await.unwrap_err();
    assert!(refused.to_string().contains('6') && refused.to_string().contains('7'), "{refused}");
    assert_eq!(listed(&*fixture.runtime(), &workload.agent).await, Some(running));
}

pub async fn an_incarnation_that_has_ended_is_not_begun_again(fixture: &impl Fixture) {
    let workload = fixture.workload(Does::Run);
    fixture.running(&workload).await;
    fixture.runtime().remove(&workload.agent, MOMENT).await.unwrap();
    let ended = exited(&*fixture.runtime(), &workload.agent).await;
    fixture.runtime().apply(workload.clone()).await.unwrap();
    fixture.another().apply(workload.clone()).await.unwrap();
    assert_eq!(listed(&*fixture.another(), &workload.agent).await, Some(ended));
}

/// Where workloads can be parked.
pub async fn a_parked_workload_is_kept_without_running_and_runs_again(fixture: &impl Fixture) {
    let workload = fixture.workload(Does::Run);
    fixture.running(&workload).await;
    let (runtime, other) = (fixture.runtime(), fixture.another());
    assert!(runtime.parks());
    for _ in 0..2 {
        runtime.park(&workload.agent, true).await.unwrap();
        let parked = seen(&*other, &workload.agent, |seen| seen.state == State::Parked).await;
        assert!(parked.is_alive() && parked.incarnation == 1, "{parked:?}");
    }
    runtime.apply(workload.clone()).await.unwrap();
    let parked = listed(&*runtime, &workload.agent).await.unwrap();
    assert_eq!(parked.state, State::Parked, "what is applied again stays parked");
    other.park(&workload.agent, false).await.unwrap();
    seen(&*runtime, &workload.agent, |seen| seen.state == State::Running).await;
    runtime.park(&workload.agent, true).await.unwrap();
    runtime.remove(&workload.agent, MOMENT).await.unwrap();
    exited(&*runtime, &workload.agent).await;
    let ended = exited(&*other, &workload.agent).await;
    runtime.park(&workload.agent, false).await.unwrap();
    let after = listed(&*other, &workload.agent).await;
    assert_eq!(after, Some(ended), "what has ended is not begun again");
}

pub async fn an_empty_command_is_refused_by_name(fixture: &impl Fixture) {
    let mut workload = fixture.workload(Does::Run);
    workload.config.command.clear();
    workload.config.image.clear();
    let refused = fixture.runtime().apply(workload.clone()).await.unwrap_err();
    assert!(matches!(refused, RuntimeError::Rejected { .. }), "{refused:?}");
    assert!(refused.to_string().contains("command"), "{refused}");
    assert_eq!(listed(&*fixture.runtime(), &workload.agent).await, None, "nothing was begun");
}

pub async fn info_names_the_kind_and_a_node_with_room(fixture: &impl Fixture) {
    let info = fixture.runtime().info().await.unwrap();
    assert!(!info.kind.is_empty() && !info.place.is_empty());
    assert!(info.nodes.iter().any(|node| node.cpu_millis > 0 && node.memory_bytes > 0), "{info:?}");
}

pub async fn hosts_have_room_and_one_of_them_runs_the_workload(fixture: &impl Fixture) {
    let (runtime, workload) = (fixture.runtime(), fixture.workload(Does::Run));
    let seen = fixture.running(&workload).await;
    let Answer::Hosts(hosts) = runtime.site(Ask::Hosts).await.unwrap() else {
        panic!("hosts were asked for");
    };
    let its = hosts.iter().find(|host| host.name == seen.node).expect("the host that it is on");
    assert!(its.trouble.is_empty() && !its.cordoned, "{its:?}");
    let (all, may) = (its.capacity, its.allocatable);
    assert!(may.cpu_millis > 0 && may.memory_bytes > 0, "{its:?}");
    assert!(may.cpu_millis <= all.cpu_millis && may.memory_bytes <= all.memory_bytes, "{its:?}");
}

/// What is said up to a word.
async fn until(output: &mut (impl AsyncRead + Unpin), word: &str) -> String {
    let (mut told, mut bytes) = (String::new(), [0; 1024]);
    while !told.contains(word) {
        let count = output.read(&mut bytes).await.unwrap();
        assert!(count > 0, "it ended with: {told}");
        told.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    told
}

pub async fn a_terminal_beside_the_agent_is_typed_into_resized_and_ends_with_a_code(
    fixture: &impl Fixture,
) {
    let (runtime, workload) = (fixture.runtime(), fixture.workload(Does::Run));
    let size = TerminalSize { columns: 80, rows: 24 };
    let gone = runtime.shell(&workload.agent, &words("sh"), size).await.err();
    assert!(matches!(gone, Some(RuntimeError::Gone { .. })), "{gone:?}");
    fixture.running(&workload).await;
    let shell = runtime.shell(&workload.agent, &words("sh"), size).await.unwrap();
    let Shell { mut input, mut output, resize, end } = shell;
    let typed = async {
        (resize)(TerminalSize { columns: 101, rows: 31 });
        // what is typed and the size go different ways: the shell waits for the size. Told in parts, so that the echo of
        // what is typed holds neither answer
        let line = "until stty size | grep -q '^31 10[1]$'; do sleep 0.1; done; stty size; echo said-$((40+2))\n";
        input.write_all(line.as_bytes()).await.unwrap();
        input.flush().await.unwrap();
    };
    let said = until(&mut output, "said-42");
    let told = timeout(LIMIT, async { tokio::join!(typed, said).1 }).await.expect("it answers");
    assert!(told.contains("31 101"), "a terminal of the size it was given: {told}");
    input.write_all(b"exit 7\n").await.unwrap();
    let code = timeout(LIMIT, end).await.expect("it ends");
    fixture.ended_with(code, 7);
}

pub async fn a_terminal_is_hung_up_when_nobody_holds_it(fixture: &impl Fixture) {
    let (runtime, workload) = (fixture.runtime(), fixture.workload(Does::Run));
    fixture.running(&workload).await;
    let mark = std::env::temp_dir().join(format!("cvxc-hung-{}", workload.agent));
    let path = mark.display();
    let script = format!("trap 'touch {path}; exit' HUP; echo ready; while :; do sleep 0.05; done");
    let command = ["sh".to_owned(), "-c".to_owned(), script];
    let size = TerminalSize { columns: 80, rows: 24 };
    let mut shell = runtime.shell(&workload.agent, &command, size).await.unwrap();
    timeout(LIMIT, until(&mut shell.output, "ready")).await.expect("it begins");
    drop(shell);
    let hung_up = async {
        while !mark.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LIMIT, hung_up).await.expect("the program hears that its terminal is gone");
    std::fs::remove_file(mark).unwrap();
}

pub async fn an_exit_code_is_seen(fixture: &impl Fixture) {
    let ended = fixture.ended(&fixture.script("exit 3")).await;
    assert_eq!(ended.exit, Some(Exit::Code(3)));
    assert!(ended.end().contains("code 3"), "{ended:?}");
    let ended = fixture.ended(&fixture.script("kill -SEGV $$")).await;
    assert_eq!(ended.exit, Some(Exit::Signal(11)));
    assert!(ended.end().contains("SIGSEGV"), "{ended:?}");
}

pub async fn what_is_not_there_has_no_log_and_runs_no_command(fixture: &impl Fixture) {
    let (runtime, workload) = (fixture.runtime(), fixture.workload(Does::Run));
    let log = runtime.logs(&workload.agent, LogOptions::default()).await.err();
    assert!(matches!(log, Some(RuntimeError::Gone { .. })), "{log:?}");
    let done = runtime.exec(&workload.agent, &words("echo hello"), MOMENT).await.err();
    assert!(matches!(done, Some(RuntimeError::Gone { .. })), "{done:?}");
    fixture.running(&workload).await;
    runtime.remove(&workload.agent, MOMENT).await.unwrap();
    exited(&*runtime, &workload.agent).await;
    let done = runtime.exec(&workload.agent, &words("echo hello"), MOMENT).await.err();
    assert!(matches!(done, Some(RuntimeError::Gone { .. })), "{done:?}");
}

pub async fn a_command_runs_beside_the_agent(fixture: &impl Fixture) {
    let workload = fixture.workload(Does::Run);
    let running = fixture.running(&workload).await;
    let runtime = fixture.runtime();
    let done = runtime.exec(&workload.agent, &words("echo hello"), LIMIT).await.unwrap();
    assert_eq!((done.code, &*done.stdout, &*done.stderr), (0, &b"hello\n"[..], &b""[..]));
    assert_eq!(runtime.exec(&workload.agent, &words("false"), LIMIT).await.unwrap().code, 1);
    assert_eq!(listed(&*runtime, &workload.agent).await, Some(running), "the agent goes on");
}

pub async fn a_command_that_takes_too_long_is_ended(fixture: &impl Fixture) {
    let workload = fixture.workload(Does::Run);
    fixture.running(&workload).await;
    let (began, short) = (Instant::now(), Duration::from_millis(300));
    let late = fixture.runtime().exec(&workload.agent, &words("sleep 600"), short).await.err();
    assert!(matches!(late, Some(RuntimeError::OutcomeUnknown(_))), "{late:?}");
    assert!(began.elapsed() >= short && began.elapsed() < LIMIT);
}

pub async fn usage_is_given_for_what_runs_and_missing_for_the_rest(fixture: &impl Fixture) {
    let (runs, not) = (fixture.workload(Does::Run), fixture.workload(Does::Run));
    fixture.running(&runs).await;
    let runtime = fixture.runtime();
    let usage = runtime.usage(&[not.agent.clone(), runs.agent.clone()]).await.unwrap();
    let [(agent, sample)] = usage.as_slice() else { panic!("expected one sample: {usage:?}") };
    assert_eq!(*agent, runs.agent);
    assert!(sample.memory_bytes > 0 && sample.at > cvxc::model::time::Time::EPOCH, "{sample:?}");
    runtime.remove(&runs.agent, MOMENT).await.unwrap();
    exited(&*runtime, &runs.agent).await;
    assert_eq!(
        runtime.usage(std::slice::from_ref(&runs.agent)).await.unwrap(),
        [],
        "missing is not zero"
    );
}

pub async fn the_tail_of_a_log_is_its_last_lines(fixture: &impl Fixture) {
    let workload = fixture.workload(Does::Run);
    fixture.running(&workload).await;
    let runtime = fixture.runtime();
    let all = log(&*runtime, &workload.agent, LogOptions::default()).await;
    assert!(all.windows(2).all(|pair| pair[0].at <= pair[1].at), "in order of time");
    for tail in [0, 1, 2] {
        let last = LogOptions { tail: Some(tail), ..LogOptions::default() };
        let got = log(&*runtime, &workload.agent, last).await;
        assert!(got.len() <= tail);
        assert!(got.len() == tail || all.len() < tail, "{} of {}", got.len(), all.len());
    }
}

// From here on the rules are about what a program itself does, and need an adapter that runs real ones.

pub async fn a_workload_asked_to_end_may_end_its_own_way(fixture: &impl Fixture) {
    let script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done";
    let workload = fixture.script(script);
    fixture.ready(&workload).await;
    fixture.runtime().remove(&workload.agent, LIMIT).await.unwrap();
    let ended = exited(&*fixture.runtime(), &workload.agent).await;
    assert_eq!(ended.exit, Some(Exit::Code(5)));
}

pub async fn a_workload_that_hangs_is_killed_after_its_grace(fixture: &impl Fixture) {
    let script = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    let workload = fixture.script(script);
    fixture.ready(&workload).await;
    let began = Instant::now();
    fixture.runtime().remove(&workload.agent, MOMENT).await.unwrap();
    seen(&*fixture.runtime(), &workload.agent, |seen| seen.state == State::Ending).await;
    let ended = exited(&*fixture.runtime(), &workload.agent).await;
    assert_eq!(ended.exit, Some(Exit::Signal(9)));
    assert!(ended.message.contains("grace"), "{}", ended.message);
    assert!(began.elapsed() >= MOMENT, "not before its grace was over");
}

pub async fn a_second_wish_to_end_may_shorten_the_grace(fixture: &impl Fixture) {
    let script = "trap '' TERM; echo ready; while :; do sleep 0.05; done";
    let workload = fixture.script(script);
    fixture.ready(&workload).await;
    let began = Instant::now();
    fixture.runtime().remove(&workload.agent, LIMIT * 10).await.unwrap();
    fixture.runtime().remove(&workload.agent, Duration::ZERO).await.unwrap();
    let ended = exited(&*fixture.runtime(), &workload.agent).await;
    assert_eq!(ended.exit, Some(Exit::Signal(9)));
    assert!(began.elapsed() < LIMIT);
}

pub async fn both_streams_are_logged_line_by_line_with_their_times(fixture: &impl Fixture) {
    let workload = fixture.script("echo one; echo two >&2; printf 'no end of line'");
    fixture.ended(&workload).await;
    let lines = log(&*fixture.runtime(), &workload.agent, LogOptions::default()).await;
    let mut got: Vec<(&str, bool)> =
        lines.iter().map(|line| (line.text.as_str(), line.stderr)).collect();
    got.sort_unstable();
    assert_eq!(got, [("no end of line", false), ("one", false), ("two", true)]);
    assert!(lines.iter().all(|line| line.skipped == 0));
    let now = cvxc::ports::clock::Clock::now(&cvxc::ports::clock::SystemClock);
    assert!(lines.iter().all(|line| now.since(line.at) < LIMIT * 3), "{lines:?}");
}

pub async fn a_followed_log_gives_what_was_and_what_comes(fixture: &impl Fixture) {
    let script =
        "echo 1; echo 2; trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let workload = fixture.script(script);
    fixture.ready(&workload).await;
    let options = LogOptions { follow: true, tail: Some(2), ..LogOptions::default() };
    let lines = fixture.runtime().logs(&workload.agent, options).await.unwrap();
    fixture.runtime().remove(&workload.agent, LIMIT).await.unwrap();
    let lines = lines.map(Result::unwrap);
    // some shells say on stderr that their child was ended too
    let said = lines.filter(|line| std::future::ready(!line.stderr));
    let three: Vec<LogLine> = tokio::time::timeout(LIMIT, said.take(3).collect()).await.unwrap();
    assert_eq!(texts(&three), ["2", "ready", "bye"]);
}

pub async fn a_log_can_be_read_from_a_time_on(fixture: &impl Fixture) {
    let workload = fixture.script("echo 1; sleep 0.05; echo 2; sleep 0.05; echo 3");
    fixture.ended(&workload).await;
    let runtime = fixture.runtime();
    let all = log(&*runtime, &workload.agent, LogOptions::default()).await;
    let since = LogOptions { since: Some(all[1].at), ..LogOptions::default() };
    let got = log(&*runtime, &workload.agent, since.clone()).await;
    assert_eq!(texts(&got), ["2", "3"]);
    let both = LogOptions { tail: Some(1), ..since };
    assert_eq!(texts(&log(&*runtime, &workload.agent, both).await), ["3"]);
}

pub async fn the_log_of_the_incarnation_before_is_kept(fixture: &impl Fixture) {
    let mut workload = fixture.script("echo first");
    fixture.ended(&workload).await;
    let runtime = fixture.runtime();
    let previous = LogOptions { previous: true, ..LogOptions::default() };
    let none = runtime.logs(&workload.agent, previous.clone()).await.err();
    assert!(matches!(none, Some(RuntimeError::Rejected { .. })), "{none:?}");
    workload.incarnation = 2;
    workload.config.args = vec!["echo second".to_owned()];
    runtime.apply(workload.clone()).await.unwrap();
    let second = |seen: &Observed| seen.incarnation == 2 && seen.state == State::Exited;
    seen(&*runtime, &workload.agent, second).await;
    let current = log(&*runtime, &workload.agent, LogOptions::default()).await;
    assert_eq!(texts(&current), ["second"]);
    assert_eq!(texts(&log(&*runtime, &workload.agent, previous).await), ["first"]);
}

pub async fn a_line_of_a_megabyte_is_cut_and_says_so(fixture: &impl Fixture) {
    let script = "echo before; head -c 1048576 /dev/zero | tr '\\0' x; echo; echo after";
    let workload = fixture.script(script);
    fixture.ended(&workload).await;
    let lines = log(&*fixture.runtime(), &workload.agent, LogOptions::default()).await;
    let texts = texts(&lines);
    assert_eq!((texts.len(), texts[0], texts[2]), (3, "before", "after"));
    assert!(texts[1].len() <= 64 * 1024 && texts[1].contains("cut"));
}

pub async fn bytes_that_are_no_text_are_logged_as_what_they_are_not(fixture: &impl Fixture) {
    let workload = fixture.script(r"head -c 300000 /dev/urandom; echo; printf '\377\000\033[2J\n'");
    fixture.ended(&workload).await;
    let lines = log(&*fixture.runtime(), &workload.agent, LogOptions::default()).await;
    assert!(lines.iter().all(|line| line.text.len() <= 64 * 1024 && !line.text.contains('\n')));
    assert_eq!(lines.last().unwrap().text, "\u{fffd}\0\u{1b}[2J");
}

pub async fn an_agent_gets_its_environment_and_nothing_of_the_engines(fixture: &impl Fixture) {
    let mut workload = fixture.script("env | sort");
    workload.config.env = [("OURS", "from the template"), ("CVXC_AGENT_ID", "forged")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    fixture.ended(&workload).await;
    let lines = log(&*fixture.runtime(), &workload.agent, LogOptions::default()).await;
    let texts = texts(&lines);
    assert!(texts.contains(&"OURS=from the template"), "{texts:?}");
    assert!(texts.contains(&"CVXC_STORE=/nowhere"), "{texts:?}");
    assert!(texts.contains(&&*format!("CVXC_AGENT_ID={}", workload.agent)), "{texts:?}");
    // cargo gives the test itself many of these
    assert!(!texts.iter().any(|line| line.starts_with("CARGO")), "{texts:?}");
}

pub async fn a_busy_agent_uses_more_than_an_idle_one(fixture: &impl Fixture) {
    let busy = fixture.script("echo ready; while :; do :; done");
    let idle = fixture.workload(Does::Run);
    fixture.running(&idle).await;
    fixture.ready(&busy).await;
    let runtime = fixture.runtime();
    let both = [busy.agent.clone(), idle.agent.clone()];
    // on a machine that is busy itself it may take a while to get its share
    let seen = async {
        loop {
            let usage = runtime.usage(&both).await.unwrap();
            let cpu = |agent| usage.iter().find(|(id, _)| id == agent).unwrap().1.cpu_millis;
            if cpu(&busy.agent) > 100 && cpu(&idle.agent) < 50 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    };
    tokio::time::timeout(LIMIT, seen).await.expect("the busy one is seen to be busy");
}

fn words(command: &str) -> Vec<String> {
    command.split(' ').map(str::to_owned).collect()
}
