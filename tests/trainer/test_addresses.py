import pytest

from distillery_trainer.data.addresses import without_secrets


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://user:s3cret@bucket/rows.jsonl", "s3://bucket/rows.jsonl"),
        ("https://user:s3cret@rows.example/a.jsonl", "https://rows.example/a.jsonl"),
        ("https://rows.example/a.jsonl?sig=s3cret", "https://rows.example/a.jsonl?…"),
        ("http://rows.example:8080/a.jsonl#part", "http://rows.example:8080/a.jsonl"),
        ("s3://bucket/rows.jsonl?signature=s3cret#part", "s3://bucket/rows.jsonl?…"),
        ("abfs://container@account.example/rows.jsonl", "abfs://container@account.example/rows.jsonl"),
        ("abfs://container@account.example/rows.jsonl?sig=s3cret", "abfs://container@account.example/rows.jsonl?…"),
        ("hf://datasets/org/name@main/rows.jsonl", "hf://datasets/org/name@main/rows.jsonl"),
        ("https://[x/rows.jsonl?sig=s3cret", "https://…"),
        ("s3://user:s3cret@[::1::]/rows.jsonl", "s3://…"),
        ("rows/train.jsonl", "rows/train.jsonl"),
        ("rows/what?#1.jsonl", "rows/what?#1.jsonl"),
        ("file:///rows/what?#1.jsonl", "file:///rows/what?#1.jsonl"),
    ],
)
def test_address_is_shown_without_secrets(uri: str, shown: str):
    assert without_secrets(uri, query="…") == shown


def test_published_address_has_no_query_at_all():
    assert without_secrets("https://rows.example/a.jsonl?sig=s3cret") == "https://rows.example/a.jsonl"
    assert without_secrets("abfs://rows@account.example/a.jsonl?sig=s3cret") == "abfs://rows@account.example/a.jsonl"
