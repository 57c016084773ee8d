"""Which libraries are tried, at which versions, and where their tests are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Library:
    """One published library that is built on Lightning.

    Attributes:
        name: The folder below ``build/clients``.
        requirements: What pip installs, by spaces: the library first, to the version.
        tests: Files and folders of its source archive, each with the number of tests to run; 0 for all of them.
        skip: Words of test names that need the internet, another device, or minutes each.
        archive: Where the tests come from, if not from the version that is installed: the last one that publishes them.
        options: Further options of pytest.
        ours: A file of ``suites/``: what the library's own tests leave out, or stands for them where they are not
            published.
        prepare: A script of this folder that runs in the environment before the tests.
    """

    name: str
    requirements: str
    tests: tuple[tuple[str, int], ...] = ()
    skip: tuple[str, ...] = ()
    archive: str | None = None
    options: tuple[str, ...] = ()
    ours: str | None = None
    prepare: str | None = None


LIBRARIES = (
    Library(
        "pytorch-forecasting",
        "pytorch-forecasting==1.8.0 tensorboard pyarrow matplotlib<3.12 optuna>=3.1,<5 statsmodels "
        "optuna-integration<5 pytorch-optimizer>=2.5.1,<4 setuptools<81",
        tests=(("tests", 35), ("pytorch_forecasting/tests", 20), ("pytorch_forecasting/data/tests", 0)),
        prepare="stallion.py",
    ),
    Library(
        "darts",
        "darts[torch]==0.48.1 optuna<5 optuna-integration[pytorch_lightning]<5 testfixtures polars "
        "pyarrow setuptools<81",
        archive="darts==0.40.0",
        tests=(
            ("darts/tests/models/forecasting/test_torch_forecasting_model.py", 40),
            ("darts/tests/models/forecasting/test_ptl_trainer.py", 0),
            ("darts/tests/models/forecasting/test_RNN.py", 6),
            ("darts/tests/models/forecasting/test_nbeats_nhits.py", 6),
            ("darts/tests/models/forecasting/test_transformer_model.py", 4),
        ),
        ours="with_darts.py",
    ),
    Library(
        "scvi-tools",
        "scvi-tools==1.4.2 scanpy pandas<3 tensorboard setuptools<81 igraph",
        tests=(("tests/model", 20), ("tests/train", 15), ("tests/dataloaders/test_datasplitter.py", 0)),
        options=("--seed=0",),
    ),
    Library(
        "gluonts",
        "gluonts[torch]==0.17.0 pandas<3 ujson setuptools<81",
        tests=(("test/torch", 40),),
    ),
    Library(
        "pytorch-tabular",
        "pytorch_tabular==1.2.0 requests pandas<3 tensorboard setuptools<81",
        ours="with_pytorch_tabular.py",
    ),
    Library(
        "neuralforecast",
        "neuralforecast==3.3.0 tensorboard setuptools<81 polars",
        tests=(("tests", 20),),
        ours="with_neuralforecast.py",
    ),
    Library("chemprop", "chemprop==2.3.1 tensorboard setuptools<81", ours="with_chemprop.py"),
    Library(
        "optuna-integration",
        "optuna-integration[pytorch_lightning]==5.0.0 tensorboard setuptools<81",
        ours="with_optuna.py",
    ),
)
