//! The smallest HTTP/1.1 client that can also misbehave: it writes the bytes that a test wants.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UnixStream};

use super::tls;

/// An answer that takes longer is a failure.
const CAP: Duration = Duration::from_secs(60);

/// Where a daemon listens.
#[derive(Clone, Debug)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    /// Behind TLS, with what a client needs for it.
    Tls(SocketAddr, Arc<ClientConfig>),
    Unix(PathBuf),
}

/// A connection of any kind.
pub(crate) trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Connection for S {}

#[derive(Clone, Debug)]
pub(crate) struct Reply {
    pub(crate) code: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header's value; names in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

impl Address {
    /// Connects; the bytes that are written come out at the daemon's HTTP.
    pub(crate) async fn connect(&self) -> std::io::Result<Box<dyn Connection>> {
        match self {
            Self::Tcp(address) | Self::Tls(address, _) => self.connect_on(TcpStream::connect(address).await?).await,
            Self::Unix(path) => Ok(Box::new(UnixStream::connect(path).await?)),
        }
    }

    /// As [`Address::connect`], from another address of this host; of no matter for a Unix socket.
    pub(crate) async fn connect_from(&self, from: Ipv4Addr) -> std::io::Result<Box<dyn Connection>> {
        let (Self::Tcp(address) | Self::Tls(address, _)) = self else { return self.connect().await };
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        self.connect_on(socket.connect(*address).await?).await
    }

    async fn connect_on(&self, stream: TcpStream) -> std::io::Result<Box<dyn Connection>> {
        Ok(match self {
            Self::Tls(_, trusted) => Box::new(tls::connect(stream, trusted.clone()).await?),
            _ => Box::new(stream),
        })
    }

    /// Connects without a handshake, whatever is listening there.
    pub(crate) async fn dial(&self) -> std::io::Result<Box<dyn Connection>> {
        Ok(match self {
            Self::Tcp(address) | Self::Tls(address, _) => Box::new(TcpStream::connect(address).await?),
            Self::Unix(path) => Box::new(UnixStream::connect(path).await?),
        })
    }

    /// One request on its own connection; panics where the daemon does not answer.
    pub(crate) async fn ask(&self, method: &str, target: &str, body: Option<&str>) -> Reply {
        self.try_ask(method, target, body, "").await.unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }

    pub(crate) async fn get(&self, target: &str) -> Reply {
        self.ask("GET", target, None).await
    }

    /// As [`Address::ask`], with more header lines, each with its line end.
    pub(crate) async fn try_ask(
        &self,
        method: &str,
        target: &str,
        body: Option<&str>,
        headers: &str,
    ) -> std::io::Result<Reply> {
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}");
        if let Some(body) = body {
            request += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        } else {
            request += "\r\n";
        }
        let bytes = self.raw(request.as_bytes()).await?;
        parse(&bytes).ok_or_else(|| std::io::Error::other(format!("no HTTP: {:?}", String::from_utf8_lossy(&bytes))))
    }

    /// Sends bytes as they are, and gives back all that comes until the daemon closes.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let exchange = async { exchange(self.connect().await?, bytes).await };
        tokio::time::timeout(CAP, exchange).await.map_err(|_| std::io::ErrorKind::TimedOut)?
    }
}

/// Sends bytes as they are, and gives back all that comes until the daemon closes.
pub(crate) async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    bytes: &[u8],
) -> std::io::Result<Vec<u8>> {
    // A daemon that refuses may close before it has read all; its answer is what counts.
    stream.write_all(bytes).await.ok();
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer).await {
        Err(error) if answer.is_empty() => Err(error),
        _ => Ok(answer),
    }
}

/// The reply in all that has come.
pub(crate) fn parse(bytes: &[u8]) -> Option<Reply> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let code = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { dechunk(bytes.get(head.len() + 4..)?)? } else { body.to_owned() };
    Some(Reply { code, head: head.to_owned(), body })
}

fn dechunk(mut bytes: &[u8]) -> Option<String> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..end]).ok()?.trim(), 16).ok()?;
        if size == 0 {
            return String::from_utf8(body).ok();
        }
        body.extend_from_slice(bytes.get(end + 2..end + 2 + size)?);
        bytes = bytes.get(end + 4 + size..)?;
    }
}
