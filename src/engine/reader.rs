//! The source's side of a run. A page is read in a task of its own, so on another processor, while the page before it
//! is written: decoding rows costs about as much as the servers need for them.

use std::ops::{Deref, DerefMut};

use futures_util::future::BoxFuture;
use tokio::task::JoinError;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument as _;

use super::{Class, Error, Side};

/// A view of the source, `S`, that can be away in a task.
pub(super) struct Reader<S>(Option<S>);

/// Where the view is when nobody reads ahead.
const HERE: &str = "a view that was lost with a failed write is not asked again: the run ends";

impl<S: Send + 'static> Reader<S> {
    pub(super) fn new(view: S) -> Self {
        Self(Some(view))
    }

    pub(super) fn into_inner(self) -> S {
        self.0.expect(HERE)
    }

    /// Writes a page, or has it written, while the next one is read. What the source fails with comes after that; what
    /// the target fails with does not wait for the source, and the view is lost.
    pub(super) async fn overlap<T: Send + 'static>(
        &mut self,
        write: impl Future<Output = Result<(), Error>>,
        read: impl for<'s> FnOnce(&'s mut S) -> BoxFuture<'s, Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        let mut view = self.0.take().expect(HERE);
        let reading = async move {
            let page = read(&mut view).await;
            (view, page)
        };
        let reading = AbortOnDropHandle::new(tokio::spawn(reading.in_current_span()));
        write.await?;
        let (view, page) = reading.await.map_err(unjoined)?;
        self.0 = Some(view);
        page
    }
}

/// Why a task of a run has no outcome: it was dropped with the run, or it panicked, and so does this one.
pub(super) fn unjoined(error: JoinError) -> Error {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(_) => Error::new(Side::Run, Class::Cancelled, "cancelled"),
    }
}

impl<S> Deref for Reader<S> {
    type Target = S;
    fn deref(&self) -> &S {
        self.0.as_ref().expect(HERE)
    }
}

impl<S> DerefMut for Reader<S> {
    fn deref_mut(&mut self) -> &mut S {
        self.0.as_mut().expect(HERE)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::{pending, ready};

    use super::*;

    fn failure(side: Side) -> Error {
        Error::new(side, Class::Transient, "down")
    }

    #[tokio::test]
    async fn a_page_is_written_whole_though_the_source_fails_meanwhile() {
        let mut reader = Reader::new(());
        let written = Cell::new(false);
        let write = async {
            tokio::task::yield_now().await;
            written.set(true);
            Ok(())
        };
        let read = reader.overlap(write, |()| Box::pin(ready(Err::<(), _>(failure(Side::Source)))));
        let error = read.await.unwrap_err();
        assert_eq!((error.side, written.get()), (Side::Source, true));
    }

    #[tokio::test]
    async fn a_target_that_fails_is_told_though_the_source_does_not_answer() {
        let mut reader = Reader::new(());
        let write = ready(Err(failure(Side::Target)));
        let read = reader.overlap(write, |()| Box::pin(pending::<Result<(), Error>>()));
        let error = read.await.unwrap_err();
        assert_eq!(error.side, Side::Target);
    }

    #[tokio::test]
    async fn the_view_comes_back_from_reading_ahead() {
        let mut reader = Reader::new(1);
        let read = reader.overlap(ready(Ok(())), |place| {
            Box::pin(async move {
                *place += 1;
                Ok(*place)
            })
        });
        assert_eq!(read.await.unwrap(), 2);
        assert_eq!(reader.into_inner(), 2);
    }
}
