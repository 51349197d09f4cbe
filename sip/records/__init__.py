"""Write and read run folders."""
