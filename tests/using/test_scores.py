"""Scores against scikit-learn, where it is installed, and worked by hand."""

import math

import numpy as np
import pytest

from salt_fairseq.evaluation import scores


def test_by_hand():
    """Label 0: 3 of 4 found, 1 wrong (F1 6/8); label 1: 1 of 2 found, 1 wrong (F1 2/4); label 2 is no target and no prediction."""
    confusion = scores.confusion_matrix(np.array([0, 0, 0, 0, 1, 1]), np.array([0, 0, 0, 1, 1, 0]), 3)
    assert confusion.tolist() == [[3, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert scores.macro_f1(confusion) == pytest.approx(100 * (6 / 8 + 2 / 4) / 2) and scores.accuracy(confusion) == pytest.approx(400 / 6)
    loss = scores.cross_entropy(np.array([[0.0, 0.0], [math.log(3), 0.0]]), np.array([0, 1]))
    assert loss == pytest.approx((math.log(2) + math.log(4)) / 2)


def test_against_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    for labels in (2, 3, 7):
        targets, predictions = generator.integers(labels, size=(2, 200))
        confusion = scores.confusion_matrix(targets, predictions, labels)
        np.testing.assert_array_equal(confusion, metrics.confusion_matrix(targets, predictions, labels=range(labels)))
        assert scores.macro_f1(confusion) == pytest.approx(100 * metrics.f1_score(targets, predictions, average="macro"))
