# Contents of the pipeline. Each phase has its rules in workflow/rules/; a rule runs the stage module of the same
# name in segcompass/stages/, takes its keys from params/<study>.yaml and logs to logs/<study>/<rule>/.
from snakemake.utils import min_version

min_version("9.27.1")


report: "workflow/report/workflow.rst"


include: "workflow/rules/scheduler.smk"
include: "workflow/rules/conda.smk"
include: "workflow/rules/study.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/backbone.smk"
include: "workflow/rules/concepts.smk"
include: "workflow/rules/joint.smk"
include: "workflow/rules/analysis.smk"
include: "workflow/rules/report.smk"


localrules:
    reproduce_all,
    smoke,


rule reproduce_all:
    default_target: True
    input:
        f"reports/{STUDY}/run.json",


rule smoke:
    input:
        "reports/smoke/run.json",
