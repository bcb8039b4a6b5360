#!/usr/bin/python3
"""Train the sample models and write them as ONNX, with rows to check them by.

    /usr/bin/python3 examples/train.py

The data sets are the real ones that come with scikit-learn, so nothing is downloaded. Written are

    examples/models/<name>/1/model.onnx   the model, in the layout that orrery serves
    examples/samples/<name>.json          held-out rows, and what scikit-learn answers for them
    examples/demo.json                    the scheduled run that `make run` creates

Run again, it writes the same bytes: every split and every initial weight comes from a fixed seed.

All data is rounded to float32 first, as that is what the models take. So scikit-learn, which
computes in float64, and ONNX Runtime, which computes in float32, start from equal numbers, and what is
left between their answers is rounding alone.
"""

import json
import pathlib
import re

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

EXAMPLES = pathlib.Path(__file__).resolve().parent
SEED = 20260101
SAMPLE_ROWS = 8
# Operator sets that every ONNX Runtime since 2021 knows: the files should outlive their exporter.
OPSETS = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 1)]
IR_VERSION = 8


def as_float32(values):
    """The values rounded to float32, but held as float64, so that scikit-learn computes in float64."""
    return np.asarray(values, dtype=np.float32).astype(np.float64)


def float32_not_above(values):
    """The largest float32 that is not above each value.

    A tree asks `x <= threshold` of a float32 x and a float64 threshold. Rounded to the nearest
    float32, a threshold could pass an x that it had stopped; rounded down, it decides alike for
    every x.
    """
    rounded = np.asarray(values, dtype=np.float64).astype(np.float32)
    above = rounded.astype(np.float64) > values
    rounded[above] = np.nextafter(rounded[above], np.float32(-np.inf))
    return rounded


def constant(name, values):
    return numpy_helper.from_array(np.asarray(values, dtype=np.float32), name)


def classifier_outputs(classes):
    return [
        helper.make_tensor_value_info("label", TensorProto.INT64, ["batch"]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", classes]),
    ]


def classifier_tail(logits):
    """From one number a class to probabilities and the likeliest class. Both data sets number their
    classes 0, 1, 2 …, so the index is the label."""
    return [
        helper.make_node("Softmax", [logits], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]


def write_model(name, description, feature_names, outputs, nodes, constants, metadata):
    features = helper.make_tensor_value_info(
        "features",
        TensorProto.FLOAT,
        ["batch", len(feature_names)],
        doc_string="in this order: " + ", ".join(feature_names),
    )
    graph = helper.make_graph(
        nodes, name, [features], outputs, initializer=constants, doc_string=description
    )
    model = helper.make_model(
        graph,
        opset_imports=OPSETS,
        ir_version=IR_VERSION,
        producer_name="orrery examples/train.py",
        doc_string=description,
    )
    helper.set_model_props(
        model, {"feature_names": json.dumps(feature_names), **metadata}
    )
    onnx.checker.check_model(model, full_check=True)
    path = EXAMPLES / "models" / name / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def rows_as_json(rows):
    # A float32 printed as such has few digits (0.1184), and read back it is the same float32.
    return [[float(str(np.float32(value))) for value in row] for row in rows]


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=2)
    # A row a line: the arrays that hold no other.
    text = re.sub(r"\[[^][]*\]", lambda row: re.sub(r"\s+", " ", row[0]), text)
    path.write_text(text.replace("[ ", "[").replace(" ]", "]") + "\n")


def write_samples(name, rows, expected):
    write_json(
        EXAMPLES / "samples" / f"{name}.json",
        {
            "model_name": name,
            "parameters": {"data": rows_as_json(rows)},
            "expected": {key: np.asarray(values).tolist() for key, values in expected.items()},
        },
    )


def train_breast_cancer():
    name = "breast-cancer"
    data = load_breast_cancer()
    features = as_float32(data.data)
    train_x, test_x, train_y, test_y = train_test_split(
        features, data.target, test_size=0.25, random_state=SEED, stratify=data.target
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(random_state=SEED, max_iter=1000))
    model.fit(train_x, train_y)
    scaler, regression = model[0], model[1]

    # The scaling stays a step of its own. Folded into the weights it would subtract large products
    # from each other (areas in the thousands), and float32 would lose digits.
    # A softmax over [0, z] is the logistic function of z: one tail serves both classifiers.
    weights = np.hstack([np.zeros((features.shape[1], 1)), regression.coef_.T])
    biases = [0.0, regression.intercept_[0]]
    nodes = [
        helper.make_node("Sub", ["features", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "scale"], ["scaled"]),
        helper.make_node("Gemm", ["scaled", "weights", "biases"], ["logits"]),
        *classifier_tail("logits"),
    ]
    constants = [
        constant("mean", scaler.mean_),
        constant("scale", scaler.scale_),
        constant("weights", weights),
        constant("biases", biases),
    ]
    write_model(
        name,
        "Is a breast mass malignant (0) or benign (1), from 30 measurements of its cell nuclei? "
        "Standardised features and a logistic regression.",
        [str(feature) for feature in data.feature_names],
        classifier_outputs(2),
        nodes,
        constants,
        {"class_names": json.dumps([str(target) for target in data.target_names])},
    )
    rows = test_x[:SAMPLE_ROWS]
    write_samples(
        name, rows, {"label": model.predict(rows), "probabilities": model.predict_proba(rows)}
    )
    write_json(
        EXAMPLES / "demo.json",
        {
            "name": "demo",
            "description": "Two patients' measurements, classified every ten seconds.",
            "model_name": name,
            "schedule": "*/10 * * * * *",
            "parameters": {"data": rows_as_json(test_x[:2])},
            "enabled": True,
        },
    )
    return name, len(train_x), len(test_x), f"accuracy {model.score(test_x, test_y):.3f}"


def regressor_trees(model):
    """The trees as the attributes of one TreeEnsembleRegressor, node by node."""
    nodes = {
        key: []
        for key in ("treeids", "nodeids", "featureids", "values", "modes", "truenodeids", "falsenodeids")
    }
    targets = {key: [] for key in ("treeids", "nodeids", "ids", "weights")}
    for tree_id, tree in enumerate(stage[0].tree_ for stage in model.estimators_):
        thresholds = float32_not_above(tree.threshold)
        for node in range(tree.node_count):
            leaf = tree.children_left[node] == -1
            nodes["treeids"].append(tree_id)
            nodes["nodeids"].append(node)
            nodes["featureids"].append(0 if leaf else int(tree.feature[node]))
            nodes["values"].append(0.0 if leaf else float(thresholds[node]))
            nodes["modes"].append("LEAF" if leaf else "BRANCH_LEQ")
            nodes["truenodeids"].append(0 if leaf else int(tree.children_left[node]))
            nodes["falsenodeids"].append(0 if leaf else int(tree.children_right[node]))
            if leaf:
                targets["treeids"].append(tree_id)
                targets["nodeids"].append(node)
                targets["ids"].append(0)
                # scikit-learn scales each tree's answer as it adds it up; here the leaves hold it.
                targets["weights"].append(float(model.learning_rate * tree.value[node, 0, 0]))
    attributes = {f"nodes_{key}": values for key, values in nodes.items()}
    attributes.update({f"target_{key}": values for key, values in targets.items()})
    # What the boosting starts from: the mean of the training targets.
    attributes["base_values"] = [float(model.init_.constant_[0, 0])]
    return attributes


def train_diabetes():
    name = "diabetes"
    # Not scaled: a person can type an age of 59 years, but not one of 0.038.
    data = load_diabetes(scaled=False)
    features = as_float32(data.data)
    train_x, test_x, train_y, test_y = train_test_split(
        features, data.target, test_size=0.25, random_state=SEED
    )
    model = GradientBoostingRegressor(
        n_estimators=120, max_depth=3, learning_rate=0.05, subsample=0.8, random_state=SEED
    )
    model.fit(train_x, train_y)
    trees = helper.make_node(
        "TreeEnsembleRegressor",
        ["features"],
        ["progression"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function="SUM",
        post_transform="NONE",
        **regressor_trees(model),
    )
    write_model(
        name,
        "How far will diabetes have progressed a year later (25 to 346), from age, sex, body mass "
        "index, blood pressure and six blood serum values? Boosted regression trees.",
        [str(feature) for feature in data.feature_names],
        [helper.make_tensor_value_info("progression", TensorProto.FLOAT, ["batch", 1])],
        [trees],
        [],
        {},
    )
    rows = test_x[:SAMPLE_ROWS]
    write_samples(name, rows, {"progression": model.predict(rows).reshape(-1, 1)})
    error = mean_absolute_error(test_y, model.predict(test_x))
    score = f"R² {model.score(test_x, test_y):.3f}, mean absolute error {error:.1f}"
    return name, len(train_x), len(test_x), score


def train_digits():
    name = "digits"
    data = load_digits()
    brightest = 16.0
    features = as_float32(data.data)
    train_x, test_x, train_y, test_y = train_test_split(
        features, data.target, test_size=0.25, random_state=SEED, stratify=data.target
    )
    model = MLPClassifier(hidden_layer_sizes=(48,), random_state=SEED, max_iter=400)
    model.fit(train_x / brightest, train_y)
    nodes = [
        helper.make_node("Div", ["features", "brightest"], ["scaled"]),
        helper.make_node("Gemm", ["scaled", "weights_1", "biases_1"], ["sums"]),
        helper.make_node("Relu", ["sums"], ["hidden"]),
        helper.make_node("Gemm", ["hidden", "weights_2", "biases_2"], ["logits"]),
        *classifier_tail("logits"),
    ]
    constants = [constant("brightest", brightest)]
    for layer, (weights, biases) in enumerate(zip(model.coefs_, model.intercepts_), start=1):
        constants.append(constant(f"weights_{layer}", weights))
        constants.append(constant(f"biases_{layer}", biases))
    write_model(
        name,
        "Which digit is this, in a picture of 8 by 8 pixels with brightness 0 to 16? "
        "A neural network with one hidden layer.",
        [str(feature) for feature in data.feature_names],
        classifier_outputs(10),
        nodes,
        constants,
        {"class_names": json.dumps([str(target) for target in data.target_names])},
    )
    rows = test_x[:SAMPLE_ROWS]
    scaled = rows / brightest
    write_samples(
        name, rows, {"label": model.predict(scaled), "probabilities": model.predict_proba(scaled)}
    )
    score = f"accuracy {model.score(test_x / brightest, test_y):.3f}"
    return name, len(train_x), len(test_x), score


def main():
    print(f"{'model':<16}{'trained on':>10}{'held out':>10}  score on the held-out rows")
    for train in (train_breast_cancer, train_diabetes, train_digits):
        name, trained, held_out, score = train()
        print(f"{name:<16}{trained:>10}{held_out:>10}  {score}")


if __name__ == "__main__":
    main()
