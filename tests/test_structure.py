"""The house rules of the code: short modules, small classes, calls that name their arguments."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = [ROOT / name for name in ("pdae_app", "training", "benchmarks")]
MODULES = [ROOT / "app.py", *(path for folder in FOLDERS for path in sorted(folder.rglob("*.py")))]
LONGEST_MODULE = 400
LONGEST_CLASS = 250
MOST_POSITIONAL = 5
# Its arguments are all of one kind: layers in their order.
VARIADIC = ("nn.Sequential",)


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    """The parsed modules by their paths."""
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text()) for path in MODULES}


def test_no_module_is_too_long():
    lengths = {path: len(path.read_text().splitlines()) for path in MODULES}
    assert len(lengths) > 100
    assert [f"{path.name}: {n} lines" for path, n in lengths.items() if n > LONGEST_MODULE] == []


def test_no_class_is_too_long(trees):
    classes = _nodes(trees, ast.ClassDef)
    too_long = {
        f"{place} {node.name}: {length} lines"
        for place, node in classes
        if (length := node.end_lineno - node.lineno + 1) > LONGEST_CLASS
    }
    assert too_long == set()


def test_no_call_has_too_many_positional_arguments(trees):
    calls = _nodes(trees, ast.Call)
    too_many = {
        f"{place} {ast.unparse(node.func)}: {len(node.args)} arguments"
        for place, node in calls
        if len(node.args) > MOST_POSITIONAL and ast.unparse(node.func) not in VARIADIC
    }
    assert too_many == set()


def test_engine_and_training_do_not_know_the_page(trees):
    page = ("gradio", "pdae_app.ui")
    offenders = {
        f"{path} imports {name}"
        for path, tree in trees.items()
        if not path.startswith(("pdae_app/ui/", "benchmarks/", "app.py"))
        for name in _imports(tree)
        if name.startswith(page)
    }
    assert offenders == set()


def test_endpoints_import_nothing_from_tabs(trees):
    imports = _imports(trees["pdae_app/ui/api.py"])
    assert [name for name in imports if name.endswith("_tab") or name.endswith("_panel")] == []


def _nodes(trees: dict[str, ast.Module], kind: type) -> list[tuple[str, ast.AST]]:
    return [
        (f"{path}:{node.lineno}", node)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, kind)
    ]


def _imports(tree: ast.Module) -> list[str]:
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return names
