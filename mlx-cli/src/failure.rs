//! Why a command failed.

use std::error::Error;

/// What ends a command early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Nobody reads standard output any more.
    ClosedPipe,
    /// What to tell the user, on one line.
    Message(String),
}

impl Failure {
    /// Fails with a message that names the file or the option, and the problem.
    pub(crate) fn new(message: impl AsRef<str>) -> Self {
        Failure::Message(one_line(message.as_ref()))
    }

    /// Fails because of a file, or of a stream such as `stdin`.
    pub(crate) fn io(name: impl std::fmt::Display, cause: &std::io::Error) -> Self {
        Failure::new(format!("{name}: {cause}"))
    }

    fn caused(error: &dyn Error) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = inner.to_string();
            // Many messages quote their cause already.
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            cause = inner.source();
        }
        Failure::new(message)
    }
}

impl From<inference_api::Error> for Failure {
    fn from(error: inference_api::Error) -> Self {
        Failure::caused(&error)
    }
}

impl From<mlx_models::Error> for Failure {
    fn from(error: mlx_models::Error) -> Self {
        Failure::caused(&error)
    }
}

impl From<mlx_core::Error> for Failure {
    fn from(error: mlx_core::Error) -> Self {
        Failure::caused(&error)
    }
}

/// What is wrong with a command line, on one line: what `clap` tells before it repeats how the command is used.
pub(crate) fn usage(error: &clap::Error) -> String {
    let text = error.to_string();
    let told = text.split("\nUsage: ").next().unwrap_or_default();
    let told = told.split("\nFor more information").next().unwrap_or_default();
    let told = one_line(told.strip_prefix("error: ").unwrap_or(told));
    format!("{told}; --help tells more")
}

/// Joins the lines of a text, and takes other control characters out: file names may hold any.
fn one_line(text: &str) -> String {
    let lines = text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ").replace(char::is_control, "\u{FFFD}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, Command};
    use inference_api::ErrorKind;

    #[test]
    fn causes_are_told_once_on_one_line() {
        let cases = [
            ("cannot read a\n b", "no such file", "cannot read a b: no such file"),
            ("a.gguf: no such file", "no such file", "a.gguf: no such file"),
            ("bell \u{7}", "a.gguf:\r\n truncated", "bell \u{FFFD}: a.gguf: truncated"),
        ];
        for (message, cause, expected) in cases {
            let error = inference_api::Error::new(ErrorKind::Io, message).with_source(cause);
            let Failure::Message(line) = Failure::from(error) else { panic!("{message}") };
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn a_wrong_command_line_is_told_on_one_line() {
        let command = Command::new("mlx")
            .arg(Arg::new("model").long("model").required(true))
            .arg(Arg::new("bits").long("bits").value_parser(["2", "4"]));
        for (line, expected) in [
            (
                &["mlx"][..],
                "the following required arguments were not provided: --model <model>; --help tells more",
            ),
            (
                &["mlx", "--model", "m", "--bits", "3"],
                "invalid value '3' for '--bits <bits>' [possible values: 2, 4]; --help tells more",
            ),
            (&["mlx", "--model", "m", "more"], "unexpected argument 'more' found; --help tells more"),
        ] {
            assert_eq!(usage(&command.clone().try_get_matches_from(line).unwrap_err()), expected);
        }
    }
}
