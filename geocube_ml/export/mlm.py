"""A model as a STAC item that says what it wants, what it answers, and how it was made.

By the Machine Learning Model (MLM) extension, https://github.com/stac-extensions/mlm.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import shapely

from geocube_ml.errors import InputError
from geocube_ml.files import read_json
from geocube_ml.models.bundle import ModelBundle
from geocube_ml.models.ensemble import EnsembleModel
from geocube_ml.models.fit import FitSource
from geocube_ml.models.model import Model
from geocube_ml.models.network import NetworkModel
from geocube_ml.models.patches import PatchModel
from geocube_ml.models.scaling import Scaling
from geocube_ml.models.tables.rocket import RocketModel
from geocube_ml.spec.models import EnsembleSpec, ModelSpec
from geocube_ml.spec.networks import FusionSpec

EXTENSIONS = {
    "mlm": "https://stac-extensions.github.io/mlm/v1.5.2/schema.json",
    "file": "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "raster": "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
}

WEIGHTS, DESCRIPTION, ONNX = "weights.safetensors", "bundle.json", "model.onnx"
"""Names of the files in the folder of an exported model."""

_ARCHITECTURES = {
    "tempcnn": "TempCNN",
    "tempcnn-attention": "TempCNN with attention over time",
    "ltae": "L-TAE",
    "lstm": "bidirectional LSTM",
    "gru": "bidirectional GRU",
    "inceptiontime": "InceptionTime",
    "unet": "U-Net",
    "deeplab": "DeepLabV3+",
    "forest": "random forest",
    "boosting": "histogram gradient boosting",
    "minirocket": "MiniRocket",
}
_ONNX_RELEASE = "1.15.0"  # that brought the operators which are used
_LICENCE = re.compile(r"^[\w\-.+]+$")  # of STAC; any other text is not the name of a licence
_VERSION = re.compile(r"(\d+\.\d+\.\d+)([+-][0-9A-Za-z.-]+)?")
_FREE = -1


def mlm_item(
    bundle: ModelBundle,
    folder: Path,
    *,
    name: str,
    area: Any,
    interval: tuple[datetime, datetime],
    licence: str = "other",
    metrics: Sequence[Mapping[str, Any]] = (),
    now: datetime | None = None,
) -> pystac.Item:
    """Describe a model whose files lie in a folder.

    Parameters
    ----------
    bundle : ModelBundle
    folder : path of a folder of this machine
        Holds ``weights.safetensors`` and ``bundle.json`` as `ModelBundle.save` wrote them, and
        ``model.onnx`` if there is one; the item's hrefs are relative to it.
    name : str
        Of the item: letters, digits, - and _.
    area : shapely geometry
        Where the model was trained, in degrees.
    interval : (datetime, datetime)
        First and last moment of what it was trained on, with a time zone.
    licence : str
        SPDX identifier, or ``other``.
    metrics : sequence of mappings, optional
        Figures of accuracy, JSON-able.
    now : datetime, optional
        When the item is made; not said by default, so that equal models have equal items.

    Returns
    -------
    pystac.Item

    Raises
    ------
    InputError
        A file is missing, or the licence is no identifier.

    Notes
    -----
    All that the model wants is one array, as of `export.onnx.to_onnx`: physical values, in the
    order of ``bands``.  Bands tell scale and offset from counts to physical values, and mean and
    standard deviation of the training rows.  ``value_scaling`` is null, since the model
    standardizes by itself: who did it before would do it twice.
    """
    if not _LICENCE.match(licence):
        raise InputError(
            f"The licence {licence!r} is no SPDX identifier such as CC-BY-4.0. Take one, or "
            "`other`."
        )
    software = _software(folder)
    framework, version = _framework(bundle, software)
    properties = {
        "description": _description(bundle),
        "license": licence,
        "bands": _bands(bundle),
        "mlm:name": _mlm_name(name),
        "mlm:architecture": _architecture(bundle.model.spec),
        "mlm:tasks": _tasks(bundle),
        "mlm:framework": framework,
        **({"mlm:framework_version": version} if version else {}),
        "mlm:memory_size": sum(part.nbytes for part in bundle.model.state().values()),
        **({"mlm:total_parameters": n} if (n := _n_parameter(bundle.model)) else {}),
        "mlm:pretrained": False,
        "mlm:pretrained_source": None,
        "mlm:accelerator": None,
        "mlm:accelerator_constrained": False,
        "mlm:accelerator_summary": "Needs none; a CUDA device makes networks faster.",
        "mlm:input": [_input(bundle)],
        "mlm:output": [_output(bundle)],
        "mlm:hyperparameters": bundle.model.spec.model_dump(mode="json"),
        "geocube_ml:digest": bundle.digest(),
        "geocube_ml:steps": list(bundle.fit.steps),
        "geocube_ml:temperature": bundle.temperature,
        "geocube_ml:training": bundle.facts,
        "geocube_ml:metrics": list(metrics),
        "geocube_ml:software": software,
        **({"created": pystac.utils.datetime_to_str(now)} if now else {}),
    }
    item = pystac.Item(
        id=name,
        geometry=json.loads(shapely.to_geojson(area)),
        bbox=[round(value, 7) for value in area.bounds],
        datetime=None,
        start_datetime=interval[0],
        end_datetime=interval[1],
        properties=properties,
        stac_extensions=sorted(EXTENSIONS.values()),
    )
    for key, asset in _assets(bundle, folder, framework, version).items():
        item.add_asset(key, asset)
    return item


def _software(folder: Path) -> dict[str, str]:
    missing = [file for file in (WEIGHTS, DESCRIPTION) if not (folder / file).is_file()]
    if missing:
        raise InputError(
            f"{folder} is no exported model: {' and '.join(missing)} is missing. Save the bundle "
            "there first."
        )
    software: dict[str, str] = read_json(folder / DESCRIPTION)["software"]
    return software


def _framework(bundle: ModelBundle, software: Mapping[str, str]) -> tuple[str, str | None]:
    """Name and version of what the model was trained with."""
    network = _has_network(bundle.model)
    found = _VERSION.fullmatch(software["torch" if network else "scikit-learn"])
    return "PyTorch" if network else "scikit-learn", found[0] if found else None


def _has_network(model: Model) -> bool:
    """Whether torch made the model, or one of an ensemble."""
    if isinstance(model, EnsembleModel):
        return any(_has_network(part) for part in model.parts.values())
    return isinstance(model, NetworkModel)


def _description(bundle: ModelBundle) -> str:
    fit = bundle.fit
    sources = "; ".join(f"{source.name}: {', '.join(source.bands)}" for source in fit.sources)
    steps = f" at {len(fit.steps)} time steps" if fit.steps else ""
    if bundle.model.target.n_class is None:
        aim = "Estimates a number"
    else:
        aim = f"Tells {', '.join(bundle.classes.names)} apart"
    return f"{aim} by {sources}{steps}."


def _architecture(spec: ModelSpec) -> str:
    if isinstance(spec, EnsembleSpec):
        parts = [_architecture(part) for part in spec.of.values()]
        return f"mean of {', '.join(f'({p})' if ',' in p else p for p in parts)}"
    if isinstance(spec, FusionSpec):
        kinds = {one.kind: None for one in (spec.encoder, *spec.encoders.values())}
        return f"{spec.how} fusion of {', '.join(_ARCHITECTURES[kind] for kind in kinds)}"
    return _ARCHITECTURES[spec.kind]


def _tasks(bundle: ModelBundle) -> list[str]:
    if bundle.model.target.n_class is None:
        return ["regression"]
    patches = isinstance(bundle.model, PatchModel)
    return ["semantic-segmentation" if patches else "classification"]


def _n_parameter(model: Model) -> int:
    """Parameters of networks and MiniRocket; trees have nodes, which are none."""
    if isinstance(model, EnsembleModel):
        return sum(_n_parameter(part) for part in model.parts.values())
    if isinstance(model, RocketModel):
        return int(model.weight.size + model.intercept.size)
    if not isinstance(model, NetworkModel):
        return 0
    return sum(part.numel() for network in model.networks for part in network.parameters())


def _band_names(source: FitSource) -> list[str]:
    return [f"{source.name}/{band}" for band in source.bands]


def _scaling(model: Model) -> Scaling | None:
    """Of an ensemble that of its first model that has one; trees have none."""
    if isinstance(model, EnsembleModel):
        return next(filter(None, map(_scaling, model.parts.values())), None)
    return getattr(model, "scaling", None)


def _bands(bundle: ModelBundle) -> list[dict[str, Any]]:
    """The channels: from counts to physical values, and what the training rows were like."""
    scaling = _scaling(bundle.model)
    found: list[dict[str, Any]] = []
    for source in bundle.fit.sources:
        kind = "layer without a time axis" if source.static else "series"
        for band, name in zip(source.bands, _band_names(source), strict=True):
            nodata = "nan" if np.isnan(source.nodata) else source.nodata
            at = len(found)
            statistics = {} if scaling is None else {
                "statistics": {"mean": float(scaling.mean[at]), "stddev": float(scaling.std[at])}
            }  # fmt: skip
            found.append(
                {
                    "name": name,
                    "description": f"{band} of {source.name}, a {kind}",
                    "nodata": nodata,
                    "raster:scale": source.scale,
                    "raster:offset": source.add_offset,
                    **statistics,
                }
            )
    return found


def _input(bundle: ModelBundle) -> dict[str, Any]:
    area = isinstance(bundle.model, PatchModel)
    fit = bundle.fit
    return {
        "name": "series",
        "description": (
            "Physical values (count x scale + offset), NaN where missing, of the sources "
            f"{', '.join(fit.names)}, at steps that start on {', '.join(fit.steps) or 'no day'}; "
            "sources without a time axis are the same at each step. The model standardizes them "
            "itself."
        ),
        "bands": [name for source in fit.sources for name in _band_names(source)],
        "input": {
            "shape": [_FREE, fit.n_step, fit.layout.n_channel, *(_FREE, _FREE) * area],
            "dim_order": ["batch", "time", "bands", *("height", "width") * area],
            "data_type": "float32",
        },
        "value_scaling": None,
        "resize_type": None,
    }


def _output(bundle: ModelBundle) -> dict[str, Any]:
    area, n_class = isinstance(bundle.model, PatchModel), bundle.model.target.n_class
    told: dict[str, Any] = {
        "name": "value" if n_class is None else "probability",
        "description": (
            f"{_quantity(bundle)}; NaN where nothing was observed."
            if n_class is None
            else "Calibrated probabilities of the classes, which sum to 1; NaN where nothing was "
            "observed."
        ),
        "tasks": _tasks(bundle),
        "result": {
            "shape": [_FREE, *(() if n_class is None else (n_class,)), *(_FREE, _FREE) * area],
            "dim_order": [
                "batch",
                *(() if n_class is None else ("class",)),
                *("height", "width") * area,
            ],
            "data_type": "float32",
        },
    }
    if n_class is None:
        return told
    classes = zip(bundle.classes.names, bundle.classes.colors, strict=True)
    return told | {
        "classification:classes": [
            {
                "value": code,
                "name": name,
                "description": name,
                "color_hint": color[1:].upper(),
            }
            for code, (name, color) in enumerate(classes)
        ]
    }


def _quantity(bundle: ModelBundle) -> str:
    """What is estimated, as the labels say it."""
    told = bundle.facts.get("quantity", {})
    units = f" in {told['units']}" if told.get("units") else " in the unit of the labels"
    return f"{told.get('column', 'A number')}{units}"


def _mlm_name(name: str) -> str:
    """The name as the schema wants it: a letter first, three characters at least, ASCII."""
    plain = re.sub(r"[^a-zA-Z0-9_.\-]", "-", name).strip("_.-")
    return plain if re.fullmatch(r"[a-zA-Z].+", plain) and len(plain) > 2 else f"model-{plain or 1}"


def _assets(
    bundle: ModelBundle, folder: Path, framework: str, version: str | None
) -> dict[str, pystac.Asset]:
    network = _has_network(bundle.model)
    of_framework = {"mlm:framework": framework} | (
        {"mlm:framework_version": version} if version else {}
    )
    # of an item's bands the core schema wants that an asset has them
    bands = {"bands": [{"name": band["name"]} for band in _bands(bundle)]}
    found = {
        "weights": pystac.Asset(
            f"./{WEIGHTS}",
            title="What was learnt",
            description="Read by geocube_ml.models.bundle.ModelBundle, with the bundle beside it.",
            media_type="application/vnd.safetensors",
            roles=["mlm:model", "mlm:weights"],
            extra_fields={
                "mlm:artifact_type": f"safetensors.{'torch' if network else 'numpy'}.save_file",
                **of_framework,
                **bands,
                **_measured(folder / WEIGHTS),
            },
        ),
        "bundle": pystac.Asset(
            f"./{DESCRIPTION}",
            title="Spec, sources, steps, classes and the course of the training",
            media_type=pystac.MediaType.JSON,
            roles=["metadata"],
            extra_fields=_measured(folder / DESCRIPTION),
        ),
    }
    if (folder / ONNX).is_file():
        found["onnx"] = pystac.Asset(
            f"./{ONNX}",
            title="From physical values to the answer",
            description="Runs in any ONNX runtime: scaling and temperature are in the graph.",
            media_type="application/octet-stream; application=onnx",
            roles=["mlm:model", "mlm:compiled"],
            extra_fields={
                "mlm:artifact_type": "onnx.save",
                "mlm:framework": "ONNX",
                "mlm:framework_version": _ONNX_RELEASE,
                **bands,
                **_measured(folder / ONNX),
            },
        )
    return found


def _measured(path: Path) -> dict[str, Any]:
    """Size, and the checksum as a multihash of SHA-256."""
    with path.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file:size": path.stat().st_size, "file:checksum": f"1220{checksum}"}
