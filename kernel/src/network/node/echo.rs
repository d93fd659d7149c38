//! The echo service (RFC 862): what comes is sent back. It says whether the node's TCP works, and how fast the way to it is.
use super::Station;
use super::tcp::{Listener, Stream};
use crate::cpu::percpu;
use alloc::sync::Arc;
use alloc::vec;

/// Its port.
const PORT: u16 = 7;
/// Connections that wait.
const BACKLOG: usize = 4;
/// Bytes that are sent back at once.
const BUFFER: usize = 16 << 10;

/// Starts it.
pub fn start(station: &Arc<Station>) {
    match Listener::new(station, PORT, BACKLOG) {
        Ok(listener) => spawn("echo", serve(listener)),
        Err(why) => log::error!("the echo service can't start: {why}"),
    }
}

async fn serve(listener: Listener) {
    loop {
        let stream = listener.accept().await;
        if let Some(remote) = stream.remote() {
            log::debug!("echo: a connection from {remote}");
        }
        spawn("echo of a connection", answer(stream));
    }
}

async fn answer(stream: Stream) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        if stream.write(&buffer[..read]).await.is_err() {
            break;
        }
    }
}

fn spawn(name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    // The station's task runs on this CPU's executor, so there is one.
    if let Some(spawner) = percpu::current().spawner() {
        spawner.spawn(name, task);
    }
}
