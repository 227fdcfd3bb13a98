"""How likely a model finds a given reply."""

import math

import pytest
import torch

from distillery_trainer.evaluation.reply_likelihood import ReplyLikelihood
from distillery_trainer.student.model_folder import open_folder
from distillery_trainer.student.row_encoding import prompt_ids
from tiny_model import read_model, write_tiny_model


def test_likelihood_is_that_of_the_reply_s_tokens_alone(tmp_path):
    folder = open_folder(write_tiny_model(tmp_path / "model"), "tiny")
    model = read_model(tmp_path / "model")
    prompt = [{"role": "user", "content": "How are you?"}]
    loss, tokens = ReplyLikelihood(folder, model).negative_log_likelihood(prompt, "Fine, thanks.")

    start = prompt_ids(folder, prompt)
    reply = folder.tokenizer("Fine, thanks.<|im_end|>\n", add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        log_likelihoods = model(torch.tensor([start + reply])).logits[0].log_softmax(-1)
    by_hand = -sum(float(log_likelihoods[len(start) - 1 + index, token]) for index, token in enumerate(reply))
    assert tokens == len(reply) == 6
    assert loss == pytest.approx(by_hand, rel=1e-5)
    # Random weights know nothing: every token is about as likely as any other.
    assert math.exp(loss / tokens) == pytest.approx(49152, rel=0.5)


def test_reply_that_cannot_be_encoded_has_no_likelihood(tmp_path):
    folder = open_folder(write_tiny_model(tmp_path / "model"), "tiny")
    likelihood = ReplyLikelihood(folder, read_model(tmp_path / "model"))
    prompt = [{"role": "user", "content": "How are you?"}]
    assert likelihood.negative_log_likelihood(prompt, "Fine<|im_end|>") == (0.0, 0)
    assert likelihood.negative_log_likelihood(prompt, "word " * 600) == (0.0, 0)  # the model reads 512 tokens
