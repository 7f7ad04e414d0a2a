"""DPO with TRL: reference log-probabilities and steps of `DPOTrainer` on pairs in tokens."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# The model is a folder: nothing is asked of a hub.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import accelerate
import datasets
import numpy as np
import torch
import transformers
import trl
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer

from apo_sim.llm.data.preference_pairs import Preference

VERSIONS = (
    f"TRL {trl.__version__}, transformers {transformers.__version__}, "
    f"accelerate {accelerate.__version__}, PyTorch {torch.__version__}"
)


class Trainer(DPOTrainer):
    """TRL's trainer, which would turn texts into tokens first."""

    def _prepare_dataset(self, dataset, processing_class, args, dataset_name):
        return dataset


def new_trainer(
    folder: Path,
    pairs: Sequence[Preference],
    *,
    batch: int,
    learning_rate: float,
    beta: float,
    on_gpu: bool,
) -> Trainer:
    """A trainer of the model in a folder; `train()` sees every pair once.

    As ours does, it counts in float32, minimises by RMSProp without clipping, and keeps all
    activations. The reference model stays in memory, TRL's default, and is run in every step.
    """
    transformers.utils.logging.disable_progress_bar()
    config = DPOConfig(
        output_dir=str(folder / "trl"),
        per_device_train_batch_size=batch,
        num_train_epochs=1,
        learning_rate=learning_rate,
        beta=beta,
        optim="rmsprop",
        max_grad_norm=0.0,
        max_length=None,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=not on_gpu,
        dataloader_pin_memory=on_gpu,
        model_init_kwargs={"dtype": "float32"},
        logging_strategy="no",
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    trainer = Trainer(
        str(folder),
        args=config,
        train_dataset=datasets.Dataset.from_list([_row(pair) for pair in pairs]),
        processing_class=transformers.AutoTokenizer.from_pretrained(folder),
    )
    trainer.remove_callback(transformers.PrinterCallback)
    return trainer


def log_probs(trainer: Trainer, pairs: Sequence[Preference]) -> np.ndarray:
    """log pi of winner and loser under the reference model, shape (pairs, 2)."""
    collate: Any = trainer.data_collator
    inputs = {
        name: values.to(trainer.accelerator.device)
        for name, values in collate([_row(pair) for pair in pairs]).items()
    }
    found = trainer.compute_ref_log_probs(trainer.ref_model, inputs)
    return torch.stack(found, dim=1).cpu().numpy()


def _row(pair: Preference) -> dict[str, list[int]]:
    return {
        "prompt_ids": list(pair.prompt),
        "chosen_ids": list(pair.winner),
        "rejected_ids": list(pair.loser),
    }
