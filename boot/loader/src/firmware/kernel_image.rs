//! The kernel's segments, copied to where they stay.
use super::pages::Pages;
use super::refusal::Refusal;
use loader::elf::Kernel;

/// Copies every segment into one run of memory, at its distance from the first. What the file does not
/// fill is zero.
pub fn load(kernel: &Kernel) -> Result<Pages, Refusal> {
    let span = kernel.pages();
    let mut image = Pages::new(span.end - span.start, "the kernel")?;
    for segment in &kernel.segments {
        // `Kernel` holds no segment outside of its span.
        let at = (segment.address - span.start) as usize;
        image.bytes_mut()[at..at + segment.data.len()].copy_from_slice(segment.data);
    }
    Ok(image)
}
