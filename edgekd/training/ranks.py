"""The processes that train one run together: who they are, and what the first of them does for all.

They are started by ``edgekd.training.launch``, by torchrun or by Slurm's srun, which all say the same things in
environment variables. Everything written is written by rank 0, and whatever could come out differently on two
machines (scores, the choice of a precision) is found by rank 0 and told to the others as JSON.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments import ClusterEnvironment, SLURMEnvironment, TorchElasticEnvironment

from edgekd.errors import EdgekdError, Exit, InputError, MachineError

ACCELERATORS = ("auto", "cpu", "gpu")
STRATEGIES = ("ddp", "ddp_find_unused_parameters_true")
PATIENCE = timedelta(days=1)  # of those who wait; rank 0 may be reading pictures. A rank that died is known at once.
T = TypeVar("T")


class PeerGoneError(MachineError):
    """Another process of this run ended; its own error tells why."""


@dataclass(frozen=True)
class Processes:
    """How many processes train, where, and how they agree.

    Raises:
        InputError: less than one, or an unknown word.
        MachineError: GPUs that this machine lacks.
    """

    devices: int = 1
    nodes: int = 1
    accelerator: str = "auto"
    strategy: str = "ddp"

    def __post_init__(self) -> None:
        for flag, value, known in (
            ("--accelerator", self.accelerator, ACCELERATORS),
            ("--strategy", self.strategy, STRATEGIES),
        ):
            if value not in known:
                raise InputError(f"{flag} {value!r} is unknown", f"it is one of {', '.join(known)}")
        if self.devices < 1 or self.nodes < 1:
            raise InputError(f"{self.devices} devices on {self.nodes} nodes cannot train", "one of each is the least")
        gpus = torch.cuda.device_count()
        if self.on_gpu and self.devices > gpus:
            raise MachineError(
                f"--devices {self.devices} needs as many GPUs",
                f"torch finds {gpus} on this machine",
                f"--devices {gpus}, or --accelerator cpu" if gpus else "--accelerator cpu",
            )

    @property
    def count(self) -> int:
        return self.devices * self.nodes

    @property
    def on_gpu(self) -> bool:
        return self.accelerator == "gpu" or (self.accelerator == "auto" and torch.cuda.is_available())

    def must_be_launched(self) -> bool:
        """Whether nobody has started them yet, and they can be started from here.

        Raises:
            InputError: another number was started than is asked for; more than one node, and none was started.
        """
        outside = _environment()
        found = outside.world_size() if outside else 1
        if found > 1 and found != self.count:
            raise InputError(
                f"{found} processes were started for {self.count}",
                f"--devices {self.devices} times --nodes {self.nodes} is what every one of them must know",
                "give torchrun or srun and edgekd the same numbers",
            )
        if found == self.count:
            return False
        if self.nodes > 1:
            raise InputError(
                f"--nodes {self.nodes}, and this is one process on one of them",
                "the processes of several nodes are started by torchrun or srun, on every node",
                f"torchrun --nnodes {self.nodes} --nproc-per-node {self.devices} ... (docs/scaling.md)",
            )
        return True


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together. ``environment`` is None where it is alone."""

    rank: int = 0
    count: int = 1
    environment: ClusterEnvironment | None = None

    @property
    def first(self) -> bool:
        return self.rank == 0

    def once(self, make: Callable[[], T]) -> T:
        """What rank 0 makes, on every rank; an EdgekdError that it raises is raised on every one.

        Args:
            make: gives plain JSON data; called on rank 0 alone.
        """
        if self.count == 1:
            return make()
        if not self.first:
            return self._told()
        try:
            made = make()
        except EdgekdError as error:
            self._tell({"error": [int(error.code), error.what, error.why, error.fix]})
            raise
        self._tell({"made": made})
        return made

    def wait(self) -> None:
        """Until every rank is here."""
        if self.count > 1:
            with self.together():
                dist.barrier()

    def mean(self, values: Sequence[float]) -> list[float]:
        """Of each value over the ranks."""
        if self.count == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64)
        with self.together():
            dist.all_reduce(total)
        return [float(value) for value in total / self.count]

    def average_buffers(self, module: torch.nn.Module) -> None:
        """Gives every rank the mean of the floating-point buffers: BatchNorm's running statistics."""
        if self.count == 1:
            return
        with self.together():
            for buffer in module.buffers():
                if buffer.is_floating_point():
                    dist.all_reduce(buffer)
                    buffer.div_(self.count)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Where the ranks talk to each other: the death of one is an error of its own for the rest."""
        try:
            yield
        except EdgekdError:
            raise
        except RuntimeError as error:  # gloo's has no type of its own
            lost = isinstance(error, dist.DistError) or "gloo" in str(error)
            if self.count == 1 or not lost:
                raise
            raise PeerGoneError(
                "another process of this run is gone",
                str(error).strip().splitlines()[0],
                "see what it said; --resume goes on from the last finished epoch",
            ) from error

    def _tell(self, message: dict[str, Any]) -> None:
        content = torch.frombuffer(bytearray(json.dumps(message, default=float).encode()), dtype=torch.uint8)
        with self.together():
            dist.broadcast(torch.tensor([len(content)]), 0)
            dist.broadcast(content, 0)

    def _told(self) -> Any:
        size = torch.zeros(1, dtype=torch.int64)
        with self.together():
            dist.broadcast(size, 0)
            content = torch.empty(int(size), dtype=torch.uint8)
            dist.broadcast(content, 0)
        message = json.loads(content.numpy().tobytes())
        if "error" not in message:
            return message["made"]
        code, *texts = message["error"]
        error = EdgekdError(*texts)
        error.code = Exit(code)
        raise error


ALONE = Ranks()


def join(processes: Processes) -> Ranks:
    """Meets the other processes. Called again in the same process, it finds them met."""
    environment = _environment()
    if processes.count == 1 or environment is None:
        return ALONE
    if not dist.is_initialized():
        os.environ["MASTER_ADDR"] = environment.main_address
        os.environ["MASTER_PORT"] = str(environment.main_port)
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if processes.on_gpu else "gloo",
            rank=environment.global_rank(),
            world_size=environment.world_size(),
            timeout=PATIENCE,
        )
    return Ranks(environment.global_rank(), environment.world_size(), environment)


def is_first() -> bool:
    """Whether this process is the one that speaks: rank 0, or alone."""
    environment = _environment()
    return environment is None or environment.global_rank() == 0


def _environment() -> ClusterEnvironment | None:
    """What started this process as one of several, if anything did. A batch script's own process is not one."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if "SLURM_STEP_ID" in os.environ and SLURMEnvironment.detect():
        return SLURMEnvironment(auto_requeue=False)
    return None
