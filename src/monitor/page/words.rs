//! Numbers as people read them.

/// A number with commas between thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of things, by their name for one of them.
pub(super) fn counted(number: u64, one: &str) -> String {
    let (count, ending) = (count(number), if number == 1 { "" } else { "s" });
    format!("{count} {one}{ending}")
}

/// Bytes in the unit in which they are below 1024.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut size, mut unit) = (bytes as f64 / 1024.0, 0);
    // What would be shown as 1024 is one of the next.
    while size >= 1023.5 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(size < 99.95);
    format!("{size:.decimals$} {}", UNITS[unit])
}

pub(super) fn rate(bytes_per_second: u64) -> String {
    format!("{}/s", bytes(bytes_per_second))
}

/// A span in its two largest units.
pub(super) fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if minutes == 0 => format!("{seconds} s"),
        () if hours == 0 => format!("{minutes} min {} s", seconds % 60),
        () if days == 0 => format!("{hours} h {} min", minutes % 60),
        () => format!("{days} d {} h", hours % 24),
    }
}

pub(super) fn milliseconds(millis: f64) -> String {
    match millis {
        _ if millis < 0.995 => format!("{millis:.2} ms"),
        _ if millis < 9.95 => format!("{millis:.1} ms"),
        _ if millis < 9_999.5 => format!("{millis:.0} ms"),
        _ => format!("{:.1} s", millis / 1e3),
    }
}

/// The time of the document, without what nobody reads.
pub(super) fn time(at: &str) -> String {
    let at = at.split('.').next().unwrap_or(at);
    format!("{} UTC", at.replacen('T', " ", 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_units() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([counted(1, "part"), counted(2000, "part")], ["1 part", "2,000 parts"]);
        let sizes = [0, 1023, 1024, 24 << 20, (1 << 20) - 1, 150 << 30, u64::MAX];
        assert_eq!(sizes.map(bytes), ["0 B", "1023 B", "1.0 KiB", "24.0 MiB", "1.0 MiB", "150 GiB", "16.0 EiB"]);
        assert_eq!([59, 60, 3_725, 90_000].map(span), ["59 s", "1 min 0 s", "1 h 2 min", "1 d 1 h"]);
        let times = [0.031, 1.0, 20.4, 12_345.0].map(milliseconds);
        assert_eq!(times, ["0.03 ms", "1.0 ms", "20 ms", "12.3 s"]);
        assert_eq!(time("2026-11-29T12:00:00.123Z"), "2026-11-29 12:00:00 UTC");
    }
}
