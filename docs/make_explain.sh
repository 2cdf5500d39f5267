#!/usr/bin/env bash
# Runs every command of docs/explain.md again and puts its output and its pictures there. From the root of the repository, after `make env`:
#   bash docs/make_explain.sh          with the shipped run
#   bash docs/make_explain.sh RUN      with a folder that `segcompass ship-run` has made
# The picture of the page is taken by chromium; where there is none it stays as it is.
set -euo pipefail
root=$(pwd)
model=$(realpath "${1:-backbones/embedded_run}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/backbones"
ln -s "$model" "$work/backbones/embedded_run"
cd "$work"
python - "$root/docs/explain.md" "$model" << 'PYTHON'
import re
import shlex
import subprocess
import sys
from pathlib import Path

page, model = Path(sys.argv[1]), sys.argv[2]


def shown(block: re.Match[str]) -> str:
    command = re.search(r"^\$ (.*)$", block.group(1), re.M).group(1)
    done = subprocess.run([*shlex.split(command), "--model", model], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command}: {done.stderr}")
    return f"```console\n$ {command}\n{done.stdout}```"


page.write_text(re.sub(r"```console\n(.*?)```", shown, page.read_text(encoding="utf-8"), flags=re.S), encoding="utf-8")
PYTHON
for name in explanation/explanation another/edit swapped/edit rethought/edit; do
  cp "$name.png" "$root/docs/pictures/${name%%/*}.png"
done
if command -v chromium > /dev/null; then
  chromium --headless --no-sandbox --disable-gpu --hide-scrollbars --window-size=1200,1000 --screenshot=page.png "file://$work/explanation/explanation.html" 2> /dev/null
  python -c "from PIL import Image; Image.open('page.png').convert('RGB').quantize(256, method=Image.Quantize.FASTOCTREE).save('$root/docs/pictures/page.png', optimize=True)"
fi
