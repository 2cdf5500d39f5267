"""Writes the page that `dvc plots show` fills, with the Vega scripts inlined: DVC's own page loads them from a public host.

The page is named in this clone's own `.dvc/config.local`, so that `dvc plots show` works before it is there as well, with DVC's page.
The scripts come out of the installed Snakemake, which carries them for its reports; nothing of theirs is committed.
"""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

PAGE = """<!DOCTYPE html>
<html>
<head>
{{refresh_tag}}
<meta charset="utf-8">
<title>SegCompass plots</title>
{scripts}
</head>
<body>
{{plot_divs}}
</body>
</html>
"""


def main() -> None:
    """Writes `.dvc/tmp/offline_plots.html` and makes it the template of all plots in this clone."""
    assets = files("snakemake") / "assets" / "data"
    scripts = [(assets / name / f"{name}.js").read_text(encoding="utf-8") for name in ("vega", "vega-lite", "vega-embed")]
    page = PAGE.format(scripts="\n".join(f"<script>{script}</script>" for script in scripts))
    target = Path(".dvc", "tmp", "offline_plots.html")
    target.parent.mkdir(exist_ok=True)
    target.write_text(page, encoding="utf-8")
    subprocess.run([sys.executable, "-m", "dvc", "config", "--local", "plots.html_template", "tmp/offline_plots.html"], check=True)


if __name__ == "__main__":
    main()
