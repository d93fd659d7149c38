//! TCP for the node's tasks: listeners, and streams whose reads and writes wait.
use super::Station;
use alloc::sync::Arc;
use core::net::SocketAddr;
use net::stack::{ListenRefused, ListenerId, Read, StreamError, StreamId};

/// A port that is listened at, until this is dropped.
pub struct Listener {
    station: Arc<Station>,
    id: ListenerId,
}

/// A connection. It is closed when this is dropped: what was written before still arrives.
pub struct Stream {
    station: Arc<Station>,
    id: StreamId,
}

impl Listener {
    /// Listens at a TCP port of all of the node's addresses. `backlog` connections at most are half open or wait.
    ///
    /// # Errors
    /// Somebody listens there, or there are too many listeners.
    pub fn new(station: &Arc<Station>, port: u16, backlog: usize) -> Result<Self, ListenRefused> {
        let id = station.stack.lock().listen(port, backlog)?;
        Ok(Self { station: station.clone(), id })
    }

    /// Waits for a connection.
    pub async fn accept(&self) -> Stream {
        let station = &self.station;
        let id = station.changes.until(|| station.stack.lock().accept(self.id)).await;
        Stream { station: station.clone(), id }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.station.stack.lock().unlisten(self.id);
        self.station.work.raise();
    }
}

impl Stream {
    /// The other side, while there is one.
    pub fn remote(&self) -> Option<SocketAddr> {
        self.station.stack.lock().stream(self.id)?.remote
    }

    /// Reads what has come, and waits for it where nothing has. 0 when the other side sends no more.
    ///
    /// # Errors
    /// The connection is broken.
    pub async fn read(&self, into: &mut [u8]) -> Result<usize, StreamError> {
        let station = &self.station;
        let read = station.changes.until(|| match station.stack.lock().read(self.id, into) {
            Ok(Read::Nothing) => None,
            Ok(Read::Bytes(bytes)) => Some(Ok(bytes)),
            Ok(Read::End) => Some(Ok(0)),
            Err(error) => Some(Err(error)),
        });
        let read = read.await;
        // There is more room now, of which the other side is to know.
        station.work.raise();
        read
    }

    /// Writes all of it, as there is room.
    ///
    /// # Errors
    /// The connection is broken: some of it may have arrived.
    pub async fn write(&self, mut bytes: &[u8]) -> Result<(), StreamError> {
        let station = &self.station;
        while !bytes.is_empty() {
            let written = station.changes.until(|| match station.stack.lock().write(self.id, bytes) {
                Ok(0) => None,
                result => Some(result),
            });
            let written = written.await?;
            bytes = &bytes[written..];
            station.work.raise();
        }
        Ok(())
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.station.stack.lock().close(self.id);
        self.station.work.raise();
    }
}
