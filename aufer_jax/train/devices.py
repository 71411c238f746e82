"""Processes, devices and the two ways a step is compiled: `jit` over a mesh, or `pmap`."""

import ctypes
import dataclasses
import functools
import glob
import logging
import os
import pathlib
import platform
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AbstractMesh, AxisType, Mesh, NamedSharding, PartitionSpec

from aufer_jax import errors, parallel
from aufer_jax.data.cores import cores as cores
from aufer_jax.models import ops
from aufer_jax.train import logs, peers

log = logging.getLogger(__name__)

AXIS = "data"
MODES = ("jit", "pmap")
# Bytes of a step. Of 0.8 GB, to return large arrays saves nothing and takes 5 % more time; of 2.5 GB it saves
# a tenth of the memory for a tenth of the time, in few steps: docs/benchmarks.md, "Memory of a step".
LARGE_STEP = 1 << 30
# XLA's pass for CPUs that takes away what stands between a value and the same one computed again: it would
# then keep the first. `pmap` has no such options.
_APART = {"xla_disable_hlo_passes": "cse_barrier_expander"}


def begin(*, alone: bool = False) -> None:
    """What a program does before anything else; `alone`: it does not train with other processes."""
    logs.to_terminal()
    use_compilation_cache()
    if not alone:
        keep_freed_memory()
        start_processes()
    try:
        jax.devices()
    except (AssertionError, RuntimeError) as error:
        if wanted := os.environ.get("JAX_PLATFORMS"):
            text = str(error).partition("\n")[0] or "JAX finds no such device"
            raise errors.UserError(
                f"JAX_PLATFORMS: {wanted!r} cannot be used here: {text}"
            ) from None
        raise


def use_compilation_cache() -> None:
    """Compiled programs are kept between runs, in $JAX_COMPILATION_CACHE_DIR or the user's cache."""
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        folder = pathlib.Path.home() / ".cache" / "aufer_jax" / "compiled"
        jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def keep_freed_memory() -> None:
    """On a host without accelerator: large arrays of one step are the next step's, without page faults.

    Memory that XLA frees goes back to the system by default and is faulted in again at every step, a third
    of a small model's time. Must come before JAX starts its threads; glibc only, elsewhere nothing happens.
    """
    if _is_host_of_glibc():
        libc = ctypes.CDLL(None)
        for parameter, value in ((-4, 0), (-1, -1), (-8, 1)):  # no mmap, no trimming, one arena
            libc.mallopt(parameter, value)


def _is_host_of_glibc() -> bool:
    """Linux with glibc, and no accelerator."""
    patterns = ("/dev/nvidia[0-9]*", "/dev/accel*", "/dev/vfio/*")
    linux = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
    return linux and not any(map(glob.glob, patterns))


def step_memory(step: Any, *given: Any) -> int:
    """Bytes that a compiled step takes on a device: what it is given and returns, and all between.

    It is compiled here, and not again when it is called. 0: the backend does not say.
    """
    stats = step.lower(*given).compile().memory_analysis()
    if stats is None:
        return 0
    given_and_returned = stats.argument_size_in_bytes + stats.output_size_in_bytes
    return given_and_returned - stats.alias_size_in_bytes + stats.temp_size_in_bytes


def return_large_memory(step_bytes: int) -> None:
    """Undoes `keep_freed_memory` for the large arrays of a run whose step is large.

    Kept, they fragment: the run takes twice the memory of its step and more. Returned, they are faulted in
    again, which is little beside the time that so large a step computes.
    """
    if step_bytes > LARGE_STEP and _is_host_of_glibc():
        libc = ctypes.CDLL(None)
        for parameter, value in ((-3, 32 << 20), (-4, 65536)):  # mmap from 32 MiB on
            libc.mallopt(parameter, value)


def start_processes(environment: dict[str, str] | None = None) -> None:
    """Joins the other processes of the run, if the environment says that there are any.

    Explicit: AUFER_COORDINATOR (host:port), AUFER_PROCESSES, AUFER_PROCESS. Otherwise SLURM (more than
    one task) and TPU slices are recognised by JAX itself. One process alone needs nothing.
    """
    env = dict(os.environ if environment is None else environment)
    if jax.distributed.is_initialized():
        return
    if "AUFER_COORDINATOR" in env:
        missing = [key for key in ("AUFER_PROCESSES", "AUFER_PROCESS") if key not in env]
        if missing:
            raise errors.UserError(f"AUFER_COORDINATOR is set but {', '.join(missing)} is not")
        jax.distributed.initialize(
            coordinator_address=env["AUFER_COORDINATOR"],
            num_processes=_number(env, "AUFER_PROCESSES"),
            process_id=_number(env, "AUFER_PROCESS"),
        )
    elif _is_slurm_job(env) or "," in env.get("TPU_WORKER_HOSTNAMES", ""):
        jax.distributed.initialize()
    else:
        return
    peers.watch()
    log.info("process %d of %d", jax.process_index(), jax.process_count())


def _number(env: dict[str, str], key: str) -> int:
    if not env[key].isdecimal():
        raise errors.UserError(f"{key}: {env[key]!r} is not a number")
    return int(env[key])


def _is_slurm_job(env: dict[str, str]) -> bool:
    return "SLURM_PROCID" in env and int(env.get("SLURM_STEP_NUM_TASKS", "1")) > 1


@dataclasses.dataclass(frozen=True)
class Devices:
    """All devices of the run, and how steps are compiled for them.

    Rows are split over all of them. The state is on each of them, or spread over those of the mesh's axis
    `parallel.SHARED`, if it has one. An `AbstractMesh` has no devices: steps are lowered for its
    `platform`, and run nowhere.
    """

    mode: str
    mesh: Mesh | AbstractMesh
    sync_batchnorm: bool = True
    platform: str = ""  # "cpu", "cuda" or "tpu"; empty: the devices'

    @property
    def count(self) -> int:
        """How many there are, over all processes."""
        return self.mesh.size

    @property
    def members(self) -> list[Any]:
        """The devices themselves; none of an abstract mesh."""
        return [] if isinstance(self.mesh, AbstractMesh) else list(self.mesh.devices.flat)

    @property
    def lowered_for(self) -> str:
        """The platform that steps are traced for, whatever this machine's own is."""
        return self.platform or self.members[0].platform

    @property
    def split(self) -> parallel.Split:
        """How a step on these devices sees its batch."""
        if self.mode == "pmap":
            return parallel.Split(axis=AXIS, sync_stats=self.sync_batchnorm)
        groups = 1 if self.sync_batchnorm else self.count
        return parallel.Split(stat_groups=groups, mesh=self.mesh if self.sharing > 1 else None)

    @property
    def sharing(self) -> int:
        """How many devices share one copy of the state."""
        return self.mesh.shape.get(parallel.SHARED, 1)

    @property
    def replicated(self) -> NamedSharding:
        """The sharding of what is the same on every device."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def sharded(self) -> NamedSharding:
        """The sharding of what is split by rows."""
        return NamedSharding(self.mesh, PartitionSpec(self.mesh.axis_names))

    def shardings(self, state: Any) -> Any:
        """The sharding of each array of a state, or of a part of one."""
        return jax.tree.map(
            lambda x: NamedSharding(self.mesh, parallel.shares(np.shape(x), self.sharing)), state
        )

    def check_batch(self, size: int, what: str) -> None:
        """Raises where rows cannot be shared out evenly."""
        if size % self.count:
            raise errors.UserError(f"{what}: {size} is not a multiple of the {self.count} devices")

    def put_batch(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """This process's rows of a batch -> arrays over all devices."""
        if self.mode == "pmap":
            local = sum(one.process_index == jax.process_index() for one in self.members)
            batch = {k: v.reshape(local, -1, *v.shape[1:]) for k, v in batch.items()}
        sharding = self.sharded
        return {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()}

    def put_state(self, state: Any) -> Any:
        """The same values, known to every process, on the devices as those of a state are."""

        def put(value: Any, sharding: NamedSharding) -> jax.Array:
            array = np.asarray(value)
            return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

        return jax.tree.map(put, state, self.shardings(state))

    def compile_train(
        self, step: Callable, state: Any, seed: np.ndarray, *, remat: bool = False
    ) -> "SeededStep":
        """step(state, batch, seed) -> (state, logged), with this seed; the state's buffers are donated.

        `state` has the shapes of one. `remat`: the step computes some of its values again (`train.remat`).
        """
        step = self._traced(step, "train_step")
        if self.mode == "pmap":
            program = jax.pmap(
                step, AXIS, in_axes=(None, 0, None), out_axes=None,
                devices=self.members, donate_argnums=(0,),
            )  # fmt: skip
        else:
            held = self.shardings(state)
            program = jax.jit(
                step,
                in_shardings=(held, self.sharded, self.replicated),
                out_shardings=(held, self.replicated),
                donate_argnums=(0,),
                compiler_options=_APART if remat and self.lowered_for == "cpu" else None,
            )
        return SeededStep(program, seed, self.put_state)

    def compile_eval(self, step: Callable, state: Any) -> Callable:
        """step(params, model_state, batch) -> counts; `state` has the shapes of these two."""
        step = self._traced(step, "eval_step")
        if self.mode == "pmap":
            return jax.pmap(
                step, AXIS, in_axes=(None, None, 0), out_axes=None,
                devices=self.members,
            )  # fmt: skip
        return jax.jit(
            step,
            in_shardings=(*self.shardings(state), self.sharded),
            out_shardings=self.replicated,
        )

    def _traced(self, step: Callable, name: str) -> Callable:
        """The step, traced for these devices, under a name that profiles show."""

        def traced(*given: Any) -> Any:
            with ops.traced_for(self.lowered_for):
                return step(*given)

        traced.__name__ = name
        return traced


@dataclasses.dataclass
class SeededStep:
    """A compiled step(state, batch) with its seed; runs of other seeds find its program in the cache."""

    program: Any  # of (state, batch, seed)
    seed: np.ndarray
    put: Callable[[np.ndarray], jax.Array]  # to the devices

    @functools.cached_property
    def _placed(self) -> jax.Array:
        with jax.transfer_guard("allow"):  # at the first step only
            return self.put(self.seed)

    def __call__(self, state: Any, batch: Any) -> Any:
        return self.program(state, batch, self._placed)

    def trace(self, state: Any, batch: Any) -> Any:
        """As that of a jitted function, of shapes too."""
        return self.program.trace(state, batch, self.seed)

    def lower(self, state: Any, batch: Any) -> Any:
        """As that of a jitted function, of shapes too."""
        return self.program.lower(state, batch, self.seed)


def create(
    mode: str = "jit",
    *,
    sync_batchnorm: bool = True,
    fsdp: int = 1,
    devices: Sequence[Any] | None = None,
) -> Devices:
    """All devices (or the given ones); `fsdp` neighbours share one copy of the state."""
    if mode not in MODES:
        raise errors.unknown("train.parallel", mode, MODES)
    chosen = jax.devices() if devices is None else devices
    lengths, axes = _axes(len(chosen), fsdp)
    types = (AxisType.Auto,) * len(axes)
    mesh = jax.make_mesh(lengths, axes, axis_types=types, devices=tuple(chosen))
    return Devices(mode, mesh, sync_batchnorm)


def abstract(platform: str, count: int, *, sync_batchnorm: bool = True, fsdp: int = 1) -> Devices:
    """So many devices of a platform that need not be there, for steps that are lowered only.

    >>> dict(abstract("tpu", 8, fsdp=4).mesh.shape)
    {'data': 2, 'fsdp': 4}
    """
    lengths, axes = _axes(count, fsdp)
    mesh = AbstractMesh(lengths, axes, axis_types=(AxisType.Auto,) * len(axes))
    return Devices("jit", mesh, sync_batchnorm, platform)


def _axes(count: int, fsdp: int) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Lengths and names of the mesh's axes."""
    if count % fsdp:
        raise errors.UserError(f"train.fsdp: {fsdp} does not divide the {count} devices")
    return ((count,), (AXIS,)) if fsdp == 1 else ((count // fsdp, fsdp), (AXIS, parallel.SHARED))


def tpu_slice(topology: str) -> list[Any]:
    """The devices of a TPU slice that is not there, such as "v5e:2x4": for programs that nobody runs."""
    from jax.experimental import topologies

    try:
        return list(topologies.get_topology_desc(topology, "tpu").devices)
    except Exception as error:  # whatever libtpu comes up with, or that there is none
        text = str(error).partition("\n")[0]
        raise errors.UserError(
            f"slice: {topology!r} cannot be compiled for: {text[:120]}; it needs pip install "
            "'aufer-jax[tpu]' and a name such as v5e:2x4"
        ) from None


def fetch(tree: Any) -> Any:
    """The values of arrays in NumPy; of what is spread over processes too, so all of them call it."""
    return jax.tree.map(lambda x: np.asarray(one_copy(x)), tree)


def one_copy(array: Any) -> Any:
    """An array of which this process has all: itself, its copy here, or gathered from other processes."""
    if not isinstance(array, jax.Array) or array.is_fully_addressable:
        return array
    if array.is_fully_replicated:
        return array.addressable_data(0)
    return multihost_utils.process_allgather(array, tiled=True)


def is_first() -> bool:
    """Whether this process writes what a run says about itself."""
    return jax.process_index() == 0
