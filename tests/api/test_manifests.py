import pytest
from pydantic import ValidationError

from distillery_api.resource import Distillation
from manifest_cases import ManifestCase, manifest_cases

CASES = manifest_cases()


@pytest.mark.parametrize("case", [c for c in CASES if c.refused is None], ids=lambda c: c.say)
def test_good_manifest_is_accepted(case: ManifestCase):
    assert Distillation.model_validate(case.manifest).metadata.name == case.manifest["metadata"]["name"]


@pytest.mark.parametrize("case", [c for c in CASES if c.refused is not None], ids=lambda c: c.say)
def test_bad_manifest_is_refused_with_its_remedy(case: ManifestCase):
    with pytest.raises(ValidationError) as refusal:
        Distillation.model_validate(case.manifest)
    assert case.refused in str(refusal.value)


def test_the_table_holds_at_least_a_hundred_and_fifty_manifests():
    assert len(CASES) >= 150
