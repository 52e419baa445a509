"""Regression on features of any unit: the same score after the features were mis-scaled."""

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.metrics import mean_absolute_error, r2_score
from sklearn.model_selection import train_test_split

import fisherkern as fk

X, y = load_diabetes(return_X_y=True, scaled=False)  # age in years, blood pressure, ...
rng = np.random.default_rng(0)
unit, origin = 10.0 ** rng.uniform(-3, 3, X.shape[1]), rng.normal(size=X.shape[1])
rows = train_test_split(np.arange(y.size), random_state=0)

for name, features in (("raw", X), ("mis-scaled", unit * (X + origin * X.std(axis=0)))):
    train, test = rows
    model = fk.SparseNetRegressor(n_networks=2, random_state=0).fit(features[train], y[train])
    predicted = model.predict(features[test])
    print(f"{name} features: R^2 {r2_score(y[test], predicted):.3f}, "
          f"mean absolute error {mean_absolute_error(y[test], predicted):.1f}")
