"""A command's inputs: files, folders, S3 prefixes, options."""
