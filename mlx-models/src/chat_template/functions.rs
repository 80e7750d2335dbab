//! What Hugging Face adds to Jinja, and Python's methods on values, each paid for in fuel.
//!
//! The engine charges its own operators and filters. A lazy list can be far longer than memory, though, and what walks one
//! outside the engine must pay for each item itself.

use std::borrow::Cow;

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, escape_formatter};
use minijinja_contrib::pycompat::unknown_method_callback as python_method;
use serde_json::{Map, Value as Json};

use super::python_json::{Style, dumps};
use super::{python_text, source, strings};

/// What opens the message of a template's own `raise_exception`.
pub(super) const RAISED: &str = "the template says: ";

/// The deepest value that is written.
pub(super) const MAX_DEPTH: usize = 64;

/// The deepest indentation of a level of JSON, in characters.
const MAX_INDENT: usize = 16;

/// The widest field of `str.format`, in digits of its number.
const MAX_WIDTH_DIGITS: usize = 3;

pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(method);
    environment.add_filter("tojson", tojson);
    environment.set_formatter(|out, state, value| match value.kind() {
        ValueKind::Number | ValueKind::Seq | ValueKind::Iterable | ValueKind::Map => {
            Ok(out.write_str(&python_text::str(state, value)?)?)
        }
        _ => escape_formatter(out, state, value),
    });
    environment.add_filter("string", python_text::str);
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_filter("trim", trim);
    environment.add_test("sequence", is_sequence);
    environment.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
    environment.add_function("joiner", minijinja_contrib::globals::joiner);
    environment.add_filter("sum", sum);
    environment.add_filter(source::COUNTED, counted);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
}

pub(super) fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(invalid(format!("{RAISED}{message}")))
}

/// `datetime.now().strftime`, in the locale `C`.
fn strftime_now(format: &str) -> Result<String, Error> {
    jiff::fmt::strtime::format(directives(format), &jiff::Zoned::now())
        .map_err(|e| invalid(format!("strftime_now({format:?}): {e}")))
}

/// A format of Python in the directives of `jiff`: what Python's local time doesn't know, or writes otherwise.
fn directives(format: &str) -> String {
    let mut out = String::with_capacity(format.len());
    let mut chars = format.chars().peekable();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let Some(directive) = chars.next() else {
            out.push_str("%%");
            break;
        };
        match directive {
            'c' => out.push_str("%a %b %e %H:%M:%S %Y"),
            'r' => out.push_str("%I:%M:%S %p"),
            'x' => out.push_str("%m/%d/%y"),
            'f' => out.push_str("%6f"),
            // It has no time zone.
            'z' | 'Z' => {}
            known if "%aAbBCdDeFgGhHIjklmMnpPRsStTuUVwWXyY".contains(known) => out.extend(['%', known]),
            '-' | '_' | '0' if chars.peek().is_some_and(char::is_ascii_alphabetic) => {
                out.extend(['%', directive]);
                out.extend(chars.next());
            }
            other => out.extend(['%', '%', other]),
        }
    }
    out
}

/// Jinja's filter, whose arguments may be named.
fn default(value: Value, other: Option<Value>, boolean: Option<bool>, named: Kwargs) -> Result<Value, Error> {
    let other = other.map_or_else(|| named.get("default_value"), |other| Ok(Some(other)))?;
    let boolean = boolean.map_or_else(|| named.get("boolean"), |boolean| Ok(Some(boolean)))?;
    named.assert_all_used()?;
    let missing = value.is_undefined() || (boolean == Some(true) && !value.is_true());
    Ok(if missing { other.unwrap_or_else(|| "".into()) } else { value })
}

/// Jinja's test, which asks for a length and for items by index.
fn is_sequence(value: &Value) -> bool {
    match value.kind() {
        ValueKind::Seq | ValueKind::String | ValueKind::Map => true,
        // Two lists added to one.
        ValueKind::Iterable => value.len().is_some(),
        _ => false,
    }
}

/// Jinja's filter, which trims as Python's `strip` does.
fn trim(state: &State, value: &Value, characters: Option<&str>) -> Result<Value, Error> {
    let text = value.as_str().map_or_else(|| value.to_string().into(), Cow::Borrowed);
    charge_bytes(state, text.len())?;
    Ok(strings::trimmed(&text, characters, true, true).into())
}

/// Charges for adding a list, and returns whatever it is given.
///
/// They are copied once in some thirty additions, one inside the other. At an eighth a long conversation can
/// be put together message by message.
fn counted(state: &State, value: Value) -> Result<Value, Error> {
    if matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        charge_count(state, value.len().unwrap_or(0) / 8)?;
    }
    Ok(value)
}

/// Jinja's filter; lists are joined here, at a charge that the engine doesn't make.
fn sum(
    state: &State,
    values: Value,
    attribute: Option<&str>,
    start: Option<Value>,
    named: Kwargs,
) -> Result<Value, Error> {
    let start = start.map_or_else(|| named.get("start"), |start| Ok(Some(start)))?;
    let attribute = attribute.map_or_else(|| named.get("attribute"), |name| Ok(Some(name)))?;
    named.assert_all_used()?;
    let Some(ValueKind::Seq | ValueKind::Iterable) = start.as_ref().map(Value::kind) else {
        return minijinja::filters::sum(
            state,
            values,
            attribute,
            start,
            Kwargs::from_iter([] as [(&str, Value); 0]),
        );
    };
    let mut all = Vec::new();
    let mut extend = |list: &Value| {
        for item in list.try_iter()? {
            charge_count(state, 1)?;
            all.push(item);
        }
        Ok::<_, Error>(())
    };
    extend(&start.unwrap_or_default())?;
    for item in values.try_iter()? {
        charge_count(state, 1)?;
        match attribute {
            Some(name) => extend(&item.get_attr(name)?)?,
            None => extend(&item)?,
        }
    }
    Ok(all.into())
}

/// Calls a method of Python's `str`, `dict` or `list`, if its result is affordable.
fn method(state: &mut State, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        match (method, args) {
            ("join", [items]) => return join(state, text, items),
            ("replace", [old, new, ..]) => {
                let new = new.as_str().unwrap_or_default().len();
                let found = old.as_str().map_or(0, |old| text.matches(old).count());
                charge_bytes(state, text.len().saturating_add(new.saturating_mul(found)))?;
            }
            ("format", _) => {
                let wide = |digits: &str| digits.len() > MAX_WIDTH_DIGITS;
                if text.split(|c: char| !c.is_ascii_digit()).any(wide) {
                    return Err(invalid(format!("format: numbers take at most {MAX_WIDTH_DIGITS} digits")));
                }
                let fields = text.matches('{').count();
                for arg in args {
                    let bytes =
                        dumps(&to_json(state, arg, 0)?, Style::new(None)).map_or(0, |json| json.len());
                    charge_bytes(state, bytes.saturating_mul(fields))?;
                }
            }
            _ => {
                charge_items(state, args)?;
                if let Some(result) = strings::call(state, text, method, args)? {
                    return Ok(result);
                }
            }
        }
    } else if matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
        charge_items(state, std::slice::from_ref(value))?;
        if let ("index", [wanted]) = (method, args) {
            let found = value.try_iter()?.position(|item| item == *wanted);
            return found
                .map(Value::from)
                .ok_or_else(|| invalid(format!("index: the list holds no {wanted}")));
        }
    }
    python_method(state, value, method, args)
}

/// As in Python, joins texts alone.
fn join(state: &State, separator: &str, items: &Value) -> Result<Value, Error> {
    let mut out = String::new();
    for (index, item) in items.try_iter()?.enumerate() {
        let text = item.as_str().ok_or_else(|| invalid(format!("join takes texts, not {}", item.kind())))?;
        let separator = if index > 0 { separator } else { "" };
        charge_bytes(state, separator.len() + text.len())?;
        out.extend([separator, text]);
    }
    Ok(out.into())
}

/// Pays for looking at each item of the lists among `values` once.
fn charge_items(state: &State, values: &[Value]) -> Result<(), Error> {
    let items = values.iter().filter_map(Value::len).fold(0, usize::saturating_add);
    charge_count(state, items)
}

pub(super) fn charge_count(state: &State, items: usize) -> Result<(), Error> {
    state.consume_fuel(items as u64)
}

pub(super) fn charge_bytes(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(1 + bytes as u64 / 64)
}

/// `json.dumps` with the arguments that Hugging Face's filter takes.
fn tojson(
    state: &State,
    value: &Value,
    ensure_ascii: Option<Value>,
    indent: Option<Value>,
    named: Kwargs,
) -> Result<String, Error> {
    let argument = |given: Option<Value>, name| {
        let value = given.map_or_else(|| named.get::<Option<Value>>(name), |value| Ok(Some(value)))?;
        Ok::<_, Error>(value.filter(|value| !value.is_none()))
    };
    let ensure_ascii = argument(ensure_ascii, "ensure_ascii")?.is_some_and(|value| value.is_true());
    let indent = argument(indent, "indent")?;
    let separators = argument(None, "separators")?;
    let sort_keys = argument(None, "sort_keys")?.is_some_and(|value| value.is_true());
    named.assert_all_used()?;
    // Deeper indentation serves nobody, and would multiply into memory.
    let indent = indent.map(|indent| match indent.as_str() {
        Some(text) => text.chars().take(MAX_INDENT).collect(),
        None => {
            " ".repeat(indent.as_i64().and_then(|n| usize::try_from(n).ok()).unwrap_or(0).min(MAX_INDENT))
        }
    });
    let mut style = Style { ensure_ascii, ..Style::new(indent) };
    if let Some(separators) = separators {
        let texts: Vec<String> = separators.try_iter()?.map(|text| text.to_string()).collect();
        let [items, keys] =
            texts.try_into().map_err(|_| invalid("tojson: separators takes two texts".into()))?;
        style.separators = (items, keys);
    }
    let mut json = to_json(state, value, 0)?;
    if sort_keys {
        json.sort_all_objects();
    }
    dumps(&json, style).map_err(|e| invalid(format!("tojson: {e}")))
}

fn to_json(state: &State, value: &Value, depth: usize) -> Result<Json, Error> {
    if depth > MAX_DEPTH {
        return Err(invalid(format!("a value is nested more than {MAX_DEPTH} deep")));
    }
    charge_bytes(state, value.as_str().map_or(0, str::len))?;
    match value.kind() {
        ValueKind::None => Ok(Json::Null),
        ValueKind::Bool => Ok(Json::Bool(value.is_true())),
        ValueKind::Number => serde_json::to_value(value).map_err(|e| invalid(e.to_string())),
        ValueKind::String => Ok(Json::from(value.as_str())),
        ValueKind::Seq | ValueKind::Iterable => value
            .try_iter()?
            .map(|item| to_json(state, &item, depth + 1))
            .collect::<Result<_, _>>()
            .map(Json::Array),
        ValueKind::Map => {
            let mut map = Map::new();
            for key in value.try_iter()? {
                let item = to_json(state, &value.get_item(&key)?, depth + 1)?;
                let name = match key.kind() {
                    ValueKind::Bool => if key.is_true() { "true" } else { "false" }.to_owned(),
                    ValueKind::None => "null".to_owned(),
                    _ => key.to_string(),
                };
                map.insert(name, item);
            }
            Ok(Json::Object(map))
        }
        kind => Err(invalid(format!("{kind} values can't be written as JSON"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expected are Python 3.11's texts for the same moment.
    #[test]
    fn dates_are_written_as_python_writes_them() {
        let time = jiff::civil::date(2026, 3, 5).at(4, 7, 9, 85_000);
        let zoned = time.to_zoned(jiff::tz::TimeZone::UTC).unwrap();
        for (format, expected) in [
            ("%d %b %Y", "05 Mar 2026"),
            ("%Y-%m-%d", "2026-03-05"),
            ("%A, %B %-d", "Thursday, March 5"),
            ("%c|%x|%X|%r", "Thu Mar  5 04:07:09 2026|03/05/26|04:07:09|04:07:09 AM"),
            ("%H:%M:%S.%f %p %j %U %w %y", "04:07:09.000085 AM 064 09 4 26"),
            ("[%z%Z]", "[]"),
            ("100%% é %Q %i %", "100% é %Q %i %"),
        ] {
            assert_eq!(jiff::fmt::strtime::format(directives(format), &zoned).unwrap(), expected, "{format}");
        }
    }
}
