"""One offline HTML file: the page's own templates, third-party scripts read from installed packages, and all data as JSON.

Nothing in the data can become markup or code: JSON holds no `<`, `>` or `&`, the page's scripts write text only as text, and the content
security policy lets scripts run by their digest alone and forbids every request. Chart and table are drawn by Vega-Lite (which Snakemake's
wheel carries) and DataTables (which that of itables carries); neither is committed here.
"""

import base64
import hashlib
import html
import json
import math
import re
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path
from typing import Any

MOST_BYTES = 8 * 2**20
VEGA = ("vega", "vega-lite", "vega-embed")
SCRIPTS = ("dom.js", "charts.js", "concept.js", "sample.js", "atlas.js")
"""In this order; each uses what stands before it."""
POLICY = "default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; form-action 'none'"
DIGITS = 5
"""Significant ones of every number in the page."""
_EXPORTS = re.compile(r"export\s*{([^}]*)}\s*;?")


def atlas_page(content: dict[str, Any]) -> str:
    """The page.

    Args:
        content: what it holds, of text, numbers, lists and dictionaries; numbers that are not finite become null.
    """
    template = _template("atlas.html")
    scripts = [*(_vega(name) for name in VEGA), _data_tables(), "\n".join(_template(name) for name in SCRIPTS)]
    digests = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" for script in scripts)
    parts = {
        "TITLE": html.escape(f"Concept atlas: {content['study']}"),
        "POLICY": POLICY.format(digests=digests),
        "STYLE": _template("atlas.css"),
        "TABLE_STYLE": _itables("dt_bundle.css"),
        "DATA": embedded_json(content),
        "SCRIPTS": "\n".join(f"<script>{script}</script>" for script in scripts),
    }
    # One pass, so that what is put in is not searched for further places.
    return re.sub(r"{{(\w+)}}", lambda place: parts[place[1]], template)


def embedded_json(content: Any) -> str:
    """JSON that no HTML parser can end or read markup in, whatever texts it holds."""
    text = json.dumps(rounded(content), ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def rounded(value: Any) -> Any:
    """The same with `DIGITS` significant digits; null for what is not finite."""
    if isinstance(value, dict):
        return {str(key): rounded(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    if isinstance(value, float):
        short = float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
        return int(short) if short is not None and short.is_integer() and abs(short) < 10**DIGITS else short
    return value


def _template(name: str) -> str:
    return (files("segcompass.atlas") / "templates" / name).read_text(encoding="utf-8")


def _vega(name: str) -> str:
    """Found by the installed files of the distribution: importing Snakemake takes a second and is not needed."""
    return _closed(_installed("snakemake", f"assets/data/{name}/{name}.js"))


def _itables(name: str) -> str:
    return _installed("itables", f"html/{name}")


def _data_tables() -> str:
    """DataTables as a classic script: the module's exports become a global, since a page from a file can import no module."""
    script = _itables("dt_bundle.js")
    found = _EXPORTS.search(script)
    if found is None:
        raise ValueError("dt_bundle.js of the installed itables exports nothing; install the version that requirements.lock names")
    names = [part.strip().partition(" as ") for part in found[1].split(",")]
    (table,) = (local for local, _, exported in names if exported == "default")
    body = script[: found.start()] + f"window.DataTable={table};" + script[found.end() :]
    return _closed("{" + body + "\n}")


def _installed(package: str, file: str) -> str:
    return Path(str(distribution(package).locate_file(package)), file).read_text(encoding="utf-8")


def _closed(script: str) -> str:
    """A script whose text cannot end its element: `</script` occurs in scripts within strings and comments alone."""
    return re.sub(r"</(script)", r"<\\/\1", script, flags=re.IGNORECASE).replace("<!--", "<\\!--")
