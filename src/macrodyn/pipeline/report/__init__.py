"""What is shown of a study: its table, the pages of its report, what is kept of it."""
