//! Builds GGUF files, honest or not.

/// A file in parts; the counts may lie.
#[derive(Clone)]
pub(super) struct Writer {
    pub(super) magic: [u8; 4],
    pub(super) version: u32,
    pub(super) tensor_count: Option<u64>,
    pub(super) pair_count: Option<u64>,
    pub(super) alignment: usize,
    pub(super) pairs: Vec<Vec<u8>>,
    pub(super) tensors: Vec<Vec<u8>>,
    pub(super) data: Vec<u8>,
}

impl Writer {
    pub(super) fn new() -> Self {
        Writer {
            magic: *b"GGUF",
            version: 3,
            tensor_count: None,
            pair_count: None,
            alignment: 32,
            pairs: Vec::new(),
            tensors: Vec::new(),
            data: Vec::new(),
        }
    }

    /// Adds a pair whose value, type number first, is given as bytes.
    pub(super) fn pair(mut self, key: &str, ty: u32, value: &[u8]) -> Self {
        self.pairs.push([&string(key)[..], &ty.to_le_bytes(), value].concat());
        self
    }

    pub(super) fn u32(self, key: &str, value: u32) -> Self {
        self.pair(key, 4, &value.to_le_bytes())
    }

    /// Adds a tensor at the next aligned offset, with `data` as its bytes; `ne` is in ggml's order.
    pub(super) fn tensor(mut self, name: &str, ne: &[u64], ty: u32, data: &[u8]) -> Self {
        self.data.resize(self.data.len().next_multiple_of(self.alignment), 0xee);
        let offset = self.data.len() as u64;
        self.data.extend(data);
        self.entry(name, ne, ty, offset)
    }

    /// Adds an entry to the list of tensors, and no data.
    pub(super) fn entry(mut self, name: &str, ne: &[u64], ty: u32, offset: u64) -> Self {
        let mut entry = string(name);
        entry.extend((ne.len() as u32).to_le_bytes());
        entry.extend(ne.iter().flat_map(|n| n.to_le_bytes()));
        entry.extend(ty.to_le_bytes());
        entry.extend(offset.to_le_bytes());
        self.tensors.push(entry);
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut out = self.magic.to_vec();
        out.extend(self.version.to_le_bytes());
        out.extend(self.tensor_count.unwrap_or(self.tensors.len() as u64).to_le_bytes());
        out.extend(self.pair_count.unwrap_or(self.pairs.len() as u64).to_le_bytes());
        out.extend(self.pairs.concat());
        out.extend(self.tensors.concat());
        if !self.tensors.is_empty() {
            out.resize(out.len().next_multiple_of(self.alignment), 0xee);
        }
        out.extend(&self.data);
        out
    }
}

/// A length, then the text.
pub(super) fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// An element type, a count, then the elements.
pub(super) fn array(ty: u32, count: u64, elements: &[u8]) -> Vec<u8> {
    [&ty.to_le_bytes()[..], &count.to_le_bytes(), elements].concat()
}
