"""TRL's SFTTrainer as set up in its documentation, with the same rows, LoRA, batch size, schedule and precision.

Prints the seconds of the training loop. Run by `python -m benchmarks.training` in a process of its own.
"""

import json
import sys
import time
from pathlib import Path

import torch
from datasets import load_dataset
from peft import LoraConfig
from trl import SFTConfig, SFTTrainer


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    trainer = SFTTrainer(
        model=settings["model"],
        args=SFTConfig(
            output_dir=settings["output"],
            per_device_train_batch_size=settings["batchSize"],
            num_train_epochs=settings["epochs"],
            learning_rate=settings["learningRate"],
            lr_scheduler_type="cosine",
            warmup_steps=5,
            bf16=settings["bf16"],
            use_cpu=not torch.cuda.is_available(),
            seed=42,
            eval_strategy="epoch",
            save_strategy="epoch",
            load_best_model_at_end=True,
            completion_only_loss=True,
            report_to="none",
        ),
        train_dataset=load_dataset("json", data_files=settings["train"], split="train"),
        eval_dataset=load_dataset("json", data_files=settings["validation"], split="train"),
        peft_config=LoraConfig(
            r=settings["rank"], lora_alpha=settings["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )
    started = time.perf_counter()
    trainer.train()
    print(f"SECONDS {time.perf_counter() - started:.2f}")


if __name__ == "__main__":
    main()
