"""The report of a run: what it says, that it is whole in itself, and how a browser shows it."""

import csv
import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import types
import urllib.error
import urllib.request
from html.parser import HTMLParser
from threading import Thread

import browser
import finished
import numpy as np
import places
import pytest

from aufer_jax import pages
from aufer_jax.errors import UserError
from aufer_jax.pages import looks, watch
from aufer_jax.runs import predictions

NAMES = ("neutral", "happiness", "sadness")
CONFUSION = [[6, 1, 0], [0, 8, 0], [2, 0, 3]]  # 17 of 20


def rows(confusion):
    """A table of predictions with these counts, of records r0, r1, ..."""
    found = []
    for true, predicted in np.ndindex(3, 3):
        for _ in range(confusion[true][predicted]):
            row = {"file": f"r{len(found)}", "label": NAMES[true], "predicted": NAMES[predicted]}
            row |= {name: 0.7 if name == NAMES[predicted] else 0.15 for name in NAMES}
            found.append({**row, "AU06": 0.9 * (predicted == 1), "AU12": 0.8 * (predicted == 1)})
    return found


def write(folder, confusion=CONFUSION, table=None, epochs=2, finished=True):
    folder.mkdir()

    def save(name, value):
        (folder / name).write_text(json.dumps(value))

    save(
        "config.json",
        {"method": "auvit", "seed": 3, "data": {"target": "mine", "size": 64, "batch_size": 8},
         "model": {"name": "auvit_small"}, "train": {"epochs": 4, "best_metric": "uar"}},
    )  # fmt: skip
    save("environment.json", {"commit": "abc123", "devices": "1 x cpu", "packages": {"jax": "1.2"}})
    save("labels.json", {"kind": "image", "expressions": NAMES, "aus": [6, 12]})
    save("resources.json", {"seconds": 100.0, "peak_host_bytes": 1_500_000_000, "joules": 7200})
    lines = []
    for epoch in range(1, epochs + 1):
        lines.append(
            {
                "split": "train",
                "step": epoch,
                "epoch": epoch,
                "loss": 1 / epoch,
                "lr": 0.1,
                "seconds": 30,
            }
        )
        lines.append(
            {"split": "validation", "step": epoch, "epoch": epoch, "accuracy": 0.5, "uar": 0.4}
        )
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + '{"split": "tr')  # a line that is being written
    if finished:
        matrix = np.array(confusion)
        values = {
            "accuracy": np.trace(matrix) / matrix.sum(), "uar": 0.8, "ece": 0.05, "confusion": confusion,
            "calibration": [[0, 0, 0], [20, 0.7, 0.85]], "recall/happiness": 1.0,
            "au_f1": 0.6, "au_f1/AU06": 0.5, "au_f1/AU12": 0.7, "au_auc/AU12": 0.9,
        }  # fmt: skip
        chosen = {"epoch": 2, "value": 0.4, "metric": "uar", "step": 2}
        save(
            "summary.json",
            {"test_best": values, "test_last": values, "chosen": chosen, "expressions": NAMES},
        )
        rival = {"accuracy": 0.4, "uar": 1 / 3, "ahead": [0.5, 0.3, 0.6]}
        save("conclusion.json", {"split": "test", "rivals": {"always saying happiness": rival}})
        table = rows(confusion) if table is None else table
        with (folder / "predictions.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, table[0])
            writer.writeheader()
            writer.writerows(table)
    return folder


class Text(HTMLParser):
    """Tables as lists of rows, and whatever a page would fetch."""

    def __init__(self, page):
        super().__init__()
        self.words, self.fetched, self.tables, self._skip = [], [], {}, 0
        self._table = self._tag = None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        for name in ("src", "href"):
            if found.get(name, "#")[:1] != "#" and not found[name].startswith("data:"):
                self.fetched.append(found[name])
        self._skip += tag in ("script", "style")
        if tag == "table":
            self._table = []
        if tag == "tr":
            self._table.append([])
        if tag in ("td", "th"):
            self._table[-1].append("")
        self._tag = tag

    def handle_endtag(self, tag):
        self._skip -= tag in ("script", "style")

    def handle_data(self, data):
        if self._skip:
            return
        self.words.append(data)
        if self._tag == "caption":
            self.tables[data] = self._table
        elif self._table and self._table[-1] and self._tag in ("td", "th", "b"):
            self._table[-1][-1] += data

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def read(path):
    return Text(path.read_text())


def test_says_what_the_run_did(tmp_path):
    path = pages.write([write(tmp_path / "run")])
    assert path == tmp_path / "run" / "report" / "index.html"
    page = read(path)
    assert page.fetched == []
    assert "0.850 95 %: " in page.text  # 17 of 20
    simple = page.tables["Against simple models on test"]
    assert simple[1] == ["always saying happiness", "0.4", "0.3333", "+0.500", "+0.300 to +0.600"]
    for words in (
        "mine",
        "best uar of the validation split: epoch 2, 0.4000",
        "1.50 GB",
        "2.00 Wh",
        "abc123",
        "100 s",
    ):
        assert words in page.text
    confusion = next(
        table for caption, table in page.tables.items() if caption.startswith("Confusion")
    )
    assert confusion[3] == ["sadness (5)", "40", "0", "60"]
    assert page.tables["Each class"][2][:3] == ["happiness", "8", "1"]
    assert page.tables["Each action unit"][2] == ["AU12", "lip corner puller", "0.7", "0.9"]
    assert page.tables["Most frequent confusions"][1] == ["sadness, neutral", "2"]
    assert page.tables["The surest"][1][1:] == ["neutral", "happiness", "0.7", "0.15"]
    profile = next(table for caption, table in page.tables.items() if caption.startswith("Mean AU"))
    assert profile[2] == ["happiness (9)", "0.90", "0.80"]
    assert "<b>0.90</b>" in path.read_text()  # AU6 is of happiness's prototype
    assert page.tables["Every epoch"][2] == ["2", "0.5", "0.5", "0.4"]


def test_figures_have_no_ground_of_their_own(tmp_path):
    """In a dark page their words are light."""
    page = pages.write([write(tmp_path / "run")]).read_text()
    assert "<svg" in page and "fill: #ffffff" not in page


def test_needs_none_of_the_extras(tmp_path):
    write(tmp_path / "run")
    code = "import sys; sys.modules['sklearn'] = None; from aufer_jax import pages; pages.write(['run'])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(places.ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_names_cannot_become_parts_of_the_page(tmp_path):
    table = rows(CONFUSION)
    table[6]["file"] = "<script>alert(1)</script>"  # a mistake, so it is listed
    page = pages.write([write(tmp_path / "run", table=table)]).read_text()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_a_run_that_is_at_work(tmp_path):
    page = read(pages.write([write(tmp_path / "run", epochs=3, finished=False)]))
    assert "3 of 4 epochs; 30 s of training are left" in page.text
    assert "Result" not in page.words
    fresh = read(pages.write([write(tmp_path / "fresh", epochs=0, finished=False)]))
    assert "The first epoch has not ended yet" in fresh.text


def test_records_with_problems_and_damaged_files(tmp_path):
    folder = write(tmp_path / "run")
    (folder / "data_problems_0.json").write_text('{"broken image": ["a", "b"]}')
    tables = read(pages.write([folder])).tables
    assert tables["How many"][1] == ["broken image", "2"]
    assert tables["Which"][2] == ["b", "broken image"]
    (folder / "summary.json").write_text("{")
    with pytest.raises(UserError, match=r"summary\.json is damaged"):
        pages.write([folder])
    with pytest.raises(UserError, match=r"holds no run, it has no config\.json"):
        pages.write([tmp_path])


def test_compares_runs_on_the_same_records(tmp_path):
    a = write(tmp_path / "a")
    better = [row | {"predicted": row["label"]} for row in rows(CONFUSION)]
    b = write(tmp_path / "b", confusion=[[7, 0, 0], [0, 8, 0], [0, 0, 5]], table=better, epochs=1)
    page = read(pages.write([a, b]))
    assert page.fetched == []
    assert page.tables["test"][1][:2] == ["a", "0.85"]
    assert page.tables["test"][2][:3] == ["b", "1", "1.000 to 1.000"]
    # 3 records won, none lost: two-sided binomial p = 2 / 8.
    assert (
        "right where a is wrong in 3 records, and wrong where it is right in 0; McNemar's exact p = 0.25"
        in page.text
    )
    difference = next(table for caption, table in page.tables.items() if "minus" in caption)
    assert difference[1][:2] == ["accuracy (WAR)", "0.15"]
    assert difference[2][1] == f"{1 - (6 / 7 + 1 + 3 / 5) / 3:.4g}"
    assert [row[0] for row in page.tables["Won by b"][1:]] == ["r6", "r15", "r16"]
    assert "Nothing." in page.text  # of their configurations


def test_looks_at_the_network_and_its_data(tmp_path, monkeypatch):
    finished.memory_catalog(monkeypatch)
    folder = tmp_path / "run"
    finished.save(folder, finished.images("auvit"))
    monkeypatch.setattr("aufer_jax.explain.tsne.tsne", lambda features, **_: features[:, :2])
    monkeypatch.setattr("aufer_jax.explain.tsne.silhouette", lambda *_: 0.5)
    predictions.write(folder)
    (folder / "summary.json").write_text('{"test_best": {"loss": 1.0}, "expressions": ["a"]}')
    text = pages.write([folder], look=True).read_text()
    assert "t-SNE of the features of 6 records" in text
    assert "ScoreCAM of " in text
    (folder / "summary.json").unlink()
    assert "Validation records at step 0" in pages.report.page(
        [pages.report.files.read(folder)], look=True, live=True
    )


def test_looks_at_the_auxiliary_datasets_too(tmp_path, monkeypatch):
    sources = finished.memory_catalog(monkeypatch)
    sources["toyaux"] = finished.toydata.images(4, "toyaux")
    monkeypatch.setattr("aufer_jax.explain.tsne.tsne", lambda features, **_: features[:, :2])
    monkeypatch.setattr(looks, "_looked", lambda *_: "")
    folder, config = tmp_path / "run", finished.images("auvit")
    config.data.aux, config.data.batch_size = ("toyaux",), 5
    finished.save(folder, config)
    (folder / "summary.json").write_text('{"test_best": {"loss": 1.0}, "expressions": ["a"]}')
    text = pages.write([folder], look=True).read_text()
    assert "10 records of toyfaces, toyaux, in the colours of their classes, and of" in text

    def gone(self):
        raise UserError("data: no dataset 'toyaux'")

    monkeypatch.setattr(looks.Predictor, "auxiliaries", gone)
    text = pages.write([folder], look=True).read_text()
    assert "Without the auxiliary datasets: data: no dataset" in text
    assert "t-SNE of the features of 6 records" in text


def test_few_records_are_no_map_but_a_line(tmp_path, monkeypatch):
    embed = pytest.importorskip("aufer_jax.explain.embed", exc_type=UserError)
    network = types.SimpleNamespace(expressions=NAMES, shapes={"features": 1}, kind="image")
    monkeypatch.setattr(looks.Predictor, "load", lambda _: network)
    monkeypatch.setattr(embed, "read", lambda *_: {"id": [1, 2], "features": np.eye(2)})
    monkeypatch.setattr(looks, "_looked", lambda *_: "mistakes")
    text = pages.write([write(tmp_path / "run")], look=True).read_text()
    assert "must be at least 1 and less than the 2 points" in text and "mistakes" in text


def test_looks_at_what_several_runs_looked_at(tmp_path, monkeypatch):
    finished.memory_catalog(monkeypatch)
    monkeypatch.setattr(looks, "_CHANNELS", 1)
    monkeypatch.setattr(looks, "_BESIDE", 2)
    for name in "ab":
        finished.save(tmp_path / name, finished.images("auvit-vit"))
        (tmp_path / name / "summary.json").write_text('{"test_best": {"loss": 1.0}}')
    text = pages.write([tmp_path / "a", tmp_path / "b"], look=True).read_text()
    assert "ScoreCAM of the class that each run predicts" in text and "Attention of the" in text
    assert text.count("data:image/png") == 2 * (1 + 2) + 2 * (1 + 2 * 2)  # block and rollout
    assert Text(text).fetched == []
    clips = write(tmp_path / "clips")
    assert "What they looked at" in read(pages.write([clips, clips], look=True)).text


@pytest.fixture
def watched(tmp_path):
    folder = write(tmp_path / "run", epochs=1, finished=False)
    server = watch.serve([folder])
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_watches_a_run_grow(watched):
    folder, url = watched
    with urllib.request.urlopen(url, timeout=10) as answer:
        tag, page = answer.headers["ETag"], answer.read().decode()
    assert "1 of 4 epochs" in page and "data-live" in page
    with pytest.raises(urllib.error.HTTPError, match="304"):
        urllib.request.urlopen(
            urllib.request.Request(url, headers={"If-None-Match": tag}), timeout=10
        )
    line = {"split": "train", "step": 2, "epoch": 2, "loss": 0.1, "lr": 0.1, "seconds": 30}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert "2 of 4 epochs" in answer.read().decode()
    whole = write(folder.with_name("whole"))
    for name in ("summary.json", "predictions.csv", "conclusion.json"):  # as a run ends
        shutil.copyfile(whole / name, folder / name)
        with urllib.request.urlopen(url, timeout=10) as answer:
            page = answer.read().decode()
    assert "always saying happiness" in page
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"{url}config.json", timeout=10)


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("127.0.0.1:99", 200), ("evil.example", 421), ("evil.example:80", 421), ("", 421)],
)  # fmt: skip
def test_whom_a_watched_run_is_shown(watched, host, status):
    connection = http.client.HTTPConnection(watched[1].split("/")[2], timeout=10)
    connection.request("GET", "/", headers={"Host": host})
    assert connection.getresponse().status == status
    connection.close()


def test_ports_that_cannot_be_watched(watched):
    folder, url = watched
    taken = int(url.rsplit(":")[-1].strip("/"))
    with pytest.raises(UserError, match=rf"port: 127\.0\.0\.1:{taken} cannot be listened on"):
        watch.serve([folder], taken)
    with pytest.raises(UserError, match="port: 70000 must be from 0 to 65535"):
        watch.serve([folder], 70000)


@browser.needed
def test_in_a_browser(tmp_path, watched):
    folder = write(tmp_path / "whole")
    report, compared = pages.write([folder]), pages.write([folder, watched[0]])
    for number, url in enumerate((report.as_uri(), compared.as_uri(), watched[1])):
        dom, console = browser.opened(url, tmp_path / f"profile{number}")
        assert console == []
        assert "<svg" in dom
        assert re.search(r"<th[^>]*><button>", dom)  # the script has run
    assert browser.width(report.as_uri(), tmp_path, 390) == 390  # nothing is wider than a phone
