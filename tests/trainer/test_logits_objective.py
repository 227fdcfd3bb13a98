"""The teacher's log-probabilities in training: on which of the student's tokens they are, their loss, and what they
do to a student."""

import math

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, trainers
from transformers import PreTrainedTokenizerFast

from distillery_api.spec import TrainingObjective
from distillery_api.stage import Stage
from distillery_api.stage_result import ObjectiveFigures
from distillery_trainer.chat.token_logprobs import Position, pack
from distillery_trainer.generation.answer_logprobs import last_positions
from distillery_trainer.runtime.errors import UserError
from distillery_trainer.runtime.stage_metrics import ProgressReporter
from distillery_trainer.stages import train
from distillery_trainer.student.objectives import objective_for
from distillery_trainer.student.objectives.logits import kl_divergence
from distillery_trainer.student.objectives.objective import AnswerTokens
from distillery_trainer.student.objectives.teacher_tokens import matched
from distillery_trainer.student.vocabulary import Vocabulary
from small_student import small_student
from tiny_model import read_model, read_tokenizer, write_tiny_model
from train_evaluate_run import TrainEvaluateRun, chat, training_row

TEXT = "Premise: A dog.\nHypothesis: An animal."


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tokenizer():
    return read_tokenizer(small_student())


@pytest.fixture(scope="module")
def vocabulary(tokenizer):
    return Vocabulary(tokenizer)


def logs(**probabilities):
    return tuple((token, math.log(value)) for token, value in probabilities.items())


# --- the tokens


def test_tokens_have_the_bytes_of_their_text(tokenizer, vocabulary):
    for text in ("naïve 漢字 😀", " <|im_end|>", "\tx\n\n  y"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert b"".join(map(vocabulary.bytes_of, ids)).decode() == text


def test_token_of_a_text_is_found_and_none_of_two_words(vocabulary):
    assert vocabulary.id_of(" neutral") == 9174
    assert vocabulary.id_of("neutral") == 30627
    assert vocabulary.id_of("two words") is None
    assert vocabulary.id_of(9174) == 9174
    assert vocabulary.id_of(400_000) is None


def own(tokenizer, answer):
    return tokenizer(f"{answer}<|im_end|>", add_special_tokens=False)["input_ids"]


def test_teacher_in_json_states_the_students_own_tokens(tokenizer, vocabulary):
    positions = [Position("neutral", (("neutral", -0.5), ("ent", -1.0), ("no such token", -2.0)))]
    ent = vocabulary.id_of("ent")
    assert matched(own(tokenizer, "neutral"), "neutral", positions, vocabulary) == {0: [(30627, -0.5), (ent, -1.0)]}


def test_blank_before_the_teachers_answer_is_none_of_the_students(tokenizer, vocabulary):
    positions = [
        Position(" neutral", ((9174, -0.5), (vocabulary.id_of(" ent"), -1.0), (vocabulary.id_of("ent"), -2.0)))
    ]
    ent = vocabulary.id_of("ent")
    assert matched(own(tokenizer, "neutral"), "neutral", positions, vocabulary) == {0: [(30627, -0.5), (ent, -1.0)]}


def test_tokens_that_cover_other_letters_have_no_distribution(tokenizer, vocabulary):
    positions = [Position("neut", (("neut", -0.5),)), Position("ral", (("ral", -0.5),))]
    assert matched(own(tokenizer, "neutral"), "neutral", positions, vocabulary) == {}


def test_tokens_after_a_difference_are_matched_again(tokenizer, vocabulary):
    ids = own(tokenizer, "neutral cats")
    positions = [Position(text, ((text, -0.25),)) for text in ("neut", "ral", " cats")]
    assert matched(ids, "neutral cats", positions, vocabulary) == {1: [(vocabulary.id_of(" cats"), -0.25)]}


def test_end_of_the_turn_has_no_distribution(tokenizer, vocabulary):
    ids = own(tokenizer, "neutral")
    assert len(ids) == 2
    assert 1 not in matched(ids, "neutral", [Position("neutral", (("neutral", -0.5),))], vocabulary)


@pytest.mark.parametrize("answer", ["", "entailment", "neutral."])
def test_answer_that_is_not_in_the_tokens_matches_nothing(tokenizer, vocabulary, answer):
    assert matched(own(tokenizer, "neutral"), answer, [Position("neutral", (("neutral", 0),))], vocabulary) == {}


# --- tokenizers that write a blank as a letter of their own


@pytest.fixture(scope="module")
def sentence_piece():
    """A tokenizer as Llama 2, Mistral 0.1 and Phi-3 have it."""
    texts = ["the two cats are neutral", "the cats entail two words", "neutral words entail the answer"]
    model = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    model.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    blanks = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    model.decoder = decoders.Sequence(blanks)
    bytes_of_text = [f"<0x{byte:02X}>" for byte in range(256)]
    model.train_from_iterator(
        texts * 5, trainers.BpeTrainer(vocab_size=400, special_tokens=["<unk>", *bytes_of_text], show_progress=False)
    )
    return PreTrainedTokenizerFast(tokenizer_object=model)


def test_blanks_are_part_of_such_tokens(sentence_piece):
    vocabulary = Vocabulary(sentence_piece)
    ids = sentence_piece("two neutral cats", add_special_tokens=False)["input_ids"]
    assert b"".join(map(vocabulary.bytes_of, ids)) == b" two neutral cats"
    assert sentence_piece.decode([vocabulary.id_of(" neutral")]) == "neutral", "as a server decodes it"


def test_server_that_loses_blanks_is_read_by_its_ids(sentence_piece):
    vocabulary = Vocabulary(sentence_piece)
    text = "the two cats entail neutral words the answer entail two cats"
    ids = sentence_piece(text, add_special_tokens=False)["input_ids"]
    decoded = [sentence_piece.decode([number]) for number in ids]
    assert vocabulary.problem([], [[each, [number]] for each, number in zip(decoded, ids, strict=True)]) is None
    positions = [Position(each, ((number, -0.5),)) for each, number in zip(decoded, ids, strict=True)]
    found = matched(ids, text, last_positions(text, positions), vocabulary)
    assert found == {number: [(token, -0.5)] for number, token in enumerate(ids)}


# --- the same vocabulary


def divided(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    return [[tokenizer.decode([number]), [number]] for number in ids]


SENTENCE = "The fourteenth clerk, a former engineer, read 3,141 letters; none was contradictory."


def test_teacher_with_the_students_ids_has_its_vocabulary(tokenizer, vocabulary):
    given = divided(tokenizer, SENTENCE)
    assert vocabulary.problem(given, given) is None
    assert vocabulary.problem([[text, [text]] for text, _ in given], []) is None


def test_teacher_with_other_ids_for_the_same_texts_has_another(tokenizer, vocabulary):
    given = [[text, [number + 1]] for text, [number] in divided(tokenizer, "The former clerk")]
    assert vocabulary.problem(given, given) == ("3 of 3 of its tokens, such as 'The' (id 505), are not the student's")


def test_teacher_whose_tokens_are_whole_words_has_another(vocabulary):
    words = [[f" {word}", [f" {word}"]] for word in ["contradictoriness", "neutralised", "fourteenthly", "the", "cat"]]
    assert vocabulary.problem(words, []) == (
        "3 of 5 of its tokens, such as ' contradictoriness', are not the student's"
    )


def test_teacher_that_divides_words_into_letters_has_another(vocabulary):
    letters = [[letter, [letter]] for letter in "neutral contradiction"]
    assert vocabulary.problem(letters, []) == (
        "it divides a text into 21 tokens, of which the student's tokenizer makes 2"
    )


# --- the loss


def objective(**logits):
    return objective_for(TrainingObjective.model_validate({"kind": "Logits", "logits": logits}))


def tokens(**columns):
    """One token of a vocabulary of four, of which the student gives 0.5, 0.25, 0.125 and 0.125; the answer's is 0."""
    logits = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log() + 3.0
    return AnswerTokens(logits, torch.tensor([0]), {name: torch.tensor(value) for name, value in columns.items()})


def stated(*probabilities):
    return {"teacherIds": [[0, 1]], "teacherLogprobs": [[math.log(value) for value in probabilities]]}


def test_divergence_is_over_the_stated_tokens_and_all_others_together():
    # KL of (0.25, 0.5, 0.25) from the student's (0.5, 0.25, 0.25)
    expected = 0.25 * math.log(0.25 / 0.5) + 0.5 * math.log(0.5 / 0.25)
    assert expected == pytest.approx(0.173287, abs=1e-6)
    assert float(objective(alpha=1.0).loss(tokens(**stated(0.25, 0.5)))) == pytest.approx(0.173287, abs=1e-5)


def test_alpha_weighs_divergence_and_answer():
    # the answer's negative log-likelihood is ln 2 = 0.693147
    assert float(objective(alpha=0.0).loss(tokens(**stated(0.25, 0.5)))) == pytest.approx(0.693147, abs=1e-5)
    assert float(objective(alpha=0.25).loss(tokens(**stated(0.25, 0.5)))) == pytest.approx(0.563182, abs=1e-5)


def test_temperature_softens_both_and_is_squared_before_the_divergence():
    # square roots: teacher (0.5, 0.7071, 0.5) / 1.7071, student (0.7071, 0.5, 0.5) / 1.7071
    # KL = (0.292893 - 0.414214) * ln(0.707107) = 0.042047; times 4
    loss = objective(alpha=1.0, temperature=2.0).loss(tokens(**stated(0.25, 0.5)))
    assert float(loss) == pytest.approx(0.168187, abs=1e-5)


def test_token_without_a_distribution_counts_its_answer_in_full():
    blank = {"teacherIds": [[-1, -1]], "teacherLogprobs": [[0.0, 0.0]]}
    assert float(objective(alpha=0.75).loss(tokens(**blank))) == pytest.approx(0.693147, abs=1e-5)


def test_missing_alternatives_change_nothing():
    padded = {"teacherIds": [[0, 1, -1]], "teacherLogprobs": [[math.log(0.25), math.log(0.5), 0.0]]}
    assert float(objective(alpha=1.0).loss(tokens(**padded))) == pytest.approx(0.173287, abs=1e-5)


def test_weights_of_rows_weigh_the_divergence_as_well():
    weighted = tokens(**stated(0.25, 0.5), weight=[0.5])
    assert float(objective(alpha=1.0).loss(weighted)) == pytest.approx(0.0866435, abs=1e-5)


def test_divergence_of_equal_distributions_is_zero_and_its_gradient_finite():
    logits = torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log().requires_grad_()
    ids, values = torch.tensor([[0, 1, 2, 3]]), torch.tensor([[0.5, 0.25, 0.125, 0.125]]).log()
    divergence = kl_divergence(logits, ids[:, :2], values[:, :2], 1.0).sum()
    divergence.backward()
    assert float(divergence.detach()) == pytest.approx(0.0, abs=1e-6)
    assert logits.grad.abs().max() < 1e-6
    half = kl_divergence(logits, ids[:, :1], torch.tensor([[0.0]]), 1.0)
    assert math.isfinite(float(half))
    assert float(half) == pytest.approx(math.log(2), abs=1e-4)


def test_teacher_that_is_sure_of_one_token_has_a_finite_gradient():
    logits = torch.tensor([[90.0, -90.0, 0.0, 5.0]], requires_grad=True)
    columns = {"teacherIds": torch.tensor([[1, -1]]), "teacherLogprobs": torch.tensor([[0.0, 0.0]])}
    loss = objective().loss(AnswerTokens(logits, torch.tensor([1]), columns))
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()


# --- what it does to a student


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return write_tiny_model(tmp_path_factory.mktemp("tiny") / "model")


def row(number, label="neutral", logprobs=None):
    return {**training_row(number, label, TEXT), **({"logprobs": logprobs} if logprobs else {})}


UNSURE = pack([Position("neutral", logs(neutral=0.6, ent=0.4))])
FAST = {"method": "Full", "epochs": 1, "batchSize": 4, "learningRate": 0.005, "warmupSteps": 0}


def trained(folder, tiny, rows, *, micro_batches=1, **objective):
    run = TrainEvaluateRun(
        folder,
        tiny,
        train=rows,
        validation=rows[:2],
        training={**FAST, "objective": objective},
        micro_batches=micro_batches,
    )
    return run, train.run(run.config(Stage.TRAIN), ProgressReporter(Stage.TRAIN))


def share_of_entailment(run):
    """The probability of the first token of entailment beside that of neutral."""
    folder = run.folder(Stage.TRAIN) / "model"
    tokenizer = read_tokenizer(folder)
    prompt = tokenizer.apply_chat_template(chat(TEXT), add_generation_prompt=True, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        logits = read_model(folder)(prompt).logits[0, -1].float()
    firsts = [tokenizer(each, add_special_tokens=False)["input_ids"][0] for each in ("entailment", "neutral")]
    return float(logits[firsts].softmax(0)[0])


def test_student_becomes_as_unsure_as_its_teacher_was(tiny, tmp_path):
    rows = [row(number, logprobs=UNSURE) for number in range(64)]
    sure, _ = trained(tmp_path / "labels", tiny, rows)
    unsure, result = trained(tmp_path / "logits", tiny, rows, kind="Logits", logits={"alpha": 1.0})
    assert share_of_entailment(sure) < 0.1
    assert 0.3 < share_of_entailment(unsure) < 0.5
    assert result.training.objective == ObjectiveFigures(kind="Logits", rows={"logprobs": 64, "withoutLogprobs": 0})


def test_gradients_of_the_parts_of_a_batch_add_up_to_those_of_the_batch(tiny, tmp_path):
    rows = [row(number, "neutral cats" if number % 2 else "neutral", UNSURE) for number in range(16)]
    results = [
        trained(tmp_path / str(parts), tiny, rows, micro_batches=parts, kind="Logits")[1].training for parts in (1, 2)
    ]
    assert results[0].train_loss == pytest.approx(results[1].train_loss, abs=1e-3)
    assert results[0].validation_loss == pytest.approx(results[1].validation_loss, abs=1e-3)


def test_rows_without_log_probabilities_keep_their_labels_and_are_counted(tiny, tmp_path):
    other = pack([Position("neut", (("neut", -0.1),)), Position("ral", (("ral", -0.1),))])
    rows = [row(number, logprobs=(UNSURE, None, UNSURE, UNSURE, other, "damaged")[number % 6]) for number in range(6)]
    _, result = trained(tmp_path, tiny, rows, kind="Logits")
    assert result.training.objective.rows == {"logprobs": 3, "withoutLogprobs": 3}


def test_rows_of_a_teacher_without_log_probabilities_are_refused(tiny, tmp_path):
    with pytest.raises(UserError, match="none of the generated rows has log-probabilities"):
        trained(tmp_path, tiny, [row(number) for number in range(4)], kind="Logits")


def test_rows_of_a_teacher_with_other_tokens_are_refused(tiny, tmp_path):
    other = pack([Position(letter, ((letter, -0.1),)) for letter in "neutral"])
    with pytest.raises(UserError, match=r"another one than teacher oracle: of 4 rows, only 0 have a token in common"):
        trained(tmp_path, tiny, [row(number, logprobs=other) for number in range(4)], kind="Logits")
