"""What this machine has of what the library needs, and what to do about the rest."""

import dataclasses
import glob
import importlib.metadata
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator

import numpy as np

from aufer_jax.datasets import catalog
from aufer_jax.train import devices, logs

GB = 1e9
LITTLE_DISK, LITTLE_MEMORY = 5 * GB, 4 * GB  # below: said
_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[(\w+)\])?.*extra == ['\"](\w+)['\"]")
_PLUGINS = {"cuda12": "jax-cuda12-plugin", "tpu": "libtpu"}  # what `jax[...]` installs
_FOR_DEVELOPERS = {"test", "bench", "docs"}
_SMALL = (64, 64)  # pixels of the video that is written and read


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `advice` is empty where all is well."""

    name: str
    found: str
    advice: str = ""


def examine() -> list[Finding]:
    """Looks at everything; a check that fails is a finding too."""
    findings: list[Finding] = []
    for check in (_versions, _devices, _codecs, _memory, _disk, _data, _extras):
        try:
            findings += check()
        except Exception as error:  # of a library that is broken: what this command is for
            name, reason = check.__name__.strip("_"), str(error).partition("\n")[0]
            findings.append(
                Finding(name, f"{type(error).__name__}: {reason}", "reinstall aufer-jax")
            )
    return findings


def text(findings: list[Finding]) -> str:
    """A line for each finding, what to do below it, and the sum."""
    width = max(len(finding.name) for finding in findings)
    lines = []
    for finding in findings:
        lines.append(f"{'!' if finding.advice else ' '} {finding.name:{width}}  {finding.found}")
        if finding.advice:
            lines.append(f"  {'':{width}}  -> {finding.advice}")
    count = sum(bool(finding.advice) for finding in findings)
    lines.append(f"to look at: {count}, marked with !" if count else "all is well")
    return "\n".join(lines)


def as_json(findings: list[Finding]) -> str:
    """The findings for programs."""
    return json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2)


def _versions() -> Iterator[Finding]:
    versions = {name: logs.version(name) for name in logs.PACKAGES}
    yield Finding("python", f"{sys.version.split()[0]} on {sys.platform}")
    for name, found in versions.items():
        yield Finding(name, found or "not installed", "" if found else f"pip install {name}")


def _devices() -> Iterator[Finding]:
    import jax
    import jax.numpy as jnp

    try:
        found = jax.devices()
    except (AssertionError, RuntimeError) as error:
        wanted = os.environ.get("JAX_PLATFORMS", "")
        advice = f"JAX_PLATFORMS is {wanted!r}: unset it, or install JAX for that device"
        yield Finding("devices", str(error).partition("\n")[0] or "none", advice)
        return
    platform = found[0].platform
    advice = ""
    if platform == "cpu" and glob.glob("/dev/nvidia[0-9]*"):
        advice = "there is an NVIDIA GPU that JAX does not use: pip install 'aufer-jax[cuda]'"
    elif platform == "cpu" and glob.glob("/dev/accel*"):
        advice = "there is a TPU that JAX does not use: pip install 'aufer-jax[tpu]'"
    yield Finding("devices", f"{len(found)} x {found[0].device_kind} ({platform})", advice)
    began, side = time.perf_counter(), 1024
    ones = jnp.ones((side, side))
    good = bool((jax.jit(jnp.matmul)(ones, ones) == side).all())
    took = time.perf_counter() - began
    advice = "" if good else "JAX computes wrong numbers here: reinstall it, or its driver"
    yield Finding("computing", f"a {side} x {side} product, compiled: {took:.1f} s", advice)
    for device in found:
        stats = device.memory_stats() if platform != "cpu" else None
        if stats and "bytes_limit" in stats:
            yield Finding(f"memory of {device}", f"{stats['bytes_limit'] / GB:.1f} GB")


def _codecs() -> Iterator[Finding]:
    import cv2
    from PIL import features

    image = np.zeros((*_SMALL, 3), np.uint8)
    readable = [
        ext for ext in (".jpg", ".png", ".webp", ".tif", ".bmp") if cv2.imencode(ext, image)[0]
    ]
    more = [name for name in ("webp", "avif") if features.check(name)]
    yield Finding("pictures", f"{' '.join(readable)}; Pillow: {' '.join(more) or 'no more'}")
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder) / "x.mp4")
        writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), 25, _SMALL)
        for _ in range(3):
            writer.write(image)
        writer.release()
        reader, count = cv2.VideoCapture(path), 0
        while reader.read()[0]:
            count += 1
        reader.release()
    advice = "" if count == 3 else "videos cannot be read: pip install opencv-python-headless"
    yield Finding("videos", "written and read" if not advice else f"{count} of 3 frames", advice)


def _memory() -> Iterator[Finding]:
    yield Finding("cores", str(len(devices.cores())))
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:  # Windows
        yield Finding("memory", "this system does not say")
        return
    page = os.sysconf("SC_PAGE_SIZE")
    total = page * os.sysconf("SC_PHYS_PAGES")
    free = page * os.sysconf("SC_AVPHYS_PAGES") if "SC_AVPHYS_PAGES" in os.sysconf_names else total
    advice = "use a small network and small batches" if total < LITTLE_MEMORY else ""
    yield Finding("memory", f"{total / GB:.1f} GB, {free / GB:.1f} GB unused", advice)


def _disk() -> Iterator[Finding]:
    import jax

    cache = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    places = {
        "runs, here": pathlib.Path.cwd(),
        "data": catalog.root(None),
        "compiled programs": pathlib.Path(cache) if cache else None,
    }
    for name, folder in places.items():
        if folder is None:
            continue
        there = next(path for path in (folder, *folder.parents) if path.exists())
        free, advice = shutil.disk_usage(there).free, ""
        if not os.access(there, os.W_OK):
            advice = "it cannot be written" + (
                f"; set ${catalog.DATA_VARIABLE}" if name == "data" else ""
            )
        elif free < LITTLE_DISK:
            advice = "little space is left"
        yield Finding(name, f"{folder}: {free / GB:.0f} GB free", advice)


def _data() -> Iterator[Finding]:
    for name in catalog.names():
        if catalog.is_drawn(name) and catalog.prepared(name, None) is None:
            continue
        try:
            counts = catalog.info(name).splits
            yield Finding(
                f"dataset {name}", ", ".join(f"{split} {n}" for split, n in counts.items())
            )
        except (ValueError, OSError, KeyError) as error:
            reason = str(error).partition("\n")[0]
            yield Finding(
                f"dataset {name}", reason, f"aufer data remove {name}, and prepare it again"
            )


def _extras() -> Iterator[Finding]:
    extras: dict[str, list[str]] = {}
    for line in importlib.metadata.requires("aufer-jax") or ():
        if match := _REQUIREMENT.match(line):
            package, plugin, extra = match.groups()
            extras.setdefault(extra, []).append(_PLUGINS.get(plugin, package))
    for extra in sorted(extras.keys() - _FOR_DEVELOPERS):
        missing = [name for name in extras[extra] if logs.version(name) is None]
        found = f"not installed: pip install 'aufer-jax[{extra}]'" if missing else "installed"
        yield Finding(f"extra {extra}", found)
