from __future__ import annotations

from collections.abc import Iterator

import pytest

from chalicelib import wiring
from tests.account.scene import Scene, running


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """One account for all tests of a worker; a test that changes it restores it."""
    with running(tmp_path_factory.mktemp("sagemaker")) as scene:
        yield scene


@pytest.fixture
def scene(whole: Scene, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """The account, and the environment of somebody who operates it."""
    for name, value in whole.environment().items():
        monkeypatch.setenv(name, value)
    wiring.use(whole.services())
    yield whole
    wiring.use(None)
