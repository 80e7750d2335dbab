//! Values as Python's `str` and `repr` write them, where the engine writes otherwise: floats of very large and very small
//! size, and characters that can't be printed.

use std::fmt::Write;

use minijinja::value::{Tuple, Value, ValueKind};
use minijinja::{Error, State};

use super::functions::{MAX_DEPTH, charge_bytes, charge_count, invalid};

/// A value as it stands in the output.
pub(super) fn str(state: &State, value: &Value) -> Result<String, Error> {
    if let Some(text) = value.as_str() {
        charge_bytes(state, text.len())?;
        return Ok(text.to_owned());
    }
    let mut out = String::new();
    repr(state, value, 0, &mut out)?;
    Ok(out)
}

/// A float's shortest digits that read back as the same number.
pub(super) fn float(value: f64) -> String {
    // The digits and the thresholds are Rust's too, but exponents are written `1e+16` and `1e-05`.
    let text = format!("{value:?}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text.replace("NaN", "nan"),
    }
}

fn repr(state: &State, value: &Value, depth: usize, out: &mut String) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(invalid(format!("a value is nested more than {MAX_DEPTH} deep")));
    }
    charge_count(state, 1)?;
    match value.kind() {
        ValueKind::String => {
            let text = value.as_str().unwrap_or_default();
            charge_bytes(state, text.len())?;
            quoted(text, out);
        }
        ValueKind::Number if !value.is_integer() => out.push_str(&float(f64::try_from(value.clone())?)),
        ValueKind::Seq | ValueKind::Iterable => {
            let tuple = value.downcast_object_ref::<Tuple>().is_some();
            out.push(if tuple { '(' } else { '[' });
            let mut count = 0;
            for item in value.try_iter()? {
                out.push_str(if count > 0 { ", " } else { "" });
                repr(state, &item, depth + 1, out)?;
                count += 1;
            }
            out.push_str(if tuple && count == 1 {
                ",)"
            } else if tuple {
                ")"
            } else {
                "]"
            });
        }
        ValueKind::Map => {
            out.push('{');
            for (index, key) in value.try_iter()?.enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                repr(state, &key, depth + 1, out)?;
                out.push_str(": ");
                repr(state, &value.get_item(&key)?, depth + 1, out)?;
            }
            out.push('}');
        }
        _ => out.push_str(&value.to_string()),
    }
    Ok(())
}

/// A text in quotes, single ones unless it holds those alone.
fn quoted(text: &str, out: &mut String) {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote || c == '\\' => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c => {
                // Writing to a string can't fail.
                let _ = match u32::from(c) {
                    code @ ..=0xff => write!(out, "\\x{code:02x}"),
                    code @ ..=0xffff => write!(out, "\\u{code:04x}"),
                    code => write!(out, "\\U{code:08x}"),
                };
            }
        }
    }
    out.push(quote);
}

/// Whether Python prints a character as it is; Rust has the same rule, but shows it only in the escapes of whole strings.
fn is_printable(c: char) -> bool {
    // Only behind another character does a combining one stay.
    c.is_ascii_graphic()
        || c == ' '
        || (!c.is_ascii() && !format!("a{c}").escape_debug().skip(1).any(|c| c == '\\'))
}
