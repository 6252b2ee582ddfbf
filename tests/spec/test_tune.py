from __future__ import annotations

import pytest
import yaml

from geocube_ml.errors import SpecError
from geocube_ml.spec.models import model_spec
from geocube_ml.spec.tune import TuneSpec, changed, usual_space

KINDS = (
    "tempcnn", "tempcnn-attention", "ltae", "lstm", "gru", "inceptiontime", "fusion", "forest",
    "boosting", "minirocket",
)  # fmt: skip


def read(text):
    return TuneSpec.read(yaml.safe_load(text), where="recipe.yaml")


def test_two_numbers_are_a_range_and_others_are_choices():
    spec = read(
        "models: {tempcnn: {learning_rate: [1e-4, 1e-2], width: [32, 64], kernel: [3, 5, 7]}}"
    )
    space = spec.space("tempcnn", model_spec("tempcnn"))
    rate, width, kernel = (space[name] for name in ("learning_rate", "width", "kernel"))
    assert (rate.low, rate.high, rate.is_log, rate.is_whole) == (1e-4, 1e-2, True, False)
    assert (width.low, width.high, width.is_log, width.is_whole) == (32, 64, False, True)
    assert kernel.choices == (3, 5, 7)


def test_true_and_false_are_choices():
    space = read("models: {tempcnn: {mixed: [false, true]}}").space(
        "tempcnn", model_spec("tempcnn")
    )
    assert space["mixed"].choices == (False, True)


@pytest.mark.parametrize("text", ["[0.1, 0.01]", "[]", "0.5", "[3, 3]"])
def test_what_is_neither_is_refused(text):
    with pytest.raises(SpecError, match=r"tempcnn"):
        read(f"models: {{tempcnn: {{dropout: {text}}}}}")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_has_a_usual_space_that_it_accepts(kind):
    spec = model_spec(kind)
    space = TuneSpec().space(kind, spec)
    assert set(space) == set(usual_space(spec))
    assert space


def test_a_field_within_another_is_reached_by_a_dot():
    spec = changed(model_spec("fusion"), {"encoder.width": 32})
    assert spec.encoder.width == 32
    with pytest.raises(ValueError, match=r"no field 'encoder\.depth'"):
        changed(model_spec("fusion"), {"encoder.depth": 3})
