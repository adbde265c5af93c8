//! The stream between a client and hyper, with what hyper does not do: it notices that a client leaves while its
//! request is being served, and says in a refusal of hyper's own what is wrong.
//!
//! hyper reads nothing while a request is being served, for it is to answer also a client that has closed its half. So
//! somebody else reads ahead, in the same task, and hyper gets later what was read.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::bare;
use super::guests::Guest;

/// Bytes read ahead at the most; who sends more while it waits is there.
const AHEAD: usize = 4096;

/// A handle of one stream; all of them are used in one task.
pub(super) struct Line<S>(Arc<Mutex<Ends<S>>>);

struct Ends<S> {
    stream: S,
    /// What hyper has not read yet.
    ahead: Vec<u8>,
    /// The client sends nothing any more.
    closed: bool,
    /// What is still to be written of a refusal; it is the last message.
    refusal: Vec<u8>,
}

impl<S> Clone for Line<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Line<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(Arc::new(Mutex::new(Ends { stream, ahead: Vec::new(), closed: false, refusal: Vec::new() })))
    }

    /// Reads ahead while the guest is watched, and tells it when the client closes its half. Ends when the connection
    /// is broken. To be polled after whatever decides about the watch.
    pub(super) async fn broken(&self, guest: &Guest) -> io::Error {
        poll_fn(|cx| if guest.is_watched() { self.ends().look(cx, guest) } else { Poll::Pending }).await
    }

    /// Writes what is left of a refusal: hyper may have ended by then, for to it the message was written.
    pub(super) async fn finish(&self) -> io::Result<()> {
        poll_fn(|cx| {
            let mut ends = self.ends();
            if ends.refusal.is_empty() {
                return Poll::Ready(Ok(()));
            }
            ready!(ends.refuse(cx))?;
            Pin::new(&mut ends.stream).poll_shutdown(cx)
        })
        .await
    }

    fn ends(&self) -> MutexGuard<'_, Ends<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Ends<S> {
    fn look(&mut self, cx: &mut Context<'_>, guest: &Guest) -> Poll<io::Error> {
        while !self.closed && self.ahead.len() < AHEAD {
            let mut space = [0; 1024];
            let mut read = ReadBuf::new(&mut space);
            if let Err(error) = ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read)) {
                return Poll::Ready(error);
            }
            self.ahead.extend_from_slice(read.filled());
            self.closed = read.filled().is_empty();
        }
        if self.closed {
            guest.closes_its_half();
        }
        Poll::Pending
    }

    fn read(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let length = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..length]);
            self.ahead.drain(..length);
            return Poll::Ready(Ok(()));
        }
        if self.closed { Poll::Ready(Ok(())) } else { Pin::new(&mut self.stream).poll_read(cx, buf) }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Ends<S> {
    fn write(&mut self, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match bare::begins(buf) {
            Some(0) => {
                self.refusal = bare::explained(buf);
                Poll::Ready(Ok(buf.len()))
            }
            before => Pin::new(&mut self.stream).poll_write(cx, &buf[..before.unwrap_or(buf.len())]),
        }
    }

    fn refuse(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.refusal.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.refusal))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.refusal.drain(..written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Line<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.ends().read(cx, buf)
    }
}

/// Not vectored: hyper hands over whole buffers then, of which each ends where a message ends or later is to go on.
impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Line<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.ends().write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut ends = self.ends();
        ready!(ends.refuse(cx))?;
        Pin::new(&mut ends.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut ends = self.ends();
        ready!(ends.refuse(cx))?;
        Pin::new(&mut ends.stream).poll_shutdown(cx)
    }
}
