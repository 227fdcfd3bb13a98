"""Batched answers on a GPU are those of the library's own `generate`."""

import torch
from transformers import AutoModelForCausalLM

from distillery_trainer.evaluation.batched_generation import BatchedGenerator, GenerationRequest
from distillery_trainer.student.device import choose_device

PROMPTS = [[1, *range(start, start + length)] for start, length in ((1000, 5), (2000, 60), (3000, 17), (1000, 9))]
END = 2
LIMIT = 24


def test_answers_are_those_of_the_library(student):
    # In 32 bits: in 16, two arithmetics that differ in their order may choose another of two equally likely words.
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32, device_map="cuda").eval()
    generator = BatchedGenerator(model, choose_device(), (END,), padding=0, max_rows=4)
    found = dict(generator.generate([GenerationRequest(prompt, LIMIT) for prompt in PROMPTS]))
    for row, prompt in enumerate(PROMPTS):
        ids = torch.tensor([prompt], device="cuda")
        output = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=LIMIT, do_sample=False, eos_token_id=END
        )
        expected = output[0, len(prompt) :].tolist()
        assert list(found[row].ids) == [each for each in expected if each != END]
