"""Results for people: Markdown, and one HTML page with plots and pictures in it."""

import base64
import html
import io
from itertools import groupby
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

from training.evaluation.table import written
from training.markdown import table

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;margin:1rem 0;display:block;overflow-x:auto}
td,th{border:1px solid #ccc;padding:.2rem .6rem;text-align:right;white-space:nowrap}
td:first-child,th:first-child{text-align:left}
img{max-width:100%}.warning{border-left:4px solid #c60;padding-left:.8rem}
small,figcaption,.missing{color:#555}nav{line-height:2}figure{margin:1rem 0}"""


def cells(records: list[dict]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of one table of one or several models."""
    several = len(records) > 1
    rows = [
        ({"model": record["model"]} if several else {}) | row
        for record in records
        for row in record.get("rows", [])
    ]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return columns, [[written(row.get(column)) for column in columns] for row in rows]


def by_table(records: list[dict]) -> list[list[dict]]:
    """The records of each table, in the order of the tables."""
    order = list(dict.fromkeys(record["table"] for record in records))
    ranked = sorted(records, key=lambda record: order.index(record["table"]))
    return [list(group) for _, group in groupby(ranked, key=lambda record: record["table"])]


def sentences(records: list[dict]) -> list[str]:
    """What is to be said beside a table: how it was measured, what is missing, how long it took."""
    said = [line for r in records for line in (*r.get("protocol", []), *r.get("notes", []))]
    said += [f"{r['model']}: left out. {r['left out']}" for r in records if "left out" in r]
    times = ", ".join(
        f"{r['model']} {r['seconds']:.0f} s ({r['processor seconds']:.0f} s of processors)"
        for r in records
        if "left out" not in r
    )
    measured = [f"Measured in {times}, {records[0]['threads']} thread(s)."] if times else []
    return [*dict.fromkeys(said), *measured]


def warnings(records: list[dict]) -> list[str]:
    """What all tables suffer from."""
    found = [line for record in records for line in record["warnings"]]
    if any(record["size"] == "quick" for record in records):
        found.insert(0, "A quick look: each table says how few pictures it rests on.")
    return list(dict.fromkeys(found))


def markdown(records: list[dict], level: int = 2) -> str:
    """All tables, with the sentences beside them."""
    parts = [f"> {line}" for line in warnings(records)]
    for group in by_table(records):
        parts.append(f"{'#' * level} {group[0]['title']} ({group[0]['of']})")
        columns, rows = cells(group)
        if rows:
            parts.append(table(columns, rows))
        parts += sentences(group)
    return "\n\n".join(parts) + "\n"


def page(records: list[dict], out: Path, command: str) -> str:
    """One HTML page that needs no other file."""
    body = [f"<h1>Evaluation</h1><p><code>{html.escape(command)}</code></p>"]
    body += [f"<p class=warning>{html.escape(line)}</p>" for line in warnings(records)]
    body.append(f"<nav>{' · '.join(_link(group) for group in by_table(records))}</nav>")
    for group in by_table(records):
        body.append(f"<h2 id={group[0]['table']}>{html.escape(group[0]['title'])}</h2>")
        body.append(f"<small>{html.escape(group[0]['of'])}</small>")
        body.append(_table(group))
        body += [f"<p>{html.escape(line)}</p>" for line in sentences(group)]
        body += [_plot(curves) for curves in _together(group)]
        body += [_picture(out, r, caption) for r in group for caption in r.get("pictures", {})]
    head = f"<meta charset=utf-8><title>Evaluation</title><style>{STYLE}</style>"
    return f"<!doctype html><html lang=en><head>{head}</head><body>{''.join(body)}</body></html>\n"


def _link(group: list[dict]) -> str:
    """To a table; one that no model has is grey."""
    kind = "" if cells(group)[1] else " class=missing"
    return f"<a href=#{group[0]['table']}{kind}>{html.escape(group[0]['title'])}</a>"


def _table(group: list[dict]) -> str:
    columns, rows = cells(group)
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    lines = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows)
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _together(group: list[dict]) -> list[list[tuple[str, dict]]]:
    """Curves of the same title, of all models; a single point is no curve."""
    titles = dict.fromkeys(
        curve["title"]
        for r in group
        for curve in r.get("curves", [])
        if any(len(points) > 1 for points in curve["lines"].values())
    )
    return [
        [(r["model"], c) for r in group for c in r.get("curves", []) if c["title"] == title]
        for title in titles
    ]


def _plot(curves: list[tuple[str, dict]]) -> str:
    """An SVG of the lines of one title."""
    drawing, axes = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    for model, curve in curves:
        for name, points in curve["lines"].items():
            x, y, *error = zip(*points, strict=True)
            label = f"{model}: {name}" if len(curves) > 1 else name
            axes.errorbar(x, y, error[0] if error else None, marker=".", capsize=2, label=label)
    first = curves[0][1]
    axes.set(title=first["title"], xlabel=first["x"], ylabel=first["y"])
    if first["log"]:
        axes.set_yscale("log")
    axes.legend(fontsize="small")
    file = io.StringIO()
    drawing.savefig(file, format="svg")
    plt.close(drawing)
    text = file.getvalue()
    return f"<figure>{text[text.index('<svg') :]}</figure>"


def _picture(out: Path, record: dict, caption: str) -> str:
    data = base64.b64encode((out / record["pictures"][caption]).read_bytes()).decode()
    text = html.escape(f"{record['model']}: {caption}")
    image = f'<img alt="{text}" src="data:image/png;base64,{data}">'
    return f"<figure>{image}<figcaption>{text}</figcaption></figure>"
