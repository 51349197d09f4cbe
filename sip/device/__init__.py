"""Device settings, launching of processes, batch size."""
