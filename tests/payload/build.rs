//! Links the guest at its address.
fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../guests/bare/link.ld");
    println!("cargo::rerun-if-changed={script}");
    println!("cargo::rustc-link-arg-bins=-T{script}");
}
