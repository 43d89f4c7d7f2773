"""What the workflow's rules run: the stages of a study, and the job around each."""
