"""What carries GIST: UDP, TCP and TLS, and the catching of Queries on their way to somebody else."""
