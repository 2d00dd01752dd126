//! The HTTP client and whom it believes: one pool of connections for everything this process asks of the server.

use std::path::Path;
use std::time::Duration;

use reqwest::{Certificate, Client, Identity, redirect};

use crate::ports::store::StoreError;

use super::fault::invalid;
use super::options::{ArangoOptions, TlsOptions};

/// How long an unused connection is kept; servers close them after about as long.
const IDLE: Duration = Duration::from_secs(30);

/// # Errors
/// `Invalid`, naming the file, for certificates that cannot be read.
pub(super) fn client(options: &ArangoOptions) -> Result<Client, StoreError> {
    // several parts of the program may want the same provider; whoever is first installs it
    drop(rustls::crypto::ring::default_provider().install_default());
    let mut builder = Client::builder()
        .connect_timeout(options.connect_timeout)
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(options.max_connections)
        .tcp_nodelay(true)
        // a redirect would carry our credentials to where it points, and a proxy would read them
        .redirect(redirect::Policy::none())
        .no_proxy();
    if options.endpoints.iter().any(|url| url.scheme() == "https") {
        builder = trusting(builder, &options.tls)?;
    }
    builder.build().map_err(|error| {
        invalid(format!("the HTTP client cannot be made: {}", crate::ports::store::chain(&error)))
    })
}

fn trusting(
    mut builder: reqwest::ClientBuilder,
    tls: &TlsOptions,
) -> Result<reqwest::ClientBuilder, StoreError> {
    builder = builder.tls_backend_rustls();
    if tls.skip_verify {
        builder = builder.tls_danger_accept_invalid_certs(true);
    } else if let Some(path) = &tls.ca_file {
        let text = read(path, "CA file")?;
        let certificates =
            Certificate::from_pem_bundle(&text).map_err(|error| bad(path, &error))?;
        if certificates.is_empty() {
            return Err(invalid(format!("{} holds no certificate (PEM)", path.display())));
        }
        builder = builder.tls_certs_only(certificates);
    }
    match (&tls.client_cert, &tls.client_key) {
        (None, None) => {}
        (Some(certificate), key) => {
            let mut text = read(certificate, "client certificate")?;
            if let Some(key) = key {
                text.push(b'\n');
                text.extend(read(key, "client key")?);
            }
            let identity = Identity::from_pem(&text).map_err(|error| bad(certificate, &error))?;
            builder = builder.identity(identity);
        }
        (None, Some(key)) => {
            return Err(invalid(format!("{} is a key without a certificate", key.display())));
        }
    }
    Ok(builder)
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>, StoreError> {
    std::fs::read(path)
        .map_err(|error| invalid(format!("the {what} {} cannot be read: {error}", path.display())))
}

fn bad(path: &Path, error: &dyn std::error::Error) -> StoreError {
    invalid(format!("{} is no PEM file of that kind: {error}", path.display()))
}
