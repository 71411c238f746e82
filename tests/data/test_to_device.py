"""Batches on their way to the devices, ahead of the steps."""

import threading
import time

import pytest

from aufer_jax.data import loader


def test_to_device_keeps_order_and_runs_ahead():
    put = []

    def place(x):
        put.append(x)
        return -x

    with loader.to_device(iter(range(100)), place, ahead=3) as data:
        assert next(data) == 0
        time.sleep(0.1)
        assert put == [0, 1, 2, 3, 4]  # one taken, three ready, one waiting for room
        assert [next(data) for _ in range(99)] == [-x for x in range(1, 100)]
        for _ in range(2):
            with pytest.raises(StopIteration):
                next(data)


def test_to_device_passes_errors_on():
    def fail(x):
        raise KeyError(f"no device for {x}")

    with (
        loader.to_device(iter([1]), fail) as data,
        pytest.raises(KeyError, match="no device for 1"),
    ):
        next(data)


def test_to_device_counts_the_time_waited():
    def slow():
        for x in range(3):
            time.sleep(0.05)
            yield x

    with loader.to_device(slow(), lambda x: x) as data:
        list(data)
        assert data.waited_s > 0.1


def test_closing_stops_the_thread():
    before = threading.active_count()
    data = loader.to_device(iter(range(10**9)), lambda x: x)
    next(data)
    data.close()
    assert threading.active_count() == before
    with pytest.raises(StopIteration):
        next(data)
