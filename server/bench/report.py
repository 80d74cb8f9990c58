"""What a run found, as a table for people and as JSON for programs."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from server.bench.compare import CONFIDENCE, Ratio, compare
from server.bench.metrics import TIMES, summary
from server.bench.plan import Plan, Target
from server.bench.run import Result

NAMES = {"ttft": "time to first token", "tpot": "time per output token", "itl": "inter-token latency", "e2e": "latency"}
RATES = {
    "requests_per_second": "requests/s",
    "output_tokens_per_second": "output tokens/s",
}


def as_json(plan: Plan, targets: Sequence[Target], results: Sequence[Result]) -> dict[str, Any]:
    """Everything: the plan, and for each level each server's figures and the ratios of the first to the second."""
    return {
        "plan": _plain(dataclasses.asdict(plan)),
        "targets": [_plain(dataclasses.asdict(dataclasses.replace(target, key=None))) for target in targets],
        "levels": [_level(plan, targets, result) for result in results],
    }


def _level(plan: Plan, targets: Sequence[Target], result: Result) -> dict[str, Any]:
    found: dict[str, Any] = {
        "level": result.level.label,
        "block": plan.block_of(result.level),
        "servers": {target.name: summary(blocks) for target, blocks in zip(targets, result.blocks, strict=True)},
    }
    if len(targets) == 2:
        ours, theirs = result.blocks
        ratios = compare(ours, theirs, seed=plan.seed)
        found["ratios"] = {name: dataclasses.asdict(ratio) for name, ratio in ratios.items()}
    return found


def show(console: Console, report: Mapping[str, Any]) -> None:
    """Print a table for every level of a report made by `as_json`."""
    for level in report["levels"]:
        console.print(_table(level))
        for name, figures in level["servers"].items():
            for error, count in figures["errors"].items():
                console.print(f"  {name}: {count} x {error}", markup=False)


def _table(level: Mapping[str, Any]) -> Table:
    servers: Mapping[str, Mapping[str, Any]] = level["servers"]
    table = Table(title=level["level"], title_justify="left")
    table.add_column("")
    for name in servers:
        table.add_column(name, justify="right")
    ratios = {name: Ratio(**values) for name, values in level.get("ratios", {}).items()}
    if ratios:
        table.add_column(f"ratio [{CONFIDENCE:.0%}]", justify="right")

    def row(title: str, values: list[str], ratio: str = "") -> None:
        if any(value != "-" for value in values):
            table.add_row(title, *values, *([_spell_ratio(ratios.get(ratio))] if ratios else []))

    all_figures = list(servers.values())
    for name in TIMES:
        for point in ("p50", "p90", "p99"):
            values = [_number((figures[name] or {}).get(point)) for figures in all_figures]
            row(f"{NAMES[name]} {point}, ms", values, f"{name}_{point}")
    for name, title in RATES.items():
        row(title, [_number(figures[name]) for figures in all_figures], name)
    for modality in ("image", "audio"):
        for name, title in (("media_per_second", f"{modality}s/s"), ("tokens_per_medium", f"tokens per {modality}")):
            row(title.replace("audios/s", "sounds/s"), [_number(one[name].get(modality)) for one in all_figures])
    row("prompt tokens", [_number(one["prompt_tokens_per_request"]) for one in all_figures])
    row("cached tokens, %", [_number(_percent(one["cached_token_share"])) for one in all_figures])
    row("repeated media, %", [_number(_percent(one["repeated_media_share"])) for one in all_figures])
    row("failed", [f"{one['failed']} of {one['requests']}" for one in all_figures])
    row("client's own CPU, %", [_number(_percent(one["client_cpu_share"])) for one in all_figures])
    return table


def _spell_ratio(ratio: Ratio | None) -> str:
    if ratio is None:
        return ""
    interval = f" [{ratio.low:.3f}, {ratio.high:.3f}]" if ratio.low is not None else ""
    return f"{ratio.value:.3f}{interval}"


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _plain(value: Any) -> Any:
    """A value as JSON knows it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value
