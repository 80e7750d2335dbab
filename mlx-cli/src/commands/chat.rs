//! `mlx chat`: a conversation in the terminal.

use std::io::{BufRead, IsTerminal};
use std::sync::{Arc, Mutex, PoisonError};

use inference_api::{CancelToken, Chat, GenerateMetrics, GenerateOptions, LoadOptions, Message, TextModel};

use crate::args::DeviceArg;
use crate::failure::Failure;
use crate::sampling::SamplingArgs;
use crate::{output, progress};

/// What the shell shows for a program that an interrupt ended.
const INTERRUPTED: i32 = 130;

/// Talks with a model: what you say is a line, and the model keeps what was said.
///
/// Ctrl-C stops a reply, and between replies the program. /clear begins anew, /exit or the end of input leaves. What a model
/// thinks before it answers is shown dim on a terminal and left out elsewhere.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  mlx chat --system 'Answer in one sentence.' --temp 0.7")]
pub(crate) struct Args {
    /// A folder in Hugging Face layout, a .gguf file, the name of a packaged model, or a Hub id such as org/name.
    #[arg(long, default_value = "smollm2-135m-instruct")]
    model: String,
    /// Instructions for the whole conversation.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// The most tokens of a reply; by default as many as the context holds.
    #[arg(long, value_name = "N")]
    max_tokens: Option<usize>,
    #[command(flatten)]
    sampling: SamplingArgs,
    /// Where to compute; by default the GPU if there is one.
    #[arg(long)]
    device: Option<DeviceArg>,
}

pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let options = args.sampling.options(args.max_tokens.unwrap_or(usize::MAX));
    options.validate()?;
    #[cfg(feature = "mlx-backend")]
    mlx_backend::register()?;
    let backend = args.device.map(DeviceArg::backend).transpose()?;
    let load = LoadOptions { backend, ..LoadOptions::default() }
        .with_parallel_slots(1)
        .with_progress(progress::of_loading(&args.model));
    let model = inference_api::load_model(&args.model, &load)?;
    if !model.info().has_chat_template {
        return Err(Failure::new(format!(
            "{} has no chat template: it continues text and was not made for conversations; use mlx generate",
            args.model
        )));
    }

    let stop = StopButton::install()?;
    let begin = || -> Chat { args.system.iter().map(Message::system).collect::<Vec<_>>().into() };
    let mut chat = begin();
    let is_terminal = std::io::stdin().is_terminal();
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if is_terminal {
            output::write("> ")?;
        }
        let Some(line) = lines.next() else { break };
        let line = line.map_err(|error| Failure::io("stdin", &error))?;
        match line.trim() {
            "" => {}
            "/exit" => break,
            "/clear" => chat = begin(),
            said => {
                chat.messages.push(Message::user(said));
                match answer(&*model, &chat, &options, &stop) {
                    Ok(reply) => chat.messages.push(reply),
                    Err(Failure::ClosedPipe) => return Err(Failure::ClosedPipe),
                    // The conversation is not lost with a turn.
                    Err(Failure::Message(message)) => {
                        chat.messages.pop();
                        progress::note(&format!("mlx: {message}; /clear begins anew"));
                    }
                }
            }
        }
    }
    Ok(())
}

/// Prints the model's reply as it is made, and gives it as a message.
fn answer(
    model: &dyn TextModel,
    chat: &Chat,
    options: &GenerateOptions,
    stop: &StopButton,
) -> Result<Message, Failure> {
    let options = options.clone().with_cancel(stop.arm());
    let reply = stream(model, chat, &options);
    stop.disarm();
    // Ends the line of a reply that broke off, too.
    output::write("\n")?;
    let (reply, metrics) = reply?;
    if let Some(metrics) = metrics.filter(|_| std::io::stderr().is_terminal()) {
        progress::note(&format!("\x1b[2m{metrics}\x1b[0m"));
    }
    Ok(reply)
}

/// The reply, printed, and what it cost.
fn stream(
    model: &dyn TextModel,
    chat: &Chat,
    options: &GenerateOptions,
) -> Result<(Message, Option<GenerateMetrics>), Failure> {
    let mut stream = model.chat(chat.clone(), options)?;
    let shows_reasoning = std::io::stdout().is_terminal();
    let mut reply = Message::assistant("");
    for token in &mut stream {
        let token = token?;
        if shows_reasoning && !token.reasoning.is_empty() {
            output::write(&format!("\x1b[2m{}\x1b[0m", token.reasoning))?;
        }
        if shows_reasoning && reply.content.is_empty() && reply.reasoning.is_some() && !token.text.is_empty()
        {
            output::write("\n\n")?;
        }
        if !token.reasoning.is_empty() {
            reply.reasoning.get_or_insert_default().push_str(&token.reasoning);
        }
        output::write(&token.text)?;
        reply.content += &token.text;
    }
    Ok((reply, stream.metrics()))
}

/// What Ctrl-C does: it cancels the reply that is being made, or ends the program when there is none.
struct StopButton {
    armed: Arc<Mutex<Option<CancelToken>>>,
}

impl StopButton {
    fn install() -> Result<Self, Failure> {
        let armed = Arc::new(Mutex::new(None::<CancelToken>));
        let button = StopButton { armed: Arc::clone(&armed) };
        let pressed = move || match &*armed.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(cancel) => cancel.cancel(),
            None => std::process::exit(INTERRUPTED),
        };
        ctrlc::set_handler(pressed)
            .map_err(|error| Failure::new(format!("cannot listen for Ctrl-C: {error}")))?;
        Ok(button)
    }

    /// A token that the next press cancels.
    fn arm(&self) -> CancelToken {
        let cancel = CancelToken::new();
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = Some(cancel.clone());
        cancel
    }

    fn disarm(&self) {
        *self.armed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
