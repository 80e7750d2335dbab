//! `mlx models`: which models are on this machine.

use std::path::PathBuf;

use mlx_models::hub::{self, HubConfig};
use mlx_models::packaged::{self, PackagedModel};
use mlx_models::{Description, Found, discover};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::{output, units};

/// Lists models: the packaged ones and those in the Hub's cache, or those in a folder.
///
/// Only headers are read, and nothing is fetched. Models that cannot be read are listed with the reason.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    mlx models\n  \
    mlx models ~/models --json")]
pub(crate) struct Args {
    /// A folder in which to look for model folders and .gguf files, eight folders deep.
    dir: Option<PathBuf>,
    /// Print one JSON object; sizes are bytes.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.dir {
        Some(dir) => {
            let discovery = discover(dir)?;
            if args.json {
                let models: Vec<Value> = discovery.found.iter().map(|found| entry(None, found)).collect();
                let object = json!({"models": models, "is_cut": discovery.is_cut});
                return output::write(&format!("{object}\n"));
            }
            let rows: Vec<Vec<String>> = discovery.found.iter().map(|found| row(None, found)).collect();
            output::write(&table(rows))?;
            if discovery.is_cut {
                return Err(Failure::new(format!(
                    "{}: too much to look at in one go; name a folder further down",
                    dir.display()
                )));
            }
            Ok(())
        }
        None => list_known(args.json),
    }
}

fn list_known(as_json: bool) -> Result<(), Failure> {
    let cache = packaged::cache_dir()?;
    let packaged: Vec<(&PackagedModel, Option<PathBuf>)> =
        packaged::models().iter().map(|model| (model, model.cached(&cache))).collect();
    let hub_cache = HubConfig::from_env()?.cache;
    let cached: Vec<(String, Found)> =
        hub::cached_models(&hub_cache).into_iter().map(|model| (model.id, Found::open(model.path))).collect();
    if as_json {
        let packaged = packaged.iter().map(|(model, path)| {
            json!({
                "name": model.name,
                "size_bytes": model.size,
                "license": model.license,
                "license_note": model.license_note,
                "fetched": path.is_some(),
                "path": path.as_ref().map(|path| path.display().to_string()),
            })
        });
        let cached = cached.iter().map(|(id, found)| entry(Some(id), found));
        let object = json!({
            "packaged": packaged.collect::<Vec<_>>(),
            "hub": {"cache": hub_cache.display().to_string(), "models": cached.collect::<Vec<_>>()},
        });
        return output::write(&format!("{object}\n"));
    }
    let rows = packaged.iter().map(|(model, path)| {
        let path = path.as_ref().map_or("not fetched yet".to_owned(), |path| path.display().to_string());
        vec![model.name.to_owned(), model.license.to_owned(), units::bytes(model.size), path]
    });
    let rows = rows.chain(cached.iter().map(|(id, found)| row(Some(id), found)));
    output::write(&table(rows.collect()))
}

fn entry(id: Option<&str>, found: &Found) -> Value {
    let path = found.path.display().to_string();
    let mut entry = match &found.what {
        Ok(what) => json!({
            "path": path,
            "model_type": what.model_type,
            "supported": what.unsupported.is_none(),
            "quantization": what.quantization,
            "parameters": what.parameters,
            "size_bytes": what.file_bytes,
        }),
        Err(error) => json!({"path": path, "error": error.to_string()}),
    };
    if let Some(id) = id {
        entry["id"] = id.into();
    }
    entry
}

/// What it is called, architecture, how it is stored, size; where it is, for a model of the Hub.
fn row(id: Option<&str>, found: &Found) -> Vec<String> {
    let path = found.path.display().to_string();
    let name = id.map_or(path.clone(), str::to_owned);
    match &found.what {
        Ok(what) => {
            let model_type = what.model_type.as_deref().unwrap_or("unknown");
            let note = if what.unsupported.is_some() { " (not supported)" } else { "" };
            let mut row =
                vec![name, format!("{model_type}{note}, {}", stored(what)), units::bytes(what.file_bytes)];
            row.extend(id.map(|_| path));
            row
        }
        Err(error) => vec![name, format!("cannot be read: {error}")],
    }
}

fn stored(what: &Description) -> String {
    let floats = || what.stored_as.first().map(|stored| stored.name.clone());
    what.quantization.clone().or_else(floats).unwrap_or("no tensors".to_owned())
}

/// Columns side by side, a line each, whatever the names hold. The last one of a row ends where it ends.
fn table(rows: Vec<Vec<String>>) -> String {
    let printable = |text: String| text.replace(char::is_control, "\u{FFFD}");
    let rows: Vec<Vec<String>> =
        rows.into_iter().map(|row| row.into_iter().map(printable).collect()).collect();
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        let cells = rows.iter().filter(|row| row.len() > column + 1).map(|row| row[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut lines = String::new();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        lines += cells.join("  ").trim_end();
        lines.push('\n');
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_below_each_other_and_a_row_is_a_line() {
        let row = |cells: &[&str]| cells.iter().map(|cell| (*cell).to_owned()).collect::<Vec<_>>();
        let rows =
            vec![row(&["a", "wide one", "x"]), row(&["long name", "b\n", "y"]), row(&["z", "the end of it"])];
        assert_eq!(
            table(rows),
            "a          wide one  x\nlong name  b\u{FFFD}        y\nz          the end of it\n"
        );
        assert_eq!(table(Vec::new()), "");
    }
}
