"""What a build of the documentation writes by itself: the reference, copies, plain text for programs."""

import ast
import os
import pathlib
import re

# Pages beside docs/, which a build copies to docs/project/.
OUTSIDE = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "aufer_jax/weights/data/CARD.md")
SUMMARY = (
    "Facial expression recognition guided by facial action units (AUs), in JAX and Flax: MV-FER, AU-ViT and "
    "AU-DFER on one training engine."
)
LINK = re.compile(r"\]\(([\w/-]+)\.md\)")


def modules(root: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """The files of every room of the package, in order."""
    rooms: dict[str, list[pathlib.Path]] = {}
    for file in sorted((root / "aufer_jax").rglob("*.py")):
        place = file.relative_to(root / "aufer_jax")
        if not any(part.startswith("_") and part != "__init__.py" for part in place.parts):
            rooms.setdefault(place.parts[0].removesuffix(".py"), []).append(file)
    rooms.pop("__init__")
    return rooms


def module(root: pathlib.Path, file: pathlib.Path) -> str:
    """The name under which a file is imported."""
    return ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


def first_line(text: str | None) -> str:
    return (text or "").split("\n")[0]


def exported(tree: ast.Module, name: str) -> dict[str, str]:
    """What a package's own file offers from below it: name -> where it is defined."""
    return {
        alias.asname or alias.name: f"{node.module}.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{name}.")
        for alias in node.names
    }


# --- Pages --------------------------------------------------------------------------------------


def toctrees(index: str) -> str:
    """A hidden table of contents for each section of the first page that has links to pages."""
    found = []
    for section in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        pages = list(dict.fromkeys(LINK.findall(section)))
        if section.startswith("Reference"):
            pages.insert(0, "api/index")
        if pages:
            head = section.split("\n")[0]
            found.append(f"\n```{{toctree}}\n:hidden:\n:caption: {head}\n\n")
            found.append("\n".join(pages) + "\n```\n")
    return "".join(found)


def moved(text: str, root: pathlib.Path, here: pathlib.Path, there: pathlib.Path) -> str:
    """A page of the folder `here` with its links as they are from `there`; what is no page is only named."""
    docs = root / "docs"
    copies = {root / name: docs / "project" / pathlib.Path(name).name for name in OUTSIDE}

    def link(found: re.Match) -> str:
        image, words, address = found.groups()
        path, mark, anchor = address.partition("#")
        if not path or "://" in path:
            return found[0]
        file = pathlib.Path(os.path.normpath(here / path))
        file = copies.get(file, file)
        if docs not in file.parents:
            return words if "`" in words else f"`{words}`"
        place = pathlib.Path(os.path.relpath(file, there)).as_posix()
        return f"{image}[{words}]({place}{mark}{anchor})"

    return re.sub(r"(!?)\[([^]]+)\]\(([^)\s]+)\)", link, text)


def linked(page: str, root: pathlib.Path) -> str:
    """A page whose names of public functions, `losses.cross_entropy`, lead to the reference."""
    known = {
        f"{module(root, file)}.{node.name}"
        for files in modules(root).values()
        for file in files
        for node in ast.parse(file.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }

    def link(found: re.Match) -> str:
        full = f"aufer_jax.{found[1]}"
        return f"{{py:obj}}`{found[1]} <{full}>`" if full in known else found[0]

    return re.sub(r"`([a-z_]+(?:\.\w+)+)`", link, page)


def write(root: pathlib.Path, docs: pathlib.Path) -> None:
    """Writes docs/project/, copies of the pages beside docs/, and docs/api/, a page for each room."""
    for name in OUTSIDE:
        source, target = root / name, docs / "project" / pathlib.Path(name).name
        text = source.read_text(encoding="utf-8")
        change(target, moved(text, root, source.parent, target.parent))
    rooms = modules(root)
    for room, files in rooms.items():
        parts = [title(f"aufer_jax.{room}", "=")]
        for file in files:
            name, tree = module(root, file), ast.parse(file.read_text(encoding="utf-8"))
            parts += [title(name, "-")] * (len(files) > 1) + [f".. automodule:: {name}\n"]
            if offered := {k: v for k, v in exported(tree, name).items() if k[:1] != "_"}:
                listed = ", ".join(
                    f"``{k}``" if k.isupper() else f":py:obj:`{k} <{v}>`"
                    for k, v in sorted(offered.items())
                )
                parts.append(f"Offered here: {listed}.\n")
        change(docs / "api" / f"{room}.rst", "\n".join(parts))
    listed = "".join(f"   {room}\n" for room in rooms)
    text = (
        f"{title('Every public function', '=')}\nBy the rooms of the package; as plain text for "
        "programs: `api.txt` beside the first page.\n\n"
        f".. toctree::\n   :maxdepth: 2\n\n{listed}"
    )
    change(docs / "api" / "index.rst", text)


def title(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n"


def change(path: pathlib.Path, text: str) -> None:
    """Writes a file that has changed; Sphinx reads those again."""
    path.parent.mkdir(exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


# --- Plain text ---------------------------------------------------------------------------------


def plain(root: pathlib.Path, docs: pathlib.Path, out: str) -> None:
    """Writes api.txt, every public name with its types and docstring, and llms.txt, the list of pages."""
    parts = [f"# aufer_jax\n\n{SUMMARY}\n"]
    for files in modules(root).values():
        for file in files:
            tree = ast.parse(file.read_text(encoding="utf-8"))
            head = f"\n## {module(root, file)}\n\n{ast.get_docstring(tree) or ''}\n"
            parts += [head, *definitions(tree.body)]
    (pathlib.Path(out) / "api.txt").write_text("\n".join(parts), encoding="utf-8")

    lines = [f"# aufer_jax\n\n> {SUMMARY}\n", "- [every public name, with types](api.txt)"]
    for page in sorted(docs.rglob("*.md")):
        name = page.relative_to(docs)
        lines.append(f"- [{page.read_text().split(chr(10))[0].lstrip('# ')}](_sources/{name}.txt)")
    (pathlib.Path(out) / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def definitions(body: list[ast.stmt], indent: str = "") -> list[str]:
    """The public functions and classes of a module, or methods of a class, as text."""
    found = []
    for node in body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
            continue
        if isinstance(node, ast.ClassDef):
            bases = f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else ""
            lines = [f"class {node.name}{bases}:"]
        else:
            returned = f" -> {ast.unparse(node.returns)}" if node.returns else ""
            lines = [f"def {node.name}({ast.unparse(node.args)}){returned}:"]
        lines += [
            f"    {line}" if line else "" for line in (ast.get_docstring(node) or "").split("\n")
        ]
        if isinstance(node, ast.ClassDef):
            lines += [
                f"    {ast.unparse(part)}" for part in node.body
                if isinstance(part, ast.AnnAssign) and not ast.unparse(part.target).startswith("_")
            ]  # fmt: skip
        found.append("\n".join(indent + line if line else "" for line in lines) + "\n")
        if isinstance(node, ast.ClassDef):
            found += definitions(node.body, indent + "    ")
    return found
