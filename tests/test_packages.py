"""Every package says what belongs there, and import rules cover every module."""

import ast
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGES = {
    "distillery_api": REPOSITORY / "crds" / "distillery_api",
    "distillery_operator": REPOSITORY / "operator" / "distillery_operator",
    "distillery_trainer": REPOSITORY / "trainer_image" / "distillery_trainer",
}
FOLDERS = sorted(
    {module.parent.relative_to(REPOSITORY) for package in PACKAGES.values() for module in package.rglob("*.py")}
)


def import_rules() -> dict:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]


def modules_of(package: Path) -> set[str]:
    """The modules and folders at the top of a package."""
    files = {path.stem for path in package.glob("*.py")} - {"__init__"}
    return files | {path.parent.name for path in package.glob("*/__init__.py")}


def ordered_modules(package: str) -> list[str]:
    """The modules that an exhaustive contract puts into layers."""
    layers = [
        layer
        for contract in import_rules()["contracts"]
        if contract["type"] == "layers" and contract.get("exhaustive") and contract.get("containers") == [package]
        for layer in contract["layers"]
    ]
    return [module.strip() for layer in layers for module in layer.split("|")]


def test_import_rules_know_all_packages():
    assert import_rules()["root_packages"] == list(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_stands_in_one_layer_of_an_exhaustive_contract(package):
    assert sorted(ordered_modules(package)) == sorted(modules_of(PACKAGES[package]))


@pytest.mark.parametrize("folder", FOLDERS, ids=str)
def test_every_folder_says_what_belongs_there(folder):
    docstring = ast.get_docstring(ast.parse((REPOSITORY / folder / "__init__.py").read_text())) or ""
    sentence = docstring.partition(".")[0]
    assert "." in docstring
    assert len(sentence.split()) >= 5


def test_every_test_helper_is_explained():
    support = REPOSITORY / "tests" / "support"
    helpers = {path.stem for path in support.iterdir() if path.suffix == ".py" or any(path.rglob("*.py"))}
    readme = (support / "README.md").read_text()
    assert {helper for helper in helpers if f"`{helper}`" not in readme and f"`{helper}/`" not in readme} == set()
