"""The reference retraining pipeline and the scripts of its steps."""
