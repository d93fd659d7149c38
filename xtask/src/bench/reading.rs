//! Numbers in what a console showed.
use super::Values;
use crate::failure::{Failure, Result};

/// The medians of all lines `BENCH name med=N …`, under `group.name`.
pub(super) fn bench_lines(text: &str, group: &str) -> Values {
    let figure = |line: &str| {
        // The console may have put something of its own before the line.
        let mut words = line.get(line.find("BENCH ")?..)?.split_whitespace().skip(1);
        let name = words.next()?;
        let median = words.find_map(|word| word.strip_prefix("med="))?.parse().ok()?;
        Some((format!("{group}.{name}"), median))
    };
    text.lines().filter_map(figure).collect()
}

/// The time stamp, in seconds, of the last log line `[  seconds.micros] …` that contains `part`.
pub(super) fn stamp(text: &str, part: &str) -> Result<f64> {
    let of = |line: &str| {
        let at = line.find(part)?;
        let before = &line[..at];
        let from = before.rfind('[')?;
        before.get(from + 1..)?.split(']').next()?.trim().parse::<f64>().ok()
    };
    text.lines()
        .rev()
        .find_map(of)
        .ok_or_else(|| Failure::new(format!("the console shows no log line with \"{part}\"")))
}

/// The number between `before` and the next `after`, at the first place that has one.
pub(super) fn number(text: &str, before: &str, after: &str) -> Result<f64> {
    let mut rest = text;
    while let Some(at) = rest.find(before) {
        rest = &rest[at + before.len()..];
        if let Some(Ok(number)) = rest.find(after).map(|end| rest[..end].trim().parse()) {
            return Ok(number);
        }
    }
    Err(Failure::new(format!("the console shows no number between \"{before}\" and \"{after}\"")))
}

/// KiB that the hypervisor uses for itself and for VMs beside their memory, from what `mem` shows.
pub(super) fn hypervisor_kib(mem: &str) -> Result<f64> {
    let row = |line: &str| {
        let line = line.trim();
        let counts = line.starts_with("hypervisor: ") || line.contains(": tables and devices");
        let mut words = line.split_whitespace().rev();
        let unit = match words.next()? {
            "B" => 1.0 / 1024.0,
            "KiB" => 1.0,
            "MiB" => 1024.0,
            "GiB" => 1024.0 * 1024.0,
            _ => return None,
        };
        let size: f64 = words.next()?.parse().ok()?;
        counts.then_some(size * unit)
    };
    let rows: Vec<f64> = mem.lines().filter_map(row).collect();
    match rows[..] {
        [] => Err(Failure::new(format!("'mem' shows no use by the hypervisor:\n{mem}"))),
        ref rows => Ok(rows.iter().sum()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bench_lines_give_medians_and_all_else_is_passed_over() {
        let text = "n1> BENCH-BEGIN\r\n\x1b[KBENCH cpuid med=506 min=4 p90=7 n=2\r\nBENCH x min=1\r\nBENCH\r\n\
                    BENCH y med=z\r\nBENCH-END";
        assert_eq!(bench_lines(text, "bare"), [("bare.cpuid".to_string(), 506.0)].into());
    }

    #[test]
    fn a_log_lines_stamp_is_read_behind_the_prompt() {
        let text = "n1> \x1b[K[    1.250000] vm bench: starting\r\n[    2.5] vm bench: guest powered off\r\n";
        assert_eq!(stamp(text, "vm bench: starting").unwrap(), 1.25);
        assert_eq!(stamp(text, "powered off").unwrap(), 2.5);
        assert!(stamp(text, "purevisor").is_err());
        assert!(stamp("no stamp", "no").is_err());
    }

    #[test]
    fn a_number_is_found_between_texts() {
        let text = "ready, 4 CPUs, 2.0 GiB, 13 ms after hand-over";
        assert_eq!(number(text, "GiB,", "ms after").unwrap(), 13.0);
        assert_eq!(number("up=a up=1.5 x", "up=", " ").unwrap(), 1.5);
        assert!(number(text, "GiB,", "s after").is_err());
        assert!(number(text, "hours,", "ms").is_err());
    }

    #[test]
    fn the_hypervisors_memory_is_what_is_not_the_guests() {
        let mem = "USE                     SIZE\r\nhypervisor: objects   1.5 MiB\r\nhypervisor: more  512 KiB\r\n\
                   VM a: memory 128 MiB\r\nVM a: tables and devices 64 KiB\r\nfree 1.9 GiB\r\nall 2 GiB\r\n";
        assert_eq!(hypervisor_kib(mem).unwrap(), 1536.0 + 512.0 + 64.0);
        assert!(hypervisor_kib("no such command").is_err());
    }
}
