"""Settings in a file make objects of classes that are the user's own choice, and of no others."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import fulmen as pl
from fulmen.checkpoint import register
from fulmen.core.class_paths import check_names, instantiate_class, nothing_new
from fulmen.utilities.exceptions import MisconfiguredType, MisconfiguredValue

pytest.importorskip("jsonargparse", reason="it reads the settings")

MARKED = {"_instantiator": "fulmen.cli.instantiate_module"}


class Net(pl.LightningModule):
    def __init__(self, act: nn.Module | None = None, function: Any = torch.relu, name: str = "x") -> None:
        super().__init__()
        self.act, self.function, self.name = act, function, name


def saved(**hparams: Any) -> Path:
    path = Path("net.ckpt")
    torch.save({"state_dict": {}, "hparams_name": "kwargs", "hyper_parameters": {**hparams, **MARKED}}, path)
    return path


def test_classes_that_everybody_has() -> None:
    act = {"class_path": "torch.nn.Threshold", "init_args": {"threshold": 1, "value": 2}}
    loaded = Net.load_from_checkpoint(saved(act=act, name="torch.hub.load"))
    assert isinstance(loaded.act, nn.Threshold) and loaded.act.value == 2
    assert loaded.name == "torch.hub.load"  # a text where a text is meant


@pytest.mark.parametrize(
    "mark", ["pytorch_lightning.cli.instantiate_module", "lightning.pytorch.cli.instantiate_module"]
)
def test_files_of_lightning(mark: str) -> None:
    path = Path("theirs.ckpt")
    torch.save(
        {"state_dict": {}, "hyper_parameters": {"act": {"class_path": "torch.nn.Tanh"}, "_instantiator": mark}}, path
    )
    assert isinstance(Net.load_from_checkpoint(path).act, nn.Tanh)


@pytest.mark.parametrize(
    ("act", "why"),
    [
        ({"class_path": "nowhere_at_all.Evil"}, "not imported"),
        ({"class_path": "subprocess.Popen", "init_args": {"args": "touch evil"}}, "neither registered"),
        ({"class_path": "torch.nn.Tanh", "init_args": {"f": "os.system"}}, "neither registered"),
        ({"class_path": "torch.fx.GraphModule", "init_args": {"root": {}}}, "neither registered"),
        ([{"class_path": "os.system"}], "neither registered"),
        ({"class_path": "torch.nn.Tanh", "init_args": {"x": "{class_path: os.system}"}}, "read as settings"),
    ],
)
def test_what_is_refused(act: Any, why: str) -> None:
    with pytest.raises(MisconfiguredType, match=rf"{why}[\s\S]*load_from_checkpoint\(path, act=\.\.\.\)"):
        Net.load_from_checkpoint(saved(act=act))
    assert Net.load_from_checkpoint(saved(act=act), act=None).act is None
    assert not Path("evil").exists() and "nowhere_at_all" not in sys.modules


def test_a_trusted_file_may_name_anything() -> None:
    Path("elsewhere_for_tests.py").write_text("import torch\nclass Layer(torch.nn.Module):\n    pass\n")
    sys.path.insert(0, os.getcwd())
    importlib.invalidate_caches()
    try:
        path = saved(act={"class_path": "elsewhere_for_tests.Layer"})
        with pytest.raises(MisconfiguredType, match="weights_only=False"):
            Net.load_from_checkpoint(path)
        assert type(Net.load_from_checkpoint(path, weights_only=False).act).__name__ == "Layer"
        with pytest.raises(MisconfiguredType, match="fulmen\\.checkpoint\\.register"):
            Net.load_from_checkpoint(path)  # imported by now, and still nobody's choice
        register(sys.modules["elsewhere_for_tests"].Layer)
        assert type(Net.load_from_checkpoint(path).act).__name__ == "Layer"
    finally:
        sys.path.remove(os.getcwd())
        sys.modules.pop("elsewhere_for_tests", None)


def test_settings_that_do_not_fit() -> None:
    with pytest.raises(MisconfiguredType, match=r"do not fit[\s\S]*load_from_checkpoint\(path, name=value\)"):
        Net.load_from_checkpoint(saved(act={"class_path": "torch.nn.Threshold", "init_args": {"nothing": 1}}))
    with pytest.raises(MisconfiguredType, match="do not fit"):
        Net.load_from_checkpoint(saved(act={"class_path": "torch.optim.SGD", "init_args": {"lr": 1}}))


def test_a_class_that_is_not_imported_is_asked_for() -> None:
    with pytest.raises(MisconfiguredValue, match=r"not imported[\s\S]*from nowhere_at_all import Net"):
        pl.LightningModule.load_from_checkpoint(saved(_class_path="nowhere_at_all.Net"))
    with pytest.raises(MisconfiguredValue, match="no subclass"):
        pl.LightningModule.load_from_checkpoint(saved(_class_path="torch.nn.Tanh"))
    assert type(Net.load_from_checkpoint(saved(_class_path="nowhere_at_all.Net"))) is Net


def test_no_event_of_execution_in_a_fresh_process() -> None:
    """Under an audit hook: neither an import of what the file names, nor a process, nor a change of a file."""
    Path("evil_module.py").write_text("open('ran', 'w').close()\n")
    for number, act in enumerate(
        [
            {"class_path": "evil_module.Evil"},
            {"class_path": "torch.nn.Tanh", "init_args": {"x": "evil_module.evil"}},
            "evil_module.evil",
            "{class_path: evil_module.Evil}",
            {"class_path": "webbrowser.open", "init_args": {"url": "x"}},
        ]
    ):
        saved(act=act, function=act).rename(f"evil_{number}.ckpt")
    code = """
        import sys
        import torch, fulmen as pl
        from typing import Callable
        import jsonargparse
        class Net(pl.LightningModule):
            def __init__(self, act: torch.nn.Module = None, function: Callable = torch.relu):
                super().__init__()
                self.act = act
        seen = []
        def hear(event, args):
            if event in ("subprocess.Popen", "os.system", "os.remove", "webbrowser.open"):
                seen.append(event)
        sys.addaudithook(hear)
        for number in range(5):
            try:
                net = Net.load_from_checkpoint(f"evil_{number}.ckpt")
                print("text" if type(net.act) is str else "made")
            except pl.utilities.exceptions.MisconfigurationException:
                print("refused")
        assert "evil_module" not in sys.modules and not seen, seen
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["refused", "refused", "refused", "text", "refused"]
    assert not Path("ran").exists()


def test_instantiate_class() -> None:
    optimizer = instantiate_class(
        nn.Linear(1, 1).parameters(), {"class_path": "torch.optim.SGD", "init_args": {"lr": 3}}
    )
    assert optimizer.defaults["lr"] == 3
    assert instantiate_class((2, 1), {"class_path": "torch.nn.Linear"}).in_features == 2


def test_nothing_that_is_named_is_imported() -> None:
    Path("named_for_tests.py").write_text("")
    sys.path.insert(0, os.getcwd())
    importlib.invalidate_caches()
    try:
        with nothing_new({"a": ["named_for_tests.x"]}), pytest.raises(ImportError, match="not trusted"):
            __import__("named_for_tests")
        check_names(Net, "act", {"class_path": "torch.nn.Tanh"})
        with nothing_new({"a": ["others.x"]}):
            __import__("named_for_tests")
    finally:
        sys.path.remove(os.getcwd())
        sys.modules.pop("named_for_tests", None)
