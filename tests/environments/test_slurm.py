from __future__ import annotations

import os
import signal
from typing import Any

import pytest

from fulmen.environments.lightning import LightningEnvironment
from fulmen.environments.slurm import SLURMEnvironment
from fulmen.strategies.single_device import SingleDeviceStrategy
from fulmen.trainer.trainer import Trainer
from fulmen.utilities.exceptions import MisconfigurationException
from fulmen.utilities.rank_zero import rank_zero_only

JOB = {
    "SLURM_NTASKS": "1", "SLURM_JOB_ID": "1234567", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NODELIST": "gpu[03-05,9]", "SLURM_NTASKS_PER_NODE": "1",
    "SLURM_NNODES": "1",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("SLURM", "MASTER"))]:
        monkeypatch.delenv(name)
    for name, value in JOB.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 0, raising=False)


def test_numbers_are_those_of_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("NTASKS", "8"), ("PROCID", "6"), ("LOCALID", "2"), ("NODEID", "1")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    job = SLURMEnvironment()
    assert (job.world_size(), job.global_rank(), job.local_rank(), job.node_rank()) == (8, 6, 2, 1)
    assert (job.job_id(), job.job_name()) == (1234567, "train")
    assert job.creates_processes_externally
    job.set_world_size(3)
    assert job.world_size() == 8
    job.set_global_rank(6)
    assert rank_zero_only(lambda: "ran")() is None


def test_the_processes_meet_on_the_first_machine() -> None:
    job = SLURMEnvironment()
    assert (job.main_address, job.main_port) == ("gpu03", 19567)
    assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("gpu03", "19567")
    os.environ.update(MASTER_ADDR="10.0.0.1", MASTER_PORT="99")
    assert (job.main_address, job.main_port) == ("10.0.0.1", 99)


def test_without_a_list_of_machines_they_meet_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SLURM_NODELIST")
    monkeypatch.delenv("SLURM_JOB_ID")
    job = SLURMEnvironment()
    assert (job.main_address, job.main_port) == ("127.0.0.1", 12910)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("host", "host"), ("host1,host2", "host1"), ("node[5-9]", "node5"), ("node-[01,03]-a", "node-01-a"),
        ("a[1],b", "a1"), ("alpha,beta,gamma", "alpha"), ("host0 host1 host3", "host0"),
        ("gpu-a-[3-5,8],other[1-2]", "gpu-a-3"), ("", ""),
    ],
)  # fmt: skip
def test_the_first_machine_of_a_list(nodes: str, first: str) -> None:
    assert SLURMEnvironment.resolve_root_node_address(nodes) == first


def test_it_is_found_by_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(**flags: Any) -> type:
        return type(Trainer(accelerator="cpu", logger=False, **flags).strategy.cluster_environment)

    assert SLURMEnvironment.detect()
    assert found() is SLURMEnvironment
    assert found(strategy=SingleDeviceStrategy("cpu")) is SLURMEnvironment
    assert found(plugins=LightningEnvironment()) is LightningEnvironment
    for name in ("bash", "interactive"):
        monkeypatch.setenv("SLURM_JOB_NAME", name)
        assert not SLURMEnvironment.detect()
        assert SLURMEnvironment.job_id() is None
        assert found() is LightningEnvironment
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    monkeypatch.delenv("SLURM_NTASKS")
    assert not SLURMEnvironment.detect()
    assert found() is LightningEnvironment


def test_a_strategy_keeps_an_environment_of_its_own() -> None:
    class Mine(LightningEnvironment): ...

    strategy = SingleDeviceStrategy("cpu")
    strategy.cluster_environment = mine = Mine()
    assert Trainer(accelerator="cpu", logger=False, strategy=strategy).strategy.cluster_environment is mine


def test_as_many_tasks_as_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    SLURMEnvironment().validate_settings(num_devices=4, num_nodes=1)
    with pytest.raises(ValueError, match=r"(?s)devices=1 and num_nodes=1, in a job with 4 tasks.*--ntasks-per-node=1"):
        Trainer(accelerator="cpu", logger=False)
    monkeypatch.delenv("SLURM_NNODES")
    SLURMEnvironment().validate_settings(num_devices=2, num_nodes=2)


def test_srun_is_missed_where_there_are_several_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "2")
    with pytest.warns(UserWarning, match=r"(?s)2 tasks.*not started with `srun`.*`srun python.*LightningEnvironment"):
        SLURMEnvironment().validate_settings(num_devices=2, num_nodes=1)
    with pytest.raises(ValueError, match=r"Without `srun`.*`Trainer\(plugins=LightningEnvironment\(\)\)`"):
        SLURMEnvironment().validate_settings(num_devices=1, num_nodes=1)
    monkeypatch.setenv("SLURM_STEP_ID", "0")
    SLURMEnvironment().validate_settings(num_devices=2, num_nodes=1)
    with pytest.raises(ValueError) as raised:
        SLURMEnvironment().validate_settings(num_devices=1, num_nodes=1)
    assert "srun" not in str(raised.value)


@pytest.mark.parametrize(
    ("variable", "message"),
    [
        ("SLURM_NTASKS_PER_NODE", r"(?s)devices=1 and --ntasks-per-node=2.*`Trainer\(devices=2\)`, or `#SBATCH --nta"),
        ("SLURM_NNODES", r"(?s)num_nodes=1 and --nodes=2.*`Trainer\(num_nodes=2\)`, or `#SBATCH --nodes=1`"),
    ],
)
def test_job_and_trainer_ask_for_the_same(monkeypatch: pytest.MonkeyPatch, variable: str, message: str) -> None:
    SLURMEnvironment().validate_settings(num_devices=1, num_nodes=1)
    monkeypatch.setenv(variable, "2")
    with pytest.raises(ValueError, match=message):
        Trainer(accelerator="cpu", logger=False)
    monkeypatch.delenv(variable)
    Trainer(accelerator="cpu", logger=False)


@pytest.mark.parametrize("value", [None, "many"])
def test_a_number_that_is_missing(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    if value is None:
        monkeypatch.delenv("SLURM_PROCID")
    else:
        monkeypatch.setenv("SLURM_PROCID", value)
    with pytest.raises(RuntimeError, match=r"(?s)SLURM_PROCID.*Start the program with `srun`"):
        SLURMEnvironment().global_rank()


def test_the_signal_of_the_queue() -> None:
    job = SLURMEnvironment()
    assert (job.auto_requeue, job.requeue_signal) == (True, signal.SIGUSR1)
    job = SLURMEnvironment(auto_requeue=False, requeue_signal=signal.SIGHUP)
    assert (job.auto_requeue, job.requeue_signal) == (False, signal.SIGHUP)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP, 4000, "SIGUSR1"])
def test_a_signal_that_nobody_hears(number: Any) -> None:
    with pytest.raises(MisconfigurationException, match=r"(?s)that a process can hear.*requeue_signal=signal.SIGUSR1"):
        SLURMEnvironment(requeue_signal=number)


def test_steps_of_a_job_meet_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a port and a name of its own; jobs have, too."""
    job = SLURMEnvironment()
    ports, runs = set(), set()
    for number in ("1234567", "1234568", "1234569"):
        for step in ("", "0", "1", "2", "4294967290"):
            monkeypatch.setenv("SLURM_JOB_ID", number)
            monkeypatch.setenv("SLURM_STEP_ID", step)
            monkeypatch.delenv("MASTER_PORT", raising=False)
            ports.add(job.main_port)
            runs.add(job.run_id())
    assert len(ports) == 3 * 4  # the first step has the port of a job of one
    assert len(runs) == 3 * 5 and all(15000 <= port < 25000 for port in ports)
