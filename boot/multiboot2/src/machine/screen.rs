//! The screen that GRUB left, for the one message that a person must not miss: why nothing starts.
#![allow(unsafe_code)] // Writes to the screen's memory.
use core::fmt::{self, Write};
use handover::Framebuffer;
use multiboot2::information::Screen;
use multiboot2::placement::CEILING;
use multiboot2::text_grid::TextGrid;
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};

const WEIGHT: FontWeight = FontWeight::Regular;
const HEIGHT: RasterHeight = RasterHeight::Size16;
/// Pixels of a character's cell.
const CELL_HEIGHT: u32 = 16;
const CELL_WIDTH: u32 = get_raster_width(WEIGHT, HEIGHT) as u32;
/// White on black, in a text mode.
const ATTRIBUTE: u16 = 0x0f00;

/// A screen that text is written to from its upper left corner on.
pub struct Writer {
    screen: Screen,
    grid: TextGrid,
}

impl Writer {
    /// Clears the screen. One that lies where the entry maps nothing is none.
    pub fn new(screen: Screen) -> Self {
        let (base, bytes, columns, rows) = match screen {
            Screen::None => (0, 0, 0, 0),
            Screen::Text { base, columns, rows, pitch } => {
                (base, u64::from(pitch) * u64::from(rows), columns.min(pitch / 2), rows)
            }
            Screen::Pixels(f) => (f.extent.base, f.extent.len, f.width / CELL_WIDTH, f.height / CELL_HEIGHT),
        };
        if bytes == 0 || base.checked_add(bytes).is_none_or(|end| end > CEILING) {
            return Self { screen: Screen::None, grid: TextGrid::new(0, 0) };
        }
        let mut writer = Self { screen, grid: TextGrid::new(columns, rows) };
        for row in 0..rows {
            for column in 0..columns {
                writer.draw(column, row, ' ');
            }
        }
        writer
    }

    fn draw(&mut self, column: u32, row: u32, character: char) {
        match self.screen {
            Screen::None => {}
            Screen::Text { base, pitch, .. } => {
                let at = base + u64::from(row) * u64::from(pitch) + u64::from(column) * 2;
                let byte = if character.is_ascii() { character as u16 } else { u16::from(b'?') };
                // SAFETY: within the text screen that the boot loader described, in memory that is mapped.
                unsafe { (at as *mut u16).write_volatile(ATTRIBUTE | byte) };
            }
            Screen::Pixels(framebuffer) => draw_glyph(&framebuffer, column, row, character),
        }
    }
}

fn draw_glyph(framebuffer: &Framebuffer, column: u32, row: u32, character: char) {
    let Some(glyph) = get_raster(character, WEIGHT, HEIGHT).or_else(|| get_raster('?', WEIGHT, HEIGHT))
    else {
        return;
    };
    for (y, line) in glyph.raster().iter().enumerate() {
        let y = u64::from(row * CELL_HEIGHT) + y as u64;
        let x = u64::from(column * CELL_WIDTH);
        let mut at = framebuffer.extent.base + (y * u64::from(framebuffer.stride) + x) * 4;
        for intensity in *line {
            // Grey is the same in both pixel layouts.
            let pixel = u32::from(*intensity) * 0x01_0101;
            // SAFETY: the cell lies in the visible part of the framebuffer that the boot loader described, in
            // memory that is mapped.
            unsafe { (at as *mut u32).write_volatile(pixel) };
            at += 4;
        }
    }
}

impl Write for Writer {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if let Some((column, row)) = self.grid.place(character) {
                self.draw(column, row, character);
            }
        }
        Ok(())
    }
}
