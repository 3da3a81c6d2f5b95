"""A late module is imported at its first use, by whichever thread, and is then like the module itself."""

from __future__ import annotations

import colorsys
import pickle
import subprocess
import sys

import pytest

from bench.core.late import Late

CODE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from bench.core.late import Late
late = Late("decimal")
assert "decimal" not in sys.modules
with ThreadPoolExecutor(8) as threads:
    assert set(threads.map(lambda _: late.getcontext, range(64))) == {sys.modules["decimal"].getcontext}
assert "getcontext" in vars(late)
"""


def test_a_module_is_imported_whole_when_it_is_first_used() -> None:
    subprocess.run([sys.executable, "-c", CODE], check=True)


def test_it_fails_as_the_module_does_and_can_be_sent_to_another_process() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = Late("colorsys").no_such_name
    assert pickle.loads(pickle.dumps(Late("colorsys"))).hls_to_rgb is colorsys.hls_to_rgb
