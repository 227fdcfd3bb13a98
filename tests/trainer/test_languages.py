"""The language of a text, where it can be told."""

import pytest

from distillery_trainer.text import languages


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The report sums up what the study has found.", "en"),
        ("Der Bericht fasst zusammen, was die Studie gefunden hat.", "de"),
        ("La r\u00e9servation est confirm\u00e9e pour ce soir \u00e0 vingt heures.", "fr"),
        ("\u5c0f\u6a21\u578b\u4ece\u5927\u6a21\u578b\u7684\u56de\u7b54\u4e2d\u5b66\u4e60\u3002", "zh"),
        ("Der Befehl lautet `print the list of all the files in the folder` und zeigt alle Dateien.", "de"),
    ],
)
def test_language_of_a_sentence(text, language):
    assert languages.detect(text) == language


@pytest.mark.parametrize(
    "text", ["", "OK.", "72", "x = 5\n" * 20, "```\nprint('hello world of programs')\n```", "\ud800"]
)
def test_language_that_is_not_detected(text):
    assert languages.detect(text) is None


def test_code_and_name_of_a_language():
    assert languages.primary("pt-BR") == "pt"
    assert languages.primary("nb") == "no"
    assert languages.english_name("pt-BR") == "Portuguese (Brazil)"
    assert languages.english_name("qx") == "qx"
