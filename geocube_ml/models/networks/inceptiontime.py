"""InceptionTime: convolutions of several lengths side by side.

Ismail Fawaz et al. (2020), InceptionTime: Finding AlexNet for Time Series Classification, Data
Mining and Knowledge Discovery 34, 1936-1962.
"""

from __future__ import annotations

from torch import Tensor, cat, nn

from geocube_ml.spec.networks import InceptionTimeEncoder

_PAST = 3  # modules that a shortcut leads past


class InceptionTime(nn.Module):
    """Modules of three filter lengths, shortcuts past each three, and the mean over time.

    Parameters
    ----------
    spec : InceptionTimeEncoder
        Width, depth, kernel, dropout.
    n_channel, n_step : int
        Channels and time steps of the input.
    """

    def __init__(self, spec: InceptionTimeEncoder, n_channel: int, n_step: int) -> None:
        super().__init__()
        self.width = 4 * spec.width
        lengths = filter_lengths(spec.kernel, n_step)
        sizes = [n_channel] + [self.width] * (spec.depth - 1)
        self.blocks = nn.ModuleList(
            Block(sizes[first : first + _PAST], spec.width, lengths)
            for first in range(0, spec.depth, _PAST)
        )
        self.thin = nn.Dropout(spec.dropout)

    def forward(self, series: Tensor, seen: Tensor) -> Tensor:  # noqa: ARG002
        """(n, channel, step), (n, step) bool -> (n, width) features."""
        for block in self.blocks:
            series = block(series)
        features: Tensor = self.thin(series.mean(dim=2))
        return features


class Block(nn.Module):
    """Modules in a row; where there are three, a shortcut leads past them.

    Parameters
    ----------
    sizes : list of int
        Channels that each module gets.
    width : int
        Filters of a branch.
    lengths : list of int
        Of the filters, in time steps.
    """

    def __init__(self, sizes: list[int], width: int, lengths: list[int]) -> None:
        super().__init__()
        self.row = nn.Sequential(*[Module(size, width, lengths) for size in sizes])
        self.shortcut = (
            nn.Sequential(nn.Conv1d(sizes[0], 4 * width, 1, bias=False), nn.BatchNorm1d(4 * width))
            if len(sizes) == _PAST
            else None
        )

    def forward(self, series: Tensor) -> Tensor:
        """(n, channel, step) -> (n, 4 x width, step)."""
        out: Tensor = self.row(series)
        return out if self.shortcut is None else (out + self.shortcut(series)).relu()


class Module(nn.Module):
    """Filters of three lengths on few channels, and the highest of three neighbours."""

    def __init__(self, n_channel: int, width: int, lengths: list[int]) -> None:
        super().__init__()
        # of one channel there is nothing to make fewer
        self.few = nn.Conv1d(n_channel, width, 1, bias=False) if n_channel > 1 else nn.Identity()
        n_few = width if n_channel > 1 else 1
        self.filters = nn.ModuleList(
            nn.Conv1d(n_few, width, length, padding="same", bias=False) for length in lengths
        )
        self.highest = nn.Sequential(
            nn.MaxPool1d(3, stride=1, padding=1), nn.Conv1d(n_channel, width, 1, bias=False)
        )
        self.norm = nn.Sequential(nn.BatchNorm1d(4 * width), nn.ReLU())

    def forward(self, series: Tensor) -> Tensor:
        """(n, channel, step) -> (n, 4 x width, step)."""
        few = self.few(series)
        branches = [branch(few) for branch in self.filters] + [self.highest(series)]
        out: Tensor = self.norm(cat(branches, dim=1))
        return out


def filter_lengths(kernel: int, n_step: int) -> list[int]:
    """Of the three filters: the whole, a half and a quarter of `kernel` or of the series.

    Odd, so that they have a middle; the paper's 40, 20 and 10 become 41, 21 and 11.

    Examples
    --------
    >>> filter_lengths(40, 100), filter_lengths(40, 12), filter_lengths(40, 1)
    ([41, 21, 11], [13, 7, 3], [1, 1, 1])
    """
    longest = min(kernel, n_step)
    return [longest // part | 1 for part in (1, 2, 4)]
