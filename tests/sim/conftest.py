import pytest

from geocube_ml.sim import make_archive
from geocube_ml.spec.simulate import SimSpec


@pytest.fixture(scope="session")
def spec(tmp_path_factory):
    """A small archive: 96 pixels, 24 dates."""
    folder = tmp_path_factory.mktemp("sim") / "archive"
    return SimSpec(folder=str(folder), size=96, revisit_days=15)


@pytest.fixture(scope="session")
def archive(spec):
    return make_archive(spec, workers=1)


@pytest.fixture
def sparse(tmp_path):
    """An archive of six dates that a test may make for itself."""
    return SimSpec(folder=str(tmp_path / "archive"), size=64, revisit_days=60)
