"""The emulator for AWS: state in moto, and around it what moto leaves out (delivery, alarms, pipelines)."""
