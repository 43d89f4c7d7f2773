"""Names of the report's pages: their files carry what Snakemake shows as their labels."""


def page_stem(number: int, title: str) -> str:
    """Return the file name of a page, without its suffix.

    Args:
        number: Its place among the pages.
        title: Its title.
    """
    # What the user names holds no tilde, and may hold a low line.
    return f"{number:02d}-{title.replace('_', '~').replace(', ', '__').replace(' ', '_')}"


def page_label(stem: str) -> str:
    """Return the label of a page, by which Snakemake sorts; what `page_stem` made the stem of."""
    number, _, title = stem.partition("-")
    return f"{number} {title.replace('__', ', ').replace('_', ' ').replace('~', '_')}"
