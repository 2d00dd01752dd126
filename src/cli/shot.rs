//! `cvxc shot`: pictures of every page and dialog, and a short film (an asciicast), drawn by the program itself from a real demo run.

use std::time::Duration;

use super::args::ShotArgs;
use super::demo;
use super::fail::Fail;
use super::output;
use crate::boot::{Opened, Request};
use crate::model::text::Safe;
use crate::tui::camera::Camera;
use crate::tui::keys::{self, Key};

/// One picture: its name, the keys that lead there (words are typed, `<enter>` and the like are keys), size, theme.
struct Shot {
    name: &'static str,
    keys: &'static str,
    size: (u16, u16),
    theme: &'static str,
}

/// Here the page is waited for.
const THEN: &str = "<then>";
const WIDE: (u16, u16) = (140, 40);
const SMALL: (u16, u16) = (80, 24);

const SHOTS: &[Shot] = &[
    Shot { name: "agents", keys: "", size: WIDE, theme: "dark" },
    Shot { name: "agents-80x24", keys: "", size: SMALL, theme: "dark" },
    Shot { name: "agents-light", keys: "", size: WIDE, theme: "light" },
    Shot { name: "agents-high-contrast", keys: "", size: WIDE, theme: "high-contrast" },
    Shot { name: "agents-mono", keys: "", size: WIDE, theme: "mono" },
    Shot { name: "agents-filtered", keys: "/pool=triage cpu<1<enter>", size: WIDE, theme: "dark" },
    Shot { name: "pools", keys: ":pools<enter>", size: WIDE, theme: "dark" },
    Shot { name: "templates", keys: ":templates<enter>", size: WIDE, theme: "dark" },
    Shot { name: "messages", keys: ":messages<enter>", size: WIDE, theme: "dark" },
    Shot { name: "queues", keys: ":mq<enter>", size: WIDE, theme: "dark" },
    Shot { name: "health", keys: ":health<enter>", size: WIDE, theme: "dark" },
    Shot { name: "events", keys: ":events<enter>", size: WIDE, theme: "dark" },
    Shot { name: "operations", keys: ":operations<enter>", size: WIDE, theme: "dark" },
    Shot { name: "publications", keys: ":publications<enter>", size: WIDE, theme: "dark" },
    Shot { name: "subscriptions", keys: ":subscriptions<enter>", size: WIDE, theme: "dark" },
    Shot { name: "xray", keys: ":xray<enter>", size: WIDE, theme: "dark" },
    Shot { name: "xray-80x24", keys: ":xray agent<enter>l", size: SMALL, theme: "dark" },
    Shot { name: "pulse", keys: ":pulse<enter>", size: WIDE, theme: "dark" },
    Shot { name: "agents-detail", keys: "|", size: WIDE, theme: "dark" },
    Shot { name: "agents-wide", keys: "<ctrl-w><right><right>", size: WIDE, theme: "dark" },
    Shot { name: "faults", keys: "<ctrl-z>", size: WIDE, theme: "dark" },
    Shot { name: "logs-pool", keys: ":pools triage<enter>l", size: WIDE, theme: "dark" },
    Shot { name: "scopes", keys: "n", size: SMALL, theme: "dark" },
    Shot { name: "rights", keys: ":can-i<enter>", size: WIDE, theme: "dark" },
    Shot { name: "commands", keys: ":aliases<enter>", size: WIDE, theme: "dark" },
    Shot { name: "help", keys: "?", size: WIDE, theme: "dark" },
    Shot { name: "describe", keys: "d", size: WIDE, theme: "dark" },
    Shot { name: "yaml", keys: "y", size: WIDE, theme: "dark" },
    Shot { name: "logs", keys: "l", size: WIDE, theme: "dark" },
    Shot { name: "palette", keys: ":po", size: WIDE, theme: "dark" },
    Shot { name: "plan-restart", keys: "r", size: WIDE, theme: "dark" },
    Shot { name: "plan-scale", keys: ":pools<enter>Gs9", size: WIDE, theme: "dark" },
    Shot { name: "plan-delete-80x24", keys: "<ctrl-d>", size: SMALL, theme: "dark" },
];

/// What there is to see only beside a cluster.
const IN_A_CLUSTER: &[Shot] = &[
    Shot { name: "cluster-agents", keys: "<ctrl-w>", size: WIDE, theme: "dark" },
    Shot { name: "cluster-describe", keys: "d", size: WIDE, theme: "dark" },
    Shot { name: "cluster-live", keys: "yL", size: WIDE, theme: "dark" },
    Shot { name: "cluster-logs", keys: "l", size: WIDE, theme: "dark" },
    Shot { name: "cluster-health", keys: ":health<enter>", size: WIDE, theme: "dark" },
    Shot { name: "cluster-rights", keys: ":can-i<enter>", size: WIDE, theme: "dark" },
    Shot { name: "hosts", keys: ":hosts<enter>", size: WIDE, theme: "dark" },
    Shot { name: "hosts-80x24", keys: ":hosts<enter>", size: SMALL, theme: "dark" },
    Shot { name: "plan-drain-host", keys: ":hosts<enter><then>D", size: WIDE, theme: "dark" },
    Shot { name: "namespaces", keys: ":ns<enter>", size: WIDE, theme: "dark" },
];

/// A short session: how many milliseconds are spent looking, then what is typed.
const FILM: &[(u64, &str)] = &[
    (2500, ":pools"),
    (600, "<enter>"),
    (2000, "jj"),
    (800, "s"),
    (2500, "4"),
    (1500, "y"),
    (4000, "<enter>"),
    (2500, "d"),
    (2500, "<esc>"),
    (800, "l"),
    (3000, "<esc>"),
    (600, ":events"),
    (500, "<enter>"),
    (3000, ":pulse"),
    (500, "<enter>"),
    (3000, "?"),
    (3000, "<esc>"),
    (1000, "<esc>"),
    (500, ""),
];
/// What the film is called.
const FILM_NAME: &str = "session";

/// Runs the demo's fleet until there is something to see, then draws: in a cluster the pages that tell of it, else all others.
///
/// # Errors
/// Exit code 2 for an unknown picture, 1 when the fleet did not start or a file cannot be written.
pub fn run(
    runtime: &tokio::runtime::Runtime,
    request: &Request,
    args: &ShotArgs,
) -> Result<(), Fail> {
    let all = SHOTS.iter().chain(IN_A_CLUSTER);
    let known: Vec<&str> = all.map(|shot| shot.name).chain([FILM_NAME]).collect();
    if let Some(unknown) = args.pages.iter().find(|page| !known.contains(&page.as_str())) {
        return Err(Fail::usage(format!(
            "no picture is called {unknown:?}: expected one of {}",
            known.join(", ")
        )));
    }
    std::fs::create_dir_all(&args.dir)?;
    let demo = demo::Demo::start(runtime, request)?;
    let outcome = runtime.block_on(async {
        can_be_drawn(&demo.opened, args)?;
        demo.settled(Duration::from_secs(60)).await?;
        let folder = demo.ground.places.data.display().to_string();
        draw(&demo.opened, &demo.ground.clock, &folder, args).await
    });
    demo.end(runtime)?;
    outcome
}

/// What there is to draw where the demo runs.
fn shots(opened: &Opened) -> &'static [Shot] {
    if opened.kubernetes.is_some() { IN_A_CLUSTER } else { SHOTS }
}

fn can_be_drawn(opened: &Opened, args: &ShotArgs) -> Result<(), Fail> {
    let cluster = opened.kubernetes.is_some();
    let here = |page: &String| {
        shots(opened).iter().any(|shot| shot.name == *page) || (page == FILM_NAME && !cluster)
    };
    let Some(page) = args.pages.iter().find(|page| !here(page)) else { return Ok(()) };
    let with = if cluster { "without" } else { "with" };
    Err(Fail::usage(format!("{page} is drawn only {with} `--runtime kubernetes`")))
}

async fn draw(
    opened: &Opened,
    clock: &std::sync::Arc<dyn crate::ports::clock::Clock>,
    folder: &str,
    args: &ShotArgs,
) -> Result<(), Fail> {
    let wanted = |name: &str| args.pages.is_empty() || args.pages.iter().any(|page| page == name);
    let camera = |theme, size| {
        Camera::new(opened.handle.clone(), opened.actor.clone(), clock.clone(), theme, size)
    };
    let keep = |name: &str, suffix: &str, text: &str| -> Result<(), Fail> {
        let file = args.dir.join(name).with_extension(suffix);
        // the demo's folder has another name each time; the picture should not
        std::fs::write(&file, text.replace(folder, "/tmp/cvxc-demo"))?;
        output::line(Safe::new(&file.display().to_string()).as_str())
    };
    for shot in shots(opened).iter().filter(|shot| wanted(shot.name)) {
        let mut camera = camera(shot.theme, shot.size);
        for keys in shot.keys.split(THEN) {
            camera.press(keys_of(keys)).await;
        }
        keep(shot.name, "svg", &camera.shoot())?;
    }
    // last, since it changes the fleet
    if wanted(FILM_NAME) && opened.kubernetes.is_none() {
        let script: Vec<(Duration, Vec<Key>)> = FILM
            .iter()
            .map(|(pause, keys)| (Duration::from_millis(*pause), keys_of(keys)))
            .collect();
        let stamp = clock.now().millis() / 1000;
        let tape = camera("dark", (120, 32)).film(&script).await;
        let film = tape.asciicast(stamp, "cvxc: a pool is scaled");
        keep(FILM_NAME, "cast", &film.ok_or_else(|| Fail::failed("nothing was drawn"))?)?;
    }
    Ok(())
}

/// `:pools<enter>` as keys.
fn keys_of(text: &str) -> Vec<Key> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let named = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
        let named = named.and_then(|(name, after)| Some((keys::parse(name)?, after)));
        if let Some((key, after)) = named {
            found.push(key);
            rest = after;
        } else {
            let name = if first == ' ' { "space".to_owned() } else { first.to_string() };
            found.extend(keys::parse(&name));
            rest = &rest[first.len_utf8()..];
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_has_keys_that_a_terminal_can_send() {
        assert_eq!(
            keys_of(":po<enter>"),
            [keys::parse(":"), keys::parse("p"), keys::parse("o"), keys::parse("enter")]
                .map(Option::unwrap)
        );
        assert_eq!(keys_of("cpu<1").len(), 5, "a sign that names no key is typed");
        for shot in SHOTS.iter().chain(IN_A_CLUSTER) {
            let mut parts = shot.keys.split(THEN);
            assert!(parts.all(|keys| keys_of(keys).is_empty() == keys.is_empty()), "{}", shot.name);
        }
        for (_, keys) in FILM {
            assert_eq!(keys_of(keys).is_empty(), keys.is_empty(), "{keys}");
        }
    }
}
