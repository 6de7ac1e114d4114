"""Every file of a report through the SageMaker SDK's own readers: `make sdk-check`, in the pipeline's environment."""
