"""Start Ray on this machine or join a Ray cluster, and send studies to a cluster as jobs."""
