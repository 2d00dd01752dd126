//! Opening the file: what is refused before SQLite may touch it, and the connections.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::ports::store::StoreError;

use super::SqliteOptions;
use super::fault::{self, unavailable};
use super::migrate::{self, APPLICATION, VERSION};
use super::read::Lane;
use super::turn::Turnstile;

/// Files up to this size are checked as a whole on opening; larger ones page by page as they are read.
const CHECKED: u64 = 2 << 20;

/// What is known of the file before SQLite opens it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Missing,
    There,
}

/// The writer's connection and its turnstile, with the schema made or brought forward.
pub(super) fn writer(options: &SqliteOptions) -> Result<(Lane, Turnstile), StoreError> {
    let path = &options.path;
    make_directory(path)?;
    refuse_network(path)?;
    if examine(path)? == Standing::There {
        probe(path, options.patience)?;
    }
    private_file(path).map_err(|error| StoreError::Denied {
        message: format!("{} cannot be written: {error}", path.display()),
    })?;
    let turnstile = Turnstile::open(path, options.patience)?;
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_WRITE, options.patience)?;
    if let Some(pages) = options.max_page_count {
        connection.pragma_update(None, "max_page_count", pages).map_err(fault::of)?;
    }
    let lane = Lane::new(connection)?;
    let connection = &lane.connection;
    let mode = journal_mode(connection, "PRAGMA journal_mode")?;
    let current = mode == "wal"
        && migrate::still_ours(connection)?
        && migrate::missing(connection)?.is_empty();
    if !current {
        let turn = turnstile.take()?;
        if journal_mode(connection, "PRAGMA journal_mode=WAL")? != "wal" {
            return Err(unavailable(format!(
                "the file system under {} cannot share a store between processes (no WAL)",
                path.display()
            )));
        }
        let copy = migrate::forward(connection, path, migrate::STEPS)?;
        if let Some(copy) = copy {
            tracing::info!(copy = %copy.display(), "the store's schema was brought forward");
        }
        migrate::complete(connection)?;
        checkpoint(connection)?; // the version must stand in the file's own header, for programs that look there first
        drop(turn);
    }
    Ok((lane, turnstile))
}

/// An error of opening, with the file's name where it lacks it.
pub(super) fn named(path: &Path, error: StoreError) -> StoreError {
    let place = path.display().to_string();
    match error {
        StoreError::Corrupt { message } if !message.contains(&place) => refuse(path, "is damaged"),
        other => other,
    }
}

/// The refusal of a file that cannot be used.
fn refuse(path: &Path, what: &str) -> StoreError {
    StoreError::Corrupt {
        message: format!(
            "{} {what}; it was left as it is: restore a backup, or move it away to begin anew",
            path.display()
        ),
    }
}

/// Moves what the write-ahead log holds into the file, as far as readers let it.
pub(super) fn checkpoint(connection: &Connection) -> Result<(), StoreError> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).map_err(fault::of)
}

fn journal_mode(connection: &Connection, sql: &str) -> Result<String, StoreError> {
    connection.query_row(sql, [], |row| row.get(0)).map_err(fault::of)
}

/// Checks a file that is only to be read.
pub(super) fn read_only(options: &SqliteOptions) -> Result<(), StoreError> {
    refuse_network(&options.path)?;
    match examine(&options.path)? {
        Standing::Missing => Err(unavailable(format!(
            "there is no store at {}, and reading only makes none",
            options.path.display()
        ))),
        Standing::There => match probe(&options.path, options.patience)? {
            VERSION => Ok(()),
            older => Err(StoreError::Denied {
                message: format!(
                    "{} has the older schema {older}: open it once for writing, which brings it forward",
                    options.path.display()
                ),
            }),
        },
    }
}

/// A reader's connection.
pub(super) fn reader(options: &SqliteOptions) -> Result<Lane, StoreError> {
    let connection = connect(&options.path, OpenFlags::SQLITE_OPEN_READ_ONLY, options.patience)?;
    connection.pragma_update(None, "query_only", true).map_err(fault::of)?;
    Lane::new(connection)
}

/// A connection to copy the store from.
pub(super) fn source(options: &SqliteOptions) -> Result<Connection, StoreError> {
    connect(&options.path, OpenFlags::SQLITE_OPEN_READ_ONLY, options.patience)
}

/// Gives a copy its own identity.
pub(super) fn rename_store(copy: &Path) -> Result<(), StoreError> {
    let connection = Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_WRITE);
    connection.and_then(|connection| migrate::name_store(&connection)).map_err(fault::of)
}

/// Pages that a connection keeps, in KiB. Readers are several and the system keeps the file's pages for all of them: what
/// they keep themselves is held once more for each. The writer looks at the same pages of many indexes again and again.
const READER_CACHE: i32 = 2_000;
const WRITER_CACHE: i32 = 16_000;

fn connect(path: &Path, access: OpenFlags, patience: Duration) -> Result<Connection, StoreError> {
    // each connection stays on one thread at a time, so SQLite's own mutexes are not needed
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fault::of)?;
    connection.busy_timeout(patience).map_err(fault::of)?;
    // without this, a value bound anew makes SQLite plan most of our statements anew, which takes longer than running them
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(fault::of)?;
    connection
        .execute_batch(
            "PRAGMA temp_store=MEMORY; PRAGMA wal_autocheckpoint=4000;
             PRAGMA journal_size_limit=67108864; PRAGMA trusted_schema=OFF;",
        )
        .map_err(fault::of)?;
    let writes = access.contains(OpenFlags::SQLITE_OPEN_READ_WRITE);
    let cache = if writes { WRITER_CACHE } else { READER_CACHE };
    connection.pragma_update(None, "cache_size", -cache).map_err(fault::of)?;
    Ok(connection)
}

/// Makes the folder of the store, for its owner alone, if it is missing.
fn make_directory(path: &Path) -> Result<(), StoreError> {
    let folder = folder_of(path);
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| StoreError::Denied {
        message: format!("the folder {} cannot be made: {error}", folder.display()),
    })
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
        Some(folder) => folder,
        None => path,
    }
}

/// Opens the file for writing, making it if it is missing, and keeps others out of it. SQLite gives its side files the
/// same rights.
pub(super) fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let rights = file.metadata()?.permissions().mode() & 0o777;
        if rights & 0o077 != 0 {
            file.set_permissions(std::fs::Permissions::from_mode(rights & 0o700))?;
        }
    }
    Ok(file)
}

/// Locks and shared memory do not work over a network: two machines would destroy the file.
#[cfg(target_os = "linux")]
fn refuse_network(path: &Path) -> Result<(), StoreError> {
    let folder = folder_of(path);
    let Ok(found) = rustix::fs::statfs(folder) else { return Ok(()) };
    // the magic number is 32 bits wide, whatever the field that holds it
    let magic = (found.f_type as u64 & 0xFFFF_FFFF) as u32;
    let remote = || {
        let place = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        is_remote_fuse(&place, &mounts)
    };
    match network(magic) {
        None => Ok(()),
        Some("FUSE") if !remote() => Ok(()),
        Some(name) => Err(StoreError::Denied {
            message: format!(
                "{} is on a network file system ({name}), where a store would be damaged: choose a local folder, or a store server",
                folder.display()
            ),
        }),
    }
}

/// The network file system with this magic number, from `linux/magic.h`. FUSE may be one.
#[cfg(target_os = "linux")]
pub(super) fn network(magic: u32) -> Option<&'static str> {
    const NETWORK: &[(u32, &str)] = &[
        (0x0000_6969, "NFS"),
        (0x0000_517B, "SMB"),
        (0xFE53_4D42, "SMB2"),
        (0xFF53_4D42, "CIFS"),
        (0x0102_1997, "9P"),
        (0x00C3_6400, "Ceph"),
        (0x5346_414F, "AFS"),
        (0x0BD0_0BD0, "Lustre"),
        (0x4750_4653, "GPFS"),
        (0x6573_5546, "FUSE"),
    ];
    NETWORK.iter().find(|(number, _)| *number == magic).map(|(_, name)| *name)
}

/// Whether a FUSE mount leads to another machine, by its type in the mount table (`fuse.sshfs`, …).
#[cfg(target_os = "linux")]
pub(super) fn is_remote_fuse(folder: &Path, mounts: &str) -> bool {
    const REMOTE: &[&str] =
        &["fuse.sshfs", "fuse.rclone", "fuse.s3fs", "fuse.glusterfs", "fuse.davfs", "fuse.cifs"];
    let entries = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        words.next().map(|place| place.replace("\\040", " ")).zip(words.next())
    });
    // of two mounts on one place the later one counts
    let nearest =
        entries.filter(|(place, _)| folder.starts_with(place)).max_by_key(|(p, _)| p.len());
    nearest.is_some_and(|(_, kind)| REMOTE.contains(&kind))
}

#[cfg(not(target_os = "linux"))]
fn refuse_network(_path: &Path) -> Result<(), StoreError> {
    Ok(())
}

/// Looks at the file's first bytes, so that what is no store of ours is refused untouched.
fn examine(path: &Path) -> Result<Standing, StoreError> {
    let denied = |error: io::Error| StoreError::Denied {
        message: format!("{} cannot be read: {error}", path.display()),
    };
    // asked before it is opened: opening a pipe would wait for its other end
    let about = match path.metadata() {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Standing::Missing),
        Err(error) => return Err(denied(error)),
    };
    if !about.is_file() {
        return Err(StoreError::Denied { message: format!("{} is no file", path.display()) });
    }
    let mut file = File::open(path).map_err(denied)?;
    if about.len() == 0 {
        return Ok(Standing::Missing);
    }
    let mut header = [0_u8; 100];
    if file.read_exact(&mut header).is_err() || !header.starts_with(b"SQLite format 3\0") {
        return Err(refuse(path, "is not a database"));
    }
    let word = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let version = i64::from(word(60));
    if i64::from(word(68)) == APPLICATION && version > VERSION {
        return Err(migrate::newer(path, version));
    }
    // While a log exists its pages may not have reached the file yet; without one the file must be whole. The length is
    // asked last: others may be writing, and the file only grows.
    let log = std::fs::metadata(beside_log(path)).map_or(0, |log| log.len());
    let length = file.metadata().map_err(denied)?.len();
    let page = match u64::from(u16::from_be_bytes([header[16], header[17]])) {
        1 => 65_536,
        size => size,
    };
    if log == 0 && word(24) == word(92) && length < u64::from(word(28)) * page {
        return Err(refuse(path, "is damaged (it is shorter than it should be)"));
    }
    Ok(Standing::There)
}

fn beside_log(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Asks SQLite, for reading only, whether the file is a whole store that this program knows; its schema's version.
fn probe(path: &Path, patience: Duration) -> Result<i64, StoreError> {
    let connection = connect(path, OpenFlags::SQLITE_OPEN_READ_ONLY, patience)?;
    // closing must not touch the file either
    connection
        .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
        .map_err(fault::of)?;
    let ask = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let asked = || -> rusqlite::Result<(i64, i64, i64)> {
        // in one transaction: another process may be making the store just now
        let together = connection.unchecked_transaction()?;
        let tables = ask("SELECT count(*) FROM sqlite_schema")?;
        let answers = (ask("PRAGMA application_id")?, ask("PRAGMA user_version")?, tables);
        together.commit()?;
        Ok(answers)
    };
    let damaged = |error: rusqlite::Error| match fault::of(error) {
        StoreError::Corrupt { .. } => refuse(path, "is damaged"),
        other => other,
    };
    let (application, version, tables) = asked().map_err(damaged)?;
    if application == APPLICATION && version > VERSION {
        return Err(migrate::newer(path, version));
    }
    if application != APPLICATION && tables > 0 {
        return Err(refuse(path, "is a database of another program"));
    }
    if std::fs::metadata(path).is_ok_and(|about| about.len() <= CHECKED) {
        let check = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
        let verdict: String = check.map_err(damaged)?;
        if verdict != "ok" {
            return Err(refuse(path, &format!("is damaged ({verdict})")));
        }
    }
    Ok(version)
}
