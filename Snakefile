# Learn the macroscopic dynamics of a large system from small simulations.
#
#   snakemake --cores 2                                   the quick study of config/config.yaml
#   snakemake --cores 2 --configfile config/ising.yaml    another study
#   snakemake --report results/demo/report.html           its report
import os
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")

# workflow/Snakefile includes this one. In an installed package there is no src: jobs find the
# package where Snakemake has.
ROOT = Path(workflow.basedir)
ROOT = ROOT if (ROOT / "workflow").is_dir() else ROOT.parent

# Conda environments hold the dependencies only: the package itself is taken from here.
os.environ.update(
    PYTHONPATH=os.pathsep.join(filter(None, [str(ROOT / "src"), os.environ.get("PYTHONPATH")]))
)

# A configuration given on the command line stands alone; it is not merged into the default one.
if not workflow.overwrite_configfiles:

    configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/study.smk"
include: "workflow/rules/stages.smk"


report: "workflow/report/workflow.rst"


onstart:
    check_cluster()
    keep_record()


onerror:
    tell_reasons()
    summarise_finished()


localrules:
    all,


rule all:
    input:
        f"{RESULTS}/summary.csv",
        f"{RESULTS}/overview.html",
        [result(plan.evaluation) for plan in RUNS.values()],
