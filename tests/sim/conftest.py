import pytest

from geocube_ml.spec.simulate import SimSpec
from tests.small import DENSE

SPARSE = {"size": 64, "revisit_days": 60}


@pytest.fixture(scope="session")
def archive(dense_archive):
    return dense_archive


@pytest.fixture(scope="session")
def spec(archive):
    """Of the archive."""
    return SimSpec(folder=str(archive.folder), **DENSE)


@pytest.fixture
def sparse(tmp_path):
    """An archive of six dates that a test may make for itself."""
    return SimSpec(folder=str(tmp_path / "archive"), **SPARSE)
