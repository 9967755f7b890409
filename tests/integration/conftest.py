"""A real object store, and what lies before it and spoils what is said."""

from __future__ import annotations

import pytest
from stores import Between, store


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The endpoint of a store that a module has for itself."""
    with store(tmp_path_factory.mktemp("store")) as found:
        yield found


@pytest.fixture
def between(address):
    """A proxy before it."""
    made = Between(address)
    yield made
    made.close()
