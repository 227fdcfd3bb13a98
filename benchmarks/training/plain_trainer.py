"""TRL's SFTTrainer on the same rows, with the same LoRA, effective batch, schedule and precision.

Settings are those of its documentation (`documented`) or the fastest that it documents for the device (`fastest`): no
activation checkpointing, and sequences packed without padding; on a GPU with Liger's kernels too. Prints one line of
JSON. Run by `python -m benchmarks.training` in a process of its own.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

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
            num_train_epochs=settings["epochs"],
            learning_rate=settings["learningRate"],
            lr_scheduler_type="cosine",
            warmup_steps=5,
            weight_decay=0.1,
            adam_beta2=0.95,
            bf16=settings["bf16"],
            use_cpu=not torch.cuda.is_available(),
            seed=42,
            eval_strategy="epoch",
            save_strategy="epoch",
            load_best_model_at_end=True,
            completion_only_loss=True,
            report_to="none",
            **(fastest(settings) if settings["kind"] == "fastest" else documented(settings)),
        ),
        train_dataset=load_dataset("json", data_files=settings["train"], split="train"),
        eval_dataset=load_dataset("json", data_files=settings["validation"], split="train"),
        peft_config=LoraConfig(
            r=settings["rank"], lora_alpha=settings["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    print("FIGURES " + json.dumps({"seconds": seconds, "loss": min(losses), "steps": trainer.state.global_step}))


def documented(settings: dict[str, Any]) -> dict[str, Any]:
    return {"per_device_train_batch_size": settings["batchSize"]}


def fastest(settings: dict[str, Any]) -> dict[str, Any]:
    """One packed sequence a step, as long as the rows of a batch are together."""
    return {
        "gradient_checkpointing": False,
        "packing": True,
        "eval_packing": False,
        "max_length": settings["batchTokens"],
        "per_device_train_batch_size": 1,
        "use_liger_kernel": torch.cuda.is_available(),
    }


if __name__ == "__main__":
    main()
