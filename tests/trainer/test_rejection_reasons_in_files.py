"""Rejection reasons in the files of the stages, which orjson writes."""

import orjson

from distillery_api.rejection_reasons import RejectionReason


def test_orjson_writes_the_plain_text():
    reasons = [RejectionReason.TOO_LONG, RejectionReason.of_status(500)]
    assert orjson.dumps(reasons) == b'["too_long","http_500"]'
