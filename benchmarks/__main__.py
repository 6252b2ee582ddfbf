"""Run workloads, print a table, and write ``benchmarks/results/latest.json``.

    python -m benchmarks [WORKLOAD ...] [--size PIXELS] [--repeat N]

A workload is timed against a naive peer, what a user would write with the usual libraries, and
against a limit, the part of the work that nobody can leave out.  The three take turns within one
run, and each figure is the median of the repeats: only ratios are worth comparing.

``schedule`` has neither: it prints what it simulates of a large cluster, beside small cases that
really run, and leaves the file alone.  So does ``layout``, which compares layouts of the cube, and
``planning``, which plans a country.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.measure import Result

WORKLOADS = ("cube", "feed", "map", "labels")
NAMES = (*WORKLOADS, "schedule", "layout", "planning")
RESULTS = Path(__file__).parent / "results" / "latest.json"


def main() -> int:
    """Run what the command line asks for; 0 whether or not a target is met."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "workloads",
        nargs="*",
        metavar="WORKLOAD",
        help=f"some of {', '.join(NAMES)}; all by default",
    )
    parser.add_argument("--size", type=int, help="edge of the cube in pixels")
    parser.add_argument("--repeat", type=int, default=3, help="takes the median of so many")
    args = parser.parse_args()
    unknown = [name for name in args.workloads if name not in NAMES]
    if unknown:
        parser.error(f"unknown workload {unknown[0]!r}; there are {', '.join(NAMES)}")

    chosen = args.workloads or NAMES
    results = []
    for name in (name for name in chosen if name in WORKLOADS):
        workload = import_module(f"benchmarks.{name}")
        with tempfile.TemporaryDirectory() as folder:
            results.append(workload.run(Path(folder), args.size or workload.SIZE, args.repeat))
    if results:
        _print(results)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(_document(results), indent=1) + "\n")
        print(f"Written to {RESULTS}")
    if "schedule" in chosen:
        import_module("benchmarks.schedule").main()
    if "layout" in chosen:
        layout = import_module("benchmarks.layout")
        layout.main(args.size or layout.SIZE, args.repeat)
    if "planning" in chosen:
        import_module("benchmarks.planning").main()
    return 0


def _print(results: list[Result]) -> None:
    table = Table(title="Medians; ratios are speeds, above 1 is faster than the other")
    for heading in ("workload", "size", "ours", "peer", "limit", "to peer", "to limit", "target"):
        table.add_column(heading, justify="left" if heading in ("workload", "target") else "right")
    for r in results:
        table.add_row(
            r.workload, r.size, f"{r.ours:.3g} {r.unit}", f"{r.peer:.3g}", f"{r.limit:.3g}",
            f"{r.to_peer:.2f}", f"{r.to_limit:.2f}",
            f"{r.said} {'met' if r.met else 'not met'}",
        )  # fmt: skip
    Console(width=120).print(table)


def _document(results: list[Result]) -> dict[str, object]:
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {
            "platform": platform.platform(),
            "python": platform.python_version(),
            "cores": len(os.sched_getaffinity(0)),
            "cpu": _cpu(),
        },
        "workloads": [r.document() for r in results],
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


if __name__ == "__main__":
    raise SystemExit(main())
