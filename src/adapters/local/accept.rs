//! What this machine can run: turns a workload into a spec, or says which field is in the way.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::record::Spec;
use crate::ports::runtime::{RuntimeError, Workload};

/// What of the engine's own environment an agent gets; the rest of its environment is what its template says.
const PASSED_ON: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Below this a program cannot even be loaded.
const LEAST_MEMORY: u64 = 4 << 20;

/// Checks a workload against this machine.
///
/// # Errors
/// `Rejected`, naming the first field in the way and what was expected.
pub fn accept(workload: &Workload, exe: &Path) -> Result<Spec, RuntimeError> {
    let config = &workload.config;
    let mut env: BTreeMap<String, String> = PASSED_ON
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
        .collect();
    env.extend(config.env.clone());
    env.extend(workload.env.clone());
    env.insert("CVXC_AGENT_ID".to_owned(), workload.agent.to_string());
    for (name, value) in &env {
        if name.is_empty() || name.contains(['=', '\0']) {
            return Err(reject("env", format!("{name:?} cannot be the name of a variable")));
        }
        if value.contains('\0') {
            return Err(reject(&format!("env.{name}"), "holds a zero byte, which no variable can"));
        }
    }
    let (program, first) = config.command.split_first().ok_or_else(|| {
        reject("command", "is empty; expected a program and its arguments, such as [\"cvxc\", \"agent\", \"run\"]")
    })?;
    let args: Vec<String> = first.iter().chain(&config.args).cloned().collect();
    if let Some(index) = args.iter().position(|arg| arg.contains('\0')) {
        let field = index
            .checked_sub(first.len())
            .map_or_else(|| format!("command[{}]", index + 1), |index| format!("args[{index}]"));
        return Err(reject(&field, "holds a zero byte, which no argument can"));
    }
    let path = env.get("PATH").map_or(PATH, String::as_str);
    let found =
        if program == "cvxc" { exe.to_owned() } else { find("config.command[0]", program, path)? };
    refuse_what_only_containers_can(workload)?;
    let root = rustix::process::geteuid().is_root(); // others can only stay who they are
    Ok(Spec {
        agent: workload.agent.clone(),
        name: workload.name.clone(),
        incarnation: workload.incarnation,
        program: found,
        arg0: program.clone(),
        args,
        env,
        user: config.security.run_as_user.filter(|_| root),
        group: config.security.run_as_group.filter(|_| root),
        memory: memory(workload)?,
        grace: config.grace,
    })
}

fn reject(field: &str, what: impl Display) -> RuntimeError {
    RuntimeError::Rejected { message: format!("config.{field}: {what}") }
}

/// The program that `field` names, as the shell would find it, but never relative to the folder the engine happens to be in.
///
/// # Errors
/// `Rejected` when there is no such program or it may not be run.
pub fn find(field: &str, program: &str, path: &str) -> Result<PathBuf, RuntimeError> {
    let reject =
        |field: &str, what: String| RuntimeError::Rejected { message: format!("{field}: {what}") };
    let shown: String = program.chars().take(200).collect();
    let shown = format!("{shown:?}");
    if program.is_empty() || program.contains('\0') {
        return Err(reject(field, format!("{shown} is no program")));
    }
    let runs = |path: &Path| {
        fs::metadata(path).is_ok_and(|meta| meta.is_file())
            && rustix::fs::access(path, Access::EXEC_OK).is_ok()
    };
    if program.starts_with('/') {
        let path = PathBuf::from(program);
        return match fs::metadata(&path) {
            Ok(_) if runs(&path) => Ok(path),
            Ok(_) => Err(reject(field, format!("{shown} is not an executable file"))),
            Err(error) => Err(reject(field, format!("{shown} cannot be run: {error}"))),
        };
    }
    if program.contains('/') {
        let hint = "expected an absolute path or the name of a program on PATH";
        return Err(reject(field, format!("{shown} is a relative path; {hint}")));
    }
    std::env::split_paths(path)
        .filter(|dir| dir.is_absolute())
        .map(|dir| dir.join(program))
        .find(|path| runs(path))
        .ok_or_else(|| reject(field, format!("no program {shown} on PATH ({path})")))
}

fn memory(workload: &Workload) -> Result<Option<u64>, RuntimeError> {
    let resources = &workload.config.resources;
    if resources.limits.cpu.is_some_and(|cpu| cpu.0 == 0) {
        return Err(reject("resources.limits.cpu", "is 0; leave it out for no limit"));
    }
    let limit = resources.limits.memory.map(|bytes| bytes.0);
    let request = resources.requests.memory.map(|bytes| bytes.0);
    match (limit, request) {
        (Some(limit), _) if limit < LEAST_MEMORY => Err(reject(
            "resources.limits.memory",
            format!("is {limit} bytes; no program runs in less than {LEAST_MEMORY} (4Mi)"),
        )),
        (Some(limit), Some(request)) if limit < request => Err(reject(
            "resources.limits.memory",
            format!(
                "is {limit} bytes, less than the {request} that resources.requests.memory asks for"
            ),
        )),
        (limit, _) => Ok(limit),
    }
}

/// Dropping these silently would leave an operator with less safety than was asked for.
fn refuse_what_only_containers_can(workload: &Workload) -> Result<(), RuntimeError> {
    let security = &workload.config.security;
    let not_here = "the local runtime has no containers and cannot do this; leave it out, or use the kubernetes runtime";
    if security.read_only_root {
        return Err(reject("security.read_only_root", not_here));
    }
    if security.privileged {
        return Err(reject("security.privileged", not_here));
    }
    let (me, my_group) = (rustix::process::geteuid(), rustix::process::getegid());
    if me.is_root() {
        return Ok(());
    }
    if security.run_as_user.is_some_and(|user| user != me.as_raw()) {
        let hint =
            format!("only root can run an agent as another user than itself ({})", me.as_raw());
        return Err(reject("security.run_as_user", hint));
    }
    if security.run_as_group.is_some_and(|group| group != my_group.as_raw()) {
        let hint = format!(
            "only root can run an agent as another group than its own ({})",
            my_group.as_raw()
        );
        return Err(reject("security.run_as_group", hint));
    }
    Ok(())
}
