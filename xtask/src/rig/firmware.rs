//! OVMF, the UEFI firmware of emulated machines, from Debian's package.
use crate::failure::{Context, Failure, Result};
use std::fs;
use std::path::Path;

/// Code and variables, the newer layout first.
const FILES: [(&str, &str); 2] = [("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"), ("OVMF_CODE.fd", "OVMF_VARS.fd")];
const FOLDER: &str = "/usr/share/OVMF";

/// QEMU's arguments for the firmware, with a copy of its variables in `scratch`.
pub fn args(scratch: &Path) -> Result<Vec<String>> {
    let folder = Path::new(FOLDER);
    let found = FILES.into_iter().find(|(code, _)| folder.join(code).exists());
    let Some((code, variables)) = found else {
        return Err(Failure::new(format!("there is no OVMF in {FOLDER}; run 'cargo xtask setup'")));
    };
    let own = scratch.join("variables.fd");
    fs::copy(folder.join(variables), &own).context(|| format!("cannot copy {variables}"))?;
    let own = super::quoted(&own)?;
    Ok(vec![
        "-drive".into(),
        format!("if=pflash,format=raw,readonly=on,file={FOLDER}/{code}"),
        "-drive".into(),
        format!("if=pflash,format=raw,file={own}"),
    ])
}
