//! Certificates, and clients of an exporter with TLS.

use crate::Server;
use rcgen::{BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
};
use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::TcpStream,
    sync::Arc,
};
use tempfile::TempDir;

/// A certificate and its key, in PEM.
#[derive(Debug)]
pub struct Pair {
    /// The certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
}

/// The parameters of a certificate.
///
/// # Panics
/// The name is malformed.
pub fn params(
    name: &str,
    usage: Option<ExtendedKeyUsagePurpose>,
    is_ca: bool,
) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = usage.into_iter().collect();
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    }
    params
}

/// A certificate that is signed by itself.
///
/// # Panics
/// It cannot be made.
pub fn own(params: &CertificateParams) -> Pair {
    let key = KeyPair::generate().expect("a key");
    Pair { cert: params.self_signed(&key).expect("a certificate").pem(), key: key.serialize_pem() }
}

/// A server's certificate.
pub fn server_pair() -> Pair {
    own(&params("localhost", None, false))
}

/// A folder with a server's certificate and a configuration.
#[derive(Debug)]
pub struct Site {
    folder: TempDir,
    /// The certificate.
    pub cert: String,
}

impl Site {
    /// `more` are lines of the section `tls_server_config`, and the sections behind it.
    pub fn new(more: &str) -> Self {
        let Pair { cert, key } = server_pair();
        let site = Self { folder: crate::folder(), cert };
        site.write("server.crt", &site.cert);
        site.write("server.key", &key);
        site.configure(more);
        site
    }

    /// Replaces the configuration.
    pub fn configure(&self, more: &str) {
        let section = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";
        self.write("web.yml", &format!("{section}{more}"));
    }

    /// Replaces a file as a whole.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        let new = format!("{path}.new");
        fs::write(&new, text).expect("a new file");
        fs::rename(&new, &path).expect("a file replaced");
    }

    /// The path of a file.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// The flag that names the configuration.
    pub fn flag(&self) -> String {
        format!("--web.config.file={}", self.path("web.yml"))
    }

    /// An exporter with this configuration and the collector `uname` alone.
    pub fn server(&self) -> Server {
        let own = ["--no-bpf", "--collector.disable-defaults", "--collector.uname"];
        Server::start(&[&own[..], &[&self.flag()]].concat())
    }

    /// A client that trusts the server, and shows this certificate if any.
    pub fn client(&self, pair: Option<&Pair>) -> Arc<ClientConfig> {
        Arc::new(client(&[&self.cert], pair))
    }

    /// A client that trusts the server and offers these protocols.
    pub fn client_of(&self, protocols: &[&str]) -> Arc<ClientConfig> {
        let mut client = client(&[&self.cert], None);
        client.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(client)
    }
}

/// A client that trusts these servers, and shows this certificate if any.
///
/// # Panics
/// A certificate is malformed.
pub fn client(trusted: &[&str], pair: Option<&Pair>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for cert in trusted {
        let cert = CertificateDer::from_pem_slice(cert.as_bytes()).expect("a certificate");
        roots.add(cert).expect("an authority");
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("versions").with_root_certificates(roots);
    match pair {
        None => builder.with_no_client_auth(),
        Some(Pair { cert, key }) => {
            let cert = CertificateDer::from_pem_slice(cert.as_bytes()).expect("a certificate");
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
            builder.with_client_auth_cert(vec![cert], key).expect("a key that fits")
        }
    }
}

/// A connection.
pub type Stream = StreamOwned<ClientConnection, TcpStream>;

/// A connection; the handshake comes with the first bytes.
///
/// # Panics
/// There is no connection.
pub fn connect(server: &Server, client: &Arc<ClientConfig>) -> Stream {
    let name = ServerName::try_from("localhost").expect("a name");
    let connection = ClientConnection::new(Arc::clone(client), name).expect("a client");
    StreamOwned::new(connection, server.connect())
}

/// All that comes of a request.
///
/// # Errors
/// The connection breaks, or the server refuses it.
pub fn ask(mut stream: Stream, request: &[u8]) -> io::Result<String> {
    stream.write_all(request)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
