"""The `plumbline` command: what a person does by hand."""
