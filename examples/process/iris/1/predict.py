"""Parameters: {"data": [[sepal length, sepal width, petal length, petal width], …]} in centimetres."""
import json
import pickle
import sys

with open("model.pickle", "rb") as file:
    model, names = pickle.load(file)
found = model.predict(json.load(sys.stdin)["data"])
json.dump({"species": [names[each] for each in found]}, sys.stdout)
