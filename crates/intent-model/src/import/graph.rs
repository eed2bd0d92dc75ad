//! Writes ONNX graphs node by node.

use std::cell::RefCell;

use rten_onnx::onnx::{
    AttributeProto, AttributeType, DataType, Dimension, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TypeProto, TypeProtoTensor, ValueInfoProto,
};

use crate::ModelError;

/// Version of the standard operators that graphs are written against.
const OPSET: i64 = 20;
/// Domain of the fused operators that ONNX Runtime defined and rten implements too.
const CONTRIB: &str = "com.microsoft";

/// A graph under construction.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    proto: GraphProto,
    names: usize,
}

/// A value inside a graph: an input, a constant, or the output of a node. The empty name is an absent optional input.
#[derive(Clone, Debug)]
pub(crate) struct Value(String);

impl Value {
    /// The place of an optional input that is not given.
    pub(crate) fn absent() -> Self {
        Self(String::new())
    }
}

/// An attribute of a node.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Attribute {
    Int(i64),
    Float(f32),
}

impl Graph {
    /// Declares an int64 input of shape `[batch, sequence]`.
    pub(crate) fn token_input(&mut self, name: &str) -> Value {
        self.proto.input.push(value_info(name, DataType::INT64, &["batch", "sequence"]));
        Value(name.to_owned())
    }

    /// Declares a value as the float output `name`, whose dimensions are called `dimensions`.
    pub(crate) fn output(&mut self, name: &str, value: &Value, dimensions: &[&str]) {
        self.proto.node.push(NodeProto {
            op_type: Some("Identity".to_owned()),
            input: vec![value.0.clone()],
            output: vec![name.to_owned()],
            ..NodeProto::default()
        });
        self.proto.output.push(value_info(name, DataType::FLOAT, dimensions));
    }

    /// Adds a float constant.
    pub(crate) fn floats(&mut self, shape: &[usize], values: &[f32]) -> Value {
        self.constant(DataType::FLOAT, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// Adds an int64 constant of one dimension.
    pub(crate) fn ints(&mut self, values: &[i64]) -> Value {
        self.constant(DataType::INT64, &[values.len()], values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// Adds an int8 constant.
    pub(crate) fn int8s(&mut self, shape: &[usize], values: &[i8]) -> Value {
        self.constant(DataType::INT8, shape, bytemuck::cast_slice(values).to_vec())
    }

    /// Adds a uint8 scalar.
    pub(crate) fn uint8(&mut self, value: u8) -> Value {
        self.constant(DataType::UINT8, &[], vec![value])
    }

    /// Adds a node of the standard operators.
    pub(crate) fn op<const N: usize>(
        &mut self,
        op_type: &str,
        inputs: [&Value; N],
        attributes: &[(&str, Attribute)],
    ) -> Value {
        self.node(None, op_type, &inputs, attributes)
    }

    /// Adds a node of the contributed operators.
    pub(crate) fn contrib<const N: usize>(
        &mut self,
        op_type: &str,
        inputs: [&Value; N],
        attributes: &[(&str, Attribute)],
    ) -> Value {
        self.node(Some(CONTRIB), op_type, &inputs, attributes)
    }

    fn node(
        &mut self,
        domain: Option<&str>,
        op_type: &str,
        inputs: &[&Value],
        attributes: &[(&str, Attribute)],
    ) -> Value {
        let output = self.new_name(op_type);
        self.proto.node.push(NodeProto {
            domain: domain.map(str::to_owned),
            name: Some(output.clone()),
            op_type: Some(op_type.to_owned()),
            input: inputs.iter().map(|input| input.0.clone()).collect(),
            output: vec![output.clone()],
            attribute: attributes.iter().map(|&(name, attribute)| attribute_proto(name, attribute)).collect(),
        });
        Value(output)
    }

    fn constant(&mut self, data_type: DataType, shape: &[usize], bytes: Vec<u8>) -> Value {
        let name = self.new_name("constant");
        self.proto.initializer.push(TensorProto {
            dims: shape.iter().map(|&size| size as i64).collect(),
            data_type: Some(data_type),
            raw_data: Some(RefCell::new(bytes)),
            name: Some(name.clone()),
            ..TensorProto::default()
        });
        Value(name)
    }

    fn new_name(&mut self, what: &str) -> String {
        self.names += 1;
        format!("{what}_{}", self.names)
    }

    /// Encodes the finished graph as the bytes of an `.onnx` file.
    ///
    /// # Errors
    /// [`ModelError::Inference`] when the model does not fit into one protobuf message (2 GiB).
    pub(crate) fn encode(self) -> Result<Vec<u8>, ModelError> {
        let opset =
            |domain: &str, version| OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(version) };
        ModelProto {
            ir_version: Some(9),
            graph: Some(self.proto),
            opset_import: vec![opset("", OPSET), opset(CONTRIB, 1)],
            producer_name: Some(env!("CARGO_PKG_NAME").to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            ..ModelProto::default()
        }
        .write_buf()
        .map_err(|error| ModelError::Inference(format!("cannot encode the ONNX graph: {error}")))
    }
}

fn attribute_proto(name: &str, attribute: Attribute) -> AttributeProto {
    let mut proto = AttributeProto { name: Some(name.to_owned()), ..AttributeProto::default() };
    match attribute {
        Attribute::Int(value) => (proto.i, proto.r#type) = (Some(value), Some(AttributeType::INT)),
        Attribute::Float(value) => (proto.f, proto.r#type) = (Some(value), Some(AttributeType::FLOAT)),
    }
    proto
}

fn value_info(name: &str, elem_type: DataType, dimensions: &[&str]) -> ValueInfoProto {
    let dim = dimensions
        .iter()
        .map(|name| Dimension { dim_param: Some((*name).to_owned()), ..Dimension::default() })
        .collect();
    ValueInfoProto {
        name: Some(name.to_owned()),
        r#type: Some(TypeProto {
            tensor_type: Some(TypeProtoTensor { elem_type: Some(elem_type), shape: Some(TensorShapeProto { dim }) }),
            ..TypeProto::default()
        }),
    }
}
