#!/usr/bin/python3
"""Makes the tiny models that tests run: python3 tests/models/make.py. The files are committed beside it."""
import pathlib

import onnx
from onnx import TensorProto, helper

HERE = pathlib.Path(__file__).resolve().parent


def save(name, nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(nodes, name, inputs, outputs, initializer=list(initializers))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13),
                                                      helper.make_opsetid("ai.onnx.ml", 1)], ir_version=8)
    onnx.checker.check_model(model)
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString())


def floats(name, shape):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def constant(name, kind, value):
    return helper.make_tensor(name, kind, [], [value])


def line():
    """y = 2 x + 1, for any number of rows."""
    save("line",
         [helper.make_node("Mul", ["x", "two"], ["doubled"]),
          helper.make_node("Add", ["doubled", "one"], ["y"])],
         [floats("x", ["rows", 1])], [floats("y", ["rows", 1])],
         [constant("two", TensorProto.FLOAT, 2.0), constant("one", TensorProto.FLOAT, 1.0)])


def endless():
    """A loop that never ends."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]),
         helper.make_node("Identity", ["state"], ["state_out"])],
        "body",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []),
         helper.make_tensor_value_info("go", TensorProto.BOOL, []), floats("state", None)],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), floats("state_out", None)])
    save("endless", [helper.make_node("Loop", ["", "true", "x"], ["y"], body=body)],
         [floats("x", ["rows", 1])], [floats("y", ["rows", 1])],
         [constant("true", TensorProto.BOOL, True)])


def rounds():
    """Counts as far as it is told: quick or as slow as one likes."""
    scalar = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Add", ["count", "one"], ["count_out"]),
         helper.make_node("Identity", ["go"], ["go_on"])],
        "body",
        [scalar("i", TensorProto.INT64, []), scalar("go", TensorProto.BOOL, []),
         scalar("count", TensorProto.FLOAT, [])],
        [scalar("go_on", TensorProto.BOOL, []), scalar("count_out", TensorProto.FLOAT, [])])
    save("rounds",
         [helper.make_node("Squeeze", ["rounds"], ["times"]),
          helper.make_node("Loop", ["times", "", "zero"], ["y"], body=body)],
         [scalar("rounds", TensorProto.INT64, [1])], [floats("y", [])],
         [constant("zero", TensorProto.FLOAT, 0.0), constant("one", TensorProto.FLOAT, 1.0)])


def picky():
    """Fails at run time for any number of rows but 2: it is no mistake of the signature."""
    save("picky", [helper.make_node("Reshape", ["x", "shape"], ["y"])],
         [floats("x", ["rows", 1])], [floats("y", [1, 2])],
         [helper.make_tensor("shape", TensorProto.INT64, [2], [1, 2])])


def map_of_floats():
    made = onnx.TypeProto()
    made.map_type.key_type = TensorProto.STRING
    made.map_type.value_type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    return made


def zipmap():
    """A classifier as scikit-learn's converters export it: probabilities as a sequence of maps."""
    save("zipmap",
         [helper.make_node("LinearClassifier", ["x"], ["label", "scores"], domain="ai.onnx.ml",
                           coefficients=[-1.0, 1.0], intercepts=[0.0, 0.0], classlabels_strings=["no", "yes"],
                           post_transform="NONE"),
          helper.make_node("ZipMap", ["scores"], ["probabilities"], domain="ai.onnx.ml",
                           classlabels_strings=["no", "yes"])],
         [floats("x", ["rows", 1])],
         [helper.make_tensor_value_info("label", TensorProto.STRING, ["rows"]),
          helper.make_value_info("probabilities", helper.make_sequence_type_proto(map_of_floats()))])


line()
endless()
rounds()
picky()
zipmap()
