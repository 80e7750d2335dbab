//! What Hugging Face adds to Jinja, and Python's methods on values, each paid for in fuel.
//!
//! The engine charges its own operators and filters. A lazy list can be far longer than memory, though, and what walks one
//! outside the engine must pay for each item itself.

use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use minijinja_contrib::pycompat::unknown_method_callback as python_method;
use serde_json::{Map, Value as Json};

use super::python_json::{Style, dumps};

/// What opens the message of a template's own `raise_exception`.
pub(super) const RAISED: &str = "the template says: ";

/// The deepest value that is written as JSON.
const MAX_DEPTH: usize = 64;

/// The widest field of `str.format`, in digits of its number.
const MAX_WIDTH_DIGITS: usize = 3;

pub(super) fn add_to(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(method);
    environment.add_filter("tojson", tojson);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function("strftime_now", strftime_now);
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

fn raise_exception(message: &str) -> Result<Value, Error> {
    Err(invalid(format!("{RAISED}{message}")))
}

fn strftime_now(format: &str) -> Result<String, Error> {
    jiff::fmt::strtime::format(format, &jiff::Zoned::now())
        .map_err(|e| invalid(format!("strftime_now({format:?}): {e}")))
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
            _ => charge_items(state, args)?,
        }
    } else if value.kind() == ValueKind::Seq {
        charge_items(state, std::slice::from_ref(value))?;
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
    state.consume_fuel(items as u64)
}

fn charge_bytes(state: &State, bytes: usize) -> Result<(), Error> {
    state.consume_fuel(1 + bytes as u64 / 64)
}

/// `json.dumps` with the arguments that Hugging Face's filter takes.
fn tojson(state: &State, value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // Deeper indentation serves nobody, and would multiply into memory.
    let mut style = Style::new(indent.map(|indent| indent.min(16)));
    if let Some(separators) = options.get::<Option<Vec<String>>>("separators")? {
        let [items, keys] =
            separators.try_into().map_err(|_| invalid("tojson: separators takes two texts".into()))?;
        style.separators = (items, keys);
    }
    style.ensure_ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sort_keys = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
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
                let name = key.as_str().map_or_else(|| key.to_string(), str::to_owned);
                map.insert(name, item);
            }
            Ok(Json::Object(map))
        }
        kind => Err(invalid(format!("{kind} values can't be written as JSON"))),
    }
}
