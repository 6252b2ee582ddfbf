"""A price as it is printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from geocube_ml.price.overviews import OverviewPrice
    from geocube_ml.price.plan import Price, SourcePrice


def lines(price: Price) -> list[str]:
    """For people."""
    found = []
    for name, source in price.sources.items():
        found += _of_source(name, source)
    if price.done:
        every = price.tasks + price.done
        found.append(
            f"{_n(price.tiles, 'tile')}; {price.done:,} of {_n(every, 'task')} "
            f"{'is' if price.done == 1 else 'are'} done, {price.tasks:,} left"
        )
    else:
        found.append(f"{_n(price.tiles, 'tile')}, {_n(price.tasks, 'task')}")
    if not price.tasks and not price.overviews.tasks:
        return found
    if price.tasks:
        found.append(_writing(price))
    if price.overviews.tasks:
        found.append(_coarsening(price.overviews))
    threads = _n(price.threads, "thread")
    found.append(f"at most {_size(price.worker_bytes)} of memory for a process of {threads}")
    if (seconds := price.seconds) is not None:
        said = "windows made for trial" if _tried(price) else "usual rates"
        found.append(
            f"about {_time(seconds)}, {_n(price.workers, 'task')} at a time, by {said}; good to a "
            "factor of two, and less where clouds leave nothing to read"
        )
    return found


def _of_source(name: str, source: SourcePrice) -> list[str]:
    if not source.tasks:
        return [f"{name}: is there"]
    first = (
        f"{name}: {_n(source.items, 'item')} of {_n(source.days, 'day')} in "
        f"{_n(source.steps, 'time step')}"
    )
    left = f", for {source.tasks:,} of {_n(source.tasks + source.done, 'task')}"
    return [first + left * bool(source.done), *(f"  {line}" for line in _reading(source))]


def _reading(source: SourcePrice) -> list[str]:
    if source.masks is None or source.bands is None:
        return [
            f"what is read cannot be told: {source.samples.trouble}",
            "(tasks, memory and what is written do not depend on it)",
        ]
    about = "" if source.exact else "about "
    every = source.masks + source.bands
    decoded = f"{about}{_size(every.decoded_bytes)} decoded in {_n(every.blocks, 'block')}"
    found = [f"at most {_n(every.windows, 'window')} of rasters to read, {decoded}"]
    if source.masks.windows:
        found.append(
            f"of these {_n(source.masks.windows, 'mask')} in any case, "
            f"{about}{_size(source.masks.decoded_bytes)}"
        )
    if source.fetched.requests:
        found.append(
            f"from the store at most about {_n(round(source.fetched.requests), 'request')} and "
            f"{_size(source.fetched.bytes)}"
        )
    elif every.blocks:
        found.append(f"from the disk at most about {_size(every.block_bytes)}")
    sampled = _n(source.samples.opened, "header")
    of = _n(len(source.samples.days), "item")
    tried = ""
    if source.trial is not None:
        windows = _n(len(source.trial.windows), "window")
        tried = f", and {windows} of {_n(source.trial.opens, 'raster')} made for trial"
    found.append(f"told from {sampled} of {of}, as if all were alike{tried}")
    if source.samples.trouble:
        found.append(f"({source.samples.trouble})")
    return found


def _writing(price: Price) -> str:
    text = f"{_size(price.write_bytes)} to write in at most {_n(price.objects, 'object')}"
    if price.stored_bytes is None:
        return f"{text}, before compression"
    said = "the windows made for trial" if _tried(price) else "what is read"
    return f"{text}, about {_size(price.stored_bytes)} if it compresses as {said}"


def _tried(price: Price) -> bool:
    """Whether windows were made of all that is left; overviews are told by usual rates."""
    trials = [source.trial for source in price.sources.values() if source.tasks]
    return bool(trials) and all(trials)


def _coarsening(overviews: OverviewPrice) -> str:
    return (
        f"overviews: {_n(overviews.tasks, 'task')}, reading {_size(overviews.read_bytes)} of the "
        f"cube and writing {_size(overviews.write_bytes)} in at most "
        f"{_n(overviews.objects, 'object')}, before compression"
    )


def _n(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def _size(n: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "bytes" else f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} TB"


def _time(seconds: float) -> str:
    """With two digits, in the unit that gives a number above 2.

    Examples
    --------
    >>> _time(1.26), _time(47), _time(5410), _time(8.57e6)
    ('1.3 seconds', '47 seconds', '90 minutes', '99 days')
    """
    unit, amount = "seconds", seconds
    for larger, length in (("minutes", 60), ("hours", 60), ("days", 24)):
        if amount < 2 * length:
            break
        unit, amount = larger, amount / length
    return f"{float(f'{amount:.2g}'):,.{0 if amount >= 10 else 1}f} {unit}"
