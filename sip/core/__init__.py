"""Basics that know nothing of SIP: errors, hashing, files, image I/O, progress, threads, text."""
