"""A tiny training in as many processes as torchrun starts of this program, with the model sharded or not.

python sharded_training.py MODEL FOLDER METHOD sharded|whole STEPS

It ends after so many steps, or goes on with the checkpoint that is there. The first process prints the losses as JSON.
"""

import json
import sys
from pathlib import Path

import torch

from distillery_api.spec import Training, TrainingMethod
from distillery_trainer.processes.process_group import joined_group
from distillery_trainer.runtime.library_settings import quiet_libraries
from distillery_trainer.student.adapted_layers import adapted_layers
from distillery_trainer.student.chosen_settings import chosen_settings
from distillery_trainer.student.device import Device
from distillery_trainer.student.lora import lora_adapters
from distillery_trainer.student.model_folder import open_folder
from distillery_trainer.student.row_encoding import IGNORED, EncodedRow
from distillery_trainer.student.trained_weights import load_to_train
from distillery_trainer.student.training_loop import TrainingSetup, train
from distillery_trainer.student.training_monitor import TrainingMonitor


def row(number: int) -> EncodedRow:
    ids = [5 + (number * 7 + position) % 90 for position in range(6 + number)]
    return EncodedRow(ids, [IGNORED] * (len(ids) - 2) + ids[-2:])


def main() -> None:
    model_folder, folder, method, sharded, steps = sys.argv[1:]
    quiet_libraries()
    torch.set_num_threads(1)
    base, device = open_folder(Path(model_folder), "tiny"), Device("cpu", torch.float32, "CPU")
    training = Training(method=method, epochs=3, batchSize=5, learningRate=0.005, warmupSteps=0)
    with joined_group(60) as group:
        model = load_to_train(base, TrainingMethod(method), device)
        torch.manual_seed(training.seed)
        adapters = None
        if training.method.trains_adapters:
            adapters = lora_adapters(training.method, 4, 8, 0.0, adapted_layers(model))
        rows = [row(number) for number in range(13)]
        monitor = TrainingMonitor(lambda done, _: monitor.stop() if done == int(steps) else None)
        setup = TrainingSetup(
            model=model,
            tokenizer=base.tokenizer,
            adapters=adapters,
            train_rows=rows,
            validation_rows=rows[:3],
            training=training,
            settings=chosen_settings(training, len(rows), model.num_parameters()),
            device=device,
            folder=Path(folder),
            shards=sharded == "sharded",
        )
        trained = train(setup, monitor)
        if group.is_first:
            losses = [(each.train, each.validation) for each in trained.losses] if trained else []
            print("LOSSES " + json.dumps(losses), flush=True)


if __name__ == "__main__":
    main()
