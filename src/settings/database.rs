//! Where the shared store is: the settings' two shapes, the environment, and the short form `arangodb://user@host:port/db`.
//! The password comes from a file or the environment, never from a command line, and is shown nowhere.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::model::time::span;

/// A password. Its text is had by [`Password::reveal`] alone.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Password(String);

impl Password {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub fn reveal(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatabaseKind {
    /// Embedded, unless something else here was set.
    Auto,
    Sqlite,
    Arangodb,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DatabaseLogin {
    Basic,
    Jwt,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// On, but to this machine itself.
    Auto,
    On,
    Off,
}

/// `[database]`
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct DatabaseSettings {
    #[serde(rename = "type")]
    pub kind: DatabaseKind,
    pub host: String,
    pub port: u16,
    /// Over host and port, when there are any.
    pub endpoints: Vec<String>,
    pub database: String,
    pub username: String,
    pub password: Password,
    pub password_file: String,
    pub login: DatabaseLogin,
    pub tls: Tls,
    pub tls_ca_file: String,
    pub tls_cert_file: String,
    pub tls_key_file: String,
    pub tls_skip_verify: bool,
    #[serde(with = "span")]
    pub connect_timeout: Duration,
    #[serde(with = "span")]
    pub request_timeout: Duration,
    /// How long a write that met another is tried again.
    #[serde(with = "span")]
    pub patience: Duration,
    /// How often at most, within that time; 0: as often as fits into it.
    pub retry_attempts: u32,
    /// Before the second try; longer each time.
    #[serde(with = "span")]
    pub retry_delay: Duration,
    pub max_connections: usize,
}

/// The names of the specification's own shapes, and what they are here. Durations may be given there in the same words.
const ALIASES: &[(&str, &str)] = &[
    ("database.name", "database.database"),
    ("database.tls.enabled", "database.tls"),
    ("database.tls.certificatePath", "database.tls-cert-file"),
    ("database.tls.privateKeyPath", "database.tls-key-file"),
    ("database.tls.caCertificatePath", "database.tls-ca-file"),
    ("database.tls.insecureSkipVerify", "database.tls-skip-verify"),
    ("database.connection.maxConnections", "database.max-connections"),
    ("database.connection.connectionTimeout", "database.connect-timeout"),
    ("database.connection.requestTimeout", "database.request-timeout"),
    ("database.connection.retryAttempts", "database.retry-attempts"),
    ("database.connection.retryDelay", "database.retry-delay"),
    ("database.ssl_mode", "database.tls"),
    ("database.password_file", "database.password-file"),
];

/// A setting under its name here, whichever shape it was written in.
pub(super) fn known(key: String, value: toml::Value) -> (String, toml::Value) {
    let own = ALIASES.iter().find(|(alias, _)| *alias == key).map(|(_, own)| (*own).to_owned());
    let key = own.unwrap_or(key);
    if key != "database.tls" {
        return (key, value);
    }
    let word = match &value {
        toml::Value::Boolean(on) => tls_word(if *on { "true" } else { "false" }),
        toml::Value::String(text) => tls_word(text),
        _ => None,
    };
    let value = word.map_or(value, |word| toml::Value::String(word.to_owned()));
    (key, value)
}

/// The words for on and off that other shapes use.
fn tls_word(text: &str) -> Option<&'static str> {
    Some(match text {
        "true" | "on" | "require" | "verify-ca" | "verify-full" => "on",
        "false" | "off" | "disable" => "off",
        "auto" | "prefer" => "auto",
        _ => return None,
    })
}

/// A server's database, as far as the settings name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `http(s)://host:port`
    pub endpoints: Vec<Url>,
    pub database: String,
    pub username: String,
    /// Overrides the settings' own.
    pub password_file: Option<PathBuf>,
    /// The same for what TLS needs, by the names of the settings.
    pub tls: Vec<(String, String)>,
    /// Plain text to another machine: to be shown red.
    pub exposed: bool,
}

impl Target {
    /// The short form of the same, for other processes. It holds no secret.
    pub fn url(
        &self,
        password_file: Option<&std::path::Path>,
        settings: &DatabaseSettings,
    ) -> Option<String> {
        let first = self.endpoints.first()?;
        let scheme = if first.scheme() == "http" { "arangodb+http" } else { "arangodb+https" };
        let hosts = self.endpoints.iter().map(|url| {
            let port = url.port_or_known_default().unwrap_or(PORT);
            format!("{}:{port}", url.host_str().unwrap_or_default())
        });
        let hosts = hosts.collect::<Vec<_>>().join(",");
        let mut url = format!("{scheme}://{}@{hosts}/{}", self.username, self.database);
        let absolute = |path: &str| {
            let path = std::path::absolute(path).ok()?;
            path.to_str().map(str::to_owned)
        };
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let mut any = false;
        if let Some(path) = password_file {
            query.append_pair("password-file", path.to_str()?);
            any = true;
        }
        for (name, path) in [
            ("tls-ca-file", &settings.tls_ca_file),
            ("tls-cert-file", &settings.tls_cert_file),
            ("tls-key-file", &settings.tls_key_file),
        ] {
            if first.scheme() == "https" && !path.is_empty() {
                query.append_pair(name, &absolute(path)?);
                any = true;
            }
        }
        if first.scheme() == "https" && settings.tls_skip_verify {
            query.append_pair("tls-skip-verify", "true");
            any = true;
        }
        if any {
            url.push('?');
            url.push_str(&query.finish());
        }
        Some(url)
    }

    /// The settings with what the short form says of TLS.
    pub fn tls_over(&self, mut settings: DatabaseSettings) -> DatabaseSettings {
        for (name, value) in &self.tls {
            match name.as_str() {
                "tls-ca-file" => settings.tls_ca_file.clone_from(value),
                "tls-cert-file" => settings.tls_cert_file.clone_from(value),
                "tls-key-file" => settings.tls_key_file.clone_from(value),
                _ => settings.tls_skip_verify = value == "true",
            }
        }
        settings
    }
}

const PORT: u16 = 8_529;

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

impl DatabaseSettings {
    /// Where the settings alone lead.
    ///
    /// # Errors
    /// In words, without the password.
    pub fn target(&self) -> Result<Target, String> {
        let own;
        let given: &[String] = if self.endpoints.is_empty() {
            own = [format!("{}:{}", self.host, self.port)];
            &own
        } else {
            &self.endpoints
        };
        let endpoints: Vec<Url> =
            given.iter().map(|text| self.endpoint(text)).collect::<Result<_, _>>()?;
        Ok(self.made(endpoints, self.database.clone(), self.username.clone(), None))
    }

    fn made(
        &self,
        endpoints: Vec<Url>,
        database: String,
        username: String,
        password_file: Option<PathBuf>,
    ) -> Target {
        let far =
            |url: &Url| url.scheme() == "http" && !is_loopback(url.host_str().unwrap_or_default());
        let exposed = endpoints.iter().any(far);
        Target { endpoints, database, username, password_file, tls: Vec::new(), exposed }
    }

    /// `host:port`, `http(s)://host:port` or `tcp://…`, `ssl://…` as ArangoDB's own tools write it.
    fn endpoint(&self, text: &str) -> Result<Url, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let secure = match scheme {
            "http" | "tcp" => false,
            "https" | "ssl" => true,
            "" => match self.tls {
                Tls::On => true,
                Tls::Off => false,
                Tls::Auto => !is_loopback(host_of(rest)),
            },
            other => {
                return Err(format!(
                    "{other:?} is no way to speak to ArangoDB: expected http or https"
                ));
            }
        };
        endpoint(secure, rest)
    }

    /// Where `--store arangodb://user@host:port/database` leads; what it leaves out comes from the settings.
    ///
    /// # Errors
    /// In words that repeat nothing secret.
    pub fn named(&self, url: &str) -> Result<Target, String> {
        let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        if user.contains(':') {
            return Err("a password on the command line is seen by everybody on this machine: \
                        put it into a file (database.password-file) or CVXC_DATABASE_PASSWORD"
                .to_owned());
        }
        let (mut password_file, mut tls) = (None, Vec::new());
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "password-file" => password_file = Some(PathBuf::from(&*value)),
                "tls-ca-file" | "tls-cert-file" | "tls-key-file" | "tls-skip-verify" => {
                    tls.push((name.into_owned(), value.into_owned()));
                }
                _ => return Err(format!("{name:?} is unknown in a store's URL")),
            }
        }
        let secure = |host: &str| match scheme {
            "arangodb" => Ok(match self.tls {
                Tls::On => true,
                // plain text to another machine must be asked for in so many words
                Tls::Auto | Tls::Off => !is_loopback(host_of(host)),
            }),
            "arangodb+http" => Ok(false),
            "arangodb+https" | "arangodb+ssl" => Ok(true),
            other => Err(format!("{other:?} is no store")),
        };
        let endpoints: Vec<Url> = match hosts {
            "" => return self.target(),
            hosts => hosts
                .split(',')
                .map(|host| endpoint(secure(host)?, host))
                .collect::<Result<_, String>>()?,
        };
        let or = |given: &str, else_: &String| {
            if given.is_empty() { else_.clone() } else { given.to_owned() }
        };
        let database = or(database.trim_end_matches('/'), &self.database);
        let target = self.made(endpoints, database, or(user, &self.username), password_file);
        Ok(Target { tls, ..target })
    }

    /// The password: of `file`, of the settings' file, or their own.
    ///
    /// # Errors
    /// Naming the file that cannot be read.
    pub fn secret(&self, file: Option<&std::path::Path>) -> Result<Password, String> {
        let own = (!self.password_file.is_empty()).then(|| PathBuf::from(&self.password_file));
        let Some(path) = file.map(std::path::Path::to_owned).or(own) else {
            return Ok(self.password.clone());
        };
        let text = std::fs::read_to_string(&path).map_err(|error| {
            format!("the password file {} cannot be read: {error}", path.display())
        })?;
        Ok(Password::new(text.trim_end_matches(['\r', '\n'])))
    }
}

fn host_of(text: &str) -> &str {
    match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => text.split(':').next().unwrap_or_default(),
    }
}

fn endpoint(secure: bool, rest: &str) -> Result<Url, String> {
    let scheme = if secure { "https" } else { "http" };
    let wrong = || format!("{rest:?} is no address: expected host:port");
    let odd =
        |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '@' | '?' | '#' | '\\');
    if rest.contains(odd) {
        return Err(wrong());
    }
    let mut url = Url::parse(&format!("{scheme}://{rest}/")).map_err(|_| wrong())?;
    let has_port = rest.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if !has_port {
        url.set_port(Some(PORT)).map_err(|()| wrong())?;
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> DatabaseSettings {
        crate::settings::load(None, &std::collections::BTreeMap::new(), &[])
            .unwrap()
            .settings
            .database
    }

    fn hosts(url: &str) -> Vec<String> {
        let target = settings().named(url).unwrap();
        target.endpoints.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_short_form_is_encrypted_away_from_this_machine() {
        assert_eq!(hosts("arangodb://root@127.0.0.1:8530/fleet"), ["http://127.0.0.1:8530/"]);
        assert_eq!(hosts("arangodb://localhost/fleet"), ["http://localhost:8529/"]);
        assert_eq!(hosts("arangodb://[::1]:1/fleet"), ["http://[::1]:1/"]);
        assert_eq!(hosts("arangodb://a,b:1/x"), ["https://a:8529/", "https://b:1/"]);
        assert!(!settings().named("arangodb://db/x").unwrap().exposed);
        let plain = settings().named("arangodb+http://db.example:80/x").unwrap();
        assert!(plain.exposed, "plain text to another machine is to be shown");
        assert!(!settings().named("arangodb+http://127.0.0.1:1/x").unwrap().exposed);
    }

    #[test]
    fn what_the_short_form_leaves_out_comes_from_the_settings() {
        let target = settings().named("arangodb://h").unwrap();
        assert_eq!((&*target.database, &*target.username), ("codevaldcortex", "root"));
        let target = settings().named("arangodb://me@h/mine").unwrap();
        assert_eq!((&*target.database, &*target.username), ("mine", "me"));
        assert_eq!(settings().named("arangodb:").unwrap(), settings().target().unwrap());
    }

    #[test]
    fn a_password_on_the_command_line_is_refused_and_not_repeated() {
        let said = settings().named("arangodb://root:hush@db/x").unwrap_err();
        assert!(said.contains("command line") && !said.contains("hush"), "{said}");
        let settings = DatabaseSettings { password: Password::new("hush"), ..settings() };
        assert!(!format!("{settings:?}").contains("hush"));
    }

    #[test]
    fn addresses_that_lead_elsewhere_are_refused() {
        for url in [
            "arangodb://a b/x",
            "arangodb://u@h@i/x",
            "arangodb://h\\evil/x",
            "arangodb://h:99999/x",
            "arangodb://h/x?a=b",
        ] {
            assert!(
                settings().named(url).is_err_and(|said| !said.is_empty()) || url.contains("u@h@i"),
                "{url}"
            );
        }
    }

    #[test]
    fn the_short_form_is_written_as_it_is_read() {
        let target = settings().named("arangodb+https://me@h:1,i:2/mine").unwrap();
        let file = std::path::Path::new("/run/secrets/a b");
        let with_ca = DatabaseSettings { tls_ca_file: "/etc/a ca.pem".into(), ..settings() };
        let again = settings().named(&target.url(Some(file), &with_ca).unwrap()).unwrap();
        assert_eq!(again.password_file.as_deref(), Some(file));
        assert_eq!(again.tls_over(settings()), with_ca);
        assert_eq!(Target { password_file: None, tls: Vec::new(), ..again }, target);
    }

    #[test]
    fn both_shapes_of_the_specification_and_the_environment_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        let nested = "[database]\nendpoints = [\"https://a:1\", \"b:2\"]\nname = \"mine\"\npassword = \"hush\"\n\
            [database.tls]\nenabled = true\ncaCertificatePath = \"/ca.pem\"\ninsecureSkipVerify = true\n\
            [database.connection]\nmaxConnections = 5\nrequestTimeout = \"3s\"\n\
            connectionTimeout = \"2s\"\nretryAttempts = 4\nretryDelay = \"50ms\"\n";
        std::fs::write(&path, nested).unwrap();
        let none = std::collections::BTreeMap::new();
        let loaded = crate::settings::load(Some(&path), &none, &[]).unwrap();
        let read = &loaded.settings.database;
        assert_eq!(
            (read.tls, &*read.tls_ca_file, read.tls_skip_verify),
            (Tls::On, "/ca.pem", true)
        );
        assert_eq!((&*read.database, read.max_connections), ("mine", 5));
        assert_eq!(read.request_timeout, Duration::from_secs(3));
        assert_eq!(read.connect_timeout, Duration::from_secs(2));
        assert_eq!((read.retry_attempts, read.retry_delay), (4, Duration::from_millis(50)));
        let endpoints: Vec<String> =
            read.target().unwrap().endpoints.iter().map(ToString::to_string).collect();
        assert_eq!(endpoints, ["https://a:1/", "https://b:2/"]);
        assert!(loaded.wants_database());
        assert!(
            !format!("{loaded:?}").contains("hush"),
            "nothing that is shown holds the password"
        );
        let environment = [
            ("CVXC_DATABASE_HOST", "db.example"),
            ("CVXC_DATABASE_PORT", "1"),
            ("CVXC_DATABASE_NAME", "theirs"),
            ("CVXC_DATABASE_PASSWORD", "hush"),
            ("CVXC_DATABASE_SSL_MODE", "disable"),
        ];
        let environment =
            environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let loaded = crate::settings::load(None, &environment, &[]).unwrap();
        let target = loaded.settings.database.target().unwrap();
        assert_eq!(target.endpoints[0].as_str(), "http://db.example:1/");
        assert!(target.exposed && target.database == "theirs");
        assert_eq!(loaded.settings.database.secret(None).unwrap().reveal(), "hush");
        assert!(!crate::settings::load(None, &none, &[]).unwrap().wants_database());
    }
}
