//! QEMU's monitor: what happens to a machine while it runs (QMP, "QEMU Machine Protocol Specification").
use crate::failure::{Context, Failure, Result};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// How long QEMU may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Tells the QEMU whose monitor is at `socket` to do something; its answer.
///
/// # Errors
/// Where it refuses, or does not answer.
pub fn tell(socket: &Path, command: &str) -> Result<Value> {
    let connect = || format!("cannot reach QEMU's monitor at {}", socket.display());
    let stream = UnixStream::connect(socket).context(connect)?;
    stream.set_read_timeout(Some(PATIENCE)).context(connect)?;
    let mut writer = stream.try_clone().context(connect)?;
    let mut lines = BufReader::new(stream).lines();
    let mut answer = || loop {
        let line = lines.next().ok_or_else(|| Failure::new("QEMU's monitor has gone"))?;
        let line = line.context(|| "QEMU's monitor does not answer")?;
        let value: Value = serde_json::from_str(&line)
            .map_err(|error| Failure::new(format!("QEMU's monitor says '{line}': {error}")))?;
        // Events come in between.
        if value.get("event").is_none() {
            return Ok::<_, Failure>(value);
        }
    };
    answer()?;
    let mut result = Value::Null;
    for command in [r#"{"execute":"qmp_capabilities"}"#, command] {
        writeln!(writer, "{command}").context(|| "cannot write to QEMU's monitor")?;
        let mut value = answer()?;
        if let Some(error) = value.get("error") {
            return Err(Failure::new(format!("QEMU refuses {command}: {error}")));
        }
        result = value["return"].take();
    }
    Ok(result)
}

/// As [`tell`], for a device that takes a drive which another had: QEMU takes a device that is pulled out apart some
/// time after the guest has let it go, and tells nobody when. Until then the new one is refused.
///
/// # Errors
/// As those of [`tell`], or where the other keeps the drive.
pub fn tell_when_free(socket: &Path, command: &str) -> Result<Value> {
    let end = Instant::now() + PATIENCE;
    loop {
        match tell(socket, command) {
            Err(error) if error.to_string().contains("Permission conflict") && Instant::now() < end => {
                thread::sleep(Duration::from_millis(20));
            }
            answer => return answer,
        }
    }
}
