//! Asking a running daemon: HTTP over its Unix socket or over TCP, one connection for each request.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, HOST, HeaderValue, IF_MATCH};
use hyper::http::uri::Authority;
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::args::ClientArgs;
use super::exit::{Exit, Failure};
use super::tls;
use crate::api::EVENT_STREAM;
use crate::config::{DEFAULT_PATH, DEFAULT_SOCKET, Secret};
use crate::rendezvous;

const CONNECT_TIME: Duration = Duration::from_secs(5);
/// A little more than the daemon takes at most for a command.
const REPLY_TIME: Duration = Duration::from_secs(35);
/// A thousand runs are below 1 MiB.
const REPLY_LIMIT: usize = 16 * 1024 * 1024;

/// Where the daemon is.
#[derive(Debug)]
enum Place {
    Socket(PathBuf),
    Tcp { authority: String, token: Option<Secret>, tls: Option<Arc<ClientConfig>> },
}

/// A way to the daemon.
#[derive(Debug)]
pub(super) struct Client {
    place: Place,
    /// The value of `If-Match`.
    only_if: Option<String>,
}

/// A reply that is not an error.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// As it came: JSON.
    pub(super) text: String,
    /// The value of `ETag`.
    pub(super) tag: Option<String>,
}

impl Reply {
    /// Reads the body as what the route promises.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_str(&self.text).map_err(|error| {
            Failure::new(
                Exit::Failed,
                format!("the daemon answered in an unknown way ({error}); is it another version?"),
            )
        })
    }
}

impl Client {
    /// Finds the daemon from the options, the environment and the configuration.
    pub(super) fn new(args: &ClientArgs) -> Result<Self, Failure> {
        let Some(url) = &args.url else {
            return socket_path(args).map(|path| Self { place: Place::Socket(path), only_if: None });
        };
        let usage = || Failure::new(Exit::Usage, "--url must look like http://HOST:PORT or https://HOST:PORT");
        let uri: Uri = url.parse().map_err(|_| usage())?;
        let tls = match uri.scheme_str() {
            Some("http") if args.ca_file.is_none() && args.cert.is_none() => None,
            Some("http") => return Err(Failure::new(Exit::Usage, "--ca-file, --cert and --key need an https URL")),
            Some("https") => Some(tls::config(args)?),
            _ => return Err(usage()),
        };
        let authority = uri.authority().filter(|name| uri.path() == "/" && !name.as_str().contains('@'));
        let authority = authority.ok_or_else(usage)?.to_string();
        let token = args.token_file.as_ref().map(|file| match std::fs::read_to_string(file) {
            Ok(text) => Ok(Secret::new(text.trim())),
            Err(error) => Err(Failure::new(Exit::Usage, format!("cannot read {}: {error}", file.display()))),
        });
        Ok(Self { place: Place::Tcp { authority, token: token.transpose()?, tls }, only_if: None })
    }

    /// The same daemon, asked to change something only if it still has that tag. The quotes of a tag, which
    /// a shell takes away easily, may be missing.
    pub(super) fn only_if(self, tag: Option<&str>) -> Self {
        let quoted = |tag: &str| match tag {
            "*" => tag.to_owned(),
            tag if tag.contains('"') => tag.to_owned(),
            tag => format!("\"{tag}\""),
        };
        Self { only_if: tag.map(quoted), ..self }
    }

    pub(super) async fn get(&self, path: &str) -> Result<Reply, Failure> {
        self.send(Method::GET, path, None, REPLY_TIME).await
    }

    /// A `GET` that the daemon may answer only after `wait`.
    pub(super) async fn get_slowly(&self, path: &str, wait: Duration) -> Result<Reply, Failure> {
        self.send(Method::GET, path, None, REPLY_TIME + wait).await
    }

    /// Sends a change; `body` becomes JSON.
    pub(super) async fn send_json(&self, method: Method, path: &str, body: &impl Serialize) -> Result<Reply, Failure> {
        let body = serde_json::to_vec(body).expect("our own bodies have text keys");
        self.send(method, path, Some(body), REPLY_TIME).await
    }

    /// Sends a change without a body.
    pub(super) async fn send_empty(&self, method: Method, path: &str) -> Result<Reply, Failure> {
        self.send(method, path, None, REPLY_TIME).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<Vec<u8>>, time: Duration) -> Result<Reply, Failure> {
        let request = self.request(method, path, body)?;
        let answer = timeout(time, async { self.begin(request).await?.whole().await }).await;
        let answer = answer.map_err(|_| Failure::new(Exit::Busy, "the daemon did not answer in time"))??;
        interpret(answer.status, &answer.body).map(|reply| Reply { tag: answer.tag, ..reply })
    }

    /// Opens the stream of events, from after one of them or from now on.
    pub(super) async fn follow(&self, after: Option<&str>) -> Result<Open, Failure> {
        let mut request = self.request(Method::GET, "/events", None)?;
        if let Some(id) = after.and_then(|id| HeaderValue::from_str(id).ok()) {
            request.headers_mut().insert("last-event-id", id);
        }
        let answer = timeout(REPLY_TIME, async {
            let open = self.begin(request).await?;
            let kind = open.reply.headers().get(CONTENT_TYPE);
            if open.reply.status() == 200 && kind.is_some_and(|kind| kind == EVENT_STREAM) {
                return Ok(open);
            }
            let answer = open.whole().await?;
            interpret(answer.status, &answer.body)?;
            Err(Failure::new(Exit::Failed, "what answers there tells no events; is it another version of the daemon?"))
        });
        answer.await.map_err(|_| Failure::new(Exit::Busy, "the daemon did not answer in time"))?
    }

    /// Sends a request and waits for the head of its reply.
    async fn begin(&self, request: Request<Full<Bytes>>) -> Result<Open, Failure> {
        match &self.place {
            Place::Socket(path) => begin(self.connect(UnixStream::connect(path)).await?, request).await,
            Place::Tcp { authority, tls: None, .. } => {
                begin(self.connect(TcpStream::connect(with_port(authority, 80))).await?, request).await
            }
            Place::Tcp { authority, tls: Some(tls), .. } => {
                let stream = self.connect(TcpStream::connect(with_port(authority, 443))).await?;
                begin(encrypt(stream, authority, tls.clone()).await?, request).await
            }
        }
    }

    fn request(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Request<Full<Bytes>>, Failure> {
        let (host, token) = match &self.place {
            Place::Socket(_) => ("localhost", None),
            Place::Tcp { authority, token, .. } => (authority.as_str(), token.as_ref()),
        };
        let mut request = Request::builder().method(method).uri(path).header(HOST, host);
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {}", token.expose()));
            let mut value = value.map_err(|_| Failure::new(Exit::Usage, "the token is not one line of ASCII text"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(tag) = &self.only_if {
            request = request.header(IF_MATCH, tag);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = Full::new(Bytes::from(body.unwrap_or_default()));
        request.body(body).map_err(|error| Failure::new(Exit::Usage, format!("not a valid request: {error}")))
    }

    async fn connect<S>(&self, connecting: impl Future<Output = io::Result<S>>) -> Result<S, Failure> {
        let connected = timeout(CONNECT_TIME, connecting).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        connected.map_err(|error| {
            let place = match &self.place {
                Place::Socket(path) => path.display().to_string(),
                Place::Tcp { authority, .. } => authority.clone(),
            };
            if error.kind() == io::ErrorKind::PermissionDenied {
                let text = format!("not allowed to use {place}; be root or a member of its group");
                return Failure::new(Exit::NotAllowed, text);
            }
            Failure::new(Exit::Unreachable, format!("no daemon can be reached at {place}: {error}; is it running?"))
        })
    }
}

/// The handshake; a refused certificate of ours shows only when the daemon answers.
async fn encrypt(stream: TcpStream, authority: &str, tls: Arc<ClientConfig>) -> Result<TlsStream<TcpStream>, Failure> {
    let host = authority.parse::<Authority>().map(|name| name.host().trim_matches(['[', ']']).to_owned());
    let name = host.ok().and_then(|host| ServerName::try_from(host).ok());
    let name = name.ok_or_else(|| Failure::new(Exit::Usage, "the URL has no host that a certificate could name"))?;
    let connecting = timeout(CONNECT_TIME, TlsConnector::from(tls).connect(name, stream)).await;
    connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(|error| {
        Failure::new(Exit::Unreachable, format!("no TLS connection to {authority}: {error} (see --ca-file)"))
    })
}

fn with_port(authority: &str, default: u16) -> String {
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    if has_port { authority.to_owned() } else { format!("{authority}:{default}") }
}

/// What came back.
struct Raw {
    status: u16,
    tag: Option<String>,
    body: Bytes,
}

/// A reply whose body is still to come, and its connection.
pub(super) struct Open {
    reply: Response<Incoming>,
    driver: JoinHandle<hyper::Result<()>>,
}

impl Open {
    /// The body.
    pub(super) fn body(&mut self) -> &mut Incoming {
        self.reply.body_mut()
    }

    /// All of it.
    async fn whole(mut self) -> Result<Raw, Failure> {
        let status = self.reply.status().as_u16();
        let tag = self.reply.headers().get(ETAG).and_then(|tag| tag.to_str().ok()).map(str::to_owned);
        let body = Limited::new(self.body(), REPLY_LIMIT).collect().await.map_err(|error| broken(&error))?;
        Ok(Raw { status, tag, body: body.to_bytes() })
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn broken(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(Exit::Unreachable, format!("the daemon ended the connection: {error}"))
}

async fn begin<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Open, Failure>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| broken(&error))?;
    let driver = tokio::spawn(connection);
    let reply = sender.send_request(request).await.map_err(|error| broken(&error))?;
    Ok(Open { reply, driver })
}

/// Problems become failures; a 503 that is not a problem is a health reply.
fn interpret(status: u16, body: &[u8]) -> Result<Reply, Failure> {
    let foreign = || {
        Failure::new(Exit::Failed, format!("what answers there (HTTP {status}) is not the control API of rbac-sync"))
    };
    let text = std::str::from_utf8(body).map_err(|_| foreign())?;
    let body: Value = serde_json::from_str(text).map_err(|_| foreign())?;
    let kind = body["type"].as_str().and_then(|kind| kind.strip_prefix("urn:rbac-sync:problem:"));
    let exit = match (status, kind) {
        (200..=299 | 503, None) | (_, Some("configuration-refused")) => {
            return Ok(Reply { status, text: text.to_owned(), tag: None });
        }
        (401 | 403, _) => Exit::NotAllowed,
        (408 | 412 | 503, _) | (_, Some("queue-taken")) => Exit::Busy,
        (400 | 413 | 415 | 422, _) => Exit::Usage,
        _ => Exit::Failed,
    };
    let detail = body["detail"].as_str().unwrap_or("no reason was given");
    let hint = if status == 401 { " (see --token-file and --cert)" } else { "" };
    Err(Failure::new(exit, format!("{detail}{hint}")))
}

/// `--socket`, the environment, the configuration file, the packaged path; in that order. Where the file does not tell,
/// or tells of a socket that is not there, the service's own link to its socket.
fn socket_path(args: &ClientArgs) -> Result<PathBuf, Failure> {
    if let Some(path) = &args.socket {
        return Ok(path.clone());
    }
    if let Some(path) = std::env::var_os("RBAC_SYNC_SOCKET_PATH").filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    match &args.config {
        None => {
            let configured = configured_socket(DEFAULT_PATH.as_ref()).ok().flatten();
            let path = configured.unwrap_or_else(|| DEFAULT_SOCKET.into());
            Ok(if path.exists() { path } else { rendezvous::socket().unwrap_or(path) })
        }
        Some(file) => {
            let configured = configured_socket(file)
                .map_err(|error| Failure::new(Exit::Config, format!("{}: {error}", file.display())))?;
            Ok(configured.unwrap_or_else(|| DEFAULT_SOCKET.into()))
        }
    }
}

/// The one key that a client needs. A full load would need the password files, which an operator
/// who may use the socket need not be able to read.
fn configured_socket(file: &std::path::Path) -> io::Result<Option<PathBuf>> {
    let text = std::fs::read_to_string(file)?;
    let table: toml::Table = text
        .parse()
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "not valid TOML; see \"rbac-sync check\""))?;
    let path = table.get("socket").and_then(|socket| socket.get("path")).and_then(toml::Value::as_str);
    Ok(path.map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit(status: u16, body: &str) -> Exit {
        interpret(status, body.as_bytes()).expect_err("an error").exit
    }

    #[test]
    fn a_problem_has_the_exit_code_of_its_kind() {
        let problem = |kind: &str| format!("{{\"type\":\"urn:rbac-sync:problem:{kind}\",\"detail\":\"d\"}}");
        assert_eq!(exit(401, &problem("unauthorized")), Exit::NotAllowed);
        assert_eq!(exit(403, &problem("foreign-host")), Exit::NotAllowed);
        assert_eq!(exit(503, &problem("busy")), Exit::Busy);
        assert_eq!(exit(409, &problem("queue-taken")), Exit::Busy);
        assert_eq!(exit(409, &problem("nothing-to-cancel")), Exit::Failed);
        assert_eq!(exit(422, &problem("unknown-source")), Exit::Usage);
        assert_eq!(exit(404, &problem("unknown-run")), Exit::Failed);
        assert_eq!(exit(412, &problem("precondition-failed")), Exit::Busy);
        assert_eq!(exit(200, "<html>"), Exit::Failed);
        assert_eq!(interpret(503, b"{\"ok\":false}").expect("health").status, 503);
    }

    #[test]
    fn the_socket_comes_from_the_named_configuration() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let file = dir.path().join("c.toml");
        std::fs::write(&file, "[socket]\npath = \"/tmp/other.sock\"\n[[source]]\n").expect("written");
        let args = ClientArgs {
            socket: None,
            url: None,
            token_file: None,
            ca_file: None,
            cert: None,
            key: None,
            config: Some(file.clone()),
            json: false,
        };
        assert_eq!(socket_path(&args).expect("configured"), PathBuf::from("/tmp/other.sock"));
        std::fs::write(&file, "[socket").expect("written");
        assert_eq!(socket_path(&args).expect_err("broken").exit, Exit::Config);
        std::fs::remove_file(&file).expect("removed");
        assert_eq!(socket_path(&args).expect_err("missing").exit, Exit::Config);
    }

    #[test]
    fn an_address_without_a_port_means_80() {
        assert_eq!(with_port("h", 80), "h:80");
        assert_eq!(with_port("h:8080", 80), "h:8080");
        assert_eq!(with_port("[::1]", 80), "[::1]:80");
        assert_eq!(with_port("[::1]:8080", 80), "[::1]:8080");
    }
}
