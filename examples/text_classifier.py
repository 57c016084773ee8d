"""Tells to which part of Python's library a piece of documentation belongs: BERT's architecture, trained from scratch.

The data are the docstrings of the Python that runs this, without the names that would give the answer away; the
vocabulary is learned from those of training. Nothing is downloaded. Run it with `python examples/text_classifier.py`
after `pip install fulmen[examples]`.
"""

from __future__ import annotations

import argparse
import ast
import re
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics import Accuracy
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

import fulmen as pl
from fulmen.callbacks import LearningRateMonitor, ModelCheckpoint
from fulmen.loggers import CSVLogger

SEED = 1
TOPICS = {
    "concurrency": ("asyncio", "concurrent", "multiprocessing", "threading.py", "queue.py", "selectors.py"),
    "mail and web": ("email", "http", "urllib", "smtplib.py", "imaplib.py", "ftplib.py", "mailbox.py", "wsgiref"),
    "tests": ("unittest", "doctest.py", "pdb.py", "bdb.py", "trace.py", "cProfile.py", "timeit.py"),
    "numbers and time": ("decimal.py", "_pydecimal.py", "fractions.py", "statistics.py", "datetime.py", "random.py",
                         "calendar.py", "numbers.py", "_pydatetime.py"),
}  # fmt: skip


@cache  # each stage sets the data up
def docstrings(topic: str) -> list[str]:
    """What the modules of a topic say of themselves, their classes and functions, each once."""
    library = Path(sysconfig.get_path("stdlib"))
    files = [
        file
        for name in TOPICS[topic]
        for file in (sorted((library / name).rglob("*.py")) if not name.endswith(".py") else [library / name])
        if file.exists()
    ]
    names = "|".join(sorted({re.escape(name.removesuffix(".py")) for names in TOPICS.values() for name in names}))
    found: dict[str, None] = {}
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                text = re.sub(rf"\b({names})\b", "", ast.get_docstring(node) or "", flags=re.IGNORECASE)
                if len(text.split()) >= 6:
                    found[text] = None
    return list(found)


class Docstrings(pl.LightningDataModule):
    """Docstrings and their topics, split once and for all, and the words that those of training are made of."""

    def __init__(self, batch_size: int = 32, length: int = 48, words: int = 3000) -> None:
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage: str) -> None:
        samples = [(text, topic) for topic, name in enumerate(TOPICS) for text in docstrings(name)]
        order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(SEED)).tolist()
        count = len(samples) // 6
        self.val, self.test, self.train = (
            [samples[i] for i in part] for part in (order[:count], order[count : 2 * count], order[2 * count :])
        )
        self.tokenizer = self.learn_words([text for text, _ in self.train])

    def learn_words(self, texts: list[str]) -> PreTrainedTokenizerFast:
        special = {"unk_token": "[UNK]", "pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(
            vocab_size=self.hparams.words, special_tokens=list(special.values()), show_progress=False
        )
        tokenizer.train_from_iterator(texts, trainer)
        ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
        tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)

    def collate(self, samples: list[tuple[str, int]]) -> dict[str, Tensor]:
        texts, topics = zip(*samples, strict=True)
        batch = self.tokenizer(
            list(texts), truncation=True, max_length=self.hparams.length, padding=True, return_tensors="pt"
        )
        return {**batch, "labels": torch.tensor(topics)}

    def loader(self, samples: Any, shuffle: bool = False) -> DataLoader[Any]:
        return DataLoader(samples, self.hparams.batch_size, shuffle=shuffle, collate_fn=self.collate)

    def train_dataloader(self) -> DataLoader[Any]:
        return self.loader(self.train, shuffle=True)

    def val_dataloader(self) -> DataLoader[Any]:
        return self.loader(self.val)

    def test_dataloader(self) -> DataLoader[Any]:
        return self.loader(self.test)


class Classifier(pl.LightningModule):
    """BERT (Devlin et al., 2018) with one number for each topic at its end, in a size that a laptop trains."""

    def __init__(self, words: int, topics: int, width: int = 96, layers: int = 2, learning_rate: float = 1e-3) -> None:
        super().__init__()
        self.save_hyperparameters()
        config = BertConfig(
            vocab_size=words, hidden_size=width, num_hidden_layers=layers, num_attention_heads=4,
            intermediate_size=4 * width, max_position_embeddings=128, num_labels=topics, hidden_dropout_prob=0.2,
        )  # fmt: skip
        self.bert = BertForSequenceClassification(config)
        self.accuracy = nn.ModuleDict({s: Accuracy("multiclass", num_classes=topics) for s in ("val", "test")})

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = self.bert(**batch).loss
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def evaluate(self, batch: dict[str, Tensor], stage: str) -> None:
        output = self.bert(**batch)
        self.accuracy[stage](output.logits, batch["labels"])
        self.log(f"{stage}_loss", output.loss, batch_size=len(batch["labels"]))
        self.log(f"{stage}_accuracy", self.accuracy[stage], prog_bar=True, batch_size=len(batch["labels"]))

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.evaluate(batch, "val")

    def test_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self.evaluate(batch, "test")

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.learning_rate, weight_decay=0.05)
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, self.hparams.learning_rate, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def main(root: Path, max_epochs: int = 8, fraction: float = 1.0) -> float:
    """Trains, and tests the best checkpoint. Returns the accuracy on docstrings that had no part in training."""
    pl.seed_everything(SEED)
    data = Docstrings()
    data.setup("fit")
    model = Classifier(len(data.tokenizer), len(TOPICS))
    logger = CSVLogger(root, name="text_classifier")
    best = ModelCheckpoint(monitor="val_accuracy", mode="max")
    trainer = pl.Trainer(
        max_epochs=max_epochs, logger=logger, callbacks=[best, LearningRateMonitor()], gradient_clip_val=1.0,
        limit_train_batches=fraction, log_every_n_steps=10, deterministic=True,
    )  # fmt: skip
    trainer.fit(model, datamodule=data)
    [result] = trainer.test(datamodule=data, ckpt_path="best")

    topics = [topic for _, topic in data.test]
    most = max(topics.count(topic) for topic in set(topics)) / len(topics)
    print(f"docstrings          {len(data.train)} to train on, {len(data.test)} for the test")
    print(f"test accuracy       {result['test_accuracy']:.4f}")
    print(f"by always guessing the most frequent topic: {most:.4f}")
    print(f"best checkpoint     {best.best_model_path}")
    return result["test_accuracy"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, default=Path("runs"), help="where logs and checkpoints go")
    parser.add_argument("--max-epochs", type=int, default=8, help="passes over the docstrings")
    arguments = parser.parse_args()
    main(arguments.root, arguments.max_epochs)
