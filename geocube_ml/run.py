"""Run a recipe: STAC items to monthly cube, labels, models, accuracy, map and report."""

from __future__ import annotations

import argparse
import sys

from geocube_ml.errors import GeocubeError, TilesFailed
from geocube_ml.steps import NAMES as STEPS

_INCOMPLETE = 3
_INTERRUPTED = 130  # as shells say it of Ctrl-C


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, run, and say with the exit code how it went.

    Returns
    -------
    int
        0 all done; 2 something is wrong with the recipe, its inputs or the machine, said in one
        paragraph; 3 some tiles could not be made, the rest is done; 130 interrupted.
    """
    parser = argparse.ArgumentParser(
        prog="python -m geocube_ml.run",
        description=__doc__,
        epilog="A second run does only what is not done yet.",
    )
    parser.add_argument("recipe", help="a YAML file; see catalogs/")
    parser.add_argument(
        "steps",
        nargs="*",
        metavar="STEP",
        help=f"some of: {', '.join(STEPS)}; all up to report by default",
    )
    parser.add_argument("--dry-run", action="store_true", help="print the plan, write nothing")
    parser.add_argument(
        "--redo", action="store_true", help="make the steps anew, replacing what they wrote"
    )
    args = parser.parse_args(argv)
    unknown = [step for step in args.steps if step not in STEPS]
    if unknown:
        parser.error(f"unknown step {unknown[0]!r}; the steps are {', '.join(STEPS)}")
    if args.dry_run and args.redo:
        parser.error("--redo makes something anew and --dry-run writes nothing; give one of them")
    try:
        from geocube_ml.spec.recipe import read_recipe

        recipe = read_recipe(args.recipe)  # before the slow imports: a typo is said at once
        from geocube_ml.steps.runner import run_recipe

        run_recipe(recipe, args.steps, dry_run=args.dry_run, redo=args.redo)
    except GeocubeError as error:
        print(f"error: {error}", file=sys.stderr)
        return _INCOMPLETE if isinstance(error, TilesFailed) else 2
    except KeyboardInterrupt:
        again = "The same command without --redo" if args.redo else "The same command"
        print(f"Interrupted. {again} goes on where it stopped.", file=sys.stderr)
        return _INTERRUPTED
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
