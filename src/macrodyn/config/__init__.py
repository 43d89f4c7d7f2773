"""The configuration of a study: sections, files, and what is wrong with them."""
