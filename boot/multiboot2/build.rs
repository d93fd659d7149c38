//! Links the entry at its place. For the host, where the library is tested, nothing is special.
fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/link.ld");
    println!("cargo::rerun-if-changed={script}");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "none") {
        println!("cargo::rustc-link-arg-bins=-T{script}");
        // GRUB would carry the symbols into memory.
        println!("cargo::rustc-link-arg-bins=--strip-all");
    }
}
