//! The kernel's segments, copied to where they stay.
use super::pages::Pages;
use super::refusal::Refusal;
use loader::elf::Kernel;

/// Copies every segment into one run of memory, at its distance from the first. What the file does not
/// fill is zero.
pub fn load(kernel: &Kernel) -> Result<Pages, Refusal> {
    let span = kernel.pages();
    let mut image = Pages::new(span.end - span.start, "the kernel")?;
    kernel.copy_to(image.bytes_mut());
    Ok(image)
}
