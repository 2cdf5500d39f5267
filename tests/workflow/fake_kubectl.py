"""Stands in the place of `kubectl`: keeps the Jobs that it is given in a folder and runs their commands on this machine.

It takes no more than what Kubernetes takes: GPUs among limits, requests not above them, one container with a name and an image.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

JOBS = Path(os.environ["FAKE_CLUSTER"])


def create(body: dict) -> dict:
    """Keeps a Job under a new name and starts it."""
    assert body["apiVersion"] == "batch/v1" and body["kind"] == "Job" and body["spec"]["activeDeadlineSeconds"] > 0
    pod = body["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["restartPolicy"] == "Never" and container["name"] and container["image"]
    wanted, most = container["resources"]["requests"], container["resources"]["limits"]
    assert wanted == most  # of GPUs Kubernetes asks this, of the rest it allows it
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    name = f"{body['metadata'].pop('generateName')}{len(list(JOBS.iterdir())):05d}"
    body["metadata"]["name"] = name
    folder = JOBS / name
    folder.mkdir()
    (folder / "job.json").write_text(json.dumps(body))
    runner = f'"$@" > "{folder}/out" 2>&1; echo $? > "{folder}/ended.partial"; mv "{folder}/ended.partial" "{folder}/ended"'
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.Popen(["/bin/sh", "-c", runner, "pod", *container["command"]], start_new_session=True, **quiet)
    return body


def get(name: str) -> dict | None:
    """A Job with its conditions."""
    if not (JOBS / name).is_dir():
        return None
    body, ended = json.loads((JOBS / name / "job.json").read_text()), JOBS / name / "ended"
    if ended.is_file():
        kind = "Complete" if ended.read_text().strip() == "0" else "Failed"
        body["status"] = {"conditions": [{"type": "Suspended", "status": "False"}, {"type": kind, "status": "True"}]}
    return body


if __name__ == "__main__":
    verb, *words = sys.argv[1:]
    if verb == "create":
        assert words == ["--filename=-", "--output=json"]
        print(json.dumps(create(json.load(sys.stdin))))
    else:
        assert verb == "get" and words[0] == "job" and words[2:] == ["--namespace=segcompass", "--ignore-not-found", "--output=json"]
        if found := get(words[1]):
            print(json.dumps(found))
