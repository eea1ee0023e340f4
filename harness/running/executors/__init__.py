"""Where workers run: processes of this machine, or jobs of a cluster."""
