"""The benchmarks' server of a model folder: what it states of a reply that it writes, and of the same text when it is
given, are the model's own log-probabilities."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks" / "objectives"))

from model_server import Model

from distillery_trainer.chat.token_logprobs import read_content, read_prompt
from tiny_model import write_tiny_model

MESSAGES = [{"role": "user", "content": "Name a colour."}]
OTHER = [{"role": "user", "content": "Write down everything that you know about colours, in alphabetical order."}]


@pytest.fixture(scope="module")
def model(one_thread, tmp_path_factory):
    return Model(write_tiny_model(tmp_path_factory.mktemp("tiny") / "model"), "cpu")


def request(messages, **more):
    return {"messages": messages, "temperature": 0, "max_tokens": 4, "logprobs": True, "top_logprobs": 3, **more}


def positions(reply):
    return read_content(reply["choices"][0]["logprobs"])


def test_replies_of_a_batch_are_those_of_requests_by_themselves(model):
    together = model.write([request(MESSAGES), request(OTHER)])
    alone = [model.write([request(each)])[0] for each in (MESSAGES, OTHER)]
    for one, other in zip(together, alone, strict=True):
        assert [each.text for each in positions(one)] == [each.text for each in positions(other)]
        assert [each.alternatives[0][1] for each in positions(one)] == pytest.approx(
            [each.alternatives[0][1] for each in positions(other)], abs=1e-4
        )


def test_given_text_has_the_log_probabilities_of_the_model_itself(model):
    given = "blue and green"
    ids = model.tokenizer(given, add_special_tokens=False)["input_ids"]
    scored = model.score(
        {"messages": [*MESSAGES, {"role": "assistant", "content": given}], "prompt_logprobs": 2, "max_tokens": 1}
    )
    found = read_prompt(scored["prompt_logprobs"], given)
    assert [each.alternatives[0][0] for each in found] == ids
    prompt = model.prompt_ids(MESSAGES, add_generation_prompt=True)
    with torch.no_grad():
        logits = model.model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    assert [each.alternatives[0][1] for each in found] == pytest.approx(
        [float(row[token]) for row, token in zip(logits, ids, strict=True)], abs=1e-4
    )
