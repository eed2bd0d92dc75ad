//! Safetensors files as float tensors.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;

use crate::{ModelError, trust};

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 30;
/// The largest index of shards that is read, in bytes.
const MAX_INDEX_BYTES: u64 = 64 << 20;
/// The most memory that the tensors of all shards may take once they are 32-bit numbers, in bytes.
const MAX_WEIGHT_BYTES: u64 = 8 << 30;
/// The most tensors; a 24-layer BERT has about 400.
const MAX_TENSORS: usize = 10_000;
/// The most dimensions of a tensor.
const MAX_DIMENSIONS: usize = 8;

/// The tensors of a model by name, converted to f32.
#[derive(Debug)]
pub(crate) struct Tensors {
    /// The file that messages name: the only one, or the index of several.
    path: PathBuf,
    by_name: BTreeMap<String, Tensor>,
}

/// Values in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) values: Vec<f32>,
}

#[derive(Deserialize)]
struct ShardIndex {
    weight_map: BTreeMap<String, String>,
}

impl Tensors {
    /// Reads `model.safetensors`, or all shards that `model.safetensors.index.json` names.
    ///
    /// # Errors
    /// [`ModelError::Io`] when a file is missing, [`ModelError::InvalidFile`] when one is truncated or mislabelled.
    pub(crate) fn load(directory: &Path) -> Result<Self, ModelError> {
        let single = directory.join("model.safetensors");
        let index = directory.join("model.safetensors.index.json");
        let mut by_name = BTreeMap::new();
        if single.exists() {
            read_file(&single, &mut by_name)?;
            return Ok(Self { path: single, by_name });
        }
        if !index.exists() {
            return Err(ModelError::invalid(directory, missing_weights(directory)));
        }
        for shard in shards(&index)? {
            read_file(&directory.join(shard), &mut by_name)?;
        }
        Ok(Self { path: index, by_name })
    }

    /// Tells whether there is a tensor of that name.
    pub(crate) fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// Takes out the tensor of that name.
    ///
    /// # Errors
    /// [`ModelError::InvalidFile`] when there is none.
    pub(crate) fn take(&mut self, name: &str) -> Result<Tensor, ModelError> {
        self.by_name.remove(name).ok_or_else(|| self.invalid(format!("the tensor `{name}` is missing")))
    }

    /// Makes an error about these tensors.
    pub(crate) fn invalid(&self, reason: impl Into<String>) -> ModelError {
        ModelError::invalid(&self.path, reason)
    }
}

fn missing_weights(directory: &Path) -> String {
    let expected = "expected `model.safetensors` or `model.safetensors.index.json`";
    if directory.join("pytorch_model.bin").exists() {
        return format!(
            "{expected}, found only `pytorch_model.bin`: save the model again with `safe_serialization=True`"
        );
    }
    format!("no weights in it, {expected}")
}

fn shards(index: &Path) -> Result<BTreeSet<String>, ModelError> {
    let text = trust::read_text(index, MAX_INDEX_BYTES)?;
    let parsed: ShardIndex = serde_json::from_str(&text)
        .map_err(|error| ModelError::invalid(index, format!("not an index of safetensors files: {error}")))?;
    for name in parsed.weight_map.values() {
        if Path::new(name).file_name().is_none_or(|file| file != name.as_str()) {
            return Err(ModelError::invalid(index, format!("`{name}` is not a file beside the index")));
        }
    }
    Ok(parsed.weight_map.into_values().collect())
}

fn read_file(path: &Path, by_name: &mut BTreeMap<String, Tensor>) -> Result<(), ModelError> {
    let bytes = trust::read(path, MAX_FILE_BYTES)?;
    let parsed = SafeTensors::deserialize(&bytes)
        .map_err(|error| ModelError::invalid(path, format!("not a whole safetensors file: {error}")))?;
    check_limits(&parsed, by_name).map_err(|reason| ModelError::invalid(path, reason))?;
    for (name, view) in parsed.iter() {
        let values = match view.dtype() {
            Dtype::F32 => floats(view.data(), f32::from_le_bytes),
            Dtype::F16 => floats(view.data(), |bytes| f16_to_f32(u16::from_le_bytes(bytes))),
            Dtype::BF16 => floats(view.data(), |bytes| f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)),
            // Position numbers and the like; `take` says when one of these was expected to be a weight.
            _ => continue,
        };
        if let Some(bad) = values.iter().find(|value| !value.is_finite()) {
            return Err(ModelError::invalid(path, format!("the tensor `{name}` holds {bad}, expected finite numbers")));
        }
        by_name.insert(name.to_owned(), Tensor { shape: view.shape().to_vec(), values });
    }
    Ok(())
}

/// Checks how much memory the tensors will take beside those of the shards before, ahead of converting any. That their
/// shapes fit their bytes and that none lies outside the file was checked when the header was read.
fn check_limits(tensors: &SafeTensors<'_>, loaded: &BTreeMap<String, Tensor>) -> Result<(), String> {
    let count = tensors.len() + loaded.len();
    if count > MAX_TENSORS {
        return Err(format!("with it there are {count} tensors, at most {MAX_TENSORS} are read"));
    }
    let mut weight_bytes: u64 = loaded.values().map(|tensor| tensor.values.len() as u64 * 4).sum();
    for (name, view) in tensors.iter() {
        if view.shape().len() > MAX_DIMENSIONS {
            let dimensions = view.shape().len();
            return Err(format!("the tensor `{name}` has {dimensions} dimensions, at most {MAX_DIMENSIONS} are read"));
        }
        weight_bytes = with_tensor(weight_bytes, view.shape())
            .ok_or_else(|| format!("with the tensor `{name}` more than {MAX_WEIGHT_BYTES} bytes would be loaded"))?;
    }
    Ok(())
}

/// Adds the room that a tensor takes as 32-bit numbers; `None` when it becomes too much.
fn with_tensor(weight_bytes: u64, shape: &[usize]) -> Option<u64> {
    let bytes = shape.iter().try_fold(4u64, |bytes, &dimension| bytes.checked_mul(dimension as u64))?;
    weight_bytes.checked_add(bytes).filter(|&bytes| bytes <= MAX_WEIGHT_BYTES)
}

fn floats<const N: usize>(bytes: &[u8], convert: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|chunk| convert(*chunk)).collect()
}

/// Converts IEEE 754 binary16 bits, subnormal numbers included.
fn f16_to_f32(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f32::from(bits & 0x3ff) / 1024.0;
    sign * match exponent {
        0 => fraction * 2f32.powi(-14),
        0x1f if fraction == 0.0 => f32::INFINITY,
        0x1f => f32::NAN,
        _ => (1.0 + fraction) * 2f32.powi(exponent - 15),
    }
}

#[cfg(test)]
mod tests {
    use safetensors::tensor::TensorView;

    use super::*;

    #[test]
    fn half_precision_covers_zero_one_subnormal_and_infinity() {
        for (bits, value) in [
            (0x0000, 0.0),
            (0x3c00, 1.0),
            (0xc000, -2.0),
            (0x7bff, 65504.0),
            (0x0001, 5.960_464_5e-8),
            (0x03ff, 6.097_555e-5),
            (0x7c00, f32::INFINITY),
        ] {
            assert_eq!(f16_to_f32(bits), value, "{bits:#06x}");
        }
        assert!(f16_to_f32(0x7e00).is_nan());
    }

    /// A file with tensors of no element, which take no room.
    fn empty_tensors(count: usize, shape: &[usize]) -> Vec<u8> {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), &[]).expect("no element is no byte");
        safetensors::serialize((0..count).map(|number| (number.to_string(), &view)), None).expect("it can be written")
    }

    fn limits(file: &[u8], loaded: &BTreeMap<String, Tensor>) -> Result<(), String> {
        check_limits(&SafeTensors::deserialize(file).expect("a whole file"), loaded)
    }

    #[test]
    fn what_takes_too_much_memory_is_refused_before_it_is_converted() {
        let none = BTreeMap::new();
        assert_eq!(limits(&empty_tensors(MAX_TENSORS, &[0; 8]), &none), Ok(()));
        let reason = limits(&empty_tensors(MAX_TENSORS + 1, &[0]), &none).expect_err("too many");
        assert!(reason.contains("10001 tensors"), "{reason}");
        let reason = limits(&empty_tensors(1, &[0; 9]), &none).expect_err("too many dimensions");
        assert!(reason.contains("9 dimensions"), "{reason}");
        let loaded = BTreeMap::from([("shard".to_owned(), Tensor { shape: vec![0], values: Vec::new() })]);
        let reason = limits(&empty_tensors(MAX_TENSORS, &[0]), &loaded).expect_err("too many with the other shard");
        assert!(reason.contains("10001 tensors"), "{reason}");
        assert_eq!(with_tensor(MAX_WEIGHT_BYTES - 4, &[1]), Some(MAX_WEIGHT_BYTES));
        assert_eq!(with_tensor(MAX_WEIGHT_BYTES, &[1]), None);
        assert_eq!(with_tensor(0, &[usize::MAX, usize::MAX]), None);
    }
}
