"""README of a data set: how it is read; each of its programs runs as it stands."""

from __future__ import annotations

import textwrap

from geocube_ml.data.sources import is_static, source_names
from geocube_ml.export.dataset.about import About

_WIDTH = 60  # of the names of columns beside what else stands in their line

_HEAD = """# {title}

{what}

`datasheet.md` tells where it comes from and what it is good for, `classes.json` what the codes
mean (255 is unknown), `splits.csv` which split a sample or chip is in. Values are counts:
physical value = count * scale + offset. Run these from this folder.
"""

_SERIES = """
## Series, with pandas and PyTorch

```python
import numpy as np, pandas as pd, torch
from torch.utils.data import DataLoader, TensorDataset

table = pd.read_parquet("series.parquet")          # a row a sample
table = table[table["split"] == "{split}"]
{bands}
values = np.stack([np.stack(table[band].to_list()) for band in bands], axis=1)
series = torch.from_numpy(values.astype("float32"))  # {nodata} is no observation
label = torch.from_numpy(table["label"].to_numpy().astype("int64"))
for batch, codes in DataLoader(TensorDataset(series, label), batch_size=32, shuffle=True):
    pass  # (sample, {axes}) and (sample)
```
"""

_COG = """
## Chips, with PyTorch

```python
import numpy as np, pandas as pd, rasterio, torch
from torch.utils.data import DataLoader, Dataset

class Chips(Dataset):
    def __init__(self, split):
        table = pd.read_csv("splits.csv", dtype={{"id": str}})
        self.names = table.id[(table.kind == "chip") & (table.split == split)].to_list()
    def __len__(self):
        return len(self.names)
    def __getitem__(self, at):
        with rasterio.open(f"chips/images/{source}_{{self.names[at]}}.tif") as src:
            image = src.read().astype("float32")  # band; src.descriptions names them
        with rasterio.open(f"chips/masks/{{self.names[at]}}.tif") as src:
            mask = src.read({mask_bands}).astype("int64")
        return torch.from_numpy(image), torch.from_numpy(mask)

for images, masks in DataLoader(Chips("{split}"), batch_size=4):
    pass  # (chip, band, y, x) and (chip, {mask_axes}); ignore_index=255 in a loss
```

## Chips, with TorchGeo

```python
import pandas as pd
from torch.utils.data import DataLoader
from torchgeo.datasets import RasterDataset, stack_samples
from torchgeo.samplers import GridGeoSampler

class Masks(RasterDataset):
    is_image = False

table = pd.read_csv("splits.csv", dtype={{"id": str}})
names = table.id[(table.kind == "chip") & (table.split == "{split}")]
images = RasterDataset([f"chips/images/{source}_{{name}}.tif" for name in names])
masks = Masks([f"chips/masks/{{name}}.tif" for name in names])
both = images & masks  # an IntersectionDataset
sampler = GridGeoSampler(both, size={edge}, stride={edge})
for batch in DataLoader(both, batch_size=4, sampler=sampler, collate_fn=stack_samples):
    pass  # batch["image"] (chip, band, y, x), batch["mask"] (chip, {mask_axes})
```
"""

_ZARR = """
## Chips, with xarray and PyTorch

```python
import torch, xarray as xr
from torch.utils.data import DataLoader, Dataset

class Chips(Dataset):
    def __init__(self, split):
        chips = xr.open_zarr("chips.zarr", mask_and_scale=False, chunks=None, consolidated=False)
        self.chips = chips.isel(chip=chips["split"].values == split)
    def __len__(self):
        return self.chips.sizes["chip"]
    def __getitem__(self, at):
        chip = self.chips[["{source}", "mask"]].isel(chip=at).load()
        image = chip["{source}"].values.astype("float32")
        return torch.from_numpy(image), torch.from_numpy(chip["mask"].values.astype("int64"))

for images, masks in DataLoader(Chips("{split}"), batch_size=4):
    pass  # (chip, {axes}, y, x) and (chip, {mask_axes}); ignore_index=255 in a loss
```
"""


def readme(about: About) -> str:
    """Text of `README.md`: what it is, and programs that read it."""
    cube = about.chips.cube
    source = source_names(cube)[0]
    still, layers = is_static(cube[source]), about.chips.n_layer > 1
    bands = [f"{source}_{band}" for band in cube[f"{source}_band"].values]
    # a table of which one class is trained on has a split of that name in any case
    split = next(name for name in ("train", "test", "validation", "none", "gap")
                 if name in about.splits.count())  # fmt: skip
    of_chips = {chip.split for chip in about.every}
    n = about.samples.sizes["sample"]
    values = {
        "title": about.title,
        "what": f"{about.spec.description} ".lstrip() + f"{n:,} labelled series and "
        f"{len(about.every):,} chips of {about.spec.chip} x {about.spec.chip} pixels, of "
        f"{len(about.classes.names)} classes.",
        "split": split,
        "bands": _listed(bands, "a number a sample" if still else "each a list over time"),
        "axes": "band" if still else "band, time",
        "nodata": f"{cube[source].attrs['nodata']:g}",
        "source": source,
        "edge": about.spec.chip,
        "mask_bands": "" if layers else "1",
        "mask_axes": "layer, y, x" if layers else "y, x",
    }
    text = _HEAD + _SERIES
    parts = [text.format(**values)]
    if of_chips:
        values |= {
            "split": next(s for s in ("train", "test", "validation") if s in of_chips),
            "axes": "band" if still else "time, band",
        }
        parts.append((_COG if about.spec.chips == "cog" else _ZARR).format(**values))
    return "".join(parts)


def _listed(bands: list[str], told: str) -> str:
    """The line that names the columns of a source, or several."""
    text = ", ".join(map(repr, bands))
    if len(text) <= _WIDTH:
        return f"bands = [{text}]  # {told}"
    # by name: other columns of a table begin as these do
    lines = textwrap.wrap(text, 100, initial_indent="    ", subsequent_indent="    ",
                          break_long_words=False, break_on_hyphens=False)  # fmt: skip
    return "\n".join([f"bands = [  # {told}", *lines, "]"])
