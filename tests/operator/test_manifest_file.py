import tempfile
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from distillery_operator.manifest_input.manifest_file import ManifestError, read_manifest, read_manifests
from manifest_cases import manifest_cases

MINIMAL = """\
apiVersion: distillery.dev/v1alpha1
kind: Distillation
metadata: {name: conjnli}
spec:
  task: NLI
  data:
    train: {uri: train.jsonl}
    validation: {uri: validation.jsonl}
  generation:
    teachers:
    - {name: llama, endpoint: "https://teacher.example/v1", model: llama-405b}
  student: {model: {uri: student}}
"""
CLASSIFICATION = MINIMAL.replace("task: NLI", "task: Classification")

PROBLEMS = yaml.safe_load((Path(__file__).parents[1] / "data" / "input" / "manifest_problems.yaml").read_text())


def problems(tmp_path, text):
    """What the file is refused for, without its path."""
    path = tmp_path / "manifest.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ManifestError) as caught:
        read_manifests(path)
    assert all(problem.startswith(f"{path}:") for problem in caught.value.problems)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


def test_good_file_is_the_distillation(tmp_path):
    path = tmp_path / "manifest.yaml"
    path.write_text(MINIMAL + "  training: {learningRate: 3e-4, epochs: 3.0}\n")
    manifest = read_manifest(path)
    assert manifest.distillation.metadata.name == "conjnli"
    assert manifest.distillation.spec.training.learning_rate == 0.0003
    assert manifest.distillation.spec.training.epochs == 3
    assert manifest.problem(("spec", "student", "model", "uri"), "does not exist") == (
        f"{path}:12: spec.student.model.uri: does not exist"
    )


def test_byte_order_mark_and_windows_line_endings_are_accepted(tmp_path):
    path = tmp_path / "manifest.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + MINIMAL.replace("\n", "\r\n").encode())
    assert read_manifest(path).distillation.spec.data.train.uri == "train.jsonl"


def test_fields_that_the_server_wrote_are_ignored(tmp_path):
    path = tmp_path / "manifest.yaml"
    server = "metadata: {name: conjnli, uid: 8, generation: x, managedFields: [{}], annotations: {a: b}}"
    path.write_text(MINIMAL.replace("metadata: {name: conjnli}", server) + "status: {observedGeneration: lots}\n")
    assert read_manifest(path).distillation.metadata.annotations == {"a": "b"}


@pytest.mark.parametrize("case", manifest_cases(), ids=lambda case: case.say)
def test_manifest_is_validated_as_by_the_server(case, tmp_path):
    if case.refused is None:
        path = tmp_path / "manifest.yaml"
        path.write_text(yaml.safe_dump(case.manifest))
        assert read_manifest(path).distillation.metadata.name == case.manifest["metadata"]["name"]
    else:
        assert case.refused in "\n".join(problems(tmp_path, yaml.safe_dump(case.manifest)))


@pytest.mark.parametrize("case", PROBLEMS["added"], ids=lambda case: case["add"].strip())
def test_bad_field_is_named_with_its_line_and_remedy(case, tmp_path):
    assert problems(tmp_path, MINIMAL + case["add"] + "\n") == [case["message"]]


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        (
            "http://[::1/v1",
            "not the base URL of a server; use for example https://teacher.example/v1, without spaces, with a port from"
            " 1 to 65535, an IPv6 address in brackets, and characters beyond ASCII as xn--… or %…",
        ),
        (
            "https://user:s3cret@teacher.example/v1",
            "has a user or a password in it, which anyone could read; remove what stands before @, and name a Secret"
            " that holds the key in apiKey",
        ),
    ],
)
def test_bad_endpoint_gets_one_sentence_that_shows_no_secret(endpoint, message, tmp_path):
    text = MINIMAL.replace("https://teacher.example/v1", endpoint)
    assert problems(tmp_path, text) == [f"11: spec.generation.teachers[0].endpoint: {message}"]


def test_boolean_label_must_be_quoted(tmp_path):
    text = MINIMAL.replace("  data:\n", "  data:\n    labels: [yes, no]\n")
    assert problems(tmp_path, text) == [
        '7: spec.data.labels[0]: `yes` is a boolean in YAML, not a string; quote it: "yes"',
        '7: spec.data.labels[1]: `no` is a boolean in YAML, not a string; quote it: "no"',
    ]


def test_numbers_and_booleans_are_labels_of_that_name(tmp_path):
    labels = "[{name: yes, value: 1}, {name: off, value: 0}, 2]"
    text = CLASSIFICATION.replace("  data:\n", f"  data:\n    labels: {labels}\n")
    assert problems(tmp_path, text) == [
        '7: spec.data.labels[0].name: `yes` is a boolean in YAML, not a string; quote it: "yes"',
        '7: spec.data.labels[1].name: `off` is a boolean in YAML, not a string; quote it: "off"',
    ]


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ("[a, {name: b, values: 1}]", "spec.data.labels[1].values: unknown field; did you mean value?"),
        (
            "[a, {description: b}]",
            "spec.data.labels[1].name: missing; add it. The label as the models read and write it",
        ),
        (
            "[a, 1.50]",
            "spec.data.labels[1]: `1.5` is a number with a fraction, which can be written in several ways",
        ),
        (
            "[a, [b]]",
            "spec.data.labels[1]: is a list, not an object; write its fields (name, value, description)",
        ),
        ("[a, ~]", "spec.data.labels[1]: has no value; write one, or remove the field"),
        (
            '[a, " "]',
            "spec.data.labels[1]: a label must not be empty, contain line breaks, or start or end with whitespace",
        ),
        ("[a, b, A.]", "spec.data.labels: two labels cannot be told apart"),
        ("[a]", "spec.data.labels: has too few items; write at least 2"),
    ],
)
def test_bad_label_gets_one_sentence(labels, message, tmp_path):
    text = CLASSIFICATION.replace("  data:\n", f"  data:\n    labels: {labels}\n")
    [problem] = problems(tmp_path, text)
    assert message in problem


def test_classification_without_labels_says_where_they_stand(tmp_path):
    [problem] = problems(tmp_path, CLASSIFICATION)
    assert problem == (
        "6: spec.data.labels: missing, and required for Classification; list the names of the labels, such as"
        " [positive, negative]"
    )


def test_number_for_a_string_must_be_quoted(tmp_path):
    text = MINIMAL.replace("  data:\n", "  data:\n    version: 2026\n")
    assert problems(tmp_path, text) == [
        '7: spec.data.version: `2026` is a number in YAML, not a string; quote it: "2026"'
    ]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ("training: {timeout: 3600}", "timeout: `3600` is a number in YAML, not a string; not a duration"),
        ("training: {timeout: 5}", "timeout: `5` is a number in YAML, not a string; not a duration"),
        ("storage: {claimName: 7}", 'claimName: `7` is a number in YAML, not a string; quote it: "7"'),
    ],
)
def test_number_that_is_wrong_as_a_string_too_gets_the_rule_of_its_field(fields, message, tmp_path):
    [problem] = problems(tmp_path, f"{MINIMAL}  {fields}\n")
    assert message in problem


def test_missing_field_is_explained(tmp_path):
    text = MINIMAL.replace("  student: {model: {uri: student}}\n", "")
    assert problems(tmp_path, text) == ["4: spec.student: missing; add it. Model to train"]


def test_string_for_a_list_says_how_to_write_one(tmp_path):
    text = MINIMAL.replace("  data:\n", "  data:\n    labels: yes-or-no\n")
    assert problems(tmp_path, text) == [
        "7: spec.data.labels: is a string, not a list; write each item on its own line after `- `, or write [a, b]"
    ]


def test_all_problems_are_listed_in_the_order_of_the_file(tmp_path):
    text = MINIMAL.replace("task: NLI", "task: Nli") + "  storage: {claimName: a, size: 5Gi}\n  storag: 1\n"
    assert [problem.split(": ")[0:2] for problem in problems(tmp_path, text)] == [
        ["5", "spec.task"],
        ["13", "spec.storage"],
        ["14", "spec.storag"],
    ]


def test_every_broken_rule_of_an_object_is_named(tmp_path):
    added = """
  serving: {replicas: 3}
  training:
    gpusPerNode: 2
    objective: {kind: Preference}
"""
    assert problems(tmp_path, MINIMAL + added.lstrip("\n")) == [
        "13: spec.serving.replicas: more than one replica requires a volume that several nodes can mount; set"
        " storage.accessModes to [ReadWriteMany], serve the student from an image (serving.modelImage), or set"
        " replicas to 1",
        "16: spec.training.objective.kind: Preference needs rejected answers; set generation.samples to 3 or more, or"
        " generation.filters.disagreesWithGold for rows with gold, or set kind to Labels",
        "16: spec.training.objective.kind: Preference is learned on one GPU; remove training.gpusPerNode and"
        " training.nodes, or set kind to Labels",
    ]
    nested = "  training: {nodes: 2, search: {ranks: [8]}, objective: {logits: {alpha: 1}, preference: {beta: 1}}}\n"
    assert problems(tmp_path, MINIMAL + nested) == [
        "13: spec.training.nodes: more than one node requires a volume that several nodes can mount; set"
        " storage.accessModes to [ReadWriteMany], or set training.nodes to 1",
        "13: spec.training.objective.logits: these are settings of kind Logits; set training.objective.kind to Logits,"
        " or remove logits",
        "13: spec.training.objective.preference: these are settings of kind Preference; set training.objective.kind to"
        " Preference, or remove preference",
        "13: spec.training.search: one combination is no search; list two values or more in learningRates, epochs or"
        " ranks, or remove search and set learningRate, epochs or lora.rank of training",
    ]


def test_two_sources_at_once_are_refused(tmp_path):
    text = MINIMAL.replace("{uri: train.jsonl}", "{uri: a.jsonl, uri: b.jsonl}")
    assert problems(tmp_path, text) == ["7: spec.data.train.uri: given twice, here and on line 7; keep one of the two"]


def test_malformed_yaml_is_located(tmp_path):
    assert problems(tmp_path, MINIMAL + "   serving: {}\n") == [
        "13: not valid YAML at column 4: expected <block end>, but found '<block mapping start>'; indent this line like"
        " the lines around it, and close quotes and brackets"
    ]


@pytest.mark.parametrize("case", PROBLEMS["whole"], ids=lambda case: repr(case["text"]))
def test_file_with_something_else_gets_a_message(case, tmp_path):
    assert problems(tmp_path, case["text"]) == [case["message"]]


def test_file_that_is_not_text_gets_a_message(tmp_path):
    assert problems(tmp_path, b"a: \xff") == [" is not UTF-8 text (byte 3); save it as UTF-8"]


def test_wrong_version_says_which_is_supported(tmp_path):
    assert problems(tmp_path, MINIMAL.replace("v1alpha1", "v2")) == [
        "1: apiVersion: is `distillery.dev/v2`, which this version of distillery does not support; write"
        " `apiVersion: distillery.dev/v1alpha1`"
    ]


def test_only_the_names_of_the_api_are_fields(tmp_path):
    """The API server prunes any other spelling: what is accepted here must not be dropped there."""
    text = MINIMAL.replace(
        '{name: llama, endpoint: "https://teacher.example/v1", model: llama-405b}',
        '{name: llama, endpoint: "https://teacher.example/v1", model: m, api_key: {secret_name: s}}',
    ).replace(
        "    teachers:", "    chain_of_thought: true\n    min_rows: 5\n    budget: {max_tokens: 9}\n    teachers:"
    )
    assert problems(tmp_path, text + "  training: {learning_rate: 0.1, batchsize: 4}\n") == [
        "10: spec.generation.chain_of_thought: unknown field; did you mean chainOfThought?",
        "11: spec.generation.min_rows: unknown field; did you mean minRows?",
        "12: spec.generation.budget.max_tokens: unknown field; did you mean maxTokens?",
        "14: spec.generation.teachers[0].api_key: unknown field; did you mean apiKey?",
        "16: spec.training.learning_rate: unknown field; did you mean learningRate?",
        "16: spec.training.batchsize: unknown field; did you mean batchSize?",
    ]


def test_field_in_another_spelling_is_not_missing_as_well(tmp_path):
    text = MINIMAL.replace("model: llama-405b", "model: m, apiKey: {secret_name: s}")
    assert problems(tmp_path, text) == [
        "11: spec.generation.teachers[0].apiKey.secret_name: unknown field; did you mean secretName?"
    ]


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("metadata:", "3: metadata: has no value; write its fields below"),
        ("metadata: ~", "3: metadata: has no value; write its fields below"),
        ("metadata: {name: }", "3: metadata.name: missing; add it"),
        (
            "metadata: {name: a, labels: {team: }}",
            "3: metadata.labels.team: has no value; write one, or remove the field",
        ),
    ],
)
def test_metadata_without_value_gets_a_sentence(metadata, message, tmp_path):
    assert problems(tmp_path, MINIMAL.replace("metadata: {name: conjnli}", metadata)) == [message]


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000, "1e999", "9" * 400])
def test_number_that_64_bits_cannot_hold_gets_a_sentence(number, tmp_path):
    shown = number if len(number) < 60 else number[:60] + "…"
    assert problems(tmp_path, MINIMAL + f"  training: {{epochs: {number}}}\n") == [
        f"13: spec.training.epochs: `{shown}` is too large for a number; write an integer"
    ]


def test_long_field_name_is_shown_shortened(tmp_path):
    [problem] = problems(tmp_path, MINIMAL + f"  {'x' * 1000}: 1\n")
    assert problem.startswith("13: spec.xxxxx")
    assert len(problem) < 600


CHARACTERS = st.characters() | st.sampled_from("{}[]:,'\"\n #&*!|>%@`-?\\0123456789.eExXoO_~<=")


@given(st.text(CHARACTERS, max_size=60), st.integers(0, len(MINIMAL)), st.integers(0, 40))
def test_whatever_the_file_contains_it_is_a_distillation_or_has_problems_that_say_why(text, position, removed):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "manifest.yaml")
        content = MINIMAL[:position] + text + MINIMAL[position + removed :]
        path.write_bytes(content.encode(errors="surrogatepass"))
        try:
            outcome = ["valid" for _ in read_manifests(path)]
        except ManifestError as error:
            outcome = [problem for problem in error.problems if problem.startswith(f"{path}:") and "\n" not in problem]
        assert outcome


def test_problems_of_all_documents_are_listed(tmp_path):
    found = problems(tmp_path, "kind: Secret\n---\n" + MINIMAL.replace("task: NLI", "task: Haiku"))
    assert [problem.split(":")[0] for problem in found] == ["1", "7"]


def test_run_refuses_two_distillations_and_names_them(tmp_path):
    path = tmp_path / "manifest.yaml"
    path.write_text(MINIMAL + "---\n" + MINIMAL.replace("conjnli", "other"))
    assert [each.distillation.metadata.name for each in read_manifests(path)] == ["conjnli", "other"]
    with pytest.raises(
        ManifestError, match=r"manifest.yaml:14: contains 2 Distillations: conjnli \(line 1\), other \(line 14\)"
    ):
        read_manifest(path)


def test_missing_file_and_folder_get_a_message(tmp_path):
    with pytest.raises(ManifestError, match="the file does not exist"):
        read_manifest(tmp_path / "nothing.yaml")
    with pytest.raises(ManifestError, match="is a folder; give a file in it"):
        read_manifest(tmp_path)
