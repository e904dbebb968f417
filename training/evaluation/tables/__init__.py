"""One module a table of the papers: `measure(case)` makes it, from the model's own door."""
