"""What `aufer serve` does: loads a network, warms it up, says where it listens, and serves."""

import os

import numpy as np

from aufer_jax import synth
from aufer_jax.runs import Predictor, pictures, prediction
from aufer_jax.serve import app, guard, server
from aufer_jax.serve.limits import Limits
from aufer_jax.synth.face import au_vector

_WARM = 160  # pixels of a drawn picture


def run(model: str, host: str, port: int, names: tuple[str, ...], limits: Limits) -> None:
    """Serves until CTRL-C or SIGTERM."""
    # Every reader of pictures and videos counts by it, before it decodes.
    os.environ["AUFER_MOST_PIXELS"] = str(limits.pixels * 10**6)
    with server.listen(host, port) as listening:
        network = Predictor.load(model)
        print(f"{network.name}: getting ready ...", flush=True)
        warm(network, limits)
        address = f"http://{_shown(host)}:{listening.getsockname()[1]}"
        only_here = guard.is_loopback(host)
        heard = ("localhost", "127.0.0.1", "[::1]", _shown(host).lower(), *names)
        built = app.build(network, limits, heard if only_here or names else ())

        def ready() -> None:
            print(f"{address}    CTRL-C ends it", flush=True)
            if not only_here:
                print(_open_to_others(host), flush=True)

        server.Server(built, limits, ready, built.worker.end).run(sockets=[listening])
    print("ended", flush=True)


def warm(network: Predictor, limits: Limits) -> None:
    """Compiles what the first visitors would wait for."""
    who = synth.sample_identity(np.random.default_rng(0))
    drawn = synth.render(who, au_vector({}), synth.Camera(), size=_WARM, seed=0).image
    for count in sorted({1, min(4, limits.batch), limits.batch}):
        found: list[pictures.Item] = [(f"array {i}", drawn) for i in range(count)]
        list(prediction.stream(network, found, lambda line: None, prediction.Options()))


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _open_to_others(host: str) -> str:
    return (
        f"--host {host}: whoever reaches this machine can use it, unencrypted and without a password; "
        "docs/serve.md says how to stand a proxy before it"
    )
