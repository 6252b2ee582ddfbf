"""What others published of these sets, and how far it can be compared."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Published:
    """A figure."""

    set: str
    split: str
    figure: str
    """``overall``, ``balanced`` or ``macro_f1``."""
    value: float
    model: str
    where: str
    note: str = ""
    """What differs from what is measured here."""

    def document(self) -> dict[str, object]:
        """For the file of results."""
        return asdict(self)


_SITS = (
    "Satellite Image Time Series Analysis on Earth Observation Data Cubes, chapter "
    "'Cross-validation of training data'"
)
_UCR = "Tan et al. (2022), MultiRocket, results/all_resamples_average.csv, mean of 30 resamples"
_DEA = "Digital Earth Africa, crop-mask, testing/*/3_Train_fit_evaluate_classifier.ipynb"
_MORE = "trained on all 7200 series and tested on 16800 others, which are not in the set"

_REGIONS = {
    "central": 0.84, "indian_ocean": 0.86, "northern": 0.82, "sahel": 0.82, "south_eastern": 0.77,
    "southern": 0.78,
}  # fmt: skip
_SPATIAL = {"eastern": 0.52, "western": 0.60}

PUBLISHED = (
    Published("sits_mt_mod13q1", "random", "overall", 0.96, "random forest", _SITS),
    *(
        Published("ucr_crop_train", "random", "overall", value, model, _UCR, _MORE)
        for model, value in {
            "InceptionTime": 0.793, "MultiRocket": 0.774, "ResNet": 0.764, "MiniRocket": 0.752,
            "time series forest": 0.746,
        }.items()
    ),
    *(
        Published(
            f"dea_cropmask_s2_semiannual/{region}", "random", "balanced", value, "random forest",
            _DEA, "nested cross-validation",
        )
        for region, value in _REGIONS.items()
    ),
    *(
        Published(
            f"dea_cropmask_s2_semiannual/{region}", "spatial", "balanced", value, "random forest",
            _DEA, "by spatial clusters, which cannot be repeated: the set has no coordinates",
        )
        for region, value in _SPATIAL.items()
    ),
)  # fmt: skip


def published(set_name: str, split: str | None = None) -> list[Published]:
    """The figures of a set, or of one split of it."""
    return [
        one for one in PUBLISHED if one.set == set_name and split in (None, one.split)
    ]  # fmt: skip
