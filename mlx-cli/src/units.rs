//! Numbers for people to read.

/// Bytes, as in `253.1 MB`.
pub(crate) fn bytes(bytes: u64) -> String {
    scaled(bytes, ["B", "kB", "MB", "GB", "TB"])
}

/// A count, as in `268.1 M`.
pub(crate) fn count(count: u64) -> String {
    scaled(count, ["", "k", "M", "B", "T"]).trim_end().to_owned()
}

fn scaled(number: u64, units: [&str; 5]) -> String {
    let mut value = number as f64;
    for unit in &units[..4] {
        // What would be rounded up to a thousand is of the next unit.
        if value < 999.95 {
            let digits = usize::from(*unit != units[0]);
            return format!("{value:.digits$} {unit}");
        }
        value /= 1000.0;
    }
    format!("{value:.1} {}", units[4])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_get_the_unit_that_suits_them() {
        let cases = [
            (0, "0 B"),
            (999, "999 B"),
            (1000, "1.0 kB"),
            (999_949, "999.9 kB"),
            (999_950, "1.0 MB"),
            (253_113_024, "253.1 MB"),
            (u64::MAX, "18446744.1 TB"),
        ];
        for (number, text) in cases {
            assert_eq!(bytes(number), text);
        }
        assert_eq!((count(7).as_str(), count(268_098_176).as_str()), ("7", "268.1 M"));
    }
}
