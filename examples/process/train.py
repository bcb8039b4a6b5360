#!/usr/bin/python3
"""Puts the pickled model of the example `iris` into a folder: python3 examples/process/train.py MODELS

The folder is a model repository, such as `orrery serve --models MODELS` reads. A pickle belongs to the version of
scikit-learn that wrote it, so none is kept here."""
import pathlib
import pickle
import shutil
import sys

from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

models = pathlib.Path(sys.argv[1])
iris = load_iris()
model = RandomForestClassifier(n_estimators=20, random_state=0).fit(iris.data, iris.target)

# Made beside the place and moved in: nobody sees half a model.
staging = models / ".iris"
shutil.copytree(pathlib.Path(__file__).parent / "iris", staging)
(staging / "1" / "model.pickle").write_bytes(pickle.dumps((model, iris.target_names.tolist())))
staging.rename(models / "iris")
