//! Writes ONNX graphs node by node.

use prost::Message;

pub(crate) use crate::import::protobuf::DataType;
use crate::import::protobuf::{
    AttributeProto, AttributeType, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto,
    TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};

/// Version of the standard operators that graphs are written against.
const OPSET: i64 = 20;
/// Version of the file format that belongs to it.
const IR_VERSION: i64 = 9;
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
    /// The element type that a cast gives.
    Type(DataType),
}

impl Graph {
    /// Declares an int64 input of shape `[batch, sequence]`.
    pub(crate) fn token_input(&mut self, name: &str) -> Value {
        self.proto.input.push(value_info(name, DataType::Int64, &["batch", "sequence"]));
        Value(name.to_owned())
    }

    /// Declares a value as the float output `name`, whose dimensions are called `dimensions`.
    pub(crate) fn output(&mut self, name: &str, value: &Value, dimensions: &[&str]) {
        self.proto.node.push(NodeProto {
            name: name.to_owned(),
            op_type: "Identity".to_owned(),
            input: vec![value.0.clone()],
            output: vec![name.to_owned()],
            ..NodeProto::default()
        });
        self.proto.output.push(value_info(name, DataType::Float, dimensions));
    }

    /// Adds a float constant.
    pub(crate) fn floats(&mut self, shape: &[usize], values: &[f32]) -> Value {
        self.constant(DataType::Float, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// Adds an int64 constant of one dimension.
    pub(crate) fn ints(&mut self, values: &[i64]) -> Value {
        self.constant(DataType::Int64, &[values.len()], values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    /// Adds an int8 constant.
    pub(crate) fn int8s(&mut self, shape: &[usize], values: &[i8]) -> Value {
        self.constant(DataType::Int8, shape, bytemuck::cast_slice(values).to_vec())
    }

    /// Adds a uint8 scalar.
    pub(crate) fn uint8(&mut self, value: u8) -> Value {
        self.constant(DataType::Uint8, &[], vec![value])
    }

    /// Adds a node of the standard operators.
    pub(crate) fn op<const N: usize>(
        &mut self,
        op_type: &str,
        inputs: [&Value; N],
        attributes: &[(&str, Attribute)],
    ) -> Value {
        self.node("", op_type, &inputs, attributes)
    }

    /// Adds a node of the contributed operators.
    pub(crate) fn contrib<const N: usize>(
        &mut self,
        op_type: &str,
        inputs: [&Value; N],
        attributes: &[(&str, Attribute)],
    ) -> Value {
        self.node(CONTRIB, op_type, &inputs, attributes)
    }

    fn node(&mut self, domain: &str, op_type: &str, inputs: &[&Value], attributes: &[(&str, Attribute)]) -> Value {
        let output = self.new_name(op_type);
        self.proto.node.push(NodeProto {
            domain: domain.to_owned(),
            name: output.clone(),
            op_type: op_type.to_owned(),
            input: inputs.iter().map(|input| input.0.clone()).collect(),
            output: vec![output.clone()],
            attribute: attributes.iter().map(|&(name, attribute)| attribute_proto(name, attribute)).collect(),
        });
        Value(output)
    }

    fn constant(&mut self, data_type: DataType, shape: &[usize], raw_data: Vec<u8>) -> Value {
        let name = self.new_name("constant");
        self.proto.initializer.push(TensorProto {
            dims: shape.iter().map(|&size| size as i64).collect(),
            data_type: data_type.into(),
            raw_data,
            name: name.clone(),
        });
        Value(name)
    }

    fn new_name(&mut self, what: &str) -> String {
        self.names += 1;
        format!("{what}_{}", self.names)
    }

    /// Encodes the finished graph as the bytes of an `.onnx` file.
    pub(crate) fn encode(mut self) -> Vec<u8> {
        let opset = |domain: &str, version| OperatorSetIdProto { domain: domain.to_owned(), version };
        self.proto.name = "transformer".to_owned();
        ModelProto {
            ir_version: IR_VERSION,
            graph: Some(self.proto),
            opset_import: vec![opset("", OPSET), opset(CONTRIB, 1)],
            producer_name: env!("CARGO_PKG_NAME").to_owned(),
            producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        }
        .encode_to_vec()
    }
}

fn attribute_proto(name: &str, attribute: Attribute) -> AttributeProto {
    let mut proto = AttributeProto { name: name.to_owned(), ..AttributeProto::default() };
    match attribute {
        Attribute::Int(value) => (proto.i, proto.r#type) = (Some(value), AttributeType::Int.into()),
        Attribute::Float(value) => (proto.f, proto.r#type) = (Some(value), AttributeType::Float.into()),
        Attribute::Type(value) => {
            (proto.i, proto.r#type) = (Some(i64::from(i32::from(value))), AttributeType::Int.into())
        }
    }
    proto
}

fn value_info(name: &str, elem_type: DataType, dimensions: &[&str]) -> ValueInfoProto {
    let dim = dimensions.iter().map(|&name| DimensionProto { dim_param: name.to_owned() }).collect();
    let tensor_type = TensorTypeProto { elem_type: elem_type.into(), shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }) }
}
