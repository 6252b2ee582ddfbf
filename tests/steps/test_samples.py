from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from geocube_ml.data.folds import held_out
from geocube_ml.data.table import read_samples
from geocube_ml.files import content_digest, read_json
from geocube_ml.steps.samples import _provenance


def test_samples_say_what_they_are_made_of(undisturbed, archive):
    samples = read_samples(undisturbed / "samples.zarr")
    made = json.loads(samples.attrs["provenance"])
    begun = {
        step: read_json(undisturbed / "records" / step / "begun.json")["digest"]
        for step in ("cube", "labels", "samples")
    }
    assert (made["cube"], made["labels"]) == (begun["cube"], begun["labels"])
    assert made["recipe"] == {"name": "small", "digest": begun["samples"]}
    assert made["label_files"] == [
        {"name": "labels.gpkg", "digest": content_digest([archive.labels])}
    ]
    assert made["samples"]["per_polygon"] == 20
    assert set(made["software"]) == {"geocube_ml", "numpy", "scikit-learn", "exactextract"}


def test_the_steps_facts_are_those_of_the_table(undisturbed):
    samples = read_samples(undisturbed / "samples.zarr")
    facts = read_json(undisturbed / "records" / "samples" / "done.json")["facts"]
    assert facts["samples"] == samples.sizes["sample"] == sum(facts["by_class"].values())
    assert facts["held_out"] == held_out(samples).sum() > 0
    assert facts["fold_distances"] == json.loads(samples.attrs["fold_distances"])
    assert set(facts["fold_distances"]) == {"random", "polygon", "block"}
    assert (facts["shortfall"], facts["left_out"]) == ([], {})
    notes = read_json(undisturbed / "scores.json")["notes"]
    assert any("tested samples lie at least" in note for note in notes)


def test_each_file_of_labels_has_its_own_digest_however_many():
    """JSON sorts the positions as text: 0, 1, 10, 2."""
    sources = [SimpleNamespace(path=f"{at}.gpkg") for at in range(12)]
    begun = {"files": {key: f"digest of {key}" for key in sorted(map(str, range(12)))}}
    job = SimpleNamespace(
        records=SimpleNamespace(begun=lambda _: begun), place=Path, recipe=SimpleNamespace(name=""),
        labels=SimpleNamespace(sources=sources),
        digests={"samples": "", "cube": "", "labels": ""},
    )  # fmt: skip
    assert _provenance(job)["label_files"] == [
        {"name": f"{at}.gpkg", "digest": f"digest of {at}"} for at in range(12)
    ]
