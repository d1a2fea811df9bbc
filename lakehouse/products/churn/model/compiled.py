"""Boosted trees of scikit-learn as an ONNX graph that says what each feature contributed.

A leaf has, for each feature asked on the way to it, how much the expected score changed there
(Saabas, "Interpreting random forests", 2014): the score is the base and the sum of them. The
score expected at a node is the mean of its leaves by the training rows that reached them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from sklearn.ensemble import GradientBoostingClassifier

INPUT, OUTPUT = "customers", "contributions"
_IR, _OPSET, _TREES = 9, 18, 3
"""Versions of the format that ONNX Runtime reads since 2023."""


def compiled(model: GradientBoostingClassifier, groups: Sequence[int], width: int) -> bytes:
    """An ONNX model: float64 rows × ``width`` → float32 contributions, rows × features.

    ``groups`` are the features of the columns. Thresholds are compared as 64 bits, so each row
    takes the branches that it takes in scikit-learn.
    """
    trees = _Trees(max(groups) + 1)
    for (tree,) in model.estimators_:
        trees.add(tree.tree_, groups, model.learning_rate)
    node = helper.make_node(
        "TreeEnsembleRegressor", [INPUT], [OUTPUT], domain="ai.onnx.ml", n_targets=trees.features,
        aggregate_function="SUM", post_transform="NONE", **trees.attributes,
        nodes_values_as_tensor=_tensor(trees.splits),
        target_weights_as_tensor=_tensor(trees.weights),
    )  # fmt: skip
    takes = helper.make_tensor_value_info(INPUT, TensorProto.DOUBLE, [None, width])
    gives = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [None, trees.features])
    graph = helper.make_graph([node], "churn", [takes], [gives])
    opsets = [helper.make_opsetid("ai.onnx.ml", _TREES), helper.make_opsetid("", _OPSET)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=_IR)
    return bytes(made.SerializeToString())


def base_of(model: GradientBoostingClassifier) -> float:
    """The score, as log odds, that is expected before anything is known of a customer."""
    no, yes = model.init_.class_prior_
    roots = sum(_expected(tree.tree_)[0] for (tree,) in model.estimators_)
    return float(math.log(yes / no) + model.learning_rate * roots)


def _expected(tree: Any) -> Any:
    """The score expected at each node: children have higher numbers than their parents."""
    values = tree.value[:, 0, 0].copy()
    left, right, rows = tree.children_left, tree.children_right, tree.weighted_n_node_samples
    for node in np.flatnonzero(left >= 0)[::-1]:
        a, b = left[node], right[node]
        values[node] = (rows[a] * values[a] + rows[b] * values[b]) / (rows[a] + rows[b])
    return values


def _tensor(cells: Sequence[float]) -> TensorProto:
    return numpy_helper.from_array(np.array(cells, np.float64))


class _Trees:
    """The nodes of trees, as lists with an entry a node, and of leaves' weights."""

    def __init__(self, features: int) -> None:
        self.features = features
        self.splits: list[float] = []
        self.weights: list[float] = []
        self.attributes: dict[str, Any] = {
            name: []
            for name in (
                "nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_modes",
                "nodes_truenodeids", "nodes_falsenodeids",
                "target_treeids", "target_nodeids", "target_ids",
            )
        }  # fmt: skip
        self._count = 0

    def add(self, tree: Any, groups: Sequence[int], rate: float) -> None:
        """The next tree, whose leaves count ``rate`` times."""
        number, self._count = self._count, self._count + 1
        expected = rate * _expected(tree)
        given = np.zeros((tree.node_count, self.features))
        for node in range(tree.node_count):
            left, right = int(tree.children_left[node]), int(tree.children_right[node])
            is_leaf = left < 0
            if is_leaf:
                self._leaf(number, node, given[node])
                told = (number, node, 0, "LEAF", 0, 0)
            else:
                column = int(tree.feature[node])
                for child in (left, right):
                    given[child] = given[node]
                    given[child, groups[column]] += expected[child] - expected[node]
                told = (number, node, column, "BRANCH_LEQ", left, right)
            for cells, cell in zip(self.attributes.values(), told, strict=False):
                cells.append(cell)
            self.splits.append(0.0 if is_leaf else float(tree.threshold[node]))

    def _leaf(self, tree: int, node: int, given: Any) -> None:
        for feature in np.flatnonzero(given):
            self.attributes["target_treeids"].append(tree)
            self.attributes["target_nodeids"].append(node)
            self.attributes["target_ids"].append(int(feature))
            self.weights.append(float(given[feature]))
