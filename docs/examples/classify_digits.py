"""Classify handwritten digits from raw pixels: a pipeline, cross-validation, probabilities."""

from sklearn.datasets import load_digits
from sklearn.feature_selection import VarianceThreshold
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline

import fisherkern as fk

X, y = load_digits(return_X_y=True)  # pixels 0 to 16, as they are
model = make_pipeline(
    VarianceThreshold(),  # some pixels never change
    fk.SparseNetClassifier(n_networks=1, random_state=0),  # one network, to save time
)
scores = cross_val_score(model, X, y, cv=3)
print("accuracy in 3 folds:", scores.round(3))

X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
model.fit(X_train, y_train)
print("held-out accuracy:", round(model.score(X_test, y_test), 3))

classifier = model[-1]
print("stopped after", classifier.n_steps_, "steps;", classifier.networks_[0])

# of which pictures is the model least sure?
certainty = model.predict_proba(X_test).max(axis=1)
for i in certainty.argsort()[:3]:
    print(f"a {y_test[i]}, taken for {model.predict(X_test[i:i + 1])[0]} "
          f"with probability {certainty[i]:.2f}")
