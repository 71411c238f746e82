"""What a server has done so far, as Prometheus reads it."""

import collections
import os
import pathlib
import threading
from collections.abc import Iterable, Mapping

TYPE = "text/plain; version=0.0.4; charset=utf-8"
# Upper bounds in seconds.
BUCKETS = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counts that any thread may add to."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: collections.Counter[tuple[str, int]] = collections.Counter()
        self._times: dict[str, list[int]] = {}
        self._seconds: collections.defaultdict[str, float] = collections.defaultdict(float)
        self._counts: collections.Counter[str] = collections.Counter()

    def request(self, path: str, status: int, seconds: float) -> None:
        """One request of a known path has been answered."""
        place = sum(seconds > bound for bound in BUCKETS)
        with self._lock:
            self._requests[path, status] += 1
            self._times.setdefault(path, [0] * (len(BUCKETS) + 1))[place] += 1
            self._seconds[path] += seconds

    def add(self, name: str, count: int = 1) -> None:
        """Adds to "faces", "pictures" or "batches"."""
        with self._lock:
            self._counts[name] += count

    def text(self, queue: int, held: int) -> str:
        """All of it; `queue`: what waits, `held`: bytes of uploads in memory."""
        with self._lock:
            lines = list(self._lines())
        lines += _family("queue_length", "gauge", "pictures and clips that wait", {"": queue})
        lines += _family("upload_bytes", "gauge", "of uploads in memory", {"": held})
        lines += _family("resident_bytes", "gauge", "memory of this process", {"": resident()})
        return "\n".join(lines) + "\n"

    def _lines(self) -> Iterable[str]:
        answered = {
            f'{{path="{path}",status="{status}"}}': count
            for (path, status), count in sorted(self._requests.items())
        }
        yield from _family("requests_total", "counter", "requests by path and status", answered)
        yield from _head(
            "request_seconds", "histogram", "from a request's head to its answer's end"
        )
        for path, counts in sorted(self._times.items()):
            total = 0
            for bound, count in zip((*map(str, BUCKETS), "+Inf"), counts, strict=True):
                total += count
                yield f'aufer_request_seconds_bucket{{path="{path}",le="{bound}"}} {total}'
            yield f'aufer_request_seconds_sum{{path="{path}"}} {self._seconds[path]:.6f}'
            yield f'aufer_request_seconds_count{{path="{path}"}} {total}'
        for name, told in (
            ("faces", "faces found"),
            ("pictures", "pictures and frames predicted"),
            ("batches", "predictions, each of one picture or several"),
        ):
            yield from _family(f"{name}_total", "counter", told, {"": self._counts[name]})


def _head(name: str, kind: str, told: str) -> list[str]:
    return [f"# HELP aufer_{name} {told}", f"# TYPE aufer_{name} {kind}"]


def _family(name: str, kind: str, told: str, values: Mapping[str, float]) -> list[str]:
    lines = [f"aufer_{name}{labels} {value}" for labels, value in values.items()]
    return [*_head(name, kind, told), *lines]


def resident() -> int:
    """Bytes of memory that this process has; 0 where the system does not say."""
    try:
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
