"""Where Ray comes from: a Ray of this machine's own, a cluster that is up, jobs sent to one, and the files they need."""
