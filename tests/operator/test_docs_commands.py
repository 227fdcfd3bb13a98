"""Every `distillery` command of the pages can be typed as it stands there, and every YAML block is a valid manifest or
a part of one. Commands that train or pay are parsed, and what they refer to is looked up; they are not run."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer
import yaml

from distillery_api.spec import DistillationSpec, Task
from distillery_operator.cli.app import app
from distillery_operator.local.references import LocalSubstitutes, find_inputs
from distillery_operator.manifest_input.manifest_file import ManifestError, read_manifest, read_manifests

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAM = typer.main.get_command(app)
END = {"|", ">", ">>", "&", "&&", ";"}
PLACEHOLDER = re.compile(r"[A-Z]+")
SCHEMES = ("hf://", "https://", "s3://", "gs://", "abfs://")


def commands():
    """Page and words of each command, without what follows a pipe."""
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        for block in re.findall(r"^ *```(?:console|sh|bash)\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE):
            for line in re.findall(r"^ *(?:\$ )?(?:\.venv/bin/)?distillery (.*)$", block, re.MULTILINE):
                words = shlex.split(line, comments=True)
                end = next((number for number, word in enumerate(words) if word in END), len(words))
                yield pytest.param(words[:end], id=f"{page.name}: {line[:60]}")


def parsed(words):
    """Name and parameters of a command as typer understands it. Raises errors of usage."""
    name, *rest = words
    return name, PROGRAM.commands[name].make_context(name, rest).params


@pytest.mark.parametrize("words", list(commands()))
def test_the_command_can_be_typed_and_finds_what_it_names(words, tmp_path, monkeypatch):
    name, parameters = parsed(words)
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    file = parameters.get("file")
    if name not in ("run", "estimate", "plan", "validate", "prompts") or file is None or PLACEHOLDER.search(file.stem):
        return
    if not file.exists():
        return  # a reader's own
    manifest = read_manifest(file)
    provide(manifest, parameters)
    if name == "plan" and parameters.get("out") is None:
        return
    keys = name == "run" or bool(parameters.get("pilot"))
    find_inputs(manifest, substitutes(parameters), keys=keys)


def substitutes(parameters):
    chosen = {name: pairs(parameters.get(name)) for name in ("claim", "configmap", "secret")}
    return LocalSubstitutes(chosen["claim"], chosen["configmap"], chosen["secret"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run"], "Missing parameter: file"),
        (["run", "FILE", "--speed"], "No such option: --speed"),
        (["plan", "FILE", "--out"], "Option '--out' requires an argument"),
    ],
)
def test_a_command_that_cannot_be_typed_is_noticed(words, said):
    with pytest.raises(Exception, match=said):
        parsed(words)


def pairs(values):
    return {name: Path(path) for name, _, path in (value.partition("=") for value in values or [])}


def provide(manifest, parameters):
    """Make the files of a reader that the command refers to."""
    spec, folders = manifest.distillation.spec, {**pairs(parameters.get("claim")), **pairs(parameters.get("configmap"))}
    for uri in [*(source.uri for source in spec.data.sources.values()), spec.student.model.uri]:
        scheme, _, path = uri.partition("://")
        owner, _, inside = path.partition("/")
        if scheme in ("pvc", "configmap") and owner in folders:
            target = folders[owner] / inside
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        elif not uri.startswith(SCHEMES) and "://" not in uri:
            (manifest.path.parent / uri).parent.mkdir(parents=True, exist_ok=True)
            (manifest.path.parent / uri).touch()
    for path in pairs(parameters.get("secret")).values():
        path.write_text("api-key=x\nAPI_KEY=x\ntoken=x\nHF_TOKEN=x\n")


def yaml_blocks():
    for page in PAGES:
        blocks = re.findall(r"^( *)```yaml\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE)
        for number, (indent, block) in enumerate(blocks, start=1):
            text = re.sub(rf"^{indent}", "", block, flags=re.MULTILINE)
            yield pytest.param(text, id=f"{page.name} {number}")


@pytest.mark.parametrize("text", list(yaml_blocks()))
def test_the_yaml_block_is_valid(text, tmp_path):
    documents = [document for document in yaml.safe_load_all(text) if document is not None]
    for document in documents:
        spec = part_of_a_spec(document)
        if document.get("kind") == "Distillation":
            (tmp_path / "manifest.yaml").write_text(yaml.safe_dump(document))
            assert read_manifests(tmp_path / "manifest.yaml")
        elif spec:
            problems = {task: problem_of(spec, task, tmp_path) for task in Task}
            assert None in problems.values(), problems


def part_of_a_spec(document):
    """The fields of a spec in a block that holds a part of one; empty for anything else, such as Helm values."""
    fields = {field.alias or name for name, field in DistillationSpec.model_fields.items()}
    spec = document.get("spec", document) if isinstance(document, dict) and "apiVersion" not in document else {}
    return spec if isinstance(spec, dict) and set(spec) <= fields else {}


def problem_of(part, task, folder):
    """What is wrong with a manifest of the task that has this part; None for a valid one."""
    whole = {
        "task": str(task),
        "data": {"train": {"uri": "train.jsonl"}, "validation": {"uri": "validation.jsonl"}},
        "generation": {"teachers": [{"name": "big", "endpoint": "https://teacher.example/v1", "model": "big"}]},
        "student": {"model": {"uri": "hf://org/student"}},
    }
    if "validationFraction" in part.get("data", {}):
        del whole["data"]["validation"]
    labels = {"data": {"labels": ["one", "other"]}} if task is Task.CLASSIFICATION else {}
    schema = {"generation": {"schema": {"type": "object", "properties": {"a": {"type": "string"}}}}}
    extraction = schema if task is Task.EXTRACTION else {}
    manifest = {
        "apiVersion": "distillery.dev/v1alpha1",
        "kind": "Distillation",
        "metadata": {"name": "documented"},
        "spec": merged(merged(merged(whole, labels), extraction), part),
    }
    path = folder / "manifest.yaml"
    path.write_text(yaml.safe_dump(manifest))
    try:
        read_manifest(path)
    except ManifestError as error:
        return error.problems
    return None


def merged(base, over):
    if not (isinstance(base, dict) and isinstance(over, dict)):
        return over
    return {**base, **{key: merged(base.get(key, {}), value) if key in base else value for key, value in over.items()}}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_request_in_a_page_sends_the_student_prompt(page):
    for block in re.findall(r"^ *```(?:console|sh|bash)\n(.*?)^ *```", page.read_text(), re.DOTALL | re.MULTILINE):
        if "/v1/chat/completions" in block and "messages" in block:
            assert re.search(r"messages\W+role\W+system", block), block


CLI_PAGE = (ROOT / "docs" / "cli.md").read_text()
OF_SEVERAL = {"--out", "--claim", "--configmap", "--secret", "--help"}


def documented_options(section):
    """The options in the first column of a section's tables."""
    cells = re.findall(r"^\| (`--.*?) \|", section, re.MULTILINE)
    return {option for cell in cells for option in re.findall(r"`(--[a-z-]+)`", cell)}


def test_every_command_has_a_section():
    assert re.findall(r"^## (.+)$", CLI_PAGE, re.MULTILINE) == sorted(
        PROGRAM.commands, key=["run", "estimate", "prompts", "plan", "validate", "serve", "export"].index
    )


@pytest.mark.parametrize("name", sorted(PROGRAM.commands))
def test_the_page_has_the_options_of_the_command(name):
    section = CLI_PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    options = {option for parameter in PROGRAM.commands[name].params for option in parameter.opts if option[:2] == "--"}
    assert documented_options(section) == options - OF_SEVERAL


def test_the_page_has_the_options_of_several_commands():
    assert documented_options(CLI_PAGE.partition("\n## ")[0]) == OF_SEVERAL | {"--version"}


@pytest.mark.parametrize("line", re.findall(r"`distillery ([^`]+)`", CLI_PAGE))
def test_every_example_of_the_page_can_be_typed(line):
    assert parsed(shlex.split(line))[0] in PROGRAM.commands
