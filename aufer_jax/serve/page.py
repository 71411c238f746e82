"""The page as one text that fetches nothing: its style and script are inside it, and no others may run."""

import base64
import hashlib
import importlib.resources
import re

from aufer_jax.serve import answers


def document() -> str:
    """The whole page."""
    parts = {
        "style": _resource("aufer_jax.pages", "page.css")
        + _resource("aufer_jax.serve", "page.css"),
        "script": _resource("aufer_jax.serve", "page.js")
        + _resource("aufer_jax.serve", "chart.js"),
        "use": answers.USE,
        "not_for": answers.NOT_FOR,
        "limits_of_it": answers.LIMITS_OF_IT,
    }
    page = _resource("aufer_jax.serve", "page.html")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], page)


def policy(page: str) -> str:
    """Its Content-Security-Policy: this style, this script, what this server says, pictures it has made."""

    def digest(tag: str) -> str:
        found = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert found is not None
        return base64.b64encode(hashlib.sha256(found[1].encode()).digest()).decode()

    return (
        f"default-src 'none'; style-src 'sha256-{digest('style')}'; script-src 'sha256-{digest('script')}'; "
        "img-src 'self' blob: data:; media-src blob:; connect-src 'self'; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'none'"
    )


def _resource(room: str, name: str) -> str:
    return importlib.resources.files(room).joinpath(name).read_text(encoding="utf-8")
