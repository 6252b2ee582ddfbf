"""Labels with a number that models estimate."""

from __future__ import annotations

import json

import numpy as np
import pytest

from geocube_ml.data.samples import NO_VALUE, gather_samples
from geocube_ml.errors import InputError
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.spec.models import ForestSpec, TempCNNSpec, UNetSpec
from geocube_ml.spec.samples import SamplesSpec
from geocube_ml.train import train_model
from tests.data.tables import table_of
from tests.seasons import make_cube

SPEC = SamplesSpec(block_m=100, value_column="agb", value_units="Mg/ha")


@pytest.fixture(scope="module")
def cube():
    """Fields of one class that are brighter the less grows on them."""
    cube = make_cube(names=("plot",), cloudy=0.1)
    field = cube["polygon"].values
    factor = 1 + (field % 7) / 7
    cube["s2"].values[:] = (cube["s2"].values * factor).astype("uint16")
    return cube


@pytest.fixture(scope="module")
def labels(cube):
    table = table_of(cube)
    return table.assign(agb=400 - 50.0 * (table["polygon"] % 7))


@pytest.fixture(scope="module")
def samples(cube, labels):
    return gather_samples(cube, SPEC, labels)


def test_each_sample_has_the_number_of_its_label(samples):
    assert samples["value"].dtype == "float64"
    np.testing.assert_array_equal(samples["value"], 400 - 50 * (samples["polygon"] % 7))
    assert samples["value"].attrs == {"units": "Mg/ha", "column": "agb"}


def test_the_column_may_be_called_value(cube, labels):
    spec = SPEC.model_copy(update={"value_column": "value"})
    got = gather_samples(cube, spec, labels.rename(columns={"agb": "value"}))
    np.testing.assert_array_equal(got["value"], 400 - 50 * (got["polygon"] % 7))
    assert got["value"].attrs == {"units": "Mg/ha", "column": "value"}


def test_labels_without_a_number_are_left_out_and_counted(cube, labels):
    some = labels.assign(agb=labels["agb"].where(labels["polygon"] % 3 != 0))
    got = gather_samples(cube, SPEC, some)
    assert not (got["polygon"] % 3 == 0).any()
    whole = gather_samples(cube, SPEC, labels)
    left_out = json.loads(got.attrs["left_out"])[NO_VALUE]
    assert left_out["labels"] == (labels["polygon"] % 3 == 0).sum()
    assert left_out["samples"] >= whole.sizes["sample"] - got.sizes["sample"] > 0


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (None, r"is 'agb', but the labels keep .*`columns`"),
        ("many", r"should hold the numbers .* has many"),
        (np.nan, r"None of the \d+ labelled samples has a number"),
    ],
)
def test_a_column_without_numbers_is_refused(cube, labels, column, says):
    table = labels.drop(columns="agb") if column is None else labels.assign(agb=column)
    with pytest.raises(InputError, match=says):
        gather_samples(cube, SPEC, table)


@pytest.mark.parametrize(
    "spec",
    [ForestSpec(trees=30), TempCNNSpec(width=8, epochs=30, dropout=0, jitter=0, batch=64)],
    ids=["forest", "tempcnn"],
)
def test_a_model_of_the_samples_estimates_the_number(samples, cube, spec, tmp_path):
    bundle = train_model(samples, spec)
    assert bundle.quantity == {"column": "agb", "units": "Mg/ha"}
    held = samples["fold_block"].values == 0
    got = bundle.estimate({"s2": samples["s2"].values[held]})
    value = samples["value"].values[held]
    assert np.sqrt(((got - value) ** 2).mean()) < 0.5 * value.std()
    bundle.save(tmp_path / "model")
    back = ModelBundle.load(tmp_path / "model")
    np.testing.assert_array_equal(back.estimate({"s2": samples["s2"].values[held]}), got)
    assert (back.quantity, back.model.target) == (bundle.quantity, bundle.model.target)

    block = cube["s2"].values[:, :, :9, :11].copy()
    block[:, :, 4, 5] = 0
    estimated = back.estimate_block({"s2": block})
    assert estimated.shape == (9, 11)
    assert np.isnan(estimated[4, 5])
    alone = back.estimate({"s2": block[None, :, :, 2, 3]})
    np.testing.assert_allclose(estimated[2, 3], alone[0], rtol=1e-5)


def test_the_unit_of_the_number_is_not_that_of_the_spread(samples):
    """What is learnt does not depend on whether the number is in tonnes or in kilograms."""
    heavy = samples.assign(value=(samples["value"] * 1000).assign_attrs(samples["value"].attrs))
    spec = TempCNNSpec(width=4, epochs=2, batch=64)
    one, other = (train_model(table, spec) for table in (samples, heavy))
    counts = {"s2": samples["s2"].values}
    np.testing.assert_allclose(other.estimate(counts), 1000 * one.estimate(counts), rtol=1e-4)


def test_models_of_patches_know_classes_alone(samples, cube):
    with pytest.raises(InputError, match=r"unet tells classes apart.*asks for a number"):
        train_model(samples, UNetSpec(), cube=cube)
