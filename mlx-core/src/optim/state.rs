//! What optimizers remember of each parameter.

use std::collections::BTreeMap;

use crate::nn::{DynModule, places};
use crate::{Array, DType, Error, Result};

/// The copy of a 16-bit parameter that is not rounded.
const MASTER: &str = "master";

/// The number of steps, as a name among those of the parameters.
const STEP: &str = "step";

/// The learning rate of the last step, which Python's MLX keeps beside the step. It is an argument here.
const LEARNING_RATE: &str = "learning_rate";

/// The memory of an optimizer: arrays of the parameters' shapes.
#[derive(Clone, Debug)]
pub(super) struct State {
    op: &'static str,
    /// Names of what is kept for every parameter.
    slots: &'static [&'static str],
    step: u64,
    parameters: BTreeMap<String, Memory>,
}

#[derive(Clone, Debug)]
struct Memory {
    /// One for each of the names.
    slots: Vec<Array>,
    master: Option<Array>,
    /// The rounded value that was put into the model beside the master.
    placed: Option<Array>,
}

impl State {
    pub(super) fn new(op: &'static str, slots: &'static [&'static str]) -> Self {
        State { op, slots, step: 0, parameters: BTreeMap::new() }
    }

    pub(super) fn step(&self) -> u64 {
        self.step
    }

    /// Takes a step: `rule` gets the step's number (the first is 1), a parameter, its gradient and what is remembered of
    /// it, all in one dtype of at least 32 bits, and gives the parameter's new value.
    pub(super) fn advance(
        &mut self,
        model: &mut DynModule,
        gradients: &BTreeMap<String, Array>,
        rule: impl Fn(u64, &Array, &Array, &mut [Array]) -> Result<Array>,
    ) -> Result<()> {
        let step = self.step + 1;
        let mut places = places(model)?;
        // Everything is computed before anything changes: a failure leaves the model and the state as they were.
        let mut changes = Vec::with_capacity(gradients.len());
        for (name, gradient) in gradients {
            let parameter =
                places.get(name).ok_or_else(|| self.refuse(format!("the model has no parameter {name}")))?;
            let (own, wide) = (parameter.dtype(), state_dtype(parameter.dtype()));
            if !own.is_float() || !gradient.dtype().is_float() || gradient.shape() != parameter.shape() {
                let message =
                    format!("{name} is {} and its gradient {}", parameter.describe(), gradient.describe());
                return Err(self.refuse(message));
            }
            let mut memory = self.memory(name, parameter)?;
            let from = memory.master.as_ref().unwrap_or(parameter);
            let to = rule(step, from, &gradient.as_type(wide)?, &mut memory.slots)?;
            let rounded = to.as_type(own)?;
            memory.placed = (own != wide).then(|| rounded.clone());
            memory.master = (own != wide).then_some(to);
            changes.push((name, rounded, memory));
        }
        for (name, value, memory) in changes {
            if let Some(place) = places.get_mut(name) {
                **place = value;
            }
            self.parameters.insert(name.clone(), memory);
        }
        self.step = step;
        Ok(())
    }

    /// What is remembered of a parameter, or what a first step begins with.
    fn memory(&self, name: &str, parameter: &Array) -> Result<Memory> {
        let dtype = state_dtype(parameter.dtype());
        let Some(known) = self.parameters.get(name) else {
            let zeros = |_: &&str| Array::zeros(parameter.shape(), dtype);
            return Ok(Memory {
                slots: self.slots.iter().map(zeros).collect::<Result<_>>()?,
                master: (dtype != parameter.dtype()).then(|| parameter.as_type(dtype)).transpose()?,
                placed: None,
            });
        };
        if let Some(other) = known.slots.iter().chain(&known.master).find(|a| a.shape() != parameter.shape())
        {
            let message =
                format!("{name} is {}, and the state of it {}", parameter.describe(), other.describe());
            return Err(self.refuse(message));
        }
        // A parameter that was replaced since the last step begins anew.
        let replaced = known.placed.as_ref().is_some_and(|placed| !placed.is_same(parameter));
        let master = match &known.master {
            Some(master) if !replaced => Some(master.clone()),
            _ => (dtype != parameter.dtype()).then(|| parameter.clone()),
        };
        let convert = |array: &Array| array.as_type(dtype);
        Ok(Memory {
            slots: known.slots.iter().map(convert).collect::<Result<_>>()?,
            master: master.as_ref().map(convert).transpose()?,
            placed: None,
        })
    }

    /// The state by name: `step`, and `<parameter>.<slot>`.
    pub(super) fn arrays(&self) -> Result<BTreeMap<String, Array>> {
        let mut arrays = BTreeMap::from([(STEP.to_owned(), Array::scalar(self.step)?)]);
        for (name, memory) in &self.parameters {
            let slots = self.slots.iter().zip(&memory.slots).map(|(slot, array)| (*slot, array));
            let master = memory.master.as_ref().map(|array| (MASTER, array));
            arrays.extend(slots.chain(master).map(|(slot, array)| (format!("{name}.{slot}"), array.clone())));
        }
        Ok(arrays)
    }

    /// Replaces the state by one that [`arrays`](Self::arrays) gave.
    pub(super) fn restore(&mut self, arrays: BTreeMap<String, Array>) -> Result<()> {
        let mut step = None;
        let mut by_parameter: BTreeMap<String, BTreeMap<String, Array>> = BTreeMap::new();
        for (name, array) in arrays {
            match name.rsplit_once('.') {
                None if name == STEP && array.size() == 1 => {
                    step = array.as_type(DType::I64)?.to_vec::<i64>()?.first().copied();
                }
                None if name == LEARNING_RATE => {}
                Some((parameter, slot))
                    if (slot == MASTER || self.slots.contains(&slot)) && array.dtype().is_float() =>
                {
                    by_parameter.entry(parameter.to_owned()).or_default().insert(slot.to_owned(), array);
                }
                _ => return Err(self.refuse(format!("{name} {} is no part of the state", array.describe()))),
            }
        }
        let step = step.and_then(|step| u64::try_from(step).ok());
        let step = step.ok_or_else(|| self.refuse("the state has no number of steps".to_owned()))?;
        let mut parameters = BTreeMap::new();
        for (name, mut found) in by_parameter {
            let mut take = |slot: &&str| {
                found.remove(*slot).ok_or_else(|| self.refuse(format!("the state lacks {name}.{slot}")))
            };
            let slots = self.slots.iter().map(&mut take).collect::<Result<_>>()?;
            let master = found.remove(MASTER);
            parameters.insert(name, Memory { slots, master, placed: None });
        }
        self.step = step;
        self.parameters = parameters;
        Ok(())
    }

    fn refuse(&self, message: String) -> Error {
        Error::Shape { op: self.op, message }
    }
}

/// What a parameter is computed in.
fn state_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    }
}

/// A number as wide as the arrays that it is multiplied with.
pub(super) fn scalar_of(a: &Array, value: f64) -> Result<Array> {
    match a.dtype() {
        DType::F64 => Array::scalar(value),
        _ => Array::scalar(value as f32),
    }
}
