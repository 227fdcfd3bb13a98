"""TRL's SFTTrainer as its documentation sets it up, with the same rows, steps, rank and learning rate, and the best
checkpoint by the loss on the validation rows.

    python plain_sft.py SETTINGS.json

Writes the merged model. Run by `run.py` in a process of its own.
"""

import json
import sys
from pathlib import Path

import torch
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text())
    rows = {
        split: load_dataset("json", data_files=settings[split], split="train").select_columns(["prompt", "completion"])
        for split in ("train", "validation")
    }
    trainer = SFTTrainer(
        model=settings["model"],
        args=SFTConfig(
            output_dir=settings["out"],
            per_device_train_batch_size=settings["batchSize"],
            num_train_epochs=settings["epochs"],
            learning_rate=settings["learningRate"],
            lr_scheduler_type="cosine",
            warmup_steps=5,
            max_length=settings["maxLength"],
            use_cpu=not torch.cuda.is_available(),
            seed=settings["seed"],
            eval_strategy="epoch",
            save_strategy="epoch",
            save_total_limit=2,
            load_best_model_at_end=True,
            completion_only_loss=True,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        peft_config=LoraConfig(
            r=settings["rank"], lora_alpha=settings["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"
        ),
    )
    trainer.train()
    folder = Path(settings["out"]) / "model"
    trainer.model.merge_and_unload().save_pretrained(folder)
    AutoTokenizer.from_pretrained(settings["model"]).save_pretrained(folder)


if __name__ == "__main__":
    main()
