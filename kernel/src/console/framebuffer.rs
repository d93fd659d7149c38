//! The screen: a text console on the firmware's framebuffer.
//!
//! Output goes into a grid of characters; what differs from what is drawn is drawn, a character at a time,
//! from an anti-aliased bitmap font. The framebuffer is only written, through a write-combining mapping,
//! never read.
//!
//! While the machine boots, and in a panic, text is drawn as it is written. In between a [task](keep_drawn)
//! draws ten times a second, a row at a time, so that a guest's flood of output costs what a person can see
//! of it, and no more.
#![allow(unsafe_code)] // writes pixels to a mapping of its own

use crate::boot_info;
use crate::memory::{self, NoMemory};
use crate::sync::IrqLock;
use crate::time;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use executor::{Timers, yield_now};
use handover::PixelFormat;
use mm::Caching;
use mm::addr::Hpa;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use platform::text::Screen;

const WEIGHT: FontWeight = FontWeight::Regular;
const HEIGHT: RasterHeight = RasterHeight::Size16;
/// Pixels of a character's cell.
const CELL_HEIGHT: usize = 16;
const CELL_WIDTH: usize = get_raster_width(WEIGHT, HEIGHT);

struct Display {
    pixels: *mut u32,
    /// Pixels from line to line.
    stride: usize,
    columns: usize,
    screen: Screen,
    drawn: Vec<u8>,
}

// SAFETY: the mapping behind `pixels` is the display's alone, on every CPU.
unsafe impl Send for Display {}

static DISPLAY: IrqLock<Option<Display>> = IrqLock::new(None);

/// Whether a task draws.
static DRAWN_BY_TASK: AtomicBool = AtomicBool::new(false);

/// Nanoseconds between two looks of the task.
const PERIOD: u64 = 100_000_000;

/// Takes the screen over, if there is one, and clears it. Returns its columns and rows.
pub fn start() -> Result<Option<(usize, usize)>, NoMemory> {
    let Some(fb) = boot_info::get().map(|i| i.framebuffer) else { return Ok(None) };
    let (width, height, stride) = (fb.width as usize, fb.height as usize, fb.stride as usize);
    let bytes = (stride as u64).saturating_mul(height as u64).saturating_mul(4);
    let known = fb.format == PixelFormat::RGB || fb.format == PixelFormat::BGR;
    let (columns, rows) = (width / CELL_WIDTH, height / CELL_HEIGHT);
    let Some(base) = Hpa::try_new(fb.extent.base) else { return Ok(None) };
    if !known || columns == 0 || rows == 0 || stride < width || bytes > fb.extent.len {
        return Ok(None);
    }
    let pixels: *mut u32 = memory::map_window(base, bytes, Caching::WriteCombining)?.as_mut_ptr();
    // SAFETY: the mapping holds `stride * height` pixels, and is nobody else's.
    unsafe { pixels.write_bytes(0, stride * height) };
    let screen = Screen::new(columns, rows);
    let (columns, rows) = (screen.row(0).len(), screen.rows());
    *DISPLAY.lock() = Some(Display { pixels, stride, columns, screen, drawn: vec![b' '; columns * rows] });
    Ok(Some((columns, rows)))
}

impl Display {
    fn write(&mut self, text: &[u8]) {
        for line in text.split_inclusive(|b| *b == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(rest) => {
                    self.screen.write(rest);
                    self.screen.write(b"\r\n");
                }
                None => self.screen.write(line),
            }
        }
    }

    /// Draws one row that changed; false where none did.
    fn draw_row(&mut self) -> bool {
        let Some(row) = self.screen.take_dirty() else { return false };
        for column in 0..self.columns {
            let wanted = self.screen.row(row)[column];
            let at = row * self.columns + column;
            let before = core::mem::replace(&mut self.drawn[at], wanted);
            if before != wanted {
                self.draw_cell(column, row, wanted, before == b' ');
            }
        }
        true
    }

    /// Draws a character; over a `blank` cell only what is not black.
    fn draw_cell(&mut self, column: usize, row: usize, character: u8, blank: bool) {
        let Some(glyph) = get_raster(character as char, WEIGHT, HEIGHT) else { return };
        let origin = row * CELL_HEIGHT * self.stride + column * CELL_WIDTH;
        for (y, line) in glyph.raster().iter().enumerate() {
            for (x, intensity) in line.iter().enumerate() {
                if blank && *intensity == 0 {
                    continue;
                }
                // Grey is the same in both pixel layouts.
                let pixel = u32::from(*intensity) * 0x01_0101;
                // SAFETY: cells lie inside of the visible area, which lies inside of the mapping.
                unsafe { self.pixels.add(origin + y * self.stride + x).write_volatile(pixel) };
            }
        }
    }
}

/// Writes text.
pub fn write(text: &[u8]) {
    if let Some(display) = DISPLAY.lock().as_mut() {
        display.write(text);
        if !DRAWN_BY_TASK.load(Ordering::Relaxed) {
            while display.draw_row() {}
        }
    }
}

/// From now on draws what was written, for ever. For one task.
pub async fn keep_drawn(timers: Arc<Timers>) {
    if DISPLAY.lock().is_none() {
        return;
    }
    DRAWN_BY_TASK.store(true, Ordering::Relaxed);
    loop {
        while DISPLAY.lock().as_mut().is_some_and(Display::draw_row) {
            yield_now().await;
        }
        timers.sleep_until(time::now().0.saturating_add(PERIOD)).await;
    }
}

/// Writes text, unless the CPU that was writing was stopped meanwhile: then the screen stays as it is.
pub fn write_regardless(text: &[u8]) {
    if let Some(mut display) = DISPLAY.try_lock_for(100_000)
        && let Some(display) = display.as_mut()
    {
        display.write(text);
        while display.draw_row() {}
    }
}
