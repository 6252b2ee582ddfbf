"""The job of the how-to, run with stand-ins for what a cluster has."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from geocube_ml.spec.recipe import read_recipe

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "how-to" / "batch.md").read_text()


def block(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)[0]


@pytest.fixture
def job(tmp_path):
    """Runs it under a number; returns its exit code, and what was called how."""
    stand_ins = {
        "hostname": "echo node7",
        # what was begun before, however busy the machine is
        "sleep": 'until grep -q "dask scheduler" "$CALLS"; do "$SLEEP" 0.05; done; exec "$SLEEP" 1',
        "srun": "",
        "python": 'until grep -q "srun" "$CALLS"; do "$SLEEP" 0.05; done; exit 3',
        "dask": '[ "${FAILS-}" ] && exit 1; exec "$SLEEP" 60',
    }
    for name, does in stand_ins.items():
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        note = 'echo "$SCHEDULER ${0##*/} $*" >> "$CALLS"' if name != "hostname" else ""
        file.write_text(f"#!/bin/bash\n{note}\n{does}\n")
        file.chmod(0o755)

    def run(number, **more):
        calls = tmp_path / f"calls{number}"
        env = os.environ | {
            "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
            "SLEEP": "/bin/sleep",
            "CALLS": str(calls),
            "SLURM_JOB_ID": str(number),
            **more,
        }
        done = subprocess.run(["bash", "-c", block("bash")], env=env, check=False, timeout=300)
        return done.returncode, calls.read_text()

    return run


def test_jobs_of_one_node_have_schedulers_of_their_own(job, tmp_path, monkeypatch):
    (tmp_path / "sources").symlink_to(ROOT / "catalogs" / "sources")
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(yaml.safe_load(block("yaml"))))
    found = set()
    for number in (4711, 4712):
        code, calls = job(number)
        assert code == 3  # of the run
        (address,) = {line.split()[0] for line in calls.splitlines()}
        host, port = address.removeprefix("tcp://").split(":")
        assert f"dask scheduler --host {host} --port {port}" in calls
        assert f"srun --overlap dask worker {address}" in calls
        monkeypatch.setenv("SCHEDULER", address)
        assert read_recipe(tmp_path / "x.yaml").cluster.where == address
        found.add(port)
    assert len(found) == 2


def test_a_port_that_is_taken_ends_the_job_before_a_stranger_is_asked(job):
    code, calls = job(4711, FAILS="yes")
    assert code == 1
    assert "geocube_ml.run" not in calls
    assert "srun" not in calls


def test_it_says_that_the_scheduler_is_open():
    assert "A dask scheduler asks nobody who he is" in TEXT
