//! Processes as the kernel shows them in /proc: who lives, who belongs to whom, what they use. A process is named by
//! its id *and* its start time, because ids are used again.

use std::collections::HashMap;
use std::fs;
use std::sync::OnceLock;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// Ticks a second of the times in /proc/PID/stat: `USER_HZ`, part of the kernel's interface on every architecture we run on.
pub const TICKS_PER_SECOND: u64 = 100;

/// One process for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    /// Ticks from boot to its start.
    pub start: u64,
}

impl Process {
    pub fn of_pid(pid: u32) -> Option<Self> {
        stat(pid).map(|stat| Self { pid, start: stat.start })
    }

    /// This very process.
    pub fn current() -> Option<Self> {
        Self::of_pid(std::process::id())
    }

    /// Whether it still runs; one that has ended and only waits to be collected does not.
    pub fn lives(self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.start == self.start && !stat.ended)
    }

    /// Sends a signal to this process and no other, even if its id has gone to another meanwhile.
    /// Returns whether it was there to get it.
    pub fn signal(self, signal: Signal) -> bool {
        let Some(fd) = self.open() else { return false };
        pidfd_send_signal(&fd, signal).is_ok()
    }

    /// A descriptor that becomes readable when the process ends.
    pub fn open(self) -> Option<std::os::fd::OwnedFd> {
        let pid = Pid::from_raw(i32::try_from(self.pid).ok()?)?;
        let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        // looked at only after the descriptor is ours: from here on it cannot come to mean another process
        self.lives().then_some(fd)
    }
}

/// What we read of one line of /proc/PID/stat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub pid: u32,
    pub parent: u32,
    pub session: u32,
    pub start: u64,
    /// Processor ticks of the process and of those children it has collected.
    pub ticks: u64,
    pub ended: bool,
}

/// Reads the stat line of one process; `None` when it is gone.
pub fn stat(pid: u32) -> Option<Stat> {
    parse_stat(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The program's name stands in brackets and may hold anything, so fields count from the last bracket.
fn parse_stat(pid: u32, line: &str) -> Option<Stat> {
    let rest = line.get(line.rfind(')')? + 1..)?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        pid,
        parent: u32::try_from(number(1)?).ok()?,
        session: u32::try_from(number(3)?).ok()?,
        start: number(19)?,
        ticks: (11..=14).filter_map(number).sum(),
        ended: matches!(*fields.first()?, "Z" | "X" | "x"),
    })
}

/// Every process that is there now.
pub fn scan() -> Vec<Stat> {
    let Ok(dir) = fs::read_dir("/proc") else { return Vec::new() };
    dir.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(stat)
        .collect()
}

/// The living processes of the session that `leader` began. A session's number is not given away while anybody is in it,
/// so members without a leader are its own, and a leader with another start time has another session.
pub fn session_of(leader: Process) -> Vec<Process> {
    let all = scan();
    if all.iter().any(|stat| stat.pid == leader.pid && stat.start != leader.start) {
        return Vec::new();
    }
    all.iter()
        .filter(|stat| stat.session == leader.pid && !stat.ended)
        .map(|stat| Process { pid: stat.pid, start: stat.start })
        .collect()
}

/// Everything that descends from or shares the session with each root, the root included: root pid → members.
pub fn families(all: &[Stat], roots: &[Process]) -> HashMap<u32, Vec<Stat>> {
    let by_pid: HashMap<u32, &Stat> = all.iter().map(|stat| (stat.pid, stat)).collect();
    let wanted: HashMap<u32, u64> = roots
        .iter()
        .filter(|root| by_pid.get(&root.pid).is_none_or(|stat| stat.start == root.start))
        .map(|root| (root.pid, root.start))
        .collect();
    let mut families: HashMap<u32, Vec<Stat>> = HashMap::new();
    for stat in all.iter().filter(|stat| !stat.ended) {
        let by_birth = std::iter::successors(Some(stat), |stat| by_pid.get(&stat.parent).copied())
            .take(64) // a chain of parents is short, and a torn picture might hold a ring
            .map(|stat| stat.pid)
            .find(|pid| wanted.contains_key(pid));
        let root = by_birth.or_else(|| wanted.contains_key(&stat.session).then_some(stat.session));
        if let Some(root) = root {
            families.entry(root).or_default().push(*stat);
        }
    }
    families
}

/// Resident bytes of one process; `None` when it is gone.
pub fn resident(pid: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    kib(&text, "VmRSS:")
}

/// The number of a `Name:   123 kB` line, in bytes.
pub fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Names this boot of the kernel; empty when the kernel does not say.
pub fn boot_id() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|text| text.trim().to_owned())
            .unwrap_or_default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_named_like_a_stat_line_does_not_shift_the_fields() {
        let line = "7 (a) S 1 (b)) R 3 4 5 0 -1 0 0 0 0 0 10 20 1 2 20 0 1 0 777 0 0";
        let stat = parse_stat(7, line).unwrap();
        assert_eq!((stat.parent, stat.session, stat.start, stat.ticks), (3, 5, 777, 33));
    }

    #[test]
    fn this_process_lives_and_one_with_another_start_does_not() {
        let me = Process::current().unwrap();
        assert!(me.lives());
        assert!(!Process { start: me.start + 1, ..me }.lives());
        assert!(!Process { start: me.start + 1, ..me }.signal(Signal::CONT));
    }

    #[test]
    fn a_family_is_descendants_and_session_mates_and_nobody_else() {
        let stat = |pid, parent, session| Stat {
            pid,
            parent,
            session,
            start: pid.into(),
            ticks: 0,
            ended: false,
        };
        let all = [
            stat(1, 0, 1),
            stat(10, 1, 10),
            stat(11, 10, 10),
            stat(12, 11, 12),
            stat(13, 1, 10),
            stat(20, 1, 20),
        ];
        let root = Process { pid: 10, start: 10 };
        let mut pids: Vec<u32> = families(&all, &[root])[&10].iter().map(|stat| stat.pid).collect();
        pids.sort_unstable();
        assert_eq!(pids, [10, 11, 12, 13]);
        assert!(
            families(&all, &[Process { pid: 10, start: 9 }]).is_empty(),
            "another process has the number"
        );
    }
}
