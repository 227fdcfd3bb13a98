"""Answers of vLLM, for a program in another environment: a base model with an adapter, then the merged model.

Arguments: the folders of base model, adapter and merged model, and prompts as a JSON list of lists of token ids. Prints
a JSON list with the token ids of the answers of each.
"""

import json
import sys

from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

TOKENS = 12


def main(base: str, adapter: str, merged: str, prompts: str) -> None:
    requests = [{"prompt_token_ids": ids} for ids in json.loads(prompts)]
    greedy = SamplingParams(temperature=0, max_tokens=TOKENS)
    common = {"enforce_eager": True, "dtype": "float32", "max_model_len": 256, "kv_cache_memory_bytes": 2**26}
    answers = []
    for model, lora in ((base, LoRARequest("student", 1, adapter)), (merged, None)):
        engine = LLM(model, enable_lora=lora is not None, max_lora_rank=8, **common)
        outputs = engine.generate(requests, greedy, lora_request=lora, use_tqdm=False)
        answers.append([list(output.outputs[0].token_ids) for output in outputs])
        del engine
    print(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
