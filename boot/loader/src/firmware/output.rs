//! The loader's lines, on the screen and on the first serial port.
//!
//! Each line begins with `boot: `. Most firmware shows its console on the serial port too; where it
//! does, the loader leaves the port to it, or every line would come twice.
#![allow(unsafe_code)] // Port I/O, and a panic handler that must not trust anything.
use alloc::format;
use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use loader::com1;
use uefi::boot::{self, OpenProtocolAttributes, OpenProtocolParams, SearchType};
use uefi::proto::device_path::{DevicePath, DeviceSubType, DeviceType};
use uefi::runtime::{self, ResetType};
use uefi::{CString16, Guid, Status, guid, system};

/// Marks the handles that the firmware's console writes to (EDK2, `gEfiConsoleOutDeviceGuid`).
const CONSOLE_OUT_DEVICE: Guid = guid!("d3b36f2c-d551-11d4-9a46-0090273fc14d");

/// Whether lines go to COM1 by our own hand.
static SERIAL: AtomicBool = AtomicBool::new(false);
/// Whether the firmware's console may be used.
static SCREEN: AtomicBool = AtomicBool::new(true);

/// Whether a panic is being shown.
static PANICKED: AtomicBool = AtomicBool::new(false);

/// Finds out where lines go.
pub fn start() {
    SERIAL.store(!firmware_writes_serial() && com1::start(), Ordering::Relaxed);
    // Whatever the firmware left on the line stays on a line of its own.
    line("\r\n");
}

/// Shows a line.
pub fn say(text: &str) {
    line(&format!("boot: {text}\r\n"));
}

fn line(text: &str) {
    if SERIAL.load(Ordering::Relaxed) {
        com1::write(text);
    }
    if SCREEN.load(Ordering::Relaxed)
        && let Ok(text) = CString16::try_from(text)
    {
        system::with_stdout(|screen| {
            let _ = screen.output_string_lossy(&text);
        });
    }
}

/// Before boot services end: the screen belongs to the kernel from here on.
pub fn leave_the_screen() {
    SCREEN.store(false, Ordering::Relaxed);
}

/// Shows why the machine is not started, waits for a key, and restarts it.
pub fn stop(reason: &str) -> ! {
    say(reason);
    say("stopped; press a key to restart the machine");
    wait_for_key();
    runtime::reset(ResetType::COLD, Status::ABORTED, None)
}

/// The same where boot services have ended: only the serial port is left, and the machine halts.
pub fn stop_without_firmware(reason: &str) -> ! {
    com1::start();
    com1::write("boot: ");
    com1::write(reason);
    com1::write("\r\nboot: stopped; switch the machine off\r\n");
    halt()
}

fn halt() -> ! {
    loop {
        // SAFETY: stops this CPU for good; nothing is to run on it any more.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
    }
}

fn wait_for_key() {
    let event = system::with_stdin(|keyboard| {
        // Keys that were pressed before the message was there do not count.
        let _ = keyboard.reset(false);
        keyboard.wait_for_key_event()
    });
    let waited = event.map(|event| boot::wait_for_event(&[event]).is_ok());
    if waited != Ok(true) {
        // No keyboard at all: leave the message in place for as long as someone may want to read it.
        boot::stall(Duration::from_secs(24 * 60 * 60));
    }
}

/// Whether one of the devices that the firmware's console writes to is a serial port.
fn firmware_writes_serial() -> bool {
    let Ok(handles) = boot::locate_handle_buffer(SearchType::ByProtocol(&CONSOLE_OUT_DEVICE)) else {
        return false;
    };
    handles.iter().any(|&handle| {
        let params = OpenProtocolParams { handle, agent: boot::image_handle(), controller: None };
        // SAFETY: the device path of a console device is read and let go at once, while nothing
        // connects or disconnects drivers.
        let path = unsafe { boot::open_protocol::<DevicePath>(params, OpenProtocolAttributes::GetProtocol) };
        let uart = (DeviceType::MESSAGING, DeviceSubType::MESSAGING_UART);
        path.is_ok_and(|path| path.get().is_some_and(|p| p.node_iter().any(|node| node.full_type() == uart)))
    })
}

#[panic_handler]
fn panicked(info: &core::panic::PanicInfo) -> ! {
    // A second panic, on the way of the first one's message, gets no screen.
    if SCREEN.swap(false, Ordering::Relaxed) && !PANICKED.swap(true, Ordering::Relaxed) {
        SCREEN.store(true, Ordering::Relaxed);
        stop(&format!("internal error: {info}; please report it"))
    }
    stop_without_firmware("internal error in the loader; please report it")
}
