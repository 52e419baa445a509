"""A stream of samples: each part is predicted first and learned from afterwards."""

import numpy as np

import fisherkern as fk

rng = np.random.default_rng(0)
turn = rng.normal(size=(8, 3))


def part_of_the_stream(n):
    """Three classes, in features of very different units."""
    X = rng.normal(size=(n, 8))
    y = (X @ turn + np.sin(3 * X[:, :3])).argmax(axis=1)
    return X * [1e-3, 1e-2, 0.1, 1, 10, 100, 1e3, 1e4], np.array(["low", "mid", "high"])[y]


model = fk.SparseNetClassifier(random_state=0)
X, y = part_of_the_stream(200)
model.partial_fit(X, y, classes=["high", "low", "mid"])  # all labels that will ever come

right = total = 0
for number in range(1, 61):
    X, y = part_of_the_stream(200)
    right += (model.predict(X) == y).sum()
    total += y.size
    model.partial_fit(X, y)
    if number % 15 == 0:
        print(f"parts {number - 14} to {number}: accuracy before learning {right / total:.3f}")
        right = total = 0
print(model.n_steps_, "steps in all")
