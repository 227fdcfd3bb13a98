"""Batches on a CPU: computed in parts of similar length, with the loss and the gradients of the whole."""

import pytest
import torch

from distillery_api.spec import Training, TrainingMethod
from distillery_trainer.student.adapted_layers import adapted_layers
from distillery_trainer.student.chosen_settings import chosen_settings
from distillery_trainer.student.device import Device
from distillery_trainer.student.lora import lora_adapters
from distillery_trainer.student.model_folder import open_folder
from distillery_trainer.student.objectives.row_batches import COLUMNS, TARGETS, RowBatches
from distillery_trainer.student.row_encoding import IGNORED, WEIGHT, EncodedRow
from distillery_trainer.student.similar_lengths import cheapest_ends, parts_of_similar_length
from distillery_trainer.student.trained_weights import load_to_train
from distillery_trainer.student.training_loop import TrainingMonitor, TrainingSetup, train
from tiny_model import write_tiny_model

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return open_folder(write_tiny_model(tmp_path_factory.mktemp("tiny") / "model"), "tiny")


def row(length: int, answer: int, first: int = 5) -> EncodedRow:
    """Ids that count up from `first`, and an answer of so many tokens at their end."""
    ids = [first + number % 50 for number in range(length)]
    return EncodedRow(ids, [IGNORED] * (length - answer) + ids[length - answer :])


def whole(rows) -> dict:
    return RowBatches(rows, 0)([{"row": number} for number in range(len(rows))])


@pytest.mark.parametrize(
    ("lengths", "ends"),
    [
        ([58, 58, 60], [3]),
        ([10, 10, 300, 300], [2, 4]),
        ([100, 149], [1, 2]),
        ([100, 147], [2]),
        ([20, 200, 2000], [1, 2, 3]),
        ([7], [1]),
    ],
)
def test_a_part_begins_where_it_saves_more_padding_than_it_costs(lengths, ends):
    assert cheapest_ends(lengths) == ends


def test_parts_have_the_sequences_by_length_without_their_common_padding():
    short, long = parts_of_similar_length(whole([row(200, 2, first=9), row(3, 1), row(2, 1)]))
    assert short["input_ids"].tolist() == [[5, 6, 0], [5, 6, 7]]
    assert short["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert short["labels"].tolist() == [[-100, 6, -100], [-100, -100, 7]]
    assert long["input_ids"].shape == (1, 200)


def test_columns_and_siblings_go_with_their_sequences():
    first = row(200, 2).weighted(0.25).with_siblings(row(4, 1).weighted(0.75))
    short, long = parts_of_similar_length(whole([first, row(3, 2).weighted(1.0)]))
    assert short[COLUMNS][WEIGHT].tolist() == [1.0, 1.0, 0.75]
    assert short["labels"].tolist() == [[-100, 6, 7, -100], [-100, -100, -100, -100]]
    assert short[TARGETS].tolist() == [[-100, 6, 7, -100], [-100, -100, -100, 8]]
    assert long[COLUMNS][WEIGHT].tolist() == [0.25, 0.25]


def test_batch_with_pictures_stays_whole():
    batch = {**whole([row(200, 2), row(3, 1)]), "pixel_values": torch.zeros(3, 8)}
    (part,) = parts_of_similar_length(batch)
    assert part == batch


def summed_loss(model, batch) -> torch.Tensor:
    logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), batch["labels"][:, 1:].flatten(), reduction="sum")


def test_training_and_validation_have_the_loss_of_the_padded_batch(tiny, tmp_path):
    rows = [row(200, 3), row(12, 1), row(90, 40), row(10, 2)]
    device, training = Device("cpu", torch.float32, "CPU"), Training(method="LoRA", epochs=1, batchSize=4)
    model = load_to_train(tiny, TrainingMethod.LORA, device)
    with torch.no_grad():
        expected = summed_loss(model, whole(rows)).item() / 46
    setup = TrainingSetup(
        model=model,
        tokenizer=tiny.tokenizer,
        adapters=lora_adapters(TrainingMethod.LORA, 4, 8, 0.0, adapted_layers(model)),
        train_rows=rows,
        validation_rows=rows,
        training=training,
        # Of the first step's learning rate, nothing is left in the warm-up, so both losses are those at the beginning.
        settings=chosen_settings(training, 4, model.num_parameters()),
        device=device,
        folder=tmp_path,
    )
    shapes = []
    model.register_forward_pre_hook(lambda _, __, inputs: shapes.append(inputs["input_ids"].shape), with_kwargs=True)
    trained = train(setup, TrainingMonitor(lambda done, total: None))
    assert (trained.train_loss, trained.validation_loss) == pytest.approx((expected, expected), rel=1e-5)
    assert shapes == [(2, 12), (1, 90), (1, 200)] * 2


def test_gradients_of_the_parts_add_up_to_those_of_the_batch(tiny):
    batch = whole([row(200, 3), row(12, 1), row(90, 40), row(10, 2)])
    gradients = []
    for parts in ([batch], parts_of_similar_length(batch)):
        model = tiny.load(torch.float32, "cpu")
        for part in parts:
            summed_loss(model, part).backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in model.parameters()]))
    assert len(parts) == 3
    assert (gradients[1] - gradients[0]).norm() < 1e-5 * gradients[0].norm()
