//! The table on the terminal, and `bench.json`.
use super::Values;
use super::catalogue::Metric;
use crate::failure::{Context, Failure, Result};
use serde_json::json;
use std::fmt;
use std::fs;
use std::path::Path;

/// Metrics with their values.
pub(super) struct Report(Vec<(&'static Metric, f64)>);

impl Report {
    /// Fails where one of the metrics has no value.
    pub fn new(metrics: &[&'static Metric], values: &Values) -> Result<Self> {
        let row = |metric: &&'static Metric| {
            let value = values.get(metric.name).copied();
            let missing = || Failure::new(format!("{} was not measured", metric.name));
            Ok((*metric, value.ok_or_else(missing)?))
        };
        metrics.iter().map(row).collect::<Result<_>>().map(Self)
    }

    /// Writes a list of `{metric, value, unit, target, better}`; a metric without a target has `null`.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        let rows: Vec<_> = self.0.iter().map(|(metric, value)| row(metric, *value)).collect();
        let text = format!("[\n  {}\n]\n", rows.join(",\n  "));
        fs::write(path, text).context(|| format!("cannot write {}", path.display()))
    }
}

fn row(metric: &Metric, value: f64) -> String {
    json!({
        "metric": metric.name,
        "value": value,
        "unit": metric.unit,
        "target": metric.target,
        "better": metric.better.name(),
    })
    .to_string()
}

/// With thousands apart; more behind the point where there is little before it.
fn human(value: f64) -> String {
    if value < 0.0 {
        return format!("-{}", human(-value));
    }
    if value.fract() != 0.0 && value < 10.0 {
        return format!("{value:.2}");
    }
    if value.fract() != 0.0 && value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let optional = |value: Option<f64>| value.map_or_else(|| "-".into(), human);
        let name = self.0.iter().map(|(metric, _)| metric.name.len()).max().unwrap_or(0);
        writeln!(
            f,
            "{:name$} {:>13} {:>13} {:>13}     {:12}  WHAT",
            "METRIC", "VALUE", "TARGET", "KVM", "UNIT"
        )?;
        let (mut met, mut targets) = (0, 0);
        for (metric, value) in &self.0 {
            let verdict = match metric.is_met(*value) {
                None => "",
                Some(true) => "ok",
                Some(false) => "MISS",
            };
            targets += usize::from(metric.target.is_some());
            met += usize::from(verdict == "ok");
            let (shown, target, kvm) = (human(*value), optional(metric.target), optional(metric.kvm));
            let (metric, unit, what) = (metric.name, metric.unit, metric.what);
            writeln!(f, "{metric:name$} {shown:>13} {target:>13} {kvm:>13} {verdict:4} {unit:12} {what}")?;
        }
        writeln!(f, "{met} of {targets} targets met")
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::catalogue;
    use super::*;

    fn metric(name: &str) -> &'static Metric {
        catalogue().find(|metric| metric.name == name).unwrap()
    }

    #[test]
    fn a_missed_target_shows_and_is_counted() {
        let metrics = [metric("bare.cpuid"), metric("bare.vmmcall"), metric("bare.floor")];
        let values = [("bare.cpuid", 781.0), ("bare.vmmcall", 466.0), ("bare.floor", 4.0)];
        let values: Values = values.map(|(name, value)| (name.to_string(), value)).into();
        let table = Report::new(&metrics, &values).unwrap().to_string();
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[1].contains("781") && lines[1].contains("3,130 MISS"), "{table}");
        assert!(lines[2].contains(" ok "), "{table}");
        assert_eq!(lines[4], "1 of 2 targets met");
    }

    #[test]
    fn a_metric_without_a_value_is_an_error() {
        let error = Report::new(&[metric("node.ready")], &Values::new()).err().unwrap();
        assert_eq!(error.to_string(), "node.ready was not measured");
    }

    #[test]
    fn json_has_the_five_keys() {
        let value: serde_json::Value = serde_json::from_str(&row(metric("image.size"), 1400.5)).unwrap();
        assert_eq!(
            value,
            json!({"metric": "image.size", "value": 1400.5, "unit": "KiB", "target": 4096.0, "better": "lower"})
        );
        let value: serde_json::Value = serde_json::from_str(&row(metric("bare.floor"), 4.0)).unwrap();
        assert!(value["target"].is_null());
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!(human(1_700_000_000.0), "1,700,000,000");
        assert_eq!(human(506.0), "506");
        assert_eq!(human(12.34), "12.3");
        assert_eq!(human(0.0), "0");
    }
}
