"""Callbacks that watch, write and measure have the effects that Lightning's have."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch
from tests.conftest import SOAK
from torch.utils.data import BatchSampler, DataLoader, IterableDataset, SequentialSampler, TensorDataset

from .callback_scripts import QUIET, batches, memory_logger, model, part
from .scenarios import quiet


class _Own(BatchSampler):
    pass


class _Chosen:
    def __iter__(self) -> Iterator[list[int]]:
        return iter([[4, 3], [1], [1, 6]])

    def __len__(self) -> int:
        return 3


class _Stream(IterableDataset[torch.Tensor]):
    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(torch.arange(7.0))


_DATA = torch.arange(7.0).view(7, 1)
LOADERS: dict[str, Any] = {
    "in order": lambda: DataLoader(_DATA, batch_size=3),
    "shuffled": lambda: DataLoader(_DATA, batch_size=3, shuffle=True, generator=torch.Generator().manual_seed(1)),
    "rest not dropped": lambda: DataLoader(TensorDataset(_DATA), batch_size=3, drop_last=True),
    "several": lambda: [DataLoader(_DATA, batch_size=3), DataLoader(_DATA + 10, batch_size=2)],
    "indices of the user": lambda: DataLoader(_DATA, batch_sampler=_Chosen()),
    "batch sampler": lambda: DataLoader(_DATA, batch_sampler=_Own(SequentialSampler(_DATA), 2, True)),
    "iterable": lambda: DataLoader(_Stream(), batch_size=3),
    "single samples": lambda: DataLoader(_DATA, batch_size=None),
    "lists": lambda: [[_DATA[:2], _DATA[2:4]], [_DATA[4:]]],
    "workers": lambda: DataLoader(_DATA, batch_size=2, num_workers=2),
}


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.tolist()
    return [_plain(one) for one in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("interval", ["batch", "epoch", "batch_and_epoch"])
@pytest.mark.parametrize("kind", LOADERS)
def test_prediction_writer(lightning: ModuleType, fulmen: ModuleType, kind: str, interval: str) -> None:
    def script(pl: ModuleType) -> list[Any]:
        said: list[Any] = []

        class Writer(pl.callbacks.BasePredictionWriter):  # type: ignore[misc, name-defined]
            def write_on_batch_end(self, trainer: Any, pl_module: Any, *what: Any) -> None:
                said.append(("batch", _plain(what)))

            def write_on_epoch_end(self, trainer: Any, pl_module: Any, *what: Any) -> None:
                said.append(("epoch", _plain(what)))

        trainer = pl.Trainer(logger=False, callbacks=[Writer(interval)], limit_predict_batches=3, **QUIET)
        echo = model(pl, predict_step=lambda self, batch, batch_idx, dataloader_idx=0: batch)
        for keep in (True, False):
            said.append(_plain(trainer.predict(echo, LOADERS[kind](), return_predictions=keep)))
        return said

    with quiet():
        theirs, ours = script(lightning), script(fulmen)
    assert ours == theirs
    assert any(isinstance(one, tuple) for one in ours)


@pytest.mark.parametrize("kind", [kind for kind in LOADERS if kind != "workers"])
def test_every_sample_is_predicted(lightning: ModuleType, fulmen: ModuleType, kind: str) -> None:
    """Without a writer, too: samples that the loader would drop have their prediction."""

    def script(pl: ModuleType) -> Any:
        echo = model(pl, predict_step=lambda self, batch, batch_idx, dataloader_idx=0: batch)
        return _plain(pl.Trainer(logger=False, **QUIET).predict(echo, LOADERS[kind]()))

    with quiet():
        assert script(fulmen) == script(lightning)


@pytest.mark.parametrize("cpu_stats", [None, True, False])
@pytest.mark.parametrize("every", [0, 1, 3])
@pytest.mark.parametrize("flags", [{}, {"val_check_interval": 2}, {"accumulate_grad_batches": 2}], ids=str)
def test_device_stats(
    lightning: ModuleType, fulmen: ModuleType, flags: dict[str, Any], every: int, cpu_stats: bool | None
) -> None:
    def script(pl: ModuleType) -> list[Any]:
        logger, module = memory_logger(pl), model(pl)
        monitor = pl.callbacks.DeviceStatsMonitor(cpu_stats)
        trainer = pl.Trainer(
            max_epochs=2, logger=logger, callbacks=[monitor], log_every_n_steps=every, **QUIET, **flags
        )
        trainer.fit(module, batches(5), [batches(5), batches(4)])
        trainer.validate(module, batches(4), verbose=False)
        trainer.test(module, [batches(5), batches(4)], verbose=False)
        trainer.predict(module, batches(3))
        return [(step, sorted(values)) for step, values in logger.rows]

    with quiet():
        theirs, ours = script(lightning), script(fulmen)
    assert ours == theirs
    assert bool(ours) == (every > 0 and cpu_stats is not False)


@pytest.mark.parametrize("fails", ["training_step", "validation_step"])
def test_on_exception_checkpoint(lightning: ModuleType, fulmen: ModuleType, fails: str, tmp_path: Path) -> None:
    def script(pl: ModuleType) -> Any:
        def fail(self: Any, batch: Any, batch_idx: int) -> Any:
            if self.trainer.global_step == 3:
                raise ValueError("wanted")
            return self.layer(batch).mean()

        folder = tmp_path / pl.__name__
        callback = pl.callbacks.OnExceptionCheckpoint(folder, "{epoch}")
        flags = {**QUIET, "enable_checkpointing": True, "num_sanity_val_steps": 0}
        trainer = pl.Trainer(max_epochs=2, logger=False, callbacks=[callback], **flags)
        with pytest.raises(ValueError, match="wanted"):
            trainer.fit(model(pl, **{fails: fail}), batches(5 if fails == "training_step" else 3), batches(2))
        saved = torch.load(callback.ckpt_path, weights_only=False)
        names = sorted(path.name for path in folder.iterdir())
        weights = {name: value.shape for name, value in saved["state_dict"].items()}
        return names, Path(callback.ckpt_path).name, saved["global_step"], saved["epoch"], weights

    with quiet():
        theirs, ours = script(lightning), script(fulmen)
    assert ours == theirs
    assert ours[0] == ["{epoch}.ckpt"]


def test_on_exception_checkpoint_paths(lightning: ModuleType, fulmen: ModuleType, tmp_path: Path) -> None:
    for folder in (tmp_path, str(tmp_path), "", "relative"):
        pairs = [pl.callbacks.OnExceptionCheckpoint(folder) for pl in (lightning, fulmen)]
        assert pairs[0].ckpt_path == pairs[1].ckpt_path
        assert pairs[0].state_key == pairs[1].state_key
    for wrong in (1, None):
        for pl in (lightning, fulmen):
            with pytest.raises(TypeError):
                _ = pl.callbacks.OnExceptionCheckpoint(wrong).ckpt_path


SPIKES: list[dict[str, Any]] = [
    {},
    {"mode": "max"},
    {"window": 2, "rtol": 0.5},
    {"atol": 0.5},
    {"atol": 0.5, "rtol": None},
    {"rtol": None, "warmup": 3},
    {"finite_only": False, "rtol": 1.0},
    {"mode": "max", "finite_only": False, "warmup": 0},
]


@pytest.mark.parametrize("options", SPIKES, ids=str)
def test_spikes_are_found_alike(
    lightning: ModuleType, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Losses of one epoch, of which some leap and some are not finite, seen by both."""
    from lightning_fabric.utilities.spike import SpikeDetection as Theirs
    from lightning_fabric.utilities.spike import TrainingSpikeException as TheirException

    from fulmen.utilities.spike import SpikeDetection, TrainingSpikeException

    decide = SimpleNamespace(
        root_device=torch.device("cpu"), is_distributed=False, barrier=lambda *_: None, broadcast=lambda one, *_: one,
        reduce_boolean_decision=lambda one, all=True: one,
    )  # fmt: skip
    fabric = SimpleNamespace(
        strategy=decide, global_rank=0, local_rank=0, is_global_zero=True, device=torch.device("cpu"),
        barrier=lambda *_: None, broadcast=lambda one, *_: one,
    )  # fmt: skip
    chance = random.Random(str(options))
    for number in range(12 if SOAK else 2):
        theirs = Theirs(exclude_batches_path=str(tmp_path / f"theirs{number}.json"), **options)
        ours = SpikeDetection(exclude_batches_path=tmp_path / f"ours{number}" / "own.json", **options)
        found = 0
        for index in range(60):
            loss = chance.choice([1.0, 1.0, 1.0, 2.0, -1.0, 0.5, chance.gauss(1, 1), chance.gauss(0, 9), 25.0])
            if index > 2:
                loss = chance.choice([loss] * 9 + [math.nan, math.inf, -math.inf])
            seen = []
            for detection, exception in ((theirs, TheirException), (ours, TrainingSpikeException)):
                try:
                    detection.on_train_batch_end(fabric, torch.tensor(loss), None, index)
                except exception as error:
                    seen.append(str(error))
                else:
                    seen.append("")
            assert seen[0] == seen[1], (number, index, loss)
            assert float(theirs.last_val) == float(ours.last_val)
            found += bool(seen[0])
        assert found
        texts = [(tmp_path / name).read_text() for name in (f"theirs{number}.json", f"ours{number}/own.json")]
        assert texts[0] == texts[1] == json.dumps(ours.bad_batches, indent=4)


@pytest.mark.parametrize("kind", ["tensor", "dict", "manual"])
def test_a_spike_ends_training(lightning: ModuleType, fulmen: ModuleType, kind: str, tmp_path: Path) -> None:
    def script(pl: ModuleType) -> Any:
        def losses(number: int) -> float:
            return 9.0 if number == 4 else 1.0

        members: dict[str, Any] = {}
        if kind == "dict":
            members["training_step"] = lambda self, batch, index: {"loss": self.layer(batch).sum() * 0 + losses(index)}
        if kind == "manual":
            members["automatic_optimization"] = False
        root = tmp_path / pl.__name__
        root.mkdir()
        callback = part(pl, "callbacks.spike").SpikeDetection()
        trainer = pl.Trainer(max_epochs=2, logger=False, callbacks=[callback], default_root_dir=root, **QUIET)
        with pytest.raises(RuntimeError) as caught:
            trainer.fit(model(pl, losses, **members), batches(6))
        files = {path.name: path.read_text() for path in root.iterdir()}
        kept = {name: callback.state_dict()[name] for name in ("last_val", "mode", "warmup", "rtol", "bad_batches")}
        return type(caught.value).__name__, str(caught.value), files, kept, callback.state_key

    with quiet():
        theirs, ours = script(lightning), script(fulmen)
    assert ours == theirs
    assert "skip_batches.json" in ours[2]


def _without_clock(rows: list[Any]) -> list[Any]:
    clocked = ("time", "_per_sec", "mfu")
    return [(step, {key: 0 if key.endswith(clocked) else value for key, value in row.items()}) for step, row in rows]


@pytest.mark.parametrize("every", [0, 1, 2])
@pytest.mark.parametrize("kind", ["samples", "lengths", "flops"])
@pytest.mark.parametrize("accumulate", [1, 3])
def test_throughput_monitor(
    lightning: ModuleType, fulmen: ModuleType, kind: str, every: int, accumulate: int, tmp_path: Path
) -> None:
    def script(pl: ModuleType) -> list[Any]:
        logger = memory_logger(pl)
        lengths = (lambda batch: 5 * batch.numel()) if kind == "lengths" else None
        monitor = part(pl, "callbacks.throughput_monitor").ThroughputMonitor(len, lengths, window_size=3)
        module = model(pl, **({"flops_per_batch": 1000} if kind == "flops" else {}))
        flags = {**QUIET, "log_every_n_steps": every, "accumulate_grad_batches": accumulate}
        trainer = pl.Trainer(max_epochs=2, logger=logger, callbacks=[monitor], check_val_every_n_epoch=2, **flags)
        trainer.fit(module, batches(6), [batches(3), batches(3)])
        trainer.test(module, batches(4), verbose=False)
        trainer.predict(module, batches(4))
        return _without_clock(logger.rows)

    with quiet():
        theirs, ours = script(lightning), script(fulmen)
    assert ours == theirs
    assert bool(ours) == bool(every)


def test_throughput_computes_alike(lightning: ModuleType) -> None:
    from lightning_fabric.utilities.throughput import Throughput as Theirs

    from fulmen.utilities.throughput import Throughput

    chance = random.Random(3)
    for _ in range(20):
        options = {
            "available_flops": chance.choice([None, 1e3]),
            "world_size": chance.choice([1, 4]),
            "window_size": chance.choice([2, 3, 5]),
            "separator": chance.choice(["/", "-"]),
        }
        both = Theirs(**options), Throughput(**options)
        lengths, flops = chance.random() < 0.5, chance.random() < 0.5
        time, done, samples, items = 0.0, 0, 0, 0
        for _ in range(8):
            time += chance.random()
            done += chance.randint(1, 3)
            samples += chance.randint(3, 9)
            items += chance.randint(9, 30)
            given: dict[str, Any] = {"time": time, "batches": done, "samples": samples}
            if lengths:
                given["lengths"] = items
            if flops:
                given["flops"] = chance.randint(1, 9)
            for one in both:
                one.update(**given)
            theirs, ours = both[0].compute(), both[1].compute()
            assert list(ours) == list(theirs)
            assert ours == pytest.approx(theirs)
        both[1].reset()
        assert both[1].compute() == {}


@pytest.mark.parametrize(
    ("error", "update"),
    [
        (ValueError, {"time": 1, "batches": 9, "samples": 9, "lengths": 9}),
        (ValueError, {"time": 9, "batches": 1, "samples": 9, "lengths": 9}),
        (ValueError, {"time": 9, "batches": 9, "samples": 2, "lengths": 9}),
        (ValueError, {"time": 9, "batches": 9, "samples": 9, "lengths": 3}),
    ],
)
def test_throughput_refuses_alike(lightning: ModuleType, error: type[Exception], update: dict[str, Any]) -> None:
    from lightning_fabric.utilities.throughput import Throughput as Theirs

    from fulmen.utilities.throughput import Throughput

    for one in (Theirs(), Throughput()):
        one.update(time=2, batches=2, samples=4, lengths=5)
        with pytest.raises(error):
            one.update(**update)


def test_measured_flops_are_the_same(lightning: ModuleType, fulmen: ModuleType) -> None:
    with torch.device("meta"):
        net = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 5))
        inputs = torch.empty(2, 3, 8, 8)
    counts = [
        [pl.utilities.measure_flops(net, lambda: net(inputs), loss) for loss in (None, torch.sum)]
        for pl in (lightning, fulmen)
    ]
    assert counts[0] == counts[1]
    assert counts[1][0] > 0


CARDS = {  # those of which both know the same
    "NVIDIA H100 PCIe": "fp64 fp32 tf32 bf16 fp16 int8",
    "NVIDIA H100 80GB HBM3": "fp64 fp32 tf32 bf16 fp16 int8",
    "NVIDIA A100-SXM4-40GB": "fp64 fp32 tf32 bf16 fp16 int8",
    "NVIDIA L4": "fp32 tf32 bf16 fp16 int8 int4",
    "NVIDIA A40": "fp32 tf32 int8 int4",
    "NVIDIA A10G": "fp32 tf32 bf16 fp16 int8 int4",
    "NVIDIA RTX A6000": "fp32 tf32 int8 int4",
    "NVIDIA GeForce RTX 4090": "fp32 tf32 int8 int4",
    "NVIDIA GeForce RTX 4080 Super": "fp32 tf32 int8 int4",
    "NVIDIA GeForce RTX 3090": "fp32 tf32 int8 int4",
    "NVIDIA GeForce RTX 3080 Ti": "fp32 tf32 int8 int4",
    "NVIDIA GeForce RTX 3070": "fp32 tf32 int8 int4",
    "NVIDIA GeForce RTX 2080 Ti": "fp32 tf32 bf16 int8 int4",
    "NVIDIA TITAN RTX": "fp32 tf32 bf16 int8 int4",
    "Tesla T4": "fp32 tf32 bf16 fp16 int8 int4",
    "Tesla V100-SXM2-16GB": "fp64 fp32 tf32 bf16 fp16 int8",
    "Tesla V100S-PCIE-32GB": "fp64 fp32 tf32 bf16 fp16 int8",
    "Tesla V100-PCIE-32GB": "fp64 fp32 tf32 bf16 fp16 int8",
    "Unheard of": "fp32 bf16",
}
_DTYPES: dict[str, Any] = {
    "fp64": torch.float64, "fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16,
    "fp16": torch.float16, "int8": torch.int8, "int4": "int4",
}  # fmt: skip


def peak(function: Any, card: str, kind: str) -> Any:
    """What a framework says that a card can compute at best, without the card."""
    with (
        mock.patch("torch.cuda.get_device_name", return_value=card),
        mock.patch("torch.cuda.is_available", return_value=True),
        mock.patch("torch.cuda.get_device_capability", return_value=(9, 0)),
        mock.patch("torch.get_float32_matmul_precision", return_value="high" if kind == "tf32" else "highest"),
        quiet(),
    ):
        return function(torch.device("cuda", 0), _DTYPES[kind])


@pytest.mark.parametrize("card", CARDS)
def test_peaks_of_devices(lightning: ModuleType, card: str) -> None:
    from lightning_fabric.utilities.throughput import get_available_flops as theirs

    from fulmen.utilities.throughput import get_available_flops as ours

    for kind in CARDS[card].split():
        expected, actual = peak(theirs, card, kind), peak(ours, card, kind)
        if kind == "tf32" and expected is None:  # no such unit: torch computes in plain 32 bits
            expected = peak(theirs, card, "fp32")
        assert actual == expected or actual == pytest.approx(expected, rel=1e-3), kind
    assert ours(torch.device("cpu"), torch.float32) is None
