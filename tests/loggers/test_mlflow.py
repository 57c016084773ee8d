"""Against a server with a database, and against the database itself."""

from __future__ import annotations

import copy
import http.server
import json
import pickle
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fulmen.callbacks.model_checkpoint import ModelCheckpoint
from fulmen.core.module import LightningModule
from fulmen.loggers.background import LoggingFailedError
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import rank_zero_only

from .mlflow_server import Server, free_port, serving
from .runs import At, Net, fit, weights

pytest.importorskip("mlflow.server", reason="the server that these tests run against")

from mlflow.tracking import MlflowClient

from fulmen.loggers.mlflow import MLFlowLogger
from fulmen.loggers.mlflow_run import Names


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("mlflow")) as running:
        yield running


@pytest.fixture
def server(one_server: Server) -> Server:
    if one_server.process is None:  # a test has killed it
        one_server.start()
    return one_server


@pytest.fixture
def store(one_server: Server, tmp_path: Path) -> dict[str, Any]:
    """The server's database, without the server."""
    uri = one_server.store
    return {"tracking_uri": uri, "experiment_name": tmp_path.name, "artifact_location": str(tmp_path / "art")}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setattr("fulmen.loggers.work.FIRST_PAUSE", 0.01)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def client_of(logger: MLFlowLogger) -> MlflowClient:
    return MlflowClient(logger._tracking_uri)


def history(client: MlflowClient, run_id: str | None, name: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run_id, name)]


def artifacts(client: MlflowClient, run_id: str | None, folder: str | None = None) -> set[str]:
    found: set[str] = set()
    for entry in client.list_artifacts(run_id, folder):
        found |= artifacts(client, run_id, entry.path) if entry.is_dir else {entry.path}
    return found


def status(logger: MLFlowLogger) -> str:
    found: str = client_of(logger).get_run(logger.run_id).info.status
    return found


def params(logger: MLFlowLogger) -> dict[str, str]:
    found: dict[str, str] = client_of(logger).get_run(logger.run_id).data.params
    return found


def hparam_files(logger: MLFlowLogger, folder: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in sorted(folder.rglob(f"{logger.run_id}/artifacts/hparams/*.json"))]


def test_a_run_is_all_on_the_server_and_training_never_talks_to_it(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    send = requests.Session.send
    threads = set()

    def noted(*args: Any, **kwargs: Any) -> Any:
        threads.add(threading.current_thread())
        return send(*args, **kwargs)

    monkeypatch.setattr(requests.Session, "send", noted)

    def log_all(trainer: Any) -> None:
        trainer.log_image("image", torch.zeros(3, 4, 5))
        trainer.log_table("table", columns=["x", "y"], data=[[1, "a"]])
        trainer.log_text("text", "Once upon a time")
        trainer.log_audio("sound", torch.zeros(100), sample_rate=8000)
        trainer.log_histogram("values", torch.arange(10.0))

    logger = MLFlowLogger(tmp_path.name, "named", server.uri, {"kind": "test"}, log_model=True, prefix="p")
    checkpoint = ModelCheckpoint(tmp_path, filename="{step}", save_top_k=-1, every_n_train_steps=3)
    fit(logger, [checkpoint, At(2, log_all)], Net(notes="n" * 300), enable_checkpointing=True)
    assert threads
    assert threading.main_thread() not in threads

    client, run_id = MlflowClient(server.uri), logger.run_id
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.info.run_name == "named"
    assert run.data.tags["kind"] == "test"
    assert run.data.params == {"lr": "0.1", "notes": "n" * 300}
    assert [step for step, _ in history(client, run_id, "p-loss")] == list(range(6))
    assert history(client, run_id, "p-epoch") == [(step, step // 3) for step in range(6)]
    found = artifacts(client, run_id)
    for name in ("step=3", "step=6"):
        assert {f"{name}/{name}.ckpt", f"{name}/metadata.yaml", f"{name}/aliases.txt"} <= found
    for name in ("table/step_00000001.json", "text/step_00000001.md", "sound/step_00000001.wav"):
        assert f"media/{name}" in found
    assert any(path.startswith("images/image") and path.endswith(".png") for path in found)
    (tmp_path / "downloaded").mkdir()
    local = client.download_artifacts(run_id, "step=3/step=3.ckpt", str(tmp_path / "downloaded"))
    assert Path(local).read_bytes() == (tmp_path / "step=3.ckpt").read_bytes()
    assert not list(tmp_path.glob(".sending-*"))


def told_by(logger_name: str, caught: list[warnings.WarningMessage]) -> list[str]:
    return [str(warning.message) for warning in caught if logger_name in str(warning.message)]


class _Odd(http.server.BaseHTTPRequestHandler):
    """Answers with a status, once it is let go."""

    status = 500
    go = threading.Event()

    def do_GET(self) -> None:
        self.go.wait(30)
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def odd_server() -> Iterator[str]:
    _Odd.go.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Odd) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        _Odd.go.set()
        running.shutdown()
        thread.join()


def test_a_server_that_fails_is_reported_once(odd_server: str) -> None:
    _Odd.go.set()
    logger = MLFlowLogger(tracking_uri=odd_server)
    with pytest.warns(UserWarning, match="switched off for the rest of this run") as caught:
        net = fit(logger)
    assert len(caught) == 1
    assert "500" in str(caught[0].message)
    assert weights(net) == weights(fit(False))
    with pytest.raises(LoggingFailedError, match="500"):
        fit(MLFlowLogger(tracking_uri=odd_server, on_failure="raise"), max_epochs=1000)


def test_a_server_that_does_not_answer_is_waited_for_no_longer_than_asked(odd_server: str) -> None:
    logger = MLFlowLogger(tracking_uri=odd_server, drain_timeout=0.2)
    with pytest.warns(UserWarning, match="has not written 7 records") as caught:
        net = fit(logger)
    assert len(caught) == 1
    assert "drain_timeout" in str(caught[0].message)
    assert weights(net) == weights(fit(False))


def test_checkpoints_have_a_place_when_the_server_is_away(tmp_path: Path) -> None:
    logger = MLFlowLogger("digits", tracking_uri=f"http://user:secret@127.0.0.1:{free_port()}")
    with pytest.warns(UserWarning, match="switched off") as caught:
        fit(logger, enable_checkpointing=True, default_root_dir=tmp_path)
    assert "secret" not in str(caught[0].message).split("could not write")[0]
    assert logger.name == "digits"
    assert logger.version is not None and logger.version.startswith("unreached-")
    assert list((tmp_path / "digits" / logger.version / "checkpoints").glob("*.ckpt"))


def test_a_server_that_refuses_connections_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")  # with which its client takes minutes
    logger = MLFlowLogger("digits", tracking_uri=f"http://127.0.0.1:{free_port()}", on_failure="raise")
    for _ in range(2):
        with pytest.raises(LoggingFailedError, match=r"no server listens at http://127\.0\.0\.1"):
            fit(logger)


def test_what_a_server_did_not_take_in_time_is_raised_where_that_was_asked_for(odd_server: str) -> None:
    with pytest.raises(LoggingFailedError, match=r"has not written 7 records(.|\n)*`drain_timeout`"):
        fit(MLFlowLogger(tracking_uri=odd_server, on_failure="raise", drain_timeout=0.2))


def test_long_hyper_parameters_are_cut_and_kept_whole(store: dict[str, Any], tmp_path: Path) -> None:
    logger = MLFlowLogger(**store)
    with pytest.warns(UserWarning, match=r"'text' is cut there.*below `hparams`"):
        logger.log_hyperparams({"text": "t" * 7000, "lr": 0.1, "nested": {"a": [1, 2], "b": [{"c": 1}]}, "none": None})
    expected = {"text": "t" * 6000, "lr": "0.1", "nested/a": "[1, 2]", "nested/b/0/c": "1", "none": "None"}
    assert params(logger) == expected
    assert hparam_files(logger, tmp_path) == [{"text": "t" * 7000}]


def test_a_hyper_parameter_that_changes_stops_nothing(store: dict[str, Any], tmp_path: Path) -> None:
    logger = MLFlowLogger(**store)
    fit(logger, module=Net(lr=0.1))
    with pytest.warns(UserWarning, match=r"`lr` is '0.1' in this run") as caught:
        fit(logger, module=Net(lr=0.2))
    assert len(caught) == 1
    assert params(logger)["lr"] == "0.1"
    assert hparam_files(logger, tmp_path) == [{"lr": "0.2"}]
    resumed = MLFlowLogger(**store, run_id=logger.run_id)
    with pytest.warns(UserWarning, match=r"`lr` is '0.1' in this run"):
        resumed.log_hyperparams({"lr": 0.3, "notes": ""})
    assert len(hparam_files(logger, tmp_path)) == 2


def test_an_old_server_gets_what_it_takes(
    store: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE

    send = MlflowClient.log_batch

    def old(self: Any, run_id: str, metrics: Any = (), params: Any = (), **kwargs: Any) -> Any:
        if any(len(param.value) > 500 for param in params):
            raise MlflowException("exceeds 500 characters", error_code=INVALID_PARAMETER_VALUE)
        return send(self, run_id, metrics=metrics, params=params, **kwargs)

    monkeypatch.setattr(MlflowClient, "log_batch", old)
    logger = MLFlowLogger(**store)
    with pytest.warns(UserWarning, match="`text` is cut to 500 characters"):
        logger.log_hyperparams({**{f"p{number}": number for number in range(90)}, "text": "t" * 501})
    assert params(logger) == {**{f"p{number}": str(number) for number in range(90)}, "text": "t" * 500}
    assert hparam_files(logger, tmp_path) == [{"text": "t" * 501}]


@given(st.lists(st.text(st.sampled_from("ab./:- é#_\n")) | st.text(max_size=300), unique=True))
@pytest.mark.filterwarnings("ignore:MLflow takes letters")
def test_each_name_becomes_one_that_mlflow_takes_and_no_other_has(given_names: list[str]) -> None:
    from mlflow.utils.validation import _validate_metric_name, _validate_param_name

    names = Names()
    found = [names(name) for name in given_names]
    for name in found:
        _validate_metric_name(name)
        _validate_param_name(name)
        assert len(name) <= 250
    assert len(set(found)) == len(found)
    assert [names(name) for name in given_names] == found


def test_metrics_that_mlflow_does_not_take_stop_nothing(store: dict[str, Any]) -> None:
    logger = MLFlowLogger(**store)
    with pytest.warns(UserWarning, match="'a:b' is logged as 'ab'"):
        logger.log_metrics({"a:b": 1.0}, 3)
    with pytest.warns(UserWarning, match="'ab' is logged as 'ab_2'"):
        logger.log_metrics({"a:b": 1.5, "ab": torch.tensor(2)}, 4)
    with pytest.warns(UserWarning, match="Use `log_text`"):
        logger.log_metrics({"text": "t", "x": float("nan")})
    client = client_of(logger)
    assert history(client, logger.run_id, "ab") == [(3, 1.0), (4, 1.5)]
    assert history(client, logger.run_id, "ab_2") == [(4, 2.0)]
    assert [step for step, _ in history(client, logger.run_id, "x")] == [0]
    for metrics, remedy in (({"a": torch.ones(2)}, "value.mean"), ({3: 1.0}, 'Log it as `"3"`')):
        with pytest.raises(MisconfigurationException, match=remedy):
            logger.log_metrics(metrics)  # type: ignore[arg-type]


def test_many_metrics_are_sent_in_parts(store: dict[str, Any]) -> None:
    logger = MLFlowLogger(**store)
    logger.log_metrics({str(number): number for number in range(1100)}, 1)
    assert len(client_of(logger).get_run(logger.run_id).data.metrics) == 1100


class _Stops(Net):
    error: BaseException = KeyboardInterrupt()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.global_step == 2:
            raise self.error
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(("error", "expected"), [(KeyboardInterrupt(), "KILLED"), (ValueError("x"), "FAILED")])
def test_the_run_says_how_it_ended(store: dict[str, Any], error: BaseException, expected: str) -> None:
    net = _Stops()
    net.error = error
    logger = MLFlowLogger(**store, log_model=True)
    with pytest.raises(type(error)):
        fit(logger, module=net)
    assert status(logger) == expected
    assert len(history(client_of(logger), logger.run_id, "loss")) == 2


@pytest.mark.parametrize(("told", "expected"), [("success", "FINISHED"), ("failed", "FAILED"), ("aborted", "KILLED")])
def test_by_hand_a_run_ends_as_it_is_told(store: dict[str, Any], told: str, expected: str) -> None:
    logger = MLFlowLogger(**store)
    logger.finalize(told)
    assert logger._run.run_id is None, "a run that nobody has begun is not made to be ended"
    assert logger.run_id is not None
    logger.finalize(told)
    assert status(logger) == expected


def test_a_run_goes_on_under_its_id(store: dict[str, Any]) -> None:
    first = MLFlowLogger(**store)
    fit(first)
    assert status(first) == "FINISHED"
    second = MLFlowLogger(**store, run_id=first.run_id)
    assert (second.name, second.version) == (first.name, first.version)
    assert status(second) == "RUNNING"
    second.log_metrics({"loss": 0.5}, 9)
    second.finalize()
    assert status(second) == "FINISHED"
    assert [step for step, _ in history(client_of(second), first.run_id, "loss")] == [0, 1, 2, 3, 4, 5, 9]


def test_checkpoints_are_sent_that_are_deleted_by_then(store: dict[str, Any], tmp_path: Path) -> None:
    logger = MLFlowLogger(**store, log_model="all")
    go = threading.Event()
    checkpoint = ModelCheckpoint(tmp_path / "ckpt", filename="{step}", every_n_train_steps=1, save_top_k=1)
    callbacks = [At(1, lambda _: logger._background.submit(go.wait, 30)), At(6, lambda _: go.set()), checkpoint]
    fit(logger, callbacks, enable_checkpointing=True)
    assert [path.name for path in (tmp_path / "ckpt").iterdir()] == ["step=6.ckpt"]
    found = artifacts(client_of(logger), logger.run_id)
    assert {f"step={step}/step={step}.ckpt" for step in range(1, 7)} <= found


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda logger: pickle.loads(pickle.dumps(logger))])
def test_a_copy_goes_on_with_the_same_run(store: dict[str, Any], clone: Any) -> None:
    logger = MLFlowLogger(**store, log_model=True)
    logger.log_metrics({"a": 1.0}, 0)
    other = clone(logger)
    other.log_metrics({"a": 2.0}, 1)
    assert other.run_id == logger.run_id
    assert history(client_of(logger), logger.run_id, "a") == [(0, 1.0), (1, 2.0)]


def test_synchronous_calls_are_done_when_they_return(store: dict[str, Any]) -> None:
    logger = MLFlowLogger(**store, synchronous=True)
    seen = []

    def look(_: Any) -> None:
        seen.extend(history(client_of(logger), logger._run.run_id, "by hand"))

    class Logs(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            logger.log_metrics({"by hand": self.global_step}, self.global_step)
            return super().training_step(batch, batch_idx)

    fit(logger, [At(2, look)], module=Logs())
    assert seen == [(0, 0.0), (1, 1.0)]


def test_where_runs_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    logger = MLFlowLogger(save_dir=str(tmp_path / "mine"))
    assert logger.save_dir == str(tmp_path / "mine")
    assert (logger.root_dir, logger.log_dir) == (None, None)
    with pytest.raises(MisconfigurationException, match=r"sqlite:///mlflow\.db"):
        MLFlowLogger(tracking_uri="file:runs")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    assert MLFlowLogger()._tracking_uri == server.uri
    assert MLFlowLogger().save_dir is None


def test_local_runs_are_below_save_dir(tmp_path: Path) -> None:
    logger = MLFlowLogger("local", save_dir="mine")
    logger.log_metrics({"a": 1.0}, 0)
    logger.log_text("notes", "text", step=0)
    assert {path.name for path in tmp_path.iterdir()} == {"mine"}
    assert (tmp_path / "mine" / "mlflow.db").exists()
    found = list((tmp_path / "mine" / "artifacts").rglob("*.md"))
    assert [path.read_text() for path in found] == ["text"]


def test_options_without_a_meaning_are_refused(store: dict[str, Any]) -> None:
    with pytest.raises(MisconfigurationException, match="Pass True for the checkpoints"):
        MLFlowLogger(**store, log_model="last")  # type: ignore[arg-type]
    with pytest.raises(MisconfigurationException, match="x_axis='epoch'"):
        MLFlowLogger(**store, x_axis="epochs")  # type: ignore[arg-type]
    with pytest.raises(MisconfigurationException, match=r"vars\(config\)"):
        MLFlowLogger(**store).log_hyperparams("lr=0.1")  # type: ignore[arg-type]


def test_other_ranks_make_no_run(store: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", 1, raising=False)
    logger = MLFlowLogger(**store)
    logger.log_metrics({"a": 1.0}, 0)
    logger.log_hyperparams({"a": 1})
    logger.experiment.log_text(None, "", "")
    logger.finalize()
    assert (logger.run_id, logger.version) == (None, None)
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    assert MlflowClient(store["tracking_uri"]).get_experiment_by_name(store["experiment_name"]) is None


def test_the_time_of_training_as_x_axis_is_whole_seconds(store: dict[str, Any]) -> None:
    logger = MLFlowLogger(**store, x_axis="time")
    begun = time.monotonic()
    fit(logger)
    assert all(
        0 <= step <= time.monotonic() - begun + 1 for step, _ in history(client_of(logger), logger.run_id, "loss")
    )
    by_epoch = MLFlowLogger(**store, x_axis="epoch")
    fit(by_epoch)
    assert {step for step, _ in history(client_of(by_epoch), by_epoch.run_id, "loss")} == {0, 1}


def test_a_module_may_log_by_the_client(store: dict[str, Any]) -> None:
    class Own(Net):
        def on_train_end(self) -> None:
            self.logger.experiment.log_text(self.logger.run_id, "hi", "own.txt")

    logger = MLFlowLogger(**store)
    net: LightningModule = Own()
    fit(logger, module=net)  # type: ignore[arg-type]
    assert "own.txt" in artifacts(client_of(logger), logger.run_id)


@pytest.mark.parametrize("comes_back", [pytest.param(True, marks=pytest.mark.soak), False])
def test_a_server_that_is_killed_costs_nothing_but_what_it_did_not_get(
    server: Server, tmp_path: Path, comes_back: bool
) -> None:
    logger = MLFlowLogger(tmp_path.name, tracking_uri=server.uri, drain_timeout=30)
    acknowledged = []

    def kill(trainer: Any) -> None:
        logger._background.drain()
        acknowledged.extend(history(MlflowClient(server.uri), logger.run_id, "loss"))
        server.kill()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        net = fit(logger, [At(5, kill)], max_epochs=30)
    messages = told_by("MLFlowLogger", caught)
    assert len(messages) == 1, messages
    assert server.uri in messages[0]
    assert weights(net) == weights(fit(False, max_epochs=30))

    if comes_back:
        server.start()
    client = MlflowClient(server.uri if comes_back else server.store)
    assert len(acknowledged) >= 4
    assert history(client, logger.run_id, "loss") == acknowledged
