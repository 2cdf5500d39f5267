#!/usr/bin/env bash
# Runs every command of docs/explain.md again and puts its output and its pictures there. From the root of the repository, after `make env`:
#   bash docs/make_explain.sh          with the shipped run
#   bash docs/make_explain.sh RUN      with a folder that `segcompass ship-run` has made
# Commands on results of a study run where these results are, and keep their output where there are none.
# Pictures of pages are taken by chromium; where there is none they stay as they are.
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
root = page.parents[1]


def shown(block: re.Match[str]) -> str:
    command = re.search(r"^\$ (.*)$", block.group(1), re.M).group(1)
    words, place = shlex.split(command), None
    if words[0] == "segcompass":
        words += ["--model", model]
    elif (root / words[2] / "exchange").is_dir():
        place = root
    else:
        return block.group(0)
    done = subprocess.run(words, cwd=place, capture_output=True, text=True)
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
  python - "$root/docs/pictures" "$model" << 'PYTHON'
import shutil
import socket
import subprocess
import sys
from io import BytesIO

from PIL import Image
from playwright.sync_api import Page, expect, sync_playwright

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]


def shoot(page: Page, name: str) -> None:
    shot = Image.open(BytesIO(page.screenshot(full_page=True))).convert("RGB")
    shot.quantize(256, method=Image.Quantize.FASTOCTREE).save(f"{sys.argv[1]}/{name}.png", optimize=True)


words = ["segcompass", "demo", "--model", sys.argv[2], "--port", str(port)]
with subprocess.Popen(words, stdout=subprocess.PIPE) as server, sync_playwright() as playwright:
    try:
        server.stdout.readline()
        page = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"]).new_page(viewport={"width": 1400, "height": 900})
        page.set_default_timeout(60_000)
        page.goto(f"http://127.0.0.1:{port}/")
        page.locator("#examples tbody tr").first.click()
        expect(page.locator(".lever:visible").first).to_be_visible(timeout=60_000)
        page.get_by_role("tab", name="Exchange codes").click()
        page.locator("#exchange").click()
        expect(page.locator("#edit")).to_contain_text("Concepts with other codes", timeout=60_000)
        expect(page.locator("#other_picture img")).to_be_visible(timeout=60_000)
        page.wait_for_timeout(1_000)  # for the last picture
        shoot(page, "demo")
        page.get_by_role("tab", name="Turn concepts").click()
        page.wait_for_timeout(1_000)
        shoot(page, "front")
    finally:
        server.terminate()
PYTHON
fi
