"""What a command asks an AWS account and a stage."""
