"""The estimate before the first request: counting tokens, scaling up, and the correction by a pilot."""

import json
import urllib.error
import urllib.request
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers

from chat_protocol import Answer
from chat_server import TeacherServer
from distillery_api.formatting import format_cost
from distillery_api.run_config import RunConfig
from distillery_api.spec import Pricing
from distillery_api.stage import Stage
from distillery_trainer.__main__ import main
from distillery_trainer.data.rows import Row
from distillery_trainer.estimate import PromptSampler
from distillery_trainer.estimate.forecast import (
    ExpectedUsage,
    Forecast,
    ModelUsage,
    PilotRow,
    PilotUsage,
    from_pilot,
    from_prompts,
)
from distillery_trainer.estimate.prompt_sampling import SAMPLE_LIMIT
from distillery_trainer.estimate.token_counting import approximate, counter_for
from distillery_trainer.runtime.stage_metrics import ProgressReporter, progress_server
from distillery_trainer.tasks import task_for
from generate_run import GenerateRun, gold_of, nli_rows
from small_student import small_student
from teacher_server import gold_teacher
from token_counting_teacher import token_counting_teacher

NOWHERE = "http://127.0.0.1:9/v1"
PRICING = {"currency": "USD", "inputPerMillion": 2.0, "outputPerMillion": 10.0}
PRICES = (Pricing.model_validate(PRICING), Pricing.model_validate(PRICING))
JUDGE = {"endpoint": NOWHERE, "model": "judge"}


STUDENT = {"student": {"model": {"uri": "model"}}}


def config_of(folder, **generation):
    return RunConfig.read(GenerateRun(folder, NOWHERE, generation=generation, config=STUDENT).config_file)


def write_word_tokenizer(folder):
    """A student's folder whose tokenizer takes each word and mark for one token."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))


def new_row(text="Premise: a\nHypothesis: b", split="train", **more):
    return Row(split, 1, f"{split}-1", [{"role": "user", "content": text}], **more)


# --- counting


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("The cat sat.", 4.16),
        ("Unbelievably", 1.82),
        ("1234567 + 12", 5.2),
        ("会议决定", 3.328),
        ("Премьера", 3.744),
        ('{"a": "b"}\n\n', 7.28),
    ],
)
def test_text_without_a_tokenizer_is_counted_by_its_pieces(text, tokens):
    assert approximate(text) == pytest.approx(tokens)


@given(st.text(), st.text())
def test_longer_text_never_has_fewer_tokens(text, more):
    assert approximate(f"{text} {more}") >= approximate(text) >= 0


def test_tokenizer_of_a_student_on_this_machine_is_used(tmp_path):
    write_word_tokenizer(tmp_path / "model")
    counter = counter_for(config_of(tmp_path))
    assert counter.basis == "tokens are counted with the student's tokenizer"
    messages = [{"role": "system", "content": "Answer now."}, {"role": "user", "content": "Is it?"}]
    assert counter.count_messages(messages) == 3 + (4 + 3) + (4 + 3)


@pytest.mark.parametrize("content", [None, b"", b"{}", b"\xff"])
def test_missing_or_broken_tokenizer_leaves_the_approximation(tmp_path, content):
    if content is not None:
        (tmp_path / "model").mkdir()
        (tmp_path / "model" / "tokenizer.json").write_bytes(content)
    assert counter_for(config_of(tmp_path)).basis == "tokens are approximated from words, numbers and punctuation"


def test_student_of_the_hub_is_looked_for_in_the_cache_only(tmp_path):
    config = RunConfig.read(GenerateRun(tmp_path, NOWHERE).config_file)
    student = config.student.model_copy(
        update={"model": config.student.model.model_copy(update={"uri": "hf://nobody/nothing"})}
    )
    assert counter_for(config.model_copy(update={"student": student})).margin == 0.25


# --- rows


def forecast_of(config, *rows):
    sampler = PromptSampler(config, task_for(config))
    for row in rows:
        sampler.add(row, row.split)
    return sampler.forecast()


def test_every_row_is_one_request_and_samples_are_not_for_held_out_rows(tmp_path):
    config = config_of(tmp_path, samples=3)
    forecast = forecast_of(config, new_row(), new_row(split="validation"), new_row(split="test"))
    assert (forecast.rows, forecast.teacher.usage.requests) == (3, 7)


def test_prompt_of_the_teacher_is_what_is_counted(tmp_path):
    write_word_tokenizer(tmp_path / "model")
    config = config_of(tmp_path, prompts={"teacher": "one two three"})
    forecast = forecast_of(config, new_row("four five"))
    assert forecast.teacher.usage == ModelUsage(requests=1, input_tokens=3 + (4 + 3) + (4 + 2), output_tokens=5)


def test_chain_of_thought_takes_longer_answers(tmp_path):
    assert forecast_of(config_of(tmp_path, chainOfThought=True), new_row()).teacher.usage.output_tokens == 130


def test_answers_are_never_expected_to_be_longer_than_allowed(tmp_path):
    config = config_of(tmp_path, chainOfThought=True, sampling={"maxTokens": 64})
    forecast = forecast_of(config, new_row())
    assert (forecast.teacher.usage.output_tokens, forecast.teacher.max_output_tokens) == (64, 64)


def test_judge_gets_one_request_for_each_row_but_the_held_out_ones(tmp_path):
    config = config_of(tmp_path, judge=JUDGE, samples=3)
    forecast = forecast_of(config, new_row(), new_row(split="validation"), new_row(split="test"))
    assert (forecast.teacher.usage.requests, forecast.judge.usage.requests) == (7, 2)
    assert (forecast.judge.usage.output_tokens, forecast.judge.max_output_tokens) == (2 * 130, 2 * 1024)
    assert forecast.notes == ("requests to the judge are included",)


def test_what_the_judge_reads_is_its_real_prompt_and_the_usual_answer(tmp_path):
    write_word_tokenizer(tmp_path / "model")
    config = config_of_task(tmp_path, "Conversation", judge=JUDGE)
    one, two = (forecast_of(config, new_row(text, reply=reply)) for text, reply in (("a", "b"), ("a c", "b d e")))
    assert two.judge.usage.input_tokens - one.judge.usage.input_tokens == 1 + 2


def test_existing_reply_that_is_kept_costs_nothing(tmp_path):
    kept = new_row(reply="neutral", keeps_existing_replies=True)
    assert forecast_of(config_of(tmp_path), kept, kept).teacher.usage == ModelUsage()


def dialogue(*turns, **more):
    """User and assistant in turn."""
    roles = ("user", "assistant")
    messages = [{"role": roles[index % 2], "content": text} for index, text in enumerate(turns)]
    return Row("train", 1, "train-1", messages, **more)


def config_of_task(folder, task, **generation):
    config = {"task": task, "labels": [], **STUDENT}
    return RunConfig.read(GenerateRun(folder, NOWHERE, generation=generation, config=config).config_file)


def test_every_turn_of_a_conversation_is_a_request_and_answers_are_as_long_as_existing_replies(tmp_path):
    write_word_tokenizer(tmp_path / "model")
    config = config_of_task(tmp_path, "Conversation", prompts={"student": "one"})
    forecast = forecast_of(config, dialogue("a b", "c d e", "f", reply="g h"))
    first, second = 3 + (4 + 1) + (4 + 2), 3 + (4 + 1) + (4 + 2) + (4 + 3) + (4 + 1)
    assert forecast.teacher.usage == ModelUsage(requests=2, input_tokens=first + second, output_tokens=3 + 2)


def test_kept_turns_of_a_conversation_are_not_requested(tmp_path):
    config = config_of_task(tmp_path, "Conversation")
    kept = dialogue("a b", "c d e", "f", keeps_existing_replies=True)
    assert forecast_of(config, kept).teacher.usage.requests == 1
    assert forecast_of(config, kept).teacher.usage.output_tokens == 150


@pytest.mark.parametrize(
    ("generation", "tokens"),
    [({}, 108), ({"maxSummaryWords": 20}, 27), ({"chainOfDensity": True}, 592)],
)
def test_summaries_are_as_long_as_requested(tmp_path, generation, tokens):
    config = config_of_task(tmp_path, "Summarization", **generation)
    assert forecast_of(config, new_row("A long text.")).teacher.usage.output_tokens == pytest.approx(tokens)


def test_of_many_rows_an_even_sample_is_counted(tmp_path):
    config = config_of(tmp_path)
    sampler = PromptSampler(config, task_for(config))
    for _ in range(5 * SAMPLE_LIMIT):
        sampler.add(new_row(), "train")
    forecast = sampler.forecast()
    assert forecast.rows == forecast.teacher.usage.requests == 5_000
    assert forecast.notes == ("an even sample of at most 1,000 rows per split was counted",)


def test_split_that_no_row_goes_to_costs_nothing(tmp_path):
    config = config_of(tmp_path)
    assert PromptSampler(config, task_for(config)).forecast({"test": 0}).teacher.usage == ModelUsage()


# --- cost and bounds

FORECAST = Forecast(
    rows=100,
    teacher=ExpectedUsage(ModelUsage(requests=100, input_tokens=40_000, output_tokens=1_000), max_output_tokens=12_800),
    judge=ExpectedUsage(),
    margin=0.25,
    basis="counted",
)


def test_without_a_pilot_answers_are_between_half_and_the_limit():
    estimate = from_prompts(FORECAST, PRICES)
    assert (estimate.low_tokens, estimate.high_tokens) == (30_500, 62_800)
    assert (estimate.cost, estimate.low_cost, estimate.high_cost) == (0.09, 0.065, 0.228)
    assert (estimate.currency, estimate.pilot_rows) == ("USD", 0)


def test_without_prices_there_is_no_cost():
    estimate = from_prompts(FORECAST, (None, None))
    assert (estimate.input_tokens, estimate.output_tokens) == (40_000, 1_000)
    assert (estimate.cost, estimate.currency) == (None, None)


def pilot_row(read, written, requests=1, cached=0):
    return PilotRow(PilotUsage(ModelUsage(1, 400, 10), ModelUsage(requests, read, written), cached))


def test_pilot_corrects_prompts_and_answers():
    rows = [pilot_row(440, 20), pilot_row(440, 40), pilot_row(440, 20), pilot_row(440, 40)]
    estimate = from_pilot(FORECAST, rows, (None, None))
    assert (estimate.requests, estimate.input_tokens, estimate.output_tokens) == (100, 44_000, 3_000)
    # s = 11.547; 100 rows x 2.3534 (t of 3 degrees, 95 %) x 11.547 / 2 x sqrt(0.96) = 1,331.3
    assert (estimate.low_tokens, estimate.high_tokens) == (45_668, 48_332)
    assert estimate.pilot_rows == 4


def test_follow_ups_in_the_pilot_increase_the_expected_requests():
    estimate = from_pilot(FORECAST, [pilot_row(400, 10), pilot_row(850, 20, requests=2)], (None, None))
    assert estimate.requests == 150


def test_cached_tokens_of_the_pilot_are_cheaper():
    pricing = Pricing.model_validate({**PRICING, "cachedInputPerMillion": 0.5})
    rows = [pilot_row(400, 10, cached=200), pilot_row(400, 10, cached=200)]
    half_cached = from_pilot(FORECAST, rows, (pricing, pricing))
    assert half_cached.cost == 0.06  # 40,000 at 1.25 and 1,000 at 10 a million


def test_pilot_of_all_rows_leaves_no_uncertainty():
    forecast = Forecast(2, ExpectedUsage(ModelUsage(2, 800, 20), 256), ExpectedUsage(), 0.25, "counted")
    estimate = from_pilot(forecast, [pilot_row(300, 5), pilot_row(500, 25)], (None, None))
    assert (estimate.low_tokens, estimate.high_tokens) == (830, 830)


def test_pilot_of_one_row_has_wide_bounds():
    estimate = from_pilot(FORECAST, [pilot_row(400, 10)], (None, None))
    assert (estimate.low_tokens, estimate.high_tokens) == (20_500, 82_000)


JUDGED = replace(FORECAST, judge=ExpectedUsage(ModelUsage(80, 32_000, 8_000), 80 * 1024))
CHEAP = Pricing.model_validate({"currency": "USD", "inputPerMillion": 0.5, "outputPerMillion": 1.0})


def test_judge_counts_at_its_own_prices():
    estimate = from_prompts(JUDGED, (PRICES[0], CHEAP))
    assert (estimate.requests, estimate.input_tokens, estimate.output_tokens) == (180, 72_000, 9_000)
    assert estimate.cost == 0.114  # the teacher's 0.09, and 32,000 at 0.5 and 8,000 at 1 a million
    assert (estimate.low_tokens, estimate.low_cost) == (58_500, 0.081)
    assert estimate.high_tokens == 62_800 + 40_000 + 81_920


def test_pilot_corrects_teacher_and_judge_each_by_itself():
    teacher, judge = (
        PilotUsage(ModelUsage(1, 400, 10), ModelUsage(1, 440, 10)),
        PilotUsage(ModelUsage(1, 400, 100), ModelUsage(1, 400, 50)),
    )
    estimate = from_pilot(JUDGED, [PilotRow(teacher, judge)] * 4, (PRICES[0], CHEAP))
    assert (estimate.requests, estimate.input_tokens, estimate.output_tokens) == (180, 44_000 + 32_000, 1_000 + 4_000)
    assert estimate.cost == estimate.low_cost == estimate.high_cost == 0.118  # all rows alike leave nothing open


@pytest.mark.parametrize(
    ("amount", "text"), [(0, "0.00"), (1234.5, "1,234.50"), (0.5, "0.50"), (0.0123, "0.012"), (0.00009, "0.000090")]
)
def test_amounts_are_readable(amount, text):
    assert format_cost(amount) == text


def test_estimate_as_a_sentence():
    sentence = from_prompts(FORECAST, PRICES).sentence()
    assert sentence == (
        "100 requests; 40,000 input and 1,000 output tokens (30,500 to 62,800 in total); 0.090 USD (0.065 to 0.23)"
    )


# --- the command

ROWS = nli_rows(90), nli_rows(30, 1000), nli_rows(12, 2000)


def estimate_run(run, capsys, *arguments):
    """The command's exit code, and its JSON or its error message."""
    code = main(["estimate", "--config", str(run.config_file), *arguments])
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else captured.err


def test_estimate_sends_no_request_and_writes_nothing(tmp_path, capsys):
    run = GenerateRun(tmp_path, NOWHERE, *ROWS, teacher={"pricing": PRICING})
    code, estimate = estimate_run(run, capsys)
    assert (code, estimate["rows"], estimate["requests"], estimate["pilotRows"]) == (0, 132, 132, 0)
    assert estimate["currency"] == "USD"
    assert not run.workspace.exists()


def test_invalid_rows_are_reported_as_in_a_run(tmp_path, capsys):
    code, output = estimate_run(GenerateRun(tmp_path, NOWHERE, b"{}\n"), capsys)
    assert code == 2
    assert "train.jsonl, line 1: " in output


def test_pilot_asks_twenty_rows_and_the_run_does_not_ask_them_again(tmp_path, capsys):
    with gold_teacher(gold_of(*ROWS)) as teacher:
        run = GenerateRun(tmp_path, teacher.url, *ROWS, generation={"chainOfThought": True})
        _, estimate = estimate_run(run, capsys, "--pilot")
        assert (estimate["pilotRows"], len(teacher.requests)) == (20, 20)
        assert "20 of 20 pilot rows got a usable answer" in estimate["basis"]
        estimate_run(run, capsys, "--pilot")
        assert len(teacher.requests) == 20
        usage = run.run().usage
        assert (len(teacher.requests), usage.requests) == (132, 132)
    assert estimate["inputTokens"] == pytest.approx(usage.input_tokens, rel=0.05)
    assert estimate["outputTokens"] == pytest.approx(usage.output_tokens, rel=0.05)


def test_stage_prints_its_estimate_first_and_writes_the_card_last(tmp_path, capsys):
    with gold_teacher(gold_of(*ROWS)) as teacher:
        run = GenerateRun(tmp_path, teacher.url, *ROWS, teacher={"pricing": PRICING})
        result = run.run()
    output = capsys.readouterr().err
    assert f"Estimate: {result.estimate.sentence()}." in output
    assert (result.estimate.requests, result.usage.requests) == (132, 132)
    card = (run.workspace / run.folder / "README.md").read_text()
    assert "| train | 90 | 90 | 0 |  |" in card
    assert f"| Cost | {format_cost(result.usage.cost)} USD |" in card


def test_estimate_is_served_once_it_is_known(tmp_path):
    reporter = ProgressReporter(Stage.GENERATE)
    with progress_server(reporter, "127.0.0.1", 0, tmp_path / "metrics-port") as port:
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetched(port, "/estimate")
        reporter.estimated(from_prompts(FORECAST, PRICES))
        assert json.loads(fetched(port, "/estimate"))["inputTokens"] == 40_000
        metrics = fetched(port, "/metrics")
    assert 'distillery_estimated_tokens{direction="output"} 1000.0' in metrics
    assert 'distillery_estimated_cost{currency="USD"} 0.09' in metrics


def fetched(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.read().decode()


def test_pilot_of_an_unreachable_teacher_ends_with_an_error(tmp_path, capsys):
    run = GenerateRun(tmp_path, NOWHERE, *ROWS, config={"maxAttempts": 1})
    code, output = estimate_run(run, capsys, "--pilot")
    assert code == 3
    assert "cannot be reached" in output


def test_pilot_that_the_budget_does_not_allow_says_so(tmp_path, capsys):
    run = GenerateRun(tmp_path, NOWHERE, *ROWS, generation={"budget": {"maxTokens": 10}})
    code, output = estimate_run(run, capsys, "--pilot")
    assert code == 2
    assert output.startswith("The budget does not allow a pilot: 0 of the 10 tokens")


def accepting(messages):
    return Answer('{"reason": "So it is.", "verdict": "accept"}')


def test_pilot_asks_the_judge_as_the_run_does_and_its_tokens_have_their_own_price(tmp_path, capsys):
    cheap = {"currency": "USD", "inputPerMillion": 0.5, "outputPerMillion": 1.0}
    with gold_teacher(gold_of(*ROWS)) as teacher, TeacherServer(accepting) as judge:
        judge_settings = {"endpoint": judge.url, "model": "teacher", "pricing": cheap}
        run = GenerateRun(
            tmp_path, teacher.url, *ROWS, generation={"judge": judge_settings}, teacher={"pricing": PRICING}
        )
        code, estimate = estimate_run(run, capsys, "--pilot")
        assert code == 0, estimate
        assert len(teacher.requests) == 20
        assert 0 < len(judge.requests) < 20  # held-out rows are not judged
        usage = run.run().usage
        assert estimate["requests"] == usage.requests == len(teacher.requests) + len(judge.requests) == 132 + 120
        used, by_judge = teacher.statistics(), judge.statistics()
    assert estimate["inputTokens"] == pytest.approx(usage.input_tokens, rel=0.05)
    assert estimate["cost"] == pytest.approx(usage.cost, rel=0.05)
    assert usage.cost * 1_000_000 == pytest.approx(
        used["promptTokens"] * 2
        + used["completionTokens"] * 10
        + by_judge["promptTokens"] * 0.5
        + by_judge["completionTokens"] * 1
    )


def long_and_short_rows(count, start=0):
    """Premises of one to thirty words."""
    sentence = "the man who reads writes letters to an old friend of his who lives on an island far away from here"
    words = sentence.split()
    for number in range(start, start + count):
        premise = " ".join(words[:1] * (number % 2) + words[: 1 + number * 7 % 20] * (1 + number % 3 // 2))
        text = f"Premise: {number} {premise}.\nHypothesis: {number} reads."
        yield {"messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize("student", ["unknown", "known"])
def test_pilot_is_within_fifteen_per_cent_of_an_independent_count(tmp_path, capsys, student):
    model = {"unknown": "hf://org/unknown", "known": str(small_student())}[student]
    rows = list(long_and_short_rows(400)), list(long_and_short_rows(80, 1000))
    with token_counting_teacher(small_student() / "tokenizer.json") as (teacher, url):
        run = GenerateRun(tmp_path, url, *rows, None, generation={"chainOfThought": True, "concurrency": 16})
        run.config = {"student": {"model": {"uri": model}}}
        _, estimate = estimate_run(run, capsys, "--pilot")
        assert run.run().state == "Done"
    used = teacher.input_tokens + teacher.output_tokens
    assert estimate["requests"] == teacher.requests
    assert estimate["inputTokens"] + estimate["outputTokens"] == pytest.approx(used, rel=0.15)
    assert estimate["inputTokens"] == pytest.approx(teacher.input_tokens, rel=0.03)
    assert estimate["lowTokens"] <= used <= estimate["highTokens"]
