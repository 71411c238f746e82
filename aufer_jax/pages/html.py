"""The parts of a page that fetches nothing: sections, tables, figures, pictures."""

import base64
import dataclasses
import html
import importlib.resources
import io
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import cv2
import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.legend import Legend

_SVG: dict[Any, Any] = {"svg.fonttype": "none", "font.family": "sans-serif"}
_figures = itertools.count()


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a page under a heading; `name` is its anchor."""

    name: str
    title: str
    body: str


def escape(value: object) -> str:
    """A value as text of a page."""
    return html.escape(str(value))


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def definitions(pairs: Mapping[str, object]) -> str:
    """Names and values; those without a value are left out."""
    known = ((name, value) for name, value in pairs.items() if value not in (None, "", ()))
    return "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in known) + "</dl>"


def table(caption: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The first cell of a row is its head. A click on a column's head sorts by it."""
    lines, words = [], [True] + [False] * (len(heads) - 1)
    for first, *rest in rows:
        words[1:] = [isinstance(value, str) for value in rest]
        cells = "".join(map(_cell, rest))
        lines.append(f'<tr><th scope="row">{escape(first)}</th>{cells}</tr>')
    head = "".join(
        f'<th scope="col"{" class=words" if left else ""}>{escape(text)}</th>'
        for text, left in zip(heads, words, strict=True)
    )
    return _wide(caption, head, lines, "sortable")


@dataclasses.dataclass(frozen=True)
class Share:
    """A cell that is coloured by its value, 0 to 1."""

    value: float
    text: str
    strong: bool = False


def shares(caption: str, heads: Sequence[str], rows: Iterable[tuple[str, Sequence[Share]]]) -> str:
    """A table whose cells are coloured; each row has its name."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    lines = []
    for name, cells in rows:
        text = "".join(
            f'<td style="--share:{cell.value:.3f}">'
            + (f"<b>{escape(cell.text)}</b>" if cell.strong else escape(cell.text))
            + "</td>"
            for cell in cells
        )
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{text}</tr>')
    return _wide(caption, f"<th></th>{head}", lines, "shares")


def _wide(caption: str, head: str, lines: Sequence[str], kind: str) -> str:
    """A table that scrolls sideways where the page is narrow."""
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}">'
        f'<table class="{kind}"><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _cell(value: object) -> str:
    if isinstance(value, str):
        return f'<td class="words">{escape(value)}</td>'
    if isinstance(value, float | np.floating):
        return f"<td>{'' if np.isnan(value) else format(value, '.4g')}</td>"
    return f"<td>{escape('' if value is None else value)}</td>"


def figure(drawn: Figure, label: str) -> str:
    """A figure as SVG in the colours of the text around it; its words stay words."""
    place = f"f{next(_figures)}"
    for part in (drawn, *drawn.axes):
        part.patch.set_visible(False)  # the page is seen behind it, light or dark
    for legend in drawn.findobj(Legend):
        legend.set_frame_on(False)  # pyright: ignore[reportAttributeAccessIssue]
    buffer = io.StringIO()
    with matplotlib.rc_context({**_SVG, "svg.hashsalt": place}):
        FigureCanvasSVG(drawn).print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Names are one page's, so each figure's own get its place in front.
    text = re.sub(r'\bid="', f'id="{place}-', text)
    text = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{place}-", text)
    text = re.sub(
        r'^<svg [^>]*?viewBox="([^"]*)"[^>]*>', r'<svg viewBox="\1" aria-hidden="true">', text
    )
    text = text.replace("xlink:href", "href")
    width = round(drawn.get_figwidth() * 90)
    return (
        f'<figure class="wide" tabindex="0" role="img" aria-label="{escape(label)}">'
        f'<div style="width:min({width}px, max(100%, 700px))">{text}</div>'
        f"<figcaption>{escape(label)}</figcaption></figure>"
    )


def picture(image: np.ndarray, label: str) -> str:
    """RGB [H, W, 3] uint8 as a picture inside the page."""
    good, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert good
    text = base64.b64encode(data.tobytes()).decode()
    return f'<img alt="{escape(label)}" src="data:image/png;base64,{text}">'


def document(title: str, note: str, sections: Sequence[Section], *, live: bool = False) -> str:
    """A whole page; `live` pages look for a newer form of themselves every few seconds."""
    links = "".join(f'<li><a href="#{s.name}">{escape(s.title)}</a></li>' for s in sections)
    parts = "".join(
        f'<section id="{s.name}" aria-labelledby="h-{s.name}">'
        f'<h2 id="h-{s.name}">{escape(s.title)}</h2>{s.body}</section>'
        for s in sections
    )
    style, script = _resource("page.css"), _resource("page.js")
    refresh = '<noscript><meta http-equiv="refresh" content="10"></noscript>' if live else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        # The page's own parts and pictures, nothing else.
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'\">"
        f'<link rel="icon" href="data:,">{refresh}'
        f"<title>{escape(title)}</title><style>{style}</style></head>"
        f'<body{" data-live" if live else ""}><a class="skip" href="#content">to the content</a>'
        f"<header><h1>{escape(title)}</h1><p>{escape(note)}</p></header>"
        f'<nav aria-label="sections"><ul>{links}</ul></nav>'
        f'<main id="content">{parts}</main><script>{script}</script></body></html>\n'
    )


def _resource(name: str) -> str:
    return importlib.resources.files("aufer_jax.pages").joinpath(name).read_text(encoding="utf-8")
