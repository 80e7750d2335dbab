//! Arguments that say how tokens are chosen.

use inference_api::GenerateOptions;

/// How tokens are chosen.
#[derive(clap::Args)]
pub(crate) struct SamplingArgs {
    /// Randomness; 0 always takes the most probable token.
    #[arg(long, value_name = "T", default_value_t = 0.0, allow_negative_numbers = true)]
    temp: f32,
    /// Choose among the K most probable tokens; 0 is off.
    #[arg(long, value_name = "K", default_value_t = 0)]
    top_k: usize,
    /// Choose among the most probable tokens that together reach P; 1 is off.
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true)]
    top_p: f32,
    /// Leave out tokens less probable than P times the most probable one; 0 is off.
    #[arg(long, value_name = "P", default_value_t = 0.0, allow_negative_numbers = true)]
    min_p: f32,
    /// Make recent tokens less likely, by a factor; 1 is off.
    #[arg(long, value_name = "R", default_value_t = 1.0, allow_negative_numbers = true)]
    repetition_penalty: f32,
    /// How many of the last tokens the penalties look at; 0 switches them off.
    #[arg(long, value_name = "N", default_value_t = 20)]
    repetition_context_size: usize,
    /// Taken once from the logit of each recent token; 0 is off.
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    presence_penalty: f32,
    /// Taken from the logit of a recent token for each time it occurs; 0 is off.
    #[arg(long, value_name = "X", default_value_t = 0.0, allow_negative_numbers = true)]
    frequency_penalty: f32,
    /// Makes random choices repeatable; by default they differ each time.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// End before this text; may be given several times.
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,
}

impl SamplingArgs {
    /// The options that these arguments say, with at most `max_tokens` tokens.
    pub(crate) fn options(self, max_tokens: usize) -> GenerateOptions {
        GenerateOptions {
            max_tokens,
            temperature: self.temp,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            repetition_context_size: self.repetition_context_size,
            presence_penalty: self.presence_penalty,
            frequency_penalty: self.frequency_penalty,
            seed: self.seed,
            stop: self.stop,
            ..GenerateOptions::default()
        }
    }
}
