//! Where the server is and how it is spoken to.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::ports::store::StoreError;

use super::fault::invalid;

/// A text that no log, screen or error ever shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// How the server learns who asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Login {
    /// User and password with each request.
    #[default]
    Basic,
    /// A token, renewed before it expires.
    Token,
}

/// Whom to believe on the other side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Only certificates signed by one of these (PEM); else those that the machine trusts.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate and its key (PEM), for servers that ask for one.
    pub client_cert: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
    /// Believes anybody. For trying things out.
    pub skip_verify: bool,
}

/// What opening a store makes of what is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Makes {
    /// A fleet where there is none; and parts that a fleet has lost, empty, which is warned of.
    WhatIsMissing,
    /// A fleet where there is none.
    NewFleets,
    Nothing,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArangoOptions {
    /// `http(s)://host:port`, the one to prefer first.
    pub endpoints: Vec<Url>,
    pub database: String,
    pub username: String,
    pub password: Secret,
    pub login: Login,
    pub tls: TlsOptions,
    pub connect_timeout: Duration,
    /// From sending to the last byte of the answer.
    pub request_timeout: Duration,
    /// How long a write that met another is tried again, and a busy server asked again.
    pub patience: Duration,
    /// How often at most, within that time; none: as often as fits into it.
    pub attempts: Option<u32>,
    /// Before the second try; longer each time.
    pub first_pause: Duration,
    pub max_connections: usize,
    pub makes: Makes,
    /// One of very many that open this store, as agents do: it looks seldom whether the schema is whole.
    pub one_of_many: bool,
    /// What is said on the way, the password too, can be read by others.
    pub exposed: bool,
}

impl ArangoOptions {
    /// # Errors
    /// `Invalid` for a name that ArangoDB would not take, or an address that is none.
    pub fn new(
        endpoints: Vec<Url>,
        database: &str,
        username: &str,
        password: Secret,
    ) -> Result<Self, StoreError> {
        if endpoints.is_empty() {
            return Err(invalid("no address of an ArangoDB server was given"));
        }
        for url in &endpoints {
            let plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
            let bare = url.username().is_empty() && url.password().is_none();
            if !matches!(url.scheme(), "http" | "https")
                || url.host_str().is_none()
                || !plain
                || !bare
            {
                return Err(invalid(
                    "an endpoint is written https://host:port, without path, user or password",
                ));
            }
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if !database.starts_with(|c: char| c.is_ascii_alphabetic())
            || database.len() > 64
            || !database.chars().all(fits)
        {
            return Err(invalid(
                "a database's name is a letter and up to 63 letters, digits, '_' and '-'",
            ));
        }
        Ok(Self {
            endpoints,
            database: database.to_owned(),
            username: username.to_owned(),
            password,
            login: Login::default(),
            tls: TlsOptions::default(),
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(30),
            patience: Duration::from_secs(10),
            attempts: None,
            first_pause: Duration::from_millis(2),
            max_connections: 32,
            makes: Makes::WhatIsMissing,
            one_of_many: false,
            exposed: false,
        })
    }

    /// Host, port and database, without secrets.
    pub fn place(&self) -> String {
        let host = |url: &Url| {
            let port = url.port_or_known_default().unwrap_or_default();
            format!("{}:{port}", url.host_str().unwrap_or_default())
        };
        let hosts: Vec<String> = self.endpoints.iter().map(host).collect();
        format!("{}/{}", hosts.join(","), self.database)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(endpoint: &str, database: &str) -> Result<ArangoOptions, StoreError> {
        let url = Url::parse(endpoint).unwrap();
        ArangoOptions::new(vec![url], database, "root", Secret::new("hush"))
    }

    #[test]
    fn names_and_addresses_that_could_lead_elsewhere_are_refused() {
        assert!(of("http://db:8529", "fleet").is_ok());
        for endpoint in
            ["ftp://db:1", "http://db:1/x", "http://db:1/?a", "http://u:p@db:1", "unix:/x"]
        {
            assert!(of(endpoint, "fleet").is_err(), "{endpoint}");
        }
        for database in ["", "1x", "_system", "a/b", "../x", "a b", "ä", &"x".repeat(65)] {
            assert!(of("http://db:8529", database).is_err(), "{database}");
        }
    }

    #[test]
    fn the_password_is_never_shown() {
        let options = of("http://db:8529", "fleet").unwrap();
        assert!(!format!("{options:?}").contains("hush"));
        assert_eq!(options.place(), "db:8529/fleet");
    }
}
