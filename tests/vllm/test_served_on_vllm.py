"""The student on vLLM, started with the operator's command: what is served is what was measured."""

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import requests
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from vllm_server import NAME, pod_container, vllm_server

OPTIONS = Path(__file__).with_name("describe_options.py")
PARSER = Path(__file__).with_name("parse_command.py")
QUESTIONS = [
    "What is the capital of France?",
    "Does it rain in a desert? Answer yes or no.",
    "Say hello.",
    "What is 2 + 2?",
    "Name a colour.",
    "Is ice cold?",
    "Who wrote Hamlet?",
    "What do cows drink?",
]


ROUNDING = 1.0
"""By how much two programs' logits may differ in bfloat16, which rounds numbers of 16 to 32 to eighths. Sampled answers
differ by more."""


def parsed(vllm, *containers):
    """How vLLM's own parser understands the containers' commands."""
    arguments = []
    for container in containers:
        program, command, model, *flags = container["command"]
        assert (program, command) == ("vllm", "serve")
        arguments.append(["--model", model, *flags])
    result = subprocess.run(
        [vllm / "python", PARSER, json.dumps(arguments)], capture_output=True, text=True, check=False, timeout=120
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout.splitlines()[-1])


def test_parser_of_vllm_accepts_the_commands(vllm):
    gpu, cpu = {"limits": {"nvidia.com/gpu": 1}}, {"limits": {"cpu": 4, "memory": "8Gi"}}
    commands = parsed(vllm, pod_container(), pod_container(resources=gpu), pod_container(resources=cpu))
    for options in commands:
        assert options["override_generation_config"] == {"temperature": 0}
        assert options["dtype"] == "bfloat16"
        assert options["served_model_name"] == [NAME]
        assert options["shutdown_timeout"] == 50
        assert options["trust_request_chat_template"] is False
        assert options["trust_remote_code"] is False
    assert [options.get("kv_cache_memory_bytes") for options in commands] == [1024**3, None, 2 * 1024**3]


def test_parser_of_vllm_accepts_the_command_of_a_server_of_adapters(vllm):
    gpu = {"limits": {"nvidia.com/gpu": 1}}
    for options in parsed(vllm, pod_container(adapter="LoRA", modelNames=["gpt-4o"], resources=gpu)):
        assert options["served_model_name"] == [f"{NAME}-base"]
        assert (options["enable_lora"], str(options["max_lora_rank"]), options["max_loras"]) == (True, "8", 16)
        assert options["middleware"] == [
            "served_adapters.ServedAdapters",
            "served_paths.ServedPaths",
            "draining.ClosingConnections",
        ]


def test_known_options_are_those_of_the_parser(vllm):
    result = subprocess.run([vllm / "python", OPTIONS], capture_output=True, text=True, check=False, timeout=120)
    described = json.loads(result.stdout[result.stdout.index('{"version"') :])
    assert described == json.loads(files("distillery_api.spec").joinpath("vllm_options.json").read_text())


def test_parser_of_vllm_accepts_what_the_spec_accepts(vllm):
    arguments = ["--max_num_seqs", "64", "--max-model-len", "1k", "--compilation-config.mode", "0", "-tp=1"]
    [options] = parsed(vllm, pod_container(runtimeArgs=arguments, modelNames=["gpt-4o"]))
    assert (options["max_num_seqs"], options["max_model_len"], options["tensor_parallel_size"]) == (64, 1000, 1)
    assert options["served_model_name"] == [NAME, "gpt-4o"]


def test_prompt_key_names_and_arguments_are_those_of_the_spec(vllm, student, tmp_path, server):
    system = {"role": "system", "content": 'Answer with "yes" or "no", in capital letters.'}
    own = {"role": "system", "content": "Answer in French."}
    message = {"role": "user", "content": QUESTIONS[1]}
    spec = {"modelNames": ["gpt-4o"], "runtimeArgs": ["--max-model-len=512"]}
    expected = [server.ask("", messages=[each, message], max_tokens=12) for each in (system, own)]
    with vllm_server(
        vllm, student, tmp_path / "log.txt", prompt=system["content"], key="sk-of-clients", **spec
    ) as baked:
        of_client = [[message], [own, message]]
        replies = [baked.ask("", messages=messages, model="gpt-4o", max_tokens=12) for messages in of_client]
        [first, second] = baked.get("/v1/models").json()["data"]
        stranger = replace(baked, key=None)
        paths = ("/v1/models", "/health", "/metrics")
        statuses = [stranger.get(path).status_code for path in paths]
    assert replies == expected
    assert expected[0] != server.ask(message["content"], max_tokens=12)
    assert (first["id"], second["id"], first["max_model_len"]) == (NAME, "gpt-4o", 512)
    assert statuses == [401, 200, 200]


def test_same_request_has_one_reply(server):
    assert len({server.ask("Tell me a story.", max_tokens=20, seed=seed) for seed in range(8)}) == 1


def test_answers_are_those_of_the_model_in_the_measured_arithmetic(server, student):
    model = AutoModelForCausalLM.from_pretrained(student, dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(student)
    answers = {text: server.ask(text, max_tokens=8) for text in QUESTIONS}
    likely = [text for text, answer in answers.items() if largest_gap(model, tokenizer, text, answer) <= ROUNDING]
    assert len(likely) >= len(QUESTIONS) - 1  # an answer's text may have other tokens than those that were generated


def largest_gap(model, tokenizer, text, answer):
    """How far a token of the answer is from the most likely one in its place, at most, in logits."""
    chat = [{"role": "user", "content": text}]
    prompt = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    written = tokenizer(answer, add_special_tokens=False, return_tensors="pt")["input_ids"]
    before = prompt["input_ids"].shape[1]
    with torch.no_grad():
        logits = model(torch.cat([prompt["input_ids"], written], dim=1)).logits[0, before - 1 : -1].float()
    return float((logits.max(dim=-1).values - logits.gather(1, written.T).squeeze(1)).max())


def test_chat_template_of_a_request_is_refused(server):
    messages = [{"role": "user", "content": "hi"}]
    response = server.post("/v1/chat/completions", model=NAME, messages=messages, chat_template="x")
    assert response.status_code == 400


def test_only_five_paths_exist(server):
    assert [server.get(path).status_code for path in ("/v1/models", "/health", "/metrics")] == [200, 200, 200]
    closed = (
        "/docs",
        "/tokenize",
        "/invocations",
        "/inference/v1/abort_requests",
        "/scale_elastic_ep",
        "/v1/responses",
    )
    assert {path: server.post(path).status_code for path in closed} == dict.fromkeys(closed, 404)


def test_no_request_is_lost_when_the_server_is_stopped(vllm, student, tmp_path):
    with vllm_server(vllm, student, tmp_path / "log.txt") as server, ThreadPoolExecutor(4) as pool:
        # After the stop request, vLLM would refuse what comes on a connection that a client has kept.
        assert server.get("/v1/models").headers.get("connection") is None
        server.announce_stop()
        assert server.get("/v1/models").headers["connection"] == "close"

        answers = [pool.submit(server.ask, f"Write a story, number {n}.", max_tokens=200) for n in range(4)]
        time.sleep(1)
        server.process.terminate()
        assert all(len(answer.result(timeout=60)) > 100 for answer in answers)
        server.process.wait(timeout=60)
        with pytest.raises(requests.ConnectionError):
            server.get("/health")
