"""Every type of tensor through the real worker: exactly, in both directions, and what does not fit is refused with
what was expected. (tests/onnx has the operators.)"""

import base64
import math
import random
import struct

import pytest
from conftest import error_of, write_model
from onnx import TensorProto, helper

WHOLE = {
    "INT8": (TensorProto.INT8, -(2**7), 2**7 - 1), "INT16": (TensorProto.INT16, -(2**15), 2**15 - 1),
    "INT32": (TensorProto.INT32, -(2**31), 2**31 - 1), "INT64": (TensorProto.INT64, -(2**63), 2**63 - 1),
    "UINT8": (TensorProto.UINT8, 0, 2**8 - 1), "UINT16": (TensorProto.UINT16, 0, 2**16 - 1),
    "UINT32": (TensorProto.UINT32, 0, 2**32 - 1), "UINT64": (TensorProto.UINT64, 0, 2**64 - 1),
}
# How its bits are read, how many they are, and which a NaN or an infinity has.
FLOATS = {"FP16": (TensorProto.FLOAT16, "e", 16, 0x7C00), "FP32": (TensorProto.FLOAT, "f", 32, 0xFF << 23),
          "FP64": (TensorProto.DOUBLE, "d", 64, 0x7FF << 52), "BF16": (TensorProto.BFLOAT16, None, 16, 0x7F80)}
UNSIGNED = {16: "H", 32: "I", 64: "Q"}


def tensor(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def identity(models, name, kind, shape=("n",)):
    write_model(models, name, 1, helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], name, [tensor("x", kind, shape)],
        [tensor("y", kind, shape)]))


def sequence(kind):
    return helper.make_sequence_type_proto(helper.make_tensor_type_proto(kind, None))


def optional_of(made):
    return helper.make_optional_type_proto(made)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    for name, (kind, *_) in {**WHOLE, **FLOATS}.items():
        identity(folder, name, kind)
    identity(folder, "BOOL", TensorProto.BOOL)
    identity(folder, "BYTES", TensorProto.STRING)
    identity(folder, "scalar", TensorProto.FLOAT, ())
    identity(folder, "deep", TensorProto.INT32, ("a", 2, "b"))
    write_raw(folder, "anything", helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "anything", [tensor("x", TensorProto.FLOAT, None)],
        [tensor("y", TensorProto.FLOAT, None)]))
    write_model(folder, "no-inputs", 1, helper.make_graph(
        [helper.make_node("Constant", [], ["y"], value_ints=[1, 2, 3])], "no-inputs", [],
        [tensor("y", TensorProto.INT64, [3])]))
    write_model(folder, "several", 1, helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["sum"]), helper.make_node("Mul", ["a", "b"], ["product"])],
        "several", [tensor("a", TensorProto.INT64, ("n",)), tensor("b", TensorProto.INT64, ("n",))],
        [tensor("sum", TensorProto.INT64, ("n",)), tensor("product", TensorProto.INT64, ("n",))]))
    write_raw(folder, "sequence", helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "sequence",
        [helper.make_value_info("x", sequence(TensorProto.STRING))],
        [helper.make_value_info("y", sequence(TensorProto.STRING))]))
    write_raw(folder, "optional", helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])], "optional",
        [helper.make_value_info("x", optional_of(helper.make_tensor_type_proto(TensorProto.FLOAT, [2])))],
        [helper.make_value_info("y", optional_of(helper.make_tensor_type_proto(TensorProto.FLOAT, [2])))]))
    # FLOAT8E4M3FN is newer than this package: its number in onnx.proto is 17, its operators are of set 19.
    write_raw(folder, "float8", helper.make_graph(
        [helper.make_node("Cast", ["x"], ["y"], to=17)], "float8", [tensor("x", TensorProto.FLOAT, ("n",))],
        [tensor("y", 17, ("n",))]), 19)
    write_raw(folder, "float8-input", helper.make_graph(
        [helper.make_node("Cast", ["x"], ["y"], to=1)], "float8-input", [tensor("x", 17, ("n",))],
        [tensor("y", TensorProto.FLOAT, ("n",))]), 19)
    return folder


def write_raw(models, name, graph, operators=17):
    """What the package's own checker does not know yet, or of another operator set."""
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", operators)])
    model.ir_version = 9
    place = models / name / "1"
    place.mkdir(parents=True)
    (place / "model.onnx").write_bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def api(make_daemon, models):
    daemon = make_daemon(models).start()
    with daemon.client(daemon.create_key("alice")) as client:
        yield client


def predict(api, name, *inputs):
    return api.post(f"/api/models/{name}/predict", json={"inputs": list(inputs)})


def x(datatype, data, shape=None):
    return {"name": "x", "datatype": datatype, "shape": [len(data)] if shape is None else shape, "data": data}


def outputs(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"]


@pytest.mark.parametrize("datatype", WHOLE)
def test_whole_numbers_come_back_exactly(api, datatype):
    _, lowest, highest = WHOLE[datatype]
    chance = random.Random(datatype)
    data = [lowest, lowest + 1, 0, 1, highest - 1, highest] + [chance.randint(lowest, highest) for _ in range(1000)]
    assert outputs(predict(api, datatype, x(datatype, data))) == [
        {"name": "y", "datatype": datatype, "shape": [len(data)], "data": data}]
    for beyond in (lowest - 1, highest + 1):
        message = error_of(predict(api, datatype, x(datatype, [0, beyond])), 400, "InvalidParameters")["message"]
        assert message == (f"parameters.inputs[0].data[1] is wrong: {beyond} is out of range of {datatype} "
                           f"(input 'x' is {datatype} [-1])")


def float_of(datatype, bits):
    if datatype == "BF16":
        return struct.unpack("f", struct.pack("I", bits << 16))[0]
    _, letter, width, _ = FLOATS[datatype]
    return struct.unpack(letter, struct.pack(UNSIGNED[width], bits))[0]


def bits_of(datatype, value):
    if datatype == "BF16":
        wide = struct.unpack("I", struct.pack("f", value))[0]
        assert wide & 0xFFFF == 0
        return wide >> 16
    _, letter, width, _ = FLOATS[datatype]
    return struct.unpack(UNSIGNED[width], struct.pack(letter, value))[0]


@pytest.mark.parametrize("datatype", FLOATS)
def test_floats_come_back_bit_for_bit(api, datatype):
    _, _, width, special = FLOATS[datatype]
    if width == 16:
        bits = list(range(1 << 16))
    else:
        chance = random.Random(datatype)
        edges = [0, 1, 2, special - 1, special >> 1, (1 << (width - 10)) - 1]
        bits = edges + [edge | 1 << (width - 1) for edge in edges] + [chance.getrandbits(width) for _ in range(20000)]
    bits = [value for value in bits if value & special != special]
    data = [float_of(datatype, value) for value in bits]
    output, = outputs(predict(api, datatype, x(datatype, data)))
    assert output["datatype"] == datatype and output["shape"] == [len(bits)]
    assert [bits_of(datatype, value) for value in output["data"]] == bits


@pytest.mark.parametrize("datatype", FLOATS)
def test_what_is_no_finite_number_has_a_name(api, datatype):
    data = ["NaN", "Infinity", "-Infinity", -0.0, 0.0]
    output, = outputs(predict(api, datatype, x(datatype, data)))
    assert output["data"] == data
    assert [math.copysign(1, value) for value in output["data"][3:]] == [-1, 1]
    message = error_of(predict(api, datatype, x(datatype, ["nan"])), 400, "InvalidParameters")["message"]
    assert 'expected a number (or "NaN", "Infinity", "-Infinity"), got a string' in message


def test_truth_values_come_back(api):
    output, = outputs(predict(api, "BOOL", x("BOOL", [True, False, 1, 0])))
    assert output["data"] == [True, False, True, False]


def test_strings_and_binary_come_back_whole(api):
    binary = [bytes(range(256)), b"\x00", b"a\x00b", b"\xff", b"\xed\xa0\x80"]
    data = ["", "plain", "\u00e4\u20ac\U0001f600", "line\nbreak \"quoted\" \\"] + [
        {"b64": base64.b64encode(value).decode()} for value in binary]
    output, = outputs(predict(api, "BYTES", x("BYTES", data)))
    assert output["data"] == data
    text = {"b64": base64.b64encode("\u00e4".encode()).decode()}
    output, = outputs(predict(api, "BYTES", x("BYTES", [text])))
    assert output["data"] == ["\u00e4"]
    error_of(predict(api, "BYTES", x("BYTES", [{"b64": "not base64"}])), 400, "InvalidParameters")


@pytest.mark.parametrize("datatype", [*WHOLE, *FLOATS, "BOOL", "BYTES"])
def test_an_empty_tensor_is_a_tensor(api, datatype):
    assert outputs(predict(api, datatype, x(datatype, []))) == [
        {"name": "y", "datatype": datatype, "shape": [0], "data": []}]


def test_a_scalar_has_no_dimensions(api):
    for data in (2.5, [2.5]):
        output, = outputs(predict(api, "scalar", x("FP32", data, [])))
        assert output == {"name": "y", "datatype": "FP32", "shape": [], "data": [2.5]}


def test_dimensions_may_be_empty_or_fixed(api):
    for shape in ([0, 2, 3], [3, 2, 0], [2, 2, 2]):
        count = math.prod(shape)
        output, = outputs(predict(api, "deep", x("INT32", list(range(count)), shape)))
        assert output["shape"] == shape and output["data"] == list(range(count))
    message = error_of(predict(api, "deep", x("INT32", [1, 2, 3], [1, 3, 1])), 400, "InvalidParameters")["message"]
    assert message == "parameters.inputs[0] has the shape [1, 3, 1] (input 'x' is INT32 [-1, 2, -1])"
    message = error_of(predict(api, "deep", x("INT64", [1, 2], [1, 2, 1])), 400, "InvalidParameters")["message"]
    assert message == "parameters.inputs[0] has the datatype INT64 (input 'x' is INT32 [-1, 2, -1])"


def test_an_input_of_any_shape_takes_any(api):
    signature = api.get("/api/models/anything").json()["signature"]
    assert signature["inputs"] == [{"name": "x", "datatype": "FP32", "shape": None}]
    for shape in ([], [0], [3], [1, 2, 1, 2]):
        data = [float(i) for i in range(math.prod(shape))]
        output, = outputs(predict(api, "anything", x("FP32", data, shape)))
        assert output["shape"] == shape and output["data"] == data


@pytest.mark.parametrize("body", [None, {}, {"inputs": []}])
def test_a_model_without_inputs_takes_nothing(api, body):
    answer = api.post("/api/models/no-inputs/predict", json={"parameters": body})
    assert outputs(answer)[0]["data"] == [1, 2, 3]


def test_several_inputs_and_outputs(api):
    a = {"name": "a", "datatype": "INT64", "shape": [2], "data": [2**62, -3]}
    b = {"name": "b", "datatype": "INT64", "shape": [2], "data": [1, 5]}
    for inputs in ((a, b), (b, a)):
        assert [(output["name"], output["data"]) for output in outputs(predict(api, "several", *inputs))] == [
            ("sum", [2**62 + 1, 2]), ("product", [2**62, -15])]
    rows = api.post("/api/models/several/predict", json={"data": [{"b": 1, "a": 7}, [2, 3]]})
    assert [output["data"] for output in outputs(rows)] == [[8, 5], [7, 6]]
    error_of(predict(api, "several", a), 400, "InvalidParameters")


def test_a_sequence_is_a_list_of_tensors(api):
    assert api.get("/api/models/sequence").json()["signature"]["inputs"] == [
        {"name": "x", "datatype": "SEQUENCE", "of": "BYTES"}]
    data = [{"datatype": "BYTES", "shape": [1, 2], "data": ["a", {"b64": "AA=="}]},
            {"datatype": "BYTES", "shape": [], "data": ["b"]}, {"datatype": "BYTES", "shape": [0], "data": []}]
    answer = predict(api, "sequence", {"name": "x", "datatype": "SEQUENCE", "data": data})
    assert outputs(answer) == [{"name": "y", "datatype": "SEQUENCE", "data": data}]
    message = error_of(predict(api, "sequence", x("BYTES", ["a"])), 400, "InvalidParameters")["message"]
    assert message == "parameters.inputs[0] has the datatype BYTES (input 'x' is a sequence of BYTES)"


def test_an_optional_input_takes_a_value(api):
    output, = outputs(predict(api, "optional", x("FP32", [1.5, 2])))
    assert output["data"] == [1.5, 2]


def test_a_type_that_json_cannot_carry_is_refused_by_name(api):
    message = error_of(predict(api, "float8", x("FP32", [1])), 500, "ModelError")["message"]
    assert message == "output 'y': an output is of a type that JSON cannot carry, FLOAT8E4M3FN"
    message = error_of(predict(api, "float8-input", x("FP32", [1])), 400, "InvalidParameters")["message"]
    assert message == "the model's input 'x' is of a type that JSON cannot carry"
