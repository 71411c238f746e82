"""Writes the bill of materials: all that an installation without extras brings, with versions and licences.

    python .ci/sbom.py docs/sbom.json

CycloneDX 1.5. The versions are those of this environment; the checksums are of what each distribution lists
of its own installed files, so two installations can be compared without a network.
"""

import hashlib
import json
import pathlib
import re
import sys
from importlib import metadata

from packaging.requirements import Requirement

ROOT = "aufer-jax"


def name_of(text: str) -> str:
    return re.sub(r"[-_.]+", "-", text).lower()


def needed(root: str) -> dict[str, set[str]]:
    """Every distribution that `root` needs here, and what each of them needs."""
    found: dict[str, set[str]] = {}
    waiting = [(root, frozenset())]
    while waiting:
        name, extras = waiting.pop()
        wanted = set()
        for text in metadata.requires(name) or ():
            requirement = Requirement(text)
            markers = [{"extra": extra} for extra in (*extras, "")]
            if requirement.marker and not any(map(requirement.marker.evaluate, markers)):
                continue
            other = name_of(requirement.name)
            wanted.add(other)
            if other not in found:
                waiting.append((other, frozenset(requirement.extras)))
        found.setdefault(name_of(name), set()).update(wanted)
    return found


def component(name: str) -> dict:
    held = metadata.distribution(name)
    said = held.metadata
    licence = said.get("License-Expression") or said.get("License") or ""
    if "\n" in licence or len(licence) > 60 or not licence:
        classifiers = [c for c in said.get_all("Classifier") or () if c.startswith("License ::")]
        licence = classifiers[0].split(" :: ")[-1] if classifiers else "not stated"
    record = (held.read_text("RECORD") or "").splitlines()
    lines = sorted(line for line in record if ",sha256=" in line and ".dist-info/" not in line)
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    return {
        "type": "library",
        "bom-ref": name,
        "name": name,
        "version": held.version,
        "licenses": [{"license": {"name": licence}}],
        "hashes": [{"alg": "SHA-256", "content": digest}],
    }


def bill() -> dict:
    graph = needed(ROOT)
    ours = metadata.distribution(ROOT)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {"type": "library", "bom-ref": ROOT, "name": ROOT, "version": ours.version}
        },
        "components": [component(name) for name in sorted(graph) if name != ROOT],
        "dependencies": [
            {"ref": name, "dependsOn": sorted(wanted)} for name, wanted in sorted(graph.items())
        ],
    }


if __name__ == "__main__":
    pathlib.Path(sys.argv[1]).write_text(json.dumps(bill(), indent=1) + "\n")
