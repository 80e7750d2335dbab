//! placeholder
/// x
pub struct ChatTemplate;
