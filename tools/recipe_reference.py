"""Write the tables of docs/training.md that say what stands in a recipe, from the classes that read one.

    python tools/recipe_reference.py

Each field's meaning is the string below it in the source, so the reference cannot differ from what is checked. A test
fails while the page holds anything else.
"""

import ast
import dataclasses
import inspect
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from model.adapter import AdapterConfig  # noqa: E402
from model.checkpoint import Part  # noqa: E402
from training.initialisation import Concepts, Initialisation, Refit  # noqa: E402
from training.parallel import Parallel  # noqa: E402
from training.recipe import ModalityRecipe, Recipe  # noqa: E402
from training.stage import Mixture, Stage, Validation  # noqa: E402

PAGE = ROOT / "docs" / "training.md"
BEGIN, END = "<!-- reference: python tools/recipe_reference.py -->", "<!-- end of the reference -->"
SECTIONS: dict[str, type] = {
    "The recipe": Recipe,
    "`llm`": Part,
    "`modalities.<name>`": ModalityRecipe,
    "`modalities.<name>.initialisation`": Initialisation,
    "`modalities.<name>.initialisation.concepts[]`": Concepts,
    "`modalities.<name>.initialisation.concepts[].refit`": Refit,
    "`adapter`": AdapterConfig,
    "`stages[]`": Stage,
    "`stages[].data[]`": Mixture,
    "`stages[].validation`": Validation,
    "`parallel`": Parallel,
}


def meanings(cls: type) -> dict[str, str]:
    """The string below each field in the source of a dataclass."""
    (tree,) = ast.parse(inspect.getsource(cls)).body
    assert isinstance(tree, ast.ClassDef)
    found: dict[str, str] = {}
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
            found[field.target.id] = " ".join(str(text.value.value).split()) if is_text else ""  # type: ignore[attr-defined]
    return found


def default(field: dataclasses.Field[Any]) -> str:
    """As it would stand in a recipe."""
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    elif field.default is not dataclasses.MISSING:
        value = field.default
    else:
        return "required"
    words = {None: "null", True: "true", False: "false"}
    if value is None or isinstance(value, bool):
        return f"`{words[value]}`"
    return f"`{value!r}`".replace("'", "") if value != "" else '`""`'


def reference() -> str:
    """All tables."""
    lines: list[str] = []
    for title, cls in SECTIONS.items():
        known = meanings(cls)
        lines += ["", f"### {title}", "", (cls.__doc__ or "").strip().splitlines()[0], ""]
        lines += ["| key | default | meaning |", "|---|---|---|"]
        for field in dataclasses.fields(cls):
            if not known[field.name]:
                raise SystemExit(f"{cls.__name__}.{field.name} has no text below it that says what it means")
            lines.append(f"| `{field.name}` | {default(field)} | {known[field.name].replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def renewed(page: str) -> str:
    """The page with the reference as it is now."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{reference()}\n{END}{after}"


def main() -> None:
    """Renew the page."""
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
