//! REPORT SUPPORTED OPERATION CODES: what a logical unit knows (SPC-4, 6.35).
use super::command::{COMMANDS, Cdb, Command, find};
use super::reply::Reply;
use super::sense::Sense;
use block::Features;

/// Command time-outs: as long as a descriptor of them is, and nothing told.
const TIMEOUTS: [u8; 12] = [0, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Answers it.
///
/// # Errors
/// It asks in a way that is not defined, or that does not fit the operation code.
pub fn report(cdb: &Cdb, features: &Features) -> Result<(Reply, u64), Sense> {
    let timeouts = cdb.bit(2, 7);
    let (code, action) = (cdb.0[3], cdb.u16(4));
    let found = find(code, features);
    let reply = match cdb.0[2] & 7 {
        0 => all(features, timeouts),
        // By operation code alone, for those without service actions.
        1 => match found {
            Some(command) if command.action.is_some() => return Err(Sense::bad_field(2)),
            found => one(found, timeouts),
        },
        // With a service action, for those that have some.
        2 => match found {
            Some(command) if command.action.is_none() => return Err(Sense::bad_field(2)),
            found => one(found.filter(|c| c.action.map(u16::from) == Some(action)), timeouts),
        },
        // Either.
        3 => one(found.filter(|c| c.action.map_or(0, u16::from) == action), timeouts),
        _ => return Err(Sense::bad_field(2)),
    };
    Ok((reply, cdb.u32(6).into()))
}

fn all(features: &Features, timeouts: bool) -> Reply {
    const SERVICE_ACTION: u8 = 1;
    const HAS_TIMEOUTS: u8 = 2;
    let mut reply = Reply::new(4);
    for command in COMMANDS.iter().filter(|command| command.is_known(features)) {
        let action = command.action.unwrap_or(0);
        let flags = if command.action.is_some() { SERVICE_ACTION } else { 0 }
            | if timeouts { HAS_TIMEOUTS } else { 0 };
        reply.append(&[command.usage[0], 0, 0, action, 0, flags, 0, command.usage.len() as u8]);
        if timeouts {
            reply.append(&TIMEOUTS);
        }
    }
    let length = reply.length() as u32 - 4;
    reply.put(0, &length.to_be_bytes());
    reply
}

fn one(command: Option<&Command>, timeouts: bool) -> Reply {
    const NOT_SUPPORTED: u8 = 1;
    const AS_STANDARD: u8 = 3;
    const HAS_TIMEOUTS: u8 = 0x80;
    let mut reply = Reply::new(4);
    let Some(command) = command else {
        reply.put(1, &[NOT_SUPPORTED]);
        return reply;
    };
    reply.put(1, &[AS_STANDARD | if timeouts { HAS_TIMEOUTS } else { 0 }]);
    reply.put(2, &(command.usage.len() as u16).to_be_bytes());
    reply.append(command.usage);
    if timeouts {
        reply.append(&TIMEOUTS);
    }
    reply
}
