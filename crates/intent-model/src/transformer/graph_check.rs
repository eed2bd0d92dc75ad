//! Looks through an ONNX graph before the runtime does: what it may compute, and how much memory its weights will take.
//!
//! Walks over the bytes and copies none of them, so that looking costs no memory, whatever the file says.

use std::path::Path;

use crate::{ModelError, trust};

/// The largest graph that is loaded, in bytes; protobuf itself ends at 2 GiB.
const MAX_FILE_BYTES: u64 = (1 << 31) - 1;
/// The most weights, in bytes as the runtime holds them.
const MAX_WEIGHT_BYTES: u64 = 4 << 30;
/// The largest part of the file that is not weights, in bytes: names, operators, shapes. The runtime takes many times
/// that to hold them; a 24-layer BERT has about 1 MB.
const MAX_STRUCTURE_BYTES: u64 = 16 << 20;
/// The most operators; a 24-layer BERT as exported by PyTorch has about 3,000.
const MAX_NODES: usize = 50_000;
/// The most dimensions of a tensor.
const MAX_DIMENSIONS: usize = 8;

/// What transformers are made of, as exporters write them. Nothing here reads files, loops or draws at random.
const OPERATORS: &str = "\
    Abs Add And ArgMax Attention BiasGelu Cast CastLike Ceil Clip Concat Constant ConstantOfShape Cos CumSum \
    DequantizeLinear Div DynamicQuantizeLinear Elu EmbedLayerNormalization Equal Erf Exp Expand FastGelu Flatten Floor \
    FusedMatMul Gather GatherElements Gelu Gemm Greater GreaterOrEqual HardSigmoid Identity IsInf IsNaN \
    LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul MatMulInteger MatMulNBits Max Min Mod Mul \
    MultiHeadAttention Neg Not Or Pow QuantizeLinear Range Reciprocal ReduceMax ReduceMean ReduceMin ReduceProd \
    ReduceSum ReduceSumSquare Relu Reshape Round Shape Sigmoid Sign Sin SkipLayerNormalization Slice Softmax Softplus \
    Split Sqrt Squeeze Sub Sum Tanh Transpose Trilu Unsqueeze Where Xor";

/// Reads a graph's file after checking what it would do.
///
/// # Errors
/// [`ModelError::Io`] when it cannot be read, [`ModelError::InvalidFile`] when it is too large, uses operators that no
/// transformer needs, or keeps weights in other files.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, ModelError> {
    let bytes = trust::read(path, MAX_FILE_BYTES)?;
    check(&bytes).map_err(|reason| ModelError::invalid(path, reason))?;
    Ok(bytes)
}

/// Checks a `ModelProto`. Numbers are those of
/// [onnx.proto3](https://github.com/onnx/onnx/blob/main/onnx/onnx.proto3).
fn check(bytes: &[u8]) -> Result<(), String> {
    let mut graph = Graph::default();
    let mut is_graph = false;
    for field in Fields(bytes) {
        if let (7, Value::Bytes(bytes)) = field? {
            is_graph = true;
            graph.add(bytes)?;
        }
    }
    if !is_graph {
        return Err("not an ONNX graph: it has no graph".to_owned());
    }
    let structure_bytes = bytes.len() as u64 - graph.content_bytes;
    if structure_bytes > MAX_STRUCTURE_BYTES {
        return Err(format!(
            "it has {structure_bytes} bytes besides its weights, at most {MAX_STRUCTURE_BYTES} are read"
        ));
    }
    Ok(())
}

/// What was counted of a graph so far.
#[derive(Debug, Default)]
struct Graph {
    nodes: usize,
    /// What the weights will take in memory.
    weight_bytes: u64,
    /// What the weights take in the file.
    content_bytes: u64,
}

impl Graph {
    fn add(&mut self, bytes: &[u8]) -> Result<(), String> {
        for field in Fields(bytes) {
            match field? {
                (1, Value::Bytes(node)) => self.add_node(node)?,
                (5, Value::Bytes(tensor)) => self.add_tensor(tensor)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn add_node(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(format!("it has more than {MAX_NODES} operators"));
        }
        let mut operator = "".into();
        for field in Fields(bytes) {
            match field? {
                (4, Value::Bytes(name)) => operator = String::from_utf8_lossy(name),
                (5, Value::Bytes(attribute)) => self.add_attribute(attribute)?,
                _ => {}
            }
        }
        if OPERATORS.split(' ').any(|known| known == operator) {
            return Ok(());
        }
        Err(format!("it uses the operator `{}`, which is not one of a transformer", shorten(&operator)))
    }

    fn add_attribute(&mut self, bytes: &[u8]) -> Result<(), String> {
        for field in Fields(bytes) {
            match field? {
                (5 | 10, Value::Bytes(tensor)) => self.add_tensor(tensor)?,
                (6 | 11, _) => return Err("it has a graph within the graph, which no transformer needs".to_owned()),
                _ => {}
            }
        }
        Ok(())
    }

    fn add_tensor(&mut self, bytes: &[u8]) -> Result<(), String> {
        let (mut shape, mut name) = (Vec::new(), "".into());
        let (mut content_bytes, mut numbers_bytes, mut is_elsewhere) = (0, 0, false);
        for field in Fields(bytes) {
            match field? {
                (1, Value::Number(dimension)) => shape.push(dimension),
                (1, Value::Bytes(packed)) => {
                    let mut rest = packed;
                    while !rest.is_empty() && shape.len() <= MAX_DIMENSIONS {
                        shape.push(varint(&mut rest)?);
                    }
                }
                // Numbers of variable length: a byte of the file is up to eight in memory.
                (5 | 7 | 11, Value::Bytes(numbers)) => {
                    content_bytes += numbers.len() as u64;
                    numbers_bytes += numbers.len() as u64 * 8;
                }
                (4 | 6 | 9 | 10, Value::Bytes(numbers)) => {
                    content_bytes += numbers.len() as u64;
                    numbers_bytes += numbers.len() as u64;
                }
                (8, Value::Bytes(bytes)) => name = String::from_utf8_lossy(bytes),
                (13, _) | (14, Value::Number(1..)) => is_elsewhere = true,
                _ => {}
            }
            if shape.len() > MAX_DIMENSIONS {
                let name = shorten(&name);
                return Err(format!("the tensor `{name}` has more than {MAX_DIMENSIONS} dimensions"));
            }
        }
        if is_elsewhere {
            let name = shorten(&name);
            return Err(format!("the tensor `{name}` is kept in another file; save the graph as one file"));
        }
        // A negative dimension is a huge one here.
        let shape_bytes = shape.iter().try_fold(4u64, |bytes, &dimension| bytes.checked_mul(dimension));
        self.content_bytes += content_bytes;
        self.weight_bytes = shape_bytes
            .and_then(|bytes| self.weight_bytes.checked_add(bytes.max(numbers_bytes)))
            .filter(|&bytes| bytes <= MAX_WEIGHT_BYTES)
            .ok_or_else(|| {
                let (name, shape) = (shorten(&name), shape.iter().map(|&dimension| dimension as i64));
                let shape: Vec<i64> = shape.collect();
                format!("with the tensor `{name}` of shape {shape:?} its weights exceed {MAX_WEIGHT_BYTES} bytes")
            })?;
        Ok(())
    }
}

/// The fields of a protobuf message, in the order in which they stand.
struct Fields<'a>(&'a [u8]);

/// What a field holds.
enum Value<'a> {
    Number(u64),
    /// A text, a message, or numbers one after the other.
    Bytes(&'a [u8]),
    /// A number of fixed length; none that matters here.
    Fixed,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<(u64, Value<'a>), String> {
        let key = varint(&mut self.0)?;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut self.0)?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = varint(&mut self.0)?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            wire_type => return Err(format!("not an ONNX graph: it has a field of the wire type {wire_type}")),
        };
        Ok((key >> 3, value))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], String> {
        let split = usize::try_from(length).ok().and_then(|length| self.0.split_at_checked(length));
        let (taken, rest) = split.ok_or("not an ONNX graph: it ends within a field")?;
        self.0 = rest;
        Ok(taken)
    }
}

/// Reads a number of variable length.
fn varint(bytes: &mut &[u8]) -> Result<u64, String> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or("not an ONNX graph: it ends within a number")?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err("not an ONNX graph: it has a number of more than ten bytes".to_owned())
}

fn shorten(name: &str) -> String {
    name.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::encoding::{WireType, encode_key, encode_varint};

    use super::*;

    /// A field with bytes.
    fn bytes(tag: u32, content: &[u8]) -> Vec<u8> {
        let mut field = Vec::new();
        encode_key(tag, WireType::LengthDelimited, &mut field);
        encode_varint(content.len() as u64, &mut field);
        [&field, content].concat()
    }

    /// A field with a number.
    fn number(tag: u32, value: u64) -> Vec<u8> {
        let mut field = Vec::new();
        encode_key(tag, WireType::Varint, &mut field);
        encode_varint(value, &mut field);
        field
    }

    fn model(parts: &[Vec<u8>]) -> Vec<u8> {
        [number(1, 8), bytes(7, &parts.concat())].concat()
    }

    fn node(operator: &str, attributes: &[Vec<u8>]) -> Vec<u8> {
        let attributes: Vec<u8> = attributes.iter().flat_map(|attribute| bytes(5, attribute)).collect();
        bytes(1, &[bytes(4, operator.as_bytes()), attributes].concat())
    }

    fn tensor(shape: &[i64]) -> Vec<u8> {
        let dimensions = shape.iter().flat_map(|&dimension| number(1, dimension as u64));
        dimensions.chain(bytes(8, b"w")).collect()
    }

    fn weight(shape: &[i64]) -> Vec<u8> {
        bytes(5, &tensor(shape))
    }

    #[test]
    fn a_graph_computes_what_transformers_compute_and_takes_the_memory_it_says() {
        let mut packed = Vec::new();
        (0..2).for_each(|_| encode_varint(1 << 40, &mut packed));
        for (bytes, expected) in [
            (model(&[node("Loop", &[])]), "operator `Loop`"),
            (model(&[node("RandomNormal", &[])]), "operator `RandomNormal`"),
            (model(&[node("", &[])]), "operator ``"),
            (model(&[node("Add Mul", &[])]), "operator `Add Mul`"),
            (model(&vec![node("Add", &[]); MAX_NODES + 1]), "more than 50000 operators"),
            (model(&[node("Constant", &[bytes(6, b"")])]), "a graph within the graph"),
            (model(&[node("Constant", &[bytes(11, b"")])]), "a graph within the graph"),
            (model(&[node("Constant", &[bytes(5, &tensor(&[1 << 40]))])]), "exceed"),
            (model(&[weight(&[1 << 33])]), "exceed"),
            (model(&[weight(&[1 << 40, 1 << 40])]), "exceed"),
            (model(&[bytes(5, &bytes(1, &packed))]), "of shape [1099511627776, 1099511627776]"),
            (model(&[weight(&[-1])]), "of shape [-1]"),
            (model(&[weight(&[1; 9])]), "more than 8 dimensions"),
            (model(&[bytes(5, &bytes(1, &[1; 100]))]), "more than 8 dimensions"),
            (model(&[weight(&[1 << 29]), weight(&[1 << 29]), weight(&[1])]), "exceed"),
            // The same, said in two graphs that a reader would put together.
            ([model(&[weight(&[1 << 29])]), model(&[weight(&[1 << 29]), weight(&[1])])].concat(), "exceed"),
            (model(&[bytes(5, &[tensor(&[2]), number(14, 1)].concat())]), "another file"),
            (model(&[bytes(5, &[tensor(&[2]), bytes(13, b"")].concat())]), "another file"),
            (model(&[bytes(2, &vec![b'x'; MAX_STRUCTURE_BYTES as usize])]), "besides its weights"),
            (b"\xff\xff\xff".to_vec(), "not an ONNX graph"),
            (vec![0xff; 11], "more than ten bytes"),
            (bytes(7, b"abc")[..4].to_vec(), "ends within a field"),
            (Vec::new(), "it has no graph"),
        ] {
            let reason = check(&bytes).expect_err(expected);
            assert!(reason.contains(expected), "{reason}");
        }
        let content = vec![0; MAX_STRUCTURE_BYTES as usize + 1];
        let large = bytes(5, &[tensor(&[1 << 22]), bytes(9, &content)].concat());
        check(&model(&[node("MatMul", &[]), weight(&[30_522, 384]), large])).expect("a plain graph");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_graph_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = check(&bytes);
            let _ = check(&model(&[bytes]));
        }
    }
}
