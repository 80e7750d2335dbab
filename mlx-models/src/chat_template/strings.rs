//! Python's methods of `str`, where the engine's own differ or are missing.
//!
//! Python takes the separators U+001C to U+001F for white space, counts positions in characters, and begins a word in
//! title case behind every character that has no case. Each method pays for the text that it walks and makes.

use minijinja::value::{Kwargs, Tuple, Value, from_args};
use minijinja::{Error, State};

use super::functions::{charge_count, invalid};

/// The widest field that a text is padded to.
const MAX_WIDTH: usize = 4096;

fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\u{1c}'..='\u{1f}')
}

/// `text` without what stands at its ends: white space, or those of `characters`.
pub(super) fn trimmed<'t>(text: &'t str, characters: Option<&str>, start: bool, end: bool) -> &'t str {
    let goes = |c: char| characters.map_or_else(|| is_space(c), |characters| characters.contains(c));
    let text = if start { text.trim_start_matches(goes) } else { text };
    if end { text.trim_end_matches(goes) } else { text }
}

/// Calls a method of a text; `None` if it is not one of these.
pub(super) fn call(state: &State, text: &str, method: &str, args: &[Value]) -> Result<Option<Value>, Error> {
    // Walking a text character by character takes longer than copying it.
    charge_count(state, text.len() / 16)?;
    let trim = |start, end| {
        let (characters,) = from_args::<(Option<&str>,)>(args)?;
        Ok::<_, Error>(trimmed(text, characters, start, end).into())
    };
    let part = || from_args::<(&str,)>(args).map(|(part,)| part);
    let none = || from_args::<()>(args);
    Ok(Some(match method {
        "strip" => trim(true, true)?,
        "lstrip" => trim(true, false)?,
        "rstrip" => trim(false, true)?,
        "split" => split(state, text, args, false)?,
        "rsplit" => split(state, text, args, true)?,
        "splitlines" => lines(state, text, args)?,
        "partition" => partition(text, part()?, false)?,
        "rpartition" => partition(text, part()?, true)?,
        "removeprefix" => text.strip_prefix(part()?).unwrap_or(text).into(),
        "removesuffix" => text.strip_suffix(part()?).unwrap_or(text).into(),
        "title" => none().map(|()| title(text))?.into(),
        "capitalize" => none().map(|()| capitalize(text))?.into(),
        "swapcase" => none().map(|()| swapcase(text))?.into(),
        "isspace" => none().map(|()| !text.is_empty() && text.chars().all(is_space))?.into(),
        "zfill" | "ljust" | "rjust" | "center" => padded(text, method, args)?.into(),
        "count" | "find" | "rfind" | "index" | "rindex" => position(text, method, args)?,
        "startswith" | "endswith" if args.len() > 1 => position(text, method, args)?,
        _ => return Ok(None),
    }))
}

/// `split` and `rsplit`: at a separator, or at runs of white space.
fn split(state: &State, text: &str, args: &[Value], from_end: bool) -> Result<Value, Error> {
    let (separator, most, named): (Option<&str>, Option<i64>, Kwargs) = from_args(args)?;
    let separator = separator.map_or_else(|| named.get("sep"), |separator| Ok(Some(separator)))?;
    let most = most.map_or_else(|| named.get("maxsplit"), |most| Ok(Some(most)))?;
    named.assert_all_used()?;
    // Beyond the last split, one more part holds the rest.
    let most = usize::try_from(most.unwrap_or(-1)).unwrap_or(usize::MAX).saturating_add(1);
    let mut parts: Vec<&str> = match separator {
        Some("") => return Err(invalid("split: the separator is empty".into())),
        Some(separator) if from_end => text.rsplitn(most, separator).collect(),
        Some(separator) => text.splitn(most, separator).collect(),
        None => words(text, most, from_end),
    };
    if from_end {
        parts.reverse();
    }
    charge_count(state, parts.len())?;
    Ok(Value::from_iter(parts))
}

/// The words of a text, from either end, at most `most`; the last holds all the rest.
fn words(text: &str, most: usize, from_end: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = trimmed(text, None, !from_end, from_end);
    while !rest.is_empty() {
        let cut = if from_end { rest.rfind(is_space) } else { rest.find(is_space) };
        let (word, remains) = match cut.filter(|_| parts.len() + 1 < most).map(|at| rest.split_at(at)) {
            Some((before, after)) if from_end => (trimmed(after, None, true, false), before),
            Some(cut) => cut,
            None => (rest, ""),
        };
        parts.push(word);
        rest = trimmed(remains, None, !from_end, from_end);
    }
    parts
}

/// `splitlines`: at every line end that Python knows.
fn lines(state: &State, text: &str, args: &[Value]) -> Result<Value, Error> {
    let (keep, named): (Option<bool>, Kwargs) = from_args(args)?;
    let keep = keep.map_or_else(|| named.get("keepends"), |keep| Ok(Some(keep)))?.unwrap_or(false);
    named.assert_all_used()?;
    const ENDS: [char; 10] =
        ['\n', '\r', '\u{b}', '\u{c}', '\u{1c}', '\u{1d}', '\u{1e}', '\u{85}', '\u{2028}', '\u{2029}'];
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(ENDS) {
        let length = if rest[at..].starts_with("\r\n") {
            2
        } else {
            rest[at..].chars().next().map_or(1, char::len_utf8)
        };
        parts.push(&rest[..if keep { at + length } else { at }]);
        rest = &rest[at + length..];
    }
    parts.extend((!rest.is_empty()).then_some(rest));
    charge_count(state, parts.len())?;
    Ok(Value::from_iter(parts))
}

fn partition(text: &str, separator: &str, from_end: bool) -> Result<Value, Error> {
    if separator.is_empty() {
        return Err(invalid("partition: the separator is empty".into()));
    }
    let cut = if from_end { text.rsplit_once(separator) } else { text.split_once(separator) };
    let parts = match cut {
        Some((before, after)) => [before, separator, after],
        None if from_end => ["", "", text],
        None => [text, "", ""],
    };
    Ok(Value::from(Tuple::from(parts.map(Value::from))))
}

/// A character at the beginning of a word.
fn titlecase(c: char) -> String {
    // Letters of two have a form of their own with one capital.
    match c {
        'Ǆ' | 'ǅ' | 'ǆ' => return 'ǅ'.into(),
        'Ǉ' | 'ǈ' | 'ǉ' => return 'ǈ'.into(),
        'Ǌ' | 'ǋ' | 'ǌ' => return 'ǋ'.into(),
        'Ǳ' | 'ǲ' | 'ǳ' => return 'ǲ'.into(),
        _ => {}
    }
    // What becomes several capitals, such as ß, keeps only the first of them.
    let mut upper = c.to_uppercase();
    upper.next().into_iter().chain(upper.flat_map(char::to_lowercase)).collect()
}

fn title(text: &str) -> String {
    let has_case = |c: char| c.is_lowercase() || c.is_uppercase();
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = rest.find(|c| !has_case(c)).unwrap_or(rest.len()).max(first.len_utf8());
        let (word, after) = rest.split_at(length);
        out.push_str(&capitalize(word));
        rest = after;
    }
    out
}

fn capitalize(text: &str) -> String {
    let Some(first) = text.chars().next() else { return String::new() };
    // Lower case depends on the end of a word, as with the sigma, so the whole is changed.
    let rest: String = text.to_lowercase().chars().skip(first.to_lowercase().count()).collect();
    titlecase(first) + &rest
}

fn swapcase(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_uppercase() { out.extend(c.to_lowercase()) } else { out.extend(c.to_uppercase()) }
    }
    out
}

fn padded(text: &str, method: &str, args: &[Value]) -> Result<String, Error> {
    let (width, fill): (usize, Option<char>) = from_args(args)?;
    if width > MAX_WIDTH {
        return Err(invalid(format!("{method}: a width of {width} is more than {MAX_WIDTH}")));
    }
    let missing = width.saturating_sub(text.chars().count());
    let fill = |count| String::from(if method == "zfill" { '0' } else { fill.unwrap_or(' ') }).repeat(count);
    // Where the missing characters are odd in number, an odd width puts the larger half before the text.
    let before = match method {
        "ljust" => 0,
        "center" => missing / 2 + (missing & width & 1),
        _ => missing,
    };
    let signed = method == "zfill" && text.starts_with(['+', '-']);
    let (sign, digits) = text.split_at(usize::from(signed));
    Ok(format!("{sign}{}{digits}{}", fill(before), fill(missing - before)))
}

/// The methods that look for a text between two positions, which count characters, from the end if negative.
fn position(text: &str, method: &str, args: &[Value]) -> Result<Value, Error> {
    let (part, start, end): (&str, Option<i64>, Option<i64>) = from_args(args)?;
    let length = text.chars().count() as i64;
    let place = |at: i64| if at < 0 { (at + length).max(0) } else { at.min(length) };
    let (start, end) = (start.map_or(0, place), end.map_or(length, place));
    let byte = |at: i64| text.char_indices().nth(at as usize).map_or(text.len(), |(byte, _)| byte);
    let window = if start <= end { text.get(byte(start)..byte(end)) } else { None };
    let found = window.and_then(|window| match method {
        "rfind" | "rindex" => window.rfind(part).map(|at| window[..at].chars().count()),
        _ => window.find(part).map(|at| window[..at].chars().count()),
    });
    Ok(match method {
        "count" => window.map_or(0, |window| window.matches(part).count()).into(),
        "startswith" => window.is_some_and(|window| window.starts_with(part)).into(),
        "endswith" => window.is_some_and(|window| window.ends_with(part)).into(),
        _ => match found {
            Some(at) => (start + at as i64).into(),
            None if method.ends_with("find") => (-1).into(),
            None => return Err(invalid(format!("{method}: the text holds no {part:?}"))),
        },
    })
}
