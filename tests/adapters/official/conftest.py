"""One interpreter with torch for all workers of a session."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from warm_interpreter import warm_interpreter


@pytest.fixture(scope="session")
def worker_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What a codec's ``..._PYTHON`` names in place of this interpreter, which would import torch for each worker."""
    with warm_interpreter(tmp_path_factory.mktemp("python")) as program:
        yield program
