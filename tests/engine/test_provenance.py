"""Facts about a run: whose commit it was made at."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bench
from bench.engine.provenance import code_revision, collect, git_revision, own_revision


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of a user's, with one commit and an ignored environment in it."""
    (tmp_path / ".gitignore").write_text(".venv/\n")
    for words in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=a", "-c", "user.email=a@example.org", "commit", "-q", "-m", "mine"],
    ):
        subprocess.run(["git", "-C", tmp_path, *words], check=True)
    return tmp_path


def test_code_is_of_the_commit_that_holds_it_and_of_no_other(repository: Path) -> None:
    kept, installed = repository / ".gitignore", repository / ".venv" / "code.py"
    installed.parent.mkdir()
    installed.touch()
    assert code_revision(kept) == git_revision(repository)
    assert code_revision(installed) is None
    (repository / "new.py").touch()
    assert code_revision(repository / "new.py") is None
    assert code_revision(repository / "no" / "folder.py") is None


def test_a_vcbench_in_an_environment_of_the_users_is_not_of_their_commit(repository: Path) -> None:
    """It was, wherever a result or a record of a verification names a revision of vcbench."""
    site = repository / ".venv" / "site-packages"
    package = Path(bench.__file__).parent
    shutil.copytree(package, site / "bench", ignore=shutil.ignore_patterns("__pycache__", "neural", "report"))
    asked = (
        "from bench.engine.provenance import collect, own_revision; "
        "facts = collect([]); print(facts['vcbench_revision'], own_revision(), facts['working_revision'])"
    )
    code = f"import sys; sys.path.insert(0, {str(site)!r}); {asked}"
    done = subprocess.run([sys.executable, "-c", code], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "None", git_revision(repository)]


def test_a_checkout_is_of_its_commit() -> None:
    expected = git_revision(Path(bench.__file__).parent)
    tracked = subprocess.run(
        ["git", "ls-files", "--error-unmatch", bench.__file__], cwd=Path(bench.__file__).parent, check=False
    )
    if expected is None or tracked.returncode:
        pytest.skip("vcbench does not run from a git checkout")
    assert own_revision() == expected == collect([])["vcbench_revision"]
