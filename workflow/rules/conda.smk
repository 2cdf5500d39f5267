# `--use-conda` on a machine without conda: Snakemake refuses to start although the prepared environment serves
# every rule. There is no documented switch for "use conda where there is one", so the deployment method is
# taken back here, once, with a warning. Pinned and tested against the Snakemake of requirements.lock.
import os
import shutil
import sys
from pathlib import Path

from snakemake.logging import logger
from snakemake.settings.types import DeploymentMethod

if (
    DeploymentMethod.CONDA in workflow.deployment_settings.deployment_method
    and shutil.which("conda") is None
):
    logger.warning(
        "No conda on this machine: every job runs in the environment that runs Snakemake."
    )
    workflow.deployment_settings.deployment_method = (
        workflow.deployment_settings.deployment_method - {DeploymentMethod.CONDA}
    )

# Jobs find the interpreter that runs Snakemake even when its environment is not activated; an activated conda
# environment comes before it.
os.environ.update(
    PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
)
