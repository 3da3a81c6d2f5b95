"""No module executes what it reads: no pickle, no shell, no evaluated text, over the whole source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "bench"

EXECUTE = {"eval", "exec", "compile", "__import__", "execfile"}
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "yaml", "jsonpickle"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "os.execl", "os.spawnl"}
UNPICKLERS = {
    "torch.load",
    "np.load",
    "numpy.load",
    "pd.read_pickle",
    "joblib.load",
    "torch.jit.load",
    "torch.hub.load",
}
SAFELY = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}

# The seal of other libraries' networks names pickle in order to refuse it, as does the catcher of Numba's cache.
NAMES_OF_ERRORS = {"networks/guarded_load.py", "core/compiled.py"}


def dotted(node: ast.expr) -> str:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else ""


def constants(call: ast.Call) -> dict[str | None, object]:
    return {word.arg: word.value.value for word in call.keywords if isinstance(word.value, ast.Constant)}


def dangers(tree: ast.AST) -> Iterator[str]:
    """What in a module could execute what it reads, with its line."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        yield from (f"line {node.lineno}: imports {name}" for name in names if name.partition(".")[0] in MODULES)
        if not isinstance(node, ast.Call):
            continue
        name, given = dotted(node.func), constants(node)
        if name in EXECUTE or name in SHELLS:
            yield f"line {node.lineno}: calls {name}"
        if given.get("shell"):
            yield f"line {node.lineno}: calls {name} with a shell"
        if name in UNPICKLERS:
            word, value = SAFELY.get(name, ("", None))
            if not word or given.get(word) is not value:
                yield f"line {node.lineno}: calls {name} without {word}={value}"


def test_nothing_read_is_executed() -> None:
    found = [
        (name, danger)
        for path in PACKAGE.rglob("*.py")
        for name in [str(path.relative_to(PACKAGE))]
        for danger in dangers(ast.parse(path.read_text(encoding="utf-8")))
        if name not in NAMES_OF_ERRORS or "imports pickle" not in danger
    ]
    assert found == []


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)", "exec(text)", "import pickle", "from pickle import loads", "import yaml", "os.system(line)",
        "subprocess.run(line, shell=True)", "torch.load(path)", "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)", "np.load(path)", "np.load(path, allow_pickle=True)",
        "def f():\n    import dill", "joblib.load(path)",
    ],
)  # fmt: skip
def test_the_guard_sees_each_danger(source: str) -> None:
    assert len(list(dangers(ast.parse(source)))) == 1


def test_the_guard_leaves_what_is_safe() -> None:
    for safe in (
        "network.eval()",
        "torch.load(p, weights_only=True)",
        "np.load(p, allow_pickle=False)",
        "re.compile(x)",
    ):
        assert list(dangers(ast.parse(safe))) == []
