"""The speed of generation, compared with its bare forwards and with diffusers' pipeline."""
