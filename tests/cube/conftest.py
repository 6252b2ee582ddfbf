"""Archives to read from."""

from tests.archives import *  # noqa: F403  fixtures
