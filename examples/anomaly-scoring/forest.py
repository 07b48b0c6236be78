"""A random cut forest: how unlike the points it has seen is this one?

Robust Random Cut Forest Based Anomaly Detection On Streams (Guha, Mishra, Roy, Schrijvers; ICML 2016). Each tree cuts a
sample of the training points apart by random planes. A point that a random plane would cut off early, near the root, is
far from all others; the score is high. Plain Python on purpose: it is small, and what runs in production is a managed
endpoint with the same request and answer.
"""

import json
import math
import random


class Node:
    """A box around some points, and the cut that parts it. A leaf has no cut and one point, seen `mass` times."""

    __slots__ = ("low", "high", "mass", "axis", "at", "left", "right")

    def __init__(self, points):
        self.low = [min(column) for column in zip(*points)]
        self.high = [max(column) for column in zip(*points)]
        self.mass = len(points)
        self.axis = None


def grow(points, rng):
    node = Node(points)
    ranges = [high - low for low, high in zip(node.low, node.high)]
    if sum(ranges) == 0:
        return node
    # The longer a side of the box, the likelier it is cut.
    node.axis = rng.choices(range(len(ranges)), weights=ranges)[0]
    low, high = node.low[node.axis], node.high[node.axis]
    node.at = min(rng.uniform(low, high), math.nextafter(high, low))
    node.left = grow([point for point in points if point[node.axis] <= node.at], rng)
    node.right = grow([point for point in points if point[node.axis] > node.at], rng)
    return node


def score_in(node, point, depth=0):
    """The expected score over all cuts that could have been made with `point` in the tree."""
    inside = sum(high - low for low, high in zip(node.low, node.high))
    beyond = sum(max(0.0, low - x) + max(0.0, x - high) for low, high, x in zip(node.low, node.high, point))
    cut_off = beyond / (inside + beyond) if beyond > 0 else 0.0
    if node.axis is None:
        known = 1 / (depth + math.log2(node.mass + 1))
        return cut_off / (depth + 1) + (1 - cut_off) * known if beyond > 0 else known
    child = node.left if point[node.axis] <= node.at else node.right
    return cut_off / (depth + 1) + (1 - cut_off) * score_in(child, point, depth + 1)


class Forest:
    """Trees over samples of the training points. The same model and seed give the same scores everywhere."""

    def __init__(self, model):
        rng = random.Random(model["seed"])
        self.mean, self.deviation = model["mean"], model["deviation"]
        self.size = model["sample"]
        self.trees = [grow(rng.sample(model["points"], self.size), rng) for _ in range(model["trees"])]

    @classmethod
    def load(cls, path):
        with open(path, encoding="utf-8") as file:
            return cls(json.load(file))

    def score(self, features):
        if len(features) != len(self.mean):
            raise ValueError(f"{len(features)} features, and the model has {len(self.mean)}")
        point = [(x - mean) / deviation for x, mean, deviation in zip(features, self.mean, self.deviation)]
        total = sum(score_in(tree, point) for tree in self.trees)
        return total / len(self.trees) * math.log2(self.size + 1)


def model_of(points, trees=40, sample=64, seed=7):
    """A model: every feature scaled to mean 0 and deviation 1, so that none counts for more by its unit."""
    mean = [sum(column) / len(column) for column in zip(*points)]
    deviation = [
        math.sqrt(sum((x - m) ** 2 for x in column) / len(column)) or 1.0 for column, m in zip(zip(*points), mean)
    ]
    scaled = [[round((x - m) / d, 3) for x, m, d in zip(point, mean, deviation)] for point in points]
    return {
        "seed": seed,
        "trees": trees,
        "sample": sample,
        "mean": [round(m, 6) for m in mean],
        "deviation": [round(d, 6) for d in deviation],
        "points": scaled,
    }
