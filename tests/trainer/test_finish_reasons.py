"""What the finish reasons of servers and gateways mean."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distillery_trainer.data.finish_reasons import Ending, ending_of

WORDS = {
    Ending.COMPLETE: [
        "stop", "STOP", "Stop", " stop ", "end_turn", "endTurn", "EndTurn", "END_TURN", "stop_sequence", "StopSequence",
        "eos", "EOS", "eos_token", "eosFound", "COMPLETE", "completed", "FINISH_REASON_STOP", "FinishReason.STOP",
        "REASON_STOP", "stop-sequence", "null", "None", "", None, "FINISH_REASON_UNSPECIFIED",
    ],
    Ending.TRUNCATED: [
        "length", "LENGTH", "max_tokens", "MAX_TOKENS", "MaxTokens", "max-tokens", "FINISH_REASON_MAX_TOKENS",
        "model_length", "max_output_tokens", "model_context_window_exceeded", "maxPredictedTokensReached",
        "contextLengthReached", "token_limit", "ERROR_LIMIT", "REASON_MAX_LEN", "time_limit",
    ],
    Ending.WITHHELD: [
        "content_filter", "contentFilter", "content_filtered", "SAFETY", "RECITATION", "PROHIBITED_CONTENT", "SPII",
        "BLOCKLIST", "guardrail_intervened", "ERROR_TOXIC", "refusal",
    ],
    Ending.ABORTED: ["error", "ERROR", "abort", "cancelled", "USER_CANCEL", "insufficient_system_resource"],
    Ending.OTHER: ["tool_calls", "function_call", "tool_use", "pause_turn", "OTHER", "unknown", 1, ["stop"], {}],
}  # fmt: skip


@pytest.mark.parametrize(("word", "ending"), [(word, ending) for ending, words in WORDS.items() for word in words])
def test_finish_reason_of_any_server_is_understood(word, ending):
    assert ending_of(word) is ending


@settings(deadline=None)
@given(st.none() | st.integers() | st.text() | st.lists(st.text()) | st.floats() | st.booleans())
def test_any_value_is_an_ending(value):
    assert isinstance(ending_of(value), Ending)
