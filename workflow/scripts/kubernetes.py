"""Snakemake's jobs as Jobs of Kubernetes: `kubernetes.py submit JOBSCRIPT`, `status NAME`, which the Kubernetes profile names.

Artefacts are whole folders that stages fill and publish themselves, so every pod must see the project's own folder: a volume that is
mounted at the same path wherever Snakemake and its jobs run. The plugin snakemake-executor-plugin-kubernetes shares no files between jobs
and fetches those that rules name, which are the `run.json` of a folder alone; so jobs are submitted through cluster-generic and `kubectl`.

`job.yaml` beside the profile is what every Job begins as: image, volume, path and namespace are the cluster's and stand there. What a rule
asks for becomes requests and limits: Kubernetes refuses GPUs that stand among requests alone.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

TEMPLATE = Path(__file__).parents[1] / "profiles" / "kubernetes" / "job.yaml"
PROPERTIES = "# properties = "
"""What the line of a job script begins with on which Snakemake describes the job."""


def properties(script: Path) -> dict[str, Any]:
    """Rule, threads and resources of a job, as its script states them."""
    lines = script.read_text(encoding="utf-8").splitlines()
    return json.loads(next(line for line in lines if line.startswith(PROPERTIES)).removeprefix(PROPERTIES))


def manifest(script: Path, template: dict[str, Any]) -> dict[str, Any]:
    """The Job that runs a script: the template with name, command, time limit and resources."""
    job = properties(script)
    needs = job["resources"]
    wanted = {"cpu": str(job["threads"]), "memory": f"{needs['mem_mb']}M"}
    if needs.get("gpu"):
        wanted["nvidia.com/gpu"] = str(needs["gpu"])
    rule = str(job["rule"]).replace("_", "-")
    metadata = template.get("metadata", {}) | {"generateName": f"{rule}-"}
    metadata["labels"] = metadata.get("labels", {}) | {"rule": rule}
    spec = template["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    container = container | {"command": ["/bin/sh", str(script)], "resources": {"requests": wanted, "limits": wanted}}
    filled = spec | {"activeDeadlineSeconds": 60 * needs["runtime"], "backoffLimit": 0}
    filled["template"] = spec["template"] | {"spec": pod | {"containers": [container], "restartPolicy": "Never"}}
    return template | {"metadata": metadata, "spec": filled}


def submit(script: Path) -> str:
    """Creates the Job of a script and gives its name."""
    body = json.dumps(manifest(script.resolve(), yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))))
    made = subprocess.run(["kubectl", "create", "--filename=-", "--output=json"], input=body, stdout=subprocess.PIPE, text=True, check=True)
    metadata = json.loads(made.stdout)["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}"


def status(name: str) -> str:
    """`success`, `failed` or `running`, of a Job that `submit` named."""
    namespace, _, job = name.partition("/")
    words = ["kubectl", "get", "job", job, f"--namespace={namespace}", "--ignore-not-found", "--output=json"]
    said = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout
    if not said.strip():
        return "failed"  # deleted by hand
    conditions = {one["type"] for one in json.loads(said).get("status", {}).get("conditions", []) if one["status"] == "True"}
    if conditions & {"Complete", "SuccessCriteriaMet"}:
        return "success"
    return "failed" if conditions & {"Failed", "FailureTarget"} else "running"


def cancel(names: list[str]) -> None:
    """Deletes Jobs, their pods with them, and waits for none of it."""
    for name in names:
        namespace, _, job = name.partition("/")
        subprocess.run(["kubectl", "delete", "job", job, f"--namespace={namespace}", "--wait=false"], check=False)


if __name__ == "__main__":
    if sys.argv[1] == "submit":
        print(submit(Path(sys.argv[2])))
    elif sys.argv[1] == "status":
        print(status(sys.argv[2]))
    else:
        cancel(sys.argv[2:])
