# The study as a whole: one row a run, and the figures across runs.


rule summarise:
    input:
        metrics=expand(f"{RESULTS}/{{run}}/metrics.json", run=list(RUNS)),
    output:
        table=f"{RESULTS}/summary.csv",
        html=report(
            f"{RESULTS}/summary.html",
            caption="../report/summary.rst",
            category="Study",
            labels={"figure": "Summary table"},
        ),
        figures=report(
            directory(f"{RESULTS}/figures"),
            patterns=["{name}.png"],
            caption="../report/study.rst",
            category="Study",
            labels={"figure": "{name}"},
        ),
        provenance=report(
            f"{RESULTS}/provenance.html",
            caption="../report/provenance.rst",
            category="Study",
            labels={"figure": "Provenance"},
        ),
        origin=f"{RESULTS}/summary.json",
    log:
        f"{RESULTS}/logs/summarise.log",
    benchmark:
        f"{RESULTS}/logs/summarise.benchmark.tsv"
    conda:
        "../../envs/report.yaml"
    threads: 1
    resources:
        mem_mb=memory(2000),
        runtime=minutes(10),
    params:
        study=STUDY.name,
        title=STUDY.title,
    message:
        "Summarising the study"
    script:
        "../../scripts/summarise.py"
