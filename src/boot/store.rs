//! Which store the settings mean, and opening it: for this process, and for the agents that it starts.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::adapters::arango::options::{ArangoOptions, Login, Makes, Secret, TlsOptions};
use crate::adapters::arango::{ArangoStore, Standing};
use crate::adapters::sqlite::{SqliteOptions, SqliteStore};
use crate::model::text::Safe;
use crate::ports::clock::Clock;
use crate::ports::store::{Store, StoreError};
use crate::settings::database::{DatabaseLogin, DatabaseSettings, Target};

use super::{BootError, Ground, Part};

/// Where the fleet is kept.
#[derive(Debug, Clone)]
pub(super) enum Place {
    File(PathBuf),
    Database(Box<Database>),
}

#[derive(Debug, Clone)]
pub(super) struct Database {
    pub(super) options: ArangoOptions,
    target: Target,
    secret: bool,
}

pub(super) fn is_database(url: &str) -> bool {
    url.starts_with("arangodb:") || url.starts_with("arangodb+")
}

/// Where the settings say that the fleet is kept.
///
/// # Errors
/// [`BootError::Usage`] for a URL or settings that lead nowhere.
pub(super) fn place(ground: &Ground) -> Result<Place, BootError> {
    let url = ground.loaded.settings.store.url.as_str();
    let settings = &ground.loaded.settings.database;
    if is_database(url) {
        let target = settings.named(url).map_err(|what| usage("--store", &what))?;
        return database(&target.tls_over(settings.clone()), target)
            .map(Box::new)
            .map(Place::Database);
    }
    if url.is_empty() {
        if ground.loaded.wants_database() {
            let target = settings.target().map_err(|what| usage("[database]", &what))?;
            return database(settings, target).map(Box::new).map(Place::Database);
        }
        return Ok(Place::File(ground.places.store_file()));
    }
    if url.ends_with(":memory:") {
        let why = "a fleet is shared by processes and cannot be kept in memory: expected a path or sqlite:PATH";
        return Err(usage("--store", why));
    }
    if let Some(path) = url.strip_prefix("sqlite:") {
        return Ok(Place::File(PathBuf::from(path.strip_prefix("//").unwrap_or(path))));
    }
    if let Some((scheme, _)) = url.split_once("://") {
        return Err(usage(
            "--store",
            &format!(
                "{scheme:?} is no store: expected a path, sqlite:PATH or arangodb://user@host:port/database"
            ),
        ));
    }
    Ok(Place::File(PathBuf::from(url)))
}

fn usage(what: &str, why: &str) -> BootError {
    BootError::Usage(format!("{what}: {}", Safe::new(why)))
}

fn database(settings: &DatabaseSettings, target: Target) -> Result<Database, BootError> {
    let secret = settings
        .secret(target.password_file.as_deref())
        .map_err(|what| usage("[database]", &what))?;
    let path = |text: &str| (!text.is_empty()).then(|| PathBuf::from(text));
    let mut options = ArangoOptions::new(
        target.endpoints.clone(),
        &target.database,
        &target.username,
        Secret::new(secret.reveal()),
    )
    .map_err(|error| usage("[database]", &error.to_string()))?;
    options.login = match settings.login {
        DatabaseLogin::Basic => Login::Basic,
        DatabaseLogin::Jwt => Login::Token,
    };
    options.tls = TlsOptions {
        ca_file: path(&settings.tls_ca_file),
        client_cert: path(&settings.tls_cert_file),
        client_key: path(&settings.tls_key_file),
        skip_verify: settings.tls_skip_verify,
    };
    options.connect_timeout = settings.connect_timeout;
    options.request_timeout = settings.request_timeout;
    options.patience = settings.patience;
    options.attempts = (settings.retry_attempts > 0).then_some(settings.retry_attempts);
    options.first_pause = settings.retry_delay;
    options.max_connections = settings.max_connections.max(1);
    options.exposed = target.exposed;
    Ok(Database { options, target, secret: !secret.is_empty() })
}

/// Where the settings say that the fleet is kept, without secrets: a path, or hosts and database.
///
/// # Errors
/// [`BootError::Usage`] for a URL or settings that lead nowhere.
pub fn whereabouts(ground: &Ground) -> Result<String, BootError> {
    Ok(match place(ground)? {
        Place::File(path) => path.display().to_string(),
        Place::Database(database) => database.options.place(),
    })
}

/// # Errors
/// Those of the adapter.
pub(super) async fn open(
    place: &Place,
    clock: &Arc<dyn Clock>,
    part: Part,
) -> Result<Arc<dyn Store>, BootError> {
    let makes = match part {
        Part::Contend | Part::Priority => Makes::WhatIsMissing,
        Part::Observe => Makes::NewFleets,
        Part::Look => Makes::Nothing,
    };
    Ok(match place {
        Place::File(path) => super::open_store(path, clock)?,
        Place::Database(database) => {
            let options = ArangoOptions { makes, ..database.options.clone() };
            ArangoStore::open(options, clock.clone()).await?
        }
    })
}

/// Each part of a shared database's schema, and whether it is `there`, `missing` or how it differs. Makes nothing.
///
/// # Errors
/// [`BootError::Usage`] for the embedded store, which checks itself; else those of the adapter.
pub async fn schema(ground: &Ground) -> Result<Vec<(String, String)>, BootError> {
    let database = match place(ground)? {
        Place::Database(database) => database,
        Place::File(path) => {
            let what = format!("{} is checked whenever it is opened", path.display());
            return Err(usage("doctor --schema", &what));
        }
    };
    let parts = ArangoStore::inspect(&database.options, &ground.clock).await?;
    let said = |standing| match standing {
        Standing::There => "there".to_owned(),
        Standing::Missing => "missing".to_owned(),
        Standing::Differs(how) => format!("different: {how}"),
    };
    Ok(parts.into_iter().map(|part| (part.name, said(part.standing))).collect())
}

/// How an agent on this machine finds the store. The password goes by a file that its owner alone can read.
///
/// # Errors
/// When that file cannot be written.
pub(super) fn for_agents(place: &Place, ground: &Ground) -> Result<String, BootError> {
    let database = match place {
        Place::File(path) => {
            let absolute = std::path::absolute(path).unwrap_or_else(|_| path.clone());
            return Ok(absolute.display().to_string());
        }
        Place::Database(database) => database,
    };
    let settings = &ground.loaded.settings.database;
    let own = (!settings.password_file.is_empty()).then(|| PathBuf::from(&settings.password_file));
    let file = match database.target.password_file.clone().or(own) {
        Some(file) => Some(std::path::absolute(&file).unwrap_or(file)),
        None if database.secret => Some(keep(&ground.places.data, settings)?),
        None => None,
    };
    database
        .target
        .url(file.as_deref(), settings)
        .ok_or_else(|| usage("[database]", "the password file's path is no text"))
}

fn keep(folder: &Path, settings: &DatabaseSettings) -> Result<PathBuf, BootError> {
    let path = std::path::absolute(folder.join("database.password"));
    let path = path.unwrap_or_else(|_| folder.join("database.password"));
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?; // made for its owner alone
        file.write_all(settings.password.reveal().as_bytes())?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error| {
        usage("[database]", &format!("{} cannot be written: {error}", path.display()))
    })?;
    Ok(path)
}

/// Opens the store that an agent's environment names; one that is not there is never made.
///
/// # Errors
/// `Unavailable` when it is missing or of a kind that this version does not open.
pub async fn agent_store(url: &str, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Store>, StoreError> {
    if is_database(url) {
        let invalid = |message: String| StoreError::Invalid { message };
        let settings = crate::settings::load(None, &std::env::vars().collect(), &[])
            .map_err(|error| invalid(error.to_string()))?
            .settings
            .database;
        let target = settings.named(url).map_err(invalid)?;
        let settings = target.tls_over(settings);
        let mut options =
            database(&settings, target).map_err(|error| invalid(error.to_string()))?.options;
        (options.makes, options.one_of_many) = (Makes::Nothing, true);
        return Ok(ArangoStore::open(options, clock.clone()).await?);
    }
    let path = url.strip_prefix("sqlite:").unwrap_or(url);
    if !Path::new(path).is_file() {
        return Err(StoreError::Unavailable(format!("there is no store at {path}").into()));
    }
    let options = SqliteOptions { watch_log: false, ..SqliteOptions::new(path) };
    Ok(SqliteStore::open(options, clock.clone())?)
}
