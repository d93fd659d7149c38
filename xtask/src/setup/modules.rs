//! Modules of the guest's kernel with those that they need, in an order in which `insmod` takes them.
//!
//! Debian's package has no `modules.dep`, which is made where a kernel is installed. What a module needs stands in
//! the module itself: `depends=` in its section `.modinfo` (Linux, scripts/mod/modpost.c).
use super::guest::Guest;
use crate::failure::Result;
use std::collections::BTreeSet;

/// A module: its name, and the file that `insmod` takes.
pub type Module = (String, Vec<u8>);

impl Guest {
    /// The modules `names` and what they need, each once and behind what it needs. What the kernel has built in is
    /// left out; a name that it does not have at all is an error.
    pub fn modules(&self, names: &[&str]) -> Result<Vec<Module>> {
        let built_in = names_in(&self.built_in()?);
        in_order(names, &mut |name| match built_in.contains(name) {
            true => Ok(None),
            false => self.module(name).map(Some),
        })
    }
}

fn in_order(names: &[&str], load: &mut dyn FnMut(&str) -> Result<Option<Vec<u8>>>) -> Result<Vec<Module>> {
    let (mut ordered, mut seen) = (Vec::new(), BTreeSet::new());
    for name in names {
        add(&plain(name), load, &mut seen, &mut ordered)?;
    }
    Ok(ordered)
}

fn add(
    name: &str,
    load: &mut dyn FnMut(&str) -> Result<Option<Vec<u8>>>,
    seen: &mut BTreeSet<String>,
    ordered: &mut Vec<Module>,
) -> Result<()> {
    if !seen.insert(name.to_string()) {
        return Ok(());
    }
    let Some(file) = load(name)? else { return Ok(()) };
    for needed in needs(&file) {
        add(&needed, load, seen, ordered)?;
    }
    ordered.push((name.to_string(), file));
    Ok(())
}

/// In file names `-` and `_` are used at will, and mean the same.
pub(super) fn plain(name: &str) -> String {
    name.replace('-', "_")
}

/// What a module's `.modinfo` says that it needs. Its entries end with a NUL each.
fn needs(file: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = file.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = file[at + KEY.len()..].split(|byte| *byte == 0).next().unwrap_or_default();
    let value = String::from_utf8_lossy(value);
    value.split(',').filter(|name| !name.is_empty()).map(plain).collect()
}

/// The names of the modules that `modules.builtin` lists by their paths.
fn names_in(list: &str) -> BTreeSet<String> {
    let file = |line: &str| Some(plain(line.rsplit('/').next()?.trim().strip_suffix(".ko")?));
    list.lines().filter_map(file).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    fn module(needs: &str) -> Vec<u8> {
        format!("\x7fELF code license=GPL\0depends={needs}\0name=x\0").into_bytes()
    }

    #[test]
    fn each_module_comes_once_and_behind_what_it_needs() {
        let mut load = |name: &str| match name {
            "disk" => Ok(Some(module("bus-core,ring"))),
            "ring" => Ok(Some(module("bus_core"))),
            "bus_core" => Ok(Some(module(""))),
            // One that names itself, and one without an entry.
            "loop" => Ok(Some(module("loop"))),
            "bare" => Ok(Some(b"nothing".to_vec())),
            "inside" => Ok(None),
            _ => Err(Failure::new(format!("no module {name}"))),
        };
        let ordered = in_order(&["disk", "inside", "bus-core", "loop", "bare"], &mut load).unwrap();
        let names: Vec<&str> = ordered.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["bus_core", "ring", "disk", "loop", "bare"]);
        let error = in_order(&["absent"], &mut load).unwrap_err();
        assert_eq!(error.to_string(), "no module absent");
    }

    #[test]
    fn what_is_built_in_is_read_from_the_kernels_list() {
        let names = names_in("kernel/fs/ext4/ext4.ko\nkernel/lib/crc-t10dif.ko\n\nREADME\n");
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["crc_t10dif", "ext4"]);
    }
}
