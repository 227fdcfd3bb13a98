"""Every field of the spec is either part of a stage's identity or marked as NotIdentity."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml

from distillery_api.base import ApiModel, FirstDefault, NotIdentity
from distillery_api.spec import DistillationSpec, Judge, Teacher
from distillery_operator.planning.identity import identity_fields, input_hashes
from spec_fields import SPECS, FieldPath, all_fields, another, given_value, models_in, with_value

IDENTITY = [path for path, marked in all_fields(DistillationSpec) if not marked]
MARKED = [path for path, marked in all_fields(DistillationSpec) if marked]


def hashes_before_and_after(path: FieldPath) -> Iterator[tuple[dict[Any, str], dict[Any, str]]]:
    """The hashes of each spec that gives the field a value, and those of the same spec with another value."""
    for spec in SPECS.values():
        value = given_value(spec, path)
        if value is not None:
            yield input_hashes(spec, {}), input_hashes(with_value(spec, path, another(value)), {})


@pytest.mark.parametrize("path", IDENTITY, ids=".".join)
def test_changing_a_field_of_the_identity_changes_a_hash(path: FieldPath):
    changes = list(hashes_before_and_after(path))
    assert changes, "give the field a value in tests/data/input/full_specs.yaml"
    assert all(before != after for before, after in changes)


@pytest.mark.parametrize("path", MARKED, ids=".".join)
def test_changing_a_marked_field_changes_no_hash(path: FieldPath):
    changes = list(hashes_before_and_after(path))
    assert changes, "give the field a value in tests/data/input/full_specs.yaml"
    assert all(before == after for before, after in changes)


def test_fields_of_teacher_and_judge_that_are_part_of_an_identity():
    teacher = SPECS["labels"].generation.teachers[0]
    judge = SPECS["labels"].generation.judge
    assert isinstance(teacher, Teacher)
    assert isinstance(judge, Judge)
    options = {
        "reasoningEffort": "low",
        "extraBody": {"top_k": 20},
        "headers": [{"name": "X-Team", "value": "nlp"}, {"name": "X-Key"}],
    }
    assert identity_fields(teacher) == {"name": "big", "model": "teacher-405b", "reasoning": True, **options}
    assert identity_fields(judge) == {"model": "judge", **options}


def test_adapters_count_only_where_they_are_trained():
    spec = SPECS["texts"]
    assert input_hashes(with_value(spec, ("training", "lora", "rank"), 64), {}) == input_hashes(spec, {})


def test_settings_of_log_probabilities_count_only_where_they_are_learned():
    spec = SPECS["texts"]
    for name, value in (("alpha", 0.75), ("temperature", 2.0), ("top_logprobs", 5)):
        changed = with_value(spec, ("training", "objective", "logits", name), value)
        assert input_hashes(changed, {}) == input_hashes(spec, {})


@pytest.mark.parametrize(
    ("path", "default"),
    [
        (("generation", "sampling", "temperature"), 0.7),
        (("generation", "sampling", "top_p"), 1.0),
    ],
    ids=["temperature", "topP"],
)
def test_stating_a_default_of_several_samples_changes_no_hash(path: FieldPath, default: float):
    left_out = with_value(SPECS["labels"], path, None)
    assert input_hashes(with_value(left_out, path, default), {}) == input_hashes(left_out, {})


class EarlierRelease(ApiModel):
    epochs: int = 1
    packing: bool = False


class LaterRelease(ApiModel):
    """With another default for a field, and a new field."""

    epochs: Annotated[int, FirstDefault(1)] = 3
    packing: Annotated[bool, FirstDefault(False)] = True
    warmup: float = 0.1


class Nested(ApiModel):
    training: LaterRelease = LaterRelease()


@pytest.mark.parametrize(
    ("stored", "identity"),
    [
        ({}, {}),
        ({"epochs": 1, "packing": False}, {}),
        ({"epochs": 3}, {"epochs": 3}),
        ({"packing": True}, {"packing": True}),
        ({"epochs": 2, "packing": True}, {"epochs": 2, "packing": True}),
    ],
)
def test_object_means_to_a_later_release_what_it_meant_when_it_was_stored(
    stored: dict[str, Any], identity: dict[str, Any]
):
    with_defaults = EarlierRelease.model_validate(stored).to_manifest()
    assert identity_fields(EarlierRelease.model_validate(stored)) == identity
    assert identity_fields(LaterRelease.model_validate(with_defaults | {"warmup": 0.1})) == identity


def test_default_of_a_later_release_is_a_value_of_its_own():
    assert identity_fields(LaterRelease()) == {"epochs": 3, "packing": True}
    assert identity_fields(Nested()) == {"training": {"epochs": 3, "packing": True}}
    assert identity_fields(Nested(training=LaterRelease(epochs=1, packing=False))) == {}


def first_defaults(model: type[ApiModel], path: FieldPath = ()) -> Iterator[tuple[str, Any]]:
    """Each field of an identity that has a default, with the default that it had when it was introduced."""
    for name, field in model.model_fields.items():
        if NotIdentity in field.metadata:
            continue
        inner = list(models_in(field.annotation))
        for each in inner:
            yield from first_defaults(each, (*path, field.alias or name))
        if not inner and not field.is_required():
            first = [each.value for each in field.metadata if isinstance(each, FirstDefault)]
            yield ".".join((*path, field.alias or name)), (first or [field.default])[0]


def test_first_defaults_are_those_on_record():
    on_record = yaml.safe_load((Path(__file__).parents[1] / "data/output/first_defaults.yaml").read_text())
    found = dict(first_defaults(DistillationSpec))
    changed = {field: value for field, value in found.items() if field in on_record and on_record[field] != value}
    assert changed == {}, "where a default changes, keep the first one as FirstDefault (docs/development.md)"
    assert set(found) == set(on_record), "put a new field with its default on record"
