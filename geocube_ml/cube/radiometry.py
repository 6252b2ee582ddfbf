"""Whether Sentinel-2's offset is in an item's counts: what its metadata say, held to its pixels.

Baseline 04.00 and later add 1000 to every count, so that reflectance is (count - 1000) / 10000;
earlier baselines do not.  Archives removed the offset from some items and said wrong things of
others, and one tenth of reflectance ruins a median, an index and a map without a trace.  Pixels of
dark surfaces tell the two apart, since what reflects 5 % has the count 500 or 1500:

- Red and blue of vegetation and of water reflect 1 to 8 %.  Leaves absorb both for photosynthesis,
  and water absorbs red.  Thin haze may lift that to 10 %, dry grass to 15.
- Reflectance is not negative.  Atmospheric correction overshoots by 0.01, of blue over clear water
  by 0.02, and by more in deep shadow only, which is therefore left out.

So a count below 800 (`FLOOR`) is a reflectance below -0.02 with the offset in, which hardly a
pixel of vegetation or water has, and one below 0.08 without it, which most of them have: 80 to 98 %
in ten scenes of Croatia in August, of which some are cloudy.  Where a tenth (`_MANY`) of them is
below, no offset is in.  Where next to none is (`_FEW`), and a quarter at least (`_NEAR_ENOUGH`)
lies between 800 and 1800, that is below 8 % with the offset, it is in: no haze and no dry ground
lifts all vegetation and water above 8 %.  Two bands are looked at, and both must say the same.
Whatever is neither is not told: few dark pixels, desert, snow, a scene of cloud.

Without a scene classification all pixels are looked at, cloud and deep shadow too: a fifth
(`_SOME`) of them below the floor says that no offset is in, and only two bands together that it is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geocube_ml.errors import GeocubeError, InputError, told_of
from geocube_ml.items.item import BOA_OFFSET, Offset
from geocube_ml.kernels.mask import has_data
from geocube_ml.raster import read_overview
from geocube_ml.spec.source import SourceSpec
from geocube_ml.spec.storage import StorageSpec

FLOOR = BOA_OFFSET - 200
"""Counts: -0.02 of reflectance with the offset in, 0.08 without it."""

_NEAR = BOA_OFFSET + 800  # counts: 0.08 of reflectance with the offset in, 0.18 without it
_NEAR_ENOUGH = 0.25  # share of pixels
_FEW = 0.01  # share of pixels
_MANY = 0.10  # share of the dark pixels
_SOME = 0.20  # share of all pixels
_LEAST = 300  # pixels; fewer may be one odd lake
LOOK_EDGE = 400
"""Pixels of a look; the coarsest overview of most archives has 343."""
_VEGETATION, _WATER = 4, 6  # of the scene classification
_VISIBLE = ("red", "blue", "green", "coastal")
_BANDS = {  # band to the classes in which it is dark, the most telling band first
    **dict.fromkeys(_VISIBLE, (_VEGETATION, _WATER)),
    **dict.fromkeys(("swir22", "swir16", "nir", "nir08", "rededge1"), (_WATER,)),
}
_NAMED = 5  # items in a message


@dataclass(frozen=True)
class Evidence:
    """How the offset of one item is known; small, and of plain values only."""

    item: str
    """Id."""
    counts: int
    """What is taken off, by the metadata."""
    said: str
    """Which metadata."""
    doubt: str
    """Metadata that say otherwise, if any."""
    seen: int | None
    """What is to be taken off by the pixels; None where they do not tell."""
    band: str
    """Bands that were looked at."""
    pixels: int
    """How many of them were dark, by the scene classification; or all, without one."""
    share: float
    """Of these, how many are below `FLOOR`, 0 to 1; over the bands the least telling one."""

    @property
    def contradicted(self) -> bool:
        """Whether the pixels say another offset than the metadata."""
        return self.seen is not None and self.seen != self.counts


def examine(
    granule_id: str,
    hrefs: Mapping[str, str],
    source: SourceSpec,
    offset: Offset,
    storage: StorageSpec,
) -> Evidence:
    """Look at a granule's pixels, coarsely: one or two bands, and the scene classification.

    Parameters
    ----------
    granule_id : str
        Of the item.
    hrefs : mapping of str to str
        Asset to path or URL.
    source : SourceSpec
        Its chosen bands and its mask.
    offset : Offset
        What the metadata say.
    storage : StorageSpec
        How stores are reached, and how patiently.

    Returns
    -------
    Evidence

    Raises
    ------
    MissingError, AccessError, ReadError
        A raster cannot be read; names item and asset.
    """
    scl = _classification(source)
    names = _telling(source)

    def look(asset: str, band: int, none: float) -> tuple[NDArray[Any], float | None]:
        try:
            values, nodata = read_overview(hrefs[asset], LOOK_EDGE, [band], storage, nodata=none)
        except GeocubeError as error:
            raise told_of(error, f"Item {granule_id}, asset {asset}") from error
        return values[0], nodata

    classes = look(*scl, 0)[0] if scl and names else None
    found = []
    for name in names:
        band = source.chosen[name]
        counts, nodata = look(band.asset, band.band, source.sensor.nodata)
        valid = has_data(counts, nodata)
        if classes is not None:
            valid &= np.isin(_onto(classes, counts.shape), _BANDS[name])
        found.append(counts[valid])
    verdict = told(found, classified=scl is not None)
    shares = [float(np.mean(counts < FLOOR)) if counts.size else 0.0 for counts in found]
    return Evidence(
        item=granule_id, counts=offset.counts, said=offset.evidence, doubt=offset.doubt,
        seen=verdict, band=", ".join(names), pixels=min((c.size for c in found), default=0),
        share=round((min if verdict == 0 else max)(shares, default=0.0), 4),
    )  # fmt: skip


def looked_at(source: SourceSpec) -> list[str]:
    """Assets of each item that `examine` opens; none of a source without an offset."""
    if source.sensor.offset == "none":
        return []
    bands = [source.chosen[name].asset for name in _telling(source)]
    scl = _classification(source)
    return [*([scl[0]] if scl and bands else []), *bands]


def told(bands: Sequence[NDArray[np.integer[Any]]], *, classified: bool) -> int | None:
    """What the counts of dark pixels say of the offset.

    Parameters
    ----------
    bands : sequence of (n,) integer arrays
        Counts of each band, without nodata: of its dark pixels where these are `classified`, else
        of all.

    Returns
    -------
    int or None
        1000 or 0 counts; None if they do not tell.

    Examples
    --------
    >>> forest = np.random.default_rng(0).integers(100, 600, 1000)
    >>> told([forest], classified=True), told([forest + 1000], classified=True)
    (0, 1000)
    >>> told([forest + 3000], classified=True) is None
    True
    """
    verdicts = {_of_band(counts, _MANY if classified else _SOME) for counts in bands}
    if len(verdicts) != 1:
        return None
    verdict = verdicts.pop()
    return None if verdict == BOA_OFFSET and len(bands) < 2 and not classified else verdict


def _of_band(counts: NDArray[np.integer[Any]], many: float) -> int | None:
    if counts.size < _LEAST:
        return None
    below = float(np.mean(counts < FLOOR))
    if below >= many:
        return 0
    near = float(np.mean((counts >= FLOOR) & (counts < _NEAR)))
    return BOA_OFFSET if below <= _FEW and near >= _NEAR_ENOUGH else None


def refuse_contradictions(evidences: Iterable[Evidence]) -> None:
    """Refuse items of which the pixels say something else than the metadata.

    Metadata that contradict each other are refused too where no pixels decide, be it of another
    item of which the same is said.

    Raises
    ------
    InputError
        Names the first items and both values.
    """
    evidences = list(evidences)
    wrong = [one for one in evidences if one.contradicted]
    if wrong:
        lines = [
            f"{one.item} ({one.said}: {one.counts} counts; its pixels: {one.seen}, {_shown(one)})"
            for one in wrong[:_NAMED]
        ]
        raise InputError(
            f"Of {len(evidences)} items, {len(wrong)} contradict their pixels about the offset of "
            f"Sentinel-2's baseline 04.00: {'; '.join(lines)}{_more(wrong)}. Correct the property "
            "that is wrong in a copy of the items (earthsearch:boa_offset_applied, or "
            "s2:processing_baseline), named as `catalog`, or name these items in `items.exclude`."
        )
    settled = {(one.said, one.doubt) for one in evidences if one.seen is not None}
    open_ = [one for one in evidences if one.doubt and (one.said, one.doubt) not in settled]
    if open_:
        lines = [f"{one.item} ({one.said}, but {one.doubt})" for one in open_[:_NAMED]]
        raise InputError(
            f"Of {len(evidences)} items, {len(open_)} say two things about the offset of "
            "Sentinel-2's baseline 04.00, and their pixels do not tell which is right (few are of "
            f"vegetation, water or shade): {'; '.join(lines)}{_more(open_)}. Correct the property "
            "that is wrong in a copy of the items, named as `catalog`, or name these items in "
            "`items.exclude`."
        )


def summary(evidences: Iterable[Evidence]) -> str:
    """One line for the cube: which offsets were taken off, by which metadata, and who agrees.

    Examples
    --------
    >>> by = "s2:processing_baseline 04.00"
    >>> one = Evidence("a", 1000, by, "", seen=1000, band="red", pixels=5000, share=0.0)
    >>> two = Evidence("b", 1000, by, "", seen=None, band="red", pixels=12, share=0.0)
    >>> summary([one, two])[:69]
    '1000 counts taken off 2 items by s2:processing_baseline 04.00 (1 conf'
    """
    kinds: dict[tuple[int, str, str], Counter[str]] = defaultdict(Counter)
    for one in evidences:
        verdict = "not told" if one.seen is None else "confirmed by pixels"
        verdict = "contradicted by pixels" if one.contradicted else verdict
        kinds[one.counts, one.said, one.doubt][verdict] += 1
    parts = []
    for (counts, said, doubt), verdicts in sorted(kinds.items()):
        n = verdicts.total()
        what = f"{counts} counts taken off" if counts else "nothing taken off"
        but = f", but {doubt}" if doubt else ""
        how = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
        parts.append(f"{what} {n} item{'s' if n > 1 else ''} by {said}{but} ({how})")
    return "; ".join(parts)


def _shown(one: Evidence) -> str:
    return f"as {one.share:.0%} of {one.pixels} in {one.band} are below {FLOOR}"


def _more(items: Sequence[Evidence]) -> str:
    return f"; and {len(items) - _NAMED} more" if len(items) > _NAMED else ""


def _telling(source: SourceSpec) -> list[str]:
    """The two of a source's bands that tell most."""
    known = _VISIBLE if _classification(source) is None else tuple(_BANDS)
    return [name for name in known if name in source.chosen][:2]


def _classification(source: SourceSpec) -> tuple[str, int] | None:
    """Asset and band of Sentinel-2's scene classification, if it is one of the masks."""
    for mask in source.sensor.mask:
        if mask.clear and mask.asset.lower().startswith("scl"):
            return mask.asset, mask.band
    return None


def _onto(classes: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """A look of the same ground with another number of pixels, nearest."""
    rows = ((np.arange(shape[0]) + 0.5) * classes.shape[0] / shape[0]).astype(int)
    cols = ((np.arange(shape[1]) + 0.5) * classes.shape[1] / shape[1]).astype(int)
    onto: NDArray[Any] = classes[rows[:, None], cols]
    return onto
