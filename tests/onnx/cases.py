"""The tests of the ONNX project (Debian's libonnx-testdata) as requests and expected answers.

A case is a folder: model.onnx, and in test_data_set_N/ the inputs and outputs as input_K.pb, output_K.pb in the
order of the model's own lists.
"""

import functools
import os
import pathlib

import numpy
import onnx
from onnx import OptionalProto, SequenceProto, TensorProto, numpy_helper

DATA = pathlib.Path(os.environ.get("ONNX_TESTDATA", "/usr/share/libonnx-testdata/data"))

DATATYPES = {
    TensorProto.FLOAT16: "FP16", TensorProto.FLOAT: "FP32", TensorProto.DOUBLE: "FP64",
    TensorProto.BFLOAT16: "BF16", TensorProto.BOOL: "BOOL", TensorProto.STRING: "BYTES",
    TensorProto.INT8: "INT8", TensorProto.INT16: "INT16", TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64", TensorProto.UINT8: "UINT8", TensorProto.UINT16: "UINT16",
    TensorProto.UINT32: "UINT32", TensorProto.UINT64: "UINT64",
}
NUMBERS = {
    "FP16": numpy.float16, "FP32": numpy.float32, "FP64": numpy.float64, "BF16": numpy.float32,
    "BOOL": numpy.bool_, "INT8": numpy.int8, "INT16": numpy.int16, "INT32": numpy.int32,
    "INT64": numpy.int64, "UINT8": numpy.uint8, "UINT16": numpy.uint16, "UINT32": numpy.uint32,
    "UINT64": numpy.uint64,
}
FLOATS = {"FP16", "FP32", "FP64", "BF16"}
# What the ONNX project allows its own backends (onnx.backend.test).
RELATIVE, ABSOLUTE = 1e-3, 1e-7


class Tensor:
    """Values with the datatype's name, flat, and the shape."""

    def __init__(self, proto, data_type):
        self.datatype = DATATYPES[data_type]
        self.shape = list(proto.dims)
        if data_type == TensorProto.BFLOAT16:  # numpy has none; the files have its bits as UINT16
            bits = numpy_helper.to_array(proto).reshape(-1).astype(numpy.uint32) << 16
            self.data = bits.view(numpy.float32)
        elif self.datatype == "BYTES":
            self.data = [text.decode() for text in proto.string_data]
        else:
            self.data = numpy_helper.to_array(proto).reshape(-1).astype(NUMBERS[self.datatype])

    def to_json(self):
        return {"shape": self.shape, "datatype": self.datatype, "data": self._json_data()}

    def _json_data(self):
        if self.datatype not in FLOATS:
            return self.data if self.datatype == "BYTES" else self.data.tolist()
        values = self.data.tolist()
        if numpy.isfinite(self.data).all():
            return values
        names = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
        return [names.get(str(value), value) for value in values]


def _value(proto_type, path):
    """A .pb file: a tensor, a list (a sequence) or None (an optional without a value)."""
    kind = proto_type.WhichOneof("value")
    holder = {"tensor_type": TensorProto, "sequence_type": SequenceProto,
              "optional_type": OptionalProto}[kind]()
    holder.ParseFromString(path.read_bytes())
    if kind == "tensor_type":
        return Tensor(holder, proto_type.tensor_type.elem_type)
    return _plain(holder)


def _plain(proto):
    if isinstance(proto, TensorProto):
        return Tensor(proto, proto.data_type)
    if isinstance(proto, OptionalProto):
        names = {OptionalProto.TENSOR: "tensor_value", OptionalProto.SEQUENCE: "sequence_value",
                 OptionalProto.OPTIONAL: "optional_value"}
        return _plain(getattr(proto, names[proto.elem_type])) if proto.elem_type in names else None
    fields = {SequenceProto.TENSOR: "tensor_values", SequenceProto.SEQUENCE: "sequence_values"}
    return [_plain(item) for item in getattr(proto, fields[proto.elem_type])]


class Case:
    def __init__(self, family, folder):
        self.family = family
        self.folder = folder
        self.name = folder.name
        self.id = f"{family}/{folder.name}"
        self.model_name = f"{family}.{folder.name}"

    @functools.cached_property
    def graph(self):
        return onnx.load(self.folder / "model.onnx", load_external_data=False).graph

    def data_sets(self):
        return sorted(self.folder.glob("test_data_set_*"))

    def inputs(self, data_set):
        """Names and values. A name that the model has a value of its own for (an initializer) is no input."""
        own = {item.name for item in self.graph.initializer}
        values = [(item.name, _value(item.type, data_set / f"input_{index}.pb"))
                  for index, item in enumerate(self.graph.input)
                  if (data_set / f"input_{index}.pb").exists()]
        return [(name, value) for name, value in values if name not in own]

    def outputs(self, data_set):
        return [(item.name, _value(item.type, data_set / f"output_{index}.pb"))
                for index, item in enumerate(self.graph.output)]


def all_cases():
    return [Case(family, folder.parent)
            for family in ("node", "simple", "pytorch-operator", "pytorch-converted")
            for folder in sorted((DATA / family).glob("*/model.onnx"))]


def to_json(name, value):
    """One input as the predict call takes it."""
    if value is None:
        return {"name": name, "datatype": "OPTIONAL", "data": None}
    if isinstance(value, list):
        return {"name": name, "datatype": "SEQUENCE", "data": [item.to_json() for item in value]}
    return {"name": name, **value.to_json()}


def difference(given, expected):
    """None if an output (the value of its JSON) is what was expected, else a sentence."""
    if expected is None:
        return None if given["data"] is None else "a value, expected none"
    if isinstance(expected, list):
        if given["datatype"] != "SEQUENCE" or len(given["data"]) != len(expected):
            return f"{given['datatype']} of {len(given['data'])}, expected a sequence of {len(expected)}"
        found = [difference(mine, theirs) for mine, theirs in zip(given["data"], expected)]
        return next((text for text in found if text), None)
    if (given["datatype"], given["shape"]) != (expected.datatype, expected.shape):
        return (f"{given['datatype']} {given['shape']}, "
                f"expected {expected.datatype} {expected.shape}")
    if expected.datatype not in FLOATS:
        same = given["data"] == list(expected.data)
        return None if same else f"{given['data'][:8]}, expected {list(expected.data)[:8]}"
    mine = numpy.array([float(value) for value in given["data"]], dtype=NUMBERS[expected.datatype])
    close = numpy.isclose(mine, expected.data, RELATIVE, ABSOLUTE, equal_nan=True)
    if mine.shape == expected.data.shape and close.all():
        return None
    at = int(numpy.argmin(close))
    return f"element {at} is {mine[at]}, expected {expected.data[at]} ({(~close).sum()} differ)"
