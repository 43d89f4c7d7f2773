"""Names of the report's pages: their files carry what Snakemake shows as their labels."""


def page_stem(number: int, title: str) -> str:
    """Return the file name of a page, without its suffix.

    Args:
        number: Its place among the pages.
        title: Its title.
    """
    return f"{number:02d}-{title.replace(', ', '__').replace(' ', '_')}"


def page_label(stem: str) -> str:
    """Return the label of a page, by which Snakemake sorts; what `page_stem` made the stem of."""
    number, _, title = stem.partition("-")
    return f"{number} {title.replace('__', ', ').replace('_', ' ')}"
