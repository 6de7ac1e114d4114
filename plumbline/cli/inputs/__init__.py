"""What a command is given: files, folders, S3 places, options."""
