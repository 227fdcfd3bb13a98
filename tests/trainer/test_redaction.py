"""Personal data is replaced before a row is sent."""

import builtins
import sys
from pathlib import Path

import pytest

from distillery_api.run_config import RunConfig
from distillery_trainer.data.rows import Row
from distillery_trainer.filters.redaction import Redactor
from distillery_trainer.runtime.errors import UserError
from generate_run import GenerateRun

ADDRESSES_AND_NUMBERS = ["EmailAddress", "PhoneNumber", "IPAddress", "CreditCard", "BankAccount", "URL"]


@pytest.fixture
def config(tmp_path: Path):
    def of(*kinds: str) -> RunConfig:
        generation = {"redaction": {"kinds": list(kinds)}} if kinds else {}
        return RunConfig.read(GenerateRun(tmp_path, "http://127.0.0.1:9/v1", generation=generation).config_file)

    return of


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("Mail ann.lee@example.com.", "Mail [EMAIL_ADDRESS]."),
        ("Call +1 (212) 555-0134 now", "Call [PHONE_NUMBER] now"),
        ("Call +49 30 901820.", "Call [PHONE_NUMBER]."),
        ("From 10.0.0.1 and 2001:db8::1", "From [IP_ADDRESS] and [IP_ADDRESS_2]"),
        ("Card 4111 1111 1111 1111!", "Card [CREDIT_CARD]!"),
        ("To DE89 3704 0044 0532 0130 00", "To [BANK_ACCOUNT]"),
        ("See https://example.com/~ann?id=7 there", "See [URL] there"),
        (f"Home{'.' * 300}www.example.com{'.' * 300}", f"Home{'.' * 300}[URL]{'.' * 300}"),
        ("a.b." * 98_304 + " shop.example.com", "a.b." * 98_304 + " [URL]"),
        ("Nothing: 1,234.50 of 2023, at 12:30, 3 :: 4.", "Nothing: 1,234.50 of 2023, at 12:30, 3 :: 4."),
        ("", ""),
    ],
)
def test_addresses_and_numbers_become_placeholders(config, text, redacted):
    assert Redactor(config(*ADDRESSES_AND_NUMBERS)).redact_text(text) == redacted


def test_only_the_configured_kinds_are_replaced(config):
    text = "ann@example.com, 10.0.0.1"
    assert Redactor(config("IPAddress")).redact_text(text) == "ann@example.com, [IP_ADDRESS]"


def test_same_value_has_the_same_placeholder_throughout_a_row(config):
    row = Row(
        "train",
        1,
        "x",
        [
            {"role": "system", "content": "You write for ann@example.com."},
            {"role": "user", "content": "Forward it to bob@example.com and Ann@Example.com."},
        ],
        gold=["Sent to bob@example.com", "neutral"],
        reply="Done, ann@example.com.",
    )
    assert Redactor(config("EmailAddress")).redact(row) == Row(
        "train",
        1,
        "x",
        [
            {"role": "system", "content": "You write for [EMAIL_ADDRESS]."},
            {"role": "user", "content": "Forward it to [EMAIL_ADDRESS_2] and [EMAIL_ADDRESS]."},
        ],
        gold=["Sent to [EMAIL_ADDRESS_2]", "neutral"],
        reply="Done, [EMAIL_ADDRESS].",
    )


def test_each_row_has_its_own_placeholders(config):
    redactor = Redactor(config("EmailAddress"))
    rows = [Row("train", 1, "x", [{"role": "user", "content": f"{name}@example.com"}]) for name in ("ann", "bob")]
    assert [redactor.redact(row).text for row in rows] == ["[EMAIL_ADDRESS]", "[EMAIL_ADDRESS]"]


def test_row_is_unchanged_without_redaction(config):
    row = Row("train", 1, "x", [{"role": "user", "content": "ann@example.com"}])
    assert Redactor(config()).redact(row) is row


def test_nothing_is_downloaded_to_recognise_an_address(config, monkeypatch):
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: pytest.fail("a name was looked up"))
    assert Redactor(config("EmailAddress")).redact_text("ann@example.co.uk") == "[EMAIL_ADDRESS]"


# --- names


@pytest.fixture
def name_model(tmp_path: Path, monkeypatch):
    """An installed spaCy package that knows one name."""
    import spacy

    model = spacy.blank("en")
    model.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": "Ann Lee"}])
    package = tmp_path / "packages" / "en_one_name"
    package.parent.mkdir()
    model.to_disk(package)
    (package / "__init__.py").write_text(
        "import spacy\n\ndef load(**options):\n    return spacy.load(__path__[0], **options)\n"
    )
    information = tmp_path / "packages" / "en_one_name-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: en_one_name\nVersion: 1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    # spaCy reads the list of packages once, when it is imported.
    monkeypatch.setattr("spacy.util.get_installed_models", lambda: ["en_one_name"])
    yield
    sys.modules.pop("en_one_name", None)


@pytest.mark.usefixtures("name_model")
def test_names_become_placeholders_if_a_model_is_installed(config):
    redactor = Redactor(config("Person", "EmailAddress"))
    assert redactor.redact_text("Ann Lee, ann@example.com, and Ann  Lee's cat. Ann Lee.") == (
        "[PERSON], [EMAIL_ADDRESS], and Ann  Lee's cat. [PERSON]."
    )


def test_names_without_a_model_are_an_error(config, monkeypatch):
    monkeypatch.setattr("spacy.util.get_installed_models", list)
    with pytest.raises(UserError, match="Person needs a spaCy model that finds names, but none is installed") as caught:
        Redactor(config("Person"))
    assert caught.value.reason == "InvalidSpec"


def test_missing_library_is_named_with_what_installs_it(config, monkeypatch):
    real = builtins.__import__

    def without_presidio(name, *rest):
        if name.startswith("presidio_analyzer"):
            raise ImportError(f"No module named {name!r}", name=name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_presidio)
    with pytest.raises(
        UserError, match=r"needs presidio_analyzer, which is not installed. Run pip install .* '\.\[redaction\]' in a"
    ):
        Redactor(config("URL"))
