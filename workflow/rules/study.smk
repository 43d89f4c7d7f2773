# The study as a whole: one row a run, and the pages of the report.


# A page has one label only: of several, Snakemake's report makes a switch where one has two values,
# each on half of the pages, and breaks on combinations that do not exist.
rule summarise:
    input:
        stage_files("summarise"),
    output:
        table=f"{RESULTS}/summary.csv",
        overview=report(
            f"{RESULTS}/overview.html",
            caption="../report/overview.rst",
            category="Overview",
            labels={"page": "00 Front page"},
        ),
        study_pages=report(
            directory(f"{RESULTS}/pages/study"),
            patterns=["{page}.html"],
            category="Overview",
            labels=lambda wildcards: {"page": page_label(wildcards.page)},
        ),
        run_pages=report(
            directory(f"{RESULTS}/pages/runs"),
            patterns=["{run}/{page}.html"],
            category="Run {run}",
            labels=lambda wildcards: {"page": page_label(wildcards.page)},
        ),
        configuration=report(
            f"{RESULTS}/configuration.html",
            category="Overview",
            labels={"page": "Configuration"},
        ),
        provenance=report(
            f"{RESULTS}/provenance.html",
            caption="../report/provenance.rst",
            category="Overview",
            labels={"page": "Provenance"},
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
        work=RUNS.summary.kind.work,
        config=stage_params("summarise", "config"),
        inputs=stage_params("summarise", "inputs"),
        captions=captions_digest(),
    message:
        "Summarising the study"
    script:
        "../../scripts/stage.py"
